//! A picture on its way in.

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::{FetchError, fetcher::failure};
use crate::{
    opaque::opaque,
    picture::{Format, Sniff, sniff},
};

/// Most bytes looked at to tell what something is. What is held is this and one read of the socket.
const LOOK: usize = 64 * 1024;

/// A picture on its way in: its format is known, its bytes are still to be read.
///
/// Dropping it closes the connection.
pub struct Fetched {
    format: Format,
    head: Option<Bytes>,
    body: Body,
}

opaque!(Fetched { format, body });

/// The bytes of an answer under the limits of one fetch.
pub(super) struct Body {
    state: State,
    declared: Option<u64>,
    left: u64,
    limit: u64,
    deadline: Instant,
}

opaque!(Body { declared, left, limit });

enum State {
    Open(Response),
    Ended,
    Broken(FetchError),
}

// === impl Fetched ===

impl Fetched {
    pub(super) async fn open(mut body: Body) -> Result<Self, FetchError> {
        let (format, head) = look(&mut body).await?;
        Ok(Self { format, head: Some(head), body })
    }

    /// What it is by its first bytes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its size, if the server said so.
    ///
    /// A body of any other size is an error of [`chunk`](Self::chunk), so the figure may be relied on.
    pub fn declared_len(&self) -> Option<u64> {
        self.body.declared
    }

    /// The next bytes; `None` after the last. All chunks together are the whole picture, from its first byte.
    ///
    /// The deadline of the fetch runs on while nobody reads: put the bytes where they are safe first, and wait for slow
    /// neighbours afterwards. After an error the same error comes again, never an end. May be cancelled between bytes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        match self.head.take() {
            Some(head) => Ok(Some(head)),
            None => self.body.chunk().await,
        }
    }
}

/// Reads until the bytes say what they are.
async fn look(body: &mut Body) -> Result<(Format, Bytes), FetchError> {
    let mut head = BytesMut::new();
    let mut looked_at = 0;
    loop {
        let chunk = body.chunk().await?;
        let ended = chunk.is_none();
        head.extend_from_slice(&chunk.unwrap_or_default());
        let enough = ended || head.len() >= LOOK;
        // Looking again only when there is twice as much keeps a byte-wise sender from making us read it all each time.
        if !enough && head.len() < 2 * looked_at {
            continue;
        }
        looked_at = head.len();
        match sniff(&head) {
            Sniff::Picture(format) => return Ok((format, head.freeze())),
            Sniff::More if !enough => {}
            // Only a JPEG can be this far without its size: profiles and previews come before it, as long as they like.
            Sniff::More if !ended && head.starts_with(b"\xff\xd8\xff") => return Ok((Format::Jpeg, head.freeze())),
            Sniff::More | Sniff::No => return Err(FetchError::NotAPicture),
        }
    }
}

// === impl Body ===

impl Body {
    /// Refuses an answer that is too large by its own word.
    pub(super) fn new(response: Response, limit: u64, deadline: Instant) -> Result<Self, FetchError> {
        let declared = response.content_length();
        if declared.is_some_and(|len| len > limit) {
            return Err(FetchError::TooLarge { limit });
        }
        Ok(Self { state: State::Open(response), declared, left: limit, limit, deadline })
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        let response = match &mut self.state {
            State::Open(response) => response,
            State::Ended => return Ok(None),
            State::Broken(error) => return Err(*error),
        };
        let result = match timeout_at(self.deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) => match self.left.checked_sub(chunk.len() as u64) {
                Some(left) => {
                    self.left = left;
                    return Ok(Some(chunk));
                }
                None => Err(FetchError::TooLarge { limit: self.limit }),
            },
            Ok(Ok(None)) => Ok(None),
            Ok(Err(error)) => Err(failure(&error, self.deadline)),
            Err(_) => Err(FetchError::TimedOut),
        };
        // Drops the response, and with it the connection.
        self.state = result.as_ref().err().map_or(State::Ended, |error| State::Broken(*error));
        result
    }
}
