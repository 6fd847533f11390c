//! The reason why an expression or a conversion has no result for an item.

use std::fmt;

/// Why an expression or a conversion has no result for an item. The text names attributes, types and functions, never
/// values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotComputable(String);

impl NotComputable {
    /// Creates a reason. The text must not contain a value of an item.
    pub fn new(reason: impl Into<String>) -> NotComputable {
        NotComputable(reason.into())
    }

    /// Returns the text of the reason.
    pub fn reason(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NotComputable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
