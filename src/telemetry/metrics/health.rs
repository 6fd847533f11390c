//! The answers of `/livez` and `/readyz`. This module is pure.

use std::time::Duration;

use tokio::time::Instant;

use super::figures::ShownPass;
use crate::telemetry::Activity;

/// If the monitor of a running pass has read no figures for this time, the process is not alive, because its runtime
/// does not work.
const MONITOR_LATE: Duration = Duration::from_secs(30);

/// The answer to a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether the check passes.
    pub is_good: bool,
    /// The answer's text: the activity, or the reason.
    pub text: &'static str,
}

/// The stage of a command while no pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// The command reads the table's description, checks the plan, and waits for confirmations.
    #[default]
    Checking,
    /// The command waits until the lease of another process ends or expires.
    AwaitingLease,
    /// The command has opened the state file, and works on the migration.
    Open,
    /// The command has ended its work, and reports the result.
    Ended,
}

impl Stage {
    /// Returns the reason why no pass runs.
    fn text(self) -> &'static str {
        match self {
            Stage::Checking => "no pass is running: the command checks the table, the plan and the findings",
            Stage::AwaitingLease => "no pass is running: another process holds the lease, and the command waits for it",
            Stage::Open => "no pass is running",
            Stage::Ended => "no pass is running: the command has ended its work",
        }
    }
}

/// Returns whether the process works. Nothing that DynamoDB or an operator does makes this check fail. Even a stall
/// does not make it fail, because a restarted process would stall again.
pub fn livez(pass: Option<&ShownPass>, stage: Stage, now: Instant) -> Health {
    match pass {
        Some(pass) if is_late(pass, now) => Health { is_good: false, text: "the monitor of the pass is late" },
        Some(pass) if pass.is_running => Health { is_good: true, text: pass.view.current.activity.name() },
        Some(_) | None => Health { is_good: true, text: stage.text() },
    }
}

/// Returns whether a pass runs and is not stalled.
pub fn readyz(pass: Option<&ShownPass>, stage: Stage, now: Instant) -> Health {
    let Some(pass) = pass.filter(|pass| pass.is_running) else {
        return Health { is_good: false, text: stage.text() };
    };
    let live = livez(Some(pass), stage, now);
    Health { is_good: live.is_good && pass.view.current.activity != Activity::Stalled, ..live }
}

fn is_late(pass: &ShownPass, now: Instant) -> bool {
    pass.is_running && now.saturating_duration_since(pass.view.last.looked) > MONITOR_LATE
}
