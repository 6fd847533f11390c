//! Runs the preflight of a command. The preflight collects facts about the table, and decides whether a finding blocks
//! the run.

use std::path::Path;

use super::target::MigrationTarget;
use super::{MigrationError, Notice, Observer};
use crate::clock::wall_clock;
use crate::command_line::CommandLine;
use crate::engine::Job;
use crate::passes::Prediction;
use crate::preflight::{
    Acceptance, Estimate, Finding, FindingInput, PATIENCE, SampleResult, Severity, TableFacts, acceptances_to_record,
    estimate_from_all_items, estimate_from_description, estimate_from_sample, findings, flag_findings, hook_findings,
    hook_problems, read_flag, refusal,
};
use crate::state::phase::EXPAND;
use crate::state::{self, RunRecord, RunStatus};

/// The result of a preflight.
#[derive(Debug)]
pub struct PreflightReport {
    /// The findings, most severe first.
    pub findings: Vec<Finding>,
    /// The cost of a run.
    pub estimate: Estimate,
    /// The findings that the operator accepts with this command, and the findings that were accepted when the run
    /// began.
    pub accepted: Vec<Acceptance>,
}

/// The part of the table that was read. It determines the estimate and the known types of the new values.
pub enum ItemsRead<'a> {
    /// Only the table's description was read.
    Nothing,
    /// A sample of the table was read.
    Sample(&'a SampleResult),
    /// The whole table was read.
    Whole(&'a Prediction),
}

/// Collects the facts about the table, and derives the preflight's findings from them. Changes nothing.
pub async fn run_preflight(
    target: &MigrationTarget,
    job: &Job,
    read: ItemsRead<'_>,
    accepted: Vec<Acceptance>,
) -> PreflightReport {
    let plan = &target.plan;
    let facts =
        TableFacts::gather(&target.tables, target.on_loopback, &target.description, PATIENCE, &job.machine.random);
    let of_derived = async {
        let (table, description) = (target.tables.derived.as_ref()?, target.description.derived.as_deref()?);
        let metadata = table.metadata.as_ref();
        Some(TableFacts::gather(metadata, target.on_loopback, description, PATIENCE, &job.machine.random).await)
    };
    let flag = Box::pin(read_flag(plan, &target.description, PATIENCE));
    let (facts, of_derived, flag) = tokio::join!(facts, of_derived, flag);
    let facts = facts.with_derived(of_derived);
    let none = Prediction::default();
    let (estimate, seen) = match read {
        ItemsRead::Nothing => (estimate_from_description(job), &none),
        ItemsRead::Sample(sampled) => (estimate_from_sample(job, sampled), &sampled.totals),
        // The read stopped early, so it covered only a part of the table.
        ItemsRead::Whole(seen) if job.stop.is_stopping() => (estimate_from_description(job), seen),
        ItemsRead::Whole(seen) => (estimate_from_all_items(job, seen), seen),
    };
    let types = &seen.types;
    let times = &seen.times;
    let signed = (seen.scanned, seen.encrypted);
    let now = wall_clock()().as_second() as f64;
    let read = Some(seen);
    let input = FindingInput { facts: &facts, plan, estimate: &estimate, types, times, signed, read, now };
    let mut findings = findings(&input);
    findings.extend(flag_findings(plan, &target.description, &flag));
    findings.extend(hook_findings(&plan.hooks, &hook_problems(&plan.hooks)));
    findings.sort_by_key(|finding| finding.severity);
    PreflightReport { findings, estimate, accepted }
}

impl PreflightReport {
    /// Sends the observer the findings that need the operator's decision.
    pub fn notify(&self, observer: &dyn Observer) {
        for finding in self.findings.iter().filter(|finding| finding.severity != Severity::Note) {
            observer.notice(&Notice::Finding { finding, accepted: &self.accepted });
        }
    }

    /// Returns an error if one of the findings blocks the run.
    ///
    /// # Errors
    ///
    /// Fails with [`MigrationError::Findings`] if the run is refused. `words` is the command, without `--accept`.
    pub fn check_findings(&self, words: &str, commands: &CommandLine) -> Result<(), MigrationError> {
        let Some(why) = refusal(&self.findings, &self.accepted) else { return Ok(()) };
        let accept = |finding: &Finding| finding.accept.filter(|_| finding.severity == Severity::Refusal);
        let can_accept = self.findings.iter().all(|f| f.severity != Severity::Refusal || f.accept.is_some());
        let next = can_accept.then(|| {
            let options = self.findings.iter().filter_map(accept).map(|accept| format!(" --accept {}", accept.name()));
            commands.render(&format!("{words}{}", options.collect::<String>()))
        });
        Err(MigrationError::Findings { why, next })
    }

    /// Returns the names of the accepted findings that apply to this run. These names are recorded with the run.
    pub fn accepted_names(&self) -> Vec<String> {
        acceptances_to_record(&self.findings, &self.accepted)
            .into_iter()
            .map(|accept| accept.name().to_owned())
            .collect()
    }
}

/// Returns the newest run of a phase, and the findings that were accepted for it. Returns `None` if there is no run, or
/// if the state file cannot be read. The command reports a read error later, when it opens the file for writing.
pub(super) async fn recorded(target: &MigrationTarget, phase: &str) -> Option<(RunRecord, Vec<Acceptance>)> {
    let state = state::read(&target.state).ok()?;
    let (run, accepted) = state.current_run(phase).await.ok()??;
    Some((run, accepted.iter().filter_map(|name| Acceptance::from_name(name)).collect()))
}

/// Returns whether this state file records a run. Also returns true if the file exists but cannot be read, because it
/// may record a run.
pub(super) async fn has_begun(state: &Path) -> bool {
    if state::is_absent(state).await {
        return false;
    }
    match state::read(state) {
        Ok(file) => !matches!(file.current_run(EXPAND).await, Ok(None)),
        Err(_) => true,
    }
}

/// Returns whether the run is complete, so that `run` has nothing to do and asks no question.
pub(super) fn is_complete(run: &RunRecord) -> bool {
    run.status == RunStatus::Complete
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::TableDescription;
    use crate::plan::load;
    use crate::preflight::{check_begun_plan, check_new_plan, check_plan, check_rollback_plan};
    use crate::state::{BeginMode, Identity, NewRun};

    /// In this plan, `where` has no result after the plan's own removal, so a new migration is refused. A migration
    /// that an older version of the tool began continues and can be rolled back.
    #[tokio::test]
    async fn a_begun_migration_is_not_refused_for_its_own_removals() {
        let text = "[migration]\nname = \"m\"\nstrategy = \"in-place\"\non_not_computable = \"fail\"\n\
                    [table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
                    [select]\nwhere = 'item.old.startsWith(\"x\")'\n[[change]]\nmove = \"old\"\nto = \"new\"\n";
        let loaded = load("p", text).unwrap_or_else(|errors| panic!("{errors}"));
        let description = TableDescription::for_tests();
        assert!(check_new_plan(&loaded, &description).is_err());
        for check in [check_plan, check_begun_plan, check_rollback_plan] {
            assert!(check(&loaded, &description).is_ok());
        }

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        assert!(!has_begun(&path).await);
        let identity = Identity::from_plan(&loaded.plan, &description);
        let store = state::open(&path, &identity, || "2026-01-01T00:00:00Z".to_owned()).unwrap();
        assert!(!has_begun(&path).await, "the file has no run");
        let new =
            NewRun { phase: EXPAND.into(), total_segments: 1, tool_version: "t".into(), table_items_estimate: None };
        store.begin(BeginMode::ResumeOrNew, new).await.unwrap();
        assert!(has_begun(&path).await);
        store.close().await.unwrap();
        assert!(has_begun(&path).await);
        let damaged = dir.path().join("damaged.db");
        std::fs::write(&damaged, "no state file").unwrap();
        assert!(has_begun(&damaged).await, "a run may be recorded in it");
    }
}
