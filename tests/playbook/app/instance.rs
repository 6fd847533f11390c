//! One instance of the application, with its own cache of the flag. Each operation of an instance is one atomic
//! DynamoDB request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::item::Value;
use fastrand::Rng;
use tokio::sync::OwnedRwLockReadGuard;

use super::{COMPUTED, FlagSource, HOT, Habit, NEW, OLD, OperationKind, Shared, content_of, value};
use crate::example::{Cached, Fields, Flag, Key, Unknown, Update, Write, bucket, parse, read, remove, write};
use crate::harness::tool::SECRET;
use crate::harness::{from_sdk, value_from_sdk, value_to_sdk};
use crate::history::{Content, History};

pub(super) struct Instance {
    shared: Arc<Shared>,
    cached: Cached,
    first: Option<Flag>,
    number: u64,
    rng: Rng,
}

/// The flag that a request must obey, and the request's time limit.
struct CurrentFlag {
    flag: Flag,
    limit: Duration,
    /// The lock on the flag, if a test sets the flag. The instance holds this lock until the request ends, so the test
    /// cannot change the flag during the request.
    _held: Option<OwnedRwLockReadGuard<Flag>>,
}

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestOutcome {
    Done,
    Refused,
    Lost,
}

impl Instance {
    pub(super) fn new(shared: Arc<Shared>, number: u64) -> Instance {
        Instance { shared, cached: Cached::default(), first: None, number, rng: Rng::with_seed(number) }
    }

    /// Sends requests until the application stops.
    pub(super) async fn work(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..10))).await;
            let quiet = self.rng.usize(0..self.shared.keys.len());
            let hinted = self.shared.hints.lock().unwrap().pop();
            let n = if hinted.is_some() { self.rng.u8(50..100) } else { self.rng.u8(0..100) };
            let any = || self.shared.keys[if self.rng.u8(0..3) == 0 { quiet % HOT } else { quiet }].clone();
            let key = hinted.unwrap_or_else(any);
            let kind = match n {
                0..=49 => OperationKind::Read,
                // Some items are only read and never written, so that the application also reads values that it has
                // never changed.
                _ if quiet.is_multiple_of(5) && key == self.shared.keys[quiet] => OperationKind::Read,
                50..=69 => OperationKind::Write,
                70..=79 => OperationKind::Replace,
                80..=86 => OperationKind::Remove,
                87..=94 => OperationKind::Insert,
                _ => OperationKind::Delete,
            };
            let done = match kind {
                OperationKind::Read => self.read(&key).await.map(drop),
                OperationKind::Write => self.write(&key, None).await,
                OperationKind::Replace => self.replace(&key).await,
                OperationKind::Remove => self.remove(&key).await,
                OperationKind::Insert => self.insert(&key).await,
                _ => self.delete(&key).await,
            };
            self.count(if done.is_ok() { kind } else { OperationKind::Unknown });
        }
    }

    /// Reads a value. Returns the value, and the name of the attribute that contains it.
    async fn read(&mut self, key: &str) -> Result<Option<(u64, &'static str)>, Unknown> {
        let current_flag = self.current_flag().await?;
        let began = Instant::now();
        let request = self.shared.client.get_item().table_name(&self.shared.table).set_key(Some(key_of(key)));
        let reply = tokio::time::timeout(current_flag.limit, request.consistent_read(true).send()).await;
        let ended = Instant::now();
        let Ok(Ok(reply)) = reply else {
            self.count(OperationKind::Lost);
            return Ok(None);
        };
        let item = reply.item.unwrap_or_default();
        let found = read(&current_flag.flag, bucket(Key::S(key)), &item, OLD, NEW);
        let content = match (item.is_empty(), found) {
            (true, _) => Content::NoItem,
            (_, found) => content_of(found.cloned().map(value_from_sdk).as_ref()),
        };
        self.check(key, content, began, ended, &current_flag.flag);
        let reads_new = current_flag.flag.read_new && bucket(Key::S(key)) < current_flag.flag.read_percent;
        let name = if reads_new && item.contains_key(NEW) { NEW } else { OLD };
        Ok(if let Content::Value(n) = content { Some((n, name)) } else { None })
    }

    /// Writes a value. If `seen` contains a value and an attribute, the write's condition is that the attribute still
    /// has this value.
    async fn write(&mut self, key: &str, seen: Option<(u64, &'static str)>) -> Result<(), Unknown> {
        let current_flag = self.current_flag().await?;
        let (content, id) = self.with(key, |history| {
            let content = history.fresh();
            (content, history.begin(content))
        });
        let Content::Value(n) = content else { unreachable!() };
        let began = Instant::now();
        let mut update = write(&current_flag.flag, OLD, NEW, value_to_sdk(&value(n)));
        if self.shared.habit == Habit::Computes && current_flag.flag.write != Write::Old {
            // The value of the new attribute differs from the value of the old one.
            update.expression = match current_flag.flag.write {
                Write::New => "SET #new = :new",
                Write::Old | Write::Both => "SET #old = :value, #new = :new",
            };
            if current_flag.flag.write == Write::New {
                update.values.clear();
            }
            update.values.insert(":new".to_owned(), value_to_sdk(&self.value_at(NEW, n)));
        }
        let end = self.update(key, update, seen, current_flag.limit).await;
        let ended = Instant::now();
        match end {
            RequestOutcome::Done => {
                self.with(key, |history| history.done(id, ended));
                // The condition was met, so no other write changed the value between the read and this write.
                if let Some((seen, _)) = seen {
                    self.check_replaced(key, seen, began, ended);
                }
            }
            RequestOutcome::Refused => {
                self.with(key, |history| history.refused(id));
                if seen.is_none() {
                    self.check(key, Content::NoItem, began, ended, &current_flag.flag);
                }
            }
            RequestOutcome::Lost => {}
        }
        Ok(())
    }

    async fn replace(&mut self, key: &str) -> Result<(), Unknown> {
        match self.read(key).await? {
            Some(seen) => self.write(key, Some(seen)).await,
            None => Ok(()),
        }
    }

    async fn remove(&mut self, key: &str) -> Result<(), Unknown> {
        let current_flag = self.current_flag().await?;
        let mut update = remove(OLD, NEW);
        if self.shared.habit == Habit::RemovesOneName {
            update.expression = if current_flag.flag.write == Write::New { "REMOVE #new" } else { "REMOVE #old" };
            update.names.remove(if current_flag.flag.write == Write::New { "#old" } else { "#new" });
        }
        let id = self.with(key, |history| history.begin(Content::NoValue));
        let began = Instant::now();
        let end = self.update(key, update, None, current_flag.limit).await;
        let ended = Instant::now();
        match end {
            RequestOutcome::Done => self.with(key, |history| history.done(id, ended)),
            RequestOutcome::Refused => {
                self.with(key, |history| history.refused(id));
                self.check(key, Content::NoItem, began, ended, &current_flag.flag);
            }
            RequestOutcome::Lost => {}
        }
        Ok(())
    }

    /// Puts an item that does not exist yet, with the attributes that a write sets.
    async fn insert(&mut self, key: &str) -> Result<(), Unknown> {
        let current_flag = self.current_flag().await?;
        let (content, id) = self.with(key, |history| {
            let content = history.fresh();
            (content, history.begin(content))
        });
        let Content::Value(n) = content else { unreachable!() };
        let mut item = key_of(key);
        item.insert("kept".to_owned(), AttributeValue::S(format!("{SECRET} of {key}")));
        for name in write(&current_flag.flag, OLD, NEW, ()).names.into_values() {
            let value = value_to_sdk(&self.value_at(&name, n));
            item.insert(name, value);
        }
        let request = self.shared.client.put_item().table_name(&self.shared.table).set_item(Some(item));
        let request = request.condition_expression("attribute_not_exists(pk)");
        let end = self.outcome(tokio::time::timeout(current_flag.limit, request.send()).await);
        let ended = Instant::now();
        self.with(key, |history| match end {
            RequestOutcome::Done => history.done(id, ended),
            RequestOutcome::Refused => history.refused(id),
            RequestOutcome::Lost => {}
        });
        Ok(())
    }

    async fn delete(&mut self, key: &str) -> Result<(), Unknown> {
        let current_flag = self.current_flag().await?;
        let id = self.with(key, |history| history.begin(Content::NoItem));
        let request = self.shared.client.delete_item().table_name(&self.shared.table).set_key(Some(key_of(key)));
        let end = self.outcome(tokio::time::timeout(current_flag.limit, request.send()).await);
        let ended = Instant::now();
        if end == RequestOutcome::Done {
            self.with(key, |history| history.done(id, ended));
        }
        Ok(())
    }

    /// Returns the value that the application writes to an attribute for a number.
    fn value_at(&self, name: &str, n: u64) -> Value {
        match value(n) {
            Value::S(text) if name == NEW && self.shared.habit == Habit::Computes => {
                Value::S(format!("{COMPUTED}{text}"))
            }
            other => other,
        }
    }

    async fn update(
        &mut self,
        key: &str,
        update: Update<AttributeValue>,
        seen: Option<(u64, &'static str)>,
        limit: Duration,
    ) -> RequestOutcome {
        let mut request = self.shared.client.update_item().table_name(&self.shared.table).set_key(Some(key_of(key)));
        let mut names = update.names;
        let mut values = update.values;
        let mut condition = "attribute_exists(pk)".to_owned();
        if let Some((n, name)) = seen {
            condition += " AND #seen = :seen";
            names.insert("#seen".to_owned(), name.to_owned());
            values.insert(":seen".to_owned(), value_to_sdk(&self.value_at(name, n)));
        }
        request = request.update_expression(update.expression).condition_expression(condition);
        request = request.set_expression_attribute_names(Some(names));
        request = request.set_expression_attribute_values(Some(values).filter(|values| !values.is_empty()));
        self.outcome(tokio::time::timeout(limit, request.send()).await)
    }

    fn outcome<T, E: ProvideErrorMetadata, R>(
        &self,
        reply: Result<Result<T, SdkError<E, R>>, tokio::time::error::Elapsed>,
    ) -> RequestOutcome {
        match reply {
            Ok(Ok(_)) => RequestOutcome::Done,
            Ok(Err(error)) if error.code() == Some("ConditionalCheckFailedException") => RequestOutcome::Refused,
            Ok(Err(_)) | Err(_) => {
                self.count(OperationKind::Lost);
                RequestOutcome::Lost
            }
        }
    }

    /// Returns the flag that the next request must obey.
    async fn current_flag(&mut self) -> Result<CurrentFlag, Unknown> {
        let (table, key) = match &self.shared.flag_source {
            FlagSource::Manual(manual) => {
                let held = Arc::clone(manual).read_owned().await;
                return Ok(CurrentFlag { flag: held.clone(), limit: Duration::from_secs(10), _held: Some(held) });
            }
            FlagSource::Flag { table, key } => (table, key),
        };
        if self.shared.habit == Habit::NeverRereadsFlag && self.number == 0 && self.first.is_none() {
            self.first = Some(fetch(&self.shared.client, table, key).await?);
        }
        let flag = match &self.first {
            Some(flag) => flag.clone(),
            None => {
                let shared = Arc::clone(&self.shared);
                let look = || tokio::runtime::Handle::current().block_on(fetch(&shared.client, table, key));
                tokio::task::block_in_place(|| self.cached.current(Instant::now, look))?
            }
        };
        Ok(CurrentFlag { limit: flag.max_cache / 3, flag, _held: None })
    }

    fn with<T>(&self, key: &str, work: impl FnOnce(&mut History) -> T) -> T {
        work(self.shared.histories.lock().unwrap().get_mut(key).unwrap())
    }

    fn check(&self, key: &str, content: Content, began: Instant, ended: Instant, flag: &Flag) {
        if let Err(wrong) = self.with(key, |history| history.read(content, began, ended)) {
            self.shared.wrong.lock().unwrap().push(format!("{key}: {wrong}, under {flag:?}"));
        }
    }

    fn check_replaced(&self, key: &str, seen: u64, began: Instant, ended: Instant) {
        if let Err(wrong) = self.with(key, |history| history.read(Content::Value(seen), began, ended)) {
            self.shared
                .wrong
                .lock()
                .unwrap()
                .push(format!("{key}: the conditional write overwrote a newer write: {wrong}"));
        }
    }

    fn count(&self, kind: OperationKind) {
        *self.shared.figures.lock().unwrap().entry(kind).or_default() += 1;
    }
}

/// Reads the flag with a strongly consistent read.
async fn fetch(client: &Client, table: &str, key: &str) -> Result<Flag, Unknown> {
    let id = HashMap::from([("id".to_owned(), AttributeValue::S(key.to_owned()))]);
    let request = client.get_item().table_name(table).set_key(Some(id)).consistent_read(true);
    let reply = request.send().await.map_err(|_| Unknown("the flag table does not answer"))?;
    let Some(item) = reply.item.map(from_sdk) else { return parse(None) };
    let text = |name: &str| match item.get(name) {
        Some(Value::S(text)) => Some(text.as_str()),
        Some(Value::N(number)) => Some(number.as_str()),
        _ => None,
    };
    parse(Some(&Fields {
        schema_version: text("schema_version"),
        version: text("version"),
        write: text("write"),
        read: text("read"),
        read_percent: text("read_percent"),
        max_cache_seconds: text("max_cache_seconds"),
        old_stale: if let Some(Value::Bool(stale)) = item.get("old_stale") { Some(*stale) } else { None },
    }))
}

fn key_of(pk: &str) -> HashMap<String, AttributeValue> {
    [("pk", pk), ("sk", "x")].map(|(name, text)| (name.to_owned(), AttributeValue::S(text.to_owned()))).into()
}
