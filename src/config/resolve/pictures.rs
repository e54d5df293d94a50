//! What happens to pictures: `images`, `fetch`, `store`, `archive`, `limits`.

use super::super::{
    AnswerPolicy, Archive, Durability, Fetch, Heartbeat, History, Images, Limits, OnDisconnect, Redirect, ResponseForm,
    Store,
    reader::{Map, Node},
};

/// The map `images`, over what stands above it.
pub(super) fn images(node: &Node<'_>, above: &Images) -> Option<Images> {
    const CHAT: [(&str, AnswerPolicy); 2] = [("url", AnswerPolicy::Url), ("as_upstream", AnswerPolicy::AsUpstream)];
    const RESPONSES: [(&str, AnswerPolicy); 2] = [("b64_json", AnswerPolicy::AsUpstream), ("url", AnswerPolicy::Url)];
    const ON_DISCONNECT: [(&str, OnDisconnect); 2] = [("finish", OnDisconnect::Finish), ("abort", OnDisconnect::Abort)];
    let mut map = node.map()?;
    Some(Images {
        response_format: map.or("response_format", above.response_format, |node| node.choice(&ResponseForm::WORDS)),
        chat: map.or("chat", above.chat, |node| node.choice(&CHAT)),
        responses: map.or("responses", above.responses, |node| node.choice(&RESPONSES)),
        heartbeat: map.or("heartbeat", above.heartbeat.clone(), |node| heartbeat(node, &above.heartbeat)),
        on_disconnect: map.or("on_disconnect", above.on_disconnect, |node| node.choice(&ON_DISCONNECT)),
        history: map.or("history", above.history.clone(), |node| history(node, &above.history)),
        max_input_pixels: map.or("max_input_pixels", above.max_input_pixels, Node::count),
    })
}

fn heartbeat(node: &Node<'_>, above: &Heartbeat) -> Option<Heartbeat> {
    let mut map = node.map()?;
    let sse = map.or_off("sse", above.sse, |node| node.duration_or("off"));
    let json = map.or_off("json", above.json, |node| node.duration_or("off"));
    Some(Heartbeat { sse, json })
}

fn history(node: &Node<'_>, above: &History) -> Option<History> {
    let mut map = node.map()?;
    let images = map.or("images", above.images, Node::count);
    let bytes = map.or("bytes", above.bytes, Node::size);
    Some(History { images, bytes })
}

pub(super) fn fetch(node: &Node<'_>) -> Option<Fetch> {
    let default = Fetch::default();
    let mut map = node.map()?;
    Some(Fetch {
        allow: map.or("allow", default.allow, |node| node.list_of(Node::network)),
        ports: map.or("ports", default.ports, |node| node.list_of(Node::port)),
        max_bytes: map.or("max_bytes", default.max_bytes, Node::limit),
        timeout: map.or("timeout", default.timeout, Node::duration),
    })
}

/// The map `store`. Without an archive no local copy has another, so nothing may be removed for its age or for room; with
/// one, nothing is deleted for its age. Whoever wrote a limit that cannot act is told.
pub(super) fn store(node: &Node<'_>, has_archive: bool) -> Option<Store> {
    let default = Store::default();
    let mut map = node.map()?;
    let store = Store {
        memory_cache: map.or("memory_cache", default.memory_cache, Node::size),
        durability: map.or("durability", default.durability, |node| {
            node.choice(&[("power", Durability::Power), ("process", Durability::Process)])
        }),
        ttl: map.or_off("ttl", default.ttl, |node| node.duration_or("never")),
        max_bytes: map.or_off("max_bytes", default.max_bytes, Node::size_or_off),
        retention: map.or_off("retention", default.retention, |node| node.duration_or("never")),
        min_free: map.or("min_free", default.min_free, Node::size),
    };
    let cannot_act = if has_archive {
        vec![("retention", store.retention.is_some(), "cannot act beside an `archive`, which keeps every picture")]
    } else {
        const ONLY_COPY: &str = "cannot act without an `archive`: nothing deletes the only copy of a picture";
        vec![("ttl", store.ttl.is_some(), ONLY_COPY), ("max_bytes", store.max_bytes.is_some(), ONLY_COPY)]
    };
    for (key, is_set, why) in cannot_act {
        if let Some(node) = map.get(key).filter(|_| is_set) {
            node.warn(why);
        }
    }
    Some(store)
}

pub(super) fn archive(node: &Node<'_>) -> Option<Archive> {
    let mut map = node.map()?;
    map.or("kind", (), |node| node.choice(&[("s3", ())]));
    let endpoint = map.need("endpoint", Node::base_url);
    let bucket = map.need("bucket", Node::name);
    let region = map.or("region", "auto".to_owned(), Node::name);
    let access_key_id = map.need("access_key_id", Node::secret);
    let secret_access_key = map.need("secret_access_key", Node::secret);
    let prefix = map.or("prefix", String::new(), Node::prefix);
    let redirect = redirect(&mut map);
    Some(Archive {
        endpoint: endpoint?,
        bucket: bucket?,
        region,
        access_key_id: access_key_id?,
        secret_access_key: secret_access_key?,
        prefix,
        redirect: redirect?,
    })
}

fn redirect(map: &mut Map<'_>) -> Option<Redirect> {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Off,
        Presigned,
        Public,
    }
    let words = [("off", Word::Off), ("presigned", Word::Presigned), ("public", Word::Public)];
    match map.or("redirect", Word::Off, |node| node.choice(&words)) {
        Word::Public => map.need("public_url", Node::base_url).map(Redirect::Public),
        Word::Off => Some(Redirect::Off),
        Word::Presigned => Some(Redirect::Presigned),
    }
}

pub(super) fn limits(node: &Node<'_>) -> Option<Limits> {
    let default = Limits::default();
    let mut map = node.map()?;
    Some(Limits {
        request_body: map.or("request_body", default.request_body, Node::limit),
        response_body: map.or("response_body", default.response_body, Node::limit),
        images_per_answer: map.or("images_per_answer", default.images_per_answer, Node::at_least_one),
        header_timeout: map.or("header_timeout", default.header_timeout, Node::duration),
        upstream_timeout: map.or("upstream_timeout", default.upstream_timeout, Node::duration),
    })
}
