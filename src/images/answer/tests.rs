//! One row, one sentence of RFC 9110.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::picture::{Format, PictureId};

const LEN: u64 = 1000;
const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const BEFORE: &str = "Tue, 14 Nov 2023 22:13:19 GMT";
const AFTER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";

fn picture() -> Facts {
    // Half a second behind MODIFIED: HTTP dates have whole seconds.
    Facts { id: PictureId::of(b"x"), format: Format::Png, len: LEN, created_ms: 1_700_000_000_500 }
}

fn ask(method: Method, lines: &[(&str, &str)]) -> Answer {
    let tag = format!("\"{}\"", picture().id);
    let mut request = HeaderMap::new();
    for (name, value) in lines {
        let value = value.replace("TAG", &tag);
        request.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
    answer(&method, &request, &Shown::picture(&picture()), SystemTime::now())
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn ranges() {
    const WHOLE: (u16, Option<Range<u64>>) = (200, Some(0..LEN));
    let part = |range| (206, Some(range));
    const NONE: (u16, Option<Range<u64>>) = (416, None);
    for (value, (status, range)) in [
        // One range, every form of it (14.1.2).
        ("bytes=0-0", part(0..1)),
        ("bytes=0-499", part(0..500)),
        ("bytes=500-999", part(500..1000)),
        ("bytes=999-999", part(999..1000)),
        ("bytes=500-", part(500..1000)),
        ("bytes=0-", part(0..1000)),
        ("bytes=-500", part(500..1000)),
        ("bytes=-1", part(999..1000)),
        // Beyond the end: clamped.
        ("bytes=900-5000", part(900..1000)),
        ("bytes=-5000", part(0..1000)),
        ("bytes=0-99999999999999999999999999", part(0..1000)),
        ("bytes=0-18446744073709551615", part(0..1000)),
        ("bytes=-99999999999999999999999999", part(0..1000)),
        // The unit is case-insensitive, empty list elements and white space are allowed.
        ("Bytes=0-1", part(0..2)),
        ("bytes=0-1,", part(0..2)),
        ("bytes= 0-1 , ,", part(0..2)),
        ("bytes=000-001", part(0..2)),
        // Not there.
        ("bytes=1000-", NONE),
        ("bytes=1000-1001", NONE),
        ("bytes=-0", NONE),
        ("bytes=99999999999999999999999999-", NONE),
        // Not one range of bytes: ignored.
        ("bytes=5-2", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=,", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=1-b", WHOLE),
        ("bytes=+1-2", WHOLE),
        ("bytes=1--2", WHOLE),
        ("bytes=0x1-2", WHOLE),
        ("bytes 0-1", WHOLE),
        ("0-1", WHOLE),
        ("items=0-1", WHOLE),
        ("bytes=0-1,5-6", WHOLE),
        ("bytes=2000-,3000-", WHOLE),
        ("", WHOLE),
    ] {
        let answer = ask(Method::GET, &[("range", value)]);
        assert_eq!((answer.status.as_u16(), answer.range.clone()), (status, range.clone()), "{value}");
        let length = range.as_ref().map_or(0, |range| range.end - range.start);
        assert_eq!(header(&answer, "content-length"), length.to_string(), "{value}");
        assert_eq!(header(&answer, "accept-ranges"), "bytes", "{value}");
        let content_range = match (status, range) {
            (206, Some(range)) => format!("bytes {}-{}/{LEN}", range.start, range.end - 1),
            (416, _) => format!("bytes */{LEN}"),
            _ => String::new(),
        };
        assert_eq!(header(&answer, "content-range"), content_range, "{value}");
    }
}

#[test]
fn conditions() {
    const RANGE: (&str, &str) = ("range", "bytes=0-9");
    let cases: &[(&[(&str, &str)], u16)] = &[
        // If-None-Match: weak comparison, lists, several lines, `*` (13.1.2).
        (&[("if-none-match", "TAG")], 304),
        (&[("if-none-match", "W/TAG")], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", "\"a\", TAG")], 304),
        (&[("if-none-match", "\"a,b\" ,W/\"c\",, TAG , \"d\"")], 304),
        (&[("if-none-match", "\"a\""), ("if-none-match", "TAG")], 304),
        (&[("if-none-match", "\"a\"")], 200),
        (&[("if-none-match", "\"\"")], 200),
        (&[("if-none-match", "")], 200),
        (&[("if-none-match", "tag-without-quotes")], 200),
        (&[("if-none-match", "\"open")], 200),
        (&[("if-none-match", "w/TAG")], 200),
        // If-Modified-Since: not when If-None-Match is there, not when it cannot be read (13.1.3).
        (&[("if-modified-since", MODIFIED)], 304),
        (&[("if-modified-since", AFTER)], 304),
        (&[("if-modified-since", BEFORE)], 200),
        (&[("if-modified-since", "Tuesday, 14-Nov-23 22:13:20 GMT")], 304),
        (&[("if-modified-since", "Tue Nov 14 22:13:20 2023")], 304),
        (&[("if-modified-since", "yesterday")], 200),
        (&[("if-modified-since", MODIFIED), ("if-modified-since", MODIFIED)], 200),
        (&[("if-none-match", "\"a\""), ("if-modified-since", AFTER)], 200),
        (&[("if-none-match", "TAG"), ("if-modified-since", BEFORE)], 304),
        // If-Match: strong comparison (13.1.1).
        (&[("if-match", "TAG")], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", "\"a\", TAG")], 200),
        (&[("if-match", "W/TAG")], 412),
        (&[("if-match", "\"a\"")], 412),
        (&[("if-match", "")], 412),
        // If-Unmodified-Since: not when If-Match is there (13.1.4).
        (&[("if-unmodified-since", MODIFIED)], 200),
        (&[("if-unmodified-since", AFTER)], 200),
        (&[("if-unmodified-since", BEFORE)], 412),
        (&[("if-unmodified-since", "yesterday")], 200),
        (&[("if-match", "TAG"), ("if-unmodified-since", BEFORE)], 200),
        // The order (13.2.2).
        (&[("if-match", "\"a\""), ("if-none-match", "TAG")], 412),
        (&[("if-match", "TAG"), ("if-none-match", "TAG")], 304),
        (&[("if-unmodified-since", BEFORE), ("if-none-match", "TAG")], 412),
        (&[("if-none-match", "TAG"), RANGE], 304),
        (&[("if-none-match", "TAG"), ("range", "bytes=5000-")], 304),
        (&[("if-match", "\"a\""), ("range", "bytes=5000-")], 412),
        (&[("if-match", "TAG"), RANGE], 206),
        // If-Range: our tag or exactly our date, else the whole (13.1.5).
        (&[("if-range", "TAG"), RANGE], 206),
        (&[("if-range", MODIFIED), RANGE], 206),
        (&[("if-range", "W/TAG"), RANGE], 200),
        (&[("if-range", "\"a\""), RANGE], 200),
        (&[("if-range", AFTER), RANGE], 200),
        (&[("if-range", BEFORE), RANGE], 200),
        (&[("if-range", "*"), RANGE], 200),
        (&[("if-range", "nonsense"), RANGE], 200),
        (&[("if-range", "TAG"), ("if-range", "TAG"), RANGE], 200),
        (&[("if-range", "\"a\""), ("range", "bytes=5000-")], 200),
        (&[("if-range", "TAG"), ("range", "bytes=5000-")], 416),
        (&[("if-range", "TAG")], 200),
        (&[RANGE, RANGE], 200),
    ];
    for (lines, status) in cases {
        assert_eq!(ask(Method::GET, lines).status.as_u16(), *status, "{lines:?}");
        let head = match status {
            206 | 416 => 200, // HEAD has no ranges (14.2)
            other => *other,
        };
        let answer = ask(Method::HEAD, lines);
        assert_eq!(answer.status.as_u16(), head, "HEAD {lines:?}");
        assert_eq!(answer.range, None, "HEAD {lines:?}");
    }
}

#[test]
fn the_whole_picture_carries_every_header() {
    let id = picture().id;
    for method in [Method::GET, Method::HEAD] {
        let answer = ask(method, &[]);
        for (name, value) in [
            ("content-type", "image/png"),
            ("content-length", "1000"),
            ("etag", &format!("\"{id}\"")),
            ("last-modified", MODIFIED),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("accept-ranges", "bytes"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("content-disposition", &format!("inline; filename=\"{id}.png\"")),
            ("cross-origin-resource-policy", "cross-origin"),
            ("access-control-allow-origin", "*"),
            ("timing-allow-origin", "*"),
        ] {
            assert_eq!(header(&answer, name), value, "{name}");
        }
        assert!(header(&answer, "access-control-expose-headers").contains("ETag"));
    }
}

#[test]
fn a_304_says_what_a_cache_updates_and_nothing_of_the_body() {
    let answer = ask(Method::GET, &[("if-none-match", "*")]);
    assert_eq!(answer.range, None);
    for name in ["etag", "last-modified", "cache-control", "access-control-allow-origin"] {
        assert!(answer.headers.contains_key(name), "{name}");
    }
    for name in ["content-type", "content-length", "content-range", "content-disposition"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
}

#[test]
fn refusals_are_not_cached_for_ever() {
    for line in [("range", "bytes=5000-"), ("if-match", "\"a\"")] {
        let answer = ask(Method::GET, &[line]);
        assert_eq!(answer.range, None);
        assert_eq!(header(&answer, "content-length"), "0");
        assert!(!answer.headers.contains_key("cache-control"), "{line:?}");
        assert_eq!(header(&answer, "access-control-allow-origin"), "*");
    }
}

#[test]
fn other_methods_need_no_picture() {
    assert!(without_picture(&Method::GET).is_none());
    assert!(without_picture(&Method::HEAD).is_none());

    let preflight = without_picture(&Method::OPTIONS).unwrap();
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(header(&preflight, "access-control-allow-methods"), "GET, HEAD, OPTIONS");
    assert_eq!(header(&preflight, "access-control-allow-origin"), "*");
    assert_eq!(header(&preflight, "access-control-max-age"), "86400");
    assert!(header(&preflight, "access-control-allow-headers").contains("If-None-Match"));
    assert!(!preflight.headers.contains_key("content-length"));

    for method in [Method::POST, Method::PUT, Method::PATCH] {
        let refused = without_picture(&method).unwrap();
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&refused, "allow"), "GET, HEAD, DELETE, OPTIONS");
    }
}

#[test]
fn a_variant_has_a_tag_and_a_name_of_its_own_and_a_signature_ends() {
    let facts = picture();
    let now = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let shown = |variant, grant, negotiated| Shown { facts: &facts, variant, grant, negotiated };
    let tag = format!("\"{}-w256.png\"", facts.id);
    let variant = shown(Some("w256.png"), Grant::Public, true);
    for (condition, status) in [("\"other\"", 200), (&*format!("\"{}\"", facts.id), 200), (&*tag, 304)] {
        let request = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::try_from(condition).unwrap())]);
        let answer = answer(&Method::GET, &request, &variant, now);
        assert_eq!(answer.status.as_u16(), status, "{condition}");
        assert_eq!(header(&answer, "etag"), tag);
        assert_eq!(header(&answer, "last-modified"), MODIFIED);
        assert_eq!(header(&answer, "vary"), "Accept");
    }
    let answer = |shown: &Shown<'_>| answer(&Method::GET, &HeaderMap::new(), shown, now);
    let name = format!("inline; filename=\"{}-w256.png\"", facts.id);
    assert_eq!(header(&answer(&variant), "content-disposition"), name);
    for (end, kept) in [
        (2_000_000_060, "private, max-age=60, immutable"),
        (2_000_000_000, "private, max-age=0, immutable"),
        (1, "private, max-age=0, immutable"),
        (u64::MAX, "private, max-age=31536000, immutable"),
    ] {
        let answer = answer(&shown(None, Grant::Until(end), false));
        assert_eq!(header(&answer, "cache-control"), kept, "{end}");
        assert_eq!(header(&answer, "etag"), format!("\"{}\"", facts.id));
        assert_eq!(header(&answer, "vary"), "");
    }
}
