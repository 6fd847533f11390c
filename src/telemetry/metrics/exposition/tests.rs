use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::change::Outcome;
use crate::engine::{AllowanceStatus, LimitStatus, SegmentRanges, UnitPair};
use crate::ratelimit::KeyRangeStatus;
use crate::state::{OpenWork, RunId, Spend};
use crate::telemetry::metrics::{RunLabels, Stage, VerificationFigures, livez, readyz};
use crate::telemetry::monitor::tests::sources;
use crate::telemetry::{CurrentActivity, Monitor};

/// Returns a view of a pass that has just begun.
pub(in crate::telemetry::metrics) fn view() -> PassView {
    Monitor::new(sources([1_000.0, 250.0, 250.0, 500.0])).look()
}

pub(in crate::telemetry::metrics) fn shown(view: PassView) -> ShownPass {
    let labels = RunLabels {
        migration: "rename".to_owned(),
        table: "shop".to_owned(),
        phase: "expand",
        run: RunId::from_number(7),
    };
    ShownPass { labels, view: Arc::new(view), is_running: true }
}

fn text(view: PassView, format: Format) -> String {
    let now = view.at;
    let health = BTreeMap::new();
    Exposition { pass: Some(shown(view)), health, state: StateFigures::default(), hook_failures: 2, now }
        .to_text(format)
        .unwrap()
}

/// Returns the samples. Each sample is the part of a line before its value, and the value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn exactly_one_activity_is_current() {
    for activity in Activity::ALL {
        for format in [Format::OpenMetrics, Format::Prometheus] {
            let current = CurrentActivity::new(activity, "index by-email; last error: \"P#1\"");
            let text = text(PassView { current, ..view() }, format);
            let samples = samples(&text);
            for other in Activity::ALL {
                let expected = f64::from(u8::from(other == activity));
                assert_eq!(samples[&format!("backfill_activity{{activity=\"{}\"}}", other.name())], expected, "{text}");
            }
            assert!(!text.contains("P#1"), "the reason may name anything, so it is no label: {text}");
        }
    }
}

/// RUNBOOK: "A stalled pass fails `/readyz` but not `/livez`, because a restart would stall again"
#[tokio::test(start_paused = true)]
async fn only_a_stall_makes_a_running_pass_unready() {
    let now = tokio::time::Instant::now();
    for activity in Activity::ALL {
        let pass = shown(PassView { current: CurrentActivity::new(activity, ""), ..view() });
        let ready = readyz(Some(&pass), Stage::Open, now);
        assert_eq!((ready.is_good, ready.text), (activity != Activity::Stalled, activity.name()));
        let live = livez(Some(&pass), Stage::Open, now);
        assert_eq!((live.is_good, live.text), (true, activity.name()));
        // A pass whose monitor no longer reads figures is not alive, regardless of the figures that the monitor read
        // last.
        let late = now + Duration::from_secs(31);
        assert!(
            !livez(Some(&pass), Stage::Open, late).is_good && !readyz(Some(&pass), Stage::Open, late).is_good,
            "{activity:?}"
        );
        let ended = ShownPass { is_running: false, ..pass };
        assert!(
            livez(Some(&ended), Stage::Open, late).is_good && !readyz(Some(&ended), Stage::Open, late).is_good,
            "{activity:?}"
        );
    }
    let stages = [Stage::Checking, Stage::AwaitingLease, Stage::Open, Stage::Ended];
    let texts = stages.map(|stage| {
        let (live, ready) = (livez(None, stage, now), readyz(None, stage, now));
        assert!(live.is_good && !ready.is_good && live.text == ready.text, "{stage:?}");
        ready.text
    });
    assert!(texts.iter().all(|text| texts.iter().filter(|other| *other == text).count() == 1), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn the_whole_text_for_one_view() {
    let mut view = view();
    [Outcome::Applied, Outcome::Applied, Outcome::Diverged].into_iter().for_each(|outcome| view.totals.count(outcome));
    view.totals.write_units = 4.0;
    view.totals.read_units = 0.5;
    view.figures.measures.units.writes = UnitPair { consumed: 4.0, estimated: 6.0 };
    view.figures.measures.units.indexes = vec![UnitPair { consumed: 2.0, estimated: 1.0 }];
    view.figures.measures.errors = [3, 2, 1, 0, 0];
    view.figures.measures.latencies[2].buckets[3] = 2;
    view.figures.measures.latencies[2].sum = Duration::from_millis(15);
    view.ranges = SegmentRanges::new(3);
    view.ranges.add(1, 3, true);
    view.total_segments = 3;
    view.segments_done = 1;
    let rate = |segment, write_rate| KeyRangeStatus { segment, write_rate, read_rate: 750.0 };
    view.capacity.key_ranges = vec![rate(0, 250.0), rate(2, 20.0)];
    let limits = vec![LimitStatus { name: "max_wcu", limit: 100.0, left: 94.0 }];
    let spent = Spend { write: 6.0, read: 0.5 };
    view.allowance = Some(AllowanceStatus { spent, dollars: 0.25, limits, spend_waiting: 1, items_waiting: 2 });
    view.at = Timestamp::UNIX_EPOCH;
    view.last.answer = Timestamp::UNIX_EPOCH;
    view.last.commit = Timestamp::UNIX_EPOCH;
    let verification = VerificationFigures {
        migration: "rename".to_owned(),
        scope: "all".to_owned(),
        compared: 100,
        mismatches: 2,
        repaired: 1,
        ended: Some(Timestamp::UNIX_EPOCH),
    };
    let state = StateFigures { open: Some(OpenWork { failures: 5, diverged: 1 }), verification: Some(verification) };
    let now = Timestamp::UNIX_EPOCH + Duration::from_secs(12);
    let health = BTreeMap::from([("api".to_owned(), false), ("throttles".to_owned(), true)]);
    let exposition = Exposition { pass: Some(shown(view)), health, state, hook_failures: 2, now };
    let text = exposition.to_text(Format::OpenMetrics).unwrap();
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "[version]"));
}

#[tokio::test(start_paused = true)]
async fn without_a_pass_only_the_state_is_shown() {
    let state = StateFigures { open: Some(OpenWork { failures: 5, diverged: 1 }), verification: None };
    let now = Timestamp::UNIX_EPOCH;
    let text = Exposition { pass: None, health: BTreeMap::new(), state, hook_failures: 0, now }
        .to_text(Format::Prometheus)
        .unwrap();
    let samples = samples(&text);
    let names: Vec<&str> = samples.keys().map(|name| name.split('{').next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "backfill_build_info",
            "backfill_hook_failures_total",
            "backfill_open_diverged",
            "backfill_open_failures",
            "backfill_pass_active"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn names_from_outside_are_escaped() {
    let mut view = view();
    for scope in view.capacity.scopes.iter_mut().filter(|scope| scope.is_index) {
        scope.name = "a\"} 1\nbackfill_forged 1".to_owned();
    }
    let text = text(view, Format::Prometheus);
    assert!(text.contains(r#"index="a\"} 1\nbackfill_forged 1""#), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("backfill_forged")), "{text}");
}

proptest! {
    /// Whatever the number of segments and of key ranges, the number of samples is bounded.
    #[test]
    fn the_number_of_samples_is_bounded(total in 1_u32..1_000_001, key_ranges in prop::collection::vec(any::<u32>(), 0..500)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let text = runtime.block_on(async {
            let mut view = view();
            view.total_segments = u64::from(total);
            view.ranges = SegmentRanges::new(total);
            let status = |n: &u32| KeyRangeStatus { segment: n % total, write_rate: 1.0, read_rate: 2.0 };
            view.capacity.key_ranges = key_ranges.iter().map(status).collect();
            text(view, Format::OpenMetrics)
        });
        let of = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
        prop_assert!(of("backfill_segment_range_items_total") <= 64);
        prop_assert!(of("backfill_key_range_rate_units_per_second") <= 2 * 64);
        prop_assert!(text.lines().count() < 800, "{}", text.lines().count());
    }
}
