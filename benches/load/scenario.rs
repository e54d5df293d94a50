//! What is measured, and how the turns go.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use url::{Position, Url};

use crate::{
    Result,
    client::{self, Dose, Load, Sample},
    server::{Kind, Server, World, has_nginx},
    table::{Figures, Row},
};

/// Each server has this many turns.
const ROUNDS: usize = 3;
/// Connections, caches and allocators are warm before the first turn.
const WARM_UP: Duration = Duration::from_millis(300);
/// The size of a picture as image models draw them.
const PICTURE: usize = 1_500_000;

/// Some servers under the same load.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    clients: usize,
    /// Most requests in one turn.
    requests: u64,
    /// The first is what the others are compared with.
    entrants: &'static [Entrant],
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
}

const PROCESS: Kind = Kind::Picgate { durability: "process" };
const POWER: Kind = Kind::Picgate { durability: "power" };

pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "chat, 1 KB text, 64 clients",
        clients: 64,
        requests: u64::MAX,
        entrants: &[
            Entrant { name: "nginx", kind: Kind::Nginx, work: Work::Chat },
            Entrant { name: "picgate", kind: PROCESS, work: Work::Chat },
        ],
    },
    Scenario {
        name: "generation, 1.5 MB, 16 clients",
        clients: 16,
        requests: 300,
        entrants: &[
            Entrant { name: "floor", kind: Kind::Floor, work: Work::Generate },
            Entrant { name: "picgate", kind: PROCESS, work: Work::Generate },
            Entrant { name: "picgate, durability power", kind: POWER, work: Work::Generate },
        ],
    },
    Scenario {
        name: "inline 4 × 1.5 MB, 4 clients",
        clients: 4,
        requests: u64::MAX,
        entrants: &[
            Entrant { name: "picgate, own URLs", kind: PROCESS, work: Work::InlineOwn },
            Entrant { name: "picgate, fetched URLs", kind: PROCESS, work: Work::InlineFetched },
        ],
    },
    Scenario {
        name: "serve hot 1.5 MB, 16 clients",
        clients: 16,
        requests: u64::MAX,
        entrants: &[
            Entrant { name: "nginx sendfile", kind: Kind::Nginx, work: Work::Serve(PICTURE) },
            Entrant { name: "picgate", kind: PROCESS, work: Work::Serve(PICTURE) },
        ],
    },
    Scenario {
        name: "serve hot 100 KB, 16 clients",
        clients: 16,
        requests: u64::MAX,
        entrants: &[
            Entrant { name: "nginx sendfile", kind: Kind::Nginx, work: Work::Serve(100_000) },
            Entrant { name: "picgate", kind: PROCESS, work: Work::Serve(100_000) },
        ],
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
            let contest = Contest::prepare(world, entrant, self.dose(WARM_UP)).await;
            contests.push((entrant.name, contest));
        }
        for _ in 0..ROUNDS {
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

    fn dose(&self, time: Duration) -> Dose {
        Dose { clients: self.clients, time, requests: self.requests }
    }
}

/// One server in the middle of a scenario.
struct Contest {
    server: Server,
    load: Load,
    rates: Vec<f64>,
    latencies: Vec<Duration>,
    cpu: Option<Duration>,
}

// === impl Contest ===

impl Contest {
    async fn prepare(world: &World, entrant: &Entrant, warm_up: Dose) -> Result<Self> {
        let server = world.serve(entrant.kind)?;
        let load = load(world, &server, entrant).await?;
        client::drive(server.addr, &load, warm_up).await?;
        Ok(Self { server, load, rates: Vec::new(), latencies: Vec::new(), cpu: Some(Duration::ZERO) })
    }

    async fn turn(&mut self, dose: Dose) -> Result<()> {
        let before = self.server.cpu();
        let Sample { elapsed, latencies } = client::drive(self.server.addr, &self.load, dose).await?;
        let used = self.server.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        self.cpu = self.cpu.zip(used).map(|(so_far, used)| so_far + used);
        self.rates.push(latencies.len() as f64 / elapsed.as_secs_f64());
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
        Figures {
            rate: self.rates.get(self.rates.len() / 2).copied().unwrap_or_default(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            cpu: self.cpu.map(|cpu| cpu.as_secs_f64() * 1000.0 / self.latencies.len().max(1) as f64),
            peak: self.server.peak_memory(),
        }
    }
}

/// Prepares what the work needs (pictures that are there already) and tells what the clients are to ask.
async fn load(world: &World, server: &Server, entrant: &Entrant) -> Result<Load> {
    match entrant.work {
        Work::Chat => {
            // A kilobyte there, and with `words:` a kilobyte back.
            let text = "What does a gateway do with a text that has no pictures in it? ".repeat(16);
            Ok(post("/v1/chat/completions", chat(json!(format!("words:160 {text}")))))
        }
        // Equal prompts, so that drawing costs nothing, and yet never the same bytes twice.
        Work::Generate => Ok(post("/v1/images/generations", generation(PICTURE, "unique:yes"))),
        Work::InlineOwn => Ok(post("/v1/chat/completions", about(&four_pictures(server, "").await?))),
        Work::InlineFetched => Ok(post("/v1/chat/completions", about(&four_pictures(&world.demo, "asurl").await?))),
        Work::Serve(size) => match entrant.kind {
            Kind::Picgate { .. } => Ok(get(&draw(server, size, "").await?, size as u64 / 2)),
            Kind::Nginx | Kind::Floor => {
                let source = draw(&world.demo, size, "asurl").await?;
                let picture = client::once(world.demo.addr, &get(&source, 0)).await?;
                server.publish("/images/picture.png", &picture)?;
                Ok(Load { path: "/images/picture.png".into(), body: None, at_least: picture.len() as u64 })
            }
        },
    }
}

async fn four_pictures(server: &Server, words: &str) -> Result<Vec<Url>> {
    let mut pictures = Vec::new();
    for _ in 0..4 {
        pictures.push(draw(server, PICTURE, &format!("unique:yes {words}")).await?);
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
    Load { path: url[Position::BeforePath..].to_owned(), body: None, at_least }
}

fn post(path: &str, body: Bytes) -> Load {
    Load { path: path.into(), body: Some(body), at_least: 20 }
}

/// A model that always draws base64, and control words for the demo upstream: a picture of about `size` bytes.
fn generation(size: usize, words: &str) -> Bytes {
    Bytes::from(json!({ "model": "gpt-image-demo", "prompt": format!("bytes:{size} {words} a red fox") }).to_string())
}

fn chat(content: Value) -> Bytes {
    Bytes::from(json!({ "model": "demo-chat", "messages": [{ "role": "user", "content": content }] }).to_string())
}

fn about(pictures: &[Url]) -> Bytes {
    let mut content = vec![json!({ "type": "text", "text": "Compare these." })];
    content.extend(pictures.iter().map(|url| json!({ "type": "image_url", "image_url": { "url": url.as_str() } })));
    chat(json!(content))
}
