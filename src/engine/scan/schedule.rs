//! Decides which segment is processed next. Another implementation of [`Scheduler`] could distribute the segments over
//! several machines.
//!
//! Parallel-scan segments are ranges of the key hash, so neighbouring segments usually share a partition. For this
//! reason, fresh segments are leased in bit-reversed order, which spreads them over the hash space. Suppose that the
//! hash space is divided into 2^k equal parts. Then each aligned group of 2^k consecutive segments in this order
//! contains one segment of each part. But segments do not end in the order in which they began. So the scheduler first
//! selects the half of the hash space that has fewer active segments. Within that half, it selects the quarter with the
//! fewest active segments, and so on. The next segment comes from the selected part. This order loads the partitions
//! evenly at every moment.
//!
//! If segments are known to be large, they take precedence over this order, because the longest segment must begin
//! first. The pace of one partition key is limited even if no other segment is active. So a long segment that begins
//! late makes the whole run longer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::engine::client::Lane;
use crate::engine::scan::first_page::FirstPage;
use crate::state::{SegmentState, SegmentStatus};

/// Leases work units to holders, and collects information about the units. A unit is a segment of the run.
///
/// An implementation promises:
/// - **One holder.** A unit is leased to one holder at a time. A lease is durable before it is returned, so no second
///   process can get the same unit. A later lease of the same unit has a higher epoch, and commits of an earlier epoch
///   are refused.
/// - **Every unit.** Every unit is leased until it is done, repeatedly if necessary. If a holder releases an unfinished
///   unit or dies, the unit is leased again, in its last committed state.
/// - **Errors** stop the run, which can later be resumed. A caller must not treat an error as the end of the work.
/// - **Dropped calls.** If the future of a call is dropped, the unit stays unleased, or its lease ends by itself.
///
/// Everything except the leases is advisory. If a unit's first page is never reported to
/// [`Scheduler::record_first_page`], the unit is still leased, but possibly late. With several machines,
/// [`Scheduler::next_unsurveyed`] divides the survey among them, and every machine benefits from each surveyed page.
#[async_trait]
pub trait Scheduler: Send + Sync {
    /// Leases the next unit for a lane of this kind. For a shared lane, `None` means that no unit is waiting. For a
    /// large lane, `None` means that no waiting unit is known to be large.
    async fn next(&self, lane: Lane) -> Result<Option<WorkLease>, SchedulerError>;

    /// Releases a lease, because its holder no longer works on the unit. If the unit is not done, it is leased again.
    /// If a lease is dropped instead, it ends by itself after some time, or when the process ends.
    async fn release(&self, lease: WorkLease) -> Result<(), SchedulerError>;

    /// Returns a unit that has not been surveyed, so that its first page can be read early. Returns `None` if no such
    /// unit is left. Returns each unit only once, and does not lease it.
    async fn next_unsurveyed(&self) -> Result<Option<u32>, SchedulerError>;

    /// Records how a unit was classified after its first page. This has no effect if the unit has been leased in the
    /// meantime.
    async fn record_first_page(&self, unit: u32, first_page: FirstPage) -> Result<(), SchedulerError>;
}

/// The right of one holder to work on one unit. The type is not `Clone`, because a unit has only one holder.
#[derive(Debug, PartialEq)]
pub struct WorkLease {
    /// The number of the unit. A unit is a segment of the run; segments are numbered from 0.
    pub unit: u32,
    /// The committed state of the unit, from which the holder continues.
    pub state: SegmentState,
    /// The epoch of the lease, which protects the unit against commits by earlier holders. A later lease of the unit
    /// has a higher epoch. Each commit carries the epoch of its lease
    /// ([`SessionId::epoch`](crate::state::SessionId::epoch)). [`LocalScheduler`] uses the run's session number.
    pub epoch: u64,
}

/// The reason why the scheduler could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchedulerError(pub String);

/// A begun segment counts as large if its number of scanned items is at least this multiple of the mean number of items
/// in a finished segment.
const LARGE_FACTOR: u64 = 4;

/// A segment with fewer scanned items than this never counts as large, because these items are written in seconds.
const MIN_LARGE_ITEMS: u64 = 1_000;

/// The scheduler of a single process that owns the state of the run. This scheduler answers immediately and never
/// fails. An unfinished unit is leased again in the run's next session. Shared lanes get segments in this order: begun
/// segments, the longest first; segments known to be large; segments that continue after their first page; unknown
/// segments; and segments that end with their first page.
#[derive(Debug)]
pub struct LocalScheduler(Mutex<Queue>);

/// What is known about a waiting segment. Each value takes only one byte, because a run can have a million segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum SegmentKnowledge {
    /// Nothing is known about the segment.
    Unknown,
    /// Nothing is known about the segment yet, but its first page is being read.
    BeingRead,
    /// The segment ends with its first page.
    Ends,
    /// The segment continues after its first page.
    Continues,
    /// The segment continues inside an item collection.
    Large,
    /// The segment no longer waits. It is leased, begun or done.
    NotWaiting,
}

#[derive(Debug)]
struct Queue {
    /// The epoch of every lease.
    epoch: u64,
    /// Begun segments, in descending order of their number of scanned items.
    begun: BTreeMap<(Reverse<u64>, u32), SegmentState>,
    /// The total number of items in finished segments, and the number of finished segments.
    done: (u64, u64),
    order: BitReversedOrder,
    active: ActiveSegments,
    knowledge: Vec<SegmentKnowledge>,
    /// The class of segments for each [`SegmentKnowledge`] value.
    classes: [KnowledgeClass; 6],
}

/// The segments with the same [`SegmentKnowledge`] value.
#[derive(Debug, Clone, Copy, Default)]
struct KnowledgeClass {
    members: u32,
    /// A lower bound for the members' positions in the bit-reversed order.
    from: u32,
}

/// Counts the active segments in each part of the hash space: its halves, its quarters, and so on.
#[derive(Debug)]
struct ActiveSegments {
    total: u32,
    /// The number of active segments in each of the two halves, then in each of the four quarters, and so on. Part `n`
    /// of the `2^level` parts is at index `2^level - 2 + n`.
    parts: Vec<u32>,
}

/// The hash space is halved this number of times, which yields 64 parts. In a table with more than 64 partitions, one
/// additional lane in a part hardly matters.
const LEVELS: u32 = 6;

/// The number of waiting segments from which the next segment is chosen. In bit-reversed order, this number of
/// consecutive segments includes four segments of each part. So every part usually still has candidates after some of
/// them have been leased.
const MAX_CANDIDATES: usize = 4 << LEVELS;

impl ActiveSegments {
    fn new(total: u32) -> ActiveSegments {
        ActiveSegments { total, parts: vec![0; (1 << (LEVELS + 1)) - 2] }
    }

    /// Returns the index of the part that contains a segment, after `level` halvings.
    fn part(&self, segment: u32, level: u32) -> usize {
        (1 << level) - 2 + ((u64::from(segment) << level) / u64::from(self.total.max(1))) as usize
    }

    fn add(&mut self, segment: u32) {
        for level in 1..=LEVELS {
            let part = self.part(segment, level);
            self.parts[part] += 1;
        }
    }

    fn remove(&mut self, segment: u32) {
        for level in 1..=LEVELS {
            let part = self.part(segment, level);
            self.parts[part] = self.parts[part].saturating_sub(1);
        }
    }

    /// Chooses the candidate with the fewest active neighbours. First drops all candidates outside the half of the hash
    /// space that has fewer active segments. Then does the same for quarters, eighths and so on. If several candidates
    /// remain, returns the first of them.
    fn least_crowded(&self, mut segments: Vec<u32>) -> Option<u32> {
        for level in 1..=LEVELS {
            let active_nearby = |segment: &u32| self.parts[self.part(*segment, level)];
            let fewest = segments.iter().map(active_nearby).min()?;
            segments.retain(|segment| active_nearby(segment) == fewest);
            if segments.len() == 1 {
                break;
            }
        }
        segments.first().copied()
    }
}

/// Iterates over `0..total` in bit-reversed order. The order covers all numbers below the next power of two; numbers
/// that are not less than `total` are skipped.
#[derive(Debug, Clone, Copy)]
struct BitReversedOrder {
    total: u32,
    bits: u32,
}

impl BitReversedOrder {
    fn new(total: u32) -> BitReversedOrder {
        BitReversedOrder { total, bits: total.max(1).next_power_of_two().trailing_zeros() }
    }

    fn places(self) -> u32 {
        1 << self.bits
    }

    /// Converts a position in the order to the segment at that position, and also a segment to its position. The result
    /// can be greater than the total.
    fn reverse(self, place: u32) -> u32 {
        place.reverse_bits().checked_shr(u32::BITS - self.bits).unwrap_or(0)
    }

    fn at(self, place: u32) -> Option<u32> {
        Some(self.reverse(place)).filter(|segment| *segment < self.total)
    }
}

impl LocalScheduler {
    /// Creates a scheduler for a run of `total` segments, none of which has begun. DynamoDB allows a million segments.
    pub fn new(total: u32) -> LocalScheduler {
        let knowledge = vec![SegmentKnowledge::Unknown; usize::try_from(total).unwrap_or(usize::MAX)];
        let mut classes = [KnowledgeClass::default(); 6];
        classes[SegmentKnowledge::Unknown as usize].members = total;
        LocalScheduler(Mutex::new(Queue {
            epoch: 0,
            begun: BTreeMap::new(),
            done: (0, 0),
            order: BitReversedOrder::new(total),
            active: ActiveSegments::new(total),
            knowledge,
            classes,
        }))
    }

    /// Sets the run's session. The number of the session becomes the epoch of all leases.
    pub fn in_session(mut self, session: u32) -> LocalScheduler {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).epoch = u64::from(session);
        self
    }

    /// Adds the stored state of a segment. Call this method before any segment is leased.
    pub fn restore(&mut self, segment: u32, state: SegmentState) {
        let queue = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if segment >= queue.order.total || state.status == SegmentStatus::Pending {
            return;
        }
        queue.mark(segment, SegmentKnowledge::NotWaiting);
        if state.status == SegmentStatus::Done {
            queue.done = (queue.done.0 + state.counts.scanned, queue.done.1 + 1);
        } else {
            queue.begun.insert((Reverse(state.counts.scanned), segment), state);
        }
    }

    fn with_queue<T>(&self, f: impl FnOnce(&mut Queue) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Scheduler for LocalScheduler {
    async fn next(&self, lane: Lane) -> Result<Option<WorkLease>, SchedulerError> {
        Ok(self.with_queue(|queue| {
            let (unit, state) = match lane {
                Lane::Large => {
                    queue.begun(queue.large_threshold()).or_else(|| queue.take_fresh(&[SegmentKnowledge::Large]))
                }
                Lane::Shared => queue.begun(0).or_else(|| {
                    queue.take_fresh(&[
                        SegmentKnowledge::Large,
                        SegmentKnowledge::Continues,
                        SegmentKnowledge::Unknown,
                        SegmentKnowledge::BeingRead,
                        SegmentKnowledge::Ends,
                    ])
                }),
            }?;
            queue.active.add(unit);
            Some(WorkLease { unit, state, epoch: queue.epoch })
        }))
    }

    async fn release(&self, lease: WorkLease) -> Result<(), SchedulerError> {
        self.with_queue(|queue| queue.active.remove(lease.unit));
        Ok(())
    }

    async fn next_unsurveyed(&self) -> Result<Option<u32>, SchedulerError> {
        Ok(self.with_queue(|queue| {
            let segment = queue.first(SegmentKnowledge::Unknown)?;
            queue.mark(segment, SegmentKnowledge::BeingRead);
            Some(segment)
        }))
    }

    async fn record_first_page(&self, unit: u32, first_page: FirstPage) -> Result<(), SchedulerError> {
        self.with_queue(|queue| {
            if queue.knowledge.get(unit as usize) == Some(&SegmentKnowledge::BeingRead) {
                let knowledge = match first_page {
                    FirstPage::Ends => SegmentKnowledge::Ends,
                    FirstPage::Continues => SegmentKnowledge::Continues,
                    FirstPage::InCollection => SegmentKnowledge::Large,
                };
                queue.mark(unit, knowledge);
            }
        });
        Ok(())
    }
}

impl Queue {
    /// Takes the begun segment with the most scanned items, if it has at least `items` scanned items.
    fn begun(&mut self, items: u64) -> Option<(u32, SegmentState)> {
        let first = self.begun.first_entry().filter(|first| first.key().0.0 >= items)?;
        let ((_, segment), state) = first.remove_entry();
        Some((segment, state))
    }

    /// Takes a fresh segment from the first of these classes that is not empty.
    fn take_fresh(&mut self, classes: &[SegmentKnowledge]) -> Option<(u32, SegmentState)> {
        let segment = classes.iter().find_map(|knowledge| self.least_crowded(*knowledge))?;
        self.mark(segment, SegmentKnowledge::NotWaiting);
        Some((segment, SegmentState::default()))
    }

    /// Returns the number of scanned items from which a begun segment counts as large. Before the first segment is
    /// finished, no segment counts as large.
    fn large_threshold(&self) -> u64 {
        let mean = self.done.0.checked_div(self.done.1);
        mean.map_or(u64::MAX, |mean| mean.saturating_mul(LARGE_FACTOR).max(MIN_LARGE_ITEMS))
    }

    /// Returns the first segment of a class, in bit-reversed order. The search stays fast during the whole run, because
    /// each search continues where the last one ended. Segments are surveyed nearly in this order.
    fn first(&mut self, knowledge: SegmentKnowledge) -> Option<u32> {
        let KnowledgeClass { members, from } = self.classes[knowledge as usize];
        let is_one = |segment: &u32| self.knowledge[*segment as usize] == knowledge;
        let found = |place: u32| self.order.at(place).filter(is_one).map(|segment| (place, segment));
        let (place, segment) = (from..self.order.places()).take_while(|_| members > 0).find_map(found)?;
        self.classes[knowledge as usize].from = place;
        Some(segment)
    }

    /// Returns the segment of a class to process next. Considers the class's first segments in bit-reversed order, and
    /// chooses the one with the fewest active neighbours. Before the first segment ends, the chosen segment is simply
    /// the first one in the order.
    fn least_crowded(&mut self, knowledge: SegmentKnowledge) -> Option<u32> {
        self.first(knowledge)?;
        let KnowledgeClass { members, from } = self.classes[knowledge as usize];
        let waiting = (from..self.order.places())
            .filter_map(|place| self.order.at(place))
            .filter(|segment| self.knowledge[*segment as usize] == knowledge);
        self.active.least_crowded(waiting.take(MAX_CANDIDATES.min(members as usize)).collect())
    }

    fn mark(&mut self, segment: u32, knowledge: SegmentKnowledge) {
        let before = std::mem::replace(&mut self.knowledge[segment as usize], knowledge);
        self.classes[before as usize].members -= 1;
        let place = self.order.reverse(segment);
        let class = &mut self.classes[knowledge as usize];
        class.from = if class.members == 0 { place } else { class.from.min(place) };
        class.members += 1;
    }
}

#[cfg(test)]
mod tests;
