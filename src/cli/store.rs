//! `picgate store`.

use std::{path::PathBuf, time::Instant};

use clap::Subcommand;

use super::{Failure, check, progress};
use crate::{
    archive::Bucket,
    config::{self, Config},
    store::{Checked, Fault, Finding, Mended, Progress, Rebuild, StoreError, Verify},
    telemetry::logging,
    tier::roster,
};

#[derive(Debug, Subcommand)]
pub(super) enum Store {
    /// Read every picture and see whether it is what its name says, and whether its record fits.
    ///
    /// Reads all of images/, on up to four threads, without changing access times; a gateway may be running. What it finds
    /// goes to stdout, a line each, how far it is to stderr. It finds damaged and unreadable pictures, pictures without a
    /// record, records that cannot be understood or do not fit, records whose picture is neither here nor in the archive
    /// (lost), and files that do not belong there.
    ///
    /// Exit code: 0 everything is well, 1 something was found (also if it was mended), 2 it could not be run.
    Verify {
        /// The configuration file (YAML).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Mend what can be mended. Nothing is deleted.
        ///
        /// Damaged pictures and records go to damaged/ under data_dir; a picture that the archive has is then fetched from
        /// there when someone asks for it. Missing records are written. A gateway may be running: restart it if a damaged
        /// picture was found, since it may have it in memory.
        #[arg(long)]
        repair: bool,
    },
    /// Throw the index away and build it anew from images/. Stop the gateway first.
    ///
    /// Rarely needed: a gateway mends its index at every start, and builds it anew when it is damaged. The times of last
    /// looks are lost; the file system's access times take their place.
    ///
    /// Exit code: 0 done, 2 it could not be done.
    Rebuild {
        /// The configuration file (YAML).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// First take in the records of all pictures in the archive that are not known here: for a new machine.
        ///
        /// Only records are fetched, a small file each; a picture comes when it is first asked for. Without this a new
        /// machine serves the archive's pictures, too, but does not list them before they are asked for.
        #[arg(long)]
        from_archive: bool,
    },
}

impl Store {
    pub(super) fn run(&self) -> Result<(), Failure> {
        logging::start("warn");
        match self {
            Store::Verify { config, repair } => verify(&check::load(config)?.config, *repair),
            Store::Rebuild { config, from_archive: false } => rebuild(&check::load(config)?.config),
            Store::Rebuild { config, from_archive: true } => {
                let config = check::load(config)?.config;
                take_in(&config)?;
                rebuild(&config)
            }
        }
    }
}

fn verify(config: &Config, repair: bool) -> Result<(), Failure> {
    let start = Instant::now();
    let verify = Verify::new(&config.data_dir, place(config), repair).map_err(|error| not_run(config, &error))?;
    let checked = progress::shown(verify.progress(), || verify.run(|finding| println!("{}", line(finding, repair))));
    let Checked { pictures, bytes, archived, deletions, findings, mended } = checked;
    let (size, took) = (progress::size(bytes), start.elapsed().as_secs_f64());
    println!("{pictures} pictures ({size}) are what their names say, {archived} more are in the archive; {took:.1} s");
    if deletions > 0 {
        println!("{deletions} deletions are not done yet; the gateway carries them through");
    }
    match findings {
        0 => Ok(()),
        _ if mended > 0 => Err(Failure::broken(format!("{findings} findings, {mended} of them mended"))),
        _ if repair => Err(Failure::broken(format!("{findings} findings, none of which can be mended"))),
        _ => Err(Failure::broken(format!("{findings} findings; --repair mends what can be mended"))),
    }
}

fn rebuild(config: &Config) -> Result<(), Failure> {
    let start = Instant::now();
    let rebuild = Rebuild::new(&config.data_dir, place(config)).map_err(|error| not_run(config, &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::not_run)?;
    let rebuilt = progress::shown(rebuild.progress(), || runtime.block_on(rebuild.run()));
    let rebuilt = rebuilt.map_err(|error| match error {
        StoreError::IndexClosed => Failure::not_run("a running gateway has the index: stop it first"),
        error => not_run(config, &error),
    })?;
    let (counts, findings) = (rebuilt.counts, rebuilt.findings);
    let took = start.elapsed().as_secs_f64();
    println!("the index was built anew in {took:.1} s: {} pictures, {} of them here", counts.pictures, counts.local);
    if findings.damaged > 0 {
        println!("{} files are damaged: see `picgate store verify`", findings.damaged);
    }
    Ok(())
}

fn take_in(config: &Config) -> Result<(), Failure> {
    let Some(archive) = &config.archive else {
        return Err(Failure::not_run("there is no archive in the configuration"));
    };
    let bucket = Bucket::new(archive).map_err(Failure::not_run)?;
    let rebuild = Rebuild::create(&config.data_dir, archive.place()).map_err(|error| not_run(config, &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::not_run)?;
    let progress = Progress::default();
    let taken = progress::shown(&progress, || runtime.block_on(roster::take_in(&bucket, &rebuild, &progress)));
    let taken = taken.map_err(Failure::not_run)?;
    println!("the archive has {} pictures, {} of which were not known here", taken.pictures, taken.taken);
    if taken.failed > 0 {
        println!("{} could not be taken in; they are served all the same", taken.failed);
    }
    Ok(())
}

fn place(config: &Config) -> Option<String> {
    config.archive.as_ref().map(config::Archive::place)
}

fn not_run(config: &Config, error: &StoreError) -> Failure {
    Failure::not_run(format!("data_dir {}: {error}", config.data_dir.display()))
}

fn line(finding: &Finding, repair: bool) -> String {
    let (word, what) = match finding.fault {
        Fault::Damaged => ("damaged", "its bytes are not those of its name"),
        Fault::Unreadable => ("unreadable", "the file system does not give it out"),
        Fault::NoRecord => ("no record", "its picture is here, but nothing says where it came from"),
        Fault::BadRecord => ("bad record", "it cannot be understood or does not fit its picture"),
        Fault::Lost => ("lost", "its picture is neither here nor known to be in the archive"),
        Fault::Stray => ("stray", "not a file of ours"),
    };
    let done = match finding.mended {
        Some(Mended::SetAside) => "; now in damaged/",
        Some(Mended::FetchedAgain) => "; now in damaged/, and the archive has the picture",
        Some(Mended::RecordWritten) => "; a record was written",
        None if repair => "; left as it is",
        None => "",
    };
    format!("{word}: {}: {what}{done}", finding.path.display())
}
