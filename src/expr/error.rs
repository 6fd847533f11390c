//! Errors of expressions, with their places.

use std::ops::Range;

/// A problem of an expression, with its place in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExprError {
    /// The part of the source, in bytes.
    pub span: Range<usize>,
    /// What is wrong, in one sentence.
    pub title: String,
    /// The label to show under the part.
    pub label: String,
    /// How to correct it.
    pub help: Vec<String>,
}

impl ExprError {
    pub(super) fn new(span: Range<usize>, title: impl Into<String>, label: impl Into<String>) -> ExprError {
        ExprError { span, title: title.into(), label: label.into(), help: Vec::new() }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> ExprError {
        self.help.push(help.into());
        self
    }
}
