//! Where the flag is kept: an item of a table, under conditions, or whatever hooks reach ([`super::hooks`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;

use super::hooks::{HookError, HookStore};
use super::schema::{from_item, to_item};
use super::sight::AHEAD;
use super::{Flag, FlagMeta, SchemaError};
use crate::clock::Clock;
use crate::dynamodb::control::{Control, ControlError, ControlItem, WRITER};
use crate::dynamodb::sdk::{DynamoTable, connect};
use crate::dynamodb::{TableDescription, TableError};
use crate::item::{Item, ItemKey, KeySchema, Value};
use crate::outside::OutsideText;
use crate::plan::{Fingerprint, FlagKey, FlagPlace, LEASE_SUFFIX, Plan};

/// The flag, wherever it is kept.
#[async_trait]
pub trait FlagStore: Send + Sync {
    /// The flag as it is now, and on what ground; none where there is none yet.
    async fn read(&self) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError>;

    /// Makes the flag `next` where it is `expected` (none: where there is none). When this returns, the change is durable
    /// and in effect. It returns the flag as it is kept: its times are by when the change was in effect for certain, by this
    /// host's clock, so they may lie a little ahead.
    ///
    /// On an error that does not say otherwise the flag is what it was; [`FlagStore::read`] tells.
    async fn change(&self, expected: Option<&Flag>, next: &Flag, meta: &FlagMeta) -> Result<Flag, FlagStoreError>;

    /// For how long a change that somebody else makes may show before everybody who reads the flag reads it.
    fn lead(&self) -> Duration;

    /// Where it is, for people.
    fn place(&self) -> String;
}

/// Why the flag could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum FlagStoreError {
    /// It is not what it was when the change was decided on.
    #[error(
        "the flag was changed by somebody else{}: it was {}, and now it is {}. Nothing was changed on top of that: see \
         `backfill status`, and decide again",
        by_whom(.by), shown(.expected), shown(.found)
    )]
    Changed {
        /// What the change was for.
        expected: Option<Box<Flag>>,
        /// What there is.
        found: Option<Box<Flag>>,
        /// Who made the last change, as far as it says so.
        by: Option<OutsideText>,
    },
    /// It belongs to another plan.
    #[error(
        "{place} is the flag of another plan (fingerprint {found}; this one has {expected}). Nothing was changed. Name \
         another `key` in [cutover], or use the plan as it was"
    )]
    Foreign {
        /// Where it is.
        place: String,
        /// Its plan's fingerprint.
        found: OutsideText,
        /// This plan's.
        expected: String,
    },
    /// What is there is no flag of this version.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The table does not work.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// There is no way to the table.
    #[error("the flag's table cannot be reached: {error}. {}", .error.way_out())]
    Unreachable {
        /// Why.
        error: TableError,
    },
    /// A hook does not work.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// What `[cutover]` names, opened.
pub struct Opened {
    /// The flag.
    pub flag: Arc<dyn FlagStore>,
    /// The item of the lease beside it; hooks have none.
    pub lease: Option<ControlItem>,
}

/// Opens what the plan names; none where it names no flag. A table is only asked for its key, and only where the plan does
/// not say all of it; nothing is changed. `described` is the plan's table, if it was described: credentials that are renewed later
/// have to reach it.
pub async fn open(
    plan: &Plan,
    clock: Clock,
    described: Option<&TableDescription>,
) -> Result<Option<Opened>, FlagStoreError> {
    match &plan.cutover.flag {
        None => Ok(None),
        Some(FlagPlace::Exec(hooks)) => {
            Ok(Some(Opened { flag: Arc::new(HookStore::new(hooks.clone(), clock)), lease: None }))
        }
        Some(FlagPlace::Table { name, key }) => {
            let connection = connect(&plan.table).await.map_err(|error| FlagStoreError::Unreachable { error })?;
            if let Some(described) = described {
                connection.was_described(&plan.table.name, described);
            }
            let table: Arc<dyn Control> = Arc::new(DynamoTable::new(&connection, name));
            let (item, lease) = items(table, name, key).await?;
            Ok(Some(Opened { flag: Arc::new(TableStore::new(item, clock)), lease: Some(lease) }))
        }
    }
}

/// The items of the flag and of the lease beside it.
pub async fn items(
    table: Arc<dyn Control>,
    name: &str,
    key: &FlagKey,
) -> Result<(ControlItem, ControlItem), ControlError> {
    let attributes = match key {
        FlagKey::Attributes(attributes) => attributes.clone(),
        FlagKey::Partition(value) => {
            let schema = ControlItem::new(Arc::clone(&table), name, named(value), "").key().await?;
            vec![(only_key(&schema, name, value)?, value.clone())]
        }
    };
    let partition = attributes.first().map_or("", |(name, _)| name).to_owned();
    let beside = attributes.len() - 1;
    let item = |suffix: &str| {
        let value = |(place, (name, value)): (usize, &(String, String))| {
            let suffix = if place == beside { suffix } else { "" };
            (name.clone(), Value::S(format!("{value}{suffix}")))
        };
        let key = ItemKey::new(attributes.iter().enumerate().map(value).collect());
        ControlItem::new(Arc::clone(&table), name, key, &partition)
    };
    Ok((item(""), item(LEASE_SUFFIX)))
}

/// A key for messages, as long as nobody knows what the table calls it.
fn named(value: &str) -> ItemKey {
    ItemKey::new(Item::from([("key".to_owned(), Value::S(value.to_owned()))]))
}

/// The name of the table's only key attribute.
fn only_key(schema: &KeySchema, table: &str, value: &str) -> Result<String, ControlError> {
    let attribute = |name: &str| format!("{name:?} = \"…\"");
    let why = match (&schema.sort, schema.partition.kind.as_str()) {
        (None, "S") => return Ok(schema.partition.name.clone()),
        (None, kind) => format!("its partition key has the type {kind}, and the flag's key is a string"),
        (Some(sort), _) => format!(
            "the table has a sort key too, so write `key = {{ {}, {} }}`",
            attribute(&schema.partition.name),
            attribute(&sort.name)
        ),
    };
    Err(ControlError::OtherKey { item: format!("item {value:?} of table {table}"), why })
}

/// The flag as an item of a table.
pub struct TableStore {
    item: ControlItem,
    clock: Clock,
}

impl TableStore {
    /// The flag in this item.
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
        let (safe, condition) =
            (next.clone().made_at(by_then(&self.clock, AHEAD)), expected.map(|flag| state_of(flag, meta)));
        let written = match self.item.put(to_item(&safe, meta), condition.as_ref()).await {
            Ok(written) => written,
            Err(ControlError::Changed { found, .. }) => return Err(changed(expected, found)),
            Err(other) => return Err(other.into()),
        };
        // Applications may have read the state before until now, and no longer: nobody needs to wait for more.
        let kept = next.clone().made_at((self.clock)());
        let ours = written.into_iter().filter(|(name, _)| ["version", WRITER].contains(&&**name)).collect();
        match self.item.put(to_item(&kept, meta), Some(&ours)).await {
            Ok(_) => Ok(kept),
            Err(ControlError::Changed { found, .. }) => Err(changed(Some(&safe), found)),
            // The change is made; the time that it has is late, and safe.
            Err(_) => Ok(safe),
        }
    }

    /// A strongly consistent read that shows a change is followed by none that does not.
    fn lead(&self) -> Duration {
        Duration::ZERO
    }

    fn place(&self) -> String {
        self.item.name().to_owned()
    }
}

/// So far ahead of now.
pub(super) fn by_then(clock: &Clock, ahead: Duration) -> jiff::Timestamp {
    let now = clock();
    let ahead = SignedDuration::try_from(ahead).unwrap_or(SignedDuration::MAX);
    now.checked_add(ahead).unwrap_or(now)
}

/// Whether the flag belongs to this plan.
pub fn check_plan(place: &str, meta: &FlagMeta, plan: &Fingerprint) -> Result<(), FlagStoreError> {
    if meta.plan.as_it_is() == plan.as_str() {
        return Ok(());
    }
    Err(FlagStoreError::Foreign {
        place: place.to_owned(),
        found: meta.plan.as_it_is().chars().take(12).collect::<String>().into(),
        expected: plan.short().to_owned(),
    })
}

/// What a change is conditional on: the version, and everything that applications obey.
fn state_of(flag: &Flag, meta: &FlagMeta) -> Item {
    const STATE: [&str; 6] = ["version", "write", "read", "read_percent", "contracting", "old_stale"];
    to_item(flag, meta).into_iter().filter(|(name, _)| STATE.contains(&name.as_str())).collect()
}

fn changed(expected: Option<&Flag>, found: Option<Item>) -> FlagStoreError {
    let expected = expected.cloned().map(Box::new);
    match found.map(|item| from_item(&item)) {
        Some(Err(error)) => error.into(),
        Some(Ok((flag, meta))) => {
            FlagStoreError::Changed { expected, found: Some(Box::new(flag)), by: Some(meta.actor) }
        }
        None => FlagStoreError::Changed { expected, found: None, by: None },
    }
}

fn by_whom(actor: &Option<OutsideText>) -> String {
    actor.as_ref().map(|actor| format!(" ({actor})")).unwrap_or_default()
}

fn shown(flag: &Option<Box<Flag>>) -> String {
    flag.as_ref().map_or_else(|| "not there".to_owned(), |flag| format!("[{flag}]"))
}

#[cfg(test)]
mod tests;
