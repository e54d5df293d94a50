//! The one guarded way to an address a stranger chose.
