//! For each kind of mismatch, describes how a repair would affect the items of a report. The operator sees this
//! description before confirming the repair.

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
    /// The truth that the verification used.
    pub truths: TruthByKey,
    /// Whether the repair removes values that nothing implies.
    pub removes: bool,
    /// Whether the plan deletes items.
    pub deletes: bool,
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
            return writeln!(out, "  Other items may match by now. Each item is read again before it is deleted.");
        }
        let AffectedAttributes { missing, stale, unexpected } = self.sides();
        let unexpected = if self.removes {
            format!(
                "nothing in the plan explains the value {unexpected}: the repair removes it, and the journal keeps it"
            )
        } else {
            format!("nothing in the plan explains the value {unexpected}: it stays (--repair-remove removes it)")
        };
        for (label, items, what) in [
            ("missing", report.missing, format!("the value is missing {missing}: the repair writes it")),
            (
                "stale",
                report.stale,
                format!("the value differs {stale}: the repair overwrites it, and the journal keeps the old value"),
            ),
            ("unexpected", report.unexpected, unexpected),
        ] {
            writeln!(out, "    {label:<16} {:>12}  {what}", number(items))?;
        }
        if self.changes_elements {
            writeln!(
                out,
                "  In the elements of a list or map, a different value at a target stays, unless the plan says \
                 on_existing = \"overwrite\"."
            )?;
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

    /// Every line about a write names only the attribute that is written.
    #[test]
    fn each_line_names_the_attribute_that_it_writes() {
        let found = VerifyReport { missing: 11, stale: 12, unexpected: 13, ..report() };
        let lines = |truths, strategy, removes| {
            let mut out = Vec::new();
            let preview = RepairPreview { strategy, truths, removes, deletes: false, changes_elements: false };
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

    /// A repair overwrites no different value in an element, unless the plan says so.
    #[test]
    fn the_preview_says_what_stays_in_elements() {
        let text = |changes_elements| {
            let mut out = Vec::new();
            let truths = Truth::Old.into();
            let strategy = Strategy::InPlace;
            let preview = RepairPreview { strategy, truths, removes: false, deletes: false, changes_elements };
            preview.write(&report(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let said = "In the elements of a list or map, a different value at a target stays";
        assert!(text(true).contains(said) && !text(false).contains(said));
    }
}
