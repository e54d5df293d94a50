//! Conditional requests: RFC 9110, section 13, in the order of 13.2.2.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, header};

use super::etag::{Comparison, any_matches};

/// What the conditions of a request for a picture say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer as if there were none.
    Go,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client wants.
    Failed,
}

/// The validators of a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validators<'a> {
    /// The strong tag, without quotes.
    pub(super) tag: &'a str,
    /// Whole seconds, as HTTP dates are.
    pub(super) modified: SystemTime,
}

impl Validators<'_> {
    /// For GET and HEAD.
    pub(super) fn check(&self, headers: &HeaderMap) -> Verdict {
        let precondition = match any_matches(headers, &header::IF_MATCH, self.tag, Comparison::Strong) {
            Some(matches) => matches,
            None => date(headers, &header::IF_UNMODIFIED_SINCE).is_none_or(|date| self.modified <= date),
        };
        if !precondition {
            return Verdict::Failed;
        }
        let is_known = match any_matches(headers, &header::IF_NONE_MATCH, self.tag, Comparison::Weak) {
            Some(matches) => matches,
            None => date(headers, &header::IF_MODIFIED_SINCE).is_some_and(|date| self.modified <= date),
        };
        if is_known { Verdict::NotModified } else { Verdict::Go }
    }

    /// Whether a range of this very picture is wanted (13.1.5): no `If-Range`, our tag, or exactly our date. The date
    /// is strong enough, because a picture never changes under its name.
    pub(super) fn range_is_wanted(&self, headers: &HeaderMap) -> bool {
        let mut lines = headers.get_all(header::IF_RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return !headers.contains_key(header::IF_RANGE);
        };
        let Ok(line) = line.to_str() else { return false };
        let line = line.trim();
        if line.starts_with('"') || line.starts_with("W/") {
            line.strip_prefix('"').and_then(|line| line.strip_suffix('"')) == Some(self.tag)
        } else {
            httpdate::parse_http_date(line).is_ok_and(|date| date == self.modified)
        }
    }
}

/// `time` without its fraction of a second.
pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// The date in this header. A date that cannot be read, and one given twice, is as good as none.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    httpdate::parse_http_date(line.to_str().ok()?.trim()).ok()
}
