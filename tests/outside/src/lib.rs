//! A program outside the package that implements its own table. So a migration can run without AWS.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use backfill::ports::dynamodb::{
    Action, Condition, WriteConsumption, Describe, GetReply, GuardedWrite, Item, ItemKey, KeyAttribute, KeySchema, Page,
    PageRequest, Position, Recovery, Sink, Source, TableDescription, TableError, WriteReply,
};
use backfill::{
    Answer, ProgressUpdate, Migration, MigrationError, Notice, Observer, Question, RunOptions, StepOptions, Value,
    VerifyOptions,
};

/// The number of items per page. The number is small, so that even a small table has several pages.
const PAGE: usize = 7;

/// A table in memory, which is both source and sink. The key of the table is the string attribute `pk`.
#[derive(Default)]
pub struct MemoryTable {
    items: Mutex<BTreeMap<String, Item>>,
}

impl MemoryTable {
    /// Creates a table that contains these items.
    pub fn of(items: impl IntoIterator<Item = Item>) -> MemoryTable {
        let keyed = items.into_iter().filter_map(|item| Some((key_schema().key_of(&item)?.to_text(), item)));
        MemoryTable { items: Mutex::new(keyed.collect()) }
    }

    /// Returns the current items, in the order of their keys.
    pub fn items(&self) -> Vec<Item> {
        self.locked().values().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Item>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "pk".into(), kind: "S".into() }, sort: None }
}

#[async_trait]
impl Describe for MemoryTable {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        let arn = "arn:aws:dynamodb:memory:000000000000:table/people";
        let mut description = TableDescription::new("people", arn, key_schema());
        description.item_count = self.locked().len() as u64;
        description.size_bytes = 100 * description.item_count;
        Ok(description)
    }

    async fn recovery(&self) -> Result<Recovery, TableError> {
        Ok(Recovery { enabled: true, earliest: None, days: None })
    }

    async fn time_to_live(&self) -> Result<Option<String>, TableError> {
        Ok(None)
    }
}

#[async_trait]
impl Source for MemoryTable {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        let items = self.locked();
        let start = match &request.start {
            None => Bound::Unbounded,
            Some(Position::Key(key)) => Bound::Excluded(key.to_text()),
            Some(Position::Offset(_)) => return Err(TableError::foreign_position()),
        };
        let segment = |key: &str| key.bytes().map(u32::from).sum::<u32>() % request.total_segments;
        let mut rest = items.range((start, Bound::Unbounded)).filter(|(key, _)| segment(key) == request.segment);
        let limit = request.limit.map_or(PAGE, |limit| PAGE.min(limit as usize));
        let page: Vec<Item> = rest.by_ref().take(limit).map(|(_, item)| item.clone()).collect();
        let last = page.last().and_then(|item| key_schema().key_of(item));
        let next = last.filter(|_| rest.next().is_some()).map(Position::Key);
        Ok(Page { items: page, next, units: Some(1.0) })
    }
}

#[async_trait]
impl Sink for MemoryTable {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        chunk.iter().map(|write| self.apply(write)).collect()
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        Ok(GetReply { item: self.locked().get(&key.to_text()).cloned(), units: Some(1.0) })
    }
}

impl MemoryTable {
    /// Applies all actions if all conditions are true. Otherwise changes nothing.
    fn apply(&self, write: &GuardedWrite) -> Result<WriteReply, TableError> {
        let mut items = self.locked();
        let key = write.key.to_text();
        let nothing = Item::new();
        let before = items.get(&key).unwrap_or(&nothing);
        if !write.conditions.iter().all(|condition| holds(condition, before)) {
            return Ok(WriteReply::ConditionFailed { image: items.get(&key).cloned() });
        }
        if write.deleted_item().is_some() {
            let removed = items.remove(&key);
            return Ok(WriteReply::Applied { consumed: Some(units()), removed });
        }
        let mut after = before.clone();
        for action in &write.actions {
            let done = match (action, action.written_value(before)) {
                (Action::SetFrom { to, .. } | Action::SetValue { to, .. }, Some(value)) => {
                    to.set(&mut after, value.clone())
                }
                (Action::SetFrom { .. } | Action::SetValue { .. }, None) => false,
                (Action::Remove { path }, _) => {
                    path.remove(&mut after);
                    true
                }
                (Action::PutItem { item }, _) => {
                    after.clone_from(item);
                    true
                }
                (Action::DeleteItem { .. } | Action::PutDerived { .. }, _) => false,
            };
            if !done {
                return Err(TableError::Rejected { message: "a path cannot be set".to_owned() });
            }
        }
        items.insert(key, after);
        Ok(WriteReply::Applied { consumed: Some(units()), removed: None })
    }
}

fn units() -> WriteConsumption {
    WriteConsumption { table: 1.0, indexes: Vec::new(), elsewhere: None }
}

fn holds(condition: &Condition, item: &Item) -> bool {
    match condition {
        Condition::ItemExists(name) => item.contains_key(name),
        Condition::ItemMissing(name) => !item.contains_key(name),
        Condition::Exists(path) => path.get(item).is_some(),
        Condition::Missing(path) => path.get(item).is_none(),
        Condition::IsMap(path) => matches!(path.get(item), Some(Value::M(_))),
        Condition::Equals(path, value) => path.get(item) == Some(value),
        Condition::PathsEqual(one, other) => one.get(item).is_some_and(|value| other.get(item) == Some(value)),
    }
}

/// An observer that records progress reports and notices. It answers yes to every question that names its table.
pub struct Watcher {
    /// The table to which the observer allows writes.
    pub table: String,
    /// The maximum number of items in the progress reports.
    pub items: Mutex<u64>,
    /// The notices, as text.
    pub notices: Mutex<Vec<String>>,
}

impl Watcher {
    /// Creates an observer that agrees to writes to this table.
    pub fn new(table: &str) -> Arc<Watcher> {
        Arc::new(Watcher { table: table.to_owned(), items: Mutex::default(), notices: Mutex::default() })
    }
}

impl Observer for Watcher {
    fn notice(&self, notice: &Notice<'_>) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice.to_string());
    }

    fn progress(&self, figures: &ProgressUpdate) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        *items = figures.items.max(*items);
    }

    fn confirm(&self, question: &Question<'_>) -> Answer {
        if question.to_string().contains(&self.table) { Answer::Yes } else { Answer::No }
    }
}

/// Runs and verifies a plan. Rolls back if the verification finds mismatches.
///
/// # Errors
///
/// Returns an error if one of the migration's commands fails or is refused.
pub async fn migrate(migration: &Migration) -> Result<bool, MigrationError> {
    let run = migration.run(&RunOptions::default()).await?;
    if run.stopped().is_some() {
        return Ok(false);
    }
    let verified = migration.verify(&VerifyOptions::default()).await?;
    if verified.report().is_some_and(|(report, _)| report.mismatches == 0) {
        return Ok(true);
    }
    migration.rollback(&StepOptions::default()).await?;
    Ok(false)
}
