//! Logs the changes of the activity, and remembers the last ones.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Moment;
use crate::telemetry::{Activity, ActivityChange, CurrentActivity};

/// The shortest time between two prominent log lines about the same activity. The activity can change every second.
const LOG_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Number of changes that a view lists.
const RECENT: usize = 20;

/// The changes of the activity in one session.
#[derive(Debug, Default)]
pub(super) struct ActivityChanges {
    logged: HashMap<Activity, Moment>,
    recent: VecDeque<ActivityChange>,
}

impl ActivityChanges {
    /// Records and logs that the activity changed.
    pub(super) fn note(&mut self, now: Moment, before: Activity, current: &CurrentActivity) {
        if before == Activity::Stalled {
            let activity = current.activity.name();
            tracing::info!(r#type = "activity", activity, "the stall is over: {current}");
        }
        let is_new = self.logged.get(&current.activity).is_none_or(|last| now.since(*last) >= LOG_AGAIN_AFTER);
        if is_new {
            self.logged.insert(current.activity, now);
        }
        log(current, is_new);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        let detail = current.detail.clone();
        self.recent.push_back(ActivityChange { since: now.wall, state: current.activity, detail });
    }

    /// Returns the last changes, oldest first.
    pub(super) fn recent(&self) -> Vec<ActivityChange> {
        self.recent.iter().cloned().collect()
    }
}

/// Logs an activity that begins. Activities that the operator should notice have a prominent level. But an activity can
/// begin every second, so its repetitions have the level `debug`.
fn log(current: &CurrentActivity, is_new: bool) {
    let activity = current.activity.name();
    match current.activity {
        Activity::Stalled if is_new => tracing::error!(r#type = "activity", activity, "{current}"),
        Activity::Throttled | Activity::BackingOff if is_new => {
            tracing::warn!(r#type = "activity", activity, "{current}");
        }
        Activity::Paused | Activity::Draining if is_new => tracing::info!(r#type = "activity", activity, "{current}"),
        // The window logs its own changes, with the time at which it opens.
        Activity::OutsideWindow
        | Activity::Starting
        | Activity::Scanning
        | Activity::Waiting
        | Activity::Throttled
        | Activity::BackingOff
        | Activity::Paused
        | Activity::Draining
        | Activity::Asleep
        | Activity::Stalled
        | Activity::Done => tracing::debug!(r#type = "activity", activity, "{current}"),
    }
}
