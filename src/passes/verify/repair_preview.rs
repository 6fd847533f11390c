//! Describes how a repair would affect the items of a report, by kind of mismatch. The operator sees this description
//! before confirming the repair.

use std::io::{Result, Write};

use super::report::{RepairForecast, VerifyReport};
use crate::change::Strategy;
use crate::cutover::{Truth, TruthByKey};
use crate::figure::{count, number};

/// The inputs of a repair, other than the items.
#[derive(Debug, Clone, Copy)]
pub struct RepairPreview {
    /// The plan's strategy.
    pub strategy: Strategy,
    /// The truth that the verification used.
    pub truths: TruthByKey,
    /// Whether the repair removes values that the plan does not imply.
    pub removes: bool,
    /// Whether the plan deletes items.
    pub deletes: bool,
    /// Whether the plan only writes values, so that no new attribute replaces an old one.
    pub only_writes_values: bool,
    /// Whether the plan changes elements of lists or maps.
    pub changes_elements: bool,
}

/// For each kind of mismatch, the attribute that the repair affects.
struct AffectedAttributes {
    missing: &'static str,
    stale: &'static str,
    unexpected: &'static str,
}

impl RepairPreview {
    /// Describes how this repair would affect the items of this report. Each line names the attribute that would be
    /// written.
    pub fn write(&self, report: &VerifyReport, out: &mut impl Write) -> Result<()> {
        let of = if report.is_full() { "every item" } else { "a sample" };
        writeln!(out, "The verification of {of} that ended {} found these mismatches:", report.ended_at)?;
        if self.deletes {
            let label = "unexpected";
            let items = number(report.unexpected);
            writeln!(out, "    {label:<16} {items:>12}  the item matches the selection: the repair deletes it")?;
            return writeln!(out, "  Items may have changed since then. Each item is read again before it is deleted.");
        }
        let counts = self.counts(report);
        let AffectedAttributes { missing, stale, unexpected } = self.sides();
        let unexpected = if self.removes {
            format!("the plan does not imply the value {unexpected}: the repair removes it, and the journal keeps it")
        } else {
            format!("the plan does not imply the value {unexpected}: it stays (--repair-remove removes it)")
        };
        for (label, items, what) in [
            ("missing", counts.missing, format!("the value is missing {missing}: the repair writes it")),
            (
                "stale",
                counts.stale,
                format!("the value differs {stale}: the repair overwrites it, and the journal keeps the old value"),
            ),
            ("unexpected", counts.unexpected, unexpected),
        ] {
            writeln!(out, "    {label:<16} {:>12}  {what}", number(items))?;
        }
        self.write_left(report, out)?;
        self.write_replaced(report, out)?;
        if self.changes_elements {
            writeln!(
                out,
                "  In the elements of a list or map, a different value at a target stays, unless the plan says \
                 on_existing = \"overwrite\"."
            )?;
        }
        // A forecast does not count items that have been repaired since the verification.
        match report.repaired {
            _ if report.forecast.is_some() => {
                writeln!(out, "  Items may have changed since then. Each item is read again before it is changed.")
            }
            0 => writeln!(out, "  Items may have changed since then. Each item is read again before it is changed."),
            repaired => writeln!(
                out,
                "  {} of these items have been repaired since then. Each item is read again before it is changed.",
                number(repaired)
            ),
        }
    }

    /// Returns the number of items of each kind that the repair changes. The number of unexpected items includes items
    /// that are not changed because the repair does not remove values.
    fn counts(&self, report: &VerifyReport) -> RepairForecast {
        match &report.forecast {
            Some(forecast) => {
                let unexpected = forecast.unexpected + forecast.only_with_remove;
                RepairForecast { unexpected, ..forecast.clone() }
            }
            None => RepairForecast {
                missing: report.missing,
                stale: report.stale,
                unexpected: report.unexpected,
                ..RepairForecast::default()
            },
        }
    }

    /// Writes how many items the repair does not change, and why.
    fn write_left(&self, report: &VerifyReport, out: &mut impl Write) -> Result<()> {
        let Some(forecast) = &report.forecast else { return Ok(()) };
        let left: u64 = forecast.left.values().sum();
        if left > 0 {
            writeln!(out, "    {:<16} {:>12}  the repair does not change these items", "left", number(left))?;
        }
        for (why, items) in &forecast.left {
            writeln!(out, "      {}: {why}", count(*items, "item", "items"))?;
        }
        match forecast.unexamined {
            0 => Ok(()),
            more => writeln!(
                out,
                "  {} more were counted but not examined, so the effect of the repair on them is unknown.",
                count(more, "mismatch", "mismatches")
            ),
        }
    }

    /// Writes the number of items in which the repair could replace values of applications.
    fn write_replaced(&self, report: &VerifyReport, out: &mut impl Write) -> Result<()> {
        match report.forecast.as_ref().map_or(0, |forecast| forecast.replaces(self.removes)) {
            0 => Ok(()),
            items => writeln!(
                out,
                "  In {} of the items to repair, the repair replaces or removes a value, and no record shows that this \
                 migration wrote it. An application may have written it. A later rollback might not restore \
                 these values. The journal keeps them, and `backfill journal` lists them.",
                number(items)
            ),
        }
    }

    /// Returns the question that the operator must answer before the repair. `table` describes the table.
    pub fn question(&self, report: &VerifyReport, table: &str) -> String {
        let Some(forecast) = report.forecast.as_ref().filter(|_| !self.deletes) else {
            return format!("Repair items of {table} now?");
        };
        let at_least = if forecast.unexamined > 0 || !report.is_full() { "at least " } else { "" };
        let repairs = count(forecast.repairs(self.removes), "item", "items");
        match forecast.replaces(self.removes) {
            0 => format!("Repair {at_least}{repairs} of {table} now?"),
            replaced => format!(
                "Repair {at_least}{repairs} of {table} now, and replace values that applications may have written in \
                 {at_least}{} of them?",
                number(replaced)
            ),
        }
    }

    fn sides(&self) -> AffectedAttributes {
        let new = "in the new attribute";
        let old = "in the old attribute";
        if self.only_writes_values {
            let target = "at a path that the plan changes";
            return AffectedAttributes { missing: target, stale: target, unexpected: target };
        }
        match (self.truths, self.strategy) {
            (TruthByKey::All(Truth::Old), Strategy::ExpandContract) => {
                AffectedAttributes { missing: new, stale: new, unexpected: new }
            }
            // The unexpected value is in the old attribute. The write of the new attribute should have removed it.
            (TruthByKey::All(Truth::Old), Strategy::InPlace) => {
                AffectedAttributes { missing: new, stale: new, unexpected: old }
            }
            (TruthByKey::All(Truth::NewThenOld), _) => {
                AffectedAttributes { missing: "in one of the two attributes", stale: old, unexpected: new }
            }
            (TruthByKey::All(Truth::New), _) => AffectedAttributes {
                missing: "in the old attribute (an old value without a new one stays)",
                stale: old,
                unexpected: new,
            },
            (TruthByKey::All(Truth::NewDuringRollback), _) => {
                AffectedAttributes { missing: old, stale: old, unexpected: new }
            }
            (TruthByKey::Percent(_), _) => AffectedAttributes {
                missing: "in one of the two attributes",
                stale: "in the old attribute if the key's readers use the new one, otherwise in the new attribute",
                unexpected: new,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::verify::report::tests::report;

    /// Every line names only the attribute that the repair writes.
    #[test]
    fn each_line_names_the_attribute_that_it_writes() {
        let found = VerifyReport { missing: 11, stale: 12, unexpected: 13, ..report() };
        let lines = |truths, strategy, removes| {
            let mut out = Vec::new();
            let preview = RepairPreview {
                strategy,
                truths,
                removes,
                deletes: false,
                only_writes_values: false,
                changes_elements: false,
            };
            preview.write(&found, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            [11, 12, 13].map(|n| {
                let line = text.lines().find(|line| line.contains(&format!("  {n}  "))).unwrap();
                line.split_once(&format!("{n}  ")).unwrap().1.to_owned()
            })
        };
        let strategy = Strategy::ExpandContract;
        let [fills, overwrites, leaves] = lines(Truth::Old.into(), strategy, false);
        assert_eq!(fills, "the value is missing in the new attribute: the repair writes it");
        assert!(
            overwrites.starts_with("the value differs in the new attribute: the repair overwrites it"),
            "{overwrites}"
        );
        assert!(leaves.ends_with("the value in the new attribute: it stays (--repair-remove removes it)"), "{leaves}");
        for truth in [Truth::NewThenOld, Truth::New, Truth::NewDuringRollback] {
            let [_, overwrites, _] = lines(truth.into(), strategy, false);
            assert!(
                overwrites.starts_with("the value differs in the old attribute: the repair overwrites it"),
                "{overwrites}"
            );
        }
        let [fills, overwrites, _] = lines(TruthByKey::Percent(10), strategy, false);
        assert!(fills.contains("in one of the two attributes"), "{fills}");
        assert!(overwrites.contains("in the old attribute if the key's readers use the new one"), "{overwrites}");
        let [.., removes] = lines(Truth::Old.into(), Strategy::InPlace, true);
        assert!(removes.contains("in the old attribute: the repair removes it"), "{removes}");
    }

    /// For a plan that only writes values, the texts mention no old or new attribute.
    #[test]
    fn a_plan_that_only_writes_values_names_no_old_attribute() {
        let found = VerifyReport {
            missing: 1,
            stale: 2,
            unexpected: 3,
            only_writes_values: true,
            examples: Vec::new(),
            ..report()
        };
        let mut out = Vec::new();
        let preview = RepairPreview {
            strategy: Strategy::ExpandContract,
            truths: Truth::Old.into(),
            removes: true,
            deletes: false,
            only_writes_values: true,
            changes_elements: false,
        };
        preview.write(&found, &mut out).unwrap();
        found.write(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for wrong in ["old attribute", "new attribute", "old values", "new values", "cut over"] {
            assert!(!text.contains(wrong), "{text}");
        }
        assert!(text.contains("missing at a path that the plan changes"), "{text}");
        assert!(text.contains("the values that the plan implies are the truth"), "{text}");
    }

    /// The first lines count only items that the repair changes. For the other items, the text states reasons. The
    /// question states in how many items the repair replaces values that applications may have written.
    #[test]
    fn the_preview_counts_what_the_repair_changes_and_names_the_rest() {
        let forecast = RepairForecast {
            stale: 20,
            replaces: 15,
            only_with_remove: 3,
            left: [("left alone: its correct value is unknown".to_owned(), 7)].into(),
            ..RepairForecast::default()
        };
        let found = VerifyReport { missing: 0, stale: 27, unexpected: 3, forecast: Some(forecast), ..report() };
        let preview = |removes| RepairPreview {
            strategy: Strategy::ExpandContract,
            truths: Truth::Old.into(),
            removes,
            deletes: false,
            only_writes_values: false,
            changes_elements: false,
        };
        let mut out = Vec::new();
        preview(false).write(&found, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in
            ["20  the value differs", "7  the repair does not change", "7 items: left alone", "In 15 of the items"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let question = "Repair 20 items of T now, and replace values that applications may have written in 15 of them?";
        assert_eq!(preview(false).question(&found, "T"), question);
        let question = "Repair 23 items of T now, and replace values that applications may have written in 18 of them?";
        assert_eq!(preview(true).question(&found, "T"), question);
        let none = VerifyReport { forecast: Some(RepairForecast::default()), ..found };
        assert_eq!(preview(false).question(&none, "T"), "Repair 0 items of T now?");
    }

    /// A repair does not overwrite a different value in an element, unless the plan says so.
    #[test]
    fn the_preview_says_what_stays_in_elements() {
        let text = |changes_elements| {
            let mut out = Vec::new();
            let truths = Truth::Old.into();
            let strategy = Strategy::InPlace;
            let preview = RepairPreview {
                strategy,
                truths,
                removes: false,
                deletes: false,
                only_writes_values: false,
                changes_elements,
            };
            preview.write(&report(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let said = "In the elements of a list or map, a different value at a target stays";
        assert!(text(true).contains(said) && !text(false).contains(said));
    }
}
