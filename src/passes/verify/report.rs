//! What a complete verification found: the document that is stored, hashed and shown.

mod sample;
#[cfg(test)]
pub(super) mod tests;

use std::io::{Result, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::item::{ItemKey, item_from_json};
use crate::state::{Verdict, VerdictCounts};
use crate::telemetry::number;
pub use sample::SampleReport;

/// Keys of each verdict that a report names.
pub const MAX_EXAMPLES: u32 = 10;

/// Segments that a report lists: those that differ, and those in which writers were met.
pub const MAX_SEGMENTS: usize = 1_000;

/// The report of one complete verification. It holds keys, and no other attribute values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct VerifyReport {
    /// Version of this form.
    pub schema_version: u32,
    /// `verify`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Version of the tool.
    pub tool_version: String,
    /// Fingerprint of the plan.
    pub fingerprint: String,
    /// The table.
    pub table_arn: String,
    /// Its id, where the engine has one.
    pub table_id: Option<String>,
    /// The run in the state file.
    pub run: i64,
    /// `all`, or `sample`.
    pub scope: String,
    /// `expanded`, or `contracted`.
    pub stage: String,
    /// The side that the other one is derived from: `old`, `new_then_old` or `new`.
    pub truth: String,
    /// Version of the cutover flag throughout; none where there is no flag.
    pub flag_version: Option<u64>,
    /// Whether mismatching items were repaired.
    pub repair: bool,
    /// Whether values that nothing implies were removed, too.
    #[serde(default)]
    pub repair_remove: bool,
    /// When it was begun: nothing was read before.
    pub began_at: String,
    /// When it was complete.
    pub ended_at: String,
    /// Items that were read.
    pub compared: u64,
    /// By what came of them, as they were found.
    pub matching: u64,
    /// With another value at a target, which `on_existing = "skip"` counts as done.
    #[serde(default)]
    pub skipped: u64,
    /// Without a value that the truth implies.
    pub missing: u64,
    /// With another value than it implies.
    pub stale: u64,
    /// With a value that it does not imply.
    pub unexpected: u64,
    /// Of the matching ones: items that had the new attribute alone before the migration.
    #[serde(default)]
    pub new_alone: u64,
    /// Met between two states of a live writer: they matched, or were gone, when they were read again.
    pub raced: u64,
    /// Of missing, stale and unexpected, those that a repair brought to equality.
    pub repaired: u64,
    /// Those that are left: 0 says that parity holds.
    pub mismatches: u64,
    /// Diverged items on record that were seen equal, or gone, and are settled.
    pub diverged_closed: u64,
    /// Read capacity units that it consumed.
    pub read_units: f64,
    /// Write capacity units, of repairs.
    pub write_units: f64,
    /// Segments that were read.
    pub segments_read: u64,
    /// Those of them that hold a mismatch, as it was found.
    pub segments_differing: u64,
    /// The first thousand segments that hold a mismatch or in which a writer was met.
    pub segments: Vec<SegmentReport>,
    /// What the sample means; none where the whole table was read.
    pub sample: Option<SampleReport>,
    /// Ten mismatching items of each verdict at most.
    pub examples: Vec<Example>,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// Its number.
    pub segment: u32,
    /// Items in it.
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
pub struct Example {
    /// `missing`, `stale` or `unexpected`.
    pub verdict: String,
    /// Its key, as DynamoDB JSON.
    pub key: Json,
    /// Where.
    pub paths: Vec<String>,
    /// Whether it was repaired.
    pub repaired: bool,
    /// What stood against a repair.
    pub why: Option<String>,
}

impl VerifyReport {
    /// Whether the table was read as a whole.
    pub fn is_full(&self) -> bool {
        self.sample.is_none()
    }

    /// Mismatching items as they were found, repaired or not.
    pub fn found(&self) -> u64 {
        self.missing + self.stale + self.unexpected
    }

    /// The document: one text for one report (keys in order, no spaces).
    pub fn canonical(&self) -> serde_json::Result<String> {
        // Through a value, whose maps are ordered by key.
        serde_json::to_value(self).map(|json| json.to_string())
    }

    /// Reads [`VerifyReport::canonical`] back.
    pub fn from_canonical(text: &str) -> serde_json::Result<VerifyReport> {
        serde_json::from_str(text)
    }

    /// SHA-256 of a canonical document, in hexadecimal digits: how a cutover names the report that it rests on.
    pub fn hash_of(canonical: &str) -> String {
        Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The report for people.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let all = if self.is_full() { "every item, strongly consistently" } else { "a sample" };
        writeln!(out, "Verified {all}: begun {}, ended {}", self.began_at, self.ended_at)?;
        let truth = match self.truth.as_str() {
            "old" => "the old values are the truth",
            "new" => "the new values are the truth",
            "new_on_the_way_back" => "the new values are the truth, and old ones without a new one stay",
            by_key if by_key.starts_with("percent_") => {
                "the new values are the truth for the keys that are read there by now, the old ones for the others"
            }
            _ => "the new values are the truth, and the old ones where there is none",
        };
        let flag = self.flag_version.map_or(String::new(), |version| format!(" (version {version} of the flag)"));
        writeln!(out, "  {truth}{flag}")?;
        writeln!(out, "  {:<16} {:>14}", "items compared", number(self.compared))?;
        for (label, items, note) in [
            ("matching", self.matching, ""),
            ("skipped", self.skipped, "  another value was there before; on_existing = \"skip\" counts it as done"),
            ("missing", self.missing, "  a value that the truth implies is not there"),
            ("stale", self.stale, "  another value than the truth implies"),
            ("unexpected", self.unexpected, "  a value that the truth does not imply"),
            ("raced", self.raced, "  a live writer was in between; no mismatch"),
        ] {
            writeln!(out, "    {label:<16} {:>12}{}", number(items), if items > 0 { note } else { "" })?;
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
            let (found, repaired, left) = (number(self.found()), number(self.repaired), number(self.mismatches));
            writeln!(out, "  found {found}, repaired {repaired}, left {left}")?;
            if self.unexpected > 0 && !self.repair_remove {
                writeln!(
                    out,
                    "  values that nothing implies are left; --repair-remove removes them and keeps them in the journal"
                )?;
            }
        }
        if self.diverged_closed > 0 {
            let closed = number(self.diverged_closed);
            writeln!(out, "  diverged items on record that are equal by now, or gone: {closed}, settled")?;
        }
        let (read, differing) = (number(self.segments_read), number(self.segments_differing));
        match &self.sample {
            None => writeln!(out, "  segments: {read} read, {differing} differ")?,
            Some(sample) => writeln!(out, "  {}", sample.statement)?,
        }
        self.write_examples(out)?;
        match self.mismatches {
            0 if self.is_full() => writeln!(out, "Parity holds."),
            0 if self.found() > 0 => writeln!(
                out,
                "No mismatch is left in the sample. What it has not met is as it was: verify --all --repair finds the rest."
            ),
            0 => writeln!(out, "No mismatch is in the sample."),
            left => writeln!(out, "Parity does not hold: {} mismatching items.", number(left)),
        }
    }

    fn write_examples(&self, out: &mut impl Write) -> Result<()> {
        for example in &self.examples {
            let key = item_from_json(&example.key).map_or_else(|_| "?".to_owned(), |key| ItemKey::new(key).to_string());
            let repaired = if example.repaired { ", repaired" } else { "" };
            let why = example.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
            writeln!(out, "    {:<10} {key}: {}{repaired}{why}", example.verdict, example.paths.join(", "))?;
        }
        Ok(())
    }
}

impl SegmentReport {
    /// A segment's counts.
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

impl Example {
    /// A recorded mismatch, as a report shows it.
    pub fn new(
        verdict: Verdict,
        key: &ItemKey,
        paths: &[crate::item::Path],
        repaired: bool,
        why: Option<String>,
    ) -> Example {
        Example {
            verdict: verdict.name().to_owned(),
            key: crate::item::item_to_json(key.attributes()),
            paths: paths.iter().map(ToString::to_string).collect(),
            repaired,
            why,
        }
    }
}
