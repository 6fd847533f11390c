//! The setting of an estimate: table, budgets, prices and reads.

use crate::cost::UnitPrices;
use crate::dynamodb::TableDescription;
use crate::ratelimit::Budgets;

/// What an estimate is about.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The table.
    pub table: &'a TableDescription,
    /// What the run may take per second.
    pub budgets: &'a Budgets,
    /// What units cost.
    pub prices: UnitPrices,
    /// Segments of the run.
    pub segments: u32,
    /// Segments that are worked on at the same time, at most.
    pub lanes: u32,
    /// Between how many items a page has.
    pub page_items: (u64, u64),
    /// Strongly consistent reads.
    pub consistent: bool,
}

impl Setting<'_> {
    /// Read units for each byte: whole pages are little more.
    pub(super) fn read_units_per_byte(&self) -> f64 {
        self.read_unit() / 4096.0
    }

    /// What 4 KB cost.
    pub(super) fn read_unit(&self) -> f64 {
        if self.consistent { 1.0 } else { 0.5 }
    }
}
