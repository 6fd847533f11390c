//! Compact synthetic items: the content of a simulated table, and the spread of its items over partition keys.

use backfill::internals::item::{Item, ItemKey, Value};

/// The number of items under each partition key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// One item per key.
    Uniform,
    /// Zipf's law over this number of keys: the key of rank r has items in proportion to 1 / r to this exponent.
    Zipf {
        /// Number of partition keys.
        keys: u32,
        /// The exponent.
        exponent: f64,
    },
    /// This share of all items is under one partition key. Each of the other items has its own key.
    Giant {
        /// From 0 to 1.
        share: f64,
    },
}

/// The content of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Number of items.
    pub items: u32,
    /// Their spread over partition keys.
    pub spread: Spread,
    /// The smallest and the largest size of an item in bytes. Sizes are uniformly distributed.
    pub bytes: (u32, u32),
}

/// One item. Its sort key is its index in [`Data`], so a key leads directly to its item.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// The hash of its partition key, as a share of 2^64.
    pub position: u64,
    /// The number of its partition key.
    pub partition_key: u32,
    /// Size of the entire item.
    pub bytes: u32,
    /// Whether it has been written.
    pub done: bool,
}

/// The items of a table in the order of a scan: by hash, then by sort key.
#[derive(Debug, Clone)]
pub struct Data {
    /// All items.
    pub items: Vec<Stored>,
}

/// The attribute that the simulated job copies, and its value.
pub const SOURCE: (&str, &str) = ("old", "12345678");

/// The attribute to which the job copies the value.
pub const TARGET: &str = "new";

/// The partition key of the optional index of a simulated table. Every item has it.
pub const INDEX_KEY: &str = "gk";

/// Size of an item without its padding: names, keys, source, index key.
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
                items.push(Stored { position, partition_key: key, bytes, done: false });
            }
        }
        items.sort_by_key(|item| (item.position, item.partition_key));
        Data { items }
    }

    /// The item at a place, as the table would return it.
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

    /// The key of the item at a place.
    pub fn key(&self, place: usize) -> ItemKey {
        let partition_key = format!("P{:07}", self.items[place].partition_key);
        ItemKey::new(
            [("pk".to_owned(), Value::S(partition_key)), ("sk".to_owned(), Value::S(format!("{place:010}")))].into(),
        )
    }

    /// The place of a key's item.
    pub fn place(key: &ItemKey) -> usize {
        match key.attributes().get("sk") {
            Some(Value::S(place)) => place.parse().unwrap(),
            other => panic!("not a key of this table: {other:?}"),
        }
    }

    /// The places of the items in a segment. Segments are ranges of the hash.
    pub fn segment(&self, segment: u32, total: u32) -> std::ops::Range<usize> {
        let bound = |n: u32| (u128::from(n) << 64) / u128::from(total);
        let place = |at: u128| self.items.partition_point(|item| u128::from(item.position) < at);
        place(bound(segment))..place(bound(segment + 1))
    }

    /// Bytes of all items.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.bytes)).sum()
    }
}

/// The number of items under each partition key, by the key's number.
fn counts(workload: &Workload) -> Vec<u32> {
    let all = workload.items;
    match workload.spread {
        Spread::Uniform => vec![1; all as usize],
        Spread::Giant { share } => {
            let giant = (f64::from(all) * share) as u32;
            std::iter::once(giant).chain(std::iter::repeat_n(1, (all - giant) as usize)).collect()
        }
        Spread::Zipf { keys, exponent } => {
            let weights: Vec<f64> = (1..=keys).map(|rank| f64::from(rank).powf(-exponent)).collect();
            let sum: f64 = weights.iter().sum();
            // Round so that the counts add up: each count is the total so far minus the items already assigned.
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
