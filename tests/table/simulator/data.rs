//! Synthetic items, kept compactly: what a simulated table holds, and how its items spread over partition keys.

use backfill::internals::item::{Item, ItemKey, Value};

/// How many items each partition key has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// One item to a key.
    Uniform,
    /// Over so many keys, by Zipf's law: the key of rank r has items in proportion to 1 / r to this exponent.
    Zipf {
        /// Partition keys.
        keys: u32,
        /// The exponent.
        exponent: f64,
    },
    /// This share of all items is under one partition key, the others have a key each.
    Giant {
        /// From 0 to 1.
        share: f64,
    },
}

/// What a table is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Items.
    pub items: u32,
    /// How they spread over partition keys.
    pub spread: Spread,
    /// Bytes of an item, from the least to the most; even between them.
    pub bytes: (u32, u32),
}

/// One item. Its sort key is its place in [`Data`], so that a key finds it at once.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Where its partition key's hash is, as a share of 2^64.
    pub position: u64,
    /// Number of its partition key.
    pub partition_key: u32,
    /// Whole item.
    pub bytes: u32,
    /// Whether it has been written.
    pub done: bool,
}

/// The items of a table, in the order in which a scan meets them: by hash, then by sort key.
#[derive(Debug, Clone)]
pub struct Data {
    /// All of them.
    pub items: Vec<Stored>,
}

/// The attribute that the simulated job copies, and its value.
pub const SOURCE: (&str, &str) = ("old", "12345678");

/// Where it copies it to.
pub const TARGET: &str = "new";

/// The partition key of the index that a simulated table may have; every item has it.
pub const INDEX_KEY: &str = "gk";

/// What an item takes beside its padding: names, keys, source, index key.
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

    /// The places of a segment: segments are ranges of the hash.
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

/// How many items each partition key has, by its number.
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
            // Rounded so that the counts add up: what is due so far less what was given.
            let (mut due, mut given) = (0.0, 0);
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
