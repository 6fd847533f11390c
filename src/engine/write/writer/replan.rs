//! Makes a new decision for an item after a condition failed, based on the item's current image.

use super::item_outcomes::{ItemOutcomes, ItemResult};
use super::parts::End;
use super::{PendingWrite, Writer, give_up};
use crate::change::{Decision, Outcome};
use crate::engine::client::{RequestSpend, Requests};
use crate::engine::stop::Stopped;
use crate::item::{Item, ItemKey};
use crate::state::{BaselinePage, FilledTargets, PreImageId};

/// The maximum number of attempts to write an item. If the condition of the last attempt fails too, the item becomes a
/// `Conflict`. Each attempt waits for its permits, and a live writer may change the item in the meantime. Suppose that
/// during each wait, live writers change the item with a probability of one half. Then about one in 65,000 such items
/// becomes a conflict.
pub(super) const MAX_ATTEMPTS: u32 = 16;

impl Writer {
    /// Makes a new decision for the item, based on its current image. Returns the next write to send, or `None` if the
    /// item now has an outcome.
    pub(crate) async fn replan(
        &self,
        requests: &Requests,
        mut member: PendingWrite,
        image: Option<Item>,
        outcomes: &mut ItemOutcomes,
    ) -> Result<Option<PendingWrite>, Stopped> {
        let key = member.write.key.clone();
        // If a put failed because the item exists, the mark "restored" stays valid. If the item is missing later, the
        // application has deleted it, and a repeated rollback must not restore it.
        if member.write.created_item().is_none() {
            outcomes.mark_not_applied(&mut member);
        }
        let image = match image {
            Some(image) => Some(image),
            // A missing image does not prove that the item is gone, because some engines never return an image.
            None => {
                let got = requests.get(&key).await?;
                outcomes.add_spend(RequestSpend { read: got.units.unwrap_or(0.0), ..RequestSpend::default() });
                got.item
            }
        };
        let unclear = u64::from(member.unclear);
        if member.unclear {
            member.sent.add_unclear(&member.write);
        }
        let Some(image) = image else {
            outcomes.counts.unclear += unclear;
            if self.changes().removes_derived_items() {
                // The derived item is gone. An earlier attempt may have deleted it.
                match member.unclear {
                    true => self.record_unknown_removals(requests, [&key]).await?,
                    false => self.record_put_back(requests, [&key]).await?,
                }
                outcomes.record(key, ItemResult::Outcome(Outcome::AlreadyApplied));
                return Ok(None);
            }
            outcomes.record(key, ItemResult::Outcome(Outcome::Gone));
            return Ok(None);
        };
        self.record_skipped(requests, &key, &image, &outcomes.refused).await?;
        let decision = match self.changes().decide_found(&image, &member.write) {
            Some(decision) => {
                if decision == Decision::AlreadyApplied {
                    self.record_put_back(requests, [&key]).await?;
                }
                Some(decision)
            }
            None => {
                let (mut decisions, read) = self.decisions.of(&[(&image, &member.record)], requests).await?;
                outcomes.add_spend(RequestSpend { read, ..RequestSpend::default() });
                decisions.pop()
            }
        };
        let decision = decision.unwrap_or(Decision::NothingToDo);
        let Decision::Write(write) = decision else {
            outcomes.counts.unclear += unclear;
            self.note_unwritten([(&image, member.record.as_ref())].into_iter(), requests).await?;
            // If the item still exists but must not be deleted any more, the change has not been made. If nothing is
            // derived from the item any more, no derived item was put.
            let may_be_made = member.write.deleted_item().is_none() && member.write.derived_item().is_none();
            let has_left = self.changes().has_left_selection(&image);
            let derived = self.derived_key(&image, &decision);
            let end = End { after_condition: may_be_made, has_left, derived };
            outcomes.record_end(key, decision, end, &member.sent);
            return Ok(None);
        };
        if member.replans + 1 >= MAX_ATTEMPTS {
            let why = format!("the item changed during each of {MAX_ATTEMPTS} attempts");
            outcomes.counts.unclear += unclear;
            outcomes.record(key, ItemResult::Failed(Outcome::Conflict, member.sent.explain(why)));
            return Ok(None);
        }
        if self.changes().may_be_partly_written() {
            // If this process dies after the next write, the records must show that the refused write changed nothing.
            self.mark_refused(outcomes.refused.clone()).await;
        }
        let replans = member.replans + 1;
        let unclear = member.unclear;
        let PendingWrite { record, sent, .. } = member;
        Ok(Some(PendingWrite { replans, unclear, sent, ..PendingWrite::new(write, record) }))
    }

    /// Records targets that a live writer has filled since the baseline. Leaves out targets that a write of this run
    /// may have filled. Either a killed process sent such a write, or its reply was lost.
    async fn record_skipped(
        &self,
        requests: &Requests,
        key: &ItemKey,
        image: &Item,
        refused: &[PreImageId],
    ) -> Result<(), Stopped> {
        if !self.is_first_pass {
            return Ok(());
        }
        let targets = self.changes().skipped_targets(image);
        if targets.is_empty() {
            return Ok(());
        }
        // The page number does not matter here, because preexisting targets are recorded for each item.
        let filled = vec![FilledTargets { key: key.clone(), targets, refused: refused.to_vec() }];
        let baseline = BaselinePage { filled, ..BaselinePage::empty(self.session, 0, 0) };
        self.history.record_baseline(baseline).await.map_err(|e| give_up(requests, e.to_string()))
    }
}
