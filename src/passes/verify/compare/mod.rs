//! Compares the image of one item with the plan. This module is pure. The result depends only on the image and on the
//! recorded history of the item.
//!
//! A `move`, a `copy` or a `compute … replaces` has a pair of values: the value at the old path and the value at the
//! new path. One side is the [`Truth`], and the other side is derived from it. The table shows the verdicts. In the row
//! "a, a", the old value implies the new one: both values are equal, or the formula computes the new value from the old
//! one. In the row "a, b", the old value does not imply the new one, or the formula has no result.
//!
//! | old | new | truth: old | truth: new, then old | truth: new | truth: new, during rollback |
//! | --- | --- | --- | --- | --- | --- |
//! | none | none | matching | matching | matching | matching |
//! | a | a | matching | matching | matching | matching |
//! | a | b | stale | stale | stale | stale |
//! | a | none | missing | missing | missing | matching |
//! | none | b | unexpected (1) | missing (1) | missing | missing |
//!
//! (1) The verdict is "matching" if the new value existed before the migration, unless a record shows that the
//! migration replaced it. [`super::pass`] reads these records only for plans that need them. `on_existing = "keep"`
//! alone does not need them, because with that setting, only a repair replaces a preexisting value. Without the
//! records, the verdict is "matching".
//!
//! While applications write only new values, an item may have an old value without a new one. Either the new value was
//! never written, or an application wrote the old value by mistake. The item does not show which of the two happened.
//! Readers of the new attribute do not find the old value, so the new value counts as missing. During a rollback,
//! readers will find the old value, so the pair matches. If an item has a new value without an old one, the old value
//! counts as missing, because readers that switch back would look for it. This is true even if the new value existed
//! before the migration, because an application may have written it since then.
//!
//! An in-place move removes its source, and so does an in-place copy if the plan also removes the source. Afterwards,
//! there is no value to compare the new value with. If the source still exists, the verdict depends on the target: a
//! target without a value is missing, and a target with a different value is stale. If source and target are equal, the
//! source is unexpected. After `contract`, the source of a move is unexpected if it still exists, and the target is not
//! compared. After `contract`, the two sides of a copy are independent. The path of a `remove` is unexpected if it
//! still exists after the phase that removes it. That phase is `run` for an in-place plan, and `contract` otherwise.
//!
//! With `on_existing = "skip"`, a new value that differs from the implied one can count as done. The item is then
//! skipped. For a constant and for an in-place plan, every such value counts as done. In a pair of an expand-contract
//! plan, only the preexisting value counts as done. The state file contains the digest of this value. If the values
//! became different later, the pair is stale. For example, if an application writes only the old value, readers of the
//! new value get an outdated value. A skipped pair keeps its old value after `contract`, and is then still skipped.
//!
//! A plan with `delete` has no attributes to compare. If the selection still includes an item, the item is unexpected,
//! because the plan deletes it.
//!
//! If a stable attribute differs from its record, the selection no longer determines which values the item should have.
//! So the item is stale, regardless of its other attributes. There is one exception. During a rollback, such an item
//! counts as matching if its values would be right both for a selected item and for an item that is not selected. The
//! log then contains the number of these items.
//!
//! A plan with `put` has no attributes to compare either. A selected item is missing if its derived item does not
//! exist, and stale if its derived item differs. A derived item is unexpected under three conditions. This migration
//! put it or may have put it. No writer has changed it since then. Its recorded source no longer implies it, because
//! the source is gone, is no longer selected, or now has a different derived key.
//!
//! An `exec` without a marker is compared with the answer of its program ([`Parity::compare_answered`]). An output that
//! differs from the answer is stale. If the program gave no valid answer for an item, every output of the item is
//! stale.
//!
//! A `set` is compared with its constant. A missing value is "missing", and a different value is "stale". Before
//! `contract`, a `set` is not compared under `truth: new`, not even during a rollback. Applications that write only the
//! new side may change a constant, or insert items without it. A changed or missing constant does not mean that old
//! values are outdated. As a mismatch, it would only delay a rollback, because a rollback waits for a verification
//! without mismatches.

mod expected;
#[cfg(test)]
mod tests;

use crate::change::{
    Change, ItemHistory, ItemRules, OnNotComputable, ProgramAnswers, ProgramQuestion, Selected, Selection, Strategy,
    Undone,
};
use crate::cutover::{Truth, TruthByKey};
use crate::item::{Item, Path};
use crate::state::{TableStage, Verdict};
use expected::Expectation;
pub(super) use expected::{SkipRule, SkippablePair};

/// The changes of the plan, in a form that can be compared with images of items.
#[derive(Debug, Clone)]
pub struct Parity {
    expected: Vec<Expectation>,
    split: Option<ReaderSplit>,
    rules: ItemRules,
    /// The changes that can lack a result for an item.
    computed: Vec<Change>,
    /// Whether the plan deletes the selected items.
    deletes: bool,
    /// Whether the plan puts a derived item for each selected item.
    puts: bool,
    /// Whether an item that is not selected may be a derived item.
    reads_derived: bool,
}

/// The comparison for keys whose readers already use the new attribute. Readers of all other keys still use the old
/// one.
#[derive(Debug, Clone)]
struct ReaderSplit {
    truths: TruthByKey,
    partition_key: String,
    expected: Vec<Expectation>,
}

/// The result of comparing one item with the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The worst of the verdicts for all changes of this item.
    pub verdict: Verdict,
    /// The paths with a missing or wrong value, each with its verdict.
    pub paths: Vec<(Path, Verdict)>,
}

impl Parity {
    /// Prepares these changes for comparison at a stage. In-place plans have only the first stage.
    pub fn new(changes: &[Change], strategy: Strategy, stage: TableStage, truth: Truth) -> Parity {
        Parity {
            expected: Expectation::from_changes(changes, strategy, stage, truth),
            split: None,
            rules: ItemRules::default(),
            computed: changes.iter().filter(|change| change.may_be_not_computable()).cloned().collect(),
            deletes: changes.iter().any(Change::deletes_items),
            puts: changes.iter().any(|change| change.derived().is_some()),
            reads_derived: true,
        }
    }

    /// Compares only the sources of derived items. Somebody else looks for derived items without a source
    /// ([`super::pass`]).
    #[must_use]
    pub fn of_sources_only(self) -> Parity {
        Parity { reads_derived: false, ..self }
    }

    /// Limits the comparison to the items that these rules select, and to what a record shows as written by the
    /// migration. Evaluates expressions by these rules.
    #[must_use]
    pub fn with_rules(self, rules: ItemRules) -> Parity {
        Parity { rules, ..self }
    }

    /// Prepares these changes for comparison if the truth can depend on the value of the partition key. `partition_key`
    /// is the name of the partition key.
    pub fn with_truths(
        changes: &[Change],
        strategy: Strategy,
        stage: TableStage,
        truths: TruthByKey,
        partition_key: &str,
    ) -> Parity {
        let split = |expected| ReaderSplit { truths, partition_key: partition_key.to_owned(), expected };
        match truths {
            TruthByKey::All(truth) => Parity::new(changes, strategy, stage, truth),
            TruthByKey::Percent(_) => Parity {
                split: Some(split(Expectation::from_changes(changes, strategy, stage, Truth::NewThenOld))),
                ..Parity::new(changes, strategy, stage, Truth::Old)
            },
        }
    }

    /// Returns true if no change of the plan can be compared at this stage and under this truth.
    pub fn is_empty(&self) -> bool {
        self.expected.is_empty() && !self.deletes && !self.puts
    }

    /// Returns whether this item has an old value without a new one, and matches only because readers are switching
    /// back.
    pub fn has_kept_old_value(&self, item: &Item) -> bool {
        self.expected.iter().any(|expected| {
            matches!(expected, Expectation::Pair { source, new, truth: Truth::NewDuringRollback, .. }
                if source.path.get(item).is_some()
                    && self.rules.paired_value(source, new, item).is_none()
                    && self.rules.applies(new, item) == Selected::Yes)
        })
    }

    /// Compares an item with the plan. `record` lists the preexisting targets, with digests of their values, and what
    /// the migration wrote. If the selection does not currently include the item, only values that the migration wrote
    /// are compared. If they are right, the item counts as not selected. If a stable attribute differs from its record,
    /// the item is stale.
    ///
    /// Does not compare the outputs of an `exec` without a marker (see [`Parity::compare_answered`]).
    pub fn compare(&self, item: &Item, record: &ItemHistory) -> Comparison {
        self.compare_answered(item, record, &ProgramAnswers::default())
    }

    /// Returns the questions that programs must answer before [`Parity::compare_answered`]. There is a question for an
    /// `exec` without a marker if two conditions are met. The item has the inputs and the outputs of this `exec`. The
    /// `exec` applies to the item, or the migration has written the outputs.
    pub fn questions(&self, item: &Item, record: &ItemHistory) -> Vec<ProgramQuestion> {
        let is_selected = self.rules.includes(item) == Selected::Yes;
        let expected = self.expected_for(item).iter().filter_map(|expected| {
            let question = expected.question(item)?;
            let applies = is_selected && self.rules.applies(expected.own_path(), item) == Selected::Yes;
            (applies || is_own_value(expected, item, record)).then_some(question)
        });
        expected.collect()
    }

    /// Like [`Parity::compare`], with the answers of programs to [`Parity::questions`]. An output that differs from the
    /// answer is stale. If the program gave no valid answer, the output is stale too.
    pub fn compare_answered(&self, item: &Item, record: &ItemHistory, answers: &ProgramAnswers) -> Comparison {
        if self.deletes {
            return self.compare_deleted(item);
        }
        let is_rollback = self.is_rollback_of(item);
        if let Some(path) = self.changed_stable(item, record) {
            let stale = || Comparison { verdict: Verdict::Stale, paths: vec![(path.clone(), Verdict::Stale)] };
            // If the values of an item are right, it needs no write, whether it is selected or not. So it must not
            // delay a rollback.
            let found = is_rollback.then(|| self.compare_paths(item, record, answers, |_| true));
            return found.filter(|found| !found.verdict.is_mismatch()).unwrap_or_else(stale);
        }
        if record.unreadable_reason().is_some() && !self.rules.stable.is_empty() && !is_rollback {
            return self.unknown(item);
        }
        if self.puts {
            return self.compare_source(item, Some(record));
        }
        let found = match self.rules.includes(item) {
            Selected::Yes => self.compare_selected(item, record, answers),
            Selected::No => self.compare_own_values(item, record, answers),
            Selected::NotComputable(_) => match self.rules.on_not_computable {
                OnNotComputable::Skip => self.compare_own_values(item, record, answers),
                // It is unknown whether the item must match the plan, so it cannot be shown that the item is right.
                OnNotComputable::Fail => self.unknown(item),
            },
        };
        self.unless_left_out(item, found)
    }

    /// Returns whether the item is compared during a rollback, before a verification has proven that old values are
    /// fresh.
    fn is_rollback_of(&self, item: &Item) -> bool {
        let is_rollback =
            |expected: &Expectation| matches!(expected, Expectation::Pair { truth: Truth::NewDuringRollback, .. });
        self.expected_for(item).iter().any(is_rollback)
    }

    /// Returns the stable attribute that has changed since this migration first recorded the item.
    pub(super) fn changed_stable(&self, item: &Item, record: &ItemHistory) -> Option<&Path> {
        record.changed_stable(&self.rules.stable, item)
    }

    /// Returns `found`. If no change applies to the item and no value is wrong, returns the verdict "not selected"
    /// instead.
    fn unless_left_out(&self, item: &Item, found: Comparison) -> Comparison {
        let is_left_out = || {
            let mut expected = self.expected_for(item).iter().peekable();
            self.rules.includes(item) == Selected::No
                || expected.peek().is_some()
                    && expected.all(|expected| self.rules.applies(expected.own_path(), item) == Selected::No)
        };
        match !found.verdict.is_mismatch() && is_left_out() {
            true => Comparison { verdict: Verdict::NotSelected, paths: Vec::new() },
            false => found,
        }
    }

    /// Compares an item that the selection includes. If the `where` of a change is false for the item, the change
    /// implies no value, so only a value that the migration wrote is compared. If a change of the plan has no result
    /// for the item, a run skips the whole item, so only values that the migration wrote earlier can be wrong.
    fn compare_selected(&self, item: &Item, record: &ItemHistory, answers: &ProgramAnswers) -> Comparison {
        if self.is_unknown(item) {
            return self.unknown(item);
        }
        let found = self.compare_paths(item, record, answers, |expected| {
            self.rules.applies(expected.own_path(), item) == Selected::Yes || is_own_value(expected, item, record)
        });
        if !found.verdict.is_mismatch() && record.unreadable_reason().is_some() && self.depends_on_author(item) {
            return self.unknown(item);
        }
        if !found.verdict.is_mismatch() || !self.is_skipped(item) {
            return found;
        }
        let own = self.compare_own_values(item, record, answers);
        if own.verdict.is_mismatch() { own } else { Comparison { verdict: Verdict::Skipped, paths: Vec::new() } }
    }

    /// Returns whether the verdict for a selected item depends on who wrote one of its values.
    fn depends_on_author(&self, item: &Item) -> bool {
        self.expected_for(item).iter().any(|expected| match self.rules.applies(expected.own_path(), item) {
            Selected::Yes => expected.depends_on_author(item, &self.rules),
            // Only a value that the migration wrote is compared.
            Selected::No | Selected::NotComputable(_) => {
                expected.has_value(item, |_, _| true) && !expected.depends_on_itself()
            }
        })
    }

    /// Compares the values that the migration wrote and that still exist. A run would not write this item, so the plan
    /// does not imply its other values. A value that was computed from itself cannot be recomputed, so it is not
    /// compared.
    fn compare_own_values(&self, item: &Item, record: &ItemHistory, answers: &ProgramAnswers) -> Comparison {
        let has_target = || self.expected_for(item).iter().any(|expected| expected.has_value(item, |_, _| true));
        if record.unreadable_reason().is_some() && has_target() {
            return self.unknown(item);
        }
        self.compare_paths(item, record, answers, |expected| is_own_value(expected, item, record))
    }

    /// Compares an item whose history has not been read. If the item matches without its history, it also matches with
    /// its history. If it does not match, the history can still show that the item is right.
    pub fn compare_without_history(&self, item: &Item) -> Comparison {
        if self.deletes {
            return self.compare_deleted(item);
        }
        if self.puts {
            return self.compare_source(item, None);
        }
        if self.is_unknown(item) {
            return self.unknown(item);
        }
        let found = self.compare_paths(item, &ItemHistory::default(), &ProgramAnswers::default(), |_| true);
        let depends = |expected: &Expectation| expected.depends_on_author(item, &self.rules);
        let needs_history = !self.rules.stable.is_empty() || self.expected_for(item).iter().any(depends);
        if !found.verdict.is_mismatch() && needs_history {
            // Only the history shows whether the migration wrote the value, and whether a stable attribute has changed.
            return Comparison { verdict: Verdict::Stale, paths: Vec::new() };
        }
        self.unless_left_out(item, found)
    }

    /// Compares an item with a plan that deletes the selected items. A selected item that still exists is unexpected.
    /// If it is unknown whether the item is selected, it cannot be shown that the item may stay.
    fn compare_deleted(&self, item: &Item) -> Comparison {
        let skips = self.rules.on_not_computable == OnNotComputable::Skip;
        let verdict = match self.rules.includes(item) {
            Selected::No => Verdict::NotSelected,
            Selected::Yes if self.is_skipped(item) => Verdict::Skipped,
            Selected::Yes => Verdict::Unexpected,
            Selected::NotComputable(_) if skips => Verdict::Skipped,
            Selected::NotComputable(_) => Verdict::Missing,
        };
        Comparison { verdict, paths: Vec::new() }
    }

    /// Compares an item with a plan that puts derived items. This comparison does not see other items, so its
    /// mismatches are only suspects. A selected item might have no derived item. A derived item that this migration put
    /// might no longer have a source. `pass/derived.rs` reads the other item of each suspect.
    fn compare_source(&self, item: &Item, record: Option<&ItemHistory>) -> Comparison {
        let skips = self.rules.on_not_computable == OnNotComputable::Skip;
        let verdict = match (self.rules.includes(item), record) {
            (Selected::Yes, _) if self.is_skipped(item) => Verdict::Skipped,
            (Selected::Yes, _) => Verdict::Missing,
            (Selected::NotComputable(_), _) if skips => Verdict::Skipped,
            (Selected::NotComputable(_), _) => Verdict::Missing,
            (Selected::No, _) if !self.reads_derived => Verdict::NotSelected,
            // Only the history shows whether the item is a derived item.
            (Selected::No, None) => Verdict::Unexpected,
            // An unreadable record could belong to a derived item.
            (Selected::No, Some(record)) if record.unreadable_reason().is_some() => Verdict::Missing,
            (Selected::No, Some(record)) => {
                let put = record.deletion().filter(|put| put.undone != Undone::Yes && put.puts.of(item).is_some());
                if put.is_some() { Verdict::Unexpected } else { Verdict::NotSelected }
            }
        };
        Comparison { verdict, paths: Vec::new() }
    }

    /// Returns whether every change of the plan applies to this item.
    pub fn is_fully_selected(&self, item: &Item) -> bool {
        let applies = |expected: &Expectation| self.rules.applies(expected.own_path(), item) == Selected::Yes;
        self.rules.includes(item) == Selected::Yes && self.expected_for(item).iter().all(applies)
    }

    /// Returns true if it is unknown whether the item must match the plan. This is the case if a `where` has no result
    /// for the item and the plan does not skip such items.
    fn is_unknown(&self, item: &Item) -> bool {
        self.rules.on_not_computable == OnNotComputable::Fail
            && match self.rules.includes(item) {
                Selected::NotComputable(_) => true,
                Selected::No => false,
                Selected::Yes => self.has_unknown_change(item),
            }
    }

    /// Returns true if, for at least one change, it is unknown whether the change applies to the item.
    fn has_unknown_change(&self, item: &Item) -> bool {
        let has_result = |selection: &Selection| match selection.includes(item, &self.rules.facts) {
            Selected::Yes | Selected::No => true,
            Selected::NotComputable(_) => false,
        };
        !self.rules.options.selections().all(has_result)
    }

    /// Returns the result for an item that cannot be compared.
    fn unknown(&self, item: &Item) -> Comparison {
        let paths = self.expected_for(item).iter().take(1).map(|expected| (expected.path().clone(), Verdict::Missing));
        Comparison { verdict: Verdict::Missing, paths: paths.collect() }
    }

    /// Returns whether a run skips this item because one of the changes has no result. A run makes either all changes
    /// of an item or none of them.
    fn is_skipped(&self, item: &Item) -> bool {
        self.rules.on_not_computable == OnNotComputable::Skip
            && (self.has_unknown_change(item) || self.computed.iter().any(|change| self.has_no_result(change, item)))
    }

    /// Returns whether the change applies to the item but has no result for it.
    fn has_no_result(&self, change: &Change, item: &Item) -> bool {
        let applies = change.own_path().is_none_or(|path| self.rules.applies(path, item) == Selected::Yes);
        applies && !change.is_computable(item, &self.rules)
    }

    fn expected_for(&self, item: &Item) -> &[Expectation] {
        let reader_split = self.split.as_ref().filter(|split| split.includes(item));
        reader_split.map_or(&self.expected, |split| &split.expected)
    }

    fn compare_paths(
        &self,
        item: &Item,
        record: &ItemHistory,
        answers: &ProgramAnswers,
        counts: impl Fn(&Expectation) -> bool,
    ) -> Comparison {
        let expected = self.expected_for(item).iter().filter(|expected| counts(expected));
        let mut worst = Verdict::Matching;
        let mut paths = Vec::new();
        for expected in expected {
            let (path, verdict) = expected.compare(item, record, &self.rules, answers);
            worst = worst.max(verdict);
            if verdict.is_mismatch() {
                paths.push((expected.place(item, &self.rules).unwrap_or_else(|| path.clone()), verdict));
            }
        }
        Comparison { verdict: worst, paths }
    }
}

/// Returns whether the item still has a value that the migration wrote for this change. A value that was computed from
/// itself does not count, because it cannot be recomputed for a comparison.
fn is_own_value(expected: &Expectation, item: &Item, record: &ItemHistory) -> bool {
    expected.has_value(item, |path, now| record.is_own_value(path, now)) && !expected.depends_on_itself()
}

impl ReaderSplit {
    fn includes(&self, item: &Item) -> bool {
        self.truths.at(item.get(&self.partition_key)) == Truth::NewThenOld
    }
}
