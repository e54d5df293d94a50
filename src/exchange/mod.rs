//! One paid request, from its body to its answer.
//!
//! ```text
//! Intake      the body goes to a spool while it is scanned: what stands where
//! plan        model → targets; in which form pictures come back
//! inline      pictures → bytes, from the store or by a guarded fetch; what goes where
//! shown       pictures of ours that text shows
//! history     which of a conversation's pictures are sent
//! scale       pictures that are too large → smaller ones
//! compose     slices of the client's bytes with other bytes between them
//! run         send it to the first target, else the next (before the first byte only)
//! Keeper      pictures out of the answer → store; their URLs into the answer
//! Answer      what the gateway sends on, piece by piece
//! ```
//!
//! Nothing here knows Pingora or the client's connection: the gateway reads a body into an [`Intake`], runs an
//! [`Exchange`], and pulls pieces out of the [`Answer`] until it ends. When the client hangs up it may go on pulling, and the pictures are
//! kept all the same.

mod answer;
mod compose;
mod history;
mod inline;
mod intake;
mod keeper;
mod kind;
mod picture;
mod plan;
mod rewriter;
mod route;
mod run;
mod scale;
mod shown;

pub use answer::Answer;
pub(crate) use intake::too_large;
pub use intake::{Intake, Received};
pub use route::ApiRoute;
pub(crate) use run::target_url;
pub use run::{Exchange, Request, Sent};
