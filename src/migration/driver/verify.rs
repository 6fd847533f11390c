//! Carries out verifications and repairs.

use std::sync::Arc;

use super::Driver;
use super::pass::{PassEnd, PassResult, PassStart};
use super::progress::PassProgress;
use crate::cutover::Flag;
use crate::engine::Job;
use crate::migration::DriverError;
use crate::passes::verify::{TableStage, Truth, TruthByKey, VerifyInput, begin, verify};
use crate::playbook::{EventBody, Phase, PhaseStatus, PlanKind, VerifyScope};
use crate::state::{VerificationParameters, phase};
/// The default number of clusters in a sample. If no cluster in the sample differs, then at most 0.075 % of all
/// clusters differ, with 95 % confidence.
const DEFAULT_SAMPLE: u32 = 4_000;

impl Driver {
    pub(super) async fn verify(
        &mut self,
        job: &Job,
        scope: VerifyScope,
        repair: bool,
        flag: Option<Flag>,
    ) -> Result<PassEnd, DriverError> {
        let phase = Phase::Verify { scope, repair };
        let (stage, truths) = self.basis_under(flag.as_ref());
        let request = VerificationParameters {
            stage,
            truths,
            repair,
            flag_version: flag.as_ref().filter(|_| self.kind() == PlanKind::Flagged).map(|flag| flag.version),
            sample_clusters: match scope {
                VerifyScope::Full => None,
                VerifyScope::Sampled => Some(self.input.sample.unwrap_or(DEFAULT_SAMPLE)),
            },
        };
        if repair && let Some(run) = self.store.current_run(phase::EXPAND).await? {
            self.store.accept(run.session(), self.input.accepted.clone()).await?;
        }
        let restart = !matches!(self.pass_start(phase).await?, PassStart::Resumes(_));
        let record = begin(job, &self.store, request, restart, self.machine.random.number()).await?;
        let progress = self.watch(job, &record.run, Some(&self.store.totals(record.run.id).await?)).await;
        let input = VerifyInput { history: Arc::new(self.store.clone()), removes: self.input.repair_remove };
        let verified = verify(job, &self.store, &record, input).await;
        PassProgress::clear(progress).await;
        let verified = verified?;
        let mut stopped = verified.stopped.clone();
        if let (None, Some((report, hash))) = (&stopped, &verified.report) {
            let plan = report.fingerprint.clone();
            let mismatches = match scope {
                VerifyScope::Full => report.mismatches,
                VerifyScope::Sampled => report.mismatches_found(),
            };
            let hash = hash.clone();
            // For a full verification, the gate requires that the verification read items of the table. Items that the
            // plan does not select also count. For a sample, only compared items count.
            let compared = Some(if report.is_full() { report.items_read() } else { report.compared });
            let body = EventBody::Verified { scope, repair, mismatches, plan, hash, compared };
            stopped = self.complete_phase(phase, flag, body).await?;
        }
        Ok(PassEnd { phase, result: Some(PassResult::Verified(Box::new(verified))), stopped, unfinished: false })
    }

    /// Returns the basis for a verification that begins now: the table's stage, and the attribute that is the truth for
    /// each key.
    pub async fn verification_basis(&self) -> Result<(TableStage, TruthByKey), DriverError> {
        Ok(self.basis_under(self.flag().await?.as_ref()))
    }

    fn basis_under(&self, flag: Option<&Flag>) -> (TableStage, TruthByKey) {
        let stage =
            if self.state.contract == PhaseStatus::NotBegun { TableStage::Expanded } else { TableStage::Contracted };
        (stage, flag.map_or(TruthByKey::All(Truth::Old), TruthByKey::from_flag))
    }
}
