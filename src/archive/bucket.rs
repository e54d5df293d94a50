//! The bucket and what can be done with it.

use std::{collections::HashMap, error::Error as StdError, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, Request, header};
use opendal::{HttpTransporter, OperationContext, Operator, options::ListOptions, services::S3};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    ArchiveError, Download, Meta, Source, What,
    answer::Scrub,
    names::Names,
    upload::{Label, SIGNED_FOR},
    wire::Wire,
};
use crate::{
    config::{self, without_slash},
    picture::{Format, PictureId},
};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// RFC 3986, section 3.3: what stays as it is in a path. `+` and `&` could, and are misread by some servers.
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// Longest record read back. Ours are below 16 KiB.
const LONGEST_RECORD: usize = MIB as usize;

/// An S3-compatible bucket, under a prefix. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub(super) operator: Operator,
    pub(super) wire: Wire,
    pub(super) names: Arc<Names>,
    pub(super) limits: Limits,
}

/// How long and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time in which nothing moves, in connecting, sending, waiting or receiving. While megabytes sent are on
    /// their way in the kernel, up to three times as long.
    pub idle: Duration,
    /// Fewest bytes a second over a whole transfer, either way: a bucket that trickles is never silent. A transfer may take
    /// four times [`idle`](Self::idle), and the time its bytes need at this pace.
    pub pace: u64,
    /// Most bytes sent in one piece.
    pub whole: u64,
    /// Bytes of the parts of what is longer. Services want 5 MiB at least; two parts are in memory at a time.
    pub part: u64,
}

/// The client for the bucket could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the client for the archive could not be set up")]
pub struct SetupError(#[source] pub(super) Box<dyn StdError + Send + Sync>);

/// What the bucket knows about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub bytes: u64,
    pub content_type: Option<String>,
    /// As the service has it, without quotes.
    pub etag: Option<String>,
    /// `x-amz-meta-*`, without that prefix. Some services keep none.
    pub metadata: HashMap<String, String>,
}

/// An object of ours in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: PictureId,
    pub what: What,
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(15), pace: 4 * KIB, whole: 16 * MIB, part: 8 * MIB }
    }
}

impl Limits {
    /// Longest time for so many bytes.
    pub(super) fn time(&self, bytes: u64) -> Duration {
        self.idle * 4 + Duration::from_secs(bytes / self.pace.max(1))
    }
}

// === impl Bucket ===

impl Bucket {
    /// Connects to nothing yet.
    pub fn new(archive: &config::Archive) -> Result<Self, SetupError> {
        Self::with_limits(archive, Limits::default())
    }

    pub fn with_limits(archive: &config::Archive, limits: Limits) -> Result<Self, SetupError> {
        let wire = Wire::new(limits, Scrub::new(archive))?;
        // Nothing but the configuration counts: no environment, no files of other tools, no metadata service.
        let service = S3::default()
            .endpoint(without_slash(&archive.endpoint))
            .bucket(&archive.bucket)
            .region(&archive.region)
            .access_key_id(archive.access_key_id.expose())
            .secret_access_key(archive.secret_access_key.expose())
            .disable_config_load()
            .disable_ec2_metadata();
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(wire.clone()));
        let operator = Operator::new(service).map_err(|error| SetupError(error.into()))?.with_context(context);
        Ok(Self { operator, wire, names: Arc::new(Names::new(&archive.prefix)), limits })
    }

    /// Sends a picture and makes sure that it arrived. What was there under its name is overwritten.
    pub async fn put_picture(
        &self,
        id: PictureId,
        format: Format,
        source: &Source,
        meta: &Meta,
    ) -> Result<(), ArchiveError> {
        let label = Label { content_type: format.media_type(), metadata: meta.headers() };
        self.put(&self.names.key(id, What::Picture(format)), source, label).await
    }

    /// Sends a picture's record (JSON) and makes sure that it arrived.
    pub async fn put_record(&self, id: PictureId, json: impl Into<Bytes>) -> Result<(), ArchiveError> {
        let label = Label { content_type: "application/json", metadata: HashMap::new() };
        self.put(&self.names.key(id, What::Record), &Source::bytes(json), label).await
    }

    /// A picture's record, of 1 MiB at most.
    pub async fn get_record(&self, id: PictureId) -> Result<Bytes, ArchiveError> {
        self.get(&self.names.key(id, What::Record), None).await?.whole(LONGEST_RECORD).await
    }

    /// What the bucket knows about a picture.
    pub async fn head(&self, id: PictureId, format: Format) -> Result<Facts, ArchiveError> {
        let found = self.operator.stat(&self.names.key(id, What::Picture(format))).await?;
        Ok(Facts {
            bytes: found.content_length(),
            content_type: found.content_type().map(str::to_owned),
            etag: found.etag().map(|etag| etag.trim_matches('"').to_owned()),
            metadata: found
                .user_metadata()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    /// Begins to read a picture, or a range of it that is not empty. A range that begins behind its end is
    /// [`ArchiveError::Refused`] with status 416.
    pub async fn open(
        &self,
        id: PictureId,
        format: Format,
        range: Option<Range<u64>>,
    ) -> Result<Download, ArchiveError> {
        self.get(&self.names.key(id, What::Picture(format)), range).await
    }

    /// Removes a picture, then its record. What is not there is no error.
    pub async fn delete(&self, id: PictureId, format: Format) -> Result<(), ArchiveError> {
        for what in [What::Picture(format), What::Record] {
            self.remove(&self.names.key(id, what)).await?;
        }
        Ok(())
    }

    /// Removes whatever is there of a picture, when its format is not known (any more).
    pub async fn purge(&self, id: PictureId) -> Result<(), ArchiveError> {
        let mut objects = self.operator.lister(&self.names.of(id)).await?;
        while let Some(object) = objects.try_next().await? {
            if self.names.parse(object.path()).is_some_and(|(of, _)| of == id) {
                self.remove(object.path()).await?;
            }
        }
        Ok(())
    }

    /// The path of a picture in a URL under which the bucket can be read: its key, percent-encoded.
    pub fn path(&self, id: PictureId, format: Format) -> String {
        utf8_percent_encode(&self.names.key(id, What::Picture(format)), IN_A_PATH).to_string()
    }

    /// Our objects in the order of their ids, those behind `after`. It is asked for page by page as it is read.
    pub async fn list(
        &self,
        after: Option<PictureId>,
    ) -> Result<impl Stream<Item = Result<Found, ArchiveError>> + Send + 'static, ArchiveError> {
        let options = ListOptions {
            recursive: true,
            start_after: after.map(|id| self.names.behind(id)),
            ..ListOptions::default()
        };
        let lister = self.operator.lister_options(self.names.prefix(), options).await?;
        let names = Arc::clone(&self.names);
        Ok(lister.filter_map(move |entry| {
            let found = entry.map_err(ArchiveError::from).map(|entry| {
                let (id, what) = names.parse(entry.path())?;
                // Some services do not know `start-after`.
                let wanted = after.is_none_or(|after| id > after);
                wanted.then(|| Found { id, what, bytes: entry.metadata().content_length() })
            });
            std::future::ready(found.transpose())
        }))
    }

    /// A URL under which anyone can get this picture until it expires (7 days at most). It holds a signature: hand it out,
    /// do not log it.
    pub async fn presign_get(&self, id: PictureId, format: Format, expires: Duration) -> Result<String, ArchiveError> {
        let signed = self.operator.presign_read(&self.names.key(id, What::Picture(format)), expires).await?;
        Ok(signed.uri().to_string())
    }

    pub(super) async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Download, ArchiveError> {
        let signed = self.operator.presign_read(key, SIGNED_FOR).await?;
        let mut request = Request::new(());
        *request.method_mut() = signed.method().clone();
        *request.uri_mut() = signed.uri().clone();
        *request.headers_mut() = signed.header().clone();
        if let Some(range) = &range {
            let last = range.end.checked_sub(1).filter(|last| *last >= range.start);
            let last = last.ok_or_else(|| ArchiveError::refused("an empty range"))?;
            let value = HeaderValue::try_from(format!("bytes={}-{last}", range.start));
            request.headers_mut().insert(header::RANGE, value.map_err(|_| ArchiveError::refused("no header"))?);
        }
        Download::new(self.wire.ask(request).await?, range.as_ref())
    }

    pub(super) async fn remove(&self, key: &str) -> Result<(), ArchiveError> {
        match self.operator.delete(key).await.map_err(ArchiveError::from) {
            Err(ArchiveError::Missing) => Ok(()),
            done => done,
        }
    }
}
