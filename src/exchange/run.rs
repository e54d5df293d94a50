//! Sends a request to the first target that takes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::{
    Answer, ApiRoute, Received,
    compose::compose,
    inline::{Inlined, Policy, inline},
    keeper::Keeper,
    kind::Kind,
    plan::{Destination, Plan},
    rewriter::Rewriter,
};
use crate::{
    access::Client,
    config::Images,
    core::{Core, Settings},
    error::{Code, Error, Result},
    opaque::opaque,
    rewrite::{raw::RawRewriter, shape::Shape},
    store::Generation,
    upstream::{Body, Failure, Incoming, Outgoing, headers, retry, without_key},
};

/// A request whose body has come.
pub struct Request {
    pub route: ApiRoute,
    /// What stood behind the path, without `?`.
    pub query: Option<String>,
    /// As the client sent them.
    pub headers: HeaderMap,
    pub client: Arc<Client>,
    pub request_id: String,
    pub received: Received,
}

opaque!(Request { route, request_id });

/// A request that can be run: its model is known, and so is what to do with its pictures.
#[derive(Debug)]
pub struct Exchange {
    core: Arc<Core>,
    settings: Arc<Settings>,
    request: Request,
    plan: Plan,
    sent: Sent,
}

/// Whether an exchange has begun to send its request to an upstream. Until then it has cost nothing. Clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<AtomicBool>);

impl Sent {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether an upstream may have seen the request.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Exchange {
    /// # Errors
    /// When the request names no model of ours.
    pub fn new(core: Arc<Core>, settings: Arc<Settings>, request: Request) -> Result<Self> {
        let plan = Plan::new(&settings.config, request.route, &request.client, &request.received.findings)?;
        Ok(Self { core, settings, request, plan, sent: Sent::default() })
    }

    /// The settings for pictures of the request's model.
    pub fn images(&self) -> &Images {
        self.plan.images().unwrap_or(&self.settings.config.images)
    }

    /// Tells whether anything has gone to an upstream yet.
    pub fn sent(&self) -> Sent {
        self.sent.clone()
    }

    /// Whether the client asked for a stream.
    pub fn wants_events(&self) -> bool {
        self.request.received.findings.stream
    }

    /// Runs it up to the point where its answer's header can be sent.
    ///
    /// Dropping the future drops the upstream's connection; pictures whose commit has begun are kept all the same.
    ///
    /// # Errors
    /// See [`Code`]; an upstream's own error answers are answers, not errors.
    pub async fn run(self) -> Result<Answer> {
        let Self { core, settings, request, plan, sent } = self;
        run(core, settings, request, plan, sent).await
    }
}

async fn run(core: Arc<Core>, settings: Arc<Settings>, request: Request, plan: Plan, sent: Sent) -> Result<Answer> {
    if request.route.is_images() {
        core.store.check_room().await?; // before it costs money
    }
    let (images, chat) =
        plan.model().map_or((&settings.config.images, &settings.config.chat), |m| (&m.images, &m.chat));
    let policy = Policy { route: request.route, key: &request.client.name, images, chat };
    let inlined = inline(&core, &settings, policy, &request.received.findings).await?;

    let mut failed: Option<Error> = None;
    // The best there is so far: an upstream that says when to come back.
    let mut refused = None;
    for to in plan.destinations() {
        let body = compose(&request.received, &inlined, &to, settings.config.limits.upstream_body)?;
        sent.set();
        match send(&core, &settings, &request, &body, &to).await {
            Ok(answer) if retry::after_status(answer.status) => {
                log::warn!("{}: upstream {} answered {}", request.request_id, to.upstream.name, answer.status);
                refused = Some((answer, to));
            }
            Ok(answer) => {
                let generation = generation(&request, &plan, &to, &inlined);
                let keeper = Keeper::new(Arc::clone(&core), Arc::clone(&settings), generation);
                let answer = receive(answer, &to, &plan, &settings, request.received.findings.stream, keeper).await;
                return answer.map_err(|error| error.at_upstream(&to.upstream.name));
            }
            Err(failure) => {
                let go_on = retry::after_failure(&failure);
                log::warn!("{}: upstream {}: {failure}", request.request_id, to.upstream.name);
                failed = Some(Error::from(failure).at_upstream(&to.upstream.name));
                if !go_on {
                    break;
                }
            }
        }
    }
    match (refused, failed) {
        (Some((answer, to)), failed)
            if failed.as_ref().is_none_or(|error| error.code() == Code::UpstreamUnreachable) =>
        {
            Ok(pass(answer, &to, settings.config.limits.response_body))
        }
        (_, Some(error)) => Err(error),
        _ => Err(Error::new(Code::UpstreamUnreachable, "No upstream is configured for this model.")),
    }
}

async fn send(
    core: &Core,
    settings: &Settings,
    request: &Request,
    body: &Body,
    to: &Destination<'_>,
) -> Result<Incoming, Failure> {
    let mut headers = headers::for_upstream(&request.headers, &request.request_id, to.upstream);
    // What is rewritten must be readable.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let outgoing = Outgoing {
        method: Method::POST,
        url: target_url(&to.upstream.base_url, request.route.path(), request.query.as_deref()),
        headers: &headers,
        api_key: to.upstream.api_key.as_ref(),
        body,
        timeout: settings.config.limits.upstream_timeout,
    };
    core.transport.send(outgoing).await
}

/// Decides what becomes of an answer by its status and type.
async fn receive(
    mut incoming: Incoming,
    to: &Destination<'_>,
    plan: &Plan,
    settings: &Settings,
    wants_events: bool,
    keeper: Keeper,
) -> Result<Answer> {
    let limit = settings.config.limits.response_body;
    let name = &to.upstream.name;
    without_key(&mut incoming.headers, to.upstream.api_key.as_ref());
    if incoming.status == StatusCode::UNAUTHORIZED {
        // It speaks of our key, not of the client's; and such messages often show a part of it.
        log::error!("upstream {name} refused its API key");
        return Err(Error::new(
            Code::UpstreamAuth,
            "The upstream refused this gateway's credentials. The operator must check them.",
        ));
    }
    let has_content = incoming.status.is_success() && incoming.status != StatusCode::NO_CONTENT;
    if !has_content || !incoming.decode(limit) {
        return Ok(pass(incoming, to, limit));
    }
    let rewriter = match Kind::of(&mut incoming, wants_events).await? {
        Kind::Json => Rewriter::json(plan.rules),
        Kind::Events => Rewriter::events(plan.rules),
        Kind::Labelled => Rewriter::labelled(plan.rules),
        Kind::Picture => {
            let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            match RawRewriter::new(plan.rules.form, created).filter(|_| plan.rules.shape == Shape::Images) {
                Some(rewriter) => Rewriter::Raw(rewriter),
                None => return Ok(pass(incoming, to, limit)),
            }
        }
        Kind::Other => return Ok(pass(incoming, to, limit)),
    };
    Answer::rewriting(incoming, to.upstream, limit, rewriter, keeper).await
}

/// Passes an answer on as it came, but for our own key: some upstreams quote it in their error messages.
fn pass(mut incoming: Incoming, to: &Destination<'_>, limit: u64) -> Answer {
    let key = to.upstream.api_key.as_ref();
    without_key(&mut incoming.headers, key);
    if !incoming.status.is_success() {
        incoming.scrub(key);
    }
    Answer::passing(incoming, to.upstream, limit)
}

fn generation(request: &Request, plan: &Plan, to: &Destination<'_>, inlined: &Inlined) -> Generation {
    let found = &request.received.findings;
    Generation {
        request_id: request.request_id.clone(),
        key: Some(request.client.name.clone()),
        model: plan.named.clone(),
        upstream: Some(to.upstream.name.clone()),
        upstream_model: to.rename.map(str::to_owned).or_else(|| plan.named.clone()),
        route: format!("/v1{}", request.route.path()),
        prompt: Some(found.prompt.clone()).filter(|prompt| !prompt.is_empty()),
        parents: inlined.parents.clone(),
    }
}

/// `{base}{path}?{query}`.
pub(crate) fn target_url(base: &Url, path: &str, query: Option<&str>) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(query.filter(|query| !query.is_empty()));
    url
}
