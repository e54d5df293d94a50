//! The one guarded way to an address a stranger chose: an image URL in a request, or in an upstream's answer.
//!
//! Only this module opens connections to such addresses. Everyone who names one gets the same rules:
//!
//! * `http` and `https` only, parsed once (WHATWG rules: `0x7f.1` and `2130706433` *are* 127.0.0.1), no user info.
//! * A name is looked up once. Every address found is checked after unwrapping (IPv4-mapped, NAT64, 6to4 …), and the
//!   connection goes to exactly the checked ones: the check sits inside the client's resolver, so there is no second
//!   lookup to answer differently. Addresses written as such are checked before the client sees them.
//! * Public addresses may be reached on `fetch.ports`; those in `fetch.allow` on any port; no others at all.
//! * At most three redirects, each under the same rules. From `https` to `http` is one like any other: what is fetched
//!   is a picture for a model to see, nothing of ours travels along.
//! * One deadline for everything from the lookup to the last byte, one limit for the bytes.
//! * No proxy from the environment, no cookies, no referrer, no credentials, no reuse of connections.
//! * What comes is a picture by its bytes, whatever its `Content-Type` says, or it is refused.
//!
//! What fails looks the same to the sender whether a port is closed, a name unknown or an answer nonsense
//! ([`FetchError::Failed`]), so the gateway is no port scanner. Only "may not be reached" differs, and that is told by
//! the address alone, before any connection.
//!
//! ```no_run
//! # async fn example(config: &picgate::config::Fetch) -> Result<(), Box<dyn std::error::Error>> {
//! let fetcher = picgate::fetch::Fetcher::new(config)?;
//! let mut picture = fetcher.open("https://example.com/cat.png").await?;
//! println!("{}", picture.format().media_type());
//! while let Some(bytes) = picture.chunk().await? {
//!     println!("{} bytes", bytes.len());
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod fetched;
mod fetcher;
mod guard;
#[cfg(test)]
mod tests;

pub use client::SetupError;
pub use error::FetchError;
pub use fetched::Fetched;
pub use fetcher::Fetcher;
