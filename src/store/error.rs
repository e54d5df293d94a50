//! What can go wrong while keeping or finding a picture.

use std::{io, time::Duration};

use serde_json::error::Category;

use crate::{Code, Error};

/// When to come back after spools have reached a limit: most requests take a few seconds to arrive.
const SPOOLS_CLEAR_IN: Duration = Duration::from_secs(5);

/// A failure of the store. Its text names no path of this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full, a quota is used up, or less than `store.min_free` is left.
    #[error("no room is left to keep it")]
    Full,
    /// Spools take as much of the disk as the named setting allows.
    #[error("the spools on the disk have reached {0}")]
    SpoolLimit(&'static str),
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
    /// What was written is no raster picture.
    #[error("the bytes are no picture")]
    NotAPicture,
    /// A file under `state/` is not what was asked for.
    #[error("state/{name}.json cannot be understood: {source}")]
    State { name: String, source: BadJson },
    /// A record, or a file of state, cannot be written down.
    #[error("{doing}: {source}")]
    Json { doing: &'static str, source: BadJson },
    /// A file under `state/` cannot have this name.
    #[error("no name for a file of state")]
    BadName,
    /// The index is still opening, being rebuilt, or held by another process.
    #[error("the index is not open")]
    IndexClosed,
    /// The index failed; it is being opened again.
    #[error("the index failed")]
    Index,
    /// It was deleted meanwhile, or is not what its record says.
    #[error("the picture is gone")]
    Gone,
    /// An earlier step on the same value failed, or the runtime is stopping.
    #[error("the work was cut off")]
    CutOff,
}

/// JSON that cannot be understood: the kind of mistake, and where it is. The parser's own message quotes values, and those
/// are keys and prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at line {line}, column {column}")]
pub struct BadJson {
    kind: &'static str,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for BadJson {
    fn from(error: serde_json::Error) -> Self {
        let kind = match error.classify() {
            Category::Syntax => "no JSON",
            Category::Data => "a value of another type than expected",
            Category::Eof => "the text ends too early",
            Category::Io => "it cannot be read or written",
        };
        Self { kind, line: error.line(), column: error.column() }
    }
}

/// Names what an I/O call was for.
pub(super) trait Doing<T> {
    /// Turns the error into a [`StoreError`]: "no space" and "over quota" become [`StoreError::Full`].
    fn doing(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::Io { doing: what, source },
        })
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Error::new(Code::StorageFull, "there is no room to keep the picture"),
            StoreError::SpoolLimit(setting) => Error::new(
                Code::Unavailable,
                format!(
                    "The gateway is receiving as many request bodies and images as {setting} allows. Try again soon."
                ),
            )
            .retry_after(SPOOLS_CLEAR_IN),
            _ => Error::new(Code::StorageFailed, "the picture could not be kept or read"),
        }
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::CutOff))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression 10.5: the message quoted the value, so a key out of `state/` came to stand in the log.
    #[test]
    fn what_is_wrong_with_json_is_told_without_its_values() {
        for (json, told) in [
            (r#""a-secret""#, "a value of another type than expected at line 1, column 10"),
            (r#"["a-secret" "a-secret"]"#, "no JSON at line 1, column 13"),
            (r#"["a-secret"#, "the text ends too early at line 1, column 10"),
        ] {
            let source = BadJson::from(serde_json::from_str::<Vec<String>>(json).unwrap_err());
            let error = StoreError::State { name: "keys".to_owned(), source };
            assert_eq!(error.to_string(), format!("state/keys.json cannot be understood: {told}"));
            assert!(!format!("{error:?}").contains("a-secret"));
        }
    }

    #[test]
    fn a_full_disk_is_told_apart_and_no_path_is_shown() {
        let full: StoreError = Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull)).doing("writing").unwrap_err();
        assert!(matches!(full, StoreError::Full));
        assert_eq!(Error::from(full).code(), Code::StorageFull);

        let missing = std::fs::File::open("/no/such/path").doing("opening a picture").unwrap_err();
        assert!(!missing.to_string().contains("/no"), "{missing}");
        assert_eq!(Error::from(missing).code(), Code::StorageFailed);
    }
}
