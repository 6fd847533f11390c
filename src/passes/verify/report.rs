//! The report of a complete verification. This document is stored, hashed and shown.

mod forecast;
mod sample;
#[cfg(test)]
pub(super) mod tests;

use std::io::{Result, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::figure::{count, number};
use crate::item::{ItemKey, item_from_json};
use crate::state::{Verdict, VerdictCounts};
pub use forecast::RepairForecast;
pub(in crate::passes::verify) use forecast::{NOT_REMOVED, REPLACES};
pub use sample::SampleReport;

/// Maximum number of keys that a report lists for each verdict.
pub const MAX_EXAMPLES: u32 = 10;

/// Maximum number of segments that a report lists. A report lists only segments with a mismatch, and segments in which
/// a live writer interfered.
pub const MAX_SEGMENTS: usize = 1_000;

/// The report of one complete verification. The report contains item keys, but no other attribute values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct VerifyReport {
    /// Version of the report format.
    pub schema_version: u32,
    /// `verify`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Version of the tool.
    pub tool_version: String,
    /// Fingerprint of the plan.
    pub fingerprint: String,
    /// ARN of the table.
    pub table_arn: String,
    /// The table's ID. `None` if the database engine does not assign one.
    pub table_id: Option<String>,
    /// The run's number in the state file.
    pub run: i64,
    /// `all` or `sample`.
    pub scope: String,
    /// `expanded` or `contracted`.
    pub stage: String,
    /// The truth, which is the side from which the other side is derived: `old`, `new_then_old`, `new`,
    /// `new_on_the_way_back` or `percent_N`.
    pub truth: String,
    /// Version of the cutover flag, which did not change during the verification. `None` without a flag.
    pub flag_version: Option<u64>,
    /// Whether the verification repaired mismatching items (`--repair`).
    pub repair: bool,
    /// Whether the repair also removed values that the plan does not imply (`--repair-remove`).
    #[serde(default)]
    pub repair_remove: bool,
    /// The time at which the verification began. All items were read after this time.
    pub began_at: String,
    /// The time at which the verification was completed.
    pub ended_at: String,
    /// Whether the plan deletes items. If so, no attributes are compared, and `unexpected` is the number of selected
    /// items that still exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deletes: bool,
    /// Whether the plan only writes values, so that no new attribute replaces an old one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_writes_values: bool,
    /// Whether the plan puts derived items. If so, the verification also reads the derived items that the journal
    /// records.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub puts: bool,
    /// Whether `verify --all` reads the derived items that the journal records one by one, because the scan of the
    /// selection does not read them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lists_derived: bool,
    /// Number of derived items in the journal that were looked up. `None` if the scan reads them, or for a sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_items_read: Option<u64>,
    /// Number of items that were read and compared.
    pub compared: u64,
    /// Number of items that were read but not compared, because no change of the plan applies to them.
    #[serde(default)]
    pub not_selected: u64,
    /// Number of items that matched when they were first read.
    pub matching: u64,
    /// Number of items in which the value of a target differs, but counts as done because of `on_existing = "skip"`.
    #[serde(default)]
    pub skipped: u64,
    /// Number of items that lack a value that the truth implies.
    pub missing: u64,
    /// Number of items with a value that differs from the value that the truth implies.
    pub stale: u64,
    /// Number of items with a value that, according to the truth, should not exist.
    pub unexpected: u64,
    /// Number of matching items in which only the new attribute existed before the migration.
    #[serde(default)]
    pub new_alone: u64,
    /// Number of items that did not match at first, but matched or were gone when they were read again. For example,
    /// the first read may have occurred between two writes of a live writer.
    pub raced: u64,
    /// Number of missing, stale and unexpected items that were repaired.
    pub repaired: u64,
    /// Number of remaining mismatches. 0 means that every item that was read matches or was repaired.
    pub mismatches: u64,
    /// Number of recorded diverged items that this verification closed, because these items now match or are gone.
    pub diverged_closed: u64,
    /// Read capacity units that the verification consumed.
    pub read_units: f64,
    /// Write capacity units that repairs consumed.
    pub write_units: f64,
    /// Number of segments that were read.
    pub segments_read: u64,
    /// Number of segments in which a mismatch was found.
    pub segments_differing: u64,
    /// The segments with a mismatch, and the segments in which a live writer interfered. At most the first thousand are
    /// listed.
    pub segments: Vec<SegmentReport>,
    /// The time at which the operator purged the journal, if the verdicts of this verification could depend on it. The
    /// verification then cannot determine which values the migration wrote. Otherwise `None`.
    #[serde(default)]
    pub journal_purged_at: Option<String>,
    /// The conclusions from the sample about the whole table. `None` if the whole table was read.
    pub sample: Option<SampleReport>,
    /// How a repair would treat the mismatches. `None` if no repair is possible, or if an earlier version of the tool
    /// made the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<RepairForecast>,
    /// For each verdict, at most ten mismatching items.
    pub examples: Vec<MismatchExample>,
}

/// The counts of one segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// The segment's number.
    pub segment: u32,
    /// Number of items in the segment.
    pub compared: u64,
    /// See [`VerifyReport::missing`].
    pub missing: u64,
    /// See [`VerifyReport::stale`].
    pub stale: u64,
    /// See [`VerifyReport::unexpected`].
    pub unexpected: u64,
    /// See [`VerifyReport::raced`].
    pub raced: u64,
    /// See [`VerifyReport::repaired`].
    pub repaired: u64,
}

/// A mismatching item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MismatchExample {
    /// `missing`, `stale` or `unexpected`.
    pub verdict: String,
    /// The item's key, as DynamoDB JSON.
    pub key: Json,
    /// The paths that differ.
    pub paths: Vec<String>,
    /// Whether the item was repaired.
    pub repaired: bool,
    /// The reason why the item was not repaired. Without `--repair`, the reason why a repair would not change the item,
    /// or a note that a repair would replace a value of an application. Otherwise `None`.
    pub why: Option<String>,
}

impl VerifyReport {
    /// Returns the number of items that were read, whether they were compared or not.
    pub fn items_read(&self) -> u64 {
        self.compared + self.not_selected
    }

    /// Returns whether the whole table was read.
    pub fn is_full(&self) -> bool {
        self.sample.is_none()
    }

    /// Returns what the verification cannot prove because the journal was purged.
    pub fn limit_of_purge(&self) -> Option<String> {
        self.journal_purged_at.as_ref().map(|at| match self.puts {
            true => format!(
                "derived items that this migration put before {at} and whose source is gone: the journal was purged \
                 then, and only the journal shows which derived items this migration put"
            ),
            false => format!(
                "outdated values that the migration wrote before {at}: the journal was purged then, so verification \
                 treats them like values that the application wrote. Such items can count as matching, skipped or not \
                 selected"
            ),
        })
    }

    /// Returns what the verification cannot prove about derived items. `None` if the plan puts none.
    pub fn limit_of_derived(&self) -> Option<&'static str> {
        if self.lists_derived && !self.is_full() {
            return Some(
                "derived items whose source is gone: a sample does not look for them. `verify --all` looks up each \
                 derived item that this migration put and nobody has changed since",
            );
        }
        self.puts.then_some(
            "derived items whose source is gone, if another writer put them, or changed them after this migration put \
             them: the verification does not look for them, because no record shows that they were derived",
        )
    }

    /// Returns the number of mismatching items that were found, including repaired ones.
    pub fn mismatches_found(&self) -> u64 {
        self.missing + self.stale + self.unexpected
    }

    /// Returns the canonical document. Its keys are sorted and it contains no spaces, so equal reports have equal
    /// texts.
    pub fn canonical(&self) -> serde_json::Result<String> {
        // Convert to a JSON value first, because the maps of a JSON value are ordered by key.
        serde_json::to_value(self).map(|json| json.to_string())
    }

    /// Parses the text that [`VerifyReport::canonical`] returns.
    pub fn from_canonical(text: &str) -> serde_json::Result<VerifyReport> {
        serde_json::from_str(text)
    }

    /// Returns the SHA-256 of a canonical document in hexadecimal digits. The flag refers to a report by this hash.
    pub fn hash_of(canonical: &str) -> String {
        Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns which side is the truth, in words.
    pub fn truth_text(&self) -> &'static str {
        if self.deletes {
            return "no item that the plan selects should exist";
        }
        match self.truth.as_str() {
            "old" if self.only_writes_values => "the values that the plan implies are the truth",
            "old" => "the old values are the truth",
            "new" => "the new values are the truth",
            "new_on_the_way_back" => "the new values are the truth, and old values without a new one stay",
            by_key if by_key.starts_with("percent_") => {
                "the new values are the truth for keys whose readers already use them, the old values for all other keys"
            }
            _ => "the new values are the truth, or the old ones if the new ones are missing",
        }
    }

    /// Writes the report as text for the operator.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let all = if self.is_full() { "every item, strongly consistently" } else { "a sample" };
        writeln!(out, "Verified {all}: begun {}, ended {}", self.began_at, self.ended_at)?;
        if self.deletes {
            return self.write_deletes(out);
        }
        let truth = self.truth_text();
        let flag = self.flag_version.map_or(String::new(), |version| format!(" (version {version} of the flag)"));
        writeln!(out, "  {truth}{flag}")?;
        writeln!(out, "  {:<16} {:>14}", "items compared", number(self.compared))?;
        for (label, items, note) in [
            ("matching", self.matching, ""),
            (
                "skipped",
                self.skipped,
                "  skipped by the plan: a different value existed before, or the item is not computable",
            ),
            ("missing", self.missing, "  a value that the truth implies is missing"),
            ("stale", self.stale, "  a value differs from what the truth implies"),
            ("unexpected", self.unexpected, "  a value that the truth does not imply"),
            ("raced", self.raced, "  a live writer changed the item in the meantime; no mismatch"),
        ] {
            writeln!(out, "    {label:<16} {:>12}{}", number(items), if items > 0 { note } else { "" })?;
        }
        if self.not_selected > 0 {
            let items = number(self.not_selected);
            writeln!(out, "  {:<16} {items:>14}  no change of the plan applies to them; not compared", "not selected")?;
        }
        if let Some(read) = self.derived_items_read {
            let read = number(read);
            writeln!(
                out,
                "  {:<16} {read:>14}  read by the keys in the journal, to find those without a source",
                "derived items"
            )?;
        }
        if self.new_alone > 0 {
            writeln!(
                out,
                "  {} of the matching items had only the new attribute before the migration: readers of the new one \
                 will see those values for the first time",
                number(self.new_alone)
            )?;
        }
        if self.repair {
            let found = number(self.mismatches_found());
            let repaired = number(self.repaired);
            let left = number(self.mismatches);
            writeln!(out, "  found {found}, repaired {repaired}, left {left}")?;
            if self.unexpected > 0 && !self.repair_remove {
                writeln!(
                    out,
                    "  values that the plan does not imply remain; --repair-remove removes them and keeps them in the journal"
                )?;
            }
        }
        if self.diverged_closed > 0 {
            let closed = number(self.diverged_closed);
            writeln!(out, "  closed diverged items, because they now match or are gone: {closed}")?;
        }
        if let Some(limit) = self.limit_of_derived().filter(|_| self.lists_derived) {
            writeln!(out, "  The verification cannot prove anything about {limit}")?;
        }
        if let Some(limit) = self.limit_of_purge() {
            writeln!(out, "  The verification cannot prove anything about {limit}")?;
        }
        self.write_segments(out)?;
        self.write_examples(out)?;
        match self.mismatches {
            0 if self.is_full() && self.compared == 0 => {
                writeln!(out, "Nothing was compared, so the verification proves nothing about parity.")
            }
            0 if self.is_full() => writeln!(out, "Parity holds."),
            0 if self.mismatches_found() > 0 => writeln!(
                out,
                "No mismatch remains in the sample. Items outside the sample are unchanged; to repair them, use verify --all --repair."
            ),
            0 => writeln!(out, "The sample contains no mismatch."),
            left => writeln!(out, "Parity does not hold: {}.", count(left, "mismatch", "mismatches")),
        }
    }

    /// Writes the report of a plan that deletes items.
    fn write_deletes(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "  the plan deletes items: no item that it selects should exist")?;
        for (label, items, note) in [
            ("items read", self.items_read(), ""),
            ("not selected", self.not_selected, "  the plan does not select them; they stay"),
            ("left", self.unexpected, "  the plan selects them, but they still exist"),
            ("unknown", self.missing, "  `where` has no result for them, so it is unknown whether they may stay"),
            ("skipped", self.skipped, "  the plan skips them, because an expression has no result for them"),
            (
                "raced",
                self.raced,
                "  a live writer changed the item in the meantime: it is gone, or the plan no longer selects it",
            ),
        ] {
            writeln!(out, "    {label:<16} {:>12}{}", number(items), if items > 0 { note } else { "" })?;
        }
        if self.repair {
            let deleted = number(self.repaired);
            writeln!(out, "  deleted by the repair: {deleted}, left: {}", number(self.mismatches))?;
        }
        self.write_segments(out)?;
        self.write_examples(out)?;
        match self.mismatches {
            0 if self.is_full() => writeln!(
                out,
                "No item that the plan selects is left. The verification read the table, not the journal. So if \
                 somebody created an item again with a deleted key, and the plan does not select it, it stays."
            ),
            0 => writeln!(out, "The sample contains no item that the plan selects."),
            left => {
                let items = count(left, "item is left or unknown", "items are left or unknown");
                writeln!(out, "The deletes are not complete: {items}.")
            }
        }
    }

    fn write_segments(&self, out: &mut impl Write) -> Result<()> {
        let read = number(self.segments_read);
        let differing = number(self.segments_differing);
        match &self.sample {
            None => writeln!(out, "  segments: {read} read, {differing} differ"),
            Some(sample) => writeln!(out, "  {}", sample.statement),
        }
    }

    fn write_examples(&self, out: &mut impl Write) -> Result<()> {
        for example in &self.examples {
            let key = item_from_json(&example.key).map_or_else(|_| "?".to_owned(), |key| ItemKey::new(key).to_string());
            let repaired = if example.repaired { ", repaired" } else { "" };
            let why = example.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
            match self.deletes {
                true => {
                    let verdict = if example.verdict == Verdict::Missing.name() { "unknown" } else { "left" };
                    writeln!(out, "    {verdict:<10} {key}{}{why}", if example.repaired { ", deleted" } else { "" })?;
                }
                false => {
                    // The mismatch of a derived item has no path. If there are several paths, only the worst of their
                    // verdicts is recorded.
                    let paths = match example.paths.as_slice() {
                        [] => String::new(),
                        [one] => format!(": {one}"),
                        several => format!(": at least one of {}", several.join(", ")),
                    };
                    writeln!(out, "    {:<10} {key}{paths}{repaired}{why}", example.verdict)?;
                }
            }
        }
        match self.mismatches_found().saturating_sub(self.examples.len() as u64) {
            0 => Ok(()),
            more => writeln!(out, "    and {} more", number(more)),
        }
    }
}

impl SegmentReport {
    /// Creates the entry for a segment from its counts.
    pub fn new(segment: u32, counts: &VerdictCounts) -> SegmentReport {
        SegmentReport {
            segment,
            compared: counts.compared(),
            missing: counts.missing,
            stale: counts.stale,
            unexpected: counts.unexpected,
            raced: counts.raced,
            repaired: counts.repaired,
        }
    }
}

impl MismatchExample {
    /// Creates an example from a recorded mismatch.
    pub fn new(
        verdict: Verdict,
        key: &ItemKey,
        paths: &[crate::item::Path],
        repaired: bool,
        why: Option<String>,
    ) -> MismatchExample {
        MismatchExample {
            verdict: verdict.name().to_owned(),
            key: crate::item::item_to_json(key.attributes()),
            paths: paths.iter().map(ToString::to_string).collect(),
            repaired,
            why,
        }
    }
}
