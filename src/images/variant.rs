//! `?w=&h=&fit=&format=&q=`: which variant of a picture a URL names.

use std::{borrow::Cow, fmt::Display};

use crate::{
    config,
    error::{Code, Error, Result},
    picture::Format,
    pixels::{Encode, Fit},
};

/// The variant that a query asks for, as it asks.
///
/// Query parameters of other names mean nothing here: people add them to get past caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `w`
    pub width: Option<u32>,
    /// `h`
    pub height: Option<u32>,
    /// `fit`
    pub cut: Cut,
    pub format: Option<Format>,
    /// `q`
    pub quality: Option<u8>,
}

/// `fit`: what happens when the picture's proportions are not those that `w` and `h` make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// It becomes smaller than one of them.
    #[default]
    Contain,
    /// It is cut to them. Acts only when both are there.
    Cover,
}

/// A variant in all its parts: equal ones are equal pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    pub fit: Fit,
    pub encode: Encode,
}

impl Cut {
    /// Both, and the words for them.
    const WORDS: [(&'static str, Cut); 2] = [("contain", Cut::Contain), ("cover", Cut::Cover)];
}

// === impl Asked ===

impl Asked {
    /// Reads a query. `None`: it asks for the picture itself. `fit` and `q` alone ask for nothing.
    ///
    /// # Errors
    /// When one of the parameters cannot be understood, or stands twice.
    pub fn parse(query: &str) -> Result<Option<Self>> {
        let [mut width, mut height, mut cut, mut format, mut quality]: [Option<Cow<'_, str>>; 5] = Default::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let (name, place) = match &*name {
                "w" => ("w", &mut width),
                "h" => ("h", &mut height),
                "fit" => ("fit", &mut cut),
                "format" => ("format", &mut format),
                "q" => ("q", &mut quality),
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(wrong(name, format!("`{name}` stands in the URL twice.")));
            }
        }
        if width.is_none() && height.is_none() && format.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            width: width.map(|text| number("w", &text, config::Variants::LONGEST_SIDE)).transpose()?,
            height: height.map(|text| number("h", &text, config::Variants::LONGEST_SIDE)).transpose()?,
            cut: cut.map(|text| word("fit", &text, &Cut::WORDS)).transpose()?.unwrap_or_default(),
            format: format.map(|text| word("format", &text, &config::Variants::FORMATS)).transpose()?,
            quality: match quality {
                Some(text) => u8::try_from(number("q", &text, 100)?).ok(),
                None => None,
            },
        }))
    }

    /// It as the beginning of a query, in one spelling: what a signature is for.
    pub(super) fn canonical(&self) -> String {
        let mut query = String::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                query.push_str(&format!("{name}={value}&"));
            }
        };
        put("w", self.width.map(|side| side.to_string()));
        put("h", self.height.map(|side| side.to_string()));
        put("fit", (self.cut == Cut::Cover).then(|| "cover".to_owned()));
        let words = &config::Variants::FORMATS;
        put(
            "format",
            words.iter().find(|(_, format)| self.format == Some(*format)).map(|(word, _)| (*word).to_owned()),
        );
        put("q", self.quality.map(|quality| quality.to_string()));
        query
    }

    /// Whether everybody may ask for it.
    ///
    /// # Errors
    /// Names what is not on the list, and what is.
    pub fn check_listed(&self, list: &config::Variants) -> Result<()> {
        for (name, side) in [("w", self.width), ("h", self.height)] {
            if let Some(side) = side
                && !list.sizes.contains(&side)
            {
                return Err(not_listed(name, &list.sizes));
            }
        }
        if list.formats.is_empty() || self.format.is_some_and(|format| !list.formats.contains(&format)) {
            let listed = config::Variants::FORMATS.iter().filter(|(_, format)| list.formats.contains(format));
            return Err(not_listed("format", &listed.map(|(word, _)| *word).collect::<Vec<_>>()));
        }
        match self.quality {
            Some(quality) if !list.qualities.contains(&quality) => Err(not_listed("q", &list.qualities)),
            _ => Ok(()),
        }
    }

    /// The variant of a picture of format `own`. `None`: that is the picture as it is.
    ///
    /// Without `format` it is the picture's own if that is on the list, else the first there. `takes_webp` makes a WebP of
    /// what would be a PNG: it is smaller, and without loss like it. (Of a photo, a JPEG is smaller still.)
    pub fn of(&self, own: Format, list: &config::Variants, takes_webp: bool) -> Option<Variant> {
        let whole = self.width.is_none() && self.height.is_none();
        if whole && self.format.is_none_or(|format| format == own) {
            return None;
        }
        let may = |format: Format| list.formats.contains(&format);
        let format = self.format.unwrap_or_else(|| match own {
            own if may(own) => own,
            // Not every picture can be an AVIF: who has not asked for one gets another, if there is one.
            _ => {
                let first = list.formats.iter().find(|format| **format != Format::Avif).or(list.formats.first());
                first.copied().unwrap_or(Format::Jpeg)
            }
        });
        let format = match format {
            Format::Png if self.format.is_none() && takes_webp && may(Format::Webp) => Format::Webp,
            format => format,
        };
        let quality = self.quality.or(list.qualities.first().copied()).unwrap_or(config::Variants::QUALITY);
        let fit = match (self.width, self.height, self.cut) {
            (None, None, _) => Fit::Whole,
            (Some(width), Some(height), Cut::Cover) => Fit::Cover { width, height },
            (width, height, _) => Fit::Inside { width, height },
        };
        Some(Variant { fit, encode: Encode::to(format, quality)? })
    }
}

// === impl Variant ===

impl Variant {
    /// Its name, of lower-case letters, digits, `-` and one dot: `w256-h256-cover-q80.jpg`.
    pub fn name(&self) -> String {
        let mut name = match self.fit {
            Fit::Inside { width, height } => {
                let side = |letter: char, side: Option<u32>| side.map(|side| format!("{letter}{side}"));
                let sides: Vec<_> = [side('w', width), side('h', height)].into_iter().flatten().collect();
                sides.join("-")
            }
            Fit::Cover { width, height } => format!("w{width}-h{height}-cover"),
            Fit::Pixels(most) => format!("p{most}"),
            Fit::Whole => "whole".to_owned(),
        };
        if let Some(quality) = self.encode.quality() {
            name.push_str(&format!("-q{quality}"));
        }
        name + "." + self.encode.format().extension()
    }
}

/// Whether an `Accept` field names WebP (RFC 9110, section 12.5.1). `image/*` does not count: browsers that cannot show
/// it send that, too.
pub fn takes_webp(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_webp = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("image/webp"));
        is_webp && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

fn number(name: &'static str, text: &str, most: u32) -> Result<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let number = text.parse().ok().filter(|number| is_number && (1..=most).contains(number));
    number.ok_or_else(|| wrong(name, format!("`{name}` must be a number from 1 to {most}.")))
}

fn word<T: Copy>(name: &'static str, text: &str, words: &[(&str, T)]) -> Result<T> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| wrong(name, format!("`{name}` must be {}.", listed(words.iter().map(|(word, _)| word)))))
}

fn not_listed<T: Display>(name: &'static str, list: &[T]) -> Error {
    if list.is_empty() {
        return wrong(name, "This gateway makes no such variants of its pictures.".to_owned());
    }
    wrong(name, format!("`{name}` must be {}: this gateway makes no other variants.", listed(list.iter())))
}

/// `a, b or c`.
fn listed<T: Display>(list: impl Iterator<Item = T>) -> String {
    let mut words: Vec<_> = list.map(|word| word.to_string()).collect();
    match (words.pop(), words.is_empty()) {
        (Some(last), false) => format!("{} or {last}", words.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

fn wrong(name: &'static str, message: String) -> Error {
    Error::new(Code::InvalidRequest, message).param(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Asked {
        Asked::parse(query).unwrap().unwrap()
    }

    fn list() -> config::Variants {
        config::Variants { sizes: vec![256, 512], ..Default::default() }
    }

    #[test]
    fn queries_that_ask_for_the_picture_itself() {
        for query in ["", "v=1", "width=3", "q=80", "fit=cover", "q=often&fit=well", "W=1", "exp=1&sig=x", "&&=&w1"] {
            assert_eq!(Asked::parse(query).unwrap(), None, "{query}");
        }
        for query in ["format=png", "format=png&q=80"] {
            assert_eq!(asked(query).of(Format::Png, &list(), false), None, "{query}");
        }
    }

    #[test]
    fn equal_wishes_have_equal_names() {
        for (query, own, name) in [
            ("w=256", Format::Png, "w256.png"),
            ("w=256&q=50&v=7", Format::Png, "w256.png"),
            ("%77=256", Format::Png, "w256.png"),
            ("w=256&fit=cover", Format::Webp, "w256.webp"),
            ("h=512", Format::Jpeg, "h512-q80.jpg"),
            ("h=512&q=80", Format::Jpeg, "h512-q80.jpg"),
            ("h=512&w=256&fit=contain", Format::Png, "w256-h512.png"),
            ("h=512&w=256&fit=cover&format=jpeg", Format::Png, "w256-h512-cover-q80.jpg"),
            ("format=jpeg&q=33", Format::Png, "whole-q33.jpg"),
            ("format=webp", Format::Avif, "whole.webp"),
            ("w=256&format=avif&q=60", Format::Png, "w256-q60.avif"),
            // What cannot be written becomes the first of the list.
            ("w=256", Format::Gif, "w256-q80.jpg"),
        ] {
            assert_eq!(asked(query).of(own, &list(), false).unwrap().name(), name, "{query}");
        }
        let modern = config::Variants { formats: vec![Format::Avif, Format::Webp], ..list() };
        for (formats, name) in [(2, "w256.webp"), (1, "w256-q80.avif")] {
            let list = config::Variants { formats: modern.formats[..formats].to_vec(), ..list() };
            assert_eq!(asked("w=256").of(Format::Png, &list, false).unwrap().name(), name);
        }
        let webp = |query: &str, own| asked(query).of(own, &list(), true).unwrap().name();
        assert_eq!(webp("w=256", Format::Png), "w256.webp");
        assert_eq!(webp("w=256&format=png", Format::Png), "w256.png");
        assert_eq!(webp("w=256", Format::Jpeg), "w256-q80.jpg");
    }

    #[test]
    fn what_cannot_be_understood_is_told_by_its_name() {
        for (query, param) in [
            ("w=0", "w"),
            ("w=", "w"),
            ("w=-1", "w"),
            ("w=+1", "w"),
            ("w=16385", "w"),
            ("h=99999999999999999999", "h"),
            ("h=1.5", "h"),
            ("w=1&w=1", "w"),
            ("w=1&q=0", "q"),
            ("w=1&q=101", "q"),
            ("w=1&fit=fill", "fit"),
            ("format=jpg", "format"),
            ("format=../x", "format"),
        ] {
            let body = Asked::parse(query).expect_err(query).body();
            assert!(body.contains(&format!("\"param\":\"{param}\"")), "{query}: {body}");
        }
    }

    #[test]
    fn only_what_is_listed_is_for_everybody() {
        let list = list();
        for query in ["w=256", "h=512&w=256&fit=cover&q=80", "format=webp"] {
            asked(query).check_listed(&list).unwrap();
        }
        for query in ["w=257", "w=256&h=257", "w=256&q=81", "w=256&format=avif"] {
            assert!(asked(query).check_listed(&list).is_err(), "{query}");
        }
        let none = config::Variants { sizes: vec![], formats: vec![], ..list };
        for query in ["w=256", "format=webp"] {
            assert!(asked(query).check_listed(&none).is_err(), "{query}");
        }
        let error = asked("w=3").check_listed(&config::Variants::default()).unwrap_err();
        assert!(error.body().contains("256, 512 or 1024"), "{error}");
    }

    #[test]
    fn webp_must_be_named() {
        for (accept, takes) in [
            ("image/avif,image/webp,image/apng,*/*;q=0.8", true),
            ("Image/WebP;q=0.1", true),
            ("text/html, image/webp", true),
            ("image/webp;q=0", false),
            ("image/webp;q=0.000", false),
            ("image/*, */*", false),
            ("", false),
            ("image/webpx", false),
        ] {
            assert_eq!(takes_webp(accept), takes, "{accept}");
        }
    }
}
