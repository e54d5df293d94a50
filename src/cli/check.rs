//! `picgate check`.

use std::path::Path;

use pingora_core::server::configuration::ServerConf;

use super::Failure;
use crate::config::{Config, Loaded};

pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let loaded = load(path)?;
    server_conf(path)?;
    println!(
        "{}: ok ({} upstreams, {} models, {} keys)",
        path.display(),
        loaded.config.upstreams.len(),
        loaded.config.models.len(),
        loaded.config.keys.len()
    );
    Ok(())
}

/// Reads our part of the file. Warnings go to stderr.
pub(super) fn load(path: &Path) -> Result<Loaded, Failure> {
    let loaded = Config::load(path).map_err(Failure::config)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(loaded)
}

/// Reads Pingora's part of the file.
pub(super) fn server_conf(path: &Path) -> Result<ServerConf, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
    ServerConf::from_yaml(&text).map_err(|error| {
        // Pingora's message holds the whole file, and with it secrets: only the cause is shown.
        let cause = error.cause.map_or_else(|| "they cannot be read".to_owned(), |cause| cause.to_string());
        Failure::config(format!("{}: in Pingora's own settings: {cause}", path.display()))
    })
}
