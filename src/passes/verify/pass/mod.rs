//! Verifies a table: compares every page with the plan, and commits it together with its verdicts.
//!
//! `--all` walks over the table in segments, like a run, with strongly consistent reads, so a page shows the table at one
//! moment. A sample reads its clusters eventually consistently, at half the price, so a mismatch may only be a late replica.
//! In both cases, a suspect is read again, strongly consistently, before it counts. If it then matches or is gone, a live
//! writer was between two writes.
//!
//! A page is committed with its verdicts, its mismatching items and its start key, all or nothing. So a verification that was
//! stopped or killed continues where it was, and counts each item once. The report is made when all segments are done.

mod shadow;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use super::bound::Clusters;
use super::report::{Example, MAX_EXAMPLES, MAX_SEGMENTS, SampleReport, SegmentReport, VerifyReport};
use super::sample::{Sample, large_segments, split};
use crate::change::{ItemHistory, Lookup, Outcome};
use crate::engine::{Job, LocalScheduler, Reading, StopReason, schedule, sweep};
use crate::item::ItemKey;
use crate::state::{
    Asked, Drawn, NewRun, NewVerification, RunRecord, SegmentState, SegmentStatus, SpendRecord, Stage, State,
    StoreError, Verdict, VerdictCounts, VerificationRecord, phase,
};
use shadow::Verifier;

/// The phase whose segments show where large item collections are.
const EXPAND: &str = "expand";

const NOTHING_TO_REPAIR: &str = "after `contract` nothing is derived any more, so nothing can be repaired. Nothing was \
     read or written: verify without --repair, and run `contract` again for the items that it left";

/// Looks up what existed before the migration, in the recorded history of items.
#[async_trait]
pub trait Before: Send + Sync {
    /// For each of these items, in the same order, the targets that had a value before the migration. With `writes`, also
    /// what the migration wrote since.
    async fn records(&self, keys: &[ItemKey], writes: bool) -> Result<Vec<ItemHistory>, StoreError>;
}

#[async_trait]
impl Before for State {
    async fn records(&self, keys: &[ItemKey], writes: bool) -> Result<Vec<ItemHistory>, StoreError> {
        if writes {
            return self.history_of(keys.to_vec(), Lookup::ToDecide).await;
        }
        self.preexisting(keys.to_vec()).await
    }
}

/// How a session of a verification ended.
#[derive(Debug)]
pub struct Verified {
    /// The run as it is stored now.
    pub run: RunRecord,
    /// The verdicts of its items, over all sessions.
    pub counts: VerdictCounts,
    /// The report and its hash, if the verification is complete.
    pub report: Option<(VerifyReport, String)>,
    /// Its spend over all sessions.
    pub spend: SpendRecord,
    /// Requests of this session that DynamoDB throttled, by scope.
    pub throttles: Vec<(String, u64)>,
    /// Why it stopped early, if it did.
    pub stopped: Option<StopReason>,
}

/// The inputs of a verification other than its job.
pub struct VerifyInput {
    /// Looks up what existed before the migration.
    pub before: Arc<dyn Before>,
    /// Whether a repair also removes values that nothing implies.
    pub removes: bool,
}

/// Begins a session of the stopped verification if the same is requested, otherwise of a new one. `seed` draws a new sample;
/// 63 bits of it are used.
pub async fn begin(
    job: &Job,
    store: &State,
    asked: Asked,
    anew: bool,
    seed: u64,
) -> Result<VerificationRecord, StoreError> {
    if asked.repair && asked.stage == Stage::Contracted {
        return Err(StoreError::Refused(NOTHING_TO_REPAIR.to_owned()));
    }
    let mut total_segments = job.segments().segments;
    let mut items = job.description.item_count;
    let mut large = Vec::new();
    if let Some(run) = store.current_run(EXPAND).await? {
        // This is fresher than the description, which is up to six hours old.
        items = items.max(store.totals(run.id).await?.counts.scanned);
        total_segments = run.total_segments;
        let mut done = Vec::new();
        let mut note = |segment, state: SegmentState| {
            if state.status == SegmentStatus::Done {
                done.push((segment, state.counts.scanned));
            }
        };
        store.each_segment(run.id, &mut note).await?;
        large = large_segments(&done);
    }
    let mut due = total_segments;
    let mut drawn = None;
    if let Some(wanted) = asked.wanted {
        let seed = seed >> 1;
        let clusters = split(items, total_segments);
        let sample = Sample::draw(clusters, total_segments, &large, wanted, seed);
        due = u32::try_from(sample.clusters().count()).unwrap_or(u32::MAX);
        drawn = Some(Drawn { seed, run_segments: total_segments, large });
        total_segments = clusters;
    }
    let run = NewRun {
        phase: phase::VERIFY.to_owned(),
        total_segments,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        table_items_estimate: Some(job.description.item_count),
    };
    store.begin_verification(NewVerification { asked, drawn, due, run }, anew).await
}

/// Works on a verification until all its segments are done or the job is stopped, and ends the session.
///
/// When this returns, everything it reports is durable. An error means that not even the end could be stored; earlier commits
/// remain.
pub async fn verify(
    job: &Job,
    store: &State,
    record: &VerificationRecord,
    input: VerifyInput,
) -> Result<Verified, StoreError> {
    let run = &record.run;
    let removes = input.removes;
    job.begin_spend(store, run).await?;
    let sample = sample_of(record);
    let scheduler = match &sample {
        None => schedule(store, run).await?,
        Some(sample) => schedule_sample(store, run, sample).await?,
    };
    job.stop_at_limits();
    let requests = job.requests();
    let verifier = Arc::new(Verifier::new(job, store, record, input, requests.clone()));
    sweep(reading(job, record), &scheduler, &requests, verifier.clone()).await;
    let mut closed = None;
    if store.totals(run.id).await?.done == record.due {
        let looks = sample.is_none() || record.asked.repair;
        // The stopper holds the error, like every other reason to stop, and the next session does the rest.
        closed = if looks { verifier.close_diverged().await.ok() } else { Some(0) };
    }
    end(job, store, record, removes, sample.as_ref(), closed).await
}

/// The clusters of a sampled verification, as drawn when it was new.
fn sample_of(record: &VerificationRecord) -> Option<Sample> {
    let drawn = record.drawn.as_ref()?;
    let wanted = record.asked.wanted?;
    Some(Sample::draw(record.run.total_segments, drawn.run_segments, &drawn.large, wanted, drawn.seed))
}

fn reading(job: &Job, record: &VerificationRecord) -> Reading {
    let reading = job.reading(record.run.total_segments);
    match record.asked.wanted {
        None => Reading { consistent: true, ..reading },
        // A cluster is too small for a survey before it is read.
        Some(_) => Reading { consistent: false, survey: None, ..reading },
    }
}

/// A schedule in which clusters outside the sample count as done.
async fn schedule_sample(store: &State, run: &RunRecord, sample: &Sample) -> Result<LocalScheduler, StoreError> {
    let mut scheduler = LocalScheduler::new(run.total_segments).in_session(run.sessions);
    let clusters: BTreeSet<u32> = sample.clusters().collect();
    for cluster in (0..run.total_segments).filter(|cluster| !clusters.contains(cluster)) {
        scheduler.note(cluster, SegmentState { status: SegmentStatus::Done, ..SegmentState::default() });
    }
    store.each_segment(run.id, &mut |cluster, state| scheduler.note(cluster, state)).await?;
    Ok(scheduler)
}

/// Ends the session. It makes a report if every segment is done; `closed` is then the number of closed diverged items.
async fn end(
    job: &Job,
    store: &State,
    record: &VerificationRecord,
    removes: bool,
    sample: Option<&Sample>,
    closed: Option<u64>,
) -> Result<Verified, StoreError> {
    let id = record.run.id;
    let spend = job.end_spend(store, &record.run).await?;
    let segments = store.segment_verdicts(id).await?;
    let mut counts = VerdictCounts::default();
    segments.iter().for_each(|(_, segment)| counts.add(segment));
    let throttles = job.scopes.throttles();
    let Some(closed) = closed else {
        let left = || StopReason::Internal("segments were left over".into());
        let reason = job.stop.reason().cloned().unwrap_or_else(left);
        let abandoned = job.progress.snapshot().abandoned_pages;
        let run = store.stop_verification(record.run.session(), Some(reason.to_string()), abandoned).await?;
        return Ok(Verified { run, counts, report: None, spend, throttles, stopped: Some(reason) });
    };
    let mut report = report_of(job, record, &segments, &counts);
    report.repair_remove = record.asked.repair && removes;
    report.new_alone = store.totals(id).await?.counts.of(Outcome::NothingToDo);
    report.ended_at = store.now();
    report.diverged_closed = closed;
    report.read_units = spend.state.spent.read;
    report.write_units = spend.state.spent.write;
    report.sample = sample.map(|sample| SampleReport::new(seed_of(record), &clusters(sample, &segments)));
    for verdict in Verdict::MISMATCHES {
        for found in store.mismatches(id, verdict, MAX_EXAMPLES).await? {
            report.examples.push(Example::new(verdict, &found.key, &found.paths, found.repaired, found.why));
        }
    }
    let json =
        report.canonical().map_err(|error| StoreError::Corrupt(format!("the report cannot be serialized: {error}")))?;
    let hash = VerifyReport::hash_of(&json);
    let run = store.finish_verification(record.run.session(), report.ended_at.clone(), json, hash.clone()).await?;
    Ok(Verified { run, counts, report: Some((report, hash)), spend, throttles, stopped: None })
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
    let asked = &record.asked;
    let telling = segments.iter().filter(|(_, counts)| counts.mismatching() + counts.raced > 0);
    VerifyReport {
        schema_version: 1,
        kind: "verify".to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: job.plan.fingerprint().as_str().to_owned(),
        table_arn: job.description.arn.clone(),
        table_id: job.description.id.clone(),
        run: run.id.number(),
        scope: if asked.wanted.is_some() { "sample" } else { "all" }.to_owned(),
        stage: asked.stage.name().to_owned(),
        truth: asked.truths.name(),
        flag_version: asked.flag_version,
        repair: asked.repair,
        repair_remove: false,
        began_at: run.started_at.clone(),
        ended_at: String::new(),
        compared: counts.compared(),
        matching: counts.matching,
        skipped: counts.skipped,
        missing: counts.missing,
        stale: counts.stale,
        unexpected: counts.unexpected,
        new_alone: 0,
        raced: counts.raced,
        repaired: counts.repaired,
        mismatches: counts.left(),
        diverged_closed: 0,
        read_units: 0.0,
        write_units: 0.0,
        segments_read: segments.len() as u64,
        segments_differing: segments.iter().filter(|(_, counts)| counts.mismatching() > 0).count() as u64,
        segments: telling.take(MAX_SEGMENTS).map(|(segment, counts)| SegmentReport::new(*segment, counts)).collect(),
        sample: None,
        examples: Vec::new(),
    }
}

fn clusters(sample: &Sample, segments: &[(u32, VerdictCounts)]) -> Clusters {
    let mut clusters = Clusters { all: sample.split, large: sample.large_clusters(), ..Clusters::default() };
    for (cluster, counts) in segments {
        let differs = u32::from(counts.mismatching() > 0);
        if sample.is_large(*cluster) {
            clusters.large_differing += differs;
        } else {
            clusters.drawn += 1;
            clusters.differing += differs;
            clusters.empty += u32::from(counts.compared() == 0);
        }
    }
    clusters
}
