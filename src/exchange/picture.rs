//! A picture's bytes, at hand: ours from the store, others by a guarded fetch.

use std::sync::atomic::{AtomicU64, Ordering};

use url::Url;

use crate::{
    config::PublicUrls,
    core::{Core, Settings},
    error::{Code, Error, Result},
    images,
    picture::{Format, PictureId},
    store::{Picture, Spooler},
    tier::{Asker, Questions},
    upstream::Source,
};

/// How many pictures are opened or fetched at once.
pub(super) const AT_ONCE: usize = 4;

/// A picture that goes to the upstream.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) source: Source,
    pub(super) format: Format,
    /// It is ours.
    pub(super) parent: Option<PictureId>,
}

/// What a reference names.
pub(super) enum Named {
    /// A picture of ours, or a URL of ours that names none.
    Ours(Option<PictureId>),
    Remote,
    Other,
}

/// Bytes that may still be fetched for one request, and where they go.
#[derive(Debug)]
pub(super) struct Allowance {
    bytes: AtomicU64,
    pub(super) spooler: Spooler,
}

impl Allowance {
    pub(super) fn new(bytes: u64, spooler: Spooler) -> Self {
        Self { bytes: AtomicU64::new(bytes), spooler }
    }

    fn spend(&self, bytes: usize) -> Result<()> {
        let spent =
            self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes as u64));
        spent.map(drop).map_err(|_| {
            Error::new(
                Code::ImageTooLarge,
                "The images that this request names are too large together for this gateway.",
            )
        })
    }
}

impl Found {
    /// What this URL names.
    ///
    /// # Errors
    /// [`Code::ImageExpired`] for a URL of ours without a picture; those of a fetch.
    pub(super) async fn get(
        core: &Core,
        settings: &Settings,
        url: &str,
        allowance: &Allowance,
        questions: &Questions,
    ) -> Result<Self> {
        match Named::of(&settings.config.public, url) {
            Named::Ours(id) => {
                let expired =
                    || Error::new(Code::ImageExpired, "This gateway does not have the image of this URL (any more).");
                let id = id.ok_or_else(expired)?;
                let picture = core.tier.open_whole(&id, Asker::Request(questions)).await?;
                Ok(Self::own(id, picture.ok_or_else(expired)?))
            }
            Named::Remote | Named::Other => Self::fetched(core, settings, url, allowance).await,
        }
    }

    /// A picture of ours, without HTTP. Whole, so that no upstream is left with half a request.
    pub(super) fn own(id: PictureId, picture: Picture) -> Self {
        Self { format: picture.facts.format, source: Source::Picture(picture), parent: Some(id) }
    }

    /// A picture of another host's, spooled.
    async fn fetched(core: &Core, settings: &Settings, url: &str, allowance: &Allowance) -> Result<Self> {
        let fetch = async {
            core.store.check_room().await?;
            let mut answer = settings.fetcher.open(url).await?;
            let mut spool = allowance.spooler.spool(answer.declared_len());
            while let Some(piece) = answer.chunk().await? {
                allowance.spend(piece.len())?;
                spool.write(&piece).await?;
            }
            Ok::<_, Error>(Self { format: answer.format(), source: Source::Spool(spool.freeze().await?), parent: None })
        };
        let found = fetch.await;
        core.metrics.fetches.with_label_values(&["request", if found.is_ok() { "ok" } else { "failed" }]).inc();
        found
    }

    /// Counts that it is sent.
    pub(super) fn count(&self, core: &Core) {
        let from = if self.parent.is_some() { "store" } else { "fetch" };
        core.metrics.inlined.with_label_values(&[from]).inc();
    }
}

impl Named {
    /// A signature in the URL is not looked at: whoever has a key and an id of 160 bits was shown the picture before, and a
    /// chat sends its old pictures again long after their URLs have expired.
    pub(super) fn of(public: &PublicUrls, reference: &str) -> Self {
        match Url::parse(reference) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => match public.own_path(&url) {
                Some(path) => Named::Ours(images::path::parse(path)),
                None => Named::Remote,
            },
            _ => Named::Other,
        }
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

    #[test]
    fn ours_is_what_lies_under_our_public_bases() {
        let public = PublicUrls {
            base: Url::parse("https://pics.example/gate").unwrap(),
            aliases: vec![Url::parse("http://localhost:5643").unwrap()],
        };
        let id = "00112233445566778899aabbccddeeff00112233";
        let told = |url: &str| match Named::of(&public, &url.replace("ID", id)) {
            Named::Ours(Some(_)) => "ours",
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
