//! Which fields of an answer hold pictures, per route.
//!
//! Only these fields are looked at. Tool-call arguments, audio, file data, encrypted reasoning, signatures and embeddings
//! are in no rule, so they cannot be touched.

use super::json::{
    Name::{
        B64Json, Choices, Content, Data, Delta, Image, ImageUrl, ImageUrlCamel, Images, Message, Output, Outputs,
        Reasoning, ReasoningContent, Response, Result, Text, Url,
    },
    Step::{self, Index, Key},
};

/// The family an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `/v1/images/*`.
    Images,
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/responses`.
    Responses,
}

/// What a field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing of ours.
    Other,
    /// `b64_json` of an item: the member becomes `url` when URLs are wanted.
    Base64Member,
    /// `url` of an item, with an http(s) URL or a data URI: becomes `b64_json` when bytes are wanted.
    UrlMember,
    /// Base64 whose key stays.
    Base64,
    /// An http(s) URL or a data URI whose key stays.
    Reference,
    /// Running text that may hold data URIs.
    Text,
}

impl Shape {
    /// The role of the string at this path.
    pub fn role(self, path: &[Step]) -> Role {
        match self {
            Shape::Images => images(path),
            Shape::Chat => chat(path),
            Shape::Responses => responses(path),
        }
    }

    /// Whether the object at this path is an item: `b64_json` and `url` stand side by side in it.
    pub fn is_item(self, path: &[Step]) -> bool {
        match (self, path) {
            (Shape::Images, [Key(Data | Images), Index(_)]) => true,
            (Shape::Chat, path) => matches!(message(path), Some([Key(Content), Index(_)])),
            _ => false,
        }
    }
}

fn images(path: &[Step]) -> Role {
    match path {
        [Key(Data | Images), Index(_), Key(B64Json)] => Role::Base64Member,
        [Key(Data | Images), Index(_), Key(Url)] => Role::UrlMember,
        _ => Role::Other,
    }
}

/// The path below `choices[].message` or `choices[].delta`.
fn message(path: &[Step]) -> Option<&[Step]> {
    match path {
        [Key(Choices), Index(_), Key(Message | Delta), rest @ ..] => Some(rest),
        _ => None,
    }
}

fn chat(path: &[Step]) -> Role {
    match message(path) {
        Some([Key(Content | Reasoning | ReasoningContent)]) => Role::Text,
        Some([Key(Content), Index(_), Key(Text)]) => Role::Text,
        Some([Key(Content), Index(_), Key(B64Json)]) => Role::Base64Member,
        Some([Key(Content), Index(_), Key(Url)]) => Role::UrlMember,
        Some([Key(Images | Content), Index(_), Key(ImageUrl | ImageUrlCamel | Image)]) => Role::Reference,
        Some([Key(Images | Content), Index(_), Key(ImageUrl | ImageUrlCamel | Image), Key(Url)]) => Role::Reference,
        _ => Role::Other,
    }
}

fn responses(path: &[Step]) -> Role {
    let path = match path {
        [Key(Response), rest @ ..] => rest,
        path => path,
    };
    match path {
        [Key(Output), Index(_), Key(Result)] => Role::Base64,
        [Key(Output), Index(_), Key(Content), Index(_), Key(Text)] => Role::Text,
        [Key(Output), Index(_), Key(Outputs), Index(_), Key(Url)] => Role::Reference,
        _ => Role::Other,
    }
}
