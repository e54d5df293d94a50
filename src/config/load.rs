//! A file → a configuration, or everything that is wrong with it.

use std::path::Path;

use super::{
    Config,
    document::Document,
    problem::{Problem, Problems, name_file},
    reader::Reading,
    resolve, top_level,
};

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// What is allowed but probably not meant, in the order of the file's lines.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads the file at `path`, with the variables of this process.
    ///
    /// # Errors
    ///
    /// Every mistake in the file, or that it cannot be read.
    pub fn load(path: &Path) -> Result<Loaded, Problems> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot be read: {error}");
            let problem = Problem { file: path.to_owned(), path: String::new(), line: 0, column: 0, message };
            Problems { problems: vec![problem], warnings: Vec::new() }
        })?;
        let base_dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        match Self::parse(&text, base_dir, &|name| std::env::var(name).ok()) {
            Ok(mut loaded) => {
                name_file(&mut loaded.warnings, path);
                Ok(loaded)
            }
            Err(problems) => Err(problems.in_file(path)),
        }
    }

    /// Reads `text`. `base_dir` is where relative `file:` secrets and TLS files are looked for; no other file is
    /// touched. `env` knows the variables.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use picgate::config::Config;
    ///
    /// let text = r#"
    /// picgate:
    ///   public_base_url: https://pictures.example.org
    ///   upstreams:
    ///     - { name: openai, base_url: "https://api.openai.com/v1", api_key: "${OPENAI_API_KEY}" }
    /// "#;
    /// let env = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk-1234".to_owned());
    /// let config = Config::parse(text, Path::new("."), &env)?.config;
    /// assert_eq!(config.upstreams[0].name, "openai");
    /// assert_eq!(config.models[0].name, "*");
    /// # Ok::<(), picgate::config::Problems>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Every mistake in the text, in the order of its lines.
    pub fn parse(text: &str, base_dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
        let document =
            Document::load(text).map_err(|problem| Problems { problems: vec![problem], warnings: Vec::new() })?;
        let reading = Reading::new(&document, env, base_dir);
        let config = whole_file(&reading);
        let mut problems = reading.problems.into_inner();
        let mut warnings = reading.warnings.into_inner();
        for list in [&mut problems, &mut warnings] {
            list.sort_by_key(|problem| (problem.line, problem.column));
        }
        match config {
            Some(config) if problems.is_empty() => Ok(Loaded { config, warnings }),
            _ => Err(Problems { problems, warnings }),
        }
    }
}

fn whole_file<'a>(reading: &'a Reading<'a>) -> Option<Config> {
    let mut map = reading.root().shared_map()?;
    let picgate = map.need("picgate", |node| Some(node.clone()));
    top_level::check(&mut map);
    resolve::picgate(&picgate?)
}
