//! Formulas: how a change computes a value from an item.

use std::fmt;

use crate::convert::Conversion;
use crate::expr::{Expr, Facts};
use crate::item::{Item, NotComputable, Path, Value};

/// How a change computes the value of its target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Formula {
    /// The value of an expression (`compute … as`).
    Expression(Expr),
    /// The converted value of one path (`convert … into`).
    Conversion {
        /// The path whose value is converted.
        from: Path,
        /// The conversion.
        conversion: Conversion,
    },
}

impl Formula {
    /// Returns the paths that determine the value. A write that stores the value is conditional on each of them
    /// (invariant: a computed value is never older than its inputs).
    pub fn inputs(&self) -> &[Path] {
        match self {
            Formula::Expression(expression) => expression.inputs(),
            Formula::Conversion { from, .. } => std::slice::from_ref(from),
        }
    }

    /// Computes the value for this item. Returns `None` if the item has nothing to convert.
    ///
    /// # Errors
    ///
    /// Fails if the item has no such value, for example because an input is missing or has another type.
    pub fn value(&self, item: &Item, facts: &Facts) -> Result<Option<Value>, NotComputable> {
        match self {
            Formula::Expression(expression) => expression.evaluate(item, facts).map(Some),
            Formula::Conversion { from, conversion } => {
                from.get(item).map(|value| conversion.apply(value).map_err(|why| at_path(from, &why))).transpose()
            }
        }
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Formula::Expression(expression) => f.write_str(&escaped(expression.source())),
            Formula::Conversion { from, conversion } => write!(f, "{from} as {}", conversion.name()),
        }
    }
}

/// Makes the source of an expression safe for a terminal. Quotes stay, because expressions contain many of them.
pub fn escaped(source: &str) -> String {
    let escape = |c: char| if matches!(c, '"' | '\'' | '\\') { c.to_string() } else { c.escape_debug().to_string() };
    source.chars().map(escape).collect()
}

/// Returns the same reason, with the path whose value cannot be converted.
pub(super) fn at_path(path: &Path, why: &NotComputable) -> NotComputable {
    NotComputable::new(format!("`{path}` cannot be converted: {}", why.reason()))
}
