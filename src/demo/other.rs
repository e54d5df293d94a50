//! Routes without pictures, to test that a gateway passes them on.

use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::{
    answer::Answer,
    call::{Call, Content},
    draw::noise,
};

/// `POST /v1/embeddings`: the same eight numbers for every input.
pub(super) fn embeddings(call: &Call) -> Result<Answer, Answer> {
    const VECTOR: [f32; 8] = [0.125, -0.25, 0.5, -0.5, 0.25, -0.125, 0.75, 0.0];
    let inputs = match call.json()?.get("input") {
        Some(Value::Array(inputs)) => inputs.len(),
        _ => 1,
    };
    let data: Vec<Value> =
        (0..inputs).map(|index| json!({ "object": "embedding", "index": index, "embedding": VECTOR })).collect();
    Ok(Answer::json(&json!({
        "object": "list",
        "data": data,
        "model": call.model(),
        "usage": { "prompt_tokens": inputs, "total_tokens": inputs },
    })))
}

/// `POST /v1/audio/speech`: a tenth of a second of silence as WAV.
pub(super) fn speech() -> Answer {
    const SAMPLES: u32 = 800;
    let mut wav = Vec::with_capacity(44 + SAMPLES as usize);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + SAMPLES).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data");
    wav.extend_from_slice(&SAMPLES.to_le_bytes());
    wav.resize(44 + SAMPLES as usize, 0x80);
    Answer::whole("audio/wav", vec![wav.into()])
}

/// `POST /v1/files`.
pub(super) fn upload(call: &Call) -> Result<Answer, Answer> {
    let (name, bytes) = match &call.body {
        Content::Form(parts) => parts
            .iter()
            .find_map(|part| Some((part.file_name.clone()?, part.body.len())))
            .unwrap_or_else(|| ("file".to_owned(), 0)),
        _ => ("file".to_owned(), call.length),
    };
    Ok(Answer::json(&json!({
        "id": "file-demo",
        "object": "file",
        "bytes": bytes,
        "created_at": 1_790_000_000,
        "filename": name,
        "purpose": call.field("purpose"),
        "status": "processed",
    })))
}

/// `GET /v1/files/{id}/content`: bytes that follow from the path, 64 KiB or as many as `?demo=bytes:N` says.
pub(super) fn file(call: &Call) -> Answer {
    let seed = call.path.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let bytes = Bytes::from(noise(call.controls.bytes.unwrap_or(64 * 1024), seed));
    Answer::whole("application/octet-stream", vec![bytes])
        .header(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"demo.bin\""))
}
