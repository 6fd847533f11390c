//! Determines how a migration began, from its recorded history and its flag.

use crate::change::Outcome;
use crate::cutover::{Flag, FlagMeta, FlagStore, FlagStoreError, check_flag_plan};
use crate::migration::DriverError;
use crate::plan::Plan;
use crate::playbook::{BackupPhases, Event, EventBody, Limits, MigrationState, Phase, PlanKind};
use crate::state::{
    self, Cursor, EventRecord, FailureRecord, ListQuery, RunId, State, StateReader, StoreError, UnreadableRow,
};

/// Returns an error if the migration began with a different flag than the plan names.
pub(super) fn other_flag(begun: Option<String>, plan: &Plan) -> Option<DriverError> {
    let begun = begun?;
    let named = plan.cutover.flag.as_ref()?.to_string();
    (begun != named).then_some(DriverError::OtherFlag { begun, named })
}

/// Returns the kind of a plan. Takes the recorded kind of the begun migration into account.
pub(super) fn migration_kind(plan: &Plan, state: &MigrationState) -> PlanKind {
    kind(plan).in_migration(state.kind(), plan.cutover.flag.is_some())
}

/// Returns the kind of a plan.
pub fn kind(plan: &Plan) -> PlanKind {
    PlanKind::new(plan.strategy, &plan.changes, plan.cutover.flag.is_some())
}

/// Reads the flag and checks that it belongs to this plan.
pub async fn read(flags: &dyn FlagStore, plan: &Plan) -> Result<Option<(Flag, FlagMeta)>, FlagStoreError> {
    let found = flags.read().await?;
    if let Some((_, meta)) = &found {
        check_flag_plan(&flags.location(), meta, &plan.fingerprint())?;
    }
    Ok(found)
}

pub(super) fn limits(plan: &Plan) -> Limits {
    let cutover = &plan.cutover;
    Limits {
        max_age: cutover.max_age,
        max_mismatch: cutover.max_mismatch,
        accept_sample: cutover.accept_sample,
        soak: cutover.soak,
    }
}

/// Returns the phases that need a backup first, according to the plan.
pub(super) fn backup_phases(plan: &Plan) -> BackupPhases {
    match plan.safety.backup {
        true => BackupPhases::new(plan.strategy, &plan.changes),
        false => BackupPhases::default(),
    }
}

/// Replays the whole history, and returns the state. For each phase, also returns the newest run that existed when the
/// phase last began.
pub(super) async fn replay(store: &state::State) -> Result<(MigrationState, Vec<(Phase, RunId)>), DriverError> {
    let mut state = MigrationState::default();
    let mut begun = Vec::new();
    for EventRecord { event, newest_run } in store.events().await? {
        let event = parse_event(&event)?;
        state = state.next(&event)?;
        note_phase_start(&mut begun, &event, newest_run);
    }
    Ok((state, begun))
}

pub(super) fn note_phase_start(begun: &mut Vec<(Phase, RunId)>, event: &Event, newest_run: RunId) {
    if let EventBody::PhaseBegun { phase } = event.body {
        match begun.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, last)) => *last = newest_run,
            // The phase begins for the first time, so all its runs are newer.
            None => begun.push((phase, RunId::NONE)),
        }
    }
}

/// Parses one line of the history.
pub fn parse_event(event: &str) -> Result<Event, StoreError> {
    serde_json::from_str(event).map_err(|e| {
        StoreError::Corrupt(format!("the state file's history contains a line that this version does not know ({e})"))
    })
}

/// The maximum number of open failures that are searched for not-computable items. A larger number would make every
/// command read many rows, and the first failures suffice to show the problem.
const MAX_LOOKED_AT: u32 = 1_000;

/// Returns whether one of the first open failures is a not-computable item.
pub async fn has_not_computable(file: &dyn StateReader) -> Result<bool, StoreError> {
    let query = ListQuery { run: None, open_only: true, after: Cursor::START, limit: MAX_LOOKED_AT };
    Ok(has_uncomputable(&file.list_failures(query).await?))
}

/// Like [`has_not_computable`], but for an open state and the runs of one phase.
pub(super) async fn has_not_computable_in(store: &State, phase: &str) -> Result<bool, StoreError> {
    Ok(has_uncomputable(&store.failures_of_phase(phase, Cursor::START, MAX_LOOKED_AT).await?))
}

fn has_uncomputable(failures: &[Result<FailureRecord, UnreadableRow>]) -> bool {
    failures.iter().flatten().any(|failure| failure.outcome == Outcome::NotComputable)
}
