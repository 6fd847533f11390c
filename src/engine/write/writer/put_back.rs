//! Restores deleted items, and deletes derived items. Decides what to do with each item, and marks the items that are
//! done.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep_until};

use super::{ItemOutcomes, PendingWrite, Writer, give_up};
use crate::change::{Decision, Deletion, ItemHistory, ItemMark, MAYBE_PUT_BACK, PreImage, Undone};
use crate::dynamodb::GetReply;
use crate::engine::client::{RequestSpend, Requests};
use crate::engine::stop::Stopped;
use crate::item::{Item, ItemKey};
use crate::state::{PreImageRow, reject_if_unreadable};

/// The longest time after which a write of a killed process can still arrive.
const LATE_WRITES: Duration = Duration::from_secs(60);

/// The failure reason for a journal row whose key is unreadable.
const UNREADABLE_KEY: &str = "a row of the journal is damaged, and its key cannot be read. If the row records a \
                              delete, its item was not restored. If it records a derived item, that item was not \
                              deleted. Compare `backfill journal` with a backup of the table or of the state file";

impl Writer {
    /// Decides which of these items to restore, or which of these derived items to delete. The items have only their
    /// keys. Reads an item only if the decision depends on whether it exists in the table.
    ///
    /// If a killed process sent a delete, the delete can arrive late. So if the delete of an existing item was not
    /// confirmed, this function waits until the delete must have arrived, and then reads the item again. In the same
    /// way, a transaction that puts a derived item can arrive late. A stop of the run ends the wait.
    pub(super) async fn decide_put_backs(
        &self,
        items: &[(&Item, &ItemHistory)],
        requests: &Requests,
        outcomes: &mut ItemOutcomes,
    ) -> Result<Vec<Decision>, Stopped> {
        let reads = items.iter().map(|(item, record)| self.read_uncertain(item, record, requests));
        // Wait for all reads, even if the run is stopping.
        let found = join_all(reads).await.into_iter().collect::<Result<Vec<_>, Stopped>>()?;
        let mut decisions = Vec::with_capacity(items.len());
        let mut back = Vec::new();
        let mut unknown = Vec::new();
        for ((item, record), found) in items.iter().zip(found) {
            let read = found.units.unwrap_or(0.0);
            outcomes.add_spend(RequestSpend { read, ..RequestSpend::default() });
            let Some(key) = self.changes().key().key_of(item) else {
                decisions.push(Decision::Rejected(UNREADABLE_KEY.to_owned()));
                continue;
            };
            let decision = match &found.item {
                Some(item) => self.changes().decide_with(item, record),
                None => self.changes().decide_missing(&key, record),
            };
            if decision == Decision::AlreadyApplied {
                match record.deletion().map(|deletion| deletion.undone) {
                    Some(Undone::Yes) => {}
                    // An earlier session may have sent the delete without recording a reply.
                    Some(Undone::Unknown) if self.changes().removes_derived_items() => unknown.push(key),
                    Some(Undone::Unknown | Undone::No) | None => back.push(key),
                }
            }
            decisions.push(reject_if_unreadable(decision));
        }
        self.record_put_back(requests, &back).await?;
        self.record_unknown_removals(requests, &unknown).await?;
        Ok(decisions)
    }

    /// Reads the item if the decision depends on whether it exists in the table. Otherwise, the reply has no item.
    async fn read_uncertain(
        &self,
        item: &Item,
        record: &ItemHistory,
        requests: &Requests,
    ) -> Result<GetReply, Stopped> {
        let none = GetReply { item: None, units: None };
        let removes = self.changes().removes_derived_items();
        let needs_read = |deletion: &&Deletion| match removes {
            true => deletion.undone != Undone::Yes,
            false => deletion.needs_read(),
        };
        let Some(deletion) = record.deletion().filter(needs_read) else { return Ok(none) };
        let Some(key) = self.changes().key().key_of(item) else { return Ok(none) };
        let arrived = self.begun + LATE_WRITES;
        let is_early = Instant::now() < arrived;
        let first = requests.get(&key).await?;
        let depends = match (&first.item, removes) {
            // A late transaction could put the item after the rollback has found it missing or has deleted it.
            (None, true) => deletion.puts.has_unconfirmed,
            (Some(found), true) => deletion.puts.has_unconfirmed && self.would_write(found, record),
            // A late delete could remove an item that exists now.
            (None, false) => false,
            (Some(_), false) => !deletion.is_confirmed && deletion.undone == Undone::No,
        };
        if !(depends && is_early) {
            return Ok(first);
        }
        let what = if removes { "put" } else { "delete" };
        tracing::info!(
            "a {what} of an earlier process may still arrive; waiting up to {} s before the item is read again",
            LATE_WRITES.as_secs()
        );
        requests.stop().unless_stopping(sleep_until(arrived)).await?;
        let second = requests.get(&key).await?;
        let units = first.units.unwrap_or(0.0) + second.units.unwrap_or(0.0);
        Ok(GetReply { units: Some(units), ..second })
    }

    fn would_write(&self, found: &Item, record: &ItemHistory) -> bool {
        matches!(self.changes().decide_with(found, record), Decision::Write(_))
    }

    /// Determines the outcome of a put whose reply was lost. Reads the item instead of sending the put again. If the
    /// first put took effect and the application then deleted the item, a second put would restore it.
    pub(super) async fn settle_put(
        &self,
        requests: &Requests,
        member: PendingWrite,
        outcomes: &mut ItemOutcomes,
    ) -> Result<(), Stopped> {
        let key = member.write.key.clone();
        let got = requests.get(&key).await?;
        outcomes.add_spend(RequestSpend { read: got.units.unwrap_or(0.0), ..RequestSpend::default() });
        let decision = got.item.and_then(|item| self.changes().decide_found(&item, &member.write));
        let decision = decision.unwrap_or_else(|| Decision::Rejected(MAYBE_PUT_BACK.to_owned()));
        if decision == Decision::AlreadyApplied {
            self.record_put_back(requests, [&key]).await?;
        }
        outcomes.counts.unclear += 1;
        outcomes.record_decision(key, decision, true);
        Ok(())
    }

    /// Marks these items as restored, or these derived items as deleted. The marks are durable when this function
    /// returns. A later rollback does not change these items, whatever the application does with them.
    pub(super) async fn record_put_back(
        &self,
        requests: &Requests,
        keys: impl IntoIterator<Item = &ItemKey>,
    ) -> Result<(), Stopped> {
        let mark = PreImage::mark(&self.changes().key().partition.name, ItemMark::PutBack);
        let rows: Vec<PreImageRow> =
            keys.into_iter().map(|key| PreImageRow { key: key.clone(), pre: mark.clone() }).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let stored = self.history.append_pre_images(self.session, rows).await;
        stored.map(|_| ()).map_err(|error| give_up(requests, error.to_string()))
    }
}
