//! A gateway and a demo upstream in this process, each on a free port of 127.0.0.1.
//!
//! ```ignore
//! let house = House::new().await;
//! let answer = house.generate(json!({ "prompt": "a cat" })).await.ok();
//! assert!(answer["data"][0]["url"].as_str().unwrap().starts_with(house.origin()));
//! assert_eq!(house.demo.received().len(), 1);
//! ```

mod answer;
mod canned;
mod direct;
pub mod faults;
pub mod frames;
mod h2;
mod halting;
mod held;
mod house;
mod paced;
pub mod raw;
pub mod seaweed;
mod server;
mod silent;
pub mod wire;

pub use answer::{Answer, IntoBody};
pub use canned::Canned;
pub use direct::{data_uri, decoded, encoded};
pub use h2::H2;
pub use halting::Halting;
pub use held::Held;
pub use house::{Builder, House, KEY};
pub use paced::Paced;
pub use silent::Silent;

/// Longest time a test waits for something to happen. It ends what would wait for ever, and proves nothing: a machine that is
/// busy with other work takes many times as long as an idle one.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// The bytes of a fixture under `tests/fixtures/wire/`.
#[track_caller]
pub fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/wire/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// SHA-256 in hex, as the demo upstream reports it.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until `condition` holds: for what tells of itself by a number only.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}
