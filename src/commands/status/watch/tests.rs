//! Draws the view of invented migrations on an in-memory screen.

use backfill::internals::steering::{Paused, Settings};
use backfill::internals::telemetry::display::{ASCII, UNICODE};
use backfill::internals::telemetry::heat::HeatCell;
use backfill::internals::telemetry::{
    AccessKind, Activity, ActivityChange, EtaFigures, HotKeyFigures, KeyRangeFigures, LimitFigures, LiveFigures,
    RangeFigures, RateFigures, ScopeFigures, ScopeKind, SpendFigures, WaitFigures,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::data::{FileFigures, Process, RunFigures, WatchData, WorkerFigures};
use super::draw::{Look, draw, panel_width};
use super::keys::Mode;
use super::rows::Content;
use super::rows::Frame;
use super::view::view;

const LOOK: Look = Look { color: true, glyphs: UNICODE };

fn now() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn change(seconds: i64, state: Activity, detail: &str) -> ActivityChange {
    ActivityChange { since: ago(seconds), state, detail: detail.to_owned() }
}

fn scope(
    scope: ScopeKind,
    access: AccessKind,
    (rate, budget): (f64, f64),
    (waiting, throttles): (u64, u64),
) -> ScopeFigures {
    ScopeFigures {
        scope,
        index: (scope == ScopeKind::Index).then(|| "by-email".to_owned()),
        access,
        budget,
        rate: matches!(scope, ScopeKind::Table | ScopeKind::Index).then_some(rate),
        waiting,
        waited_s: waiting as f64 * 100.0,
        throttles,
    }
}

/// Returns a run that is throttled in the middle of its work.
fn live() -> LiveFigures {
    use AccessKind::{Read, Write};
    LiveFigures {
        at: now(),
        activity: change(
            83,
            Activity::Throttled,
            "index by-email (41 requests so far); slowed: index by-email, 50 of 200 WCU/s",
        ),
        seconds: serde_json::json!({ "scanning": 60.0, "throttled": 83.0 }),
        hung: Vec::new(),
        items: 33_000,
        item_estimate: 80_000,
        percent: Some(41),
        rates: Some(RateFigures { items_per_s: 212.4, wcu_per_s: 424.8, rcu_per_s: 61.0 }),
        average_items_per_s: Some(230.8),
        eta: Some(EtaFigures { low_s: 200, likely_s: 221, high_s: 250 }),
        segments_done: 5,
        total_segments: 16,
        ranges: (0..16)
            .map(|n| RangeFigures { first: n, last: n, done: u64::from(n < 5), items: u64::from(16 - n) * 300 })
            .collect(),
        failures: 2,
        conflicts: 1,
        diverged: 7,
        throttled: 41,
        failed_requests: 0,
        scopes: vec![
            scope(ScopeKind::Table, Read, (2_000.0, 2_000.0), (0, 0)),
            scope(ScopeKind::Table, Write, (500.0, 500.0), (2, 0)),
            scope(ScopeKind::Index, Write, (50.0, 200.0), (12, 41)),
            scope(ScopeKind::PartitionKey, Write, (0.0, 250.0), (3, 9)),
            scope(ScopeKind::KeyRange, Write, (0.0, 250.0), (0, 0)),
        ],
        waits: vec![
            WaitFigures { name: "in_flight_limit".to_owned(), waiting: 4 },
            WaitFigures { name: "lease_and_flag".to_owned(), waiting: 0 },
        ],
        hot_keys: vec![HotKeyFigures {
            hash: "00c0ffee12345678".to_owned(),
            access: Write,
            rate: 25.0,
            waiting: 3,
            throttles: 9,
        }],
        key_ranges: vec![
            KeyRangeFigures { segment: 7, write_rate: 80.0, read_rate: 750.0 },
            KeyRangeFigures { segment: 8, write_rate: 250.0, read_rate: 750.0 },
        ],
        spend: Some(SpendFigures {
            wcu: 66_000.0,
            rcu: 4_100.0,
            dollars: 0.0417,
            forecast_dollars: Some(0.101),
            limits: vec![LimitFigures { name: "max_wcu".to_owned(), limit: 70_000.0, left: 4_000.0 }],
        }),
        slowed_by: None,
        recent: vec![
            change(143, Activity::Scanning, ""),
            change(83, Activity::Throttled, "index by-email (1 request so far)"),
        ],
        last_answer: ago(0),
        last_commit: ago(1),
    }
}

/// Returns the state file figures of the throttled run.
fn file() -> FileFigures {
    let cells = |n: u64| HeatCell { segments: 1, done: u64::from(n < 5), items: (16 - n) * 300 };
    let unknown = |figures: LiveFigures| LiveFigures {
        rates: None,
        average_items_per_s: None,
        eta: None,
        scopes: Vec::new(),
        waits: Vec::new(),
        hot_keys: Vec::new(),
        key_ranges: Vec::new(),
        slowed_by: None,
        recent: Vec::new(),
        ..figures
    };
    FileFigures {
        migration: "rename-email".to_owned(),
        table: "arn:aws:dynamodb:eu-west-1:123456789012:table/users".to_owned(),
        stage: "expand",
        next: None,
        same_plan: true,
        run: Some(RunFigures {
            name: "run 3 (expand)".to_owned(),
            status: "running",
            is_unfinished: true,
            died: false,
            stop_reason: None,
            scanning: 8,
            cells: (0..16).map(cells).collect(),
            committed: unknown(live()),
        }),
        worker: Some(WorkerFigures {
            description: "running: process 7 on host h, since 2026-11-30T11:57:00Z".to_owned(),
            current: Some(change(83, Activity::Throttled, "index by-email")),
        }),
        settings: Settings::default(),
        steps: vec![
            (ago(200), "Preflight accepted (ann@laptop)".to_owned()),
            (ago(180), "Began: expand (ann@laptop)".to_owned()),
        ],
    }
}

fn running() -> WatchData {
    WatchData { file: Some(file()), process: Process::Pass(Box::new(live())), ..WatchData::default() }
}

fn paused() -> WatchData {
    let mut data = running();
    let why = "by ann@laptop since 2026-11-30T11:59:00Z: the application is slow";
    let live = LiveFigures { activity: change(60, Activity::Paused, why), hot_keys: Vec::new(), ..live() };
    data.process = Process::Pass(Box::new(live));
    let paused =
        Paused { by: "ann@laptop".to_owned(), at: ago(60), reason: Some("the application is slow".to_owned()) };
    data.file.as_mut().unwrap().settings.paused = Some(paused);
    data
}

fn stalled() -> WatchData {
    let hung = "segment 7, page 12: 1 read without an answer for 5 min 0 s".to_owned();
    let live = LiveFigures {
        activity: change(300, Activity::Stalled, "no request was answered for 5 min 0 s; segment 7, page 12: 1 read"),
        hung: vec![hung],
        eta: None,
        ..live()
    };
    WatchData { process: Process::Pass(Box::new(live)), ..running() }
}

fn crashed() -> WatchData {
    let mut file = file();
    file.worker = None;
    file.next = Some("backfill run plan.toml".to_owned());
    let run = file.run.as_mut().unwrap();
    run.died = true;
    WatchData { file: Some(file), process: Process::None, ..WatchData::default() }
}

fn finished() -> WatchData {
    let mut data = crashed();
    let file = data.file.as_mut().unwrap();
    file.stage = "verify";
    file.next = Some("backfill verify plan.toml --all".to_owned());
    let run = file.run.as_mut().unwrap();
    (run.died, run.status, run.is_unfinished, run.scanning) = (false, "complete", false, 0);
    let done = |cell: &mut HeatCell| cell.done = 1;
    run.cells.iter_mut().for_each(done);
    let committed = &mut run.committed;
    (committed.percent, committed.items, committed.segments_done, committed.failures) = (Some(100), 80_123, 16, 0);
    (committed.conflicts, committed.diverged) = (0, 0);
    committed.spend.as_mut().unwrap().forecast_dollars = None;
    data
}

/// Returns a migration whose names, reasons and errors contain escape sequences that attack the terminal.
fn hostile() -> WatchData {
    let text = "x\u{1b}[2J\u{202e}\u{9b}31m\ry\n";
    let mut data = paused();
    data.file_error = Some(text.to_owned());
    let file = data.file.as_mut().unwrap();
    (file.migration, file.table) = (text.to_owned(), text.to_owned());
    file.steps.push((ago(5), text.to_owned()));
    file.settings.paused.as_mut().unwrap().reason = Some(text.to_owned());
    let mut live = live();
    live.activity.detail = text.to_owned();
    live.hung = vec![text.to_owned()];
    live.scopes[2].index = Some(text.to_owned());
    live.hot_keys[0].hash = text.to_owned();
    live.waits[0].name = text.to_owned();
    live.recent[0].detail = text.to_owned();
    data.process = Process::Pass(Box::new(live));
    data
}

fn screen(
    data: &WatchData,
    mode: &Mode,
    message: Option<(&str, bool)>,
    (width, height): (u16, u16),
    look: Look,
) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let frame = Frame {
        now: now(),
        mode,
        message,
        width: width.into(),
        panel_width: panel_width(width.into()),
        glyphs: &look.glyphs,
    };
    terminal.draw(|screen| draw(screen, &view(data, frame), look)).unwrap();
    terminal.backend().clone()
}

fn text(data: &WatchData, size: (u16, u16)) -> String {
    format!("\n{}", screen(data, &Mode::View, None, size, LOOK))
}

#[test]
fn a_running_migration() {
    insta::assert_snapshot!("running_120x32", text(&running(), (120, 32)));
    insta::assert_snapshot!("running_80x24", text(&running(), (80, 24)));
    insta::assert_snapshot!("running_40x10", text(&running(), (40, 10)));
    let ascii = Look { color: false, glyphs: ASCII };
    insta::assert_snapshot!(
        "running_80x24_ascii",
        format!("\n{}", screen(&running(), &Mode::View, None, (80, 24), ascii))
    );
}

#[test]
fn other_states() {
    insta::assert_snapshot!("paused_80x24", text(&paused(), (80, 24)));
    insta::assert_snapshot!("stalled_80x24", text(&stalled(), (80, 24)));
    insta::assert_snapshot!("crashed_80x24", text(&crashed(), (80, 24)));
    insta::assert_snapshot!("finished_80x24", text(&finished(), (80, 24)));
    insta::assert_snapshot!("hostile_100x30", text(&hostile(), (100, 30)));
    let unreachable = Process::Unreachable("the socket m.db.sock belongs to another user".to_owned());
    insta::assert_snapshot!("unreachable_80x24", text(&WatchData { process: unreachable, ..running() }, (80, 24)));
    insta::assert_snapshot!("reading_40x10", text(&WatchData::default(), (40, 10)));
    let absent_file = Some(".backfill/m.db".to_owned());
    insta::assert_snapshot!("waiting_80x10", text(&WatchData { absent_file, ..WatchData::default() }, (80, 10)));
}

/// While the pass is paused, its last rates and its ETA would look like figures of the present.
#[test]
fn a_paused_pass_shows_no_rate() {
    let shown = text(&paused(), (120, 32));
    assert!(shown.contains("Capacity units per second, paused") && shown.contains("ETA unknown"), "{shown}");
    for rate in ["212 items/s", "212/s", "425/500", " 500     500"] {
        assert!(!shown.contains(rate), "{rate}: {shown}");
    }
    assert!(text(&running(), (120, 32)).contains(" 500     500"), "{}", text(&running(), (120, 32)));
}

/// The scope for which requests have waited longest comes first, even if other scopes have more waiting requests.
#[test]
fn waits_are_sorted_by_time() {
    let mut figures = live();
    figures.scopes[1].waited_s = 5_000.0;
    let shown = text(&WatchData { process: Process::Pass(Box::new(figures)), ..running() }, (120, 40));
    let at = |part: &str| shown.find(part).unwrap_or_else(|| panic!("{part}: {shown}"));
    let first = at("table writes: 2 now, 1 h 23 min in sum");
    assert!(at("Waiting requests, longest time first") < first && first < at("index by-email: 12 now"), "{shown}");
    assert!(at("index by-email: 12 now") < at("a free slot in flight: 4 now"), "{shown}");
}

/// The help is not cut, even on a narrow screen.
#[test]
fn the_help_is_complete() {
    for width in [40, 80, 100, 140] {
        let shown = screen(&running(), &Mode::Help, None, (width, 40), LOOK).to_string();
        let words: Vec<&str> =
            shown.split(|c: char| c.is_whitespace() || c == '"').filter(|word| !word.is_empty()).collect();
        let shown = words.join(" ");
        for (_, _, text) in super::view::KEYS {
            assert!(shown.contains(text), "{width}: {text}: {shown}");
        }
        assert!(shown.contains("The fuller the character, the more items are committed."), "{width}: {shown}");
    }
}

#[test]
fn the_keys_have_a_help_and_an_input() {
    let shown = |mode: &Mode, message| format!("\n{}", screen(&crashed(), mode, message, (80, 16), LOOK));
    insta::assert_snapshot!("help_80x16", shown(&Mode::Help, None));
    let answer = "rate --write 500: stored: no process works on this migration now. The next `run`, `verify` or other \
                  step forward uses this setting";
    insta::assert_snapshot!("rate_80x16", shown(&Mode::Rate("500".to_owned()), Some((answer, false))));
}

/// Names, reasons and errors reach the drawing library without control characters. The test checks this input instead
/// of the drawn cells: the library itself drops such characters.
#[test]
fn hostile_text_is_escaped() {
    let message = Some(("\u{1b}]0;x\u{7}", true));
    let frame = Frame { now: now(), mode: &Mode::View, message, width: 140, panel_width: 70, glyphs: &LOOK.glyphs };
    let super::view::View { head, panels, foot } = view(&hostile(), frame);
    let in_panels = panels.iter().flat_map(|panel| match &panel.content {
        Content::Rows(rows) => rows.as_slice(),
        Content::Heat { .. } => &[],
    });
    let rows = head.iter().chain(in_panels).chain(&foot);
    let texts: Vec<&str> = rows.flatten().map(|piece| piece.text.as_str()).collect();
    let all = texts.concat();
    assert!(all.contains("\\u{1b}]0;x\\u{7}") && all.contains("\\u{202e}"), "{all}");
    assert!(!all.chars().any(|c| c.is_control() || c == '\u{202e}'), "{all:?}");
}

/// Without colours, every cell is colourless. With colours, no cell has a background, because the terminal can be light
/// or dark.
#[test]
fn colors_are_optional() {
    for data in [running(), paused(), stalled(), crashed(), finished()] {
        let plain = screen(&data, &Mode::View, None, (120, 40), Look { color: false, glyphs: UNICODE });
        assert!(plain.buffer().content().iter().all(|cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset)));
        let colored = screen(&data, &Mode::View, None, (120, 40), LOOK);
        assert!(colored.buffer().content().iter().all(|cell| cell.bg == Color::Reset));
        assert!(colored.buffer().content().iter().any(|cell| cell.fg != Color::Reset));
        assert_eq!(colored.to_string(), plain.to_string(), "no information is in a colour alone");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// The view can be drawn at every size. It always shows the keys and, from three rows on, the state.
    #[test]
    fn every_size_works(width in 1_u16..220, height in 1_u16..80, which in 0_usize..6, unicode in any::<bool>()) {
        let data = [running(), paused(), stalled(), crashed(), finished(), hostile()].into_iter().nth(which).unwrap();
        let look = Look { color: unicode, glyphs: if unicode { UNICODE } else { ASCII } };
        let text = screen(&data, &Mode::View, None, (width, height), look).to_string();
        if width >= 14 {
            prop_assert!(text.lines().last().unwrap().contains("p "), "{text}");
        }
        if width >= 40 && height >= 3 {
            let words = ["throttled", "paused", "stalled", "the process died", "complete", "throttled"][which];
            prop_assert!(text.lines().nth(1).unwrap().contains(words), "{words}: {text}");
        }
    }
}
