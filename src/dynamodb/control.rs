//! Reads and writes control items, such as the flag or a lease. Control items are a few small items in a separate
//! table. Every read is strongly consistent, and every write is conditional. [`ControlItem`] retries requests. If the
//! reply to a write is lost, [`ControlItem`] finds out whether that write or another writer produced the current item.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{Directive, FatalKind, TableError};
use crate::backoff::Backoff;
use crate::item::{Item, ItemKey, KeySchema, Value};
use crate::machine::Random;

/// Access to the table that contains the control items. An implementation sends each request once and reports the
/// result.
#[async_trait]
pub trait Control: Send + Sync {
    /// Returns the table's key schema from the table's description.
    async fn key(&self) -> Result<KeySchema, TableError>;

    /// Reads one item with a strongly consistent `GetItem`.
    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, TableError>;

    /// Replaces the whole item if the current item meets the condition `expected`. Once this method returns `Done`, the
    /// write is durable. After an ambiguous error ([`TableError::is_ambiguous`]), it is unknown whether the item was
    /// written.
    async fn put(&self, item: &Item, expected: &PutCondition) -> Result<PutReply, TableError>;
}

/// The condition for a write. If the current item does not meet the condition, the write changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutCondition {
    /// No item with this key exists.
    Absent {
        /// Name of the partition key.
        partition: String,
    },
    /// The item exists, and each of these attributes has the value in the map. The map contains at least one attribute.
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

/// An error that occurred while reading or writing a control item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Every request will fail until somebody fixes the cause.
    #[error("{item} cannot be used: {message}. {}", remedy(*.kind, .item))]
    Unusable {
        /// The item's name in messages.
        item: String,
        /// The kind of problem that the operator has to fix.
        kind: FatalKind,
        /// DynamoDB's message.
        message: String,
    },
    /// All attempts failed, and the retry timeout has expired.
    #[error(
        "{item} could not be {operation} within {} s: {message}. {}",
        .patience.as_secs(),
        if *.uncertain { "It may have been written. Run the same command again; the command checks this first" }
        else { "It was not changed. Run the same command again" }
    )]
    GaveUp {
        /// The item's name in messages.
        item: String,
        /// `read` or `written`.
        operation: &'static str,
        /// The time for which the request was retried.
        patience: Duration,
        /// The last error.
        message: String,
        /// Whether it is possible that the write was applied or will still be applied.
        uncertain: bool,
    },
    /// The table's key differs from the key in the plan.
    #[error("{item} cannot exist: {why}. Correct `key` in the plan's [cutover]; nothing was done")]
    KeyMismatch {
        /// The item's name in messages.
        item: String,
        /// A description of the difference between the keys.
        why: String,
    },
    /// Another writer wrote the current item, either before this write or immediately after it.
    #[error("{item} was changed by somebody else in the meantime: check it, and run the command again")]
    Changed {
        /// The item's name in messages.
        item: String,
        /// The current item. `None` if the item does not exist.
        found: Option<Item>,
    },
}

/// The attribute that contains the random name of the item's last write. Each write has a different name.
pub const WRITER: &str = "writer";

/// The timeout for retries. Throttling and leader changes usually end sooner, and an operator tolerates a silent
/// terminal for this long.
const PATIENCE: Duration = Duration::from_secs(30);

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

/// One control item, identified by its key.
#[derive(Clone)]
pub struct ControlItem {
    table: Arc<dyn Control>,
    name: String,
    key: ItemKey,
    partition: String,
    /// The source of randomness for the names of writes and for the jitter of the backoff.
    random: Random,
}

impl ControlItem {
    /// Creates a handle for the item with this key. Messages contain `table_name`. `partition` is the name of the
    /// table's partition key.
    pub fn new(table: Arc<dyn Control>, table_name: &str, key: ItemKey, partition: &str) -> ControlItem {
        let name = format!("item {key} of table {table_name}");
        let random = Random::from_entropy();
        ControlItem { table, name, key, partition: partition.to_owned(), random }
    }

    /// Replaces the item's name in messages.
    pub fn with_name(self, name: String) -> ControlItem {
        ControlItem { name, ..self }
    }

    /// Replaces the source of randomness with `random`.
    pub fn with_random(self, random: Random) -> ControlItem {
        ControlItem { random, ..self }
    }

    /// Returns the item's name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the key schema of the item's table.
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

    /// Replaces the item's attributes, except its key, if the current item has the attributes in `expected`. If
    /// `expected` is `None`, writes only if the item does not exist yet. When this method returns, the write is
    /// durable. If the reply to a write was lost, the attribute [`WRITER`] shows whether that write was applied.
    /// [`ControlError::Changed`] means that another writer produced the current item.
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

    /// Finds out why the condition failed. If an earlier attempt of this write was applied, that attempt produced the
    /// current item.
    async fn resolve_failed_condition(&self, item: Item) -> Result<Item, ControlError> {
        match self.get().await? {
            Some(found) if found.get(WRITER) == item.get(WRITER) => Ok(item),
            found => Err(ControlError::Changed { item: self.name.clone(), found }),
        }
    }

    /// Determines the result after the last attempt failed. If it is unknown whether the write was applied, reads the
    /// item once more. Returns the item if that read shows that this write was applied. Otherwise returns the last
    /// attempt's error.
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

/// The time limit for all attempts together.
struct RetryTimer {
    until: Instant,
    attempts: u32,
}

impl RetryTimer {
    fn start() -> RetryTimer {
        RetryTimer { until: Instant::now() + PATIENCE, attempts: 1 }
    }

    /// Waits before the next attempt. Returns an error if no time is left for another attempt.
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
        // Every control item is small, and no index contains a control item. So if DynamoDB rejects one control item,
        // it would also reject every other control item.
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
        FatalKind::Credentials
        | FatalKind::Clock
        | FatalKind::Endpoint
        | FatalKind::Unsupported
        | FatalKind::KeysFile => kind.remedy().to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
