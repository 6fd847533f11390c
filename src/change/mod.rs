//! Decides what the plan requires for one item: pure functions from an item's image to a guarded write.
//!
//! [`Changes::decide`] is the central function: it takes an image and returns a [`Decision`]. The engine calls it for
//! every scanned item, and calls it again with the current image if a write's condition fails.
//!
//! Each phase has its own operations (`ops.rs`): `run` (`expand.rs`), `contract` (`contract.rs`), and the two phases of
//! `rollback` (`old_from_new.rs`, `undo.rs`). The two phases of `rollback` depend on an item's recorded history
//! ([`ItemHistory`]). `contract` depends on it only for changes with `skip`.

#[cfg(test)]
mod agreement_tests;
mod append;
#[cfg(test)]
mod append_tests;
mod applies;
mod baseline;
mod computed;
#[cfg(test)]
mod computed_tests;
mod contract;
mod cost;
mod custom;
#[cfg(test)]
mod custom_tests;
mod decide;
mod decision;
mod delete;
#[cfg(test)]
mod delete_tests;
mod digest;
mod draft;
mod each;
mod exec;
#[cfg(test)]
mod exec_tests;
mod expand;
mod expression;
mod expression_size;
mod formula;
mod guarded;
mod history;
#[cfg(test)]
mod history_tests;
mod indexes;
mod item_rules;
mod leftover;
mod old_from_new;
mod ops;
mod options;
#[cfg(test)]
mod options_tests;
mod other_table;
mod pair;
mod per_change;
#[cfg(test)]
mod per_change_tests;
mod planned;
mod pre_image;
mod properties;
mod put;
#[cfg(test)]
mod put_tests;
mod recomputed;
#[cfg(test)]
mod recomputed_tests;
mod recorded_puts;
mod repair_notes;
mod rule;
#[cfg(test)]
mod rule_tests;
mod selection;
mod source;
#[cfg(test)]
mod source_tests;
mod split;
#[cfg(test)]
mod split_tests;
mod stable;
#[cfg(test)]
mod stable_tests;
mod statement;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod undo;
#[cfg(test)]
mod undo_tests;

pub use append::Addition;
pub use baseline::{Baseline, BaselinePair};
pub use custom::{CustomChange, CustomFormula};
pub use decide::Changes;
pub use decision::{Decider, Decision};
pub use delete::GapRule;
pub(crate) use delete::MAYBE_PUT_BACK;
pub use digest::{Digest, ValueDigests};
pub use each::{Each, EditFailure, EditPaths, Edited, ElementEdit, ElementFault, ExistingRule};
pub use exec::{Exec, ExecFault, ProgramAnswer, ProgramAnswers, ProgramFiles, ProgramQuestion, input_digest};
pub use expression::{Expression, MAX_EXPRESSION_BYTES, MAX_OPERATORS, render};
pub use expression_size::is_within_limits;
pub use formula::{Formula, Inverse, Repeatable, escaped};
pub use guarded::{Action, Condition, GuardedWrite, NextWrite, WriteCost};
pub use history::{Deletion, HistoryLookup, ItemHistory, PreImageOrigin, Undone};
pub use indexes::Indexes;
pub use item_rules::{ItemRules, SelectingIndex};
pub use leftover::Leftover;
pub use options::{ChangeOptions, OptionsByTarget};
pub use other_table::OtherTable;
pub use pre_image::{ItemMark, PreImage, PriorValue};
pub use properties::ChangePaths;
pub use put::{DerivedItem, ExistingDerived};
pub(crate) use put::{changed_before_removal, changed_names};
pub use recorded_puts::{PutRecord, RecordedPut};
pub use rule::{IndexKeyFault, KeyFault, KeyType, Rule, index_key_fault};
pub use selection::{OnNotComputable, Selected, Selection};
pub use source::{Derivation, Replaced, Source};
pub use split::inseparable;
pub use stable::stable_changed;
pub use statement::{MAX_STATEMENTS, Statement, refused_statement, statement};

use std::sync::Arc;

use crate::convert::Conversion;
pub use crate::expr::{Filter, FilterComparison, FilterTerm};
use crate::item::{Path, Value};

/// One `[[change]]` of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Change {
    /// Moves the value at `from` to `to`. An in-place plan removes `from` in the same write; otherwise `contract`
    /// removes `from`.
    Move {
        /// The old path.
        from: Path,
        /// The new path.
        to: Path,
        /// What happens if the target already has a different value.
        on_existing: OnExisting,
    },
    /// Copies the value at `from` to `to`.
    Copy {
        /// The path whose value is copied. The path keeps its value.
        from: Path,
        /// The new path.
        to: Path,
        /// What happens if the target already has a different value.
        on_existing: OnExisting,
    },
    /// Writes this constant to `to` in every item.
    Set {
        /// The path that is written.
        to: Path,
        /// The constant.
        value: Value,
        /// What happens if the target already has a different value.
        on_existing: OnExisting,
    },
    /// Removes the path.
    Remove {
        /// The path that is removed.
        path: Path,
    },
    /// Computes a value from other attributes and writes it to `to`.
    Compute {
        /// The path that is written.
        to: Path,
        /// How the value is computed.
        formula: Formula,
        /// What happens if the target already has a different value.
        on_existing: OnExisting,
        /// The old attribute that the computed value replaces, if any. Such a change goes through the whole playbook,
        /// like a move: readers and writers move to the new attribute, and `contract` removes the old attribute.
        replaces: Option<Replaced>,
    },
    /// Converts the value at a path to another type, under the same name.
    Convert {
        /// The path.
        path: Path,
        /// The conversion. It changes the value's DynamoDB type, so a converted value is recognised and never converted
        /// twice.
        conversion: Conversion,
    },
    /// Adds members to the set at `to`, or an element to the list at `to`, unless the container already has them.
    Append {
        /// The path of the set or list. If it is missing, it is created.
        to: Path,
        /// What is added.
        addition: Addition,
    },
    /// Raises this number by one in every write of the migration.
    Bump {
        /// The path of the version.
        path: Path,
    },
    /// Deletes the whole item.
    Delete {
        /// Why the delete cannot remove an attribute that was not read.
        gap: GapRule,
        /// Whether the journal keeps the deleted item. Otherwise, a rollback cannot restore the item.
        keeps_image: bool,
    },
    /// Writes values that a program of the operator computes.
    Exec {
        /// The program, and what it reads and writes.
        exec: Arc<Exec>,
        /// What happens if a target already has a value that was not computed from the current inputs.
        on_existing: OnExisting,
    },
    /// Changes every element of a list, or every value of a map. All such changes of one container form one [`Change`].
    Each {
        /// The container, and the changes in its elements.
        each: Arc<Each>,
    },
    /// Puts a derived item for each selected item.
    Put {
        /// How the derived item is computed.
        derived: Arc<DerivedItem>,
    },
}

/// Determines whether `run` or `contract` removes old attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum Strategy {
    /// `run` only adds attributes. `contract` later removes old attributes and carries out every `remove`. The changes
    /// in the elements of a list or map are an exception: `run` makes all of them.
    ExpandContract,
    /// `run` makes all changes, including removals, in one write.
    InPlace,
}

/// What happens to a target's existing value if it differs from what the plan implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum OnExisting {
    /// The value stays, and the item is reported as diverged.
    Keep,
    /// The value is overwritten. Its pre-image is recorded first.
    Overwrite,
    /// The value stays and counts as done.
    ///
    /// For a constant, and for every change of an in-place plan, any existing value counts as done. If a change of an
    /// expand-contract plan has an old attribute, a value counts as done only as long as it is the preexisting value
    /// ([`ItemHistory::is_preexisting_value`]). If a later write made the old and the new value different, the copy is
    /// stale, and readers must not use it.
    Skip,
}

impl OnExisting {
    /// All values of the enum.
    pub const ALL: [OnExisting; 3] = [OnExisting::Keep, OnExisting::Overwrite, OnExisting::Skip];

    /// Returns the word that a plan uses for this value.
    pub fn name(self) -> &'static str {
        match self {
            OnExisting::Keep => "keep",
            OnExisting::Overwrite => "overwrite",
            OnExisting::Skip => "skip",
        }
    }
}

/// The outcome of one scanned item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// This run wrote the item.
    Applied,
    /// The item already matched the plan.
    AlreadyApplied,
    /// No change of the plan applies to the item, for example because the item has no source.
    NothingToDo,
    /// A target already had a value that differs from what the plan implies. The value stays and counts as done, and
    /// the item needed no other change.
    Skipped,
    /// The item was deleted after the scan.
    Gone,
    /// A target's value differs from what the plan implies. The value stays.
    Diverged,
    /// Another writer changed the item during every attempt to write it.
    Conflict,
    /// DynamoDB or the item's shape does not allow the change.
    Rejected,
    /// An expression or conversion of the plan has no result for the item.
    NotComputable,
}

impl Outcome {
    /// Every outcome, in the order in which reports list them.
    pub const ALL: [Outcome; 9] = [
        Outcome::Applied,
        Outcome::AlreadyApplied,
        Outcome::NothingToDo,
        Outcome::Skipped,
        Outcome::Gone,
        Outcome::Diverged,
        Outcome::Conflict,
        Outcome::Rejected,
        Outcome::NotComputable,
    ];

    /// Returns the name used in state files, JSON and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::AlreadyApplied => "already_applied",
            Outcome::NothingToDo => "nothing_to_do",
            Outcome::Skipped => "skipped",
            Outcome::Gone => "gone",
            Outcome::Diverged => "diverged",
            Outcome::Conflict => "conflict",
            Outcome::Rejected => "rejected",
            Outcome::NotComputable => "not_computable",
        }
    }

    /// Returns whether the item is a failure. Failures are recorded with their key and reason.
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::Conflict | Outcome::Rejected | Outcome::NotComputable)
    }
}
