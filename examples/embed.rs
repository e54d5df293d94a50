//! picgate inside a Pingora server of your own.
//!
//! ```sh
//! cargo run --example embed -- 127.0.0.1:8080 127.0.0.1:9000 127.0.0.1:9001 ./data
//! #                            where to listen  your upstream  OpenAI-shaped API  where pictures are kept
//! ```
//!
//! One listener, one `ProxyHttp`: requests under `/v1` and `/images` are picgate's, all others go to a server of yours.
//! The same pieces serve a proxy with routes, limits and metrics of its own. What it takes:
//!
//! 1. Build the gateway with [`App::build`] and your own Prometheus registry.
//! 2. Keep a [`Ctx`] in your own per-request context.
//! 3. Call [`Gateway::handle`] first in `request_filter`.
//! 4. For requests that pass ([`Handled::Pass`]), forward five more phases.
//! 5. Add [`server::background`] to your server.
//!
//! Pingora's hooks change with each of its minor versions, so use the one picgate is built with: it is re-exported as
//! `picgate::gateway::{pingora_core, pingora_http, pingora_proxy}`.

use std::{env, error::Error, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use picgate::{
    app::App,
    config::Config,
    gateway::{
        Ctx, Gateway, Handled,
        pingora_core::{
            self,
            server::{RunArgs, Server, configuration::ServerConf},
            upstreams::peer::HttpPeer,
        },
        pingora_http::{RequestHeader, ResponseHeader},
        pingora_proxy::{FailToProxy, ProxyHttp, Session, http_proxy_service},
        server,
    },
};
use prometheus::{IntCounter, Registry};

/// Your proxy.
struct Mine {
    picgate: Gateway,
    /// Where everything goes that is not picgate's.
    upstream: String,
    /// A metric of yours, in the same registry.
    visits: IntCounter,
}

/// What your proxy remembers of one request.
#[derive(Default)]
struct MyCtx {
    /// What picgate remembers of it.
    picgate: Ctx,
    /// Whether it is a request of picgate's that goes through the filter chain.
    passes: bool,
}

#[async_trait]
impl ProxyHttp for Mine {
    type CTX = MyCtx;

    fn new_ctx(&self) -> MyCtx {
        MyCtx::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut MyCtx) -> pingora_core::Result<bool> {
        // What must hold for picgate's requests too (address lists, rate limits …) stands before this line. The body must
        // not have been read.
        match self.picgate.handle(session, &mut ctx.picgate).await? {
            // An image route, a picture, a refusal: answered. Pingora goes on with `logging`.
            Handled::Done => Ok(true),
            // Something else under /v1 (files, embeddings, realtime …) with a valid key: it goes on to picgate's upstream.
            Handled::Pass => {
                ctx.passes = true;
                Ok(false)
            }
            // Yours: nothing has been read or written.
            Handled::NotOurs => {
                self.visits.inc();
                Ok(false)
            }
        }
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut MyCtx) -> pingora_core::Result<Box<HttpPeer>> {
        if ctx.passes {
            return self.picgate.pass_peer(&mut ctx.picgate).await;
        }
        Ok(Box::new(HttpPeer::new(&self.upstream, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut MyCtx,
    ) -> pingora_core::Result<()> {
        if ctx.passes {
            // Takes the client's key out and puts the upstream's in. Without it the client's key would leave the house.
            self.picgate.pass_request(request, &ctx.picgate)?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut MyCtx,
    ) -> pingora_core::Result<()> {
        if ctx.passes {
            self.picgate.pass_response(response, &mut ctx.picgate)?;
        } else {
            response.insert_header("x-served-by", "mine")?;
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut MyCtx,
    ) -> pingora_core::Result<Option<Duration>> {
        if ctx.passes {
            // Some upstreams quote the key in their error messages.
            self.picgate.pass_body(body, end_of_stream, &mut ctx.picgate);
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut MyCtx,
        mut error: Box<pingora_core::Error>,
    ) -> Box<pingora_core::Error> {
        // An upstream's name may have several addresses.
        error.set_retry(ctx.passes && self.picgate.pass_next_address(&mut ctx.picgate));
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &pingora_core::Error, ctx: &mut MyCtx) -> FailToProxy {
        if ctx.passes {
            // An error body of OpenAI's shape, and 504 for a timeout.
            return self.picgate.pass_failed(session, error, &mut ctx.picgate).await;
        }
        let _ = session.respond_error(502).await;
        FailToProxy { error_code: 502, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&pingora_core::Error>, ctx: &mut MyCtx) {
        // Counts requests that passed. It knows which ones those are, so it may be called for every request.
        self.picgate.finish(session, &mut ctx.picgate);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [listen, upstream, api, data] = arguments.as_slice() else {
        return Err("usage: embed LISTEN YOUR_UPSTREAM API_UPSTREAM DATA_DIR".into());
    };

    // The same text as in picgate's file. `listen` and `metrics` are not looked at: sockets are your server's business.
    let text = format!(
        "picgate:
  public_base_url: http://{listen}
  data_dir: {data}
  keys: [ {{ name: me, key: my-own-key-0123456789 }} ]
  upstreams: [ {{ name: api, kind: openai, base_url: http://{api}/v1, api_key: sk-api }} ]
"
    );
    let config = Config::parse(&text, Path::new("."), &|name| env::var(name).ok())?.config;

    // One registry for both, so one /metrics shows both.
    let registry = Registry::new();
    let visits = IntCounter::new("mine_visits_total", "Requests that are not picgate's.")?;
    registry.register(Box::new(visits.clone()))?;

    // `first_key` holds a new client key when the configuration has none and none was made before: show it once.
    let App { gateway, first_key: _ } = App::build(config, &registry)?;

    // Pingora waits 300 s on TERM unless told otherwise.
    let conf = ServerConf {
        grace_period_seconds: Some(1),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mine = Mine { picgate: gateway.clone(), upstream: upstream.clone(), visits };
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), mine);
    service.add_tcp(listen);
    server.add_service(service);
    server.add_services(server::background(gateway));
    server.run(RunArgs::default());
    Ok(())
}
