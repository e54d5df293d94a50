//! `docs/configuration.md` and `conf/picgate.yaml` say what is true.

use super::{super::not_acting::NOT_ACTING, config, env, folder, parse, warnings, with};
use crate::config::{Config, Loaded};

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The fenced YAML blocks of the page.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The rows of the page's tables that describe a setting: its path and the other cells.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let ours = page.split("## Pingora's keys").next().unwrap();
    let tables = ours.lines().filter(|line| line.starts_with("| `")).map(cells);
    tables.map(|cells| (cells[0].trim_matches('`').to_owned(), cells[1..].to_vec())).collect()
}

/// A file in which the setting at `path` (`images.history.bytes`) has this value.
fn setting(path: &str, value: &str) -> String {
    let mut yaml = value.to_owned();
    for key in path.rsplit('.') {
        yaml = format!("{{ {key}: {yaml} }}");
    }
    with(yaml.strip_prefix("{ ").and_then(|yaml| yaml.strip_suffix(" }")).unwrap())
}

/// A whole file out of an example: what it lacks to be one is added.
fn completed(example: &str) -> String {
    if example.contains("picgate:\n") {
        return example.to_owned();
    }
    let mut text = String::from("picgate:\n");
    if !example.contains("public_base_url:") {
        text.push_str("  public_base_url: http://localhost:5643\n");
    }
    if !example.contains("upstreams:") {
        text.push_str("  upstreams: [ { name: openai, base_url: \"https://api.openai.com/v1\" } ]\n");
    }
    text + &example.lines().map(|line| format!("  {line}\n")).collect::<String>()
}

#[test]
fn the_shipped_file_has_no_mistake_and_no_warning() {
    let loaded = parse(&read("conf/picgate.yaml")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.keys[0].key.expose(), "client-key-0123456789");
    let plain = config(&with(""));
    let Config { images, serving, fetch, store, limits, listen, metrics, data_dir, .. } = loaded.config;
    assert_eq!((images, serving), (plain.images, plain.serving));
    assert_eq!((fetch, store, limits), (plain.fetch, plain.store, plain.limits));
    assert_eq!((listen, metrics, data_dir), (plain.listen, plain.metrics, plain.data_dir));
}

#[test]
fn what_is_commented_out_in_the_shipped_file_works_too() {
    let mut text = String::new();
    for line in read("conf/picgate.yaml").lines() {
        let setting = line.strip_prefix("  ").map(str::trim_start).and_then(|line| line.strip_prefix("# "));
        // Prose begins with a capital letter.
        match setting.filter(|setting| !setting.starts_with(char::is_uppercase)) {
            Some(_) => text.push_str(&line.replacen("# ", "", 1)),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    let config = config(&text);
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.archive.unwrap().prefix, "openwebui/");
}

#[test]
fn every_example_in_the_documentation_is_right() {
    let examples = examples(&read("docs/configuration.md"));
    assert!(examples.len() > 12, "{}", examples.len());
    let folder = folder();
    for secret in ["batch", "sdk"] {
        std::fs::write(folder.path().join("secrets").join(secret), format!("{secret}-0123456789abcdef\n")).unwrap();
    }
    for example in examples {
        let text = completed(&example);
        match Config::parse(&text, folder.path(), &env) {
            Ok(Loaded { warnings, .. }) => {
                let unexpected: Vec<_> = warnings.iter().filter(|w| !w.message.contains("does not act yet")).collect();
                assert!(unexpected.is_empty(), "{unexpected:?}\n{text}");
            }
            Err(problems) => panic!("{problems}\n---\n{text}"),
        }
    }
}

#[test]
fn every_default_in_the_documentation_is_right() {
    let plain = config(&with(""));
    let mut tried = 0;
    for (path, cells) in rows(&read("docs/configuration.md")) {
        let Some(default) = cells[1].strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) else { continue };
        if path.contains("[]") || path.starts_with("archive.") || path == "public_base_url" {
            continue;
        }
        assert_eq!(config(&setting(&path, default)), plain, "{path}: {default}");
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn settings_that_do_not_act_yet_are_marked_and_all_others_not() {
    let rows = rows(&read("docs/configuration.md"));
    for (path, cells) in &rows {
        let marked = cells.iter().any(|cell| cell == "⏳");
        let listed = NOT_ACTING.iter().any(|listed| path == listed || path.starts_with(&format!("{listed}.")));
        assert_eq!(marked, listed, "{path}");
    }
    for listed in NOT_ACTING {
        assert!(rows.iter().any(|(path, _)| path.starts_with(listed)), "{listed}");
    }
}

#[test]
fn every_setting_is_documented() {
    let page = read("docs/configuration.md");
    let rows = rows(&page);
    let known_in = |path: &str| {
        let problems = parse(&setting(&format!("{path}.qqqqqqqq").replace("[]", ""), "1")).unwrap_err();
        let hint = problems
            .problems
            .iter()
            .find_map(|p| p.message.split_once("known here: ").map(|(_, keys)| keys.to_owned()));
        hint.unwrap_or_else(|| panic!("{path}: {problems}"))
    };
    for map in [
        "metrics",
        "admin",
        "images",
        "images.heartbeat",
        "images.history",
        "chat",
        "images.variants",
        "fetch",
        "store",
        "archive",
        "limits",
    ] {
        for key in known_in(map).split(", ") {
            let path = format!("{map}.{key}");
            let found = rows.iter().any(|(row, _)| *row == path || row.starts_with(&format!("{path}.")));
            assert!(found, "{path} is not in docs/configuration.md");
        }
    }
    let problems = parse(&with("qqqqqqqq: 1")).unwrap_err().to_string();
    for key in problems.split_once("known here: ").unwrap().1.split(", ") {
        let found = rows.iter().any(|(row, _)| row.split(['.', '[']).next() == Some(key));
        assert!(found, "{key} is not in docs/configuration.md");
    }
    for (list, keys) in [
        ("keys", "name key images images_force may_delete"),
        ("upstreams", "name kind base_url api_key headers pass_headers"),
        ("models", "name targets images chat accepts_response_format"),
        ("listen", "addr tls"),
    ] {
        let problems = parse(&completed(&format!("{list}: [ {{ qqqqqqqq: 1 }} ]"))).unwrap_err().to_string();
        assert!(problems.contains(&format!("known here: {}", keys.replace(' ', ", "))), "{problems}");
        for key in keys.split(' ') {
            assert!(rows.iter().any(|(row, _)| *row == format!("{list}[].{key}")), "{list}[].{key}");
        }
    }
}

#[test]
fn the_marks_agree_with_the_warnings() {
    let (path, value) = ("limits.header_timeout", "1s");
    assert!(NOT_ACTING.contains(&path));
    assert_eq!(warnings(&setting(path, value)).len(), 1, "{path}");
}
