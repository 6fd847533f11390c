//! Reads the status of a migration from its state file. This works while a command is running, and after a command's
//! process has died.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::history::{backup_phases, has_not_computable, kind, limits, parse_event, read};
use super::{DriverError, FlagTracker};
use crate::clock::{self, Clock};
use crate::cutover::schema::{from_json, to_json};
use crate::cutover::{Flag, FlagMeta, open};
use crate::plan::Plan;
use crate::playbook::{MigrationState, MigrationStatus, Phase, StepContext, no_way_back, status};
use crate::state::{self, LockHolder, RunStatus, StateReader, StateSummary, StoreError, StoredFact, phase};

/// The status of a migration. It comes from the state file, and from the flag if the flag was read.
#[derive(Debug, Clone)]
pub struct MigrationSnapshot {
    /// The state that results from a replay of the migration's history.
    pub state: MigrationState,
    /// The flag. It was either read just now or recorded by an earlier command.
    pub flag_record: Option<FlagRecord>,
    /// The reason why the shown flag may be out of date. `None` if the flag was read just now.
    pub may_be_stale: Option<String>,
    /// The current stage and the next command, derived from the other fields.
    pub status: MigrationStatus,
    /// The number of failures that prevent the end of contract, rollback or old-from-new, although the pass has read
    /// everything.
    pub unfinished: u64,
}

/// A state of the flag that a command read, in the form that the state file stores.
#[derive(Debug, Clone)]
pub struct FlagRecord {
    /// The time at which this flag state was first read.
    pub at: Timestamp,
    /// The content of the flag.
    pub flag: Flag,
    /// The actor who changed the flag, and the reason.
    pub meta: FlagMeta,
    /// The stored form of a [`super::FlagTracker`]. It records for how long applications may still obey an earlier flag
    /// state.
    pub(super) wait_record: Json,
}

/// Reads the status of this plan's migration from the state file.
///
/// `read` is the result of reading the flag just now. It is `None` if the flag was not read.
pub async fn snapshot(
    file: &dyn StateReader,
    summary: &StateSummary,
    plan: &Plan,
    now: Timestamp,
    read: Option<Result<Option<FlagRecord>, String>>,
) -> Result<MigrationSnapshot, DriverError> {
    let mut state = MigrationState::default();
    for record in file.events().await? {
        state = state.next(&parse_event(&record.event)?)?;
    }
    let kept = file.fact(StoredFact::LastFlag).await?.map(|text| FlagRecord::from_text(&text)).transpose()?;
    let (flag_record, may_be_stale) = match read {
        Some(Ok(Some(read))) => (Some(read), None),
        Some(Ok(None)) => (kept, Some("the flag is missing now".to_owned())),
        Some(Err(why)) => (kept, Some(why)),
        None => (kept, Some("it was not read (--offline)".to_owned())),
    };
    let fingerprint = plan.fingerprint();
    let unfinished = unfinished(file, &state).await?;
    let not_computable = summary.open_failures > 0 && has_not_computable(file).await?;
    let purged_at = file.fact(StoredFact::JournalPurged).await?;
    let no_way_back = no_way_back(plan.deletion(), purged_at.as_deref());
    let context = StepContext {
        kind: state.kind().unwrap_or_else(|| kind(plan)),
        plan: fingerprint.as_str(),
        flag: flag_record.as_ref().map(|flag_record| &flag_record.flag),
        left: Duration::ZERO,
        failures: summary.open_failures,
        not_computable,
        unfinished,
        diverged: summary.open_diverged,
        limits: limits(plan),
        backup: backup_phases(plan),
        deletes_items: plan.deletes_items(),
        unrestorable_targets: None,
        one_way: None,
        no_way_back: no_way_back.as_deref(),
        puts_items: plan.puts_items(),
        purged_at: purged_at.as_deref(),
        accept_no_way_back: false,
        facts: &[],
        force: None,
        accept_empty: false,
        confirmed: false,
        completed: &[],
        first: None,
        missing_flag: None,
    };
    let status = status(&state, &context, now);
    Ok(MigrationSnapshot { state, flag_record, may_be_stale, status, unfinished })
}

/// Returns whether a signal has stopped the process that holds the state file. Returns false if the process runs on
/// another host.
pub fn is_suspended(holder: &LockHolder) -> bool {
    holder.host == Some(crate::host::name().into()) && holder.pid.is_some_and(crate::host::is_stopped)
}

/// Reads a plan's flag for [`snapshot`]. Returns an error if the read takes longer than `limit`.
pub async fn read_flag_now(plan: &Plan, clock: Clock, limit: Duration) -> Result<Option<FlagRecord>, String> {
    let asked = async {
        let opened = open(plan, Arc::clone(&clock), None).await?;
        let Some(opened) = opened else { return Ok(None) };
        read(opened.flag.as_ref(), plan).await
    };
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok(found)) => Ok(found.map(|(flag, meta)| FlagRecord { at: clock(), flag, meta, wait_record: Json::Null })),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it could not be read within {} s", limit.as_secs())),
    }
}

/// Records the flag after a command that takes no lock. If this plan has no readable state file, or if another process
/// holds the file, records nothing and returns false. In that case, `status` reads the flag itself.
pub async fn record_flag(
    path: &Path,
    plan: &Plan,
    (flag, meta): (&Flag, &FlagMeta),
    tracker: &FlagTracker,
) -> Result<bool, StoreError> {
    let Ok(file) = state::read(path) else { return Ok(false) };
    let identity = file.summary().await?.identity;
    if identity.fingerprint != plan.fingerprint().as_str() {
        return Ok(false);
    }
    drop(file);
    let store = match state::open(path, &identity, clock::now) {
        Ok(store) => store,
        Err(StoreError::Locked(_)) => return Ok(false),
        Err(error) => return Err(error),
    };
    let flag_record = FlagRecord {
        at: clock::wall_clock()(),
        flag: flag.clone(),
        meta: meta.clone(),
        wait_record: tracker.to_json(clock::boot_time()),
    };
    store.set_fact(StoredFact::LastFlag, flag_record.to_json().to_string()).await?;
    store.close().await?;
    Ok(true)
}

/// Returns the number of failures that prevent the end of contract, rollback or old-from-new. Returns 0 if there is no
/// such pass, or if it has not yet covered the whole table.
async fn unfinished(file: &dyn StateReader, state: &MigrationState) -> Result<u64, StoreError> {
    let name = match state.open.map(|open| open.phase) {
        Some(Phase::Contract) => phase::CONTRACT,
        Some(Phase::OldFromNew) => phase::OLD_EQUAL_NEW,
        Some(Phase::Undo) => phase::ROLLBACK,
        Some(Phase::Expand | Phase::Retry | Phase::Verify { .. }) | None => return Ok(0),
    };
    let ended = file.current_run(name).await?.is_some_and(|(run, _)| run.status == RunStatus::Complete);
    Ok(if ended { file.open_work_of_phase(name).await?.failures } else { 0 })
}

impl FlagRecord {
    /// Returns the flag that is recorded in the state file. Returns `None` if no flag is recorded, or if the record
    /// cannot be read.
    pub async fn from_file(file: &dyn StateReader) -> Option<FlagRecord> {
        FlagRecord::from_text(&file.fact(StoredFact::LastFlag).await.ok()??).ok()
    }

    /// Returns a tracker for `flag`. If this record comes from the same flag change, the tracker continues the recorded
    /// wait. A different change has its own wait, even if it leads to the same settings.
    pub fn tracker(&self, flag: &Flag) -> FlagTracker {
        let mut tracker = FlagTracker::default();
        if self.flag == *flag {
            tracker.restore(flag, &self.wait_record, clock::boot_time());
        }
        tracker
    }

    /// Returns the JSON form: the time, the published form of the flag, and the remaining wait.
    pub fn to_json(&self) -> Json {
        json!({ "seen_at": self.at.to_string(), "flag": to_json(&self.flag, &self.meta), "settles": self.wait_record })
    }

    pub(super) fn from_text(text: &str) -> Result<FlagRecord, StoreError> {
        let corrupt = || StoreError::Corrupt("the last seen flag is stored in an unknown format".into());
        let json: Json = serde_json::from_str(text).map_err(|_| corrupt())?;
        let at = json["seen_at"].as_str().and_then(|at| at.parse().ok()).ok_or_else(corrupt)?;
        let (flag, meta) = from_json(&json["flag"]).map_err(|_| corrupt())?;
        Ok(FlagRecord { at, flag, meta, wait_record: json["settles"].clone() })
    }
}
