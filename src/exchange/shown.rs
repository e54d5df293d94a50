//! Pictures of ours that the text of a conversation shows, and that the model would not see without us.

use std::{collections::HashSet, ops::Range};

use futures_util::{StreamExt, stream};

use super::picture::{AT_ONCE, Found, Named};
use crate::{
    config::History,
    core::{Core, Settings},
    picture::PictureId,
    rewrite::{
        conversation::{Conversation, Mention},
        request::Reference,
    },
};

/// Most pictures that are made inline in one request, by either way.
pub(super) const MOST: usize = 128;

/// A picture that text shows and that there is.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) mention: &'a Mention,
    id: PictureId,
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

    let mut left = settings.config.limits.request_body;
    let mut seen = HashSet::new();
    let mut shown = Vec::new();
    for mention in conversation.mentions.iter().rev() {
        let thought = thoughts.partition_point(|thought| thought.end <= mention.at);
        if thoughts.get(thought).is_some_and(|thought| thought.start <= mention.at) {
            continue;
        }
        let parts = if conversation.last_user == Some(mention.turn) { &kept_parts } else { &parts };
        let Some(id) = id(&mention.url).filter(|id| !parts.contains(id) && seen.insert(*id)) else { continue };
        match core.tier.find(&id).await {
            Ok(Some(found)) => {
                let len = found.facts().len;
                let Some(rest) = left.checked_sub(len) else { break };
                left = rest;
                shown.push(Shown { mention, id, len });
            }
            Ok(None) => {}
            Err(error) => log::warn!("a picture in text is not attached: {error}"),
        }
        if shown.len() == MOST {
            break;
        }
    }
    shown.reverse();
    shown
}

/// Opens them. One that cannot be had stays a mention.
pub(super) async fn open<'a>(core: &Core, shown: Vec<Shown<'a>>) -> Vec<(&'a Mention, Found)> {
    let opening = shown.into_iter().map(|shown| async move {
        let found = Found::own(core, &shown.id).await;
        let found = found.inspect_err(|error| log::warn!("a picture in text is not attached: {error}"));
        Some((shown.mention, found.ok()??))
    });
    let opening: Vec<_> = opening.collect();
    stream::iter(opening).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}
