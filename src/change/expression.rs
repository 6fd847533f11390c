//! A guarded write as `UpdateItem` expressions.

/// The texts and placeholders of one `UpdateItem`.
#[derive(Debug)]
pub struct Expression;

/// Renders.
pub fn render() {}
