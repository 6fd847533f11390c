//! A table of control items in memory. It evaluates conditions as DynamoDB does. Tests can inject faults into writes to
//! this table.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::item::KeyAttribute;

/// The fault to inject into the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutFault {
    /// The write is applied, but its reply is lost.
    LoseReply,
    /// The request is lost. The write is not applied, and the client gets no reply.
    LoseRequest,
    /// DynamoDB throttles the write.
    Throttle,
    /// The write is applied and answered only after this delay.
    Slow(Duration),
}

#[derive(Default)]
pub(crate) struct FakeTable {
    items: Mutex<BTreeMap<String, Item>>,
    faults: Mutex<VecDeque<PutFault>>,
    /// If set, every request fails with this error.
    pub(crate) down: Mutex<Option<TableError>>,
    puts: Mutex<u32>,
}

impl FakeTable {
    pub(crate) fn new() -> Arc<FakeTable> {
        Arc::default()
    }

    pub(crate) fn item(self: &Arc<Self>, key: &str) -> ControlItem {
        let key = ItemKey::new([("id".to_owned(), Value::S(key.to_owned()))].into());
        ControlItem::new(self.clone(), "ops", key, "id")
    }

    pub(crate) fn inject(&self, faults: impl IntoIterator<Item = PutFault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub(crate) fn fail(&self, error: Option<TableError>) {
        *self.down.lock().unwrap() = error;
    }

    pub(crate) fn puts(&self) -> u32 {
        *self.puts.lock().unwrap()
    }

    /// Changes an item without a condition, as an operator in the AWS console would.
    pub(crate) fn edit(&self, key: &str, edit: impl FnOnce(&mut Item)) {
        let mut items = self.items.lock().unwrap();
        edit(items.values_mut().find(|item| item["id"] == Value::S(key.to_owned())).unwrap());
    }

    fn apply(&self, item: &Item, expected: &PutCondition) -> PutReply {
        let mut items = self.items.lock().unwrap();
        let key = ItemKey::new([("id".to_owned(), item["id"].clone())].into()).to_text();
        let current = items.get(&key);
        let holds = match expected {
            PutCondition::Absent { partition } => current.is_none_or(|item| !item.contains_key(partition)),
            PutCondition::Attributes(attributes) => {
                current.is_some_and(|item| attributes.iter().all(|(name, value)| item.get(name) == Some(value)))
            }
        };
        if !holds {
            return PutReply::ConditionFailed;
        }
        items.insert(key, item.clone());
        PutReply::Done
    }
}

#[async_trait]
impl Control for FakeTable {
    async fn key(&self) -> Result<KeySchema, TableError> {
        Ok(KeySchema { partition: KeyAttribute { name: "id".into(), kind: "S".into() }, sort: None })
    }

    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, TableError> {
        if let Some(error) = self.down.lock().unwrap().clone() {
            return Err(error);
        }
        Ok(self.items.lock().unwrap().get(&key.to_text()).cloned())
    }

    async fn put(&self, item: &Item, expected: &PutCondition) -> Result<PutReply, TableError> {
        *self.puts.lock().unwrap() += 1;
        if let Some(error) = self.down.lock().unwrap().clone() {
            return Err(error);
        }
        let lost = || TableError::Transient { message: "the request timed out".into(), ambiguous: true };
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            Some(PutFault::LoseReply) => {
                self.apply(item, expected);
                Err(lost())
            }
            Some(PutFault::LoseRequest) => Err(lost()),
            Some(PutFault::Throttle) => Err(TableError::Throttled { reasons: Vec::new(), message: "slow down".into() }),
            Some(PutFault::Slow(delay)) => {
                sleep(delay).await;
                Ok(self.apply(item, expected))
            }
            None => Ok(self.apply(item, expected)),
        }
    }
}
