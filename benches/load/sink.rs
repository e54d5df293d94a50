//! The sink: an upstream that reads whatever it is sent, keeps nothing, and answers every request with the same short
//! chat. For requests so long that a real server's parsing would be most of what is measured.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use crate::Result;

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"sink","choices":[{"index":0,"message":{"role":"assistant","content":"They are all pictures."},"finish_reason":"stop"}]}"#;

/// `sink PORT`, as a process of its own.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [_, port] = args else { return Err("sink PORT".into()) };
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?))?;
    for client in listener.incoming() {
        let client = client?;
        // A client that hangs up is the end of its thread and of nothing else.
        thread::spawn(move || serve(&client));
    }
    Ok(())
}

fn serve(client: &TcpStream) -> Result<()> {
    client.set_nodelay(true)?;
    let mut from = BufReader::new(client);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let mut buffer = vec![0; 256 * 1024];
    while let Some(mut left) = body_length(&mut from)? {
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left)?);
            match from.read(buffer.get_mut(..most).unwrap_or_default())? {
                0 => return Ok(()),
                read => left -= read as u64,
            }
        }
        (&*client).write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Reads a request's head. `None` when the connection has ended.
fn body_length(from: &mut impl BufRead) -> Result<Option<u64>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(Some(length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
}
