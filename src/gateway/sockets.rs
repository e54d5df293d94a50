//! The listening sockets of the process.
//!
//! They are bound before anything is started, so an address that is taken is an error of the start and not the death of a
//! service. They listen once all else is ready, and Pingora accepts from them. Each is held here as well, for a successor.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, IntoRawFd as _, OwnedFd},
    sync::{Arc, Mutex, MutexGuard},
};

use pingora_core::server::ListenFds;
use tokio::net::TcpSocket;

/// Connections that may wait to be accepted: as many as Pingora allows.
const BACKLOG: i32 = 65535;

/// Sockets by the addresses they are configured with. A clone is the same set.
#[derive(Clone, Debug, Default)]
pub struct Sockets(Arc<Mutex<Set>>);

#[derive(Debug, Default)]
struct Set {
    bound: BTreeMap<String, OwnedFd>,
    /// Addresses that could not be bound, and why: a predecessor is to hand them over.
    missing: BTreeMap<String, String>,
}

impl Sockets {
    /// Binds these addresses.
    ///
    /// # Errors
    /// Names the first address that cannot be had.
    pub fn bind(addresses: impl IntoIterator<Item = SocketAddr>) -> Result<Self, String> {
        let sockets = Self::bind_free(addresses);
        match sockets.set().missing.first_key_value() {
            None => {}
            Some((address, why)) => return Err(format!("cannot listen on {address}: {why}")),
        }
        Ok(sockets)
    }

    /// As [`bind`](Self::bind), for a process to which a predecessor hands the addresses that are taken.
    pub fn bind_free(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut set = Set::default();
        for address in addresses {
            match socket(address) {
                Ok(socket) => drop(set.bound.insert(address.to_string(), socket)),
                Err(error) => drop(set.missing.insert(address.to_string(), error.to_string())),
            }
        }
        Self(Arc::new(Mutex::new(set)))
    }

    /// Takes those that are missing from these, which listen already; others are closed here.
    ///
    /// # Errors
    /// Names the first address that is still missing.
    pub fn inherit(&self, inherited: Vec<(String, OwnedFd)>) -> Result<(), String> {
        let mut set = self.set();
        for (address, socket) in inherited {
            if set.missing.remove(&address).is_some() {
                set.bound.insert(address, socket);
            }
        }
        set.missing.first_key_value().map_or(Ok(()), |(address, why)| Err(format!("cannot listen on {address}: {why}")))
    }

    /// Lets clients connect. Nobody is refused from now on, and nobody is answered before Pingora runs.
    ///
    /// # Errors
    /// Names the first address that another process has begun to listen on.
    pub fn listen(&self) -> Result<(), String> {
        for (address, socket) in &self.set().bound {
            rustix::net::listen(socket, BACKLOG).map_err(|error| format!("cannot listen on {address}: {error}"))?;
        }
        Ok(())
    }

    /// Gives Pingora the sockets of these addresses. It would bind what is not in its table by itself.
    pub(super) fn give(&self, addresses: &[String], table: &ListenFds) -> io::Result<()> {
        let set = self.set();
        let mut table = table.lock();
        for address in addresses {
            if let Some(socket) = set.bound.get(address) {
                table.add(address.clone(), socket.try_clone()?.into_raw_fd());
            }
        }
        Ok(())
    }

    /// All of them, for a successor.
    pub(super) fn all(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.set().bound.iter().map(|(address, socket)| Ok((address.clone(), socket.try_clone()?))).collect()
    }

    /// Lets go of them. An address is free when Pingora has closed its own as well.
    pub(super) fn close(&self) {
        self.set().bound.clear();
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A socket that is bound and does not listen yet: nobody is let in before everything is ready.
fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A port whose last connections are still being closed is free. One that is listened on is not.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn what_is_taken_is_inherited_or_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        let why = Sockets::bind([taken]).unwrap_err();
        assert!(why.starts_with(&format!("cannot listen on {taken}: ")), "{why}");

        let bound = Sockets::bind([SocketAddr::from(([127, 0, 0, 1], free_port()))]).unwrap();
        let (address, _) = bound.all().unwrap().pop().unwrap();
        let first = std::net::TcpListener::bind(&address).unwrap();
        assert!(bound.listen().unwrap_err().starts_with(&format!("cannot listen on {address}: ")));
        drop(first);
        bound.listen().unwrap();
        drop(std::net::TcpStream::connect(&address).unwrap());

        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sockets = Sockets::bind_free([taken, free]);
        let other = || OwnedFd::from(std::net::TcpListener::bind(free).unwrap());
        let why = sockets.inherit(vec![("127.0.0.1:1".to_owned(), other())]).unwrap_err();
        assert!(why.contains(&taken.to_string()), "{why}");
        let inherited = vec![(taken.to_string(), listener.into()), (free.to_string(), other())];
        sockets.inherit(inherited).unwrap();
        let names: Vec<_> = sockets.all().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [free.to_string(), taken.to_string()]);
        sockets.close();
        assert!(sockets.all().unwrap().is_empty());
        drop(std::net::TcpListener::bind(taken).unwrap());
    }
}
