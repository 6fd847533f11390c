//! Runs the plan's health checks during a pass. Pauses or slows down the pass while a check is unhealthy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::{PauseSource, PauseSwitch, Slowdown, Stopper};
use crate::health::{Answer, Condition, Hysteresis, Prober};
use crate::plan::{FailMode, HealthCheck, OnUnhealthy};

/// If the first answers take longer than this time, the log says why the pass has not begun.
const SILENCE: Duration = Duration::from_secs(1);

/// The effects of the checks.
pub(super) struct Effects {
    /// Pauses the pass.
    pub(super) pause: PauseSwitch,
    /// Slows down the pass. `None` ends the slowdown.
    pub(super) slow_down: Box<dyn Fn(Option<Slowdown>) + Send + Sync>,
    /// Shows the known condition of each check by name. The value is true if the check is healthy.
    pub(super) show: Box<dyn Fn(BTreeMap<String, bool>) + Send + Sync>,
}

/// Runs the health checks repeatedly until this watch is dropped. When it is dropped, the pauses and the slowdown end.
pub(super) struct HealthWatch {
    checks: Arc<Checks>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// The checks and their conditions.
struct Checks {
    effects: Effects,
    known: Mutex<Known>,
}

struct Known {
    checks: Vec<KnownCheck>,
    /// The slowdown that applies.
    slowdown: Option<Slowdown>,
    /// Whether the watch has ended. Tasks that finish after the end change nothing.
    ended: bool,
}

struct KnownCheck {
    check: HealthCheck,
    hysteresis: Hysteresis,
    /// The reason why the check is unhealthy, from the last answer that was not healthy. It completes the sentence "the
    /// health check NAME …".
    why: String,
    /// Whether the last answer was unknown and was ignored because the check fails open.
    is_ignored: bool,
}

impl HealthWatch {
    /// Starts the watch. When this function returns, either each check has answered once, or `stop` has stopped the
    /// pass. The pass is paused until every check has answered once.
    pub(super) async fn begin(checks: Vec<(HealthCheck, Prober)>, effects: Effects, stop: &Stopper) -> HealthWatch {
        let (known, probers): (Vec<KnownCheck>, Vec<(Duration, Prober)>) = checks
            .into_iter()
            .map(|(check, prober)| {
                let interval = check.interval;
                let hysteresis = Hysteresis::new(&check);
                (KnownCheck { check, hysteresis, why: String::new(), is_ignored: false }, (interval, prober))
            })
            .unzip();
        let known = Known { checks: known, slowdown: None, ended: false };
        let checks = Arc::new(Checks { effects, known: Mutex::new(known) });
        checks.apply(&mut checks.known());
        let (tasks, firsts): (Vec<_>, Vec<_>) = probers
            .into_iter()
            .enumerate()
            .map(|(index, (interval, prober))| {
                let (asked, first) = oneshot::channel();
                let task = tokio::spawn(Arc::clone(&checks).ask(index, interval, prober, asked));
                (AbortOnDropHandle::new(task), first)
            })
            .unzip();
        let all_asked = async {
            for first in firsts {
                // A task never ends before its first answer.
                let _ = first.await;
            }
        };
        let explain = async {
            tokio::time::sleep(SILENCE).await;
            if let Some(waiting) = checks.waiting_text() {
                tracing::info!("{waiting}");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = stop.stopping() => {}
            () = all_asked => {}
            () = explain => {}
        }
        HealthWatch { checks, _tasks: tasks }
    }
}

impl Drop for HealthWatch {
    fn drop(&mut self) {
        let mut known = self.checks.known();
        known.ended = true;
        let Effects { pause, slow_down, show } = &self.checks.effects;
        (0..known.checks.len()).for_each(|index| pause.resume(PauseSource::HealthCheck(index)));
        if known.slowdown.take().is_some() {
            slow_down(None);
        }
        show(BTreeMap::new());
    }
}

impl Checks {
    /// Asks one check repeatedly.
    async fn ask(self: Arc<Self>, index: usize, interval: Duration, prober: Prober, asked: oneshot::Sender<()>) {
        let mut asked = Some(asked);
        let mut tick = tokio::time::interval(interval);
        // After the machine has slept, run the check only once, and not once for each missed interval.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let answer = prober.ask().await;
            self.note(index, answer);
            if let Some(asked) = asked.take() {
                // If the pass was stopped in the meantime, this message has no receiver.
                let _ = asked.send(());
            }
        }
    }

    /// Updates the condition of a check with an answer, and applies the conditions. Logs each change of a condition.
    fn note(&self, index: usize, answer: Answer) {
        let mut known = self.known();
        if known.ended {
            return;
        }
        let Some(check) = known.checks.get_mut(index) else { return };
        check.note(answer);
        self.apply(&mut known);
    }

    /// Pauses or slows down the pass, as the conditions of all checks require.
    fn apply(&self, known: &mut Known) {
        let Effects { pause, slow_down, show } = &self.effects;
        for (index, check) in known.checks.iter().enumerate() {
            match check.pause_reason() {
                Some(why) => pause.pause(PauseSource::HealthCheck(index), why),
                None => pause.resume(PauseSource::HealthCheck(index)),
            }
        }
        let slowdown = slowdown(&known.checks);
        if slowdown != known.slowdown {
            slow_down(slowdown.clone());
            known.slowdown = slowdown;
        }
        show(known.checks.iter().filter_map(|check| Some((check.check.name.clone(), check.is_healthy()?))).collect());
    }

    /// Returns a text that lists the checks whose first answers are missing. Returns `None` if all have answered.
    fn waiting_text(&self) -> Option<String> {
        let known = self.known();
        let unasked = known.checks.iter().filter(|check| check.hysteresis.condition() == Condition::Unasked);
        let waiting: Vec<String> = unasked
            .map(|check| format!("{:?} (timeout {} s)", check.check.name, check.check.timeout.as_secs_f64()))
            .collect();
        let names = waiting.join(", ");
        (!waiting.is_empty())
            .then(|| format!("running the health checks before the pass begins: no answer yet from {names}"))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownCheck {
    fn note(&mut self, answer: Answer) {
        let before = self.hysteresis.condition();
        let after = self.hysteresis.note(answer.reply());
        let name = &self.check.name;
        let fails_open = self.check.fail_mode == FailMode::Open;
        let is_ignored = fails_open && matches!(answer, Answer::Unknown(_));
        match &answer {
            Answer::Unknown(why) if is_ignored => {
                if !self.is_ignored {
                    tracing::warn!(
                        "the health check {name:?} {why}. It fails open, so its condition stays as it was: {}",
                        condition_text(after)
                    );
                }
            }
            Answer::Healthy | Answer::Unhealthy(_) | Answer::Unknown(_) if self.is_ignored => {
                tracing::info!("the health check {name:?} answers again");
            }
            Answer::Healthy | Answer::Unhealthy(_) | Answer::Unknown(_) => {}
        }
        self.is_ignored = is_ignored;
        if let (Answer::Unhealthy(why) | Answer::Unknown(why), false) = (answer, is_ignored) {
            self.why = why;
        }
        match (before, after) {
            (Condition::Unhealthy, Condition::Unhealthy) => {}
            (_, Condition::Unhealthy) => {
                let effect = match self.check.on_unhealthy {
                    OnUnhealthy::Pause => "paused".to_owned(),
                    OnUnhealthy::Slow(percent) => format!("slowed to {percent}% of its budgets"),
                };
                let again = crate::figure::count(self.check.healthy_after.into(), "healthy answer", "healthy answers");
                tracing::warn!("{}. The pass is {effect} until {again} in a row", self.failure());
            }
            (Condition::Unhealthy, Condition::Healthy) => {
                tracing::info!("the health check {:?} is healthy again", self.check.name);
            }
            (Condition::Unasked | Condition::NeverAnswered | Condition::Healthy, Condition::Healthy)
            | (_, Condition::Unasked | Condition::NeverAnswered) => {}
        }
    }

    fn failure(&self) -> String {
        format!("the health check {:?} {}", self.check.name, self.why)
    }

    /// Returns the reason why this check pauses the pass. Returns `None` if it does not pause the pass.
    fn pause_reason(&self) -> Option<String> {
        match (self.hysteresis.condition(), self.check.on_unhealthy) {
            (Condition::Unasked, _) => Some(format!("the health check {:?} has not run yet", self.check.name)),
            (Condition::Unhealthy, OnUnhealthy::Pause) => Some(self.failure()),
            (Condition::Unhealthy, OnUnhealthy::Slow(_)) | (Condition::Healthy | Condition::NeverAnswered, _) => None,
        }
    }

    fn is_healthy(&self) -> Option<bool> {
        match self.hysteresis.condition() {
            Condition::Unasked | Condition::NeverAnswered => None,
            Condition::Healthy => Some(true),
            Condition::Unhealthy => Some(false),
        }
    }
}

/// Returns the strongest slowdown of the unhealthy checks, with the reasons of all unhealthy checks that slow down the
/// pass.
fn slowdown(checks: &[KnownCheck]) -> Option<Slowdown> {
    let slowing: Vec<(u8, String)> = checks
        .iter()
        .filter_map(|check| match (check.hysteresis.condition(), check.check.on_unhealthy) {
            (Condition::Unhealthy, OnUnhealthy::Slow(percent)) => Some((percent, check.failure())),
            (Condition::Unhealthy, OnUnhealthy::Pause)
            | (Condition::Unasked | Condition::NeverAnswered | Condition::Healthy, _) => None,
        })
        .collect();
    let percent = slowing.iter().map(|(percent, _)| *percent).min()?;
    let why = slowing.into_iter().map(|(_, why)| why).collect::<Vec<_>>().join("; ");
    Some(Slowdown { percent, why })
}

fn condition_text(condition: Condition) -> &'static str {
    match condition {
        Condition::Unasked | Condition::NeverAnswered => {
            "it has never answered, and does not slow down or pause the pass"
        }
        Condition::Healthy => "healthy",
        Condition::Unhealthy => "unhealthy",
    }
}

#[cfg(test)]
mod tests;
