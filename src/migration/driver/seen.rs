//! Reads the flag, and records which state of the flag this process saw.

use jiff::Timestamp;

use super::Driver;
use crate::cutover::{Flag, FlagMeta};
use crate::migration::begun::read;
use crate::migration::{DriverError, Seen};
use crate::state::KeptFact;

/// A state of the flag that is recorded in the state file. Either this process or an earlier one recorded it.
pub(super) struct SeenFlag {
    at: Timestamp,
    pub(super) flag: Flag,
    /// Whether every application obeys this state.
    settled: bool,
}

impl Driver {
    /// Reads the flag and remembers when this process saw it.
    pub(super) async fn look(&mut self) -> Result<Option<(Flag, FlagMeta)>, DriverError> {
        let Some(flags) = &self.flags else { return Ok(None) };
        let lead = flags.lead();
        let Some((flag, meta)) = read(flags.as_ref(), &self.plan).await? else {
            self.watched.forget();
            return Ok(None);
        };
        self.first = self.first.or(Some(flag.version));
        if self.seen.is_none()
            && let Some(before) = self.seen_before().await?
            && before.flag == flag
        {
            self.watched.restore(&flag, &before.settles, self.machine.booted());
            self.seen = Some(Box::new(SeenFlag { at: before.at, flag: before.flag, settled: false }));
        }
        self.watched.look(&flag, lead);
        Ok(Some((flag, meta)))
    }

    /// Records that this process changed the flag to this state.
    pub(super) async fn made(&mut self, flag: &Flag, meta: &FlagMeta) -> Result<(), DriverError> {
        self.watched.made(flag);
        self.keep_seen(flag, meta).await
    }

    async fn seen_before(&self) -> Result<Option<Seen>, DriverError> {
        Ok(self.store.kept(KeptFact::FlagSeen).await?.map(|text| Seen::from_text(&text)).transpose()?)
    }

    /// Returns the last state of the flag that a command with this state file saw. If no command has seen the flag,
    /// returns the state of a new flag.
    pub(super) async fn last_seen(&self) -> Result<Flag, DriverError> {
        let first = Flag::first(self.plan.cutover.max_cache_seconds, (self.clock)());
        Ok(self.seen_before().await?.map_or(first, |seen| seen.flag))
    }

    /// Records each new state of the flag durably. Records the state a second time as soon as no application obeys an
    /// earlier state.
    pub(super) async fn keep_seen(&mut self, flag: &Flag, meta: &FlagMeta) -> Result<(), DriverError> {
        let settled = self.watched.left().is_zero();
        let known = self.seen.as_ref().filter(|seen| seen.flag == *flag);
        if known.is_none_or(|known| known.settled != settled) {
            let at = known.map_or_else(|| (self.clock)(), |known| known.at);
            let settles = self.watched.to_json(self.machine.booted());
            let seen = Seen { at, flag: flag.clone(), meta: meta.clone(), settles };
            self.store.keep(KeptFact::FlagSeen, seen.to_json().to_string()).await?;
            self.seen = Some(Box::new(SeenFlag { at, flag: flag.clone(), settled }));
        }
        Ok(())
    }
}
