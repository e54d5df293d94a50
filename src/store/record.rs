//! The record beside each picture: `{id}.json`.
//!
//! It is the truth about a picture that its bytes cannot tell; the index is derived from it. Readers ignore fields they
//! do not know, so an older picgate can read what a newer one wrote.

use std::{
    io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{Facts, StoreError, disk, error::BadJson};
use crate::{
    opaque::opaque,
    picture::{Format, PictureId},
};

/// Version written today.
const VERSION: u32 = 1;
/// Longest prompt kept, in bytes.
const LONGEST_PROMPT: usize = 8 * 1024;

/// What a caller knows about a picture when it commits it.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    /// Where the picture came from. `None` for one that nobody generated here (a fetched or imported one).
    pub generation: Option<Generation>,
}

/// The request a picture came out of.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    pub request_id: String,
    /// Name of the client's key, never the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The model as the client named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Name of the upstream that drew it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The model as the upstream names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_model: Option<String>,
    /// The API path it was asked on (`/v1/images/generations`).
    pub route: String,
    /// Cut at 8 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The pictures it was made from.
    #[serde(with = "ids", skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<PictureId>,
}

opaque!(Generation { request_id, model, upstream, route });

/// A picture's record, as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    v: u32,
    #[serde(with = "id")]
    pub id: PictureId,
    /// Written as the file extension (`png`).
    #[serde(with = "format")]
    pub format: Format,
    /// The media type, for people and scripts that read the file.
    #[serde(rename = "type")]
    media_type: String,
    pub bytes: u64,
    /// Milliseconds since 1970.
    #[serde(rename = "created")]
    pub created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The archive that was seen to have picture and record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<Archived>,
    /// Neither age nor size removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
}

/// The mark of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Which archive: its endpoint, bucket and prefix. The mark means nothing to another one.
    pub place: String,
    /// When it was seen there, in milliseconds since 1970.
    #[serde(rename = "at")]
    pub at_ms: u64,
}

impl Record {
    /// A record is never larger than this many bytes.
    pub(super) const LARGEST: u64 = 1024 * 1024;

    pub(super) fn new(facts: &Facts, new: NewRecord) -> Self {
        let mut generation = new.generation;
        if let Some(prompt) = generation.as_mut().and_then(|generation| generation.prompt.as_mut()) {
            prompt.truncate(prompt.floor_char_boundary(LONGEST_PROMPT));
        }
        Self {
            v: VERSION,
            id: facts.id,
            format: facts.format,
            media_type: facts.format.media_type().to_owned(),
            bytes: facts.len,
            created_ms: facts.created_ms,
            generation,
            archived: None,
            pinned: false,
        }
    }

    /// The same record of a picture whose file says otherwise.
    pub(super) fn about(self, facts: &Facts) -> Self {
        let media_type = facts.format.media_type().to_owned();
        Self { format: facts.format, media_type, bytes: facts.len, ..self }
    }

    /// The record of a picture of which nothing else is known.
    pub fn found(facts: &Facts) -> Self {
        Self::new(facts, NewRecord::default())
    }

    /// Whether the archive of this name was seen to have it.
    pub fn is_archived_at(&self, place: &str) -> bool {
        self.archived.as_ref().is_some_and(|archived| archived.place == place)
    }

    /// What an archive gave back.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Reads a record. `None` when there is none, or none that can be understood: then the blob speaks for itself.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let damaged =
            |e: &dyn std::fmt::Display| log::warn!("a picture's record is damaged and is treated as missing: {e}");
        let json = match disk::read(path, Self::LARGEST) {
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                damaged(&e);
                None
            }
            read => read?,
        };
        Ok(json.and_then(|json| serde_json::from_slice(&json).map_err(|e| damaged(&BadJson::from(e))).ok()))
    }

    /// The same, marked as seen now in this archive, unless it was before.
    pub(super) fn marked(mut self, archive: Option<&str>) -> Self {
        if let Some(place) = archive.filter(|place| !self.is_archived_at(place)) {
            self.archived = Some(Archived { place: place.to_owned(), at_ms: unix_ms(SystemTime::now()) });
        }
        self
    }

    /// As it lies on disk and in the archive.
    pub fn to_json(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| StoreError::Json { doing: "writing a record", source: error.into() })
    }

    pub fn facts(&self) -> Facts {
        Facts { id: self.id, format: self.format, len: self.bytes, created_ms: self.created_ms }
    }
}

/// Milliseconds since 1970; 0 for a time before that.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

mod id {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::picture::PictureId;

    pub(super) fn serialize<S: Serializer>(id: &PictureId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PictureId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

mod ids {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::picture::PictureId;

    pub(super) fn serialize<S: Serializer>(ids: &[PictureId], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ids.iter().map(PictureId::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PictureId>, D::Error> {
        Ok(Vec::<String>::deserialize(from)?.iter().filter_map(|id| id.parse().ok()).collect())
    }
}

mod format {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::picture::Format;

    pub(super) fn serialize<S: Serializer>(format: &Format, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(format.extension())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Format, D::Error> {
        let extension = String::deserialize(from)?;
        Format::from_extension(&extension).ok_or_else(|| D::Error::custom("unknown picture format"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { id: PictureId::of(b"x"), format: Format::Jpeg, len: 1, created_ms: 1_700_000_000_123 }
    }

    #[test]
    fn is_written_and_read_back() {
        let generation = Generation {
            request_id: "req_1".into(),
            model: Some("gpt-image-2".into()),
            prompt: Some("a fox".into()),
            parents: vec![PictureId::of(b"parent")],
            ..Generation::default()
        };
        let record = Record::new(&facts(), NewRecord { generation: Some(generation) });
        let json = record.to_json().unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&json).unwrap(), record);

        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(value["v"], 1);
        assert_eq!(value["format"], "jpg");
        assert_eq!(value["type"], "image/jpeg");
        assert_eq!(value["created"], 1_700_000_000_123_u64);
        assert_eq!(value["generation"]["parents"][0], PictureId::of(b"parent").to_string());
    }

    #[test]
    fn fields_of_a_later_version_are_no_hindrance() {
        let id = PictureId::of(b"x");
        let json = format!(
            r#"{{"v":2,"id":"{id}","format":"png","type":"image/png","bytes":7,"created":5,"new":{{}},
                "generation":{{"request_id":"r","novel":1}}}}"#
        );
        let record: Record = serde_json::from_str(&json).unwrap();
        assert_eq!(record.bytes, 7);
        assert_eq!(record.generation.unwrap().request_id, "r");
    }

    #[test]
    fn a_long_prompt_is_cut_between_characters() {
        let generation = Generation { prompt: Some("é".repeat(LONGEST_PROMPT)), ..Generation::default() };
        let record = Record::new(&facts(), NewRecord { generation: Some(generation) });
        assert_eq!(record.generation.unwrap().prompt.unwrap().len(), LONGEST_PROMPT);
        let generation =
            Generation { prompt: Some(format!("a{}", "é".repeat(LONGEST_PROMPT))), ..Generation::default() };
        let record = Record::new(&facts(), NewRecord { generation: Some(generation) });
        assert_eq!(record.generation.unwrap().prompt.unwrap().len(), LONGEST_PROMPT - 1);
    }
}
