//! The text from which a plan is read. It consists of the file and the `--set` arguments.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// A range of bytes in the plan's text.
pub(super) type TextSpan = Range<usize>;

/// The prefix of an argument in errors.
const OPTION: &str = "--set ";

/// The text of a plan file, followed by the `--set` arguments. The arguments are part of the text, so that errors can
/// show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlanText {
    text: Arc<str>,
    /// The length of the file.
    file: usize,
    /// The positions of the arguments.
    arguments: Arc<[TextSpan]>,
}

impl PlanText {
    /// Joins the text of a file and the `--set` arguments.
    pub(super) fn new(file: &str, overrides: &[String]) -> PlanText {
        let mut text = file.to_owned();
        let mut arguments = Vec::new();
        for argument in overrides {
            // A span at the end of the file must not touch the arguments, so each argument begins on a new line.
            text.push('\n');
            text.push_str(OPTION);
            arguments.push(text.len()..text.len() + argument.len());
            text.push_str(argument);
        }
        PlanText { text: text.into(), file: file.len(), arguments: arguments.into() }
    }

    /// Returns the text of the file.
    pub(super) fn file(&self) -> &str {
        &self.text[..self.file]
    }

    /// Returns the positions of the arguments.
    pub(super) fn arguments(&self) -> &[TextSpan] {
        &self.arguments
    }

    /// Returns whether a span belongs to an argument instead of the file.
    pub(super) fn is_argument(&self, span: &TextSpan) -> bool {
        span.start > self.file && !self.arguments.is_empty()
    }

    /// Returns the line number of a position in the file. For a position in an argument, returns the number of the
    /// argument.
    pub(super) fn line_number(&self, at: usize) -> usize {
        let start = if self.is_argument(&(at..at)) { self.file + 1 } else { 0 };
        1 + self.text[start..at].matches('\n').count()
    }
}

impl Deref for PlanText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}
