//! String literals. All characters except printable ASCII are escaped. So no name can end its literal, and no invisible
//! character can hide in the code.

use super::Language;

/// Returns a string literal with this content.
pub(super) fn literal(language: Language, text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            other => escape(language, other, &mut out),
        }
    }
    out.push('"');
    out
}

fn escape(language: Language, c: char, out: &mut String) {
    let code = u32::from(c);
    match language {
        Language::Python | Language::Go if code <= 0xFFFF => out.push_str(&format!("\\u{code:04x}")),
        Language::Python | Language::Go => out.push_str(&format!("\\U{code:08x}")),
        Language::TypeScript | Language::Rust => out.push_str(&format!("\\u{{{code:x}}}")),
        // Java replaces \u before it looks for the end of a literal: `\u000a` would be a line break in the code. So
        // control characters are octal.
        Language::Java if c.is_ascii() => out.push_str(&format!("\\{code:03o}")),
        Language::Java => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}
