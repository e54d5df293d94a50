//! Picture references in a request → bytes.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use url::Url;

use super::ApiRoute;
use crate::{
    config::PublicUrls,
    core::{Core, Settings},
    error::{Code, Error, Result},
    images::{self, Links},
    picture::{Format, PictureId},
    rewrite::request::{Reference, ReferenceForm},
    upstream::{Segment, Source},
};

/// Most references in one request.
const MOST: usize = 128;
/// How many are fetched at once.
const AT_ONCE: usize = 4;

/// What goes where a reference stood.
#[derive(Debug)]
pub(super) struct Inlined {
    pub(super) span: std::ops::Range<u64>,
    pub(super) segments: Vec<Segment>,
    /// The picture of ours that it named.
    pub(super) parent: Option<PictureId>,
}

/// A picture's bytes, at hand.
#[derive(Clone, Debug)]
struct Found {
    source: Source,
    format: Format,
    parent: Option<PictureId>,
}

/// What a reference names.
enum Named {
    /// A picture of ours, or a URL of ours that names none.
    Ours(Option<PictureId>),
    /// A picture of ours by a URL that we did not hand out, although ours are signed.
    Unsigned,
    Remote,
    Other,
}

/// Gets the bytes of every reference that is to be sent inline. The others stay as they are.
///
/// # Errors
/// When one cannot be had: a request must not go on without its pictures.
pub(super) async fn inline(
    core: &Core,
    settings: &Settings,
    route: ApiRoute,
    references: &[Reference],
) -> Result<Vec<Inlined>> {
    if references.len() > MOST {
        return Err(Error::new(Code::InvalidRequest, format!("The request names more than {MOST} pictures.")));
    }
    let mut wanted = Vec::new();
    for reference in references {
        match (named(&settings.config.public, &settings.links, &reference.url), &reference.form) {
            (Named::Ours(_) | Named::Unsigned, _)
            | (Named::Remote, ReferenceForm::DataUri | ReferenceForm::Part { .. }) => wanted.push(reference),
            (Named::Other, _) if route.is_images() => {
                return Err(Error::new(
                    Code::InvalidImageUrl,
                    "An image must be named by an http or https URL, a data URI, or a URL of this gateway.",
                )
                .param(reference.path.clone()));
            }
            // `blob:` and the like, and other hosts' URLs where bare base64 belongs: the upstream's business.
            (Named::Other | Named::Remote, _) => {}
        }
    }
    // The same URL twice is one picture.
    let mut first: HashMap<&str, &Reference> = HashMap::new();
    for reference in &wanted {
        first.entry(&reference.url).or_insert(reference);
    }
    let budget = Budget(AtomicU64::new(settings.config.limits.request_body));
    let fetches: Vec<_> = first.into_values().map(|reference| get(core, settings, reference, &budget)).collect();
    let mut fetches = stream::iter(fetches).buffer_unordered(AT_ONCE);
    let mut found: HashMap<&str, Found> = HashMap::new();
    while let Some(result) = fetches.next().await {
        let (url, picture) = result?;
        found.insert(url, picture);
    }
    Ok(wanted.into_iter().filter_map(|reference| Some(put(reference, found.get(reference.url.as_str())?))).collect())
}

/// Bytes that may still be fetched for one request.
#[derive(Debug)]
struct Budget(AtomicU64);

impl Budget {
    fn spend(&self, bytes: usize) -> Result<()> {
        let spent = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes as u64));
        spent.map(drop).map_err(|_| {
            Error::new(
                Code::ImageTooLarge,
                "The images that this request names are too large together for this gateway.",
            )
        })
    }
}

async fn get<'a>(
    core: &Core,
    settings: &Settings,
    reference: &'a Reference,
    budget: &Budget,
) -> Result<(&'a str, Found)> {
    let url = reference.url.as_str();
    let found = match named(&settings.config.public, &settings.links, url) {
        Named::Ours(id) => own(core, id).await,
        Named::Unsigned => Err(Error::new(
            Code::InvalidImageUrl,
            "This gateway signs the URLs of its images, and this one is not signed.",
        )),
        _ => fetched(core, settings, url, budget).await,
    };
    Ok((url, found.map_err(|error| error.param(reference.path.clone()))?))
}

/// A picture of ours, without HTTP.
async fn own(core: &Core, id: Option<PictureId>) -> Result<Found> {
    let expired = || Error::new(Code::ImageExpired, "This gateway does not have the image of this URL (any more).");
    let id = id.ok_or_else(expired)?;
    // Whole, so that no upstream is left with half a request.
    let picture = core.tier.open_whole(&id).await?.ok_or_else(expired)?;
    core.metrics.inlined.with_label_values(&["store"]).inc();
    Ok(Found { format: picture.facts.format, source: Source::Picture(picture), parent: Some(id) })
}

/// A picture of another host's, spooled.
async fn fetched(core: &Core, settings: &Settings, url: &str, budget: &Budget) -> Result<Found> {
    let fetch = async {
        core.store.check_room().await?;
        let mut answer = settings.fetcher.open(url).await?;
        let mut spool = core.store.spool();
        while let Some(piece) = answer.chunk().await? {
            budget.spend(piece.len())?;
            spool.write(&piece).await?;
        }
        Ok::<_, Error>(Found { format: answer.format(), source: Source::Spool(spool.freeze().await?), parent: None })
    };
    let found = fetch.await;
    core.metrics.fetches.with_label_values(&["request", if found.is_ok() { "ok" } else { "failed" }]).inc();
    if found.is_ok() {
        core.metrics.inlined.with_label_values(&["fetch"]).inc();
    }
    found
}

fn put(reference: &Reference, found: &Found) -> Inlined {
    let text = |text: String| Segment::Bytes(Bytes::from(text));
    let media_type = found.format.media_type();
    let segments = match &reference.form {
        ReferenceForm::DataUri => {
            vec![text(format!("\"data:{media_type};base64,")), Segment::Base64(found.source.clone()), text("\"".into())]
        }
        ReferenceForm::Base64 => vec![text("\"".into()), Segment::Base64(found.source.clone()), text("\"".into())],
        ReferenceForm::Part { name } => {
            let extension = found.format.extension();
            let name = name.replace(['"', '\r', '\n'], "_");
            let header = format!(
                "Content-Disposition: form-data; name=\"{name}\"; filename=\"image.{extension}\"\r\nContent-Type: {media_type}\r\n\r\n"
            );
            vec![text(header), Segment::Raw(found.source.clone(), 0..found.source.len())]
        }
    };
    Inlined { span: reference.span.clone(), segments, parent: found.parent }
}

fn named(public: &PublicUrls, links: &Links, reference: &str) -> Named {
    match Url::parse(reference) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => match public.own_path(&url).map(images::path::parse) {
            Some(Some(id)) if !links.may_stand_for(&id, url.query().unwrap_or_default()) => Named::Unsigned,
            Some(id) => Named::Ours(id),
            None => Named::Remote,
        },
        _ => Named::Other,
    }
}

impl PublicUrls {
    /// The path below one of our bases, when it is under its `/images/`.
    fn own_path<'a>(&self, url: &'a Url) -> Option<&'a str> {
        std::iter::once(&self.base).chain(&self.aliases).find_map(|base| {
            let same = base.scheme() == url.scheme()
                && base.host() == url.host()
                && base.port_or_known_default() == url.port_or_known_default();
            let path = url.path().strip_prefix(base.path().trim_end_matches('/'))?;
            (same && path.starts_with("/images/")).then_some(path)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn ours_is_what_lies_under_our_public_bases() {
        let public = PublicUrls {
            base: Url::parse("https://pics.example/gate").unwrap(),
            aliases: vec![Url::parse("http://localhost:5643").unwrap()],
        };
        let id = "00112233445566778899aabbccddeeff00112233";
        let links = Links::new(public.base.clone(), &config::Serving::default(), []);
        let told = |url: &str| match named(&public, &links, &url.replace("ID", id)) {
            Named::Ours(Some(_)) => "ours",
            Named::Unsigned => "unsigned",
            Named::Ours(None) => "ours, unknown",
            Named::Remote => "remote",
            Named::Other => "other",
        };
        for (url, what) in [
            ("https://pics.example/gate/images/ID.png", "ours"),
            ("https://pics.example:443/gate/images/ID", "ours"),
            ("HTTPS://PICS.example/gate/images/ID.jpg?w=100#x", "ours"),
            ("http://localhost:5643/images/ID.webp", "ours"),
            ("http://localhost:5643/images/other.png", "ours, unknown"),
            ("http://localhost:5643/images/../images/ID.png", "ours"),
            ("https://pics.example/images/ID.png", "remote"),
            ("http://pics.example/gate/images/ID.png", "remote"),
            ("http://localhost/images/ID.png", "remote"),
            ("http://localhost:5643/other/ID.png", "remote"),
            ("http://localhost:5643@evil.example/images/ID.png", "remote"),
            ("blob:http://localhost:5643/images/ID", "other"),
            ("file:///etc/passwd", "other"),
        ] {
            assert_eq!(told(url), what, "{url}");
        }
    }
}
