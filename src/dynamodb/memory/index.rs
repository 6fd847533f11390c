//! A global index of the table in memory. An index lags behind its table, so a scan can miss an item, or return an item
//! that has left the index. If an item moves within the index, a scan can return it twice or not at all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::faults::Request;
use super::history::ChargedUnits;
use super::{Author, MemoryConnection, MemoryTable, Sender, Version};
use crate::dynamodb::{Page, PageRequest, Source, TableError, Tables};
use crate::item::{IndexSchema, Item, ItemKey, PartitionHash, Position, Units, item_bytes, read_units};
use crate::machine::Rng;

/// One process's connection to an index, as a source of keys.
pub struct MemoryIndex {
    connection: MemoryConnection,
    schema: IndexSchema,
    /// The maximum delay before most changes appear in the index. A few changes take ten times as long.
    lag: Duration,
}

/// The position of an entry in an index scan. The scan orders entries by the hash of the index's partition key, and
/// then by the key of the item.
type EntryPosition = (u64, String);

impl MemoryConnection {
    /// Returns the index with this name. Returns `None` if the table has no such index.
    pub fn index(&self, name: &str, lag: Duration) -> Option<MemoryIndex> {
        let schema = self.table.indexes.iter().find(|index| index.name == name)?.clone();
        Some(MemoryIndex { connection: self.clone(), schema, lag })
    }
}

/// Returns the same tables, but the first pass of `run` reads this index.
pub fn with_index(tables: Tables, index: MemoryIndex) -> Tables {
    tables.with_index(Arc::new(index))
}

#[async_trait]
impl Source for MemoryIndex {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        if request.consistent {
            return Err(TableError::unsupported("a strongly consistent read of a global index"));
        }
        let sender = self.connection.sender();
        let request = request.clone();
        let schema = self.schema.clone();
        let lag = self.lag;
        let table = &self.connection.table;
        table.send(Request::Scan, "Scan", move |table, _| Ok(table.index_page(&schema, lag, &request, sender))).await
    }

    fn yields_keys(&self) -> bool {
        true
    }

    fn index(&self) -> Option<&str> {
        Some(&self.schema.name)
    }
}

impl MemoryTable {
    fn index_page(&self, index: &IndexSchema, lag: Duration, request: &PageRequest, sender: Sender) -> Page {
        let now = self.began.elapsed();
        let mut inner = self.inner();
        let mut entries: Vec<(EntryPosition, ItemKey, usize)> = Vec::new();
        for (key, versions) in inner.history.all() {
            let Some(item) = visible(versions, now, lag) else { continue };
            let Some(entry) = entry_key(index, key, item) else { continue };
            let at = position(index, &entry);
            let segment = (u128::from(at.0) * u128::from(request.total_segments)) >> 64;
            if segment == u128::from(request.segment) {
                entries.push((at, entry, item_bytes(key.attributes())));
            }
        }
        entries.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        let after = request.start.as_ref().and_then(Position::key).map(|entry| position(index, entry));
        let limit = request.limit.map_or(usize::MAX, |limit| limit as usize);
        let mut rest = entries.into_iter().filter(|(at, ..)| after.as_ref().is_none_or(|after| at > after)).peekable();
        let mut page = Page { items: Vec::new(), next: None, units: None };
        let mut bytes = 0;
        while let Some((_, entry, size)) = rest.next() {
            bytes += size;
            let names = self.description.key.names();
            let of_table = names.filter_map(|name| Some((name.to_owned(), entry.attributes().get(name)?.clone())));
            page.items.push(of_table.collect());
            if page.items.len() >= limit {
                page.next = rest.peek().is_some().then_some(Position::Key(entry));
                break;
            }
        }
        let units: Units = read_units(bytes, false);
        inner.history.charge(sender.sent, sender.author, ChargedUnits::Read(units));
        page.units = Some(units);
        page
    }
}

/// Returns the newest version that has reached the index. The index contains the table's initial items from the start.
fn visible(versions: &[Version], now: Duration, lag: Duration) -> Option<&Item> {
    let has_arrived = |version: &&Version| {
        if version.author == Author::Seed {
            return true;
        }
        let mut rng = Rng::with_seed(version.number);
        let delay = match rng.u8(0..10) {
            0 => lag * 10,
            1..=4 => lag.mul_f64(rng.f64()),
            _ => lag.mul_f64(rng.f64() / 100.0),
        };
        version.at + delay <= now
    };
    versions.iter().rev().find(has_arrived)?.item.as_ref()
}

/// Returns the key of the item's entry, which consists of the key attributes of the index and of the item. Returns
/// `None` if the item is not in the index.
fn entry_key(index: &IndexSchema, key: &ItemKey, item: &Item) -> Option<ItemKey> {
    let mut entry = key.attributes().clone();
    for attribute in &index.key {
        entry.insert(attribute.name.clone(), item.get(&attribute.name)?.clone());
    }
    Some(ItemKey::new(entry))
}

fn position(index: &IndexSchema, entry: &ItemKey) -> EntryPosition {
    let partition = index.key.first().and_then(|attribute| entry.attributes().get(&attribute.name));
    (partition.map_or(0, |value| PartitionHash::from_value(value).number()), entry.to_text())
}

#[cfg(test)]
mod tests {
    use super::super::FaultPlan;
    use super::*;
    use crate::dynamodb::{IndexDescription, TableDescription};
    use crate::item::{KeyAttribute, Projection, Value};

    fn request(start: Option<Position>) -> PageRequest {
        PageRequest { segment: 0, total_segments: 1, start, limit: Some(2), consistent: false, keys_only: true }
    }

    /// A scan of the index returns only the items that have the index's key attribute. A change appears in the index
    /// only after a delay.
    #[tokio::test(start_paused = true)]
    async fn an_index_lags_behind_its_table() {
        let schema = IndexSchema {
            name: "by-group".into(),
            key: vec![KeyAttribute { name: "group".into(), kind: "S".into() }],
            partition: 1,
            projection: Projection::KeysOnly,
            local: false,
        };
        let index = IndexDescription {
            schema,
            provisioned: None,
            on_demand_max: (None, None),
            warm: None,
            is_ready: true,
            entries: None,
        };
        let description = TableDescription { indexes: vec![index], ..TableDescription::for_tests() };
        let table = MemoryTable::new(description, (Duration::ZERO, Duration::ZERO), FaultPlan::NONE, 1);
        let key = |n: usize| {
            ItemKey::new([("pk", n), ("sk", n)].map(|(name, n)| (name.to_owned(), Value::S(n.to_string()))).into())
        };
        let with_group = |n: usize| {
            let mut item = key(n).attributes().clone();
            item.insert("group".to_owned(), Value::S(format!("g{}", n % 2)));
            Some(item)
        };
        for n in 0..5 {
            table.change(&key(n), Author::Seed, |_| with_group(n));
        }
        let connection = table.connect(1);
        assert!(connection.index("another", Duration::ZERO).is_none());
        let index = connection.index("by-group", Duration::from_secs(1)).unwrap();
        let all = async || {
            let (mut keys, mut start) = (Vec::new(), None);
            loop {
                let page = index.read_page(&request(start)).await.unwrap();
                keys.extend(page.items);
                match page.next {
                    Some(next) => start = Some(next),
                    None => return keys,
                }
            }
        };
        let mut seen: Vec<String> = all().await.into_iter().map(|key| ItemKey::new(key).to_text()).collect();
        seen.sort();
        assert_eq!(seen, (0..5).map(|n| key(n).to_text()).collect::<Vec<_>>());
        for n in 5..50 {
            table.change(&key(n), Author::Application, |_| with_group(n));
        }
        let soon = all().await.len();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let later = all().await.len();
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(soon < later && later < 50, "{soon} entries, then {later}");
        assert_eq!(all().await.len(), 50);
        let strong = PageRequest { consistent: true, ..request(None) };
        assert!(index.read_page(&strong).await.is_err());
    }
}
