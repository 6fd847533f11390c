//! What a state file alone knows of its migration, while a command is at work on it and after it died.

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{ConductError, Conductor, from_text, kind, limits, read};
use crate::checkpoint::StoreError;
use crate::checkpoint::store::{KeptFact, StateFile, StateSummary};
use crate::cutover::schema::{from_json, to_json};
use crate::cutover::{Flag, FlagMeta};
use crate::plan::Plan;
use crate::playbook::{Standing, State, World, standing};

/// What is known of a migration without asking anybody.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its history, folded.
    pub state: State,
    /// The flag, when one of its commands read it last: a `--back` that went past the state file is not in it.
    pub seen: Option<Seen>,
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
}

/// Reads what a state file knows of this plan's migration.
pub fn known(file: &StateFile, summary: &StateSummary, plan: &Plan, now: Timestamp) -> Result<Known, ConductError> {
    let mut state = State::default();
    for record in file.events()? {
        state = state.next(&from_text(&record.event)?)?;
    }
    let seen = file.kept(KeptFact::FlagSeen)?.map(|text| Seen::from_text(&text)).transpose()?;
    let fingerprint = plan.fingerprint();
    let world = World {
        kind: state.kind().unwrap_or_else(|| kind(plan)),
        plan: fingerprint.as_str(),
        flag: seen.as_ref().map(|seen| &seen.flag),
        failures: summary.open_failures,
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
    Ok(Known { state, seen, standing })
}

impl Seen {
    /// As JSON: when, and the flag as it is published.
    pub fn to_json(&self) -> Json {
        json!({ "seen_at": self.at.to_string(), "flag": to_json(&self.flag, &self.meta) })
    }

    pub(super) fn from_text(text: &str) -> Result<Seen, StoreError> {
        let corrupt =
            || StoreError::Corrupt("the flag that was seen last is on record in no form that is known".into());
        let json: Json = serde_json::from_str(text).map_err(|_| corrupt())?;
        let at = json["seen_at"].as_str().and_then(|at| at.parse().ok()).ok_or_else(corrupt)?;
        let (flag, meta) = from_json(&json["flag"]).map_err(|_| corrupt())?;
        Ok(Seen { at, flag, meta })
    }
}

impl Conductor {
    /// Reads the flag.
    pub(super) async fn look(&mut self) -> Result<Option<(Flag, FlagMeta)>, ConductError> {
        let Some(flags) = &self.flags else { return Ok(None) };
        let seen = read(flags.as_ref(), &self.plan).await?;
        self.first = self.first.or(seen.as_ref().map(|(flag, _)| flag.version));
        Ok(seen)
    }

    /// The flag as a command of this state file saw it last; as it is created where none did.
    pub(super) async fn last_seen(&self) -> Result<Flag, ConductError> {
        let first = Flag::first(self.plan.cutover.max_cache_seconds, (self.clock)());
        let seen = self.store.kept(KeptFact::FlagSeen).await?.map(|text| Seen::from_text(&text)).transpose()?;
        Ok(seen.map_or(first, |seen| seen.flag))
    }

    /// One durable line for each state of the flag that this process meets, for [`known`].
    pub(super) async fn keep_seen(&mut self, flag: &Flag, meta: &FlagMeta) -> Result<(), ConductError> {
        if self.seen.as_ref() != Some(flag) {
            let seen = Seen { at: (self.clock)(), flag: flag.clone(), meta: meta.clone() };
            self.store.keep(KeptFact::FlagSeen, seen.to_json().to_string()).await?;
            self.seen = Some(flag.clone());
        }
        Ok(())
    }
}
