//! The characters of bars and heat strips.

use crate::telemetry::heat::FULL;

/// A set of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glyphs {
    /// Between two figures.
    pub separator: &'static str,
    /// At the end of a text that was cut.
    pub ellipsis: &'static str,
    /// The part of a bar that is done.
    pub filled: char,
    /// The remaining part of a bar.
    pub empty: char,
    /// The levels of a heat strip, from nothing committed to done.
    pub levels: [char; FULL as usize + 1],
    /// The character of a horizontal line.
    pub line: char,
}

/// For terminals that show Unicode.
pub const UNICODE: Glyphs = Glyphs {
    separator: " · ",
    ellipsis: "…",
    filled: '█',
    empty: '░',
    levels: ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    line: '─',
};

/// For all other terminals.
pub const ASCII: Glyphs = Glyphs {
    separator: " | ",
    ellipsis: "...",
    filled: '#',
    empty: '.',
    levels: ['.', '1', '2', '3', '4', '5', '6', '7', '#'],
    line: '-',
};

/// Returns the characters for the locale of this process.
pub fn glyphs() -> Glyphs {
    let read = |name: &str| std::env::var(name).ok();
    if is_unicode(&read) { UNICODE } else { ASCII }
}

/// Returns whether a locale uses UTF-8. The first non-empty variable determines the locale, as POSIX specifies.
fn is_unicode(read: &dyn Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| read(name).filter(|value| !value.is_empty()));
    let locale = locale.unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_chooses_the_characters() {
        for (variables, expected) in [
            (vec![("LANG", "en_GB.UTF-8")], true),
            (vec![("LC_ALL", "C.utf8"), ("LANG", "C")], true),
            (vec![("LC_ALL", ""), ("LC_CTYPE", "de_DE.UTF-8"), ("LANG", "C")], true),
            (vec![("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")], false),
            (vec![("LANG", "de_DE.ISO-8859-1")], false),
            (vec![], false),
        ] {
            let read = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(is_unicode(&read), expected, "{variables:?}");
        }
        assert!(ASCII.levels.iter().chain([&ASCII.filled, &ASCII.empty, &ASCII.line]).all(char::is_ascii));
        assert!(ASCII.separator.is_ascii() && ASCII.ellipsis.is_ascii());
    }
}
