//! Several writes for one item (`split = true`).
//!
//! All changes of an item go in one write if the limits of DynamoDB allow it. If they do not, and the plan says
//! `split = true`, the changes of an item go in several writes, one after the other. Readers may see the item between
//! two of them.
//!
//! Changes that share a path stay in one write ([`inseparable`]), so each write can be sent again, and a kill between
//! two writes does no harm: the next decision finds what is left. A decision about an item is still made for all its
//! changes together. If one of them is not possible, no write is sent.

use std::collections::BTreeMap;

use super::contract::ContractOp;
use super::decide::Changes;
use super::decision::Decision;
use super::draft::{Draft, image_after};
use super::expand::ExpandOp;
use super::expression_size::{ExpressionSize, is_within_limits};
use super::guarded::{GuardedWrite, NextWrite};
use super::old_from_new::OldFromNewOp;
use super::ops::Ops;
use super::rule::broken_rule;
use super::undo::UndoOp;
use super::{Change, Formula, ItemHistory, OptionsByTarget, ProgramAnswers, Selected, Strategy};
use crate::item::{Item, Path};

/// Returns the positions of the changes that must stay in one write, group by group. Two changes are in one group if
/// both use a path, or parts of the same path, and one of them modifies it in some pass. A `bump` is in no group,
/// because every write contains it.
///
/// A copy's source counts as modified: on the way back, the old attribute is written from all its copies together.
pub fn inseparable(changes: &[Change], options: &OptionsByTarget) -> Vec<Vec<usize>> {
    let mut group_of: Vec<usize> = (0..changes.len()).collect();
    // Paths with different top-level attributes never overlap.
    let mut uses: BTreeMap<String, Vec<(usize, Path, bool)>> = BTreeMap::new();
    for (position, change) in changes.iter().enumerate() {
        let paths = change.paths();
        let modified = paths.reads.into_iter().chain(paths.writes).chain(paths.removes);
        let condition = options.of_change(change).applies_to.as_ref().map(|selection| selection.condition.inputs());
        let read = paths.inputs.into_iter().chain(condition.into_iter().flatten());
        for (path, is_modified) in modified.map(|path| (path, true)).chain(read.map(|path| (path, false))) {
            uses.entry(path.root().to_owned()).or_default().push((position, path.clone(), is_modified));
        }
    }
    // All outputs of a custom change appear together.
    let mut custom: BTreeMap<&str, usize> = BTreeMap::new();
    for (position, change) in changes.iter().enumerate() {
        if let Change::Compute { formula: Formula::Custom(formula), .. } = change {
            let first = *custom.entry(&formula.name).or_insert(position);
            join(&mut group_of, first, position);
        }
    }
    for of_attribute in uses.values() {
        for (at, (first, path, is_modified)) in of_attribute.iter().enumerate() {
            for (second, other, is_other_modified) in &of_attribute[at + 1..] {
                if first != second && (*is_modified || *is_other_modified) && path.overlaps(other) {
                    join(&mut group_of, *first, *second);
                }
            }
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (position, change) in changes.iter().enumerate() {
        if !matches!(change, Change::Bump { .. }) {
            groups.entry(root_of(&group_of, position)).or_default().push(position);
        }
    }
    groups.into_values().collect()
}

/// Returns the first member of the group.
fn root_of(group_of: &[usize], mut position: usize) -> usize {
    while group_of[position] != position {
        position = group_of[position];
    }
    position
}

/// Joins two groups. The root of a group is always its first member, so the groups keep the order of the plan.
fn join(group_of: &mut [usize], first: usize, second: usize) {
    let (a, b) = (root_of(group_of, first), root_of(group_of, second));
    group_of[a.max(b)] = a.min(b);
}

impl Changes {
    /// Allows several writes for one item. `changes` and `strategy` are those of the plan, and the rules must be set
    /// already ([`Changes::with_rules`]). Changes nothing in a phase that works without a plan's operations.
    #[must_use]
    pub fn with_split(mut self, changes: &[Change], strategy: Strategy) -> Changes {
        let groups = inseparable(changes, &self.rules().options);
        let subset = |group: &[usize]| group.iter().map(|position| changes[*position].clone()).collect::<Vec<_>>();
        let ops = |group: &Vec<usize>| match &self.ops {
            Ops::Expand(_) => Ops::Expand(ExpandOp::from_positions(changes, group, strategy)),
            Ops::Contract(_) => Ops::Contract(ContractOp::from_changes(&subset(group), strategy)),
            Ops::OldFromNew(_) => Ops::OldFromNew(OldFromNewOp::from_changes(&subset(group), strategy)),
            Ops::Undo(_) => Ops::Undo(UndoOp::from_changes(&subset(group), strategy)),
            Ops::Decider(rule) => Ops::Decider(rule.clone()),
        };
        self.parts = match &self.ops {
            Ops::Expand(_) | Ops::Contract(_) | Ops::OldFromNew(_) | Ops::Undo(_) => groups.iter().map(ops).collect(),
            Ops::Decider(_) => Vec::new(),
        };
        self
    }

    /// Returns this write and the writes that follow it, if nobody else writes the item meanwhile. The list has one
    /// element unless the plan says `split = true`.
    pub fn all_writes(&self, write: GuardedWrite, history: &ItemHistory) -> Vec<GuardedWrite> {
        let mut writes = vec![write];
        // Each write completes at least one group, and the next decision finds it complete.
        for _ in 0..self.parts.len() {
            let Some(next) = writes.last().and_then(|last| last.next.as_ref()) else { break };
            let Decision::Write(write) = self.decide_with(&next.image, history) else { break };
            writes.push(write);
        }
        writes
    }

    /// Returns the decision to send this write, or the first of several writes with the same effect, if the write is
    /// too long and the plan allows several.
    pub(super) fn split(
        &self,
        item: &Item,
        history: &ItemHistory,
        answers: &ProgramAnswers,
        whole: GuardedWrite,
    ) -> Decision {
        if self.parts.len() < 2 || ExpressionSize::of(&whole.actions, &whole.conditions).fits(self.limits) {
            return Decision::Write(whole);
        }
        let sizes = self.parts.iter().enumerate().filter_map(|(part, ops)| {
            let mut draft = Draft::new(item, history, self.rules(), self.key());
            draft.run(ops, self.key(), answers);
            Some((part, draft.into_size()?))
        });
        let mut base = Draft::new(item, history, self.rules(), self.key());
        if self.select(&mut base) != Selected::Yes {
            return Decision::Write(whole);
        }
        self.record_in_every_write(&mut base);
        if let Some((version, later)) = self.raised() {
            base.bump(version, later);
        }
        let (chosen, writes) = first_write(base.size(), sizes.collect(), self.limits);
        let mut draft = Draft::new(item, history, self.rules(), self.key());
        self.select(&mut draft);
        chosen.iter().for_each(|part| draft.run(&self.parts[*part], self.key(), answers));
        self.record_in_every_write(&mut draft);
        let mut write = match draft.finish(whole.key.clone(), self.raised(), &self.pricing) {
            Decision::Write(write) => write,
            other @ (Decision::NothingToDo
            | Decision::AlreadyApplied
            | Decision::Skipped(_)
            | Decision::Diverged(_)
            | Decision::Rejected(_)
            | Decision::NotComputable(_)
            | Decision::Refused(..)
            | Decision::NeedsAnswers(..)) => return other,
        };
        if !is_within_limits(&write) {
            return Decision::Rejected(
                "changes that must stay in one write need a longer expression than DynamoDB accepts".to_owned(),
            );
        }
        if let Some(rule) = broken_rule(&write, item, &self.indexes().schemas()) {
            return Decision::Refused(Box::new(write), rule);
        }
        if writes > 1 {
            write.next = Some(Box::new(NextWrite { image: image_after(item, &write.actions) }));
        }
        Decision::Write(write)
    }
}

/// Distributes the parts of an item's changes to as few writes as first-fit finds, the largest parts first. Returns the
/// parts of the first write, in the order of the plan, and the number of writes. `base` is what every write contains.
fn first_write(
    base: ExpressionSize,
    mut sizes: Vec<(usize, ExpressionSize)>,
    limits: ExpressionSize,
) -> (Vec<usize>, usize) {
    sizes.sort_by(|(first, a), (second, b)| b.fullness().total_cmp(&a.fullness()).then(first.cmp(second)));
    let mut writes: Vec<(ExpressionSize, Vec<usize>)> = Vec::new();
    for (part, size) in sizes {
        match writes.iter_mut().find(|(filled, _)| filled.plus(size).fits(limits)) {
            Some((filled, parts)) => {
                *filled = filled.plus(size);
                parts.push(part);
            }
            None => writes.push((base.plus(size), vec![part])),
        }
    }
    let count = writes.len();
    let mut first = writes.into_iter().next().map_or_else(Vec::new, |(_, parts)| parts);
    first.sort_unstable();
    (first, count)
}
