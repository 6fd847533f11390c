//! The outcomes of several items.

use futures::future::BoxFuture;

use super::PendingWrite;
use crate::change::{Decision, Outcome};
use crate::engine::client::RequestSpend;
use crate::engine::stop::Stopped;
use crate::engine::write::outcome::PageOutcome;
use crate::item::{ItemKey, Path};
use crate::state::{Counts, DivergedItem, Failure, PreImageId};

/// The failure reason if an item needs a program's answer but the pass starts no programs.
const UNANSWERED: &str = "this pass does not start the program of an `exec`";

/// The outcomes of some items, with everything that a commit needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemOutcomes {
    /// The number of items by outcome, and the capacity that these items consumed.
    pub counts: Counts,
    /// Items that failed.
    pub failures: Vec<Failure>,
    /// Diverged items.
    pub diverged: Vec<DivergedItem>,
    /// The pre-images of writes that were certainly not applied.
    pub refused: Vec<PreImageId>,
    /// Number of writes that DynamoDB rejected, or that were not sent because they break a rule of DynamoDB. The plan
    /// may be the cause of these failures.
    pub rejected_writes: u64,
    /// Number of items that were not written because they are signed or encrypted on the client.
    pub encrypted: u64,
}

/// The results for a page's items, and the items that were set aside.
pub struct PartialOutcome<O = ItemOutcomes> {
    /// The outcomes of the items that were not set aside.
    pub outcome: O,
    /// The items that were set aside. `None` if no items were set aside.
    pub rest: Option<RemainingWork<O>>,
}

impl<O: Default> Default for PartialOutcome<O> {
    fn default() -> PartialOutcome<O> {
        PartialOutcome { outcome: O::default(), rest: None }
    }
}

/// Items that are set aside because the bucket of their partition key has too few units.
pub struct RemainingWork<O = ItemOutcomes> {
    /// Size of these items in bytes, which counts towards the segment's limit for set-aside items.
    pub bytes: usize,
    /// The future that processes these items. Always poll this future until it is complete, because it may have
    /// requests in flight.
    pub outcome: BoxFuture<'static, Result<O, Stopped>>,
}

/// The result of processing one item.
pub(crate) enum ItemResult {
    Outcome(Outcome),
    Diverged(Vec<Path>),
    Failed(Outcome, String),
}

impl ItemOutcomes {
    /// Counts an item that gets no write. `decision` contains the reason.
    pub(crate) fn record_decision(&mut self, key: ItemKey, decision: Decision, after_condition: bool) {
        if let Decision::Refused(_, rule) = &decision {
            *(if rule.is_client_encryption() { &mut self.encrypted } else { &mut self.rejected_writes }) += 1;
        }
        self.record(key, to_item_result(decision, after_condition));
    }

    pub(crate) fn record(&mut self, key: ItemKey, result: ItemResult) {
        match result {
            ItemResult::Outcome(outcome) => self.counts.count(outcome),
            ItemResult::Diverged(paths) => {
                self.counts.count(Outcome::Diverged);
                self.diverged.push(DivergedItem { key, paths, derived: None });
            }
            ItemResult::Failed(outcome, reason) => {
                self.counts.count(outcome);
                self.failures.push(Failure { key, outcome, reason });
            }
        }
    }

    /// Records that the last diverged item is the source of this derived item, which differs.
    pub(crate) fn set_derived_key(&mut self, derived: Option<ItemKey>) {
        if let Some(item) = self.diverged.last_mut() {
            item.derived = derived;
        }
    }

    pub(crate) fn add_spend(&mut self, spent: RequestSpend) {
        self.counts.read_units += spent.read;
        self.counts.write_units += spent.write;
        self.counts.assumed_write_units += spent.assumed_write;
        self.counts.estimated_write_units += spent.estimated_write;
    }

    /// Marks the pre-images of a write as refused, because the write was not applied. If an earlier attempt of the
    /// write may have been applied, the pre-images stay valid.
    pub(crate) fn mark_not_applied(&mut self, member: &mut PendingWrite) {
        let journaled = std::mem::take(&mut member.journaled);
        if !member.ambiguous {
            self.refused.extend(journaled);
        }
    }
}

impl PageOutcome for ItemOutcomes {
    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    fn merge(&mut self, other: ItemOutcomes) {
        self.counts.add(&other.counts);
        self.failures.extend(other.failures);
        self.diverged.extend(other.diverged);
        self.refused.extend(other.refused);
        self.rejected_writes += other.rejected_writes;
        self.encrypted += other.encrypted;
    }
}

/// Returns the result for an item that gets no write. If a condition failed before, "nothing to do" means that the
/// change has already been made. Either another writer made it, or this run made it in an attempt whose reply was lost.
fn to_item_result(decision: Decision, after_condition: bool) -> ItemResult {
    match decision {
        Decision::NothingToDo if !after_condition => ItemResult::Outcome(Outcome::NothingToDo),
        Decision::NothingToDo | Decision::AlreadyApplied => ItemResult::Outcome(Outcome::AlreadyApplied),
        Decision::Skipped(_) => ItemResult::Outcome(Outcome::Skipped),
        Decision::Diverged(paths) => ItemResult::Diverged(paths),
        Decision::Rejected(why) => ItemResult::Failed(Outcome::Rejected, why),
        Decision::NotComputable(why) => ItemResult::Failed(Outcome::NotComputable, why.to_string()),
        Decision::Refused(_, rule) => ItemResult::Failed(Outcome::Rejected, rule.to_string()),
        Decision::NeedsAnswers(..) => ItemResult::Failed(Outcome::Rejected, UNANSWERED.into()),
        Decision::Write(_) => ItemResult::Failed(Outcome::Conflict, "it still needs a write".into()),
    }
}
