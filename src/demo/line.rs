//! Connections that can be cut.
//!
//! A web framework cannot say "no answer, just break off". So every accepted socket has a switch its handlers can
//! reach: once it is cut, reads and writes fail, the server drops the connection, and the peer sees a reset.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Accepts connections until it is told to stop.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) listener: TcpListener,
    pub(super) stopping: watch::Receiver<bool>,
}

/// The socket of one connection.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    line: Line,
}

/// A handler's hold on its connection.
#[derive(Clone)]
pub(super) struct Line {
    cut: Arc<AtomicBool>,
    stopping: watch::Receiver<bool>,
}

// === impl Lines ===

impl Listener for Lines {
    type Io = Socket;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Socket, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        log::debug!("demo: TCP_NODELAY refused: {error}");
                    }
                    let line = Line { cut: Arc::default(), stopping: self.stopping.clone() };
                    return (Socket { stream, line }, peer);
                }
                Err(error) => {
                    log::warn!("demo: accept failed: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

// === impl Line ===

impl Line {
    /// Breaks the connection: nothing more is read or written.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Waits, but not longer than the server runs.
    pub(super) async fn pause(&self, duration: Duration) {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire) || *self.stopping.borrow()
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("cut", &self.is_cut()).finish()
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().line.clone()
    }
}

// === impl Socket ===

impl Drop for Socket {
    fn drop(&mut self) {
        if self.line.cut.load(Ordering::Acquire)
            && let Err(error) = self.stream.set_zero_linger()
        {
            log::debug!("demo: SO_LINGER refused: {error}");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
