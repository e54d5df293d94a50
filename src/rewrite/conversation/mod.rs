//! What stands in a conversation (`messages` of a chat, `input` of a response), and the edits made of it.
//!
//! * Pictures in lists: a part of a message's `content`, an entry of its `images`. Old ones can be [left
//!   out](Conversation::omit).
//! * Pictures mentioned in text, by image markup. The model sees none of them there, so they can be
//!   [attached](Conversation::attach) as parts of a user's turn.
//! * Thoughts of the assistant (`<think>…</think>`), which can be [taken out](Conversation::strip).
//!
//! Which is done, the exchange decides. The text itself stays as it is, URLs and all: a model may be asked to repeat or
//! to translate it, and a URL that it repeats still shows its picture to the user.

mod edit;
mod tracker;

use std::ops::Range;

use crate::opaque::opaque;

pub use edit::{Edit, Piece};
pub(super) use tracker::{Kind, Tracker};

/// Most pictures in lists, and most mentions that are looked at.
pub const MOST_PICTURES: usize = 4096;
/// Most bytes of the URLs of mentions. A URL of ours is a few hundred bytes long, also a signed one.
pub const MOST_MENTION_BYTES: usize = 2 * 1024 * 1024;

/// Most thoughts that are noted.
pub(super) const MOST_THOUGHTS: usize = 16 * 1024;

/// What stands in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    pub dialect: Dialect,
    /// Pictures in lists, in the order of the body. At most [`MOST_PICTURES`].
    pub elements: Vec<Element>,
    /// Pictures mentioned in text, in the order of the body. At most [`MOST_PICTURES`], with at most
    /// [`MOST_MENTION_BYTES`] of URLs; later ones are not seen.
    pub mentions: Vec<Mention>,
    /// The assistant's thoughts, in the order of the body. None overlaps another.
    pub thoughts: Vec<Range<u64>>,
    /// The number of the last turn of a user.
    pub last_user: Option<usize>,
    /// Where parts can be added: the user's turns that a mention may need, in order.
    users: Vec<User>,
}

/// What parts look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    Chat,
    Responses,
}

/// A list element with a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The number of its turn.
    pub turn: usize,
    pub span: Range<u64>,
    /// Bytes of pictures that stand in it as base64.
    pub inline: u64,
    list: List,
    /// Equal for elements of one list.
    list_number: usize,
    index: usize,
    /// Where the element before it ends, and where the one behind it begins.
    previous_end: Option<u64>,
    next_start: Option<u64>,
}

/// What a list may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    /// Parts of several kinds.
    Parts,
    /// Pictures only.
    Pictures,
}

/// A picture mentioned in text.
#[derive(Clone, PartialEq, Eq)]
pub struct Mention {
    /// The number of its turn.
    pub turn: usize,
    /// The URL, behind its escapes.
    pub url: String,
    /// Where its markup begins.
    pub at: u64,
}

opaque!(Mention { turn, at });

/// A user's turn that can take parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    turn: usize,
    room: Room,
}

/// Where a turn takes parts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Room {
    /// Its content is this string.
    Text(Range<u64>),
    /// Its content is a list, whose bracket is here.
    List { end: u64, is_empty: bool },
    /// The whole input is this string.
    Input(Range<u64>),
}
