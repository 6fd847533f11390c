//! Turns the figures into rows of text. This module is pure. It escapes all text from outside, so that the drawing code
//! does not need to escape anything.

use std::time::Duration;

use backfill::internals::figure::whole_duration;
use backfill::internals::telemetry::display::lines::{figures_line, pace_line};
use backfill::internals::telemetry::{Activity, ActivityChange, LiveFigures};
use jiff::Timestamp;

use super::data::{FileFigures, Process, WatchData};
use super::keys::Mode;
use super::panels::panels;
use super::rows::{Content, Frame, Panel, Row, Tone, outside, piece, row, time_of_day, tone_of};

/// Everything on the screen, before it is cut to its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub head: Vec<Row>,
    pub panels: Vec<Panel>,
    pub foot: Vec<Row>,
}

/// Returns the view of the data.
pub(super) fn view(data: &WatchData, frame: Frame<'_>) -> View {
    let panels = if *frame.mode == Mode::Help { vec![help(frame.width)] } else { panels(data, frame) };
    View { head: head(data, frame), panels, foot: foot(frame) }
}

fn head(data: &WatchData, frame: Frame<'_>) -> Vec<Row> {
    let mut rows = vec![title(data, frame.now), state(data, frame.now)];
    // A paused pass sends nothing. Its last rate says nothing about the present.
    let unpaced = data.figures().filter(|_| data.is_paused());
    let unpaced = unpaced.map(|figures| LiveFigures { rates: None, eta: None, ..figures.clone() });
    if let Some(figures) = unpaced.as_ref().or(data.figures()) {
        rows.push(row(pace_line(figures, frame.width, frame.glyphs), Tone::Plain));
        let tone = if figures.failures > 0 { Tone::Warn } else { Tone::Plain };
        rows.push(row(figures_line(figures, frame.width, frame.glyphs), tone));
    }
    rows.extend(notes(data));
    rows
}

fn title(data: &WatchData, now: Timestamp) -> Row {
    let Some(file) = &data.file else {
        return match &data.absent_file {
            Some(path) => row(format!("waiting for the state file {}", outside(path)), Tone::Plain),
            None => row("reading the state file", Tone::Muted),
        };
    };
    let run = file.run.as_ref().map_or_else(String::new, |run| format!("{}, ", run.name));
    // The last part of an ARN is the name of the table.
    let table = file.table.rsplit('/').next().unwrap_or_default();
    vec![
        piece(outside(&file.migration), Tone::Strong),
        piece(format!("  {run}phase {}  table {}  ", file.stage, outside(table)), Tone::Plain),
        piece(time_of_day(now), Tone::Muted),
    ]
}

/// Returns the row that says what the migration is doing, and why.
fn state(data: &WatchData, now: Timestamp) -> Row {
    if let Process::Pass(live) = &data.process {
        return activity(&live.activity, now);
    }
    let Some(file) = &data.file else {
        let text = "the migration has not begun: its first command creates the file";
        return if data.absent_file.is_some() { row(text, Tone::Muted) } else { Vec::new() };
    };
    if let Some(worker) = &file.worker {
        return match (&data.process, &worker.current) {
            (Process::BetweenPasses(why), _) => row(format!("working; {}", outside(why)), Tone::Plain),
            (_, Some(current)) => activity(current, now),
            (_, None) => row(outside(&worker.description), Tone::Plain),
        };
    }
    match &file.run {
        Some(run) if run.died => row("the process died; the next step resumes the run", Tone::Bad),
        Some(run) => match &run.stop_reason {
            Some(reason) if run.is_unfinished => row(format!("stopped because {}", outside(reason)), Tone::Warn),
            Some(_) | None if run.is_unfinished => row(run.status, Tone::Plain),
            Some(_) | None => row(run.status, Tone::Good),
        },
        None => row("no run yet", Tone::Plain),
    }
}

fn activity(change: &ActivityChange, now: Timestamp) -> Row {
    let tone = tone_of(change.state);
    let since = Duration::try_from(now.duration_since(change.since)).unwrap_or_default();
    vec![
        piece(outside(&change.current().to_string()), tone),
        piece(format!("  (for {})", whole_duration(since)), Tone::Muted),
    ]
}

/// Returns the rows that the operator should see before everything else.
fn notes(data: &WatchData) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(error) = &data.file_error {
        rows.push(row(format!("the state file cannot be read: {}", outside(error)), Tone::Bad));
    }
    if let Process::Unreachable(why) = &data.process {
        rows.push(row(format!("no live figures: {}", outside(why)), Tone::Warn));
    }
    let Some(file) = &data.file else { return rows };
    if !file.same_plan {
        rows.push(row("the plan file has changed, so this state belongs to another plan", Tone::Warn));
    }
    let shows_pause = data.live().is_some_and(|live| live.activity.state == Activity::Paused);
    if let Some(paused) = file.settings.paused.as_ref().filter(|_| !shows_pause) {
        rows.push(row(format!("paused {}. r resumes", outside(&paused.to_string())), Tone::Warn));
    }
    if let Some(rate) = &file.settings.rate {
        rows.push(row(format!("rate: {}", outside(&rate.to_string())), Tone::Plain));
    }
    rows.extend(next(file));
    rows
}

fn next(file: &FileFigures) -> Option<Row> {
    let next = file.next.as_ref()?;
    Some(vec![piece("next: ", Tone::Muted), piece(outside(next), Tone::Strong)])
}

/// The keys and what they do.
pub(super) const KEYS: [(&str, &str, &str); 7] = [
    ("p", "pause", "pause the migration until somebody resumes it, even after a restart"),
    ("r", "resume", "resume after a pause"),
    ("w", "rate", "type a new write rate for the table, in WCU/s"),
    ("+", "faster", "raise the write rate by a tenth"),
    ("-", "slower", "lower the write rate by a tenth"),
    ("?", "help", "show or hide this help"),
    ("q", "quit", "quit the view; the migration continues. Esc and Ctrl-C do the same"),
];

/// Returns the help, wrapped at the width of the screen.
fn help(width: usize) -> Panel {
    let mut rows = Vec::new();
    for (key, _, text) in KEYS {
        let mut start = format!("{key}  ");
        for line in textwrap::wrap(text, width.saturating_sub(start.len()).max(1)) {
            rows.push(vec![piece(start.clone(), Tone::Strong), piece(line, Tone::Plain)]);
            start = " ".repeat(start.len());
        }
    }
    let more = [
        "The keys do the same as `ctl pause`, `ctl resume` and `ctl rate`.",
        "`ctl rate --plan` uses the budgets of the plan again.",
        "Each character of the heat map stands for a group of neighbouring segments.",
        "The fuller the character, the more items are committed.",
    ];
    let more = more.iter().flat_map(|text| textwrap::wrap(text, width.max(1)));
    rows.extend(more.map(|line| row(line, Tone::Muted)));
    Panel { title: "Keys".to_owned(), content: Content::Rows(rows), rank: 0, is_right: false }
}

fn foot(frame: Frame<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some((text, failed)) = frame.message {
        let tone = if failed { Tone::Bad } else { Tone::Good };
        let wrapped = textwrap::wrap(text, frame.width.max(1));
        rows.extend(wrapped.iter().take(3).map(|line| row(outside(line), tone)));
    }
    rows.push(match frame.mode {
        Mode::Rate(typed) => vec![
            piece("write rate in WCU/s: ", Tone::Strong),
            piece(format!("{typed}_"), Tone::Plain),
            piece("  Enter sets it, Esc cancels", Tone::Muted),
        ],
        Mode::View | Mode::Help => keys_row(frame.width),
    });
    rows
}

/// Returns the row with the keys. On a narrow terminal, omits the word after each key.
fn keys_row(width: usize) -> Row {
    let long: usize = KEYS.iter().map(|(key, word, _)| key.len() + word.len() + 3).sum();
    let mut keys = Row::new();
    for (key, word, _) in KEYS {
        keys.push(piece(key, Tone::Strong));
        let word = if long <= width { format!(" {word}  ") } else { " ".to_owned() };
        keys.push(piece(word, Tone::Muted));
    }
    keys
}
