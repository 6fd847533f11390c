//! Until DynamoDB has accepted one write, failures may be the plan's fault, not the items': nothing that rests on them is
//! committed. Pure bookkeeping.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::worker::Pages;

/// So many items failing, and not one write accepted, stops the run.
const ALL_FAILING: u64 = 100;

/// Holds back pages with failures until a write has been accepted.
#[derive(Debug)]
pub(super) struct Probation(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    over: bool,
    failures: u64,
    held: BTreeMap<u32, Pages>,
}

/// What to do with the pages that were handed in.
#[derive(Debug, PartialEq)]
pub(super) enum Ruling {
    /// Commit these; they contain what was held of the segment before.
    Commit(Box<Pages>),
    /// They are held; nothing is committed of this segment for now.
    Held,
    /// The run must stop, and nothing of this is committed.
    AllFailing {
        /// Items that have failed.
        failures: u64,
        /// The first one's reason.
        reason: String,
    },
}

impl Probation {
    /// A run of which writes have been accepted before is past its probation.
    pub(super) fn new(over: bool) -> Probation {
        Probation(Mutex::new(State { over, ..State::default() }))
    }

    /// Hands in a segment's next pages. Pages that are held are merged, so that the memory this takes is bounded by the
    /// failures in them.
    pub(super) fn submit(&self, pages: Pages) -> Ruling {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.over |= pages.settled.accepted;
        let failed = pages.settled.failures.len() as u64;
        let segment = pages.segment;
        let pages = match state.held.remove(&segment) {
            Some(mut held) => {
                held.append(pages);
                held
            }
            None => pages,
        };
        if state.over || pages.settled.failures.is_empty() {
            return Ruling::Commit(Box::new(pages));
        }
        state.failures += failed;
        state.held.insert(segment, pages);
        if state.failures < ALL_FAILING {
            return Ruling::Held;
        }
        let first = state.held.values().find_map(|p| p.settled.failures.first());
        Ruling::AllFailing { failures: state.failures, reason: first.map_or_else(String::new, |f| f.reason.clone()) }
    }

    /// What is still held, when every segment has been read to its end: the few items that failed are just that.
    pub(super) fn finish(&self) -> Vec<Pages> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.held).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Outcome;
    use crate::checkpoint::Failure;
    use crate::engine::Settled;
    use crate::item::{Item, ItemKey};

    fn pages(segment: u32, first: u64, failures: usize, accepted: bool) -> Pages {
        let mut settled = Settled { accepted, ..Settled::default() };
        for _ in 0..failures {
            settled.counts.count(Outcome::Rejected);
            let key = ItemKey::new(Item::new());
            settled.failures.push(Failure { key, outcome: Outcome::Rejected, reason: "too large".into() });
        }
        Pages { segment, first, pages: 1, next: None, settled }
    }

    #[test]
    fn nothing_is_committed_while_all_items_fail() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 60, false)), Ruling::Held);
        assert_eq!(probation.submit(pages(1, 1, 39, false)), Ruling::Held);
        assert_eq!(
            probation.submit(pages(0, 2, 1, false)),
            Ruling::AllFailing { failures: 100, reason: "too large".into() }
        );
    }

    #[test]
    fn one_accepted_write_ends_it_and_releases_each_segment_in_order() {
        let probation = Probation::new(false);
        assert_eq!(probation.submit(pages(0, 1, 3, false)), Ruling::Held);
        assert_eq!(probation.submit(pages(0, 2, 0, false)), Ruling::Held, "a page behind a held one is held too");
        assert!(matches!(probation.submit(pages(1, 1, 1, true)), Ruling::Commit(p) if p.segment == 1));
        let Ruling::Commit(all) = probation.submit(pages(0, 3, 0, false)) else { panic!("still held") };
        assert_eq!((all.first, all.pages, all.settled.counts.scanned), (1, 3, 3));
        assert!(probation.finish().is_empty());
    }

    #[test]
    fn a_page_without_failures_is_never_held_back_alone() {
        let probation = Probation::new(false);
        assert!(matches!(probation.submit(pages(0, 1, 0, false)), Ruling::Commit(_)));
        assert_eq!(probation.submit(pages(0, 2, 2, false)), Ruling::Held);
        assert_eq!(probation.finish().len(), 1);
    }
}
