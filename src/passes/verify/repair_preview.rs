//! Describes the effect of a repair on the items of a report, for each kind of mismatch. The operator sees this before
//! confirming the repair.

use std::io::{Result, Write};

use super::report::VerifyReport;
use crate::change::Strategy;
use crate::cutover::{Truth, TruthByKey};
use crate::telemetry::number;

/// The inputs of a repair, other than the items.
#[derive(Debug, Clone, Copy)]
pub struct RepairPreview {
    /// The plan's strategy.
    pub strategy: Strategy,
    /// The truth that the report's verification used.
    pub truths: TruthByKey,
    /// Whether the repair removes values that nothing implies.
    pub removes: bool,
}

/// The affected attribute, for each kind of mismatch.
struct AffectedAttributes {
    missing: &'static str,
    stale: &'static str,
    unexpected: &'static str,
}

impl RepairPreview {
    /// Describes the effect of this repair on the items of this report. Each line names the attribute that would be
    /// written.
    pub fn write(&self, report: &VerifyReport, out: &mut impl Write) -> Result<()> {
        let of = if report.is_full() { "every item" } else { "a sample" };
        writeln!(out, "Based on the verification of {of} that ended {}, this repair:", report.ended_at)?;
        let AffectedAttributes { missing, stale, unexpected } = self.sides();
        let unexpected = if self.removes {
            format!("removes values that nothing implies {unexpected}; the journal keeps them")
        } else {
            format!("leaves values that nothing implies {unexpected} (--repair-remove removes them)")
        };
        for (label, items, what) in [
            ("missing", report.missing, format!("fills values that are missing {missing}")),
            ("stale", report.stale, format!("overwrites values that differ {stale}; the journal keeps them")),
            ("unexpected", report.unexpected, unexpected),
        ] {
            writeln!(out, "    {label:<16} {:>12}  {what}", number(items))?;
        }
        match report.repaired {
            0 => writeln!(out, "  Other items may differ by now. Each item is read again before it is changed."),
            repaired => writeln!(
                out,
                "  {} of these were repaired since. Each item is read again before it is changed.",
                number(repaired)
            ),
        }
    }

    fn sides(&self) -> AffectedAttributes {
        let new = "in the new attribute";
        let old = "in the old attribute";
        match (self.truths, self.strategy) {
            (TruthByKey::All(Truth::Old), Strategy::ExpandContract) => {
                AffectedAttributes { missing: new, stale: new, unexpected: new }
            }
            // An unexpected value is in the old attribute. The write that set the new attribute should have removed it.
            (TruthByKey::All(Truth::Old), Strategy::InPlace) => {
                AffectedAttributes { missing: new, stale: new, unexpected: old }
            }
            (TruthByKey::All(Truth::NewThenOld), _) => {
                AffectedAttributes { missing: "in either attribute, from the other one", stale: old, unexpected: new }
            }
            (TruthByKey::All(Truth::New), _) => AffectedAttributes {
                missing: "in the old attribute, and leaves an old value without a new one",
                stale: old,
                unexpected: new,
            },
            (TruthByKey::All(Truth::NewDuringRollback), _) => {
                AffectedAttributes { missing: old, stale: old, unexpected: new }
            }
            (TruthByKey::Percent(_), _) => AffectedAttributes {
                missing: "in either attribute, from the other one",
                stale: "in the old attribute of keys that are read at the new one, in the new attribute of the others",
                unexpected: new,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::verify::report::tests::report;

    /// Every line about a write names the attribute that is written, and no other attribute.
    #[test]
    fn each_line_names_the_attribute_that_it_writes() {
        let found = VerifyReport { missing: 11, stale: 12, unexpected: 13, ..report() };
        let lines = |truths, strategy, removes| {
            let mut out = Vec::new();
            RepairPreview { strategy, truths, removes }.write(&found, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            [11, 12, 13].map(|n| {
                let line = text.lines().find(|line| line.contains(&format!("  {n}  "))).unwrap();
                line.split_once(&format!("{n}  ")).unwrap().1.to_owned()
            })
        };
        let strategy = Strategy::ExpandContract;
        let [fills, overwrites, leaves] = lines(Truth::Old.into(), strategy, false);
        assert_eq!(fills, "fills values that are missing in the new attribute");
        assert_eq!(overwrites, "overwrites values that differ in the new attribute; the journal keeps them");
        assert!(leaves.starts_with("leaves values that nothing implies in the new attribute (--repair-remove"));
        for truth in [Truth::NewThenOld, Truth::New, Truth::NewDuringRollback] {
            let [_, overwrites, _] = lines(truth.into(), strategy, false);
            assert_eq!(overwrites, "overwrites values that differ in the old attribute; the journal keeps them");
        }
        let [fills, overwrites, _] = lines(TruthByKey::Percent(10), strategy, false);
        assert!(fills.contains("in either attribute"), "{fills}");
        assert!(overwrites.contains("in the old attribute of keys that are read at the new one"), "{overwrites}");
        let [.., removes] = lines(Truth::Old.into(), Strategy::InPlace, true);
        assert_eq!(removes, "removes values that nothing implies in the old attribute; the journal keeps them");
    }
}
