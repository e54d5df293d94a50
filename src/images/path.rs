//! The URLs of pictures.

use url::Url;

use crate::picture::{Format, PictureId};

/// What every picture's path begins with.
const PREFIX: &str = "/images/";
/// Longest extension that is ignored.
const LONGEST_EXTENSION: usize = 8;

/// The picture that this path names: `/images/{id}` or `/images/{id}.{ext}`.
///
/// The extension may be any of one to eight ASCII letters and digits: what a picture is, its bytes say. Anything else
/// is no picture's path; in particular nothing is decoded, so no spelling leads out of the store.
///
/// ```
/// use picgate::images::path;
///
/// let id = "00112233445566778899aabbccddeeff00112233";
/// assert_eq!(path::parse(&format!("/images/{id}.jpeg")).unwrap().to_string(), id);
/// assert_eq!(path::parse("/images/../state/keys.json"), None);
/// ```
pub fn parse(path: &str) -> Option<PictureId> {
    let name = path.strip_prefix(PREFIX)?;
    let (id, extension) = match name.split_once('.') {
        Some((id, extension)) => (id, Some(extension)),
        None => (name, None),
    };
    let is_extension = |text: &str| {
        (1..=LONGEST_EXTENSION).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if extension.is_none_or(is_extension) { id.parse().ok() } else { None }
}

/// `{id}.{ext}`.
pub fn file_name(id: &PictureId, format: Format) -> String {
    format!("{id}.{}", format.extension())
}

/// `{base}/images/{id}.{ext}`.
pub fn url(base: &Url, id: &PictureId, format: Format) -> String {
    // A URL without a path is written with a slash.
    let base = base.as_str().trim_end_matches('/');
    format!("{base}{PREFIX}{}", file_name(id, format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_any_extension_or_none_is_a_picture() {
        let id = PictureId::of(b"x");
        for path in ["", ".png", ".jpg", ".PNG", ".x", ".12345678"] {
            assert_eq!(parse(&format!("/images/{id}{path}")), Some(id), "{path}");
        }
    }

    #[test]
    fn nothing_else_is() {
        let id = PictureId::of(b"x").to_string();
        let (upper, short, long) = (id.to_uppercase(), &id[1..], format!("{id}0"));
        for path in [
            "",
            "/",
            "/images",
            "/images/",
            "/images/.png",
            &format!("/images/{id}."),
            &format!("/images/{id}.png/"),
            &format!("/images/{id}/"),
            &format!("/images/{id}.tar.gz"),
            &format!("/images/{id}.123456789"),
            &format!("/images/{id}.p%6eg"),
            &format!("/images/{id}.png\0"),
            &format!("/images/{id}?w=1"),
            &format!("/images//{id}"),
            &format!("/images/../images/{id}"),
            &format!("/images/{id}.json ")[..],
            &format!("/Images/{id}"),
            &format!("x/images/{id}"),
            &format!("/images/{upper}"),
            &format!("/images/{short}"),
            &format!("/images/{long}"),
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_handed_out_can_be_read() {
        let id = PictureId::of(b"x");
        for (base, start) in [
            ("http://localhost:5643", "http://localhost:5643/images/"),
            ("https://example.org/pictures", "https://example.org/pictures/images/"),
        ] {
            let url = url(&base.parse().unwrap(), &id, Format::Jpeg);
            assert_eq!(url, format!("{start}{id}.jpg"));
        }
        assert_eq!(parse(&format!("/images/{}", file_name(&id, Format::Avif))), Some(id));
    }
}
