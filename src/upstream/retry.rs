//! What may be sent twice.
//!
//! A generation costs money, so the rule is strict: a request goes to another place only while it is certain, or the
//! upstream itself has said, that nothing was made of it. Never after any byte of an answer's body, never on a timeout.

use http::StatusCode;

use super::Failure;

/// Whether a request that failed like this may go to the next target.
pub fn after_failure(failure: &Failure) -> bool {
    matches!(failure, Failure::Connect)
}

/// Whether a request that was answered with this status may go to the next target: the upstream has refused to work.
pub fn after_status(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_have_been_billed_goes_on() {
        assert!(after_failure(&Failure::Connect));
        assert!(!after_failure(&Failure::Timeout));
        assert!(!after_failure(&Failure::Broken));
        for status in [429, 503] {
            assert!(after_status(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [200, 400, 401, 404, 408, 409, 413, 500, 502, 504] {
            assert!(!after_status(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }
}
