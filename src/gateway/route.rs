//! Path → what to do.

use http::Method;

use super::path;
use crate::exchange::ApiRoute;

const MODELS: &str = "/v1/models";
const MODEL: &str = "/v1/models/";
/// Methods of requests that pass.
const PASSING: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

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
        match path {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/admin" => Self::Admin,
            _ if path.starts_with("/admin/") => Self::Admin,
            _ if path.starts_with("/images/") && *method == Method::DELETE => Self::Deletion,
            _ if path.starts_with("/images/") => Self::Picture,
            _ if path.starts_with("/v1/") => Self::of_the_api(method, path),
            _ => Self::Other,
        }
    }

    /// The path is judged as every server may read it, and used as it stands.
    fn of_the_api(method: &Method, path: &str) -> Self {
        let Some(lenient) = path::lenient(path) else { return Self::OddPath };
        let path = path.trim_end_matches('/');
        if is_answered_here(&lenient) && !is_answered_here(path) {
            return Self::OddPath;
        }
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match ApiRoute::of(path) {
            Some(route) if *method == Method::POST => Self::Exchange(route),
            // Stored completions can be listed.
            Some(ApiRoute::Chat | ApiRoute::Responses) if PASSING.contains(method) => Self::Pass,
            Some(_) => Self::WrongMethod,
            None if reads && path == MODELS => Self::Models,
            None if reads && path.starts_with(MODEL) => Self::Model,
            // TRACE would answer with the operator's key, and CONNECT opens a tunnel.
            None if PASSING.contains(method) => Self::Pass,
            None => Self::WrongMethod,
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

/// `true` if requests for this path never pass as they are.
fn is_answered_here(path: &str) -> bool {
    ApiRoute::of(path).is_some() || path == MODELS || path.starts_with(MODEL)
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
            ("TRACE", "/v1/embeddings", Route::WrongMethod),
            ("TRACE", "/v1/chat/completions", Route::WrongMethod),
            ("CONNECT", "/v1/files", Route::WrongMethod),
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
            ("PATCH", "/v1/things%2Fthat", Route::Pass),
            ("GET", "/v1/chat/completions%2Fchatcmpl-1", Route::Pass),
            ("GET", "/v1/files/a;v=1", Route::Pass),
            ("DELETE", "/v1/models/org%2Fname", Route::Pass),
            // An intercepted route by another name.
            ("POST", "/v1/images%2Fgenerations", Route::OddPath),
            ("POST", "/v1/images/generations%2F", Route::OddPath),
            ("POST", "/v1/images%252Fedits", Route::OddPath),
            ("POST", "/v1/images/generations;x", Route::OddPath),
            ("POST", "/v1/Images/Generations", Route::OddPath),
            ("POST", "/v1/chat%2Fcompletions", Route::OddPath),
            ("GET", "/v1/chat%2Fcompletions", Route::OddPath),
            ("POST", "/v1/images/generations%3F", Route::OddPath),
            ("GET", "/v1/models%2Fx", Route::OddPath),
            ("GET", "/v1/MODELS", Route::OddPath),
            // What lies beside the upstream's base path.
            ("GET", "/v1/..%2F..%2Fadmin/keys", Route::OddPath),
            ("GET", "/v1/files%2f..%2f..%2fadmin", Route::OddPath),
            ("GET", "/v1/..;/..;/admin", Route::OddPath),
        ] {
            assert_eq!(Route::of(&method.parse().unwrap(), path), route, "{method} {path}");
        }
    }
}
