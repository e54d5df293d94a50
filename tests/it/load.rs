//! Clients of every kind at once, who remember each picture they were promised.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use picgate::picture::PictureId;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{binary::KEY, harness::PATIENCE, process::client};

/// What one request came to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A whole answer with this status and, when it is an error, its code.
    Answered(u16, String),
    /// A stream that ended with an event of an error with this code.
    Told(String),
    /// Nobody could be connected to.
    Refused,
    /// The connection was reset without a byte of an answer. So does the kernel with one that no process has accepted, when
    /// the listener closes.
    Reset,
    /// The connection broke before the answer was whole.
    Broken(String),
}

impl Outcome {
    pub fn is_good(&self) -> bool {
        *self == Self::Answered(200, String::new())
    }
}

/// What the clients have seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// URLs of pictures in whole answers, with their origin.
    urls: Mutex<BTreeSet<String>>,
    outcomes: Mutex<BTreeMap<Outcome, u64>>,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    pub seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// Numbers that look random and can be had again.
#[derive(Clone, Debug)]
pub struct Dice(u64);

/// A kind of request.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Small,
    Large,
    Stream,
    Chat,
    ChatStream,
    Edit,
    /// A request that is too long to be held in memory.
    Upload,
    Picture,
    Models,
}

pub const MIXED: &[Kind] =
    &[Kind::Small, Kind::Small, Kind::Large, Kind::Stream, Kind::Chat, Kind::ChatStream, Kind::Edit, Kind::Picture];

impl Load {
    /// `clients` of them ask for these kinds by turns that `seed` decides, until told to stop.
    pub fn start(origin: &str, clients: u64, kinds: &'static [Kind], seed: u64, seen: Arc<Seen>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|number| {
                let (origin, seen, stop) = (origin.to_owned(), Arc::clone(&seen), Arc::clone(&stop));
                tokio::spawn(async move {
                    // Every other one makes a new connection for each request.
                    let client = if number % 2 == 0 { client() } else { without_keep_alive() };
                    let mut dice = Dice::new(seed.wrapping_add(number));
                    while !stop.load(Ordering::Relaxed) {
                        let kind = kinds[dice.below(kinds.len() as u64) as usize];
                        let outcome = ask(&client, &origin, kind, &seen, &mut dice).await;
                        if outcome == Outcome::Refused {
                            // It is being started again.
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        seen.count(outcome);
                    }
                })
            })
            .collect();
        Self { seen, stop, clients }
    }

    /// Lets requests under way end, and sends no more.
    pub async fn stop(self) -> Arc<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.seen
    }
}

impl Seen {
    pub fn urls(&self) -> BTreeSet<String> {
        self.urls.lock().unwrap().clone()
    }

    pub fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        self.outcomes.lock().unwrap().clone()
    }

    /// How many requests came to this.
    pub fn times(&self, of: impl Fn(&Outcome) -> bool) -> u64 {
        self.outcomes.lock().unwrap().iter().filter(|(outcome, _)| of(outcome)).map(|(_, times)| times).sum()
    }

    pub fn count(&self, outcome: Outcome) {
        *self.outcomes.lock().unwrap().entry(outcome).or_default() += 1;
    }

    /// Waits until so many requests have come to this.
    pub async fn until(&self, times: u64, what: &str, of: impl Fn(&Outcome) -> bool) {
        let (mut since, mut before) = (std::time::Instant::now(), 0);
        loop {
            let now = self.times(&of);
            if now >= times {
                return;
            }
            if now > before {
                (since, before) = (std::time::Instant::now(), now);
            }
            assert!(since.elapsed() < PATIENCE, "{what}: not {times} times, but {:?}", self.outcomes());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Tells what there was.
    pub fn show(&self) {
        for (outcome, times) in self.outcomes() {
            println!("{times:6} {outcome:?}");
        }
    }

    fn any_url(&self, dice: &mut Dice) -> Option<String> {
        let urls = self.urls.lock().unwrap();
        // A look at one end of the set: the other is as good.
        urls.iter().nth(dice.below((urls.len() as u64).clamp(1, 64)) as usize).cloned()
    }
}

fn without_keep_alive() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
}

/// Fetches each picture and compares its bytes with its name.
pub async fn all_there(urls: impl IntoIterator<Item = String>) {
    let client = client();
    let fetched = stream::iter(urls).map(|url| {
        let client = client.clone();
        async move {
            let answer = client.get(&url).send().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
            assert_eq!(answer.status(), 200, "{url} is lost");
            let bytes = answer.bytes().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
            let name = url.rsplit('/').next().unwrap().split('.').next().unwrap();
            assert_eq!(PictureId::of(&bytes).to_string(), name, "other bytes behind {url}");
        }
    });
    fetched.buffer_unordered(8).collect::<Vec<()>>().await;
}

/// One request, from its start to its end.
pub async fn ask(client: &reqwest::Client, origin: &str, kind: Kind, seen: &Seen, dice: &mut Dice) -> Outcome {
    let words = "a fox unique:yes";
    let image = |prompt: String| json!({ "model": "demo-image", "prompt": prompt, "size": "64x64" });
    let chat = |stream: bool| {
        let messages = json!([{ "role": "user", "content": format!("draw {words} size:64x64") }]);
        json!({ "model": "demo-chat", "stream": stream, "messages": messages })
    };
    let (path, body) = match kind {
        Kind::Small => ("/v1/images/generations", image(words.into())),
        Kind::Large => ("/v1/images/generations", image(format!("{words} bytes:1500000"))),
        Kind::Stream => {
            let mut body = image(words.into());
            body["stream"] = true.into();
            ("/v1/images/generations", body)
        }
        Kind::Chat => ("/v1/chat/completions", chat(false)),
        Kind::ChatStream => ("/v1/chat/completions", chat(true)),
        Kind::Edit => match seen.any_url(dice) {
            Some(url) => {
                let mut body = image(words.into());
                body["image"] = url.into();
                ("/v1/images/edits", body)
            }
            None => ("/v1/images/generations", image(words.into())),
        },
        Kind::Upload => {
            let mut body = chat(false);
            body["messages"][0]["content"] = format!("tell {}", "word ".repeat(100_000)).into();
            ("/v1/chat/completions", body)
        }
        Kind::Models => ("/v1/models", Value::Null),
        Kind::Picture => match seen.any_url(dice) {
            Some(url) => return read(client.get(url), kind, origin, seen).await,
            None => ("/v1/models", Value::Null),
        },
    };
    let url = format!("{origin}{path}");
    let request = if body.is_null() { client.get(url) } else { client.post(url).json_body(&body) };
    read(request.bearer_auth(KEY), kind, origin, seen).await
}

async fn read(request: reqwest::RequestBuilder, kind: Kind, origin: &str, seen: &Seen) -> Outcome {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return Outcome::Refused,
        Err(error) if cause(&error).contains("reset by peer") => return Outcome::Reset,
        Err(error) => return Outcome::Broken(format!("{kind:?} before its header: {}", cause(&error))),
    };
    let status = answer.status().as_u16();
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(error) => return Outcome::Broken(format!("{kind:?} after its header: {}", cause(&error))),
    };
    if media_type.starts_with("image/") {
        return Outcome::Answered(status, String::new());
    }
    let text = String::from_utf8(body.into()).unwrap();
    if status != 200 {
        let error: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} without JSON: {text}"));
        let fields: Vec<_> = error["error"].as_object().expect("an error").keys().collect();
        assert_eq!(fields, ["code", "message", "param", "type"], "not of OpenAI's shape: {text}");
        return Outcome::Answered(status, error["error"]["code"].as_str().unwrap().to_owned());
    }
    let before_error = text.split("event: error").next().unwrap();
    // Also what a stream told before its end was cut is safe.
    let ours = format!("{origin}/images/");
    let found = before_error.split(&ours).skip(1).map(|rest| {
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
        format!("{ours}{name}")
    });
    seen.urls.lock().unwrap().extend(found);
    match text.split_once("event: error\ndata: ") {
        Some((_, told)) => {
            let error: Value = serde_json::from_str(told.trim()).unwrap_or_else(|_| panic!("no JSON: {told}"));
            Outcome::Told(error["error"]["code"].as_str().unwrap().to_owned())
        }
        None => Outcome::Answered(status, String::new()),
    }
}

/// The innermost reason.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}

trait JsonBody {
    fn json_body(self, body: &Value) -> Self;
}

impl JsonBody for reqwest::RequestBuilder {
    fn json_body(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// As `PICGATE_SEED` says, or new ones; says which.
    pub fn told() -> Self {
        static MORE: AtomicU64 = AtomicU64::new(0);
        let seed = std::env::var("PICGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            now.as_micros() as u64 + MORE.fetch_add(1, Ordering::Relaxed)
        });
        println!("PICGATE_SEED={seed} repeats this");
        Self(seed)
    }

    /// The next number (SplitMix64), below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
