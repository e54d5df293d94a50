//! The HTTP client all requests to the bucket go through, OpenDAL's too.
//!
//! It has two rules of its own. An attempt is never **idle** for longer than [`Limits::idle`](super::Limits): a piece of the
//! body taken by the connection or a piece of the answer is progress. And its whole time is bounded by its bytes and
//! [`Limits::pace`](super::Limits), so that a bucket that trickles does not hold a place for ever.

use std::{
    error::Error as StdError,
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use opendal::{Buffer, HttpBody, HttpTransport};
use reqwest::Client;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    ArchiveError, Limits, SetupError,
    answer::{self, Scrub},
};
use crate::{opaque::opaque, trust};

/// Bytes handed to the connection at a time. Small, since each one is a sign of life.
const FRAME: usize = 64 * 1024;
/// How much of an error's body is read.
const ERROR_BODY: usize = 16 * 1024;
/// Longest answer that is read whole. A page of a listing (1000 keys of at most 1 KiB) stays below.
const WHOLE: usize = 4 * 1024 * 1024;

/// A client for one bucket's service. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    client: Client,
    limits: Limits,
    scrub: Arc<Scrub>,
}

/// A successful answer whose body is still to come.
pub(super) struct Answer {
    wire: Wire,
    response: reqwest::Response,
    /// Longest time for the body, and when it is over.
    time: Duration,
    deadline: Instant,
}

opaque!(Answer { time });

/// A request's body under way.
struct Feed {
    pieces: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + Sync>>,
    piece: Bytes,
    left: u64,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    moved: Notify,
    /// Bytes handed to the connection.
    sent: AtomicU64,
    /// Why the body could not be read.
    failed: OnceLock<Arc<io::Error>>,
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(limits: Limits, scrub: Scrub) -> Result<Self, SetupError> {
        // No redirects: a signature holds for one host and path.
        let client = trust::client(trust::roots()).map_err(|error| SetupError(error.into()))?;
        let client = client.connect_timeout(limits.idle).build().map_err(|error| SetupError(error.into()))?;
        Ok(Self { client, limits, scrub: Arc::new(scrub) })
    }

    /// Sends a request with a body of `len` bytes.
    pub(super) async fn send<S>(&self, request: Request<S>, len: u64) -> Result<Answer, ArchiveError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
    {
        let (parts, pieces) = request.into_parts();
        let progress = Arc::new(Progress::default());
        let mut request = self.client.request(parts.method.clone(), parts.uri.to_string()).headers(parts.headers);
        if len > 0 || parts.method == Method::PUT {
            let feed =
                Feed { pieces: Box::pin(pieces), piece: Bytes::new(), left: len, progress: Arc::clone(&progress) };
            request = request.body(reqwest::Body::wrap(feed));
        }
        let time = self.limits.time(len);
        let sent = timeout(time, progress.watch(request.send(), self.limits.idle)).await;
        let response = sent.map_err(|_| ArchiveError::Timeout(time))??;
        let response = response.map_err(|error| match progress.failed.get() {
            Some(error) => ArchiveError::Local(Arc::clone(error)),
            None => self.broken(&error),
        })?;
        let time = self.limits.time(response.content_length().unwrap_or(WHOLE as u64));
        let answer = Answer { wire: self.clone(), response, time, deadline: Instant::now() + time };
        if answer.response.status().is_success() { Ok(answer) } else { Err(answer.into_error().await) }
    }

    /// Sends a request without a body.
    pub(super) async fn ask(&self, request: Request<()>) -> Result<Answer, ArchiveError> {
        self.send(request.map(|()| stream::empty()), 0).await
    }

    /// Why there is no answer, or no more of it.
    fn broken(&self, error: &reqwest::Error) -> ArchiveError {
        if error.is_timeout() {
            return ArchiveError::Timeout(self.limits.idle);
        }
        // The client's own words hold the URL; the innermost cause says what happened.
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let cause = causes.last().map_or_else(|| "no answer".to_owned(), ToString::to_string);
        ArchiveError::Unreachable(self.scrub.clean(&cause))
    }
}

impl HttpTransport for Wire {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<http::Response<HttpBody>> {
        let len = request.body().len() as u64;
        let answer = self.send(request.map(|body| stream::iter(body.map(Ok))), len).await?;
        let (status, headers) = (answer.response.status(), answer.headers().clone());
        let body = answer.whole().await?;
        let len = body.len() as u64;
        let mut response = http::Response::new(HttpBody::new(stream::iter([Ok(Buffer::from(body))]), Some(len)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next bytes of the body; `None` at its end. A body that ends too early is an error.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, ArchiveError> {
        let (idle, now) = (self.wire.limits.idle, Instant::now());
        let (end, time) = match now + idle {
            silence if silence < self.deadline => (silence, idle),
            _ => (self.deadline, self.time),
        };
        if now >= self.deadline {
            return Err(ArchiveError::Timeout(self.time));
        }
        let piece = timeout_at(end, self.response.chunk());
        let piece = piece.await.map_err(|_| ArchiveError::Timeout(time))?;
        piece.map_err(|error| self.wire.broken(&error))
    }

    /// The whole body, if it is small.
    pub(super) async fn whole(mut self) -> Result<Bytes, ArchiveError> {
        let body = self.beginning(WHOLE).await?;
        if body.len() > WHOLE {
            return Err(ArchiveError::refused("its answer is too long"));
        }
        Ok(body.into())
    }

    async fn into_error(mut self) -> ArchiveError {
        // Half an error's body is as good as none.
        let body = self.beginning(ERROR_BODY).await.unwrap_or_default();
        answer::error(self.response.status(), &body, &self.wire.scrub)
    }

    /// Reads on until there are more bytes than this, or all.
    async fn beginning(&mut self, enough: usize) -> Result<Vec<u8>, ArchiveError> {
        let mut body = Vec::new();
        while body.len() <= enough {
            let Some(piece) = self.piece().await? else { break };
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

// === impl Feed ===

impl Body for Feed {
    type Data = Bytes;
    type Error = Arc<io::Error>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        while self.piece.is_empty() {
            match self.pieces.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Ok(piece))) => self.piece = piece,
                Poll::Ready(Some(Err(error))) => {
                    let error = Arc::clone(self.progress.failed.get_or_init(|| Arc::new(error)));
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        let fits = self.piece.len().min(FRAME);
        let frame = self.piece.split_to(fits);
        self.left = self.left.saturating_sub(frame.len() as u64);
        self.progress.sent.fetch_add(frame.len() as u64, Ordering::Relaxed);
        self.progress.moved.notify_one();
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

// === impl Progress ===

impl Progress {
    /// Waits for this work as long as something moves.
    async fn watch<T>(&self, work: impl Future<Output = T>, idle: Duration) -> Result<T, ArchiveError> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = self.moved.notified() => {}
                () = sleep(self.patience(idle)) => return Err(ArchiveError::Timeout(idle)),
            }
        }
    }

    /// How long nothing may move. What was handed to the kernel (a few MiB at most) is out of our sight, and on a slow
    /// line still on its way long after the last sign of life: half the idle time more for each MiB, up to four.
    fn patience(&self, idle: Duration) -> Duration {
        let sent = u32::try_from(self.sent.load(Ordering::Relaxed) >> 20).unwrap_or(u32::MAX);
        idle + idle / 2 * sent.min(4)
    }
}
