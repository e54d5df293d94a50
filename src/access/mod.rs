//! Who may come in, and as whom: client keys.
