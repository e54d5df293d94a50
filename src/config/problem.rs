//! What is wrong with a configuration file, and where.

use std::{fmt, path::PathBuf};

/// One mistake, or one thing worth a warning.
///
/// The message quotes what stands at this place in the file, never what a variable put there, and nothing of a secret.
/// Other entries it refers to are called by their resolved names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file; empty when the text did not come from one.
    pub file: PathBuf,
    /// The setting (`picgate.store.ttl`, `picgate.keys[1].name`); empty for the file as a whole.
    pub path: String,
    /// Counted from 1; 0 when there is no place to point to.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match (self.file.as_os_str().is_empty(), self.line) {
            (true, 0) => {}
            (true, line) => write!(f, "{line}:{}: ", self.column)?,
            (false, 0) => write!(f, "{file}: ")?,
            (false, line) => write!(f, "{file}:{line}:{}: ", self.column)?,
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a file is no configuration: every mistake in it, in the order of its lines. `Display` writes one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(.problems))]
pub struct Problems {
    /// Never empty.
    pub problems: Vec<Problem>,
    /// What would have been warned about.
    pub warnings: Vec<Problem>,
}

impl Problems {
    /// The same, said of this file.
    #[must_use]
    pub(super) fn in_file(mut self, file: &std::path::Path) -> Self {
        name_file(&mut self.problems, file);
        name_file(&mut self.warnings, file);
        self
    }
}

/// Says of every problem which file it is in.
pub(super) fn name_file(problems: &mut [Problem], file: &std::path::Path) {
    for problem in problems {
        problem.file = file.to_owned();
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
