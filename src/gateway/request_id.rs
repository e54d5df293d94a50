//! Names of requests.

/// `req_` and 24 hex digits: 96 random bits. Every answer carries one in `x-request-id`, and so do logs and records.
pub(super) fn new() -> String {
    let mut random = [0u8; 12];
    if getrandom::fill(&mut random).is_err() {
        log::warn!("the system gives no random numbers; request ids are not unique");
    }
    random.iter().fold(String::from("req_"), |mut id, byte| {
        id.push_str(&format!("{byte:02x}"));
        id
    })
}
