//! Draws the view. The colours are the terminal's own sixteen colours without a background, so that the view is readable
//! on light and on dark terminals. No information is shown by colour alone.

use backfill::internals::telemetry::display::Glyphs;
use backfill::internals::telemetry::display::lines::cut;
use backfill::internals::telemetry::heat::levels;
use ratatui::Frame as Screen;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};
use textwrap::core::display_width;

use super::rows::{Content, Panel, Piece, Row, Tone};
use super::view::View;

/// The minimum width at which the panels are in two columns.
const TWO_COLUMNS: usize = 100;

/// The width of the gap between two columns.
const GAP: usize = 2;

/// The maximum number of rows of a heat map.
const HEAT_ROWS: usize = 6;

/// The style of the view.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Whether colours are used.
    pub color: bool,
    /// The characters of the terminal.
    pub glyphs: Glyphs,
}

/// Returns the width of a panel on a screen of this width.
pub(super) fn panel_width(width: usize) -> usize {
    if width >= TWO_COLUMNS { (width - GAP) / 2 } else { width }
}

/// Draws the view. Cuts everything that does not fit.
pub(super) fn draw(screen: &mut Screen<'_>, view: &View, look: Look) {
    let area = screen.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    // Some pseudo-terminals have no size.
    if area.is_empty() {
        return;
    }
    screen.render_widget(Clear, area);
    let foot = foot(&view.foot, height);
    // The first rows of the head are the most important.
    let head = &view.head[..view.head.len().min(height - foot.len())];
    let body = height - foot.len() - head.len();
    show(screen, area, 0, 0, width, head, look);
    if width >= TWO_COLUMNS {
        let column = panel_width(width);
        let (right, left): (Vec<&Panel>, Vec<&Panel>) = view.panels.iter().partition(|panel| panel.is_right);
        // Without a right column, the left one is as wide as the screen.
        let column = if right.is_empty() { width } else { column };
        show(screen, area, 0, head.len(), column, &stack(&left, column, body, look), look);
        show(screen, area, column + GAP, head.len(), column, &stack(&right, column, body, look), look);
    } else {
        let all: Vec<&Panel> = view.panels.iter().collect();
        show(screen, area, 0, head.len(), width, &stack(&all, width, body, look), look);
    }
    show(screen, area, 0, height - foot.len(), width, &foot, look);
}

/// Returns the rows at the bottom: the message and the keys. A small terminal shows only the first rows of the message,
/// but always the keys.
fn foot(rows: &[Row], height: usize) -> Vec<Row> {
    let Some((keys, message)) = rows.split_last() else { return Vec::new() };
    let room = (height / 5).min(message.len());
    message[..room].iter().chain([keys]).cloned().collect()
}

fn show(screen: &mut Screen<'_>, area: Rect, x: usize, y: usize, width: usize, rows: &[Row], look: Look) {
    let at = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
    let place = Rect::new(area.x + at(x), area.y + at(y), at(width), at(rows.len())).intersection(area);
    let lines: Vec<Line<'_>> = rows.iter().map(|row| line(row, width, look)).collect();
    screen.render_widget(Paragraph::new(lines), place);
}

/// Returns a row as a line that is cut to the width.
fn line(row: &Row, width: usize, look: Look) -> Line<'static> {
    let mut room = width;
    let mut spans = Vec::new();
    for Piece { text, tone } in row {
        let shown = cut(text, room, &look.glyphs);
        let is_cut = shown != *text;
        room -= display_width(&shown).min(room);
        spans.push(Span::styled(shown, style(*tone, look.color)));
        if is_cut {
            break;
        }
    }
    Line::from(spans)
}

fn style(tone: Tone, color: bool) -> Style {
    let style = Style::new();
    let colored = |c: Color| if color { style.fg(c) } else { style };
    match tone {
        Tone::Plain => style,
        Tone::Strong => style.add_modifier(Modifier::BOLD),
        Tone::Muted => style.add_modifier(Modifier::DIM),
        Tone::Good => colored(Color::Green),
        Tone::Warn => colored(Color::Yellow).add_modifier(Modifier::BOLD),
        Tone::Bad => colored(Color::Red).add_modifier(Modifier::BOLD),
    }
}

/// Returns the rows of the panels, one below the other, in at most `height` rows. Each panel needs at least a title and
/// one row. If not all panels fit, leaves out the panels with the highest ranks.
fn stack(panels: &[&Panel], width: usize, height: usize, look: Look) -> Vec<Row> {
    let mut shown: Vec<&Panel> = panels.to_vec();
    while shown.len() * 2 > height {
        let Some((at, _)) = shown.iter().enumerate().max_by_key(|(_, panel)| panel.rank) else { break };
        shown.remove(at);
    }
    let mut given = vec![1_usize; shown.len()];
    let mut left = height - shown.len() * 2;
    // Hand out one row at a time to each panel. Begin with the panels that have the lowest ranks.
    let mut order: Vec<usize> = (0..shown.len()).collect();
    order.sort_by_key(|at| shown[*at].rank);
    // Assign rows to the most important panels first, but at most about a third of the height to each.
    for at in order.iter().filter(|at| shown[**at].rank == 0) {
        let more = (wanted(shown[*at], width) - 1).min(height / 3).min(left);
        given[*at] += more;
        left -= more;
    }
    loop {
        let before = left;
        for at in &order {
            if left > 0 && given[*at] < wanted(shown[*at], width) {
                given[*at] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    // Separate the panels by empty rows, if all these rows fit.
    let spaced = left + 1 >= shown.len();
    let mut rows = Vec::new();
    for (panel, given) in shown.iter().zip(given) {
        if spaced && !rows.is_empty() {
            rows.push(Row::new());
        }
        rows.push(title(panel, width, look));
        rows.extend(content(panel, width, given, look));
    }
    rows
}

fn title(panel: &Panel, width: usize, look: Look) -> Row {
    let line = width.saturating_sub(display_width(&panel.title) + 1);
    let line = look.glyphs.line.to_string().repeat(line);
    vec![Piece { text: panel.title.clone(), tone: Tone::Strong }, Piece { text: format!(" {line}"), tone: Tone::Muted }]
}

/// Returns the number of rows that a panel can fill.
fn wanted(panel: &Panel, width: usize) -> usize {
    match &panel.content {
        Content::Rows(rows) => rows.len(),
        Content::Heat { cells, .. } => cells.len().div_ceil(width.max(1)).clamp(1, HEAT_ROWS),
    }
}

fn content(panel: &Panel, width: usize, given: usize, look: Look) -> Vec<Row> {
    match &panel.content {
        Content::Rows(rows) if rows.len() <= given => rows.clone(),
        Content::Rows(rows) => {
            let kept = given.saturating_sub(1);
            let more = Piece { text: format!("and {} more", rows.len() - kept), tone: Tone::Muted };
            rows[..kept].iter().cloned().chain([vec![more]]).collect()
        }
        Content::Heat { cells, item_estimate } => {
            let levels = levels(cells, *item_estimate, width * given);
            levels.chunks(width.max(1)).map(|part| heat_row(part, look)).collect()
        }
    }
}

/// Returns a row of a heat map. Adjacent characters of the same tone form one piece.
fn heat_row(levels: &[u8], look: Look) -> Row {
    let mut row = Row::new();
    for level in levels {
        let tone = match level {
            0 => Tone::Muted,
            1..8 => Tone::Plain,
            _ => Tone::Good,
        };
        let glyph = look.glyphs.levels[usize::from(*level).min(look.glyphs.levels.len() - 1)];
        match row.last_mut() {
            Some(last) if last.tone == tone => last.text.push(glyph),
            Some(_) | None => row.push(Piece { text: glyph.to_string(), tone }),
        }
    }
    row
}
