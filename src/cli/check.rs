//! `picgate check`.

use std::path::Path;

use pingora_core::server::configuration::ServerConf;

use super::Failure;
use crate::config::{Config, Loaded};

pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let loaded = load(path)?;
    server_conf(path)?;
    let Config { upstreams, models, keys, .. } = &loaded.config;
    let (upstreams, models) = (upstreams.len(), models.len());
    let keys = match keys.len() {
        0 => "none here: those made at run time count, and the first start makes one".to_owned(),
        keys => keys.to_string(),
    };
    println!("{}: ok (upstreams: {upstreams}, models: {models}, keys: {keys})", path.display());
    Ok(())
}

/// Reads our part of the file. Warnings go to stderr.
pub(super) fn load(path: &Path) -> Result<Loaded, Failure> {
    let loaded = Config::load(path);
    let warnings = match &loaded {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => &problems.warnings,
    };
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    loaded.map_err(Failure::config)
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
