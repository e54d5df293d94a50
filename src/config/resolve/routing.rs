//! Where requests go: `upstreams` and `models`.

use http::HeaderName;

use super::{
    super::{
        Chat, HeaderPattern, Images, Model, Secret, Target, Upstream, UpstreamKind,
        reader::{Map, Node},
        suggest::nearest,
    },
    Names, pictures,
};

/// The upstreams, and their names even where something else about them is wrong.
pub(super) struct Upstreams {
    pub(super) resolved: Option<Vec<Upstream>>,
    /// `None` when it is not known which names there are meant to be.
    names: Option<Vec<String>>,
}

pub(super) fn upstreams(map: &mut Map<'_>) -> Upstreams {
    let Some(node) = map.get("upstreams") else {
        map.missing("upstreams", "is missing: at least one is needed");
        return Upstreams { resolved: None, names: None };
    };
    let mut names = Names::default();
    let mut written = 0;
    let resolved = node.list_of(|node| {
        written += 1;
        upstream(node, &mut names)
    });
    if resolved.as_ref().is_some_and(Vec::is_empty) {
        node.wrong("is empty: at least one is needed");
        return Upstreams { resolved: None, names: None };
    }
    let names = (written > 0 && names.0.len() == written).then_some(names.0);
    Upstreams { resolved, names }
}

fn upstream(node: &Node<'_>, names: &mut Names) -> Option<Upstream> {
    let mut map = node.map()?;
    let name = map.need("name", |node| names.read(node));
    let kind = map.or("kind", UpstreamKind::OpenAi, |node| node.choice(&[("openai", UpstreamKind::OpenAi)]));
    let base_url = map.need("base_url", Node::base_url);
    let api_key = map.maybe("api_key", header_value);
    let headers = map.maybe("headers", headers);
    let pass_headers = map.maybe("pass_headers", |node| node.list_of(pass_header)).unwrap_or_default();
    let headers = headers.unwrap_or_default();
    Some(Upstream { name: name?, kind, base_url: base_url?, api_key, headers, pass_headers })
}

fn header_value(node: &Node<'_>) -> Option<Secret> {
    let value = node.secret()?;
    if !value.expose().is_ascii() {
        node.wrong("holds a character that no header can carry");
        return None;
    }
    Some(value)
}

/// Headers that the gateway sets itself, or that belong to one connection (RFC 9110, section 7.6.1).
const OURS: [&str; 18] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
    "x-upstream-request-id",
];

/// Headers that carry a client's credential, or would let an upstream act on the gateway's origin: they never pass.
const NEVER_PASSING: [&str; 8] = [
    "api-key",
    "cookie",
    "set-cookie",
    "strict-transport-security",
    "x-api-key",
    "x-goog-api-key",
    "alt-svc",
    "clear-site-data",
];

/// A map of header names and values.
fn headers(node: &Node<'_>) -> Option<Vec<(HeaderName, Secret)>> {
    let entries: Vec<_> = node.shared_map()?.others();
    let headers = entries.into_iter().map(|(name, _, node)| {
        let name = header_name(name, &node)?;
        Some((name, header_value(&node)?))
    });
    // Every mistake is noted, also behind the first.
    headers.collect::<Vec<_>>().into_iter().collect()
}

fn header_name(name: &str, node: &Node<'_>) -> Option<HeaderName> {
    let Ok(name) = name.parse::<HeaderName>() else {
        node.wrong("is no header's name");
        return None;
    };
    if OURS.contains(&name.as_str()) {
        node.wrong(if name == "authorization" { "is set by `api_key`" } else { "is set by the gateway itself" });
        return None;
    }
    Some(name)
}

fn pass_header(node: &Node<'_>) -> Option<HeaderPattern> {
    let written = node.name()?.to_ascii_lowercase();
    let name = written.strip_suffix('*').unwrap_or(&written);
    let means = |other: &&str| if written.ends_with('*') { other.starts_with(name) } else { *other == name };
    if name.parse::<HeaderName>().is_err() {
        node.wrong_value("is no header's name, with or without a `*` at its end");
    } else if let Some(ours) = OURS.iter().chain(&NEVER_PASSING).find(|other| means(other)) {
        node.wrong_value(&format!("means `{ours}`, which never passes"));
    } else {
        return Some(HeaderPattern::new(written));
    }
    None
}

/// The models; where none are written, every name goes to the first upstream.
pub(super) fn models(map: &mut Map<'_>, upstreams: &Upstreams, images: &Images, chat: &Chat) -> Option<Vec<Model>> {
    let Some(node) = map.get("models") else {
        let targets = vec![Target { upstream: 0, model: None }];
        let (images, chat) = (images.clone(), chat.clone());
        let any = Model { name: "*".into(), targets, images, chat, accepts_response_format: None };
        return Some(vec![any]);
    };
    let mut names = Names::default();
    let models = node.list_of(|node| model(node, &mut names, upstreams, images, chat))?;
    if models.is_empty() {
        node.wrong("is empty: leave it out to send every model to the first upstream");
        return None;
    }
    Some(models)
}

fn model(node: &Node<'_>, names: &mut Names, upstreams: &Upstreams, images: &Images, chat: &Chat) -> Option<Model> {
    let mut map = node.map()?;
    let name = map.need("name", |node| {
        let name = names.read(node)?;
        if name != "*" && name.contains('*') {
            node.wrong_value("is no pattern: only \"*\" alone stands for every other name");
        }
        Some(name)
    });
    let targets = map.need("targets", |node| {
        let targets = node.list_of(|node| target(node, upstreams))?;
        if targets.is_empty() {
            node.wrong("is empty: at least one is needed");
            return None;
        }
        Some(targets)
    });
    let images = map.or("images", images.clone(), |node| pictures::images(node, images));
    let chat = map.or("chat", chat.clone(), |node| pictures::chat(node, chat));
    let accepts_response_format = map.maybe("accepts_response_format", Node::flag);
    Some(Model { name: name?, targets: targets?, images, chat, accepts_response_format })
}

fn target(node: &Node<'_>, upstreams: &Upstreams) -> Option<Target> {
    let mut map = node.map()?;
    let upstream = map.need("upstream", |node| {
        let name = node.name()?;
        // Without the names there is nothing to compare with, and a mistake is noted already.
        let names = upstreams.names.as_ref()?;
        let found = names.iter().position(|known| *known == name);
        if found.is_none() {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            node.wrong_value(&match nearest(&name, &known) {
                Some(known) => format!("is no upstream; did you mean {known:?}?"),
                None => format!("is no upstream; there are: {}", known.join(", ")),
            });
        }
        found
    });
    let model = map.maybe("model", Node::name);
    Some(Target { upstream: upstream?, model })
}
