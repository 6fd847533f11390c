//! Turns the progress of a pass's segments into the columns of a heat strip. This module is pure.

use crate::engine::SegmentRange;
use crate::state::SegmentCell;
use crate::telemetry::RangeFigures;

/// The highest level. It means that all segments of the column are done. Level 0 means that nothing is committed.
pub const FULL: u8 = 8;

/// The progress of neighbouring segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeatCell {
    /// Number of segments.
    pub segments: u64,
    /// Number of segments that are done.
    pub done: u64,
    /// Number of committed items.
    pub items: u64,
}

impl From<&SegmentRange> for HeatCell {
    fn from(range: &SegmentRange) -> HeatCell {
        let segments = u64::from(range.last.saturating_sub(range.first)) + 1;
        HeatCell { segments, done: range.done, items: range.items }
    }
}

impl From<&RangeFigures> for HeatCell {
    fn from(range: &RangeFigures) -> HeatCell {
        let segments = u64::from(range.last.saturating_sub(range.first)) + 1;
        HeatCell { segments, done: range.done, items: range.items }
    }
}

impl From<&SegmentCell> for HeatCell {
    fn from(cell: &SegmentCell) -> HeatCell {
        HeatCell { segments: cell.segments().into(), done: cell.done.into(), items: cell.scanned }
    }
}

/// Returns the levels of at most `columns` columns, each from 0 to [`FULL`]. Neighbouring cells share a column if there
/// are more cells than columns. `item_estimate` is DynamoDB's count of the items in the table, or 0 if unknown. With
/// it, the level of a segment that is being scanned is an estimate that assumes equally large segments. Without it, the
/// level shows only the segments that are done.
pub fn levels(cells: &[HeatCell], item_estimate: u64, columns: usize) -> Vec<u8> {
    let columns = columns.min(cells.len());
    let segments: u64 = cells.iter().map(|cell| cell.segments).sum();
    let per_segment = item_estimate as f64 / segments.max(1) as f64;
    (0..columns)
        .map(|column| {
            let part = &cells[column * cells.len() / columns..(column + 1) * cells.len() / columns];
            let sum = |figure: fn(&HeatCell) -> u64| part.iter().map(figure).sum::<u64>();
            let all = HeatCell {
                segments: sum(|cell| cell.segments),
                done: sum(|cell| cell.done),
                items: sum(|cell| cell.items),
            };
            level(all, per_segment)
        })
        .collect()
}

fn level(cell: HeatCell, items_per_segment: f64) -> u8 {
    if cell.segments > 0 && cell.done >= cell.segments {
        return FULL;
    }
    if cell.done == 0 && cell.items == 0 {
        return 0;
    }
    let segments = cell.segments.max(1) as f64;
    let by_items = if items_per_segment > 0.0 { cell.items as f64 / (items_per_segment * segments) } else { 0.0 };
    let part = by_items.max(cell.done as f64 / segments).clamp(0.0, 1.0);
    // Only a column whose segments are all done has the full level.
    1 + (part * 6.0).floor() as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::SegmentRanges;

    fn cell(done: u64, items: u64) -> HeatCell {
        HeatCell { segments: 2, done, items }
    }

    #[test]
    fn a_level_shows_the_progress_of_a_column() {
        let cells = [cell(0, 0), cell(0, 1), cell(1, 100), cell(0, 150), cell(0, 900), cell(2, 20)];
        assert_eq!(levels(&cells, 1_200, 99), [0, 1, 4, 5, 7, FULL]);
        assert_eq!(levels(&cells, 0, 99), [0, 1, 4, 1, 1, FULL], "without a count, only segments count");
        assert_eq!(levels(&cells, 1_200, 3), [1, 4, 7], "two cells share a column");
        assert_eq!(levels(&[], 1_200, 3), Vec::<u8>::new());
    }

    proptest! {
        /// Only work that is done is shown as done, and work that has begun is never shown as untouched.
        #[test]
        fn levels_are_honest(
            total in 1_u32..2_000, columns in 1_usize..80, estimate in 0_u64..10_000,
            done in prop::collection::vec((0_u32..2_000, 0_u64..50, any::<bool>()), 0..300),
        ) {
            let mut ranges = SegmentRanges::new(total);
            for (segment, items, is_done) in done {
                let is_full = ranges.0.iter().any(|r| (r.first..=r.last).contains(&segment) && r.done > u64::from(r.last - r.first));
                ranges.add(segment, items, is_done && !is_full);
            }
            let cells: Vec<HeatCell> = ranges.0.iter().map(HeatCell::from).collect();
            let shown = levels(&cells, estimate, columns);
            prop_assert_eq!(shown.len(), columns.min(cells.len()));
            let all_done = cells.iter().all(|cell| cell.done >= cell.segments);
            let none_begun = cells.iter().all(|cell| cell.done == 0 && cell.items == 0);
            prop_assert_eq!(shown.iter().all(|level| *level == FULL), all_done);
            prop_assert_eq!(shown.iter().all(|level| *level == 0), none_begun);
            prop_assert!(shown.iter().all(|level| *level <= FULL));
        }
    }
}
