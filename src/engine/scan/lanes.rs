//! Lanes limit the number of segments that are processed at the same time. They also determine how much of the budget
//! each of these segments gets.
//!
//! The table's token bucket serves requests in the order of their arrival. So the number of requests that a segment
//! keeps outstanding decides how much of the budget it gets. A segment in a shared lane keeps few requests outstanding.
//! Therefore, many such segments progress side by side, each at a small rate, and the load spreads evenly. A segment in
//! a large lane keeps many requests outstanding. Such a segment contains a giant item collection. The collection is
//! written at the pace of one partition key, so it often determines when the run ends. In the large lane, the segment
//! uses all the capacity that its own partition key and key range allow, regardless of the number of other active
//! segments.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use crate::dynamodb::Page;
use crate::engine::client::{Lane, Requests};
use crate::engine::limits::CurrentBudgets;
use crate::engine::limits::segments::SegmentChoice;
use crate::engine::scan::first_page::is_one_collection;
use crate::engine::scan::read_settings::ReadSettings;
use crate::item::Units;

/// The lanes of one scan of the table.
#[derive(Debug)]
pub(crate) struct Lanes(Arc<LanePool>);

#[derive(Debug)]
struct LanePool {
    state: Mutex<LaneCounts>,
    /// Notified when a segment leaves a shared lane for a large one.
    promoted: Notify,
}

#[derive(Debug, Default)]
struct LaneCounts {
    shared_free: u32,
    large_free: u32,
    /// Total number of lanes of each kind, both used and free.
    shared: u32,
    large: u32,
    /// The segments in shared lanes that wait for a large lane, in the order of their requests. The list contains the
    /// `large` flag of each of these segments. No large lane was available when they turned out to be large. Each
    /// segment is in this list at most once, so the list is never longer than the number of shared lanes.
    waiting_for_large: Vec<Arc<AtomicBool>>,
    /// The survey's read units that are not yet included in the counts of any page.
    surveyed: Units,
}

/// A segment's use of a lane. Dropping this value makes the lane available again.
#[derive(Debug)]
pub(crate) struct LaneGuard {
    lanes: Arc<LanePool>,
    large: Arc<AtomicBool>,
}

impl Lanes {
    /// Creates this number of lanes of each kind, all available.
    pub(crate) fn new(shared: u32, large: u32) -> Lanes {
        let shared = shared.max(1);
        let state = LaneCounts { shared_free: shared, large_free: large, shared, large, ..LaneCounts::default() };
        Lanes(Arc::new(LanePool { state: Mutex::new(state), promoted: Notify::new() }))
    }

    /// Takes a lane of this kind. Returns `None` if no lane of this kind is available.
    pub(crate) fn take_lane(&self, lane: Lane) -> Option<LaneGuard> {
        let large = lane == Lane::Large;
        self.0.with_state(|state| {
            let free = if large { &mut state.large_free } else { &mut state.shared_free };
            *free = free.checked_sub(1)?;
            Some(LaneGuard { lanes: Arc::clone(&self.0), large: Arc::new(AtomicBool::new(large)) })
        })
    }

    /// Adds lanes until there are at least `shared` shared lanes and `large` large lanes. Returns true if it added any.
    /// Never removes lanes, because the budgets already limit the work in them.
    fn grow(&self, shared: u32, large: u32) -> bool {
        self.0.with_state(|state| {
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

    /// Waits until a segment moves from a shared lane to a large one. Returns immediately if a segment has moved since
    /// the last call.
    pub(crate) async fn wait_for_promotion(&self) {
        self.0.promoted.notified().await;
    }

    /// Adds read units that the survey consumed. The next page of any segment includes these units in its counts.
    pub(crate) fn surveyed(&self, units: Units) {
        self.0.with_state(|state| state.surveyed += units);
    }
}

/// Adds lanes when the budget rises during a scan.
pub(crate) struct LaneGrowth(Option<watch::Receiver<CurrentBudgets>>);

impl LaneGrowth {
    pub(crate) fn new(requests: &Requests) -> LaneGrowth {
        LaneGrowth(requests.table_watch().map(|watch| watch.current_budgets()))
    }

    /// Waits until a higher budget adds lanes.
    pub(crate) async fn wait_for_growth(&mut self, requests: &Requests, lanes: &Lanes) {
        if let (Some(current_budgets), Some(watch)) = (&mut self.0, requests.table_watch()) {
            while current_budgets.changed().await.is_ok() {
                let SegmentChoice { active, large, .. } = watch.lanes();
                if lanes.grow(active, large) {
                    return;
                }
            }
        }
        // If the table is not watched, the budgets never change.
        std::future::pending::<()>().await;
    }
}

impl LaneGuard {
    /// Returns the lane that the segment is in now.
    pub(crate) fn lane(&self) -> Lane {
        if self.large.load(Ordering::Relaxed) { Lane::Large } else { Lane::Shared }
    }

    /// Moves the segment to a large lane if the segment continues after `page` and all items of the page belong to one
    /// collection. If no large lane is available, the segment moves as soon as one becomes available. Another segment
    /// can then use the shared lane. The segment stays in the large lane until it ends, because its part after the
    /// collection is no longer than an ordinary segment.
    pub(crate) fn promote_if_large(&self, page: &Page, read_settings: &ReadSettings) {
        if page.next.is_none()
            || self.lane() == Lane::Large
            || !is_one_collection(&page.items, &read_settings.partition_key)
        {
            return;
        }
        self.lanes.with_state(|state| {
            if let Some(left) = state.large_free.checked_sub(1) {
                state.large_free = left;
                self.lanes.promote(state, &self.large);
            } else if !state.waiting_for_large.iter().any(|waiting| Arc::ptr_eq(waiting, &self.large)) {
                state.waiting_for_large.push(Arc::clone(&self.large));
            }
        });
    }

    /// Removes and returns the survey's read units that are not yet included in the counts of any page. The caller must
    /// add them to the counts of its page.
    pub(crate) fn take_surveyed(&self) -> Units {
        self.lanes.with_state(|state| std::mem::take(&mut state.surveyed))
    }
}

impl Drop for LaneGuard {
    fn drop(&mut self) {
        self.lanes.with_state(|state| {
            state.waiting_for_large.retain(|waiting| !Arc::ptr_eq(waiting, &self.large));
            match self.lane() {
                Lane::Shared => state.shared_free += 1,
                Lane::Large => self.lanes.free_large(state),
            }
        });
    }
}

impl LanePool {
    /// Makes a large lane available. Segments that wait for a large lane take precedence over segments that have not
    /// begun.
    fn free_large(&self, state: &mut LaneCounts) {
        if state.waiting_for_large.is_empty() {
            state.large_free += 1;
        } else {
            let waiting = state.waiting_for_large.remove(0);
            self.promote(state, &waiting);
        }
    }

    fn with_state<T>(&self, f: impl FnOnce(&mut LaneCounts) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn promote(&self, state: &mut LaneCounts, large: &AtomicBool) {
        large.store(true, Ordering::Relaxed);
        state.shared_free += 1;
        self.promoted.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Item, ItemKey, Position, Value};

    fn page(keys: &[&str], continues: bool) -> Page {
        let item = |key: &&str| Item::from([("pk".to_owned(), Value::S((*key).to_owned()))]);
        Page {
            items: keys.iter().map(item).collect(),
            next: continues.then(|| Position::Key(ItemKey::new(Item::new()))),
            units: Some(1.0),
        }
    }

    fn read_settings() -> ReadSettings {
        ReadSettings::new(8, "pk")
    }

    #[test]
    fn a_segment_that_turns_out_large_leaves_its_shared_lane() {
        let lanes = Lanes::new(1, 1);
        let read_settings = read_settings();
        let lane_guard = lanes.take_lane(Lane::Shared).unwrap();
        assert!(lanes.take_lane(Lane::Shared).is_none(), "there is only one shared lane");
        for ordinary in [page(&["a"; 7], true), page(&["a"; 50], false), page(&[["a"; 20], ["b"; 20]].concat(), true)] {
            lane_guard.promote_if_large(&ordinary, &read_settings);
            assert_eq!(lane_guard.lane(), Lane::Shared);
        }
        lane_guard.promote_if_large(&page(&["a"; 50], true), &read_settings);
        assert_eq!(lane_guard.lane(), Lane::Large);
        assert!(lanes.take_lane(Lane::Shared).is_some() && lanes.take_lane(Lane::Large).is_none());
        drop(lane_guard);
        assert!(lanes.take_lane(Lane::Large).is_some());
    }

    #[test]
    fn a_waiting_segment_goes_before_one_that_has_not_begun() {
        let lanes = Lanes::new(2, 1);
        let read_settings = read_settings();
        let large = lanes.take_lane(Lane::Large).unwrap();
        let first = lanes.take_lane(Lane::Shared).unwrap();
        let second = lanes.take_lane(Lane::Shared).unwrap();
        for lane_guard in [&first, &second, &first] {
            lane_guard.promote_if_large(&page(&["a"; 50], true), &read_settings);
        }
        assert_eq!((first.lane(), second.lane()), (Lane::Shared, Lane::Shared), "no large lane is free");
        drop(large);
        assert_eq!((first.lane(), second.lane()), (Lane::Large, Lane::Shared));
        assert!(lanes.take_lane(Lane::Large).is_none());
        drop(second);
        drop(first);
        assert!(lanes.take_lane(Lane::Large).is_some(), "no segment waits any more");
        let free = std::iter::from_fn(|| lanes.take_lane(Lane::Shared).map(std::mem::forget)).count();
        assert_eq!(free, 2);
    }

    #[test]
    fn survey_units_are_counted_once() {
        let lanes = Lanes::new(1, 0);
        let lane_guard = lanes.take_lane(Lane::Shared).unwrap();
        lanes.surveyed(2.5);
        lanes.surveyed(1.0);
        assert!((lane_guard.take_surveyed() - 3.5).abs() < 1e-9);
        assert!(lane_guard.take_surveyed() == 0.0);
    }
}
