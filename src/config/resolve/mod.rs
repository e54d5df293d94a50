//! The map `picgate:` → [`Config`].
//!
//! One file per part of the map. Each reads all it can before it gives up, so that every mistake is noted.

mod pictures;
mod routing;
mod serving;

use super::{Config, defaults, reader::Node};

/// Resolves everything under `picgate:`. `None`: at least one mistake is noted.
pub(super) fn picgate(node: &Node<'_>) -> Option<Config> {
    let mut map = node.map()?;
    let listen = serving::listen(&mut map);
    let metrics = serving::metrics(&mut map, listen.as_deref().unwrap_or_default());
    let public = serving::public(&mut map, listen.as_deref().unwrap_or_default());
    let data_dir = map.or("data_dir", defaults::data_dir(), Node::path);
    let admin = map.or("admin", Default::default(), serving::admin);
    let keys = map.or("keys", Vec::new(), serving::keys);
    let upstreams = routing::upstreams(&mut map);
    let (images, serving) = map.or("images", Default::default(), pictures::images_and_serving);
    let chat = map.or("chat", Default::default(), |node| pictures::chat(node, &Default::default()));
    let models = routing::models(&mut map, &upstreams, &images, &chat);
    let fetch = map.or("fetch", Default::default(), pictures::fetch);
    let archive = map.maybe("archive", pictures::archive);
    let has_archive = map.get("archive").is_some();
    let store = map.or("store", Default::default(), |node| pictures::store(node, has_archive));
    let limits = map.or("limits", Default::default(), pictures::limits);
    Some(Config {
        listen: listen?,
        metrics,
        public: public?,
        data_dir,
        admin,
        keys,
        upstreams: upstreams.resolved?,
        models: models?,
        images,
        chat,
        serving,
        fetch,
        store,
        archive,
        limits,
    })
}

/// Names seen so far in a list whose names must differ.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    /// The name under `node`, which must be new.
    fn read(&mut self, node: &Node<'_>) -> Option<String> {
        let name = node.name()?;
        if self.0.contains(&name) {
            node.wrong_value("is taken by an earlier entry");
        }
        self.0.push(name.clone());
        Some(name)
    }
}
