//! `/images/*`.

use std::{ops::Range, time::SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora_core::Result as PingoraResult;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{Ctx, Gateway, hang_up::hung_up, respond};
use crate::{
    core::Settings,
    error::{Code, Error, Result},
    images::{self, Answer, Asked, Grant, Shown, Variant, path},
    picture::PictureId,
    store::{Body, Picture},
    tier::{Asker, Elsewhere, Found, Known},
};

/// The first piece of a picture on a stream of HTTP/2, and the longest.
const H2_FIRST_PIECE: u64 = 16 * 1024;
const H2_LONGEST_PIECE: u64 = 64 * 1024;

/// What a request for a picture may have.
struct Wanted {
    found: Found,
    variant: Option<Variant>,
    grant: Grant,
    negotiated: bool,
}

/// What is known of it here.
enum Sought {
    Wanted(Wanted),
    /// Only the archive can tell.
    Unknown(PictureId),
}

/// How it is answered.
enum Reply {
    /// With a header only.
    Head(Answer),
    /// With a part of a picture.
    Body { answer: Answer, range: Range<u64>, picture: Picture, from: &'static str },
    /// By the bucket.
    Elsewhere(Elsewhere),
    /// As the archive says, which has to be asked first.
    Unknown(PictureId),
}

impl Gateway {
    pub(super) async fn picture(&self, session: &mut Session, ctx: &mut Ctx) -> PingoraResult<()> {
        let method = session.req_header().method.clone();
        if let Some(answer) = images::without_picture(&method) {
            return respond::head(session, ctx, answer.status, answer.headers, None, true).await;
        }
        let mut reply = self.reply(session.req_header(), None).await;
        if let Ok(Reply::Unknown(id)) = reply {
            let Some(found) = self.look_up(session, &id).await else { return Ok(()) };
            reply = match found {
                Ok(found) => self.reply(session.req_header(), Some(found)).await,
                Err(error) => Err(error),
            };
        }
        match reply {
            Ok(Reply::Head(answer)) => respond::head(session, ctx, answer.status, answer.headers, None, true).await,
            Ok(Reply::Elsewhere(place)) => redirect(session, ctx, &place).await,
            Ok(Reply::Body { answer, range, picture, from }) => {
                self.core.metrics.pictures_served.with_label_values(&[from]).inc();
                self.core.metrics.picture_bytes_served.inc_by(range.end - range.start);
                let len = Some(range.end - range.start);
                respond::head(session, ctx, answer.status, answer.headers, len, false).await?;
                send(session, ctx, &picture, range).await
            }
            Ok(Reply::Unknown(_)) => refuse(session, ctx, &missing()).await,
            Err(error) => refuse(session, ctx, &error).await,
        }
    }

    /// Asks the archive for a picture that is unknown here, as long as the client is there. `None`: it has left.
    async fn look_up(&self, session: &mut Session, id: &PictureId) -> Option<Result<Found>> {
        tokio::select! {
            biased;
            found = self.core.tier.look_up(id, Asker::Reader) => Some(found.and_then(|found| found.ok_or_else(missing))),
            () = hung_up(session) => {
                session.as_downstream_mut().set_keepalive(None);
                None
            }
        }
    }

    /// `found`: what the archive said of the picture, once it was asked.
    async fn reply(&self, request: &RequestHeader, found: Option<Found>) -> Result<Reply> {
        let settings = self.core.settings();
        let wanted = match self.wanted(request, found, &settings).await? {
            Sought::Wanted(wanted) => wanted,
            Sought::Unknown(id) => return Ok(Reply::Unknown(id)),
        };
        let Wanted { found, variant, grant, negotiated } = wanted;
        let now = SystemTime::now();
        let answer = |facts, variant: Option<&Variant>| {
            let name = variant.map(Variant::name);
            let shown = Shown { facts, variant: name.as_deref(), grant, negotiated };
            images::answer(&request.method, &request.headers, &shown, now)
        };
        if let Some(variant) = variant {
            let max_disk = settings.config.serving.variants.max_disk;
            let picture = self.core.variants.get(&self.core.tier, found, &variant, max_disk).await?;
            let answer = answer(&picture.facts, Some(&variant));
            return Ok(match body(&answer) {
                Some(range) => Reply::Body { answer, range, picture, from: "variant" },
                None => Reply::Head(answer),
            });
        }
        if let Found::Archived(record) = &found
            && let Some(place) = self.core.tier.elsewhere(record, grant.left(now)).await
        {
            return Ok(Reply::Elsewhere(place));
        }
        let mut answer = answer(&found.facts(), None);
        let Some(range) = body(&answer) else { return Ok(Reply::Head(answer)) };
        let picture = self.core.tier.fetch(found).await?.ok_or_else(missing)?;
        if matches!(picture.body, Body::Growing(_)) && answer.status == StatusCode::PARTIAL_CONTENT {
            // Whether its bytes are right is known at its end, and this part may not reach that: nobody is to keep it.
            answer.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let from = match &picture.body {
            Body::Growing(_) => "archive",
            _ if picture.from_cache => "memory",
            _ => "disk",
        };
        Ok(Reply::Body { answer, range, picture, from })
    }

    /// The picture, or variant, that a request may have. Its bytes may still be in the archive.
    async fn wanted(&self, request: &RequestHeader, found: Option<Found>, settings: &Settings) -> Result<Sought> {
        let id = path::parse(request.uri.path()).ok_or_else(missing)?;
        let query = request.uri.query().unwrap_or_default();
        let asked = Asked::parse(query)?;
        let serving = &settings.config.serving;
        // First of all: who may not read a picture does not learn whether there is one.
        let grant = settings.links.check(&id, query, asked.as_ref(), &serving.variants, SystemTime::now())?;
        let found = match found {
            Some(found) => found,
            None => match self.core.tier.known(&id).await? {
                Known::Found(found) => found,
                Known::Nowhere => return Err(missing()),
                Known::Unknown => return Ok(Sought::Unknown(id)),
            },
        };
        let Some(asked) = asked else {
            return Ok(Sought::Wanted(Wanted { found, variant: None, grant, negotiated: false }));
        };
        let negotiated = serving.negotiate && asked.format.is_none();
        let accept = request.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let takes_webp = negotiated && accept.is_some_and(images::takes_webp);
        let variant = asked.of(found.facts().format, &serving.variants, takes_webp);
        Ok(Sought::Wanted(Wanted { found, variant, grant, negotiated }))
    }
}

/// The part of the picture that goes out, if one does.
fn body(answer: &Answer) -> Option<Range<u64>> {
    answer.range.clone().filter(|range| !range.is_empty())
}

async fn send(session: &mut Session, ctx: &Ctx, picture: &Picture, range: Range<u64>) -> PingoraResult<()> {
    let mut at = range.start;
    // One connection of HTTP/2 has a hundred streams, and a client may shut the window of each. A piece is in memory while
    // it waits, so there the first are short. HTTP/1 has the kernel's buffer.
    let (mut piece, longest) = match session.as_downstream().is_http2() {
        true => (H2_FIRST_PIECE, H2_LONGEST_PIECE),
        false => (Picture::PIECE as u64, Picture::PIECE as u64),
    };
    while at < range.end {
        // A piece at a time, from memory too: a reader has to take each within `limits.send_timeout`.
        let end = range.end.min(at + piece);
        piece = longest.min(piece * 2);
        match picture.read(at..end).await {
            Ok(piece) if !piece.is_empty() => {
                at += piece.len() as u64;
                session.as_downstream_mut().write_response_body(piece, at >= range.end).await?;
            }
            // The promised length cannot be kept: the answer must not look complete.
            result => {
                let why = result.err().map_or_else(|| "it ended too early".to_owned(), |error| error.to_string());
                log::error!("{}: a picture cannot be read: {why}", ctx.request_id);
                session.as_downstream_mut().shutdown().await;
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn redirect(session: &mut Session, ctx: &mut Ctx, place: &Elsewhere) -> PingoraResult<()> {
    let Ok(location) = HeaderValue::try_from(&place.url) else { return refuse(session, ctx, &missing()).await };
    let kept = format!("private, max-age={}", place.kept.as_secs());
    let mut headers = HeaderMap::from_iter([
        (header::LOCATION, location),
        (header::CONTENT_LENGTH, HeaderValue::from_static("0")),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ]);
    headers.extend(HeaderValue::try_from(kept).ok().map(|kept| (header::CACHE_CONTROL, kept)));
    respond::head(session, ctx, StatusCode::FOUND, headers, None, true).await
}

pub(super) fn missing() -> Error {
    Error::new(Code::NotFound, "There is no picture of this name here.")
}

/// An error that pages of any origin can read, and no cache keeps.
async fn refuse(session: &mut Session, ctx: &mut Ctx, error: &Error) -> PingoraResult<()> {
    respond::error_with(session, ctx, error, [(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))])
        .await
}
