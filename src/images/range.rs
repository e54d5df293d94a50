//! Range requests: RFC 9110, section 14.

use std::ops::Range;

use http::{HeaderMap, header};

/// What part of a picture is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it. Also the answer to a `Range` that breaks the grammar, names another unit, comes twice, or asks for
    /// several ranges: a server may ignore the field (14.2), and nobody needs two pieces of one picture at once.
    Whole,
    /// One part that is there.
    Part(Range<u64>),
    /// One part that is not.
    Unsatisfiable,
}

/// Reads the `Range` field for a picture of `len` bytes.
pub(super) fn wanted(headers: &HeaderMap, len: u64) -> Wanted {
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Wanted::Whole };
    line.to_str().ok().and_then(|line| single(line, len)).unwrap_or(Wanted::Whole)
}

/// `None` for anything but one well-formed range of bytes.
fn single(line: &str, len: u64) -> Option<Wanted> {
    let (unit, set) = line.trim().split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return None };
    let range = match spec.split_once('-')? {
        ("", suffix) => {
            let suffix = number(suffix)?;
            len.saturating_sub(suffix)..len
        }
        (first, "") => number(first)?..len,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(len)
        }
    };
    Some(if range.is_empty() { Wanted::Unsatisfiable } else { Wanted::Part(range) })
}

/// Digits. A number beyond 64 bits is as good as the largest.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}
