//! Prices of capacity units. Every amount that is based on these prices is an estimate. Unless the plan sets them, the
//! prices are the list prices of one region. List prices exclude taxes, discounts, storage, streams and replicas.

mod spend;

pub use spend::Spend;

use crate::dynamodb::{TableClass, TableDescription};
use crate::item::Units;
use crate::plan::Prices;

/// The date of the price list.
pub const DATED: &str = "2026-08-15";

/// The price list for us-east-1, in US dollars per million write and read capacity units.
///
/// On-demand prices are from the AWS Price List of 2026-08-15. A million write request units cost $0.625, and a million
/// read request units cost $0.125. In the class Standard-IA, they cost $0.78 and $0.155. Provisioned prices are from
/// the same list: $0.00065 per hour for one write capacity unit, and $0.00013 for one read capacity unit. The list
/// shows these two prices for us-east-2. The prices for us-east-1 are not verified. The hourly prices are converted to
/// dollars per million units, assuming that a unit is used in every second of the hour. Provisioned capacity in the
/// class Standard-IA costs a quarter more. The list shows this surcharge for the China regions. The surcharge is not
/// verified for other regions. A replicated write unit costs the same as an ordinary write unit.
const PRICE_LIST: [PriceListEntry; 4] = [
    PriceListEntry { basis: PriceBasis::OnDemand, write: 0.625, read: 0.125 },
    PriceListEntry { basis: PriceBasis::OnDemandInfrequent, write: 0.78, read: 0.155 },
    PriceListEntry { basis: PriceBasis::Provisioned, write: per_million(0.00065), read: per_million(0.00013) },
    PriceListEntry {
        basis: PriceBasis::ProvisionedInfrequent,
        write: per_million(0.00065 * 1.25),
        read: per_million(0.00013 * 1.25),
    },
];

/// One line of the price list.
struct PriceListEntry {
    basis: PriceBasis,
    write: f64,
    read: f64,
}

/// Converts the hourly price of a unit to the price of a million units.
const fn per_million(hour: f64) -> f64 {
    hour / 3_600.0 * MILLION
}

const MILLION: f64 = 1e6;

/// US dollars per million capacity units, and the source of the prices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnitPrices {
    /// Price of a million write capacity units.
    pub write_per_million: f64,
    /// Price of a million read capacity units.
    pub read_per_million: f64,
    /// The source of the prices.
    pub basis: PriceBasis,
}

/// The source of prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceBasis {
    /// The plan sets at least one of the prices.
    Plan,
    /// On-demand prices from the price list.
    OnDemand,
    /// On-demand prices from the price list, for the table class Standard-IA.
    OnDemandInfrequent,
    /// Provisioned prices from the price list.
    Provisioned,
    /// Provisioned prices from the price list, for the table class Standard-IA.
    ProvisionedInfrequent,
}

impl PriceBasis {
    const ALL: [PriceBasis; 5] = [
        PriceBasis::Plan,
        PriceBasis::OnDemand,
        PriceBasis::OnDemandInfrequent,
        PriceBasis::Provisioned,
        PriceBasis::ProvisionedInfrequent,
    ];

    /// Returns the name in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            PriceBasis::Plan => "plan",
            PriceBasis::OnDemand => "on_demand",
            PriceBasis::OnDemandInfrequent => "on_demand_ia",
            PriceBasis::Provisioned => "provisioned",
            PriceBasis::ProvisionedInfrequent => "provisioned_ia",
        }
    }

    /// Parses [`PriceBasis::name`].
    pub fn from_name(name: &str) -> Option<PriceBasis> {
        PriceBasis::ALL.into_iter().find(|b| b.name() == name)
    }

    /// Returns a text for people, with the date of the price list.
    pub fn text(self) -> String {
        let listed = |mode: &str, class: &str, used: &str| {
            format!("by the {mode} list price of us-east-1{class}, {DATED}{used}")
        };
        const FULL: &str = ", as if every provisioned unit were used";
        match self {
            PriceBasis::Plan => "by the plan's [prices]".to_owned(),
            PriceBasis::OnDemand => listed("on-demand", "", ""),
            PriceBasis::OnDemandInfrequent => listed("on-demand", " for Standard-IA", ""),
            PriceBasis::Provisioned => listed("provisioned", "", FULL),
            PriceBasis::ProvisionedInfrequent => listed("provisioned", " for Standard-IA", FULL),
        }
    }
}

/// Returns the basis of the list prices that apply to a table's units.
fn list_price_basis(table: &TableDescription) -> PriceBasis {
    match (table.provisioned, table.features.class) {
        (None, TableClass::Standard) => PriceBasis::OnDemand,
        (None, TableClass::InfrequentAccess) => PriceBasis::OnDemandInfrequent,
        (Some(_), TableClass::Standard) => PriceBasis::Provisioned,
        (Some(_), TableClass::InfrequentAccess) => PriceBasis::ProvisionedInfrequent,
    }
}

/// Returns the line of the price list for this basis. A test checks that each basis has a line. If a line were missing,
/// the estimated cost of units would be zero dollars.
fn price_list_entry(basis: PriceBasis) -> Option<&'static PriceListEntry> {
    PRICE_LIST.iter().find(|line| line.basis == basis)
}

impl UnitPrices {
    /// Returns the prices of a table's units: the plan's prices if the plan sets them, otherwise the list prices.
    pub fn for_table(table: &TableDescription, stated: &Prices) -> UnitPrices {
        let Prices { write_per_million, read_per_million } = *stated;
        // Report the basis of the write price, because writes cause the larger part of the cost.
        let listed = list_price_basis(table.written());
        let write = price_list_entry(listed).map_or(0.0, |line| line.write);
        let read = price_list_entry(list_price_basis(table)).map_or(0.0, |line| line.read);
        let stated = write_per_million.is_some() || read_per_million.is_some();
        UnitPrices {
            write_per_million: write_per_million.unwrap_or(write),
            read_per_million: read_per_million.unwrap_or(read),
            basis: if stated { PriceBasis::Plan } else { listed },
        }
    }

    /// Returns the higher of both prices of each kind of unit, for a job that uses units of two tables. The basis stays that
    /// of the first table.
    #[must_use]
    pub(crate) fn at_least(self, other: UnitPrices) -> UnitPrices {
        UnitPrices {
            write_per_million: self.write_per_million.max(other.write_per_million),
            read_per_million: self.read_per_million.max(other.read_per_million),
            basis: self.basis,
        }
    }

    /// Returns the estimated cost of these units in US dollars.
    pub fn dollars(&self, spend: Spend) -> f64 {
        (spend.write * self.write_per_million + spend.read * self.read_per_million) / MILLION
    }

    /// Returns the number of write units that this amount of dollars buys if it is spent only on writes, and the number
    /// of read units that it buys if it is spent only on reads. If the price of a unit is zero, the number of these
    /// units is infinite.
    pub fn affordable_units(&self, dollars: f64) -> (Units, Units) {
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
        assert_eq!(prices.affordable_units(7.5), (12e6, 60e6));
    }

    /// A provisioned write unit that is used in every second of an hour costs the hourly price.
    #[test]
    fn a_fully_used_provisioned_unit_costs_the_hourly_price() {
        let table = TableDescription { provisioned: Some((1.0, 1.0)), ..TableDescription::for_tests() };
        let prices = UnitPrices::for_table(&table, &Prices::default());
        assert!((prices.dollars(Spend { write: 3_600.0, read: 0.0 }) - 0.00065).abs() < 1e-12);
        assert!((prices.dollars(Spend { write: 0.0, read: 3_600.0 }) - 0.00013).abs() < 1e-12);
    }

    #[test]
    fn names_are_read_back() {
        for basis in PriceBasis::ALL {
            assert_eq!(PriceBasis::from_name(basis.name()), Some(basis));
        }
        assert_eq!(PriceBasis::from_name("free"), None);
    }

    #[test]
    fn every_mode_and_class_is_in_the_list() {
        for provisioned in [None, Some((5.0, 5.0))] {
            let price = |class| {
                let mut table = TableDescription { provisioned, ..TableDescription::for_tests() };
                table.features.class = class;
                UnitPrices::for_table(&table, &Prices::default())
            };
            let standard = price(TableClass::Standard);
            let infrequent = price(TableClass::InfrequentAccess);
            assert!(standard.write_per_million > 0.0 && standard.read_per_million > 0.0);
            assert!(infrequent.write_per_million > standard.write_per_million * 1.2, "{infrequent:?}");
            assert!(infrequent.basis.text().contains("Standard-IA") && infrequent.basis.text().contains(DATED));
        }
        let stated = Prices { write_per_million: Some(2.0), read_per_million: None };
        let mixed = UnitPrices::for_table(&TableDescription::for_tests(), &stated);
        assert_eq!((mixed.write_per_million, mixed.read_per_million, mixed.basis), (2.0, 0.125, PriceBasis::Plan));
    }
}
