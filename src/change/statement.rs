//! Renders a guarded write as one PartiQL `UPDATE` statement, with every value as a parameter.
//!
//! A statement can do less than an `UpdateItem`. [`statement`] returns `None` for a write that a statement cannot
//! express, or whose statement might mean something else. Such a write uses `UpdateItem`:
//!
//! - The write puts or deletes a whole item. An `UPDATE` changes attributes (developer guide, "PartiQL update
//!   statements").
//! - A condition compares two paths whose value is not known. Only parameters may be on the right-hand side, because
//!   some engines read a name there as a text (measured on dynoxide 3.2: `SET n = email` stores the text `email`).
//! - A name has other characters than ASCII letters, digits, spaces and `_-.:#@/`. DynamoDB refuses other alphabets
//!   outside texts [recorded]. An engine might read quotes and question marks as syntax.
//! - The statement has more than 8,192 characters. One such statement fails the whole batch [recorded].
//! - The condition has more than 300 operators. `IS NOT` counts as two [recorded].
//! - A parameter has more than 30 levels. DynamoDB refuses parameters with 32 levels, which an item may have
//!   [recorded].
//! - The parameters or the item have more than 64 KB. Such a write costs 64 units or more, so a batch saves almost
//!   nothing. Without this rule, 25 statements could exceed DynamoDB's limit for the size of a request (16 MB).
//!
//! [recorded]: third-party recordings of DynamoDB in the changelog of dynoxide, versions 0.13 to 3.2. The recordings
//! also show what statements can do: `SET` and `REMOVE` in any order and number, with one path each; nested paths of
//! quoted names; `IS [NOT] MISSING` and `attribute_type`; `=` with a parameter of any type, compared by value. Numbers
//! keep their 38 digits, because a parameter has the same form as a value of an `UpdateItem`. An `UPDATE` never creates
//! an item: if the item is missing, the statement's condition fails. A failed condition returns the item (`ALL_OLD`).

use super::guarded::{Action, Condition, GuardedWrite};
use crate::item::{Path, PathStep, Value, value_bytes};

/// The longest statement that DynamoDB accepts, in characters.
const MAX_STATEMENT_CHARS: usize = 8192;

/// The largest number of statements in one batch (API reference, "BatchExecuteStatement").
pub const MAX_STATEMENTS: usize = 25;

/// The largest number of operators and functions in the condition of a statement.
const MAX_STATEMENT_OPERATORS: usize = 300;

/// The largest number of levels of a parameter.
const MAX_PARAMETER_LEVELS: usize = 30;

/// The largest size of a statement's parameters, and of the item that it changes, in bytes.
const MAX_STATEMENT_BYTES: usize = 64 * 1024;

/// The test whether a path has a value. It counts as two operators.
const IS_PRESENT: &str = " IS NOT MISSING";

/// A PartiQL statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement<'w> {
    /// The statement. Each `?` stands for a parameter.
    pub text: String,
    /// The parameters, in the order of their question marks.
    pub parameters: Vec<&'w Value>,
}

/// Returns the statement for a write to this table, or `None` if the write must go by `UpdateItem`. A copied value is a
/// parameter, and the condition requires that its source still has this value, as in [`GuardedWrite::pinned`]. If two
/// paths must be equal, the condition requires that both still have the value that they have in the image.
pub fn statement<'w>(write: &'w GuardedWrite, table: &str) -> Option<Statement<'w>> {
    let mut out = Rendering::new(table)?;
    if write.actions.is_empty() || write.bytes_before.max(write.bytes_after) > MAX_STATEMENT_BYTES {
        return None;
    }
    write.actions.iter().try_for_each(|action| out.action(action))?;
    out.key(write)?;
    let required = required_values(write)?;
    for condition in &write.conditions {
        // A required value also proves that the path exists.
        if !matches!(condition, Condition::Exists(path) if required.iter().any(|(required, _)| *required == path)) {
            out.condition(condition, write)?;
        }
    }
    required.into_iter().try_for_each(|(path, value)| out.equals(path, value, write))?;
    out.finish()
}

/// Returns a statement that DynamoDB must refuse, because its condition is false. If an engine carries it out anyway,
/// the item stays as it is: the statement removes an attribute that the item does not have. `absent` is the name of
/// that attribute. With `other`, the condition compares the attribute with this value. Otherwise, it requires that the
/// attribute exists.
pub fn refused_statement<'w>(
    write: &'w GuardedWrite,
    table: &str,
    absent: &str,
    other: Option<&'w Value>,
) -> Option<Statement<'w>> {
    let mut out = Rendering::new(table)?;
    let path = Path::attribute(absent);
    out.assignment(&path, None)?;
    out.key(write)?;
    match other {
        Some(value) => out.equals(&path, value, write)?,
        None => out.test(&path, IS_PRESENT, 2)?,
    }
    out.finish()
}

/// Returns each path that must have a certain value, with that value. Returns `None` if a condition compares two paths,
/// and their value is not known.
fn required_values(write: &GuardedWrite) -> Option<Vec<(&Path, &Value)>> {
    let mut required: Vec<(&Path, &Value)> = Vec::new();
    let mut require = |path, value| {
        if !required.contains(&(path, value)) {
            required.push((path, value));
        }
    };
    for condition in &write.conditions {
        match condition {
            Condition::Equals(path, value) => require(path, value),
            Condition::PathsEqual(one, other) => {
                let (_, value) = write.equal_values.iter().find(|(path, _)| path == one)?;
                require(one, value);
                require(other, value);
            }
            Condition::ItemExists(_)
            | Condition::ItemMissing(_)
            | Condition::Exists(_)
            | Condition::Missing(_)
            | Condition::IsMap(_) => {}
        }
    }
    for action in &write.actions {
        if let Action::SetFrom { from, value, .. } = action {
            require(from, value);
        }
    }
    Some(required)
}

/// A statement that is being written.
struct Rendering<'w> {
    text: String,
    parameters: Vec<&'w Value>,
    operators: usize,
}

impl<'w> Rendering<'w> {
    fn new(table: &str) -> Option<Rendering<'w>> {
        let is_safe = table.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        is_safe.then(|| Rendering { text: format!("UPDATE \"{table}\""), parameters: Vec::new(), operators: 0 })
    }

    fn action(&mut self, action: &'w Action) -> Option<()> {
        let (to, value) = match action {
            Action::SetFrom { to, value, .. } | Action::SetValue { to, value } => (to, Some(value)),
            Action::Remove { path } => (path, None),
            Action::DeleteItem { .. } | Action::PutItem { .. } | Action::PutDerived { .. } => return None,
        };
        self.assignment(to, value)
    }

    /// Sets a path to this value, or removes the path.
    fn assignment(&mut self, to: &Path, value: Option<&'w Value>) -> Option<()> {
        self.text.push_str(if value.is_some() { " SET " } else { " REMOVE " });
        self.path(to)?;
        value.map_or(Some(()), |value| self.parameter(value))
    }

    /// Writes the condition that selects the item.
    fn key(&mut self, write: &'w GuardedWrite) -> Option<()> {
        for (position, (name, value)) in write.key.attributes().iter().enumerate() {
            self.text.push_str(if position == 0 { " WHERE " } else { " AND " });
            // The operator of the comparison. From the second attribute on, also the `AND`.
            self.operators += 1 + usize::from(position > 0);
            self.name(name)?;
            self.parameter(value)?;
        }
        Some(())
    }

    fn condition(&mut self, condition: &Condition, write: &GuardedWrite) -> Option<()> {
        let is_key = |path: &Path| write.key.attributes().contains_key(path.root());
        match condition {
            // An `UPDATE` requires that the item exists.
            Condition::ItemExists(name) => write.key.attributes().contains_key(name).then_some(()),
            Condition::Exists(path) if is_key(path) => path.is_top_level().then_some(()),
            Condition::Exists(path) => self.test(path, IS_PRESENT, 2),
            Condition::Missing(path) if !is_key(path) => self.test(path, " IS MISSING", 1),
            Condition::IsMap(path) if !is_key(path) => {
                self.and(1);
                self.text.push_str("attribute_type(");
                self.path(path)?;
                self.text.push_str(", 'M')");
                Some(())
            }
            // `required_values` has the values of these conditions.
            Condition::Equals(..) | Condition::PathsEqual(..) => Some(()),
            Condition::ItemMissing(_) | Condition::Missing(_) | Condition::IsMap(_) => None,
        }
    }

    fn equals(&mut self, path: &Path, value: &'w Value, write: &GuardedWrite) -> Option<()> {
        if let Some(key) = write.key.attributes().get(path.root()) {
            // The statement selects the item by this value already. DynamoDB refuses two conditions on one key
            // attribute.
            return (path.is_top_level() && key == value).then_some(());
        }
        self.and(1);
        self.path(path)?;
        self.parameter(value)
    }

    fn test(&mut self, path: &Path, test: &str, operators: usize) -> Option<()> {
        self.and(operators);
        self.path(path)?;
        self.text.push_str(test);
        Some(())
    }

    fn and(&mut self, operators: usize) {
        self.text.push_str(" AND ");
        self.operators += 1 + operators;
    }

    /// Writes ` = ?`.
    fn parameter(&mut self, value: &'w Value) -> Option<()> {
        self.text.push_str(" = ?");
        self.parameters.push(value);
        (!value.nests_deeper_than(MAX_PARAMETER_LEVELS)).then_some(())
    }

    fn path(&mut self, path: &Path) -> Option<()> {
        for (position, step) in path.steps().iter().enumerate() {
            match step {
                PathStep::Name(name) => {
                    if position > 0 {
                        self.text.push('.');
                    }
                    self.name(name)?;
                }
                PathStep::Index(index) => self.text.push_str(&format!("[{index}]")),
            }
        }
        Some(())
    }

    fn name(&mut self, name: &str) -> Option<()> {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || " _-.:#@/".contains(c);
        if name.is_empty() || !name.chars().all(is_safe) {
            return None;
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push('"');
        Some(())
    }

    fn finish(self) -> Option<Statement<'w>> {
        let Rendering { text, parameters, operators } = self;
        let bytes: usize = parameters.iter().map(|value| value_bytes(value)).sum();
        let fits =
            text.len() <= MAX_STATEMENT_CHARS && operators <= MAX_STATEMENT_OPERATORS && bytes <= MAX_STATEMENT_BYTES;
        fits.then_some(Statement { text, parameters })
    }
}
