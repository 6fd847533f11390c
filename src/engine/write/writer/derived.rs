//! Handles the writes that put derived items, and the deletes by which a rollback removes derived items.

use super::item_outcomes::{ItemOutcomes, ItemResult};
use super::replan::MAX_ATTEMPTS;
use super::{PendingWrite, Writer, give_up};
use crate::change::{
    Decision, ExistingDerived, GuardedWrite, ItemMark, Leftover, Outcome, PreImage, changed_before_removal,
};
use crate::engine::client::{RequestSpend, Requests};
use crate::engine::stop::Stopped;
use crate::item::{Item, ItemKey, Path};
use crate::state::PreImageRow;

impl Writer {
    /// Records that DynamoDB accepted the transaction that put a derived item. The confirmation is durable when this
    /// function returns. It contains the item, because another source item with the same derived key may have recorded
    /// its own derived item in the meantime.
    pub(super) async fn confirm_derived(
        &self,
        requests: &Requests,
        write: &GuardedWrite,
    ) -> Result<ItemResult, Stopped> {
        if let (Some(key), Some(item)) = (write.derived_key(), write.derived_item()) {
            let partition_key = &self.changes().derived_key().partition.name;
            let rows = [
                PreImage::source_of(partition_key, &write.key),
                PreImage::of_item(partition_key, item),
                PreImage::confirmed_delete(partition_key),
            ];
            self.append(requests, key, rows).await?;
        }
        Ok(ItemResult::Outcome(Outcome::Applied))
    }

    /// Records that a rollback deleted a derived item. If the removed item differs from the recorded one, a writer
    /// changed it although the operator stated that all writers had stopped. The journal then gets the removed item,
    /// and the item becomes a failure.
    pub(super) async fn confirm_removed(
        &self,
        requests: &Requests,
        write: &GuardedWrite,
        removed: Option<Item>,
    ) -> Result<ItemResult, Stopped> {
        let partition_key = &self.changes().key().partition.name;
        let planned = write.deleted_item();
        let other = removed.filter(|removed| planned.is_some_and(|planned| planned != removed));
        let image = other.iter().map(|removed| PreImage::of_item(partition_key, removed));
        let rows = image.chain([PreImage::mark(partition_key, ItemMark::PutBack)]);
        // Append all records in one transaction. If the process dies before the transaction is durable, the resumed
        // rollback reports the failure again.
        self.append(requests, &write.key, rows).await?;
        Ok(match (planned, &other) {
            (Some(planned), Some(removed)) => {
                ItemResult::Failed(Outcome::Conflict, changed_before_removal(planned, removed))
            }
            (Some(_) | None, _) => ItemResult::Outcome(Outcome::Applied),
        })
    }

    /// Records that these derived items are gone, and that the replies to their deletes were lost. If a writer changed
    /// an item just before its delete, that change is lost too. One transaction stores these records and the marks that
    /// the items are gone. It is durable when this function returns.
    pub(super) async fn record_unknown_removals(
        &self,
        requests: &Requests,
        keys: impl IntoIterator<Item = &ItemKey>,
    ) -> Result<(), Stopped> {
        let partition_key = &self.changes().key().partition.name;
        let note = PreImage::with_leftover(&Path::attribute(partition_key.as_str()), Leftover::DeleteReplyLost);
        let gone = PreImage::mark(partition_key, ItemMark::PutBack);
        let of_key = |key: &ItemKey| [&note, &gone].map(|pre| PreImageRow { key: key.clone(), pre: pre.clone() });
        let rows: Vec<PreImageRow> = keys.into_iter().flat_map(of_key).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let stored = self.history.append_pre_images(self.session, rows).await;
        stored.map(|_| ()).map_err(|error| give_up(requests, error.to_string()))
    }

    /// Decides the outcome of a write whose transaction was canceled because an item with the derived key exists. If
    /// the reply has no image of that item, reads it. Returns the write if the item no longer exists.
    pub(super) async fn compare_derived(
        &self,
        requests: &Requests,
        mut member: PendingWrite,
        existing: Option<Item>,
        outcomes: &mut ItemOutcomes,
    ) -> Result<Option<PendingWrite>, Stopped> {
        outcomes.mark_not_applied(&mut member);
        match (&existing, member.write.derived_item()) {
            (Some(_), Some(derived)) => {
                let found = ExistingDerived::of(existing.as_ref(), derived);
                Ok(settle(member, found, outcomes))
            }
            (None, _) | (_, None) => match self.look_at_derived(requests, member, outcomes).await? {
                Some(member) => Ok(try_again(member, outcomes)),
                None => Ok(None),
            },
        }
    }

    /// Reads the derived item of a transaction whose reply was lost. If the item does not exist, returns the write, so
    /// that it is sent again. If the first transaction arrives late, one of the two transactions fails, because each
    /// requires that no item with the derived key exists.
    pub(super) async fn look_again(
        &self,
        requests: &Requests,
        mut member: PendingWrite,
        outcomes: &mut ItemOutcomes,
    ) -> Result<Option<PendingWrite>, Stopped> {
        member.ambiguous = true;
        member.unclear = true;
        // Send the write again with a new record. Otherwise the confirmation of one transaction would hide that the
        // other transaction can still arrive.
        member.journaled = Vec::new();
        self.look_at_derived(requests, member, outcomes).await
    }

    /// Returns the key of the item's derived item, if this decision says that the derived item differs.
    pub(super) fn derived_key(&self, item: &Item, decision: &Decision) -> Option<ItemKey> {
        match decision {
            Decision::Diverged(_) => self.changes().derived_key_of(item),
            Decision::NothingToDo
            | Decision::AlreadyApplied
            | Decision::Skipped(_)
            | Decision::Rejected(_)
            | Decision::NotComputable(_)
            | Decision::Refused(..)
            | Decision::NeedsAnswers(..)
            | Decision::Write(_) => None,
        }
    }

    async fn look_at_derived(
        &self,
        requests: &Requests,
        member: PendingWrite,
        outcomes: &mut ItemOutcomes,
    ) -> Result<Option<PendingWrite>, Stopped> {
        let (found, read) = requests.existing_derived(&member.write).await?;
        outcomes.add_spend(RequestSpend { read, ..RequestSpend::default() });
        Ok(settle(member, found, outcomes))
    }

    /// Appends records of this item to the journal, in one transaction. They are durable when this function returns.
    async fn append(
        &self,
        requests: &Requests,
        key: &ItemKey,
        rows: impl IntoIterator<Item = PreImage>,
    ) -> Result<(), Stopped> {
        let rows = rows.into_iter().map(|pre| PreImageRow { key: key.clone(), pre }).collect();
        let stored = self.history.append_pre_images(self.session, rows).await;
        stored.map(|_| ()).map_err(|error| give_up(requests, error.to_string()))
    }
}

/// Returns the write for another attempt, or makes the item a failure if there were too many attempts.
fn try_again(member: PendingWrite, outcomes: &mut ItemOutcomes) -> Option<PendingWrite> {
    if member.replans + 1 < MAX_ATTEMPTS {
        return Some(PendingWrite { replans: member.replans + 1, ..member });
    }
    outcomes.counts.unclear += u64::from(member.unclear);
    let why = format!("an item with the derived key appeared and disappeared during each of {MAX_ATTEMPTS} attempts");
    outcomes.record(member.write.key, ItemResult::Failed(Outcome::Conflict, why));
    None
}

/// Records the outcome of a write whose derived item may already exist. If it does not exist, returns the write.
fn settle(member: PendingWrite, found: ExistingDerived, outcomes: &mut ItemOutcomes) -> Option<PendingWrite> {
    let derived = member.write.derived_key().cloned();
    let key = member.write.key.clone();
    match found {
        ExistingDerived::Missing => return Some(member),
        ExistingDerived::Equal => outcomes.record(key, ItemResult::Outcome(Outcome::AlreadyApplied)),
        ExistingDerived::Different(paths) => {
            outcomes.record(key, ItemResult::Diverged(paths));
            outcomes.set_derived_key(derived);
        }
    }
    outcomes.counts.unclear += u64::from(member.unclear);
    None
}
