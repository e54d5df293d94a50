//! "Did you mean": the known word nearest to an unknown one.

/// The known word that `word` was most likely meant to be.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = folded(word);
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .iter()
        .map(|known| (distance(&word, &folded(known)), *known))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Case and the choice between `-` and `_` do not count.
fn folded(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

/// Levenshtein's distance: letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(from != *to)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        let known = ["listen", "public_base_url", "models", "store", "ttl"];
        for (word, meant) in [
            ("listne", Some("listen")),
            ("public-base-url", Some("public_base_url")),
            ("Model", Some("models")),
            ("tll", Some("ttl")),
            ("storage", Some("store")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
