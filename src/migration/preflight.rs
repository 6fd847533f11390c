//! The preflight of a command: it collects facts about the table, and decides whether a finding prevents the run.

use super::target::Target;
use super::{MigrationError, Notice, Observer};
use crate::clock::wall;
use crate::engine::Job;
use crate::passes::Prediction;
use crate::preflight::{
    Accept, Estimate, Facts, Finding, Known, PATIENCE, Sampled, Severity, ask_flag, estimate_of_description,
    estimate_of_sample, estimate_of_whole, findings, flag_findings, needed, refusal,
};
use crate::state::{self, RunRecord, RunStatus};

/// The result of a preflight.
#[derive(Debug)]
pub struct Preflight {
    /// The findings, most severe first.
    pub findings: Vec<Finding>,
    /// The cost of a run.
    pub estimate: Estimate,
    /// The findings that the operator accepts with this command, or accepted when the run began.
    pub accepted: Vec<Accept>,
}

/// The part of the table that was read. The estimate uses this data, and so do the known types of the new values.
pub enum Read<'a> {
    /// Only the table's description was read.
    Nothing,
    /// A sample of the table was read.
    Part(&'a Sampled),
    /// The whole table was read.
    Whole(&'a Prediction),
}

/// Collects the facts about the table that a preflight needs, and derives the findings. Changes nothing.
pub async fn hold_preflight(target: &Target, job: &Job, read: Read<'_>, accepted: Vec<Accept>) -> Preflight {
    let plan = &target.plan;
    let facts = Facts::gather(&target.tables, target.on_loopback, &target.description, PATIENCE, &job.machine.random);
    let (facts, flag) = tokio::join!(facts, Box::pin(ask_flag(plan, &target.description, PATIENCE)));
    let none = Prediction::default();
    let (estimate, seen) = match read {
        Read::Nothing => (estimate_of_description(job), &none),
        Read::Part(sampled) => (estimate_of_sample(job, sampled), &sampled.seen),
        // If the read was stopped early, it covered only a part of the table.
        Read::Whole(seen) if job.stop.is_stopping() => (estimate_of_description(job), seen),
        Read::Whole(seen) => (estimate_of_whole(job, seen), seen),
    };
    let types = &seen.types;
    let times = &seen.times;
    let signed = (seen.scanned, seen.encrypted);
    let now = wall()().as_second() as f64;
    let mut findings = findings(&Known { facts: &facts, plan, estimate: &estimate, types, times, signed, now });
    findings.extend(flag_findings(plan, &flag));
    findings.sort_by_key(|finding| finding.severity);
    Preflight { findings, estimate, accepted }
}

impl Preflight {
    /// Sends the observer the findings that need a decision by the operator.
    pub fn tell(&self, observer: &dyn Observer) {
        for finding in self.findings.iter().filter(|finding| finding.severity != Severity::Note) {
            observer.notice(&Notice::Finding { finding, accepted: &self.accepted });
        }
    }

    /// Returns an error if one of the findings prevents the run.
    ///
    /// # Errors
    ///
    /// Fails with [`MigrationError::Findings`] if the run is refused.
    pub fn hold(&self) -> Result<(), MigrationError> {
        match refusal(&self.findings, &self.accepted) {
            Some(why) => Err(MigrationError::Findings(why)),
            None => Ok(()),
        }
    }

    /// The names of the accepted findings that this run needs. They are recorded with the run.
    pub fn to_record(&self) -> Vec<String> {
        needed(&self.findings, &self.accepted).into_iter().map(|accept| accept.name().to_owned()).collect()
    }
}

/// The newest run of a phase, and the findings that were accepted for this run. `None` if there is no run, or if the
/// state file cannot be read. The command reports such an error later, when it opens the file for writing.
pub(super) async fn recorded(target: &Target, phase: &str) -> Option<(RunRecord, Vec<Accept>)> {
    let state = state::read(&target.state).ok()?;
    let (run, accepted) = state.current_run(phase).await.ok()??;
    Some((run, accepted.iter().filter_map(|name| Accept::from_name(name)).collect()))
}

/// Whether the run is complete, so that `run` has nothing to do and no question to ask.
pub(super) fn is_complete(run: &RunRecord) -> bool {
    run.status == RunStatus::Complete
}
