//! The building blocks of the view. This module is pure.

use backfill::internals::outside::escaped;
use backfill::internals::telemetry::Activity;
use backfill::internals::telemetry::display::Glyphs;
use backfill::internals::telemetry::heat::HeatCell;
use jiff::Timestamp;

use super::keys::Mode;

/// The meaning of a text, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Ordinary text.
    Plain,
    /// A title or a name.
    Strong,
    /// Less important text.
    Muted,
    /// Work that is done or proceeds as planned.
    Good,
    /// Something slows the migration down.
    Warn,
    /// Somebody has to look.
    Bad,
}

/// A piece of text with one meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub text: String,
    pub tone: Tone,
}

/// One row of text.
pub(super) type Row = Vec<Piece>;

/// A titled part of the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panel {
    pub title: String,
    pub content: Content,
    /// On a small terminal, the layout first leaves out the panel with the highest rank.
    pub rank: u8,
    /// Whether the panel is in the right column of a wide terminal.
    pub is_right: bool,
}

/// The content of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Rows, the most important ones first.
    Rows(Vec<Row>),
    /// A heat map. It fills all rows that the layout assigns to it.
    Heat { cells: Vec<HeatCell>, item_estimate: u64 },
}

/// The inputs of the view in addition to the data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// The current time.
    pub now: Timestamp,
    /// The mode, which determines what the keys do.
    pub mode: &'a Mode,
    /// The result of the last command, and whether it failed.
    pub message: Option<(&'a str, bool)>,
    /// The width of the screen.
    pub width: usize,
    /// The width of a panel.
    pub panel_width: usize,
    /// The characters of the terminal.
    pub glyphs: &'a Glyphs,
}

/// Returns a piece of text.
pub(super) fn piece(text: impl Into<String>, tone: Tone) -> Piece {
    Piece { text: text.into(), tone }
}

/// Returns a row with one piece of text.
pub(super) fn row(text: impl Into<String>, tone: Tone) -> Row {
    vec![piece(text, tone)]
}

/// Escapes text from outside.
pub(super) fn outside(text: &str) -> String {
    escaped(text).to_string()
}

/// Returns the tone of an activity.
pub(super) fn tone_of(activity: Activity) -> Tone {
    match activity {
        Activity::Scanning | Activity::Done => Tone::Good,
        Activity::Starting | Activity::Waiting => Tone::Plain,
        Activity::Throttled
        | Activity::BackingOff
        | Activity::Paused
        | Activity::OutsideWindow
        | Activity::Draining
        | Activity::Asleep => Tone::Warn,
        Activity::Stalled => Tone::Bad,
    }
}

/// Formats the time of day in UTC.
pub(super) fn time_of_day(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}
