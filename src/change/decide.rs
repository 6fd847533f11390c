//! Turns an item's image into a decision. The decision says what the plan requires for this item, and under which
//! condition.

use std::sync::Arc;

use super::contract::ContractOp;
use super::cost::Pricing;
use super::decision::{Decider, Decision};
use super::draft::{Draft, bytes_at};
use super::expand::ExpandOp;
use super::old_from_new::OldFromNewOp;
use super::ops::Ops;
use super::undo::UndoOp;
use super::{Change, HistoryLookup, Indexes, ItemHistory, Rule, Strategy, rule};
use crate::item::{IndexSchema, Item, KeySchema, MAX_ITEM_BYTES, encryption_marker};

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
}

impl Changes {
    /// Returns the changes that `run` makes. With the strategy `in-place`, `run` makes all changes. Otherwise `run`
    /// only adds attributes, and the removals wait for `contract`.
    pub fn for_expand(changes: &[Change], strategy: Strategy, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        Changes::new(Ops::Expand(ExpandOp::from_changes(changes, strategy)), key, indexes)
    }

    /// Returns the changes that `contract` makes after cutover: it removes the sources of moves and everything that the
    /// plan removes. For an in-place plan, `contract` has nothing to do.
    pub fn for_contract(changes: &[Change], strategy: Strategy, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        Changes::new(Ops::Contract(ContractOp::from_changes(changes, strategy)), key, indexes)
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
        Changes::new(Ops::OldFromNew(OldFromNewOp::from_changes(changes, strategy)), key, indexes)
    }

    /// Returns the changes for the last phase of a rollback. The phase removes the values that `run` created, and
    /// restores the values that `run` overwrote, moved or removed.
    pub fn for_undo(changes: &[Change], strategy: Strategy, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        Changes::new(Ops::Undo(UndoOp::from_changes(changes, strategy)), key, indexes)
    }

    /// Creates changes whose decisions all come from `rule`, for a table with this key and these indexes.
    pub fn from_decider(rule: Arc<dyn Decider>, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        Changes::new(Ops::Decider(rule), key, indexes)
    }

    fn new(ops: Ops, key: KeySchema, indexes: Vec<IndexSchema>) -> Changes {
        let indexes = Indexes::from(indexes);
        let pricing = Pricing::new(ops.attributes(), &key, &indexes);
        Changes { ops, key, indexes, pricing, refuses_encrypted: false, dual_writes: false }
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
        self.ops.needs_history()
    }

    /// Decides what this item needs. Call this function only if the item has no history, or if the phase needs none.
    /// One write makes all changes that the item needs. If one of these changes is not possible, the item is not
    /// written.
    pub fn decide(&self, item: &Item) -> Decision {
        self.decide_with(item, &ItemHistory::EMPTY)
    }

    /// Decides what this item needs, based on its history. One write makes all changes that the item needs. If one of
    /// these changes is not possible, the item is not written.
    pub fn decide_with(&self, item: &Item, history: &ItemHistory) -> Decision {
        let decision = self.decide_unchecked(item, history);
        let Decision::Write(write) = decision else { return decision };
        if let Some(mark) = encryption_marker(item).filter(|_| self.refuses_encrypted) {
            return Decision::Refused(Box::new(write), Rule::ClientEncryption { mark });
        }
        match rule::broken_rule(&write, item, &self.indexes.schemas()) {
            Some(Rule::ItemSize { .. }) => {
                let fits_in_place =
                    write.bytes_after.saturating_sub(self.remaining_source_bytes(item)) <= MAX_ITEM_BYTES;
                Decision::Refused(Box::new(write), Rule::ItemSize { fits_in_place })
            }
            Some(rule) => Decision::Refused(Box::new(write), rule),
            None => Decision::Write(write),
        }
    }

    /// Returns the size in bytes of the sources that stay until `contract`. An in-place plan would remove these sources
    /// in the same write.
    fn remaining_source_bytes(&self, item: &Item) -> usize {
        let sources = self.ops.expand().iter().filter_map(ExpandOp::remaining_source);
        sources.filter_map(|from| Some(bytes_at(from, from.get(item)?))).sum()
    }

    /// Returns the decision without checking it against DynamoDB's rules.
    fn decide_unchecked(&self, item: &Item, history: &ItemHistory) -> Decision {
        if let Ops::Decider(rule) = &self.ops {
            return rule.decide(item);
        }
        let Some(key) = self.key.key_of(item) else {
            return Decision::Rejected("the item has no key attributes".into());
        };
        if let Some(why) = history.unreadable_reason().filter(|_| self.needs_history()) {
            return Decision::Rejected(format!(
                "its record in the state file cannot be read: {why}; it was not written"
            ));
        }
        let mut draft = Draft::new(item, history);
        match &self.ops {
            Ops::Expand(ops) => ops.iter().for_each(|op| draft.expand(op)),
            Ops::Contract(ops) => ops.iter().for_each(|op| draft.contract(op)),
            Ops::OldFromNew(ops) => ops.iter().for_each(|op| draft.make_old_from_new(op)),
            Ops::Undo(ops) => draft.undo(ops),
            Ops::Decider(rule) => return rule.decide(item),
        }
        draft.finish(key, &self.key.partition.name, &self.pricing)
    }
}
