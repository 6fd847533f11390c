//! What a run will take: items, pages, capacity, money and time, each as a range with its basis. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::pace::{KeyLoad, Need, Pace, Totals};
use super::range::Range;
use super::setting::Setting;
use super::tally::Tally;
use super::touched::Touched;
use crate::cost::UnitPrices;
use crate::figure::{dollars, duration, number, units};
use crate::item::MAX_ITEM_BYTES;
use crate::ratelimit::Scope;

/// What a run will take.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// What it is made from.
    pub basis: Basis,
    /// Items of the table.
    pub items: Range,
    /// Items that DynamoDB counts, and a sample does not account for.
    pub unaccounted: f64,
    /// Items that would be written; each is one record in the table's stream.
    pub changed: Range,
    /// Items that would grow past 400 KB; none where only the items' mean size is known.
    pub exceeding: Option<Range>,
    /// Pages that are read.
    pub pages: Range,
    /// Read capacity units.
    pub read_units: Range,
    /// Write capacity units, by the table and its indexes.
    pub write_units: Range,
    /// What of them each global index takes, by name.
    pub index_write_units: BTreeMap<String, Range>,
    /// US dollars, in all regions.
    pub dollars: Range,
    /// How many regions pay for each write.
    pub regions: u64,
    /// By which prices.
    pub prices: UnitPrices,
    /// How long it takes, and what decides that.
    pub pace: Pace,
}

/// What an estimate is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// DynamoDB's own count of items and bytes, as if every item needed a write.
    Description,
    /// So many clusters of so many, read now; scaled by DynamoDB's own count of items where that is true.
    Sample(u32, u32, bool),
    /// Every item, read now.
    Whole,
}

/// What was counted of items, or is estimated of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// Items.
    pub items: Range,
    /// Of them, those that a sample does not account for.
    pub unaccounted: f64,
    /// Their bytes.
    pub bytes: Range,
    /// Items that would be written.
    pub changed: Range,
    /// Items that would grow past 400 KB.
    pub exceeding: Option<Range>,
    /// Write capacity units by the table and its local indexes.
    pub table_write: Range,
    /// And by each global index, by name.
    pub index_write: BTreeMap<String, Range>,
    /// What the partition key needs that needs the most; nothing where each key has one item.
    pub key: KeyLoad,
}

/// A page of a scan has at most so many bytes (developer guide, "Scan").
const PAGE_BYTES: f64 = 1024.0 * 1024.0;

impl Estimate {
    /// From what was counted.
    pub fn of(basis: Basis, counted: Counted, setting: &Setting<'_>) -> Estimate {
        let Counted { items, unaccounted, bytes, changed, exceeding, table_write, index_write, key } = counted;
        let pages = pages(items, bytes, setting);
        let read_units = read_units(bytes, pages, setting);
        let write_units = index_write.values().fold(table_write, |sum, index| sum.plus(*index));
        let regions = 1 + setting.table.features.replicas.len() as u64;
        let UnitPrices { write_per_million, read_per_million, .. } = setting.prices;
        let dollars =
            write_units.times(write_per_million / 1e6 * regions as f64).plus(read_units.times(read_per_million / 1e6));
        let pace = Pace::of(&Totals { table_write, index_write: &index_write, read: read_units, key }, setting);
        Estimate {
            basis,
            items,
            unaccounted,
            changed,
            exceeding,
            pages,
            read_units,
            write_units,
            index_write_units: index_write,
            dollars,
            regions,
            prices: setting.prices,
            pace,
        }
    }

    /// From DynamoDB's own count, as if every item needed a write; what the writes add to the items is not in it.
    pub fn of_description(touched: &Touched, setting: &Setting<'_>) -> Estimate {
        let table = setting.table;
        let (items, bytes) = (table.item_count as f64, table.size_bytes as f64);
        // Sizes are rounded up to whole KB: by nothing at best, by nearly one unit an item at worst.
        let whole = Range::between(items.max(bytes / 1024.0), items + bytes / 1024.0);
        let mut table_write = whole;
        let mut index_write = BTreeMap::new();
        for index in touched.indexes(table) {
            // An entry may stay as it is; where its key changes, one entry goes and another comes.
            let most = whole.high * if index.key { 2.0 } else { 1.0 };
            match index.local {
                true => table_write = table_write.plus(Range::between(0.0, most)),
                false => drop(index_write.insert(index.name.to_owned(), Range::between(0.0, most))),
            }
        }
        // One partition key may have every item, where a key can have more than one.
        let one = if table.key.sort.is_some() { 1.0 } else { 0.0 };
        let all = |most: f64| Range::between(0.0, most * one);
        let counted = Counted {
            items: Range::exactly(items),
            unaccounted: 0.0,
            bytes: Range::exactly(bytes),
            key: KeyLoad { write: all(table_write.high), bytes: all(bytes) },
            changed: Range::between(0.0, items),
            exceeding: None,
            table_write,
            index_write,
        };
        Estimate::of(Basis::Description, counted, setting)
    }

    /// What it is made from, in words.
    pub fn basis_text(&self) -> String {
        match self.basis {
            Basis::Description => {
                "from DynamoDB's own count of items and bytes, up to six hours old, as if every item \
                                   needed a write; without what the writes add to the items"
                    .to_owned()
            }
            Basis::Sample(read, total, counted) => {
                let scaled = if counted { ", times DynamoDB's own count of items, up to six hours old" } else { "" };
                let missing = match self.unaccounted {
                    0.0 => String::new(),
                    items => format!(
                        ". DynamoDB counts about {} items more than the sample accounts for: large item collections that \
                         were not drawn, of which anything may be true, or a count that is stale",
                        number(items as u64)
                    ),
                };
                format!(
                    "from {} of {} clusters of items, drawn at random and read now{scaled}; ranges with 95 % confidence \
                     (Student's t over clusters; it assumes that their mean is nearly normal){missing}",
                    number(read.into()),
                    number(total.into())
                )
            }
            Basis::Whole => "from every item, read now".to_owned(),
        }
    }

    /// Label and text of each line, for people.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let count = |range: Range| between(range, |n| number(n.round() as u64));
        let capacity = |range: Range| between(range, units);
        let regions = match self.regions {
            1 => String::new(),
            n => format!("; writes are paid in {n} regions"),
        };
        let mut lines = vec![
            ("items", count(self.items)),
            ("to write", count(self.changed)),
            ("pages", count(self.pages)),
            ("reads", format!("{} RCU", capacity(self.read_units))),
            ("writes", format!("{} WCU", capacity(self.write_units))),
        ];
        let of_index =
            |(name, range): (&String, &Range)| ("", format!("{} of it by the index {name}", capacity(*range)));
        lines.extend(self.index_write_units.iter().map(of_index));
        lines.extend(self.exceeding.map(|range| ("past 400 KB", count(range))));
        let cost = between(self.dollars, dollars);
        lines.push(("cost", format!("{cost} (an estimate {}{regions})", self.prices.basis.text())));
        lines.push(("duration", self.duration_text()));
        lines
    }

    /// How long it takes, and what decides it.
    fn duration_text(&self) -> String {
        let Some((low, high)) = self.pace.duration else { return "unknown".to_owned() };
        let (Some(short), Some(long)) = self.pace.decides() else { return duration(high) };
        let unknown_keys = self.basis == Basis::Description && long.scope == Scope::PartitionKey;
        let why = if short.scope == long.scope && short.access == long.access {
            format!("decided by {}; with the whole budget used, or half of it", short.text(|range| range.low))
        } else if unknown_keys {
            "at best with all of the table's budget used; at worst with half of it, and every item under one partition \
             key. Sizes of single keys are unknown; --sample 5% reads a part of the table"
                .to_owned()
        } else {
            let (best, worst) = (short.text(|range| range.low), long.text(|range| range.high));
            format!("at best, with the whole budget used, decided by {best}; at worst, with half of it, by {worst}")
        };
        format!("{} to {} ({why})", duration(low), duration(high))
    }

    /// As JSON.
    pub fn to_json(&self) -> Json {
        let indexes: Map<String, Json> =
            self.index_write_units.iter().map(|(name, range)| (name.clone(), range_json(*range))).collect();
        let (short, long) = self.pace.decides();
        let decides = json!({ "shortest": short.map(Need::what), "longest": long.map(Need::what) });
        let seconds =
            self.pace.duration.map(|(low, high)| json!({ "low": low.as_secs_f64(), "high": high.as_secs_f64() }));
        json!({
            "basis": self.basis.name(), "basis_text": self.basis_text(), "items": range_json(self.items), "unaccounted_items": self.unaccounted,
            "would_change": range_json(self.changed), "would_exceed_400_kb": self.exceeding.map(range_json),
            "pages": range_json(self.pages), "read_units": range_json(self.read_units),
            "write_units": range_json(self.write_units), "index_write_units": indexes,
            "usd": range_json(self.dollars), "price_basis": self.prices.basis.name(), "regions": self.regions,
            "seconds": seconds, "decided_by": decides,
        })
    }
}

impl Basis {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Description => "description",
            Basis::Sample(..) => "sample",
            Basis::Whole => "whole_table",
        }
    }
}

/// The figures of a cluster in a [`Tally`], in order; a global index's units follow, in the order of the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Items.
    Items,
    /// Bytes.
    Bytes,
    /// Items that would be written.
    Changed,
    /// Items that are as the plan implies.
    Already,
    /// Items that the plan asks nothing of.
    Nothing,
    /// Items with another value at a target, which counts as done.
    Skipped,
    /// Diverged items.
    Diverged,
    /// Items that would grow past 400 KB.
    Exceeding,
    /// Items whose shape does not allow the change.
    Rejected,
    /// Write units by the table and its local indexes.
    TableWrite,
}

/// How many figures there are before the indexes'.
pub const FIGURES: usize = Figure::TableWrite as usize + 1;

impl Counted {
    /// What the clusters of a sample say of the whole table.
    ///
    /// `drawn` is what the heaviest key of these clusters needs.
    pub fn of_sample(tally: &Tally, indexes: &[String], drawn: KeyLoad) -> Counted {
        // No item takes more units than the largest there can be.
        let most = (MAX_ITEM_BYTES / 1024) as f64;
        // A key that was not drawn has at most the items that the sample does not see; where each key has one item, none.
        let hidden = |figure: Figure| if drawn.bytes.high > 0.0 { tally.hidden(figure as usize) } else { 0.0 };
        let key = KeyLoad {
            write: Range::between(drawn.write.low, drawn.write.high.max(hidden(Figure::TableWrite))),
            bytes: Range::between(drawn.bytes.low, drawn.bytes.high.max(hidden(Figure::Bytes))),
        };
        let index_write = indexes.iter().enumerate();
        let index_write = index_write.map(|(place, name)| (name.clone(), tally.amount(FIGURES + place, most)));
        Counted {
            items: tally.items(),
            unaccounted: tally.unaccounted(),
            bytes: tally.amount(Figure::Bytes as usize, MAX_ITEM_BYTES as f64),
            changed: total(tally, Figure::Changed),
            exceeding: Some(total(tally, Figure::Exceeding)),
            table_write: tally.amount(Figure::TableWrite as usize, most),
            index_write: index_write.filter(|(_, range)| range.low > 0.0).collect(),
            key,
        }
    }
}

/// How many items of the whole table are of a kind, by a sample.
pub fn total(tally: &Tally, figure: Figure) -> Range {
    if matches!(figure, Figure::Items) { tally.items() } else { tally.count(figure as usize) }
}

fn pages(items: Range, bytes: Range, setting: &Setting<'_>) -> Range {
    let (least, most) = (setting.page_items.0.max(1) as f64, setting.page_items.1.max(1) as f64);
    let segments = f64::from(setting.segments);
    let low = (items.low / most).max(bytes.low / PAGE_BYTES).max(segments).ceil();
    let high = items.high / least + bytes.high / PAGE_BYTES + segments;
    Range::between(low, high.ceil().max(low))
}

/// Each page is rounded up to a whole unit (half of that, read eventually consistently). A table with a sort key may be read
/// once more, to find its large collections.
fn read_units(bytes: Range, pages: Range, setting: &Setting<'_>) -> Range {
    let unit = setting.read_unit();
    let times = if setting.table.key.sort.is_some() { 2.0 } else { 1.0 };
    let low = (bytes.low / 4096.0).ceil().max(pages.low) * unit;
    Range::between(low, (bytes.high / 4096.0 + pages.high) * unit * times)
}

/// `about 12 (10 to 14)`, `10 to 14`, or `12`.
pub fn between(range: Range, text: impl Fn(f64) -> String) -> String {
    let high = if range.high.is_finite() { text(range.high) } else { "unknown".to_owned() };
    match range.likely {
        _ if range.is_exact() => text(range.low),
        Some(likely) => format!("about {} ({} to {high})", text(likely), text(range.low)),
        None => format!("{} to {high}", text(range.low)),
    }
}

/// A range as JSON; a bound without end is null.
pub fn range_json(range: Range) -> Json {
    json!({ "low": range.low, "likely": range.likely, "high": range.high })
}

#[cfg(test)]
mod tests;
