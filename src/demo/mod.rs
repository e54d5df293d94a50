//! The demo upstream.
