//! `picgate check`.

use std::path::Path;

use super::{Failure, own_files::OwnFiles};
use crate::{
    archive::Bucket,
    config::{Config, Loaded},
    fetch::Fetcher,
    gateway::{server::ServerSettings, tls},
};

pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let (config, _) = whole(path)?;
    let Config { upstreams, models, keys, .. } = &config;
    let (upstreams, models) = (upstreams.len(), models.len());
    let keys = match keys.len() {
        0 => "none here: those made at run time count, and the first start makes one".to_owned(),
        keys => keys.to_string(),
    };
    println!("{}: ok (upstreams: {upstreams}, models: {models}, keys: {keys})", path.display());
    Ok(())
}

/// Reads the whole file, and tries everything that a start needs and that can be tried beside a running gateway. Warnings go
/// to stderr.
pub(super) fn whole(path: &Path) -> Result<(Config, ServerSettings), Failure> {
    let config = load(path)?.config;
    let settings = server_settings(path, &config)?;
    let mut mistakes = settings.mistakes();
    mistakes.extend(OwnFiles::mistakes(&settings, &config.data_dir));
    mistakes.extend(pairs(&config));
    if let Some(Err(error)) = config.archive.as_ref().map(Bucket::new) {
        mistakes.push(format!("picgate.archive: {error}"));
    }
    if let Err(error) = Fetcher::new(&config.fetch) {
        mistakes.push(format!("picgate.fetch: {error}"));
    }
    if mistakes.is_empty() {
        return Ok((config, settings));
    }
    let lines: Vec<String> = mistakes.iter().map(|mistake| format!("{}: {mistake}", path.display())).collect();
    Err(Failure::config(lines.join("\n")))
}

/// Mistakes in the certificates and keys of the listeners.
pub(super) fn pairs(config: &Config) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (number, listen) in config.listen.iter().enumerate() {
        if let Some(Err(wrong)) = listen.tls.as_ref().map(tls::load) {
            mistakes.extend(wrong.iter().map(|why| format!("picgate.listen[{number}].tls.{why}")));
        }
    }
    mistakes
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
fn server_settings(path: &Path, config: &Config) -> Result<ServerSettings, Failure> {
    let wrong = |why: String| Failure::config(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    ServerSettings::read(&text, &config.data_dir).map_err(|why| wrong(format!("in Pingora's own settings: {why}")))
}
