//! `picgate archive`.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Failure, check};
use crate::{archive::Bucket, telemetry::logging};

#[derive(Debug, Subcommand)]
pub(super) enum Archive {
    /// Try the archive's bucket out: list it, put, get and delete a small object. Exit code 1 if one of these fails.
    Test {
        /// The configuration file (YAML).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
}

impl Archive {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self {
            Archive::Test { config } => test(config),
        }
    }
}

fn test(path: &Path) -> Result<(), Failure> {
    logging::start("warn");
    let config = check::load(path)?.config;
    let archive =
        config.archive.ok_or_else(|| Failure::broken(format!("{}: there is no archive in it", path.display())))?;
    println!("bucket {} at {}, prefix {:?}", archive.bucket, archive.endpoint, archive.prefix);
    let bucket = Bucket::new(&archive).map_err(Failure::broken)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::broken)?;
    let steps = runtime.block_on(bucket.probe());
    for step in &steps {
        println!("{step}");
    }
    match steps.iter().filter(|step| !step.is_done()).count() {
        0 => Ok(()),
        _ => Err(Failure::broken("the archive does not work as it is")),
    }
}
