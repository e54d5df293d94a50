//! Which headers travel.
//!
//! Both ways and both directions are allow lists: a header passes when providers or their SDKs are known to need it there.
//! No list holds a header that tells an upstream who our users are, one that carries a client's credential, or one that lets an
//! upstream act on our origin (cookies, policies, CORS, `x-accel-*`). `upstreams[].pass_headers` extends both lists.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::Upstream;

/// Request headers that pass.
const UP: [&str; 33] = [
    "accept",
    "accept-language",
    "content-language",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "originator",
    "prefer",
    "range",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-client-request-id",
    // OpenRouter's: which program asks. Its `HTTP-Referer` is no `Referer`.
    "http-referer",
    "x-title",
    // OpenAI's.
    "openai-beta",
    // A WebSocket's (RFC 6455). The subprotocol passes without keys.
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    // Codex's.
    "conversation_id",
    "session-id",
    "session_id",
    "thread-id",
    "version",
    // Replicate's and fal's.
    "cancel-after",
    "x-fal-no-retry",
    "x-fal-object-lifecycle-preference",
    "x-fal-request-timeout",
];

/// Request headers that pass by how they begin.
const UP_FAMILIES: [&str; 9] = [
    "anthropic-",
    "x-codex-",
    "x-dashscope-",
    "x-goog-",
    "x-modelscope-",
    "x-ms-",
    "x-openai-",
    "x-openrouter-",
    "x-stainless-",
];

/// Of these families, names with one of these words in them hold a credential or say who the user is, as
/// `x-goog-authenticated-user-email` and `x-ms-client-principal-name` do.
const NOT_UP: [&str; 16] = [
    "account",
    "apikey",
    "assertion",
    "auth",
    "authenticated",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "email",
    "iap",
    "jwt",
    "key",
    "principal",
    "token",
    "user",
];

/// Where clients put their key.
const CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
];
/// A shorter key is not looked for in other headers: it would stand in many by chance.
const SHORTEST_KEY: usize = 8;

/// Parts of a WebSocket's subprotocol that stand in for headers which do not pass.
const NOT_SUBPROTOCOLS: [&str; 3] = ["openai-insecure-api-key.", "openai-organization.", "openai-project."];

/// Answer headers that pass, whatever becomes of the body.
const DOWN: [&str; 24] = [
    "allow",
    "apim-request-id",
    "cache-control",
    "content-disposition",
    // An error, or a coding we do not know: such a body passes, so must the way to read it.
    "content-encoding",
    "content-language",
    "content-type",
    "date",
    "deprecation",
    "expires",
    "location",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "server-timing",
    "sunset",
    "vary",
    "x-cache",
    "x-compute-time",
    "x-generation-id",
    "x-inference-time",
    "x-models-etag",
    "x-reasoning-included",
    "x-should-retry",
];

/// Answer headers that pass by how they begin.
const DOWN_FAMILIES: [&str; 17] = [
    "anthropic-",
    "cf-ray",
    "openai-",
    "ratelimit",
    "x-codex-",
    "x-dashscope-",
    "x-fal-",
    "x-goog-",
    "x-groq-",
    "x-litellm-",
    "x-modelscope-",
    "x-ms-",
    "x-openai-",
    "x-openrouter-",
    "x-rate-limit-",
    "x-ratelimit-",
    "x-request-",
];

/// Answer headers that are true of the upstream's own bytes only: they pass when the body does.
const OF_THE_BODY: [&str; 5] = ["accept-ranges", "content-length", "content-range", "etag", "last-modified"];

/// Answer headers of a protocol that is switched to (RFC 6455).
const OF_A_SWITCH: [&str; 3] = ["sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-protocol"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

/// The headers of a request to this upstream, without `Host`, `Authorization` and framing.
///
/// `Connection: X` can name any header as one of the connection (RFC 9110, section 7.6.1): such a header ends here. Naming one
/// does not remove what is added here.
pub fn for_upstream(client: &HeaderMap, request_id: &str, upstream: &Upstream) -> HeaderMap {
    let named: Vec<&str> = client
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let keys: Vec<&[u8]> = CREDENTIALS.iter().filter_map(|name| key(client.get(name)?.as_bytes())).collect();
    let mut headers = HeaderMap::with_capacity(client.len() + upstream.headers.len() + 1);
    for (name, value) in client {
        let ends_here = named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str()));
        if ends_here || !goes_up(name.as_str(), upstream) {
            continue;
        }
        let value = match name {
            &header::SEC_WEBSOCKET_PROTOCOL => without_keys(value),
            _ => Some(value.clone()),
        };
        let holds_key =
            |value: &HeaderValue| keys.iter().any(|key| memchr::memmem::find(value.as_bytes(), key).is_some());
        if let Some(value) = value.filter(|value| !holds_key(value)) {
            headers.append(name.clone(), value);
        }
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    set_configured(&mut headers, upstream);
    headers
}

/// Sets `upstreams[].headers`.
pub fn set_configured(headers: &mut HeaderMap, upstream: &Upstream) {
    for (name, value) in &upstream.headers {
        // Checked when the configuration was read.
        if let Ok(mut value) = HeaderValue::from_str(value.expose()) {
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
    }
}

/// The headers of an upstream's answer whose body is rewritten, or sent on by an exchange of ours, that go on to the client.
/// Its request id becomes `x-upstream-request-id`.
pub fn for_client(answer: &HeaderMap, upstream: &Upstream) -> HeaderMap {
    chosen(answer, |name| goes_down(name, upstream))
}

/// The same for an answer that passes as it is.
pub fn for_client_as_they_are(answer: &HeaderMap, upstream: &Upstream) -> HeaderMap {
    chosen(answer, |name| goes_down(name, upstream) || OF_THE_BODY.contains(&name) || OF_A_SWITCH.contains(&name))
}

/// Takes out of an answer's trailers what must not pass.
pub fn without_others(trailers: &mut HeaderMap, upstream: &Upstream) {
    *trailers = for_client(trailers, upstream);
}

fn chosen(answer: &HeaderMap, goes_on: impl Fn(&str) -> bool) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(answer.len());
    for (name, value) in answer {
        if *name == REQUEST_ID {
            headers.append(UPSTREAM_REQUEST_ID, value.clone());
        } else if goes_on(name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// The key in the value of a header of credentials, without its scheme.
fn key(value: &[u8]) -> Option<&[u8]> {
    let key = value.trim_ascii().rsplit(|byte| *byte == b' ').next()?;
    (key.len() >= SHORTEST_KEY).then_some(key)
}

fn goes_up(name: &str, upstream: &Upstream) -> bool {
    let tells = || name.split(['-', '_']).any(|word| NOT_UP.contains(&word));
    UP.contains(&name)
        || (UP_FAMILIES.iter().any(|family| name.starts_with(family)) && !tells())
        || upstream.pass_headers.iter().any(|passing| passing.matches(name))
}

fn goes_down(name: &str, upstream: &Upstream) -> bool {
    DOWN.contains(&name)
        || DOWN_FAMILIES.iter().any(|family| name.starts_with(family))
        || upstream.pass_headers.iter().any(|passing| passing.matches(name))
}

/// A list of subprotocols without those that hold a credential. Browsers put one there, because they cannot set headers.
fn without_keys(value: &HeaderValue) -> Option<HeaderValue> {
    let kept = value.to_str().ok()?.split(',').map(str::trim).filter(|protocol| {
        let protocol = protocol.to_ascii_lowercase();
        !NOT_SUBPROTOCOLS.iter().any(|not| protocol.starts_with(not))
    });
    let kept = kept.collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&kept).ok().filter(|_| !kept.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HeaderPattern, Secret};

    fn upstream() -> Upstream {
        Upstream::new("u", "http://u/v1".parse().unwrap())
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    /// Which of these headers pass.
    fn passing<'a>(names: &[&'a str], travel: impl Fn(&HeaderMap) -> HeaderMap) -> Vec<&'a str> {
        let sent = travel(&headers(&names.iter().map(|name| (*name, "x")).collect::<Vec<_>>()));
        names.iter().copied().filter(|name| sent.contains_key(*name)).collect()
    }

    #[test]
    fn what_upstreams_need_goes_up() {
        let needed = [
            "accept",
            "accept-language",
            "anthropic-beta",
            "anthropic-version",
            "content-type",
            "http-referer",
            "idempotency-key",
            "if-none-match",
            "openai-beta",
            "range",
            "sec-websocket-key",
            "traceparent",
            "user-agent",
            "x-dashscope-async",
            "x-goog-api-client",
            "x-modelscope-async-mode",
            "x-ms-client-request-id",
            "x-stainless-lang",
            "x-title",
        ];
        assert_eq!(passing(&needed, |client| for_upstream(client, "req_1", &upstream())), needed);
    }

    #[test]
    fn neither_credentials_nor_users_nor_the_connection_go_up() {
        let kept_back = [
            "accept-encoding",
            "api-key",
            "authorization",
            "cf-access-jwt-assertion",
            "cf-connecting-ip",
            "connection",
            "content-length",
            "cookie",
            "expect",
            "forwarded",
            "from",
            "host",
            "openai-organization",
            "openai-project",
            "origin",
            "proxy-authorization",
            "referer",
            "remote-user",
            "te",
            "transfer-encoding",
            "true-client-ip",
            "upgrade",
            "via",
            "x-amzn-oidc-data",
            "x-api-key",
            "x-auth-request-email",
            "x-auth-request-user",
            "x-auth-token",
            "x-client-ip",
            "x-forwarded-email",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-user",
            "x-goog-api-key",
            "x-goog-authenticated-user-email",
            "x-goog-iap-jwt-assertion",
            "x-goog-user-project",
            "x-openai-api-key",
            "x-openrouter-key",
            "x-http-method-override",
            "x-ms-client-principal-name",
            "x-ms-token-aad-access-token",
            "x-original-url",
            "x-real-ip",
            "x-rewrite-url",
            "x-unknown",
        ];
        let none: [&str; 0] = [];
        assert_eq!(passing(&kept_back, |client| for_upstream(client, "req_1", &upstream())), none);
        let named = headers(&[("connection", "keep-alive, X-Stainless-Lang"), ("x-stainless-lang", "python")]);
        assert!(!for_upstream(&named, "req_1", &upstream()).contains_key("x-stainless-lang"));
    }

    #[test]
    fn a_header_with_the_clients_key_does_not_go_up() {
        for (name, value) in [
            ("authorization", "Bearer client-key-1"),
            ("api-key", "client-key-1"),
            ("x-goog-api-key", " client-key-1 "),
        ] {
            let client =
                headers(&[(name, value), ("http-referer", "https://chat/?key=client-key-1"), ("x-title", "chat")]);
            let sent = for_upstream(&client, "req_1", &upstream());
            assert_eq!((sent.contains_key("http-referer"), sent.contains_key("x-title")), (false, true), "{name}");
        }
    }

    #[test]
    fn keys_in_subprotocols_do_not_go_up() {
        for (offered, sent) in [
            (
                "realtime, openai-insecure-api-key.sk-client, openai-beta.realtime-v1",
                Some("realtime, openai-beta.realtime-v1"),
            ),
            ("realtime,OpenAI-Insecure-API-Key.sk-client", Some("realtime")),
            ("openai-organization.org-1, openai-project.p, x", Some("x")),
            ("openai-insecure-api-key.sk-client", None),
            ("graphql-ws", Some("graphql-ws")),
        ] {
            let client = headers(&[("sec-websocket-protocol", offered)]);
            let headers = for_upstream(&client, "req_1", &upstream());
            assert_eq!(headers.get("sec-websocket-protocol").map(|value| value.to_str().unwrap()), sent, "{offered}");
        }
    }

    #[test]
    fn configured_headers_win_and_configured_names_pass_both_ways() {
        let mut upstream = upstream();
        upstream.headers = vec![
            ("user-agent".parse().unwrap(), Secret::new("picgate")),
            ("x-team".parse().unwrap(), Secret::new("a")),
        ];
        upstream.pass_headers = vec![HeaderPattern::new("helicone-*"), HeaderPattern::new("x-custom")];
        let client = headers(&[("user-agent", "curl"), ("helicone-id", "1"), ("x-custom", "2"), ("x-customer", "3")]);
        let sent = for_upstream(&client, "req_1", &upstream);
        assert_eq!(
            (&sent["user-agent"], &sent["x-team"], &sent["x-request-id"]),
            (&"picgate".parse().unwrap(), &"a".parse().unwrap(), &"req_1".parse().unwrap())
        );
        assert_eq!(
            (sent.len(), &sent["helicone-id"], &sent["x-custom"]),
            (5, &"1".parse().unwrap(), &"2".parse().unwrap())
        );
        assert_eq!(for_client(&client, &upstream).len(), 2);
        assert!(!format!("{sent:?}").contains("picgate"), "a configured value may be a secret");
    }

    #[test]
    fn clients_see_limits_and_ids() {
        let seen = [
            "cache-control",
            "content-encoding",
            "content-type",
            "date",
            "location",
            "openai-processing-ms",
            "retry-after",
            "vary",
            "x-ratelimit-remaining-requests",
            "x-should-retry",
        ];
        let of_the_body = ["accept-ranges", "content-length", "content-range", "etag", "last-modified"];
        assert_eq!(passing(&seen, |answer| for_client(answer, &upstream())), seen);
        assert_eq!(passing(&of_the_body, |answer| for_client_as_they_are(answer, &upstream())), of_the_body);
        let none: [&str; 0] = [];
        assert_eq!(passing(&of_the_body, |answer| for_client(answer, &upstream())), none);
        let renamed = for_client(&headers(&[("x-request-id", "up_1")]), &upstream());
        assert_eq!((renamed.len(), &renamed["x-upstream-request-id"]), (1, &"up_1".parse().unwrap()));
    }

    #[test]
    fn nothing_acts_on_our_origin() {
        let kept_back = [
            "access-control-allow-credentials",
            "access-control-allow-origin",
            "alt-svc",
            "clear-site-data",
            "connection",
            "content-security-policy",
            "cross-origin-opener-policy",
            "keep-alive",
            "link",
            "nel",
            "permissions-policy",
            "refresh",
            "report-to",
            "server",
            "service-worker-allowed",
            "set-cookie",
            "sourcemap",
            "strict-transport-security",
            "transfer-encoding",
            "www-authenticate",
            "x-accel-buffering",
            "x-accel-redirect",
            "x-content-type-options",
            "x-frame-options",
            "x-picgate-anything",
            "x-powered-by",
            "x-sendfile",
        ];
        let none: [&str; 0] = [];
        assert_eq!(passing(&kept_back, |answer| for_client(answer, &upstream())), none);
        assert_eq!(passing(&kept_back, |answer| for_client_as_they_are(answer, &upstream())), none);
    }
}
