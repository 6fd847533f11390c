//! The rules about a journal that keeps nothing, or that the operator purges. This module is pure.

use super::{ExpandStatus, Goal, MigrationState, PhaseStatus, PlanKind, StepRefusal};

/// Returns why there is no way back, or `None` if a rollback is possible. `keeps_items` is false if the plan deletes
/// items and the journal keeps no copy of them; `None` if the plan deletes no items. `purged_at` is the time at which
/// the operator purged the journal.
pub fn no_way_back(keeps_items: Option<bool>, purged_at: Option<&str>) -> Option<String> {
    match (purged_at, keeps_items) {
        (Some(at), _) => Some(format!("the journal was purged at {at}, so a rollback cannot restore anything")),
        (None, Some(false)) => Some(
            "the plan deletes items with journal = \"none\", so nothing is kept that a rollback could put back"
                .to_owned(),
        ),
        (None, Some(true) | None) => None,
    }
}

/// Checks whether the journal may be purged. `accepts` is whether the operator accepted that there is no way back.
///
/// The journal is not needed any more after a complete rollback or `contract`. A plan that ends at verify has no such
/// end, so the operator must say that no rollback will be necessary.
pub fn check_purge(state: &MigrationState, kind: PlanKind, accepts: bool) -> Result<(), StepRefusal> {
    let refuse = |why: &str, next: StepRefusal| Err(StepRefusal { why: why.to_owned(), ..next });
    let next = |goal: Goal| StepRefusal::new("", goal);
    if state.rollback == PhaseStatus::Complete || state.contract == PhaseStatus::Complete {
        return Ok(());
    }
    if state.rollback == PhaseStatus::Begun {
        return refuse("the rollback needs the journal until it is complete", next(Goal::Rollback));
    }
    if state.contract == PhaseStatus::Begun {
        return refuse("`contract` is not complete, and it needs the journal", next(Goal::Contract));
    }
    match (kind, state.expand) {
        (_, ExpandStatus::Open { .. }) => {
            refuse("the run is not complete, and it needs the journal", next(Goal::Run { again: false }))
        }
        _ if state.open.is_some() => {
            Err(StepRefusal::new("a pass is not complete, and it may need the journal: complete it first", "status"))
        }
        (PlanKind::Flagged | PlanKind::Stated | PlanKind::RemoveOnly, _) => {
            refuse("`contract` is not complete, so a rollback may need the journal", next(Goal::Contract))
        }
        (PlanKind::InPlace | PlanKind::SetOnly, _) if !accepts => Err(StepRefusal::new(
            "without the journal there is no way back: a rollback is refused. If you will never need one, use --accept \
             no-way-back",
            "journal purge --accept no-way-back",
        )),
        (PlanKind::InPlace | PlanKind::SetOnly, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> MigrationState {
        MigrationState::default()
    }

    #[test]
    fn a_purge_needs_an_end_or_an_acceptance() {
        let ended = ExpandStatus::Complete { ended: jiff::Timestamp::UNIX_EPOCH };
        let complete = MigrationState { expand: ended, ..state() };
        for kind in [PlanKind::InPlace, PlanKind::SetOnly] {
            assert!(check_purge(&complete, kind, false).unwrap_err().why.contains("--accept no-way-back"));
            assert!(check_purge(&complete, kind, true).is_ok());
        }
        for kind in [PlanKind::Flagged, PlanKind::Stated, PlanKind::RemoveOnly] {
            assert!(check_purge(&complete, kind, true).unwrap_err().why.contains("contract"));
        }
        for done in [
            MigrationState { rollback: PhaseStatus::Complete, ..complete.clone() },
            MigrationState { contract: PhaseStatus::Complete, ..complete.clone() },
        ] {
            assert!(check_purge(&done, PlanKind::Flagged, false).is_ok());
        }
    }

    #[test]
    fn a_pass_that_may_need_the_journal_prevents_a_purge() {
        let open = ExpandStatus::Open { began: jiff::Timestamp::UNIX_EPOCH };
        for state in [
            MigrationState { expand: open, ..state() },
            MigrationState { rollback: PhaseStatus::Begun, ..state() },
            MigrationState { contract: PhaseStatus::Begun, ..state() },
        ] {
            assert!(check_purge(&state, PlanKind::InPlace, true).is_err());
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
