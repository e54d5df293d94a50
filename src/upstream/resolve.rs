//! Names → addresses, remembered for a short while.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use url::{Host, Url};

/// How long an answer of the system's resolver is used.
const LIFETIME: Duration = Duration::from_secs(30);

/// Host and port → since when, and the addresses.
type Known = HashMap<(String, u16), (Instant, Vec<SocketAddr>)>;

/// Looks up the hosts of upstreams, of which there are few.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    known: Mutex<Known>,
}

impl Resolver {
    /// The addresses of the URL's host, in the order to try them.
    pub(super) async fn addresses(&self, url: &Url) -> io::Result<Vec<SocketAddr>> {
        let port = url.port_or_known_default().unwrap_or(443);
        let name = match url.host() {
            Some(Host::Ipv4(ip)) => return Ok(vec![(IpAddr::V4(ip), port).into()]),
            Some(Host::Ipv6(ip)) => return Ok(vec![(IpAddr::V6(ip), port).into()]),
            Some(Host::Domain(name)) => name.to_owned(),
            None => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let key = (name, port);
        if let Some((since, addresses)) = self.lock().get(&key)
            && since.elapsed() < LIFETIME
        {
            return Ok(addresses.clone());
        }
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((key.0.as_str(), port)).await?.collect();
        if addresses.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.lock().insert(key, (Instant::now(), addresses.clone()));
        Ok(addresses)
    }

    /// Forgets a host whose addresses could not be connected to.
    pub(super) fn forget(&self, url: &Url) {
        let port = url.port_or_known_default().unwrap_or(443);
        self.lock().remove(&(url.host_str().unwrap_or_default().to_owned(), port));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
