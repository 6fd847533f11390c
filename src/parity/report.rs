//! What a complete verification found: the document that is stored, hashed and shown.

use std::io::{Result, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::bound::{CONFIDENCE, Clusters, percent_text};
use super::verdict::{Verdict, VerdictCounts};
use crate::item::{ItemKey, item_from_json};
use crate::telemetry::number;

/// Keys of each verdict that a report names.
pub const MAX_EXAMPLES: u32 = 10;

/// Segments that a report lists: those that differ, and those in which writers were met.
pub const MAX_SEGMENTS: usize = 1_000;

/// The report of one complete verification. It holds keys, and no other attribute values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// What a sample means: a statement on clusters, as they were found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleReport {
    /// From which the clusters were drawn.
    pub seed: u64,
    /// Clusters of the table.
    pub clusters: u32,
    /// Clusters drawn at random, from all but `large`.
    pub drawn: u32,
    /// Of those, clusters with a mismatch.
    pub differing: u32,
    /// Of those, clusters without an item.
    pub empty: u32,
    /// Clusters of the stratum that was read in full: where large item collections are.
    pub large: u32,
    /// Of those, clusters with a mismatch.
    pub large_differing: u32,
    /// At most so many clusters differ, of all.
    pub at_most_clusters: u32,
    /// The same in percent of all clusters, rounded up.
    pub at_most_percent: f64,
    /// In percent of the clusters that hold items, where many do not.
    pub at_most_percent_of_filled: Option<f64>,
    /// How sure that is.
    pub confidence: f64,
    /// The same in words.
    pub statement: String,
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

    /// What a repair would do about these items, by kind: shown before it is asked for. With `removes`, it removes what
    /// nothing implies.
    pub fn write_repair_preview(&self, out: &mut impl Write, removes: bool) -> Result<()> {
        let of = if self.is_full() { "every item" } else { "a sample" };
        writeln!(out, "Based on the verification of {of} that ended {}, this repair:", self.ended_at)?;
        let unexpected = if removes {
            "removes values that nothing implies; the journal keeps them"
        } else {
            "leaves values that nothing implies (--repair-remove removes them)"
        };
        for (label, items, what) in [
            ("missing", self.missing, "fills values that the truth implies"),
            ("stale", self.stale, "overwrites values that differ from the truth; the journal keeps them"),
            ("unexpected", self.unexpected, unexpected),
        ] {
            writeln!(out, "    {label:<16} {:>12}  {what}", number(items))?;
        }
        match self.repaired {
            0 => writeln!(out, "  Other items may differ by now. Each item is read again before it is changed."),
            repaired => writeln!(
                out,
                "  {} of these were repaired since. Each item is read again before it is changed.",
                number(repaired)
            ),
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

impl SampleReport {
    /// What these clusters, drawn from this seed, mean.
    pub fn new(seed: u64, clusters: &Clusters) -> SampleReport {
        SampleReport {
            seed,
            clusters: clusters.all,
            drawn: clusters.drawn,
            differing: clusters.differing,
            empty: clusters.empty,
            large: clusters.large,
            large_differing: clusters.large_differing,
            at_most_clusters: clusters.at_most(),
            at_most_percent: clusters.at_most_percent(),
            at_most_percent_of_filled: clusters.at_most_percent_of_filled(),
            confidence: CONFIDENCE,
            statement: statement(clusters),
        }
    }
}

/// What a sample means, in words. Each figure is of clusters: of items nothing is claimed.
fn statement(clusters: &Clusters) -> String {
    let Clusters { all, drawn, differing, empty, large, large_differing } = *clusters;
    let [all_text, drawn_text, differing_text, empty, large_text, large_differing] =
        [all, drawn, differing, empty, large, large_differing].map(|n| number(n.into()));
    let beside = match large {
        0 => String::new(),
        _ => format!(
            " All {large_text} clusters around large item collections were read besides: {large_differing} differ."
        ),
    };
    if drawn + large >= all {
        return format!("{differing_text} of {drawn_text} clusters differ: all were read.{beside}");
    }
    let percent = percent_text(clusters.at_most_percent());
    let filled = clusters.at_most_percent_of_filled().map_or(String::new(), |percent| {
        let percent = percent_text(percent);
        let but = if large > 0 { ", without those around large item collections," } else { "" };
        format!(
            " {empty} of the sampled clusters hold no item: of those that hold any{but} at most {percent} % differ."
        )
    });
    format!(
        "{differing_text} of {drawn_text} sampled clusters differ: at most {percent} % of clusters, with 95 % confidence. \
         A cluster is one of {all_text} segments of the table.{filled}{beside}"
    )
}

impl Example {
    /// An item that is on record as a mismatch.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_put_as_it_is() {
        let none = Clusters { all: 1_000_000, drawn: 4_000, ..Clusters::default() };
        assert_eq!(
            statement(&none),
            "0 of 4,000 sampled clusters differ: at most 0.075 % of clusters, with 95 % confidence. A cluster is one of \
             1,000,000 segments of the table."
        );
        let empty = Clusters { empty: 3_000, large: 512, large_differing: 2, ..none };
        let text = statement(&empty);
        assert!(
            text.contains("3,000 of the sampled clusters hold no item: of those that hold any, without those around large item collections, at most 0.3 % differ."),
            "{text}"
        );
        assert!(
            text.ends_with("All 512 clusters around large item collections were read besides: 2 differ."),
            "{text}"
        );
        let all = Clusters { all: 64, drawn: 64, differing: 1, ..Clusters::default() };
        assert_eq!(statement(&all), "1 of 64 clusters differ: all were read.");
    }

    pub(crate) fn report() -> VerifyReport {
        VerifyReport {
            schema_version: 1,
            kind: "verify".into(),
            tool_version: "0.1.0".into(),
            fingerprint: "f".into(),
            table_arn: "arn".into(),
            table_id: None,
            run: 3,
            scope: "all".into(),
            stage: "expanded".into(),
            truth: "old".into(),
            flag_version: Some(4),
            repair: true,
            repair_remove: false,
            began_at: "2026-01-01T00:00:00Z".into(),
            ended_at: "2026-01-01T01:00:00Z".into(),
            compared: 12_000,
            matching: 11_998,
            skipped: 0,
            missing: 1,
            stale: 1,
            unexpected: 0,
            new_alone: 0,
            raced: 0,
            repaired: 1,
            mismatches: 1,
            diverged_closed: 0,
            read_units: 10.5,
            write_units: 1.0,
            segments_read: 4,
            segments_differing: 1,
            segments: vec![SegmentReport::new(2, &VerdictCounts { stale: 1, ..VerdictCounts::default() })],
            sample: None,
            examples: vec![Example {
                verdict: "stale".into(),
                key: serde_json::json!({"pk": {"S": "A\u{1b}#1"}}),
                paths: vec!["new".into()],
                repaired: false,
                why: Some("its new attribute was there before the migration".into()),
            }],
        }
    }

    #[test]
    fn one_report_has_one_text_and_one_hash() {
        let report = report();
        let text = report.canonical().unwrap();
        assert_eq!(VerifyReport::from_canonical(&text).unwrap(), report);
        assert!(text.starts_with("{\"began_at\":") && text.contains("\"type\":\"verify\""), "{text}");
        assert_eq!(VerifyReport::hash_of(&text).len(), 64);
        let other = VerifyReport { stale: 2, ..report }.canonical().unwrap();
        assert_ne!(VerifyReport::hash_of(&text), VerifyReport::hash_of(&other));
    }

    #[test]
    fn people_read_every_figure_and_no_control_characters() {
        let mut out = Vec::new();
        report().write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "every item",
            "the old values are the truth (version 4 of the flag)",
            "12,000",
            "found 2, repaired 1, left 1",
            "segments: 4 read, 1 differ",
            "pk=A\\u{1b}#1: new (its new attribute was there before the migration)",
            "Parity does not hold: 1 mismatching items.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
