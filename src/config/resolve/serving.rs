//! Who may come in, and where: `listen`, `metrics`, `public_base_url`, `public_aliases`, `admin`, `keys`.

use std::net::SocketAddr;

use url::Url;

use super::{
    super::{
        Admin, Key, Listen, PublicUrls, ResponseForm, Secret, Tls, defaults,
        reader::{Map, Node},
    },
    Names,
};

/// Fewer characters can be guessed.
const SHORT_KEY: usize = 16;

pub(super) fn listen(map: &mut Map<'_>) -> Option<Vec<Listen>> {
    let Some(node) = map.get("listen") else { return Some(vec![defaults::listen()]) };
    let mut taken = Vec::new();
    let listen = node.list_of(|node| {
        let mut map = node.map()?;
        let addr = map.need("addr", |node| free_address(node, &mut taken));
        let tls = match map.get("tls") {
            Some(node) => tls(&node).map(Some),
            None => Some(None),
        };
        let send_buffer = map.maybe("send_buffer", send_buffer);
        let plain = Listen::plain(addr?);
        Some(Listen { tls: tls?, send_buffer: send_buffer.unwrap_or(plain.send_buffer), ..plain })
    })?;
    if listen.is_empty() {
        node.wrong("is empty: leave it out for 0.0.0.0:5643");
        return None;
    }
    Some(listen)
}

/// 0: the kernel's own.
fn send_buffer(node: &Node<'_>) -> Option<Option<usize>> {
    let Some(size) = node.size_or_off()? else { return Some(None) };
    let (least, most) = Listen::SEND_BUFFER;
    if !(least..=most).contains(&size) {
        node.wrong_value("must be from 16KiB to 64MiB, or 0 to leave it to the kernel");
        return None;
    }
    usize::try_from(size).ok().map(Some)
}

fn tls(node: &Node<'_>) -> Option<Tls> {
    let mut map = node.map()?;
    let cert = map.need("cert", Node::file);
    let key = map.need("key", Node::file);
    let h2 = map.or("h2", true, Node::flag);
    Some(Tls { cert: cert?, key: key?, h2 })
}

pub(super) fn metrics(map: &mut Map<'_>, listen: &[Listen]) -> Option<SocketAddr> {
    let node = match map.get("metrics") {
        None => return Some(defaults::metrics()),
        Some(node) if node.is_word("off") => return None,
        Some(node) if !node.is_map() => {
            node.expected("a map or off");
            return None;
        }
        Some(node) => node,
    };
    let mut taken = listen.iter().map(|listen| listen.addr).collect();
    let mut map = node.map()?;
    Some(map.or("addr", defaults::metrics(), |node| free_address(node, &mut taken)))
}

/// An address on which nothing else of ours listens.
fn free_address(node: &Node<'_>, taken: &mut Vec<SocketAddr>) -> Option<SocketAddr> {
    let addr = node.address()?;
    if let Some(other) = taken.iter().find(|other| clash(addr, **other)) {
        node.wrong_value(&format!("clashes with {other}, which is listened on already"));
    }
    taken.push(addr);
    Some(addr)
}

/// Whether the kernel would refuse the second of the two. Port 0 is a new port each time.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let same_host =
        a.ip() == b.ip() || a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
    a.port() != 0 && a.port() == b.port() && same_host
}

pub(super) fn public(map: &mut Map<'_>, listen: &[Listen]) -> Option<PublicUrls> {
    let base = match map.get("public_base_url") {
        Some(node) => node.base_url(),
        None => guessed(map, listen),
    };
    let aliases = map.or("public_aliases", Vec::new(), |node| node.list_of(Node::base_url));
    Some(PublicUrls { base: base?, aliases })
}

/// `http://localhost:PORT` of the first listener: right on this machine, wrong on every other.
fn guessed(map: &Map<'_>, listen: &[Listen]) -> Option<Url> {
    let first = listen.first()?;
    let scheme = if first.tls.is_some() { "https" } else { "http" };
    let base = format!("{scheme}://localhost:{}", first.addr.port());
    if !first.addr.ip().is_loopback() {
        let message = format!("is not written, so pictures get URLs at {base}, which only this machine can open");
        map.warn_missing("public_base_url", message);
    }
    Url::parse(&base).ok()
}

pub(super) fn admin(node: &Node<'_>) -> Option<Admin> {
    let enabled = node.map()?.or("enabled", Admin::default().enabled, Node::flag);
    Some(Admin { enabled })
}

pub(super) fn keys(node: &Node<'_>) -> Option<Vec<Key>> {
    let mut names = Names::default();
    let mut secrets: Vec<(Secret, Option<String>)> = Vec::new();
    node.list_of(|node| {
        let mut map = node.map()?;
        let name = map.need("name", |node| names.read(node));
        let key = map.need("key", |node| {
            let key = node.secret()?;
            if key.expose().chars().count() < SHORT_KEY {
                node.warn(format!("is short: fewer than {SHORT_KEY} characters can be guessed"));
            }
            match secrets.iter().find(|(other, _)| *other == key) {
                Some((_, Some(other))) => node.wrong(format!("is the same as the key of {other:?}")),
                Some((_, None)) => node.wrong("is the same as an earlier key"),
                None => {}
            }
            secrets.push((key.clone(), name.clone()));
            Some(key)
        });
        let images = map.maybe("images", |node| node.choice(&ResponseForm::WORDS));
        let has_images = map.get("images").is_some();
        let images_force = map.or("images_force", false, |node| {
            let force = node.flag()?;
            if force && !has_images {
                node.wrong("forces a form, but `images` names none");
            }
            Some(force)
        });
        let may_delete = map.or("may_delete", false, Node::flag);
        Some(Key { name: name?, key: key?, images, images_force, may_delete })
    })
}
