//! The kinds of change and of selection that a plan has.

use backfill::internals::change::{Change, Formula, Strategy};
use backfill::internals::plan::Plan;

use super::select;

/// A kind of change or of selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A move through a complete cutover.
    Move,
    /// A move in one write.
    MoveInPlace,
    Copy,
    Set,
    /// A removal in place.
    Remove,
    Compute,
    /// A computed value that replaces an attribute, through a complete cutover.
    Replace,
    /// A conversion under the same name.
    Convert,
    /// A conversion under a new name.
    ConvertInto,
    Append,
    /// A version that every write raises, in a plan with a constant.
    Bump,
    Exec,
    Delete,
    /// Changes in every element of a list or map.
    Each,
    /// A derived item for each selected item.
    Put,
    /// A selection that writers can change.
    Where,
    /// A selection by an attribute that never changes.
    StableWhere,
    /// A selection by a file of keys.
    Keys,
    /// A selection through an index that lags behind the table.
    Index,
}

impl Kind {
    pub(crate) const ALL: [Kind; 19] = [
        Kind::Move,
        Kind::MoveInPlace,
        Kind::Copy,
        Kind::Set,
        Kind::Remove,
        Kind::Compute,
        Kind::Replace,
        Kind::Convert,
        Kind::ConvertInto,
        Kind::Append,
        Kind::Bump,
        Kind::Exec,
        Kind::Delete,
        Kind::Each,
        Kind::Put,
        Kind::Where,
        Kind::StableWhere,
        Kind::Keys,
        Kind::Index,
    ];

    /// Returns the kinds that a plan has.
    pub(crate) fn of_plan(plan: &Plan) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = plan.changes.iter().map(|change| Kind::of_change(change, plan.strategy)).collect();
        kinds
            .extend(plan.select.as_ref().map(|_| if select::is_fixed(plan) { Kind::StableWhere } else { Kind::Where }));
        kinds.extend(plan.keys.as_ref().map(|_| Kind::Keys));
        kinds.extend(plan.index.as_ref().map(|_| Kind::Index));
        kinds.sort();
        kinds.dedup();
        kinds
    }

    fn of_change(change: &Change, strategy: Strategy) -> Kind {
        match change {
            Change::Move { .. } if strategy == Strategy::InPlace => Kind::MoveInPlace,
            Change::Move { .. } => Kind::Move,
            Change::Copy { .. } => Kind::Copy,
            Change::Set { .. } => Kind::Set,
            Change::Remove { .. } => Kind::Remove,
            Change::Compute { replaces: Some(_), .. } => Kind::Replace,
            Change::Compute { formula: Formula::Conversion { .. }, .. } => Kind::ConvertInto,
            Change::Compute { .. } => Kind::Compute,
            Change::Convert { .. } => Kind::Convert,
            Change::Append { .. } => Kind::Append,
            Change::Bump { .. } => Kind::Bump,
            Change::Exec { .. } => Kind::Exec,
            Change::Delete { .. } => Kind::Delete,
            Change::Each { .. } => Kind::Each,
            Change::Put { .. } => Kind::Put,
        }
    }
}
