//! Does not commit pages with rejected writes until DynamoDB has accepted one write. Until then, the cause of the
//! rejected writes could be the plan instead of the items. This module is pure.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::change::Outcome;
use crate::engine::write::page::Pages;

/// If DynamoDB has not accepted any write, the run stops after this number of rejected writes.
const MAX_REJECTED_WRITES: u64 = 100;

/// The approximate limit on the number of held items of a segment. This limit bounds the memory, and the work that is
/// repeated after an interruption. A plan that is wrong for every item is usually detected much earlier. But if hardly
/// any item needs a write, a segment can reach this limit. Its items are then committed with their failures, and
/// `failures retry` can retry them.
const MAX_HELD_ITEMS: u64 = 10_000;

/// Holds pages with rejected writes until a write has been accepted.
#[derive(Debug)]
pub(crate) struct Probation(Mutex<ProbationState>);

#[derive(Debug, Default)]
struct ProbationState {
    is_over: bool,
    refused: u64,
    already_done: u64,
    reason: Option<String>,
    held_pages: BTreeMap<u32, Pages>,
}

/// The decision about submitted pages.
#[derive(Debug, PartialEq)]
pub(crate) enum CommitDecision {
    /// Commit these pages. They include the earlier held pages of the segment.
    Commit(Box<Pages>),
    /// The submitted pages are held, so for now no page of this segment is committed.
    Hold,
    /// Pages between the held pages and the submitted pages are missing. The run must stop, and the pages are not
    /// committed.
    Gap(String),
    /// Too many writes were rejected before any write was accepted. The run must stop, and the pages are not committed.
    AllFailing {
        /// Number of rejected writes.
        refused: u64,
        /// Why the first write was rejected.
        reason: String,
    },
}

impl Probation {
    /// Creates a probation. If `is_over` is true, DynamoDB has already accepted a write of this plan.
    pub(crate) fn new(is_over: bool) -> Probation {
        Probation(Mutex::new(ProbationState { is_over, ..ProbationState::default() }))
    }

    /// Submits a segment's next pages. `accepted` is true if DynamoDB has accepted any write so far, in any page.
    pub(crate) fn submit(&self, pages: Pages, accepted: bool) -> CommitDecision {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.refused += pages.outcome.rejected_writes;
        let done = [Outcome::AlreadyApplied, Outcome::Skipped].map(|outcome| pages.outcome.counts.of(outcome));
        state.already_done += done.iter().sum::<u64>();
        // If most items are already complete, an earlier run may have changed every item that can be changed. No
        // remaining write can then be accepted, so rejected writes do not show that the plan is wrong.
        let mostly_done = state.refused >= MAX_REJECTED_WRITES && state.already_done >= state.refused;
        // Encrypted items stop the run in any case. Do not hold their pages, so that these items are recorded as
        // failures.
        let stops = pages.outcome.encrypted > 0;
        state.is_over |= accepted || mostly_done || stops;
        if pages.outcome.rejected_writes > 0 && state.reason.is_none() {
            state.reason = pages.outcome.failures.first().map(|failure| failure.reason.clone());
        }
        let segment = pages.segment;
        let pages = match state.held_pages.remove(&segment) {
            Some(mut held_pages) => {
                let first = held_pages.first;
                let last = pages.first;
                let due = held_pages.first + held_pages.pages;
                if !held_pages.append(pages) {
                    state.held_pages.insert(segment, held_pages);
                    return CommitDecision::Gap(format!(
                        "page {last} of segment {segment} arrived, but page {due} is next (held since page {first})"
                    ));
                }
                held_pages
            }
            None => pages,
        };
        if !state.is_over && state.refused >= MAX_REJECTED_WRITES {
            state.held_pages.insert(segment, pages);
            return CommitDecision::AllFailing {
                refused: state.refused,
                reason: state.reason.clone().unwrap_or_default(),
            };
        }
        if state.is_over || pages.outcome.rejected_writes == 0 || pages.outcome.counts.scanned >= MAX_HELD_ITEMS {
            return CommitDecision::Commit(Box::new(pages));
        }
        state.held_pages.insert(segment, pages);
        CommitDecision::Hold
    }

    /// Returns the pages that are still held, and whether they may be committed. Call this method when all workers have
    /// ended. The pages may be committed if a write has been accepted in the meantime. They may also be committed if
    /// the whole table was read, because a few rejected writes in a whole table do not mean that the plan is wrong.
    pub(crate) fn finish(&self, every_segment_ended: bool, accepted: bool) -> (Vec<Pages>, bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held_pages = std::mem::take(&mut state.held_pages).into_values().collect();
        (held_pages, every_segment_ended || accepted || state.is_over)
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
        assert_eq!(probation.submit(pages(0, 1, 60), false), CommitDecision::Hold);
        assert_eq!(probation.submit(pages(1, 1, 39), false), CommitDecision::Hold);
        assert_eq!(
            probation.submit(pages(0, 2, 1), false),
            CommitDecision::AllFailing { refused: 100, reason: "too large".into() }
        );
    }

    #[test]
    fn one_accepted_write_ends_probation_and_releases_each_segment_in_order() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 3), false), CommitDecision::Hold);
        assert_eq!(
            probation.submit(pages(0, 2, 0), false),
            CommitDecision::Hold,
            "a page after a held page is held too"
        );
        assert!(matches!(probation.submit(pages(1, 1, 1), true), CommitDecision::Commit(p) if p.segment == 1));
        let CommitDecision::Commit(all) = probation.submit(pages(0, 3, 0), false) else {
            panic!("the pages are still held back")
        };
        assert_eq!((all.first, all.pages, all.outcome.counts.scanned), (1, 3, 3));
        assert!(probation.finish(true, false).0.is_empty());
    }

    #[test]
    fn a_write_accepted_in_a_later_page_counts() {
        let probation = Probation::new(false);
        assert!(matches!(probation.submit(pages(0, 1, 120), true), CommitDecision::Commit(_)));
    }

    #[test]
    fn a_gap_is_refused_and_held_pages_stay_held() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 1), false), CommitDecision::Hold);
        for (first, accepted) in [(3, false), (1, false), (3, true)] {
            assert!(matches!(probation.submit(pages(0, first, 0), accepted), CommitDecision::Gap(_)), "{first}");
        }
        assert!(matches!(probation.submit(pages(0, 2, 0), true), CommitDecision::Commit(all) if all.pages == 2));
    }

    #[test]
    fn held_pages_are_committed_at_the_end_or_when_the_plan_is_proven() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 3), false), CommitDecision::Hold);
        assert!(matches!(probation.submit(pages(1, 1, 0), true), CommitDecision::Commit(_)));
        assert!(matches!(probation.finish(false, false), (held_pages, true) if held_pages.len() == 1));
        let interrupted = Probation::new(false);
        assert_eq!(interrupted.submit(pages(0, 1, 3), false), CommitDecision::Hold);
        assert!(!interrupted.finish(false, false).1, "an interruption proves nothing");
    }

    #[test]
    fn failures_without_rejected_writes_are_not_held_back() {
        let probation = Probation::new(false);
        for page in 1..=20 {
            let mut shapes = pages(0, page, 50);
            shapes.outcome.rejected_writes = 0;
            assert!(matches!(probation.submit(shapes, false), CommitDecision::Commit(_)));
        }
    }

    #[test]
    fn encrypted_items_release_the_held_pages() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 3), false), CommitDecision::Hold);
        let mut signed = pages(0, 2, 0);
        signed.outcome.encrypted = 1;
        assert!(matches!(probation.submit(signed, false), CommitDecision::Commit(all) if all.pages == 2));
    }

    #[test]
    fn a_table_that_is_mostly_done_proves_the_plan() {
        let probation = Probation::new(false);
        let mut done = pages(0, 1, 0);
        (0..150).for_each(|_| done.outcome.counts.count(Outcome::AlreadyApplied));
        assert!(matches!(probation.submit(done, false), CommitDecision::Commit(_)));
        assert!(matches!(probation.submit(pages(0, 2, 120), false), CommitDecision::Commit(_)));
    }

    /// With `on_existing = "skip"`, a skipped item that has an existing value counts as complete.
    #[test]
    fn a_table_that_is_mostly_skipped_proves_the_plan() {
        let probation = Probation::new(false);
        let mut skipped = pages(0, 1, 0);
        (0..MAX_REJECTED_WRITES).for_each(|_| skipped.outcome.counts.count(Outcome::Skipped));
        assert!(matches!(probation.submit(skipped, false), CommitDecision::Commit(_)));
        let all = usize::try_from(MAX_REJECTED_WRITES).unwrap();
        assert!(matches!(probation.submit(pages(0, 2, all), false), CommitDecision::Commit(_)));
    }

    #[test]
    fn a_segment_holds_a_bounded_number_of_items() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 1), false), CommitDecision::Hold);
        let mut idle = pages(0, 2, 0);
        (0..MAX_HELD_ITEMS).for_each(|_| idle.outcome.counts.count(Outcome::NothingToDo));
        assert!(matches!(probation.submit(idle, false), CommitDecision::Commit(all) if all.pages == 2));
    }

    #[test]
    fn small_pages_do_not_let_a_wrong_plan_through() {
        let probation = Probation::new(false);
        for page in 1..MAX_REJECTED_WRITES {
            assert_eq!(probation.submit(pages(0, page, 1), false), CommitDecision::Hold, "page {page}");
        }
        assert!(matches!(probation.submit(pages(0, MAX_REJECTED_WRITES, 1), false), CommitDecision::AllFailing { .. }));
    }

    #[test]
    fn a_page_without_failures_is_never_held_back_alone() {
        let probation = Probation::new(false);
        assert!(matches!(probation.submit(pages(0, 1, 0), false), CommitDecision::Commit(_)));
        assert_eq!(probation.submit(pages(0, 2, 2), false), CommitDecision::Hold);
        assert!(matches!(probation.finish(true, false), (held_pages, true) if held_pages.len() == 1));
    }
}
