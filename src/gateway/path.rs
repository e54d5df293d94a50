//! One reading of a path, whoever reads it.
//!
//! Upstreams and proxies decode paths more than once, cut off parameters, and ignore case. A path that means one thing here and
//! another thing there would reach, with the operator's key, what lies beside the upstream's base path; or an intercepted
//! route by another name. So a path is judged as the most lenient server would read it.

/// Most turns in which a path is decoded. Nobody encodes a path more often for a good reason, and each turn reads it once.
const MOST_DECODINGS: usize = 4;

/// The path as the most lenient server reads it: decoded until nothing changes, without parameters (`;…`, RFC 3986, section
/// 3.3) and what stands behind a decoded `?` or `#`, in small ASCII letters, without a slash at its end.
///
/// `None` for a path that servers read differently: with dot segments or empty segments in any spelling, backslashes,
/// control characters, escapes of characters that need none (section 2.3), or escapes that are none.
pub(super) fn lenient(path: &str) -> Option<String> {
    let needless = |escape: u8| escape.is_ascii_alphanumeric() || b"._-~".contains(&escape);
    let mut escapes = path.split('%').skip(1);
    if !escapes.all(|rest| rest.get(..2).and_then(byte).is_some_and(|escape| !needless(escape))) {
        return None;
    }
    let decoded = decoded(path.as_bytes())?;
    if decoded.iter().any(|byte| *byte == b'\\' || byte.is_ascii_control()) {
        return None;
    }
    let decoded = String::from_utf8_lossy(&decoded).to_ascii_lowercase();
    let segments: Vec<&str> = decoded.split('/').skip(1).map(without_parameters).collect();
    let (last, before) = segments.split_last()?;
    let is_plain = |segment: &&str| !matches!(*segment, "." | "..");
    if !segments.iter().all(is_plain) || before.iter().any(|segment| segment.is_empty()) {
        return None;
    }
    let read = format!("/{}", before.iter().chain([last]).copied().collect::<Vec<_>>().join("/"));
    let end = read.find(['?', '#']).unwrap_or(read.len());
    Some(read.get(..end)?.trim_end_matches(['/', ' ']).to_owned())
}

/// `None` when it still changes after [`MOST_DECODINGS`].
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut path = path.to_vec();
    for _ in 0..MOST_DECODINGS {
        let next: Vec<u8> = percent_encoding::percent_decode(&path).collect();
        if next == path {
            return Some(path);
        }
        path = next;
    }
    None
}

fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default().trim_matches(' ')
}

/// The byte that two hex digits name.
fn byte(digits: &str) -> Option<u8> {
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_the_most_lenient_server_reads_them() {
        for (path, read) in [
            ("/v1/files", "/v1/files"),
            ("/v1/Files/", "/v1/files"),
            ("/v1/images%2Fgenerations", "/v1/images/generations"),
            ("/v1/images%252Fgenerations", "/v1/images/generations"),
            ("/v1/images%252fgenerations;x=1/", "/v1/images/generations"),
            ("/v1/images;a/generations;b;c", "/v1/images/generations"),
            ("/v1/images/generations%3Fx", "/v1/images/generations"),
            ("/v1/images/generations%23/x", "/v1/images/generations"),
            ("/v1/images/generations%20", "/v1/images/generations"),
            ("/v1/files/a%20b/content", "/v1/files/a b/content"),
            ("/v1/files/50%25", "/v1/files/50%"),
            ("/v1/files/...", "/v1/files/..."),
            ("/v1/files/a..b", "/v1/files/a..b"),
            ("/v1/files/%C3%A9", "/v1/files/é"),
        ] {
            assert_eq!(lenient(path).as_deref(), Some(read), "{path}");
        }
    }

    #[test]
    fn paths_that_mean_two_things_are_refused() {
        for path in [
            "/v1/..",
            "/v1/.",
            "/v1/../../admin",
            "/v1/./files",
            "/v1/files/..",
            "/v1/..%2F..%2Fadmin/keys",
            "/v1/..%2f..%2fadmin/keys",
            "/v1/files%2f..%2f..%2fadmin",
            "/v1/files%2F.%2Fx",
            "/v1/..;/..;/admin",
            "/v1/..;x=1/admin",
            "/v1/.;/admin",
            "/v1/..%3B/admin",
            "/v1/..%3bx/admin",
            "/v1/%2e%2e/%2E%2e/admin",
            "/v1/.%2e/admin",
            "/v1/%252e%252e/admin",
            "/v1/%25252e%25252e/admin",
            "/v1/%252e%252e%252fadmin",
            "/v1/..%252fadmin",
            "/v1/..%25252fadmin",
            "/v1/%20../admin",
            "/v1/..%20/admin",
            "/v1//admin",
            "/v1/;/admin",
            "/v1/%2Fadmin",
            "/v1/x%2F%2Fadmin",
            "/v1/x\\..\\admin",
            "/v1/x%5c..%5cadmin",
            "/v1/x%255c..%255cadmin",
            "/v1/x%00",
            "/v1/x%2500",
            "/v1/x%0a",
            "/v1/x%7f",
            "/v1/images/%67enerations",
            "/v1/%61dmin",
            "/v1/x%",
            "/v1/x%2",
            "/v1/x%zz",
            "/v1/x%+1",
            "/v1/x%25252525252525252e",
        ] {
            assert_eq!(lenient(path), None, "{path}");
        }
    }

    proptest::proptest! {
        /// However it is spelled, a path with a dot segment is refused.
        #[test]
        fn no_spelling_hides_a_dot_segment(
            before in "(/[a-z]{1,3}){1,2}",
            spelling in "(/|%2f|%2F|%252f|%5c|\\\\)(\\.|%2e|%2E|%252e|%25252e){1,2}(;|;[a-z]|%3b|%20)?(/|%2f|%252F)?",
            behind in "([a-z]{1,3})?",
        ) {
            let path = format!("/v1{before}{spelling}{behind}");
            let ends_segment = behind.is_empty() || spelling.ends_with(['/', 'f', 'F']) || spelling.contains([';', 'b']);
            proptest::prop_assume!(ends_segment && !spelling.ends_with("2e") );
            proptest::prop_assert_eq!(lenient(&path), None, "{}", path);
        }
    }
}
