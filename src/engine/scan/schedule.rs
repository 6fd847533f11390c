//! Decides which segment is worked on next. With another [`Scheduler`], a fleet could lease segments to many machines.
//!
//! Parallel-scan segments are ranges of the key hash, so neighbours share a partition. Fresh segments are therefore
//! handed out in bit-reversed order: of any aligned run of 2^k segments, one is in each 2^k-th of the hash space. But
//! segments do not end in the order in which they began. So the next one is taken from the half with the fewest active
//! segments, there from the quarter with the fewest, and so on. This loads the partitions evenly at every moment.
//!
//! Knowledge about segments overrides that order: the longest segment must begin first, because nothing else can
//! shorten the end. One partition key is written at its own pace, however idle everything else is.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::engine::client::Lane;
use crate::engine::scan::first_page::FirstPage;
use crate::state::{SegmentState, SegmentStatus};

/// Leases work units to holders, and learns about the units. A unit is a segment of the run.
///
/// An implementation promises:
/// - **One holder.** A unit is leased to one holder at a time. A lease is taken durably before it is returned, so that this
///   holds over all processes. A later lease of the same unit has a higher epoch, and commits of an earlier epoch are refused.
/// - **Every unit.** Every unit is leased until it is done. What a holder leaves unfinished, or what a lost holder had, is
///   leased again, with the state that is committed by then.
/// - **Errors** stop the run, and it can be resumed: a caller never takes an error for the end of the work.
/// - **Dropped calls.** A call whose future is dropped leaves either no lease, or one that ends by itself.
///
/// Everything except the leases is advisory: a first page that is never reported to [`Scheduler::learn`] is read again,
/// or not at all. In a fleet [`Scheduler::next_unknown`] spreads the survey over the machines, and what one of them
/// learns decides what each takes next.
#[async_trait]
pub trait Scheduler: Send + Sync {
    /// Leases the next unit to work on in a lane of this kind. For a shared lane, `None` means that no unit is waiting;
    /// for a large lane, that no waiting unit is known to be large.
    async fn next(&self, lane: Lane) -> Result<Option<WorkLease>, SchedulerError>;

    /// Gives a lease back: its holder no longer works on the unit. The unit is done, or is leased again. A lease that is
    /// dropped instead ends by itself: by time, or with the process.
    async fn left(&self, lease: WorkLease) -> Result<(), SchedulerError>;

    /// A unit about which nothing is known yet, so its first page is worth reading early; `None` if no such unit is
    /// left. Returns each unit once, and does not lease it.
    async fn next_unknown(&self) -> Result<Option<u32>, SchedulerError>;

    /// Notes what a unit's first page shows. It has no effect if the unit has been leased meanwhile.
    async fn learn(&self, unit: u32, first_page: FirstPage) -> Result<(), SchedulerError>;
}

/// The right of one holder to work on one unit. It is not `Clone`: there is one holder.
#[derive(Debug, PartialEq)]
pub struct WorkLease {
    /// The unit: a segment of the run, from 0.
    pub unit: u32,
    /// The committed state of the unit: the holder continues from it.
    pub state: SegmentState,
    /// Fences off earlier holders: a later lease of the unit has a higher epoch, and a commit carries the epoch of its
    /// lease ([`SessionId::epoch`](crate::state::SessionId::epoch)). [`LocalScheduler`] uses the number of the run's
    /// session.
    pub epoch: u64,
}

/// The scheduler could not answer. The message says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchedulerError(pub String);

/// A begun segment counts as large if it has scanned this many times the items of a finished one, on average.
const LARGE: u64 = 4;

/// It must also have scanned at least this number of items. Fewer are written in seconds.
const LEAST_LARGE: u64 = 1_000;

/// The scheduler of one process, which owns the state of its run. It answers immediately and never fails. A unit that
/// is left unfinished is leased again in the run's next session. Shared lanes get begun segments first, the longest of
/// them before the others. Then they get segments known to be large, those that continue after their first page,
/// unknown ones, and last those that end with their first page.
#[derive(Debug)]
pub struct LocalScheduler(Mutex<Queue>);

/// What is known about a segment. It takes one byte, because a run may have a million segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Known {
    /// Nothing is known.
    Nothing,
    /// Nothing is known yet, but its first page is being read.
    Asked,
    /// It ends with its first page.
    Ends,
    /// It continues after its first page.
    GoesOn,
    /// It continues inside an item collection.
    Large,
    /// It is not waiting: it is handed out, begun or done.
    Out,
}

#[derive(Debug)]
struct Queue {
    /// The epoch of every lease.
    epoch: u64,
    /// Begun segments, the longest so far first.
    begun: BTreeMap<(Reverse<u64>, u32), SegmentState>,
    /// Total items and number of the segments that are done.
    done: (u64, u64),
    order: Order,
    active: Active,
    known: Vec<Known>,
    /// Segments by what is known about them; the index is the [`Known`].
    classes: [Class; 6],
}

/// The segments with the same knowledge.
#[derive(Debug, Clone, Copy, Default)]
struct Class {
    members: u32,
    /// No member is before this place in the order.
    from: u32,
}

/// The number of active segments in each part of the hash space: its halves, its quarters, and so on.
#[derive(Debug)]
struct Active {
    total: u32,
    /// The two halves, then the four quarters, and so on. Part `n` of `2^level` is at index `2^level - 2 + n`.
    parts: Vec<u32>,
}

/// The hash space is halved this many times, into 64 parts. With more partitions than that, one lane more or less in a
/// part hardly matters.
const LEVELS: u32 = 6;

/// This number of waiting segments is considered for the next one. In bit-reversed order, this many segments include
/// four of each part, so that some of each are left after others have gone.
const LOOKED_AT: usize = 4 << LEVELS;

impl Active {
    fn of(total: u32) -> Active {
        Active { total, parts: vec![0; (1 << (LEVELS + 1)) - 2] }
    }

    /// The index of the part that contains a segment, after `level` halvings.
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

    /// Among these segments, keeps those in the half with the fewest active segments, then in that quarter, and so on.
    /// Returns the first one left.
    fn loneliest(&self, mut segments: Vec<u32>) -> Option<u32> {
        for level in 1..=LEVELS {
            let beside = |segment: &u32| self.parts[self.part(*segment, level)];
            let fewest = segments.iter().map(beside).min()?;
            segments.retain(|segment| beside(segment) == fewest);
            if segments.len() == 1 {
                break;
            }
        }
        segments.first().copied()
    }
}

/// `0..total` in bit-reversed order over the next power of two. Numbers beyond `total` are skipped.
#[derive(Debug, Clone, Copy)]
struct Order {
    total: u32,
    bits: u32,
}

impl Order {
    fn of(total: u32) -> Order {
        Order { total, bits: total.max(1).next_power_of_two().trailing_zeros() }
    }

    fn places(self) -> u32 {
        1 << self.bits
    }

    /// The number at a place, or the place of a number. It may be beyond the total.
    fn reverse(self, place: u32) -> u32 {
        place.reverse_bits().checked_shr(u32::BITS - self.bits).unwrap_or(0)
    }

    fn at(self, place: u32) -> Option<u32> {
        Some(self.reverse(place)).filter(|segment| *segment < self.total)
    }
}

impl LocalScheduler {
    /// A scheduler for a run of `total` segments; none has begun. DynamoDB allows a million.
    pub fn new(total: u32) -> LocalScheduler {
        let known = vec![Known::Nothing; usize::try_from(total).unwrap_or(usize::MAX)];
        let mut classes = [Class::default(); 6];
        classes[Known::Nothing as usize].members = total;
        LocalScheduler(Mutex::new(Queue {
            epoch: 0,
            begun: BTreeMap::new(),
            done: (0, 0),
            order: Order::of(total),
            active: Active::of(total),
            known,
            classes,
        }))
    }

    /// The same scheduler for this session of the run, whose number is the epoch of its leases.
    pub fn in_session(mut self, session: u32) -> LocalScheduler {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).epoch = u64::from(session);
        self
    }

    /// Notes the state of a segment. Call it before any segment is handed out.
    pub fn note(&mut self, segment: u32, state: SegmentState) {
        let queue = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if segment >= queue.order.total || state.status == SegmentStatus::Pending {
            return;
        }
        queue.mark(segment, Known::Out);
        if state.status == SegmentStatus::Done {
            queue.done = (queue.done.0 + state.counts.scanned, queue.done.1 + 1);
        } else {
            queue.begun.insert((Reverse(state.counts.scanned), segment), state);
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Queue) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Scheduler for LocalScheduler {
    async fn next(&self, lane: Lane) -> Result<Option<WorkLease>, SchedulerError> {
        Ok(self.with(|queue| {
            let (unit, state) = match lane {
                Lane::Large => queue.begun(queue.large()).or_else(|| queue.fresh(&[Known::Large])),
                Lane::Shared => queue
                    .begun(0)
                    .or_else(|| queue.fresh(&[Known::Large, Known::GoesOn, Known::Nothing, Known::Asked, Known::Ends])),
            }?;
            queue.active.add(unit);
            Some(WorkLease { unit, state, epoch: queue.epoch })
        }))
    }

    async fn left(&self, lease: WorkLease) -> Result<(), SchedulerError> {
        self.with(|queue| queue.active.remove(lease.unit));
        Ok(())
    }

    async fn next_unknown(&self) -> Result<Option<u32>, SchedulerError> {
        Ok(self.with(|queue| {
            let segment = queue.first(Known::Nothing)?;
            queue.mark(segment, Known::Asked);
            Some(segment)
        }))
    }

    async fn learn(&self, unit: u32, first_page: FirstPage) -> Result<(), SchedulerError> {
        self.with(|queue| {
            if queue.known.get(unit as usize) == Some(&Known::Asked) {
                let known = match first_page {
                    FirstPage::Ends => Known::Ends,
                    FirstPage::GoesOn => Known::GoesOn,
                    FirstPage::InCollection => Known::Large,
                };
                queue.mark(unit, known);
            }
        });
        Ok(())
    }
}

impl Queue {
    /// Takes the longest begun segment, if it has scanned at least this number of items.
    fn begun(&mut self, items: u64) -> Option<(u32, SegmentState)> {
        let first = self.begun.first_entry().filter(|first| first.key().0.0 >= items)?;
        let ((_, segment), state) = first.remove_entry();
        Some((segment, state))
    }

    /// Takes a fresh segment of the first of these classes that has one.
    fn fresh(&mut self, classes: &[Known]) -> Option<(u32, SegmentState)> {
        let segment = classes.iter().find_map(|known| self.loneliest(*known))?;
        self.mark(segment, Known::Out);
        Some((segment, SegmentState::default()))
    }

    /// Number of scanned items from which a begun segment counts as large. If no segment is finished, none counts as
    /// large.
    fn large(&self) -> u64 {
        let mean = self.done.0.checked_div(self.done.1);
        mean.map_or(u64::MAX, |mean| mean.saturating_mul(LARGE).max(LEAST_LARGE))
    }

    /// The first segment of a class, in bit-reversed order. It stays fast over a whole run: each search continues where
    /// the last one ended, and knowledge arrives nearly in order.
    fn first(&mut self, known: Known) -> Option<u32> {
        let Class { members, from } = self.classes[known as usize];
        let is_one = |segment: &u32| self.known[*segment as usize] == known;
        let found = |place: u32| self.order.at(place).filter(is_one).map(|segment| (place, segment));
        let (place, segment) = (from..self.order.places()).take_while(|_| members > 0).find_map(found)?;
        self.classes[known as usize].from = place;
        Some(segment)
    }

    /// The segment of a class to work on next: among the first ones in bit-reversed order, the one with the fewest
    /// active neighbours. If segments begin one after the other and none ends, that is the first.
    fn loneliest(&mut self, known: Known) -> Option<u32> {
        self.first(known)?;
        let Class { members, from } = self.classes[known as usize];
        let waiting = (from..self.order.places())
            .filter_map(|place| self.order.at(place))
            .filter(|segment| self.known[*segment as usize] == known);
        self.active.loneliest(waiting.take(LOOKED_AT.min(members as usize)).collect())
    }

    fn mark(&mut self, segment: u32, known: Known) {
        let before = std::mem::replace(&mut self.known[segment as usize], known);
        self.classes[before as usize].members -= 1;
        let place = self.order.reverse(segment);
        let class = &mut self.classes[known as usize];
        class.from = if class.members == 0 { place } else { class.from.min(place) };
        class.members += 1;
    }
}

#[cfg(test)]
mod tests;
