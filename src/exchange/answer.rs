//! What goes to the client.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{keeper::Keeper, rewriter::Rewriter};
use crate::{
    config::Upstream,
    error::{Code, Error, Result},
    opaque::opaque,
    upstream::{Arriving, Body, BodyReader, Failure, Incoming, headers},
};

/// A rewritten answer up to this size is held until every picture in it is safe, and then sent with its exact length.
const HOLD: u64 = 256 * 1024;
/// So much of what has come is rewritten before something goes out. Then ten small events that came together cost one
/// write to the client, not ten.
const TURN: u64 = 64 * 1024;

/// An answer whose header can be sent.
pub struct Answer {
    pub status: StatusCode,
    /// Without `Content-Length`.
    pub headers: HeaderMap,
    /// Length of the body, when it is known.
    pub len: Option<u64>,
    /// Name of the upstream it came from.
    pub upstream: String,
    /// It is a stream of events: errors can be told, and comments sent, between them.
    pub is_events: bool,
    body: AnswerBody,
}

opaque!(Answer { status, len, upstream, is_events });

enum AnswerBody {
    /// As it comes.
    Passing {
        incoming: Box<Incoming>,
        left: u64,
    },
    /// All there.
    Whole(BodyReader),
    Rewriting(Box<Rewriting>),
}

struct Rewriting {
    arriving: Arriving,
    /// The end of the body is told by its framing, not by the connection's.
    framed: bool,
    left: u64,
    rewriter: Rewriter,
    keeper: Keeper,
    ready: BodyReader,
    /// What is ready ends between two events.
    whole_events: bool,
    ended: bool,
    /// Why nothing more comes, after what is ready.
    failed: Option<Error>,
}

impl Answer {
    /// The upstream's answer as it comes.
    pub(super) fn passing(incoming: Incoming, upstream: &Upstream, limit: u64) -> Self {
        let headers = headers::for_client(&incoming.headers, upstream);
        let len = incoming.header(header::CONTENT_LENGTH).and_then(|len| len.parse().ok());
        let status = incoming.status;
        let body = AnswerBody::Passing { incoming: Box::new(incoming), left: limit };
        Self { status, headers, len, upstream: upstream.name.clone(), is_events: false, body }
    }

    /// The upstream's answer with its pictures kept and their places rewritten. Returns when the header can be sent: for
    /// JSON when it is complete or too long to be held, for events at once.
    ///
    /// # Errors
    /// When the upstream breaks off, or a picture cannot be kept, before anything was sent.
    pub(super) async fn rewriting(
        incoming: Incoming,
        upstream: &Upstream,
        limit: u64,
        rewriter: Rewriter,
        keeper: Keeper,
    ) -> Result<Self> {
        let mut headers = headers::for_client(&incoming.headers, upstream);
        let status = incoming.status;
        let upstream = upstream.name.clone();
        let is_events = rewriter.is_events();
        let ready = Body::default().reader();
        let mut rewriting = Rewriting {
            framed: incoming.is_framed(),
            arriving: Arriving::new(incoming),
            left: limit,
            rewriter,
            keeper,
            ready,
            whole_events: true,
            ended: false,
            failed: None,
        };
        if is_events {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        } else {
            if matches!(rewriting.rewriter, Rewriter::Raw(_)) {
                headers.remove(header::CONTENT_TYPE);
                headers.remove(header::CONTENT_DISPOSITION);
            }
            // SDKs read an answer as JSON only when it says that it is.
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            while !rewriting.ended && rewriting.keeper.pending() <= HOLD {
                rewriting.pull().await?;
            }
            let held = rewriting.keeper.settle_all().await?;
            if rewriting.ended {
                let body = AnswerBody::Whole(held.reader());
                return Ok(Self { status, headers, len: Some(held.len()), upstream, is_events, body });
            }
            rewriting.ready = held.reader();
        }
        Ok(Self { status, headers, len: None, upstream, is_events, body: AnswerBody::Rewriting(Box::new(rewriting)) })
    }

    /// Whether everything given out so far ends between two events.
    pub fn is_between_events(&self) -> bool {
        match &self.body {
            AnswerBody::Rewriting(rewriting) => rewriting.rewriter.is_events() && rewriting.whole_events,
            AnswerBody::Whole(_) | AnswerBody::Passing { .. } => false,
        }
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the rest cannot be had. The client must not take what it has for all.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match &mut self.body {
            AnswerBody::Whole(reader) => Ok(reader.next().await?),
            AnswerBody::Passing { incoming, left } => within(incoming.chunk().await?, left),
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
            if !self.keeper.has_whole() {
                if let Some(error) = self.failed.take() {
                    return Err(error);
                }
                if self.ended && !self.keeper.is_waiting() {
                    return Ok(None);
                }
                self.fetch().await?;
            }
            self.whole_events = self.keeper.has_whole() || self.rewriter.is_between_events();
            self.ready = self.keeper.give_out().await?.reader();
        }
    }

    /// Rewrites until something may go out.
    async fn fetch(&mut self) -> Result<()> {
        // An event with a picture in it goes out as a whole, so that an error can still be told; unless it is long (base64
        // that is passed on). The events before it do not wait for it.
        while !self.ended {
            self.turn().await?;
            if self.keeper.has_whole() || self.rewriter.is_between_events() || self.keeper.pending() > HOLD {
                break;
            }
        }
        Ok(())
    }

    /// Rewrites the next piece of the upstream's answer, and those behind it that have come already.
    ///
    /// # Errors
    /// When the upstream breaks off. Whole events that came before that are first to go out.
    async fn turn(&mut self) -> Result<()> {
        let left = self.left;
        self.pull().await?;
        while !self.ended
            && left - self.left < TURN
            && let Some(piece) = self.arriving.arrived()
        {
            let taken = self.take(piece).await;
            match taken {
                Err(error) if self.keeper.has_whole() => {
                    self.failed = Some(error);
                    break;
                }
                taken => taken?,
            }
        }
        Ok(())
    }

    /// Rewrites the next piece of the upstream's answer.
    async fn pull(&mut self) -> Result<()> {
        let piece = self.arriving.chunk().await;
        self.take(piece).await
    }

    async fn take(&mut self, piece: Result<Option<Bytes>, Failure>) -> Result<()> {
        let events = match within(piece?, &mut self.left)? {
            Some(piece) => self.rewriter.push(&piece),
            None => {
                // Without a framing, only the text itself can tell that the connection ended too soon.
                if self.rewriter.is_incomplete() && !self.framed {
                    return Err(Failure::Broken.into());
                }
                self.ended = true;
                let events = self.rewriter.finish();
                self.keeper.left_out(self.rewriter.left_out());
                events
            }
        };
        self.keeper.take(events).await?;
        if self.ended || self.rewriter.is_between_events() {
            self.keeper.all_whole();
        }
        Ok(())
    }
}

/// A piece of an upstream's answer, if it is within what is left of its limit.
fn within(piece: Option<Bytes>, left: &mut u64) -> Result<Option<Bytes>> {
    let len = piece.as_ref().map_or(0, |piece| piece.len() as u64);
    *left = left.checked_sub(len).ok_or_else(|| {
        Error::new(Code::UpstreamTooLarge, "The upstream's answer is larger than this gateway's limit.")
    })?;
    Ok(piece)
}
