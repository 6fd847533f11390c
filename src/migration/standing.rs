//! What a state file alone knows of its migration, while a command is at work on it and after it died.

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

/// What is known of a migration without asking anybody.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its history, folded.
    pub state: State,
    /// The flag: as it was read just now, or when a command read it last.
    pub seen: Option<Seen>,
    /// Why the flag may be different by now; `None` if it was read just now.
    pub may_be_stale: Option<String>,
    /// Where it stands, by these.
    pub standing: Standing,
}

/// A flag that was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When it was read first as it is here.
    pub at: Timestamp,
    /// What it said.
    pub flag: Flag,
    /// Who had changed it, on what ground.
    pub meta: FlagMeta,
    /// What was known of how long an earlier state may still be obeyed ([`super::Watched`]).
    pub(super) settles: Json,
}

/// Reads what a state file knows of this plan's migration.
///
/// `read` is the result of reading the flag just now; `None` if that was not tried.
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

/// Records the flag as a command without a lock has left it. That needs a state file of this plan that no process uses;
/// returns false otherwise, and then `status` reads the flag.
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

/// Open failures of the pass that a contract, a rollback or a way back has open, if it has been over the whole table.
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
    /// The flag as the state file has it, where it does; what cannot be read tells nothing.
    pub async fn of(file: &dyn StateReader) -> Option<Seen> {
        Seen::from_text(&file.kept(KeptFact::FlagSeen).await.ok()??).ok()
    }

    /// How long an earlier state of this flag may still be obeyed, as far as the command that saw it knew. It knew that of
    /// the very change that it saw: another one may say the same, and has a wait of its own.
    pub fn watched(&self, flag: &Flag) -> Watched {
        let mut watched = Watched::default();
        if self.flag == *flag {
            watched.restore(flag, &self.settles, clock::boot_time());
        }
        watched
    }

    /// As JSON: when, and the flag as it is published.
    pub fn to_json(&self) -> Json {
        json!({ "seen_at": self.at.to_string(), "flag": to_json(&self.flag, &self.meta), "settles": self.settles })
    }

    pub(super) fn from_text(text: &str) -> Result<Seen, StoreError> {
        let corrupt =
            || StoreError::Corrupt("the flag that was seen last is on record in no form that is known".into());
        let json: Json = serde_json::from_str(text).map_err(|_| corrupt())?;
        let at = json["seen_at"].as_str().and_then(|at| at.parse().ok()).ok_or_else(corrupt)?;
        let (flag, meta) = from_json(&json["flag"]).map_err(|_| corrupt())?;
        Ok(Seen { at, flag, meta, settles: json["settles"].clone() })
    }
}
