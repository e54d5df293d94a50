//! Which pictures of a conversation are sent: all of them, or as many as `images.history` allows.
//!
//! Those of the last user's turn always are, whatever the limits say: a question without its pictures is another
//! question. They count all the same. Of the others the newest come first, up to the first one that is too much: that one
//! and all older ones are left out, so that what the model sees has no holes.

use std::cmp::Reverse;

use crate::{
    config::History,
    rewrite::conversation::{Conversation, Mention},
};

/// A picture, or several in one part, that is sent or left out as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// By its number among the conversation's elements.
    Element(usize),
    /// By its number among the mentions that can be attached.
    Mention(usize),
}

/// The pictures of a conversation in the order in which they are considered.
#[derive(Debug)]
pub(super) struct Order {
    /// With each, whether it belongs to the last user's turn.
    pub(super) items: Vec<(Item, bool)>,
}

/// What may still be sent.
#[derive(Debug)]
pub(super) struct Budget {
    /// `None`: any number.
    images: Option<u64>,
    bytes: Option<u64>,
    /// One was too much.
    is_used_up: bool,
}

impl Order {
    pub(super) fn new<'a>(conversation: &Conversation, mentions: impl Iterator<Item = &'a Mention>) -> Self {
        let elements = conversation.elements.iter().enumerate();
        let elements = elements.map(|(number, element)| (element.turn, element.span.start, Item::Element(number)));
        let mentions = mentions.enumerate().map(|(number, mention)| (mention.turn, mention.at, Item::Mention(number)));
        let mut items: Vec<_> = elements.chain(mentions).collect();
        let is_asked = |turn: usize| conversation.last_user == Some(turn);
        items.sort_by_key(|(turn, at, _)| (!is_asked(*turn), Reverse(*at)));
        Self { items: items.into_iter().map(|(turn, _, item)| (item, is_asked(turn))).collect() }
    }
}

impl Budget {
    pub(super) fn new(limits: &History) -> Self {
        let limit = |limit: u64| Some(limit).filter(|limit| *limit > 0);
        Self { images: limit(limits.images), bytes: limit(limits.bytes), is_used_up: false }
    }

    /// Whether it matters how large the next picture is.
    pub(super) fn needs_bytes(&self) -> bool {
        !self.is_used_up && self.images != Some(0) && self.bytes.is_some_and(|bytes| bytes > 0)
    }

    /// Whether so many more pictures, of so many bytes together, may be sent. If so, they are counted.
    pub(super) fn admits(&mut self, images: u64, bytes: u64) -> bool {
        let has_room = self.images.is_none_or(|left| left > 0 && images <= left)
            && self.bytes.is_none_or(|left| left > 0 && bytes <= left);
        self.is_used_up |= !has_room;
        if !self.is_used_up {
            self.spend(images, bytes);
        }
        !self.is_used_up
    }

    /// Counts pictures that are sent whether there is room or not.
    pub(super) fn spend(&mut self, images: u64, bytes: u64) {
        self.images = self.images.map(|left| left.saturating_sub(images));
        self.bytes = self.bytes.map(|left| left.saturating_sub(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::request::{RequestScanner, Route};

    #[test]
    fn the_last_users_pictures_come_first_then_the_newest() {
        let text = r#"{"messages":[
            {"role":"user","content":[{"image_url":"http://x/0"}]},
            {"role":"user","content":[{"image_url":"http://x/1"},{"text":"![a](http://x/images/a)"},{"image_url":"http://x/2"}]},
            {"role":"assistant","content":"![b](http://x/images/b)"},
            {"role":"tool","content":[{"image_url":"http://x/3"}]}]}"#;
        let mut scanner = RequestScanner::new(Route::Chat);
        scanner.push(text.as_bytes()).unwrap();
        let conversation = scanner.finish().unwrap().conversation;
        let order = Order::new(&conversation, conversation.mentions.iter()).items;
        let expected = [
            (Item::Element(2), true),
            (Item::Mention(0), true),
            (Item::Element(1), true),
            (Item::Element(3), false),
            (Item::Mention(1), false),
            (Item::Element(0), false),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn after_one_that_is_too_much_there_is_no_other() {
        let mut any = Budget::new(&History::default());
        assert!(!any.needs_bytes() && any.admits(1, u64::MAX) && any.admits(1, u64::MAX));

        let mut count = Budget::new(&History { images: 2, bytes: 0 });
        assert!(count.admits(1, 0) && count.admits(1, 0) && !count.admits(1, 0) && !count.needs_bytes());

        let mut bytes = Budget::new(&History { images: 0, bytes: 10 });
        assert!(
            bytes.needs_bytes()
                && bytes.admits(1, 6)
                && !bytes.admits(1, 5)
                && !bytes.needs_bytes()
                && !bytes.admits(1, 1)
        );

        // A part with several pictures counts as several.
        let mut parts = Budget::new(&History { images: 3, bytes: 0 });
        assert!(parts.admits(2, 0) && !parts.admits(2, 0) && !parts.admits(1, 0));

        // What the user asks about may use up more than there is.
        let mut asked = Budget::new(&History { images: 1, bytes: 10 });
        asked.spend(1, 20);
        asked.spend(1, 20);
        assert!(!asked.needs_bytes() && !asked.admits(1, 0));
    }
}
