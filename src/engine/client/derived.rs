//! Reads derived items before they are put, and distributes the units of a transaction among the two partition keys.

use super::Requests;
use crate::change::{ExistingDerived, GuardedWrite};
use crate::engine::stop::Stopped;
use crate::item::{PartitionHash, Units, write_units};

impl Requests {
    /// Reads the item with the derived key of this write, strongly consistently, and compares it with the derived item.
    /// Also returns the consumed read units. A write that puts no derived item needs no read.
    pub(crate) async fn existing_derived(&self, write: &GuardedWrite) -> Result<(ExistingDerived, Units), Stopped> {
        let (Some(key), Some(derived)) = (write.derived_key(), write.derived_item()) else {
            return Ok((ExistingDerived::Missing, 0.0));
        };
        let got = self.get(key).await?;
        Ok((ExistingDerived::of(got.item.as_ref(), derived), got.units.unwrap_or(0.0)))
    }

    /// Returns the hash of the derived item's partition key, or `None` if the write puts no derived item.
    pub(super) fn derived_hash(&self, write: &GuardedWrite) -> Option<PartitionHash> {
        write.derived_key().map(|key| key.partition_hash(&self.partition_key))
    }

    /// Returns the units of each partition key that a transaction touches. `derived` is the hash of the derived item's
    /// partition key.
    pub(super) fn units_of_keys(&self, write: &GuardedWrite, derived: PartitionHash) -> [(PartitionHash, Units); 2] {
        let put = (2.0 * write_units(0, write.bytes_after)).min(write.cost.table);
        [(self.hash_of(write), write.cost.table - put), (derived, put)]
    }

    /// Returns each partition key of a transaction with the units that were taken from it and the units that it
    /// consumed. The size of the derived item is known, so any difference belongs to the source. If the request
    /// consumed nothing, both keys get their units back.
    pub(super) fn consumed_by_keys(
        &self,
        write: &GuardedWrite,
        derived: PartitionHash,
        consumed: Units,
    ) -> [(PartitionHash, Units, Units); 2] {
        let [(source, check), (derived, put)] = self.units_of_keys(write, derived);
        let by_put = put.min(consumed);
        [(source, check, consumed - by_put), (derived, put, by_put)]
    }
}
