//! Turns the parser's messages into errors that an operator can act on.

use std::ops::Range;

use cel::ParseErrors;

use super::scan::Tokens;
use crate::expr::error::ExprError;

/// Returns the span of the source without leading and trailing white space.
pub(super) fn whole(source: &str) -> Range<usize> {
    let start = source.len() - source.trim_start().len();
    start..(start + source.trim().len())
}

/// A part of the message with which the parser reports its recursion limit.
const RECURSION: &str = "Recursion limit of 96";

/// Translates the first of the parser's errors. The others often follow from it.
pub(super) fn syntax_errors(source: &str, tokens: &Tokens, errors: &ParseErrors) -> Vec<ExprError> {
    let Some(first) = errors.errors.first() else {
        return vec![ExprError::new(whole(source), "this is not a CEL expression", "cannot be parsed")];
    };
    if first.msg.contains(RECURSION) {
        let title = "conditions and brackets are nested too deeply";
        return vec![ExprError::new(whole(source), title, "more than 96 levels")];
    }
    let at = offset(source, first.pos);
    let span = match tokens.after(at) {
        Some(token) => token.span.clone(),
        None => source.trim_end().len()..source.trim_end().len(),
    };
    let found = source.get(span.clone()).unwrap_or_default();
    let error = |title: &str, label: String| ExprError::new(span.clone(), title, label);
    let message = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let is_text = found.trim_start_matches(['r', 'R', 'b', 'B']).starts_with(['"', '\'']);
    let error = if let Some(name) = message.strip_prefix("reserved identifier: ") {
        error("CEL reserves this word", format!("`{name}` cannot be a name"))
            .help(format!("write item[\"{name}\"] for the attribute with this name"))
    } else if let Some(help) = common_mistake(found, source, &span) {
        error("this is not a CEL expression", format!("`{found}` does not belong here")).help(help)
    } else if is_text && is_closed(found) && found.contains('\\') {
        error("this text has an escape that CEL does not know", "wrong escape".to_owned())
            .help("write a backslash as \\\\, or put r before the quote")
    } else if is_text && !is_closed(found) {
        error("this text is never closed", "starts here".to_owned()).help("end the text with the quote that starts it")
    } else if found.is_empty()
        && let Some(open) = tokens.never_closed()
    {
        ExprError::new(open.span.clone(), "this bracket is never closed", "opens here")
    } else if found.is_empty() {
        error("the expression ends too early", "something is missing here".to_owned())
    } else if found.starts_with(|c: char| c.is_alphabetic() && !c.is_ascii()) {
        error("this letter is not allowed in a name", format!("`{found}` is not one of a to z"))
            .help("quote an attribute name that contains other letters: item[\"größe\"]")
    } else {
        error("this is not a CEL expression", format!("`{found}` is not expected here"))
    };
    vec![error]
}

fn is_closed(text: &str) -> bool {
    let text = text.trim_start_matches(['r', 'R', 'b', 'B']);
    text.len() > 1 && text.chars().next() == text.chars().last()
}

/// Returns how to correct a mistake that comes from another language.
fn common_mistake(found: &str, source: &str, span: &Range<usize>) -> Option<&'static str> {
    let before = source.get(..span.start).unwrap_or_default().trim_end();
    match found.to_ascii_lowercase().as_str() {
        "and" => Some("CEL writes `and` as &&"),
        "or" => Some("CEL writes `or` as ||"),
        "not" => Some("CEL writes `not` as !"),
        "=" if before.ends_with('=') => Some("CEL compares with =="),
        "=" => Some("compare with =="),
        "&" => Some("CEL writes `and` as &&"),
        "|" => Some("CEL writes `or` as ||"),
        "<>" => Some("CEL writes `unequal` as !="),
        _ => None,
    }
}

/// Returns the byte at a line and column, both counted from 1.
fn offset(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line.max(1) - 1).unwrap_or(0);
    let column = usize::try_from(column.max(1) - 1).unwrap_or(0);
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = source.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}
