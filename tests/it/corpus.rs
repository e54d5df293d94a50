//! Replays the seeds of the fuzz targets through what those assert.

use picgate::{picture, rewrite, work};

#[path = "../../fuzz/src/invariants.rs"]
pub mod invariants;
#[path = "../../fuzz/src/linear.rs"]
pub mod linear;

type Holds = fn(&[u8]);

/// One folder of `fuzz/corpus` each.
const TARGETS: [(&str, Holds); 8] = [
    ("answer", invariants::answer),
    ("base64", invariants::base64),
    ("linear", |input| {
        linear::linear(input);
    }),
    ("multipart", invariants::multipart),
    ("request", invariants::request),
    ("sniff", invariants::sniff),
    ("sse", invariants::sse),
    ("stream", invariants::stream),
];

#[test]
fn every_seed_of_the_fuzz_targets_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
    let names = |folder: &str| {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(corpus), TARGETS.map(|(name, _)| name), "a folder for each target");
    let mut bytes = 0;
    for (target, holds) in TARGETS {
        let folder = format!("{corpus}/{target}");
        let names = names(&folder);
        assert!(!names.is_empty(), "{target}");
        for name in names {
            let input = std::fs::read(format!("{folder}/{name}")).unwrap();
            bytes += input.len();
            let held = std::panic::catch_unwind(|| holds(&input));
            assert!(held.is_ok(), "fuzz/corpus/{target}/{name}");
        }
    }
    assert!(bytes < 200_000, "seeds are to be few and small");
}
