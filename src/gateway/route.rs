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
    /// Not ours.
    Other,
}

impl Route {
    pub(super) fn of(method: &Method, path: &str) -> Self {
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
            "/v1/models" | "/v1/models/" if reads => Self::Models,
            "/admin" => Self::Admin,
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
            Self::Picture => "images",
            Self::Admin => "admin",
            Self::Models | Self::Model => "models",
            Self::Exchange(route) => route.name(),
            Self::Pass => "pass",
            Self::WrongMethod | Self::Other => "other",
        }
    }
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
            ("GET", "/admin", Route::Admin),
            ("GET", "/healthz", Route::Health),
            ("GET", "/", Route::Other),
            ("GET", "/v1", Route::Other),
            ("GET", "/imagesx", Route::Other),
        ] {
            assert_eq!(Route::of(&method.parse().unwrap(), path), route, "{method} {path}");
        }
    }
}
