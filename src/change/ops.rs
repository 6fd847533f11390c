//! A phase's operations, which are built from the plan's changes.
//!
//! Each phase has its own type of operation. The phase's file builds these operations from [`Change`] with one `match`
//! that has no catch-all arm. A new kind of change therefore does not compile until every phase handles it.

use std::sync::Arc;

use super::ProgramAnswers;
use super::contract::ContractOp;
use super::decision::Decider;
use super::draft::Draft;
use super::expand::ExpandOp;
use super::old_from_new::OldFromNewOp;
use super::undo::UndoOp;
use crate::item::{KeySchema, Path};

/// The operations of one phase.
#[derive(Debug, Clone)]
pub(super) enum Ops {
    /// The operations of `run`.
    Expand(Vec<ExpandOp>),
    /// The operations of `contract`.
    Contract(Vec<ContractOp>),
    /// The operations of the first phase of `rollback`.
    OldFromNew(Vec<OldFromNewOp>),
    /// The operations of the last phase of `rollback`.
    Undo(Vec<UndoOp>),
    /// The phase has no operations from a plan. Instead, this rule decides about each item.
    Decider(Arc<dyn Decider>),
}

impl Ops {
    /// Returns whether the phase changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Ops::Expand(ops) => ops.is_empty(),
            Ops::Contract(ops) => ops.is_empty(),
            Ops::OldFromNew(ops) => ops.is_empty(),
            Ops::Undo(ops) => ops.is_empty(),
            Ops::Decider(_) => false,
        }
    }

    /// Returns whether the phase must read strongly consistently, because its decision "nothing to do" must be correct.
    /// An eventually consistent read may miss a value.
    pub(super) fn needs_consistent_reads(&self) -> bool {
        match self {
            Ops::Expand(_) | Ops::Decider(_) => false,
            Ops::Contract(_) | Ops::OldFromNew(_) | Ops::Undo(_) => !self.is_empty(),
        }
    }

    /// Returns whether decisions depend on an item's recorded history.
    pub(super) fn needs_history(&self) -> bool {
        match self {
            Ops::Expand(_) | Ops::Decider(_) => false,
            Ops::Contract(ops) => ops.iter().any(ContractOp::needs_history),
            Ops::OldFromNew(ops) => ops.iter().any(OldFromNewOp::needs_history),
            Ops::Undo(ops) => !ops.is_empty(),
        }
    }

    /// Returns the operations of `run`, or an empty list in every other phase.
    pub(super) fn expand(&self) -> &[ExpandOp] {
        match self {
            Ops::Expand(ops) => ops,
            Ops::Contract(_) | Ops::OldFromNew(_) | Ops::Undo(_) | Ops::Decider(_) => &[],
        }
    }

    /// Returns whether the phase deletes, creates or derives whole items.
    pub(super) fn changes_whole_items(&self) -> bool {
        match self {
            Ops::Expand(ops) => ops.iter().any(|op| matches!(op, ExpandOp::Delete { .. } | ExpandOp::Put { .. })),
            Ops::Undo(ops) => ops.iter().any(|op| matches!(op, UndoOp::Restore | UndoOp::RemoveDerived)),
            Ops::Contract(_) | Ops::OldFromNew(_) | Ops::Decider(_) => false,
        }
    }

    /// Returns whether the phase deletes derived items.
    pub(super) fn removes_derived_items(&self) -> bool {
        match self {
            Ops::Undo(ops) => ops.iter().any(|op| matches!(op, UndoOp::RemoveDerived)),
            Ops::Expand(_) | Ops::Contract(_) | Ops::OldFromNew(_) | Ops::Decider(_) => false,
        }
    }

    /// Returns the path that identifies each operation's change in the plan. Returns an empty list if the phase has no
    /// operations from a plan.
    pub(super) fn own_paths(&self) -> Vec<&Path> {
        match self {
            Ops::Expand(ops) => ops.iter().filter_map(ExpandOp::own_path).collect(),
            Ops::Contract(ops) => ops.iter().map(ContractOp::own_path).collect(),
            Ops::OldFromNew(ops) => ops.iter().flat_map(OldFromNewOp::own_paths).collect(),
            // Undo decides by records. It does not evaluate a change's `where`.
            Ops::Undo(_) | Ops::Decider(_) => Vec::new(),
        }
    }

    /// Returns the top-level attributes that the phase may change.
    pub(super) fn attributes(&self) -> Vec<&str> {
        let paths: Vec<&Path> = match self {
            Ops::Expand(ops) => ops.iter().flat_map(ExpandOp::changed_paths).collect(),
            Ops::Contract(ops) => ops.iter().map(ContractOp::changed_path).collect(),
            Ops::OldFromNew(ops) => ops.iter().map(OldFromNewOp::changed_path).collect(),
            Ops::Undo(ops) => ops.iter().flat_map(UndoOp::changed_paths).collect(),
            Ops::Decider(_) => Vec::new(),
        };
        paths.into_iter().map(Path::root).collect()
    }
}

impl<'a> Draft<'a> {
    /// Plans all operations of a phase.
    pub(super) fn run(&mut self, ops: &'a Ops, key: &KeySchema, answers: &ProgramAnswers) {
        match ops {
            Ops::Expand(ops) => ops.iter().for_each(|op| self.expand(op, answers)),
            Ops::Contract(ops) => ops.iter().for_each(|op| self.contract(op)),
            Ops::OldFromNew(ops) => ops.iter().for_each(|op| self.make_old_from_new(op)),
            Ops::Undo(ops) => {
                self.undo(ops, key);
                self.note_repaired_values(ops);
            }
            // Such a phase has no operations.
            Ops::Decider(_) => {}
        }
    }
}
