//! What a hook announces, as a JSON document (docs/hook.schema.json) and as one line of text. This module is pure.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use crate::clock::to_text;
use crate::cutover::schema::to_json;
use crate::cutover::{Flag, FlagMeta};
use crate::figure::{count, whole_duration};
use crate::outside::{escaped, escaped_json};
use crate::plan::{HookEvent, VetoStep};
use crate::state::RunId;
use crate::telemetry::{CurrentActivity, Eta, PassView, Rates};

/// The version of the documents. It increases when a field is removed or changes its meaning, but not when a field is
/// added.
const VERSION: u32 = 1;

/// The event name in the document for `before_step`.
pub const BEFORE_STEP: &str = "before_step";

/// The maximum length of the text, in characters. Slack recommends at most 4,000 characters for one message.
const MAX_TEXT: usize = 2_000;

/// The facts that all documents of one process share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookOrigin {
    /// The migration's name.
    pub migration: String,
    /// The plan's fingerprint.
    pub fingerprint: String,
    /// The table's name.
    pub table: String,
    /// Who runs the command: `user@host`.
    pub actor: String,
    /// The name of this host.
    pub host: String,
    /// The id of this process.
    pub pid: u32,
}

/// An event, with the facts that only this event has.
#[derive(Debug, Clone, PartialEq)]
pub enum Announcement {
    /// A pass begins or continues.
    Start,
    /// A pass is stalled, or its stall is over.
    Stall {
        /// Whether the stall is over.
        over: bool,
    },
    /// A pass is paused, or its pause is over.
    Pause {
        /// Whether the pause is over.
        over: bool,
        /// Who ended the pause, if known.
        ended_by: Option<String>,
    },
    /// A pass has been throttled for a long time, or this throttling is over.
    LongThrottling {
        /// Whether the throttling is over.
        over: bool,
        /// How long the pass has been throttled without a break.
        lasted: Duration,
    },
    /// The number of failed items has reached the threshold.
    Failures {
        /// The threshold.
        threshold: u64,
    },
    /// A pass has ended.
    PassEnd {
        /// How it ended.
        outcome: PassEnding,
        /// The reason, if the pass did not end as planned.
        reason: Option<String>,
        /// The number of items that differ, if the pass was a complete verification.
        mismatches: Option<u64>,
    },
    /// An operator has to run the next step.
    StepDue {
        /// The command.
        next: String,
        /// The time before which the command is refused.
        not_before: Option<Timestamp>,
    },
    /// The cutover flag was changed.
    FlagChange {
        /// The new state of the flag.
        flag: Box<Flag>,
        /// Who changed it, and why.
        meta: FlagMeta,
    },
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassEnding {
    /// The pass has read the whole table, and its phase is complete.
    Done,
    /// The pass has read the whole table, but its phase is not complete because items failed.
    Unfinished,
    /// The pass stopped early. If the operator runs the same command again, the pass resumes.
    Stopped,
    /// The command ended with an error.
    Failed,
}

impl PassEnding {
    /// Returns the name in documents.
    pub fn name(self) -> &'static str {
        match self {
            PassEnding::Done => "done",
            PassEnding::Unfinished => "unfinished",
            PassEnding::Stopped => "stopped",
            PassEnding::Failed => "failed",
        }
    }
}

/// What a pass is doing when an event happens.
#[derive(Debug, Clone, PartialEq)]
pub struct PassState {
    /// The phase, for example `expand`.
    pub phase: &'static str,
    /// The run in the state file.
    pub run: RunId,
    /// What the pass is doing, and why.
    pub current: CurrentActivity,
    /// When this activity began.
    pub since: Timestamp,
    /// Number of items read, over all sessions.
    pub items: u64,
    /// About how many items the table has; 0 if unknown.
    pub item_estimate: u64,
    /// The percentage of the items that were read.
    pub percent: Option<u64>,
    /// Number of failed items, over all sessions.
    pub failures: u64,
    /// The speed over the last minute.
    pub rates: Option<Rates>,
    /// The time until the pass ends.
    pub eta: Option<Eta>,
}

impl PassState {
    /// Returns the state that a view of this run shows.
    pub fn new(phase: &'static str, run: RunId, view: &PassView) -> PassState {
        PassState {
            phase,
            run,
            current: view.current.clone(),
            since: view.since,
            items: view.pace.done(),
            item_estimate: view.pace.estimate(),
            percent: view.pace.percent(),
            failures: view.totals.failures(),
            rates: view.pace.rates(),
            eta: view.pace.eta(),
        }
    }

    fn to_json(&self) -> Json {
        let PassState { phase, run, current, since, items, item_estimate, percent, failures, rates, eta } = self;
        let rounded = |rate: f64| (rate * 10.0).round() / 10.0;
        let items_per_s = rates.map(|rates| rates.items);
        let write_units_per_s = rates.map(|rates| rates.write_units);
        let eta = eta
            .map(|eta| json!({ "low": eta.low.as_secs(), "likely": eta.likely.as_secs(), "high": eta.high.as_secs() }));
        json!({
            "phase": phase, "run": run, "activity": current.activity.name(), "detail": current.detail,
            "since": to_text(*since), "items": items, "item_estimate": item_estimate, "percent": percent,
            "failures": failures, "items_per_s": items_per_s.map(rounded),
            "write_units_per_s": write_units_per_s.map(rounded), "eta_s": eta,
        })
    }

    /// Returns the counts for people.
    fn counts(&self) -> String {
        let items = count(self.items, "item read", "items read");
        format!("{items}, {} failed", crate::figure::number(self.failures))
    }
}

impl Announcement {
    /// Returns the event.
    pub fn event(&self) -> HookEvent {
        match self {
            Announcement::Start => HookEvent::Start,
            Announcement::Stall { .. } => HookEvent::Stall,
            Announcement::Pause { .. } => HookEvent::Pause,
            Announcement::LongThrottling { .. } => HookEvent::LongThrottling,
            Announcement::Failures { .. } => HookEvent::Failures,
            Announcement::PassEnd { .. } => HookEvent::PassEnd,
            Announcement::StepDue { .. } => HookEvent::StepDue,
            Announcement::FlagChange { .. } => HookEvent::FlagChange,
        }
    }

    /// Returns one line for people, without control characters. `pass` is the pass that runs, or the one that has just
    /// ended.
    pub fn text(&self, origin: &HookOrigin, pass: Option<&PassState>) -> String {
        let HookOrigin { migration, table, .. } = origin;
        line(&format!("{migration} on table {table}: {}", self.sentence(pass)))
    }

    fn sentence(&self, pass: Option<&PassState>) -> String {
        let phase = pass.map_or("the pass".to_owned(), |pass| format!("the pass {}", pass.phase));
        let now = pass.map(|pass| format!(": {}", pass.current)).unwrap_or_default();
        let current = pass.map_or(String::new(), |pass| pass.current.to_string());
        let counts = pass.map_or(String::new(), PassState::counts);
        match self {
            Announcement::Start => match pass.map(|pass| pass.items) {
                None | Some(0) => format!("{phase} begins"),
                Some(items) => format!("{phase} continues after {}", count(items, "item", "items")),
            },
            Announcement::Stall { over: false } | Announcement::Pause { over: false, .. } => {
                format!("{phase} is {current}")
            }
            Announcement::Stall { over: true } => format!("the stall of {phase} is over{now}"),
            Announcement::Pause { over: true, ended_by } => {
                let by = ended_by.as_ref().map_or(String::new(), |by| format!(" ({by} ended it)"));
                format!("the pause of {phase} is over{by}{now}")
            }
            Announcement::LongThrottling { over: false, lasted } => {
                format!("{phase} has been throttled for {} without a break{now}", whole_duration(*lasted))
            }
            Announcement::LongThrottling { over: true, lasted } => {
                format!("{phase} is not throttled any more, after {}{now}", whole_duration(*lasted))
            }
            Announcement::Failures { threshold } => {
                format!("{phase} has reached {}: {counts}", count(*threshold, "failed item", "failed items"))
            }
            Announcement::PassEnd { outcome, reason, mismatches } => {
                let mismatches =
                    mismatches.map_or(String::new(), |found| format!(", {}", count(found, "mismatch", "mismatches")));
                let after = |mark: &str| reason.as_ref().map_or(String::new(), |reason| format!("{mark} {reason}"));
                let reason = after(":");
                match outcome {
                    PassEnding::Done => format!("{phase} is done: {counts}{mismatches}{}", after(";")),
                    PassEnding::Unfinished => format!("{phase} is not complete{reason} ({counts})"),
                    PassEnding::Stopped => format!("{phase} stopped{reason} ({counts})"),
                    PassEnding::Failed => format!("{phase} ended with an error{reason} ({counts})"),
                }
            }
            Announcement::StepDue { next, not_before: None } => format!("the next step is due: {next}"),
            Announcement::StepDue { next, not_before: Some(until) } => {
                format!("the next step is due, not before {}: {next}", to_text(*until))
            }
            Announcement::FlagChange { flag, meta } => format!("{} changed the cutover flag: {flag}", meta.actor),
        }
    }

    /// Returns the document that a hook reads from stdin: one line of JSON. It contains no attribute values and no keys
    /// of items.
    pub fn document(&self, origin: &HookOrigin, at: Timestamp, pass: Option<&PassState>) -> String {
        let special = match self {
            Announcement::Start => json!({}),
            Announcement::Stall { over } => json!({ "over": over }),
            Announcement::Pause { over, ended_by } => json!({ "over": over, "ended_by": ended_by }),
            Announcement::LongThrottling { over, lasted } => json!({ "over": over, "seconds": lasted.as_secs() }),
            Announcement::Failures { threshold } => json!({ "threshold": threshold }),
            Announcement::PassEnd { outcome, reason, mismatches } => {
                json!({ "outcome": outcome.name(), "reason": reason, "mismatches": mismatches })
            }
            Announcement::StepDue { next, not_before } => {
                json!({ "next": next, "not_before": not_before.map(to_text) })
            }
            Announcement::FlagChange { flag, meta } => json!({ "flag": to_json(flag, meta) }),
        };
        let text = self.text(origin, pass);
        document(self.event().name(), origin, at, (&text, pass), special)
    }
}

/// Returns the document for a program that can refuse this step.
pub fn step_document(step: VetoStep, origin: &HookOrigin, at: Timestamp) -> String {
    let HookOrigin { migration, table, actor, .. } = origin;
    let text = line(&format!("{migration} on table {table}: {actor} wants to begin the step {}", step.name()));
    document(BEFORE_STEP, origin, at, (&text, None), json!({ "step": step.name() }))
}

fn document(
    event: &str,
    origin: &HookOrigin,
    at: Timestamp,
    (text, pass): (&str, Option<&PassState>),
    special: Json,
) -> String {
    let HookOrigin { migration, fingerprint, table, actor, host, pid } = origin;
    let mut members = Map::new();
    let common = json!({
        "version": VERSION, "event": event, "time": to_text(at), "text": text, "migration": migration,
        "fingerprint": fingerprint, "table": table, "actor": actor, "host": host, "pid": pid,
        "pass": pass.map(PassState::to_json),
    });
    for part in [common, special] {
        if let Json::Object(part) = part {
            members.extend(part);
        }
    }
    escaped_json(&Json::Object(members).to_string()) + "\n"
}

/// Returns the text as one line that cannot affect a terminal. Shortens a long text.
fn line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = escaped(&words.join(" ")).to_string();
    match line.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
