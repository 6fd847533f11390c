//! Text from outside: from the flag's item, a lease, a table's description, a server's errors, a lock file or a state
//! file. Such text may contain control sequences for a terminal, so it must be escaped before it is printed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text that this program did not write. The text is compared and stored unchanged, and escaped when it is printed.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UntrustedText(String);

impl UntrustedText {
    /// Returns the raw text, for comparison and storage only. Never print it.
    pub fn as_raw(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for UntrustedText {
    fn from(text: T) -> UntrustedText {
        UntrustedText(text.into())
    }
}

impl fmt::Display for UntrustedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for UntrustedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Escapes text so that it is safe to print within a line.
pub fn escaped(text: &str) -> impl fmt::Display + '_ {
    Escaped { text, allowed: "" }
}

/// Escapes several lines so that they are safe to print. Line feeds are not escaped.
pub fn escaped_lines(text: &str) -> impl fmt::Display + '_ {
    Escaped { text, allowed: "\n" }
}

/// Escapes text that contains the program's own colours. ESC and LF characters stay as they are, so text from outside
/// must already be escaped.
pub fn escaped_styled(text: &str) -> String {
    Escaped { text, allowed: "\n\u{1b}" }.to_string()
}

/// Makes a JSON document safe to print. Characters that could control a terminal occur only in the document's strings,
/// where JSON allows escapes. A JSON parser reads the same document with or without the escapes.
pub fn escaped_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_hostile(c) {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// Quotes text as a TOML string on one line. Characters that could control a terminal are escaped. A TOML parser reads
/// the same text.
pub fn toml_string(text: &str) -> String {
    use fmt::Write as _;
    let is_plain = !text.chars().any(|c| is_hostile(c) || c == '\'');
    if is_plain && text.contains(['"', '\\']) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => out.write_str("\\n"),
            c if is_hostile(c) && u32::from(c) <= 0xffff => write!(out, "\\u{:04x}", u32::from(c)),
            c if is_hostile(c) => write!(out, "\\U{:08x}", u32::from(c)),
            c => out.write_char(c),
        };
    }
    out.push('"');
    out
}

struct Escaped<'a> {
    text: &'a str,
    /// Characters that are not escaped.
    allowed: &'static str,
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.text.chars() {
            if is_hostile(c) && !self.allowed.contains(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Whether a character can affect a terminal or mislead a reader. Such characters are control characters (including
/// those in escape sequences), line separators, characters that reverse or hide text, and Unicode tag characters.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text that a hostile item may contain: a cursor movement, an OSC 8 link, C1 controls, bidi overrides, zero-width
    /// characters, Unicode tag characters.
    const HOSTILE: &str =
        "a\u{1b}[2J\u{1b}]8;;http://x\u{7}b\u{9b}31m\r\nc\u{202e}d\u{2066}e\u{200b}f\u{feff}g\u{e0041}h\u{2028}i\u{7f}";

    #[test]
    fn no_hostile_character_reaches_a_terminal() {
        let text = UntrustedText::from(HOSTILE);
        for printed in [text.to_string(), format!("{text:?}"), format!("{text:>60}"), format!("{:?}", Some(&text))] {
            assert!(!printed.chars().any(is_hostile), "{printed:?}");
        }
        assert_eq!(escaped("x\u{1b}y").to_string(), "x\\u{1b}y");
        assert_eq!(escaped_lines("x\ny\u{202e}").to_string(), "x\ny\\u{202e}");
        assert_eq!(escaped("Grüße, 日本語 \u{1f600} \\n").to_string(), "Grüße, 日本語 \u{1f600} \\n");
        assert_eq!(text.as_raw(), HOSTILE);
    }

    #[test]
    fn json_reads_the_same() {
        let document = serde_json::json!({ "x": HOSTILE, "y\u{202e}": ["\u{e0041}"] });
        let printed = escaped_json(&format!("{document:#}"));
        assert!(!printed.chars().any(|c| c != '\n' && is_hostile(c)), "{printed:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), document);
    }

    #[test]
    fn toml_strings_are_readable() {
        let texts = ["plain", "\"e-mail\".x", "it's \"x\"", "a\\b", "a\nb", "\u{1b}", "\u{e0041}", ""];
        assert_eq!(
            texts.map(toml_string),
            [
                "\"plain\"",
                "'\"e-mail\".x'",
                "\"it's \\\"x\\\"\"",
                "'a\\b'",
                "\"a\\nb\"",
                "\"\\u001b\"",
                "\"\\U000e0041\"",
                "\"\""
            ]
        );
    }

    proptest! {
        /// A TOML parser reads the quoted text as the original text, even if other text precedes it on the line.
        #[test]
        fn toml_reads_any_quoted_text(text in "\\PC*|[\\x00-\\x{2100}]*|[\"'\\\\\n]{0,5}") {
            let quoted = toml_string(&text);
            prop_assert!(!quoted.chars().any(is_hostile), "{:?}", quoted);
            let table: toml::Table = format!("a = [{quoted}, 1]  # {quoted}\nb = 2\n").parse().unwrap();
            prop_assert_eq!(table["a"][0].as_str(), Some(text.as_str()));
            prop_assert_eq!(table["b"].as_integer(), Some(2));
        }

        #[test]
        fn any_text_prints_without_hostile_characters(text in "\\PC*|[\\x00-\\x{2100}]*") {
            prop_assert!(!UntrustedText::from(text.as_str()).to_string().chars().any(is_hostile));
        }
    }
}
