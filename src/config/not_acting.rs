//! Settings that are accepted but whose feature is not there yet.

/// Their paths below `picgate`. A feature that arrives deletes its lines, here and in `docs/configuration.md`.
pub(super) const NOT_ACTING: &[&str] =
    &["images.history.bytes", "images.history.images", "images.max_input_pixels", "limits.header_timeout"];

/// Whether the setting at this path does nothing yet. What stands under a model counts like what stands in its place
/// for all.
pub(super) fn is_not_acting(path: &str) -> bool {
    let Some(mut path) = path.strip_prefix("picgate.") else { return false };
    if let Some((_, below)) = path.strip_prefix("models[").and_then(|rest| rest.split_once("].")) {
        path = below;
    }
    NOT_ACTING.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_settings_by_their_path() {
        assert!(is_not_acting("picgate.limits.header_timeout"));
        assert!(is_not_acting("picgate.models[3].images.history.bytes"));
        assert!(!is_not_acting("picgate.archive"));
        assert!(!is_not_acting("limits.header_timeout"));
        assert!(!is_not_acting("picgate.images.chat"));
    }
}
