//! Reads derived items before they are put, and distributes the units of a transaction among the two partition keys. If
//! the derived items go into another table, distributes them among the two tables.

use std::sync::Arc;

use super::{RequestSpend, Requests};
use crate::change::{ExistingDerived, GuardedWrite, WriteCost};
use crate::dynamodb::{GetReply, TableError, ThrottlingReason, WriteConsumption, names_table};
use crate::engine::stop::Stopped;
use crate::item::{ItemKey, PartitionHash, Units, write_units};
use crate::plan::Access;

/// The table that gets the derived items, if it is not the table of their sources. It has a client with token buckets of
/// its own.
#[derive(Clone)]
pub(crate) struct OtherClient {
    /// The name of the table.
    pub(crate) name: Arc<str>,
    /// The name of the sources' table.
    pub(crate) sources: Arc<str>,
    /// Sends single reads to the table. A transaction goes through the client of the sources.
    pub(crate) requests: Box<Requests>,
}

/// The other table of a transaction, and what the put costs there.
pub(super) struct Elsewhere<'a> {
    pub(super) requests: &'a Requests,
    name: &'a str,
    sources: &'a str,
    pub(super) hash: PartitionHash,
    pub(super) cost: &'a WriteCost,
}

impl Requests {
    /// Returns the same client, which puts derived items into this other table.
    pub(crate) fn with_other(self, other: Option<OtherClient>) -> Requests {
        Requests { other, ..self }
    }

    /// Returns the same client for the table that gets derived items. The measurements are about the plan's table, so
    /// this client does not count its units there.
    pub(crate) fn without_measured_units(self) -> Requests {
        Requests { measures_units: false, ..self }
    }

    /// Returns the client that reads derived items.
    pub(crate) fn of_derived(&self) -> &Requests {
        self.other.as_ref().map_or(self, |other| &other.requests)
    }

    /// Returns the other table that this write puts its derived item into. `None` if it touches only one table.
    pub(super) fn elsewhere<'a>(&'a self, write: &'a GuardedWrite) -> Option<Elsewhere<'a>> {
        let OtherClient { name, sources, requests } = self.other.as_ref()?;
        let hash = write.derived_key()?.partition_hash(&requests.partition_key);
        Some(Elsewhere { requests, name, sources, hash, cost: write.cost_elsewhere.as_ref()? })
    }

    /// Reads the item with the derived key of this write, strongly consistently, and compares it with the derived item.
    /// Also returns the consumed read units. A write that puts no derived item needs no read.
    pub(crate) async fn existing_derived(&self, write: &GuardedWrite) -> Result<(ExistingDerived, Units), Stopped> {
        let (Some(key), Some(derived)) = (write.derived_key(), write.derived_item()) else {
            return Ok((ExistingDerived::Missing, 0.0));
        };
        let got = self.get_derived(key).await?;
        Ok((ExistingDerived::of(got.item.as_ref(), derived), got.units.unwrap_or(0.0)))
    }

    /// Reads one derived item, strongly consistently.
    pub(crate) async fn get_derived(&self, key: &ItemKey) -> Result<GetReply, Stopped> {
        self.of_derived().get(key).await
    }

    /// Returns the hash of the derived item's partition key, if the write puts a derived item into the table of its
    /// source.
    pub(super) fn derived_hash(&self, write: &GuardedWrite) -> Option<PartitionHash> {
        let key = write.derived_key().filter(|_| write.cost_elsewhere.is_none())?;
        Some(key.partition_hash(&self.partition_key))
    }

    /// Returns the units of each partition key that a transaction touches in this client's table.
    pub(super) fn units_of_keys(&self, write: &GuardedWrite) -> Vec<(PartitionHash, Units)> {
        let source = self.hash_of(write);
        match self.derived_hash(write) {
            None => vec![(source, write.cost.table)],
            Some(derived) => {
                let put = put_units(write);
                vec![(source, write.cost.table - put), (derived, put)]
            }
        }
    }

    /// Returns each partition key of a write in this client's table with the units that were taken from it and the units
    /// that it consumed. The size of a derived item is known, so any difference belongs to the source. A request that
    /// consumed nothing gives both keys their units back.
    pub(super) fn consumed_by_keys(&self, write: &GuardedWrite, consumed: Units) -> Vec<(PartitionHash, Units, Units)> {
        let source = self.hash_of(write);
        match self.derived_hash(write) {
            None => vec![(source, write.cost.table, consumed)],
            Some(derived) => {
                let put = put_units(write);
                let by_put = put.min(consumed);
                vec![(source, write.cost.table - put, consumed - by_put), (derived, put, by_put)]
            }
        }
    }

    /// Takes the units of a write's partition keys in both tables if they are available now. Otherwise takes nothing and
    /// returns false.
    pub(super) fn try_acquire_both(&self, write: &GuardedWrite) -> bool {
        let wanted = self.units_of_keys(write);
        if !self.scopes.try_acquire_keys(Access::Write, &wanted) {
            return false;
        }
        let Some(Elsewhere { requests, hash, cost, .. }) = self.elsewhere(write) else { return true };
        let taken = requests.scopes.try_acquire_key(Access::Write, hash, cost.table);
        if !taken {
            self.scopes.give_back_keys(Access::Write, &wanted);
        }
        taken
    }

    /// Applies the effects of a failed write to the scopes. If a throttle names one of two tables, only that one slows
    /// down. A reason that names neither table slows both.
    pub(super) fn handle_write_failure(&self, write: &GuardedWrite, error: &TableError) {
        let key = Some(self.hash_of(write));
        let (TableError::Throttled { reasons, .. }, Some(Elsewhere { requests, name, sources, hash, .. })) =
            (error, self.elsewhere(write))
        else {
            return self.handle_failure(Access::Write, key, error);
        };
        self.progress.measures().record_error(error);
        // A reason without a table, or with an unknown one, may be about either table.
        let without = |table: &str| -> Vec<ThrottlingReason> {
            reasons.iter().filter(|reason| !names_table(&reason.resource, table)).cloned().collect()
        };
        let (ours, theirs) = (without(name), without(sources));
        if reasons.is_empty() || !ours.is_empty() {
            self.scopes.throttled(Access::Write, &self.range, key, &ours);
        }
        if reasons.is_empty() || !theirs.is_empty() {
            requests.scopes.throttled(Access::Write, &requests.range, Some(hash), &theirs);
        }
    }

    /// Corrects the units that were taken for a write, in every scope of both tables. If the request consumed nothing,
    /// each scope gets back the units that were taken from it.
    pub(super) fn reconcile(&self, write: &GuardedWrite, consumed: &ConsumedByTables) {
        let keys = self.consumed_by_keys(write, consumed.own.table);
        self.scopes.reconcile_write(&self.range, &keys, &write.cost, &consumed.own);
        if let Some(Elsewhere { requests, hash, cost, .. }) = self.elsewhere(write) {
            let keys = [(hash, cost.table, consumed.elsewhere.table)];
            requests.scopes.reconcile_write(&requests.range, &keys, cost, &consumed.elsewhere);
        }
    }

    /// Converts the consumption that a reply reports for a write, and counts it in `spent`.
    pub(super) fn reported(
        &self,
        write: &GuardedWrite,
        consumed: &WriteConsumption,
        spent: &mut RequestSpend,
    ) -> ConsumedByTables {
        spent.write += consumed.total();
        // Compare the estimate only with consumption that a reply reports.
        spent.estimated_write += write.total_cost();
        let own = self.to_write_cost(consumed);
        self.progress.measures().record_write(consumed, &own, &write.cost);
        let elsewhere = match (&consumed.elsewhere, &self.other) {
            (Some(consumed), Some(other)) => other.requests.to_write_cost(consumed),
            (_, None) => WriteCost::default(),
            (None, Some(_)) => write.cost_elsewhere.clone().unwrap_or_default(),
        };
        ConsumedByTables { own, elsewhere }
    }
}

/// The units that a request consumed, or is assumed to have consumed.
#[derive(Debug, Clone, Default)]
pub(super) struct ConsumedByTables {
    /// On the table of the write.
    pub(super) own: WriteCost,
    /// On the other table, if the write puts a derived item there.
    pub(super) elsewhere: WriteCost,
}

impl ConsumedByTables {
    /// Returns the estimated units of a write.
    pub(super) fn estimated(write: &GuardedWrite) -> ConsumedByTables {
        ConsumedByTables { own: write.cost.clone(), elsewhere: write.cost_elsewhere.clone().unwrap_or_default() }
    }

    /// Returns the same units without those of indexes, because the write changed no index.
    pub(super) fn without_indexes(self) -> ConsumedByTables {
        let table = |cost: WriteCost| WriteCost { indexes: Vec::new(), ..cost };
        ConsumedByTables { own: table(self.own), elsewhere: table(self.elsewhere) }
    }

    pub(super) fn total(&self) -> Units {
        self.own.total() + self.elsewhere.total()
    }
}

/// Returns the units of the put in a transaction that touches only one table.
fn put_units(write: &GuardedWrite) -> Units {
    (2.0 * write_units(0, write.bytes_after)).min(write.cost.table)
}
