//! Notices that the client has gone.

use pingora_core::ErrorType;
use pingora_proxy::Session;

/// Resolves when the client closes its side or the connection breaks. The request's body must have been read.
pub(super) async fn hung_up(session: &mut Session) {
    loop {
        match session.as_downstream_mut().read_body_or_idle(true).await {
            Ok(_) => {}
            Err(error) if matches!(error.etype(), ErrorType::ConnectError) => {
                // It has sent (the start of) another request behind this one. That byte is gone, so the connection ends
                // with this answer; and nothing can be told about the client any more.
                session.as_downstream_mut().set_keepalive(None);
                return std::future::pending().await;
            }
            Err(_) => return,
        }
    }
}
