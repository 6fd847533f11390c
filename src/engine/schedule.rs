//! Which segment is worked on next. The port is where a fleet would hand out segments to many machines.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::checkpoint::{SegmentState, SegmentStatus};

/// Hands out segments.
pub trait Scheduler: Send + Sync {
    /// The next segment to work on, with its committed state; none when all have been handed out. Each is handed out
    /// once.
    fn next(&self) -> Option<(u32, SegmentState)>;
}

/// One machine's scheduler: begun segments first, since their pages are likely still warm, then the others in order.
#[derive(Debug)]
pub struct LocalScheduler {
    queue: Mutex<VecDeque<(u32, SegmentState)>>,
}

impl LocalScheduler {
    /// A scheduler of a run of `total` segments, of which `known` have a state.
    pub fn new(total: u32, known: Vec<(u32, SegmentState)>) -> LocalScheduler {
        let seen: std::collections::BTreeSet<u32> = known.iter().map(|(segment, _)| *segment).collect();
        let fresh = (0..total).filter(|s| !seen.contains(s)).map(|s| (s, SegmentState::default()));
        let begun = known.into_iter().filter(|(_, state)| state.status != SegmentStatus::Done);
        LocalScheduler { queue: Mutex::new(begun.chain(fresh).collect()) }
    }
}

impl Scheduler for LocalScheduler {
    fn next(&self) -> Option<(u32, SegmentState)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// How many segments `segments = "auto"` makes of a table: one per GiB, and at least 16 so that a small table is read in
/// parallel too; at most 4,096, which is as far as the local engines go. (AWS suggests one per 2 GB from 20 GB on:
/// developer guide, "Best practices for querying and scanning".)
pub fn auto_segments(size_bytes: u64) -> u32 {
    u32::try_from(size_bytes.div_ceil(1 << 30)).unwrap_or(u32::MAX).clamp(16, 4_096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unfinished_segment_is_handed_out_once() {
        let done = SegmentState { status: SegmentStatus::Done, ..SegmentState::default() };
        let begun = SegmentState { pages: 2, ..SegmentState::default() };
        let scheduler = LocalScheduler::new(5, vec![(1, done), (3, begun)]);
        let order: Vec<u32> = std::iter::from_fn(|| scheduler.next()).map(|(s, _)| s).collect();
        assert_eq!(order, [3, 0, 2, 4]);
    }

    #[test]
    fn auto_grows_with_the_table() {
        assert_eq!(auto_segments(0), 16);
        assert_eq!(auto_segments(100 << 30), 100);
        assert_eq!(auto_segments(u64::MAX), 4_096);
    }
}
