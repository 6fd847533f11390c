//! Verifies a table. Compares every page with the plan, and commits the page together with its verdicts.
//!
//! `--all` reads the whole table in segments, like a run. The reads of `--all` are strongly consistent, so the items of
//! a page are up to date. A sample reads its clusters eventually consistently, at half the price. So because of a stale
//! read, an item of a sample can look like a mismatch. An item that does not match is a suspect. Both kinds of
//! verification read a suspect again, strongly consistently, before it counts as a mismatch. `shadow.rs` limits the
//! number of these reads for `--all`. If the suspect now matches or is gone, it is not a mismatch. For example, the
//! first read may have occurred between two writes of a live writer.
//!
//! Each page is committed atomically with its verdicts, its mismatching items and its position. So a stopped or killed
//! verification continues from the last commit and counts each item once. The report is created when all segments are
//! done.
//!
//! If the scan does not read the derived items of a plan, the verification has one more segment after those of the scan:
//! the derived items in the journal (`orphans.rs`).

mod derived;
mod orphans;
mod page_verdicts;
mod shadow;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::super::undo::DeletedItems;
use super::bound::Clusters;
use super::report::{
    MAX_EXAMPLES, MAX_SEGMENTS, MismatchExample, RepairForecast, SampleReport, SegmentReport, VerifyReport,
};
use super::sample::{Sample, large_segments, total_clusters};
use crate::change::{Change, HistoryLookup, ItemHistory, Outcome};
use crate::engine::{Job, LocalScheduler, ReadSettings, StopReason, scan_table};
use crate::item::ItemKey;
use crate::state::{
    MAX_MISMATCHES, NewRun, NewVerification, RunRecord, SampleDraw, SegmentState, SegmentStatus, SpendRecord, State,
    StoreError, TableStage, Verdict, VerdictCounts, VerificationParameters, VerificationRecord, phase,
};
use derived::DerivedItems;
use orphans::Orphans;
use shadow::Verifier;

/// The name of the expand phase. A verification of a sample looks up the run of this phase, because the counts of that
/// run's segments show which segments contain large item collections.
const EXPAND: &str = "expand";

/// Why a derived item is unexpected.
const ORPHAN: &str = "its recorded source is gone, is no longer selected, or now has another derived key; another \
                      source could imply it";

/// The maximum number of segments of a scan that is followed by a segment for the journal. No run has more than a million
/// segments.
const MAX_SEGMENTS_OF_SCAN: u32 = 999_999;

const NOTHING_TO_REPAIR: &str = "after `contract` nothing is derived any more, so nothing can be repaired. Nothing was \
     read or written: verify without --repair, and run `contract` again for the items that it left";

/// Reads the recorded history of items, which includes the values from before the migration.
#[async_trait]
pub trait ItemHistories: Send + Sync {
    /// Returns each item's history, in the order of `keys`. A history lists the targets that had a value before the
    /// migration. If `writes` is set, the history also lists the values that the migration has written.
    async fn records(&self, keys: &[ItemKey], writes: bool) -> Result<Vec<ItemHistory>, StoreError>;
}

#[async_trait]
impl ItemHistories for State {
    async fn records(&self, keys: &[ItemKey], writes: bool) -> Result<Vec<ItemHistory>, StoreError> {
        if writes {
            return self.history_of(keys.to_vec(), HistoryLookup::ForDecision).await;
        }
        self.preexisting(keys.to_vec()).await
    }
}

/// The result of one session of a verification.
#[derive(Debug)]
pub struct VerificationResult {
    /// The current run record in the store.
    pub run: RunRecord,
    /// Number of verified items by verdict, over all sessions.
    pub counts: VerdictCounts,
    /// The report and its hash, if the verification is complete.
    pub report: Option<(VerifyReport, String)>,
    /// The spend of the verification, over all sessions.
    pub spend: SpendRecord,
    /// Number of this session's requests that DynamoDB throttled, by scope.
    pub throttles: Vec<(String, u64)>,
    /// The reason why the verification stopped early. `None` if it is complete.
    pub stopped: Option<StopReason>,
}

/// The inputs of a verification, other than its job.
pub struct VerifyInput {
    /// Reads the recorded history of items.
    pub history: Arc<dyn ItemHistories>,
    /// Whether a repair also removes values that the plan does not require.
    pub removes: bool,
}

/// Begins a session of a verification. If a verification with the same settings was stopped and `restart` is false, the
/// session continues that verification. Otherwise, a new verification begins. `seed` determines the sample of a new
/// verification; only 63 bits of it are used.
pub async fn begin(
    job: &Job,
    store: &State,
    parameters: VerificationParameters,
    restart: bool,
    seed: u64,
) -> Result<VerificationRecord, StoreError> {
    if parameters.repair && parameters.stage == TableStage::Contracted {
        return Err(StoreError::Refused(NOTHING_TO_REPAIR.to_owned()));
    }
    let mut total_segments = job.segments().segments;
    let mut items = job.description.item_count;
    let mut large = Vec::new();
    if let Some(run) = store.current_run(EXPAND).await? {
        // The item count of the table's description can be six hours old. The run's count of scanned items can be
        // newer.
        items = items.max(store.totals(run.id).await?.counts.scanned);
        total_segments = run.total_segments;
        let mut done = Vec::new();
        let mut note = |segment, state: SegmentState| {
            if state.status == SegmentStatus::Done {
                done.push((segment, state.counts.scanned));
            }
        };
        store.for_each_segment(run.id, &mut note).await?;
        large = large_segments(&done);
    }
    if lists_derived(job, parameters.sample_clusters.is_none()) {
        total_segments = total_segments.min(MAX_SEGMENTS_OF_SCAN) + 1;
    }
    let mut segments_to_read = total_segments;
    let mut drawn = None;
    if let Some(sample_clusters) = parameters.sample_clusters {
        let seed = seed >> 1;
        let clusters = total_clusters(items, total_segments);
        let sample = Sample::draw(clusters, total_segments, &large, sample_clusters, seed);
        segments_to_read = u32::try_from(sample.clusters().count()).unwrap_or(u32::MAX);
        drawn = Some(SampleDraw { seed, run_segments: total_segments, large });
        total_segments = clusters;
    }
    let run = NewRun {
        phase: phase::VERIFY.to_owned(),
        total_segments,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        table_items_estimate: Some(job.description.item_count),
    };
    store.begin_verification(NewVerification { parameters, drawn, segments_to_read, run }, restart).await
}

/// Processes the segments of a verification until all of them are done or the job is stopped. Then ends the session.
///
/// When this function returns, everything that it reports is durable. An error means that the store failed at the
/// beginning or the end of the session. Earlier commits remain durable.
pub async fn verify(
    job: &Job,
    store: &State,
    record: &VerificationRecord,
    input: VerifyInput,
) -> Result<VerificationResult, StoreError> {
    let run = &record.run;
    let removes = input.removes;
    job.begin_spend(store, run).await?;
    let sample = sample_of(record);
    let of_scan = segments_of_scan(job, record);
    let scheduler = match &sample {
        None => schedule_segments(store, run, 0..of_scan).await?,
        Some(sample) => schedule_sample(store, run, sample).await?,
    };
    job.stop_at_limits();
    let requests = job.requests();
    let history = Arc::clone(&input.history);
    let verifier = Arc::new(Verifier::new(job, store, record, input, requests.clone()));
    scan_table(read_settings(job, record), &scheduler, &requests, verifier.clone()).await;
    if of_scan < run.total_segments
        && let Some(derived) = DerivedItems::new(&job.plan, &job.description)
    {
        let journal = DeletedItems::of_all_runs(store.history());
        let requests = requests.with_source(Arc::new(journal));
        let table = job.plan.other_table().map(str::to_owned);
        let orphans = Orphans::new((derived, table), history, store.clone(), run.session(), requests.clone());
        let settings = ReadSettings::new(run.total_segments, &job.description.key.partition.name);
        let scheduler = schedule_segments(store, run, of_scan..run.total_segments).await?;
        scan_table(settings, &scheduler, &requests, Arc::new(orphans)).await;
    }
    let mut closed = None;
    if store.totals(run.id).await?.done == record.segments_to_read {
        let closes_diverged = sample.is_none() || record.parameters.repair;
        // Ignore the error. The stopper has already recorded it. The next session closes the remaining items.
        closed = if closes_diverged { verifier.close_diverged().await.ok() } else { Some(0) };
    }
    end(job, store, record, removes, sample.as_ref(), closed).await
}

/// Returns the clusters that were drawn when this sampled verification began.
fn sample_of(record: &VerificationRecord) -> Option<Sample> {
    let drawn = record.drawn.as_ref()?;
    let sample_clusters = record.parameters.sample_clusters?;
    Some(Sample::draw(record.run.total_segments, drawn.run_segments, &drawn.large, sample_clusters, drawn.seed))
}

/// Returns whether a verification reads the derived items in the journal. A sample does not read them.
fn lists_derived(job: &Job, reads_all: bool) -> bool {
    reads_all && job.plan.looks_up_derived()
}

/// Returns the number of segments that are read by a scan. One more segment may follow them: the journal.
fn segments_of_scan(job: &Job, record: &VerificationRecord) -> u32 {
    let lists_derived = lists_derived(job, record.parameters.sample_clusters.is_none());
    record.run.total_segments - u32::from(lists_derived)
}

fn read_settings(job: &Job, record: &VerificationRecord) -> ReadSettings {
    let read_settings = job.read_settings(segments_of_scan(job, record));
    match record.parameters.sample_clusters {
        None => ReadSettings { consistent: true, ..read_settings },
        // A survey of the first pages would not help, because clusters are very small.
        Some(_) => ReadSettings { consistent: false, survey: None, ..read_settings },
    }
}

/// Creates a scheduler that hands out only these segments. The segments before them count as done.
async fn schedule_segments(store: &State, run: &RunRecord, segments: Range<u32>) -> Result<LocalScheduler, StoreError> {
    let mut scheduler = LocalScheduler::new(segments.end).in_session(run.sessions);
    for segment in 0..segments.start {
        scheduler.restore(segment, SegmentState { status: SegmentStatus::Done, ..SegmentState::default() });
    }
    let mut restore = |segment, state| {
        if segments.contains(&segment) {
            scheduler.restore(segment, state);
        }
    };
    store.for_each_segment(run.id, &mut restore).await?;
    Ok(scheduler)
}

/// Creates a scheduler that hands out only the sample's clusters. It treats all other clusters as done.
async fn schedule_sample(store: &State, run: &RunRecord, sample: &Sample) -> Result<LocalScheduler, StoreError> {
    let mut scheduler = LocalScheduler::new(run.total_segments).in_session(run.sessions);
    let clusters: BTreeSet<u32> = sample.clusters().collect();
    for cluster in (0..run.total_segments).filter(|cluster| !clusters.contains(cluster)) {
        scheduler.restore(cluster, SegmentState { status: SegmentStatus::Done, ..SegmentState::default() });
    }
    store.for_each_segment(run.id, &mut |cluster, state| scheduler.restore(cluster, state)).await?;
    Ok(scheduler)
}

/// Ends the session. If every segment is done, creates the report. `closed` is the number of diverged items that this
/// verification closed.
async fn end(
    job: &Job,
    store: &State,
    record: &VerificationRecord,
    removes: bool,
    sample: Option<&Sample>,
    closed: Option<u64>,
) -> Result<VerificationResult, StoreError> {
    let id = record.run.id;
    let spend = job.end_spend(store, &record.run).await?;
    let mut segments = store.segment_verdicts(id).await?;
    let mut counts = VerdictCounts::default();
    segments.iter().for_each(|(_, segment)| counts.add(segment));
    let of_scan = segments_of_scan(job, record);
    let of_journal = segments.pop_if(|(segment, _)| *segment >= of_scan);
    let throttles = job.throttles();
    let Some(closed) = closed else {
        let left = || StopReason::Internal("segments were left over".into());
        let reason = job.stop.reason().cloned().unwrap_or_else(left);
        let abandoned = job.progress.snapshot().abandoned_pages;
        let run = store.stop_verification(record.run.session(), Some(reason.to_string()), abandoned).await?;
        return Ok(VerificationResult { run, counts, report: None, spend, throttles, stopped: Some(reason) });
    };
    let derived_read = of_journal.map(|(_, verdicts)| verdicts);
    let mut report = report_of(job, record, &segments, &counts);
    report.repair_remove = record.parameters.repair && removes;
    // This outcome also counts items that are not selected.
    let uncounted = store.totals(id).await?.counts.of(Outcome::NothingToDo);
    report.new_alone = uncounted.saturating_sub(counts.not_selected);
    if let Some(read) = derived_read {
        // These items are not in the selection, so they are only in this count.
        report.not_selected -= read.not_selected;
        report.derived_items_read = Some(read.read());
    }
    report.ended_at = store.now();
    report.diverged_closed = closed;
    report.read_units = spend.state.spent.read;
    report.write_units = spend.state.spent.write;
    report.sample = sample.map(|sample| SampleReport::new(seed_of(record), &clusters(sample, &segments)));
    for verdict in Verdict::MISMATCHES {
        let orphan = (job.plan.puts_items() && verdict == Verdict::Unexpected).then_some(ORPHAN);
        let recorded = store.mismatches(id, verdict, MAX_MISMATCHES).await?;
        if let Some(forecast) = &mut report.forecast {
            forecast.add(verdict, counts.of(verdict), &recorded);
        }
        for found in recorded.into_iter().take(MAX_EXAMPLES as usize) {
            let why = found.why.or_else(|| orphan.map(str::to_owned));
            report.examples.push(MismatchExample::new(verdict, &found.key, &found.paths, found.repaired, why));
        }
    }
    let json =
        report.canonical().map_err(|error| StoreError::Corrupt(format!("the report cannot be serialized: {error}")))?;
    let hash = VerifyReport::hash_of(&json);
    let run = store.finish_verification(record.run.session(), report.ended_at.clone(), json, hash.clone()).await?;
    Ok(VerificationResult { run, counts, report: Some((report, hash)), spend, throttles, stopped: None })
}

fn seed_of(record: &VerificationRecord) -> u64 {
    record.drawn.as_ref().map_or(0, |drawn| drawn.seed)
}

fn report_of(
    job: &Job,
    record: &VerificationRecord,
    segments: &[(u32, VerdictCounts)],
    counts: &VerdictCounts,
) -> VerifyReport {
    let run = &record.run;
    let parameters = &record.parameters;
    // Only `run` deletes items and puts derived items.
    let can_repair = parameters.stage == TableStage::Expanded && !job.plan.deletes_items() && !job.plan.puts_items();
    let notable = segments.iter().filter(|(_, counts)| counts.mismatching() + counts.raced > 0);
    VerifyReport {
        schema_version: 1,
        kind: "verify".to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: job.plan.fingerprint().as_str().to_owned(),
        table_arn: job.description.arn.clone(),
        table_id: job.description.id.clone(),
        run: run.id.number(),
        scope: if parameters.sample_clusters.is_some() { "sample" } else { "all" }.to_owned(),
        stage: parameters.stage.name().to_owned(),
        truth: parameters.truths.name(),
        flag_version: parameters.flag_version,
        repair: parameters.repair,
        repair_remove: false,
        began_at: run.started_at.clone(),
        ended_at: String::new(),
        deletes: job.plan.deletes_items(),
        only_writes_values: job.plan.changes.iter().all(Change::only_writes_values),
        puts: job.plan.puts_items(),
        lists_derived: job.plan.looks_up_derived(),
        derived_items_read: None,
        compared: counts.compared(),
        not_selected: counts.not_selected,
        matching: counts.matching,
        skipped: counts.skipped,
        missing: counts.missing,
        stale: counts.stale,
        unexpected: counts.unexpected,
        new_alone: 0,
        raced: counts.raced,
        repaired: counts.repaired,
        mismatches: counts.unrepaired(),
        diverged_closed: 0,
        read_units: 0.0,
        write_units: 0.0,
        segments_read: segments.len() as u64,
        segments_differing: segments.iter().filter(|(_, counts)| counts.mismatching() > 0).count() as u64,
        segments: notable.take(MAX_SEGMENTS).map(|(segment, counts)| SegmentReport::new(*segment, counts)).collect(),
        // For a plan that deletes items, the verdict does not depend on who wrote a value.
        journal_purged_at: job.journal_purged_at.clone().filter(|_| job.plan.deletion().is_none()),
        sample: None,
        forecast: can_repair.then(RepairForecast::default),
        examples: Vec::new(),
    }
}

fn clusters(sample: &Sample, segments: &[(u32, VerdictCounts)]) -> Clusters {
    let mut clusters = Clusters { all: sample.total_clusters, large: sample.large_clusters(), ..Clusters::default() };
    for (cluster, counts) in segments {
        let differs = u32::from(counts.mismatching() > 0);
        if sample.is_large(*cluster) {
            clusters.large_differing += differs;
        } else {
            clusters.drawn += 1;
            clusters.differing += differs;
            clusters.empty += u32::from(counts.read() == 0);
        }
    }
    clusters
}
