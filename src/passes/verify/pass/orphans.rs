//! Looks for derived items without a source, by the keys in the journal.
//!
//! The scan of a verification reads the items of a table. If the plan lists the keys of its sources, the scan reads no
//! derived item. So the verification reads every derived item that the journal records, and then its recorded source.
//! This finds the orphans that a scan of all derived items would find: without a record, nothing shows that this
//! migration put an item. An item with a damaged record is an exception. Its record counts as a mismatch here, and if the
//! key in the record cannot be read, the item itself is not read.
//!
//! The list is one more segment of the verification, after those of the scan. A position is the number of a journal row.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;

use super::derived::DerivedItems;
use super::page_verdicts::{PageVerdicts, commit, give_up};
use super::{ItemHistories, ORPHAN};
use crate::change::{ItemHistory, Undone};
use crate::engine::{CommitPage, PageItems, Pages, PartialOutcome, ProcessPage, Requests, Stopped};
use crate::item::ItemKey;
use crate::state::{Mismatch, SessionId, State, Verdict};

/// Number of derived items of a page that are read at the same time. One segment reads all of them, so the number is as
/// large as that of the requests in a large lane.
const CONCURRENT_READS: usize = 64;

/// Reads the derived items of a page of the journal, and their sources.
pub(super) struct Orphans {
    derived: DerivedItems,
    /// The table of the derived items, if it is not the plan's table.
    table: Option<String>,
    history: Arc<dyn ItemHistories>,
    store: State,
    session: SessionId,
    requests: Requests,
}

/// What the reads of one derived item have shown.
struct Look {
    found: Found,
    /// The consumed read units.
    units: f64,
}

enum Found {
    /// The item is gone, somebody has changed it, or its source implies it.
    Fine,
    /// The item was an orphan when it was read first. When it was read again, it was gone or had another source.
    Raced,
    Mismatch(Verdict, Option<String>),
}

impl Orphans {
    pub(super) fn new(
        (derived, table): (DerivedItems, Option<String>),
        history: Arc<dyn ItemHistories>,
        store: State,
        session: SessionId,
        requests: Requests,
    ) -> Orphans {
        Orphans { derived, table, history, store, session, requests }
    }

    /// Judges the derived item with this key, which the journal records.
    async fn look(&self, requests: &Requests, key: &ItemKey, record: &ItemHistory) -> Result<Look, Stopped> {
        let mut units = 0.0;
        let found = |found, units| Ok(Look { found, units });
        if key.attributes().is_empty() {
            let why = "the key in a damaged record of the journal cannot be read".to_owned();
            return found(Found::Mismatch(Verdict::Missing, Some(why)), units);
        }
        if let Some(why) = record.unreadable_reason() {
            let why = self.named(&format!("its record in the state file cannot be read: {why}"));
            return found(Found::Mismatch(Verdict::Missing, Some(why)), units);
        }
        if !record.deletion().is_some_and(|put| put.undone != Undone::Yes) {
            return found(Found::Fine, units);
        }
        // An application may change the item and its source in two requests, so read both again before they count.
        for is_again in [false, true] {
            let (is_orphan, read) = self.is_orphan(requests, key, record).await?;
            units += read;
            if !is_orphan {
                return found(if is_again { Found::Raced } else { Found::Fine }, units);
            }
        }
        found(Found::Mismatch(Verdict::Unexpected, Some(self.named(ORPHAN))), units)
    }

    /// Adds the table to the text about a derived item.
    fn named(&self, text: &str) -> String {
        match &self.table {
            Some(table) => format!("a derived item in table {table}: {text}"),
            None => text.to_owned(),
        }
    }

    async fn is_orphan(
        &self,
        requests: &Requests,
        key: &ItemKey,
        record: &ItemHistory,
    ) -> Result<(bool, f64), Stopped> {
        let got = requests.get_derived(key).await?;
        let units = got.units.unwrap_or(0.0);
        let Some(item) = got.item else { return Ok((false, units)) };
        let (is_orphan, more) = self.derived.is_orphan(requests, &item, record).await?;
        Ok((is_orphan, units + more))
    }
}

#[async_trait]
impl ProcessPage for Orphans {
    type Outcome = PageVerdicts;

    async fn process(
        &self,
        PageItems { items, .. }: PageItems,
        requests: &Requests,
    ) -> Result<PartialOutcome<PageVerdicts>, Stopped> {
        // A page of the journal has only keys. The key of a damaged record is empty.
        let keys: Vec<ItemKey> = items.into_iter().map(ItemKey::new).collect();
        let records = self.history.records(&keys, true).await.map_err(|error| give_up(requests, &error))?;
        let mut outcome = PageVerdicts::default();
        let listed: Vec<(&ItemKey, &ItemHistory)> = keys.iter().zip(&records).collect();
        for some in listed.chunks(CONCURRENT_READS) {
            // Wait for all reads, even if one of them ends early because the job stops.
            let looks = join_all(some.iter().map(|(key, record)| self.look(requests, key, record))).await;
            for ((key, _), look) in some.iter().zip(looks) {
                let Look { found, units } = look?;
                outcome.counts.read_units += units;
                match found {
                    Found::Fine => outcome.verdicts.not_selected += 1,
                    Found::Raced => outcome.verdicts.raced += 1,
                    Found::Mismatch(verdict, why) => {
                        let key = ItemKey::clone(key);
                        outcome.verdicts.count(verdict);
                        outcome.mismatches.push(Mismatch { key, verdict, paths: Vec::new(), repaired: false, why });
                    }
                }
            }
        }
        outcome.count_outcomes(0);
        Ok(PartialOutcome { outcome, rest: None })
    }
}

#[async_trait]
impl CommitPage<PageVerdicts> for Orphans {
    async fn abandon(&self, _: PageVerdicts) {}

    async fn commit(&self, pages: Pages<PageVerdicts>) -> Result<(), Stopped> {
        commit(pages, &self.store, self.session, &self.requests).await
    }
}
