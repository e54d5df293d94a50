//! `${VARIABLE}` inside a value.

/// Puts variables in their places: `${NAME}`, `${NAME:-default}` (also when it is empty); `$${` stands for `${`.
///
/// # Errors
///
/// One sentence for each reference that cannot be followed. It names the variable, never a value.
pub(super) fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<String>> {
    let mut out = String::with_capacity(text.len());
    let mut wrong = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(kept) = before.strip_suffix('$') {
            out.push_str(kept);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((reference, after)) = after.split_once('}') else {
            wrong.push("has a `${` without its `}` (write `$${` for the two characters themselves)".to_owned());
            rest = "";
            break;
        };
        match follow(reference, env) {
            Ok(value) => out.push_str(&value),
            Err(sentence) => wrong.push(sentence),
        }
        rest = after;
    }
    out.push_str(rest);
    if wrong.is_empty() { Ok(out) } else { Err(wrong) }
}

/// Whether [`expand`] would look anything up.
pub(super) fn mentions_a_variable(text: &str) -> bool {
    text.replace("$${", "").contains("${")
}

fn follow(reference: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if !is_name(name) {
        return Err("has a `${…}` that names no variable: write ${NAME} or ${NAME:-default}".to_owned());
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("the environment variable {name} is not set")),
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_env(text: &str) -> Result<String, Vec<String>> {
        expand(text, &|name| match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn puts_values_in_their_places() {
        for (text, value) in [
            ("plain", "plain"),
            ("${A}", "one"),
            ("x-${A}-${A}-y", "x-one-one-y"),
            ("${NONE:-two}", "two"),
            ("${EMPTY:-two}", "two"),
            ("${EMPTY}", ""),
            ("${A:-two}", "one"),
            ("${NONE:-}", ""),
            ("$${A}", "${A}"),
            ("$A $$ $", "$A $$ $"),
        ] {
            assert_eq!(with_env(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn names_what_is_missing() {
        for (text, sentences) in [
            ("${B}${A}${C}", vec!["variable B is not set", "variable C is not set"]),
            ("${A", vec!["without its `}`"]),
            ("${}", vec!["names no variable"]),
            ("${1A}", vec!["names no variable"]),
            ("${A-B}", vec!["names no variable"]),
        ] {
            let wrong = with_env(text).unwrap_err();
            assert_eq!(wrong.len(), sentences.len(), "{text}: {wrong:?}");
            for (wrong, sentence) in wrong.iter().zip(sentences) {
                assert!(wrong.contains(sentence), "{text}: {wrong}");
            }
        }
    }
}
