//! `/images/*`.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora_core::Result as PingoraResult;
use pingora_proxy::Session;

use super::{Ctx, Gateway, respond};
use crate::{
    error::{Code, Error},
    images::{self, path},
    store::{Body, Picture},
    tier::{self, Found},
};

impl Gateway {
    pub(super) async fn picture(&self, session: &mut Session, ctx: &mut Ctx) -> PingoraResult<()> {
        let method = session.req_header().method.clone();
        if let Some(answer) = images::without_picture(&method) {
            return respond::head(session, ctx, answer.status, answer.headers, None, true).await;
        }
        let id = path::parse(session.req_header().uri.path());
        let found = match id {
            Some(id) => self.core.tier.find(&id).await,
            None => Ok(None),
        };
        match found {
            Ok(Some(found)) => self.send_found(session, ctx, &method, found).await,
            Ok(None) => not_found(session, ctx).await,
            Err(error) => respond::error(session, ctx, &error).await,
        }
    }

    async fn send_found(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        method: &Method,
        found: Found,
    ) -> PingoraResult<()> {
        if let Some(place) = self.elsewhere(&found).await {
            return redirect(session, ctx, &place).await;
        }
        let answer = images::answer(method, &session.req_header().headers, &found.facts());
        let Some(range) = answer.range.filter(|range| !range.is_empty()) else {
            return respond::head(session, ctx, answer.status, answer.headers, None, true).await;
        };
        match self.core.tier.fetch(found).await {
            Ok(Some(picture)) => {
                respond::head(session, ctx, answer.status, answer.headers, Some(range.end - range.start), false)
                    .await?;
                self.send_picture(session, ctx, &picture, range).await
            }
            Ok(None) => not_found(session, ctx).await,
            Err(error) => respond::error(session, ctx, &error).await,
        }
    }

    /// Where to send a client whose picture is only in the archive, if it is not to come through here.
    async fn elsewhere(&self, found: &Found) -> Option<String> {
        let Found::Archived(record) = found else { return None };
        let settings = self.core.settings();
        self.core.tier.elsewhere(record, &settings.config.archive.as_ref()?.redirect).await
    }

    async fn send_picture(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        picture: &Picture,
        range: Range<u64>,
    ) -> PingoraResult<()> {
        let from = match &picture.body {
            Body::Growing(_) => "archive",
            _ if picture.from_cache => "memory",
            _ => "disk",
        };
        self.core.metrics.pictures_served.with_label_values(&[from]).inc();
        self.core.metrics.picture_bytes_served.inc_by(range.end - range.start);

        let mut at = range.start;
        while at < range.end {
            match picture.read(at..range.end).await {
                Ok(piece) if !piece.is_empty() => {
                    at += piece.len() as u64;
                    session.as_downstream_mut().write_response_body(piece, at >= range.end).await?;
                }
                // The promised length cannot be kept: the answer must not look complete.
                result => {
                    log::error!("{}: a picture cannot be read: {:?}", ctx.request_id, result.err());
                    session.as_downstream_mut().shutdown().await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

async fn redirect(session: &mut Session, ctx: &mut Ctx, place: &str) -> PingoraResult<()> {
    let Ok(location) = HeaderValue::try_from(place) else { return not_found(session, ctx).await };
    let kept = format!("private, max-age={}", tier::REDIRECT_KEPT.as_secs());
    let mut headers = HeaderMap::from_iter([
        (header::LOCATION, location),
        (header::CONTENT_LENGTH, HeaderValue::from_static("0")),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ]);
    headers.extend(HeaderValue::try_from(kept).ok().map(|kept| (header::CACHE_CONTROL, kept)));
    respond::head(session, ctx, StatusCode::FOUND, headers, None, true).await
}

async fn not_found(session: &mut Session, ctx: &mut Ctx) -> PingoraResult<()> {
    let error = Error::new(Code::NotFound, "There is no picture of this name here.");
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ]);
    respond::whole(session, ctx, StatusCode::NOT_FOUND, headers, error.body()).await
}
