//! The progress of a pass, by range of segments. A pass can have a million segments, so the segments are combined into
//! at most [`MAX_SEGMENT_RANGES`] ranges of about the same size.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest number of ranges. Each range is a label value of several metrics.
pub const MAX_SEGMENT_RANGES: u32 = 64;

const RANGES: usize = MAX_SEGMENT_RANGES as usize;

/// The progress of the segments from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRange {
    /// The first segment, counted from 0.
    pub first: u32,
    /// The last segment.
    pub last: u32,
    /// Number of segments of this range that are done.
    pub done: u64,
    /// Number of items of this range that are committed.
    pub items: u64,
}

/// The progress of every range of segments. Empty if the pass reads no segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentRanges(pub Vec<SegmentRange>);

impl SegmentRanges {
    /// Returns the ranges of a pass with this number of segments, without any progress.
    pub fn new(total_segments: u32) -> SegmentRanges {
        let ranges = u64::from(total_segments.min(MAX_SEGMENT_RANGES));
        // Use the same division as `range_of`. A range begins with the first segment that `range_of` maps to it.
        let begin = |range: u64| (range * u64::from(total_segments)).div_ceil(ranges.max(1)) as u32;
        let each = (0..ranges).map(|range| SegmentRange {
            first: begin(range),
            last: begin(range + 1) - 1,
            done: 0,
            items: 0,
        });
        SegmentRanges(each.collect())
    }

    /// Returns the index of the range that contains this segment. `None` if no range contains it.
    pub fn position(&self, segment: u32) -> Option<usize> {
        let position = self.0.partition_point(|range| range.last < segment);
        (position < self.0.len()).then_some(position)
    }

    /// Adds the progress of one segment.
    pub fn add(&mut self, segment: u32, items: u64, is_done: bool) {
        if let Some(range) = self.position(segment).and_then(|position| self.0.get_mut(position)) {
            range.items += items;
            range.done += u64::from(is_done);
        }
    }

    /// Adds the progress of another session of the same run. Before a session begins to scan, it has no ranges.
    pub fn add_all(&mut self, before: &SegmentRanges) {
        if self.0.is_empty() {
            before.clone_into(self);
            return;
        }
        for (mine, theirs) in self.0.iter_mut().zip(&before.0) {
            mine.items += theirs.items;
            mine.done += theirs.done;
        }
    }
}

/// The live progress of every range in this session.
#[derive(Debug)]
pub(crate) struct LiveRanges {
    total_segments: OnceLock<u32>,
    items: [AtomicU64; RANGES],
    done: [AtomicU64; RANGES],
}

impl Default for LiveRanges {
    fn default() -> LiveRanges {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        LiveRanges { total_segments: OnceLock::new(), items: zeros(), done: zeros() }
    }
}

impl LiveRanges {
    /// Sets the number of segments. Later calls have no effect.
    pub(crate) fn begin(&self, total_segments: u32) {
        let _ = self.total_segments.set(total_segments);
    }

    /// Counts committed items of a segment.
    pub(crate) fn record(&self, segment: u32, items: u64, is_done: bool) {
        let Some(position) = self.total_segments.get().and_then(|total| range_of(segment, *total)) else { return };
        self.items[position].fetch_add(items, Ordering::Relaxed);
        self.done[position].fetch_add(u64::from(is_done), Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> SegmentRanges {
        let mut ranges = SegmentRanges::new(self.total_segments.get().copied().unwrap_or_default());
        for (range, (items, done)) in ranges.0.iter_mut().zip(self.items.iter().zip(&self.done)) {
            range.items = items.load(Ordering::Relaxed);
            range.done = done.load(Ordering::Relaxed);
        }
        ranges
    }
}

fn range_of(segment: u32, total_segments: u32) -> Option<usize> {
    let ranges = u64::from(total_segments.min(MAX_SEGMENT_RANGES));
    let position = (u64::from(segment) * ranges).checked_div(u64::from(total_segments))?;
    usize::try_from(position).ok().filter(|position| *position < RANGES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// For any number of segments, there are at most 64 ranges. Each segment is in exactly one range. A commit
        /// counts in the range that contains its segment.
        #[test]
        fn every_segment_is_in_exactly_one_range(total in 1_u32..1_000_001, part in 0.0_f64..1.0) {
            let segment = (f64::from(total) * part) as u32;
            let live = LiveRanges::default();
            live.begin(total);
            live.record(segment, 5, true);
            let SegmentRanges(ranges) = live.snapshot();
            prop_assert_eq!(ranges.len(), total.min(MAX_SEGMENT_RANGES) as usize);
            prop_assert_eq!((ranges[0].first, ranges[ranges.len() - 1].last), (0, total - 1));
            for pair in ranges.windows(2) {
                prop_assert_eq!(pair[0].last + 1, pair[1].first);
            }
            for range in &ranges {
                let expected = if (range.first..=range.last).contains(&segment) { (5, 1) } else { (0, 0) };
                prop_assert_eq!((range.items, range.done), expected);
            }
            let mut again = SegmentRanges::new(total);
            again.add(segment, 5, true);
            prop_assert_eq!(again, SegmentRanges(ranges));
        }
    }

    #[test]
    fn a_pass_without_segments_has_no_ranges() {
        let live = LiveRanges::default();
        live.record(3, 1, false);
        assert_eq!((live.snapshot(), SegmentRanges::new(0)), (SegmentRanges::default(), SegmentRanges::default()));
    }
}
