//! The size of a write's expressions, and DynamoDB's limits for them.

use super::expression::{MAX_EXPRESSION_BYTES, MAX_OPERATORS, render};
use super::guarded::{Action, Condition, GuardedWrite};
use super::rule::update_bytes;
use crate::item::{MAX_ITEM_BYTES, Path, PathStep, value_bytes};

/// The largest size of the values of an expression (developer guide, "Service quotas": 2 MB for all substitution
/// variables).
const MAX_VALUE_BYTES: usize = 2 * 1024 * 1024;

/// Length of a placeholder, such as `#a7`, in bytes. A shorter placeholder counts as equally long.
const PLACEHOLDER_BYTES: usize = 3;

/// Number of placeholders for names, or for values, with at most [`PLACEHOLDER_BYTES`] bytes. After the sign (`#` or
/// `:`), 35 placeholders have one character and 35² have two characters.
const MAX_PLACEHOLDERS: usize = 35 + 35 * 35;

/// Length of ` AND ` in bytes.
const AND: usize = 5;

/// Returns whether DynamoDB accepts the expressions of this write.
pub fn is_within_limits(write: &GuardedWrite) -> bool {
    let rendered = render(write);
    let values: usize = rendered.values.values().map(value_bytes).sum();
    rendered.update.len().max(rendered.condition.len()) <= MAX_EXPRESSION_BYTES
        && (2 * write.conditions.len()).saturating_sub(1).max(write.actions.len()) <= MAX_OPERATORS
        && values <= MAX_VALUE_BYTES
        && update_bytes(&write.actions) <= MAX_ITEM_BYTES
}

/// Upper bounds for the size of a write's expressions. If one write contains two sets of actions and conditions, the
/// sum of their bounds is a bound for this write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ExpressionSize {
    update_bytes: usize,
    condition_bytes: usize,
    update_operators: usize,
    condition_operators: usize,
    names: usize,
    values: usize,
    value_bytes: usize,
    payload: usize,
}

impl ExpressionSize {
    /// The limits of one write, reduced by the bytes of `SET ` and ` REMOVE `.
    pub(super) const LIMITS: ExpressionSize = ExpressionSize {
        update_bytes: MAX_EXPRESSION_BYTES - 12,
        condition_bytes: MAX_EXPRESSION_BYTES,
        update_operators: MAX_OPERATORS,
        condition_operators: MAX_OPERATORS,
        names: MAX_PLACEHOLDERS,
        values: MAX_PLACEHOLDERS,
        value_bytes: MAX_VALUE_BYTES,
        payload: MAX_ITEM_BYTES,
    };

    pub(super) fn of(actions: &[Action], conditions: &[Condition]) -> ExpressionSize {
        let mut size = ExpressionSize { payload: update_bytes(actions), ..ExpressionSize::default() };
        for action in actions {
            size.update_operators += 1;
            size.update_bytes += ", ".len();
            match action {
                Action::SetFrom { to, from, .. } => {
                    size.update_bytes += size.path(to) + " = ".len() + size.path(from);
                }
                Action::SetValue { to, value } => {
                    size.update_bytes += size.path(to) + " = ".len() + size.value(value_bytes(value));
                }
                Action::Remove { path } => size.update_bytes += size.path(path),
                Action::DeleteItem { .. } | Action::PutItem { .. } | Action::PutDerived { .. } => {}
            }
        }
        for condition in conditions {
            size.condition_operators += 2;
            size.condition_bytes += AND
                + match condition {
                    Condition::ItemExists(_) => "attribute_exists()".len() + size.name(),
                    Condition::ItemMissing(_) => "attribute_not_exists()".len() + size.name(),
                    Condition::Exists(path) => "attribute_exists()".len() + size.path(path),
                    Condition::Missing(path) => "attribute_not_exists()".len() + size.path(path),
                    Condition::IsMap(path) => "attribute_type(, )".len() + size.path(path) + size.value(1),
                    Condition::Equals(path, value) => size.path(path) + " = ".len() + size.value(value_bytes(value)),
                    Condition::PathsEqual(a, b) => size.path(a) + " = ".len() + size.path(b),
                };
        }
        size
    }

    fn name(&mut self) -> usize {
        self.names += 1;
        PLACEHOLDER_BYTES
    }

    fn value(&mut self, bytes: usize) -> usize {
        self.values += 1;
        self.value_bytes += bytes;
        PLACEHOLDER_BYTES
    }

    fn path(&mut self, path: &Path) -> usize {
        let steps = path.steps().iter().map(|step| match step {
            PathStep::Name(_) => self.name() + ".".len(),
            PathStep::Index(index) => index.to_string().len() + "[]".len(),
        });
        steps.sum::<usize>() - ".".len()
    }

    fn figures(self) -> [usize; 8] {
        let ExpressionSize {
            update_bytes,
            condition_bytes,
            update_operators,
            condition_operators,
            names,
            values,
            value_bytes,
            payload,
        } = self;
        [update_bytes, condition_bytes, update_operators, condition_operators, names, values, value_bytes, payload]
    }

    pub(super) fn plus(self, other: ExpressionSize) -> ExpressionSize {
        ExpressionSize {
            update_bytes: self.update_bytes + other.update_bytes,
            condition_bytes: self.condition_bytes + other.condition_bytes,
            update_operators: self.update_operators + other.update_operators,
            condition_operators: self.condition_operators + other.condition_operators,
            names: self.names + other.names,
            values: self.values + other.values,
            value_bytes: self.value_bytes + other.value_bytes,
            payload: self.payload + other.payload,
        }
    }

    pub(super) fn fits(self, limits: ExpressionSize) -> bool {
        self.figures().into_iter().zip(limits.figures()).all(|(figure, limit)| figure <= limit)
    }

    /// Returns the same limits with fewer operators in a condition.
    #[cfg(test)]
    pub(super) fn with_operators(self, condition_operators: usize) -> ExpressionSize {
        ExpressionSize { condition_operators, ..self }
    }

    /// Computes the used share of each limit, and returns the largest share.
    pub(super) fn fullness(self) -> f64 {
        let shares = self.figures().into_iter().zip(ExpressionSize::LIMITS.figures());
        shares.map(|(figure, limit)| figure as f64 / limit as f64).fold(0.0, f64::max)
    }
}
