//! Holds back pages with rejected writes until DynamoDB has accepted one write. Until then, the cause of the rejected
//! writes may be the plan and not the items. Pure bookkeeping.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::change::Outcome;
use crate::engine::write::page::Pages;

/// The run stops after this number of rejected writes if no write has been accepted.
const ALL_FAILING: u64 = 100;

/// The approximate limit for the number of items that a segment holds back. This limit bounds memory, and the work that
/// is repeated after an interruption. A plan that is wrong for every item is usually noticed much earlier. But if
/// hardly any item needs a write, a segment can reach this limit. The items are then committed with their failures, and
/// `failures retry` can try them again.
const MAX_HELD_ITEMS: u64 = 10_000;

/// Holds back pages with rejected writes until a write has been accepted.
#[derive(Debug)]
pub(crate) struct Probation(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    over: bool,
    refused: u64,
    already: u64,
    reason: Option<String>,
    held: BTreeMap<u32, Pages>,
}

/// The decision about submitted pages.
#[derive(Debug, PartialEq)]
pub(crate) enum Ruling {
    /// Commit these pages. The pages include those of the same segment that were held before.
    Commit(Box<Pages>),
    /// The submitted pages are held back. Nothing of this segment is committed for now.
    Held,
    /// Pages between the held pages and the submitted pages are missing. The run must stop, and the pages are not
    /// committed.
    Gap(String),
    /// Too many writes were rejected and none was accepted. The run must stop, and the pages are not committed.
    AllFailing {
        /// Number of rejected writes.
        refused: u64,
        /// The reason for which the first write was rejected.
        reason: String,
    },
}

impl Probation {
    /// Creates a probation. If `over` is true, DynamoDB has already accepted a write of this plan.
    pub(crate) fn new(over: bool) -> Probation {
        Probation(Mutex::new(State { over, ..State::default() }))
    }

    /// Submits a segment's next pages. `accepted` says whether DynamoDB has accepted any write by now, in any page.
    pub(crate) fn submit(&self, pages: Pages, accepted: bool) -> Ruling {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.refused += pages.outcome.rejected_writes;
        let done = [Outcome::AlreadyApplied, Outcome::Skipped].map(|outcome| pages.outcome.counts.of(outcome));
        state.already += done.iter().sum::<u64>();
        // An earlier run may have changed all items except those that cannot be changed. In this case no write is left
        // that DynamoDB could accept, so rejected writes say nothing about the plan.
        let mostly_done = state.refused >= ALL_FAILING && state.already >= state.refused;
        // Encrypted items stop the run in any case. Do not hold back pages with encrypted items, so that these items
        // are recorded as failures.
        let stops = pages.outcome.encrypted > 0;
        state.over |= accepted || mostly_done || stops;
        if pages.outcome.rejected_writes > 0 && state.reason.is_none() {
            state.reason = pages.outcome.failures.first().map(|failure| failure.reason.clone());
        }
        let segment = pages.segment;
        let pages = match state.held.remove(&segment) {
            Some(mut held) => {
                let first = held.first;
                let last = pages.first;
                let due = held.first + held.pages;
                if !held.append(pages) {
                    state.held.insert(segment, held);
                    return Ruling::Gap(format!(
                        "page {last} of segment {segment} arrived, but page {due} is next (held since page {first})"
                    ));
                }
                held
            }
            None => pages,
        };
        if !state.over && state.refused >= ALL_FAILING {
            state.held.insert(segment, pages);
            return Ruling::AllFailing { refused: state.refused, reason: state.reason.clone().unwrap_or_default() };
        }
        if state.over || pages.outcome.rejected_writes == 0 || pages.outcome.counts.scanned >= MAX_HELD_ITEMS {
            return Ruling::Commit(Box::new(pages));
        }
        state.held.insert(segment, pages);
        Ruling::Held
    }

    /// Call it when all workers have ended. Returns the pages that are still held back, and whether they may be
    /// committed. The pages may be committed if the whole table was read, because then a few rejected writes do not
    /// mean that the plan is wrong. The pages may also be committed if a write has been accepted since.
    pub(crate) fn finish(&self, every_segment_ended: bool, accepted: bool) -> (Vec<Pages>, bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = std::mem::take(&mut state.held).into_values().collect();
        (held, every_segment_ended || accepted || state.over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ItemOutcomes;
    use crate::item::{Item, ItemKey};
    use crate::state::Failure;

    fn pages(segment: u32, first: u64, failures: usize) -> Pages {
        let mut outcome = ItemOutcomes { rejected_writes: failures as u64, ..ItemOutcomes::default() };
        for _ in 0..failures {
            outcome.counts.count(Outcome::Rejected);
            let key = ItemKey::new(Item::new());
            outcome.failures.push(Failure { key, outcome: Outcome::Rejected, reason: "too large".into() });
        }
        Pages { segment, epoch: 1, first, pages: 1, next: None, outcome }
    }

    #[test]
    fn nothing_is_committed_while_all_items_fail() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 60), false), Ruling::Held);
        assert_eq!(probation.submit(pages(1, 1, 39), false), Ruling::Held);
        assert_eq!(
            probation.submit(pages(0, 2, 1), false),
            Ruling::AllFailing { refused: 100, reason: "too large".into() }
        );
    }

    #[test]
    fn one_accepted_write_ends_it_and_releases_each_segment_in_order() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 3), false), Ruling::Held);
        assert_eq!(probation.submit(pages(0, 2, 0), false), Ruling::Held, "a page after a held page is held too");
        assert!(matches!(probation.submit(pages(1, 1, 1), true), Ruling::Commit(p) if p.segment == 1));
        let Ruling::Commit(all) = probation.submit(pages(0, 3, 0), false) else {
            panic!("the pages are still held back")
        };
        assert_eq!((all.first, all.pages, all.outcome.counts.scanned), (1, 3, 3));
        assert!(probation.finish(true, false).0.is_empty());
    }

    #[test]
    fn a_write_accepted_for_a_page_that_waits_behind_counts() {
        let probation = Probation::new(false);
        assert!(matches!(probation.submit(pages(0, 1, 120), true), Ruling::Commit(_)));
    }

    #[test]
    fn a_gap_is_refused_and_what_was_held_stays_held() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 1), false), Ruling::Held);
        for (first, accepted) in [(3, false), (1, false), (3, true)] {
            assert!(matches!(probation.submit(pages(0, first, 0), accepted), Ruling::Gap(_)), "{first}");
        }
        assert!(matches!(probation.submit(pages(0, 2, 0), true), Ruling::Commit(all) if all.pages == 2));
    }

    #[test]
    fn what_is_held_is_released_at_the_end_or_when_the_plan_is_proven() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 3), false), Ruling::Held);
        assert!(matches!(probation.submit(pages(1, 1, 0), true), Ruling::Commit(_)));
        assert!(matches!(probation.finish(false, false), (held, true) if held.len() == 1));
        let interrupted = Probation::new(false);
        assert_eq!(interrupted.submit(pages(0, 1, 3), false), Ruling::Held);
        assert!(!interrupted.finish(false, false).1, "an interruption proves nothing");
    }

    #[test]
    fn items_that_cannot_change_by_their_shape_are_no_sign_of_a_wrong_plan() {
        let probation = Probation::new(false);
        for page in 1..=20 {
            let mut shapes = pages(0, page, 50);
            shapes.outcome.rejected_writes = 0;
            assert!(matches!(probation.submit(shapes, false), Ruling::Commit(_)));
        }
    }

    #[test]
    fn what_stops_the_run_is_committed_with_what_was_held_before_it() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 3), false), Ruling::Held);
        let mut signed = pages(0, 2, 0);
        signed.outcome.encrypted = 1;
        assert!(matches!(probation.submit(signed, false), Ruling::Commit(all) if all.pages == 2));
    }

    #[test]
    fn a_table_that_is_mostly_done_proves_the_plan() {
        let probation = Probation::new(false);
        let mut done = pages(0, 1, 0);
        (0..150).for_each(|_| done.outcome.counts.count(Outcome::AlreadyApplied));
        assert!(matches!(probation.submit(done, false), Ruling::Commit(_)));
        assert!(matches!(probation.submit(pages(0, 2, 120), false), Ruling::Commit(_)));
    }

    /// With `on_existing = "skip"`, an item with a different value counts as complete, like an item with the plan's
    /// value.
    #[test]
    fn a_table_that_is_mostly_skipped_proves_the_plan() {
        let probation = Probation::new(false);
        let mut skipped = pages(0, 1, 0);
        (0..ALL_FAILING).for_each(|_| skipped.outcome.counts.count(Outcome::Skipped));
        assert!(matches!(probation.submit(skipped, false), Ruling::Commit(_)));
        let all = usize::try_from(ALL_FAILING).unwrap();
        assert!(matches!(probation.submit(pages(0, 2, all), false), Ruling::Commit(_)));
    }

    #[test]
    fn a_segment_holds_a_bounded_number_of_items() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 1), false), Ruling::Held);
        let mut idle = pages(0, 2, 0);
        (0..MAX_HELD_ITEMS).for_each(|_| idle.outcome.counts.count(Outcome::NothingToDo));
        assert!(matches!(probation.submit(idle, false), Ruling::Commit(all) if all.pages == 2));
    }

    #[test]
    fn small_pages_do_not_let_a_wrong_plan_through() {
        let probation = Probation::new(false);
        for page in 1..ALL_FAILING {
            assert_eq!(probation.submit(pages(0, page, 1), false), Ruling::Held, "page {page}");
        }
        assert!(matches!(probation.submit(pages(0, ALL_FAILING, 1), false), Ruling::AllFailing { .. }));
    }

    #[test]
    fn a_page_without_failures_is_never_held_back_alone() {
        let probation = Probation::new(false);
        assert!(matches!(probation.submit(pages(0, 1, 0), false), Ruling::Commit(_)));
        assert_eq!(probation.submit(pages(0, 2, 2), false), Ruling::Held);
        assert!(matches!(probation.finish(true, false), (held, true) if held.len() == 1));
    }
}
