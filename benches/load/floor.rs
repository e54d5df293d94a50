//! The floor: the least a program can do that turns a base64 picture into a file. It trusts everybody, hashes nothing,
//! checks nothing: read all, decode, write, answer. One blocking thread for each connection. A gateway cannot beat it by
//! much; how near it comes is what its rows tell. Of a stream it reads all deltas too, and answers once.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::Result;

/// `floor PORT UPSTREAM DIR`, as a process of its own.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [_, port, upstream, dir] = args else { return Err("floor PORT UPSTREAM DIR".into()) };
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    let floor = Arc::new(Floor { upstream: upstream.clone(), dir: PathBuf::from(dir), next: AtomicU64::new(0) });
    for client in listener.incoming() {
        let (floor, client) = (Arc::clone(&floor), client?);
        // A client that hangs up is the end of its thread and of nothing else.
        thread::spawn(move || floor.serve(&client));
    }
    Ok(())
}

struct Floor {
    upstream: String,
    dir: PathBuf,
    next: AtomicU64,
}

// === impl Floor ===

impl Floor {
    fn serve(&self, client: &TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        let upstream = TcpStream::connect(&self.upstream)?;
        upstream.set_nodelay(true)?;
        let (mut from_client, mut from_upstream) =
            (BufReader::new(client), BufReader::with_capacity(1 << 16, &upstream));
        while let Some(request) = Message::read(&mut from_client)? {
            request.write(&mut &upstream)?;
            let answer = Message::read(&mut from_upstream)?.ok_or("the upstream hung up")?;
            let name = self.next.fetch_add(1, Ordering::Relaxed);
            let picture = picture(&answer)?;
            fs::write(self.dir.join(format!("{name}.png")), picture)?;
            let body = format!(r#"{{"created":0,"data":[{{"url":"http://floor/images/{name}.png"}}]}}"#);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_owned();
            Message { head, body: body.into_bytes() }.write(&mut &*client)?;
        }
        Ok(())
    }
}

fn picture(answer: &Message) -> Result<Vec<u8>> {
    let text = if answer.head.contains("text/event-stream") {
        let deltas = lines_of(&answer.body).filter_map(|line| string_of(line, b"\"content\"").ok());
        let text = deltas.collect::<Vec<_>>().concat();
        let start = memchr::memmem::find(&text, b"base64,").ok_or("a stream without a picture")? + b"base64,".len();
        let rest = text.get(start..).unwrap_or_default();
        rest.get(..memchr::memchr(b')', rest).unwrap_or(rest.len())).unwrap_or_default().to_vec()
    } else {
        string_of(&answer.body, b"\"b64_json\"")?.to_vec()
    };
    Ok(base64_simd::STANDARD.decode_to_vec(text)?)
}

fn lines_of(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', body)
        .map(move |end| body.get(std::mem::replace(&mut start, end + 1)..end).unwrap_or_default())
}

/// The string behind the first key of this name.
fn string_of<'a>(json: &'a [u8], key: &[u8]) -> Result<&'a [u8]> {
    let start = memchr::memmem::find(json, key).ok_or("an answer without a picture")? + key.len();
    let rest = json.get(start..).unwrap_or_default();
    let open = memchr::memchr(b'"', rest).ok_or("an answer without a picture")? + 1;
    let rest = rest.get(open..).unwrap_or_default();
    Ok(rest.get(..memchr::memchr(b'"', rest).ok_or("an unfinished picture")?).unwrap_or_default())
}

/// A request or an answer: the lines before the body without those that frame it, and the body.
struct Message {
    head: String,
    body: Vec<u8>,
}

// === impl Message ===

impl Message {
    /// `None` when the connection has ended.
    fn read(from: &mut impl BufRead) -> Result<Option<Self>> {
        let (mut head, mut length, mut chunked) = (String::new(), 0, false);
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = true;
            } else {
                head.push_str(&line);
            }
        }
        let mut body = Vec::with_capacity(length);
        if chunked {
            while read_chunk(from, &mut body)? {}
        } else {
            body.resize(length, 0);
            from.read_exact(&mut body)?;
        }
        Ok(Some(Self { head, body }))
    }

    fn write(&self, to: &mut impl Write) -> Result<()> {
        to.write_all(format!("{}content-length: {}\r\n\r\n", self.head, self.body.len()).as_bytes())?;
        Ok(to.write_all(&self.body)?)
    }
}

/// Appends one chunk; false after the last.
fn read_chunk(from: &mut impl BufRead, body: &mut Vec<u8>) -> Result<bool> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
    let start = body.len();
    // The chunk and the line end after it.
    body.resize(start + size + 2, 0);
    from.read_exact(body.get_mut(start..).unwrap_or_default())?;
    body.truncate(start + size);
    Ok(size > 0)
}
