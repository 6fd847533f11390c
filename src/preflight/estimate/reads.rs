//! Estimates the pages that a run reads, and the capacity units of its reads.

use crate::preflight::estimate_input::EstimateInput;
use crate::preflight::range::Range;

/// Maximum size of a page of a scan in bytes (developer guide, "Scan").
const PAGE_BYTES: f64 = 1024.0 * 1024.0;

/// Returns the number of pages that a run reads.
pub(super) fn pages(items: Range, bytes: Range, input: &EstimateInput<'_>) -> Range {
    let least = input.page_items.0.max(1) as f64;
    let most = input.page_items.1.max(1) as f64;
    let segments = f64::from(input.segments);
    let low = (items.low / most).max(bytes.low / PAGE_BYTES).max(segments).ceil();
    let high = items.high / least + bytes.high / PAGE_BYTES + segments;
    Range::between(low, high.ceil().max(low))
}

/// Returns the read units of a run. DynamoDB rounds each page up to a whole unit (half a unit for an eventually
/// consistent read). If the table has a sort key, the run can read it a second time to find large item collections.
pub(super) fn read_units(bytes: Range, pages: Range, input: &EstimateInput<'_>) -> Range {
    let unit = input.read_unit();
    let times = if input.table.key.sort.is_some() { 2.0 } else { 1.0 };
    let low = (bytes.low / 4096.0).ceil().max(pages.low) * unit;
    Range::between(low, (bytes.high / 4096.0 + pages.high) * unit * times)
}

/// Returns the read units of a run that reads every item by its key with a strongly consistent read. DynamoDB rounds
/// the size of each item up to a multiple of 4 KB. A key without an item costs one unit.
pub(super) fn get_units(items: Range, bytes: Range) -> Range {
    Range::between(items.low.max((bytes.low / 4096.0).ceil()), items.high + (bytes.high / 4096.0).floor())
}

/// Returns the read units of an eventually consistent scan of an index of this size. DynamoDB rounds the cost of each
/// page up to a multiple of half a unit.
pub(super) fn index_units(bytes: u64, pages: Range) -> Range {
    let units = bytes as f64 / 4096.0 * 0.5;
    Range::between(units.max(pages.low * 0.5), units + pages.high * 0.5)
}
