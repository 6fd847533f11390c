//! The preflight of a command: it collects facts about the table, and decides whether a finding prevents the run.

use super::target::MigrationTarget;
use super::{MigrationError, Notice, Observer};
use crate::clock::wall_clock;
use crate::engine::Job;
use crate::passes::Prediction;
use crate::preflight::{
    Acceptance, Estimate, Finding, FindingInput, PATIENCE, SampleResult, Severity, TableFacts, acceptances_to_record,
    estimate_from_all_items, estimate_from_description, estimate_from_sample, findings, flag_findings, read_flag,
    refusal,
};
use crate::state::{self, RunRecord, RunStatus};

/// The result of a preflight.
#[derive(Debug)]
pub struct PreflightReport {
    /// The findings, most severe first.
    pub findings: Vec<Finding>,
    /// The cost of a run.
    pub estimate: Estimate,
    /// The findings that the operator accepts with this command, or accepted when the run began.
    pub accepted: Vec<Acceptance>,
}

/// The part of the table that was read. The estimate uses this data, and so do the known types of the new values.
pub enum ItemsRead<'a> {
    /// Only the table's description was read.
    Nothing,
    /// A sample of the table was read.
    Sample(&'a SampleResult),
    /// The whole table was read.
    Whole(&'a Prediction),
}

/// Collects the facts about the table that a preflight needs, and derives the findings. Changes nothing.
pub async fn run_preflight(
    target: &MigrationTarget,
    job: &Job,
    read: ItemsRead<'_>,
    accepted: Vec<Acceptance>,
) -> PreflightReport {
    let plan = &target.plan;
    let facts =
        TableFacts::gather(&target.tables, target.on_loopback, &target.description, PATIENCE, &job.machine.random);
    let (facts, flag) = tokio::join!(facts, Box::pin(read_flag(plan, &target.description, PATIENCE)));
    let none = Prediction::default();
    let (estimate, seen) = match read {
        ItemsRead::Nothing => (estimate_from_description(job), &none),
        ItemsRead::Sample(sampled) => (estimate_from_sample(job, sampled), &sampled.totals),
        // If the read was stopped early, it covered only a part of the table.
        ItemsRead::Whole(seen) if job.stop.is_stopping() => (estimate_from_description(job), seen),
        ItemsRead::Whole(seen) => (estimate_from_all_items(job, seen), seen),
    };
    let types = &seen.types;
    let times = &seen.times;
    let signed = (seen.scanned, seen.encrypted);
    let now = wall_clock()().as_second() as f64;
    let mut findings = findings(&FindingInput { facts: &facts, plan, estimate: &estimate, types, times, signed, now });
    findings.extend(flag_findings(plan, &flag));
    findings.sort_by_key(|finding| finding.severity);
    PreflightReport { findings, estimate, accepted }
}

impl PreflightReport {
    /// Sends the observer the findings that need a decision by the operator.
    pub fn notify(&self, observer: &dyn Observer) {
        for finding in self.findings.iter().filter(|finding| finding.severity != Severity::Note) {
            observer.notice(&Notice::Finding { finding, accepted: &self.accepted });
        }
    }

    /// Returns an error if one of the findings prevents the run.
    ///
    /// # Errors
    ///
    /// Fails with [`MigrationError::Findings`] if the run is refused.
    pub fn check_findings(&self) -> Result<(), MigrationError> {
        match refusal(&self.findings, &self.accepted) {
            Some(why) => Err(MigrationError::Findings(why)),
            None => Ok(()),
        }
    }

    /// The names of the accepted findings that this run needs. They are recorded with the run.
    pub fn accepted_names(&self) -> Vec<String> {
        acceptances_to_record(&self.findings, &self.accepted)
            .into_iter()
            .map(|accept| accept.name().to_owned())
            .collect()
    }
}

/// The newest run of a phase, and the findings that were accepted for this run. `None` if there is no run, or if the
/// state file cannot be read. The command reports such an error later, when it opens the file for writing.
pub(super) async fn recorded(target: &MigrationTarget, phase: &str) -> Option<(RunRecord, Vec<Acceptance>)> {
    let state = state::read(&target.state).ok()?;
    let (run, accepted) = state.current_run(phase).await.ok()??;
    Some((run, accepted.iter().filter_map(|name| Acceptance::from_name(name)).collect()))
}

/// Whether the run is complete, so that `run` has nothing to do and no question to ask.
pub(super) fn is_complete(run: &RunRecord) -> bool {
    run.status == RunStatus::Complete
}
