//! An HTTP client that can only reach checked addresses.

use std::{
    error::Error as StdError,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header};
use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
};
use rustls::RootCertStore;
use tokio::{sync::Semaphore, task};

use super::guard::{Guard, Port};
use crate::trust;

/// Most lookups under way at a time. The system's resolver blocks a thread for as long as a name server is silent, and
/// those threads are the ones that write pictures to disk.
const LOOKUPS: usize = 64;

/// The HTTP client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the client for fetching images could not be set up")]
pub struct SetupError(#[source] Box<dyn StdError + Send + Sync>);

/// One client for each kind of port: a resolver does not learn the port, but which addresses it may hand out depends
/// on it. So each client has a resolver that knows the kind.
#[derive(Debug)]
pub(super) struct Clients {
    usual: Client,
    other: Client,
}

/// Looks names up and hands out only what the guard lets pass: checked is connected to.
#[derive(Debug)]
struct CheckedResolver {
    guard: Arc<Guard>,
    port: Port,
    lookups: Arc<Semaphore>,
}

// === impl Clients ===

impl Clients {
    /// `timeout` is the longest a connect may take; a host's addresses share it evenly, so one dead address of two does
    /// not eat it all.
    pub(super) fn new(guard: &Arc<Guard>, timeout: Duration, roots: RootCertStore) -> Result<Self, SetupError> {
        let lookups = Arc::new(Semaphore::new(LOOKUPS));
        let client = |port| {
            let resolver = CheckedResolver { guard: Arc::clone(guard), port, lookups: Arc::clone(&lookups) };
            build(resolver, timeout, roots.clone())
        };
        Ok(Self { usual: client(Port::Usual)?, other: client(Port::Other)? })
    }

    pub(super) fn on(&self, port: Port) -> &Client {
        match port {
            Port::Usual => &self.usual,
            Port::Other => &self.other,
        }
    }
}

fn build(resolver: CheckedResolver, timeout: Duration, roots: RootCertStore) -> Result<Client, SetupError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("image/*"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    // Redirects are followed by the fetcher, which looks at where they lead.
    let client = trust::client(roots).map_err(|error| SetupError(error.into()))?;
    client
        .default_headers(headers)
        .dns_resolver(resolver)
        .connect_timeout(timeout)
        // A stranger's connection is used once: nothing to go stale, nothing left over for the next fetch to read.
        .pool_max_idle_per_host(0)
        .build()
        .map_err(|error| SetupError(error.into()))
}

/// What led to a failure, outermost first; without the client's own words, which hold the URL.
pub(super) fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

// === impl CheckedResolver ===

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, port, lookups) = (Arc::clone(&self.guard), self.port, Arc::clone(&self.lookups));
        Box::pin(async move {
            let addresses = look_up(name.as_str().to_owned(), lookups).await?;
            let checked = guard.screen(addresses, port)?;
            // Port 0: the client puts the URL's port in.
            Ok(Box::new(checked.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

/// Every address of a name, from the system's resolver.
///
/// The permit goes with the lookup and not with who waits for it: a fetch that has timed out leaves its thread behind.
async fn look_up(name: String, lookups: Arc<Semaphore>) -> io::Result<Vec<IpAddr>> {
    let permit = lookups.acquire_owned().await.map_err(io::Error::other)?;
    let found = task::spawn_blocking(move || {
        let found = (canonical(&name), 0).to_socket_addrs();
        drop(permit);
        found
    });
    let addresses: Vec<_> = found.await.map_err(io::Error::other)??.map(|address| address.ip()).collect();
    if addresses.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addresses) }
}

/// `localhost` for every name that means this host; name servers are not asked for those (RFC 6761, 6.3).
fn canonical(name: &str) -> &str {
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare == "localhost" || bare.ends_with(".localhost") { "localhost" } else { name }
}
