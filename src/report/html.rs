//! The report as one self-contained HTML page. `templates/report.html` has its text. The page loads nothing and contains
//! no script. The template escapes every value, because no value is marked as safe.
//!
//! The live page of `report --serve` has the same template. It loads its style and its script from its server.

use std::fmt;

use askama::Template;

use super::rows::{FigureRow, NamedValue, WorkList};
use super::{ClockChart, GateResult, HeatMap, MigrationReport, PaceChart, RunEntry, StepEntry, VerificationEntry};
use crate::change::Outcome;
use crate::clock::to_text;
use crate::figure::{count, dollars, number, units};
use crate::item::{ItemKey, item_from_json};
use crate::outside::escaped_lines;
use crate::passes::verify::VerifyReport;
use crate::playbook::MigrationStage;
use crate::state::phase::VERIFY;

/// The number of runs with details, newest last. The details of a run take up to 150 KB.
const DETAILED_RUNS: usize = 20;

/// The style of the page.
pub(super) const STYLE: &str = include_str!("../../templates/report.css");

/// A placeholder in the live page for the time of the page's figures. No value can contain this text, because the
/// template escapes values.
pub(super) const LIVE_TIME_MARK: &str = "<!--time-->";

/// The content of the page.
#[derive(Template)]
#[template(path = "report.html", whitespace = "minimize")]
struct Page<'a> {
    report: &'a MigrationReport,
    /// Whether a server serves the page and keeps it current.
    live: bool,
    at: String,
    version: &'static str,
    tone: &'static str,
    summary: Vec<NamedValue>,
    asked: Vec<NamedValue>,
    all_runs: Vec<RunLine>,
    runs: Vec<RunView>,
    open_failures: String,
    open_diverged: String,
    work: [WorkList; 2],
    verifications: Vec<VerificationView>,
}

/// A row of the table of runs.
struct RunLine {
    id: i64,
    title: String,
    state: String,
    /// Items scanned, items applied, items failed, WCU spent, cost.
    figures: [String; 5],
    /// Whether the page shows the details of this run.
    detailed: bool,
}

/// A run, ready for the template.
struct RunView {
    id: i64,
    title: String,
    facts: Vec<NamedValue>,
    outcome_caption: &'static str,
    outcomes: Vec<FigureRow>,
    scanned: String,
    spend: Vec<FigureRow>,
    clock: Option<ClockChart>,
    clock_text: String,
    pace: Option<PaceChart>,
    pace_note: String,
    heat: HeatMap,
}

/// A verification, ready for the template.
struct VerificationView {
    run: i64,
    title: String,
    result: String,
    facts: Vec<NamedValue>,
    proves: String,
    cannot_prove: Vec<String>,
    hash: String,
    examples: Vec<String>,
}

impl MigrationReport {
    /// Returns the report as an HTML page.
    ///
    /// # Errors
    ///
    /// Fails only if a value cannot be formatted.
    pub fn html(&self) -> Result<String, fmt::Error> {
        self.render(false)
    }

    /// Returns the page that a server keeps current. It contains [`LIVE_TIME_MARK`] instead of the time, so that equal
    /// figures give an equal page.
    pub(super) fn live_html(&self) -> Result<String, fmt::Error> {
        self.render(true)
    }

    fn render(&self, live: bool) -> Result<String, fmt::Error> {
        let held = self.summary.holder.is_some();
        let hidden = self.runs.len().saturating_sub(DETAILED_RUNS);
        let lines = self.runs.iter().enumerate();
        let page = Page {
            report: self,
            live,
            at: to_text(self.at),
            version: env!("CARGO_PKG_VERSION"),
            tone: self.tone(),
            summary: self.summary_rows(),
            asked: self.asked_rows(),
            all_runs: lines.map(|(at, run)| RunLine::new(run, held, at >= hidden)).collect(),
            runs: self.runs[hidden..].iter().map(|run| RunView::new(run, held)).collect(),
            open_failures: count(self.summary.open_failures, "failure", "failures"),
            open_diverged: count(self.summary.open_diverged, "diverged item", "diverged items"),
            work: self.work_lists(),
            verifications: self.verifications.iter().map(|v| VerificationView::new(v, self.show_keys)).collect(),
        };
        let html = page.render().map_err(|_| fmt::Error)?;
        // The template itself contains no such characters, so this escapes only text from outside.
        Ok(escaped_lines(&html).to_string())
    }

    fn tone(&self) -> &'static str {
        match self.stage {
            MigrationStage::Contracted => "good",
            MigrationStage::RolledBack | MigrationStage::Rollback => "warn",
            MigrationStage::Preflight
            | MigrationStage::Expand
            | MigrationStage::Verify
            | MigrationStage::Cutover
            | MigrationStage::Soak
            | MigrationStage::Contract => "busy",
        }
    }
}

impl StepEntry {
    fn time(&self) -> String {
        to_text(self.at)
    }
}

impl GateResult {
    fn has_gate(&self) -> bool {
        match self {
            GateResult::NoGate => false,
            GateResult::Open | GateResult::Overridden(_) => true,
        }
    }

    fn is_override(&self) -> bool {
        match self {
            GateResult::Overridden(_) => true,
            GateResult::NoGate | GateResult::Open => false,
        }
    }
}

impl RunLine {
    fn new(run: &RunEntry, held: bool, detailed: bool) -> RunLine {
        let counts = &run.progress.totals.counts;
        let applied = number(counts.of(Outcome::Applied));
        let applied = if run.lower_bound() { format!("at least {applied}") } else { applied };
        // A verification has verdicts. It does not have these outcomes.
        let verifies = run.progress.run.phase == VERIFY;
        let outcome = |text: String| if verifies { "–".to_owned() } else { text };
        let figures = [
            number(counts.scanned),
            outcome(applied),
            outcome(number(counts.failures())),
            units(run.progress.spend.state.spent.write),
            run.progress
                .spend
                .dollars()
                .map_or_else(|| "unknown".to_owned(), |cost| format!("about {}", dollars(cost))),
        ];
        let id = run.progress.run.id.number();
        RunLine { id, title: run.title(), state: run.state_text(held), figures, detailed }
    }
}

impl RunView {
    fn new(run: &RunEntry, held: bool) -> RunView {
        let clock = run.clocks.as_ref().map(ClockChart::new);
        let clock_text = run.clocks.as_ref().map_or_else(String::new, |clocks| format!("Time by activity: {clocks}"));
        RunView {
            id: run.progress.run.id.number(),
            title: run.title(),
            facts: run.fact_rows(held),
            outcome_caption: if run.progress.run.phase == VERIFY { "Items by verdict" } else { "Items by outcome" },
            outcomes: run.outcome_rows(),
            scanned: number(run.progress.totals.counts.scanned),
            spend: run.spend_rows(),
            clock,
            clock_text,
            pace: run.history.as_ref().and_then(PaceChart::new),
            pace_note: run.pace_note(),
            heat: HeatMap::new(&run.progress.run, &run.cells),
        }
    }

    /// Limits the width of a map with few columns, so that its cells do not become huge.
    fn heat_width(&self) -> usize {
        self.heat.width / 10 * 24
    }
}

impl VerificationView {
    fn new(entry: &VerificationEntry, show_keys: bool) -> VerificationView {
        let mut title = format!("Run {}: verification", entry.run);
        let mut facts = Vec::new();
        let mut examples = Vec::new();
        if let Some(report) = &entry.report {
            title = format!("Run {}: {}", entry.run, if report.is_full() { "full verification" } else { "sample" });
            facts = vec![("Begun", report.began_at.clone()), ("Ended", report.ended_at.clone())];
            facts.extend(verdict_rows(report));
            facts.extend([
                ("Segments read", number(report.segments_read)),
                ("Read capacity", format!("{} RCU", units(report.read_units))),
                ("Truth", report.truth_text().to_owned()),
                ("Flag version", report.flag_version.map_or_else(|| "no flag".to_owned(), number)),
            ]);
            if show_keys {
                examples = report
                    .examples
                    .iter()
                    .map(|example| {
                        let key = item_from_json(&example.key)
                            .map_or_else(|_| "an unreadable key".to_owned(), |key| ItemKey::new(key).to_string());
                        let repaired = if example.repaired { ", repaired" } else { "" };
                        format!("{} {key}: {}{repaired}", example.verdict, example.paths.join(", "))
                    })
                    .collect();
            }
        }
        VerificationView {
            run: entry.run,
            title,
            result: entry.result(),
            facts,
            proves: entry.proves(),
            cannot_prove: entry.cannot_prove(),
            hash: entry.hash.clone(),
            examples,
        }
    }
}

/// Returns the rows with the number of items of each verdict. A plan that deletes items has no values to compare.
fn verdict_rows(report: &VerifyReport) -> Vec<(&'static str, String)> {
    let rows = if report.deletes {
        vec![
            ("Items read", report.items_read()),
            ("Not selected (they stay)", report.not_selected),
            ("Left (selected, but not deleted)", report.unexpected),
            ("Unknown (`where` has no result)", report.missing),
            ("Skipped (an expression has no result)", report.skipped),
            ("Changed meanwhile by a writer", report.raced),
            ("Deleted by the repair", report.repaired),
            ("Left or unknown after this verification", report.mismatches),
        ]
    } else {
        vec![
            ("Items compared", report.compared),
            ("Not compared (no change applies)", report.not_selected),
            ("Matching", report.matching),
            ("Skipped (as the plan says)", report.skipped),
            ("Missing (no value)", report.missing),
            ("Stale (another value)", report.stale),
            ("Unexpected (a value that nothing implies)", report.unexpected),
            ("Changed meanwhile by a writer", report.raced),
            ("Repaired", report.repaired),
            ("Mismatches left", report.mismatches),
        ]
    };
    rows.into_iter().map(|(what, items)| (what, number(items))).collect()
}
