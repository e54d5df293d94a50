//! Metrics, and the log.
//!
//! Every counter is registered in a registry that is handed in, so that an embedder's own `/metrics` shows them too.
//! Labels are routes, statuses and names from the configuration: never a prompt, a query or a client's model name.

mod keeping;
pub mod logging;
mod metrics;

pub use keeping::Keeping;
pub use metrics::Metrics;
