//! Request → status, headers, part of the body.

use std::{ops::Range, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    Grant,
    condition::{Validators, Verdict, whole_seconds},
    path,
    range::{Wanted, wanted},
};
use crate::{opaque::opaque, store::Facts};

static CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
static TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");

/// A year is the longest that caches care about; the bytes under a name never change.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const YEAR: u64 = 31_536_000;
const PRIVATE: HeaderValue = HeaderValue::from_static("private");
/// What pages of any origin may send. Who deletes is no page.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, DELETE, OPTIONS");
const ANYONE: HeaderValue = HeaderValue::from_static("*");

/// What to answer.
#[derive(Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The part of the picture to send; `None`: no body.
    pub range: Option<Range<u64>>,
}

opaque!(Answer { status, range });

/// What is shown: a picture, or a variant of one.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// What is served. The time is that of the picture, for its variants too.
    pub facts: &'a Facts,
    /// The name of the variant, with the extension of its format.
    pub variant: Option<&'a str>,
    /// Who may keep it, and for how long.
    pub grant: Grant,
    /// The format was chosen by the request's `Accept`.
    pub negotiated: bool,
}

impl<'a> Shown<'a> {
    /// A picture as it is, for everybody.
    pub fn picture(facts: &'a Facts) -> Self {
        Self { facts, variant: None, grant: Grant::Public, negotiated: false }
    }

    fn tag(&self) -> String {
        match self.variant {
            Some(variant) => format!("{}-{variant}", self.facts.id),
            None => self.facts.id.to_string(),
        }
    }

    fn file_name(&self, tag: &str) -> String {
        match self.variant {
            Some(_) => tag.to_owned(),
            None => path::file_name(&self.facts.id, self.facts.format),
        }
    }

    /// Until a signature ends, a cache may keep what it allowed; one that many share may not keep it at all.
    fn cache_control(&self, now: SystemTime) -> HeaderValue {
        match self.grant.left(now) {
            None => FOREVER,
            Some(left) => {
                let left = left.as_secs().min(YEAR);
                HeaderValue::try_from(format!("private, max-age={left}, immutable")).unwrap_or(PRIVATE)
            }
        }
    }
}

/// The answer to a method that needs no picture: a preflight (OPTIONS), or one that pictures do not have (405). `None`
/// for GET and HEAD.
pub fn without_picture(method: &Method) -> Option<Answer> {
    let mut headers = HeaderMap::new();
    let status = match *method {
        Method::GET | Method::HEAD => return None,
        Method::OPTIONS => {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static(
                    "Authorization, Cache-Control, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, \
                     If-Unmodified-Since, Range, X-Requested-With",
                ),
            );
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
            StatusCode::NO_CONTENT
        }
        _ => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            StatusCode::METHOD_NOT_ALLOWED
        }
    };
    headers.insert(header::ALLOW, ALLOWED);
    guard(&mut headers);
    Some(Answer { status, headers, range: None })
}

/// The answer to GET or HEAD for a picture, or variant of one, that is there.
///
/// Conditions are weighed first (412, 304), then the range (206, 416), which only GET can have. Several ranges are
/// answered with the whole picture. The type is that of the content, whatever the URL's extension.
pub fn answer(method: &Method, request: &HeaderMap, shown: &Shown<'_>, now: SystemTime) -> Answer {
    let picture = shown.facts;
    let tag = shown.tag();
    let validators = Validators { tag: &tag, modified: whole_seconds(picture.created()) };
    let mut headers = HeaderMap::new();
    guard(&mut headers);

    let (status, range) = match validators.check(request) {
        Verdict::Failed => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            return Answer { status: StatusCode::PRECONDITION_FAILED, headers, range: None };
        }
        Verdict::NotModified => {
            validate(&mut headers, &validators, shown, now);
            return Answer { status: StatusCode::NOT_MODIFIED, headers, range: None };
        }
        Verdict::Go if *method != Method::HEAD && validators.range_is_wanted(request) => {
            match wanted(request, picture.len) {
                Wanted::Whole => (StatusCode::OK, 0..picture.len),
                Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
                Wanted::Unsatisfiable => {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
                    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
                    set(&mut headers, header::CONTENT_RANGE, format!("bytes */{}", picture.len));
                    return Answer { status: StatusCode::RANGE_NOT_SATISFIABLE, headers, range: None };
                }
            }
        }
        Verdict::Go => (StatusCode::OK, 0..picture.len),
    };

    validate(&mut headers, &validators, shown, now);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture.format.media_type()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let name = shown.file_name(&tag);
    set(&mut headers, header::CONTENT_DISPOSITION, format!("inline; filename=\"{name}\""));
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = (range.start, range.end - 1);
        set(&mut headers, header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", picture.len));
    }
    Answer { status, headers, range: Some(range).filter(|_| *method != Method::HEAD) }
}

/// What a cache needs, in 200, 206 and 304 alike.
fn validate(headers: &mut HeaderMap, validators: &Validators<'_>, shown: &Shown<'_>, now: SystemTime) {
    set(headers, header::ETAG, format!("\"{}\"", validators.tag));
    set(headers, header::LAST_MODIFIED, httpdate::fmt_http_date(validators.modified));
    headers.insert(header::CACHE_CONTROL, shown.cache_control(now));
    if shown.negotiated {
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    }
}

/// What keeps a browser from running a picture, and lets every page show it and read it (`fetch`, canvas).
fn guard(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY.clone(), HeaderValue::from_static("cross-origin"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANYONE);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, Last-Modified",
        ),
    );
    headers.insert(TIMING_ALLOW_ORIGIN.clone(), ANYONE);
}

/// Sets a value made of digits, ids and dates, which every header can hold.
fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
