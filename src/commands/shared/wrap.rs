//! Wraps text to the width of the terminal.

use std::borrow::Cow;

use textwrap::core::display_width;
use textwrap::{Options, WordSplitter};

/// Minimum width of a line. On a narrower terminal, lines still have this width, because shorter lines would be hard to
/// read.
const LEAST_WIDTH: usize = 40;

/// If a label ends before this column, the text after it forms an aligned column.
const LAST_LABEL_COLUMN: usize = 24;

/// Stands for a space at which a line must not be wrapped. This character is in a private range of Unicode.
const JOINT: char = '\u{e000}';

/// Wraps every line that is wider than `width` columns, between words. The later lines of a paragraph start at the same
/// column as its first line. If the first line has a label (`size 12 items`), the later lines start at the column of
/// the text after the label. A line that contains a command to copy is not wrapped, because the terminal itself wraps
/// such a line without adding a line break.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let width = width.max(LEAST_WIDTH);
    let lines: Vec<Cow<'_, str>> = text
        .split('\n')
        .map(|line| match display_width(line) > width && !is_verbatim(line) {
            true => Cow::Owned(wrap_line(line, width)),
            false => Cow::Borrowed(line),
        })
        .collect();
    lines.join("\n")
}

fn wrap_line(line: &str, width: usize) -> String {
    let indent = " ".repeat(text_column(line).min(width / 2));
    let first = &line[..line.len() - line.trim_start().len()];
    let options = Options::new(width)
        .initial_indent(first)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    let filled = textwrap::fill(&join_code(line.trim_start()), options);
    if line.contains(JOINT) { filled } else { filled.replace(JOINT, " ") }
}

/// Returns the column at which a line's text starts: after the indentation and, if the line has a label, after the
/// label. At least two spaces follow a label.
fn text_column(line: &str) -> usize {
    let text = line.trim_start();
    let start = line.len() - text.len();
    // The two labels of a finding have the same width.
    if text.starts_with("why: ") || text.starts_with("do:  ") {
        return start + "why: ".len();
    }
    match text.find("  ") {
        Some(end) if start + end <= LAST_LABEL_COLUMN => line.len() - text[end..].trim_start().len(),
        Some(_) | None => start,
    }
}

/// Whether the operator must be able to copy the line unchanged: a command line, a line that ends with a colon and a
/// command line, or JSON.
fn is_verbatim(line: &str) -> bool {
    let is_command = |text: &str| {
        let word = text.split(' ').next().unwrap_or_default();
        ["aws", "backfill"].contains(&word) || word.ends_with("/backfill")
    };
    let line = line.trim_start();
    is_command(line) || line.split(": ").skip(1).any(is_command) || line.starts_with(['{', '}', '[', ']', '"'])
}

/// Replaces the spaces inside backticks by [`JOINT`], so that a command inside a sentence stays on one line.
fn join_code(line: &str) -> String {
    // Return the line unchanged in two cases. If the number of backticks is odd, it is unknown which words are code. If
    // the line already contains the joint character, the later replacement of joints would turn it into a space.
    if line.matches('`').count() % 2 == 1 || line.contains(JOINT) {
        return line.to_owned();
    }
    let mut is_code = false;
    let join = |c: char| {
        is_code ^= c == '`';
        if is_code && c == ' ' { JOINT } else { c }
    };
    line.chars().map(join).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_wrapped_at_the_column_where_it_starts() {
        let text = "size          2,000 items, 480,000 bytes (DynamoDB's own count)\nshort";
        let expected = "size          2,000 items, 480,000 bytes\n              (DynamoDB's own count)\nshort";
        assert_eq!(wrap(text, 40), expected);
    }

    #[test]
    fn a_paragraph_keeps_its_indentation() {
        let text = "   Every item gets `contact_email`, a copy of `email`.";
        assert_eq!(wrap(text, 40), "   Every item gets `contact_email`, a\n   copy of `email`.");
    }

    #[test]
    fn a_command_stays_on_one_line() {
        let text = "Next: backfill cutover plan.toml --to read-new --percent 10 --state state.db";
        assert_eq!(wrap(text, 40), text);
        let text = "             aws dynamodb wait table-exists --table-name shop --region eu-west-1";
        assert_eq!(wrap(text, 40), text);
        let text = "Look at the table's limits with `aws dynamodb describe-limits` before you raise it";
        assert_eq!(
            wrap(text, 40),
            "Look at the table's limits with\n`aws dynamodb describe-limits` before\nyou raise it"
        );
        let text = "     target/release/backfill demo --dir a/very/long/folder/name/of/a/demo";
        assert_eq!(wrap(text, 40), text);
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_no_line_is_too_wide(text in "[a-z ,.:\n]{0,300}", width in 40_usize..120) {
            let wrapped = wrap(&text, width);
            prop_assert_eq!(wrapped.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
            for line in wrapped.split('\n') {
                let is_one_word = line.split_whitespace().count() <= 1;
                prop_assert!(display_width(line) <= width || is_one_word || is_verbatim(line), "{:?}", line);
            }
        }
    }
}
