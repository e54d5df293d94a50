//! What goes to the client.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::keeper::Keeper;
use crate::{
    error::{Code, Error, Result},
    rewrite::answer::AnswerRewriter,
    upstream::{BodyReader, Incoming, headers},
};

/// A rewritten answer up to this size is held until every picture in it is safe, and then sent with its exact length.
const HOLD: u64 = 256 * 1024;

/// An answer whose header can be sent.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Without `Content-Length`.
    pub headers: HeaderMap,
    /// Length of the body, when it is known.
    pub len: Option<u64>,
    /// Name of the upstream it came from.
    pub upstream: String,
    body: AnswerBody,
}

#[derive(Debug)]
enum AnswerBody {
    /// As it comes.
    Passing {
        incoming: Incoming,
        left: u64,
    },
    /// All there.
    Whole(BodyReader),
    Rewriting(Box<Rewriting>),
}

#[derive(Debug)]
struct Rewriting {
    incoming: Incoming,
    left: u64,
    rewriter: AnswerRewriter,
    keeper: Keeper,
    ready: BodyReader,
    ended: bool,
}

impl Answer {
    /// The upstream's answer as it comes.
    pub(super) fn passing(incoming: Incoming, upstream: &str, limit: u64) -> Self {
        let headers = headers::for_client(&incoming.headers);
        let len = incoming.header(header::CONTENT_LENGTH).and_then(|len| len.parse().ok());
        let status = incoming.status;
        Self {
            status,
            headers,
            len,
            upstream: upstream.to_owned(),
            body: AnswerBody::Passing { incoming, left: limit },
        }
    }

    /// The upstream's answer with its pictures kept and their places rewritten. Returns when the header can be sent.
    ///
    /// # Errors
    /// When the upstream breaks off, or a picture cannot be kept, before anything was sent.
    pub(super) async fn rewriting(
        incoming: Incoming,
        upstream: &str,
        limit: u64,
        rewriter: AnswerRewriter,
        keeper: Keeper,
    ) -> Result<Self> {
        let mut headers = headers::for_client(&incoming.headers);
        let status = incoming.status;
        let mut rewriting = Rewriting {
            incoming,
            left: limit,
            rewriter,
            keeper,
            ready: crate::upstream::Body::default().reader(),
            ended: false,
        };
        while !rewriting.ended && rewriting.keeper.pending() <= HOLD {
            rewriting.pull().await?;
        }
        let held = rewriting.keeper.settle().await?;
        // SDKs read an answer as JSON only when it says that it is.
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let upstream = upstream.to_owned();
        if rewriting.ended {
            let body = AnswerBody::Whole(held.reader());
            return Ok(Self { status, headers, len: Some(held.len()), upstream, body });
        }
        rewriting.ready = held.reader();
        Ok(Self { status, headers, len: None, upstream, body: AnswerBody::Rewriting(Box::new(rewriting)) })
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the rest cannot be had. The client must not take what it has for all.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match &mut self.body {
            AnswerBody::Whole(reader) => Ok(reader.next().await?),
            AnswerBody::Passing { incoming, left } => bounded(incoming, left).await,
            AnswerBody::Rewriting(rewriting) => rewriting.next().await,
        }
    }
}

impl Rewriting {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(piece) = self.ready.next().await? {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            self.pull().await?;
            self.ready = self.keeper.settle().await?.reader();
        }
    }

    /// Rewrites one piece of the upstream's answer.
    async fn pull(&mut self) -> Result<()> {
        let events = match bounded(&mut self.incoming, &mut self.left).await? {
            Some(piece) => self.rewriter.push(&piece),
            None => {
                self.ended = true;
                self.rewriter.finish()
            }
        };
        self.keeper.take(events).await
    }
}

/// The next piece of an upstream's answer, within what is left of its limit.
async fn bounded(incoming: &mut Incoming, left: &mut u64) -> Result<Option<Bytes>> {
    let piece = incoming.chunk().await?;
    let len = piece.as_ref().map_or(0, |piece| piece.len() as u64);
    *left = left.checked_sub(len).ok_or_else(|| {
        Error::new(Code::UpstreamTooLarge, "The upstream's answer is larger than this gateway's limit.")
    })?;
    Ok(piece)
}
