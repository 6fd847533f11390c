//! Carries out verifications and repairs.

use std::sync::Arc;

use super::Driver;
use super::pass::{Begins, PassEnd, PassResult};
use crate::cutover::Flag;
use crate::engine::Job;
use crate::migration::DriverError;
use crate::passes::verify::{Stage, Truth, Truths, VerifyInput, begin, verify};
use crate::playbook::{Kind, Phase, Scope, Way, What};
use crate::state::{Asked, phase};
/// Default number of clusters in a sample. If none of these clusters differs, at most 0.075 % of all clusters differ,
/// with 95 % confidence.
const DEFAULT_SAMPLE: u32 = 4_000;

impl Driver {
    pub(super) async fn verify(
        &mut self,
        job: &Job,
        scope: Scope,
        repair: bool,
        flag: Option<Flag>,
    ) -> Result<PassEnd, DriverError> {
        let phase = Phase::Verify { scope, repair };
        let (stage, truths) = self.held_against(flag.as_ref());
        let asked = Asked {
            stage,
            truths,
            repair,
            flag_version: flag.as_ref().filter(|_| self.kind() == Kind::Flagged).map(|flag| flag.version),
            wanted: match scope {
                Scope::Full => None,
                Scope::Sampled => Some(self.input.sample.unwrap_or(DEFAULT_SAMPLE)),
            },
        };
        if repair && let Some(run) = self.store.current_run(phase::EXPAND).await? {
            self.store.accept(run.session(), self.input.accepted.clone()).await?;
        }
        let anew = !matches!(self.begins(phase).await?, Begins::Resumes(_));
        let record = begin(job, &self.store, asked, anew, self.machine.random.number()).await?;
        let line = self.line(job, record.run.total_segments, None);
        let input = VerifyInput { before: Arc::new(self.store.clone()), removes: self.input.repair_remove };
        let verified = verify(job, &self.store, &record, input).await;
        line.clear().await;
        let verified = verified?;
        let mut stopped = verified.stopped.clone();
        if let (None, Some((report, hash))) = (&stopped, &verified.report) {
            let plan = report.fingerprint.clone();
            let mismatches = match scope {
                Scope::Full => report.mismatches,
                Scope::Sampled => report.found(),
            };
            let hash = hash.clone();
            let compared = Some(report.compared);
            let what = What::Verified { scope, repair, mismatches, plan, hash, compared };
            stopped = self.end(phase, flag, what).await?;
        }
        Ok(PassEnd { phase, result: Some(PassResult::Verified(Box::new(verified))), stopped, unfinished: false })
    }

    /// Returns the stage and the truths that a verification would use if it began now.
    pub async fn verifies_by(&self) -> Result<(Stage, Truths), DriverError> {
        Ok(self.held_against(self.flag().await?.as_ref()))
    }

    fn held_against(&self, flag: Option<&Flag>) -> (Stage, Truths) {
        let stage = if self.state.contract == Way::Ahead { Stage::Expanded } else { Stage::Contracted };
        (stage, flag.map_or(Truths::All(Truth::Old), Truths::of))
    }
}
