//! Several writes for one item (`split = true`).
//!
//! One write makes all changes of an item if the limits of DynamoDB allow it. Otherwise, and only if the plan says
//! `split = true`, several writes make these changes, one after the other. Readers may see the item between two of
//! these writes.
//!
//! Changes that share a path stay in one write ([`inseparable`]), so each write can be repeated. A kill between two
//! writes does no harm, because the next decision finds the remaining changes. The tool still decides about all changes
//! of an item together. If one of them is not possible, no write is sent.
//!
//! The journal records every write of such a plan, including a copy to a path without a value. So the next process
//! knows which parts of an item an earlier process wrote ([`Changes::partly_written`]), and a rollback undoes exactly
//! these parts.

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
use super::{Change, Condition, Formula, ItemHistory, OptionsByTarget, ProgramAnswers, Selected, Strategy};
use crate::item::{Item, Path};

/// Groups the changes that must stay in one write, and returns the positions of each group's changes. Two changes
/// belong to the same group if they use overlapping paths and one of them modifies its path in some pass. A `bump` is
/// in no group, because every write contains it.
///
/// A copy's source counts as modified, because a rollback writes the old attribute from all its copies together.
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
    // One write sets all outputs of a custom change.
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
    /// already ([`Changes::with_rules`]). Has no effect in a phase that works without a plan's operations.
    #[must_use]
    pub fn with_split(self, changes: &[Change], strategy: Strategy) -> Changes {
        let groups = inseparable(changes, &self.rules().options);
        self.with_groups(changes, strategy, &groups)
    }

    /// Like [`Changes::with_split`], but with these groups. `pins` contains additional conditions for the writes of
    /// each group.
    #[must_use]
    pub fn with_pinned_groups(
        self,
        changes: &[Change],
        strategy: Strategy,
        groups: &[Vec<usize>],
        pins: Vec<Vec<Condition>>,
    ) -> Changes {
        let mut split = self.with_groups(changes, strategy, groups);
        split.pins = pins;
        split
    }

    fn with_groups(mut self, changes: &[Change], strategy: Strategy, groups: &[Vec<usize>]) -> Changes {
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

    /// Returns this write and the item's further writes, on the assumption that nobody else writes the item meanwhile.
    /// The list has one element unless the plan says `split = true`.
    pub fn all_writes(&self, write: GuardedWrite, history: &ItemHistory) -> Vec<GuardedWrite> {
        let mut writes = vec![write];
        // Each write completes at least one group, so the item needs at most as many writes as there are groups.
        for _ in 0..self.parts.len() {
            let Some(next) = writes.last().and_then(|last| last.next.as_ref()) else { break };
            let Decision::Write(write) = self.decide_with(&next.image, history) else { break };
            writes.push(write);
        }
        writes
    }

    /// Returns the decision to send this write. If the write is too long and the plan allows several writes, returns
    /// the first of several writes with the same effect.
    pub(super) fn split(
        &self,
        item: &Item,
        history: &ItemHistory,
        answers: &ProgramAnswers,
        whole: GuardedWrite,
    ) -> Decision {
        let whole = whole.with_conditions(self.pins.iter().flatten());
        if self.parts.len() < 2 || ExpressionSize::of(&whole.actions, &whole.conditions).fits(self.limits) {
            return Decision::Write(whole);
        }
        // A part that needs no write also has conditions, because the decision about the item depends on its values.
        let (mut sizes, mut done) = (Vec::new(), Vec::new());
        for part in 0..self.parts.len() {
            let mut draft = self.new_draft(item, history);
            self.run_part(part, &mut draft, answers);
            let (conditions, growth) = (draft.size(), draft.growth());
            match draft.into_size() {
                Some(size) => sizes.push(PartSize { part, size, growth: growth.min(0) }),
                None => done.push((part, conditions)),
            }
        }
        let mut base = self.new_draft(item, history);
        if self.select_for_part(&mut base) != Selected::Yes {
            return Decision::Write(whole);
        }
        self.record_in_every_write(&mut base);
        if let Some((version, later)) = self.raised() {
            base.bump(version, later);
        }
        let FirstWrite { parts: mut chosen, mut size, mut writes } = first_write(base.size(), sizes, self.limits);
        if writes == 1 {
            for (part, conditions) in &done {
                if size.plus(*conditions).fits(self.limits) {
                    size = size.plus(*conditions);
                    chosen.push(*part);
                }
            }
            chosen.sort_unstable();
        }
        let mut write = loop {
            let mut draft = self.new_draft(item, history);
            self.select_for_part(&mut draft);
            chosen.iter().for_each(|part| self.run_part(*part, &mut draft, answers));
            self.record_in_every_write(&mut draft);
            let write = match draft.finish(whole.key.clone(), self.raised(), &self.pricing) {
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
            // If the parts together leave a map empty, the write removes the map under an additional condition. No
            // part's size includes this condition.
            let fits = ExpressionSize::of(&write.actions, &write.conditions).fits(self.limits);
            if fits || chosen.len() < 2 {
                break write;
            }
            let is_done = |part: &usize| done.iter().any(|(of, _)| of == part);
            if chosen.iter().any(is_done) {
                chosen.retain(|part| !is_done(part));
            } else {
                chosen.pop();
                writes = writes.max(2);
            }
        };
        if let Some(rule) = broken_rule(&write, item, &self.indexes().schemas()) {
            return Decision::Refused(Box::new(write), rule);
        }
        if !is_within_limits(&write) {
            return Decision::Rejected(
                "changes that must stay in one write exceed DynamoDB's limits for expressions".to_owned(),
            );
        }
        if writes > 1 {
            let image = image_after(item, &write.actions);
            // Send the first write only if all further writes are possible. This recursive decision checks all of them.
            match self.decide_checked(&image, false, history, answers) {
                Decision::Write(_) => {}
                impossible @ (Decision::Rejected(_) | Decision::NotComputable(_) | Decision::Refused(..)) => {
                    return impossible;
                }
                Decision::NothingToDo
                | Decision::AlreadyApplied
                | Decision::Skipped(_)
                | Decision::Diverged(_)
                | Decision::NeedsAnswers(..) => {
                    return Decision::Rejected(
                        "after the first write, the other changes of the item would not be possible".to_owned(),
                    );
                }
            }
            write.next = Some(Box::new(NextWrite { image }));
        }
        Decision::Write(write)
    }

    /// Returns whether an item may be partly written, because a process was killed between two writes of the item. If
    /// so, the caller must look up the items' records before the pass writes the items.
    pub fn may_be_partly_written(&self) -> bool {
        self.parts.len() > 1 && matches!(self.ops, Ops::Expand(_))
    }

    /// If the item is partly written, returns the paths that an earlier process wrote according to the item's record.
    /// Returns no path if the item is complete, or if an earlier process completed it and another writer has changed it
    /// since. `unfinished` is the part of the record that
    /// [`HistoryLookup::ForUnfinishedWrites`](super::HistoryLookup::ForUnfinishedWrites) finds. It leaves out the
    /// writes of complete runs, because a complete run wrote the whole item.
    ///
    /// A part counts as written if it needs no write and `unfinished` contains a write of this part. A part counts as
    /// not yet written if it still needs a write and no write in `unfinished` took effect. In this case, its paths
    /// still have the values that the newest record found.
    pub fn partly_written(&self, item: &Item, history: &ItemHistory, unfinished: &ItemHistory) -> Vec<Path> {
        let mut written = Vec::new();
        if !self.may_be_partly_written() || unfinished.is_empty() {
            return written;
        }
        let Some(key) = self.key().key_of(item) else { return written };
        let mut is_open = false;
        for (at, part) in self.parts.iter().enumerate() {
            let mut draft = self.new_draft(item, history);
            self.run_part(at, &mut draft, ProgramAnswers::NONE);
            let paths: Vec<&Path> = part.expand().iter().flat_map(ExpandOp::changed_paths).collect();
            match draft.finish(key.clone(), None, &self.pricing) {
                Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_) => {
                    let recorded = paths.into_iter().filter(|path| unfinished.priors(path).next().is_some());
                    written.extend(recorded.cloned());
                }
                Decision::Write(_)
                | Decision::NeedsAnswers(..)
                | Decision::Diverged(_)
                | Decision::Rejected(_)
                | Decision::NotComputable(_)
                | Decision::Refused(..) => is_open |= paths.iter().all(|path| unfinished.is_as_found(path, item)),
            }
        }
        if is_open { written } else { Vec::new() }
    }

    /// Creates an empty draft for this item.
    fn new_draft<'a>(&'a self, item: &'a Item, history: &'a ItemHistory) -> Draft<'a> {
        let mut draft = Draft::new(item, history, self.rules(), self.key());
        draft.ignores_selection = self.changed_stable(item, history).is_some();
        draft.records_all = self.may_be_partly_written();
        draft
    }

    /// Tests the selection, unless the decision about the item ignores it.
    fn select_for_part(&self, draft: &mut Draft<'_>) -> Selected {
        if draft.ignores_selection { Selected::Yes } else { self.select(draft) }
    }

    /// Plans the operations of one part, with its additional conditions.
    fn run_part<'a>(&'a self, part: usize, draft: &mut Draft<'a>, answers: &ProgramAnswers) {
        draft.run(&self.parts[part], self.key(), answers);
        self.pins.get(part).into_iter().flatten().for_each(|pin| draft.require(pin.clone()));
    }
}

/// The size of one part of an item's changes.
struct PartSize {
    part: usize,
    size: ExpressionSize,
    /// If the part shrinks the item, the number of bytes by which it does so, as a negative number. Zero if the part
    /// enlarges the item.
    growth: i64,
}

/// The first of an item's writes.
struct FirstWrite {
    /// The parts in this write, in the order of the plan.
    parts: Vec<usize>,
    size: ExpressionSize,
    /// Number of writes that the item needs, including this one.
    writes: usize,
}

/// Distributes the parts of an item's changes over writes by first-fit, the largest parts first. Returns the write that
/// shrinks the item most, so that the item does not exceed its size limit between two writes. If no write shrinks the
/// item, returns the write that was filled first. After this write, first-fit distributes the other parts in the same
/// way as before, so this choice does not change the number of writes. `base` is the size of everything that every
/// write contains.
fn first_write(base: ExpressionSize, mut sizes: Vec<PartSize>, limits: ExpressionSize) -> FirstWrite {
    sizes.sort_by(|a, b| {
        let by_size = b.size.fullness().total_cmp(&a.size.fullness());
        by_size.then(a.growth.cmp(&b.growth)).then(a.part.cmp(&b.part))
    });
    let mut writes: Vec<(FirstWrite, i64)> = Vec::new();
    for PartSize { part, size, growth } in sizes {
        match writes.iter_mut().find(|(filled, _)| filled.size.plus(size).fits(limits)) {
            Some((filled, total)) => {
                filled.size = filled.size.plus(size);
                filled.parts.push(part);
                *total += growth;
            }
            None => writes.push((FirstWrite { parts: vec![part], size: base.plus(size), writes: 0 }, growth)),
        }
    }
    let count = writes.len();
    let first = writes.into_iter().min_by_key(|(_, total)| *total);
    let mut first = first.map_or(FirstWrite { parts: Vec::new(), size: base, writes: 0 }, |(write, _)| write);
    first.parts.sort_unstable();
    FirstWrite { writes: count, ..first }
}
