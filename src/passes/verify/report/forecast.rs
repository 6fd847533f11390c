//! The predicted effect of a repair on the mismatches of a verification. The operator sees these figures before
//! confirming a repair.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::state::{Mismatch, Verdict};

/// This text is recorded for a mismatching item if a repair would replace a value that, according to the records, the
/// migration did not write.
pub(in crate::passes::verify) const REPLACES: &str =
    "a repair replaces a value that this migration has no record of writing; an application may have written it";

/// This text is recorded for a mismatching item if a repair would change it only with `--repair-remove`.
pub(in crate::passes::verify) const NOT_REMOVED: &str =
    "left alone: nothing implies this value, and --repair-remove was not given";

/// The predicted effect of a repair on the mismatches of a verification. The state file stores a limited number of
/// mismatches of each kind. These figures cover only the stored mismatches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct RepairForecast {
    /// Number of items with a missing value that a repair would change.
    pub missing: u64,
    /// Number of items with a different value that a repair would change.
    pub stale: u64,
    /// Number of items with an unexpected value that a repair would change.
    pub unexpected: u64,
    /// Number of items in which a repair would replace a value that, according to the records, this migration did not
    /// write.
    pub replaces: u64,
    /// Number of items that a repair would change only with `--repair-remove`. Applications may have written these
    /// values.
    pub only_with_remove: u64,
    /// The reasons why a repair would not change other items, each with the number of items.
    pub left: BTreeMap<String, u64>,
    /// Number of mismatches that the verification counted but did not examine.
    pub unexamined: u64,
}

impl RepairForecast {
    /// Adds the recorded mismatches with this verdict. `found` is the number of counted mismatches, which can be higher
    /// than the number of recorded ones.
    pub(in crate::passes::verify) fn add(&mut self, verdict: Verdict, found: u64, recorded: &[Mismatch]) {
        self.unexamined += found.saturating_sub(recorded.len() as u64);
        for mismatch in recorded.iter().filter(|mismatch| !mismatch.repaired) {
            match mismatch.why.as_deref() {
                None => *self.of(verdict) += 1,
                Some(REPLACES) => {
                    *self.of(verdict) += 1;
                    self.replaces += 1;
                }
                Some(NOT_REMOVED) => self.only_with_remove += 1,
                Some(why) => *self.left.entry(why.to_owned()).or_default() += 1,
            }
        }
    }

    fn of(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Stale => &mut self.stale,
            Verdict::Unexpected => &mut self.unexpected,
            Verdict::Missing | Verdict::NotSelected | Verdict::Matching | Verdict::Skipped => &mut self.missing,
        }
    }

    /// Returns the number of items that a repair would change.
    pub fn repairs(&self, removes: bool) -> u64 {
        self.missing + self.stale + self.unexpected + if removes { self.only_with_remove } else { 0 }
    }

    /// Returns the number of items in which a repair would replace or remove a value that an application may have
    /// written.
    pub fn replaces(&self, removes: bool) -> u64 {
        self.replaces + if removes { self.only_with_remove } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::ItemKey;

    #[test]
    fn each_mismatch_is_counted_once_by_what_a_repair_would_do() {
        let mismatch = |why: Option<&str>, repaired| Mismatch {
            key: ItemKey::new(crate::item::Item::new()),
            verdict: Verdict::Stale,
            paths: Vec::new(),
            repaired,
            why: why.map(str::to_owned),
        };
        let mut forecast = RepairForecast::default();
        let recorded = [
            mismatch(None, false),
            mismatch(Some(REPLACES), false),
            mismatch(Some(NOT_REMOVED), false),
            mismatch(Some("left"), false),
            mismatch(None, true),
        ];
        forecast.add(Verdict::Stale, 7, &recorded);
        assert_eq!((forecast.stale, forecast.replaces, forecast.only_with_remove), (2, 1, 1), "{forecast:?}");
        assert_eq!((forecast.left.get("left"), forecast.unexamined), (Some(&1), 2), "{forecast:?}");
        assert_eq!((forecast.repairs(false), forecast.repairs(true)), (2, 3));
        assert_eq!((forecast.replaces(false), forecast.replaces(true)), (1, 2));
    }
}
