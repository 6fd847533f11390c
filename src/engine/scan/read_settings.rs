//! Determines how a pass reads the table, and how many items each page has.

use std::time::Duration;

use crate::engine::client::{ReadPage, Requests};
use crate::item::{Units, read_units};
use crate::plan::Access;

/// The largest number of items in a page, for any budgets. This limit bounds the memory of a page and the work that is
/// repeated after a kill. With this limit, a run on a table of 20,000 items needs as much memory as a run on any larger
/// table (`tests/table/memory.rs`).
const MAX_PAGE_ITEMS: f64 = 250.0;

/// Even if the write budget is small, a page has at least this number of items, because every page costs a request.
const MIN_PAGE_ITEMS: f64 = 25.0;

/// The target duration for writing the items of one page, in seconds.
const WRITE_SECONDS: f64 = 1.0;

/// The settings with which a run reads the table.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadSettings {
    /// Number of segments of the run. This number never changes during the run.
    pub total_segments: u32,
    /// Number of segments that are processed at the same time.
    pub active: u32,
    /// Number of items per page. `None` if the plan does not set it.
    pub page_limit: Option<u32>,
    /// Whether reads are strongly consistent.
    pub consistent: bool,
    /// Mean size of an item in bytes, which determines the size of the first page. `None` if the table's description
    /// does not report it.
    pub mean_item_bytes: Option<u64>,
    /// Number of additional lanes for segments that are known to be large.
    pub large: u32,
    /// Number of items that the survey reads from the first page of a segment. `None` means no survey.
    pub survey: Option<u32>,
    /// Name of the partition key.
    pub partition_key: String,
}

impl ReadSettings {
    /// Creates settings for a table with this partition key and `total_segments` segments. With these settings,
    /// segments are read one after the other, and the size of the items is unknown.
    pub fn new(total_segments: u32, partition_key: impl Into<String>) -> ReadSettings {
        ReadSettings {
            total_segments,
            active: 1,
            page_limit: None,
            consistent: false,
            mean_item_bytes: None,
            large: 0,
            survey: None,
            partition_key: partition_key.into(),
        }
    }

    /// Returns the smallest and the largest number of items in a page. The last page of a segment can have fewer items.
    /// If the read budget is very small, every page can have fewer items.
    pub fn page_items(&self) -> (u64, u64) {
        let stated = self.page_limit.map(|limit| (u64::from(limit), u64::from(limit)));
        stated.unwrap_or((MIN_PAGE_ITEMS as u64, MAX_PAGE_ITEMS as u64))
    }
}

/// Calculates the item limit for a segment's next page, based on the cost and the duration of earlier pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSize {
    read_units_per_item: Units,
    /// Number of items that are processed in about [`WRITE_SECONDS`].
    paced_items: f64,
}

impl PageSize {
    /// Calculates the size of the first page from the segment's share of the write budget. The calculation assumes that
    /// every item needs a write.
    pub(crate) fn first(read_settings: &ReadSettings, requests: &Requests) -> PageSize {
        // If the description reports no item size, assume items of 4 KB. Most items are smaller.
        let bytes = read_settings.mean_item_bytes.filter(|b| *b > 0).unwrap_or(4096) as f64;
        let read_units_per_item = bytes / 4096.0 * if read_settings.consistent { 1.0 } else { 0.5 };
        let share = requests.table_rate(Access::Write) / f64::from(read_settings.active.max(1));
        let paced_items = share.min(requests.rate(Access::Write)) * WRITE_SECONDS / (bytes / 1024.0).max(1.0);
        PageSize { read_units_per_item, paced_items: paced_items.clamp(MIN_PAGE_ITEMS, MAX_PAGE_ITEMS) }
    }

    pub(crate) fn learn_cost(&mut self, read: &ReadPage) {
        if let (Some(units), items @ 1..) = (read.page.units, read.page.items.len() as u64 + read.left_out) {
            self.read_units_per_item = units / items as f64;
        }
    }

    /// Adjusts the size, based on the time that the last page took. One call changes the size by at most a factor of
    /// two.
    pub(crate) fn learn_pace(&mut self, took: Duration) {
        let factor = (WRITE_SECONDS / took.as_secs_f64().max(1e-3)).clamp(0.5, 2.0);
        self.paced_items = (self.paced_items * factor).clamp(MIN_PAGE_ITEMS, MAX_PAGE_ITEMS);
    }

    /// Returns the item limit of the next page. Reading these items takes at most about a second of the read budget,
    /// and writing them takes at most about a second at the segment's pace. So a kill or a drain loses little work.
    pub(crate) fn limit(self, read_settings: &ReadSettings, requests: &Requests) -> u32 {
        if let Some(limit) = read_settings.page_limit {
            return limit;
        }
        let readable = requests.table_rate(Access::Read) / self.read_units_per_item.max(1e-6);
        readable.min(self.paced_items).clamp(1.0, MAX_PAGE_ITEMS) as u32
    }

    pub(crate) fn estimate(self, limit: u32) -> Units {
        // A page never costs more than a strongly consistent read of 1 MB.
        (f64::from(limit) * self.read_units_per_item).clamp(0.5, read_units(1024 * 1024, true))
    }
}
