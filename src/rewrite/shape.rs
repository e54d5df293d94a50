//! Which fields of an answer hold pictures, per route.
//!
//! Beside OpenAI's own there are those of other APIs that reach a client through an OpenAI-like route. Their typed clients
//! decode what a key promises, so a key that says base64 keeps it: such a picture is kept, and nothing changes.
//!
//! Only these fields are looked at. Tool-call arguments, audio, file data, encrypted reasoning, signatures and embeddings
//! are in no rule, so they cannot be touched.

use super::json::{
    Name::{
        Artifacts, B64Image, B64Json, Base64, BytesBase64Encoded, Candidates, Choices, Content, Data, Delta, Image,
        ImageBase64, ImageUrl, ImageUrlCamel, ImageUrls, Images, InlineData, InlineDataSnake, Item, Message, Output,
        Outputs, Part, Parts, Predictions, Reasoning, ReasoningContent, Response, Result, Results, Sample, Source,
        Text, Url,
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

/// What kind of document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A whole answer, or a chat chunk, which looks the same.
    Answer,
    /// An event of a stream whose `type` is not known (yet), or is none of the following.
    Event,
    /// An event with a preview: passes, and is not kept.
    PartialImage,
    /// An event with the next piece of a text: `response.output_text.delta`, `response.reasoning_text.delta` and the like.
    TextDelta,
}

impl Kind {
    /// The kind of event that a `type` names.
    pub fn of(event_type: &[u8]) -> Self {
        if event_type.ends_with(b".partial_image") {
            Self::PartialImage
        } else if event_type.ends_with(b"_text.delta") {
            Self::TextDelta
        } else {
            Self::Event
        }
    }
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
    /// Base64 whose key stays, or a URL when URLs are wanted.
    Base64,
    /// Base64 under a key that promises base64: it stays whatever is wanted, and the picture is kept.
    Kept,
    /// An http(s) URL or a data URI whose key stays.
    Reference,
    /// A picture in any spelling under a key that promises none: an http(s) URL, a data URI, or bare base64, which stays
    /// unless the client itself asked for URLs.
    Any,
    /// Running text that may hold data URIs.
    Text,
}

impl Shape {
    /// The role of the string at this path.
    pub fn role(self, kind: Kind, path: &[Step]) -> Role {
        match (self, kind) {
            (_, Kind::PartialImage) => Role::Other,
            (Shape::Images, Kind::Answer) => images(path),
            (Shape::Images, _) => image_event(path),
            (Shape::Chat, _) => chat(path),
            (Shape::Responses, Kind::Answer) => response(path),
            (Shape::Responses, _) => response_event(kind, path),
        }
    }

    /// Whether the object at this path is an item: `b64_json` and `url` stand side by side in it.
    pub fn is_item(self, kind: Kind, path: &[Step]) -> bool {
        match (self, path) {
            (Shape::Images, [Key(Data | Images), Index(_)] | [Key(Image)]) => true,
            (Shape::Images, []) => kind != Kind::Answer,
            (Shape::Chat, path) => matches!(message(path), Some([Key(Content | Images), Index(_)])),
            _ => false,
        }
    }
}

fn images(path: &[Step]) -> Role {
    match path {
        [Key(Data | Images), Index(_), Key(B64Json)] | [Key(Image), Key(B64Json)] => Role::Base64Member,
        [Key(Data | Images), Index(_), Key(Url)] | [Key(Image), Key(Url)] => Role::UrlMember,
        // A1111 and Vercel's gateway: bare base64. Replicate: one URL or several.
        [Key(Data | Images | Output), Index(_)] | [Key(Image | Output)] => Role::Any,
        // Stability, Fireworks, Imagen.
        [Key(Artifacts), Index(_), Key(Base64)] | [Key(Base64), Index(_)] | [Key(Base64)] => Role::Kept,
        [Key(Predictions), Index(_), Key(BytesBase64Encoded)] => Role::Kept,
        // MiniMax.
        [Key(Data), Key(ImageUrls), Index(_)] => Role::Reference,
        [Key(Data), Key(ImageBase64), Index(_)] => Role::Kept,
        // DashScope, asynchronous and synchronous.
        [Key(Output), Key(Results), Index(_), Key(Url)] => Role::Reference,
        [Key(Output), Key(Results), Index(_), Key(B64Image)] => Role::Kept,
        [Key(Output), Key(Choices), Index(_), Key(Message), Key(Content), Index(_), Key(Image)] => Role::Any,
        // Jobs that are asked for again and again (Fireworks, Black Forest Labs).
        [Key(Result), Key(Sample)] => Role::Reference,
        path => gemini(path),
    }
}

/// Gemini's own API: whole, as an event, or as an array of these.
fn gemini(path: &[Step]) -> Role {
    let answer = match path {
        [Index(_), answer @ ..] => answer,
        answer => answer,
    };
    match answer {
        [
            Key(Candidates),
            Index(_),
            Key(Content),
            Key(Parts),
            Index(_),
            Key(InlineData | InlineDataSnake),
            Key(Data),
        ] => Role::Kept,
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
        Some([Key(Images | Content), Index(_), part @ ..]) => chat_part(path, part),
        Some(_) => Role::Other,
        None => gemini(path),
    }
}

/// A part of a message's content, or one of its pictures.
fn chat_part(path: &[Step], part: &[Step]) -> Role {
    match part {
        [] if matches!(message(path), Some([Key(Images), ..])) => Role::Any,
        [Key(Text)] => Role::Text,
        [Key(B64Json)] => Role::Base64Member,
        [Key(Url)] => Role::UrlMember,
        [Key(ImageUrl | ImageUrlCamel | Image)] => Role::Reference,
        [Key(ImageUrl | ImageUrlCamel | Image | Source), Key(Url)] => Role::Reference,
        [Key(Source), Key(Data)] => Role::Kept,
        _ => Role::Other,
    }
}

/// `image_generation.completed`, `image_edit.completed`, Ark's `image_generation.partial_succeeded`: the event itself is
/// the item. Some servers send a whole answer as one event.
fn image_event(path: &[Step]) -> Role {
    match path {
        [Key(B64Json)] => Role::Base64Member,
        [Key(Url)] => Role::UrlMember,
        path => images(path),
    }
}

fn response(path: &[Step]) -> Role {
    match path {
        [Key(Output), Index(_), item @ ..] => output_item(item),
        _ => Role::Other,
    }
}

/// `response.output_item.done` has an item, `response.completed` the whole response; text comes in deltas and is repeated.
fn response_event(kind: Kind, path: &[Step]) -> Role {
    match path {
        [Key(Response), response_path @ ..] => response(response_path),
        [Key(Item), item @ ..] => output_item(item),
        [Key(Part), Key(Text)] | [Key(Text)] => Role::Text,
        [Key(Part), Key(ImageUrl)] => Role::Reference,
        [Key(Delta)] if kind == Kind::TextDelta => Role::Text,
        _ => Role::Other,
    }
}

fn output_item(path: &[Step]) -> Role {
    match path {
        [Key(Result)] => Role::Base64,
        [Key(Content), Index(_), Key(Text)] => Role::Text,
        [Key(Content), Index(_), Key(ImageUrl)] => Role::Reference,
        [Key(Outputs), Index(_), Key(Url)] => Role::Reference,
        _ => Role::Other,
    }
}
