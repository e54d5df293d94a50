//! Follows the values of a request and notes what belongs to its conversation.
//!
//! What is kept is bounded by the pictures found, not by the number of turns.

use super::{
    Conversation, Dialect, Element, List, MOST_MENTION_BYTES, MOST_PICTURES, MOST_THOUGHTS, Mention, Room, User,
};
use crate::rewrite::{
    json::{
        Name::{Content, Images, Input, Messages, Output},
        Step::{self, Index, Key},
    },
    prose::Prose,
};

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rewrite) enum Kind {
    Text,
    Array,
    /// An object, a number, a word.
    Other,
}

/// Follows the values of a request.
#[derive(Debug)]
pub(in crate::rewrite) struct Tracker {
    found: Conversation,
    turn: Option<Turn>,
    list: Option<OpenList>,
    element: Option<OpenElement>,
    lists: usize,
    /// Mentions that had been found when the last user's turn ended, and whether that turn is needed by one.
    settled: usize,
    is_last_needed: bool,
    /// Bytes of the URLs of all mentions.
    mention_bytes: usize,
}

/// The turn at hand.
#[derive(Debug)]
struct Turn {
    number: usize,
    role: Role,
    room: Option<Room>,
    /// Thoughts that had been found before it.
    thoughts: usize,
    /// Where its text at hand begins.
    text_start: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    User,
    Assistant,
    Other,
}

/// The list at hand.
#[derive(Debug)]
struct OpenList {
    list: List,
    /// Its parts may be added to.
    is_content: bool,
    previous_end: Option<u64>,
    /// The last element found lies in it and waits for the next one's start.
    is_waiting: bool,
}

/// The list element at hand.
#[derive(Debug)]
struct OpenElement {
    start: u64,
    index: usize,
    has_picture: bool,
    inline: u64,
}

impl Tracker {
    pub(in crate::rewrite) fn new(dialect: Dialect) -> Self {
        Self {
            found: Conversation { dialect, ..Conversation::default() },
            turn: None,
            list: None,
            element: None,
            lists: 0,
            settled: 0,
            is_last_needed: true,
            mention_bytes: 0,
        }
    }

    pub(in crate::rewrite) fn finish(self) -> Conversation {
        self.found
    }

    /// A value begins at this path.
    pub(in crate::rewrite) fn begin(&mut self, path: &[Step], kind: Kind, at: u64) {
        match self.turn_path(path) {
            Some([]) => self.begin_turn(path),
            Some([Key(Content)]) if kind == Kind::Text => self.text_start(at),
            Some([Key(name @ (Content | Images | Output))]) if kind == Kind::Array => {
                self.lists += 1;
                self.list = Some(OpenList {
                    list: if *name == Images { List::Pictures } else { List::Parts },
                    is_content: *name == Content,
                    previous_end: None,
                    is_waiting: false,
                });
            }
            Some([_, Index(index)]) => {
                let Some(list) = &mut self.list else { return };
                if std::mem::take(&mut list.is_waiting)
                    && let Some(last) = self.found.elements.last_mut()
                {
                    last.next_start = Some(at);
                }
                self.element = Some(OpenElement { start: at, index: *index, has_picture: false, inline: 0 });
            }
            None if kind == Kind::Text && self.is_input(path) => {
                self.begin_turn(path);
                self.text_start(at);
            }
            _ => {}
        }
    }

    /// The value at this path ends; `end` is behind its last byte.
    pub(in crate::rewrite) fn end(&mut self, path: &[Step], kind: Kind, end: u64) {
        match self.turn_path(path) {
            Some([]) => self.end_turn(),
            Some([Key(Content)]) if kind == Kind::Text => {
                if let Some(turn) = &mut self.turn {
                    turn.room = Some(Room::Text(turn.text_start..end));
                }
            }
            Some([Key(Content | Images | Output)]) if kind == Kind::Array => {
                if let (Some(list), Some(turn)) = (self.list.take(), &mut self.turn)
                    && list.is_content
                {
                    turn.room = Some(Room::List { end: end - 1, is_empty: list.previous_end.is_none() });
                }
            }
            // A content that no part can be added to counts as the last one written.
            Some([Key(Content)]) => {
                if let Some(turn) = &mut self.turn {
                    turn.room = None;
                }
            }
            Some([_, Index(_)]) => self.end_element(end),
            None if kind == Kind::Text && self.is_input(path) => {
                if let Some(turn) = &mut self.turn {
                    turn.role = Role::User;
                    turn.room = Some(Room::Input(turn.text_start..end));
                }
                self.end_turn();
            }
            _ => {}
        }
    }

    /// The turn at hand is of this role.
    pub(in crate::rewrite) fn role(&mut self, role: &str) {
        if let Some(turn) = &mut self.turn {
            turn.role = match role {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                _ => Role::Other,
            };
        }
    }

    /// A text of the turn at hand has been read.
    pub(in crate::rewrite) fn text(&mut self, prose: Prose) {
        let Some(turn) = &self.turn else { return };
        for (url, at) in prose.mentions {
            self.mention_bytes += url.len();
            if self.found.mentions.len() >= MOST_PICTURES || self.mention_bytes > MOST_MENTION_BYTES {
                break;
            }
            self.found.mentions.push(Mention { turn: turn.number, url, at });
        }
        let thoughts = &mut self.found.thoughts;
        for thought in prose.thoughts {
            let known = thoughts.len();
            match thoughts.last_mut() {
                Some(last) if last.end == thought.start => last.end = thought.end,
                _ if known < MOST_THOUGHTS => thoughts.push(thought),
                _ => return,
            }
        }
    }

    /// The number that the element at hand will have if there is a picture in it, and there is one: of so many bytes,
    /// if it stands there itself. `None`: it is in no element.
    ///
    /// # Errors
    /// When there are too many.
    pub(in crate::rewrite) fn picture(&mut self, inline: u64) -> Result<Option<usize>, TooMany> {
        let Some(element) = &mut self.element else { return Ok(None) };
        let number = self.found.elements.len();
        if number >= MOST_PICTURES {
            return Err(TooMany);
        }
        element.has_picture = true;
        element.inline += inline;
        Ok(Some(number))
    }

    /// The steps below a turn; empty for the turn itself.
    fn turn_path<'a>(&self, path: &'a [Step]) -> Option<&'a [Step]> {
        match (path, self.found.dialect) {
            ([Key(Messages), Index(_), rest @ ..], Dialect::Chat) => Some(rest),
            ([Key(Input), Index(_), rest @ ..], Dialect::Responses) => Some(rest),
            _ => None,
        }
    }

    /// Whether this is the input as a whole.
    fn is_input(&self, path: &[Step]) -> bool {
        self.found.dialect == Dialect::Responses && matches!(path, [Key(Input)])
    }

    fn begin_turn(&mut self, path: &[Step]) {
        let number = match path {
            [_, Index(number)] => *number,
            _ => 0,
        };
        let thoughts = self.found.thoughts.len();
        self.turn = Some(Turn { number, role: Role::Other, room: None, thoughts, text_start: 0 });
    }

    fn text_start(&mut self, at: u64) {
        if let Some(turn) = &mut self.turn {
            turn.text_start = at;
        }
    }

    fn end_element(&mut self, end: u64) {
        let (Some(list), Some(element), Some(turn)) = (&mut self.list, self.element.take(), &self.turn) else { return };
        if element.has_picture {
            self.found.elements.push(Element {
                turn: turn.number,
                span: element.start..end,
                inline: element.inline,
                list: list.list,
                list_number: self.lists,
                index: element.index,
                previous_end: list.previous_end,
                next_start: None,
            });
            list.is_waiting = true;
        }
        list.previous_end = Some(end);
    }

    fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        if turn.role != Role::Assistant {
            self.found.thoughts.truncate(turn.thoughts);
        }
        if turn.role != Role::User {
            return;
        }
        self.found.last_user = Some(turn.number);
        let Some(room) = turn.room else { return };
        // A turn that no mention waits for is only kept until there is a later one.
        if !self.is_last_needed {
            self.found.users.pop();
        }
        self.found.users.push(User { turn: turn.number, room });
        self.is_last_needed = self.found.mentions.len() > self.settled;
        self.settled = self.found.mentions.len();
    }
}

/// There are more than [`MOST_PICTURES`].
#[derive(Clone, Copy, Debug)]
pub(in crate::rewrite) struct TooMany;
