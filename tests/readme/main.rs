//! What the README and the pages under `docs/` say, as far as a machine can tell.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is the failure")]

use std::{fs, path::Path};

use picgate::config::Config;

const PAGES: [&str; 6] = [
    "README.md",
    "README.zh-CN.md",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docs/configuration.md",
    "docs/operations.md",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split_once("\n```").unwrap().0).collect()
}

#[test]
fn the_program_in_the_readme_is_the_one_that_can_be_run() {
    let program = read("tests/readme/quickstart.py");
    for page in ["README.md", "README.zh-CN.md"] {
        assert_eq!(blocks(&read(page), "python"), [program.trim_end()], "{page}");
    }
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    for page in ["README.md", "README.zh-CN.md"] {
        let page_text = read(page);
        for text in blocks(&page_text, "yaml") {
            let loaded = Config::parse(text, Path::new("."), &|name| Some(format!("secret-of-{name}")));
            let loaded = loaded.unwrap_or_else(|problems| panic!("{page}: {problems}"));
            assert!(loaded.warnings.is_empty(), "{page}: {:?}", loaded.warnings);
        }
    }
}

#[test]
fn both_readmes_have_the_same_blocks() {
    let (english, chinese) = (read("README.md"), read("README.zh-CN.md"));
    for language in ["sh", "json", "python", "yaml", "rust"] {
        assert_eq!(blocks(&english, language), blocks(&chinese, language), "{language}");
    }
}

#[test]
fn links_lead_somewhere() {
    for page in PAGES {
        let text = read(page);
        let folder = Path::new(page).parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '\n']).next()) {
            // Examples are checked by being compiled; what has an ellipsis shows a form.
            if link.contains("://") || link.contains('…') || link.starts_with("examples/") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.into() } else { folder.join(file) };
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&target);
            assert!(path.exists(), "{page}: {link} leads nowhere");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&path).unwrap();
                let found = text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor);
                assert!(found, "{page}: {link} names no heading");
            }
        }
    }
}

/// The anchor of a heading, as code hosts make it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
