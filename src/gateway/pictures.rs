//! `/images/*`.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora_core::Result as PingoraResult;
use pingora_proxy::Session;

use super::{Ctx, Gateway, respond};
use crate::{
    error::{Code, Error},
    images::{self, path},
    store::Picture,
};

impl Gateway {
    pub(super) async fn picture(&self, session: &mut Session, ctx: &mut Ctx) -> PingoraResult<()> {
        let method = session.req_header().method.clone();
        if let Some(answer) = images::without_picture(&method) {
            return respond::head(session, ctx, answer.status, answer.headers, None, true).await;
        }
        let id = path::parse(session.req_header().uri.path());
        let picture = match id {
            Some(id) => self.core.store.get(&id).await,
            None => Ok(None),
        };
        match picture {
            Ok(Some(picture)) => self.send_picture(session, ctx, &method, &picture).await,
            Ok(None) => not_found(session, ctx).await,
            Err(error) => respond::error(session, ctx, &error.into()).await,
        }
    }

    async fn send_picture(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        method: &Method,
        picture: &Picture,
    ) -> PingoraResult<()> {
        let answer = images::answer(method, &session.req_header().headers, &picture.facts);
        let Some(range) = answer.range.filter(|range| !range.is_empty()) else {
            return respond::head(session, ctx, answer.status, answer.headers, None, true).await;
        };
        let from = if picture.from_cache { "memory" } else { "disk" };
        self.core.metrics.pictures_served.with_label_values(&[from]).inc();
        self.core.metrics.picture_bytes_served.inc_by(range.end - range.start);

        respond::head(session, ctx, answer.status, answer.headers, Some(range.end - range.start), false).await?;
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

async fn not_found(session: &mut Session, ctx: &mut Ctx) -> PingoraResult<()> {
    let error = Error::new(Code::NotFound, "There is no picture of this name here.");
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ]);
    respond::whole(session, ctx, StatusCode::NOT_FOUND, headers, error.body()).await
}
