//! What happens to pictures and to text: `images`, `chat`, `fetch`, `store`, `archive`, `limits`.

use std::num::NonZeroUsize;

use super::super::{
    Access, AnswerPolicy, Archive, Chat, Durability, Fetch, Heartbeat, History, Images, Limits, Markdown, OnDisconnect,
    Redirect, ResponseForm, Secret, Serving, Store, Variants,
    reader::{Map, Node},
};

/// Fewer characters in a key, and someone with one signed URL could guess it at leisure.
const SHORT_SIGNING_KEY: usize = 32;

/// The map `images` of `picgate`.
pub(super) fn images_and_serving(node: &Node<'_>) -> Option<(Images, Serving)> {
    let mut map = node.map()?;
    Some((read_images(&mut map, &Images::default()), serving(&mut map)))
}

/// The map `images` of a model, over what stands above it.
pub(super) fn images(node: &Node<'_>, above: &Images) -> Option<Images> {
    Some(read_images(&mut node.map()?, above))
}

fn read_images(map: &mut Map<'_>, above: &Images) -> Images {
    const CHAT: [(&str, AnswerPolicy); 2] = [("url", AnswerPolicy::Url), ("as_upstream", AnswerPolicy::AsUpstream)];
    const RESPONSES: [(&str, AnswerPolicy); 2] = [("b64_json", AnswerPolicy::AsUpstream), ("url", AnswerPolicy::Url)];
    const ON_DISCONNECT: [(&str, OnDisconnect); 2] = [("finish", OnDisconnect::Finish), ("abort", OnDisconnect::Abort)];
    const MARKDOWN: [(&str, Markdown); 2] = [("attach", Markdown::Attach), ("keep", Markdown::Keep)];
    Images {
        response_format: map.or("response_format", above.response_format, |node| node.choice(&ResponseForm::WORDS)),
        chat: map.or("chat", above.chat, |node| node.choice(&CHAT)),
        responses: map.or("responses", above.responses, |node| node.choice(&RESPONSES)),
        heartbeat: map.or("heartbeat", above.heartbeat.clone(), |node| heartbeat(node, &above.heartbeat)),
        on_disconnect: map.or("on_disconnect", above.on_disconnect, |node| node.choice(&ON_DISCONNECT)),
        history: map.or("history", above.history.clone(), |node| history(node, &above.history)),
        markdown: map.or("markdown", above.markdown, |node| node.choice(&MARKDOWN)),
        max_input_pixels: map.or("max_input_pixels", above.max_input_pixels, Node::count),
    }
}

/// What `images` says of those who read pictures: the same for all models.
fn serving(map: &mut Map<'_>) -> Serving {
    const ACCESS: [(&str, Access); 2] = [("public", Access::Public), ("signed", Access::Signed)];
    let default = Serving::default();
    Serving {
        variants: map.or("variants", default.variants, variants),
        negotiate: map.or("negotiate", default.negotiate, Node::flag),
        access: map.or("access", default.access, |node| node.choice(&ACCESS)),
        signing_keys: map.or("signing_keys", default.signing_keys, |node| node.list_of(signing_key)),
        url_ttl: map.or("url_ttl", default.url_ttl, Node::duration),
    }
}

fn variants(node: &Node<'_>) -> Option<Variants> {
    let default = Variants::default();
    let mut map = node.map()?;
    Some(Variants {
        sizes: map.or("sizes", default.sizes, |node| node.list_of(|node| within(node, Variants::LONGEST_SIDE))),
        formats: map.or("formats", default.formats, |node| node.list_of(|node| node.choice(&Variants::FORMATS))),
        qualities: map.or("qualities", default.qualities, |node| {
            let qualities = node.list_of(|node| within(node, 100_u8))?;
            if qualities.is_empty() {
                node.wrong("is empty: name at least one quality");
                return None;
            }
            Some(qualities)
        }),
        max_disk: map.or("max_disk", default.max_disk, Node::size),
    })
}

/// A number from 1 to `most`.
fn within<T: TryFrom<u64> + Into<u64>>(node: &Node<'_>, most: T) -> Option<T> {
    let (number, most) = (node.count()?, most.into());
    if !(1..=most).contains(&number) {
        node.wrong_value(&format!("is not from 1 to {most}"));
        return None;
    }
    T::try_from(number).ok()
}

fn signing_key(node: &Node<'_>) -> Option<Secret> {
    let key = node.secret()?;
    if key.expose().chars().count() < SHORT_SIGNING_KEY {
        node.wrong(format!("is short: fewer than {SHORT_SIGNING_KEY} characters can be guessed"));
        return None;
    }
    Some(key)
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

/// The map `chat`, over what stands above it.
pub(super) fn chat(node: &Node<'_>, above: &Chat) -> Option<Chat> {
    let mut map = node.map()?;
    Some(Chat { strip_think: map.or("strip_think", above.strip_think, Node::flag) })
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
    let request_body = map.or("request_body", default.request_body, Node::limit);
    // Whoever raises only `request_body` wants such requests to reach an upstream.
    let upstream_body = map.or("upstream_body", default.upstream_body.max(request_body), |node| {
        let size = node.limit()?;
        if size < request_body {
            node.warn("is smaller than `request_body`: longer requests are received whole and then refused");
        }
        Some(size)
    });
    Some(Limits {
        request_body,
        upstream_body,
        spool: map.or("spool", default.spool, Node::limit),
        spool_per_key: map.or("spool_per_key", default.spool_per_key, Node::limit),
        response_body: map.or("response_body", default.response_body, Node::limit),
        images_per_answer: map.or("images_per_answer", default.images_per_answer, Node::at_least_one),
        header_timeout: map.or("header_timeout", default.header_timeout, Node::duration),
        upstream_timeout: map.or("upstream_timeout", default.upstream_timeout, Node::duration),
        send_timeout: map.or("send_timeout", default.send_timeout, Node::duration),
        pixel_threads: map.or_off("pixel_threads", default.pixel_threads, pixel_threads),
    })
}

fn pixel_threads(node: &Node<'_>) -> Option<Option<NonZeroUsize>> {
    const MOST: u64 = 256;
    let threads = node.count()?;
    if threads > MOST {
        node.wrong_value(&format!("is more than {MOST}, which is more than any machine can use"));
        return None;
    }
    Some(usize::try_from(threads).ok().and_then(NonZeroUsize::new))
}
