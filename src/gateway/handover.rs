//! A hand-over: a running process gives its listening sockets to a successor, and stops only once that one serves.
//!
//! The successor waits at a socket in a folder that only our user may enter. A connection carries packets:
//!
//! | from | packet | with it |
//! |---|---|---|
//! | predecessor | `picgate 1` | |
//! | predecessor | `stdout`, `stderr` | where it writes to |
//! | predecessor | `listen ADDRESS`, any number | the listening socket |
//! | predecessor | `end` | |
//! | successor | `serving`, or `failed WHY` | |
//!
//! Both accept connections until the predecessor reads `serving`. Without that word it goes on as if nothing had happened.
//! Pingora's own transfer knows no way back: the process that has sent its sockets stops, whatever becomes of them.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    cmsg_space,
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg,
        sendmsg, shutdown, socket_with,
        sockopt::{Timeout, set_socket_timeout, socket_peercred},
    },
    process::{Pid, geteuid},
};

use super::sockets::Sockets;
use crate::folder::{self, Shut};

const HELLO: &str = "picgate 1";
const END: &str = "end";
const SERVING: &str = "serving";
/// Longest packet, in bytes. An address is far shorter.
const PACKET: usize = 1024;
/// Most packets of a connection: far more than there are listeners.
const PACKETS: usize = 1024;
/// Longest wait for a packet of a peer that is at work.
const PACKET_TIME: Duration = Duration::from_secs(10);
/// Longest time a successor may take from the last socket to its first accepted connection.
const START_TIME: Duration = Duration::from_secs(30);

/// A successor that is ready but for the sockets.
#[derive(Debug)]
pub struct Successor {
    listener: OwnedFd,
    path: PathBuf,
}

/// A predecessor that has handed its sockets over and waits to hear that they are served.
#[derive(Debug)]
pub struct Predecessor {
    peer: OwnedFd,
    pub pid: Pid,
    /// Where it writes to.
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Handed {
    listening: Vec<(String, OwnedFd)>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

// === impl Successor ===

impl Successor {
    /// Waits for a predecessor at this path from now on. The folder must be ours alone.
    ///
    /// # Errors
    /// When the folder is shared, or another process waits there.
    pub fn at(path: &Path) -> Result<Self, String> {
        let folder = folder::open(path, Shut::Entering).map_err(|why| format!("upgrade_sock: {why}"))?;
        let wrong = |error: Errno| format!("upgrade_sock: {}: {error}", path.display());
        if reach(&folder, path).is_ok() {
            return Err(format!("upgrade_sock: {}: another process waits there already", path.display()));
        }
        let _ = std::fs::remove_file(path);
        let listener = seqpacket().map_err(wrong)?;
        bind(&listener, &address(&folder, path).map_err(wrong)?).map_err(wrong)?;
        listen(&listener, 4).map_err(wrong)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Takes the sockets over. Blocks, at most for `patience`.
    ///
    /// # Errors
    /// When nobody came, or an address that is needed was neither free nor handed over.
    pub fn take_over(self, sockets: &Sockets, patience: Duration) -> Result<Predecessor, String> {
        let end = Instant::now() + patience;
        loop {
            let peer = self.accept(end)?;
            let (pid, handed) = match hear(&peer) {
                Ok(heard) => heard,
                Err(why) => {
                    log::warn!("upgrade_sock: a connection was closed: {why}");
                    continue;
                }
            };
            if let Err(why) = inherit(sockets, handed.listening) {
                let _ = send(&peer, &clipped(&format!("failed {why}")), None);
                return Err(why);
            }
            return Ok(Predecessor { peer, pid, stdout: handed.stdout, stderr: handed.stderr });
        }
    }

    fn accept(&self, end: Instant) -> Result<OwnedFd, String> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(
                    "no running gateway has handed its sockets over: send it QUIT while this process waits, or let \
                            `picgate upgrade` do it all"
                        .to_owned(),
                );
            }
            let wrong = |error: Errno| format!("upgrade_sock: {}: {error}", self.path.display());
            set_socket_timeout(&self.listener, Timeout::Recv, Some(left)).map_err(wrong)?;
            match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(peer) => return Ok(peer),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(wrong(error)),
            }
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

// === impl Predecessor ===

impl Predecessor {
    /// Says that this process serves, so the predecessor may stop.
    ///
    /// # Errors
    /// When it waits no longer: then it goes on, and this process must not.
    pub fn relieve(&self) -> Result<(), String> {
        send(&self.peer, SERVING, None)
            .map_err(|error| format!("the process before ({}) goes on: {error}", pid(self.pid)))
    }

    /// From now on stdout and stderr of this process are those of the predecessor.
    ///
    /// # Errors
    /// When they cannot be.
    pub fn take_output(&self) -> io::Result<()> {
        let nowhere = || File::options().write(true).open("/dev/null").map(OwnedFd::from);
        match &self.stdout {
            Some(stdout) => rustix::stdio::dup2_stdout(stdout)?,
            None => rustix::stdio::dup2_stdout(nowhere()?)?,
        }
        match &self.stderr {
            Some(stderr) => rustix::stdio::dup2_stderr(stderr)?,
            None => rustix::stdio::dup2_stderr(nowhere()?)?,
        }
        Ok(())
    }
}

/// Hands the sockets to the successor that waits at `path`, and waits until that one serves. Returns its process id.
/// Blocks.
///
/// # Errors
/// Why there was no hand-over. This process must go on.
pub fn hand_over(path: &Path, sockets: &Sockets) -> Result<Pid, String> {
    let folder = folder::open(path, Shut::Entering)?;
    let peer = reach(&folder, path).map_err(|error| match error {
        Errno::NOENT | Errno::CONNREFUSED => {
            format!("no process waits at {} for the sockets; `picgate upgrade` starts one", path.display())
        }
        error => format!("{}: {error}", path.display()),
    })?;
    let successor = of_ours(&peer)?;
    let lost = |error: io::Error| format!("process {} was lost: {error}", pid(successor));
    for (timeout, time) in [(Timeout::Send, PACKET_TIME), (Timeout::Recv, START_TIME)] {
        set_socket_timeout(&peer, timeout, Some(time)).map_err(|error| lost(error.into()))?;
    }
    tell(&peer, sockets).map_err(lost)?;
    let mut answer = receive(&peer);
    if matches!(&answer, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
        // From now on it cannot say it any more; what it has just said is read.
        shutdown(&peer, Shutdown::Read).map_err(|error| lost(error.into()))?;
        answer = receive(&peer);
    }
    match answer.map_err(lost)? {
        Some((word, _)) if word == SERVING => Ok(successor),
        Some((word, _)) => {
            let why = word.strip_prefix("failed ").unwrap_or("it was not understood");
            Err(format!("process {} has given up: {why}", pid(successor)))
        }
        None => Err(format!("process {} has ended, or did not serve within {START_TIME:?}", pid(successor))),
    }
}

fn tell(peer: &OwnedFd, sockets: &Sockets) -> io::Result<()> {
    send(peer, HELLO, None)?;
    send(peer, "stdout", Some(rustix::stdio::stdout()))?;
    send(peer, "stderr", Some(rustix::stdio::stderr()))?;
    for (address, socket) in sockets.all()? {
        send(peer, &format!("listen {address}"), Some(socket.as_fd()))?;
    }
    send(peer, END, None)
}

fn inherit(sockets: &Sockets, handed: Vec<(String, OwnedFd)>) -> Result<(), String> {
    sockets.inherit(handed).map_err(|why| format!("{why}, and the running gateway does not listen there"))?;
    sockets.listen()
}

fn hear(peer: &OwnedFd) -> Result<(Pid, Handed), String> {
    let predecessor = of_ours(peer)?;
    set_socket_timeout(peer, Timeout::Recv, Some(PACKET_TIME)).map_err(|error| error.to_string())?;
    let mut handed = Handed::default();
    for number in 0..PACKETS {
        let packet = receive(peer).map_err(|error| error.to_string())?;
        let Some((word, descriptor)) = packet else { return Err("it was closed too early".to_owned()) };
        match (word.as_str(), descriptor) {
            (HELLO, None) if number == 0 => {}
            _ if number == 0 => return Err("it is not of this version of picgate".to_owned()),
            (END, None) => return Ok((predecessor, handed)),
            ("stdout", descriptor) => handed.stdout = descriptor,
            ("stderr", descriptor) => handed.stderr = descriptor,
            (word, Some(socket)) => {
                if let Some(address) = word.strip_prefix("listen ") {
                    handed.listening.push((address.to_owned(), socket));
                }
            }
            // What a later version may add.
            (_, None) => {}
        }
    }
    Err("it does not end".to_owned())
}

/// The process at the other end, which must be of our own user: it gets, or brings, the listening sockets.
fn of_ours(peer: &OwnedFd) -> Result<Pid, String> {
    let other = socket_peercred(peer).map_err(|error| error.to_string())?;
    if other.uid != geteuid() {
        return Err(format!("process {} is of another user (uid {})", pid(other.pid), other.uid.as_raw()));
    }
    Ok(other.pid)
}

fn pid(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

fn seqpacket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn reach(folder: &File, path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = seqpacket()?;
    let address = address(folder, path)?;
    retry_on_intr(|| connect(&socket, &address))?;
    Ok(socket)
}

/// The address by way of the open folder: the one that was judged, and no path is too long for a socket's address.
fn address(folder: &File, path: &Path) -> rustix::io::Result<SocketAddrUnix> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    SocketAddrUnix::new(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))
}

fn clipped(text: &str) -> String {
    text.chars().take(PACKET / 4).collect()
}

fn send(socket: &OwnedFd, text: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let text = [IoSlice::new(text.as_bytes())];
    retry_on_intr(|| sendmsg(socket, &text, &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// `None`: the other end is closed.
fn receive(socket: &OwnedFd) -> io::Result<Option<(String, Option<OwnedFd>)>> {
    let mut bytes = [0; PACKET];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.last();
        }
    }
    let text = String::from_utf8_lossy(bytes.get(..received.bytes).unwrap_or_default()).into_owned();
    Ok((received.bytes > 0).then_some((text, descriptor)))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::unix::fs::PermissionsExt as _,
        thread,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        // Longer than a socket's address can be.
        let folder = dir.path().join("long".repeat(30));
        folder::make(&folder).unwrap();
        let path = folder.join("upgrade.sock");
        (dir, path)
    }

    /// Sockets that listen at a free address, as a running gateway has them.
    fn running() -> (TcpListener, Sockets) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = Sockets::bind_free([listener.local_addr().unwrap()]);
        let own = listener.try_clone().unwrap().into();
        sockets.inherit(vec![(listener.local_addr().unwrap().to_string(), own)]).unwrap();
        (listener, sockets)
    }

    #[test]
    fn sockets_go_over_and_the_predecessor_hears_that_they_are_served() {
        let (_dir, path) = folder();
        let (listener, sockets) = running();
        let address = listener.local_addr().unwrap();
        let successor = Successor::at(&path).unwrap();
        let taken = Sockets::bind_free([address]);
        let there = taken.clone();
        let other = thread::spawn(move || {
            let predecessor = successor.take_over(&there, PATIENCE).unwrap();
            assert!(predecessor.stdout.is_some() && predecessor.stderr.is_some());
            predecessor.relieve().unwrap();
        });
        assert_eq!(pid(hand_over(&path, &sockets).unwrap()), i32::try_from(std::process::id()).unwrap());
        other.join().unwrap();
        assert!(!path.exists());

        // It is the same socket: it accepts what came to the first.
        drop(listener);
        sockets.close();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        let (_, socket) = taken.all().unwrap().pop().unwrap();
        let (mut accepted, _) = TcpListener::from(socket).accept().unwrap();
        let mut byte = [0];
        accepted.read_exact(&mut byte).unwrap();
    }

    /// Regression 10.14: whatever becomes of a hand-over that fails, the predecessor is told to go on.
    #[test]
    fn a_hand_over_that_fails_is_an_error_with_its_reason() {
        let (_dir, path) = folder();
        let (listener, sockets) = running();
        let failed = |wanted: &str| {
            let why = hand_over(&path, &sockets).unwrap_err();
            assert!(why.contains(wanted), "{why}");
        };
        failed("no process waits at");

        // Left by a process that was killed.
        let successor = Successor::at(&path).unwrap();
        let left = path.with_extension("left");
        fs::hard_link(&path, &left).unwrap();
        drop(successor);
        fs::rename(&left, &path).unwrap();
        failed("no process waits at");

        // It goes before it serves.
        let successor = Successor::at(&path).unwrap();
        assert!(Successor::at(&path).unwrap_err().contains("another process waits there already"));
        let needed = Sockets::bind_free([listener.local_addr().unwrap()]);
        let other = thread::spawn(move || drop(successor.take_over(&needed, PATIENCE).unwrap()));
        failed("has ended");
        other.join().unwrap();

        // It needs an address that neither has.
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        let successor = Successor::at(&path).unwrap();
        let needed = Sockets::bind_free([foreign.local_addr().unwrap()]);
        let other = thread::spawn(move || successor.take_over(&needed, PATIENCE).unwrap_err());
        failed(&format!("has given up: cannot listen on {}", foreign.local_addr().unwrap()));
        assert!(other.join().unwrap().contains("does not listen there"));

        // The folder was opened to others meanwhile.
        let _successor = Successor::at(&path).unwrap();
        fs::set_permissions(folder::of(&path), Permissions::from_mode(0o755)).unwrap();
        failed("so other users may write to or enter it");
        assert!(Successor::at(&path).unwrap_err().contains("mode 0755"));
    }

    #[test]
    fn who_comes_without_sockets_is_sent_away() {
        let (_dir, path) = folder();
        let (listener, sockets) = running();
        let successor = Successor::at(&path).unwrap();
        let needed = Sockets::bind_free([listener.local_addr().unwrap()]);
        let other = thread::spawn(move || successor.take_over(&needed, PATIENCE).unwrap().relieve().unwrap());
        let folder = folder::open(&path, Shut::Entering).unwrap();
        drop(reach(&folder, &path).unwrap());
        let odd = reach(&folder, &path).unwrap();
        send(&odd, "GET / HTTP/1.1", None).unwrap();
        hand_over(&path, &sockets).unwrap();
        other.join().unwrap();
    }

    #[test]
    fn nobody_is_waited_for_for_ever() {
        let (_dir, path) = folder();
        let successor = Successor::at(&path).unwrap();
        let why = successor.take_over(&Sockets::default(), Duration::from_millis(1)).unwrap_err();
        assert!(why.contains("picgate upgrade"), "{why}");
    }
}
