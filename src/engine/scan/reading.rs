//! How a pass reads the table, and how large its pages are.

use std::time::Duration;

use crate::dynamodb::Page;
use crate::engine::client::Requests;
use crate::item::{Units, read_units};
use crate::plan::Access;

/// A page has at most this number of items, whatever the budgets. This bounds the memory of a page and what a kill
/// repeats. It is small enough that a table of 20,000 items already takes as much memory as any larger one
/// (`tests/table/memory.rs`).
const MAX_PAGE_ITEMS: f64 = 250.0;

/// A small write budget does not make pages smaller than this, because each page costs a request.
const MIN_PAGE_ITEMS: f64 = 25.0;

/// A page's writes take about this number of seconds.
const WRITE_SECONDS: f64 = 1.0;

/// How a run reads the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Segments of the run; fixed for its life.
    pub total_segments: u32,
    /// Segments worked on at the same time.
    pub active: u32,
    /// Items per page, if the plan states it.
    pub page_limit: Option<u32>,
    /// Whether reads are strongly consistent.
    pub consistent: bool,
    /// Mean bytes of an item, if the table's description tells. It sizes the first page.
    pub mean_item_bytes: Option<u64>,
    /// Segments worked on in addition, if they are known to be large.
    pub large: u32,
    /// Items of a first page that the survey reads ahead. `None` means no survey.
    pub survey: Option<u32>,
    /// Name of the partition key.
    pub partition_key: String,
}

impl Reading {
    /// Reads a table with this partition key in this number of segments, one at a time. It knows nothing about the
    /// items.
    pub fn new(total_segments: u32, partition_key: impl Into<String>) -> Reading {
        Reading {
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

    /// The smallest and the largest number of items of a page, except for the last page.
    pub fn page_items(&self) -> (u64, u64) {
        let stated = self.page_limit.map(|limit| (u64::from(limit), u64::from(limit)));
        stated.unwrap_or((MIN_PAGE_ITEMS as u64, MAX_PAGE_ITEMS as u64))
    }
}

/// What the pages of a segment have cost so far and how long they took. This decides how many items the next page asks
/// for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageSize {
    read_units_per_item: Units,
    /// Number of items that are processed in about [`WRITE_SECONDS`].
    paced: f64,
}

impl PageSize {
    /// The size of the first page fits a segment's share of the write budget, as if every item needed a write.
    pub(crate) fn first(reading: &Reading, requests: &Requests) -> PageSize {
        // Without a description, assume items of 4 KB. Most items are smaller.
        let bytes = reading.mean_item_bytes.filter(|b| *b > 0).unwrap_or(4096) as f64;
        let read_units_per_item = bytes / 4096.0 * if reading.consistent { 1.0 } else { 0.5 };
        let share = requests.table_rate(Access::Write) / f64::from(reading.active.max(1));
        let paced = share.min(requests.rate(Access::Write)) * WRITE_SECONDS / (bytes / 1024.0).max(1.0);
        PageSize { read_units_per_item, paced: paced.clamp(MIN_PAGE_ITEMS, MAX_PAGE_ITEMS) }
    }

    pub(crate) fn learn_cost(&mut self, page: &Page) {
        if let (Some(units), items @ 1..) = (page.units, page.items.len()) {
            self.read_units_per_item = units / items as f64;
        }
    }

    /// Adjusts the size to the time that the last page took, by a factor of two at most.
    pub(crate) fn learn_pace(&mut self, took: Duration) {
        let factor = (WRITE_SECONDS / took.as_secs_f64().max(1e-3)).clamp(0.5, 2.0);
        self.paced = (self.paced * factor).clamp(MIN_PAGE_ITEMS, MAX_PAGE_ITEMS);
    }

    /// Number of items that take about one second of the read budget to read, and about one second to write at the
    /// segment's pace. A kill then repeats little, and a drain gives up little.
    pub(crate) fn limit(self, reading: &Reading, requests: &Requests) -> u32 {
        if let Some(limit) = reading.page_limit {
            return limit;
        }
        let readable = requests.table_rate(Access::Read) / self.read_units_per_item.max(1e-6);
        readable.min(self.paced).clamp(1.0, MAX_PAGE_ITEMS) as u32
    }

    pub(crate) fn estimate(self, limit: u32) -> Units {
        // A page never costs more than a strongly consistent read of 1 MB.
        (f64::from(limit) * self.read_units_per_item).clamp(0.5, read_units(1024 * 1024, true))
    }
}
