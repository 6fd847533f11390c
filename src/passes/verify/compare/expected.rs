//! Compares one change of the plan with an image.

use std::sync::Arc;

use crate::change::{
    Addition, Change, Each, ElementFault, Exec, ExecFault, Formula, ItemHistory, ItemRules, ProgramAnswers,
    ProgramQuestion, Source, Strategy,
};
use crate::convert::Conversion;
use crate::cutover::Truth;
use crate::item::{Item, Path, Value};
use crate::state::{TableStage, Verdict};

/// One change, prepared for comparison with an image.
#[derive(Debug, Clone)]
pub(super) enum Expectation {
    Pair {
        source: Source,
        new: Path,
        truth: Truth,
        skip_rule: SkipRule,
    },
    InPlace {
        from: Path,
        to: Path,
        skip_rule: SkipRule,
    },
    Constant {
        to: Path,
        value: Value,
        skip_rule: SkipRule,
    },
    /// The path must be absent, unless a run skipped one of `pairs`. The path is the source of each of these pairs.
    Absent {
        path: Path,
        /// The path that identifies the change in the plan.
        own_path: Path,
        pairs: Vec<SkippablePair>,
    },
    /// The target must have the value that the formula computes now.
    Computed {
        to: Path,
        formula: Formula,
        skip_rule: SkipRule,
    },
    /// The value must have the type that the conversion produces.
    Converted {
        path: Path,
        conversion: Conversion,
    },
    /// The set or list must contain everything that the plan adds.
    Appended {
        to: Path,
        addition: Addition,
    },
    /// No element of the container needs a change.
    Elements {
        each: Arc<Each>,
    },
    /// The marker must match the current inputs, and the outputs must match the marker. Without a marker, the outputs
    /// must equal the program's current answer.
    Program {
        exec: Arc<Exec>,
        /// The position of the change in the plan.
        position: usize,
        skips_existing: bool,
    },
}

/// Determines when an existing value at a target counts as done even though it differs from the implied value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum SkipRule {
    /// A different value never counts as done.
    Never,
    /// A different value counts as done if it existed before the migration.
    IfPreexisting,
    /// A different value always counts as done.
    Always,
}

impl SkipRule {
    pub(in super::super) fn from_change(change: &Change, strategy: Strategy) -> SkipRule {
        match (change.skips_existing(), change, strategy) {
            (false, ..) => SkipRule::Never,
            (
                true,
                Change::Move { .. } | Change::Copy { .. } | Change::Compute { replaces: Some(_), .. },
                Strategy::ExpandContract,
            ) => SkipRule::IfPreexisting,
            (true, ..) => SkipRule::Always,
        }
    }

    /// Returns whether the value `there` at the target `to` counts as done although it differs from the implied value.
    pub(in super::super) fn accepts(self, record: &ItemHistory, to: &Path, there: &Value) -> bool {
        match self {
            SkipRule::Never => false,
            SkipRule::IfPreexisting => record.is_preexisting_value(to, there),
            SkipRule::Always => true,
        }
    }
}

impl Expectation {
    /// Prepares the changes that can be compared at this stage.
    pub(super) fn from_changes(
        changes: &[Change],
        strategy: Strategy,
        stage: TableStage,
        truth: Truth,
    ) -> Vec<Expectation> {
        let numbered = changes.iter().enumerate();
        let expected =
            numbered.map(|(position, _)| Expectation::from_change(position, strategy, stage, truth, changes));
        expected.flatten().collect()
    }

    fn from_change(
        position: usize,
        strategy: Strategy,
        stage: TableStage,
        truth: Truth,
        all: &[Change],
    ) -> Option<Expectation> {
        let change = &all[position];
        let in_place = strategy == Strategy::InPlace;
        let is_removed = |path: &Path| all.iter().any(|other| other.removes(path));
        let contracted = stage == TableStage::Contracted && !in_place;
        let skip_rule = SkipRule::from_change(change, strategy);
        Some(match change.clone() {
            Change::Move { .. } | Change::Compute { replaces: Some(_), .. } if contracted => {
                let (source, to) = Source::of_change(change)?;
                let (path, own_path) = (source.path.clone(), to.clone());
                Expectation::Absent { path, own_path, pairs: vec![SkippablePair { source, to: to.clone(), skip_rule }] }
            }
            Change::Move { from, to, .. } if in_place => Expectation::InPlace { from, to, skip_rule },
            Change::Copy { from, to, .. } if in_place && is_removed(&from) => {
                Expectation::InPlace { from, to, skip_rule }
            }
            Change::Copy { .. } if contracted => return None,
            Change::Move { .. } | Change::Copy { .. } | Change::Compute { replaces: Some(_), .. } => {
                let (source, to) = Source::of_change(change)?;
                Expectation::Pair { source, new: to.clone(), truth, skip_rule }
            }
            Change::Set { .. } | Change::Compute { .. } | Change::Append { .. } | Change::Exec { .. }
                if truth.is_new_only() && stage == TableStage::Expanded =>
            {
                return None;
            }
            Change::Set { to, value, .. } => Expectation::Constant { to, value, skip_rule },
            Change::Remove { path } if in_place || contracted => {
                Expectation::Absent { pairs: skipping_copies(all, &path, strategy), own_path: path.clone(), path }
            }
            Change::Compute { to, formula, .. } => Expectation::Computed { to, formula, skip_rule },
            Change::Convert { path, conversion } => Expectation::Converted { path, conversion },
            Change::Append { to, addition } => Expectation::Appended { to, addition },
            Change::Each { each } => Expectation::Elements { each },
            Change::Exec { exec, .. } => {
                Expectation::Program { exec, position, skips_existing: change.skips_existing() }
            }
            // A version has no expected value, because applications raise it too. `Parity` compares whole items.
            Change::Remove { .. } | Change::Bump { .. } | Change::Delete { .. } | Change::Put { .. } => return None,
        })
    }

    /// If this change compares the elements of a list or map, returns the path of the first wrong value in the
    /// elements, for the report of a mismatch. Otherwise returns `None`, and the report contains the compared path.
    pub(super) fn place(&self, item: &Item, rules: &ItemRules) -> Option<Path> {
        let Expectation::Elements { each } = self else { return None };
        each.edit(item, &rules.facts).ok()?.fault_at
    }

    /// Compares an item with this change. Returns the compared path and the verdict.
    ///
    /// If a formula has no result for the item, it cannot be shown that the target is right, so the item is a mismatch.
    /// `answers` contains the programs' answers to the questions of [`Expectation::question`].
    pub(super) fn compare(
        &self,
        item: &Item,
        record: &ItemHistory,
        rules: &ItemRules,
        answers: &ProgramAnswers,
    ) -> (&Path, Verdict) {
        let options = rules.options.of(self.own_path());
        match self {
            // If no new value can be computed from the old value, it cannot be shown that the existing new value is
            // right.
            Expectation::Pair { source, new, truth, skip_rule } => {
                let old = &source.path;
                // The migration may have replaced a preexisting value, or a NULL that counts as missing, with its own
                // value.
                let was_there = |there: &Value| record.is_preexisting(new) && !record.is_own_value(new, there);
                match (old.get(item), rules.paired_value(source, new, item)) {
                    (Some(_), Some(b)) if source.implies(item, &rules.facts, b) => (new, Verdict::Matching),
                    (Some(_), Some(b)) if skip_rule.accepts(record, new, b) => (new, Verdict::Skipped),
                    (Some(_), Some(_)) if *truth == Truth::Old => (new, Verdict::Stale),
                    (Some(_), Some(_)) => (old, Verdict::Stale),
                    (Some(_), None) if *truth == Truth::NewDuringRollback => (new, Verdict::Matching),
                    (Some(_), None) => (new, Verdict::Missing),
                    (None, Some(b)) if was_there(b) && !truth.is_new_only() => (new, Verdict::Matching),
                    (None, Some(_)) if *skip_rule == SkipRule::Always => (new, Verdict::Matching),
                    (None, Some(_)) if *truth == Truth::Old => (new, Verdict::Unexpected),
                    (None, Some(_)) => (old, Verdict::Missing),
                    (None, None) => (new, Verdict::Matching),
                }
            }
            Expectation::InPlace { from, to, skip_rule } => {
                match (from.get(item), options.target_value(to, item, from.get(item))) {
                    (Some(a), Some(b)) if a == b => (from, Verdict::Unexpected),
                    (Some(_), Some(b)) if skip_rule.accepts(record, to, b) => (to, Verdict::Skipped),
                    (Some(_), Some(_)) => (to, Verdict::Stale),
                    (Some(_), None) => (to, Verdict::Missing),
                    (None, _) => (to, Verdict::Matching),
                }
            }
            Expectation::Constant { to, value, skip_rule } => match options.target_value(to, item, Some(value)) {
                Some(there) if there == value => (to, Verdict::Matching),
                Some(there) if skip_rule.accepts(record, to, there) => (to, Verdict::Skipped),
                Some(_) => (to, Verdict::Stale),
                None => (to, Verdict::Missing),
            },
            Expectation::Absent { path, own_path: _, pairs } => match path.get(item) {
                Some(_) if pairs.iter().any(|pair| pair.was_skipped(item, record, rules)) => (path, Verdict::Skipped),
                Some(_) => (path, Verdict::Unexpected),
                None => (path, Verdict::Matching),
            },
            Expectation::Computed { to, formula, skip_rule } => {
                let value = formula.value(item, &rules.facts);
                let implied = value.as_ref().ok().and_then(Option::as_ref);
                match (&value, options.target_value(to, item, implied)) {
                    // The source is gone, so the plan no longer implies this value.
                    (Ok(None), Some(there)) if record.is_own_value(to, there) => (to, Verdict::Unexpected),
                    (Ok(None), _) => (to, Verdict::Matching),
                    (_, None) => (to, Verdict::Missing),
                    (Ok(Some(value)), Some(there)) if value == there => (to, Verdict::Matching),
                    // An earlier result of the migration is stale. Only a value of another writer counts as done.
                    (_, Some(there)) if skip_rule.accepts(record, to, there) && !record.is_own_value(to, there) => {
                        (to, Verdict::Skipped)
                    }
                    (_, Some(_)) => (to, Verdict::Stale),
                }
            }
            Expectation::Converted { path, conversion } => match path.get(item) {
                Some(value) if !conversion.is_converted(value) => (path, Verdict::Stale),
                Some(_) | None => (path, Verdict::Matching),
            },
            Expectation::Appended { to, addition } => match addition.added_to(options.target_value(to, item, None)) {
                Ok(None) => (to, Verdict::Matching),
                Ok(Some(_)) => (to, Verdict::Missing),
                Err(_) => (to, Verdict::Stale),
            },
            Expectation::Elements { each } => {
                let verdict = match each.edit(item, &rules.facts) {
                    // It cannot be shown that these elements are right.
                    Err(_) => Verdict::Stale,
                    Ok(edited) => match edited.fault {
                        Some(ElementFault::Missing) => Verdict::Missing,
                        Some(ElementFault::Unexpected) => Verdict::Unexpected,
                        Some(ElementFault::Stale) => Verdict::Stale,
                        None if edited.has_skipped => Verdict::Skipped,
                        None => Verdict::Matching,
                    },
                };
                (each.container(), verdict)
            }
            Expectation::Program { exec, position, skips_existing } => {
                match exec.compare(*position, item, record, *skips_existing, answers) {
                    None => (exec.main_target(), Verdict::Matching),
                    Some((path, ExecFault::Missing)) => (path, Verdict::Missing),
                    Some((path, ExecFault::Stale)) => (path, Verdict::Stale),
                    Some((path, ExecFault::Unexpected)) => (path, Verdict::Unexpected),
                    Some((path, ExecFault::Skipped)) => (path, Verdict::Skipped),
                }
            }
        }
    }

    /// Returns the question that a program must answer before the item can be compared. Returns `None` if no program is
    /// needed, for example because the change has a marker.
    pub(super) fn question(&self, item: &Item) -> Option<ProgramQuestion> {
        match self {
            Expectation::Program { exec, position, .. } => exec.comparison(*position, item),
            Expectation::Pair { .. }
            | Expectation::InPlace { .. }
            | Expectation::Constant { .. }
            | Expectation::Absent { .. }
            | Expectation::Computed { .. }
            | Expectation::Converted { .. }
            | Expectation::Appended { .. }
            | Expectation::Elements { .. } => None,
        }
    }

    /// Returns whether the verdict for this item depends on who wrote the value at the target: the migration or another
    /// writer.
    pub(super) fn depends_on_author(&self, item: &Item, rules: &ItemRules) -> bool {
        match self {
            Expectation::Computed { to, formula, .. } => to
                .get(item)
                .is_some_and(|there| !matches!(formula.value(item, &rules.facts), Ok(Some(value)) if value == *there)),
            Expectation::Program { exec, .. } => exec.targets().any(|target| target.get(item).is_some()),
            Expectation::Pair { .. }
            | Expectation::InPlace { .. }
            | Expectation::Constant { .. }
            | Expectation::Absent { .. }
            | Expectation::Converted { .. }
            | Expectation::Appended { .. }
            | Expectation::Elements { .. } => false,
        }
    }

    /// Returns whether the target is one of the inputs of its own value. If so, the value cannot be computed again from
    /// the written item.
    pub(super) fn depends_on_itself(&self) -> bool {
        match self {
            Expectation::Computed { to, formula, .. } => formula.inputs().iter().any(|input| input.overlaps(to)),
            Expectation::Pair { .. }
            | Expectation::InPlace { .. }
            | Expectation::Constant { .. }
            | Expectation::Absent { .. }
            | Expectation::Converted { .. }
            | Expectation::Appended { .. }
            | Expectation::Elements { .. }
            | Expectation::Program { .. } => false,
        }
    }

    /// Returns the path that identifies the change in the plan.
    pub(super) fn own_path(&self) -> &Path {
        match self {
            Expectation::Pair { new: path, .. }
            | Expectation::InPlace { to: path, .. }
            | Expectation::Constant { to: path, .. }
            | Expectation::Absent { own_path: path, .. }
            | Expectation::Computed { to: path, .. }
            | Expectation::Converted { path, .. }
            | Expectation::Appended { to: path, .. } => path,
            Expectation::Elements { each } => each.container(),
            Expectation::Program { exec, .. } => exec.targets().next().unwrap_or(exec.main_target()),
        }
    }

    /// Tests the item's values at the paths that the migration writes or removes. Returns whether at least one value
    /// passes the test. The paths include all outputs of a program, and its marker.
    pub(super) fn has_value(&self, item: &Item, test: impl Fn(&Path, &Value) -> bool) -> bool {
        let passes = |path: &Path| path.get(item).is_some_and(|now| test(path, now));
        match self {
            Expectation::Program { exec, .. } => exec.targets().any(passes),
            Expectation::Pair { .. }
            | Expectation::InPlace { .. }
            | Expectation::Constant { .. }
            | Expectation::Absent { .. }
            | Expectation::Computed { .. }
            | Expectation::Converted { .. }
            | Expectation::Appended { .. }
            | Expectation::Elements { .. } => passes(self.path()),
        }
    }

    /// Returns the path that the migration writes or removes. If there are several, returns the main one.
    pub(super) fn path(&self) -> &Path {
        match self {
            Expectation::Pair { new: path, .. }
            | Expectation::InPlace { to: path, .. }
            | Expectation::Constant { to: path, .. }
            | Expectation::Absent { path, .. }
            | Expectation::Computed { to: path, .. }
            | Expectation::Converted { path, .. }
            | Expectation::Appended { to: path, .. } => path,
            Expectation::Elements { each } => each.container(),
            Expectation::Program { exec, .. } => exec.main_target(),
        }
    }
}

/// Returns the pairs of the changes that copy this path. A run may skip each of these pairs.
fn skipping_copies(changes: &[Change], path: &Path, strategy: Strategy) -> Vec<SkippablePair> {
    let copies = changes.iter().filter(|change| change.skips_existing());
    copies.filter_map(|change| SkippablePair::of_copy(change, path, strategy)).collect()
}

/// A pair that a run may have skipped.
#[derive(Debug, Clone)]
pub(in super::super) struct SkippablePair {
    source: Source,
    to: Path,
    skip_rule: SkipRule,
}

impl SkippablePair {
    /// Returns the pair if the change copies this path.
    pub(in super::super) fn of_copy(change: &Change, path: &Path, strategy: Strategy) -> Option<SkippablePair> {
        match change {
            Change::Copy { from, to, .. } if from == path => Some(SkippablePair {
                source: Source::same(from),
                to: to.clone(),
                skip_rule: SkipRule::from_change(change, strategy),
            }),
            Change::Copy { .. }
            | Change::Move { .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Compute { .. }
            | Change::Convert { .. }
            | Change::Append { .. }
            | Change::Each { .. }
            | Change::Exec { .. }
            | Change::Bump { .. }
            | Change::Delete { .. }
            | Change::Put { .. } => None,
        }
    }

    /// Returns whether the value at the target counts as done although it differs from what the source implies. If so,
    /// the source contains the only copy of its value.
    pub(in super::super) fn was_skipped(&self, item: &Item, record: &ItemHistory, rules: &ItemRules) -> bool {
        let SkippablePair { source, to, skip_rule } = self;
        rules.paired_value(source, to, item).is_some_and(|there| {
            source.path.get(item).is_some()
                && !source.implies(item, &rules.facts, there)
                && skip_rule.accepts(record, to, there)
        })
    }
}
