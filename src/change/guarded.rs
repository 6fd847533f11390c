//! A guarded write: one conditional update of one item, independent of how it is sent.

use super::pre_image::{PreImage, PriorValue};
use crate::item::{Item, ItemKey, Path, Units, Value};

/// One `UpdateItem`, with the condition that makes it safe against every live writer.
///
/// It is a structure and not an expression, because single and batched transports use different syntax.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct GuardedWrite {
    /// The key of the item.
    pub key: ItemKey,
    /// The changes of paths in the item. There is at least one action, and no two actions have overlapping paths.
    pub actions: Vec<Action>,
    /// The conditions that must be true at the moment of the write. The first condition is always
    /// [`Condition::ItemExists`].
    pub conditions: Vec<Condition>,
    /// The information that a rollback of this write needs, mainly the values that the write destroys. This information
    /// must be durable before the write is sent. Each destroyed value is also in `conditions`.
    pub pre_images: Vec<PreImage>,
    /// Size of the item in bytes, in the image that this write was planned from.
    pub bytes_before: usize,
    /// Size of the item in bytes after this write, if the item still matches that image.
    pub bytes_after: usize,
    /// The capacity that the write will consume.
    pub cost: WriteCost,
}

/// Number of bytes that a journal row needs besides its key, its path and its value. The key is stored twice because of
/// an index. These bytes are for the row's numbers, its time, and the database's overhead.
/// `tests/state/store/journal.rs` measures them.
const JOURNAL_ROW_BYTES: usize = 80;

impl GuardedWrite {
    /// A write to the item with this partition key. The write costs one unit and changes nothing.
    #[cfg(test)]
    pub(crate) fn for_test(partition: &str) -> GuardedWrite {
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

    /// The same write for a transport that cannot let DynamoDB copy a value: a batch of statements, or a write to
    /// another table. The copied values pass through the client, and the condition pins each source to its value, so
    /// the write fails if a writer changes a source meanwhile. If the write is accepted, it has the same effect as the
    /// write in which DynamoDB copies.
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

    /// Requires that a path has this value. This makes a separate condition for the existence of the path redundant, so
    /// that condition is removed.
    fn pin(&mut self, path: &Path, value: &Value) {
        let pin = Condition::Equals(path.clone(), value.clone());
        if !self.conditions.contains(&pin) {
            self.conditions.retain(|condition| *condition != Condition::Exists(path.clone()));
            self.conditions.push(pin);
        }
    }

    /// Maximum number of bytes that the journal needs for this write. The journal may need fewer bytes, because it
    /// compresses values if that makes them smaller.
    pub fn journal_bytes(&self) -> usize {
        let key = self.key.to_text().len();
        let row = |pre: &PreImage| {
            let value = match &pre.prior {
                PriorValue::Value(value) => 1 + value.to_json().to_string().len(),
                PriorValue::Nothing | PriorValue::SameAsSource | PriorValue::Leftover(_) => 0,
            };
            JOURNAL_ROW_BYTES + 2 * key + pre.path.to_string().len() + value
        };
        self.pre_images.iter().map(row).sum()
    }
}

/// Write capacity that a write will consume, estimated from the image that the write was planned from.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct WriteCost {
    /// Write capacity units of the table, including its local indexes.
    pub table: Units,
    /// Write capacity units of each global index that the write touches, with the position of the index in
    /// `Changes::indexes`.
    pub indexes: Vec<(usize, Units)>,
}

impl WriteCost {
    /// The sum of all write capacity units. AWS bills this number.
    pub fn total(&self) -> Units {
        self.table + self.indexes.iter().map(|(_, units)| units).sum::<Units>()
    }
}

/// A change of one path.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// DynamoDB copies the value that the source has at the moment of the write.
    SetFrom {
        /// The path that gets the value.
        to: Path,
        /// The path that has the value.
        from: Path,
        /// The source's value in the image that the write was planned from. A transport that lets DynamoDB copy does
        /// not send this value.
        value: Value,
    },
    /// The request contains the value.
    SetValue {
        /// The path that gets the value.
        to: Path,
        /// The value that is written.
        value: Value,
    },
    /// The path is removed.
    Remove {
        /// The removed path.
        path: Path,
    },
}

impl Action {
    /// The path that the action changes.
    pub fn path(&self) -> &Path {
        match self {
            Action::SetFrom { to, .. } | Action::SetValue { to, .. } => to,
            Action::Remove { path } => path,
        }
    }

    /// The value that the action writes for this image. `None` if the action removes the path, or copies from a path
    /// without a value.
    pub fn written_value<'a>(&'a self, image: &'a Item) -> Option<&'a Value> {
        match self {
            Action::SetFrom { from, .. } => from.get(image),
            Action::SetValue { value, .. } => Some(value),
            Action::Remove { .. } => None,
        }
    }
}

/// One term of a guarded write's condition. All terms must be true.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The item still exists: `attribute_exists` of the named partition key attribute.
    ItemExists(String),
    /// The path has a value.
    Exists(Path),
    /// The path has no value.
    Missing(Path),
    /// The path has a map, so that a member of the map can be set.
    IsMap(Path),
    /// The path has exactly this value.
    Equals(Path, Value),
    /// Both paths have values, and they are equal.
    PathsEqual(Path, Path),
}
