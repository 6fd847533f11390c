//! The spend of a run, and the prices of capacity units.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::{Spend, SpendState};
use crate::cost::UnitPrices;

/// The spend of a run over all its sessions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpendRecord {
    /// The spend, in capacity units.
    pub state: SpendState,
    /// The prices that the run's last session used; `None` if no session has begun to spend.
    pub prices: Option<UnitPrices>,
}

impl SpendRecord {
    /// Returns the estimated cost in US dollars; `None` without prices.
    pub fn dollars(&self) -> Option<f64> {
        self.prices.map(|prices| prices.dollars(self.state.spent))
    }
}

impl Serialize for SpendRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SpendState { spent, slice, lost, .. } = self.state;
        let mut map = serializer.serialize_map(None)?;
        for (what, Spend { write, read }) in [("", spent), ("reserved_", slice), ("lost_", lost)] {
            map.serialize_entry(&format!("{what}write_units"), &write)?;
            map.serialize_entry(&format!("{what}read_units"), &read)?;
        }
        map.serialize_entry("estimated_usd", &self.dollars())?;
        map.serialize_entry("price_basis", &self.prices.map(|prices| prices.basis.name()))?;
        map.end()
    }
}
