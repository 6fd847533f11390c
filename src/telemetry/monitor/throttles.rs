//! Remembers which scopes DynamoDB throttled in the last seconds.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Moment;
use crate::engine::Snapshot;
use crate::figure::count;

/// The time for which the pass counts as throttled after a throttled request. The recovery of a throttled scope takes
/// longer.
const THROTTLED_FOR: Duration = Duration::from_secs(10);

/// The throttles of the last seconds, by scope.
#[derive(Debug, Default)]
pub(super) struct RecentThrottles {
    requests: u64,
    last: Option<Moment>,
    scopes: HashMap<String, (u64, Moment)>,
}

impl RecentThrottles {
    pub(super) fn note(&mut self, now: Moment, figures: &Snapshot, scopes: Vec<(String, u64)>) {
        if figures.throttled > self.requests {
            self.requests = figures.throttled;
            self.last = Some(now);
        }
        for (scope, throttles) in scopes {
            let known = self.scopes.entry(scope).or_insert((0, now));
            if throttles > known.0 {
                *known = (throttles, now);
            }
        }
    }

    pub(super) fn recently(&self, now: Moment) -> bool {
        self.last.is_some_and(|last| is_recent(now, last))
    }

    /// Returns a text that names the recently throttled scopes:
    /// `the table's writes (1,234 requests so far); slowed: …`.
    pub(super) fn text(&self, now: Moment, requests: u64, slowed: &str) -> String {
        let recent = self.scopes.iter().filter(|(_, (_, last))| is_recent(now, *last));
        let mut recent: Vec<&str> = recent.map(|(scope, _)| scope.as_str()).collect();
        recent.sort_unstable();
        let so_far = format!("{} so far", count(requests, "request", "requests"));
        let by = if recent.is_empty() { so_far } else { format!("{} ({so_far})", recent.join(", ")) };
        if slowed.is_empty() { by } else { format!("{by}; {slowed}") }
    }
}

fn is_recent(now: Moment, then: Moment) -> bool {
    now.monotonic.saturating_duration_since(then.monotonic) < THROTTLED_FOR
}
