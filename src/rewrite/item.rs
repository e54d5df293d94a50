//! An object in which `url` and `b64_json` stand side by side.
//!
//! With URLs wanted, `b64_json` becomes `url`, and the other key must be *absent*: an empty string beside it makes some
//! clients take the empty one. Some servers send all keys always, and in any order. So an empty `b64_json`, and any `url`,
//! are held until the item shows whether it has the other one too.

use bytes::Bytes;

use super::{Events, Fill, Slot};
use crate::work;

/// How much of an item is held, at most, before it goes out as it came.
const LONGEST_HOLD: usize = 64 * 1024;

/// The state of one item while it is read.
#[derive(Debug)]
pub(super) struct Item {
    /// Number of steps of its members' paths.
    pub(super) depth: usize,
    /// White space and comma between the last member and the next.
    gap: Vec<u8>,
    /// The key of the member at hand, from its opening quote up to its value.
    head: Option<Head>,
    /// Whether a member has been written; without the held one.
    kept: bool,
    held: Option<Held>,
    /// A member that is a picture has been written.
    pub(super) pictured: bool,
    /// `b64_json` is there, with something that is no picture.
    pub(super) occupied: bool,
}

/// `"key" : `, in two halves.
#[derive(Debug, Default)]
struct Head {
    key: Vec<u8>,
    colon: Vec<u8>,
}

/// A member that goes out or not, depending on what else the item has.
#[derive(Debug)]
struct Held {
    link: Option<(Slot, String)>,
    /// The member as it came, with the gap before it.
    raw: Vec<u8>,
    /// What came behind it.
    after: Vec<u8>,
    /// The same when the member is left out: a comma may be gone.
    without: Vec<u8>,
}

impl Item {
    pub(super) fn new(depth: usize) -> Self {
        Self { depth, gap: Vec::new(), head: None, kept: false, held: None, pictured: false, occupied: false }
    }

    /// Bytes between members, or of a key.
    pub(super) fn between(&mut self, bytes: &[u8], key: bool) {
        work::looked_at(1 + bytes.len());
        if key && self.head.is_none() {
            self.head = Some(Head::default());
        }
        match &mut self.head {
            Some(head) if key => head.key.extend_from_slice(bytes),
            Some(head) => head.colon.extend_from_slice(bytes),
            None => self.gap.extend_from_slice(bytes),
        }
    }

    /// Whether what stands between two values, or a key, is longer than is held: this is no item of any API.
    pub(super) fn is_overlong(&self) -> bool {
        let head = self.head.as_ref().map_or(0, |head| head.key.len() + head.colon.len());
        self.gap.len() + head > LONGEST_HOLD
    }

    /// Whether a key has been read whose value has not begun.
    pub(super) fn at_value(&self) -> bool {
        self.head.is_some()
    }

    /// Bytes of a member that stays.
    pub(super) fn write(&mut self, bytes: &[u8], events: &mut Events) {
        match &mut self.held {
            Some(held) => {
                work::looked_at(2 * bytes.len());
                held.after.extend_from_slice(bytes);
                held.without.extend_from_slice(bytes);
                if held.after.len() > LONGEST_HOLD {
                    self.settle(true, events);
                }
            }
            None => events.copy(bytes),
        }
    }

    /// The member at hand stays as it is: writes its key.
    pub(super) fn keep(&mut self, events: &mut Events) {
        let Some(head) = self.head.take() else { return };
        let gap = std::mem::take(&mut self.gap);
        let without = self.gap_without(&gap);
        match &mut self.held {
            Some(held) => {
                work::looked_at(2 * gap.len());
                held.after.extend_from_slice(&gap);
                held.without.extend_from_slice(&without);
            }
            None => events.copy(&without),
        }
        self.write(&head.key, events);
        self.write(&head.colon, events);
        self.kept = true;
    }

    /// The member at hand becomes a slot: gives the text before its value, with another key and as it was. Nothing is
    /// held any more.
    pub(super) fn replace(&mut self, key: &str) -> (Vec<u8>, Vec<u8>) {
        let (lead, original, _) = self.replaced(key);
        self.kept = true;
        self.pictured = true;
        (lead, original)
    }

    /// The text before the value at hand, with another key and without what is held; the same as it came; and only what
    /// stood behind the held member.
    fn replaced(&mut self, key: &str) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let head = self.head.take().unwrap_or_default();
        let gap = std::mem::take(&mut self.gap);
        let gap_without = self.gap_without(&gap);
        let (without, mut original) = match self.held.take() {
            Some(held) => (held.without, [held.raw, held.after, gap].concat()),
            None => (Vec::new(), gap_without.clone()),
        };
        let lead = [&without, &gap_without, key.as_bytes(), &head.colon].concat();
        original.extend([head.key, head.colon].concat());
        work::looked_at(lead.len() + original.len());
        (lead, original, without)
    }

    /// The member at hand has this value, which is empty or names no picture: held, or left out when the item is pictured
    /// already.
    pub(super) fn hold(&mut self, value: &[u8], events: &mut Events) {
        let linked = self.held.as_ref().is_some_and(|held| held.link.is_some());
        if self.pictured || linked {
            return self.leave_out();
        }
        self.settle(true, events);
        let (gap, head) = self.take_member();
        let raw = [gap, head.key, head.colon, value.to_vec()].concat();
        work::looked_at(2 * raw.len());
        self.held = Some(Held { link: None, raw, after: Vec::new(), without: Vec::new() });
    }

    /// The member at hand names a picture by URL: held until it is clear that its bytes are not there too. An empty
    /// member held before it is part of the question no more.
    ///
    /// `raw` is its value without the closing quote; `key` is what the key becomes.
    pub(super) fn hold_link(&mut self, fill: Fill, url: String, key: &str, raw: &[u8], events: &mut Events) {
        if self.held.as_ref().is_some_and(|held| held.link.is_some()) {
            self.settle(true, events);
        }
        let (lead, original, without) = self.replaced(key);
        let (lead, original) = (text(&[&lead, b"\""]), [&original, &b"\""[..], raw].concat());
        work::looked_at(lead.len() + 2 * original.len());
        let slot = Slot { lead, fill, original: original.clone().into(), passed_on: false };
        self.held = Some(Held { link: Some((slot, url)), raw: original, after: vec![b'"'], without });
    }

    /// Drops the member at hand.
    pub(super) fn leave_out(&mut self) {
        self.head = None;
        self.gap.clear();
    }

    /// Ends the question about the held member: it stays, or not.
    pub(super) fn settle(&mut self, stays: bool, events: &mut Events) {
        let Some(held) = self.held.take() else { return };
        if !stays {
            return events.copy(&held.without);
        }
        self.kept = true;
        match held.link {
            Some((slot, url)) => {
                self.pictured = true;
                events.link(slot, url);
            }
            None => events.copy(&held.raw),
        }
        events.copy(&held.after);
    }

    /// The item ends, or the text breaks: everything not written goes out as it came.
    pub(super) fn finish(mut self, events: &mut Events) {
        self.settle(true, events);
        events.copy(&self.gap);
        if let Some(head) = self.head {
            events.copy(&head.key);
            events.copy(&head.colon);
        }
    }

    /// The member at hand, out of the item: the gap before it, and its key.
    fn take_member(&mut self) -> (Vec<u8>, Head) {
        let gap = std::mem::take(&mut self.gap);
        (self.gap_without(&gap), self.head.take().unwrap_or_default())
    }

    /// The gap before a member when the held one is left out: without its comma where no member stands before it.
    fn gap_without(&self, gap: &[u8]) -> Vec<u8> {
        work::looked_at(2 * gap.len());
        let comma = gap.contains(&b',');
        if comma && !self.kept { Vec::new() } else { gap.to_vec() }
    }
}

/// Joins and freezes.
pub(super) fn text(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}
