//! Pictures of ours that the text of a conversation shows, and that the model would not see without us.

use std::{collections::HashSet, ops::Range, time::Duration};

use futures_util::{StreamExt, future::join_all, stream};

use super::picture::{AT_ONCE, Found, Named};
use crate::{
    config::History,
    core::{Core, Settings},
    picture::PictureId,
    rewrite::{
        conversation::{Conversation, Mention},
        request::Reference,
    },
    tier::{self, Asker, Questions},
};

/// Most pictures that are made inline in one request, by either way.
pub(super) const MOST: usize = 128;

/// How often the archive is asked for pictures that text shows and that are unknown here, at once, and how long. Text can
/// hold any number of URLs of ours, and almost all that are unknown here are unknown there.
const QUESTIONS: usize = 32;
const QUESTIONS_AT_ONCE: usize = 8;
const QUESTIONS_TIME: Duration = Duration::from_secs(10);

/// A picture that text shows and that there is.
pub(super) struct Shown<'a> {
    pub(super) mention: &'a Mention,
    id: PictureId,
    found: tier::Found,
    /// Its bytes.
    pub(super) len: u64,
}

/// Pictures of ours that text shows and no part (of `references`) holds: each once, where it was shown last; in the order
/// of the body. Of more than [`MOST`], and of more bytes than a request may have, the newest. One that we do not have, or cannot get now, is a mention like any other.
pub(super) async fn shown<'a>(
    core: &Core,
    settings: &Settings,
    limits: &History,
    conversation: &'a Conversation,
    thoughts: &[Range<u64>],
    references: &[&Reference],
) -> Vec<Shown<'a>> {
    let id = |url: &str| match Named::of(&settings.config.public, url) {
        Named::Ours(id) => id,
        Named::Remote | Named::Other => None,
    };
    let parts: HashSet<PictureId> = references.iter().filter_map(|reference| id(&reference.url)).collect();
    // What is shown now must be seen now, so a part that may be left out for its age does not count.
    let is_kept = |reference: &&&Reference| {
        let element = reference.element.and_then(|element| conversation.elements.get(element));
        *limits == History::default() || element.is_none_or(|element| conversation.last_user == Some(element.turn))
    };
    let kept_parts: HashSet<PictureId> =
        references.iter().filter(is_kept).filter_map(|reference| id(&reference.url)).collect();

    let mut seen = HashSet::new();
    let wanted = conversation.mentions.iter().rev().filter_map(|mention| {
        let thought = thoughts.partition_point(|thought| thought.end <= mention.at);
        if thoughts.get(thought).is_some_and(|thought| thought.start <= mention.at) {
            return None;
        }
        let parts = if conversation.last_user == Some(mention.turn) { &kept_parts } else { &parts };
        let id = id(&mention.url).filter(|id| !parts.contains(id) && seen.insert(*id))?;
        Some((mention, id))
    });
    let wanted: Vec<_> = wanted.collect();

    let questions = Questions::new(QUESTIONS, QUESTIONS_TIME);
    let (mut left, mut shown) = (settings.config.limits.request_body, Vec::new());
    let (mut failed, mut why) = (0, None);
    // In groups: a text can hold thousands of them.
    'all: for group in wanted.chunks(QUESTIONS_AT_ONCE) {
        let finds = group.iter().map(|(_, id)| core.tier.find(id, Asker::Request(&questions)));
        for ((mention, id), found) in group.iter().zip(join_all(finds).await) {
            match found {
                Ok(Some(found)) => {
                    let len = found.facts().len;
                    let Some(rest) = left.checked_sub(len) else { break 'all };
                    left = rest;
                    shown.push(Shown { mention, id: *id, found, len });
                }
                Ok(None) => {}
                Err(error) => (failed, why) = (failed + 1, Some(error)),
            }
            if shown.len() == MOST {
                break 'all;
            }
        }
    }
    if let Some(why) = why {
        log::warn!("{failed} pictures in text are not attached, the last of them because: {why}");
    }
    shown.reverse();
    shown
}

/// Opens them. One that cannot be had stays a mention.
pub(super) async fn open<'a>(core: &Core, shown: Vec<Shown<'a>>) -> Vec<(&'a Mention, Found)> {
    let opening = shown.into_iter().map(|shown| async move {
        let picture = core.tier.fetch_whole(shown.found).await;
        let picture = picture.inspect_err(|error| log::warn!("a picture in text is not attached: {error}"));
        Some((shown.mention, Found::own(shown.id, picture.ok()??)))
    });
    let opening: Vec<_> = opening.collect();
    stream::iter(opening).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}
