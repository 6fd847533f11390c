//! Reads the flag, and records the state that this process saw.

use jiff::Timestamp;

use super::Driver;
use crate::cutover::{Flag, FlagMeta};
use crate::hooks::Announcement;
use crate::migration::history::read;
use crate::migration::{DriverError, FlagRecord};
use crate::state::StoredFact;

/// A flag state that this process or an earlier process recorded in the state file.
pub(super) struct RecordedFlag {
    at: Timestamp,
    pub(super) flag: Flag,
    /// Whether every application already obeys this state.
    wait_is_over: bool,
}

impl Driver {
    /// Reads the flag, and remembers when this process read it.
    pub(super) async fn observe_flag(&mut self) -> Result<Option<(Flag, FlagMeta)>, DriverError> {
        let Some(flags) = &self.flags else { return Ok(None) };
        let propagation_delay = flags.propagation_delay();
        let Some((flag, meta)) = read(flags.as_ref(), &self.plan).await? else {
            self.tracker.forget();
            return Ok(None);
        };
        self.first = self.first.or(Some(flag.version));
        if self.recorded_flag.is_none()
            && let Some(before) = self.load_flag_record().await?
            && before.flag == flag
        {
            self.tracker.restore(&flag, &before.wait_record, self.machine.boot_time());
            self.recorded_flag = Some(Box::new(RecordedFlag { at: before.at, flag: before.flag, wait_is_over: false }));
        }
        self.tracker.observe(&flag, propagation_delay);
        Ok(Some((flag, meta)))
    }

    /// Records that this process changed the flag to the given state.
    pub(super) async fn record_flag_change(&mut self, flag: &Flag, meta: &FlagMeta) -> Result<(), DriverError> {
        self.tracker.record_change(flag);
        let announcement = Announcement::FlagChange { flag: Box::new(flag.clone()), meta: meta.clone() };
        self.hooks.announce(&announcement, None);
        self.store_flag_record(flag, meta).await
    }

    async fn load_flag_record(&self) -> Result<Option<FlagRecord>, DriverError> {
        Ok(self.store.fact(StoredFact::LastFlag).await?.map(|text| FlagRecord::from_text(&text)).transpose()?)
    }

    /// Returns the last flag state that a command with this state file saw. If no command has seen the flag yet,
    /// returns the state of a new flag.
    pub(super) async fn last_known_flag(&self) -> Result<Flag, DriverError> {
        let first = Flag::new(self.plan.cutover.max_cache_seconds, (self.clock)());
        Ok(self.load_flag_record().await?.map_or(first, |recorded_flag| recorded_flag.flag))
    }

    /// Records each new flag state durably. Updates the record as soon as all applications obey the new state.
    pub(super) async fn store_flag_record(&mut self, flag: &Flag, meta: &FlagMeta) -> Result<(), DriverError> {
        let wait_is_over = self.tracker.left().is_zero();
        let known = self.recorded_flag.as_ref().filter(|recorded_flag| recorded_flag.flag == *flag);
        if known.is_none_or(|known| known.wait_is_over != wait_is_over) {
            let at = known.map_or_else(|| (self.clock)(), |known| known.at);
            let wait_record = self.tracker.to_json(self.machine.boot_time());
            let recorded_flag = FlagRecord { at, flag: flag.clone(), meta: meta.clone(), wait_record };
            self.store.set_fact(StoredFact::LastFlag, recorded_flag.to_json().to_string()).await?;
            self.recorded_flag = Some(Box::new(RecordedFlag { at, flag: flag.clone(), wait_is_over }));
        }
        Ok(())
    }
}
