//! Obeys `ctl` while a session is open. Stores each command, and then applies it to the session's passes.

use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use tokio::sync::{Mutex, watch};

use crate::clock::Clock;
use crate::command_line::CommandLine;
use crate::engine::{PauseSource, PauseSwitch, Slowdown, StopReason, Stopper, TableWatch};
use crate::hooks::is_recent;
use crate::plan::{Access, Capacity, Plan};
use crate::ratelimit::{Scope, rate_text};
use crate::state::{State, StoreError, StoredFact};
use crate::steering::{Command, Paused, Rate, Reply, Request, Settings};
use crate::telemetry::{LiveFigures, PassView};

/// Steers the passes of one session. Clones share one state.
#[derive(Clone)]
pub struct Steerer(Arc<Inner>);

struct Inner {
    store: State,
    /// The fingerprint of the plan.
    plan: String,
    /// The plan's `[capacity]`.
    capacity: Capacity,
    clock: Clock,
    pause: PauseSwitch,
    /// The stored settings. The lock is held while a command is stored, so commands take effect one after the other.
    settings: Mutex<Settings>,
    /// The pause that [`Steerer::restore`] found. An operator set it before this process began.
    earlier_pause: StdMutex<Option<Paused>>,
    running: StdMutex<Running>,
}

/// The pass that is running.
#[derive(Default)]
struct Running {
    /// The text about the lease or the backup for which the session waits. `None` if it does not wait.
    awaited: Option<String>,
    stop: Option<Stopper>,
    table_watch: Option<Arc<TableWatch>>,
    /// The slowdown that lowers the budgets of passes. `None` if passes may use their full budgets.
    slowdown: Option<Slowdown>,
    views: Option<watch::Receiver<Arc<PassView>>>,
    /// The time at which an operator last ended the session's pause, and the operator. `None` if the last `ctl resume`
    /// did not end a pause.
    resumed: Option<(Timestamp, String)>,
}

/// The settings that a process finds when it starts. An earlier process stored them.
#[derive(Debug, Default)]
pub struct Remembered {
    /// The settings that apply.
    pub settings: Settings,
    /// A rate that no longer applies because `[capacity]` has changed since it was set. [`Steerer::keep`] removes the
    /// rate.
    pub outdated: Option<Rate>,
}

impl Remembered {
    /// Returns one line for each of these settings, which says whether the setting still applies. Returns `None` if
    /// there are no settings.
    pub fn text(&self, commands: &CommandLine) -> Option<String> {
        let Settings { paused, rate, .. } = &self.settings;
        let resume = commands.render("ctl resume");
        let plan_rate = commands.render("ctl rate --plan");
        let lines = [
            paused.as_ref().map(|paused| format!("paused   {paused}. To continue: {resume}")),
            rate.as_ref().map(|rate| format!("rate     {rate}. To use the plan's budgets: {plan_rate}")),
            self.outdated_text().map(|text| format!("rate     {text}")),
        ];
        let lines: Vec<String> = lines.into_iter().flatten().collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

impl Remembered {
    /// Returns the text about the rate that no longer applies. Returns `None` if there is no such rate.
    pub fn outdated_text(&self) -> Option<String> {
        let rate = self.outdated.as_ref()?;
        Some(format!("{rate}, no longer applies, because [capacity] has changed since"))
    }
}

impl Steerer {
    /// Creates a steerer without settings, for the migration of this plan.
    pub fn new(store: State, plan: &Plan, clock: Clock) -> Steerer {
        Steerer(Arc::new(Inner {
            store,
            plan: plan.fingerprint().as_str().to_owned(),
            capacity: plan.capacity.clone(),
            clock,
            pause: PauseSwitch::default(),
            settings: Mutex::default(),
            earlier_pause: StdMutex::default(),
            running: StdMutex::default(),
        }))
    }

    /// Applies the settings in the state file. Ignores a rate that was set for a different `[capacity]`, but does not
    /// remove it from the state file yet. The command may be refused later, and the operator is then not told that the
    /// rate no longer applies.
    ///
    /// # Errors
    ///
    /// Fails if the state file cannot be read.
    pub async fn restore(&self) -> Result<Remembered, StoreError> {
        let mut stored = self.0.settings.lock().await;
        let text = self.0.store.fact(StoredFact::Steering).await?;
        let mut settings = match text.map(|text| Settings::from_text(&text)) {
            None => Settings::default(),
            Some(Some(settings)) => settings,
            // Somebody may have wanted a pause, so stay paused until an operator resumes the run.
            Some(None) => Settings::unreadable((self.0.clock)()),
        };
        self.apply_pause(&settings);
        *lock(&self.0.earlier_pause) = settings.paused.clone();
        *stored = settings.clone();
        let outdated = settings.take_outdated_rate(&self.0.capacity);
        Ok(Remembered { settings, outdated })
    }

    /// Stores the settings again if the state file no longer has them. Removes a rate that was set for a different
    /// `[capacity]`. The caller should tell the operator immediately afterwards.
    ///
    /// # Errors
    ///
    /// Fails if the state file cannot be read or written.
    pub async fn keep(&self) -> Result<(), StoreError> {
        let mut stored = self.0.settings.lock().await;
        let mut settings = stored.clone();
        let changed = settings.take_outdated_rate(&self.0.capacity).is_some();
        let is_default = settings == Settings::default();
        if changed || (!is_default && self.0.store.fact(StoredFact::Steering).await?.is_none()) {
            self.0.store.set_fact(StoredFact::Steering, settings.to_text()).await?;
        }
        *stored = settings;
        Ok(())
    }

    /// Sets the text about the lease or the backup for which the session waits. Pass `None` when the wait is over.
    /// During the wait, the session has no pass that a command could steer.
    pub fn set_awaited(&self, text: Option<String>) {
        self.running().awaited = text;
    }

    /// Ends a pause that [`Steerer::restore`] found, because an earlier setting must not block a rollback or a step
    /// back. A pause that an operator has set since then stays, even if the operator set it while the session waited
    /// for the lease. Returns whether a pause ended.
    ///
    /// # Errors
    ///
    /// Fails if the state file cannot be written. The pause ends even in this case.
    pub async fn clear_for_way_back(&self, by: &str) -> Result<bool, StoreError> {
        let mut stored = self.0.settings.lock().await;
        let earlier = lock(&self.0.earlier_pause).take();
        if earlier.is_none() || stored.paused != earlier {
            return Ok(false);
        }
        self.0.pause.resume(PauseSource::Operator);
        // A resume is always valid, so there is no error to report.
        if let Ok(next) = stored.after(&Command::Resume, by, (self.0.clock)(), &self.0.capacity) {
            self.0.store.set_fact(StoredFact::Steering, next.to_text()).await?;
            *stored = next;
        }
        Ok(true)
    }

    /// Returns the switch that pauses the session's passes.
    pub fn pause(&self) -> PauseSwitch {
        self.0.pause.clone()
    }

    /// Returns the plan's `[capacity]`, with the rate that an operator set.
    pub async fn capacity(&self) -> Capacity {
        self.0.settings.lock().await.capacity(&self.0.capacity)
    }

    /// Sets the stopper to which later commands apply.
    pub fn steer(&self, stop: Stopper) {
        self.running().stop = Some(stop);
    }

    /// Begins a pass. Later rates apply to the pass's budgets. Also applies a rate that was set after these budgets
    /// were chosen.
    pub async fn begin_pass(&self, table_watch: Option<Arc<TableWatch>>) {
        let settings = self.0.settings.lock().await;
        if let Some(table_watch) = &table_watch {
            table_watch.set_capacity(&settings.capacity(&self.0.capacity));
        }
        let mut running = self.running();
        if let Some(table_watch) = &table_watch {
            table_watch.set_slowdown(running.slowdown.clone());
        }
        running.table_watch = table_watch;
    }

    /// Lowers the budgets of this pass and of the next passes by this slowdown. `None` ends the slowdown. The slowdown
    /// also lowers a rate that an operator sets.
    pub fn slow_down(&self, slowdown: Option<Slowdown>) {
        self.0.pause.note_slowdown(slowdown.as_ref().map(Slowdown::text));
        let mut running = self.running();
        if let Some(table_watch) = &running.table_watch {
            table_watch.set_slowdown(slowdown.clone());
        }
        running.slowdown = slowdown;
    }

    /// Ends the pass, so that commands no longer apply to it.
    pub fn end_pass(&self) {
        let mut running = self.running();
        running.table_watch = None;
        running.views = None;
    }

    /// Returns the operator who resumed the session, if a pause ended at this time because of that operator.
    pub fn resumed_by(&self, over_at: Timestamp) -> Option<String> {
        let running = self.running();
        running.resumed.as_ref().filter(|(at, _)| is_recent(*at, over_at)).map(|(_, by)| by.clone())
    }

    /// Shows these views to `ctl status`.
    pub fn show(&self, views: watch::Receiver<Arc<PassView>>) {
        self.running().views = Some(views);
    }

    /// Carries out an operator's command. Settings are durable before they take effect, except for a pause. A pause
    /// takes effect immediately, and the reply tells the operator if it could not be stored.
    ///
    /// # Errors
    ///
    /// Fails if a setting other than a pause cannot be stored. The setting then has no effect.
    pub async fn carry_out(&self, request: &Request) -> Result<Reply, StoreError> {
        let Request { plan, actor, command, .. } = request;
        if *plan != self.0.plan {
            return Ok(Reply::refusal("the running process works on another plan. Nothing was done"));
        }
        if *command == Command::Drain && self.running().stop.is_none() {
            let waits = self.running().awaited.clone();
            let waits = waits.unwrap_or_else(|| "this process has not begun a pass yet".to_owned());
            return Ok(Reply::refusal(format!(
                "{waits}. There is nothing to drain yet. To end the process now, send it SIGINT or SIGTERM: it has changed no \
                 item. Nothing was done"
            )));
        }
        // A drain needs no stored settings, so it works even if the state file fails.
        if *command == Command::Drain {
            self.drain(actor);
        }
        let mut stored = self.0.settings.lock().await;
        let next = match stored.after(command, actor, (self.0.clock)(), &self.0.capacity) {
            Ok(next) => next,
            Err(why) => return Ok(Reply::refusal(format!("{why}. Nothing was done"))),
        };
        if next != *stored {
            // A pause is always safe, so it takes effect even if it cannot be stored.
            let pauses = matches!(command, Command::Pause { .. });
            if pauses {
                self.apply_pause(&next);
            }
            match self.0.store.set_fact(StoredFact::Steering, next.to_text()).await {
                Ok(()) => *stored = next,
                Err(error) if pauses => {
                    return Ok(Reply::refusal(format!(
                        "the process is paused, but the pause could not be stored: {error}. A restart would not be paused"
                    )));
                }
                Err(error) => return Err(error),
            }
        }
        let mut text = self.apply(command, actor, &stored);
        if let Some(waits) = self.running().awaited.clone() {
            text = match command {
                Command::Status => waits,
                Command::Pause { .. } | Command::Resume | Command::Rate { .. } | Command::PlanRate | Command::Drain => {
                    format!("stored for the first pass: {waits}")
                }
            };
        }
        Ok(Reply { refused: None, text, state: self.state(&stored) })
    }

    /// Applies a command, and returns a text about the result.
    fn apply(&self, command: &Command, actor: &str, settings: &Settings) -> String {
        match command {
            Command::Pause { .. } => {
                self.apply_pause(settings);
                "paused: no request is sent from now on. Requests in flight are finished".to_owned()
            }
            Command::Resume => {
                let ended = self.0.pause.end(PauseSource::Operator);
                let paused = self.0.pause.paused();
                // The operator's `resume` ends a pause only if there was one and nothing else pauses the run. A second
                // `resume` changes nothing, so the first one still counts.
                if ended || paused.is_some() {
                    let ends = ended && paused.is_none();
                    self.running().resumed = ends.then(|| ((self.0.clock)(), actor.to_owned()));
                }
                match paused {
                    Some(why) if !ended => format!("no operator had paused the run, but it is still paused: {why}"),
                    Some(why) => format!("this pause ended, but the run is still paused: {why}"),
                    None => "resumed".to_owned(),
                }
            }
            Command::Rate { .. } | Command::PlanRate => self.apply_rate(settings),
            Command::Drain => self.drain(actor),
            Command::Status => match &self.running().views {
                Some(views) => views.borrow().current.to_string(),
                None => "no pass is running".to_owned(),
            },
        }
    }

    fn drain(&self, actor: &str) -> String {
        match &self.running().stop {
            Some(stop) => {
                stop.stop(StopReason::Drained { by: actor.to_owned() });
                "draining: the process finishes the requests in flight, commits and ends".to_owned()
            }
            None => "nothing is running".to_owned(),
        }
    }

    fn apply_pause(&self, settings: &Settings) {
        match &settings.paused {
            Some(paused) => self.0.pause.pause(PauseSource::Operator, paused.to_string()),
            None => self.0.pause.resume(PauseSource::Operator),
        }
    }

    fn apply_rate(&self, settings: &Settings) -> String {
        let Some(table_watch) = self.running().table_watch.clone() else {
            return "stored: the next pass uses this rate".to_owned();
        };
        let budgets = table_watch.set_capacity(&settings.capacity(&self.0.capacity));
        let text = |scope: &Scope, access| {
            let found = budgets.iter().find(|budget| budget.scope == *scope && budget.access == access);
            found.map(|budget| rate_text(budget.units, access))
        };
        let lines: Vec<String> = [(Scope::Table, "table"), (Scope::KeyRange, "each segment")]
            .iter()
            .filter_map(|(scope, name)| {
                let rates = [text(scope, Access::Write)?, text(scope, Access::Read)?];
                Some(format!("{name}: {}", rates.join(", ")))
            })
            .collect();
        let slowed = self.0.pause.slowdown().map_or_else(String::new, |why| format!(" ({why})"));
        format!("new budgets: {}{slowed}", lines.join("; "))
    }

    fn state(&self, settings: &Settings) -> Json {
        let view = self.running().views.as_ref().map(|views| Arc::clone(&views.borrow()));
        let pass = view.as_deref().map(LiveFigures::new);
        let activity = view.map(|view| {
            let rates = view.pace.rates();
            json!({ "state": view.current.activity.name(), "detail": view.current.detail,
                    "since": view.since.to_string(), "items": view.pace.done(),
                    "items_per_s": rates.map(|rates| rates.items), "wcu_per_s": rates.map(|rates| rates.write_units),
                    "eta_s": view.pace.eta().map(|eta| eta.likely.as_secs()) })
        });
        let rate = settings.rate_for(&self.0.capacity);
        json!({ "paused": settings.paused, "rate": rate, "record": settings.record, "activity": activity,
                "pass": pass })
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        lock(&self.0.running)
    }
}

fn lock<T>(mutex: &StdMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
