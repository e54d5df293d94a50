//! The configuration as the program needs it.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use http::HeaderName;
use ipnet::IpNet;
use url::Url;

use super::Secret;
use crate::picture::Format;

/// Everything under `picgate:`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub listen: Vec<Listen>,
    /// Where `/metrics` is served; `None` switches it off.
    pub metrics: Option<SocketAddr>,
    pub public: PublicUrls,
    pub data_dir: PathBuf,
    pub admin: Admin,
    pub keys: Vec<Key>,
    /// Never empty.
    pub upstreams: Vec<Upstream>,
    pub models: Vec<Model>,
    /// The defaults; a model's own settings are already merged into [`Model::images`].
    pub images: Images,
    /// As [`images`](Self::images), for what is said.
    pub chat: Chat,
    pub serving: Serving,
    pub fetch: Fetch,
    pub store: Store,
    pub archive: Option<Archive>,
    pub limits: Limits,
}

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub addr: SocketAddr,
    pub tls: Option<Tls>,
    /// How many bytes the kernel may hold for a client that has not taken them (`SO_SNDBUF`), from 16 KiB. `None`: the
    /// kernel decides, and lets it grow with what is under way.
    pub send_buffer: Option<usize>,
}

impl Listen {
    /// The smallest and the largest send buffer.
    pub const SEND_BUFFER: (u64, u64) = (16 << 10, 64 << 20);

    /// Without TLS, and with the usual send buffer for this address.
    ///
    /// On a loopback address that is 128 KiB. Nothing is ever far away there, so a larger one only lets all of a picture
    /// lie in the kernel until the client, or the proxy before it, has a turn: its bytes have left the processor's cache by
    /// then. A third less work for 1.5 MB.
    pub fn plain(addr: SocketAddr) -> Self {
        let send_buffer = addr.ip().to_canonical().is_loopback().then_some(128 << 10);
        Self { addr, tls: None, send_buffer }
    }
}

/// TLS 1.2 and 1.3 with one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// Offer HTTP/2 by ALPN.
    pub h2: bool,
}

/// The base URLs under which browsers reach us. Each is stored without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrls {
    /// Used for the URLs we hand out.
    pub base: Url,
    /// Further bases that were ours once: their `/images/` URLs are still taken from the store.
    pub aliases: Vec<Url>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub enabled: bool,
}

/// A client's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    pub key: Secret,
    /// This key's response policy on the image routes.
    pub images: Option<ResponseForm>,
    /// Answer in the key's form even when the request names another.
    pub images_force: bool,
    /// Whether this key may delete pictures for good.
    pub may_delete: bool,
}

impl PublicUrls {
    /// [`base`](Self::base) as text, ready for `/images/…` to be put behind it.
    pub fn base_str(&self) -> &str {
        without_slash(&self.base)
    }
}

impl Upstream {
    /// [`base_url`](Self::base_url) as text, ready for `/images/generations` and the like to be put behind it.
    pub fn base_str(&self) -> &str {
        without_slash(&self.base_url)
    }
}

/// A URL as text without the slash at its end. [`Url`] itself always writes one behind a bare host.
pub fn without_slash(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

/// In which form the image routes answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseForm {
    /// A URL on this gateway; `b64_json` is absent.
    Url,
    /// The bytes; `url` is absent.
    B64Json,
    /// `b64_json` and, after it, `url`.
    Both,
    /// What the request asks for; nothing asked: whatever the upstream natively answers.
    AsAsked,
}

impl ResponseForm {
    /// Every form and the word for it.
    pub const WORDS: [(&'static str, ResponseForm); 4] = [
        ("url", ResponseForm::Url),
        ("b64_json", ResponseForm::B64Json),
        ("both", ResponseForm::Both),
        ("as_asked", ResponseForm::AsAsked),
    ];
}

/// A server that speaks OpenAI's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub name: String,
    pub kind: UpstreamKind,
    /// `/v1/X` goes to `{base_url}/X`. Without a trailing slash.
    pub base_url: Url,
    /// Sent as `Authorization: Bearer`; `None` sends no credential.
    pub api_key: Option<Secret>,
    /// Set in every request to it, whatever the client sent.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Headers that pass to it and from it, beside those that always do.
    pub pass_headers: Vec<HeaderPattern>,
}

impl Upstream {
    /// An OpenAI-compatible upstream without a key.
    pub fn new(name: impl Into<String>, base_url: Url) -> Self {
        let (headers, pass_headers) = (Vec::new(), Vec::new());
        Self { name: name.into(), kind: UpstreamKind::OpenAi, base_url, api_key: None, headers, pass_headers }
    }
}

/// A header's name, or with a `*` at its end the start of names. Small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderPattern(String);

impl HeaderPattern {
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into().to_ascii_lowercase())
    }

    /// `true` if the pattern means this name. The name is in small letters.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    OpenAi,
}

/// A model name that clients may use, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name, or `*` for every other name.
    pub name: String,
    /// In the order to try them. Never empty.
    pub targets: Vec<Target>,
    pub images: Images,
    pub chat: Chat,
    /// Whether `response_format` may be sent to this model. `None`: told by the name it has at the upstream (GPT image
    /// models refuse it, everyone else takes it).
    pub accepts_response_format: Option<bool>,
}

/// One place a model may be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Its name there; `None`: the name the client used.
    pub model: Option<String>,
}

/// What happens to pictures in answers and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pub response_format: ResponseForm,
    pub chat: AnswerPolicy,
    pub responses: AnswerPolicy,
    pub heartbeat: Heartbeat,
    pub on_disconnect: OnDisconnect,
    pub history: History,
    pub markdown: Markdown,
    /// Pictures with more pixels are scaled down before they are inlined; 0 = no limit.
    pub max_input_pixels: u64,
}

/// Who may read pictures, and in which sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    pub variants: Variants,
    /// Answer WebP instead of PNG to those who take it, where the URL names no format.
    pub negotiate: bool,
    pub access: Access,
    /// The first signs, all verify. Empty: one is made and kept under `state/`.
    pub signing_keys: Vec<Secret>,
    /// How long a signed URL is good, at least.
    pub url_ttl: Duration,
}

/// Who may read a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Who knows its name.
    Public,
    /// Who has a signed URL that has not expired.
    Signed,
}

/// The sizes, formats and qualities that everybody may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variants {
    /// Widths and heights in pixels.
    pub sizes: Vec<u32>,
    /// The first but AVIF stands in for a picture's own format when that is not among them.
    pub formats: Vec<Format>,
    /// Of JPEGs and AVIFs, from 1 to 100. Never empty; the first is the usual one.
    pub qualities: Vec<u8>,
    /// Bytes of made variants to keep on the disk; 0: none.
    pub max_disk: u64,
}

impl Variants {
    /// Every format that can be written, and the word for it.
    pub const FORMATS: [(&'static str, Format); 4] =
        [("jpeg", Format::Jpeg), ("png", Format::Png), ("webp", Format::Webp), ("avif", Format::Avif)];
    /// The quality of JPEGs and AVIFs when nobody names one.
    pub const QUALITY: u8 = 80;
    /// The longest side that can be asked for.
    pub const LONGEST_SIDE: u32 = 16_384;
}

/// Whether base64 pictures in an answer become URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerPolicy {
    Url,
    /// Left as the upstream wrote them (`chat: as_upstream`, `responses: b64_json`).
    AsUpstream,
}

/// Signs of life while an upstream is silent. `None` = off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub sse: Option<Duration>,
    pub json: Option<Duration>,
}

/// What becomes of a running exchange whose client has hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// The answer is read to its end and its pictures are kept.
    Finish,
    /// The upstream is dropped at once.
    Abort,
}

/// How much of a chat's old pictures is sent again. 0 = no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub images: u64,
    pub bytes: u64,
}

/// What becomes of our own pictures that the text of a conversation shows by image markup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markdown {
    /// They are sent along, as parts of a user's turn.
    Attach,
    /// Text is text.
    Keep,
}

/// What becomes of the text of a conversation on its way up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chat {
    /// `<think>…</think>` in the assistant's turns is not sent again.
    pub strip_think: bool,
}

/// The rules for fetching a picture from an address a stranger named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Networks that may be fetched from on any port, although they are private.
    pub allow: Vec<IpNet>,
    /// Ports that may be fetched from elsewhere.
    pub ports: Vec<u16>,
    pub max_bytes: u64,
    /// For one picture, redirects and all.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Bytes of hot pictures held in memory; 0 switches the cache off.
    pub memory_cache: u64,
    pub durability: Durability,
    /// Local copies not looked at for this long may go, once the archive has them.
    pub ttl: Option<Duration>,
    /// Bytes of local pictures to stay under, once the archive has them; `None` = no limit.
    pub max_bytes: Option<u64>,
    /// Without an archive: delete pictures this old. `None` = never.
    pub retention: Option<Duration>,
    /// Free bytes on the disk below which no new picture is taken; 0 switches the guard off.
    pub min_free: u64,
}

/// What "safe" means before a picture's URL is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to the disk: survives a power cut.
    Power,
    /// Handed to the kernel: survives the end of this process.
    Process,
}

/// An S3-compatible bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    pub endpoint: Url,
    pub bucket: String,
    pub region: String,
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
    /// Put before every key, literally.
    pub prefix: String,
    pub redirect: Redirect,
}

/// How a client gets a picture that is only in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// From us: it passes through, and is on the disk again.
    Off,
    /// It is sent to the bucket with a URL that is good for an hour.
    Presigned,
    /// It is sent to this base URL, under which the bucket can be read by everyone.
    Public(Url),
}

impl Archive {
    /// Names the archive: the same name, the same objects. Holds no secret.
    pub fn place(&self) -> String {
        format!("{}/{}/{}", without_slash(&self.endpoint), self.bucket, self.prefix)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub request_body: u64,
    /// Largest body sent to an upstream, with its pictures inline, in bytes.
    pub upstream_body: u64,
    /// Bytes on disk that spooled request bodies and fetched pictures may take together.
    pub spool: u64,
    /// The same for the requests of one client key.
    pub spool_per_key: u64,
    /// Largest upstream answer, in bytes.
    pub response_body: u64,
    /// Pictures taken out of one answer; further ones stay in it as they came.
    pub images_per_answer: usize,
    /// From the first byte of a request to the end of its header.
    pub header_timeout: Duration,
    /// Longest silence of an upstream.
    pub upstream_timeout: Duration,
    /// A reader that takes nothing of its answer for so long is gone.
    pub send_timeout: Duration,
    /// Threads that decode pictures. `None`: as many as there are cores.
    pub pixel_threads: Option<NonZeroUsize>,
}
