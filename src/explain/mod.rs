//! Explains what a pass does with a single item, and why. The decision is the one that the pass itself makes: see
//! [`Changes::decide_with`]. This module is pure.

mod items;
mod report;
#[cfg(test)]
mod tests;
mod text;
mod verdict;
mod write;

pub use items::{InputItems, ItemInputError, read_items};
pub use report::{ExplainReport, RecordSource};
pub use verdict::Verdict;
pub use write::{ExplainedPut, ExplainedValue, ExplainedWrite, IndexCost};

use crate::change::{Change, Changes, Decision, ItemHistory};
use crate::item::{Item, ItemKey, Path, Value, item_bytes};
use crate::plan::Plan;
use crate::state::reject_if_unreadable;

/// The pass that is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainedPass {
    /// The pass of `run`.
    Expand,
    /// The pass of `contract`.
    Contract,
    /// The last pass of `rollback`.
    Undo,
    /// The pass that makes old attributes equal to new ones, after new-only writes.
    OldFromNew,
}

impl ExplainedPass {
    /// All passes.
    pub const ALL: [ExplainedPass; 4] =
        [ExplainedPass::Expand, ExplainedPass::Contract, ExplainedPass::Undo, ExplainedPass::OldFromNew];

    /// Returns the name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            ExplainedPass::Expand => "expand",
            ExplainedPass::Contract => "contract",
            ExplainedPass::Undo => "undo",
            ExplainedPass::OldFromNew => "old-from-new",
        }
    }

    /// Returns the effect of several writes of this pass, as a verb phrase.
    fn effect_of_several(self) -> &'static str {
        match self {
            ExplainedPass::Expand => "make the item match the plan",
            ExplainedPass::Contract => "remove the old attributes",
            ExplainedPass::Undo => "undo what the migration wrote",
            ExplainedPass::OldFromNew => "make the old attributes equal to the new ones",
        }
    }

    /// Returns the effect of one write of this pass, as a verb phrase.
    fn effect(self) -> &'static str {
        match self {
            ExplainedPass::Expand => "makes the item match the plan",
            ExplainedPass::Contract => "removes the old attributes",
            ExplainedPass::Undo => "undoes what the migration wrote",
            ExplainedPass::OldFromNew => "makes the old attributes equal to the new ones",
        }
    }
}

/// What a pass does with one item.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The item's key; `None` if the item lacks a key attribute.
    pub key: Option<ItemKey>,
    /// What the pass decides, and why.
    pub verdict: Verdict,
    /// The facts on which the decision is based; `None` if the table has no such item.
    pub image: Option<ExplainedImage>,
}

/// The facts about an item. A decision is based on them.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedImage {
    /// The item's size in bytes, by DynamoDB's rules.
    pub bytes: usize,
    /// The values at the paths that the plan names, in the order of the changes. Each path occurs once.
    pub values: Vec<(Path, Option<Value>)>,
    /// What is recorded about the item.
    pub record: ItemRecord,
}

/// What is recorded about an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemRecord {
    /// No record exists, or the pass reads no records.
    Nothing,
    /// The journal or the baseline has a record of the item.
    Recorded,
    /// The record cannot be read. The text is the reason.
    Unreadable(String),
}

impl Explanation {
    /// Explains what a pass with these changes does with an item. `plan` contains the changes of the plan, and
    /// `history` is what is recorded about the item.
    pub fn of_item(
        pass: ExplainedPass,
        plan: &Plan,
        changes: &Changes,
        item: &Item,
        history: &ItemHistory,
    ) -> Explanation {
        let decision = reject_if_unreadable(changes.decide_with(item, history));
        let indexes = changes.indexes().schemas();
        let image = ExplainedImage {
            bytes: item_bytes(item),
            values: plan_paths(&plan.changes, changes)
                .into_iter()
                .map(|path| (path.clone(), path.get(item).cloned()))
                .collect(),
            record: match history.unreadable_reason() {
                Some(why) => ItemRecord::Unreadable(why.to_owned()),
                None if history.is_empty() => ItemRecord::Nothing,
                None => ItemRecord::Recorded,
            },
        };
        let later = match &decision {
            Decision::Write(write) => changes.all_writes(write.clone(), history).split_off(1),
            Decision::NothingToDo
            | Decision::AlreadyApplied
            | Decision::Skipped(_)
            | Decision::Diverged(_)
            | Decision::Rejected(_)
            | Decision::NotComputable(_)
            | Decision::Refused(..)
            | Decision::NeedsAnswers(..) => Vec::new(),
        };
        let rules = plan.item_rules();
        let stable_changed = history.changed_stable(&rules.stable, item);
        // If a stable attribute has changed, the passes that rely on the selection ignore the selection.
        let relies_on_selection = match pass {
            ExplainedPass::Expand => true,
            ExplainedPass::Contract | ExplainedPass::OldFromNew => stable_changed.is_none(),
            ExplainedPass::Undo => false,
        };
        let is_outside = relies_on_selection && changes.has_left_selection(item);
        let left_out = if relies_on_selection && !is_outside { changes.left_out(item) } else { Vec::new() };
        let is_nothing = decision == Decision::NothingToDo;
        let verdict = if is_nothing && changes.is_empty() {
            Verdict::empty_pass(pass)
        } else if is_nothing && is_outside && changes.is_outside_index(item) {
            Verdict::not_in_index()
        } else if is_nothing && is_outside {
            Verdict::not_selected()
        } else if is_nothing && relies_on_selection && changes.applies_to_nothing(item) {
            Verdict::applies_to_nothing()
        } else {
            Verdict::of_decision(pass, (decision, later), &plan.changes, &indexes).without_changes_of(&left_out)
        };
        let verdict = match stable_changed {
            Some(path) if pass != ExplainedPass::Expand => verdict.with_changed_stable(path),
            Some(_) | None => verdict,
        };
        Explanation { key: changes.key().key_of(item), verdict, image: Some(image) }
    }

    /// Replaces the verdict with the one for an item whose key is not in the plan's file of keys.
    #[must_use]
    pub fn not_listed(self) -> Explanation {
        Explanation { verdict: Verdict::not_listed(), ..self }
    }

    /// Adds the note that the verdict depends on an assumption: the plan's index contains the item.
    #[must_use]
    pub fn assuming_index(self, index: &str) -> Explanation {
        Explanation { verdict: self.verdict.assuming_index(index), ..self }
    }

    /// Explains what a pass with these changes does if the table has no item with this key. Only a pass that restores
    /// deleted items has work to do.
    pub fn of_missing_item(
        pass: ExplainedPass,
        plan: &[Change],
        changes: &Changes,
        key: ItemKey,
        history: &ItemHistory,
    ) -> Explanation {
        let decision = reject_if_unreadable(changes.decide_missing(&key, history));
        let is_unreadable = history.unreadable_reason().is_some();
        let has_deletion = changes.restores_items() && (history.deletion().is_some() || is_unreadable);
        let verdict = if !has_deletion {
            Verdict::gone(pass, changes)
        } else if decision == Decision::AlreadyApplied {
            Verdict::put_back_before()
        } else {
            Verdict::of_decision(pass, (decision, Vec::new()), plan, &changes.indexes().schemas())
        };
        Explanation { key: Some(key), verdict, image: None }
    }
}

/// Returns the paths that the changes or a `where` contain, without duplicates. The paths of the changes come first, in
/// the order of the changes.
fn plan_paths<'a>(plan: &'a [Change], changes: &'a Changes) -> Vec<&'a Path> {
    let named = plan.iter().flat_map(|change| {
        let named = change.paths();
        named.reads.into_iter().chain(named.inputs).chain(named.writes).chain(named.removes)
    });
    let mut paths: Vec<&Path> = Vec::new();
    for path in named.chain(changes.where_inputs()) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}
