//! A client that writes its HTTP/2 frames by hand (RFC 9113, section 6), and so can do what no library does.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::CertificateDer};

use super::PATIENCE;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const LONGEST_FRAME: usize = 16_384;

/// `SETTINGS_INITIAL_WINDOW_SIZE`, `…_MAX_CONCURRENT_STREAMS`, `…_MAX_HEADER_LIST_SIZE`, `…_HEADER_TABLE_SIZE`.
pub const WINDOW: u16 = 4;
pub const STREAMS: u16 = 3;
pub const HEADER_LIST: u16 = 6;
const HEADER_TABLE: u16 = 1;

/// A connection. It blocks.
pub struct Frames<S> {
    socket: S,
    next_stream: u32,
    /// What the server has promised.
    pub settings: BTreeMap<u16, u32>,
    /// What has come of each stream.
    pub streams: BTreeMap<u32, Came>,
}

/// What has come of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    pub status: Option<u16>,
    pub bytes: usize,
    pub end: Option<End>,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// With this error code.
    Reset(u32),
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Connects without TLS.
pub fn plain(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Connects to `localhost` with TLS, trusting this certificate.
pub fn tls(address: SocketAddr, certificate: &CertificateDer<'static>) -> Tls {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, plain(address))
}

/// A header block: a GET of this path, and so many fields of one byte each behind the first.
pub fn get(path: &str, key: Option<&str>, fields: usize) -> Vec<u8> {
    block(0x82, path, key, fields)
}

/// The same for a POST of JSON.
pub fn post(path: &str, key: &str) -> Vec<u8> {
    let mut block = block(0x83, path, Some(key), 0);
    literal(&mut block, "content-type", "application/json");
    block
}

fn block(method: u8, path: &str, key: Option<&str>, fields: usize) -> Vec<u8> {
    // `:method`, `:scheme: https`, `:path` and `:authority` by their places in the static table.
    let mut block = vec![method, 0x87];
    for (name, value) in [(0x04, path), (0x01, "localhost")] {
        block.push(name);
        string(&mut block, value);
    }
    if let Some(key) = key {
        literal(&mut block, "authorization", &format!("Bearer {key}"));
    }
    if fields > 0 {
        // Into the dynamic table, whose first place is 62. With the second connection's block it is the first again.
        block.push(0x40);
        string(&mut block, "a");
        string(&mut block, "");
        block.extend(std::iter::repeat_n(0x80 | 62, fields - 1));
    }
    block
}

/// A field that goes into no table.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    string(block, name);
    string(block, value);
}

fn string(block: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 127, "{text}");
    block.push(text.len() as u8);
    block.extend(text.bytes());
}

impl<S: Read + Write> Frames<S> {
    /// Begins a connection on which each answer may send so many bytes.
    pub fn new(socket: S, window: u32) -> Self {
        let mut frames = Self { socket, next_stream: 1, settings: BTreeMap::new(), streams: BTreeMap::new() };
        frames.socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        // Without a table on the way back each status is written out.
        let settings = [(HEADER_TABLE, 0), (WINDOW, window)];
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        frames.write(SETTINGS, 0, 0, &payload);
        frames.flush();
        frames
    }

    /// Lets all streams together send so many bytes more.
    pub fn widen(&mut self, bytes: u32) {
        self.write(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
        self.flush();
    }

    /// Opens a stream with this header block; `body` follows, if there is one.
    pub fn open(&mut self, block: &[u8], body: Option<&[u8]>) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.streams.insert(stream, Came::default());
        let end = if body.is_none() { END_STREAM } else { 0 };
        let pieces: Vec<_> = block.chunks(LONGEST_FRAME).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let last = if number + 1 == pieces.len() { END_HEADERS } else { 0 };
            let (kind, flags) = if number == 0 { (HEADERS, end | last) } else { (CONTINUATION, last) };
            self.write(kind, flags, stream, piece);
        }
        if let Some(body) = body {
            assert!(body.len() < LONGEST_FRAME);
            self.write(DATA, END_STREAM, stream, body);
        }
        self.flush();
        stream
    }

    /// Reads until this holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            assert!(self.read(), "{what}: the connection ended; {:?}", self.streams);
        }
    }

    /// The streams of which this holds.
    pub fn count(&self, which: impl Fn(&Came) -> bool) -> usize {
        self.streams.values().filter(|came| which(came)).count()
    }

    /// Takes the next frame. `false`: the connection ended.
    fn read(&mut self) -> bool {
        let mut head = [0; 9];
        if self.socket.read_exact(&mut head).is_err() {
            return false;
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.socket.read_exact(&mut payload).unwrap();
        let came = self.streams.entry(u32::from_be_bytes(stream)).or_default();
        match kind {
            DATA => came.bytes += payload.len(),
            HEADERS => came.status = Some(status(&payload)),
            RST_STREAM => came.end = Some(End::Reset(u32::from_be_bytes(payload[..4].try_into().unwrap()))),
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks(6) {
                    let name = u16::from_be_bytes(setting[..2].try_into().unwrap());
                    self.settings.insert(name, u32::from_be_bytes(setting[2..].try_into().unwrap()));
                }
                self.write(SETTINGS, ACK, 0, &[]);
                self.flush();
            }
            PING if flags & ACK == 0 => {
                self.write(PING, ACK, 0, &payload);
                self.flush();
            }
            GOAWAY => return false,
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            self.streams.get_mut(&u32::from_be_bytes(stream)).unwrap().end.get_or_insert(End::Whole);
        }
        true
    }

    fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = (payload.len() as u32).to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.socket.write_all(&frame).unwrap();
    }

    fn flush(&mut self) {
        self.socket.flush().unwrap();
    }
}

/// The status that a header block begins with (RFC 7541, section 6, and its appendices A and B for the digits).
fn status(block: &[u8]) -> u16 {
    let updates = block.iter().take_while(|byte| **byte & 0xe0 == 0x20).count();
    match block[updates..] {
        [index, ..] if index & 0x80 != 0 => [200, 204, 206, 304, 400, 404, 500][usize::from(index & 0x7f) - 8],
        [_, len, ref text @ ..] if len & 0x80 == 0 => {
            std::str::from_utf8(&text[..usize::from(len)]).unwrap().parse().unwrap()
        }
        [_, len, ref text @ ..] => {
            let text = &text[..usize::from(len & 0x7f)];
            let bits: Vec<u8> = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
            let number = |at: &mut usize| {
                let take =
                    |from: usize, bits: &[u8]| bits[from..].iter().fold(0, |all, bit| all << 1 | u16::from(*bit));
                let short = take(*at, &bits[..*at + 5]);
                let (digit, len) = if short <= 2 { (short, 5) } else { (take(*at, &bits[..*at + 6]) - 0b01_0110, 6) };
                *at += len;
                digit
            };
            let mut at = 0;
            (0..3).fold(0, |all, _| all * 10 + number(&mut at))
        }
        _ => panic!("{block:?}"),
    }
}
