//! `picgate check`.

use std::path::Path;

use super::Failure;
use crate::{
    config::{Config, Loaded},
    gateway::server::ServerSettings,
};

pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let loaded = load(path)?;
    server_settings(path)?;
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
pub(super) fn server_settings(path: &Path) -> Result<ServerSettings, Failure> {
    let wrong = |why: String| Failure::config(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    ServerSettings::read(&text).map_err(|why| wrong(format!("in Pingora's own settings: {why}")))
}
