//! `/images/*`.

use std::time::SystemTime;

use http::{HeaderValue, Method, header};
use pingora_core::Result as PingoraResult;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{Ctx, Gateway, respond};
use crate::{
    error::{Code, Error, Result},
    images::{self, Asked, Grant, Shown, Variant, path},
    store::Picture,
};

/// What a request for a picture has come to.
struct Found {
    picture: Picture,
    variant: Option<Variant>,
    grant: Grant,
    negotiated: bool,
}

impl Gateway {
    pub(super) async fn picture(&self, session: &mut Session, ctx: &mut Ctx) -> PingoraResult<()> {
        let method = session.req_header().method.clone();
        if let Some(answer) = images::without_picture(&method) {
            return respond::head(session, ctx, answer.status, answer.headers, None, true).await;
        }
        match self.find(session.req_header()).await {
            Ok(found) => self.send_picture(session, ctx, &method, &found).await,
            Err(error) => refuse(session, ctx, &error).await,
        }
    }

    /// The picture, or variant, that a request may have.
    async fn find(&self, request: &RequestHeader) -> Result<Found> {
        let missing = || Error::new(Code::NotFound, "There is no picture of this name here.");
        let id = path::parse(request.uri.path()).ok_or_else(missing)?;
        let query = request.uri.query().unwrap_or_default();
        let asked = Asked::parse(query)?;
        let settings = self.core.settings();
        let serving = &settings.config.serving;
        // First of all: who may not read a picture does not learn whether there is one.
        let grant = settings.links.check(&id, query, asked.as_ref(), &serving.variants, SystemTime::now())?;
        let picture = self.core.store.get(&id).await?.ok_or_else(missing)?;
        let Some(asked) = asked else {
            return Ok(Found { picture, variant: None, grant, negotiated: false });
        };
        let negotiated = serving.negotiate && asked.format.is_none();
        let accept = request.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let takes_webp = negotiated && accept.is_some_and(images::takes_webp);
        let variant = asked.of(picture.facts.format, &serving.variants, takes_webp);
        let picture = match &variant {
            Some(variant) => self.core.variants.get(&picture, variant, serving.variants.max_disk).await?,
            None => picture,
        };
        Ok(Found { picture, variant, grant, negotiated })
    }

    async fn send_picture(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        method: &Method,
        found: &Found,
    ) -> PingoraResult<()> {
        let Found { picture, variant, grant, negotiated } = found;
        let name = variant.as_ref().map(Variant::name);
        let shown = Shown { facts: &picture.facts, variant: name.as_deref(), grant: *grant, negotiated: *negotiated };
        let answer = images::answer(method, &session.req_header().headers, &shown, SystemTime::now());
        let Some(range) = answer.range.filter(|range| !range.is_empty()) else {
            return respond::head(session, ctx, answer.status, answer.headers, None, true).await;
        };
        let from = match variant {
            Some(_) => "variant",
            None if picture.from_cache => "memory",
            None => "disk",
        };
        self.core.metrics.pictures_served.with_label_values(&[from]).inc();
        self.core.metrics.picture_bytes_served.inc_by(range.end - range.start);

        respond::head(session, ctx, answer.status, answer.headers, Some(range.end - range.start), false).await?;
        let mut at = range.start;
        while at < range.end {
            // A piece at a time, from memory too: a reader has to take each within `limits.send_timeout`.
            let end = range.end.min(at + Picture::PIECE as u64);
            match picture.read(at..end).await {
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

/// An error that pages of any origin can read, and no cache keeps.
async fn refuse(session: &mut Session, ctx: &mut Ctx, error: &Error) -> PingoraResult<()> {
    respond::error_with(session, ctx, error, [(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))])
        .await
}
