//! Stores the capacity that runs spend.

use async_trait::async_trait;

use super::super::{
    CrashPoint, Reservation, RunId, SessionId, Spend, SpendLedger, SpendRecord, SpendState, StoreError, rules,
};
use super::{MemoryState, StateTables};
use crate::cost::{PriceBasis, UnitPrices};

#[async_trait]
impl SpendLedger for MemoryState {
    async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError> {
        self.call(|tables, _| tables.spend_record(run)).await
    }

    async fn begin_spend(&self, session: SessionId, prices: UnitPrices) -> Result<SpendState, StoreError> {
        self.call(|tables, _| {
            let run = session.run;
            rules::check_epoch(tables.run(run)?, session)?;
            let counted = tables.counted(run)?;
            let stored = tables.spend.get(&run).map(|(state, _)| *state).unwrap_or_default();
            let state = stored.at_session_start(counted);
            tables.spend.insert(run, (state, prices));
            tables.spending.insert((run, session.epoch));
            Ok(state)
        })
        .await
    }

    async fn reserve(&self, session: SessionId, reservation: Reservation) -> Result<(), StoreError> {
        self.call_at((None, Some(CrashPoint::CapacityReserved)), |tables, _| {
            let run = session.run;
            let stored = tables.spend.get(&run).map(|(state, _)| *state);
            let begun = tables.spending.contains(&(run, session.epoch));
            let reserved = rules::reserve(tables.run(run)?, session, stored, begun, reservation)?;
            tables.spend.entry(run).and_modify(|(state, _)| *state = reserved);
            Ok(())
        })
        .await
    }

    async fn settle_spend(&self, session: SessionId, spent: Spend) -> Result<SpendRecord, StoreError> {
        self.call(|tables, _| {
            let run = session.run;
            let counted = tables.counted(run)?;
            let stored = tables.spend.get(&run).map(|(state, _)| *state);
            let settled = rules::settle(tables.run(run)?, session, stored, spent, counted)?;
            let none = (
                SpendState::default(),
                UnitPrices { write_per_million: 0.0, read_per_million: 0.0, basis: PriceBasis::Plan },
            );
            let (state, _) = tables.spend.entry(run).or_insert(none);
            *state = settled;
            tables.spend_record(run)
        })
        .await
    }
}

impl StateTables {
    /// Returns the capacity that the counts of a run's committed pages contain.
    fn counted(&self, run: RunId) -> Result<Spend, StoreError> {
        Ok(self.totals(run)?.counts.spend())
    }

    pub(super) fn spend_record(&self, run: RunId) -> Result<SpendRecord, StoreError> {
        let counted = self.counted(run)?;
        let Some((stored, prices)) = self.spend.get(&run) else {
            return Ok(SpendRecord { state: SpendState::from_pages(counted), prices: None });
        };
        Ok(SpendRecord { state: stored.current(counted), prices: Some(*prices) })
    }

    /// Counts open slices as spent. Call this function when no process owns the state, because every open slice then
    /// belongs to a dead process.
    pub(super) fn count_lost_slices_as_spent(&mut self) {
        let open = |state: &SpendState| state.slice.write > 0.0 || state.slice.read > 0.0;
        let runs: Vec<RunId> = self.spend.iter().filter(|(_, (state, _))| open(state)).map(|(run, _)| *run).collect();
        for run in runs {
            let counted = self.counted(run).unwrap_or_default();
            if let Some((state, _)) = self.spend.get_mut(&run) {
                *state = state.after_death(counted);
            }
        }
    }
}
