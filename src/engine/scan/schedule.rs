//! Which segment is worked on next. The port is where a fleet would hand out segments to many machines.
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

use crate::engine::client::Lane;
use crate::engine::scan::first_page::FirstPage;
use crate::state::{SegmentState, SegmentStatus};

/// Hands out segments, and takes what is learnt of them.
///
/// A fleet implements it over a table of leases: [`Scheduler::next`] takes a lease for this machine, so that "once" holds
/// over all machines; [`Scheduler::next_unknown`] spreads the survey over them; and what one machine is told by
/// [`Scheduler::learn`] decides what every machine takes next. All of it is advice but the leases: a survey that is lost is
/// made again, or not at all.
pub trait Scheduler: Send + Sync {
    /// The next segment to work on in a lane of this kind, with its committed state. Each is handed out once. For a shared
    /// lane none means that all have been handed out; for a large one, that no segment that waits is known to be large.
    fn next(&self, lane: Lane) -> Option<(u32, SegmentState)>;

    /// A fresh segment of which nothing is known, so that its first page is worth a look; none when there is none left.
    /// Each is named once.
    fn next_unknown(&self) -> Option<u32>;

    /// A segment that was handed out is no longer worked on.
    fn left(&self, segment: u32);

    /// What a segment's first page told. Of no effect where the segment has been handed out meanwhile.
    fn learn(&self, segment: u32, first_page: FirstPage);
}

/// A begun segment is known to be large when it has so many times the items of a finished one behind it, on average.
const LARGE: u64 = 4;

/// And no fewer items than this: they are written in seconds.
const LEAST_LARGE: u64 = 1_000;

/// One machine's scheduler. To shared lanes it gives begun segments first, the longest before the others; then those known
/// to be large, those that go on behind their first page, those of which nothing is known, and those that end with it.
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
            begun: BTreeMap::new(),
            done: (0, 0),
            order: Order::of(total),
            active: Active::of(total),
            known,
            classes,
        }))
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

impl Scheduler for LocalScheduler {
    fn next(&self, lane: Lane) -> Option<(u32, SegmentState)> {
        self.with(|queue| {
            let next = match lane {
                Lane::Large => queue.begun(queue.large()).or_else(|| queue.fresh(&[Known::Large])),
                Lane::Shared => queue
                    .begun(0)
                    .or_else(|| queue.fresh(&[Known::Large, Known::GoesOn, Known::Nothing, Known::Asked, Known::Ends])),
            }?;
            queue.active.add(next.0);
            Some(next)
        })
    }

    fn left(&self, segment: u32) {
        self.with(|queue| queue.active.remove(segment));
    }

    fn next_unknown(&self) -> Option<u32> {
        self.with(|queue| {
            let segment = queue.first(Known::Nothing)?;
            queue.mark(segment, Known::Asked);
            Some(segment)
        })
    }

    fn learn(&self, segment: u32, first_page: FirstPage) {
        self.with(|queue| {
            if queue.known.get(segment as usize) == Some(&Known::Asked) {
                let known = match first_page {
                    FirstPage::Ends => Known::Ends,
                    FirstPage::GoesOn => Known::GoesOn,
                    FirstPage::InCollection => Known::Large,
                };
                queue.mark(segment, known);
            }
        });
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
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::item::{Item, ItemKey, Position};

    fn drain(scheduler: &LocalScheduler, lane: Lane) -> Vec<u32> {
        std::iter::from_fn(|| scheduler.next(lane)).map(|(segment, _)| segment).collect()
    }

    fn begun(items: u64) -> SegmentState {
        let mut state = SegmentState { pages: 1, status: SegmentStatus::Done, ..SegmentState::default() };
        state.counts.scanned = items;
        state
    }

    fn position() -> Position {
        Position::Key(ItemKey::new(Item::new()))
    }

    proptest! {
        /// Each segment is handed out once, and none but these.
        #[test]
        fn the_order_is_a_permutation(total in 1_u32..2_000) {
            let handed_out = drain(&LocalScheduler::new(total), Lane::Shared);
            prop_assert_eq!(handed_out.len(), total as usize);
            prop_assert_eq!(handed_out.into_iter().collect::<BTreeSet<_>>(), (0..total).collect());
        }

        /// Of a power of two of segments, any aligned 2^k consecutive ones lie in distinct 2^k-ths of the hash space.
        #[test]
        fn aligned_runs_have_one_in_each_part(bits in 0_u32..13, k in 0_u32..13, run in any::<usize>()) {
            let k = k.min(bits);
            let order = drain(&LocalScheduler::new(1 << bits), Lane::Shared);
            let runs: Vec<&[u32]> = order.chunks(1 << k).collect();
            let parts: BTreeSet<u32> = runs[run % runs.len()].iter().map(|segment| segment >> (bits - k)).collect();
            prop_assert_eq!(parts, (0..1 << k).collect());
        }

        /// Whatever the number of segments and whichever of them end first: of 2^k that are worked on at the same time, no
        /// part of the hash space that should have four has more than eight, until half is handed out.
        #[test]
        fn what_is_worked_on_is_spread(total in 512_u32..2_000, k in 2_u32..=LEVELS, ends in any::<u64>()) {
            let (scheduler, mut rng) = (LocalScheduler::new(total), fastrand::Rng::with_seed(ends));
            let mut active = Vec::new();
            for _ in 0..total / 2 {
                active.push(scheduler.next(Lane::Shared).unwrap().0);
                if active.len() > 1 << k {
                    scheduler.left(active.swap_remove(rng.usize(..active.len())));
                }
                let mut parts = vec![0; 1 << (k - 2)];
                let part = |segment: u32| ((u64::from(segment) << (k - 2)) / u64::from(total)) as usize;
                active.iter().for_each(|segment| parts[part(*segment)] += 1);
                prop_assert!(parts.iter().all(|n| *n <= 8), "{:?}", parts);
            }
        }

        /// Whatever is learnt, in whatever order, and however late: each segment is handed out once, and named to the
        /// survey at most once.
        #[test]
        fn nothing_is_lost_or_handed_out_twice(
            total in 1_u32..200,
            steps in proptest::collection::vec((0_u8..4, 0_u8..3), 0..600),
        ) {
            let scheduler = LocalScheduler::new(total);
            let (mut asked, mut named, mut out) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
            for (step, told) in steps {
                match step {
                    0 => if let Some(segment) = scheduler.next_unknown() {
                        prop_assert!(named.insert(segment) && !out.contains(&segment));
                        asked.push(segment);
                    },
                    1 => if let Some(segment) = asked.pop() {
                        let pages = [FirstPage::Ends, FirstPage::GoesOn, FirstPage::InCollection];
                        scheduler.learn(segment, pages[usize::from(told)]);
                    },
                    2 => if let Some((segment, _)) = scheduler.next(Lane::Large) {
                        prop_assert!(out.insert(segment));
                    },
                    _ => if let Some((segment, _)) = scheduler.next(Lane::Shared) {
                        prop_assert!(out.insert(segment));
                    },
                }
            }
            for segment in drain(&scheduler, Lane::Shared) {
                prop_assert!(out.insert(segment));
            }
            prop_assert_eq!(out, (0..total).collect());
        }
    }

    #[test]
    fn begun_segments_come_first_and_the_longest_before_the_others() {
        let mut scheduler = LocalScheduler::new(8);
        scheduler.note(1, begun(300));
        scheduler.note(3, SegmentState { status: SegmentStatus::Scanning(position()), ..begun(50) });
        scheduler.note(6, SegmentState { status: SegmentStatus::Scanning(position()), ..begun(90_000) });
        scheduler.note(7, SegmentState { status: SegmentStatus::Scanning(position()), ..begun(1_100) });
        let state = scheduler.next(Lane::Large).unwrap();
        assert_eq!((state.0, state.1.counts.scanned), (6, 90_000), "known to be large from its checkpoint");
        assert_eq!(scheduler.next(Lane::Large), None, "not four times the 300 items of the finished one");
        assert_eq!(drain(&scheduler, Lane::Shared), [7, 3, 0, 4, 2, 5]);

        let mut unknown = LocalScheduler::new(2);
        unknown.note(1, SegmentState { status: SegmentStatus::Scanning(position()), ..begun(90_000) });
        assert_eq!(unknown.next(Lane::Large), None, "all may be so long");
    }

    #[test]
    fn what_is_known_goes_over_the_order() {
        let scheduler = LocalScheduler::new(8);
        let asked: Vec<u32> = std::iter::from_fn(|| scheduler.next_unknown()).take(5).collect();
        assert_eq!(asked, [0, 4, 2, 6, 1], "the survey reads in the same order");
        assert_eq!(scheduler.next(Lane::Large), None);
        scheduler.learn(4, FirstPage::Ends);
        scheduler.learn(6, FirstPage::InCollection);
        scheduler.learn(1, FirstPage::InCollection);
        scheduler.learn(0, FirstPage::GoesOn);
        scheduler.learn(5, FirstPage::InCollection);
        assert_eq!(scheduler.next(Lane::Large).unwrap().0, 6);
        // 5 was never asked about; 2 is being read; 4 is known to be short.
        assert_eq!(drain(&scheduler, Lane::Shared), [1, 0, 5, 3, 7, 2, 4]);
        scheduler.learn(2, FirstPage::InCollection);
        assert_eq!((scheduler.next(Lane::Large), scheduler.next_unknown()), (None, None), "it has been handed out");
    }
}
