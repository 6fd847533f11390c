//! Formulas: how a change computes a value from an item, and how an old value is computed back from a new one.

use std::fmt;

use super::custom::CustomFormula;
use crate::convert::Conversion;
use crate::expr::{Expr, Facts};
use crate::item::{Item, NotComputable, Num, Path, Value};

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
    /// The old value that an inverse computes from a new value.
    Inverse(Inverse),
    /// One output of a function that an embedding program supplies (`custom`).
    Custom(CustomFormula),
}

/// Whether the functions of custom changes return the same result when they are called twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Repeatable<'a> {
    /// No function was called, because no custom change computes a value for the item.
    NotCalled,
    /// Each function returned the same result twice.
    Yes,
    /// The function of the custom change with this name returned two different results.
    No(&'a str),
}

/// How an old value is computed from a new value.
///
/// An inverse need not return the old value that an item once had. It must return a value from which the formula
/// computes the same new value. [`Inverse::value`] checks this for every item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inverse {
    back: Box<Formula>,
    forward: Box<Formula>,
    old: Path,
    new: Path,
    inputs: Vec<Path>,
}

impl Inverse {
    /// Creates the inverse `back` of the formula `forward`, which computes the value at `new` from the value at `old`.
    pub fn new(back: Formula, forward: Formula, old: &Path, new: &Path) -> Inverse {
        let mut inputs = vec![new.clone()];
        for input in back.inputs().iter().chain(forward.inputs()) {
            let is_known = inputs.iter().any(|known| known.contains(input));
            if !is_known && !input.overlaps(old) {
                inputs.retain(|known| !input.contains(known));
                inputs.push(input.clone());
            }
        }
        Inverse { back: Box::new(back), forward: Box::new(forward), old: old.clone(), new: new.clone(), inputs }
    }

    /// Returns the formula that computes the old value.
    pub fn formula(&self) -> &Formula {
        &self.back
    }

    /// Returns the paths that determine the old value. These are the new attribute, the other inputs of the inverse,
    /// and the other inputs of the formula, with which the result was checked.
    pub fn inputs(&self) -> &[Path] {
        &self.inputs
    }

    /// Computes the old value for this item, in the form in which DynamoDB stores it. Returns `None` if the item has no
    /// new value. The item's own old value has no influence, because it may be stale.
    ///
    /// # Errors
    ///
    /// Fails if the inverse has no result, or if the formula computes a different new value from this result.
    pub fn value(&self, item: &Item, facts: &Facts) -> Result<Option<Value>, NotComputable> {
        let Inverse { back, forward, old, new, inputs: _ } = self;
        let Some(wanted) = new.get(item) else { return Ok(None) };
        let failed = |why: &str| {
            NotComputable::new(format!(
                "`{old}` cannot be restored from `{new}`, because the inverse has no result: {why}"
            ))
        };
        let mut restored = item.clone();
        old.remove(&mut restored);
        let value = match back.value(&restored, facts) {
            Ok(Some(value)) => stored(value),
            Ok(None) => return Ok(None),
            Err(why) => return Err(failed(why.reason())),
        };
        if !put(&mut restored, old, value.clone()) {
            return Err(NotComputable::new(format!(
                "`{old}` cannot be restored from `{new}`, because `{old}` needs a map where the item has a value of \
                 another type"
            )));
        }
        match forward.value(&restored, facts) {
            Ok(Some(again)) if stored(again.clone()) == *wanted => Ok(Some(value)),
            Ok(_) => Err(NotComputable::new(format!(
                "`{old}` cannot be restored from `{new}`, because the plan computes a different value for `{new}` from \
                 the result of the inverse"
            ))),
            Err(why) => Err(NotComputable::new(format!(
                "`{old}` cannot be restored from `{new}`, because the plan computes no value for `{new}` from the \
                 result of the inverse: {}",
                why.reason()
            ))),
        }
    }
}

impl Formula {
    /// Returns the paths that determine the value. A write that stores the value is conditional on each of them
    /// (invariant: a computed value is never older than its inputs).
    pub fn inputs(&self) -> &[Path] {
        match self {
            Formula::Expression(expression) => expression.inputs(),
            Formula::Conversion { from, .. } => std::slice::from_ref(from),
            Formula::Inverse(inverse) => inverse.inputs(),
            Formula::Custom(custom) => &custom.inputs,
        }
    }

    /// Calls the function of a custom change twice, if the item has an input. A function that returns two different
    /// results breaks its contract.
    pub fn check_repeatable(&self, item: &Item) -> Repeatable<'_> {
        match self {
            Formula::Custom(custom) if custom.inputs.iter().all(|input| input.get(item).is_none()) => {
                Repeatable::NotCalled
            }
            Formula::Custom(custom) if custom.value(item) != custom.value(item) => Repeatable::No(&custom.name),
            Formula::Custom(_) => Repeatable::Yes,
            Formula::Expression(_) | Formula::Conversion { .. } | Formula::Inverse(_) => Repeatable::NotCalled,
        }
    }

    /// Computes the value for this item. Returns `None` if the item has nothing to convert or to compute.
    ///
    /// # Errors
    ///
    /// Fails if the value cannot be computed, for example because an input is missing or has the wrong type.
    pub fn value(&self, item: &Item, facts: &Facts) -> Result<Option<Value>, NotComputable> {
        match self {
            Formula::Expression(expression) => expression.evaluate(item, facts).map(Some),
            Formula::Conversion { from, conversion } => {
                from.get(item).map(|value| conversion.apply(value).map_err(|why| at_path(from, &why))).transpose()
            }
            Formula::Inverse(inverse) => inverse.value(item, facts),
            Formula::Custom(custom) => custom.value(item),
        }
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Formula::Expression(expression) => f.write_str(&escaped(expression.source())),
            Formula::Conversion { from, conversion } => write!(f, "{from} as {}", conversion.name()),
            Formula::Inverse(inverse) => inverse.formula().fmt(f),
            Formula::Custom(custom) => custom.fmt(f),
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

/// Puts a value at a path. Creates missing parent maps. Returns false if this is not possible.
fn put(item: &mut Item, path: &Path, value: Value) -> bool {
    for ancestor in path.ancestors() {
        if ancestor.get(item).is_none() {
            ancestor.set(item, Value::M(Item::new()));
        }
    }
    path.set(item, value)
}

/// Returns the value in the form in which DynamoDB stores it: numbers have no redundant zeros. A formula that turns a
/// number into text must see the number in the form in which DynamoDB returns it.
pub(super) fn stored(value: Value) -> Value {
    match value {
        Value::N(number) => Value::N(number.stored()),
        Value::Ns(set) => Value::Ns(set.iter().map(Num::stored).collect()),
        Value::L(list) => Value::L(list.into_iter().map(stored).collect()),
        Value::M(map) => Value::M(map.into_iter().map(|(name, value)| (name, stored(value))).collect()),
        other @ (Value::S(_) | Value::B(_) | Value::Bool(_) | Value::Null | Value::Ss(_) | Value::Bs(_)) => other,
    }
}
