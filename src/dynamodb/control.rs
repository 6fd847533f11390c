//! Reads and writes control items: a few small items of a separate table (the flag, a lease). Control items are read
//! strongly consistently and written only under conditions. [`ControlItem`] retries requests. If the reply to a write
//! was lost, [`ControlItem`] finds out whether the current item comes from that write or from a different writer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{Directive, FatalKind, TableError};
use crate::backoff::Backoff;
use crate::item::{Item, ItemKey, KeySchema, Value};
use crate::machine::Random;

/// Access to a table of control items. An implementation sends each request once and reports the result.
#[async_trait]
pub trait Control: Send + Sync {
    /// The key from the table's description.
    async fn key(&self) -> Result<KeySchema, TableError>;

    /// A strongly consistent `GetItem`.
    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, TableError>;

    /// Replaces the whole item if the current item meets the condition `expected`. Once this method returns `Done`, the
    /// write is durable. After an ambiguous error ([`TableError::is_ambiguous`]), the item may or may not have been
    /// written.
    async fn put(&self, item: &Item, expected: &PutCondition) -> Result<PutReply, TableError>;
}

/// The condition of a write. If the current item does not meet it, the write changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutCondition {
    /// There must be no item with this key.
    Absent {
        /// Name of the partition key.
        partition: String,
    },
    /// There must be an item in which each of these attributes has the given value. The map has at least one attribute.
    Attributes(Item),
}

/// DynamoDB's reply to a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutReply {
    /// The item was written.
    Done,
    /// The current item did not meet the condition. The write changed nothing.
    ConditionFailed,
}

/// The reason why a control item could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No request will succeed until somebody fixes the cause.
    #[error("{item} cannot be used: {message}. {}", remedy(*.kind, .item))]
    Unusable {
        /// The name of the item in messages.
        item: String,
        /// The kind of problem that the operator has to fix.
        kind: FatalKind,
        /// DynamoDB's message.
        message: String,
    },
    /// All attempts failed within the time for retries.
    #[error(
        "{item} could not be {operation} within {} s: {message}. {}",
        .patience.as_secs(),
        if *.uncertain { "It may have been written: run the same command again, which checks first" }
        else { "It was not changed: run the same command again" }
    )]
    GaveUp {
        /// The name of the item in messages.
        item: String,
        /// `read` or `written`.
        operation: &'static str,
        /// The time for which the request was retried.
        patience: Duration,
        /// The last error.
        message: String,
        /// Whether the write may have been applied, or may still be applied.
        uncertain: bool,
    },
    /// The table's key differs from the plan.
    #[error("{item} cannot exist: {why}. Correct `key` in the plan's [cutover]; nothing was done")]
    KeyMismatch {
        /// The name of the item in messages.
        item: String,
        /// A description of the difference between the keys.
        why: String,
    },
    /// The current item comes from a different writer, which wrote it before or right after this write.
    #[error("{item} was changed by somebody else in the meantime: check it, and run the command again")]
    Changed {
        /// The name of the item in messages.
        item: String,
        /// The current item. `None` if there is none.
        found: Option<Item>,
    },
}

/// The attribute with the random name of the item's last write.
pub const WRITER: &str = "writer";

/// The time for which a request is retried. Throttles and leader changes are usually shorter than this. An operator who
/// waits at a terminal without output can accept this time.
const PATIENCE: Duration = Duration::from_secs(30);

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

/// One control item, identified by its key.
#[derive(Clone)]
pub struct ControlItem {
    table: Arc<dyn Control>,
    name: String,
    key: ItemKey,
    partition: String,
    /// Supplies the random names of the item's writes and the jitter of the backoff.
    random: Random,
}

impl ControlItem {
    /// Creates access to the item with this key. `table_name` is used in messages. `partition` is the name of the
    /// table's partition key.
    pub fn new(table: Arc<dyn Control>, table_name: &str, key: ItemKey, partition: &str) -> ControlItem {
        let name = format!("item {key} of table {table_name}");
        let random = Random::from_entropy();
        ControlItem { table, name, key, partition: partition.to_owned(), random }
    }

    /// Returns the same control item with `random` as its source of randomness.
    pub fn with_random(self, random: Random) -> ControlItem {
        ControlItem { random, ..self }
    }

    /// The name of the item in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key schema of the item's table.
    pub async fn key(&self) -> Result<KeySchema, ControlError> {
        let mut patience = RetryTimer::start();
        loop {
            match self.table.key().await {
                Ok(key) => return Ok(key),
                Err(error) => patience.wait_or_give_up(self, "read", false, error).await?,
            }
        }
    }

    /// Reads the current item.
    pub async fn get(&self) -> Result<Option<Item>, ControlError> {
        let mut patience = RetryTimer::start();
        loop {
            match self.table.get(&self.key).await {
                Ok(item) => return Ok(item),
                Err(error) => patience.wait_or_give_up(self, "read", false, error).await?,
            }
        }
    }

    /// Replaces the attributes of the item, except its key, if the current item has the attributes of `expected`. If
    /// `expected` is `None`, there must be no item. When this returns, the write is durable. If the reply to a write
    /// was lost, the attribute [`WRITER`] shows whether that write was applied. After [`ControlError::Changed`], the
    /// current item comes from a different writer.
    pub async fn put(&self, attributes: Item, expected: Option<&Item>) -> Result<Item, ControlError> {
        let mut item = attributes;
        item.extend(self.key.attributes().clone());
        item.insert(WRITER.to_owned(), Value::S(format!("{:032x}", self.random.name())));
        let expected = match expected {
            Some(attributes) => PutCondition::Attributes(attributes.clone()),
            None => PutCondition::Absent { partition: self.partition.clone() },
        };
        let mut patience = RetryTimer::start();
        let mut uncertain = false;
        loop {
            match self.table.put(&item, &expected).await {
                Ok(PutReply::Done) => return Ok(item),
                Ok(PutReply::ConditionFailed) => return self.resolve_failed_condition(item).await,
                Err(error) => {
                    uncertain |= error.is_ambiguous();
                    if let Err(gave_up) = patience.wait_or_give_up(self, "written", uncertain, error).await {
                        return self.check_after_last_attempt(item, uncertain, gave_up).await;
                    }
                }
            }
        }
    }

    /// Finds out why the condition failed. If an earlier attempt of this write was applied, the current item is our
    /// own.
    async fn resolve_failed_condition(&self, item: Item) -> Result<Item, ControlError> {
        match self.get().await? {
            Some(found) if found.get(WRITER) == item.get(WRITER) => Ok(item),
            found => Err(ControlError::Changed { item: self.name.clone(), found }),
        }
    }

    /// Reads the item once more after the last attempt failed. Returns the item if this write was applied after all,
    /// and otherwise the error of the last attempt.
    async fn check_after_last_attempt(
        &self,
        item: Item,
        uncertain: bool,
        gave_up: ControlError,
    ) -> Result<Item, ControlError> {
        if !uncertain {
            return Err(gave_up);
        }
        match self.table.get(&self.key).await {
            Ok(Some(found)) if found.get(WRITER) == item.get(WRITER) => Ok(item),
            _ => Err(gave_up),
        }
    }
}

impl fmt::Debug for ControlItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The time left for attempts.
struct RetryTimer {
    until: Instant,
    attempts: u32,
}

impl RetryTimer {
    fn start() -> RetryTimer {
        RetryTimer { until: Instant::now() + PATIENCE, attempts: 1 }
    }

    /// Waits before the next attempt. Returns an error if no time is left for an attempt.
    async fn wait_or_give_up(
        &mut self,
        of: &ControlItem,
        operation: &'static str,
        uncertain: bool,
        error: TableError,
    ) -> Result<(), ControlError> {
        let item = of.name.clone();
        if error.directive() == Directive::Retry {
            let wait = BACKOFF.wait(self.attempts, of.random.fraction());
            if Instant::now() + wait >= self.until {
                let message = error.to_string();
                return Err(ControlError::GaveUp { item, operation, patience: PATIENCE, message, uncertain });
            }
            self.attempts += 1;
            sleep(wait).await;
            return Ok(());
        }
        if let TableError::Fatal { kind, message } = error {
            return Err(ControlError::Unusable { item, kind, message });
        }
        // Every control item is small, and none of them is in an index. So if DynamoDB rejects one control item, it
        // would reject all of them.
        Err(ControlError::Unusable { item, kind: FatalKind::Request, message: error.to_string() })
    }
}

fn remedy(kind: FatalKind, item: &str) -> String {
    match kind {
        FatalKind::TableMissing => format!(
            "Create the table (a string partition key, on demand, is enough; the tool stores only {item} in it), or check \
             `table` in the plan's [cutover]: it must be in the account and region and at the endpoint of [table]"
        ),
        FatalKind::Permission => {
            "Grant dynamodb:GetItem, dynamodb:PutItem and dynamodb:DescribeTable on this table".to_owned()
        }
        FatalKind::Request => "Check `table` and `key` in the plan's [cutover] against the table".to_owned(),
        FatalKind::Credentials | FatalKind::Clock | FatalKind::Endpoint | FatalKind::Unsupported => {
            kind.remedy().to_owned()
        }
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
