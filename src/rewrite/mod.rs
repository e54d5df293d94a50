//! Pure bytes → events.
