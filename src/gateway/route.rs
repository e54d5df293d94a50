//! Path → what to do.

use http::Method;

use crate::exchange::ApiRoute;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/healthz`: the process lives.
    Health,
    /// `/readyz`: it can do its work.
    Ready,
    /// `/images/…`.
    Picture,
    /// `DELETE /images/…`.
    Deletion,
    /// `/admin/…`.
    Admin,
    /// `GET /v1/models`.
    Models,
    /// `GET /v1/models/{id}`.
    Model,
    /// An intercepted route.
    Exchange(ApiRoute),
    /// An intercepted route with a method it does not have.
    WrongMethod,
    /// Everything else under `/v1`.
    Pass,
    /// A path under `/v1` that another server may read as another path.
    OddPath,
    /// Not ours.
    Other,
}

impl Route {
    /// What a request for this path, as it stands in the request line, is for.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        if path.starts_with("/v1/") && !is_plain(path) {
            return Self::OddPath;
        }
        let path = if path.starts_with("/v1/") { path.trim_end_matches('/') } else { path };
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if let Some(route) = ApiRoute::of(path) {
            return match (route, method) {
                (_, &Method::POST) => Self::Exchange(route),
                // Stored completions can be listed.
                (ApiRoute::Chat | ApiRoute::Responses, _) => Self::Pass,
                _ => Self::WrongMethod,
            };
        }
        match path {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/v1/models" if reads => Self::Models,
            "/admin" => Self::Admin,
            _ if path.starts_with("/images/") && *method == Method::DELETE => Self::Deletion,
            _ if path.starts_with("/images/") => Self::Picture,
            _ if path.starts_with("/admin/") => Self::Admin,
            _ if path.starts_with("/v1/models/") && reads => Self::Model,
            _ if path.starts_with("/v1/") => Self::Pass,
            _ => Self::Other,
        }
    }

    /// Its name in metrics and logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Health | Self::Ready => "health",
            Self::Picture | Self::Deletion => "images",
            Self::Admin => "admin",
            Self::Models | Self::Model => "models",
            Self::Exchange(route) => route.name(),
            Self::Pass => "pass",
            Self::WrongMethod | Self::OddPath | Self::Other => "other",
        }
    }
}

/// Whether this path means the same to everybody: no dot segments, no empty ones, and no letters, dots, slashes or
/// backslashes in disguise (RFC 3986, section 6.2.2.2). Else a request could reach, with our key, what lies beside the
/// upstream's base path, or an intercepted route by another name.
fn is_plain(path: &str) -> bool {
    let disguised = |digits: &str| {
        let code = u8::from_str_radix(digits, 16).unwrap_or(0);
        code.is_ascii_alphanumeric() || matches!(code, 0 | b'.' | b'_' | b'-' | b'~' | b'\\')
    };
    let escapes_are_plain = path.split('%').skip(1).all(|rest| rest.get(..2).is_some_and(|digits| !disguised(digits)));
    let mut segments = path.split('/').skip(1).peekable();
    let mut segments_are_plain = true;
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        segments_are_plain &= !matches!(segment, "." | "..") && (is_last || !segment.is_empty());
    }
    escapes_are_plain && segments_are_plain && !path.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes() {
        for (method, path, route) in [
            ("POST", "/v1/images/generations", Route::Exchange(ApiRoute::Generations)),
            ("GET", "/v1/images/generations", Route::WrongMethod),
            ("POST", "/v1/chat/completions", Route::Exchange(ApiRoute::Chat)),
            ("GET", "/v1/chat/completions", Route::Pass),
            ("GET", "/v1/responses/resp_1", Route::Pass),
            ("GET", "/v1/models", Route::Models),
            ("GET", "/v1/models/org/name", Route::Model),
            ("DELETE", "/v1/models/x", Route::Pass),
            ("POST", "/v1/embeddings", Route::Pass),
            ("GET", "/images/x.png", Route::Picture),
            ("DELETE", "/images/x.png", Route::Deletion),
            ("GET", "/admin", Route::Admin),
            ("GET", "/healthz", Route::Health),
            ("GET", "/", Route::Other),
            ("GET", "/v1", Route::Other),
            ("GET", "/imagesx", Route::Other),
            ("POST", "/v1/images", Route::Exchange(ApiRoute::Images)),
            ("POST", "/v1/images/inpainting", Route::Exchange(ApiRoute::Inpainting)),
            ("POST", "/v1/images/generations/", Route::Exchange(ApiRoute::Generations)),
            ("GET", "/v1/models/org%2Fname", Route::Model),
            ("POST", "/v1/../../admin/secret", Route::OddPath),
            ("POST", "/v1/%2e%2e/%2E%2e/admin", Route::OddPath),
            ("POST", "/v1/x/../images/generations", Route::OddPath),
            ("POST", "/v1/images/%67enerations", Route::OddPath),
            ("POST", "/v1//images/generations", Route::OddPath),
            ("POST", "/v1/images\\generations", Route::OddPath),
            ("POST", "/v1/files/%5c..", Route::OddPath),
            ("POST", "/v1/x%", Route::OddPath),
            ("GET", "/v1/files/a%20b/content", Route::Pass),
        ] {
            assert_eq!(Route::of(&method.parse().unwrap(), path), route, "{method} {path}");
        }
    }
}
