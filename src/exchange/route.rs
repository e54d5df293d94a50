//! The intercepted routes.

use crate::rewrite::{request, shape::Shape};

/// A route whose pictures are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiRoute {
    Generations,
    /// OpenRouter's path for generations.
    Images,
    Edits,
    /// LocalAI's path for edits with a mask.
    Inpainting,
    Variations,
    Chat,
    Responses,
}

impl ApiRoute {
    /// The route at this path, if it is one of these.
    pub fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/images/generations" => Self::Generations,
            "/v1/images" => Self::Images,
            "/v1/images/edits" => Self::Edits,
            "/v1/images/inpainting" => Self::Inpainting,
            "/v1/images/variations" => Self::Variations,
            "/v1/chat/completions" => Self::Chat,
            "/v1/responses" => Self::Responses,
            _ => return None,
        })
    }

    /// Its path below `/v1`, which is also its path below an upstream's base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Generations => "/images/generations",
            Self::Images => "/images",
            Self::Edits => "/images/edits",
            Self::Inpainting => "/images/inpainting",
            Self::Variations => "/images/variations",
            Self::Chat => "/chat/completions",
            Self::Responses => "/responses",
        }
    }

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generations | Self::Images => "generations",
            Self::Edits | Self::Inpainting => "edits",
            Self::Variations => "variations",
            Self::Chat => "chat",
            Self::Responses => "responses",
        }
    }

    /// Whether its pictures have a `response_format`.
    pub fn is_images(self) -> bool {
        !matches!(self, Self::Chat | Self::Responses)
    }

    /// Whether it takes `multipart/form-data`.
    pub fn takes_multipart(self) -> bool {
        matches!(self, Self::Edits | Self::Inpainting | Self::Variations)
    }

    pub(super) fn request_rules(self) -> request::Route {
        match self {
            Self::Chat => request::Route::Chat,
            Self::Responses => request::Route::Responses,
            _ => request::Route::Images,
        }
    }

    pub(super) fn shape(self) -> Shape {
        match self {
            Self::Chat => Shape::Chat,
            Self::Responses => Shape::Responses,
            _ => Shape::Images,
        }
    }
}
