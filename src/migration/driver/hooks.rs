//! Announces the driver's passes to the plan's hooks.

use std::sync::Arc;

use tokio::sync::watch;

use super::Driver;
use super::pass::{PassEnd, PassResult, run_name};
use crate::figure::count;
use crate::hooks::{EndedBy, PassEnding, PassWatch};
use crate::migration::DriverError;
use crate::playbook::Phase;
use crate::state::RunId;
use crate::telemetry::PassView;

impl Driver {
    /// Sets the phase that the announcements of the next pass contain.
    pub(super) fn name_phase_in_hooks(&self, phase: Phase) {
        self.hooks.begin_phase(run_name(phase).unwrap_or("retry"));
    }

    /// Announces the pass, and watches it to announce its events.
    pub(super) fn watch_for_hooks(&self, run: RunId, views: watch::Receiver<Arc<PassView>>) -> PassWatch {
        let steerer = self.steerer.clone();
        let ended_by: EndedBy = Arc::new(move |now| steerer.resumed_by(now));
        self.hooks.watch(run, views, ended_by)
    }

    /// Announces the end of the pass, with its result.
    pub(super) fn announce_end(&self, ended: &Result<PassEnd, DriverError>) {
        let (outcome, reason) = match ended {
            Err(error) => (PassEnding::Failed, Some(error.to_string())),
            Ok(PassEnd { stopped: Some(reason), .. }) => (PassEnding::Stopped, Some(reason.to_string())),
            Ok(PassEnd { unfinished: true, .. }) => {
                (PassEnding::Unfinished, Some("failed items prevent the end of the phase".to_owned()))
            }
            Ok(PassEnd { result, .. }) => (PassEnding::Done, result.as_ref().and_then(failed)),
        };
        let result = ended.as_ref().ok().and_then(|end| end.result.as_ref());
        let mismatches = match result {
            Some(PassResult::Verified(verified)) => {
                verified.report.as_ref().map(|(report, _)| match report.is_full() {
                    true => report.mismatches,
                    false => report.mismatches_found(),
                })
            }
            Some(PassResult::Worked(_) | PassResult::Retried(_)) | None => None,
        };
        self.hooks.end_pass(outcome, reason, mismatches);
    }
}

/// Returns the text about the failed items of a completed phase, or `None` if no item failed. Failures of expand do not
/// prevent the end of expand, but the command does not succeed in that case.
fn failed(result: &PassResult) -> Option<String> {
    let failures = match result {
        PassResult::Worked(worked) => worked.open.failures,
        PassResult::Retried(retried) => retried.counts.failures(),
        PassResult::Verified(_) => 0,
    };
    let items = count(failures, "item has failed", "items have failed");
    (failures > 0).then(|| format!("{items}. `backfill failures list` lists them"))
}
