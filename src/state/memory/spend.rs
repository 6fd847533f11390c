//! What runs spend.

use async_trait::async_trait;

use super::super::{Reservation, RunId, Spend, SpendLedger, SpendRecord, SpendState, StoreError};
use super::{MemoryState, Tables, refused};
use crate::cost::{PriceBasis, UnitPrices};

#[async_trait]
impl SpendLedger for MemoryState {
    async fn spend(&self, run: RunId) -> Result<SpendRecord, StoreError> {
        self.call(|tables, _| tables.spend_record(run)).await
    }

    async fn begin_spend(&self, run: RunId, prices: UnitPrices) -> Result<SpendState, StoreError> {
        self.call(|tables, _| {
            let counted = tables.counted(run)?;
            let stored = tables.spend.get(&run).map(|(state, _)| *state).unwrap_or_default();
            let state = stored.settled(stored.known(counted), counted);
            tables.spend.insert(run, (state, prices));
            Ok(state)
        })
        .await
    }

    async fn reserve(&self, run: RunId, reservation: Reservation) -> Result<(), StoreError> {
        self.call(|tables, _| {
            let Some((state, _)) = tables.spend.get_mut(&run) else {
                let why = format!("run {run} was to reserve capacity before its spend was begun; nothing was stored");
                return Err(refused(why));
            };
            *state = state.reserved(reservation);
            Ok(())
        })
        .await
    }

    async fn settle_spend(&self, run: RunId, spent: Spend) -> Result<SpendRecord, StoreError> {
        self.call(|tables, _| {
            let counted = tables.counted(run)?;
            let none = (
                SpendState::default(),
                UnitPrices { write_per_million: 0.0, read_per_million: 0.0, basis: PriceBasis::Plan },
            );
            let (state, _) = tables.spend.entry(run).or_insert(none);
            *state = state.settled(spent, counted);
            tables.spend_record(run)
        })
        .await
    }
}

impl Tables {
    /// What the committed pages of a run count.
    fn counted(&self, run: RunId) -> Result<Spend, StoreError> {
        Ok(self.totals(run)?.counts.spend())
    }

    pub(super) fn spend_record(&self, run: RunId) -> Result<SpendRecord, StoreError> {
        let counted = self.counted(run)?;
        let Some((stored, prices)) = self.spend.get(&run) else {
            return Ok(SpendRecord { state: SpendState::default().settled(counted, counted), prices: None });
        };
        let known = stored.known(counted);
        let slice = (stored.spent + stored.slice).beyond(known);
        Ok(SpendRecord { state: SpendState { spent: known, slice, ..*stored }, prices: Some(*prices) })
    }

    /// Slices that are open when nobody owns the state count as spent.
    pub(super) fn note_lost_slices(&mut self) {
        let open = |state: &SpendState| state.slice.write > 0.0 || state.slice.read > 0.0;
        let runs: Vec<RunId> = self.spend.iter().filter(|(_, (state, _))| open(state)).map(|(run, _)| *run).collect();
        for run in runs {
            let counted = self.counted(run).unwrap_or_default();
            if let Some((state, _)) = self.spend.get_mut(&run) {
                *state = state.died(counted);
            }
        }
    }
}
