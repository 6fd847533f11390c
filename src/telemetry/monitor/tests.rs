use jiff::ToSpan as _;
use jiff::tz::TimeZone;

use super::*;
use crate::change::WriteCost;
use crate::clock;
use crate::cost::UnitPrices;
use crate::dynamodb::TableDescription;
use crate::engine::{PauseSource, StopReason};
use crate::item::{PartitionHash, Value};
use crate::plan::{PlanLimits, Prices, Window};
use crate::ratelimit::{Budget, Budgets, Feedback};

const WIDE: [f64; 4] = [1e6; 4];

/// Creates sources with four budgets, for the table, a key range, a partition key and an index. The budgets are in
/// write units per second. The clocks follow the paused time of the test.
pub(in crate::telemetry) fn sources(budgets: [f64; 4]) -> ProgressSources {
    sources_in(budgets, None)
}

fn sources_in([table, range, key, index]: [f64; 4], window: Option<Window>) -> ProgressSources {
    let limits = PlanLimits { window, ..PlanLimits::none() };
    let both = |units| Budget { write: units, read: units };
    let budgets = Budgets {
        table: both(table),
        per_key_range: both(range),
        per_partition_key: both(key),
        indexes: vec![Some(index)],
    };
    let prices = UnitPrices::for_table(&TableDescription::for_tests(), &Prices::default());
    let began = (clock::moments())();
    let moments = move || {
        let monotonic = tokio::time::Instant::now();
        Moment { monotonic, wall: began.wall + (monotonic - began.monotonic) }
    };
    let moments: clock::MomentClock = Arc::new(moments);
    let machine = Machine { moments, boot: Arc::new(|| None), ..Machine::system() };
    ProgressSources {
        progress: Arc::default(),
        scopes: Scopes::new(&budgets, &["by-email".to_owned()], Feedback::default()),
        work_window: WorkWindow::new(&limits, machine.wall()),
        allowance: Allowance::new(&limits, budgets.table, prices),
        pause: PauseSwitch::default(),
        stop: Stopper::default(),
        machine,
        stall_after: Duration::from_secs(300),
        counts_before: Counts::default(),
        ranges_before: SegmentRanges::default(),
        segments_before: 0,
        total_segments: 1,
        item_estimate: 0,
        clocks_before: ActivityClocks::default(),
    }
}

/// Returns the activity while three writes wait. Each of them needs more capacity than is available. Two of the writes
/// have the same partition key.
async fn activity_while_writes_wait(budgets: [f64; 4]) -> String {
    let sources = sources(budgets);
    sources.progress.answered();
    let mut monitor = Monitor::new(sources.clone());
    assert_eq!(monitor.look().current.to_string(), "scanning");
    let range = sources.scopes.key_range();
    let write = |key: &str| {
        let scopes = Arc::clone(&sources.scopes);
        let range = Arc::clone(&range);
        let key = PartitionHash::from_value(&Value::S(key.to_owned()));
        tokio::spawn(async move {
            let cost = WriteCost { table: 60.0, indexes: vec![(0, 60.0)] };
            scopes.acquire_keys(Access::Write, &[(key, cost.table)]).await;
            scopes.acquire_narrow_write(&range, &cost).await;
            scopes.table(Access::Write).acquire(cost.table).await;
        })
    };
    let writes = ["P#1", "P#1", "P#2"].map(write);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let waiting = monitor.look().current.to_string();
    for write in writes {
        write.abort();
        let _ = write.await;
    }
    assert_eq!(monitor.look().current.to_string(), "scanning", "no request may still be waiting");
    waiting
}

#[tokio::test(start_paused = true)]
async fn the_activity_names_the_scope_but_no_key() {
    const WIDE: f64 = 1e6;
    for (budgets, what) in [
        ([WIDE, WIDE, WIDE, WIDE], "scanning"),
        ([10.0, WIDE, WIDE, WIDE], "waiting for the budget of the table's writes, 10 WCU/s"),
        ([10.0, WIDE, WIDE, 20.0], "waiting for the budget of index by-email, 20 WCU/s"),
        ([WIDE, 10.0, WIDE, WIDE], "waiting for the budget of a key range, up to 10 WCU/s (2 requests)"),
        ([WIDE, WIDE, 10.0, WIDE], "waiting for the budget of a partition key, up to 10 WCU/s (1 request)"),
        (
            [20.0, WIDE, 10.0, WIDE],
            "waiting for the budget of a partition key, up to 10 WCU/s (1 request), and for the budget of the table's \
             writes, 20 WCU/s",
        ),
    ] {
        assert_eq!(activity_while_writes_wait(budgets).await, what);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_wait_for_narrow_scopes_as_well() {
    for (range, key, kind) in [(10.0, 1e6, "key range"), (1e6, 10.0, "partition key")] {
        let sources = sources([1e6, range, key, 1e6]);
        let of = sources.scopes.key_range();
        let key = Some(PartitionHash::from_value(&Value::S("P#1".to_owned())));
        sources.scopes.read(&of, key, 60.0).await;
        let waits = tokio::time::timeout(Duration::from_secs(1), sources.scopes.read(&of, key, 60.0));
        let looks = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Monitor::new(sources.clone()).look().current.to_string()
        };
        let (waited, text) = tokio::join!(waits, looks);
        assert!(waited.is_err(), "the read must wait for capacity");
        assert_eq!(text, format!("waiting for the budget of a {kind}, up to 10 RCU/s (1 request)"));
    }
}

/// Looks once a second for this many seconds, and returns the last view.
async fn look_for(monitor: &mut Monitor, seconds: u64) -> PassView {
    let mut view = monitor.look();
    for _ in 0..seconds {
        tokio::time::sleep(LOOK_EVERY).await;
        view = monitor.look();
    }
    view
}

#[tokio::test(start_paused = true)]
async fn a_hung_request_stalls_the_pass_and_is_named() {
    let sources = sources(WIDE);
    let mut monitor = Monitor::new(sources.clone());
    let segment = sources.progress.begin_segment(Some(7));
    segment.begin_page(12);
    let sent = segment.send(Access::Read);
    assert_eq!(look_for(&mut monitor, 299).await.current.activity, Activity::Starting);
    let view = look_for(&mut monitor, 2).await;
    assert_eq!(view.current.activity, Activity::Stalled);
    let text = view.current.to_string();
    assert!(text.starts_with("stalled: no request was answered for 5 min"), "{text}");
    assert!(text.contains("segment 7, page 12: 1 read without an answer for "), "{text}");
    drop(sent);
    sources.progress.answered();
    let view = look_for(&mut monitor, 1).await;
    assert_eq!(view.current.activity, Activity::Scanning);
    assert!(view.clocks.of(Activity::Stalled) > Duration::ZERO, "{}", view.clocks);
}

#[tokio::test(start_paused = true)]
async fn half_an_hour_of_throttles_is_no_stall() {
    let sources = sources(WIDE);
    let mut monitor = Monitor::new(sources.clone());
    let mut last = None;
    for _ in 0..90 {
        sources.progress.throttled();
        sources.scopes.table(Access::Write).throttled();
        let backing_off = sources.progress.backing_off(true);
        let view = look_for(&mut monitor, 20).await;
        assert_eq!(view.current.activity, Activity::Throttled, "{}", view.current);
        drop(backing_off);
        last = Some(view);
    }
    let view = last.unwrap();
    let text = view.current.to_string();
    assert!(text.starts_with("throttled: 90 requests so far"), "{text}");
    assert_eq!(view.clocks.of(Activity::Stalled), Duration::ZERO);
    assert!(view.clocks.of(Activity::Throttled) >= Duration::from_secs(1_790), "{}", view.clocks);
}

#[tokio::test(start_paused = true)]
async fn errors_without_any_answer_are_a_stall_after_the_set_time() {
    let sources = sources(WIDE);
    let mut monitor = Monitor::new(sources.clone());
    sources.progress.request_failed("connection refused");
    let _backing_off = sources.progress.backing_off(false);
    let view = look_for(&mut monitor, 200).await;
    assert_eq!(view.current.to_string(), "backing off: 1 request: connection refused");
    let view = look_for(&mut monitor, 101).await;
    assert_eq!(view.current.activity, Activity::Stalled);
    assert!(view.current.detail.contains("last error: connection refused"), "{}", view.current);
}

#[tokio::test(start_paused = true)]
async fn a_pause_a_closed_window_and_a_drain_are_no_stall() {
    // The window is open for one minute a day, six hours from now.
    let opens = Timestamp::now().to_zoned(TimeZone::UTC).time().wrapping_add(6.hours());
    let window = Window { opens, closes: opens.wrapping_add(1.minute()), zone: TimeZone::UTC };
    let night = sources_in(WIDE, Some(window));
    let paused = sources([0.0, 1e6, 1e6, 1e6]);
    let by_operator = sources(WIDE);
    by_operator.pause.pause(PauseSource::Operator, "by ann@host since noon");
    let draining = sources(WIDE);
    draining.stop.stop(StopReason::Interrupted);
    for (sources, activity, text) in [
        (night, Activity::OutsideWindow, "waiting for the window until "),
        (paused, Activity::Paused, "paused: the budget of the table's reads is 0"),
        (by_operator, Activity::Paused, "paused: by ann@host since noon"),
        (draining, Activity::Draining, "draining: it was interrupted"),
    ] {
        let mut monitor = Monitor::new(sources.clone());
        let _sent = sources.progress.begin_segment(Some(1));
        let view = look_for(&mut monitor, 2_000).await;
        assert_eq!(view.current.activity, activity);
        assert!(view.current.to_string().starts_with(text), "{}", view.current);
        assert_eq!(view.clocks.of(activity).as_secs(), 2_000, "{}", view.clocks);
        assert_eq!(view.clocks.total(), view.clocks.of(activity));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_machine_is_asleep_and_not_stalled() {
    let sources = sources(WIDE);
    let mut monitor = Monitor::new(sources.clone());
    let segment = sources.progress.begin_segment(Some(1));
    let _sent = segment.send(Access::Write);
    look_for(&mut monitor, 10).await;
    // The monitor does not read the figures for an hour, as if the process had been stopped.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let view = monitor.look();
    assert_eq!(view.current.activity, Activity::Starting, "the process has just woken up");
    assert_eq!(view.clocks.of(Activity::Asleep).as_secs(), 3_599);
    assert_eq!(view.clocks.of(Activity::Stalled), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_clocks_continue_after_a_restart() {
    let mut sources = sources(WIDE);
    sources.progress.answered();
    sources.clocks_before.add(Activity::Throttled, Duration::from_secs(60));
    let mut monitor = Monitor::new(sources);
    let view = look_for(&mut monitor, 30).await;
    assert_eq!(view.clocks.to_string(), "throttled 1 min 0 s, scanning 30 s");
}
