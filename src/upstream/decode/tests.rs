use async_compression::tokio::bufread::{BrotliEncoder, DeflateEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};

use super::*;

/// Text that repeats itself, and bytes that do not.
fn data() -> Vec<u8> {
    let mut data = b"data: {\"choices\":[]}\n\n".repeat(3000);
    data.extend((0..40_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8));
    data
}

fn all(mut reader: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).now_or_never().unwrap().unwrap();
    bytes
}

fn coded() -> [(&'static str, Vec<u8>); 8] {
    let data = &data()[..];
    let gzip = all(GzipEncoder::new(data));
    let halves = [all(GzipEncoder::new(&data[..9])), all(GzipEncoder::new(&data[9..]))].concat();
    [
        ("x-gzip", halves),
        ("gzip, gzip", all(GzipEncoder::new(&gzip[..]))),
        ("br,, GZIP", all(GzipEncoder::new(&all(BrotliEncoder::new(data))[..]))),
        ("gzip", gzip),
        ("deflate", all(ZlibEncoder::new(data))),
        ("Deflate", all(DeflateEncoder::new(data))),
        ("br", all(BrotliEncoder::new(data))),
        ("zstd", all(ZstdEncoder::new(data))),
    ]
}

fn decoder(names: &str) -> Decoder {
    let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, names.parse().unwrap())]);
    Decoder::new(codings(&headers).unwrap(), 1 << 20)
}

/// All that comes out, and the longest piece of it.
fn run(decoder: &mut Decoder, coded: &[u8], size: usize) -> io::Result<(Vec<u8>, usize)> {
    let mut pieces = coded.chunks(size).map(|piece| Some(Bytes::copy_from_slice(piece))).chain([None]);
    let (mut out, mut longest) = (Vec::new(), 0);
    loop {
        match decoder.next()? {
            Step::Piece(piece) => {
                longest = longest.max(piece.len());
                out.extend_from_slice(&piece);
            }
            Step::Wanting => decoder.push(pieces.next().unwrap())?,
            Step::End => {
                assert_eq!(decoder.next()?, Step::End, "and so it stays");
                return Ok((out, longest));
            }
        }
    }
}

#[test]
fn every_coding_is_undone_however_it_is_cut() {
    let data = data();
    for (names, coded) in coded() {
        for size in [1, 7, 1000, usize::MAX] {
            let (out, _) = run(&mut decoder(names), &coded, size).unwrap_or_else(|e| panic!("{names}, {size}: {e}"));
            assert!(out == data, "{names}, {size}: {} bytes", out.len());
        }
    }
}

#[test]
fn what_is_cut_short_or_followed_by_more_is_broken() {
    for (names, coded) in coded() {
        for size in [7, usize::MAX] {
            for len in [1, 3, coded.len() / 2, coded.len() - 1] {
                assert!(run(&mut decoder(names), &coded[..len], size).is_err(), "{names}, {len} bytes");
            }
            let more = [&coded[..], b"more"].concat();
            assert!(run(&mut decoder(names), &more, size).is_err(), "{names}");
        }
    }
}

#[test]
fn what_is_only_labelled_as_coded_is_taken_as_it_is() {
    for (names, _) in coded() {
        for text in [&b"{\"data\":[]}"[..], b"data: {}\n\n"] {
            for size in [7, 100] {
                assert_eq!(run(&mut decoder(names), text, size).unwrap().0, text, "{names}");
            }
        }
    }
}

#[test]
fn an_answer_without_a_body_has_no_coding() {
    for (names, _) in coded() {
        assert!(run(&mut decoder(names), b"", 1).unwrap().0.is_empty(), "{names}");
    }
}

#[test]
fn what_was_flushed_comes_out_before_the_next_piece() {
    use async_compression::tokio::write as to;
    use tokio::io::{AsyncWrite, AsyncWriteExt as _};

    /// What each of three writes made, flushed.
    fn flushed<W: AsyncWrite + Unpin>(mut writer: W, written: impl Fn(&W) -> Vec<u8>) -> Vec<Vec<u8>> {
        let mut at = 0;
        let mut pieces = Vec::new();
        for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
            writer.write_all(event.as_bytes()).now_or_never().unwrap().unwrap();
            writer.flush().now_or_never().unwrap().unwrap();
            let all = written(&writer);
            pieces.push(all[at..].to_vec());
            at = all.len();
        }
        pieces
    }
    for (names, pieces) in [
        ("gzip", flushed(to::GzipEncoder::new(Vec::new()), |w| w.get_ref().clone())),
        ("deflate", flushed(to::ZlibEncoder::new(Vec::new()), |w| w.get_ref().clone())),
        ("deflate", flushed(to::DeflateEncoder::new(Vec::new()), |w| w.get_ref().clone())),
        ("br", flushed(to::BrotliEncoder::new(Vec::new()), |w| w.get_ref().clone())),
        ("zstd", flushed(to::ZstdEncoder::new(Vec::new()), |w| w.get_ref().clone())),
    ] {
        let mut decoder = decoder(names);
        for (n, piece) in (1..).zip(pieces) {
            decoder.push(Some(piece.into())).unwrap();
            let mut out = Vec::new();
            while let Step::Piece(piece) = decoder.next().unwrap() {
                out.extend_from_slice(&piece);
            }
            assert_eq!(String::from_utf8(out).unwrap(), format!("data: {n}\n\n"), "{names}");
        }
    }
}

#[test]
fn a_small_piece_with_much_in_it_comes_out_in_steps() {
    let zeros = vec![0; 16 << 20];
    let gzip = all(GzipEncoder::new(&zeros[..]));
    for (names, coded) in [
        ("br", all(BrotliEncoder::new(&zeros[..]))),
        ("zstd", all(ZstdEncoder::new(&zeros[..]))),
        ("gzip, gzip", all(GzipEncoder::new(&gzip[..]))),
        ("gzip", gzip),
    ] {
        let (out, longest) = run(&mut decoder(names), &coded, usize::MAX).unwrap();
        assert_eq!((out.len(), longest), (zeros.len(), STEP), "{names}");
    }
}

#[test]
fn a_body_that_goes_on_without_content_ends() {
    let empty = all(GzipEncoder::new(&b""[..]));
    assert!(run(&mut decoder("gzip"), &empty.repeat(10), 1000).unwrap().0.is_empty());
    assert!(run(&mut decoder("gzip"), &empty.repeat(100_000), 1000).is_err());
}

#[test]
fn windows_that_the_coding_does_not_have_are_broken() {
    assert!(run(&mut decoder("br"), &[0x11, 30, 0, 0], 10).is_err());
    // A zstd frame with a window of 2 GiB.
    assert!(run(&mut decoder("zstd"), &[0x28, 0xB5, 0x2F, 0xFD, 0, 0xA8, 1, 0, 0], 10).is_err());
}

#[test]
fn only_known_codings_are_undone() {
    let of = |lines: &[&str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CONTENT_ENCODING, line.parse().unwrap());
        }
        codings(&headers)
    };
    assert_eq!(of(&[]), Some(vec![]));
    assert_eq!(of(&["identity"]), Some(vec![]));
    assert_eq!(of(&["X-GZip ,identity", "br"]), Some(vec![Coding::Gzip, Coding::Brotli]));
    for unknown in ["compress", "gzip, aws-chunked", "gzip, gzip, gzip", "dcz", "gzip;q=1"] {
        assert_eq!(of(&[unknown]), None, "{unknown}");
    }
}
