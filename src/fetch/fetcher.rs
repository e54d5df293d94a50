//! From a URL to the first bytes of a picture.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{StatusCode, header};
use reqwest::{Client, Response};
use rustls::RootCertStore;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::{
    FetchError, Fetched, SetupError,
    client::{Clients, causes},
    fetched::Body,
    guard::{Blocked, Guard},
};
use crate::{config, trust};

/// Most redirects followed for one picture.
const REDIRECTS: usize = 3;

/// Longest URL taken, in bytes. Signed URLs of the big clouds stay under 4 KiB.
const URL_LEN: usize = 16 * 1024;

/// Longest `fetch.timeout` that is told from "never"; keeps arithmetic on clocks from overflowing.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Fetches pictures from addresses that strangers name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    guard: Arc<Guard>,
    clients: Clients,
    max_bytes: u64,
    timeout: Duration,
}

/// What an answer's head says.
enum Step {
    Picture(Response),
    Redirect(Url),
}

// === impl Fetcher ===

impl Fetcher {
    /// Reads the certificate authorities from disk, so make one and clone it.
    pub fn new(config: &config::Fetch) -> Result<Self, SetupError> {
        Self::with_roots(config, trust::roots())
    }

    pub(super) fn with_roots(config: &config::Fetch, roots: RootCertStore) -> Result<Self, SetupError> {
        let guard = Arc::new(Guard::new(config));
        let timeout = config.timeout.min(LONGEST_TIMEOUT);
        let clients = Clients::new(&guard, timeout, roots)?;
        Ok(Self(Arc::new(Inner { guard, clients, max_bytes: config.max_bytes, timeout })))
    }

    /// Fetches a picture up to the point where its bytes have said what it is.
    ///
    /// The clock of `fetch.timeout` starts here and runs until the last byte.
    pub async fn open(&self, url: &str) -> Result<Fetched, FetchError> {
        let deadline = Instant::now() + self.0.timeout;
        let response = timeout_at(deadline, self.follow(url, deadline)).await.unwrap_or(Err(FetchError::TimedOut))?;
        Fetched::open(Body::new(response, self.0.max_bytes, deadline)?).await
    }

    async fn follow(&self, url: &str, deadline: Instant) -> Result<Response, FetchError> {
        if url.len() > URL_LEN {
            return Err(FetchError::InvalidUrl);
        }
        let mut url = Url::parse(url).map_err(|_| FetchError::InvalidUrl)?;
        for _ in 0..=REDIRECTS {
            match self.step(url, deadline).await? {
                Step::Picture(response) => return Ok(response),
                Step::Redirect(next) => url = next,
            }
        }
        Err(FetchError::Failed)
    }

    /// Asks one host.
    async fn step(&self, url: Url, deadline: Instant) -> Result<Step, FetchError> {
        let client = self.admit(&url)?;
        match client.get(url.clone()).send().await {
            Ok(response) => read_head(&url, response),
            Err(error) if causes(&error).any(|cause| cause.is::<Blocked>()) => Err(FetchError::Blocked),
            Err(error) => Err(failure(&error, deadline)),
        }
    }

    /// Checks all of a URL but the addresses of a name, which the client's resolver checks.
    fn admit(&self, url: &Url) -> Result<&Client, FetchError> {
        let Inner { guard, clients, .. } = &*self.0;
        let known_scheme = matches!(url.scheme(), "http" | "https");
        if !known_scheme || !url.username().is_empty() || url.password().is_some() {
            return Err(FetchError::Blocked);
        }
        let port = guard.port(url.port_or_known_default().ok_or(FetchError::InvalidUrl)?);
        // The client resolves names only: an address written as such would reach its connector unseen.
        let literal = match url.host().ok_or(FetchError::InvalidUrl)? {
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
            Host::Domain(_) => None,
        };
        let admitted = match literal {
            Some(ip) => guard.screen(vec![ip], port).is_ok(),
            None => guard.may_open(port),
        };
        if admitted { Ok(clients.on(port)) } else { Err(FetchError::Blocked) }
    }
}

/// What to do about an answer: read it, go elsewhere, or give up.
fn read_head(url: &Url, response: Response) -> Result<Step, FetchError> {
    use StatusCode as S;
    let headers = response.headers();
    match response.status() {
        S::OK => {
            let encodings = headers.get_all(header::CONTENT_ENCODING);
            let plain =
                encodings.iter().all(|value| value.is_empty() || value.as_bytes().eq_ignore_ascii_case(b"identity"));
            if plain { Ok(Step::Picture(response)) } else { Err(FetchError::Failed) }
        }
        S::MOVED_PERMANENTLY | S::FOUND | S::SEE_OTHER | S::TEMPORARY_REDIRECT | S::PERMANENT_REDIRECT => headers
            .get(header::LOCATION)
            .filter(|location| location.len() <= URL_LEN)
            .and_then(|location| std::str::from_utf8(location.as_bytes()).ok())
            .and_then(|location| url.join(location).ok())
            .map(Step::Redirect)
            .ok_or(FetchError::Failed),
        _ => Err(FetchError::Failed),
    }
}

/// What a failure of the network is called, depending on the clock alone. The rest is for the log, where URLs never
/// show: their query may hold a signature.
pub(super) fn failure(error: &reqwest::Error, deadline: Instant) -> FetchError {
    if let Some(cause) = causes(error).last() {
        log::debug!("fetch: {cause}");
    }
    if Instant::now() >= deadline { FetchError::TimedOut } else { FetchError::Failed }
}
