//! Control items: a few small items of another table (the flag, a lease). They are read strongly consistently and
//! written only under conditions. [`ControlItem`] retries requests. If the reply to a write was lost, it distinguishes
//! that write from somebody else's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{Directive, FatalKind, TableError};
use crate::backoff::Backoff;
use crate::item::{Item, ItemKey, KeySchema, Value};
use crate::machine::Random;

/// A table of control items. An implementation sends each request once and reports the result.
#[async_trait]
pub trait Control: Send + Sync {
    /// The key from the table's description.
    async fn key(&self) -> Result<KeySchema, TableError>;

    /// A strongly consistent `GetItem`.
    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, TableError>;

    /// Replaces the whole item if the current one is as expected. Once it returns `Done`, the write is durable. After
    /// an ambiguous error ([`TableError::is_ambiguous`]), the item may or may not have been written.
    async fn put(&self, item: &Item, expected: &Expected) -> Result<PutReply, TableError>;
}

/// What the current item must be for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// No item with this key. The partition key is this attribute.
    Absent {
        /// Name of the partition key.
        partition: String,
    },
    /// An item in which each of these attributes has this value. There is at least one attribute.
    These(Item),
}

/// The result of a conditional write that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutReply {
    /// It was written.
    Done,
    /// The current item was not as expected. Nothing changed.
    ConditionFailed,
}

/// Why a control item could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Nothing will succeed until somebody fixes the cause.
    #[error("{item} cannot be used: {message}. {}", way_out(*.kind, .item))]
    Unusable {
        /// The item.
        item: String,
        /// What has to be fixed.
        kind: FatalKind,
        /// DynamoDB's message.
        message: String,
    },
    /// All attempts failed until the time was up.
    #[error(
        "{item} could not be {what} within {} s: {message}. {}",
        .patience.as_secs(),
        if *.uncertain { "It may have been written: run the same command again, which checks first" }
        else { "It was not changed: run the same command again" }
    )]
    GaveUp {
        /// The item.
        item: String,
        /// `read` or `written`.
        what: &'static str,
        /// How long it was retried.
        patience: Duration,
        /// The last error.
        message: String,
        /// Whether a write may have happened, or may still happen.
        uncertain: bool,
    },
    /// The table's key differs from the plan.
    #[error("{item} cannot exist: {why}. Correct `key` in the plan's [cutover]; nothing was done")]
    OtherKey {
        /// The item.
        item: String,
        /// How the keys differ.
        why: String,
    },
    /// Somebody else wrote it in between, before this write or right after it.
    #[error("{item} was changed by somebody else in the meantime: check it, and run the command again")]
    Changed {
        /// The item.
        item: String,
        /// The current item.
        found: Option<Item>,
    },
}

/// The attribute that names the last write of the item.
pub const WRITER: &str = "writer";

/// How long a request is retried: longer than a throttle or a change of leader lasts, and shorter than somebody at a
/// terminal waits without output.
const PATIENCE: Duration = Duration::from_secs(30);

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

/// One control item, by its key.
#[derive(Clone)]
pub struct ControlItem {
    table: Arc<dyn Control>,
    name: String,
    key: ItemKey,
    partition: String,
    /// Source of the names of its writes and of the jitter in its backoff.
    random: Random,
}

impl ControlItem {
    /// The item with this key. `table_name` is for messages, `partition` is the name of its partition key.
    pub fn new(table: Arc<dyn Control>, table_name: &str, key: ItemKey, partition: &str) -> ControlItem {
        let name = format!("item {key} of table {table_name}");
        let random = Random::of_system();
        ControlItem { table, name, key, partition: partition.to_owned(), random }
    }

    /// The same item, with its randomness from this source.
    pub fn drawing_from(self, random: Random) -> ControlItem {
        ControlItem { random, ..self }
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key of its table.
    pub async fn key(&self) -> Result<KeySchema, ControlError> {
        let mut patience = Patience::begin();
        loop {
            match self.table.key().await {
                Ok(key) => return Ok(key),
                Err(error) => patience.again(self, "read", false, error).await?,
            }
        }
    }

    /// The current item.
    pub async fn get(&self) -> Result<Option<Item>, ControlError> {
        let mut patience = Patience::begin();
        loop {
            match self.table.get(&self.key).await {
                Ok(item) => return Ok(item),
                Err(error) => patience.again(self, "read", false, error).await?,
            }
        }
    }

    /// Replaces the attributes of the item, except its key, if the item is as expected (`None`: if there is no item).
    /// When this returns, the write is durable. If the reply to a write was lost, its [`WRITER`] identifies it. On
    /// [`ControlError::Changed`], the current item is somebody else's.
    pub async fn put(&self, attributes: Item, expected: Option<&Item>) -> Result<Item, ControlError> {
        let mut item = attributes;
        item.extend(self.key.attributes().clone());
        item.insert(WRITER.to_owned(), Value::S(format!("{:032x}", self.random.name())));
        let expected = match expected {
            Some(attributes) => Expected::These(attributes.clone()),
            None => Expected::Absent { partition: self.partition.clone() },
        };
        let mut patience = Patience::begin();
        let mut uncertain = false;
        loop {
            match self.table.put(&item, &expected).await {
                Ok(PutReply::Done) => return Ok(item),
                Ok(PutReply::ConditionFailed) => return self.whose(item).await,
                Err(error) => {
                    uncertain |= error.is_ambiguous();
                    if let Err(gave_up) = patience.again(self, "written", uncertain, error).await {
                        return self.settle(item, uncertain, gave_up).await;
                    }
                }
            }
        }
    }

    /// The current item fails the condition. If an earlier attempt of this write arrived, the item is our own.
    async fn whose(&self, item: Item) -> Result<Item, ControlError> {
        match self.get().await? {
            Some(found) if found.get(WRITER) == item.get(WRITER) => Ok(item),
            found => Err(ControlError::Changed { item: self.name.clone(), found }),
        }
    }

    /// Reads the item once more after the last attempt. If that does not confirm the write, the error stays.
    async fn settle(&self, item: Item, uncertain: bool, gave_up: ControlError) -> Result<Item, ControlError> {
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
struct Patience {
    until: Instant,
    attempts: u32,
}

impl Patience {
    fn begin() -> Patience {
        Patience { until: Instant::now() + PATIENCE, attempts: 1 }
    }

    /// Waits before the next attempt, if there is one.
    async fn again(
        &mut self,
        of: &ControlItem,
        what: &'static str,
        uncertain: bool,
        error: TableError,
    ) -> Result<(), ControlError> {
        let item = of.name.clone();
        if error.directive() == Directive::Retry {
            let wait = BACKOFF.wait(self.attempts, of.random.fraction());
            if Instant::now() + wait >= self.until {
                let message = error.to_string();
                return Err(ControlError::GaveUp { item, what, patience: PATIENCE, message, uncertain });
            }
            self.attempts += 1;
            sleep(wait).await;
            return Ok(());
        }
        if let TableError::Fatal { kind, message } = error {
            return Err(ControlError::Unusable { item, kind, message });
        }
        // A control item is small and has no indexes of ours: if DynamoDB rejects one, it would reject any.
        Err(ControlError::Unusable { item, kind: FatalKind::Request, message: error.to_string() })
    }
}

fn way_out(kind: FatalKind, item: &str) -> String {
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
            kind.way_out().to_owned()
        }
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
