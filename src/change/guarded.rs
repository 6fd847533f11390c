//! A guarded write: one conditional update of one item, still independent of how it is sent.

use super::pre_image::{PreImage, PriorValue};
use crate::item::{Item, ItemKey, Path, Units, Value};

/// One `UpdateItem`, with the condition that makes it safe against every live writer.
///
/// Kept as structure, not as text, because the single and the batched transport spell it differently.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct GuardedWrite {
    /// The item.
    pub key: ItemKey,
    /// What changes; never empty, never two actions on overlapping paths.
    pub actions: Vec<Action>,
    /// What must hold at the instant of the write; starts with [`Condition::ItemExists`].
    pub conditions: Vec<Condition>,
    /// What a rollback of this write needs: values that it destroys, above all. They must be durable before it is sent; each
    /// is also in `conditions`.
    pub pre_images: Vec<PreImage>,
    /// Bytes of the whole item in the image that this was planned from.
    pub bytes_before: usize,
    /// Bytes of the whole item as this write would leave that image.
    pub bytes_after: usize,
    /// What it will consume.
    pub cost: WriteCost,
}

/// Bytes of a row of the journal, beside its key (twice, as there is an index), path and value: the figures and the time in
/// it, and the database's own. Measured in `tests/state/store/journal.rs`.
const JOURNAL_ROW: usize = 80;

impl GuardedWrite {
    /// A write to the item with this partition key. It costs one unit and changes nothing.
    #[cfg(test)]
    pub(crate) fn of_a_test(partition: &str) -> GuardedWrite {
        GuardedWrite {
            key: ItemKey::new([("pk".to_owned(), Value::S(partition.to_owned()))].into()),
            actions: Vec::new(),
            conditions: Vec::new(),
            pre_images: Vec::new(),
            bytes_before: 100,
            bytes_after: 100,
            cost: WriteCost { table: 1.0, indexes: Vec::new() },
        }
    }

    /// The same write for a transport that cannot let DynamoDB copy a value: a batch of statements, or a write to another
    /// table. The copied values travel, and the condition pins each source to the value that travels, so that a writer who
    /// changes a source in between makes the write fail. Whenever it is accepted, its effect is that of the copying write.
    pub fn pinned(&self) -> GuardedWrite {
        let mut pinned = self.clone();
        pinned.actions = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action {
                Action::SetFrom { to, from, value } => {
                    pinned.actions.push(Action::SetValue { to: to.clone(), value: value.clone() });
                    pinned.pin(from, value);
                }
                Action::SetValue { .. } | Action::Remove { .. } => pinned.actions.push(action.clone()),
            }
        }
        pinned
    }

    /// Requires that a path has this value. That it exists is then no condition of its own.
    fn pin(&mut self, path: &Path, value: &Value) {
        let pin = Condition::Equals(path.clone(), value.clone());
        if !self.conditions.contains(&pin) {
            self.conditions.retain(|condition| *condition != Condition::Exists(path.clone()));
            self.conditions.push(pin);
        }
    }

    /// Bytes that the journal takes for this write at most: an estimate from above, as values are compressed where that
    /// makes them smaller.
    pub fn journal_bytes(&self) -> usize {
        let key = self.key.to_text().len();
        let row = |pre: &PreImage| {
            let value = match &pre.prior {
                PriorValue::Value(value) => 1 + value.to_json().to_string().len(),
                PriorValue::Nothing | PriorValue::Same | PriorValue::Left(_) => 0,
            };
            JOURNAL_ROW + 2 * key + pre.path.to_string().len() + value
        };
        self.pre_images.iter().map(row).sum()
    }
}

/// Write capacity that a write will consume, estimated from the image that it was planned from.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct WriteCost {
    /// By the table, its local indexes included, in write capacity units.
    pub table: Units,
    /// By each global index that the write touches: its place among the indexes that the changes were prepared with, and
    /// write capacity units.
    pub indexes: Vec<(usize, Units)>,
}

impl WriteCost {
    /// Write capacity units in all: what is billed.
    pub fn total(&self) -> Units {
        self.table + self.indexes.iter().map(|(_, units)| units).sum::<Units>()
    }
}

/// One change of one path.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// DynamoDB copies the value that is current at the instant of the write.
    SetFrom {
        /// Target.
        to: Path,
        /// Source.
        from: Path,
        /// What the source had in the image that the write was planned from. A transport that lets DynamoDB copy does not send it.
        value: Value,
    },
    /// The value travels with the request.
    SetValue {
        /// Target.
        to: Path,
        /// The value.
        value: Value,
    },
    /// The path is removed.
    Remove {
        /// What is removed.
        path: Path,
    },
}

impl Action {
    /// The path that it changes.
    pub fn path(&self) -> &Path {
        match self {
            Action::SetFrom { to, .. } | Action::SetValue { to, .. } => to,
            Action::Remove { path } => path,
        }
    }

    /// The value that it puts there, on this image; none if it removes, or copies from a path without a value.
    pub fn value_on<'a>(&'a self, image: &'a Item) -> Option<&'a Value> {
        match self {
            Action::SetFrom { from, .. } => from.get(image),
            Action::SetValue { value, .. } => Some(value),
            Action::Remove { .. } => None,
        }
    }
}

/// One term of a guarded write's condition; all of them must hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The item still exists: `attribute_exists` of the named partition key attribute.
    ItemExists(String),
    /// The path has a value.
    Exists(Path),
    /// The path has no value.
    Missing(Path),
    /// The path is a map, so that a member of it can be set.
    IsMap(Path),
    /// The path has exactly this value.
    Equals(Path, Value),
    /// Both paths have values, and they are equal.
    Same(Path, Path),
}
