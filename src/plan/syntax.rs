//! Reports the syntax errors of a plan. Replaces the unreadable lines with spaces, so that the other lines can be
//! checked.

use super::diagnostic::{Diagnostic, Problems, TextSpan, whole_lines};

/// If a file has more syntax errors than this, it is probably not a plan, so only its syntax errors are reported.
const MAX_SYNTAX_ERRORS: usize = 100;

/// Returns the text with its unreadable lines replaced by spaces, so that the other lines keep their positions. The
/// parser stops at some errors. In the returned text, it can also parse the lines after such an error. Returns `None`
/// if the replacement of a line would move fields into another TOML table.
pub(super) fn blank_broken_lines(text: &str, syntax: &[toml::de::Error]) -> Option<String> {
    if syntax.len() > MAX_SYNTAX_ERRORS {
        return None;
    }
    let mut rest = text.to_owned();
    for error in syntax {
        let line = whole_lines(text, &error.span()?);
        if text[line.clone()].trim_start().starts_with('[') {
            return None;
        }
        let blank: String = text[line.clone()].chars().flat_map(blanks).collect();
        rest.replace_range(line, &blank);
    }
    (!syntax.is_empty()).then_some(rest)
}

/// Replaces a character with one space for each of its bytes. Keeps line breaks.
fn blanks(c: char) -> impl Iterator<Item = char> {
    std::iter::repeat_n(if matches!(c, '\n' | '\r') { c } else { ' ' }, c.len_utf8())
}

/// Reports the syntax errors, except errors that an earlier error has caused. For example, after an unclosed header or
/// bracket, fields belong to the wrong table and look like duplicates.
pub(super) fn add_syntax_errors(syntax: &[toml::de::Error], problems: &mut Problems, end: usize) {
    let location = |error: &toml::de::Error| error.span().unwrap_or(end..end);
    let is_unclosed = |error: &&toml::de::Error| error.message().starts_with("unclosed");
    let unclosed = syntax.iter().filter(is_unclosed).map(|error| location(error).start).min();
    let own = |error: &&toml::de::Error| {
        error.message() != "duplicate key" || unclosed.is_none_or(|at| location(error).start < at)
    };
    let list = syntax.iter().filter(own).map(|error| syntax_error(error, location(error))).collect();
    let unreliable = if syntax.len() > MAX_SYNTAX_ERRORS { 0 } else { unclosed.unwrap_or(usize::MAX) };
    problems.add_syntax_errors(list, unreliable);
}

fn syntax_error(error: &toml::de::Error, span: TextSpan) -> Diagnostic {
    let message = error.message();
    let about_text = ["string", "must be quoted", "invalid float", "invalid integer", "invalid boolean"];
    let help = if message == "duplicate key" {
        "a name can appear only once in its table, so remove one of the two (only [[change]] and [[health_check]] can repeat)"
    } else if about_text.iter().any(|part| message.contains(part)) {
        "write text in double quotes, \"…\" (with \\\" and \\\\ as escapes), or in single quotes, '…', without escapes"
    } else {
        "a plan is a TOML file: write each `name = value` on its own line, and [table] or [[change]] in brackets (https://toml.io)"
    };
    Diagnostic::new("this is not TOML", span, message).help(help)
}
