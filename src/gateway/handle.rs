//! One request through the gateway.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora_core::Result as PingoraResult;
use pingora_proxy::Session;

use super::{Ctx, Gateway, Handled, Pass, header_limits, request_id, respond, route::Route};
use crate::{
    access::Client,
    core::Settings,
    error::{Code, Error, Result},
    exchange::target_url,
    upstream::catalogue,
};

/// Shown under `/admin/` until there is an admin interface.
const ADMIN_PAGE: &str = include_str!("../../admin-ui/index.html");

impl Gateway {
    /// Answers the request if it is one of ours. To be called first in a `request_filter`.
    ///
    /// # Errors
    /// When the client's connection breaks; nothing more can be sent then.
    pub async fn handle(&self, session: &mut Session, ctx: &mut Ctx) -> PingoraResult<Handled> {
        let header = session.req_header();
        let route = Route::of(&header.method, header.uri.path());
        if route == Route::Other {
            return Ok(Handled::NotOurs);
        }
        ctx.request_id = request_id::new();
        ctx.started = Instant::now();
        ctx.route = route.name();
        ctx.in_flight = Some(self.in_flight.enter());
        let send_timeout = self.core.settings().config.limits.send_timeout;
        if !header_limits::admit(session, ctx, send_timeout).await? {
            self.finish(session, ctx);
            return Ok(Handled::Done);
        }
        match self.dispatch(session, ctx, route).await {
            Ok(Handled::Done) => {
                self.finish(session, ctx);
                Ok(Handled::Done)
            }
            other => other,
        }
    }

    async fn dispatch(&self, session: &mut Session, ctx: &mut Ctx, route: Route) -> PingoraResult<Handled> {
        match route {
            Route::Health => respond::text(session, ctx, StatusCode::OK, "text/plain", "ok\n").await?,
            Route::Ready => self.ready(session, ctx).await?,
            Route::Picture => self.picture(session, ctx).await?,
            Route::Admin => self.admin(session, ctx).await?,
            Route::Other => return Ok(Handled::NotOurs),
            Route::OddPath => {
                let message = "The path of this request can be read as another path. Send it without dot segments, empty \
                               segments, backslashes and needless escapes.";
                respond::error(session, ctx, &Error::new(Code::InvalidRequest, message)).await?;
            }
            Route::Models | Route::Model | Route::Exchange(_) | Route::WrongMethod | Route::Pass | Route::Deletion => {
                let settings = self.core.settings();
                match settings.keys.check(&session.req_header().headers) {
                    Err(error) => respond::error(session, ctx, &error).await?,
                    Ok(client) => {
                        ctx.client = Some(client.name.clone());
                        return self.api(session, ctx, route, settings, client).await;
                    }
                }
            }
        }
        Ok(Handled::Done)
    }

    /// A request that needs a key, with a valid one.
    async fn api(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        route: Route,
        settings: Arc<Settings>,
        client: Arc<Client>,
    ) -> PingoraResult<Handled> {
        // One server reads the first, another the last.
        let headers = &session.req_header().headers;
        let is_repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
        if let Some(name) = [header::CONTENT_TYPE, header::CONTENT_ENCODING].iter().find(|name| is_repeated(name)) {
            let error = Error::new(Code::InvalidRequest, format!("The request has more than one {name} header."));
            respond::error(session, ctx, &error).await?;
            return Ok(Handled::Done);
        }
        match route {
            // Boxed: its state is large, and every request's future is moved about with all it may hold.
            Route::Exchange(route) => Box::pin(self.exchange(session, ctx, settings, client, route)).await?,
            Route::Deletion => self.delete_picture(session, ctx, &client).await?,
            Route::Models | Route::Model => self.models(session, ctx, route, &settings).await?,
            Route::WrongMethod => {
                let error = Error::new(Code::MethodNotAllowed, "This endpoint does not take requests of this method.");
                respond::error(session, ctx, &error).await?;
            }
            _ => match pass(session, &settings) {
                Ok((upstream, pass)) => {
                    ctx.upstream = Some(upstream);
                    ctx.pass = Some(pass);
                    return Ok(Handled::Pass);
                }
                Err(error) => respond::error(session, ctx, &error).await?,
            },
        }
        Ok(Handled::Done)
    }

    async fn models(
        &self,
        session: &mut Session,
        ctx: &mut Ctx,
        route: Route,
        settings: &Settings,
    ) -> PingoraResult<()> {
        let models = self.core.catalogue.list(&settings.config).await;
        let body = match route {
            Route::Models => Some(catalogue::as_answer(&models)),
            _ => {
                let wanted = session.req_header().uri.path().trim_start_matches("/v1/models/");
                let wanted = percent_decoded(wanted);
                let model = models.iter().find(|model| model.get("id").is_some_and(|id| *id == *wanted));
                model.map(ToString::to_string)
            }
        };
        match body {
            Some(body) => respond::text(session, ctx, StatusCode::OK, "application/json", body).await,
            None => {
                let error = Error::new(Code::ModelNotFound, "The model does not exist on this gateway.").param("model");
                respond::error(session, ctx, &error).await
            }
        }
    }

    async fn ready(&self, session: &mut Session, ctx: &mut Ctx) -> PingoraResult<()> {
        match self.core.store.check_writable().await {
            Ok(()) => respond::text(session, ctx, StatusCode::OK, "text/plain", "ready\n").await,
            Err(error) => {
                log::error!("not ready: {error}");
                let status = StatusCode::SERVICE_UNAVAILABLE;
                respond::text(session, ctx, status, "text/plain", "data_dir is not writable\n").await
            }
        }
    }

    async fn admin(&self, session: &mut Session, ctx: &mut Ctx) -> PingoraResult<()> {
        if !self.core.settings().config.admin.enabled {
            return respond::error(session, ctx, &Error::new(Code::NotFound, "There is nothing here.")).await;
        }
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ]);
        respond::whole(session, ctx, StatusCode::OK, headers, ADMIN_PAGE).await
    }

    /// Counts and logs a request that has ended, once; for `logging`. One that [`handle`](Self::handle) answered has been
    /// counted already, and one that is none of ours is not counted.
    pub fn finish(&self, session: &Session, ctx: &mut Ctx) {
        // Held to the end: who waits for the last request also waits for its line in the log.
        let Some(_in_flight) = ctx.in_flight.take() else {
            return; // counted already, or none of ours
        };
        let status = ctx.status.or_else(|| session.response_written().map(|header| header.status));
        // 499: the client went before there was an answer (the code is nginx's).
        let status = status.map_or(499, |status| status.as_u16());
        let took = ctx.started.elapsed();
        self.core.metrics.finished(ctx.route, status, ctx.upstream.as_deref(), took);
        // Never the query: it may hold a secret.
        log::info!(
            "{} {} {} {status} {:.1}ms from={} client={} upstream={}",
            ctx.request_id,
            session.req_header().method,
            session.req_header().uri.path(),
            took.as_secs_f64() * 1000.0,
            session
                .client_addr()
                .and_then(|addr| addr.as_inet())
                .map_or_else(|| "-".to_owned(), |addr| addr.ip().to_string()),
            ctx.client.as_deref().unwrap_or("-"),
            ctx.upstream.as_deref().unwrap_or("-"),
        );
    }
}

/// Where a request goes that no rule of ours knows: to the upstream of all other models, else to the first.
fn pass(session: &Session, settings: &Settings) -> Result<(String, Pass)> {
    let config = &settings.config;
    let open = config.models.iter().find(|model| model.name == "*").and_then(|model| model.targets.first());
    let upstream = config
        .upstreams
        .get(open.map_or(0, |target| target.upstream))
        .ok_or_else(|| Error::new(Code::UpstreamUnreachable, "No upstream is configured."))?;
    let uri = &session.req_header().uri;
    let path = uri.path().strip_prefix("/v1").unwrap_or_default();
    let url = target_url(&upstream.base_url, path, uri.query());
    Ok((
        upstream.name.clone(),
        Pass {
            url,
            upstream: upstream.clone(),
            upgrade: session.is_upgrade_req(),
            addresses: VecDeque::new(),
            header_due: None,
            scrubber: None,
        },
    ))
}

/// `%2F` and the like in a model's name.
fn percent_decoded(text: &str) -> String {
    let query = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(query.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
