//! Reads the status of a migration from its state file. This works while a command runs, and after the command's
//! process died.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::begun::{from_text, kind, limits, read};
use super::{DriverError, Watched};
use crate::clock::{self, Clock};
use crate::cutover::schema::{from_json, to_json};
use crate::cutover::{Flag, FlagMeta, open};
use crate::plan::Plan;
use crate::playbook::{Phase, Standing, State, World, standing};
use crate::state::{self, KeptFact, RunStatus, StateReader, StateSummary, StoreError, phase};

/// The status of a migration, from its state file and, if the flag was read, from the flag.
#[derive(Debug, Clone)]
pub struct Known {
    /// The state after replaying the migration's history.
    pub state: State,
    /// The flag. It was either read just now, or a command read it earlier.
    pub seen: Option<Seen>,
    /// The reason why the shown flag may be out of date. `None` if the flag was read just now.
    pub may_be_stale: Option<String>,
    /// The current stage and the next command, derived from the other fields.
    pub standing: Standing,
}

/// A flag that was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The time at which this state of the flag was first read.
    pub at: Timestamp,
    /// The content of the flag.
    pub flag: Flag,
    /// The actor who changed the flag, and the reason.
    pub meta: FlagMeta,
    /// The time for which applications could still obey an earlier state, in the form that [`super::Watched`] stores.
    pub(super) settles: Json,
}

/// Reads the status of this plan's migration from the state file.
///
/// `read` is the result of a read of the flag just now; `None` if there was no such read.
pub async fn known(
    file: &dyn StateReader,
    summary: &StateSummary,
    plan: &Plan,
    now: Timestamp,
    read: Option<Result<Option<Seen>, String>>,
) -> Result<Known, DriverError> {
    let mut state = State::default();
    for record in file.events().await? {
        state = state.next(&from_text(&record.event)?)?;
    }
    let kept = file.kept(KeptFact::FlagSeen).await?.map(|text| Seen::from_text(&text)).transpose()?;
    let (seen, may_be_stale) = match read {
        Some(Ok(Some(read))) => (Some(read), None),
        Some(Ok(None)) => (kept, Some("the flag is missing now".to_owned())),
        Some(Err(why)) => (kept, Some(why)),
        None => (kept, Some("it was not read (--offline)".to_owned())),
    };
    let fingerprint = plan.fingerprint();
    let world = World {
        kind: state.kind().unwrap_or_else(|| kind(plan)),
        plan: fingerprint.as_str(),
        flag: seen.as_ref().map(|seen| &seen.flag),
        left: Duration::ZERO,
        failures: summary.open_failures,
        unfinished: unfinished(file, &state).await?,
        diverged: summary.open_diverged,
        limits: limits(plan),
        no_way_back: None,
        one_way: None,
        facts: &[],
        force: None,
        accept_empty: false,
        confirmed: false,
        swept: &[],
        first: None,
        gone: None,
    };
    let standing = standing(&state, &world, now);
    Ok(Known { state, seen, may_be_stale, standing })
}

/// Reads a plan's flag for [`known`], for at most `limit`.
pub async fn read_now(plan: &Plan, clock: Clock, limit: Duration) -> Result<Option<Seen>, String> {
    let asked = async {
        let opened = open(plan, Arc::clone(&clock), None).await?;
        let Some(opened) = opened else { return Ok(None) };
        read(opened.flag.as_ref(), plan).await
    };
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok(found)) => Ok(found.map(|(flag, meta)| Seen { at: clock(), flag, meta, settles: Json::Null })),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it could not be read within {} s", limit.as_secs())),
    }
}

/// Records the flag after a command that takes no lock. If there is no readable state file of this plan, or if another
/// process holds the file, records nothing and returns false. In that case, `status` reads the flag itself.
pub async fn record_seen(
    path: &Path,
    plan: &Plan,
    (flag, meta): (&Flag, &FlagMeta),
    watched: &Watched,
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
    let seen = Seen {
        at: clock::wall()(),
        flag: flag.clone(),
        meta: meta.clone(),
        settles: watched.to_json(clock::boot_time()),
    };
    store.keep(KeptFact::FlagSeen, seen.to_json().to_string()).await?;
    store.close().await?;
    Ok(true)
}

/// Number of open failures of the contract, rollback or old-from-new pass that is not complete. The number is 0 if that
/// pass has not covered the whole table yet, or if there is no such pass.
async fn unfinished(file: &dyn StateReader, state: &State) -> Result<u64, StoreError> {
    let name = match state.open.map(|open| open.phase) {
        Some(Phase::Contract) => phase::CONTRACT,
        Some(Phase::OldFromNew) => phase::OLD_EQUAL_NEW,
        Some(Phase::Undo) => phase::ROLLBACK,
        Some(Phase::Expand | Phase::Retry | Phase::Verify { .. }) | None => return Ok(0),
    };
    let ended = file.current_run(name).await?.is_some_and(|(run, _)| run.status == RunStatus::Complete);
    Ok(if ended { file.open_work_of(name).await?.failures } else { 0 })
}

impl Seen {
    /// The flag that is recorded in the state file. `None` if no flag is recorded or the record cannot be read.
    pub async fn of(file: &dyn StateReader) -> Option<Seen> {
        Seen::from_text(&file.kept(KeptFact::FlagSeen).await.ok()??).ok()
    }

    /// The time for which applications may still obey an earlier state of this flag, according to the command that
    /// recorded the flag. The recorded wait is valid only for the same change of the flag. A different change may lead
    /// to the same state, but has its own wait.
    pub fn watched(&self, flag: &Flag) -> Watched {
        let mut watched = Watched::default();
        if self.flag == *flag {
            watched.restore(flag, &self.settles, clock::boot_time());
        }
        watched
    }

    /// The JSON form: the time, the published form of the flag, and the remaining wait.
    pub fn to_json(&self) -> Json {
        json!({ "seen_at": self.at.to_string(), "flag": to_json(&self.flag, &self.meta), "settles": self.settles })
    }

    pub(super) fn from_text(text: &str) -> Result<Seen, StoreError> {
        let corrupt = || StoreError::Corrupt("the last seen flag is stored in an unknown format".into());
        let json: Json = serde_json::from_str(text).map_err(|_| corrupt())?;
        let at = json["seen_at"].as_str().and_then(|at| at.parse().ok()).ok_or_else(corrupt)?;
        let (flag, meta) = from_json(&json["flag"]).map_err(|_| corrupt())?;
        Ok(Seen { at, flag, meta, settles: json["settles"].clone() })
    }
}
