//! The pure state of a segment and of a run, and the only way in which they change.

use super::Spend;
use crate::change::Outcome;
use crate::item::{Position, Units};

/// What was counted over pages that are committed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Items scanned: the sum of all outcomes.
    pub scanned: u64,
    /// Items by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 8],
    /// Write capacity units that the server said it consumed.
    pub write_units: Units,
    /// Read capacity units that the server said it consumed.
    pub read_units: Units,
    /// Write capacity units taken to be consumed by requests whose answer named none: failed conditions, by the item that
    /// they met, and lost replies, by their estimate.
    pub assumed_write_units: Units,
    /// Write capacity units that the tool estimated, before sending them, for the requests whose replies stated
    /// `write_units`. It is what that figure is to be held against, and was never consumed.
    pub estimated_write_units: Units,
    /// Items to which an attempt with a lost reply may have been applied, and which ended with another outcome, usually
    /// already applied. They make `applied` a lower bound. Not stored for each segment: a run with such an item is marked.
    pub unclear: u64,
}

impl Counts {
    /// Counts one item.
    pub fn count(&mut self, outcome: Outcome) {
        self.scanned += 1;
        self.outcomes[outcome as usize] += 1;
    }

    /// How many items had this outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Items that failed.
    pub fn failures(&self) -> u64 {
        Outcome::ALL.iter().filter(|o| o.is_failure()).map(|o| self.of(*o)).sum()
    }

    /// Capacity that these items consumed: by DynamoDB's word, and as assumed where it said nothing.
    pub fn spend(&self) -> Spend {
        Spend { write: self.write_units + self.assumed_write_units, read: self.read_units }
    }

    /// Adds what was counted elsewhere.
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

/// A segment's durable progress.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SegmentState {
    /// Where it stands.
    pub status: SegmentStatus,
    /// Pages committed.
    pub pages: u64,
    /// What they counted.
    pub counts: Counts,
}

/// Where a segment stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum SegmentStatus {
    /// No page is committed.
    #[default]
    Pending,
    /// The next page starts behind this position.
    Scanning(Position),
    /// The last page is committed.
    Done,
}

/// What can happen to a segment.
#[derive(Debug, Clone, PartialEq)]
pub enum SegmentEvent {
    /// Every outcome of these consecutive pages is known and, if a failure, recorded.
    PagesDone {
        /// Number of the first of them, from 1: one more than the pages committed so far.
        first: u64,
        /// How many.
        pages: u64,
        /// The position behind the last of them; none ends the segment.
        next: Option<Position>,
        /// What they counted.
        counts: Counts,
    },
}

/// Why an event does not fit a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// The segment has ended.
    #[error("the segment is already done")]
    AlreadyDone,
    /// A page would be skipped or counted twice.
    #[error("page {found} came when page {expected} was due")]
    OutOfOrder {
        /// The page that was due.
        expected: u64,
        /// The page that came.
        found: u64,
    },
    /// A commit of nothing.
    #[error("the event has no pages")]
    NoPages,
    /// The start key is the one that is already committed: the scan would go round in a circle.
    #[error("the start key did not move")]
    StuckKey,
    /// The counts of an event do not add up.
    #[error("{outcomes} outcomes for {scanned} scanned items")]
    Unbalanced {
        /// Items scanned.
        scanned: u64,
        /// Outcomes counted.
        outcomes: u64,
    },
    /// A run changed in a way that it never may.
    #[error("a run that is {from} cannot become {to}")]
    Run {
        /// What it is.
        from: &'static str,
        /// What it was to become.
        to: &'static str,
    },
}

impl SegmentState {
    /// The state after an event. Progress only ever moves forward, page by page.
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

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// A process works on it, or died while it did.
    Running,
    /// It was stopped in good order, and can be resumed.
    Stopped,
    /// Every segment is done.
    Complete,
    /// A later run took its place (`--restart`).
    Superseded,
}

impl RunStatus {
    /// The name in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::Stopped => "stopped",
            RunStatus::Complete => "complete",
            RunStatus::Superseded => "superseded",
        }
    }

    /// Reads [`RunStatus::name`] back.
    pub fn from_name(name: &str) -> Option<RunStatus> {
        [RunStatus::Running, RunStatus::Stopped, RunStatus::Complete, RunStatus::Superseded]
            .into_iter()
            .find(|s| s.name() == name)
    }

    /// The status after a change; a finished run stays finished.
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
        /// Whatever events arrive, in whatever order and however often: pages and counts never shrink, no page counts
        /// twice, and nothing follows the end.
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
