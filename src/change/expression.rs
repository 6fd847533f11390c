//! Renders a guarded write as the expressions of one `UpdateItem`, or as the condition of a `DeleteItem` or `PutItem`.

use std::collections::BTreeMap;

use super::{Action, Condition, GuardedWrite};
use crate::item::{Path, PathStep, Value};

/// The longest expression that DynamoDB accepts, in bytes (developer guide, "Service quotas": 4 KB).
pub const MAX_EXPRESSION_BYTES: usize = 4096;

/// The largest number of operators and functions in an expression (developer guide, "Service quotas": 300).
pub const MAX_OPERATORS: usize = 300;

/// `UpdateExpression`, `ConditionExpression` and their placeholders.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// `UpdateExpression`. Empty if the write deletes or creates the whole item.
    pub update: String,
    /// `ConditionExpression`.
    pub condition: String,
    /// `ExpressionAttributeNames`. Every name uses a placeholder, so reserved words and special characters do not
    /// matter.
    pub names: BTreeMap<String, String>,
    /// `ExpressionAttributeValues`.
    pub values: BTreeMap<String, Value>,
}

/// Renders a guarded write. The item that a `PutItem` creates is not part of an expression.
pub fn render(write: &GuardedWrite) -> Expression {
    let mut out = Placeholders::default();
    let condition = write.conditions.iter().map(|c| out.condition(c)).collect::<Vec<_>>().join(" AND ");
    let mut sets = Vec::new();
    let mut removes = Vec::new();
    for action in &write.actions {
        match action {
            Action::SetFrom { to, from, .. } => sets.push(format!("{} = {}", out.path(to), out.path(from))),
            Action::SetValue { to, value } => sets.push(format!("{} = {}", out.path(to), out.value(value))),
            Action::Remove { path } => removes.push(out.path(path)),
            Action::DeleteItem { .. } | Action::PutItem { .. } | Action::PutDerived { .. } => {}
        }
    }
    let update = [("SET ", sets), ("REMOVE ", removes)]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(verb, list)| format!("{verb}{}", list.join(", ")))
        .collect::<Vec<_>>()
        .join(" ");
    Expression { update, condition, names: out.names_by_placeholder(), values: out.values }
}

#[derive(Default)]
struct Placeholders {
    names: BTreeMap<String, String>,
    values: BTreeMap<String, Value>,
}

impl Placeholders {
    fn condition(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::ItemExists(name) => format!("attribute_exists({})", self.name(name)),
            Condition::ItemMissing(name) => format!("attribute_not_exists({})", self.name(name)),
            Condition::Exists(path) => format!("attribute_exists({})", self.path(path)),
            Condition::Missing(path) => format!("attribute_not_exists({})", self.path(path)),
            Condition::IsMap(path) => {
                let path = self.path(path);
                self.values.insert(":m".into(), Value::S("M".into()));
                format!("attribute_type({path}, :m)")
            }
            Condition::Equals(path, value) => format!("{} = {}", self.path(path), self.value(value)),
            Condition::PathsEqual(a, b) => format!("{} = {}", self.path(a), self.path(b)),
        }
    }

    fn path(&mut self, path: &Path) -> String {
        let mut text = String::new();
        for step in path.steps() {
            match step {
                PathStep::Name(name) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(&self.name(name));
                }
                PathStep::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }

    fn name(&mut self, name: &str) -> String {
        let next = placeholder('#', self.names.len());
        self.names.entry(name.to_owned()).or_insert(next).clone()
    }

    fn value(&mut self, value: &Value) -> String {
        // A value that is in both the condition and the update is sent only once.
        if let Some((placeholder, _)) = self.values.iter().find(|(p, v)| p.as_str() != ":m" && *v == value) {
            return placeholder.clone();
        }
        let placeholder = placeholder(':', self.values.len());
        self.values.insert(placeholder.clone(), value.clone());
        placeholder
    }

    fn names_by_placeholder(&self) -> BTreeMap<String, String> {
        self.names.iter().map(|(name, placeholder)| (placeholder.clone(), name.clone())).collect()
    }
}

/// Returns the placeholder with this number. It uses letters as further digits, so that expressions are shorter. It
/// does not use the letter `m`, because `:m` is the operand of `attribute_type`.
fn placeholder(sign: char, mut number: usize) -> String {
    const DIGITS: &[u8; 35] = b"0123456789abcdefghijklnopqrstuvwxyz";
    let mut digits = vec![DIGITS[number % DIGITS.len()]];
    while number >= DIGITS.len() {
        number = number / DIGITS.len() - 1;
        digits.push(DIGITS[number % DIGITS.len()]);
    }
    std::iter::once(sign).chain(digits.into_iter().rev().map(char::from)).collect()
}
