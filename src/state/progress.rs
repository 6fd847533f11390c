//! The states of segments and runs, as plain data. The functions in this module decide how these states may change.

use super::Spend;
use crate::change::Outcome;
use crate::item::{Position, Units};

/// The number of items for each outcome, and the consumed capacity, for one or more pages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Number of scanned items, which equals the sum of `outcomes`.
    pub scanned: u64,
    /// Number of items for each outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 9],
    /// Write capacity units that DynamoDB's replies report as consumed.
    pub write_units: Units,
    /// Read capacity units that DynamoDB's replies report as consumed.
    pub read_units: Units,
    /// Write capacity units that are assumed for requests whose reply does not report the consumed units. After a
    /// failed condition, the assumed units are calculated from the size of the item in the reply. If the reply was
    /// lost, the assumed units are the estimate.
    pub assumed_write_units: Units,
    /// The estimate of `write_units`, made before the requests were sent. Reports compare the estimate with
    /// `write_units`. The estimate is not part of the spend.
    pub estimated_write_units: Units,
    /// Number of items for which a reply was lost and whose outcome is not `Applied`. Usually, the outcome is
    /// `AlreadyApplied`. The attempt whose reply was lost may have been applied, so the number of applied items is a
    /// lower bound. This number is not stored for each segment. Instead, the run's counts are marked as a lower bound.
    pub unclear: u64,
}

impl Counts {
    /// Counts one item.
    pub fn count(&mut self, outcome: Outcome) {
        self.scanned += 1;
        self.outcomes[outcome as usize] += 1;
    }

    /// Counts keys in the plan's file that have no item. Each of them counts as a scanned item that is gone.
    pub fn count_missing(&mut self, keys: u64) {
        self.scanned += keys;
        self.outcomes[Outcome::Gone as usize] += keys;
    }

    /// Counts items that DynamoDB has read but left out of a page, because the plan does not select them. Each of them
    /// counts as a scanned item that needs no change.
    pub fn count_left_out(&mut self, items: u64) {
        self.scanned += items;
        self.outcomes[Outcome::NothingToDo as usize] += items;
    }

    /// Returns the number of items with this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Returns the number of failed items.
    pub fn failures(&self) -> u64 {
        Outcome::ALL.iter().filter(|o| o.is_failure()).map(|o| self.of(*o)).sum()
    }

    /// Returns the capacity that these items consumed: the reported units plus the assumed units.
    pub fn spend(&self) -> Spend {
        Spend { write: self.write_units + self.assumed_write_units, read: self.read_units }
    }

    /// Adds the counts of other pages.
    pub fn add(&mut self, other: &Counts) {
        self.scanned += other.scanned;
        for (mine, theirs) in self.outcomes.iter_mut().zip(other.outcomes) {
            *mine += theirs;
        }
        self.write_units += other.write_units;
        self.read_units += other.read_units;
        self.assumed_write_units += other.assumed_write_units;
        self.estimated_write_units += other.estimated_write_units;
        self.unclear += other.unclear;
    }
}

/// The durable progress of a segment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SegmentState {
    /// The status of the segment.
    pub status: SegmentStatus,
    /// Number of committed pages.
    pub pages: u64,
    /// The counts of the committed pages.
    pub counts: Counts,
}

/// The status of a segment.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum SegmentStatus {
    /// No page is committed.
    #[default]
    Pending,
    /// Some pages are committed, and the next page starts after this position.
    Scanning(Position),
    /// The last page is committed.
    Done,
}

/// An event of a segment.
#[derive(Debug, Clone, PartialEq)]
pub enum SegmentEvent {
    /// Consecutive pages are done. The outcome of each of their items is known, and every failure is recorded.
    PagesDone {
        /// The number of the first page, counted from 1. This number must be the number of committed pages plus 1.
        first: u64,
        /// Number of pages.
        pages: u64,
        /// The position after the last of these pages; `None` if the last page ends the segment.
        next: Option<Position>,
        /// The counts of these pages.
        counts: Counts,
    },
}

/// The reason why an event is not allowed in the current state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// The segment has ended.
    #[error("the segment is already done")]
    AlreadyDone,
    /// The event does not begin with the next uncommitted page. If the store accepted the event, a page would be
    /// skipped or counted twice.
    #[error("got page {found}, but expected page {expected}")]
    OutOfOrder {
        /// The number of the next uncommitted page.
        expected: u64,
        /// The number of the event's first page.
        found: u64,
    },
    /// The event has no pages.
    #[error("the event has no pages")]
    NoPages,
    /// The event's next start key equals the committed start key. If the store accepted the event, the scan would never
    /// end.
    #[error("the start key did not move")]
    StuckKey,
    /// The event's outcome counts do not add up to its number of scanned items.
    #[error("{outcomes} outcomes for {scanned} scanned items")]
    Unbalanced {
        /// Number of scanned items.
        scanned: u64,
        /// Sum of the event's outcome counts.
        outcomes: u64,
    },
    /// The run's status cannot change in this way.
    #[error("a run that is {from} cannot become {to}")]
    Run {
        /// The current status.
        from: &'static str,
        /// The requested status.
        to: &'static str,
    },
}

impl SegmentState {
    /// Returns the state after an event. Progress only moves forward, page by page.
    pub fn next(&self, event: &SegmentEvent) -> Result<SegmentState, TransitionError> {
        let SegmentEvent::PagesDone { first, pages, next, counts } = event;
        if self.status == SegmentStatus::Done {
            return Err(TransitionError::AlreadyDone);
        }
        if *pages == 0 {
            return Err(TransitionError::NoPages);
        }
        if *first != self.pages + 1 {
            return Err(TransitionError::OutOfOrder { expected: self.pages + 1, found: *first });
        }
        let outcomes = counts.outcomes.iter().sum();
        if counts.scanned != outcomes {
            return Err(TransitionError::Unbalanced { scanned: counts.scanned, outcomes });
        }
        let status = match next {
            None => SegmentStatus::Done,
            Some(position) if self.status == SegmentStatus::Scanning(position.clone()) => {
                return Err(TransitionError::StuckKey);
            }
            Some(position) => SegmentStatus::Scanning(position.clone()),
        };
        let mut total = self.counts.clone();
        total.add(counts);
        Ok(SegmentState { status, pages: self.pages + pages, counts: total })
    }
}

/// The status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// A process is working on the run, or died while working on it.
    Running,
    /// The run has stopped and can be resumed.
    Stopped,
    /// Every segment of the run is done.
    Complete,
    /// A later run replaced this run (`--restart`).
    Superseded,
}

impl RunStatus {
    /// Returns the name in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::Stopped => "stopped",
            RunStatus::Complete => "complete",
            RunStatus::Superseded => "superseded",
        }
    }

    /// Parses [`RunStatus::name`].
    pub fn from_name(name: &str) -> Option<RunStatus> {
        [RunStatus::Running, RunStatus::Stopped, RunStatus::Complete, RunStatus::Superseded]
            .into_iter()
            .find(|s| s.name() == name)
    }

    /// Returns `to` if the run's status may change to `to`. A complete or superseded run cannot change its status.
    pub fn next(self, to: RunStatus) -> Result<RunStatus, TransitionError> {
        match (self, to) {
            (RunStatus::Running | RunStatus::Stopped, _) => Ok(to),
            (RunStatus::Complete, RunStatus::Complete) => Ok(to),
            (RunStatus::Complete, RunStatus::Running | RunStatus::Stopped | RunStatus::Superseded)
            | (RunStatus::Superseded, _) => Err(TransitionError::Run { from: self.name(), to: to.name() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::item::{ItemKey, Value};

    fn key(n: u64) -> Position {
        Position::Key(ItemKey::new([("pk".to_owned(), Value::S(n.to_string()))].into()))
    }

    fn counts(n: u64) -> Counts {
        let mut counts = Counts::default();
        (0..n).for_each(|_| counts.count(Outcome::Applied));
        counts
    }

    proptest! {
        /// In any sequence of events, the numbers of pages and items never decrease. No page is counted twice. No event
        /// is accepted after the segment has ended.
        #[test]
        fn progress_never_moves_backwards(events in proptest::collection::vec((1_u64..6, 0_u64..3, 0_u64..5, any::<bool>()), 0..40)) {
            let mut state = SegmentState::default();
            for (first, pages, items, ends) in events {
                let event = SegmentEvent::PagesDone {
                    first, pages, next: (!ends).then(|| key(first * 10 + pages)), counts: counts(items),
                };
                match state.next(&event) {
                    Ok(new) => {
                        prop_assert_eq!(first, state.pages + 1);
                        prop_assert_eq!(new.pages, state.pages + pages);
                        prop_assert_eq!(new.counts.scanned, state.counts.scanned + items);
                        prop_assert!(state.status != SegmentStatus::Done);
                        state = new;
                    }
                    Err(_) => prop_assert!(
                        state.status == SegmentStatus::Done || pages == 0 || first != state.pages + 1
                            || matches!(&state.status, SegmentStatus::Scanning(k) if *k == key(first * 10 + pages))
                    ),
                }
            }
        }
    }

    #[test]
    fn a_page_that_does_not_add_up_is_refused() {
        let mut wrong = counts(3);
        wrong.scanned = 4;
        let event = SegmentEvent::PagesDone { first: 1, pages: 1, next: None, counts: wrong };
        assert_eq!(SegmentState::default().next(&event), Err(TransitionError::Unbalanced { scanned: 4, outcomes: 3 }));
    }
}
