//! Base64: the incremental coder beside the whole-buffer ones it is made of.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may fail loudly")]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use picgate::rewrite::base64::{Decoder, Encoder, Tolerance};

const PIECE: usize = 64 * 1024;

fn base64(c: &mut Criterion) {
    let bytes: Vec<u8> = (0..1_500_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let text = base64_simd::STANDARD.encode_to_string(&bytes);
    let lines: String =
        text.as_bytes().chunks(76).map(|line| format!("{}\r\n", std::str::from_utf8(line).unwrap())).collect();
    let mut group = c.benchmark_group("base64");
    group.measurement_time(Duration::from_secs(2)).sample_size(20).throughput(Throughput::Bytes(text.len() as u64));
    for (name, text) in [("decode in pieces", &text), ("decode with line breaks", &lines)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut decoder = Decoder::new(Tolerance::WhiteSpace);
                for piece in text.as_bytes().chunks(PIECE) {
                    let mut out = Vec::with_capacity(PIECE);
                    decoder.push(piece, &mut out).unwrap();
                    black_box(out);
                }
                decoder.finish(&mut Vec::new()).unwrap();
            });
        });
    }
    group.bench_function("decode whole (base64-simd)", |b| {
        b.iter(|| black_box(base64_simd::STANDARD.decode_to_vec(&text).unwrap()));
    });
    group.bench_function("encode in pieces", |b| {
        b.iter(|| {
            let mut encoder = Encoder::default();
            for piece in bytes.chunks(96 * 1024) {
                black_box(encoder.push(piece));
            }
            black_box(encoder.finish())
        });
    });
    group.finish();
}

criterion_group!(benches, base64);
criterion_main!(benches);
