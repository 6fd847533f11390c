//! Control items: a few small items of another table (the flag, a lease), read strongly consistently and written only
//! under conditions. [`ControlItem`] owns their retries and tells a write of its own, whose reply was lost, from somebody
//! else's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::{Directive, FatalKind, TableError};
use crate::backoff::Backoff;
use crate::item::{Item, ItemKey, KeySchema, Value};
use crate::machine::Random;

/// A table of control items. An implementation sends each request once and reports what came of it.
#[async_trait]
pub trait Control: Send + Sync {
    /// The table's key, by its description.
    async fn key(&self) -> Result<KeySchema, TableError>;

    /// A strongly consistent `GetItem`.
    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, TableError>;

    /// Replaces the whole item where what is there is as expected. Durable once it says that it is done; an ambiguous
    /// error ([`TableError::is_ambiguous`]) says nothing of whether it is.
    async fn put(&self, item: &Item, expected: &Expected) -> Result<PutReply, TableError>;
}

/// What must be there for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// No item of this key, whose partition key is this attribute.
    Absent {
        /// Name of the partition key.
        partition: String,
    },
    /// An item of which each of these attributes has this value; at least one.
    These(Item),
}

/// What came of a conditional write that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutReply {
    /// It was written.
    Done,
    /// Something else was there; nothing changed.
    ConditionFailed,
}

/// Why a control item could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Nothing will succeed until somebody mends something.
    #[error("{item} cannot be used: {message}. {}", way_out(*.kind, .item))]
    Unusable {
        /// The item.
        item: String,
        /// What has to be mended.
        kind: FatalKind,
        /// DynamoDB's words.
        message: String,
    },
    /// It was tried again until the patience ended.
    #[error(
        "{item} could not be {what} within {} s: {message}. {}",
        .patience.as_secs(),
        if *.uncertain { "Whether it was written is not known: run the same command again, which looks first" }
        else { "It was not changed: run the same command again" }
    )]
    GaveUp {
        /// The item.
        item: String,
        /// `read` or `written`.
        what: &'static str,
        /// How long it was tried.
        patience: Duration,
        /// The last error.
        message: String,
        /// A write may have happened, or may still happen.
        uncertain: bool,
    },
    /// The table's key is not what the plan says.
    #[error("{item} cannot be: {why}. Mend `key` in the plan's [cutover]; nothing was done")]
    OtherKey {
        /// The item.
        item: String,
        /// How the keys differ.
        why: String,
    },
    /// Somebody else wrote it in between, before this write or right after it.
    #[error("{item} was changed by somebody else in the meantime: look at it, and run the command again")]
    Changed {
        /// The item.
        item: String,
        /// What is there now.
        found: Option<Item>,
    },
}

/// The attribute that names the write which made the item what it is.
pub const WRITER: &str = "writer";

/// How long a request is tried again: longer than a throttle or a change of leader takes, shorter than somebody at a
/// terminal waits without a word.
const PATIENCE: Duration = Duration::from_secs(30);

const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

/// One control item, by its key.
#[derive(Clone)]
pub struct ControlItem {
    table: Arc<dyn Control>,
    name: String,
    key: ItemKey,
    partition: String,
    /// The names of its writes and the jitter of its backoff are drawn from it.
    random: Random,
}

impl ControlItem {
    /// The item of this key; `table_name` is for messages, `partition` the name of its partition key.
    pub fn new(table: Arc<dyn Control>, table_name: &str, key: ItemKey, partition: &str) -> ControlItem {
        let (name, random) = (format!("item {key} of table {table_name}"), Random::of_system());
        ControlItem { table, name, key, partition: partition.to_owned(), random }
    }

    /// The same item, with its randomness from here.
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

    /// The item as it is.
    pub async fn get(&self) -> Result<Option<Item>, ControlError> {
        let mut patience = Patience::begin();
        loop {
            match self.table.get(&self.key).await {
                Ok(item) => return Ok(item),
                Err(error) => patience.again(self, "read", false, error).await?,
            }
        }
    }

    /// Replaces the item by these attributes, beside its key, where it is as expected (none: where there is none). When
    /// this returns, the write is durable; a write whose reply was lost is known by its [`WRITER`]. On
    /// [`ControlError::Changed`] what is there is somebody else's.
    pub async fn put(&self, attributes: Item, expected: Option<&Item>) -> Result<Item, ControlError> {
        let mut item = attributes;
        item.extend(self.key.attributes().clone());
        item.insert(WRITER.to_owned(), Value::S(format!("{:032x}", self.random.name())));
        let expected = match expected {
            Some(attributes) => Expected::These(attributes.clone()),
            None => Expected::Absent { partition: self.partition.clone() },
        };
        let (mut patience, mut uncertain) = (Patience::begin(), false);
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

    /// Something is there that fails the condition: this write itself, if an earlier attempt arrived.
    async fn whose(&self, item: Item) -> Result<Item, ControlError> {
        match self.get().await? {
            Some(found) if found.get(WRITER) == item.get(WRITER) => Ok(item),
            found => Err(ControlError::Changed { item: self.name.clone(), found }),
        }
    }

    /// One more look after the last attempt; what cannot be seen either stays as it was said.
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

/// How long it is still tried.
struct Patience {
    until: Instant,
    attempts: u32,
}

impl Patience {
    fn begin() -> Patience {
        Patience { until: Instant::now() + PATIENCE, attempts: 1 }
    }

    /// Waits before the next attempt, if there is to be one.
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
        // A control item is small and has no indexes of ours: what DynamoDB rejects of it, it rejects of any.
        Err(ControlError::Unusable { item, kind: FatalKind::Request, message: error.to_string() })
    }
}

fn way_out(kind: FatalKind, item: &str) -> String {
    match kind {
        FatalKind::TableMissing => format!(
            "Create the table (a string partition key, on demand, is enough; {item} is all that is kept in it), or check \
             `table` in the plan's [cutover]: it is looked for in the account, the region and at the endpoint of [table]"
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
