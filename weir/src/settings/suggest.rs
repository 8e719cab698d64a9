//! The name that was probably meant.

/// The candidate closest to a misspelt name; none where all are far off.
pub(super) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = candidates.map(|candidate| (distance(name, candidate), candidate)).min()?;
    let far = name.chars().count().max(near.1.chars().count());
    (near.0 < far).then_some(near.1)
}

/// How many letters must be added, dropped or changed to make one word of the other; case does not count, nor does
/// whether words are joined by `-` or `_`.
fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| -> Vec<char> { text.to_lowercase().replace('-', "_").chars().collect() };
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_is_found() {
        let known = ["seal_age", "seal_bytes", "listen", "data_dir"];
        for (name, expected) in [
            ("seal_agee", Some("seal_age")),
            ("seal-age", Some("seal_age")),
            ("SEAL_BYTE", Some("seal_bytes")),
            ("lisen", Some("listen")),
            ("datadir", Some("data_dir")),
            ("xqz", None),
        ] {
            assert_eq!(closest(name, known.into_iter()), expected, "{name}");
        }
        assert_eq!(closest("a", std::iter::empty()), None);
    }
}
