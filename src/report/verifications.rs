//! The verifications of a migration: what each one found, what it proves, and what it cannot prove. This module is pure.

use crate::figure::{count, number};
use crate::passes::verify::VerifyReport;
use crate::state::StoredReport;

/// A complete verification.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationEntry {
    /// The number of the verification's run.
    pub run: i64,
    /// The SHA-256 of the stored report.
    pub hash: String,
    /// The stored report; `None` if it cannot be read or does not match its hash.
    pub report: Option<VerifyReport>,
}

impl VerificationEntry {
    /// Reads a stored report, and checks it against its hash.
    pub fn new(stored: &StoredReport) -> VerificationEntry {
        let intact = VerifyReport::hash_of(&stored.json) == stored.hash;
        let report = VerifyReport::from_canonical(&stored.json).ok().filter(|_| intact);
        VerificationEntry { run: stored.run.number(), hash: stored.hash.clone(), report }
    }

    /// Returns the result in one sentence.
    pub fn result(&self) -> String {
        let Some(report) = &self.report else {
            return "unknown: the stored report cannot be read, or does not match its hash".to_owned();
        };
        match (report.mismatches, report.is_full()) {
            (0, true) if report.deletes => "No item that the plan selects is left.".to_owned(),
            (left, true) if report.deletes => {
                format!(
                    "The deletes are not complete: {}.",
                    count(left, "item is left or unknown", "items are left or unknown")
                )
            }
            (0, true) if report.compared == 0 => "Nothing was compared.".to_owned(),
            (0, true) => "Parity holds.".to_owned(),
            (0, false) => "The sample contains no mismatch.".to_owned(),
            (left, true) => format!("Parity does not hold: {}.", count(left, "mismatch", "mismatches")),
            (left, false) => format!("The sample contains {}.", count(left, "mismatch", "mismatches")),
        }
    }

    /// Returns what the verification proves.
    pub fn proves(&self) -> String {
        let Some(report) = &self.report else { return "nothing".to_owned() };
        let read = count(report.items_read(), "item", "items");
        match &report.sample {
            None if report.items_read() == 0 => "The pass found no items.".to_owned(),
            None if report.deletes => format!(
                "Between {} and {}, the pass read {read} with strong consistency. {} of them are selected and \
                 were not deleted, or it is unknown whether the plan selects them.",
                report.began_at,
                report.ended_at,
                number(report.mismatches)
            ),
            None => format!(
                "Between {} and {}, the pass read {read} with strong consistency. {} of them did not match and \
                 were not repaired.",
                report.began_at,
                report.ended_at,
                number(report.mismatches)
            ),
            Some(sample) => sample.statement.clone(),
        }
    }

    /// Returns what the verification cannot prove.
    pub fn cannot_prove(&self) -> Vec<String> {
        let Some(report) = &self.report else { return Vec::new() };
        let mut limits = vec![match report.deletes || report.only_writes_values {
            true => "items that a writer changed or inserted after the pass had read that part of the table".to_owned(),
            false => {
                "items that a writer changed or inserted after the pass had read that part of the table: a writer \
                      that writes only one attribute can make them differ"
                    .to_owned()
            }
        }];
        if report.sample.is_some() {
            limits.push(
                "individual items outside the sample: the bound is for clusters of items, and eventually consistent \
                 reads may return old values"
                    .to_owned(),
            );
        }
        if report.stage == "contracted" {
            limits.push("values whose old attribute is gone: there is no value to compare with".to_owned());
        }
        limits.extend(report.limit_of_derived().map(str::to_owned));
        limits.extend(report.limit_of_purge());
        if report.repair && report.mismatches > 0 {
            limits.push("items that the repair left as they are".to_owned());
        }
        limits
    }
}
