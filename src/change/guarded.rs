//! A guarded write: one conditional write of one item, independent of how it is sent.

use std::sync::Arc;

use super::pre_image::{PreImage, PriorValue};
use crate::item::{Item, ItemKey, Path, Units, Value, item_to_json};

/// One `UpdateItem`, `DeleteItem` or `PutItem`, with the condition that makes it safe against every live writer.
///
/// The write is stored as a structure, not as expression text, because single and batched transports use different
/// syntax.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct GuardedWrite {
    /// The item's key.
    pub key: ItemKey,
    /// The changes to the item's paths. There is at least one action, and no two actions have overlapping paths. An
    /// action on the whole item is the only action of its write.
    pub actions: Vec<Action>,
    /// The conditions that must be true at the moment of the write. The first condition is always
    /// [`Condition::ItemExists`], or [`Condition::ItemMissing`] if the write creates the item.
    pub conditions: Vec<Condition>,
    /// The value in the image of each pair of paths that a condition compares ([`Condition::PathsEqual`]), with the
    /// first path of the pair. These values are sent only by a transport that cannot make DynamoDB compare two paths.
    pub equal_values: Vec<(Path, Value)>,
    /// The information that a rollback of this write needs, mainly the values that the write destroys. This information
    /// must be durable before the write is sent. `conditions` also contains each destroyed value.
    pub pre_images: Vec<PreImage>,
    /// The item's size in bytes in the image from which this write was planned.
    pub bytes_before: usize,
    /// The item's size in bytes after this write, if the item still matches that image.
    pub bytes_after: usize,
    /// The capacity that the write will consume. If the write puts a derived item into another table, the capacity that
    /// the check of its source will consume.
    pub cost: WriteCost,
    /// The capacity that the put will consume on another table. `None` if the write touches only one table. The positions
    /// of indexes refer to that table.
    pub cost_elsewhere: Option<WriteCost>,
    /// The item as this write leaves it, if the item needs a further write. `None` if this is the item's only or last
    /// write. Only a plan with `split = true` has several writes for one item.
    pub next: Option<Box<NextWrite>>,
}

/// The basis of the decision about an item's next write.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct NextWrite {
    /// The item after the write, if nobody else has changed it since it was read. The next write is guarded like every
    /// other write, so it fails if this image is stale.
    pub image: Item,
}

/// Number of bytes that a journal row needs in addition to its key (stored twice because of an index), its path and its
/// value. These bytes contain the row's numeric columns, its time, and the database's overhead.
/// `tests/state/store/journal.rs` measures them.
const JOURNAL_ROW_BYTES: usize = 80;

impl GuardedWrite {
    /// Creates a write to the item with this partition key. The write costs one unit and changes nothing.
    #[cfg(test)]
    pub(crate) fn for_test(partition: &str) -> GuardedWrite {
        GuardedWrite {
            key: ItemKey::new([("pk".to_owned(), Value::S(partition.to_owned()))].into()),
            actions: Vec::new(),
            conditions: Vec::new(),
            equal_values: Vec::new(),
            pre_images: Vec::new(),
            bytes_before: 100,
            bytes_after: 100,
            cost: WriteCost { table: 1.0, indexes: Vec::new() },
            cost_elsewhere: None,
            next: None,
        }
    }

    /// Returns the same write for a transport that cannot make DynamoDB copy a value: a batch of statements, or a write
    /// to another table. The copied values pass through the client. The condition pins each source to its value, so the
    /// write fails if a writer changes a source meanwhile. If the write is accepted, it has the same effect as the
    /// write in which DynamoDB copies the values.
    pub fn pinned(&self) -> GuardedWrite {
        let mut pinned = self.clone();
        pinned.actions = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action {
                Action::SetFrom { to, from, value } => {
                    pinned.actions.push(Action::SetValue { to: to.clone(), value: value.clone() });
                    pinned.pin(from, value);
                }
                Action::SetValue { .. }
                | Action::Remove { .. }
                | Action::DeleteItem { .. }
                | Action::PutItem { .. }
                | Action::PutDerived { .. } => pinned.actions.push(action.clone()),
            }
        }
        pinned
    }

    /// Returns the write with these conditions in addition to its own.
    #[must_use]
    pub fn with_conditions<'a>(mut self, conditions: impl IntoIterator<Item = &'a Condition>) -> GuardedWrite {
        for condition in conditions {
            if let Condition::Equals(path, value) = condition {
                self.pin(path, value);
            } else if !self.conditions.contains(condition) {
                self.conditions.push(condition.clone());
            }
        }
        self
    }

    /// Requires that a path has this value. A separate condition for the path's existence is then redundant, so this
    /// function removes that condition.
    fn pin(&mut self, path: &Path, value: &Value) {
        let pin = Condition::Equals(path.clone(), value.clone());
        if !self.conditions.contains(&pin) {
            self.conditions.retain(|condition| *condition != Condition::Exists(path.clone()));
            self.conditions.push(pin);
        }
    }

    /// Returns the image of the item that this write deletes, or `None` if it deletes no item.
    pub fn deleted_item(&self) -> Option<&Item> {
        self.actions.iter().find_map(|action| match action {
            Action::DeleteItem { image } => Some(image),
            Action::SetFrom { .. }
            | Action::SetValue { .. }
            | Action::Remove { .. }
            | Action::PutItem { .. }
            | Action::PutDerived { .. } => None,
        })
    }

    /// Returns whether this write deletes or creates the whole item, or leaves it unchanged and puts a derived item.
    pub fn changes_whole_item(&self) -> bool {
        self.deleted_item().is_some() || self.created_item().is_some() || self.derived_item().is_some()
    }

    /// Returns the derived item that this write puts, or `None` if it puts no derived item.
    pub fn derived_item(&self) -> Option<&Item> {
        self.actions.iter().find_map(Action::derived_item)
    }

    /// Returns the key of the derived item that this write puts, or `None` if it puts no derived item.
    pub fn derived_key(&self) -> Option<&ItemKey> {
        self.actions.iter().find_map(|action| match action {
            Action::PutDerived { key, .. } => Some(key),
            Action::SetFrom { .. }
            | Action::SetValue { .. }
            | Action::Remove { .. }
            | Action::DeleteItem { .. }
            | Action::PutItem { .. } => None,
        })
    }

    /// Returns the table that the derived item of this write goes to. `None` if it is the table of the write, or if the
    /// write puts no derived item.
    pub fn other_table(&self) -> Option<&str> {
        self.actions.iter().find_map(|action| match action {
            Action::PutDerived { table, .. } => table.as_deref(),
            Action::SetFrom { .. }
            | Action::SetValue { .. }
            | Action::Remove { .. }
            | Action::DeleteItem { .. }
            | Action::PutItem { .. } => None,
        })
    }

    /// Returns the sum of all write capacity units that the write will consume, on all tables.
    pub fn total_cost(&self) -> Units {
        self.cost.total() + self.cost_elsewhere.as_ref().map_or(0.0, WriteCost::total)
    }

    /// Returns the key under which the journal records this write: that of the item that it changes.
    pub fn record_key(&self) -> &ItemKey {
        self.derived_key().unwrap_or(&self.key)
    }

    /// Returns the item that this write creates, or `None` if it creates no item.
    pub fn created_item(&self) -> Option<&Item> {
        self.actions.iter().find_map(Action::created_item)
    }

    /// Returns the maximum number of bytes that the journal needs for this write. The journal may need fewer bytes,
    /// because it compresses values if that makes them smaller.
    pub fn journal_bytes(&self) -> usize {
        let key = self.record_key().to_text().len();
        let row = |pre: &PreImage| {
            let value = match &pre.prior {
                PriorValue::Value(value) => 1 + value.to_json().to_string().len(),
                PriorValue::Item(item) => 1 + item_to_json(item).to_string().len(),
                PriorValue::Nothing | PriorValue::SameAsSource | PriorValue::Mark(_) | PriorValue::Leftover(_) => 0,
            };
            JOURNAL_ROW_BYTES + 2 * key + pre.path.to_string().len() + value
        };
        let planned = self.pre_images.iter().map(row).sum::<usize>();
        // The confirmation of a put repeats the rows that were recorded before the put, and adds one row.
        if self.derived_item().is_some() { 2 * planned + JOURNAL_ROW_BYTES + 2 * key } else { planned }
    }
}

/// The write capacity that a write will consume, estimated from the image from which the write was planned.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct WriteCost {
    /// Write capacity units for the table, including its local indexes.
    pub table: Units,
    /// Write capacity units for each global index that the write touches. Each entry starts with the index's position
    /// in `Changes::indexes`.
    pub indexes: Vec<(usize, Units)>,
}

impl WriteCost {
    /// Returns the sum of all write capacity units, which is the number that AWS bills.
    pub fn total(&self) -> Units {
        self.table + self.indexes.iter().map(|(_, units)| units).sum::<Units>()
    }
}

/// A change to one path.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// DynamoDB copies the value that the source has at the moment of the write.
    SetFrom {
        /// The path that gets the value.
        to: Path,
        /// The path whose value is copied.
        from: Path,
        /// The source's value in the image from which the write was planned. This value is not sent if DynamoDB itself
        /// copies the value.
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
    /// The whole item is deleted (`DeleteItem`).
    DeleteItem {
        /// The image from which the write was planned. This image is not sent.
        image: Item,
    },
    /// The item is created with exactly these attributes (`PutItem`). The condition requires that no item with the key
    /// exists.
    PutItem {
        /// The item, with its key.
        item: Item,
    },
    /// A derived item is put in the same transaction that checks the conditions of the write. The transaction leaves
    /// the item of the write unchanged. It also requires that no item with the derived key exists.
    PutDerived {
        /// The table that gets the derived item, in the account and region of the write. `None` for the table of the
        /// write.
        table: Option<Arc<str>>,
        /// The key of the derived item. In the table of the write, it differs from the key of the write.
        key: ItemKey,
        /// The derived item, with its key.
        item: Item,
    },
}

impl Action {
    /// Returns the path that the action changes, or `None` if it deletes or creates the whole item.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Action::SetFrom { to, .. } | Action::SetValue { to, .. } => Some(to),
            Action::Remove { path } => Some(path),
            Action::DeleteItem { .. } | Action::PutItem { .. } | Action::PutDerived { .. } => None,
        }
    }

    /// Returns the item that the action creates, or `None` if it creates no item.
    pub fn created_item(&self) -> Option<&Item> {
        match self {
            Action::PutItem { item } => Some(item),
            Action::SetFrom { .. }
            | Action::SetValue { .. }
            | Action::Remove { .. }
            | Action::DeleteItem { .. }
            | Action::PutDerived { .. } => None,
        }
    }

    /// Returns the derived item that the action puts, or `None` if it puts no derived item.
    pub fn derived_item(&self) -> Option<&Item> {
        match self {
            Action::PutDerived { item, .. } => Some(item),
            Action::SetFrom { .. }
            | Action::SetValue { .. }
            | Action::Remove { .. }
            | Action::DeleteItem { .. }
            | Action::PutItem { .. } => None,
        }
    }

    /// Returns the value that the action writes for this image. Returns `None` if the action removes the path, copies
    /// from a path without a value, or changes the whole item.
    pub fn written_value<'a>(&'a self, image: &'a Item) -> Option<&'a Value> {
        match self {
            Action::SetFrom { from, .. } => from.get(image),
            Action::SetValue { value, .. } => Some(value),
            Action::Remove { .. } | Action::DeleteItem { .. } | Action::PutItem { .. } | Action::PutDerived { .. } => {
                None
            }
        }
    }
}

/// One term of a guarded write's condition. All terms must be true.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The item still exists: `attribute_exists` of the named partition key attribute.
    ItemExists(String),
    /// No item with this key exists: `attribute_not_exists` of the named partition key attribute.
    ItemMissing(String),
    /// The path has a value.
    Exists(Path),
    /// The path has no value.
    Missing(Path),
    /// The path contains a map, so a member of the map can be set.
    IsMap(Path),
    /// The path has exactly this value.
    Equals(Path, Value),
    /// Both paths have values, and the values are equal.
    PathsEqual(Path, Path),
}

impl Condition {
    /// Returns the paths that the condition tests.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Condition::ItemExists(_) | Condition::ItemMissing(_) => Vec::new(),
            Condition::Exists(path)
            | Condition::Missing(path)
            | Condition::IsMap(path)
            | Condition::Equals(path, _) => vec![path],
            Condition::PathsEqual(a, b) => vec![a, b],
        }
    }
}
