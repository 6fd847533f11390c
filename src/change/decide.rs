//! Turns an item's image into a decision. The decision says what the plan requires for this item, and under which
//! condition.

use std::sync::Arc;

use super::computed::RAISES_OF_THE_WAY_BACK;
use super::contract::ContractOp;
use super::cost::Pricing;
use super::decision::{Decider, Decision};
use super::draft::{Draft, bytes_at, image_after};
use super::expand::ExpandOp;
use super::expression_size::ExpressionSize;
use super::old_from_new::OldFromNewOp;
use super::ops::Ops;
use super::planned::PlannedChange;
use super::repair_notes::lost_to_repairs;
use super::undo::UndoOp;
use super::{
    Change, Condition, GuardedWrite, HistoryLookup, Indexes, ItemHistory, ItemRules, OnNotComputable, OtherTable,
    PreImage, ProgramAnswers, ProgramQuestion, Repeatable, Rule, Selected, Strategy, rule,
};
use crate::expr::Facts;
use crate::item::{IndexSchema, Item, ItemKey, KeySchema, MAX_ITEM_BYTES, NotComputable, Path, encryption_marker};

/// The changes of one phase, ready to be applied to items.
#[derive(Debug, Clone)]
pub struct Changes {
    pub(super) ops: Ops,
    key: KeySchema,
    indexes: Indexes,
    pub(super) pricing: Pricing,
    /// Whether to refuse writes to items that are signed or encrypted on the client.
    refuses_encrypted: bool,
    /// Whether applications write both the old and the new attribute.
    dual_writes: bool,
    /// Which items are selected, and how expressions are evaluated.
    pub(super) rules: ItemRules,
    /// The version that every write raises.
    pub(super) bump: Option<Path>,
    /// Groups of operations. The operations of a group must stay in one write. Empty if all operations must stay in one
    /// write ([`Changes::with_split`]).
    pub(super) parts: Vec<Ops>,
    /// Additional conditions for the writes of the parts. Contains one list for each part, or is empty if there are no
    /// additional conditions.
    pub(super) pins: Vec<Vec<Condition>>,
    /// DynamoDB's limits for the expressions of one write.
    pub(super) limits: ExpressionSize,
    /// Whether `contract` may write an item after `run`.
    contracts: bool,
    /// The table that gets the derived items. `None` if it is the table of the sources.
    other_table: Option<OtherTable>,
    /// The changes of the plan. Empty in a phase other than `run`.
    pub(super) plan: Vec<PlannedChange>,
}

impl Changes {
    /// Returns the changes that `run` makes. With the strategy `in-place`, `run` makes all changes. Otherwise `run`
    /// only adds attributes, and the removals wait for `contract`. In either case, `run` makes all changes in elements
    /// of containers.
    pub fn for_expand(changes: &[Change], strategy: Strategy, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        let contracts = !ContractOp::from_changes(changes, strategy).is_empty();
        let expand = Changes::new(Ops::Expand(ExpandOp::from_changes(changes, strategy)), changes, key, indexes);
        Changes { contracts, plan: PlannedChange::from_changes(changes), ..expand }
    }

    /// Returns the changes that `contract` makes after cutover: it removes the sources of moves and everything that the
    /// plan removes. For an in-place plan, `contract` has nothing to do.
    pub fn for_contract(changes: &[Change], strategy: Strategy, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        Changes::new(Ops::Contract(ContractOp::from_changes(changes, strategy)), changes, key, indexes)
    }

    /// Returns the changes for the first phase of a rollback, which makes old values equal to new values. The phase is
    /// necessary if applications have written only the new attribute. If an item has no new value, its old value stays.
    /// With an in-place plan there are no new-only writes, so this phase has nothing to do.
    pub fn for_old_from_new(
        changes: &[Change],
        strategy: Strategy,
        key: KeySchema,
        indexes: Vec<IndexSchema>,
    ) -> Changes {
        Changes::new(Ops::OldFromNew(OldFromNewOp::from_changes(changes, strategy)), changes, key, indexes)
    }

    /// Returns the changes for the last phase of a rollback. The phase removes the values that `run` created, and
    /// restores the values that `run` overwrote, moved or removed.
    pub fn for_undo(changes: &[Change], strategy: Strategy, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        Changes::new(Ops::Undo(UndoOp::from_changes(changes, strategy)), changes, key, indexes)
    }

    /// Creates changes whose decisions all come from `rule`, for a table with this key and these indexes.
    pub fn from_decider(rule: Arc<dyn Decider>, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        Changes::new(Ops::Decider(rule), &[], key, indexes)
    }

    fn new(ops: Ops, changes: &[Change], key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        let indexes = Indexes::from(indexes);
        let bump = changes.iter().find_map(|change| match change {
            Change::Bump { path } => Some(path.clone()),
            Change::Move { .. }
            | Change::Copy { .. }
            | Change::Set { .. }
            | Change::Remove { .. }
            | Change::Compute { .. }
            | Change::Convert { .. }
            | Change::Exec { .. }
            | Change::Append { .. }
            | Change::Delete { .. }
            | Change::Put { .. }
            | Change::Each { .. } => None,
        });
        let changed = ops.attributes().into_iter().chain(bump.as_ref().map(Path::root)).collect();
        let pricing = match ops.changes_whole_items() {
            true => Pricing::for_whole_items(&key, &indexes),
            false => Pricing::new(changed, &key, &indexes),
        };
        Changes {
            ops,
            key,
            indexes,
            pricing,
            refuses_encrypted: false,
            dual_writes: false,
            rules: ItemRules::default(),
            bump,
            parts: Vec::new(),
            pins: Vec::new(),
            limits: ExpressionSize::LIMITS,
            contracts: false,
            other_table: None,
            plan: Vec::new(),
        }
    }

    /// Puts derived items into this table instead of the table of their sources.
    #[must_use]
    pub fn with_other_table(self, other_table: Option<OtherTable>) -> Changes {
        Changes { other_table, ..self }
    }

    /// Returns the table that gets the derived items. `None` if it is the table of the sources, or if there are none.
    pub fn other_table(&self) -> Option<&OtherTable> {
        self.other_table.as_ref()
    }

    /// Returns the key schema of the table that gets the derived items.
    pub fn derived_key(&self) -> &KeySchema {
        self.other_table.as_ref().map_or(&self.key, |table| &table.key)
    }

    /// Limits the changes to the items that these rules select, and evaluates expressions by these rules.
    pub fn with_rules(self, rules: ItemRules) -> Changes {
        Changes { rules, ..self }
    }

    /// Sets whether to refuse writes to items that are signed or encrypted on the client ([`Rule::ClientEncryption`]).
    pub fn with_encrypted_refused(self, refuses: bool) -> Changes {
        Changes { refuses_encrypted: refuses, ..self }
    }

    /// Sets whether all applications write both attributes. Pass true only if the applications began to write both
    /// attributes before this pass. For an undo pass, it is enough that the applications wrote both attributes at some
    /// time. The applications may then have written a pair of equal values, so an equal pair does not count as
    /// preexisting.
    pub fn with_dual_writes(self, dual_writes: bool) -> Changes {
        Changes { dual_writes, ..self }
    }

    /// Returns whether applications write both attributes ([`Changes::with_dual_writes`]).
    pub fn dual_writes(&self) -> bool {
        self.dual_writes
    }

    /// Returns whether to refuse writes to items that are signed or encrypted on the client.
    pub fn refuses_encrypted(&self) -> bool {
        self.refuses_encrypted
    }

    /// Returns whether this phase changes nothing, because every change waits for a later phase.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Returns the indexes for which write costs are computed. [`WriteCost::indexes`] refers to an index by its
    /// position in this list. The list follows the table's current indexes.
    ///
    /// [`WriteCost::indexes`]: super::WriteCost::indexes
    pub fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// Returns the facts about the migration that expressions can use.
    pub fn facts(&self) -> &Facts {
        &self.rules.facts
    }

    /// Returns the key schema that the changes were prepared for.
    pub fn key(&self) -> &KeySchema {
        &self.key
    }

    /// Returns whether this phase must read strongly consistently. A phase must do so if no later pass corrects its
    /// decision "nothing to do". If that decision were wrong, the item would stay wrong, or old values would be lost
    /// permanently. An eventually consistent read is not enough, because the state that it returns may be some seconds
    /// old.
    pub fn needs_consistent_reads(&self) -> bool {
        self.ops.needs_consistent_reads()
    }

    /// Returns why this phase looks up an item's recorded history, or `None` if it does not.
    pub fn lookup(&self) -> Option<HistoryLookup> {
        if self.needs_history() {
            return Some(HistoryLookup::ForDecision);
        }
        match &self.ops {
            Ops::OldFromNew(ops) => (!ops.is_empty()).then_some(HistoryLookup::ForReport),
            Ops::Expand(_) | Ops::Contract(_) | Ops::Undo(_) | Ops::Decider(_) => None,
        }
    }

    /// Returns whether this phase's decisions depend on an item's recorded history.
    pub fn needs_history(&self) -> bool {
        // Old-from-new must work with a damaged state, so it checks stable attributes only if the record is readable.
        let is_old_from_new = matches!(self.ops, Ops::OldFromNew(_));
        self.ops.needs_history() || (self.checks_stable() && !is_old_from_new)
    }

    /// Decides what this item needs. Call this function only if the item has no history, or if the phase needs no
    /// history. One write makes all changes that the item needs, unless the plan allows several
    /// ([`Changes::with_split`]). If one of these changes is not possible, the item is not written.
    pub fn decide(&self, item: &Item) -> Decision {
        self.decide_with(item, &ItemHistory::EMPTY)
    }

    /// Decides what this item needs, based on its history. One write makes all changes that the item needs. If one of
    /// these changes is not possible, the item is not written.
    ///
    /// If a program must compute values for the item, the result is [`Decision::NeedsAnswers`].
    pub fn decide_with(&self, item: &Item, history: &ItemHistory) -> Decision {
        self.decide_answered(item, history, ProgramAnswers::NONE)
    }

    /// Decides what this item needs, based on its history and on the answers of programs. Ignores answers about inputs
    /// that differ from those in `item`.
    pub fn decide_answered(&self, item: &Item, history: &ItemHistory, answers: &ProgramAnswers) -> Decision {
        self.decide_checked(item, false, history, answers)
    }

    /// Decides about an item that, as far as the caller knows, does not exist in the table. Only a phase that reads the
    /// journal has anything to do for such an item ([`Changes::restores_items`]).
    pub fn decide_missing(&self, key: &ItemKey, history: &ItemHistory) -> Decision {
        self.decide_checked(key.attributes(), true, history, ProgramAnswers::NONE)
    }

    /// Decides about an item, and checks the decision against DynamoDB's rules.
    pub(super) fn decide_checked(
        &self,
        item: &Item,
        is_missing: bool,
        history: &ItemHistory,
        answers: &ProgramAnswers,
    ) -> Decision {
        let decision = self.decide_unchecked(item, is_missing, history, answers);
        // Only a run may skip an item. If any other phase skipped an item, the phase would complete although work is
        // left.
        let skips = matches!(self.ops, Ops::Expand(_)) && self.rules.on_not_computable == OnNotComputable::Skip;
        if matches!(decision, Decision::NotComputable(_)) && skips {
            return Decision::Skipped(Vec::new());
        }
        let write = match decision {
            Decision::Write(write) => write,
            Decision::NeedsAnswers(questions, write) => return self.check_unanswered(item, questions, write),
            Decision::NothingToDo
            | Decision::AlreadyApplied
            | Decision::Skipped(_)
            | Decision::Diverged(_)
            | Decision::Rejected(_)
            | Decision::NotComputable(_)
            | Decision::Refused(..) => return decision,
        };
        if self.would_apply_twice(item, &write) {
            return Decision::NotComputable(NotComputable::new(
                "a target is computed from its own value, and the written item would still be selected, so the change \
                 could be applied twice",
            ));
        }
        // Deleting or restoring a whole item does not invalidate its signature.
        let checks_signature = self.refuses_encrypted && !write.changes_whole_item();
        if let Some(mark) = encryption_marker(item).filter(|_| checks_signature) {
            return Decision::Refused(Box::new(write), Rule::ClientEncryption { mark });
        }
        let indexes = self.other_table.as_ref().map_or(&self.indexes, OtherTable::indexes);
        match rule::broken_rule(&write, item, &indexes.schemas()) {
            Some(Rule::ItemSize { .. }) => {
                let fits_in_place =
                    write.bytes_after.saturating_sub(self.remaining_source_bytes(item)) <= MAX_ITEM_BYTES;
                Decision::Refused(Box::new(write), Rule::ItemSize { fits_in_place })
            }
            // Each of several writes is smaller than one write with all changes.
            Some(Rule::UpdateSize) if !self.parts.is_empty() => self.split(item, history, answers, write),
            Some(rule) => Decision::Refused(Box::new(write), rule),
            None => self.split(item, history, answers, write),
        }
    }

    /// If no answer of a program could make the write acceptable, refuses the write before the programs are asked.
    fn check_unanswered(&self, item: &Item, questions: Vec<ProgramQuestion>, write: Box<GuardedWrite>) -> Decision {
        match encryption_marker(item).filter(|_| self.refuses_encrypted) {
            Some(mark) => Decision::Refused(write, Rule::ClientEncryption { mark }),
            None => Decision::NeedsAnswers(questions, write),
        }
    }

    /// Decides about an item that the write `failed` was meant to restore. The write failed because an item with this
    /// key exists again. This item stays, and `image` is its current image. Returns `None` if `failed` does not restore
    /// an item.
    pub fn decide_found(&self, image: &Item, failed: &GuardedWrite) -> Option<Decision> {
        let created = failed.created_item()?;
        Some(match created == image {
            true => Decision::AlreadyApplied,
            false => Decision::Diverged(vec![Path::attribute(self.key.partition.name.as_str())]),
        })
    }

    /// Returns whether this phase restores deleted items, or deletes derived items. Such a phase reads the journal
    /// instead of the table.
    pub fn restores_items(&self) -> bool {
        matches!(self.ops, Ops::Undo(_)) && self.ops.changes_whole_items()
    }

    /// Returns whether this phase deletes the derived items that a run put.
    pub fn removes_derived_items(&self) -> bool {
        self.ops.removes_derived_items()
    }

    /// Returns the key of the derived item that this phase puts for this item. `None` if it puts none, or if the item has
    /// no valid derived item.
    pub fn derived_key_of(&self, item: &Item) -> Option<ItemKey> {
        let derived = self.ops.expand().iter().find_map(ExpandOp::derived)?;
        self.derived_key().key_of(&derived.of_source(item, self.derived_key(), self.facts()).ok()?)
    }

    /// Returns the notes for the report of this phase about an item that it leaves as it is. Only the last phase of a
    /// rollback has some.
    pub fn notes_without_write(&self, item: &Item, history: &ItemHistory) -> Vec<PreImage> {
        match &self.ops {
            Ops::Undo(ops) => lost_to_repairs(ops, history, item),
            Ops::Expand(_) | Ops::Contract(_) | Ops::OldFromNew(_) | Ops::Decider(_) => Vec::new(),
        }
    }

    /// Returns whether this write could be repeated with a different result: a value is computed from itself, and both
    /// the selection and the change's own `where` still include the written item.
    fn would_apply_twice(&self, item: &Item, write: &GuardedWrite) -> bool {
        let depends = |op: &&ExpandOp| {
            op.depends_on_itself() && op.own_path().is_none_or(|path| self.rules.applies(path, item) == Selected::Yes)
        };
        let mut repeated = self.ops.expand().iter().filter(depends).peekable();
        if repeated.peek().is_none() {
            return false;
        }
        let after = image_after(item, &write.actions);
        self.rules.includes(&after) != Selected::No
            && repeated.any(|op| op.own_path().is_none_or(|path| self.rules.applies(path, &after) != Selected::No))
    }

    /// Returns the size in bytes of the sources that stay until `contract`. An in-place plan would remove these sources
    /// in the same write.
    fn remaining_source_bytes(&self, item: &Item) -> usize {
        let sources = self.ops.expand().iter().filter_map(ExpandOp::remaining_source);
        sources.filter_map(|from| Some(bytes_at(from, from.get(item)?))).sum()
    }

    /// Returns the decision without checking it against DynamoDB's rules.
    fn decide_unchecked(
        &self,
        item: &Item,
        is_missing: bool,
        history: &ItemHistory,
        answers: &ProgramAnswers,
    ) -> Decision {
        if let Ops::Decider(rule) = &self.ops {
            return rule.decide(item);
        }
        let Some(key) = self.key.key_of(item) else {
            return Decision::Rejected("the item has no key attributes".into());
        };
        if let Some(why) = history.unreadable_reason().filter(|_| self.needs_history()) {
            return Decision::Rejected(format!(
                "its record in the state file cannot be read: {why}; the item was not written"
            ));
        }
        if let Some(path) = self.changed_stable(item, history) {
            return self.decide_without_selection(item, history, &key, path);
        }
        let mut draft = Draft::new(item, history, &self.rules, &self.key);
        draft.is_missing = is_missing;
        draft.other_table = self.other_table.as_ref();
        draft.records_all = self.may_be_partly_written();
        match self.select(&mut draft) {
            Selected::Yes => {}
            Selected::No => return Decision::NothingToDo,
            Selected::NotComputable(why) => return Decision::NotComputable(why),
        }
        draft.run(&self.ops, &self.key, answers);
        if let Ops::Expand(ops) = &self.ops {
            // If such a `where` has no result, `contract` could not change the item later, and the cutover gate would
            // stay closed.
            let waits = |target: &&Path| ops.iter().all(|op| op.own_path() != Some(*target));
            draft.check_conditions(waits);
            if let Some((version, later)) = self.raised() {
                draft.check_version_of_refused(version, later);
            }
        }
        self.record_in_every_write(&mut draft);
        draft.finish(key, self.raised(), &self.pricing)
    }

    /// Adds the records that every write of this phase needs, even if an item gets several writes.
    pub(super) fn record_in_every_write(&self, draft: &mut Draft<'_>) {
        match &self.ops {
            Ops::Expand(_) => draft.record_stable(),
            Ops::Contract(_) | Ops::OldFromNew(_) | Ops::Undo(_) | Ops::Decider(_) => {}
        }
    }

    /// Returns the version that every write of this phase raises, and the number of times that later writes may raise
    /// it.
    pub(super) fn raised(&self) -> Option<(&Path, usize)> {
        let later = match &self.ops {
            // `contract` also raises the version, and a rollback may follow it. Each pass may need several writes for
            // an item.
            Ops::Expand(_) => (RAISES_OF_THE_WAY_BACK + usize::from(self.contracts) + 1) * self.parts.len().max(1) - 1,
            Ops::Contract(_) | Ops::Decider(_) => RAISES_OF_THE_WAY_BACK * self.parts.len().max(1),
            // A version that cannot be raised later must not block a rollback.
            Ops::OldFromNew(_) | Ops::Undo(_) => 0,
        };
        self.bump.as_ref().map(|version| (version, later))
    }

    /// Calls each function of the custom changes that apply to this item twice, and compares the results.
    pub fn check_repeatable(&self, item: &Item) -> Repeatable<'_> {
        if self.rules.includes(item) != Selected::Yes {
            return Repeatable::NotCalled;
        }
        let applies = |op: &&ExpandOp| op.own_path().is_none_or(|path| self.rules.applies(path, item) == Selected::Yes);
        let mut checked = Repeatable::NotCalled;
        for op in self.ops.expand().iter().filter(applies) {
            match op.formula().map_or(Repeatable::NotCalled, |formula| formula.check_repeatable(item)) {
                Repeatable::NotCalled => {}
                Repeatable::Yes => checked = Repeatable::Yes,
                Repeatable::No(name) => return Repeatable::No(name),
            }
        }
        checked
    }

    /// Returns the plan's rules about items.
    pub(super) fn rules(&self) -> &ItemRules {
        &self.rules
    }
}
