//! Defines the input of an estimate.

use crate::cost::UnitPrices;
use crate::dynamodb::TableDescription;
use crate::ratelimit::Budgets;

/// The input of an estimate.
#[derive(Debug, Clone, Copy)]
pub struct EstimateInput<'a> {
    /// The table.
    pub table: &'a TableDescription,
    /// The budgets, in capacity units per second.
    pub budgets: &'a Budgets,
    /// The prices of units.
    pub prices: UnitPrices,
    /// Number of segments into which the run divides the table.
    pub segments: u32,
    /// Maximum number of segments that the run works on at the same time.
    pub lanes: u32,
    /// Minimum and maximum number of items per page.
    pub page_items: (u64, u64),
    /// Whether reads are strongly consistent.
    pub consistent: bool,
    /// The way in which the run reads items.
    pub reads: ItemReads,
    /// Whether the run puts derived items. If so, the run first reads each derived item, and then puts it in a
    /// transaction. A transaction costs twice as much as a write.
    pub derives: bool,
    /// The table that gets derived items. `None` if it is the table of their sources.
    pub other: Option<OtherTableInput<'a>>,
    /// Maximum number of writes that an item needs, without other writers.
    pub max_writes: usize,
}

/// A table that gets derived items from another table.
#[derive(Debug, Clone, Copy)]
pub struct OtherTableInput<'a> {
    /// The name of the table.
    pub name: &'a str,
    /// The table.
    pub table: &'a TableDescription,
    /// The budgets for the table, in capacity units per second.
    pub budgets: &'a Budgets,
    /// The prices of the table's units.
    pub prices: UnitPrices,
}

/// How a run reads the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemReads {
    /// The run scans the table.
    Scan,
    /// The run reads each listed item by its key.
    Keys,
    /// The run scans an index of this size in bytes, and reads each item in the index by its key.
    Index(u64),
}

impl EstimateInput<'_> {
    /// Returns the number of read units per byte. DynamoDB rounds up the size of each page. The result ignores this
    /// small difference.
    pub(super) fn read_units_per_byte(&self) -> f64 {
        self.read_unit() / 4096.0
    }

    /// Returns the number of units that a read of 4 KB consumes.
    pub(super) fn read_unit(&self) -> f64 {
        if self.consistent { 1.0 } else { 0.5 }
    }
}
