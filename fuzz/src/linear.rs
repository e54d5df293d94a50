//! The work of each rewriter is linear in its input: bytes looked at ≤ a constant × bytes of input + a constant.
//!
//! The work is counted, not timed (`src/work.rs`). The constants are those of the worst input known, rounded up; plain
//! inputs cost 5 to 15 per byte. An input is two bytes and a body, as for the other targets: the first byte chooses the
//! rewriter and its rules, the second where the body is cut. What stands between two bytes of 1 in the body is repeated
//! many times: what costs too much shows in long inputs, and fuzzing keeps to short ones.

use super::{
    invariants::{boundary, parts, pieces, rules},
    picture::{Ending, Sniffer},
    rewrite::{
        Event,
        answer::{AnswerRewriter, Form, Rules},
        base64::{Decoder, Encoder, Tolerance},
        multipart::MultipartScanner,
        raw::RawRewriter,
        request::{RequestScanner, Route},
        stream::StreamRewriter,
    },
    work,
};

/// Stands around what is repeated.
const MARK: u8 = 1;
/// How long it becomes.
const GROWN: usize = 16 * 1024;

/// Runs a rewriter with the rules of this number over a body, cut into these pieces.
type Run = fn(usize, &[u8], Vec<&[u8]>) -> Vec<Event>;

/// What one rewriter may look at.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub name: &'static str,
    /// Bytes looked at for each byte of input …
    pub per_byte: u64,
    /// … and besides.
    pub flat: u64,
    /// Reads the pieces of a body, by the rules of a number. Gives everything that came out of it.
    run: Run,
}

/// One for each rewriter.
///
/// One-byte pieces are the dearest: each costs some steps of its own, and a comparison with what may begin there.
pub const BOUNDS: [Bound; 8] = [
    Bound { name: "answer", per_byte: 64, flat: 4096, run: answer },
    // An event with 64 texts that are held, and another one that lets them go: 64 events, each with the stream's identity.
    Bound { name: "stream", per_byte: 600, flat: 65_536, run: stream },
    Bound { name: "request", per_byte: 64, flat: 4096, run: request },
    Bound { name: "multipart", per_byte: 16, flat: 4096, run: multipart },
    Bound { name: "base64", per_byte: 8, flat: 256, run: base64 },
    Bound { name: "sniff", per_byte: 16, flat: 1024, run: sniff },
    Bound { name: "ending", per_byte: 8, flat: 256, run: ending },
    Bound { name: "raw", per_byte: 4, flat: 256, run: raw },
];

impl Bound {
    /// That of this rewriter.
    pub fn of(name: &str) -> Self {
        *BOUNDS.iter().find(|bound| bound.name == name).expect("a rewriter")
    }

    /// Bytes looked at to read the body in these pieces.
    pub fn work(&self, rules: usize, body: &[u8], pieces: Vec<&[u8]>) -> u64 {
        let (events, work) = work::counted(|| (self.run)(rules, body, pieces));
        drop(events);
        work
    }

    /// Most that may be looked at of so many bytes.
    pub fn most(&self, len: usize) -> u64 {
        self.per_byte * len as u64 + self.flat
    }
}

/// Fails when a rewriter looks at too much. Returns how much of what it may look at it did look at, in thousandths.
pub fn linear(input: &[u8]) -> usize {
    let Some((choice, seed, body)) = parts(input) else { return 0 };
    let bound = BOUNDS[choice % BOUNDS.len()];
    let body = &grown(body)[..];
    let work = bound.work(choice / BOUNDS.len(), body, pieces(body, seed));
    let most = bound.most(body.len());
    assert!(work <= most, "{}: {work} bytes looked at, of {} bytes: at most {most}", bound.name, body.len());
    assert!(!work::IS_COUNTED || work > 0 || body.is_empty(), "{}: nothing is counted", bound.name);
    usize::try_from(work * 1000 / most).expect("a share")
}

/// With what stands between two marks repeated.
fn grown(body: &[u8]) -> Vec<u8> {
    let mut parts = body.splitn(3, |byte| *byte == MARK);
    match [(); 3].map(|()| parts.next()) {
        [Some(before), Some(unit), Some(behind)] if !unit.is_empty() => {
            [before, &unit.repeat(GROWN.div_ceil(unit.len())), behind].concat()
        }
        _ => body.to_vec(),
    }
}

/// With any number of pictures, with one at most, and with none.
fn limited(number: usize) -> Rules {
    let pictures = [usize::MAX, 1, 0][number / 3 % 3];
    Rules { pictures, ..rules(number) }
}

fn answer(number: usize, _: &[u8], pieces: Vec<&[u8]>) -> Vec<Event> {
    let mut rewriter = AnswerRewriter::new(limited(number));
    let mut events: Vec<Event> = pieces.into_iter().flat_map(|piece| rewriter.push(piece)).collect();
    events.extend(rewriter.finish());
    events
}

fn stream(number: usize, _: &[u8], pieces: Vec<&[u8]>) -> Vec<Event> {
    let mut rewriter = StreamRewriter::new(limited(number));
    let mut events: Vec<Event> = pieces.into_iter().flat_map(|piece| rewriter.push(piece)).collect();
    events.extend(rewriter.finish());
    events
}

fn request(number: usize, _: &[u8], pieces: Vec<&[u8]>) -> Vec<Event> {
    let mut scanner = RequestScanner::new([Route::Images, Route::Chat, Route::Responses][number % 3]);
    if pieces.into_iter().all(|piece| scanner.push(piece).is_ok()) {
        drop(scanner.finish());
    }
    Vec::new()
}

fn multipart(_: usize, body: &[u8], pieces: Vec<&[u8]>) -> Vec<Event> {
    let kind = format!("multipart/form-data; boundary=\"{}\"", boundary(body).unwrap_or("b"));
    let mut scanner = MultipartScanner::new(&kind).expect("a boundary");
    if pieces.into_iter().all(|piece| scanner.push(piece).is_ok()) {
        drop(scanner.finish());
    }
    Vec::new()
}

fn base64(number: usize, _: &[u8], pieces: Vec<&[u8]>) -> Vec<Event> {
    let tolerance = [Tolerance::WhiteSpace, Tolerance::Percent, Tolerance::WhiteSpaceAndPercent][number % 3];
    let (mut decoder, mut encoder, mut out) = (Decoder::new(tolerance), Encoder::default(), Vec::new());
    for piece in pieces {
        encoder.push(piece);
        let _refused = decoder.push(piece, &mut out);
    }
    encoder.finish();
    let _cut = decoder.finish(&mut out);
    Vec::new()
}

fn sniff(_: usize, body: &[u8], pieces: Vec<&[u8]>) -> Vec<Event> {
    let mut sniffer = Sniffer::default();
    let mut known = 0;
    for piece in pieces {
        known += piece.len();
        sniffer.look(&body[..known]);
    }
    Vec::new()
}

fn ending(_: usize, body: &[u8], pieces: Vec<&[u8]>) -> Vec<Event> {
    let (head, _) = body.split_at(body.len().min(12));
    let mut ending = Ending::of(head);
    let mut known = 0;
    for piece in pieces {
        // Those that are in the head count as pushed.
        ending.push(piece.get(head.len().saturating_sub(known).min(piece.len())..).unwrap_or_default());
        known += piece.len();
    }
    Vec::new()
}

fn raw(number: usize, _: &[u8], pieces: Vec<&[u8]>) -> Vec<Event> {
    let Some(mut rewriter) = RawRewriter::new([Form::Url, Form::Both][number % 2], 0) else { return Vec::new() };
    let mut events: Vec<Event> = pieces.into_iter().flat_map(|piece| rewriter.push(piece)).collect();
    events.extend(rewriter.finish());
    events
}
