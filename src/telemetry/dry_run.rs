//! The parity report of a dry run. For each class of items, the report shows the outcome and example keys. The report
//! also contains an estimate of the run.

use std::collections::BTreeMap;
use std::io::{Result, Write};

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::Subject;
use crate::change::Leftover;
use crate::clock::to_text;
use crate::engine::StopReason;
use crate::figure::{LINE_WIDTH, count, number, units, wrapped};
use crate::item::{ItemKey, item_to_json};
use crate::passes::{PredictedOutcome, Prediction, Shape};
use crate::preflight::{
    Acceptance, Estimate, Figure, Finding, Range, SampleResult, by_change_json, format_range, range_json, total,
    write_by_change,
};
use crate::state::OpenWork;

/// The maximum number of characters of an example key in the text report. A longer key is shortened. The JSON report
/// contains the whole key.
const MAX_KEY: usize = 120;

/// The message that is shown if the first pass of a migration did not record which items already had a new value. The
/// dry run, the confirmation and the report of a rollback contain this message.
pub const PAIRS_UNRECORDED: &str = "not as before: unknown. An earlier version of backfill began this migration and did not \
                                    record which items had equal values or only the new attribute";

/// The note about the first pass of a rollback if the forecast does not include that pass.
const LEFT_OUT: &str = "applications have written only the new attribute, so the rollback first makes old values equal \
                        the new ones. Items may change or fail in that pass";

/// The classes of the items that would become failures.
const FAILURES: [PredictedOutcome; 3] =
    [PredictedOutcome::WouldExceed, PredictedOutcome::Rejected, PredictedOutcome::NotComputable];

/// The limit on failures, which a run would exceed.
struct FailureLimit {
    /// `[limits] max_failures`.
    limit: u64,
    /// Minimum number of items that would fail.
    least: u64,
    /// Maximum number of items that would fail.
    most: u64,
    /// Whether the run would exceed the limit even with the minimum number.
    is_certain: bool,
}

impl FailureLimit {
    /// Returns a text that says at which failure the run would stop, and gives advice. `is_part` is true if the dry run
    /// read only a part of the table.
    fn text(&self, is_part: bool) -> String {
        let FailureLimit { limit, least, most, is_certain } = self;
        let would = if *is_certain { "would" } else { "may" };
        let failing = match (is_part, least == most) {
            (true, _) => format!("at least {}", count(*least, "item", "items")),
            (false, true) => count(*most, "item", "items"),
            (false, false) => format!("{} to {}", number(*least), count(*most, "item", "items")),
        };
        format!(
            "A run {would} stop early with exit code 6, at failure number {}: {failing} would fail, and [limits] \
             max_failures is {}. The remaining items would stay unchanged. Correct the plan or the failing items, or \
             raise max_failures",
            number(limit.saturating_add(1)),
            number(*limit)
        )
    }

    fn to_json(&self) -> Json {
        let FailureLimit { limit, least, most, is_certain } = self;
        json!({ "max_failures": limit, "failures": { "low": least, "high": most }, "certain": is_certain })
    }
}

/// The result of a dry run.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct DryRunReport<'a> {
    /// The names that the report shows, and whether the report recommends commands.
    pub subject: Subject<'a>,
    /// The counts of the items that the dry run read.
    pub found: &'a Prediction,
    /// The estimate of a run.
    pub estimate: &'a Estimate,
    /// The sample; `None` if the dry run read the whole table.
    pub sampled: Option<&'a SampleResult>,
    /// The findings of the preflight.
    pub findings: &'a [Finding],
    /// The accepted findings.
    pub accepted: &'a [Acceptance],
    /// The reason why the dry run stopped early; `None` if it did not stop early.
    pub stopped: Option<&'a StopReason>,
    /// Whether this is the dry run of a rollback, and the migration's first pass did not record which items already had
    /// a new value. If true, the report cannot count the items that the rollback will not restore exactly.
    pub pairs_unrecorded: bool,
    /// Whether this is the dry run of a rollback whose first pass makes old values equal to the new ones. The figures
    /// do not include this pass.
    pub leaves_out_old_from_new: bool,
    /// Whether this is the dry run of a rollback, to which the plan's limits do not apply.
    pub ignores_limits: bool,
    /// The next command. This command makes the counted changes, or must run before the command that makes them.
    /// `None` if the migration is over.
    pub next: Option<&'a str>,
    /// The time before which the next command is refused; `None` if it may run now.
    pub not_before: Option<Timestamp>,
}

impl DryRunReport<'_> {
    /// Returns the number of items that would be failures after the run, and the number that would be diverged. After a
    /// sample, counts only the items in the sample.
    pub fn open_work(&self) -> OpenWork {
        let of = |class| self.found.of(class);
        OpenWork { failures: FAILURES.map(of).into_iter().sum(), diverged: of(PredictedOutcome::Diverged) }
    }

    /// Writes the report as text.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let DryRunReport { subject, found, sampled, stopped, .. } = self;
        let meaning = subject.plan.meaning();
        match (stopped, sampled) {
            (Some(reason), _) => {
                writeln!(
                    out,
                    "Dry run stopped: {reason}. These figures cover only a part of the table. Nothing was written."
                )?;
            }
            (None, None) => write_wrapped(out, &format!("Dry run of {meaning}: nothing was written."))?,
            (None, Some(sampled)) => {
                let (read, total) = sampled.tally.clusters();
                let (read, total) = (number(read.into()), number(total.into()));
                write_wrapped(
                    out,
                    &format!(
                        "Dry run of {meaning} on a sample of {read} of {total} clusters of items: nothing was written."
                    ),
                )?;
            }
        }
        self.write_classes(out)?;
        if let Some(limit) = self.failure_limit() {
            writeln!(out, "  {}", limit.text(stopped.is_some()))?;
        }
        if let Some(note) = self.no_change_note() {
            writeln!(out, "  {note}")?;
        }
        if found.by_change.len() > 1 {
            writeln!(out, "  items that each change would change:")?;
            write_by_change(out, subject.plan, found)?;
        }
        write_shapes(out, found)?;
        for (leftover, group) in &found.leftovers {
            writeln!(out, "  {}: {}: {leftover}", leftover.label(), count(group.items, "item", "items"))?;
            write_keys(out, &group.examples)?;
        }
        if self.pairs_unrecorded {
            writeln!(out, "  {PAIRS_UNRECORDED}")?;
        }
        if self.leaves_out_old_from_new {
            writeln!(out, "  not counted: {LEFT_OUT}")?;
        }
        writeln!(out, "  this dry run consumed {} RCU", units(found.read_units))?;
        if stopped.is_none() {
            writeln!(out, "  the command would take, {}:", self.estimate.basis_text())?;
            self.estimate.lines().into_iter().try_for_each(|(label, text)| writeln!(out, "    {label:<12} {text}"))?;
        }
        let refusing: Vec<&str> =
            self.findings.iter().filter(|finding| finding.refuses(self.accepted)).map(|finding| finding.id).collect();
        if !refusing.is_empty() {
            writeln!(out, "A run would be refused: {}. See above, or `backfill check`.", refusing.join(", "))?;
        }
        match (self.next, self.not_before) {
            (Some(next), Some(until)) => writeln!(out, "Next, not before {}: {next}", to_text(until)),
            (Some(next), None) => writeln!(out, "Next: {next}"),
            (None, _) => Ok(()),
        }
    }

    fn write_classes(&self, out: &mut impl Write) -> Result<()> {
        let found = self.found;
        writeln!(out, "  {:<16} {:>14}{}", "items scanned", number(found.scanned), self.whole(Figure::Items))?;
        if self.subject.plan.keys.is_some() {
            let note =
                if found.missing > 0 { "  keys in the file that have no item; a run counts them as gone" } else { "" };
            writeln!(out, "  {:<16} {:>14}{note}", "no such item", number(found.missing))?;
        }
        for class in PredictedOutcome::ALL {
            let items = found.of(class);
            let note = if items > 0 { note(class) } else { "" };
            writeln!(out, "    {:<16} {:>12}{}{note}", label(class), number(items), self.whole(figure(class)))?;
            if class == PredictedOutcome::WouldChange && found.writes > items {
                writeln!(
                    out,
                    "      {:>14}  writes to these items, because some items need several",
                    number(found.writes)
                )?;
            }
            if class.has_reasons() {
                for (why, group) in found.reasons.get(&class).into_iter().flatten() {
                    writeln!(out, "      {:>14}  {why}", number(group.items))?;
                    write_keys(out, &group.examples)?;
                }
            } else {
                write_keys(out, found.examples.get(&class).map_or(&[][..], Vec::as_slice))?;
            }
        }
        Ok(())
    }

    /// Returns the effect of `[limits] max_failures` on the run. Returns `None` if the forecast does not exceed the
    /// limit. Also returns `None` for the dry run of a rollback, because no limit applies to it.
    fn failure_limit(&self) -> Option<FailureLimit> {
        if self.ignores_limits {
            return None;
        }
        let counted = self.open_work().failures as f64;
        let in_table = FAILURES.into_iter().map(|class| self.range(figure(class)));
        let (least, most) = match in_table.collect::<Option<Vec<_>>>() {
            Some(ranges) => ranges.iter().fold((0.0, 0.0), |(low, high), range| (low + range.low, high + range.high)),
            None => (counted, counted),
        };
        let limit = self.subject.plan.limits.max_failures;
        let exceeds = |failures: f64| failures.round() as u64 > limit;
        exceeds(most).then(|| FailureLimit {
            limit,
            least: least.round() as u64,
            most: most.round() as u64,
            is_certain: exceeds(least),
        })
    }

    /// Returns a note if the dry run read items, but no item would change. If no item needs a change, the plan might
    /// name a wrong attribute.
    fn no_change_note(&self) -> Option<&'static str> {
        let found = self.found;
        if found.scanned == 0 || found.of(PredictedOutcome::WouldChange) > 0 {
            return None;
        }
        Some(if found.of(PredictedOutcome::NothingToDo) == found.scanned {
            "No item would change, because this pass has nothing to do for any item. If you expected changes, check the \
             attribute names in the plan"
        } else {
            "No item would change"
        })
    }

    /// Returns the text with the sample's estimate of this figure for the whole table. The text is empty if there is no
    /// complete sample.
    fn whole(&self, figure: Figure) -> String {
        self.range(figure).map_or_else(String::new, |range| {
            format!("  in the whole table: {}", format_range(range, |n| number(n.round() as u64)))
        })
    }

    fn range(&self, figure: Figure) -> Option<Range> {
        self.sampled.filter(|sampled| sampled.complete).map(|sampled| total(&sampled.tally, figure))
    }

    /// Returns the report as JSON.
    pub fn to_json(&self) -> Json {
        let DryRunReport { subject, found, estimate, sampled, stopped, accepted, .. } = self;
        let shape = |s: &Shape| json!({ "before": s.before, "after": s.after, "items": s.items });
        let examples: BTreeMap<&str, Vec<Json>> =
            found.examples.iter().map(|(class, keys)| (class.name(), keys_json(keys))).collect();
        let is_restored = |leftover: &Leftover| *leftover == Leftover::RepairedOver;
        let repaired_over = found.leftovers.get(&Leftover::RepairedOver);
        let leftovers = found.leftovers.iter().filter(|(leftover, _)| !is_restored(leftover)).map(|(leftover, group)| {
            json!({ "reason": leftover.id(), "items": group.items, "examples": keys_json(&group.examples) })
        });
        let mut report = json!({
            "type": "dry_run", "table_arn": subject.table.arn, "fingerprint": subject.plan.fingerprint().as_str(),
            "complete": stopped.is_none(), "stopped": stopped.map(ToString::to_string), "scanned": found.scanned,
            "writes": found.writes,
            "by_change": by_change_json(subject.plan, found),
            "missing_items": found.missing, "scanned_bytes": found.bytes, "pages": found.pages, "estimated_write_units": found.write_units,
            "estimated_index_write_units": found.index_write_units, "read_units": found.read_units,
            "shapes": found.shapes.iter().map(shape).collect::<Vec<_>>(), "examples": examples,
            "rejected_because": reasons_json(found, PredictedOutcome::Rejected),
            "not_computable_because": reasons_json(found, PredictedOutcome::NotComputable),
            "repaired_over": json!({ "items": repaired_over.map_or(0, |group| group.items),
                                     "examples": repaired_over.map_or_else(Vec::new, |group| keys_json(&group.examples)) }),
            "not_as_before": leftovers.collect::<Vec<_>>(), "not_as_before_unknown": self.pairs_unrecorded,
            "leaves_out_old_from_new": self.leaves_out_old_from_new,
            "exceeds_max_failures": self.failure_limit().map(|limit| limit.to_json()),
            "sample": sampled.map(|sampled| self.sample_json(sampled)),
            "estimate": stopped.is_none().then(|| estimate.to_json()),
            "findings": self.findings.iter().map(|finding| finding.to_json(accepted)).collect::<Vec<_>>(),
        });
        if let Some(map) = report.as_object_mut() {
            map.extend(PredictedOutcome::ALL.map(|class| (class.name().to_owned(), found.of(class).into())));
        }
        report
    }

    fn sample_json(&self, sampled: &SampleResult) -> Json {
        let (read, total) = sampled.tally.clusters();
        let whole: Map<String, Json> = PredictedOutcome::ALL
            .into_iter()
            .filter_map(|class| Some((class.name().to_owned(), range_json(self.range(figure(class))?))))
            .collect();
        json!({
            "clusters_read": read, "clusters": total, "confidence": 0.95, "complete": sampled.complete,
            "items": self.range(Figure::Items).map(range_json), "whole_table": whole,
        })
    }
}

/// Writes a text, and wraps it into several lines if it is too wide for a terminal.
fn write_wrapped(out: &mut impl Write, text: &str) -> Result<()> {
    wrapped(text, LINE_WIDTH).iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn label(class: PredictedOutcome) -> &'static str {
    match class {
        PredictedOutcome::WouldChange => "would change",
        PredictedOutcome::AlreadyApplied => "already done",
        PredictedOutcome::NothingToDo => "nothing to do",
        PredictedOutcome::Skipped => "skipped",
        PredictedOutcome::Diverged => "diverged",
        PredictedOutcome::WouldExceed => "would exceed",
        PredictedOutcome::Rejected => "rejected",
        PredictedOutcome::NotComputable => "not computable",
    }
}

fn note(class: PredictedOutcome) -> &'static str {
    match class {
        PredictedOutcome::Skipped => {
            "  the plan says `skip`: a target has another value, or the item is not computable"
        }
        PredictedOutcome::Diverged => "  the values differ from what the plan implies; they would stay as they are",
        PredictedOutcome::WouldExceed => "  400 KB (estimated); DynamoDB would reject the write",
        PredictedOutcome::Rejected | PredictedOutcome::NotComputable => "  because:",
        PredictedOutcome::WouldChange | PredictedOutcome::AlreadyApplied | PredictedOutcome::NothingToDo => "",
    }
}

fn figure(class: PredictedOutcome) -> Figure {
    match class {
        PredictedOutcome::WouldChange => Figure::Changed,
        PredictedOutcome::AlreadyApplied => Figure::AlreadyApplied,
        PredictedOutcome::NothingToDo => Figure::NothingToDo,
        PredictedOutcome::Skipped => Figure::Skipped,
        PredictedOutcome::Diverged => Figure::Diverged,
        PredictedOutcome::WouldExceed => Figure::Exceeding,
        PredictedOutcome::Rejected => Figure::Rejected,
        PredictedOutcome::NotComputable => Figure::NotComputable,
    }
}

fn write_shapes(out: &mut impl Write, found: &Prediction) -> Result<()> {
    if !found.shapes.is_empty() {
        writeln!(out, "  what would change, by type (at most the {} most frequent):", 10)?;
    }
    for shape in &found.shapes {
        writeln!(out, "    {:>12}  {{ {} }} → {{ {} }}", number(shape.items), shape.before, shape.after)?;
    }
    Ok(())
}

fn write_keys(out: &mut impl Write, keys: &[ItemKey]) -> Result<()> {
    keys.iter().try_for_each(|key| {
        let text = key.to_string();
        match text.char_indices().nth(MAX_KEY) {
            Some((at, _)) => writeln!(out, "      {:>14}  such as {}…", "", &text[..at]),
            None => writeln!(out, "      {:>14}  such as {text}", ""),
        }
    })
}

fn reasons_json(found: &Prediction, class: PredictedOutcome) -> Vec<Json> {
    let reasons = found.reasons.get(&class).into_iter().flatten();
    reasons
        .map(|(why, group)| json!({ "reason": why, "items": group.items, "examples": keys_json(&group.examples) }))
        .collect()
}

fn keys_json(keys: &[ItemKey]) -> Vec<Json> {
    keys.iter().map(|key| item_to_json(key.attributes())).collect()
}
