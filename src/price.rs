//! What capacity units cost. Every sum made of these is an estimate: list prices of one region, without taxes, discounts,
//! storage, streams or replicas.

use crate::checkpoint::Spend;
use crate::item::Units;
use crate::plan::Prices;
use crate::table::TableDescription;

/// When the list below was looked up.
pub const DATED: &str = "2026-08-15";

/// AWS Price List of 2026-08-15, us-east-1, table class Standard, on demand: $0.625 for a million write request units,
/// $0.125 for a million read request units.
const ON_DEMAND: (f64, f64) = (0.625, 0.125);

/// The same list, provisioned: $0.00065 and $0.00013 for one write and one read capacity unit for an hour (as listed for
/// us-east-2; that us-east-1 costs the same is not verified), in dollars for a million units where every second of the hour
/// is used.
const PROVISIONED: (f64, f64) = (0.00065 / 3_600.0 * MILLION, 0.00013 / 3_600.0 * MILLION);

const MILLION: f64 = 1e6;

/// US dollars for a million capacity units, and where the figures come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnitPrices {
    /// Write capacity units.
    pub write_per_million: f64,
    /// Read capacity units.
    pub read_per_million: f64,
    /// Where they come from.
    pub basis: PriceBasis,
}

/// Where prices come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceBasis {
    /// At least one is the plan's own.
    Plan,
    /// The list, on demand.
    OnDemand,
    /// The list, provisioned.
    Provisioned,
}

impl PriceBasis {
    /// The name in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            PriceBasis::Plan => "plan",
            PriceBasis::OnDemand => "on_demand",
            PriceBasis::Provisioned => "provisioned",
        }
    }

    /// Reads [`PriceBasis::name`] back.
    pub fn from_name(name: &str) -> Option<PriceBasis> {
        [PriceBasis::Plan, PriceBasis::OnDemand, PriceBasis::Provisioned].into_iter().find(|b| b.name() == name)
    }

    /// In words, with the date of the list.
    pub fn text(self) -> String {
        match self {
            PriceBasis::Plan => "by the plan's [prices]".to_owned(),
            PriceBasis::OnDemand => format!("by the on-demand list price of us-east-1, {DATED}"),
            PriceBasis::Provisioned => {
                format!("by the provisioned list price of us-east-1, {DATED}, as if every provisioned unit were used")
            }
        }
    }
}

impl UnitPrices {
    /// What a table's units cost: the plan's prices where it states them, else the list's.
    pub fn of(table: &TableDescription, stated: &Prices) -> UnitPrices {
        let Prices { write_per_million, read_per_million } = *stated;
        let ((write, read), listed) = match table.provisioned {
            Some(_) => (PROVISIONED, PriceBasis::Provisioned),
            None => (ON_DEMAND, PriceBasis::OnDemand),
        };
        let stated = write_per_million.is_some() || read_per_million.is_some();
        UnitPrices {
            write_per_million: write_per_million.unwrap_or(write),
            read_per_million: read_per_million.unwrap_or(read),
            basis: if stated { PriceBasis::Plan } else { listed },
        }
    }

    /// US dollars that these units cost, by estimate.
    pub fn dollars(&self, spend: Spend) -> f64 {
        (spend.write * self.write_per_million + spend.read * self.read_per_million) / MILLION
    }

    /// Write units, and read units, that so many dollars buy; without end where they cost nothing.
    pub fn units_for(&self, dollars: f64) -> (Units, Units) {
        (dollars * MILLION / self.write_per_million, dollars * MILLION / self.read_per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_million_writes_cost_seven_and_a_half_dollars() {
        let prices = UnitPrices { write_per_million: 0.625, read_per_million: 0.125, basis: PriceBasis::OnDemand };
        assert_eq!(prices.dollars(Spend { write: 12e6, read: 0.0 }), 7.5);
        assert_eq!(prices.dollars(Spend { write: 0.0, read: 8e6 }), 1.0);
        assert_eq!(prices.units_for(7.5), (12e6, 60e6));
    }

    /// One provisioned write unit, used in every second of an hour, costs the hour's price.
    #[test]
    fn a_provisioned_unit_at_full_use_costs_its_hour() {
        let (write_per_million, read_per_million) = PROVISIONED;
        let prices = UnitPrices { write_per_million, read_per_million, basis: PriceBasis::Provisioned };
        assert!((prices.dollars(Spend { write: 3_600.0, read: 0.0 }) - 0.00065).abs() < 1e-12);
        assert!((prices.dollars(Spend { write: 0.0, read: 3_600.0 }) - 0.00013).abs() < 1e-12);
    }

    #[test]
    fn names_are_read_back() {
        for basis in [PriceBasis::Plan, PriceBasis::OnDemand, PriceBasis::Provisioned] {
            assert_eq!(PriceBasis::from_name(basis.name()), Some(basis));
        }
        assert_eq!(PriceBasis::from_name("free"), None);
    }
}
