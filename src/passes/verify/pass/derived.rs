//! Verifies derived items: reads the derived item of each selected item, and the source of each derived item that the
//! migration put.

use std::sync::Arc;

use super::super::compare::Comparison;
use crate::change::{Changes, Decision, DerivedItem, ExistingDerived, ItemHistory, Selected};
use crate::dynamodb::TableDescription;
use crate::engine::{Requests, Stopped};
use crate::item::{Item, ItemKey};
use crate::passes::expand;
use crate::plan::Plan;
use crate::state::Verdict;

/// Reads derived items and their sources, strongly consistently.
pub(super) struct DerivedItems {
    changes: Changes,
    derived: Arc<DerivedItem>,
}

/// The judgment on a suspect.
pub(super) struct Judged {
    pub(super) found: Comparison,
    /// The problem with the derived item, including its key. `None` if the verdict needs no explanation. The text
    /// contains no values other than the key.
    pub(super) why: Option<String>,
    /// The consumed read units.
    pub(super) units: f64,
}

impl Judged {
    pub(super) fn without_read(found: Comparison) -> Judged {
        Judged { found, why: None, units: 0.0 }
    }
}

impl DerivedItems {
    /// Prepares the verification of this plan. Returns `None` if the plan puts no derived items.
    pub(super) fn new(plan: &Plan, table: &TableDescription) -> Option<DerivedItems> {
        let derived = Arc::clone(plan.derived()?);
        // An item that exists keeps its signature, because a verification writes nothing.
        let changes = expand::changes(plan, table).with_encrypted_refused(false);
        Some(DerivedItems { changes, derived })
    }

    /// Judges a suspect. `found` is the result of the comparison that did not see other items.
    pub(super) async fn judge(
        &self,
        requests: &Requests,
        item: &Item,
        record: &ItemHistory,
        found: Comparison,
    ) -> Result<Judged, Stopped> {
        match found.verdict {
            Verdict::Missing => self.judge_source(requests, item, found).await,
            Verdict::Unexpected => self.judge_derived(requests, item, record, found).await,
            Verdict::Matching | Verdict::Skipped | Verdict::NotSelected | Verdict::Stale => {
                Ok(Judged::without_read(found))
            }
        }
    }

    /// Judges a selected item by its derived item. If no derived item can be computed for it, its verdict stays
    /// "missing".
    async fn judge_source(&self, requests: &Requests, item: &Item, found: Comparison) -> Result<Judged, Stopped> {
        let write = match self.changes.decide(item) {
            Decision::Write(write) => write,
            // The derived item would have an invalid key, and the plan skips such items.
            Decision::Skipped(_) => {
                return Ok(Judged::without_read(Comparison { verdict: Verdict::Skipped, ..found }));
            }
            Decision::Rejected(why) => return Ok(Judged { why: Some(why), ..Judged::without_read(found) }),
            Decision::NotComputable(why) => {
                return Ok(Judged { why: Some(why.to_string()), ..Judged::without_read(found) });
            }
            Decision::Refused(_, rule) => {
                return Ok(Judged { why: Some(rule.to_string()), ..Judged::without_read(found) });
            }
            Decision::NothingToDo | Decision::AlreadyApplied | Decision::Diverged(_) | Decision::NeedsAnswers(..) => {
                return Ok(Judged::without_read(found));
            }
        };
        let (existing, units) = requests.existing_derived(&write).await?;
        let key = write.derived_key().map_or_else(|| "?".to_owned(), ItemKey::to_string);
        let key = write.other_table().map_or_else(|| key.clone(), |table| format!("{key} in table {table}"));
        let (found, why) = match existing {
            ExistingDerived::Missing => (found, Some(format!("its derived item {key} does not exist"))),
            ExistingDerived::Equal => (Comparison { verdict: Verdict::Matching, paths: Vec::new() }, None),
            ExistingDerived::Different(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| format!("`{path}`")).collect();
                let why = format!("its derived item {key} differs in {}", paths.join(", "));
                (Comparison { verdict: Verdict::Stale, ..found }, Some(why))
            }
        };
        Ok(Judged { found, why, units })
    }

    /// Judges a derived item that the migration put, or may have put.
    async fn judge_derived(
        &self,
        requests: &Requests,
        item: &Item,
        record: &ItemHistory,
        found: Comparison,
    ) -> Result<Judged, Stopped> {
        let (is_orphan, units) = self.is_orphan(requests, item, record).await?;
        let fine = Comparison { verdict: Verdict::NotSelected, paths: Vec::new() };
        Ok(Judged { found: if is_orphan { found } else { fine }, why: None, units })
    }

    /// Returns whether this derived item is an orphan, judged by its recorded source: that source is gone, is not
    /// selected any more, or has another derived key now. This is true even if another source derives the same item. If
    /// the recorded source is selected and has this derived key, the verdict on the source says whether the derived item
    /// is right. An item that differs from its record is no orphan, because somebody else has changed it. Also returns
    /// the consumed read units.
    pub(super) async fn is_orphan(
        &self,
        requests: &Requests,
        item: &Item,
        record: &ItemHistory,
    ) -> Result<(bool, f64), Stopped> {
        let schema = self.changes.derived_key();
        let put = record.deletion().and_then(|deletion| deletion.puts.of(item));
        let Some(source) = put.and_then(|put| put.source.as_ref()) else { return Ok((false, 0.0)) };
        let got = requests.get(source).await?;
        let is_orphan = match &got.item {
            None => true,
            Some(source) => match self.changes.selected(source) {
                Selected::No => true,
                Selected::Yes => schema.key_of(item) != self.derived_key(source),
                // The verdict for the source reports that the source cannot be judged.
                Selected::NotComputable(_) => false,
            },
        };
        Ok((is_orphan, got.units.unwrap_or(0.0)))
    }

    /// Returns the derived key of a source. Returns `None` if it cannot be computed.
    fn derived_key(&self, source: &Item) -> Option<ItemKey> {
        let schema = self.changes.derived_key();
        schema.key_of(&self.derived.of_source(source, schema, self.changes.facts()).ok()?)
    }
}
