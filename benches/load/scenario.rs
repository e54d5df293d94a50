//! What is measured, and how the turns go.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use url::{Position, Url};

use crate::{
    Result,
    client::{self, Dose, Load, Sample, Timed},
    server::{Kind, Server, World, has_nginx},
    table::{Figures, Row},
};

/// Each server has this many turns …
const ROUNDS: usize = 3;
/// … and this many where hundredths of a millisecond are compared.
const MANY_ROUNDS: usize = 9;
/// Connections, caches and allocators are warm before the first turn.
const WARM_UP: Duration = Duration::from_millis(300);
/// What a server does after it began to listen is done after this time.
const STARTED: Duration = Duration::from_millis(500);
/// The size of a picture as image models draw them.
const PICTURE: usize = 1_500_000;
/// The size of a large one.
const LARGE_PICTURE: usize = 10_000_000;

/// Some servers under the same load.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    clients: usize,
    course: Course,
    /// The first is what the others are compared with.
    entrants: &'static [Entrant],
}

/// How a scenario goes.
#[derive(Clone, Copy)]
enum Course {
    /// Warm servers take turns, each as long as it is told to be or so many requests.
    Turns { requests: u64, rounds: usize },
    /// Every client asks once, all at the same time, and the server has done nothing before: for its memory.
    AtOnce,
}

struct Entrant {
    name: &'static str,
    kind: Kind,
    work: Work,
}

/// What the clients ask for.
#[derive(Clone, Copy)]
enum Work {
    /// A chat of a kilobyte of text.
    Chat,
    /// A picture nobody has had before, drawn by the upstream, answered as a URL.
    Generate,
    /// A chat about four pictures, named by the gateway's own URLs.
    InlineOwn,
    /// The same, named by URLs on another server.
    InlineFetched,
    /// One picture of this size, again and again.
    Serve(usize),
    /// A stream of 200 words, one every few milliseconds. What is timed is not the answer but each word's way here.
    Words,
    /// A picture in a chat's text, a kilobyte of it in each event.
    StreamedPicture,
    /// A large picture that comes slowly, so that all requests are under way at the same time.
    GenerateLarge,
    /// The same, as the last event of a picture stream.
    StreamedLarge,
    /// The same, in the events of a chat.
    ChatLarge,
    /// A chat about four large pictures, named by the gateway's own URLs.
    InlineLarge,
}

const ENDLESS: Course = Course::Turns { requests: u64::MAX, rounds: ROUNDS };
const PROCESS: Kind = Kind::Picgate { durability: "process" };
const POWER: Kind = Kind::Picgate { durability: "power" };

pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "chat, 1 KB text, 64 clients",
        clients: 64,
        course: ENDLESS,
        entrants: &[
            Entrant { name: "nginx", kind: Kind::Nginx, work: Work::Chat },
            Entrant { name: "picgate", kind: PROCESS, work: Work::Chat },
        ],
    },
    Scenario {
        name: "generation, 1.5 MB, 16 clients",
        clients: 16,
        course: Course::Turns { requests: 300, rounds: ROUNDS },
        entrants: &[
            Entrant { name: "floor", kind: Kind::Floor, work: Work::Generate },
            Entrant { name: "picgate", kind: PROCESS, work: Work::Generate },
            Entrant { name: "picgate, durability power", kind: POWER, work: Work::Generate },
        ],
    },
    Scenario {
        name: "text stream, delay of a word, 32 clients",
        clients: 32,
        course: Course::Turns { requests: 32, rounds: MANY_ROUNDS },
        entrants: &[
            Entrant { name: "nginx, unbuffered", kind: Kind::Nginx, work: Work::Words },
            Entrant { name: "picgate", kind: PROCESS, work: Work::Words },
        ],
    },
    Scenario {
        name: "streamed 1.5 MB in 1 KB deltas, 8 clients",
        clients: 8,
        course: Course::Turns { requests: 200, rounds: ROUNDS },
        entrants: &[
            Entrant { name: "floor", kind: Kind::Floor, work: Work::StreamedPicture },
            Entrant { name: "nginx, unbuffered", kind: Kind::Nginx, work: Work::StreamedPicture },
            Entrant { name: "picgate", kind: PROCESS, work: Work::StreamedPicture },
        ],
    },
    Scenario {
        name: "inline 4 × 1.5 MB, 4 clients",
        clients: 4,
        course: ENDLESS,
        entrants: &[
            Entrant { name: "picgate, own URLs", kind: PROCESS, work: Work::InlineOwn },
            Entrant { name: "picgate, fetched URLs", kind: PROCESS, work: Work::InlineFetched },
        ],
    },
    Scenario {
        name: "serve hot 1.5 MB, 16 clients",
        clients: 16,
        course: ENDLESS,
        entrants: &[
            Entrant { name: "nginx sendfile", kind: Kind::Nginx, work: Work::Serve(PICTURE) },
            Entrant { name: "picgate", kind: PROCESS, work: Work::Serve(PICTURE) },
        ],
    },
    Scenario {
        name: "serve hot 100 KB, 16 clients",
        clients: 16,
        course: ENDLESS,
        entrants: &[
            Entrant { name: "nginx sendfile", kind: Kind::Nginx, work: Work::Serve(100_000) },
            Entrant { name: "picgate", kind: PROCESS, work: Work::Serve(100_000) },
        ],
    },
    Scenario {
        name: "64 × 10 MB at once: generation",
        clients: 64,
        course: Course::AtOnce,
        entrants: &[Entrant { name: "picgate", kind: PROCESS, work: Work::GenerateLarge }],
    },
    Scenario {
        name: "64 × 10 MB at once: stream of the API",
        clients: 64,
        course: Course::AtOnce,
        entrants: &[Entrant { name: "picgate", kind: PROCESS, work: Work::StreamedLarge }],
    },
    Scenario {
        name: "64 × 10 MB at once: stream of a chat",
        clients: 64,
        course: Course::AtOnce,
        entrants: &[Entrant { name: "picgate", kind: PROCESS, work: Work::ChatLarge }],
    },
    Scenario {
        name: "64 × 4 × 10 MB at once: inlined",
        clients: 64,
        course: Course::AtOnce,
        entrants: &[Entrant { name: "picgate", kind: PROCESS, work: Work::InlineLarge }],
    },
];

// === impl Scenario ===

impl Scenario {
    /// Starts every server afresh, lets them take turns of `time`, and ends them.
    pub(crate) async fn measure(&self, world: &World, time: Duration) -> Vec<Row> {
        let mut contests = Vec::new();
        for entrant in self.entrants {
            if matches!(entrant.kind, Kind::Nginx) && !has_nginx() {
                eprintln!("  nginx is not installed: no row for it");
                continue;
            }
            contests.push((entrant.name, self.prepare(world, entrant).await));
        }
        let (rounds, time) = match self.course {
            Course::Turns { rounds, .. } => (rounds, time),
            Course::AtOnce => (1, Duration::MAX),
        };
        for _ in 0..rounds {
            for (_, contest) in &mut contests {
                if let Ok(running) = contest
                    && let Err(error) = running.turn(self.dose(time)).await
                {
                    *contest = Err(error);
                }
            }
        }
        let row = |(server, contest): (_, Result<Contest>)| Row {
            scenario: self.name,
            server,
            outcome: contest.map(Contest::figures),
        };
        contests.into_iter().map(row).collect()
    }

    async fn prepare(&self, world: &World, entrant: &Entrant) -> Result<Contest> {
        let server = world.serve(entrant.kind)?;
        if let Course::AtOnce = self.course {
            tokio::time::sleep(STARTED).await;
            let idle = server.peak_memory().map(|idle| (idle, self.clients));
            let load = load(world, &server, entrant).await?;
            return Ok(Contest { idle, ..Contest::new(server, load) });
        }
        let load = load(world, &server, entrant).await?;
        client::drive(server.addr, &load, self.dose(WARM_UP)).await?;
        Ok(Contest::new(server, load))
    }

    fn dose(&self, time: Duration) -> Dose {
        let requests = match self.course {
            Course::Turns { requests, .. } => requests,
            Course::AtOnce => self.clients as u64,
        };
        Dose { clients: self.clients, time, requests }
    }
}

/// One server in the middle of a scenario.
struct Contest {
    server: Server,
    load: Load,
    rates: Vec<f64>,
    latencies: Vec<Duration>,
    cpu: Option<Duration>,
    answers: u64,
    /// The most memory before the load came, and how many requests it was for; known when a server gets all at once.
    idle: Option<(u64, usize)>,
}

// === impl Contest ===

impl Contest {
    fn new(server: Server, load: Load) -> Self {
        let (rates, latencies, cpu) = (Vec::new(), Vec::new(), Some(Duration::ZERO));
        Self { server, load, rates, latencies, cpu, answers: 0, idle: None }
    }

    async fn turn(&mut self, dose: Dose) -> Result<()> {
        let before = self.server.cpu();
        let Sample { elapsed, answers, latencies } = client::drive(self.server.addr, &self.load, dose).await?;
        let used = self.server.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        self.cpu = self.cpu.zip(used).map(|(so_far, used)| so_far + used);
        self.rates.push(answers as f64 / elapsed.as_secs_f64());
        self.answers += answers;
        self.latencies.extend(latencies);
        Ok(())
    }

    fn figures(mut self) -> Figures {
        self.rates.sort_by(f64::total_cmp);
        self.latencies.sort_unstable();
        let quantile = |part: f64| {
            let at = (self.latencies.len() as f64 * part) as usize;
            self.latencies.get(at).or(self.latencies.last()).copied().unwrap_or_default()
        };
        let peak = self.server.peak_memory();
        let each = |(idle, requests)| Some(peak?.saturating_sub(idle) as f64 / requests as f64);
        Figures {
            rate: self.rates.get(self.rates.len() / 2).copied().unwrap_or_default(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            cpu: self.cpu.map(|cpu| cpu.as_secs_f64() * 1000.0 / self.answers.max(1) as f64),
            peak,
            each: self.idle.and_then(each),
        }
    }
}

/// Prepares what the work needs (pictures that are there already) and tells what the clients are to ask.
async fn load(world: &World, server: &Server, entrant: &Entrant) -> Result<Load> {
    match entrant.work {
        Work::Chat => {
            // A kilobyte there, and with `words:` a kilobyte back.
            let text = "What does a gateway do with a text that has no pictures in it? ".repeat(16);
            Ok(post("/v1/chat/completions", chat("demo-chat", json!(format!("words:160 {text}")))))
        }
        // Equal prompts, so that drawing costs nothing, and yet never the same bytes twice.
        Work::Generate => Ok(post("/v1/images/generations", generation(PICTURE, "unique:yes"))),
        Work::InlineOwn => Ok(post("/v1/chat/completions", about(&four_pictures(server, PICTURE, "").await?))),
        Work::InlineFetched => {
            Ok(post("/v1/chat/completions", about(&four_pictures(&world.demo, PICTURE, "asurl").await?)))
        }
        Work::InlineLarge => Ok(post("/v1/chat/completions", about(&four_pictures(server, LARGE_PICTURE, "").await?))),
        Work::Words => Ok(Load { timed: Timed::Words, ..stream(entrant, "words:200 stamp:yes slow:10ms", 30_000) }),
        Work::StreamedPicture => {
            let words = format!("draw bytes:{PICTURE} delta:1000 unique:yes a red fox");
            Ok(stream(entrant, &words, 20))
        }
        Work::ChatLarge => {
            let words = format!("draw bytes:{LARGE_PICTURE} delta:16000 slow:4ms unique:yes a red fox");
            Ok(stream(entrant, &words, 500))
        }
        Work::GenerateLarge => Ok(post("/v1/images/generations", generation(LARGE_PICTURE, "slow:4ms unique:yes"))),
        Work::StreamedLarge => {
            let mut ask = serde_json::from_slice(&generation(LARGE_PICTURE, "slow:4ms unique:yes"))?;
            Value::as_object_mut(&mut ask).map(|ask| ask.insert("stream".into(), json!(true)));
            Ok(post("/v1/images/generations", Bytes::from(ask.to_string())))
        }
        Work::Serve(size) => match entrant.kind {
            Kind::Picgate { .. } => Ok(get(&draw(server, size, "").await?, size as u64 / 2)),
            Kind::Nginx | Kind::Floor => {
                let source = draw(&world.demo, size, "asurl").await?;
                let picture = client::once(world.demo.addr, &get(&source, 0)).await?;
                server.publish("/images/picture.png", &picture)?;
                Ok(get_path("/images/picture.png", picture.len() as u64))
            }
        },
    }
}

async fn four_pictures(server: &Server, size: usize, words: &str) -> Result<Vec<Url>> {
    let mut pictures = Vec::new();
    for _ in 0..4 {
        pictures.push(draw(server, size, &format!("unique:yes {words}")).await?);
    }
    Ok(pictures)
}

/// Lets a server draw a picture of about `size` bytes; tells its URL.
async fn draw(server: &Server, size: usize, words: &str) -> Result<Url> {
    let load = post("/v1/images/generations", generation(size, words));
    let answer: Value = serde_json::from_slice(&client::once(server.addr, &load).await?)?;
    let url = answer.pointer("/data/0/url").and_then(Value::as_str);
    Ok(url.ok_or("a generation did not answer with a URL")?.parse()?)
}

fn get(url: &Url, at_least: u64) -> Load {
    get_path(&url[Position::BeforePath..], at_least)
}

fn get_path(path: &str, at_least: u64) -> Load {
    Load { path: path.into(), body: None, at_least, timed: Timed::Answer }
}

fn post(path: &str, body: Bytes) -> Load {
    Load { path: path.into(), body: Some(body), at_least: 20, timed: Timed::Answer }
}

/// A streamed chat, with control words for the demo upstream.
fn stream(entrant: &Entrant, words: &str, at_least: u64) -> Load {
    let path = match entrant.kind {
        Kind::Nginx => "/unbuffered/v1/chat/completions",
        Kind::Picgate { .. } | Kind::Floor => "/v1/chat/completions",
    };
    let body = json!({ "model": "demo-chat", "stream": true, "messages": [{ "role": "user", "content": words }] });
    Load { at_least, ..post(path, Bytes::from(body.to_string())) }
}

/// A model that always draws base64, and control words for the demo upstream: a picture of about `size` bytes.
fn generation(size: usize, words: &str) -> Bytes {
    Bytes::from(json!({ "model": "gpt-image-demo", "prompt": format!("bytes:{size} {words} a red fox") }).to_string())
}

fn chat(model: &str, content: Value) -> Bytes {
    Bytes::from(json!({ "model": model, "messages": [{ "role": "user", "content": content }] }).to_string())
}

fn about(pictures: &[Url]) -> Bytes {
    let mut content = vec![json!({ "type": "text", "text": "Compare these." })];
    content.extend(pictures.iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url.as_str() } })));
    chat("sink", json!(content))
}
