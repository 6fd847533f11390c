//! Stores the flag as an item of a table, and changes the item by conditional writes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::schema::{from_item, to_item};
use super::sight::CHANGE_TIME_MARGIN;
use super::store::{FlagStore, FlagStoreError, time_after};
use super::{Flag, FlagMeta};
use crate::clock::Clock;
use crate::dynamodb::control::{Control, ControlError, ControlItem, WRITER};
use crate::item::{Item, ItemKey, KeySchema, Value};
use crate::plan::{FlagKey, LEASE_SUFFIX};

/// Returns two items: the flag, and the lease next to the flag.
pub async fn flag_and_lease_items(
    table: Arc<dyn Control>,
    name: &str,
    key: &FlagKey,
) -> Result<(ControlItem, ControlItem), ControlError> {
    let attributes = match key {
        FlagKey::Attributes(attributes) => attributes.clone(),
        FlagKey::Partition(value) => {
            // The name of the key attribute is not known yet, so messages must not contain one.
            let shown = item_name(name, value);
            let unnamed = ControlItem::new(Arc::clone(&table), name, ItemKey::new(Item::new()), "").with_name(shown);
            vec![(only_key(&unnamed.key().await?, name, value)?, value.clone())]
        }
    };
    let partition = attributes.first().map_or("", |(name, _)| name).to_owned();
    let last = attributes.len() - 1;
    let item = |suffix: &str| {
        let value = |(place, (name, value)): (usize, &(String, String))| {
            let suffix = if place == last { suffix } else { "" };
            (name.clone(), Value::S(format!("{value}{suffix}")))
        };
        let key = ItemKey::new(attributes.iter().enumerate().map(value).collect());
        ControlItem::new(Arc::clone(&table), name, key, &partition)
    };
    Ok((item(""), item(LEASE_SUFFIX)))
}

/// Returns the flag's name in messages if the name of the table's key attribute is unknown.
fn item_name(table: &str, value: &str) -> String {
    format!("item {value:?} of table {table}")
}

/// Returns the name of the table's only key attribute. Fails if the table has a sort key, or if the key is not a
/// string.
fn only_key(schema: &KeySchema, table: &str, value: &str) -> Result<String, ControlError> {
    let attribute = |name: &str| format!("{name:?} = \"…\"");
    let why = match (&schema.sort, schema.partition.kind.as_str()) {
        (None, "S") => return Ok(schema.partition.name.clone()),
        (None, kind) => format!("its partition key has the type {kind}, but the flag's key is a string"),
        (Some(sort), _) => format!(
            "the table has a sort key too, so write `key = {{ {}, {} }}`",
            attribute(&schema.partition.name),
            attribute(&sort.name)
        ),
    };
    Err(ControlError::KeyMismatch { item: item_name(table, value), why })
}

/// The flag as an item of a table.
pub struct TableStore {
    item: ControlItem,
    clock: Clock,
}

impl TableStore {
    /// Creates the store for the flag in this item.
    pub fn new(item: ControlItem, clock: Clock) -> TableStore {
        TableStore { item, clock }
    }
}

#[async_trait]
impl FlagStore for TableStore {
    async fn read(&self) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError> {
        Ok(self.item.get().await?.map(|item| from_item(&item)).transpose()?)
    }

    async fn change(&self, expected: Option<&Flag>, next: &Flag, meta: &FlagMeta) -> Result<Flag, FlagStoreError> {
        let safe = next.clone().with_changed_at(time_after(&self.clock, CHANGE_TIME_MARGIN));
        let condition = expected.map(|flag| state_of(flag, meta));
        let written = match self.item.put(to_item(&safe, meta), condition.as_ref()).await {
            Ok(written) => written,
            Err(ControlError::Changed { found, .. }) => return Err(changed(expected, found)),
            Err(other) => return Err(other.into()),
        };
        // The change is in effect now, so applications no longer read the earlier state. A later recorded time would
        // only make the wait longer.
        let stored = next.clone().with_changed_at((self.clock)());
        let ours = written.into_iter().filter(|(name, _)| ["version", WRITER].contains(&&**name)).collect();
        match self.item.put(to_item(&stored, meta), Some(&ours)).await {
            Ok(_) => Ok(stored),
            Err(ControlError::Changed { found, .. }) => Err(changed(Some(&safe), found)),
            // The change is in effect even though this second write failed. The change's recorded time is later than
            // necessary, which is safe.
            Err(_) => Ok(safe),
        }
    }

    /// After one strongly consistent read has shown a change, every later strongly consistent read shows the change
    /// too.
    fn propagation_delay(&self) -> Duration {
        Duration::ZERO
    }

    fn location(&self) -> String {
        self.item.name().to_owned()
    }
}

/// Returns the attributes that the condition of a change compares. These are the version and the settings that a change
/// can modify.
fn state_of(flag: &Flag, meta: &FlagMeta) -> Item {
    const STATE: [&str; 6] = ["version", "write", "read", "read_percent", "contracting", "old_stale"];
    to_item(flag, meta).into_iter().filter(|(name, _)| STATE.contains(&name.as_str())).collect()
}

fn changed(expected: Option<&Flag>, found: Option<Item>) -> FlagStoreError {
    let expected = expected.cloned().map(Box::new);
    match found.map(|item| from_item(&item)) {
        Some(Err(error)) => error.into(),
        Some(Ok((flag, meta))) => {
            FlagStoreError::Changed { expected, found: Some(Box::new(flag)), actor: Some(meta.actor) }
        }
        None => FlagStoreError::Changed { expected, found: None, actor: None },
    }
}

#[cfg(test)]
mod tests;
