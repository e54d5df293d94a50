//! What is done to a conversation, as spans and what goes there.

use std::{borrow::Cow, ops::Range};

use super::{Conversation, Dialect, Element, List, Mention, Room};

/// What stands in place of a picture that is left out.
const NOTE: &str = "[image omitted]";

/// Bytes of the body, which may be none, and what goes in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub span: Range<u64>,
    pub with: Vec<Piece>,
}

/// A piece of what is put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(Cow<'static, str>),
    /// The `data:` URI of the picture with this number, without quotes.
    Picture(usize),
}

impl Dialect {
    fn text_type(self) -> &'static str {
        match self {
            Dialect::Chat => "text",
            Dialect::Responses => "input_text",
        }
    }
}

impl Conversation {
    /// Leaves out these elements, given by their numbers in order. Parts become a short note; from a list of pictures
    /// they are taken out.
    pub fn omit(&self, omitted: &[usize]) -> Vec<Edit> {
        let note = format!(r#"{{"type":"{}","text":"{NOTE}"}}"#, self.dialect.text_type());
        let (mut list, mut removed) = (None, 0);
        let elements = omitted.iter().filter_map(|number| self.elements.get(*number));
        let edits = elements.map(|element| {
            if list.replace(element.list_number) != Some(element.list_number) {
                removed = 0;
            }
            let edit = match element.list {
                List::Parts => Edit { span: element.span.clone(), with: vec![Piece::Text(note.clone().into())] },
                List::Pictures => Edit { span: element.without(removed), with: Vec::new() },
            };
            removed += 1;
            edit
        });
        edits.collect()
    }

    /// Takes the assistant's thoughts out, but for those in elements that are left out anyway.
    pub fn strip(&self, omitted: &[usize]) -> Vec<Edit> {
        let gone: Vec<_> = omitted.iter().filter_map(|number| self.elements.get(*number)).collect();
        let is_gone = |thought: &&Range<u64>| {
            let around = gone.partition_point(|element| element.span.end <= thought.start);
            gone.get(around).is_some_and(|element| element.span.start <= thought.start)
        };
        let left = self.thoughts.iter().filter(|thought| !is_gone(thought));
        left.map(|thought| Edit { span: thought.clone(), with: Vec::new() }).collect()
    }

    /// Whether anybody has said something that pictures can be added to.
    pub fn takes_pictures(&self) -> bool {
        !self.users.is_empty()
    }

    /// Adds pictures that are mentioned in text to turns of a user, each behind a line that names its URL: to the turn
    /// itself, else to the next one of a user, else to the last. Without any, nothing is done.
    pub fn attach<'a>(&self, attached: impl IntoIterator<Item = (&'a Mention, usize)>) -> Vec<Edit> {
        let mut added: Vec<Vec<Piece>> = vec![Vec::new(); self.users.len()];
        for (mention, picture) in attached {
            let home = self.users.partition_point(|user| user.turn < mention.turn);
            let Some(pieces) = added.get_mut(home.min(self.users.len().saturating_sub(1))) else { continue };
            let label = serde_json::Value::from(format!("Image {}:", mention.url));
            let (before, after) = match self.dialect {
                Dialect::Chat => (r#"{"type":"image_url","image_url":{"url":""#, r#""}}"#),
                Dialect::Responses => (r#"{"type":"input_image","image_url":""#, r#""}"#),
            };
            let text = format!(r#",{{"type":"{}","text":{label}}},{before}"#, self.dialect.text_type());
            pieces.extend([Piece::Text(text.into()), Piece::Picture(picture), Piece::Text(after.into())]);
        }
        let edits = self.users.iter().zip(added).filter(|(_, pieces)| !pieces.is_empty());
        edits.flat_map(|(user, pieces)| user.room.put(self.dialect, pieces)).collect()
    }
}

impl Element {
    /// What to take out so that the list stays one, when so many elements before it are taken out too.
    fn without(&self, removed: usize) -> Range<u64> {
        match (self.previous_end, self.next_start) {
            (Some(previous), _) if self.index > removed => previous..self.span.end,
            (_, Some(next)) => self.span.start..next,
            (_, None) => self.span.clone(),
        }
    }
}

impl Room {
    /// Adds parts, each of which begins with a comma.
    fn put(&self, dialect: Dialect, mut pieces: Vec<Piece>) -> Vec<Edit> {
        let part = format!(r#"{{"type":"{}","text":"#, dialect.text_type());
        let mut around = |span: &Range<u64>, before: String, after: &'static str| {
            pieces.insert(0, Piece::Text("}".into()));
            pieces.push(Piece::Text(after.into()));
            let before = Edit { span: span.start..span.start, with: vec![Piece::Text(before.into())] };
            vec![before, Edit { span: span.end..span.end, with: std::mem::take(&mut pieces) }]
        };
        match self {
            Room::Text(span) => around(span, format!("[{part}"), "]"),
            Room::Input(span) => around(span, format!(r#"[{{"type":"message","role":"user","content":[{part}"#), "]}]"),
            Room::List { end, is_empty } => {
                if let (true, Some(Piece::Text(first))) = (*is_empty, pieces.first_mut()) {
                    *first = first.get(1..).unwrap_or_default().to_owned().into();
                }
                vec![Edit { span: *end..*end, with: pieces }]
            }
        }
    }
}
