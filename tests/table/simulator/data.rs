//! The content of a simulated table: compact synthetic items, and the distribution of the items over partition keys.

use backfill::internals::item::{Item, ItemKey, Value};

/// The number of items under each partition key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeyDistribution {
    /// Each partition key has one item.
    Uniform,
    /// The numbers of items follow Zipf's law: the number of items under the key with rank r is proportional to 1 /
    /// r^exponent.
    Zipf {
        /// Number of partition keys.
        keys: u32,
        /// The exponent in Zipf's law.
        exponent: f64,
    },
    /// One partition key has a fraction of all items. Each of the other items has its own key.
    Giant {
        /// The key's fraction of all items, from 0 to 1.
        share: f64,
    },
}

/// The content of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Number of items.
    pub items: u32,
    /// The distribution of the items over partition keys.
    pub spread: KeyDistribution,
    /// The smallest and the largest size of an item, in bytes. Sizes are uniformly distributed.
    pub bytes: (u32, u32),
}

/// A stored item. Its sort key is its index in [`Data`], so a lookup by key needs no search.
#[derive(Debug, Clone, Copy)]
pub struct StoredItem {
    /// The hash of the item's partition key, from 0 to 2^64.
    pub position: u64,
    /// The number of the item's partition key.
    pub partition_key: u32,
    /// Size of the entire item.
    pub bytes: u32,
    /// Whether the job has written the item.
    pub done: bool,
}

/// A table's items in the order in which a scan returns them: by hash, then by sort key.
#[derive(Debug, Clone)]
pub struct Data {
    /// All items, in scan order.
    pub items: Vec<StoredItem>,
}

/// The attribute that the simulated job copies, and the attribute's value.
pub const SOURCE: (&str, &str) = ("old", "12345678");

/// The attribute to which the job copies the value.
pub const TARGET: &str = "new";

/// The partition key of the optional index of a simulated table. Every item has this attribute.
pub const INDEX_KEY: &str = "gk";

/// Size of an item without padding, in bytes: names, keys, source and index key.
const FIXED_BYTES: u32 = 2 + 8 + 2 + 10 + 3 + 8 + 2 + 1 + 3;

impl Data {
    /// Draws the items of a workload.
    pub fn draw(workload: &Workload, seed: u64) -> Data {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut items = Vec::with_capacity(workload.items as usize);
        for (key, count) in (0..).zip(counts(workload)) {
            let position = random.u64(..);
            for _ in 0..count {
                let bytes = random.u32(workload.bytes.0..=workload.bytes.1).max(FIXED_BYTES);
                items.push(StoredItem { position, partition_key: key, bytes, done: false });
            }
        }
        items.sort_by_key(|item| (item.position, item.partition_key));
        Data { items }
    }

    /// Returns the item at this index, as a reply of the table would contain it.
    pub fn item(&self, place: usize) -> Item {
        let stored = self.items[place];
        let mut item: Item = self.key(place).attributes().clone();
        item.insert(SOURCE.0.to_owned(), Value::S(SOURCE.1.to_owned()));
        item.insert(INDEX_KEY.to_owned(), Value::S("g".to_owned()));
        item.insert("pad".to_owned(), Value::B(vec![0; (stored.bytes - FIXED_BYTES) as usize]));
        if stored.done {
            item.insert(TARGET.to_owned(), Value::S(SOURCE.1.to_owned()));
        }
        item
    }

    /// Returns the key of the item at this index.
    pub fn key(&self, place: usize) -> ItemKey {
        let partition_key = format!("P{:07}", self.items[place].partition_key);
        ItemKey::new(
            [("pk".to_owned(), Value::S(partition_key)), ("sk".to_owned(), Value::S(format!("{place:010}")))].into(),
        )
    }

    /// Returns the index of the item with this key.
    pub fn place(key: &ItemKey) -> usize {
        match key.attributes().get("sk") {
            Some(Value::S(place)) => place.parse().unwrap(),
            other => panic!("not a key of this table: {other:?}"),
        }
    }

    /// Returns the range of item indexes that belong to a segment. A segment is a range of the hash.
    pub fn segment(&self, segment: u32, total: u32) -> std::ops::Range<usize> {
        let bound = |n: u32| (u128::from(n) << 64) / u128::from(total);
        let place = |at: u128| self.items.partition_point(|item| u128::from(item.position) < at);
        place(bound(segment))..place(bound(segment + 1))
    }

    /// The sum of the sizes of all items, in bytes.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.bytes)).sum()
    }
}

/// Returns the number of items under each partition key. The index is the number of the key.
fn counts(workload: &Workload) -> Vec<u32> {
    let all = workload.items;
    match workload.spread {
        KeyDistribution::Uniform => vec![1; all as usize],
        KeyDistribution::Giant { share } => {
            let giant = (f64::from(all) * share) as u32;
            std::iter::once(giant).chain(std::iter::repeat_n(1, (all - giant) as usize)).collect()
        }
        KeyDistribution::Zipf { keys, exponent } => {
            let weights: Vec<f64> = (1..=keys).map(|rank| f64::from(rank).powf(-exponent)).collect();
            let sum: f64 = weights.iter().sum();
            // The rounded counts must add up to the total. So each count is the rounded sum of the shares so far, minus
            // the number of already assigned items.
            let mut due = 0.0;
            let mut given = 0;
            weights
                .iter()
                .map(|weight| {
                    due += weight / sum * f64::from(all);
                    let count = (due.round() as u32).saturating_sub(given);
                    given += count;
                    count
                })
                .collect()
        }
    }
}
