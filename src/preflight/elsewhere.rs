//! The estimated needs of a run on the table that gets derived items, if it is not the table of their sources.

use super::pace::KeyLoad;
use super::range::Range;

/// The needs of a run on the table that gets derived items.
#[derive(Debug, Clone, PartialEq)]
pub struct ElsewhereEstimate {
    /// The name of the table.
    pub table: String,
    /// Number of read capacity units.
    pub read_units: Range,
    /// Number of write capacity units of the table and its indexes.
    pub write_units: Range,
}

/// Extends the need of the most demanding partition key in the drawn clusters to the whole table. In the worst case, the
/// derived items of all sources that the sample does not account for have the same partition key. This is impossible if
/// each partition key has only one item. Then `drawn` is zero.
/// `hidden` is the number of write units of these items.
pub(super) fn sampled_key(drawn: KeyLoad, hidden: f64) -> KeyLoad {
    if drawn.write.high <= 0.0 {
        return drawn;
    }
    let most = drawn.write.high.max(hidden);
    KeyLoad { write: Range::between(drawn.write.low, most), ..drawn }
}
