//! What the application does.

use serde::Deserialize;

/// An application's load on one table. Its keys are its own: all begin with `app#`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrafficSpec {
    /// The table. Default: the model's.
    pub table: Option<String>,
    /// Requests that write, per second.
    pub writes_per_second: f64,
    /// Requests that read, per second.
    pub reads_per_second: f64,
    /// How many partition keys it uses.
    pub keys: u64,
    /// How evenly: 0 is evenly, 1 and more is the skew (exponent) of a Zipf distribution.
    pub skew: f64,
    /// Bytes of the items that it puts.
    pub item_bytes: usize,
    /// Seeds its choices.
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
