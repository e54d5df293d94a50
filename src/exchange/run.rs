//! Sends a request to the first target that takes it.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, Method, StatusCode};
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
    rewrite::{raw::RawRewriter, shape::Shape},
    store::Generation,
    upstream::{Failure, Incoming, Outgoing, headers, retry},
};

/// A request whose body has come.
#[derive(Debug)]
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

/// A request that can be run: its model is known, and so is what to do with its pictures.
#[derive(Debug)]
pub struct Exchange {
    core: Arc<Core>,
    settings: Arc<Settings>,
    request: Request,
    plan: Plan,
}

impl Exchange {
    /// # Errors
    /// When the request names no model of ours.
    pub fn new(core: Arc<Core>, settings: Arc<Settings>, request: Request) -> Result<Self> {
        let plan = Plan::new(&settings.config, request.route, &request.client, &request.received.findings)?;
        Ok(Self { core, settings, request, plan })
    }

    /// The settings for pictures of the request's model.
    pub fn images(&self) -> &Images {
        self.plan.images().unwrap_or(&self.settings.config.images)
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
        let Self { core, settings, request, plan } = self;
        run(core, settings, request, plan).await
    }
}

async fn run(core: Arc<Core>, settings: Arc<Settings>, request: Request, plan: Plan) -> Result<Answer> {
    if request.route.is_images() {
        core.store.check_room().await?; // before it costs money
    }
    let (images, chat) =
        plan.model().map_or((&settings.config.images, &settings.config.chat), |m| (&m.images, &m.chat));
    let policy = Policy { route: request.route, images, chat };
    let inlined = inline(&core, &settings, policy, &request.received.findings).await?;
    let headers = headers::for_upstream(&request.headers, &request.request_id);

    let mut failed: Option<Error> = None;
    // The best there is so far: an upstream that says when to come back.
    let mut refused = None;
    for to in plan.destinations() {
        match send(&core, &settings, &request, &inlined, &headers, &to).await {
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
            pass(answer, &to, settings.config.limits.response_body).await
        }
        (_, Some(error)) => Err(error),
        _ => Err(Error::new(Code::UpstreamUnreachable, "No upstream is configured for this model.")),
    }
}

async fn send(
    core: &Core,
    settings: &Settings,
    request: &Request,
    inlined: &Inlined,
    headers: &HeaderMap,
    to: &Destination<'_>,
) -> Result<Incoming, Failure> {
    let body = compose(&request.received, inlined, to);
    let outgoing = Outgoing {
        method: Method::POST,
        url: target_url(&to.upstream.base_url, request.route.path(), request.query.as_deref()),
        headers,
        api_key: to.upstream.api_key.as_ref(),
        body: &body,
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
        return pass(incoming, to, limit).await;
    }
    let rewriter = match Kind::of(&mut incoming, wants_events).await? {
        Kind::Json => Rewriter::json(plan.rules),
        Kind::Events => Rewriter::events(plan.rules),
        Kind::Labelled => Rewriter::labelled(plan.rules),
        Kind::Picture => {
            let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            match RawRewriter::new(plan.rules.form, created).filter(|_| plan.rules.shape == Shape::Images) {
                Some(rewriter) => Rewriter::Raw(rewriter),
                None => return pass(incoming, to, limit).await,
            }
        }
        Kind::Other => return pass(incoming, to, limit).await,
    };
    Answer::rewriting(incoming, name, limit, rewriter, keeper).await
}

/// Passes an answer on as it came, but for our own key: some upstreams quote it in their error messages.
async fn pass(mut incoming: Incoming, to: &Destination<'_>, limit: u64) -> Result<Answer> {
    if let Some(key) = to.upstream.api_key.as_ref().filter(|_| incoming.status.is_client_error()) {
        incoming.peek().await?;
        incoming.scrub(key);
    }
    Ok(Answer::passing(incoming, &to.upstream.name, limit))
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
