//! Wraps text to the width of the terminal.

use std::borrow::Cow;

use textwrap::core::display_width;
use textwrap::{Options, WordSplitter};

/// Minimum width of a line. A narrower terminal also gets lines of this width, because shorter lines would be hard to
/// read.
const LEAST_WIDTH: usize = 40;

/// If a label ends before this column, the text after it forms an aligned column.
const LAST_LABEL_COLUMN: usize = 24;

/// Wraps every line that is wider than `width` columns, between words. The later lines of a paragraph start at the same
/// column as its first line. If the first line has a label (`size 12 items`), they start at the column of the text
/// after the label. A line that contains a command to copy is not wrapped, because the terminal itself wraps such a
/// line without adding a line break.
pub(crate) fn wrap(text: &str, width: usize) -> String {
    let width = width.max(LEAST_WIDTH);
    let lines: Vec<Cow<'_, str>> = text
        .split('\n')
        .map(|line| match display_width(line) > width && !is_command(line) {
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
    textwrap::fill(line.trim_start(), options)
}

/// Returns the column at which a line's text starts: after the indentation and, if the line has a label, after the
/// label. At least two spaces follow a label.
fn text_column(line: &str) -> usize {
    let start = line.len() - line.trim_start().len();
    let label = line[start..].find("  ").map(|end| start + end);
    match label {
        Some(end) if end <= LAST_LABEL_COLUMN => line.len() - line[end..].trim_start().len(),
        Some(_) | None => start,
    }
}

/// Whether the line is a command line, or ends with one after a colon.
fn is_command(line: &str) -> bool {
    let command =
        |text: &str| text.split(' ').next().is_some_and(|word| word == "backfill" || word.ends_with("/backfill"));
    command(line.trim_start()) || line.split(": ").skip(1).any(command)
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
                prop_assert!(display_width(line) <= width || is_one_word || is_command(line), "{:?}", line);
            }
        }
    }
}
