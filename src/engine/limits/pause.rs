//! Pauses a run. While it is paused, no request is sent. Requests in flight are awaited as usual. Also records why a
//! run is slowed down, so that the displayed activity includes the reason.

use std::sync::Arc;

use tokio::sync::watch;

/// Pauses and resumes a run. Clones share one state.
#[derive(Debug, Clone)]
pub struct PauseSwitch(Arc<watch::Sender<PauseState>>);

#[derive(Debug, Clone, Default)]
struct PauseState {
    /// Who paused the run, and why. Empty if the run is not paused.
    reasons: Vec<(PauseSource, String)>,
    /// Number of times that the run was paused.
    pauses: u64,
    /// Why the run uses only a part of its budgets; `None` if it uses its full budgets.
    slowdown: Option<String>,
}

/// The source of a pause. Each source pauses and resumes the run independently. The run continues when no source pauses
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PauseSource {
    /// An operator, with `backfill ctl pause`.
    Operator,
    /// The pause file of the plan.
    File,
    /// The health check at this position in the plan.
    HealthCheck(usize),
}

impl Default for PauseSwitch {
    fn default() -> PauseSwitch {
        PauseSwitch(Arc::new(watch::Sender::new(PauseState::default())))
    }
}

impl PauseSwitch {
    /// Pauses the run. The text `why` tells the operator who paused the run. If this source has already paused the run,
    /// replaces the text.
    pub fn pause(&self, source: PauseSource, why: impl Into<String>) {
        let why = why.into();
        self.0.send_if_modified(|state| {
            let before = state.reasons.iter_mut().find(|(known, _)| *known == source);
            match before {
                Some((_, text)) if *text == why => return false,
                Some((_, text)) => *text = why,
                None => {
                    state.pauses += u64::from(state.reasons.is_empty());
                    state.reasons.push((source, why));
                    state.reasons.sort_by_key(|(source, _)| *source);
                }
            }
            true
        });
    }

    /// Ends the pause of this source.
    pub fn resume(&self, source: PauseSource) {
        self.end(source);
    }

    /// Ends the pause of this source. Returns whether this source had paused the run.
    pub fn end(&self, source: PauseSource) -> bool {
        self.0.send_if_modified(|state| {
            let before = state.reasons.len();
            state.reasons.retain(|(known, _)| *known != source);
            state.reasons.len() != before
        })
    }

    /// Returns a text that tells the operator who paused the run. Returns `None` if the run is not paused.
    pub fn paused(&self) -> Option<String> {
        let state = self.0.borrow();
        let reasons: Vec<&str> = state.reasons.iter().map(|(_, why)| why.as_str()).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Records a text that tells the operator why the run uses only a part of its budgets. `None` if the run uses its
    /// full budgets. The budgets themselves are set elsewhere.
    pub fn note_slowdown(&self, why: Option<String>) {
        self.0.send_if_modified(|state| {
            let changed = state.slowdown != why;
            state.slowdown = why;
            changed
        });
    }

    /// Returns a text that tells the operator why the run uses only a part of its budgets. Returns `None` if the run
    /// uses its full budgets.
    pub fn slowdown(&self) -> Option<String> {
        self.0.borrow().slowdown.clone()
    }

    /// Waits until the run is not paused. Returns the number of pauses so far. If a request gets the same number twice,
    /// the run was not paused in between. The future can be dropped at any point.
    pub(crate) async fn wait_until_resumed(&self) -> u64 {
        let mut state = self.0.subscribe();
        // The sender lives as long as `self`, so waiting never fails.
        let resumed = state.wait_for(|state| state.reasons.is_empty()).await;
        resumed.map_or(0, |state| state.pauses)
    }

    /// Returns whether a request has to wait now.
    pub(crate) fn is_paused(&self) -> bool {
        !self.0.borrow().reasons.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_run_continues_when_no_source_pauses_it() {
        let pause = PauseSwitch::default();
        assert_eq!((pause.wait_until_resumed().await, pause.paused()), (0, None));
        pause.pause(PauseSource::File, "the file p exists");
        pause.pause(PauseSource::Operator, "by ann");
        assert_eq!(pause.paused().unwrap(), "by ann; the file p exists");
        let other = pause.clone();
        let waits = tokio::spawn(async move { other.wait_until_resumed().await });
        pause.resume(PauseSource::Operator);
        assert!(timeout(Duration::from_secs(9), pause.wait_until_resumed()).await.is_err());
        pause.resume(PauseSource::File);
        assert_eq!(waits.await.unwrap(), 1, "both sources together were one pause");
        pause.pause(PauseSource::Operator, "by bob");
        pause.resume(PauseSource::Operator);
        assert_eq!(pause.wait_until_resumed().await, 2);
    }
}
