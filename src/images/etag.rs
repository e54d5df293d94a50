//! Entity tags (RFC 9110, section 8.8.3) in request headers.

use http::{HeaderMap, HeaderName};

/// How two tags are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Weak tags are equal to nothing.
    Strong,
    /// `W/` is ignored.
    Weak,
}

/// Whether the lists in all lines of this header hold `*` or the strong tag `"name"`. `None` without such a header.
///
/// A list that breaks the grammar counts as far as it can be read.
pub(super) fn any_matches(
    headers: &HeaderMap,
    header: &HeaderName,
    name: &str,
    comparison: Comparison,
) -> Option<bool> {
    let mut lines = headers.get_all(header).iter().peekable();
    lines.peek()?;
    Some(lines.any(|line| line.to_str().is_ok_and(|line| list_matches(line, name, comparison))))
}

fn list_matches(mut list: &str, name: &str, comparison: Comparison) -> bool {
    if list.trim() == "*" {
        return true;
    }
    loop {
        list = list.trim_start_matches([' ', '\t', ',']);
        let (is_weak, rest) = match list.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, list),
        };
        // A tag may hold commas, but no quotes.
        let Some((tag, rest)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) else { return false };
        if tag == name && (!is_weak || comparison == Comparison::Weak) {
            return true;
        }
        list = rest.trim_start_matches([' ', '\t']);
        if !list.starts_with(',') {
            return false;
        }
    }
}
