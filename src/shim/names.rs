//! Identifiers from the names of attributes and migrations. A name can contain any characters, but identifiers contain
//! only ASCII letters, digits and `_`.

use std::collections::BTreeSet;

/// Makes distinct stems. A stem is the part of identifiers that names a value, in `snake_case`.
#[derive(Default)]
pub(super) struct Stems {
    /// The stems that are in use, without `_`. Stems that differ only in `_` would be equal in `CamelCase`.
    used: BTreeSet<String>,
}

impl Stems {
    /// Returns a new stem for a name. If another name already has the name's stem, appends a number to the stem.
    pub(super) fn next(&mut self, name: &str) -> String {
        let words = words(name);
        let stem = if words.is_empty() { "attribute".to_owned() } else { words.join("_") };
        let mut candidate = stem.clone();
        let mut number = 1;
        while !self.used.insert(candidate.replace('_', "")) {
            number += 1;
            candidate = format!("{stem}_{number}");
        }
        candidate
    }
}

/// Returns a stem or name in `CamelCase`.
pub(super) fn camel(name: &str) -> String {
    words(name).iter().map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// Returns the words of a name, in lower case. A word ends at every character other than an ASCII letter or digit. It
/// also ends between a small letter or digit and a capital letter.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let begins = c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit());
        if begins || !c.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}
