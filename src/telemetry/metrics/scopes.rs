//! The metrics of scopes: capacity, budgets, rates, waits and throttles.

use std::collections::BTreeMap;

use super::families::{Families, Labels, Sample, label};
use crate::engine::{ConsumedUnits, SegmentRange, UnitPair};
use crate::plan::Access;
use crate::telemetry::{CapacityView, PassView};

/// The label of an index whose name is not known yet.
const UNLISTED: &str = "(not listed yet)";

/// One scope, or all scopes of one kind.
struct ScopeFigures {
    labels: Labels,
    budget: f64,
    /// `None` if this value stands for all scopes of one kind, because each of these scopes has its own rate.
    rate: Option<f64>,
    waiting: f64,
    waited: f64,
    throttles: f64,
}

/// Writes the metrics of all scopes.
pub(super) fn write(out: &mut Families, view: &PassView) {
    let scopes = scopes(&view.capacity);
    let of = |figure: fn(&ScopeFigures) -> f64| scopes.iter().map(move |s| (s.labels.clone(), figure(s)));
    out.gauges(
        "budget_units_per_second",
        "Highest rate that the scope may use, in capacity units per second. For partition keys and key ranges, the rate of a single one.",
        of(|scope| scope.budget),
    );
    out.gauges(
        "rate_units_per_second",
        "Rate that the scope may use now, in capacity units per second. Lower than its budget while it recovers from throttles.",
        scopes.iter().filter_map(|scope| Some((scope.labels.clone(), scope.rate?))),
    );
    let waits_elsewhere = view.waits_elsewhere().map(|(scope, waiting)| (scope_labels(scope, "", ""), waiting as f64));
    out.gauges(
        "waiting_requests",
        "Requests that wait now, by the reason for the wait.",
        of(|scope| scope.waiting).chain(waits_elsewhere),
    );
    out.counters(
        "wait_seconds",
        "Time that requests of this session waited for the scope. Waits that have not ended are not included.",
        of(|scope| scope.waited),
    );
    out.counters(
        "throttles",
        "Requests of this session that DynamoDB throttled, by the scope that slowed down. One request can count for several scopes.",
        of(|scope| scope.throttles),
    );
    write_units(out, &view.figures.measures.units, &view.capacity.index_names);
    out.gauges(
        "key_range_rate_units_per_second",
        "Lowest rate of the key ranges in progress, by range of segments (at most 64 ranges).",
        key_range_rates(view),
    );
}

fn scope_labels(scope: &str, index: &str, access: &str) -> Labels {
    vec![("scope", scope.to_owned()), ("index", index.to_owned()), ("access", access.to_owned())]
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
    }
}

fn scopes(capacity: &CapacityView) -> Vec<ScopeFigures> {
    let wide = capacity.scopes.iter().map(|scope| ScopeFigures {
        labels: scope_labels(if scope.is_index { "index" } else { "table" }, &scope.name, access_name(scope.access)),
        budget: scope.budget,
        rate: Some(scope.rate),
        waiting: scope.waiting as f64,
        waited: scope.waited.as_secs_f64(),
        throttles: scope.throttles as f64,
    });
    let narrow = capacity.narrow.iter().map(|narrow| ScopeFigures {
        labels: scope_labels(&narrow.kind.replace(' ', "_"), "", access_name(narrow.access)),
        budget: narrow.budget,
        rate: None,
        waiting: narrow.waiting as f64,
        waited: narrow.waited.as_secs_f64(),
        throttles: narrow.throttles as f64,
    });
    wide.chain(narrow).collect()
}

fn write_units(out: &mut Families, units: &ConsumedUnits, index_names: &[String]) {
    let table = [("table", "", "read", units.reads), ("table", "", "write", units.writes)];
    let indexes = units.indexes.iter().zip(index_names).filter(|(pair, _)| **pair != UnitPair::default());
    let indexes = indexes.map(|(pair, name)| ("index", name.as_str(), "write", *pair));
    let unlisted = UnitPair { consumed: units.unlisted, estimated: 0.0 };
    let unlisted = (units.unlisted > 0.0).then_some(("index", UNLISTED, "write", unlisted));
    let all: Vec<_> = table.into_iter().chain(indexes).chain(unlisted).collect();
    let of = |figure: fn(&UnitPair) -> f64| {
        all.iter().map(move |(scope, index, access, pair)| (scope_labels(scope, index, access), figure(pair)))
    };
    out.counters(
        "consumed_capacity_units",
        "Capacity units that DynamoDB's replies of this session report, including pages that are not committed yet.",
        of(|pair| pair.consumed),
    );
    out.counters(
        "estimated_capacity_units",
        "Estimate, made before sending, of the capacity units that backfill_consumed_capacity_units_total counts.",
        of(|pair| pair.estimated),
    );
}

/// Returns the lowest rate in each range of segments.
fn key_range_rates(view: &PassView) -> Vec<Sample> {
    let mut lowest: BTreeMap<(usize, &str), f64> = BTreeMap::new();
    for range in &view.capacity.key_ranges {
        let Some(position) = view.ranges.position(range.segment) else { continue };
        for (access, rate) in [("read", range.read_rate), ("write", range.write_rate)] {
            let known = lowest.entry((position, access)).or_insert(rate);
            *known = known.min(rate);
        }
    }
    let sample = |((position, access), rate): (&(usize, &str), &f64)| {
        let mut labels = range_label(view.ranges.0.get(*position)?);
        labels.push(("access", (*access).to_owned()));
        Some((labels, *rate))
    };
    lowest.iter().filter_map(sample).collect()
}

/// Returns the label of a range of segments: `0-15`.
pub(super) fn range_label(range: &SegmentRange) -> Labels {
    label("segments", format!("{}-{}", range.first, range.last))
}
