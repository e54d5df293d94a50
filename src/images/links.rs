//! The URLs that are handed out, and the ones that come back: signed and expiring, if so configured.
//!
//! A signature is an HMAC-SHA256, cut to 128 bits (RFC 2104, section 5), over the picture's id, the time it ends and the
//! variant. The host, the path before `/images/` and the extension are not in it: a gateway may get another public name,
//! and the extension means nothing.
//!
//! The first key signs, every key verifies. So a new key is put in front, and the old one goes when the URLs that it
//! signed have expired.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;

use super::{path, variant::Asked};
use crate::{
    config::{self, Access},
    error::{Code, Error, Result},
    picture::{Format, PictureId},
};

/// Bytes of a signature.
const LEN: usize = 16;
/// A picture has the same URL for so long, if its URLs live longer.
const STEADY: Duration = Duration::from_secs(24 * 3600);

/// Makes URLs of pictures, and judges them.
#[derive(Clone)]
pub struct Links {
    base: Url,
    access: Access,
    ttl: Duration,
    keys: Vec<Hmac<Sha256>>,
}

/// What a URL's signature allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Everybody may read this, for ever.
    Public,
    /// Whoever has the URL may read this until then (seconds since 1970).
    Until(u64),
}

impl Grant {
    /// For how long it still holds. `None`: for ever.
    pub fn left(self, now: SystemTime) -> Option<Duration> {
        match self {
            Self::Public => None,
            Self::Until(end) => {
                // Later ends than a clock can show are as good as this one.
                let end = UNIX_EPOCH + Duration::from_secs(end.min(u64::from(u32::MAX)));
                Some(end.duration_since(now).unwrap_or_default())
            }
        }
    }
}

/// `exp` and `sig` of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    expires: u64,
    mac: [u8; LEN],
}

// === impl Links ===

impl Links {
    /// `keys`: the secrets of [`config::Serving`], or what was made in their place; the first signs.
    pub fn new<'a>(base: Url, serving: &config::Serving, keys: impl IntoIterator<Item = &'a [u8]>) -> Self {
        // HMAC takes keys of any length.
        let keys = keys.into_iter().filter_map(|key| Hmac::new_from_slice(key).ok()).collect();
        Self { base, access: serving.access, ttl: serving.url_ttl, keys }
    }

    /// The URL of a picture, as it is handed out.
    pub fn url(&self, id: &PictureId, format: Format) -> String {
        let url = path::url(&self.base, id, format);
        match self.access {
            Access::Public => url,
            Access::Signed => self.sign(url, id, None, SystemTime::now()),
        }
    }

    /// The signed URL of a variant, which need not be on the list.
    pub fn variant_url(&self, id: &PictureId, format: Format, asked: &Asked) -> String {
        self.sign(path::url(&self.base, id, format), id, Some(asked), SystemTime::now())
    }

    /// Whether `query` allows to read this variant of this picture now.
    ///
    /// # Errors
    /// `invalid_signature` and `image_url_expired` where a signature is needed, and the complaint about a variant that is
    /// not on the list when there is none.
    pub fn check(
        &self,
        id: &PictureId,
        query: &str,
        asked: Option<&Asked>,
        list: &config::Variants,
        now: SystemTime,
    ) -> Result<Grant> {
        let unlisted = match (self.access, asked) {
            (Access::Public, None) => return Ok(Grant::Public),
            (Access::Public, Some(asked)) => match asked.check_listed(list) {
                Ok(()) => return Ok(Grant::Public),
                Err(unlisted) => Some(unlisted),
            },
            (Access::Signed, _) => None,
        };
        match (Signature::parse(query), unlisted) {
            (Presented::Nothing, Some(unlisted)) => Err(unlisted),
            (Presented::Nothing, None) => {
                Err(Error::new(Code::InvalidSignature, "This picture is read by a signed URL, and this one is not."))
            }
            (Presented::Signature(signature), _) if self.allows(id, asked, list, &signature) => {
                if seconds(now) <= signature.expires {
                    Ok(Grant::Until(signature.expires))
                } else {
                    Err(Error::new(Code::ImageUrlExpired, "This URL has expired. The picture may have a newer one."))
                }
            }
            (Presented::Signature(_) | Presented::Nonsense, _) => {
                Err(Error::new(Code::InvalidSignature, "The signature of this URL is not one for it."))
            }
        }
    }

    /// Whether a signature is one for this variant, or, if everybody who sees the picture may ask for that, for the picture.
    fn allows(&self, id: &PictureId, asked: Option<&Asked>, list: &config::Variants, signature: &Signature) -> bool {
        let listed = asked.is_some_and(|asked| asked.check_listed(list).is_ok());
        self.is_authentic(id, asked, signature) || listed && self.is_authentic(id, None, signature)
    }

    /// `url` with a signature. Without a key there is none.
    fn sign(&self, url: String, id: &PictureId, asked: Option<&Asked>, now: SystemTime) -> String {
        let Some(key) = self.keys.first() else { return url };
        let expires = expiry(seconds(now), self.ttl);
        let mac = mac(key, id, asked, expires);
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let text = URL_SAFE_NO_PAD.encode(tag.get(..LEN).unwrap_or_default());
        format!("{url}?{}exp={expires}&sig={text}", asked.map(Asked::canonical).unwrap_or_default())
    }

    fn is_authentic(&self, id: &PictureId, asked: Option<&Asked>, signature: &Signature) -> bool {
        // `verify_…` takes the same time for every wrong signature.
        let fits = |key| mac(key, id, asked, signature.expires).verify_truncated_left(&signature.mac).is_ok();
        self.keys.iter().any(fits)
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("access", &self.access).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// What a query shows.
enum Presented {
    Nothing,
    Nonsense,
    Signature(Signature),
}

impl Signature {
    fn parse(query: &str) -> Presented {
        let (mut expires, mut mac) = (None, None);
        let mut is_sound = true;
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "exp" => &mut expires,
                "sig" => &mut mac,
                _ => continue,
            };
            is_sound &= place.replace(value).is_none();
        }
        let (expires, mac) = match (expires, mac) {
            (None, None) => return Presented::Nothing,
            // Someone's cache-buster.
            (Some(_), None) => return Presented::Nothing,
            (None, Some(_)) => return Presented::Nonsense,
            (Some(expires), Some(mac)) => (expires, mac),
        };
        let digits = expires.bytes().all(|digit| digit.is_ascii_digit());
        let mac = URL_SAFE_NO_PAD.decode(&*mac).ok().and_then(|mac| mac.try_into().ok());
        match (expires.parse(), mac) {
            (Ok(expires), Some(mac)) if is_sound && digits => Presented::Signature(Self { expires, mac }),
            _ => Presented::Nonsense,
        }
    }
}

/// The code over everything that a signature is for. Its text has one line for each, so no two URLs share one.
fn mac(key: &Hmac<Sha256>, id: &PictureId, asked: Option<&Asked>, expires: u64) -> Hmac<Sha256> {
    let mut mac = key.clone();
    let variant = asked.map(Asked::canonical).unwrap_or_default();
    mac.update(format!("picgate image 1\n{id}\n{expires}\n{variant}").as_bytes());
    mac
}

/// The end of a URL that is made now: at least `ttl` from now, and the same for every URL made within a day (within
/// `ttl`, if that is shorter), so that a picture keeps its URL in caches for a while.
fn expiry(now: u64, ttl: Duration) -> u64 {
    let window = ttl.min(STEADY).as_secs().max(1);
    let soonest = now.saturating_add(ttl.as_secs().max(1));
    soonest.div_ceil(window).saturating_mul(window)
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[u8] = b"the old key, which is long enough to be one";
    const NEW: &[u8] = b"the new key, which is long enough to be one";
    const DAY: u64 = 24 * 3600;
    const YEAR: u64 = 365 * DAY;

    fn links(access: Access, keys: &[&'static [u8]]) -> Links {
        let serving = config::Serving { access, ..Default::default() };
        Links::new(Url::parse("https://pics.example/gate").unwrap(), &serving, keys.iter().copied())
    }

    fn id() -> PictureId {
        PictureId::of(b"x")
    }

    fn query(url: &str) -> &str {
        url.split_once('?').map_or("", |(_, query)| query)
    }

    /// What comes of a query: the code of the error, or how long it lasts.
    fn judged(links: &Links, query: &str, now: SystemTime) -> Result<Grant, Code> {
        let asked = Asked::parse(query).unwrap();
        links.check(&id(), query, asked.as_ref(), &config::Variants::default(), now).map_err(|error| error.code())
    }

    #[test]
    fn what_is_signed_is_allowed_until_it_ends() {
        let (links, now) = (links(Access::Signed, &[OLD]), SystemTime::now());
        let url = links.url(&id(), Format::Png);
        assert!(url.starts_with(&format!("https://pics.example/gate/images/{}.png?exp=", id())), "{url}");
        let Ok(Grant::Until(end)) = judged(&links, query(&url), now) else { panic!("{url}") };
        assert!(end >= seconds(now) + 7 * DAY && end <= seconds(now) + 8 * DAY);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(judged(&links, query(&url), at(end)), Ok(Grant::Until(end)));
        assert_eq!(judged(&links, query(&url), at(end + 1)), Err(Code::ImageUrlExpired));
        // Order and strangers do not matter.
        let turned: Vec<_> = query(&url).split('&').rev().chain(["v=3"]).collect();
        assert_eq!(judged(&links, &turned.join("&"), now), Ok(Grant::Until(end)));
    }

    #[test]
    fn nothing_else_is() {
        let (links, now) = (links(Access::Signed, &[OLD]), SystemTime::now());
        let url = links.url(&id(), Format::Png);
        let signed = query(&url);
        let (exp, sig) = signed.split_once("&sig=").unwrap();
        let end: u64 = exp.strip_prefix("exp=").unwrap().parse().unwrap();
        let other = links.url(&PictureId::of(b"other"), Format::Png);
        let mut flipped = sig.to_owned();
        flipped.replace_range(..1, if sig.starts_with('A') { "B" } else { "A" });
        for forged in [
            String::new(),
            "v=1".into(),
            exp.to_owned(),
            format!("sig={sig}"),
            format!("exp={}&sig={sig}", end + 1),
            format!("exp=0{end}&sig={sig}&sig={sig}"),
            format!("exp=+{end}&sig={sig}"),
            format!("exp=99999999999999999999&sig={sig}"),
            format!("{exp}&sig={flipped}"),
            format!("{exp}&sig={sig}="),
            format!("{exp}&sig={}", &sig[..20]),
            format!("{exp}&sig="),
            format!("{exp}&sig=%00"),
            format!("{signed}&w=33"),
            query(&other).to_owned(),
        ] {
            assert_eq!(judged(&links, &forged, now), Err(Code::InvalidSignature), "{forged}");
        }
    }

    #[test]
    fn a_grant_has_as_much_left_as_its_signature() {
        let now = UNIX_EPOCH + Duration::from_millis(10_500);
        assert_eq!(Grant::Public.left(now), None);
        assert_eq!(Grant::Until(13).left(now), Some(Duration::from_millis(2500)));
        assert_eq!(Grant::Until(10).left(now), Some(Duration::ZERO));
        assert!(Grant::Until(u64::MAX).left(now).unwrap() > Duration::from_secs(YEAR));
    }

    #[test]
    fn a_signature_opens_sizes_that_are_not_on_the_list() {
        let now = SystemTime::now();
        for access in [Access::Public, Access::Signed] {
            let links = links(access, &[OLD]);
            let asked = Asked::parse("w=33&h=44&fit=cover&format=jpeg&q=7").unwrap().unwrap();
            let url = links.variant_url(&id(), Format::Png, &asked);
            assert_eq!(Asked::parse(query(&url)).unwrap(), Some(asked));
            assert!(matches!(judged(&links, query(&url), now), Ok(Grant::Until(_))), "{url}");
            // The signature of a picture opens what everybody who sees it may ask for: a gallery's thumbnails.
            let picture = links.sign(path::url(&links.base, &id(), Format::Png), &id(), None, now);
            assert!(judged(&links, &format!("{}&w=256", query(&picture)), now).is_ok());
            let wider = url.replace("w=33", "w=34");
            assert_eq!(judged(&links, query(&wider), now), Err(Code::InvalidSignature));
        }
        let open = links(Access::Public, &[]);
        assert_eq!(judged(&open, "", now), Ok(Grant::Public));
        assert_eq!(judged(&open, "w=256", now), Ok(Grant::Public));
        assert_eq!(judged(&open, "w=33", now), Err(Code::InvalidRequest));
        assert_eq!(judged(&open, "w=33&exp=1&sig=x", now), Err(Code::InvalidSignature));
        assert_eq!(judged(&open, "exp=1&sig=x", now), Ok(Grant::Public), "nobody looks at it");
    }

    #[test]
    fn the_first_key_signs_and_every_key_verifies() {
        let now = SystemTime::now();
        let [before, during, after] = [&[OLD][..], &[NEW, OLD], &[NEW]].map(|keys| links(Access::Signed, keys));
        let (old, new) = (before.url(&id(), Format::Png), during.url(&id(), Format::Png));
        assert!(judged(&during, query(&old), now).is_ok() && judged(&during, query(&new), now).is_ok());
        assert!(judged(&after, query(&new), now).is_ok());
        assert_eq!(judged(&after, query(&old), now), Err(Code::InvalidSignature));
        assert_eq!(judged(&before, query(&new), now), Err(Code::InvalidSignature));
    }

    #[test]
    fn a_picture_keeps_its_url_for_a_while() {
        let week = Duration::from_secs(7 * DAY);
        let midnight = 20_000 * DAY;
        assert_eq!(expiry(midnight + 1, week), expiry(midnight + DAY, week));
        assert_eq!(expiry(midnight + DAY + 1, week), expiry(midnight + DAY, week) + DAY);
        for (now, ttl) in [(midnight, 600), (midnight + 1, 600), (midnight + 599, 1), (5, 100 * 365 * DAY)] {
            let end = expiry(now, Duration::from_secs(ttl));
            assert!(end >= now + ttl && end <= now + ttl + ttl.min(DAY), "{now} {ttl}: {end}");
        }
        assert!(expiry(u64::MAX, week) > 0);
    }

    #[test]
    fn no_key_shows() {
        let shown = format!("{:?}", links(Access::Signed, &[OLD]));
        assert!(shown.contains("keys: 1") && !shown.contains("old"), "{shown}");
    }
}
