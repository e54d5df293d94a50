//! Where requests go: `upstreams` and `models`.

use super::{
    super::{
        Chat, Images, Model, Secret, Target, Upstream, UpstreamKind,
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
    let api_key = map.maybe("api_key", api_key);
    Some(Upstream { name: name?, kind, base_url: base_url?, api_key })
}

fn api_key(node: &Node<'_>) -> Option<Secret> {
    let key = node.secret()?;
    if !key.expose().is_ascii() {
        node.wrong("holds a character that no header can carry");
        return None;
    }
    Some(key)
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
