//! Which segment is worked on next. The port is where a fleet would hand out segments to many machines.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::checkpoint::{SegmentState, SegmentStatus};

/// Hands out segments.
pub trait Scheduler: Send + Sync {
    /// The next segment to work on, with its committed state; none when all have been handed out. Each is handed out
    /// once.
    fn next(&self) -> Option<(u32, SegmentState)>;
}

/// One machine's scheduler: begun segments first, then the others in order.
#[derive(Debug)]
pub struct LocalScheduler(Mutex<Queue>);

#[derive(Debug)]
struct Queue {
    begun: VecDeque<(u32, SegmentState)>,
    fresh: Range<u32>,
    /// By segment: it has a state, so it is not fresh.
    known: Vec<bool>,
}

impl LocalScheduler {
    /// A scheduler of a run of `total` segments, none of them begun.
    pub fn new(total: u32) -> LocalScheduler {
        let known = vec![false; usize::try_from(total).unwrap_or(usize::MAX)];
        LocalScheduler(Mutex::new(Queue { begun: VecDeque::new(), fresh: 0..total, known }))
    }

    /// Notes where a segment stands, before any is handed out.
    pub fn note(&mut self, segment: u32, state: SegmentState) {
        let queue = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = queue.known.get_mut(segment as usize) {
            *known = true;
            if state.status != SegmentStatus::Done {
                queue.begun.push_back((segment, state));
            }
        }
    }
}

impl Scheduler for LocalScheduler {
    fn next(&self) -> Option<(u32, SegmentState)> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begun) = queue.begun.pop_front() {
            return Some(begun);
        }
        let Queue { fresh, known, .. } = &mut *queue;
        fresh.find(|segment| !known[*segment as usize]).map(|segment| (segment, SegmentState::default()))
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
        let mut scheduler = LocalScheduler::new(5);
        scheduler.note(1, done);
        scheduler.note(3, begun);
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
