//! Which headers travel.
//!
//! Up: what the client sent, without what belongs to its connection to us (RFC 9110, section 7.6.1), without its
//! credentials, and without what would tell the upstream about our users. Down: an allow list, so that no upstream can
//! set cookies, policies or framing on our origin.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of one connection only, besides those that `Connection` names.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where clients put their key. None of these ever reaches an upstream.
pub const CREDENTIALS: [&str; 4] = ["authorization", "api-key", "x-api-key", "x-goog-api-key"];

/// What else is between the client and us.
pub const OURS: [&str; 8] = [
    "cookie",
    "forwarded",
    "host",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// What our own exchange sets anew.
const FRAMING: [&str; 4] = ["accept-encoding", "content-length", "expect", "x-request-id"];

/// The headers of a request of our own exchange, without `Host`, `Authorization` and `Content-Length`.
///
/// `Connection: X` can name any header as one of the connection; naming one must not remove what is added here.
pub fn for_upstream(client: &HeaderMap, request_id: &str) -> HeaderMap {
    let named: Vec<&str> = client
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let ends_here = |name: &str| {
        HOP_BY_HOP.contains(&name)
            || CREDENTIALS.contains(&name)
            || OURS.contains(&name)
            || FRAMING.contains(&name)
            || named.iter().any(|named| named.eq_ignore_ascii_case(name))
    };
    let mut headers = HeaderMap::with_capacity(client.len() + 2);
    for (name, value) in client.iter().filter(|(name, _)| !ends_here(name.as_str())) {
        headers.append(name, value.clone());
    }
    // What we rewrite must be readable.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    headers
}

/// The headers of an upstream's answer that go on to the client. Its request id becomes `x-upstream-request-id`.
pub fn for_client(upstream: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(upstream.len());
    for (name, value) in upstream {
        if name.as_str() == "x-request-id" {
            headers.append(HeaderName::from_static("x-upstream-request-id"), value.clone());
        } else if goes_on(name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

fn goes_on(name: &str) -> bool {
    const EXACT: [&str; 9] = [
        "cache-control",
        "content-disposition",
        // An error, or a coding we do not know: such a body passes, so must the way to read it.
        "content-encoding",
        "content-language",
        "content-type",
        "date",
        "retry-after",
        "retry-after-ms",
        "server-timing",
    ];
    const FAMILIES: [&str; 4] = ["openai-", "x-", "ratelimit", "cf-ray"];
    const NOT: [&str; 6] =
        ["x-accel-", "x-frame-options", "x-content-type-options", "x-powered-by", "x-xss-protection", "x-forwarded-"];
    EXACT.contains(&name)
        || (FAMILIES.iter().any(|family| name.starts_with(family)) && !NOT.iter().any(|not| name.starts_with(not)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn upstreams_see_neither_the_clients_key_nor_its_connection() {
        let client = headers(&[
            ("authorization", "Bearer client"),
            ("api-key", "client"),
            ("x-api-key", "client"),
            ("cookie", "a=b"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("content-type", "application/json"),
            ("host", "gateway"),
            ("accept-encoding", "gzip"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-stainless-lang", "python"),
        ]);
        let sent = for_upstream(&client, "req_1");
        assert_eq!(names(&sent), ["accept-encoding", "content-type", "x-request-id", "x-stainless-lang"]);
        assert_eq!(sent["accept-encoding"], "identity");
    }

    #[test]
    fn clients_see_limits_and_ids_but_no_cookies() {
        let upstream = headers(&[
            ("content-type", "application/json"),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("set-cookie", "a=b"),
            ("strict-transport-security", "max-age=1"),
            ("access-control-allow-origin", "*"),
            ("x-ratelimit-remaining-requests", "1"),
            ("x-request-id", "up_1"),
            ("openai-processing-ms", "12"),
            ("retry-after", "7"),
            ("x-accel-buffering", "yes"),
            ("etag", "x"),
            ("transfer-encoding", "chunked"),
        ]);
        let sent = for_client(&upstream);
        assert_eq!(
            names(&sent),
            [
                "content-encoding",
                "content-type",
                "openai-processing-ms",
                "retry-after",
                "x-ratelimit-remaining-requests",
                "x-upstream-request-id"
            ]
        );
    }
}
