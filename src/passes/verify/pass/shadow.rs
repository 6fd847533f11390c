//! Implements shadow reads: compares the items of each page with the plan, reads suspects again, repairs mismatches and
//! commits the page.

mod repairs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _, stream};

use super::super::compare::{Comparison, Parity};
use super::super::repair::Repair;
use super::derived::{DerivedItems, Judged};
use super::page_verdicts::{PageVerdicts, commit, give_up};
use super::{ItemHistories, VerifyInput};
use crate::change::{Change, ItemHistory, OnExisting, ProgramAnswers, stable_changed};
use crate::engine::{CommitPage, Job, PageItems, Pages, PartialOutcome, ProcessPage, Requests, Stopped, ask};
use crate::exec::Programs;
use crate::item::{Item, ItemKey, KeySchema, Path};
use crate::state::{
    Cursor, ListQuery, Mismatch, RunId, SessionId, State, StoreError, TableStage, Verdict, VerdictCounts,
    VerificationRecord, phase,
};
use repairs::replaceable_paths;

/// Number of a page's suspects that are read again at the same time. A shared lane keeps the same number of writes
/// outstanding.
const CONCURRENT_REREADS: usize = 8;

/// The largest number of suspects that one session of `--all` reads again. The pages of `--all` are already strongly
/// consistent. So a second read changes the result only if a writer writes the old and the new value of an item in two
/// requests. If a table has more suspects than this limit, most of them must have a different cause.
const MAX_REREADS: u64 = 10_000;

/// Number of diverged items that each query reads from the state file.
const DIVERGED_BATCH: u32 = 1_000;

/// Number of diverged items that are read again at the same time. A large lane keeps the same number of requests
/// outstanding.
const CONCURRENT_DIVERGED_READS: usize = 64;

/// Compares pages with the plan, and repairs mismatches on request.
pub(super) struct Verifier {
    parity: Parity,
    repair: Option<Repair>,
    /// The repair to predict. `None` if this verification repairs items, or if no repair is possible.
    predicted: Option<Repair>,
    /// The paths at which a repair replaces values.
    replaceable: Vec<Path>,
    removes: bool,
    history: Arc<dyn ItemHistories>,
    /// Whether the verifier also reads the recorded values that the migration wrote. If the plan skips existing values,
    /// selects items or overwrites NULLs, the verdict depends on who wrote a value.
    needs_journal: bool,
    store: State,
    session: SessionId,
    requests: Requests,
    key: KeySchema,
    /// Number of suspects that may still be read again. `None` means that there is no limit.
    rereads: Option<AtomicU64>,
    /// Reads derived items and their sources. `None` if the plan puts no derived items.
    derived: Option<DerivedItems>,
    /// The programs of the plan. `None` if every `exec` has a marker.
    programs: Option<Arc<dyn Programs>>,
    /// Whether repairs refuse to write items that are signed or encrypted on the client.
    refuses_encrypted: bool,
    /// Whether the operator purged the journal.
    is_journal_purged: bool,
    /// Whether the derived items are in another table.
    reads_elsewhere: bool,
}

/// An item that did not match when it was read.
struct Suspect {
    key: ItemKey,
    item: Item,
    record: ItemHistory,
    found: Comparison,
    /// The problem with the item's derived item.
    why: Option<String>,
}

impl Verifier {
    pub(super) fn new(
        job: &Job,
        store: &State,
        record: &VerificationRecord,
        input: VerifyInput,
        requests: Requests,
    ) -> Verifier {
        let VerifyInput { history, removes } = input;
        let plan = &job.plan;
        let parameters = &record.parameters;
        let key = &job.description.key;
        let indexes = || job.changes.indexes().clone();
        let repair = || {
            let repair = Repair::new(&plan.changes, plan.strategy, parameters.truths, key.clone(), indexes())
                .with_rules(plan.item_rules())
                .with_split(plan.needs_split());
            if removes { repair.with_removals() } else { repair }
        };
        // Only `run` deletes items and puts derived items.
        let can_repair = !parameters.repair
            && parameters.stage == TableStage::Expanded
            && !plan.deletes_items()
            && !plan.puts_items();
        let parity =
            Parity::with_truths(&plan.changes, plan.strategy, parameters.stage, parameters.truths, &key.partition.name)
                .with_rules(plan.item_rules());
        Verifier {
            parity: if plan.looks_up_derived() { parity.of_sources_only() } else { parity },
            repair: parameters.repair.then(repair),
            predicted: can_repair.then(repair),
            replaceable: replaceable_paths(&plan.changes),
            removes,
            history,
            needs_journal: plan.select.is_some()
                || plan.index.is_some()
                || plan.options.selections().next().is_some()
                || plan.changes.iter().any(|change| {
                    change.on_existing().is_some_and(|on_existing| on_existing != OnExisting::Keep)
                        || plan.options.of_change(change).null_is_missing
                        || change.may_be_not_computable()
                        || matches!(change, Change::Exec { .. })
                }),
            store: store.clone(),
            session: record.run.session(),
            requests,
            key: key.clone(),
            rereads: parameters.sample_clusters.is_none().then(|| AtomicU64::new(MAX_REREADS)),
            derived: DerivedItems::new(plan, &job.description),
            programs: job.programs.clone().filter(|_| plan.recomputes()),
            refuses_encrypted: job.changes.refuses_encrypted(),
            is_journal_purged: job.journal_purged_at.is_some(),
            reads_elsewhere: plan.other_table().is_some(),
        }
    }

    /// Compares the items of a page. Returns the items that do not match, each with its recorded history. Also counts
    /// all other items by verdict, and returns how many of them had only the new attribute before the migration.
    async fn find_suspects(&self, items: Vec<Item>) -> Result<(Vec<Suspect>, VerdictCounts, u64), Stopped> {
        let mut suspects = Vec::new();
        let mut fine = VerdictCounts::default();
        let mut new_alone = 0;
        for item in items {
            let found = self.parity.compare_without_history(&item);
            if found.verdict.is_mismatch() {
                // A stored item always has its key.
                let key = self.key.key_of(&item).unwrap_or_else(|| ItemKey::new(Item::new()));
                suspects.push(Suspect { key, item, record: ItemHistory::default(), found, why: None });
            } else {
                fine.count(found.verdict);
            }
        }
        if suspects.is_empty() {
            return Ok((suspects, fine, 0));
        }
        let keys: Vec<ItemKey> = suspects.iter().map(|suspect| suspect.key.clone()).collect();
        let known = self.records(&keys).await?;
        // If the comparison of a suspect has no paths, the item is a suspect only because its history must be read.
        let marked: Vec<bool> = suspects.iter().map(|suspect| !suspect.found.paths.is_empty()).collect();
        for (suspect, record) in suspects.iter_mut().zip(known) {
            suspect.record = record;
        }
        let asked: Vec<_> = suspects.iter().map(|suspect| (&suspect.item, &suspect.record)).collect();
        let answers = self.ask(&asked).await?;
        for (suspect, answers) in suspects.iter_mut().zip(answers) {
            suspect.found = self.parity.compare_answered(&suspect.item, &suspect.record, &answers);
        }
        let mut marked = marked.into_iter();
        let mut changed_but_fine: u64 = 0;
        suspects.retain(|suspect| {
            let was_marked = marked.next().unwrap_or_default();
            let stays = suspect.found.verdict.is_mismatch();
            if !stays {
                fine.count(suspect.found.verdict);
                let has_changed = self.parity.changed_stable(&suspect.item, &suspect.record).is_some();
                changed_but_fine += u64::from(has_changed);
                // The first comparison ignored the history and found a value that the plan does not imply. The history
                // shows that this value existed before the migration.
                let is_explained = was_marked
                    && suspect.found.verdict == Verdict::Matching
                    && self.parity.is_fully_selected(&suspect.item);
                new_alone += u64::from(is_explained);
            }
            stays
        });
        if changed_but_fine > 0 {
            tracing::warn!(
                "stable-changed: items of a page that match although a stable attribute has changed: {changed_but_fine}"
            );
        }
        Ok((suspects, fine, new_alone))
    }

    /// Asks the programs of changes without a marker about these items. Returns the answers in the order of the items.
    async fn ask(&self, items: &[(&Item, &ItemHistory)]) -> Result<Vec<ProgramAnswers>, Stopped> {
        let mut answers = vec![ProgramAnswers::default(); items.len()];
        let Some(programs) = &self.programs else { return Ok(answers) };
        let of_item = |(place, (item, record)): (usize, &(&Item, &ItemHistory))| {
            self.parity.questions(item, record).into_iter().map(move |question| (place, question)).collect::<Vec<_>>()
        };
        let open = items.iter().enumerate().flat_map(of_item).collect();
        for (place, given) in ask(programs.as_ref(), open, &self.requests).await? {
            answers[place] = given;
        }
        Ok(answers)
    }

    async fn records(&self, keys: &[ItemKey]) -> Result<Vec<ItemHistory>, Stopped> {
        self.history.records(keys, self.needs_journal).await.map_err(|error| self.give_up(&error))
    }

    /// Returns the histories of the suspects, including the values that the migration wrote. A prediction needs these
    /// values, even if the verdicts do not.
    async fn written_values(&self, suspects: &[Suspect]) -> Result<Vec<ItemHistory>, Stopped> {
        if self.needs_journal || suspects.is_empty() {
            return Ok(suspects.iter().map(|suspect| suspect.record.clone()).collect());
        }
        let keys: Vec<ItemKey> = suspects.iter().map(|suspect| suspect.key.clone()).collect();
        self.history.records(&keys, true).await.map_err(|error| self.give_up(&error))
    }

    /// Reads a suspect again. Returns `None` if the item now matches or is gone. Also returns the consumed read units.
    async fn reread(&self, requests: &Requests, suspect: Suspect) -> Result<(Option<Suspect>, f64), Stopped> {
        if let Some(left) = &self.rereads
            && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
        {
            return Ok((Some(suspect), 0.0));
        }
        let got = requests.get(&suspect.key).await?;
        let units = got.units.unwrap_or(0.0);
        let Some(item) = got.item else { return Ok((None, units)) };
        let Judged { found, why, units: more } = self.judge(requests, &item, &suspect.record).await?;
        let again = found.verdict.is_mismatch().then_some(Suspect { item, found, why, ..suspect });
        Ok((again, units + more))
    }

    /// Compares an item with the plan. If the plan puts derived items, also reads the item's derived item, or the
    /// source of a derived item.
    async fn judge(&self, requests: &Requests, item: &Item, record: &ItemHistory) -> Result<Judged, Stopped> {
        let answers = self.ask(&[(item, record)]).await?.pop().unwrap_or_default();
        let found = self.parity.compare_answered(item, record, &answers);
        match &self.derived {
            Some(derived) if found.verdict.is_mismatch() => derived.judge(requests, item, record, found).await,
            Some(_) | None => Ok(Judged::without_read(found)),
        }
    }

    /// Judges the suspects of a plan that puts derived items. If a suspect turns out to be right, counts it in `fine`.
    /// Returns the other suspects and the consumed read units.
    async fn judge_derived(
        &self,
        requests: &Requests,
        suspects: Vec<Suspect>,
        fine: &mut VerdictCounts,
    ) -> Result<(Vec<Suspect>, f64), Stopped> {
        let mut suspects = suspects;
        let mut left = Vec::new();
        let mut read = 0.0;
        while !suspects.is_empty() {
            let some = suspects.split_off(suspects.len().saturating_sub(CONCURRENT_REREADS));
            // Wait for all reads, even if one of them ends early because the job stops.
            let judged = some.iter().map(|suspect| self.judge(requests, &suspect.item, &suspect.record));
            let judged = join_all(judged).await;
            for (suspect, judged) in some.into_iter().zip(judged) {
                let Judged { found, why, units } = judged?;
                read += units;
                if found.verdict.is_mismatch() {
                    left.push(Suspect { found, why, ..suspect });
                } else {
                    fine.count(found.verdict);
                }
            }
        }
        Ok((left, read))
    }

    /// Reads the recorded diverged items again. Closes the items that now match or are gone, and returns the number of
    /// closed items.
    pub(super) async fn close_diverged(&self) -> Result<u64, Stopped> {
        let due = self.store.open_work(None).await.map_err(|error| self.give_up(&error))?.diverged;
        let last_here = self.last_run_here().await?;
        let mut closed = 0;
        let mut reread_count = 0;
        let mut after = Cursor::START;
        loop {
            let query = ListQuery { run: None, open_only: true, after, limit: DIVERGED_BATCH };
            let open = self.store.list_diverged(query).await.map_err(|error| self.give_up(&error))?;
            let Some(last) = open.last() else { return Ok(closed) };
            after = last.as_ref().map_or_else(|unreadable| unreadable.id, |record| record.id);
            reread_count += open.len() as u64;
            // Records that cannot be read stay open. So do those of a rollback in another table.
            let open = open.into_iter().flatten().filter(|record| record.run <= last_here);
            let keys: Vec<ItemKey> = open.map(|record| record.key).collect();
            let records = self.records(&keys).await?;
            let reads = keys.into_iter().zip(records).map(|(key, record)| self.reread_diverged(key, record).boxed());
            // Wait for all reads, even if one of them ends early because the job stops.
            let found: Vec<_> = stream::iter(reads).buffer_unordered(CONCURRENT_DIVERGED_READS).collect().await;
            let found = found.into_iter().collect::<Result<Vec<_>, Stopped>>()?;
            let resolved: Vec<_> = found.into_iter().flatten().collect();
            closed += self.store.close_diverged(self.session, resolved).await.map_err(|error| self.give_up(&error))?;
            tracing::info!("diverged items read again: {reread_count} of {due}; resolved: {closed}");
        }
    }

    /// Returns the last run whose diverged items are in the plan's table. Those of a rollback may be in another table.
    async fn last_run_here(&self) -> Result<RunId, Stopped> {
        let last = RunId::from_number(i64::MAX);
        if !self.reads_elsewhere {
            return Ok(last);
        }
        let run = self.store.current_run(phase::EXPAND).await.map_err(|error| self.give_up(&error))?;
        Ok(run.map_or(last, |run| run.id))
    }

    /// Reads a diverged item again. Returns how the item is resolved, or `None` if it stays open.
    async fn reread_diverged(
        &self,
        key: ItemKey,
        record: ItemHistory,
    ) -> Result<Option<(ItemKey, &'static str)>, Stopped> {
        let how = match self.requests.get(&key).await?.item {
            None => Some("gone"),
            // An item that has only an old value stays open, because the operator might still want to inspect it.
            Some(item) if self.parity.has_kept_old_value(&item) => None,
            Some(item) => {
                let found = self.judge(&self.requests, &item, &record).await?.found;
                (!found.verdict.is_mismatch()).then_some("verified")
            }
        };
        Ok(how.map(|how| (key, how)))
    }

    fn give_up(&self, error: &StoreError) -> Stopped {
        give_up(&self.requests, error)
    }
}

#[async_trait]
impl ProcessPage for Verifier {
    type Outcome = PageVerdicts;

    async fn process(
        &self,
        PageItems { items, .. }: PageItems,
        requests: &Requests,
    ) -> Result<PartialOutcome<PageVerdicts>, Stopped> {
        let (mut suspects, mut fine, new_alone) = self.find_suspects(items).await?;
        let mut outcome = PageVerdicts::default();
        if self.derived.is_some() {
            let (left, read) = self.judge_derived(requests, suspects, &mut fine).await?;
            suspects = left;
            outcome.counts.read_units += read;
        }
        outcome.verdicts = fine;
        let mut confirmed = Vec::new();
        while !suspects.is_empty() {
            let some = suspects.split_off(suspects.len().saturating_sub(CONCURRENT_REREADS));
            for again in join_all(some.into_iter().map(|suspect| self.reread(requests, suspect))).await {
                let (again, units) = again?;
                outcome.counts.read_units += units;
                outcome.verdicts.raced += u64::from(again.is_none());
                confirmed.extend(again);
            }
        }
        let mut left = BTreeMap::new();
        if let Some(repair) = self.repair.as_ref().filter(|_| !confirmed.is_empty()) {
            let (not_repaired, written) = self.repair_suspects(repair, &confirmed, requests).await?;
            left = not_repaired;
            outcome.refused = written.refused;
            outcome.counts.read_units += written.counts.read_units;
            outcome.counts.write_units += written.counts.write_units;
            outcome.counts.assumed_write_units += written.counts.assumed_write_units;
            outcome.counts.estimated_write_units += written.counts.estimated_write_units;
        }
        let mut predicted: Vec<Option<String>> = match &self.predicted {
            Some(repair) => {
                let written = self.written_values(&confirmed).await?;
                let both = confirmed.iter().zip(&written).rev();
                both.map(|(suspect, written)| self.predict(repair, suspect, written)).collect()
            }
            None => Vec::new(),
        };
        for Suspect { key, found, item, record, why: derived } in confirmed {
            let changed = || self.parity.changed_stable(&item, &record).map(stable_changed);
            let prediction = predicted.pop().flatten();
            let why = left.remove(&key.to_text()).or_else(changed).or(prediction).or(derived);
            let repaired = self.repair.is_some() && why.is_none();
            outcome.verdicts.count(found.verdict);
            outcome.verdicts.repaired += u64::from(repaired);
            let paths = found.paths.into_iter().map(|(path, _)| path).collect();
            outcome.mismatches.push(Mismatch { key, verdict: found.verdict, paths, repaired, why });
        }
        outcome.count_outcomes(new_alone);
        Ok(PartialOutcome { outcome, rest: None })
    }
}

#[async_trait]
impl CommitPage<PageVerdicts> for Verifier {
    async fn abandon(&self, PageVerdicts { refused, .. }: PageVerdicts) {
        if !refused.is_empty() {
            // An error of this call is harmless. The writes of these pre-images then count as possibly applied.
            let _ = self.store.mark_refused(self.session, refused).await;
        }
    }

    async fn commit(&self, pages: Pages<PageVerdicts>) -> Result<(), Stopped> {
        commit(pages, &self.store, self.session, &self.requests).await
    }
}
