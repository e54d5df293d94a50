//! Why a picture was not fetched.

use crate::{Code, Error};

/// Why a picture was not fetched, in words its sender may read.
///
/// Carries no source: what the network said is logged where it happened and goes no further, because the difference
/// between a closed port and a silent one is what a port scanner asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Not an absolute URL, or one too long to be meant.
    #[error("the image URL is not a valid http or https URL")]
    InvalidUrl,
    /// The address, port, scheme or user info is refused.
    #[error("the image URL points to an address this gateway may not fetch from")]
    Blocked,
    /// Unknown name, closed port, broken TLS, not 200, too many redirects, an encoded or broken-off answer.
    #[error("the image could not be fetched")]
    Failed,
    /// Over `fetch.max_bytes`.
    #[error("the image is larger than the {limit} bytes this gateway fetches")]
    TooLarge {
        /// `fetch.max_bytes`.
        limit: u64,
    },
    /// Something came, but its bytes are no picture.
    #[error("the image URL does not lead to an image in a supported format")]
    NotAPicture,
    /// `fetch.timeout` went by before the last byte.
    #[error("the image could not be fetched in time")]
    TimedOut,
}

impl From<FetchError> for Error {
    fn from(error: FetchError) -> Self {
        let code = match error {
            FetchError::InvalidUrl | FetchError::NotAPicture => Code::InvalidImageUrl,
            FetchError::Blocked => Code::ImageFetchBlocked,
            FetchError::Failed | FetchError::TimedOut => Code::ImageFetchFailed,
            FetchError::TooLarge { .. } => Code::ImageTooLarge,
        };
        Error::new(code, error.to_string())
    }
}
