//! Collects the live figures from the view of a pass.

use super::{
    AccessKind, HotKeyFigures, KeyRangeFigures, LimitFigures, LiveFigures, RangeFigures, RateFigures, ScopeFigures,
    ScopeKind, SpendFigures, WaitFigures,
};
use crate::change::Outcome;
use crate::engine::{LimitStatus, SegmentRange};
use crate::telemetry::{ActivityChange, PassView, Rates};

/// The maximum number of key ranges in the list. The list contains the key ranges with the lowest rates.
const LISTED_RANGES: usize = 16;

/// The maximum number of segments with hung requests in the list.
const LISTED_HUNG: usize = 16;

/// The fraction of the items that must be done before the tool forecasts the total cost. Before that, the first pages
/// would influence the forecast too much.
const SETTLED: f64 = 0.02;

impl LiveFigures {
    /// Returns the figures of a view.
    pub fn new(view: &PassView) -> LiveFigures {
        let pace = &view.pace;
        let seconds = view.clocks.total().as_secs_f64();
        let rates = |rates: Rates| RateFigures {
            items_per_s: rates.items,
            wcu_per_s: rates.write_units,
            rcu_per_s: rates.read_units,
        };
        let range = |range: &SegmentRange| RangeFigures {
            first: range.first,
            last: range.last,
            done: range.done,
            items: range.items,
        };
        LiveFigures {
            at: view.at,
            activity: ActivityChange {
                since: view.since,
                state: view.current.activity,
                detail: view.current.detail.clone(),
            },
            seconds: view.clocks.to_json(),
            hung: view.hung.iter().take(LISTED_HUNG).map(ToString::to_string).collect(),
            items: pace.done(),
            item_estimate: pace.estimate(),
            percent: pace.percent(),
            rates: pace.rates().map(rates),
            average_items_per_s: (seconds >= 1.0).then(|| pace.done() as f64 / seconds),
            eta: pace.eta().map(Into::into),
            segments_done: view.segments_done,
            total_segments: view.total_segments,
            ranges: view.ranges.0.iter().map(range).collect(),
            failures: view.totals.failures(),
            conflicts: view.totals.of(Outcome::Conflict),
            diverged: view.totals.of(Outcome::Diverged),
            throttled: view.figures.throttled,
            failed_requests: view.figures.failed_requests,
            scopes: scopes(view),
            slowed_by: view.slowdown.clone(),
            waits: waits(view),
            hot_keys: hot_keys(view),
            key_ranges: key_ranges(view),
            spend: spend(view),
            recent: view.recent.clone(),
            last_answer: view.last.answer,
            last_commit: view.last.commit,
        }
    }
}

fn scopes(view: &PassView) -> Vec<ScopeFigures> {
    let wide = view.capacity.scopes.iter().map(|scope| ScopeFigures {
        scope: if scope.is_index { ScopeKind::Index } else { ScopeKind::Table },
        index: scope.is_index.then(|| scope.name.clone()),
        access: AccessKind::of(scope.access),
        budget: scope.budget,
        rate: Some(scope.rate),
        waiting: scope.waiting as u64,
        waited_s: scope.waited.as_secs_f64(),
        throttles: scope.throttles,
    });
    let narrow = view.capacity.narrow.iter().map(|narrow| ScopeFigures {
        scope: if narrow.kind == "partition key" { ScopeKind::PartitionKey } else { ScopeKind::KeyRange },
        index: None,
        access: AccessKind::of(narrow.access),
        budget: narrow.budget,
        rate: None,
        waiting: narrow.waiting as u64,
        waited_s: narrow.waited.as_secs_f64(),
        throttles: narrow.throttles,
    });
    wide.chain(narrow).collect()
}

fn waits(view: &PassView) -> Vec<WaitFigures> {
    view.waits_elsewhere().map(|(name, waiting)| WaitFigures { name: name.to_owned(), waiting }).into()
}

fn hot_keys(view: &PassView) -> Vec<HotKeyFigures> {
    let figures = view.capacity.hot_keys.iter().map(|hot| HotKeyFigures {
        hash: format!("{:016x}", hot.key.number()),
        access: AccessKind::of(hot.access),
        rate: hot.rate,
        waiting: hot.waiting as u64,
        throttles: hot.throttles,
    });
    figures.collect()
}

fn key_ranges(view: &PassView) -> Vec<KeyRangeFigures> {
    let budget = |kind: AccessKind| {
        let of_range =
            scopes(view).into_iter().find(|scope| scope.scope == ScopeKind::KeyRange && scope.access == kind);
        of_range.map_or(0.0, |scope| scope.budget)
    };
    let (write, read) = (budget(AccessKind::Write), budget(AccessKind::Read));
    // A range can be slow for writes or for reads. A pass that only reads has full write rates.
    let share = |range: &KeyRangeFigures| {
        let of = |rate: f64, budget: f64| if budget > 0.0 { rate / budget } else { 1.0 };
        of(range.write_rate, write).min(of(range.read_rate, read))
    };
    let mut ranges: Vec<_> = view
        .capacity
        .key_ranges
        .iter()
        .map(|range| KeyRangeFigures {
            segment: range.segment,
            write_rate: range.write_rate,
            read_rate: range.read_rate,
        })
        .collect();
    ranges.sort_by(|a, b| share(a).total_cmp(&share(b)).then(a.segment.cmp(&b.segment)));
    ranges.truncate(LISTED_RANGES);
    ranges
}

fn spend(view: &PassView) -> Option<SpendFigures> {
    let allowance = view.allowance.as_ref()?;
    let limit =
        |status: &LimitStatus| LimitFigures { name: status.name.to_owned(), limit: status.limit, left: status.left };
    let (done, estimate) = (view.pace.done(), view.pace.estimate());
    Some(SpendFigures {
        wcu: allowance.spent.write,
        rcu: allowance.spent.read,
        dollars: allowance.dollars,
        forecast_dollars: forecast(allowance.dollars, done, estimate),
        limits: allowance.limits.iter().map(limit).collect(),
    })
}

/// Forecasts the total cost of a run, in US dollars. Assumes that the remaining items cost as much per item as the
/// items so far. Returns `None` if the number of items is unknown, or if too few items are done.
pub fn forecast(dollars: f64, done: u64, estimate: u64) -> Option<f64> {
    let is_settled = estimate > 0 && done > 0 && done as f64 >= estimate as f64 * SETTLED;
    is_settled.then(|| dollars * (estimate.max(done) as f64 / done as f64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Access;
    use crate::telemetry::monitor::tests::sources;
    use crate::telemetry::{Activity, Monitor};

    #[tokio::test(start_paused = true)]
    async fn live_figures_read_back() {
        let sources = sources([1_000.0, 250.0, 250.0, 500.0]);
        let mut monitor = Monitor::new(sources.clone());
        monitor.look();
        sources.progress.answered();
        let mut view = monitor.look();
        let key = crate::item::PartitionHash::from_value(&crate::item::Value::S("customer".to_owned()));
        let hot = crate::ratelimit::HotKeyStatus { key, access: Access::Write, rate: 2.5, waiting: 3, throttles: 4 };
        view.capacity.hot_keys = vec![hot];
        let figures = LiveFigures::new(&view);
        assert_eq!(figures.recent.last().unwrap().state, Activity::Scanning);
        assert!(figures.scopes.iter().any(|scope| scope.name() == "index by-email"), "{figures:#?}");
        assert_eq!(figures.hot_keys[0].hash.len(), 16);
        let json = serde_json::to_string(&figures).unwrap();
        assert!(!json.contains("customer"), "a key is private data: {json}");
        assert_eq!(serde_json::from_str::<LiveFigures>(&json).unwrap(), figures);
    }

    /// Everything that shows an activity uses the same names.
    #[test]
    fn an_activity_has_one_name() {
        for activity in Activity::ALL {
            assert_eq!(serde_json::to_value(activity).unwrap(), activity.name());
        }
    }

    proptest! {
        /// A forecast is never less than what is already spent.
        #[test]
        fn a_forecast_includes_what_is_spent(dollars in 0.0_f64..1e6, done in 0_u64..1_000_000, estimate in 0_u64..1_000_000) {
            match forecast(dollars, done, estimate) {
                Some(total) => prop_assert!(total.is_finite() && total >= dollars, "{total} of {dollars}"),
                None => prop_assert!(estimate == 0 || (done as f64) < estimate as f64 * SETTLED || done == 0),
            }
        }
    }
}
