//! The rules about a journal that contains no deleted items, or that the operator purges. This module is pure.

use super::{ExpandStatus, Goal, MigrationState, Obstacle, PhaseStatus, PlanKind, StepRefusal};
use crate::figure::count;

/// Returns the reason why a rollback is impossible, or `None` if a rollback is possible. `keeps_items` is false if the
/// plan deletes items and the journal keeps no copy of them. It is `None` if the plan deletes no items. `purged_at` is
/// the time at which the operator purged the journal.
pub fn no_way_back(keeps_items: Option<bool>, purged_at: Option<&str>) -> Option<String> {
    match (purged_at, keeps_items) {
        (Some(at), _) => Some(format!("the journal was purged at {at}, so a rollback cannot restore anything")),
        (None, Some(false)) => Some(
            "the plan deletes items with journal = \"none\", so the journal has no items that a rollback could restore"
                .to_owned(),
        ),
        (None, Some(true) | None) => None,
    }
}

/// Returns the number of items that a complete rollback did not restore, because the operator forced it to end. The
/// records contain several numbers of such items, but do not show whether two of these numbers include the same items.
/// So the result is the largest number, which is a lower bound. `failures` is the number of items with an open failure
/// of the rollback. `unsure` is the number of items whose state before the migration is unknown. Returns 0 if no
/// rollback is complete.
pub fn items_left_by_rollback(state: &MigrationState, failures: u64, unsure: Option<u64>) -> u64 {
    if state.rollback != PhaseStatus::Complete {
        return 0;
    }
    let items_of = |obstacle: Obstacle| match obstacle {
        Obstacle::UnsureTargets { items } => items,
        Obstacle::ItemsUnequal { .. }
        | Obstacle::ItemsFailed { .. }
        | Obstacle::Unrecognized { .. }
        | Obstacle::FlagRemoved { .. }
        | Obstacle::ForeignContract
        | Obstacle::EmptyTable
        | Obstacle::OneWay => obstacle.items_left(),
    };
    let overridden = state.overrides.iter().map(|given| items_of(given.obstacle));
    overridden.chain([failures, unsure.unwrap_or(0)]).max().unwrap_or(0)
}

/// Checks whether the journal may be purged. `accepts` is true if the operator accepted that a rollback will be
/// impossible. `left` is the number of items that a forced rollback did not restore ([`items_left_by_rollback`]).
///
/// The journal is no longer needed after a rollback that restored every item, or after a complete `contract`. For a
/// plan that ends at verify, the operator must confirm that no rollback will be necessary. If nothing has run, a purge
/// is refused, because it would delete nothing and only make the first run irreversible.
pub fn check_purge(state: &MigrationState, kind: PlanKind, accepts: bool, left: u64) -> Result<(), StepRefusal> {
    let refuse = |why: &str, next: StepRefusal| Err(StepRefusal { why: why.to_owned(), ..next });
    let next = |goal: Goal| StepRefusal::new("", goal);
    if state.rollback == PhaseStatus::Complete && left > 0 && !accepts {
        return Err(StepRefusal::new(
            format!(
                "the rollback left at least {} unrestored. The journal may have the only copy of their \
                 values. If you do not need these values, use --accept no-way-back",
                count(left, "item", "items")
            ),
            "journal purge --accept no-way-back",
        ));
    }
    if state.rollback == PhaseStatus::Complete || state.contract == PhaseStatus::Complete {
        return Ok(());
    }
    if state.rollback == PhaseStatus::Begun {
        return refuse("the rollback is not complete, and it needs the journal", next(Goal::Rollback));
    }
    if state.contract == PhaseStatus::Begun {
        return refuse("`contract` is not complete, and it needs the journal", next(Goal::Contract));
    }
    match (kind, state.expand) {
        (_, ExpandStatus::Open { .. }) => {
            refuse("the run is not complete, and it needs the journal", next(Goal::Run { again: false }))
        }
        _ if state.open.is_some() => Err(StepRefusal::new(
            "a pass is not complete, and it might need the journal. Complete the pass first",
            "status",
        )),
        (PlanKind::Flagged | PlanKind::Stated | PlanKind::RemoveOnly, _) => {
            refuse("`contract` is not complete, so a rollback could still need the journal", next(Goal::Contract))
        }
        (PlanKind::InPlace | PlanKind::SetOnly, ExpandStatus::NotBegun) => {
            refuse("nothing has run, so the journal is empty", next(Goal::Run { again: false }))
        }
        (PlanKind::InPlace | PlanKind::SetOnly, _) if !accepts => Err(StepRefusal::new(
            "without the journal, a rollback is refused. If you will never need a rollback, use --accept \
             no-way-back",
            "journal purge --accept no-way-back",
        )),
        (PlanKind::InPlace | PlanKind::SetOnly, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::Override;

    fn state() -> MigrationState {
        MigrationState::default()
    }

    #[test]
    fn a_purge_needs_an_end_or_an_acceptance() {
        let ended = ExpandStatus::Complete { ended: jiff::Timestamp::UNIX_EPOCH };
        let complete = MigrationState { expand: ended, ..state() };
        for kind in [PlanKind::InPlace, PlanKind::SetOnly] {
            assert!(check_purge(&complete, kind, false, 0).unwrap_err().why.contains("--accept no-way-back"));
            assert!(check_purge(&complete, kind, true, 0).is_ok());
        }
        for kind in [PlanKind::Flagged, PlanKind::Stated, PlanKind::RemoveOnly] {
            assert!(check_purge(&complete, kind, true, 0).unwrap_err().why.contains("contract"));
        }
        for done in [
            MigrationState { rollback: PhaseStatus::Complete, ..complete.clone() },
            MigrationState { contract: PhaseStatus::Complete, ..complete.clone() },
        ] {
            assert!(check_purge(&done, PlanKind::Flagged, false, 0).is_ok());
        }
    }

    /// A purge before the first run would delete nothing, and would make the first run irreversible.
    #[test]
    fn a_purge_before_the_first_run_is_refused() {
        for kind in [PlanKind::InPlace, PlanKind::SetOnly] {
            let refused = check_purge(&state(), kind, true, 0).unwrap_err();
            assert!(refused.why.contains("nothing has run"), "{refused}");
        }
    }

    /// A forced rollback leaves items unrestored. The journal may have the only copies of these items.
    #[test]
    fn a_purge_after_a_forced_rollback_needs_an_acceptance() {
        let given = |obstacle| Override { obstacle, reason: "because".to_owned() };
        let restored = MigrationState { rollback: PhaseStatus::Complete, ..state() };
        let forced = MigrationState { overrides: vec![given(Obstacle::ItemsFailed { items: 7 })], ..restored.clone() };
        let harmless = MigrationState { overrides: vec![given(Obstacle::OneWay)], ..restored.clone() };
        for (state, failures, unsure, left) in [
            (&restored, 0, None, 0),
            (&harmless, 0, None, 0),
            (&restored, 3, None, 3),
            (&restored, 0, Some(5), 5),
            (&forced, 3, None, 7),
            (&MigrationState { rollback: PhaseStatus::NotBegun, ..forced.clone() }, 3, Some(5), 0),
        ] {
            assert_eq!(items_left_by_rollback(state, failures, unsure), left);
        }
        let refused = check_purge(&forced, PlanKind::InPlace, false, 7).unwrap_err().to_string();
        assert!(refused.contains("7 items") && refused.contains("--accept no-way-back"), "{refused}");
        assert!(check_purge(&forced, PlanKind::InPlace, true, 7).is_ok());
        assert!(check_purge(&restored, PlanKind::InPlace, false, 0).is_ok());
    }

    #[test]
    fn a_pass_that_may_need_the_journal_prevents_a_purge() {
        let open = ExpandStatus::Open { began: jiff::Timestamp::UNIX_EPOCH };
        for state in [
            MigrationState { expand: open, ..state() },
            MigrationState { rollback: PhaseStatus::Begun, ..state() },
            MigrationState { contract: PhaseStatus::Begun, ..state() },
        ] {
            assert!(check_purge(&state, PlanKind::InPlace, true, 0).is_err());
        }
    }

    #[test]
    fn there_is_no_way_back_without_a_journal() {
        assert_eq!(no_way_back(None, None), None);
        assert_eq!(no_way_back(Some(true), None), None);
        assert!(no_way_back(Some(false), None).unwrap().contains("journal = \"none\""));
        assert!(no_way_back(Some(true), Some("2026-01-01T00:00:00Z")).unwrap().contains("purged at 2026-01-01"));
    }
}
