//! The verdicts on the items of pages, and their commit.

use crate::change::Outcome;
use crate::engine::{PageOutcome, Pages, Requests, StopReason, Stopped};
use crate::state::{
    Counts, Mismatch, PreImageId, SegmentEvent, SessionId, State, StoreError, VerdictCounts, VerifiedPages,
};

/// The result of the shadow reads of one or more pages.
#[derive(Default)]
pub(super) struct PageVerdicts {
    pub(super) counts: Counts,
    pub(super) verdicts: VerdictCounts,
    /// The items that did not match.
    pub(super) mismatches: Vec<Mismatch>,
    /// Pre-images of writes that certainly were not applied.
    pub(super) refused: Vec<PreImageId>,
}

impl PageOutcome for PageVerdicts {
    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    fn merge(&mut self, other: PageVerdicts) {
        self.counts.add(&other.counts);
        self.verdicts.add(&other.verdicts);
        self.mismatches.extend(other.mismatches);
        self.refused.extend(other.refused);
    }
}

impl PageVerdicts {
    /// Converts the verdicts to outcomes, because the progress display shows outcomes. `new_alone` is the number of
    /// matching items that had only the new attribute before the migration.
    pub(super) fn count_outcomes(&mut self, new_alone: u64) {
        let fine = self.verdicts.matching + self.verdicts.raced;
        // An item that had only the new attribute counts as "nothing to do", and so does an item that is not selected.
        (0..self.verdicts.not_selected).for_each(|_| self.counts.count(Outcome::NothingToDo));
        (0..new_alone).for_each(|_| self.counts.count(Outcome::NothingToDo));
        (new_alone..fine).for_each(|_| self.counts.count(Outcome::AlreadyApplied));
        (0..self.verdicts.skipped).for_each(|_| self.counts.count(Outcome::Skipped));
        for mismatch in &self.mismatches {
            self.counts.count(if mismatch.repaired { Outcome::Applied } else { Outcome::Diverged });
        }
    }
}

/// Commits pages of a verification with their verdicts. When this function returns, they are durable.
pub(super) async fn commit(
    pages: Pages<PageVerdicts>,
    store: &State,
    session: SessionId,
    requests: &Requests,
) -> Result<(), Stopped> {
    let Pages { segment, epoch, first, pages, next, outcome } = pages;
    let PageVerdicts { counts, verdicts, mismatches, refused } = outcome;
    let progress = counts.clone();
    let ends = next.is_none();
    let event = SegmentEvent::PagesDone { first, pages, next, counts };
    let session = SessionId { epoch, ..session };
    let verified = VerifiedPages { session, segment, event, verdicts, mismatches, refused };
    store.commit_verified(verified).await.map_err(|error| give_up(requests, &error))?;
    requests.progress().record_commit(Some(segment), &progress, pages, ends);
    Ok(())
}

pub(super) fn give_up(requests: &Requests, error: &StoreError) -> Stopped {
    requests.stop().stop(StopReason::Store(error.to_string()));
    Stopped
}
