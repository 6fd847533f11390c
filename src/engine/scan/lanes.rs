//! Lanes bound the number of segments that are worked on at the same time, and the share of the budget that each of
//! them gets.
//!
//! The table's token bucket serves requests in the order of their arrival. So a segment's share of the budget depends
//! on the number of requests that the segment keeps outstanding. A segment in a shared lane keeps few requests
//! outstanding. Many such segments progress side by side, each at a small rate, and the load spreads evenly. A segment
//! in a large lane keeps many requests outstanding. Such a segment contains a giant item collection, which is written
//! at the pace of one partition key and decides when the run ends. So the segment uses all the capacity that its own
//! partition key and key range allow, however many other segments are active.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::dynamodb::Page;
use crate::engine::client::{Lane, Requests};
use crate::engine::limits::Followed;
use crate::engine::limits::segments::SegmentChoice;
use crate::engine::scan::first_page::is_one_collection;
use crate::engine::scan::reading::Reading;
use crate::item::Units;

/// The lanes of one scan of the table.
#[derive(Debug)]
pub(crate) struct Lanes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Notified when a segment leaves a shared lane for a large one.
    promoted: Notify,
}

#[derive(Debug, Default)]
struct State {
    shared_free: u32,
    large_free: u32,
    /// Total number of lanes of each kind, whether a segment uses them or not.
    shared: u32,
    large: u32,
    /// Seats in shared lanes whose segments wait for a large lane, in the order of their requests. These segments
    /// turned out to be large when no large lane was available. Each seat is in this list once, so the list is never
    /// longer than the number of shared lanes.
    asking: Vec<Arc<AtomicBool>>,
    /// Read units that the survey consumed, but that are not yet included in the counts of a page.
    surveyed: Units,
}

/// The use of a lane by a segment. Dropping this value makes the lane available again.
#[derive(Debug)]
pub(crate) struct Seat {
    lanes: Arc<Inner>,
    large: Arc<AtomicBool>,
}

impl Lanes {
    /// Creates this number of lanes of each kind, all available.
    pub(crate) fn new(shared: u32, large: u32) -> Lanes {
        let shared = shared.max(1);
        let state = State { shared_free: shared, large_free: large, shared, large, ..State::default() };
        Lanes(Arc::new(Inner { state: Mutex::new(state), promoted: Notify::new() }))
    }

    /// Takes a lane of this kind. `None` if no lane of this kind is available.
    pub(crate) fn seat(&self, lane: Lane) -> Option<Seat> {
        let large = lane == Lane::Large;
        self.0.with(|state| {
            let free = if large { &mut state.large_free } else { &mut state.shared_free };
            *free = free.checked_sub(1)?;
            Some(Seat { lanes: Arc::clone(&self.0), large: Arc::new(AtomicBool::new(large)) })
        })
    }

    /// Adds lanes until there are at least this number of each kind. Returns true if it added any. Lanes are never
    /// removed, because the budgets limit the work in them anyway.
    fn grow(&self, shared: u32, large: u32) -> bool {
        self.0.with(|state| {
            let more_shared = shared.saturating_sub(state.shared);
            let more_large = large.saturating_sub(state.large);
            state.shared += more_shared;
            state.large += more_large;
            state.shared_free += more_shared;
            for _ in 0..more_large {
                self.0.free_large(state);
            }
            more_shared + more_large > 0
        })
    }

    /// Waits until a segment moves from a shared lane to a large one. If this has happened since the last call, returns
    /// immediately.
    pub(crate) async fn promoted(&self) {
        self.0.promoted.notified().await;
    }

    /// Adds read units that the survey consumed. The counts of the next page of any segment include these units.
    pub(crate) fn surveyed(&self, units: Units) {
        self.0.with(|state| state.surveyed += units);
    }
}

/// Adds lanes when the budget rises during a scan.
pub(crate) struct MoreLanes(Option<watch::Receiver<Followed>>);

impl MoreLanes {
    pub(crate) fn of(requests: &Requests) -> MoreLanes {
        MoreLanes(requests.table_watch().map(|watch| watch.followed()))
    }

    /// Waits until a higher budget adds lanes.
    pub(crate) async fn wanted(&mut self, requests: &Requests, lanes: &Lanes) {
        if let (Some(followed), Some(watch)) = (&mut self.0, requests.table_watch()) {
            while followed.changed().await.is_ok() {
                let SegmentChoice { active, large, .. } = watch.lanes();
                if lanes.grow(active, large) {
                    return;
                }
            }
        }
        // Without a watch the budgets never change.
        std::future::pending::<()>().await;
    }
}

impl Seat {
    /// The lane that the segment is in now.
    pub(crate) fn lane(&self) -> Lane {
        if self.large.load(Ordering::Relaxed) { Lane::Large } else { Lane::Shared }
    }

    /// Checks whether the segment belongs in a large lane. This is the case if all items of the page belong to one
    /// collection and the segment continues. The segment moves to a large lane as soon as one is available. The next
    /// segment can then use the shared lane. The segment stays in the large lane until it ends, because the part after
    /// the collection is no longer than an ordinary segment.
    pub(crate) fn look_at(&self, page: &Page, reading: &Reading) {
        if page.next.is_none() || self.lane() == Lane::Large || !is_one_collection(&page.items, &reading.partition_key)
        {
            return;
        }
        self.lanes.with(|state| {
            if let Some(left) = state.large_free.checked_sub(1) {
                state.large_free = left;
                self.lanes.promote(state, &self.large);
            } else if !state.asking.iter().any(|asks| Arc::ptr_eq(asks, &self.large)) {
                state.asking.push(Arc::clone(&self.large));
            }
        });
    }

    /// Takes the read units that the survey consumed and that no page includes yet. The caller must add them to the
    /// counts of its page.
    pub(crate) fn take_surveyed(&self) -> Units {
        self.lanes.with(|state| std::mem::take(&mut state.surveyed))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lanes.with(|state| {
            state.asking.retain(|asks| !Arc::ptr_eq(asks, &self.large));
            match self.lane() {
                Lane::Shared => state.shared_free += 1,
                Lane::Large => self.lanes.free_large(state),
            }
        });
    }
}

impl Inner {
    /// Makes a large lane available. If a segment waits for a large lane, that segment gets it before segments that
    /// have not begun.
    fn free_large(&self, state: &mut State) {
        if state.asking.is_empty() {
            state.large_free += 1;
        } else {
            let asks = state.asking.remove(0);
            self.promote(state, &asks);
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn promote(&self, state: &mut State, large: &AtomicBool) {
        large.store(true, Ordering::Relaxed);
        state.shared_free += 1;
        self.promoted.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Item, ItemKey, Position, Value};

    fn page(keys: &[&str], goes_on: bool) -> Page {
        let item = |key: &&str| Item::from([("pk".to_owned(), Value::S((*key).to_owned()))]);
        Page {
            items: keys.iter().map(item).collect(),
            next: goes_on.then(|| Position::Key(ItemKey::new(Item::new()))),
            units: Some(1.0),
        }
    }

    fn reading() -> Reading {
        Reading::new(8, "pk")
    }

    #[test]
    fn a_segment_that_turns_out_large_leaves_its_shared_lane() {
        let lanes = Lanes::new(1, 1);
        let reading = reading();
        let seat = lanes.seat(Lane::Shared).unwrap();
        assert!(lanes.seat(Lane::Shared).is_none(), "there is only one shared lane");
        for ordinary in [page(&["a"; 7], true), page(&["a"; 50], false), page(&[["a"; 20], ["b"; 20]].concat(), true)] {
            seat.look_at(&ordinary, &reading);
            assert_eq!(seat.lane(), Lane::Shared);
        }
        seat.look_at(&page(&["a"; 50], true), &reading);
        assert_eq!(seat.lane(), Lane::Large);
        assert!(lanes.seat(Lane::Shared).is_some() && lanes.seat(Lane::Large).is_none());
        drop(seat);
        assert!(lanes.seat(Lane::Large).is_some());
    }

    #[test]
    fn a_waiting_segment_goes_before_one_that_has_not_begun() {
        let lanes = Lanes::new(2, 1);
        let reading = reading();
        let large = lanes.seat(Lane::Large).unwrap();
        let first = lanes.seat(Lane::Shared).unwrap();
        let second = lanes.seat(Lane::Shared).unwrap();
        for seat in [&first, &second, &first] {
            seat.look_at(&page(&["a"; 50], true), &reading);
        }
        assert_eq!((first.lane(), second.lane()), (Lane::Shared, Lane::Shared), "no large lane is free");
        drop(large);
        assert_eq!((first.lane(), second.lane()), (Lane::Large, Lane::Shared));
        assert!(lanes.seat(Lane::Large).is_none());
        drop(second);
        drop(first);
        assert!(lanes.seat(Lane::Large).is_some(), "no segment waits any more");
        let free = std::iter::from_fn(|| lanes.seat(Lane::Shared).map(std::mem::forget)).count();
        assert_eq!(free, 2);
    }

    #[test]
    fn what_the_survey_consumed_is_counted_once() {
        let lanes = Lanes::new(1, 0);
        let seat = lanes.seat(Lane::Shared).unwrap();
        lanes.surveyed(2.5);
        lanes.surveyed(1.0);
        assert!((seat.take_surveyed() - 3.5).abs() < 1e-9);
        assert!(seat.take_surveyed() == 0.0);
    }
}
