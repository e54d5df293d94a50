//! The rewriters on their own: bytes in, events out, nothing stored.
#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may fail loudly")]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use picgate::rewrite::{
    answer::{AnswerRewriter, Form, Rules},
    request::{RequestScanner, Route},
    shape::Shape,
    stream::StreamRewriter,
};

/// What one read from a socket gives.
const PIECE: usize = 64 * 1024;

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    random.take(len).collect()
}

/// A picture of this size as base64: a real header, then noise.
fn picture(len: usize) -> String {
    let header = include_bytes!("../tests/fixtures/wire/img/px1.png");
    base64_simd::STANDARD.encode_to_string([header.as_slice(), &noise(len)].concat())
}

fn rewriter(c: &mut Criterion) {
    let picture = picture(1_500_000);
    let answer = format!(r#"{{"created":1,"data":[{{"b64_json":"{picture}"}}],"usage":{{"total_tokens":1}}}}"#);
    let mut group = c.benchmark_group("rewriter");
    group.measurement_time(Duration::from_secs(3)).sample_size(20);

    for (name, form) in [("answer 1.5 MB to url", Form::Url), ("answer 1.5 MB passed on", Form::Base64)] {
        group.throughput(Throughput::Bytes(answer.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut rewriter = AnswerRewriter::new(Rules::new(Shape::Images, form));
                for piece in answer.as_bytes().chunks(PIECE) {
                    black_box(rewriter.push(piece));
                }
                black_box(rewriter.finish())
            });
        });
    }

    let chat = Rules::new(Shape::Chat, Form::Url);
    let delta = |text: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
        )
    };
    let text: String = (0..200).map(|_| delta("some words ")).collect();
    let uri = format!("![x](data:image/png;base64,{picture})");
    let split: String = uri.as_bytes().chunks(1000).map(|piece| delta(std::str::from_utf8(piece).unwrap())).collect();
    for (name, stream) in [("200 text deltas", &text), ("1.5 MB picture in 1 KB deltas", &split)] {
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut rewriter = StreamRewriter::new(chat);
                for piece in stream.as_bytes().chunks(PIECE) {
                    black_box(rewriter.push(piece));
                }
                black_box(rewriter.finish())
            });
        });
    }

    let request = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{picture}"}}}}]}}]}}"#
    );
    group.throughput(Throughput::Bytes(request.len() as u64));
    group.bench_function("request with a 1.5 MB picture", |b| {
        b.iter(|| {
            let mut scanner = RequestScanner::new(Route::Chat);
            for piece in request.as_bytes().chunks(PIECE) {
                scanner.push(piece).unwrap();
            }
            black_box(scanner.finish().unwrap())
        });
    });
    group.finish();
}

criterion_group!(benches, rewriter);
criterion_main!(benches);
