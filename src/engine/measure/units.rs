//! The consumed capacity that replies report for the table and each index, and the estimates for the same requests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::change::WriteCost;
use crate::dynamodb::WriteConsumption;
use crate::item::Units;

/// Consumed and estimated capacity units.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UnitPair {
    /// The units that replies report.
    pub consumed: Units,
    /// The units that were estimated for the same requests before they were sent.
    pub estimated: Units,
}

/// The capacity that the replies of a session report. Requests whose reply reports no consumption are not included.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConsumedUnits {
    /// Read units of the table.
    pub reads: UnitPair,
    /// Write units of the table.
    pub writes: UnitPair,
    /// Write units of each index, in the order in which the scopes list the indexes.
    pub indexes: Vec<UnitPair>,
    /// Write units of indexes that the scopes do not list yet, because they are new.
    pub unlisted: Units,
}

impl UnitPair {
    fn add(&mut self, consumed: Units, estimated: Units) {
        self.consumed += consumed;
        self.estimated += estimated;
    }
}

/// The live counters. A request locks them once, to make a few additions.
#[derive(Debug, Default)]
pub(crate) struct LiveUnits(Mutex<ConsumedUnits>);

impl LiveUnits {
    /// Counts a read whose reply reports its consumption.
    pub(crate) fn record_read(&self, consumed: Units, estimated: Units) {
        self.lock().reads.add(consumed, estimated);
    }

    /// Counts a write whose reply reports its consumption. `listed` is the consumption of the table and of each listed
    /// index.
    pub(crate) fn record_write(&self, consumed: &WriteConsumption, listed: &WriteCost, estimated: &WriteCost) {
        let units = &mut *self.lock();
        units.writes.add(listed.table, estimated.table);
        let all = listed.indexes.iter().map(|(index, consumed)| (*index, *consumed, 0.0));
        let all = all.chain(estimated.indexes.iter().map(|(index, estimated)| (*index, 0.0, *estimated)));
        for (index, consumed, estimated) in all {
            if units.indexes.len() <= index {
                units.indexes.resize(index + 1, UnitPair::default());
            }
            units.indexes[index].add(consumed, estimated);
        }
        units.unlisted += (consumed.of_table() - listed.total()).max(0.0);
    }

    pub(crate) fn snapshot(&self) -> ConsumedUnits {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ConsumedUnits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_counted_for_the_table_and_for_each_index() {
        let live = LiveUnits::default();
        let consumed = WriteConsumption {
            table: 2.0,
            indexes: vec![("by-email".into(), 3.0), ("new".into(), 1.0)],
            elsewhere: None,
        };
        let listed = WriteCost { table: 2.0, indexes: vec![(1, 3.0)] };
        let estimated = WriteCost { table: 4.0, indexes: vec![(0, 1.0), (1, 2.0)] };
        live.record_write(&consumed, &listed, &estimated);
        live.record_read(0.5, 1.0);
        let pair = |consumed, estimated| UnitPair { consumed, estimated };
        assert_eq!(
            live.snapshot(),
            ConsumedUnits {
                reads: pair(0.5, 1.0),
                writes: pair(2.0, 4.0),
                indexes: vec![pair(0.0, 1.0), pair(3.0, 2.0)],
                unlisted: 1.0,
            }
        );
    }
}
