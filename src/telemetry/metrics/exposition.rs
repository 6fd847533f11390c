//! The families of metrics that an exporter shows. They come from a view of the pass and from the state file. This
//! module is pure. Equal figures always result in equal families.

use std::collections::BTreeMap;
use std::fmt::Error;

use jiff::Timestamp;

use super::families::{Families, Family, label};
use super::figures::{ShownPass, StateFigures};
use super::prometheus::{Format, text_of};
use super::scopes;
use crate::change::Outcome;
use crate::engine::{ErrorClass, Operation, SegmentRange};
use crate::telemetry::{Activity, PassView};

/// Everything that an exporter shows at one moment.
#[derive(Debug, Clone)]
pub struct Exposition {
    /// The running pass, or the last pass of this command. `None` before the first pass.
    pub pass: Option<ShownPass>,
    /// Whether each health check is healthy, by name. Contains only the checks of the running pass that have answered.
    pub health: BTreeMap<String, bool>,
    /// The figures of the state file.
    pub state: StateFigures,
    /// Number of announcements of this command that no hook received.
    pub hook_failures: u64,
    /// The current time.
    pub now: Timestamp,
}

impl Exposition {
    /// Returns the text for Prometheus.
    ///
    /// # Errors
    ///
    /// Fails only if the encoder, which writes to memory, fails.
    pub fn to_text(&self, format: Format) -> Result<String, Error> {
        text_of(self.families(), format)
    }

    /// Returns the families, always in the same order.
    pub fn families(&self) -> Vec<Family> {
        let mut families = Families::default();
        let out = &mut families;
        out.info("build", "Version of backfill.", label("version", env!("CARGO_PKG_VERSION")));
        let is_running = self.pass.as_ref().is_some_and(|pass| pass.is_running);
        out.gauge("pass_active", "1 while a pass runs, else 0.", Some(f64::from(u8::from(is_running))));
        if let Some(ShownPass { labels, view, .. }) = &self.pass {
            let labels = vec![
                ("migration", labels.migration.clone()),
                ("table", labels.table.clone()),
                ("phase", labels.phase.to_owned()),
                ("run", labels.run.to_string()),
            ];
            out.info("run", "The run of the current pass, or of the last one.", labels);
            write_activity(out, view);
            write_items(out, view);
            write_requests(out, view);
            scopes::write(out, view);
            write_segments(out, view);
            write_progress(out, view, self.now);
            write_spend(out, view);
        }
        out.gauges(
            "health_check_healthy",
            "1 while a health check of the plan is healthy, 0 while it pauses or slows down the pass.",
            self.health.iter().map(|(name, healthy)| (label("check", name.as_str()), f64::from(u8::from(*healthy)))),
        );
        out.counter(
            "hook_failures",
            "Announcements that a hook or the webhook of the plan did not receive.",
            self.hook_failures as f64,
        );
        write_state(out, &self.state);
        families.0
    }
}

fn write_activity(out: &mut Families, view: &PassView) {
    let is_current = |activity| f64::from(u8::from(activity == view.current.activity));
    let named = |value: &dyn Fn(Activity) -> f64| {
        Activity::ALL.map(|activity| (label("activity", activity.name()), value(activity)))
    };
    out.gauges("activity", "1 for the current activity of the pass, 0 for every other activity.", named(&is_current));
    out.counters(
        "activity_seconds",
        "Time that the run has spent in each activity, over all its sessions.",
        named(&|activity| view.clocks.of(activity).as_secs_f64()),
    );
    out.gauge(
        "hung_segments",
        "Segments whose requests in flight have had no answer for a long time.",
        Some(view.hung.len() as f64),
    );
}

fn write_items(out: &mut Families, view: &PassView) {
    let totals = &view.totals;
    out.counters(
        "items",
        "Committed items of the pass by outcome, over all its sessions.",
        Outcome::ALL.map(|outcome| (label("outcome", outcome.name()), totals.of(outcome) as f64)),
    );
    let session = &view.figures.counts;
    out.counters(
        "session_items",
        "Committed items of this session by outcome. Begins at 0 in each session, so every increase is new work.",
        Outcome::ALL.map(|outcome| (label("outcome", outcome.name()), session.of(outcome) as f64)),
    );
    out.counter(
        "items_scanned",
        "Committed items of the pass, over all its sessions. Equals the sum of backfill_items_total.",
        totals.scanned as f64,
    );
    out.counters(
        "committed_capacity_units",
        "Capacity units that DynamoDB's replies report for committed items, over all sessions of the pass.",
        [(label("access", "read"), totals.read_units), (label("access", "write"), totals.write_units)],
    );
    out.counter(
        "assumed_write_units",
        "Write units of committed items that are assumed, because a reply reports no consumption.",
        totals.assumed_write_units,
    );
    let estimate = Some(view.pace.estimate()).filter(|items| *items > 0);
    out.gauge(
        "table_items",
        "Items in the table according to DynamoDB, which may be six hours old. For a retry of failures: the failures to retry.",
        estimate.map(|items| items as f64),
    );
}

fn write_requests(out: &mut Families, view: &PassView) {
    let measures = &view.figures.measures;
    out.histograms(
        "request_duration_seconds",
        "Time from sending a request of this session to its answer or its error, without waits and backoff.",
        Operation::ALL.iter().zip(&measures.latencies).map(|(op, latency)| (label("operation", op.name()), latency)),
    );
    out.counters(
        "request_errors",
        "Failed requests of this session by class. The tool retries throttle, transient and unusable_reply.",
        ErrorClass::ALL.iter().zip(measures.errors).map(|(class, n)| (label("error", class.name()), n as f64)),
    );
    out.counter(
        "throttled_requests",
        "Requests of this session that DynamoDB throttled.",
        view.figures.throttled as f64,
    );
    let in_flight =
        |count: fn(&crate::engine::SegmentSnapshot) -> u64| view.figures.segments.iter().map(count).sum::<u64>();
    let in_flight = [("read", in_flight(|segment| segment.reads)), ("write", in_flight(|segment| segment.writes))];
    out.gauges(
        "requests_in_flight",
        "Requests that were sent and have no answer yet.",
        in_flight.map(|(access, requests)| (label("access", access), requests as f64)),
    );
}

fn write_segments(out: &mut Families, view: &PassView) {
    // A retry of failures scans no segments.
    let known = |segments: u64| Some(segments as f64).filter(|_| view.total_segments > 0);
    out.gauge("segments", "Segments of the pass.", known(view.total_segments));
    out.gauge("segments_done", "Segments of the pass that are done, over all its sessions.", known(view.segments_done));
    out.gauge("segments_active", "Segments in progress.", known(view.figures.segments_active));
    let of = |figure: fn(&SegmentRange) -> u64| {
        view.ranges.0.iter().map(move |range| (scopes::range_label(range), figure(range) as f64))
    };
    out.gauges(
        "segment_range_segments",
        "Segments in each range of segments (at most 64 ranges).",
        of(|range| u64::from(range.last - range.first) + 1),
    );
    out.gauges("segment_range_segments_done", "Segments that are done, by range of segments.", of(|range| range.done));
    out.counters("segment_range_items", "Committed items of the pass, by range of segments.", of(|range| range.items));
}

fn write_progress(out: &mut Families, view: &PassView, now: Timestamp) {
    let seconds = |time: Timestamp| Some(time.as_duration().as_secs_f64());
    out.gauge(
        "last_progress_timestamp_seconds",
        "Time of the last answered request of this session. Before the first answer: the start of the session.",
        seconds(view.last.answer),
    );
    out.gauge(
        "last_checkpoint_timestamp_seconds",
        "Time of the last commit of this session. Before the first commit: the start of the session.",
        seconds(view.last.commit),
    );
    let age = now.duration_since(view.last.commit).as_secs_f64().max(0.0);
    out.gauge("checkpoint_age_seconds", "Time since the last commit of this session.", Some(age));
    out.gauge(
        "eta_seconds",
        "Estimated time until the pass ends, based on the remaining items and the rate of the last minute.",
        view.pace.eta().map(|eta| eta.likely.as_secs_f64()),
    );
}

fn write_spend(out: &mut Families, view: &PassView) {
    let Some(allowance) = &view.allowance else { return };
    out.gauges(
        "spent_capacity_units",
        "Capacity units that the run has spent over all its sessions, including requests in flight and lost replies.",
        [(label("access", "read"), allowance.spent.read), (label("access", "write"), allowance.spent.write)],
    );
    out.gauge(
        "spend_dollars",
        "Estimated cost of backfill_spent_capacity_units in US dollars, by list prices or by the plan's prices.",
        Some(allowance.dollars),
    );
    let limits = &allowance.limits;
    out.gauges(
        "limit",
        "Limit in [limits], in the unit of the limit.",
        limits.iter().map(|limit| (label("limit", limit.name), limit.limit)),
    );
    out.gauges(
        "limit_left",
        "Remaining part of the limit, in the unit of the limit.",
        limits.iter().map(|limit| (label("limit", limit.name), limit.left)),
    );
}

fn write_state(out: &mut Families, state: &StateFigures) {
    let StateFigures { open, verification } = state;
    out.gauge("open_failures", "Failed items that are still open in the state file.", open.map(|o| o.failures as f64));
    out.gauge(
        "open_diverged",
        "Diverged items that are still open in the state file.",
        open.map(|o| o.diverged as f64),
    );
    let Some(verification) = verification else { return };
    let labels = || vec![("migration", verification.migration.clone()), ("scope", verification.scope.clone())];
    out.gauges(
        "verification_items",
        "Items that the last complete verification compared.",
        [(labels(), verification.compared as f64)],
    );
    out.gauges(
        "verification_mismatches",
        "Items that differ according to the last complete verification, excluding repaired items.",
        [(labels(), verification.mismatches as f64)],
    );
    out.gauges(
        "verification_repaired",
        "Items that the last complete verification repaired.",
        [(labels(), verification.repaired as f64)],
    );
    let ended = verification.ended.map(|ended| (labels(), ended.as_duration().as_secs_f64()));
    out.gauges("verification_end_timestamp_seconds", "Time at which the last complete verification ended.", ended);
}

#[cfg(test)]
pub(in crate::telemetry::metrics) mod tests;
