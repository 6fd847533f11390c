//! Computes the correct verdicts on an item from the plan and the table's history alone. The tests compare the tool's
//! verdicts with them.
//!
//! These verdicts are correct only before the cutover, while the old attribute contains the correct value.

use backfill::internals::change::{Change, OnExisting, Strategy};
use backfill::internals::item::{Item, Path, Value};
use backfill::internals::plan::Plan;
use backfill::internals::state::Verdict;

use super::plan::new_value;

/// An item of the table, with the facts on which its verdict depends.
pub(crate) struct KnownItem<'a> {
    pub(crate) item: &'a Item,
    /// The item before the migration. `None` if the application has written the item since then. In that case, it is
    /// unknown whether a target's value is preexisting.
    pub(crate) before: Option<&'a Item>,
}

/// Returns the best and the worst correct verdict on an item. The two verdicts differ only if it is unknown which
/// values existed before the migration.
pub(crate) fn verdicts(plan: &Plan, known: &KnownItem<'_>) -> (Verdict, Verdict) {
    let all = plan.changes.iter().map(|change| change_verdicts(plan, change, known));
    all.fold((Verdict::Matching, Verdict::Matching), |(best, worst), (b, w)| (best.max(b), worst.max(w)))
}

/// Returns the best and the worst correct verdict on the move alone, ignoring the plan's other changes.
pub(crate) fn move_verdicts(plan: &Plan, known: &KnownItem<'_>) -> (Verdict, Verdict) {
    let is_move = |change: &&Change| matches!(change, Change::Move { .. } | Change::Compute { replaces: Some(_), .. });
    plan.changes
        .iter()
        .find(is_move)
        .map_or((Verdict::Matching, Verdict::Matching), |it| change_verdicts(plan, it, known))
}

fn change_verdicts(plan: &Plan, change: &Change, known: &KnownItem<'_>) -> (Verdict, Verdict) {
    let certain = |verdict| (verdict, verdict);
    let in_place = plan.strategy == Strategy::InPlace;
    match change {
        Change::Move { from, to, on_existing } if in_place => {
            certain(in_place_move_verdict(known.item, from, to, *on_existing))
        }
        Change::Move { from, to, on_existing } | Change::Copy { from, to, on_existing } => {
            pair_verdicts(known, (from, to), false, (*on_existing, in_place))
        }
        Change::Compute { to, replaces: Some(replaced), on_existing, .. } => {
            pair_verdicts(known, (&replaced.path, to), true, (*on_existing, in_place))
        }
        Change::Set { to, value, on_existing } => certain(match to.get(known.item) {
            Some(there) if there == value => Verdict::Matching,
            Some(_) if *on_existing == OnExisting::Skip => Verdict::Skipped,
            Some(_) => Verdict::Stale,
            None => Verdict::Missing,
        }),
        Change::Compute { replaces: None, .. }
        | Change::Convert { .. }
        | Change::Append { .. }
        | Change::Bump { .. }
        | Change::Exec { .. }
        | Change::Each { .. }
        | Change::Put { .. }
        | Change::Delete { .. } => certain(Verdict::Matching),
        Change::Remove { path } => {
            certain(if path.get(known.item).is_some() { Verdict::Unexpected } else { Verdict::Matching })
        }
    }
}

/// Returns the verdict on an in-place move, which removes the old attribute.
fn in_place_move_verdict(item: &Item, from: &Path, to: &Path, on_existing: OnExisting) -> Verdict {
    match (from.get(item), to.get(item)) {
        (None, _) => Verdict::Matching,
        (Some(_), None) => Verdict::Missing,
        (Some(old), Some(new)) if old == new => Verdict::Unexpected,
        (Some(_), Some(_)) if on_existing == OnExisting::Skip => Verdict::Skipped,
        (Some(_), Some(_)) => Verdict::Stale,
    }
}

/// Returns the best and the worst correct verdict on a pair of attributes. Both attributes stay after the pass.
fn pair_verdicts(
    known: &KnownItem<'_>,
    (from, to): (&Path, &Path),
    replaces: bool,
    (on_existing, in_place): (OnExisting, bool),
) -> (Verdict, Verdict) {
    let certain = |verdict| (verdict, verdict);
    // Whether the target had this value before the migration. `None` means unknown.
    let existed = |value: &Value| known.before.map(|before| to.get(before) == Some(value));
    let skips = on_existing == OnExisting::Skip;
    match (from.get(known.item), to.get(known.item)) {
        (None, None) => certain(Verdict::Matching),
        (Some(_), None) => certain(Verdict::Missing),
        (Some(old), Some(new)) if new_value(replaces, old) == *new => certain(Verdict::Matching),
        (Some(_), Some(_)) if skips && in_place => certain(Verdict::Skipped),
        (Some(_), Some(new)) if skips => match existed(new) {
            Some(true) => certain(Verdict::Skipped),
            Some(false) => certain(Verdict::Stale),
            None => (Verdict::Skipped, Verdict::Stale),
        },
        (Some(_), Some(_)) => certain(Verdict::Stale),
        (None, Some(_)) if skips && in_place => certain(Verdict::Matching),
        (None, Some(new)) => match existed(new) {
            Some(true) => certain(Verdict::Matching),
            Some(false) => certain(Verdict::Unexpected),
            None => (Verdict::Matching, Verdict::Unexpected),
        },
    }
}
