//! What can go wrong with a bucket, by meaning.

use std::{error::Error as StdError, fmt, io, sync::Arc, time::Duration};

use opendal::ErrorKind;

/// Why an operation on the bucket failed. None of it ever holds a key, a signature or a URL.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is no such object.
    #[error("the bucket has no such object")]
    Missing,
    /// The credentials are wrong, or may not do this.
    #[error("the bucket does not let us: {0}")]
    Denied(Said),
    /// No connection, or one that broke.
    #[error("the bucket cannot be reached: {0}")]
    Unreachable(String),
    /// Nothing moved for so long, or the whole was not done within it.
    #[error("the bucket was silent or too slow for {0:?}")]
    Timeout(Duration),
    /// It has trouble now and asks to come again: 429, 5xx, `SlowDown`.
    #[error("the bucket is busy: {0}")]
    Busy(Said),
    /// It answers, and coming again as it is will not help.
    #[error("the bucket refuses: {0}")]
    Refused(Said),
    /// What is in the bucket is not what was sent.
    #[error("the bucket holds something else than what was sent: {0}")]
    Mismatch(String),
    /// The local file could not be read.
    #[error("the file to be archived cannot be read: {0}")]
    Local(Arc<io::Error>),
}

/// What the service said, cleaned and cut (see `answer.rs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The HTTP status; `None` when it was not an HTTP answer that told.
    pub status: Option<u16>,
    /// S3's word for it (`SlowDown`); empty when there was none.
    pub code: String,
    /// For people; may be empty.
    pub message: String,
}

// === impl ArchiveError ===

impl ArchiveError {
    /// Whether the same may go well later with nothing changed by anyone.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout(_) | Self::Busy(_) | Self::Mismatch(_))
    }

    /// S3's word for what is wrong (`NoSuchBucket`), if it had one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Denied(said) | Self::Busy(said) | Self::Refused(said) => {
                Some(said.code.as_str()).filter(|code| !code.is_empty())
            }
            _ => None,
        }
    }

    /// For a refusal that came from no answer.
    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(Said { message: message.into(), ..Said::default() })
    }
}

/// OpenDAL passes on what `Wire` says; the little it finds itself (an answer that is no XML) is told
/// by its kind alone, since its texts hold URLs.
impl From<opendal::Error> for ArchiveError {
    fn from(error: opendal::Error) -> Self {
        let ours = error.source().and_then(|source| source.downcast_ref::<Self>());
        match (ours, error.kind()) {
            (Some(ours), _) => ours.clone(),
            (None, ErrorKind::NotFound) => Self::Missing,
            (None, kind) => Self::refused(format!("its answer cannot be used ({kind})")),
        }
    }
}

impl From<ArchiveError> for opendal::Error {
    fn from(error: ArchiveError) -> Self {
        let kind = match error {
            ArchiveError::Missing => ErrorKind::NotFound,
            ArchiveError::Denied(_) => ErrorKind::PermissionDenied,
            ArchiveError::Busy(_) => ErrorKind::RateLimited,
            _ => ErrorKind::Unexpected,
        };
        Self::new(kind, "").set_source(error)
    }
}

// === impl Said ===

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map(|status| status.to_string()).unwrap_or_default();
        let mut between = "";
        for part in [status.as_str(), &self.code, &self.message].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{between}{part}")?;
            between = " ";
        }
        Ok(())
    }
}
