//! Which fields of a request may name a picture, and which hold text.
//!
//! The table of places in `docs/architecture.md` says the same for people. What stands in no rule (audio, files,
//! signatures, arguments of tools) cannot be touched.

use super::{
    json::{
        Name::{
            Content, Data, Files, Image, Image2, Image3, ImageUrl, Images, InitImages, Input, InputImage,
            InputImageMask, InputReferences, Mask, Messages, Model, N, Output, Prompt, RefImages, ReferenceImages,
            ResponseFormat, Result as CallResult, Role, Source, Stream, Text, Tools, Url, Variables,
        },
        Step::{self, Index, Key},
    },
    request::{ReferenceForm, Route},
};
use crate::rewrite::json::Name;

/// What a string is read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Field(Name),
    /// What the client asks for; in a conversation, text that may mention pictures as well.
    Prompt,
    /// Text that a tool gave back.
    Output,
    Role,
    Reference(ReferenceForm),
    /// The `url` of a `source`, which is replaced whole.
    SourceUrl,
    /// A picture's base64, which stays.
    Inline,
}

/// A `data:` URI of the picture's bytes goes where its URL stood.
const INLINE: Option<Use> = Some(Use::Reference(ReferenceForm::DataUri));
const BARE: Option<Use> = Some(Use::Reference(ReferenceForm::Base64));

impl Route {
    /// What the string at this path is read for.
    pub(super) fn use_of(self, path: &[Step]) -> Option<Use> {
        match path {
            [Key(Model)] => return Some(Use::Field(Model)),
            [Key(ResponseFormat)] if self == Route::Images => return Some(Use::Field(ResponseFormat)),
            _ => {}
        }
        match self {
            Route::Images => images(path),
            Route::Chat => chat(path),
            Route::Responses => responses(path),
        }
    }

    /// Whether the key at the end of this path decides something: the gateway reads its value, or what lies below it.
    pub(super) fn decides(self, path: &[Step]) -> bool {
        if let [Key(Model | N | Stream)] = path {
            return true;
        }
        match self {
            Route::Images => match path {
                [Key(ResponseFormat)] => true,
                [Key(Prompt | Image2 | Image3 | InputImage | InitImages | RefImages | Files)] => true,
                [Key(Image | Images | Mask | ImageUrl | ReferenceImages | InputReferences), rest @ ..] => {
                    let rest = match rest {
                        [Index(_), rest @ ..] => rest,
                        rest => rest,
                    };
                    matches!(rest, [] | [Key(Url | ImageUrl)] | [Key(ImageUrl), Key(Url)])
                }
                _ => false,
            },
            Route::Chat => match path {
                [Key(Messages)] => true,
                [Key(Messages), Index(_), rest @ ..] => matches!(
                    rest,
                    [Key(Role | Content | Images)]
                        | [Key(Content), Index(_), Key(Text | Source)]
                        | [Key(Content | Images), Index(_), Key(ImageUrl | Image)]
                        | [Key(Content | Images), Index(_), Key(ImageUrl | Image), Key(Url)]
                        | [Key(Images), Index(_), Key(Url)]
                        | [Key(Content), Index(_), Key(Source), Key(Url | Data)]
                ),
                _ => false,
            },
            Route::Responses => match path {
                [Key(Input | Tools | Prompt)] => true,
                [Key(Input), Index(_), rest @ ..] => matches!(
                    rest,
                    [Key(Role | Content | Output | ImageUrl | CallResult)]
                        | [Key(Content | Output), Index(_), Key(Text | ImageUrl)]
                        | [Key(Output), Key(ImageUrl)]
                ),
                [Key(Tools), Index(_), Key(InputImageMask)] => true,
                [Key(Tools), Index(_), Key(InputImageMask), Key(ImageUrl)] => true,
                // The names of variables are the client's own.
                [Key(Prompt), Key(Variables)] | [Key(Prompt), Key(Variables), Key(_), Key(ImageUrl)] => true,
                _ => false,
            },
        }
    }

    /// Whether a mask stands here: then a picture must keep its size, or the mask would not fit it.
    pub(super) fn is_mask(self, path: &[Step]) -> bool {
        match self {
            Route::Images => matches!(path, [Key(Mask)]),
            Route::Chat => false,
            Route::Responses => matches!(path, [Key(Tools), Index(_), Key(InputImageMask)]),
        }
    }
}

/// OpenAI's `images[].image_url` and `mask.image_url`, and what compatible servers add: xAI's `image.url`, Ark's `image`
/// (text or list), SiliconFlow's `image2` and `image3`, Together's `image_url` and `reference_images`, OpenRouter's
/// `input_references`, A1111's `init_images`. LocalAI's `files` and `ref_images` are bare base64.
fn images(path: &[Step]) -> Option<Use> {
    match path {
        [Key(Prompt)] => Some(Use::Prompt),
        [Key(Image | Images | Mask | ImageUrl | ReferenceImages | InputReferences), rest @ ..] => {
            let rest = match rest {
                [Index(_), rest @ ..] => rest,
                rest => rest,
            };
            match rest {
                [] | [Key(Url | ImageUrl)] | [Key(ImageUrl), Key(Url)] => INLINE,
                _ => None,
            }
        }
        [Key(Image2 | Image3 | InputImage | InitImages)] | [Key(InitImages), Index(_)] => INLINE,
        [Key(RefImages | Files)] | [Key(RefImages | Files), Index(_)] => BARE,
        _ => None,
    }
}

/// OpenAI's parts, those of the responses API and Anthropic's, which clients mix; and `images`, OpenRouter's answers
/// played back.
fn chat(path: &[Step]) -> Option<Use> {
    let [Key(Messages), Index(_), rest @ ..] = path else { return None };
    match rest {
        [Key(Role)] => Some(Use::Role),
        [Key(Content)] | [Key(Content), Index(_), Key(Text)] => Some(Use::Prompt),
        [Key(Content | Images), Index(_), Key(ImageUrl | Image)] => INLINE,
        [Key(Content | Images), Index(_), Key(ImageUrl | Image), Key(Url)] => INLINE,
        [Key(Images), Index(_)] | [Key(Images), Index(_), Key(Url)] => INLINE,
        [Key(Content), Index(_), Key(Source), Key(Url)] => Some(Use::SourceUrl),
        [Key(Content), Index(_), Key(Source), Key(Data)] => Some(Use::Inline),
        _ => None,
    }
}

fn responses(path: &[Step]) -> Option<Use> {
    match path {
        [Key(Input)] => Some(Use::Prompt),
        [Key(Input), Index(_), rest @ ..] => match rest {
            [Key(Role)] => Some(Use::Role),
            [Key(Content)] | [Key(Content), Index(_), Key(Text)] => Some(Use::Prompt),
            [Key(Output)] | [Key(Output), Index(_), Key(Text)] => Some(Use::Output),
            [Key(ImageUrl)] => INLINE,
            [Key(Content | Output), Index(_), Key(ImageUrl)] | [Key(Output), Key(ImageUrl)] => INLINE,
            [Key(CallResult)] => BARE,
            _ => None,
        },
        [Key(Tools), Index(_), Key(InputImageMask), Key(ImageUrl)] => INLINE,
        [Key(Prompt), Key(Variables), Key(_), Key(ImageUrl)] => INLINE,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at this path and those below it, as far as two keys past the last one that decides.
    fn check(route: Route, path: &mut Vec<Step>, unknown: usize) {
        let is_variable = |end: usize| matches!(path[..=end], [Key(Prompt), Key(Variables), Key(_)]);
        if route.use_of(path).is_some() || route.is_mask(path) {
            for end in 0..path.len() {
                let decides = matches!(path[end], Index(_)) || is_variable(end) || route.decides(&path[..=end]);
                assert!(decides, "{route:?}: {path:?} is read, and {:?} does not decide", &path[..=end]);
            }
        }
        if path.len() == 6 {
            return;
        }
        for step in Name::ALL.iter().map(|name| Key(*name)).chain([Index(0)]) {
            if step == Index(0) && path.last() == Some(&Index(0)) {
                continue; // no rule has a list in a list
            }
            path.push(step);
            let is_known = matches!(step, Index(_)) || route.decides(path);
            let left = if is_known { Some(unknown) } else { unknown.checked_sub(1) };
            if let Some(left) = left {
                check(route, path, if route.decides(path) { 2 } else { left });
            }
            path.pop();
        }
    }

    #[test]
    fn every_key_on_the_way_to_what_is_read_decides() {
        for route in [Route::Images, Route::Chat, Route::Responses] {
            check(route, &mut Vec::new(), 2);
        }
    }
}
