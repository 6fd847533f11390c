//! Formats a run's spend limits, and the capacity that the run has spent. Amounts of money are estimates. The text
//! names the prices on which they are based.

use std::io::{Result, Write};

use crate::clock;
use crate::cost::UnitPrices;
use crate::figure::{count, dollars, units};
use crate::plan::PlanLimits;
use crate::state::{Spend, SpendRecord, SpendState};

/// Returns a run's limits as one line, with the amounts that the run reserves at a time. Returns `None` if the plan has
/// no limit, or only a limit on failures.
pub fn limits_text(limits: &PlanLimits, slice: Option<Spend>, prices: UnitPrices) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(limits.max_wcu.map(|max| format!("{} WCU", units(max))));
    parts.extend(limits.max_cost_usd.map(|max| format!("{} (an estimate {})", dollars(max), prices.basis.text())));
    parts.extend(slice.map(|slice| match slice.read {
        0.0 => format!("reserved {} WCU at a time", units(slice.write)),
        read => format!("reserved {} WCU and {} RCU at a time", units(slice.write), units(read)),
    }));
    parts.extend(limits.max_items.map(|max| count(max, "item", "items")));
    parts.extend(limits.deadline.map(|deadline| format!("until {}", clock::to_text(deadline))));
    parts.extend(limits.window.as_ref().map(|window| {
        let zone = window.zone.iana_name().unwrap_or("local time");
        format!("from {} to {} {zone}", window.opens.strftime("%H:%M"), window.closes.strftime("%H:%M"))
    }));
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Writes the capacity that a run has spent, together with the run's limits.
pub fn write_spend(out: &mut impl Write, record: &SpendRecord, limits: &PlanLimits) -> Result<()> {
    let SpendState { spent, slice, lost, .. } = record.state;
    let of = |limit: Option<String>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let named = |is_set: bool, name: &str| if is_set { format!(" ([limits] {name})") } else { String::new() };
    let write = units(spent.write);
    let read = units(spent.read);
    let max = of(limits.max_wcu.map(units));
    let name = named(limits.max_wcu.is_some(), "max_wcu");
    write!(out, "  spent, including uncommitted pages: {write}{max} WCU{name}, {read} RCU")?;
    if let (Some(cost), Some(prices)) = (record.dollars(), record.prices) {
        let max = of(limits.max_cost_usd.map(dollars));
        let name = named(limits.max_cost_usd.is_some(), "max_cost_usd");
        write!(out, "; about {}{max}{name}, an estimate {}", dollars(cost), prices.basis.text())?;
    }
    writeln!(out)?;
    if lost != Spend::default() {
        let write = units(lost.write);
        let read = units(lost.read);
        writeln!(
            out,
            "    up to {write} WCU and {read} RCU of this were only reserved when a process was killed, but count as spent"
        )?;
    }
    if slice != Spend::default() {
        writeln!(
            out,
            "    another {} WCU and {} RCU are reserved for the next requests",
            units(slice.write),
            units(slice.read)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::PriceBasis;

    const PRICES: UnitPrices =
        UnitPrices { write_per_million: 0.625, read_per_million: 0.125, basis: PriceBasis::OnDemand };

    fn limits() -> PlanLimits {
        PlanLimits {
            max_failures: 1000,
            max_wcu: Some(5000.0),
            max_cost_usd: Some(2.5),
            max_items: None,
            deadline: None,
            window: None,
        }
    }

    #[test]
    fn money_is_always_an_estimate_and_lost_slices_are_labelled() {
        let state = SpendState {
            spent: Spend { write: 1_600_000.0, read: 8.5 },
            lost: Spend { write: 50.0, read: 0.0 },
            ..SpendState::default()
        };
        let mut text = Vec::new();
        write_spend(&mut text, &SpendRecord { state, prices: Some(PRICES) }, &limits()).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap());
    }

    #[test]
    fn limits_are_listed_with_their_slice() {
        let slice = Some(Spend { write: 50.0, read: 0.0 });
        let text = limits_text(&limits(), slice, PRICES).unwrap();
        assert!(text.starts_with("5,000 WCU, $2.50 (an estimate by the on-demand list price of us-east-1"), "{text}");
        assert!(text.ends_with("reserved 50 WCU at a time"), "{text}");
        let none = PlanLimits { max_wcu: None, max_cost_usd: None, ..limits() };
        assert_eq!(limits_text(&none, None, PRICES), None);
    }
}
