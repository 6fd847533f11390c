//! The operations of a phase: what it makes of the plan's changes.
//!
//! Each phase has its own type of operation, built from [`Change`] by one match without a catch-all, in the phase's file. So a
//! new kind of change does not compile until every phase says what it means for it.

use std::sync::Arc;

use super::contract::ContractOp;
use super::decision::Decides;
use super::expand::ExpandOp;
use super::old_from_new::OldFromNewOp;
use super::undo::UndoOp;
use crate::item::Path;

/// The operations of one phase.
#[derive(Debug, Clone)]
pub(super) enum Ops {
    /// Of `run`.
    Expand(Vec<ExpandOp>),
    /// Of `contract`.
    Contract(Vec<ContractOp>),
    /// Of the first phase of `rollback`.
    OldFromNew(Vec<OldFromNewOp>),
    /// Of the last phase of `rollback`.
    Undo(Vec<UndoOp>),
    /// No operations of a plan: this rule decides on each item.
    Rule(Arc<dyn Decides>),
}

impl Ops {
    /// Whether the phase changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Ops::Expand(ops) => ops.is_empty(),
            Ops::Contract(ops) => ops.is_empty(),
            Ops::OldFromNew(ops) => ops.is_empty(),
            Ops::Undo(ops) => ops.is_empty(),
            Ops::Rule(_) => false,
        }
    }

    /// Whether the phase relies on items that it finds nothing to do for: an eventually consistent read may hide a value
    /// from it.
    pub(super) fn need_consistent_reads(&self) -> bool {
        match self {
            Ops::Expand(_) | Ops::Rule(_) => false,
            Ops::Contract(_) | Ops::OldFromNew(_) | Ops::Undo(_) => !self.is_empty(),
        }
    }

    /// Whether decisions depend on the recorded history of an item.
    pub(super) fn need_history(&self) -> bool {
        match self {
            Ops::Expand(_) | Ops::Rule(_) => false,
            Ops::Contract(ops) => ops.iter().any(ContractOp::needs_history),
            Ops::OldFromNew(ops) => ops.iter().any(OldFromNewOp::needs_history),
            Ops::Undo(ops) => !ops.is_empty(),
        }
    }

    /// The operations of `run`; empty in every other phase.
    pub(super) fn expand(&self) -> &[ExpandOp] {
        match self {
            Ops::Expand(ops) => ops,
            Ops::Contract(_) | Ops::OldFromNew(_) | Ops::Undo(_) | Ops::Rule(_) => &[],
        }
    }

    /// The top-level attributes that the phase may change.
    pub(super) fn attributes(&self) -> Vec<&str> {
        let paths: Vec<&Path> = match self {
            Ops::Expand(ops) => ops.iter().flat_map(ExpandOp::changed).collect(),
            Ops::Contract(ops) => ops.iter().map(ContractOp::changed).collect(),
            Ops::OldFromNew(ops) => ops.iter().map(OldFromNewOp::changed).collect(),
            Ops::Undo(ops) => ops.iter().flat_map(UndoOp::changed).collect(),
            Ops::Rule(_) => Vec::new(),
        };
        paths.into_iter().map(Path::root).collect()
    }
}
