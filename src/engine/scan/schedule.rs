//! Which segment is worked on next. The port [`Scheduler`] is where a fleet would lease segments to many machines.
//!
//! Parallel-scan segments are ranges of the key hash, so neighbours share a partition. Fresh segments are therefore handed
//! out in bit-reversed order: any aligned run of 2^k of them has one in each 2^k-th of the hash space. And since segments
//! do not end in the order in which they began, the next one is taken from where fewest are worked on (of each half, of
//! each quarter of that, and so on), so that the partitions are loaded evenly at every moment.
//!
//! Over that order goes what is known: the longest job must begin first, because nothing else can shorten the end. One
//! partition key is written at its own pace however idle the rest is.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::engine::client::Lane;
use crate::engine::scan::first_page::FirstPage;
use crate::state::{SegmentState, SegmentStatus};

/// Leases work units to holders, and takes what is learnt of them. A unit is a segment of the run.
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
    /// What is committed of it: where the holder goes on.
    pub state: SegmentState,
    /// Fences off earlier holders: a later lease of the unit has a higher epoch, and a commit carries the epoch of its
    /// lease ([`SessionId::epoch`](crate::state::SessionId::epoch)). [`LocalScheduler`] uses the number of the run's
    /// session.
    pub epoch: u64,
}

/// The scheduler could not answer; the message says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchedulerError(pub String);

/// A begun segment is known to be large when it has so many times the items of a finished one behind it, on average.
const LARGE: u64 = 4;

/// And no fewer items than this: they are written in seconds.
const LEAST_LARGE: u64 = 1_000;

/// The scheduler of one process, which owns the state of its run. It answers at once and never fails. A unit that is
/// left unfinished is leased again in the run's next session. Shared lanes get begun segments first, the longest before
/// the others; then segments known to be large, those that continue after their first page, unknown ones, and those
/// that end with their first page.
#[derive(Debug)]
pub struct LocalScheduler(Mutex<Queue>);

/// What is known of a segment: a byte for each, since a run may have a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Known {
    /// Nothing.
    Nothing,
    /// Nothing, and its first page is being read.
    Asked,
    /// It ends with its first page.
    Ends,
    /// It goes on behind its first page.
    GoesOn,
    /// It goes on inside an item collection.
    Large,
    /// It is not waiting: handed out, begun or done.
    Out,
}

#[derive(Debug)]
struct Queue {
    /// The epoch of every lease.
    epoch: u64,
    /// Begun segments, the longest so far first.
    begun: BTreeMap<(Reverse<u64>, u32), SegmentState>,
    /// Items and number of the segments that are done.
    done: (u64, u64),
    order: Order,
    active: Active,
    known: Vec<Known>,
    /// By [`Known`]: those of which so much is known.
    classes: [Class; 6],
}

/// The segments of which the same is known.
#[derive(Debug, Clone, Copy, Default)]
struct Class {
    members: u32,
    /// Not one of them is before this place of the order.
    from: u32,
}

/// How many segments are worked on in each part of the hash space: in its halves, its quarters, and so on.
#[derive(Debug)]
struct Active {
    total: u32,
    /// The two halves, then the four quarters, …: the part `n` of `2^level` stands at `2^level - 2 + n`.
    parts: Vec<u32>,
}

/// Parts are told apart down to so many halvings: 64 of them. Where there are more partitions, a lane more or less in one
/// of them is a small part of what it serves.
const LEVELS: u32 = 6;

/// So many waiting segments are looked at for the next one: in the order, each part has four among as many, and some are
/// left of each when others went before.
const LOOKED_AT: usize = 4 << LEVELS;

impl Active {
    fn of(total: u32) -> Active {
        Active { total, parts: vec![0; (1 << (LEVELS + 1)) - 2] }
    }

    /// Where the part stands that a segment is in, after so many halvings.
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

    /// Of these segments, the first of those in the half where fewest are worked on, there in the quarter, and so on.
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

/// `0..total` in bit-reversed order: over the next power of two, skipping what is beyond.
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

    /// The number at a place, and the place of a number; it may be beyond the total.
    fn reverse(self, place: u32) -> u32 {
        place.reverse_bits().checked_shr(u32::BITS - self.bits).unwrap_or(0)
    }

    fn at(self, place: u32) -> Option<u32> {
        Some(self.reverse(place)).filter(|segment| *segment < self.total)
    }
}

impl LocalScheduler {
    /// A scheduler of a run of `total` segments, none of them begun. DynamoDB allows a million.
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

    /// Notes where a segment stands, before any is handed out.
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
    /// Takes the longest begun segment, if it has at least so many items behind it.
    fn begun(&mut self, items: u64) -> Option<(u32, SegmentState)> {
        let first = self.begun.first_entry().filter(|first| first.key().0.0 >= items)?;
        let ((_, segment), state) = first.remove_entry();
        Some((segment, state))
    }

    /// Takes a fresh segment of the first of these classes that has any.
    fn fresh(&mut self, classes: &[Known]) -> Option<(u32, SegmentState)> {
        let segment = classes.iter().find_map(|known| self.loneliest(*known))?;
        self.mark(segment, Known::Out);
        Some((segment, SegmentState::default()))
    }

    /// A begun segment with so many items behind it is known to be large; where none is finished, nothing is known.
    fn large(&self) -> u64 {
        let mean = self.done.0.checked_div(self.done.1);
        mean.map_or(u64::MAX, |mean| mean.saturating_mul(LARGE).max(LEAST_LARGE))
    }

    /// The first segment of a class, in bit-reversed order. Quick over a whole run: the search goes on where the last one
    /// ended, and what is learnt arrives nearly in order.
    fn first(&mut self, known: Known) -> Option<u32> {
        let Class { members, from } = self.classes[known as usize];
        let is_one = |segment: &u32| self.known[*segment as usize] == known;
        let found = |place: u32| self.order.at(place).filter(is_one).map(|segment| (place, segment));
        let (place, segment) = (from..self.order.places()).take_while(|_| members > 0).find_map(found)?;
        self.classes[known as usize].from = place;
        Some(segment)
    }

    /// The segment of a class that is to be worked on next: of the first ones in bit-reversed order that which has fewest
    /// beside it. Begun one after the other, with nothing ending, that is the first.
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
