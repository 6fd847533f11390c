//! The configuration of the application's traffic.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::item::MAX_ITEM_BYTES;
use crate::local::checks::not_negative;

/// The maximum number of keys. The limit bounds memory, because the weight of each key takes 8 bytes.
const MOST_KEYS: u64 = 1_000_000;

/// The maximum rate in requests per second, for reads and for writes separately. A single process cannot send faster.
const FASTEST: f64 = 100_000.0;

/// Size in bytes of an item without its payload. The item then consists of the keys and the attribute names.
const OVERHEAD_BYTES: usize = 100;

/// An application's load on one table. The application uses its own partition keys, which all start with `app#`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrafficSpec {
    /// The name of the table. The default is the capacity model's table.
    pub table: Option<String>,
    /// Write requests per second. Half of them are `PutItem`, half are `UpdateItem`.
    #[serde(deserialize_with = "rate")]
    pub writes_per_second: f64,
    /// `GetItem` requests per second.
    #[serde(deserialize_with = "rate")]
    pub reads_per_second: f64,
    /// Number of partition keys.
    #[serde(deserialize_with = "keys")]
    pub keys: u64,
    /// The exponent of a Zipf distribution over the keys; 0 makes all keys equally likely.
    #[serde(deserialize_with = "not_negative")]
    pub skew: f64,
    /// Approximate size in bytes of the items that the application puts.
    #[serde(deserialize_with = "item_bytes")]
    pub item_bytes: usize,
    /// The seed of the application's random choices.
    pub seed: u64,
}

impl Default for TrafficSpec {
    fn default() -> TrafficSpec {
        TrafficSpec {
            table: None,
            writes_per_second: 10.0,
            reads_per_second: 10.0,
            keys: 1_000,
            skew: 0.0,
            item_bytes: 500,
            seed: 1,
        }
    }
}

impl TrafficSpec {
    /// Returns the size in bytes of the attribute that pads an item.
    pub(super) fn payload_bytes(item_bytes: usize) -> usize {
        item_bytes.saturating_sub(OVERHEAD_BYTES)
    }
}

fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(from)?;
    if (0.0..=FASTEST).contains(&value) {
        Ok(value)
    } else {
        Err(D::Error::custom(format!("it must be from 0 to {FASTEST} per second")))
    }
}

fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match u64::deserialize(from)? {
        keys @ 1..=MOST_KEYS => Ok(keys),
        _ => Err(D::Error::custom(format!("it must be from 1 to {MOST_KEYS}"))),
    }
}

fn item_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    match usize::deserialize(from)? {
        bytes if bytes <= MAX_ITEM_BYTES - OVERHEAD_BYTES => Ok(bytes),
        _ => Err(D::Error::custom(format!("it must be at most {}", MAX_ITEM_BYTES - OVERHEAD_BYTES))),
    }
}
