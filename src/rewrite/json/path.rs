//! Where in a document a value stands.

use super::{Container, Token, unescape};
use crate::work;

/// Keys that are written longer than this are nobody's we know: the longest name with every letter escaped is shorter.
const LONGEST_NAME: usize = 128;

macro_rules! names {
    ($($variant:ident = $text:literal),* $(,)?) => {
        /// An object key the rules know.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Name { $($variant,)* Other }

        impl Name {
            #[cfg(test)]
            pub const ALL: &[Name] = &[$(Name::$variant,)* Name::Other];

            /// The name a key (behind its escapes) is.
            pub fn of(key: &str) -> Name {
                match key { $($text => Name::$variant,)* _ => Name::Other }
            }

            /// The key as text; `…` for one nobody knows.
            pub fn as_str(self) -> &'static str {
                match self { $(Name::$variant => $text,)* Name::Other => "…" }
            }
        }
    };
}

names! {
    Artifacts = "artifacts",
    Audio = "audio",
    B64Image = "b64_image",
    B64Json = "b64_json",
    Base64 = "base64",
    BytesBase64Encoded = "bytesBase64Encoded",
    Candidates = "candidates",
    Choices = "choices",
    Content = "content",
    ContentIndex = "content_index",
    Data = "data",
    Delta = "delta",
    Error = "error",
    Files = "files",
    FinishReason = "finish_reason",
    FunctionCall = "function_call",
    Image = "image",
    Image2 = "image2",
    Image3 = "image3",
    ImageBase64 = "image_base64",
    ImageUrl = "image_url",
    ImageUrlCamel = "imageUrl",
    ImageUrls = "image_urls",
    Images = "images",
    Index = "index",
    InitImages = "init_images",
    InlineData = "inlineData",
    InlineDataSnake = "inline_data",
    Input = "input",
    InputImage = "input_image",
    InputImageMask = "input_image_mask",
    InputReferences = "input_references",
    Item = "item",
    Mask = "mask",
    Message = "message",
    Messages = "messages",
    Model = "model",
    N = "n",
    Output = "output",
    OutputIndex = "output_index",
    Outputs = "outputs",
    Part = "part",
    Parts = "parts",
    Predictions = "predictions",
    Prompt = "prompt",
    Reasoning = "reasoning",
    ReasoningContent = "reasoning_content",
    RefImages = "ref_images",
    ReferenceImages = "reference_images",
    Refusal = "refusal",
    Response = "response",
    ResponseFormat = "response_format",
    Result = "result",
    Results = "results",
    Role = "role",
    Sample = "sample",
    Source = "source",
    SummaryIndex = "summary_index",
    Stream = "stream",
    Text = "text",
    ToolCalls = "tool_calls",
    Tools = "tools",
    Type = "type",
    Url = "url",
    Variables = "variables",
}

/// One step from a container to a value in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Key(Name),
    Index(usize),
}

/// Follows a [`Lexer`](super::Lexer)'s tokens and knows the steps from the root to the value at hand.
#[derive(Debug, Default)]
pub struct Path {
    steps: Vec<Step>,
    key: Vec<u8>,
}

impl Path {
    /// The steps to the value that is about to begin, or has just begun.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The name that the last key is, were its case another. [`Name::Other`] when it is none so either, or is one as it
    /// stands.
    pub fn name_in_another_case(&self) -> Name {
        let may_be = |byte: &u8| byte.is_ascii_uppercase() || !byte.is_ascii() || *byte == b'\\';
        if self.key.len() > LONGEST_NAME || !self.key.iter().any(may_be) {
            return Name::Other;
        }
        let key = unescape(&self.key).unwrap_or_default();
        if Name::of(&key) == Name::Other { Name::of(&without_case(&key)) } else { Name::Other }
    }

    /// Starts again, for another document.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.key.clear();
    }

    /// Takes note of a token. Call it *before* looking at the token, except for `End`, whose container's own path is
    /// what [`steps`](Self::steps) gives afterwards.
    pub fn see(&mut self, token: Token<'_>) {
        work::looked_at(1);
        match token {
            Token::Begin(Container::Object) => self.steps.push(Step::Key(Name::Other)),
            Token::Begin(Container::Array) => self.steps.push(Step::Index(0)),
            Token::End(_) => {
                self.steps.pop();
            }
            Token::Comma => {
                if let Some(Step::Index(index)) = self.steps.last_mut() {
                    *index += 1;
                }
            }
            Token::KeyStart => self.key.clear(),
            Token::KeyPart(part) if self.key.len() <= LONGEST_NAME => {
                let room = LONGEST_NAME + 1 - self.key.len();
                work::looked_at(room.min(part.len()));
                self.key.extend_from_slice(part.get(..room).unwrap_or(part));
            }
            Token::KeyEnd => {
                work::looked_at(2 * self.key.len());
                let name = unescape(&self.key).filter(|_| self.key.len() <= LONGEST_NAME);
                if let Some(Step::Key(key)) = self.steps.last_mut() {
                    *key = name.map_or(Name::Other, |name| Name::of(&name));
                }
            }
            _ => {}
        }
    }
}

/// A key as servers that match without case compare it. Go's JSON decoder takes U+017F for an `s` and U+212A for a `k`,
/// as Unicode's simple case folding does.
pub fn without_case(key: &str) -> String {
    key.to_lowercase().replace('\u{17f}', "s")
}

/// `messages[0].content[1].image_url.url`, as errors name it.
impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Key(name) if at == 0 => f.write_str(name.as_str())?,
                Step::Key(name) => write!(f, ".{}", name.as_str())?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
