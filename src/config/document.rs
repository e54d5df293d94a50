//! YAML text → a tree whose nodes know their line and column.
//!
//! The loader gives up at the first key that is written twice. So that every such key is reported, together with all
//! other mistakes, the second one is set apart (its first character becomes one that no key starts with) and the text
//! is loaded again.

use std::ops::RangeInclusive;

use saphyr::{LoadableYamlNode, MarkedYaml, ScanError};

use super::problem::Problem;

/// A character for each key set apart, from Unicode's private use area. They take one column, as what they replace.
const APART: RangeInclusive<char> = '\u{e000}'..='\u{e0ff}';

/// A loaded file.
pub(super) struct Document {
    pub(super) root: MarkedYaml<'static>,
    /// The first characters of the keys that were set apart, in the order of [`APART`].
    apart: Vec<char>,
}

impl Document {
    /// Loads the one YAML document in `text`.
    ///
    /// # Errors
    ///
    /// The one place where it stops being YAML.
    pub(super) fn load(text: &str) -> Result<Self, Problem> {
        let mut apart = Vec::new();
        let mut chars: Vec<char> = text.strip_prefix('\u{feff}').unwrap_or(text).chars().collect();
        loop {
            let now: String = chars.iter().collect();
            match MarkedYaml::load_from_str(&now) {
                Ok(documents) => return Self::only(documents, apart),
                Err(error) => {
                    let mark = APART.clone().nth(apart.len());
                    match (repeated_key(&mut chars, &error), mark) {
                        (Some(first), Some(mark)) => {
                            apart.push(*first);
                            *first = mark;
                        }
                        _ => return Err(broken(text, &error)),
                    }
                }
            }
        }
    }

    /// The key that this one repeats, if it was set apart.
    pub(super) fn repeated(&self, key: &str) -> Option<String> {
        let mut rest = key.chars();
        let mark = rest.next()?;
        let index = APART.clone().position(|c| c == mark)?;
        let first = self.apart.get(index)?;
        Some(std::iter::once(*first).chain(rest).filter(|c| !matches!(c, '"' | '\'')).collect())
    }

    fn only(mut documents: Vec<MarkedYaml<'static>>, apart: Vec<char>) -> Result<Self, Problem> {
        let second = documents.get(1).map(|second| second.span.start);
        match (documents.pop(), second) {
            (Some(root), None) => Ok(Self { root, apart }),
            (None, _) => Err(problem(0, 0, "is empty: at least the map `picgate:` is needed".into())),
            (_, Some(at)) => Err(problem(at.line(), at.col() + 1, "a second YAML document begins here".into())),
        }
    }
}

/// The first character of the repeated key that the loader stumbled over.
fn repeated_key<'c>(chars: &'c mut [char], error: &ScanError) -> Option<&'c mut char> {
    if !error.info().contains("duplicated key") {
        return None;
    }
    let mut at = error.marker().index();
    if matches!(chars.get(at), Some('"' | '\'')) {
        at += 1;
    }
    chars.get_mut(at).filter(|c| c.is_alphanumeric() || **c == '_')
}

fn broken(text: &str, error: &ScanError) -> Problem {
    let mark = error.marker();
    let line = text.lines().nth(mark.line().saturating_sub(1)).unwrap_or_default();
    let hint = if line.contains("${") && line.contains('{') {
        " (inside { } and [ ] a value with ${…} needs quotes)"
    } else if line.contains(": *") {
        " (a * needs quotes)"
    } else if line.contains('\t') {
        " (YAML is indented with spaces, never with tabs)"
    } else {
        ""
    };
    problem(mark.line(), mark.col() + 1, format!("is not valid YAML: {}{hint}", error.info()))
}

fn problem(line: usize, column: usize, message: String) -> Problem {
    Problem { file: Default::default(), path: String::new(), line, column, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> String {
        Document::load(text).err().unwrap().to_string()
    }

    #[test]
    fn broken_yaml_is_one_problem_with_its_place() {
        for (text, line) in [
            ("", "is empty: at least the map `picgate:` is needed"),
            ("# nothing\n", "is empty: at least the map `picgate:` is needed"),
            ("a: 1\n---\nb: 2\n", "3:1: a second YAML document begins here"),
        ] {
            assert_eq!(mistake(text), line, "{text}");
        }
        for (text, place, word) in [
            ("a: [1, 2\nb: 3\n", "2:", "is not valid YAML"),
            ("a: \"open\n", "", "is not valid YAML"),
            ("a: 1\n b: 2\n", "2:", "is not valid YAML"),
            ("a: { key: ${X} }\n", "1:", "needs quotes"),
            ("a: { name: *, b: 1 }\n", "1:", "a * needs quotes"),
            ("a:\n\tb: 1\n", "2:", "never with tabs"),
        ] {
            let mistake = mistake(text);
            assert!(mistake.starts_with(place) && mistake.contains(word), "{text}: {mistake}");
        }
    }

    #[test]
    fn keys_written_twice_are_set_apart() {
        let document = Document::load("a: 1\nb: { c: 1, c: 2 }\na: 2\n\"a\": 3\nb: 3\n").unwrap();
        let mut repeated = Vec::new();
        for (key, value) in document.root.data.as_mapping().unwrap() {
            repeated.extend(document.repeated(key.data.as_str().unwrap()));
            for (key, _) in value.data.as_mapping().into_iter().flatten() {
                repeated.extend(document.repeated(key.data.as_str().unwrap()));
            }
        }
        assert_eq!(repeated, ["c", "a", "a", "b"]);
    }
}
