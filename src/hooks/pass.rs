//! Announces the events of the pass that runs.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::current_pass::CurrentPass;
use super::deliver::{Hooks, Inner};
use super::detect::{Detector, Sight};
use super::event::{Announcement, PassEnding, PassState};
use crate::state::RunId;
use crate::telemetry::PassView;

/// A function that returns the operator who ended a pause, or `None` if no operator did. Its argument is the time at
/// which the monitor noticed that the pause was over.
pub type EndedBy = Arc<dyn Fn(Timestamp) -> Option<String> + Send + Sync>;

/// Watches a pass until it is dropped.
pub struct PassWatch {
    hooks: Hooks,
    run: RunId,
    ended_by: EndedBy,
    task: Option<AbortOnDropHandle<()>>,
}

impl Hooks {
    /// Sets the phase of the next pass. Announces nothing, because it is still unknown whether the phase has work to
    /// do.
    pub fn begin_phase(&self, phase: &'static str) {
        let Some(inner) = &self.0 else { return };
        let detector = Detector::new(inner.options.long_throttling, inner.options.failure_threshold);
        *inner.pass() = Some(CurrentPass { phase, state: None, detector });
    }

    /// Announces the beginning of the pass, unless it was announced before. Then watches the pass. A phase can consist
    /// of several parts, each with its own views. `ended_by` says who ended a pause.
    pub fn watch(&self, run: RunId, views: watch::Receiver<Arc<PassView>>, ended_by: EndedBy) -> PassWatch {
        let mut watch = PassWatch { hooks: self.clone(), run, ended_by, task: None };
        let Some(inner) = self.0.clone() else { return watch };
        self.begin(&inner, run, &views.borrow());
        let (hooks, ended_by) = (self.clone(), Arc::clone(&watch.ended_by));
        watch.task = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut views = views;
            loop {
                let view = Arc::clone(&views.borrow_and_update());
                hooks.observe(&inner, run, &view, &ended_by);
                if views.changed().await.is_err() {
                    return;
                }
            }
        })));
        watch
    }

    /// Announces the end of the pass, if its beginning was announced.
    pub fn end_pass(&self, outcome: PassEnding, reason: Option<String>, mismatches: Option<u64>) {
        let Some(inner) = &self.0 else { return };
        let state = inner.pass().take().and_then(|pass| pass.state);
        if let Some(state) = state {
            self.announce(&Announcement::PassEnd { outcome, reason, mismatches }, Some(&state));
        }
    }

    fn begin(&self, inner: &Inner, run: RunId, view: &PassView) {
        let mut pass = inner.pass();
        let Some(pass) = pass.as_mut().filter(|pass| pass.state.is_none()) else { return };
        let state = PassState::new(pass.phase, run, view);
        self.announce(&Announcement::Start, Some(&state));
        pass.state = Some(state);
    }

    fn observe(&self, inner: &Inner, run: RunId, view: &PassView, ended_by: &EndedBy) {
        let mut pass = inner.pass();
        let Some(pass) = pass.as_mut() else { return };
        let state = PassState::new(pass.phase, run, view);
        for announcement in pass.detector.observe(Sight::new(view)) {
            let announcement = match announcement {
                Announcement::Pause { over: true, .. } => {
                    Announcement::Pause { over: true, ended_by: ended_by(view.at) }
                }
                other @ (Announcement::Start
                | Announcement::Stall { .. }
                | Announcement::Pause { .. }
                | Announcement::LongThrottling { .. }
                | Announcement::Failures { .. }
                | Announcement::PassEnd { .. }
                | Announcement::StepDue { .. }
                | Announcement::FlagChange { .. }) => other,
            };
            self.announce(&announcement, Some(&state));
        }
        pass.state = Some(state);
    }
}

impl PassWatch {
    /// Ends the watch with the last view of the pass.
    pub async fn end(mut self, last: &PassView) {
        let Some(task) = self.task.take() else { return };
        task.abort();
        // The task was aborted, so it usually returns a cancellation error. It holds no lock while it waits.
        let _ = task.await;
        if let Some(inner) = &self.hooks.0 {
            self.hooks.observe(inner, self.run, last, &self.ended_by);
        }
    }
}

/// The maximum time between an operator's command and the moment at which the monitor sees its effect. The monitor
/// looks about once a second, but less often if the machine is busy.
const RECENTLY: SignedDuration = SignedDuration::from_secs(10);

/// The time of a view is slightly before the moment at which the monitor looks at the pause.
const BEFORE: SignedDuration = SignedDuration::from_secs(-1);

/// Returns whether an operator's command at `then` explains an effect that was seen at `now`.
pub fn is_recent(then: Timestamp, now: Timestamp) -> bool {
    (BEFORE..=RECENTLY).contains(&now.duration_since(then))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_recent_action_explains_what_is_seen() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(is_recent(at(100), at(99)) && is_recent(at(100), at(110)));
        // If the clock was set back, the times prove nothing.
        assert!(!is_recent(at(100), at(111)) && !is_recent(at(100), at(98)));
    }
}
