//! Pictures that a request names → their bytes, where they are to go.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{
    ApiRoute,
    history::{Budget, Item, Order},
    picture::{AT_ONCE, Allowance, Found, Named},
    shown::{self, MOST, Shown},
};
use crate::{
    config::{Chat, History, Images, Markdown},
    core::{Core, Settings},
    error::{Code, Error, Result},
    opaque::opaque,
    picture::PictureId,
    rewrite::{
        conversation::{Conversation, Piece},
        request::{Findings, Reference, ReferenceForm},
    },
    tier::Questions,
    upstream::Segment,
};

/// How long the archive may be asked for the pictures that one request cannot do without.
const QUESTIONS_TIME: Duration = Duration::from_secs(60);

/// What is done to a request's pictures, and to the text around them.
#[derive(Default)]
pub(super) struct Inlined {
    /// What goes where. None overlaps another.
    pub(super) edits: Vec<(Range<u64>, Vec<Segment>)>,
    /// The pictures of ours that go along.
    pub(super) parents: Vec<PictureId>,
}

opaque!(Inlined { parents });

/// What the settings of the request's model say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    pub(super) route: ApiRoute,
    /// Name of the client's key.
    pub(super) key: &'a str,
    pub(super) images: &'a Images,
    pub(super) chat: &'a Chat,
}

/// Gets the bytes of every picture that is to be sent inline, and says what goes where. All else stays as it is.
///
/// # Errors
/// When one cannot be had: a request must not go on without its pictures. A picture that text merely mentions may be
/// missing.
pub(super) async fn inline(
    core: &Core,
    settings: &Settings,
    policy: Policy<'_>,
    findings: &Findings,
) -> Result<Inlined> {
    let wanted = wanted(settings, policy.route, &findings.references)?;
    let conversation = &findings.conversation;
    let thoughts = if policy.chat.strip_think { conversation.thoughts.as_slice() } else { &[] };
    let mut shown = match policy.images.markdown {
        Markdown::Attach if conversation.takes_pictures() => {
            shown::shown(core, settings, &policy.images.history, conversation, thoughts, &wanted).await
        }
        Markdown::Attach | Markdown::Keep => Vec::new(),
    };

    let mut pictures = Pictures {
        core,
        settings,
        most_pixels: match policy.images.max_input_pixels {
            // A picture and its mask must be of one size.
            _ if findings.has_mask => None,
            0 => None,
            most => Some(most),
        },
        allowance: Allowance::new(settings.config.limits.request_body, core.store.spooler(policy.key)),
        questions: Questions::new(MOST, QUESTIONS_TIME),
        known: HashMap::new(),
    };
    let omitted = choose(&mut pictures, &policy.images.history, conversation, &wanted, &mut shown).await?;
    let sent: Vec<&Reference> = wanted
        .into_iter()
        .filter(|reference| reference.element.is_none_or(|element| omitted.binary_search(&element).is_err()))
        .collect();
    pictures.load(&sent).await?;
    let known = pictures.known_of(&sent);
    let mut attached = Vec::new();
    for (mention, found) in shown::open(core, shown).await {
        attached.push((mention, pictures.fitting(found).await?));
    }
    known.values().chain(attached.iter().map(|(_, found)| found)).for_each(|found| found.count(core));
    core.metrics.pictures_omitted.inc_by(omitted.len() as u64);

    let mut inlined = Inlined::default();
    for reference in sent {
        let Some(found) = known.get(reference.url.as_str()) else { continue };
        inlined.edits.push((reference.span.clone(), put(&reference.form, found)));
        inlined.parents.extend(found.parent);
    }
    inlined.parents.extend(attached.iter().filter_map(|(_, found)| found.parent));
    let added = conversation.attach(attached.iter().map(|(mention, _)| *mention).zip(0..));
    let stripped = if policy.chat.strip_think { conversation.strip(&omitted) } else { Vec::new() };
    for edit in conversation.omit(&omitted).into_iter().chain(added).chain(stripped) {
        let segments = edit.with.into_iter().flat_map(|piece| match piece {
            Piece::Text(text) => vec![literal(text.into_owned())],
            Piece::Picture(number) => attached.get(number).map(|(_, found)| data_uri(found)).unwrap_or_default(),
        });
        inlined.edits.push((edit.span, segments.collect()));
    }
    Ok(inlined)
}

/// The references whose pictures are to go inline.
fn wanted<'a>(settings: &Settings, route: ApiRoute, references: &'a [Reference]) -> Result<Vec<&'a Reference>> {
    let mut wanted = Vec::new();
    for reference in references {
        match (Named::of(&settings.config.public, &reference.url), &reference.form) {
            (Named::Ours(_), _) => wanted.push(reference),
            // Where a response's result belongs, a URL of another host is the upstream's business.
            (Named::Remote, ReferenceForm::Base64) if !route.is_images() => {}
            (Named::Remote, _) => wanted.push(reference),
            (Named::Other, _) if route.is_images() => {
                return Err(Error::new(
                    Code::InvalidImageUrl,
                    "An image must be named by an http or https URL, a data URI, or a URL of this gateway.",
                )
                .param(reference.path.clone()));
            }
            // `blob:` and the like.
            (Named::Other, _) => {}
        }
    }
    Ok(wanted)
}

/// Chooses within the limits of `images.history`: takes out of `shown` what is not attached, and answers the elements
/// that are left out, in order. Where bytes are limited, pictures are fetched one by one, newest first, until the limit
/// is reached; older ones are not asked for.
async fn choose<'a>(
    pictures: &mut Pictures<'a>,
    limits: &History,
    conversation: &Conversation,
    wanted: &[&'a Reference],
    shown: &mut Vec<Shown<'_>>,
) -> Result<Vec<usize>> {
    if *limits == History::default() {
        return Ok(Vec::new());
    }
    let mut elements: HashMap<usize, Vec<&Reference>> = HashMap::new();
    for reference in wanted {
        if let Some(element) = reference.element {
            elements.entry(element).or_default().push(reference);
        }
    }
    let order = Order::new(conversation, shown.iter().map(|shown| shown.mention));
    if limits.bytes > 0 {
        // These are needed in any case, so not one by one.
        let asked = order.items.iter().filter_map(|(item, is_asked)| match item {
            Item::Element(number) if *is_asked => elements.get(number),
            Item::Element(_) | Item::Mention(_) => None,
        });
        pictures.load(&asked.flatten().copied().collect::<Vec<_>>()).await?;
    }
    let mut budget = Budget::new(limits);
    let (mut omitted, mut dropped) = (Vec::new(), HashSet::new());
    for (item, is_asked) in order.items {
        // The same picture twice in a part is sent twice.
        let images = match &item {
            Item::Element(number) => elements.get(number).map_or(1, |references| references.len() as u64),
            Item::Mention(_) => 1,
        };
        let mut bytes = 0;
        if budget.needs_bytes() || is_asked && limits.bytes > 0 {
            bytes = match &item {
                Item::Element(number) => {
                    let references = elements.get(number).map(Vec::as_slice).unwrap_or_default();
                    pictures.load(references).await?;
                    let found = references.iter().filter_map(|reference| pictures.known.get(reference.url.as_str()));
                    let inline = conversation.elements.get(*number).map_or(0, |element| element.inline);
                    found.fold(inline, |bytes, found| bytes.saturating_add(found.source.len()))
                }
                Item::Mention(number) => shown.get(*number).map_or(0, |shown| shown.len),
            };
        }
        if is_asked {
            budget.spend(images, bytes);
        } else if !budget.admits(images, bytes) {
            match item {
                Item::Element(number) => omitted.push(number),
                Item::Mention(number) => drop(dropped.insert(number)),
            }
        }
    }
    let mut number = 0..;
    shown.retain(|_| number.next().is_none_or(|number| !dropped.contains(&number)));
    omitted.sort_unstable();
    Ok(omitted)
}

/// The pictures of one request, by their URLs.
struct Pictures<'a> {
    core: &'a Core,
    settings: &'a Settings,
    /// Larger ones are scaled.
    most_pixels: Option<u64>,
    allowance: Allowance,
    /// For those of ours that are unknown here.
    questions: Questions,
    known: HashMap<&'a str, Found>,
}

impl<'a> Pictures<'a> {
    /// Gets those of these that are not known yet. The same URL twice is one picture.
    async fn load(&mut self, references: &[&'a Reference]) -> Result<()> {
        let mut new: HashMap<&str, &Reference> = HashMap::new();
        for reference in references.iter().filter(|reference| !self.known.contains_key(reference.url.as_str())) {
            new.entry(&reference.url).or_insert(reference);
        }
        if self.known.len() + new.len() > MOST {
            return Err(Error::new(Code::InvalidRequest, format!("The request names more than {MOST} pictures.")));
        }
        let (core, settings, allowance, questions) = (self.core, self.settings, &self.allowance, &self.questions);
        let gets: Vec<_> = new
            .into_values()
            .map(|reference| async move {
                let found = Found::get(core, settings, &reference.url, allowance, questions).await;
                Ok::<_, Error>((reference.url.as_str(), found.map_err(|error| error.param(reference.path.clone()))?))
            })
            .collect();
        let mut gets = stream::iter(gets).buffer_unordered(AT_ONCE);
        while let Some(got) = gets.next().await {
            let (url, found) = got?;
            // One at a time: a request with many pictures does not fill the queue for pixels.
            let found = self.fitting(found).await?;
            self.known.insert(url, found);
        }
        Ok(())
    }

    /// Those of these that are known.
    fn known_of(&self, references: &[&'a Reference]) -> HashMap<&'a str, Found> {
        let urls = references.iter().map(|reference| reference.url.as_str());
        urls.filter_map(|url| Some((url, self.known.get(url)?.clone()))).collect()
    }

    /// Scaled, if it is too large.
    async fn fitting(&self, found: Found) -> Result<Found> {
        match self.most_pixels {
            Some(most) => found.scaled(self.core, &self.allowance.spooler, most).await,
            None => Ok(found),
        }
    }
}

fn literal(text: impl Into<Bytes>) -> Segment {
    Segment::Bytes(text.into())
}

/// `data:image/png;base64,…`, without quotes.
fn data_uri(found: &Found) -> Vec<Segment> {
    let lead = format!("data:{};base64,", found.format.media_type());
    vec![literal(lead), Segment::Base64(found.source.clone())]
}

fn put(form: &ReferenceForm, found: &Found) -> Vec<Segment> {
    let media_type = found.format.media_type();
    let base64 = Segment::Base64(found.source.clone());
    match form {
        ReferenceForm::DataUri => {
            let mut segments = vec![literal("\"")];
            segments.extend(data_uri(found));
            segments.push(literal("\""));
            segments
        }
        ReferenceForm::Base64 => vec![literal("\""), base64, literal("\"")],
        ReferenceForm::Source => {
            let lead = format!(r#"{{"type":"base64","media_type":"{media_type}","data":""#);
            vec![literal(lead), base64, literal("\"}")]
        }
        ReferenceForm::Part { name } => {
            let extension = found.format.extension();
            let name = name.replace(['"', '\r', '\n'], "_");
            let header = format!(
                "Content-Disposition: form-data; name=\"{name}\"; filename=\"image.{extension}\"\r\nContent-Type: {media_type}\r\n\r\n"
            );
            vec![literal(header), Segment::Raw(found.source.clone(), 0..found.source.len())]
        }
    }
}
