//! The preflight of `check` and `run`: facts, findings, and whether they refuse a run.

use super::exit::{Exit, Refusal};
use super::output;
use super::target::Target;
use backfill::internals::clock::wall;
use backfill::internals::engine::Job;
use backfill::internals::passes::Prediction;
use backfill::internals::preflight::{
    Accept, Estimate, Facts, Finding, Known, PATIENCE, Sampled, Severity, ask_flag, estimate_of_description,
    estimate_of_sample, estimate_of_whole, findings, flag_findings, needed, refusal, write_finding,
};
use backfill::internals::state::{self, RunRecord, RunStatus};

/// What the preflight came to.
pub(super) struct Preflight {
    pub(super) findings: Vec<Finding>,
    pub(super) estimate: Estimate,
    /// What the operator accepts, now or when the run began.
    pub(super) accepted: Vec<Accept>,
}

/// What of the table has been read, if any: it makes the estimate, and tells the types of what will be written.
pub(super) enum Read<'a> {
    Nothing,
    Part(&'a Sampled),
    Whole(&'a Prediction),
}

/// Asks what is to be known of the table. Nothing is changed.
pub(super) async fn preflight(target: &Target, job: &Job, read: Read<'_>, accepted: Vec<Accept>) -> Preflight {
    let (table, plan) = (target.tables.described.as_ref(), &target.plan);
    let facts = Facts::gather(table, target.on_loopback, &target.description, PATIENCE);
    let (facts, flag) = tokio::join!(facts, Box::pin(ask_flag(plan, &target.description, PATIENCE)));
    let none = Prediction::default();
    let (estimate, seen) = match read {
        Read::Nothing => (estimate_of_description(job), &none),
        Read::Part(sampled) => (estimate_of_sample(job, sampled), &sampled.seen),
        // What was read until somebody stopped it is not the whole.
        Read::Whole(seen) if job.stop.is_stopping() => (estimate_of_description(job), seen),
        Read::Whole(seen) => (estimate_of_whole(job, seen), seen),
    };
    let (types, times, signed) = (&seen.types, &seen.times, (seen.scanned, seen.encrypted));
    let now = wall()().as_second() as f64;
    let mut findings = findings(&Known { facts: &facts, plan, estimate: &estimate, types, times, signed, now });
    findings.extend(flag_findings(plan, &flag));
    findings.sort_by_key(|finding| finding.severity);
    Preflight { findings, estimate, accepted }
}

impl Target {
    /// The work that `run` does on this table, where this is accepted.
    pub(super) fn job_accepting(&self, accepted: &[Accept]) -> anyhow::Result<Job> {
        let mut job = self.job()?;
        if accepted.contains(&Accept::ClientEncryption) {
            job.edit_encrypted();
        }
        Ok(job)
    }
}

impl Preflight {
    /// Says on stderr what somebody should decide about.
    pub(super) fn tell(&self) {
        for finding in self.findings.iter().filter(|finding| finding.severity != Severity::Note) {
            let mut text = Vec::new();
            // Writing to memory does not fail.
            let _ = write_finding(&mut text, finding, &self.accepted);
            output::stderr(&String::from_utf8_lossy(&text));
        }
    }

    /// Refuses a run, if a finding does.
    pub(super) fn hold(&self) -> anyhow::Result<()> {
        match refusal(&self.findings, &self.accepted) {
            Some(why) => Err(Refusal::error(Exit::Refused, why)),
            None => Ok(()),
        }
    }

    /// What of it is worth a record.
    pub(super) fn to_record(&self) -> Vec<String> {
        needed(&self.findings, &self.accepted).into_iter().map(|accept| accept.name().to_owned()).collect()
    }
}

/// The newest run of a phase, if there is one, and what was accepted for it. A file that cannot be read is met again, and
/// explained, where it is opened to be written.
pub(super) async fn recorded(target: &Target, phase: &str) -> Option<(RunRecord, Vec<Accept>)> {
    let state = state::read(&target.state).ok()?;
    let (run, accepted) = state.current_run(phase).await.ok()??;
    Some((run, accepted.iter().filter_map(|name| Accept::from_name(name)).collect()))
}

/// Whether there is nothing left to do for `run` as it stands, so that nothing needs to be asked.
pub(super) fn is_complete(run: &RunRecord) -> bool {
    run.status == RunStatus::Complete
}
