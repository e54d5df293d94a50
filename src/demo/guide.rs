//! `GET /`: what this server is, in plain text.

use super::{answer::Answer, control::TABLE, server::House};

pub(super) fn page(house: &House) -> Answer {
    let mut text = format!(
        "picgate demo upstream\n\n\
         An image API of OpenAI's shape that draws pictures from the prompt. No model is behind it.\n\
         Base URL: {}/v1 (any bearer token)\n\
         Models: demo-image, gpt-image-demo (draw), demo-chat (talks; draws when the text starts with draw, paint or \
         generate)\n\
         What it received: GET /demo/received (DELETE forgets)\n\n\
         Words in the prompt, in a header `x-demo: …` or in a query `?demo=…` steer the answer:\n\n",
        house.origin
    );
    for (word, effect) in TABLE {
        text.push_str(&format!("  {word:<15} {effect}\n"));
    }
    Answer::whole("text/plain; charset=utf-8", vec![text.into()])
}
