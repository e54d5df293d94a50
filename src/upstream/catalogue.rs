//! `GET /v1/models`: our aliases and what the upstreams list, as one list.
//!
//! The upstreams are asked at most once a minute, all at once, each with a deadline of its own. A list that is older is
//! still answered while a new one is fetched; an upstream that does not answer keeps the list it gave last. So the call
//! costs nothing while the upstreams are slow.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Body, Outgoing, Transport, headers::set_configured};
use crate::config::{Config, Upstream};

const FRESH: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest list that is read.
const LONGEST: usize = 8 * 1024 * 1024;

/// One model: the object as its upstream gave it.
type Entry = Map<String, Value>;

/// The lists of all upstreams, as far as they are known. A clone is the same catalogue.
#[derive(Clone, Debug)]
pub struct Catalogue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Transport,
    /// Per upstream name, what it listed last.
    lists: Mutex<HashMap<String, Arc<Vec<Entry>>>>,
    /// Held while the upstreams are asked; since when the lists are good.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Catalogue {
    pub fn new(transport: Transport) -> Self {
        let inner = Inner { transport, lists: Mutex::default(), asked: tokio::sync::Mutex::new(None) };
        Self { inner: Arc::new(inner) }
    }

    /// The whole list, in the order aliases first, then by upstream. No name stands in it twice.
    pub async fn list(&self, config: &Arc<Config>) -> Vec<Value> {
        self.refresh(config).await;
        let lists = self.lists();
        let mut seen = std::collections::HashSet::new();
        let mut out = Vec::new();
        for model in config.models.iter().filter(|model| model.name != "*") {
            let known = model.targets.iter().find_map(|target| {
                let upstream = config.upstreams.get(target.upstream)?;
                let name = target.model.as_deref().unwrap_or(&model.name);
                lists.get(&upstream.name)?.iter().find(|entry| id(entry) == Some(name))
            });
            let mut entry = known.cloned().unwrap_or_default();
            entry.insert("id".into(), model.name.clone().into());
            entry.entry("object").or_insert_with(|| "model".into());
            entry.entry("created").or_insert_with(|| 0.into());
            entry.entry("owned_by").or_insert_with(|| "picgate".into());
            if seen.insert(model.name.clone()) {
                out.push(Value::Object(entry));
            }
        }
        for upstream in open_upstreams(config) {
            for entry in lists.get(&upstream.name).into_iter().flat_map(|list| list.iter()) {
                if id(entry).is_some_and(|id| seen.insert(id.to_owned())) {
                    out.push(Value::Object(entry.clone()));
                }
            }
        }
        out
    }

    /// Asks the upstreams when it is time: in the background while there is an older list, else now.
    async fn refresh(&self, config: &Arc<Config>) {
        let age = self.inner.asked.try_lock().map(|asked| asked.map(|since| since.elapsed()));
        match age {
            Ok(Some(age)) if age < FRESH => {}
            Ok(None) => self.ask(config).await,
            // An older list is there, or somebody is asking already for the first time.
            Err(_) if self.lists().is_empty() => self.ask(config).await,
            Err(_) => {}
            Ok(Some(_)) => {
                let (catalogue, config) = (self.clone(), Arc::clone(config));
                tokio::spawn(async move { catalogue.ask(&config).await });
            }
        }
    }

    async fn ask(&self, config: &Config) {
        let mut asked = self.inner.asked.lock().await;
        if asked.is_some_and(|since| since.elapsed() < FRESH) {
            return; // whoever held the lock has just asked
        }
        // Aliases need their targets' lists only for the details; names that go on unchanged need them to be listed.
        let answers = join_all(config.upstreams.iter().map(|upstream| async move {
            let list = tokio::time::timeout(DEADLINE, self.fetch(upstream)).await.ok().flatten();
            (upstream, list)
        }));
        for (upstream, list) in answers.await {
            match list {
                Some(list) => drop(self.lists_mut().insert(upstream.name.clone(), Arc::new(list))),
                None => log::warn!("upstream {}: its models cannot be listed", upstream.name),
            }
        }
        *asked = Some(Instant::now());
    }

    async fn fetch(&self, upstream: &Upstream) -> Option<Vec<Entry>> {
        let url = Url::parse(&format!("{}/models", upstream.base_url.as_str().trim_end_matches('/'))).ok()?;
        let mut headers = HeaderMap::new();
        set_configured(&mut headers, upstream);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let request = Outgoing {
            method: Method::GET,
            url,
            headers: &headers,
            api_key: upstream.api_key.as_ref(),
            body: &Body::default(),
            timeout: DEADLINE,
        };
        let mut answer = self.inner.transport.send(request).await.ok()?;
        if !answer.status.is_success() {
            return None;
        }
        let mut text = Vec::new();
        while let Some(piece) = answer.chunk().await.ok()? {
            text.extend_from_slice(&piece);
            if text.len() > LONGEST {
                return None;
            }
        }
        let mut list: Value = serde_json::from_slice(&text).ok()?;
        let entries = list.get_mut("data")?.as_array_mut()?;
        Some(
            entries
                .drain(..)
                .filter_map(|entry| if let Value::Object(entry) = entry { Some(entry) } else { None })
                .collect(),
        )
    }

    fn lists(&self) -> HashMap<String, Arc<Vec<Entry>>> {
        self.lists_mut().clone()
    }

    fn lists_mut(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Vec<Entry>>>> {
        self.inner.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The upstreams whose models may be used under their own names.
fn open_upstreams(config: &Config) -> impl Iterator<Item = &Upstream> {
    let open = config.models.iter().find(|model| model.name == "*");
    open.into_iter().flat_map(|model| &model.targets).filter_map(|target| config.upstreams.get(target.upstream))
}

fn id(entry: &Entry) -> Option<&str> {
    entry.get("id")?.as_str()
}

/// `{"object":"list","data":[…]}`.
pub fn as_answer(models: &[Value]) -> String {
    json!({ "object": "list", "data": models }).to_string()
}
