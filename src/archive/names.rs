//! What things are called in the bucket: `{prefix}{id}.{ext}` and `{prefix}{id}.json`.

use crate::picture::{Format, PictureId};

/// The names under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

/// What an object of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    Picture(Format),
    Record,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn key(&self, id: PictureId, what: What) -> String {
        let extension = match what {
            What::Picture(format) => format.extension(),
            What::Record => "json",
        };
        format!("{}{id}.{extension}", self.prefix)
    }

    /// What the keys of all objects of this picture begin with.
    pub(super) fn of(&self, id: PictureId) -> String {
        format!("{}{id}.", self.prefix)
    }

    /// A key no object has, behind every object of this picture in the order of a listing and before the next picture's.
    pub(super) fn behind(&self, id: PictureId) -> String {
        format!("{}{id}.~", self.prefix)
    }

    /// The key of an object that is neither picture nor record.
    pub(super) fn other(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// What this key names, unless it is none of ours.
    pub(super) fn parse(&self, key: &str) -> Option<(PictureId, What)> {
        let (id, extension) = key.strip_prefix(&self.prefix)?.split_once('.')?;
        let what = match extension {
            "json" => What::Record,
            extension => What::Picture(Format::from_extension(extension)?),
        };
        Some((id.parse().ok()?, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_prefix_as_written_and_the_name() {
        let id = PictureId::of(b"x");
        for prefix in ["", "a/", "a", "with space/ü+%&=/"] {
            let names = Names::new(prefix);
            let picture = names.key(id, What::Picture(Format::Jpeg));
            assert_eq!(picture, format!("{prefix}{id}.jpg"));
            let record = names.key(id, What::Record);
            assert_eq!(record, format!("{prefix}{id}.json"));
            assert_eq!(names.parse(&picture), Some((id, What::Picture(Format::Jpeg))));
            assert_eq!(names.parse(&record), Some((id, What::Record)));
            assert!(names.behind(id) > record && names.behind(id) > picture);
        }
    }

    #[test]
    fn keys_of_others_are_none_of_ours() {
        let (names, id) = (Names::new("p/"), PictureId::of(b"x"));
        let upper = id.to_string().to_uppercase();
        for key in [
            String::new(),
            "p/".into(),
            format!("{id}.png"),
            format!("q/{id}.png"),
            format!("p/{id}"),
            format!("p/{id}.exe"),
            format!("p/{id}.png.bak"),
            format!("p/a/{id}.png"),
            format!("p/{upper}.png"),
        ] {
            assert_eq!(names.parse(&key), None, "{key}");
        }
    }
}
