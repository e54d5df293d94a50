//! Taking in what the archive has, for a machine that does not know it: the records, not the pictures.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    archive::{ArchiveError, Bucket, Found, What},
    picture::{Format, PictureId},
    store::{Facts, Progress, Rebuild, Record, StoreError},
};

/// Records fetched at once.
const PARALLEL: usize = 16;

/// What was taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Pictures in the archive.
    pub pictures: u64,
    /// Of these, the ones that were not known here.
    pub taken: u64,
    /// Those that should have been and could not.
    pub failed: u64,
}

/// A picture in the bucket.
#[derive(Clone, Copy, Debug)]
struct Listed {
    id: PictureId,
    format: Format,
    bytes: u64,
    has_record: bool,
}

/// Goes through the bucket once. A picture whose record is not there (its machine was lost just then) gets one made of
/// what the bucket says. A record without its picture is passed over.
///
/// # Errors
/// When the bucket cannot be listed. A single record that cannot be fetched is counted and logged.
pub async fn take_in(bucket: &Bucket, rebuild: &Rebuild, progress: &Progress) -> Result<Taken, ArchiveError> {
    let objects = bucket.list(None).await?;
    let pictures = stream::try_unfold((Box::pin(objects), None), |(mut objects, mut before)| async move {
        // The objects of one picture are neighbours.
        loop {
            let next = objects.try_next().await?;
            let (complete, rest) = join(before, next);
            if let Some(picture) = complete {
                return Ok(Some((picture, (objects, rest))));
            }
            if next.is_none() {
                return Ok(None);
            }
            before = rest;
        }
    });
    let mut taken = Taken::default();
    let mut outcomes = pictures
        .map_ok(|listed| async move {
            let outcome = take(bucket, rebuild, listed).await;
            progress.picture(&listed.id);
            Ok::<_, ArchiveError>(outcome)
        })
        .try_buffer_unordered(PARALLEL)
        .boxed_local();
    while let Some(outcome) = outcomes.try_next().await? {
        taken.pictures += 1;
        match outcome {
            Ok(true) => taken.taken += 1,
            Ok(false) => {}
            Err(why) => {
                taken.failed += 1;
                log::warn!("{why}");
            }
        }
    }
    Ok(taken)
}

/// What has been seen of one picture so far.
#[derive(Clone, Copy, Debug)]
struct Seen {
    id: PictureId,
    picture: Option<(Format, u64)>,
    has_record: bool,
}

/// Joins an object with those before it, and gives out the picture before when that is complete.
fn join(before: Option<Seen>, next: Option<Found>) -> (Option<Listed>, Option<Seen>) {
    let Some(next) = next else { return (before.and_then(Seen::listed), None) };
    let same = before.filter(|seen| seen.id == next.id);
    let mut seen = same.unwrap_or(Seen { id: next.id, picture: None, has_record: false });
    match next.what {
        What::Picture(format) => seen.picture = Some((format, next.bytes)),
        What::Record => seen.has_record = true,
    }
    let complete = if same.is_some() { None } else { before.and_then(Seen::listed) };
    (complete, Some(seen))
}

impl Seen {
    fn listed(self) -> Option<Listed> {
        let (format, bytes) = self.picture?;
        Some(Listed { id: self.id, format, bytes, has_record: self.has_record })
    }
}

async fn take(bucket: &Bucket, rebuild: &Rebuild, listed: Listed) -> Result<bool, String> {
    let Listed { id, .. } = listed;
    let of_the_store = |error: StoreError| format!("the record of picture {id} could not be kept: {error}");
    if rebuild.knows(&id).map_err(of_the_store)? {
        return Ok(false);
    }
    let record = record(bucket, listed).await.map_err(|error| format!("the record of picture {id}: {error}"))?;
    rebuild.adopt(record).map_err(of_the_store)
}

async fn record(bucket: &Bucket, listed: Listed) -> Result<Record, ArchiveError> {
    let Listed { id, format, bytes, has_record } = listed;
    if has_record {
        let fits = |record: &Record| (record.id, record.format, record.bytes) == (id, format, bytes);
        if let Some(record) = Record::from_json(&bucket.get_record(id).await?).filter(fits) {
            return Ok(record);
        }
    }
    let there = bucket.head(id, format).await?;
    let created = there.metadata.get("created").and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let created = created.map_or_else(SystemTime::now, |since| UNIX_EPOCH + since);
    let since = created.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let created_ms = u64::try_from(since).unwrap_or(u64::MAX);
    Ok(Record::found(&Facts { id, format, len: bytes, created_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_and_records_alone_passed_over() {
        let [a, b, c, d] = [b"a", b"b", b"c", b"d"].map(|text| PictureId::of(text));
        let object = |id, what| Found { id, what, bytes: 7 };
        let (png, jpg) = (What::Picture(Format::Png), What::Picture(Format::Jpeg));
        let objects =
            [object(a, What::Record), object(a, png), object(b, What::Record), object(c, jpg), object(d, png)];
        let mut before = None;
        let mut all = Vec::new();
        for next in objects.into_iter().map(Some).chain([None]) {
            let (complete, rest) = join(before, next);
            all.extend(complete.map(|listed| (listed.id, listed.format, listed.has_record)));
            before = rest;
        }
        assert_eq!(all, [(a, Format::Png, true), (c, Format::Jpeg, false), (d, Format::Png, false)]);
    }
}
