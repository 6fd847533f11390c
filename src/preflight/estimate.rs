//! Estimates the items, pages, capacity, money and time that a run needs. Each figure is a range with its basis. This
//! module is pure.

mod reads;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::elsewhere::{ElsewhereEstimate, sampled_key};
use super::estimate_input::{EstimateInput, ItemReads};
use super::pace::{CapacityNeed, CapacityTotals, KeyLoad, RunPace};
use super::range::Range;
use super::tally::SampleTally;
use super::touched::TouchedPaths;
use crate::cost::UnitPrices;
use crate::dynamodb::TableDescription;
use crate::figure::{count, dollars, duration, number, units};
use crate::item::MAX_ITEM_BYTES;
use crate::ratelimit::Scope;
use reads::{get_units, index_units, pages, read_units};

/// The estimated needs of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The data on which the estimate is based.
    pub basis: Basis,
    /// Number of items in the table.
    pub items: Range,
    /// Number of items that DynamoDB counts but the sample's estimate does not include.
    pub unaccounted: f64,
    /// Number of items that the run would write. Each written item causes one record in the table's stream.
    pub changed: Range,
    /// Number of items that would grow past 400 KB. `None` if only the mean size of items is known.
    pub exceeding: Option<Range>,
    /// Number of pages that are read.
    pub pages: Range,
    /// Number of read capacity units.
    pub read_units: Range,
    /// Number of write capacity units of the table and all its indexes.
    pub write_units: Range,
    /// The number of these write capacity units that each global index consumes, by index name.
    pub index_write_units: BTreeMap<String, Range>,
    /// Total cost in US dollars, for all regions.
    pub dollars: Range,
    /// The part of the units that the table with the derived items consumes. `None` if it is the plan's table.
    pub elsewhere: Option<ElsewhereEstimate>,
    /// Number of regions that are billed for each write.
    pub regions: u64,
    /// The prices of capacity units.
    pub prices: UnitPrices,
    /// The duration of the run, and the needs that determine the duration.
    pub pace: RunPace,
}

/// The data on which an estimate is based.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// DynamoDB's count of items and bytes. The estimate assumes that every item needs a write.
    Description,
    /// The number of keys that the plan lists, and the mean size of the table's items. The estimate assumes that every
    /// key has an item, and that every item needs a write.
    Keys,
    /// DynamoDB's count of the index's entries, and the mean size of the table's items. The estimate assumes that every
    /// item in the index needs a write.
    Index,
    /// A sample of the table's clusters that was read just now. The fields are the number of clusters that were read,
    /// the total number of clusters, and whether DynamoDB's item count scales the figures.
    Sample(u32, u32, bool),
    /// All items of the table, as counted by the dry run that just ended.
    Whole,
}

/// The figures on which an estimate is based. Each figure was either counted or estimated.
#[derive(Debug, Clone, PartialEq)]
pub struct TableTotals {
    /// Number of items.
    pub items: Range,
    /// Number of these items that DynamoDB counts but the sample's estimate does not include.
    pub unaccounted: f64,
    /// Total size of the items in bytes.
    pub bytes: Range,
    /// Number of items that would be written.
    pub changed: Range,
    /// Number of items that would grow past 400 KB.
    pub exceeding: Option<Range>,
    /// Write capacity units of the table and its local indexes.
    pub table_write: Range,
    /// Write capacity units of each global index, by name. The name of an index of the table with the derived items begins
    /// with the name of the table and a `/`.
    pub index_write: BTreeMap<String, Range>,
    /// Write capacity units of the table with the derived items and its local indexes, if it is not the plan's table.
    pub elsewhere_write: Range,
    /// The capacity that the most demanding partition key needs. Zero if each partition key has only one item.
    pub key: KeyLoad,
    /// The same for the table with the derived items, if it is not the plan's table.
    pub key_elsewhere: KeyLoad,
}

impl Estimate {
    /// Makes an estimate from these figures.
    pub fn new(basis: Basis, counted: TableTotals, input: &EstimateInput<'_>) -> Estimate {
        let TableTotals { items, unaccounted, bytes, changed, exceeding, table_write, index_write, key, .. } = counted;
        let pages = pages(items, bytes, input);
        let own_reads = match input.reads {
            ItemReads::Scan => read_units(bytes, pages, input),
            ItemReads::Keys => get_units(items, bytes),
            ItemReads::Index(bytes_of_index) => get_units(items, bytes).plus(index_units(bytes_of_index, pages)),
        };
        // The run reads each derived item once, strongly consistently. This costs one unit, because few derived items
        // are larger than 4 KB.
        let derived_reads = match input.derives {
            true => Range::between(changed.low, items.high),
            false => Range::exactly(0.0),
        };
        let nothing = Range::exactly(0.0);
        let sum = |of_other: bool| {
            let is_of_other = |(name, _): &(&String, &Range)| name.contains('/') == of_other;
            index_write.iter().filter(is_of_other).fold(nothing, |sum, (_, index)| sum.plus(*index))
        };
        let own_writes = table_write.plus(sum(false));
        let elsewhere = input.other.map(|other| ElsewhereEstimate {
            table: other.name.to_owned(),
            read_units: derived_reads,
            write_units: counted.elsewhere_write.plus(sum(true)),
        });
        let own_reads = if elsewhere.is_some() { own_reads } else { own_reads.plus(derived_reads) };
        let of_other = |select: fn(&ElsewhereEstimate) -> Range| elsewhere.as_ref().map_or(nothing, select);
        let read_units = own_reads.plus(of_other(|other| other.read_units));
        let write_units = own_writes.plus(of_other(|other| other.write_units));
        let written = input.other.map_or(input.table.written(), |other| other.table);
        let regions = 1 + written.features.replicas.len() as u64;
        let cost = |prices: UnitPrices, writes: Range, reads: Range, regions: u64| {
            let writes = writes.times(prices.write_per_million / 1e6 * regions as f64);
            writes.plus(reads.times(prices.read_per_million / 1e6))
        };
        let dollars = match (&elsewhere, input.other) {
            // A check writes nothing, so it is billed only in its own region.
            (Some(found), Some(other)) => cost(input.prices, own_writes, own_reads, 1).plus(cost(
                other.prices,
                found.write_units,
                found.read_units,
                regions,
            )),
            (_, _) => cost(input.prices, write_units, read_units, regions),
        };
        let totals = CapacityTotals {
            table_write,
            index_write: &index_write,
            read: own_reads,
            key,
            elsewhere_write: counted.elsewhere_write,
            elsewhere_read: of_other(|other| other.read_units),
            key_elsewhere: counted.key_elsewhere,
        };
        let pace = RunPace::new(&totals, input);
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
            elsewhere,
            regions,
            prices: input.prices,
            pace,
        }
    }

    /// Makes an estimate from DynamoDB's count. The estimate assumes that every item needs a write, and it ignores the
    /// bytes that the writes add to the items. If an item can need several writes, the upper bound assumes that every
    /// item needs the maximum number of writes.
    pub fn from_description(touched: &TouchedPaths, input: &EstimateInput<'_>) -> Estimate {
        let table = input.table;
        let items = table.item_count as f64;
        let bytes = table.size_bytes as f64;
        // DynamoDB rounds the size of each item up to a multiple of 1 KB. This adds less than one unit per item.
        let writes = input.max_writes as f64;
        let whole = Range::between(items.max(bytes / 1024.0), (items + bytes / 1024.0) * writes);
        // A transaction puts the derived item and checks the source. Each of the two costs twice the usual units. The
        // estimate assumes that the derived item is at most as large as its source.
        let (checks, puts) =
            (Range::between(2.0 * whole.low, 2.0 * whole.high), Range::between(2.0 * items, 2.0 * whole.high));
        let (table_write, elsewhere_write) = match (input.derives, input.other) {
            (false, _) => (whole, Range::exactly(0.0)),
            (true, None) => (checks.plus(puts), Range::exactly(0.0)),
            (true, Some(_)) => (checks, puts),
        };
        let written = input.other.map_or(table, |other| other.table);
        let mut index_write = BTreeMap::new();
        let mut local_write = Range::exactly(0.0);
        for index in touched.indexes(written) {
            // At the lower bound, no index entry changes. At the upper bound, every entry changes. A change to an
            // item's index key removes one entry and adds another.
            let most = whole.high * if index.key { 2.0 } else { 1.0 };
            let name =
                input.other.map_or_else(|| index.name.to_owned(), |other| format!("{}/{}", other.name, index.name));
            match index.local {
                true => local_write = local_write.plus(Range::between(0.0, most)),
                false => drop(index_write.insert(name, Range::between(0.0, most))),
            }
        }
        let (table_write, elsewhere_write) = match input.other {
            None => (table_write.plus(local_write), elsewhere_write),
            Some(_) => (table_write, elsewhere_write.plus(local_write)),
        };
        // If the table has a sort key, all items may have the same partition key.
        let of_key = |table: &TableDescription, write: f64, bytes: f64| {
            let one = if table.key.sort.is_some() { 1.0 } else { 0.0 };
            KeyLoad { write: Range::between(0.0, write * one), bytes: Range::between(0.0, bytes * one) }
        };
        let counted = TableTotals {
            items: Range::exactly(items),
            unaccounted: 0.0,
            bytes: Range::exactly(bytes),
            key: of_key(table, table_write.high, bytes),
            elsewhere_write,
            key_elsewhere: of_key(written, elsewhere_write.high, 0.0),
            changed: Range::between(0.0, items),
            exceeding: None,
            table_write,
            index_write,
        };
        let basis = match input.reads {
            ItemReads::Scan => Basis::Description,
            ItemReads::Keys => Basis::Keys,
            ItemReads::Index(_) => Basis::Index,
        };
        Estimate::new(basis, counted, input)
    }

    /// Describes in words the data on which the estimate is based.
    pub fn basis_text(&self) -> String {
        match self.basis {
            Basis::Description => {
                "from DynamoDB's own count of items and bytes, up to six hours old, as if every item \
                                   needed a write; not counting the bytes that the writes add"
                    .to_owned()
            }
            Basis::Keys => "from the number of keys in the file and the mean size of the table's items, up to six hours \
                            old, as if every key had an item that needed a write; not counting the bytes that the writes \
                            add"
                .to_owned(),
            Basis::Index => "from DynamoDB's own count of the entries in the index and the mean size of the table's \
                             items, up to six hours old, as if every item in the index needed a write; not counting the \
                             bytes that the writes add"
                .to_owned(),
            Basis::Sample(read, total, counted) => {
                let scaled = if counted { ", times DynamoDB's own count of items, up to six hours old" } else { "" };
                let missing = match self.unaccounted {
                    0.0 => String::new(),
                    items => format!(
                        ". DynamoDB counts about {} more than the sample accounts for. Either the count is stale, or there are \
                         large item collections that were not drawn, and nothing is known of their items",
                        count(items as u64, "item", "items")
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

    /// Returns the estimate as lines of text for people. Each line has a label and a text.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let count = |range: Range| format_range(range, |n| number(n.round() as u64));
        let capacity = |range: Range| format_range(range, units);
        let regions = match self.regions {
            1 => String::new(),
            n => format!("; writes are billed in {n} regions"),
        };
        let mut lines = vec![
            ("items", count(self.items)),
            ("to write", count(self.changed)),
            ("pages", count(self.pages)),
            ("reads", format!("{} RCU", capacity(self.read_units))),
            ("writes", format!("{} WCU", capacity(self.write_units))),
        ];
        let index_line =
            |(name, range): (&String, &Range)| ("", format!("{} of them on index {name}", capacity(*range)));
        lines.extend(self.index_write_units.iter().map(index_line));
        lines.extend(self.elsewhere.iter().map(|ElsewhereEstimate { table, read_units, write_units }| {
            ("", format!("{} WCU and {} RCU of these on table {table}", capacity(*write_units), capacity(*read_units)))
        }));
        lines.extend(self.exceeding.map(|range| ("past 400 KB", count(range))));
        let cost = format_range(self.dollars, dollars);
        lines.push(("cost", format!("{cost} (an estimate {}{regions})", self.prices.basis.text())));
        lines.push(("duration", self.duration_text()));
        lines
    }

    /// Describes the duration, and the needs that determine it.
    fn duration_text(&self) -> String {
        let Some((low, high)) = self.pace.duration else { return "unknown".to_owned() };
        let (Some(short), Some(long)) = self.pace.deciding_needs() else { return duration(high) };
        let unknown_keys =
            matches!(self.basis, Basis::Description | Basis::Keys | Basis::Index) && long.scope == Scope::PartitionKey;
        let why = if short.scope == long.scope && short.access == long.access {
            format!("decided by {}, with the whole budget or half of it used", short.text(|range| range.low))
        } else if unknown_keys {
            "at best, with the table's whole budget used; at worst, with half of it and every item under one partition \
             key. Sizes of single keys are unknown; --sample 5% reads a part of the table"
                .to_owned()
        } else {
            let best = short.text(|range| range.low);
            let worst = long.text(|range| range.high);
            format!("at best, with the whole budget used, decided by {best}; at worst, with half of it, by {worst}")
        };
        format!("{} to {} ({why})", duration(low), duration(high))
    }

    /// Returns the estimate as JSON.
    pub fn to_json(&self) -> Json {
        let indexes: Map<String, Json> =
            self.index_write_units.iter().map(|(name, range)| (name.clone(), range_json(*range))).collect();
        let (short, long) = self.pace.deciding_needs();
        let decides =
            json!({ "shortest": short.map(CapacityNeed::description), "longest": long.map(CapacityNeed::description) });
        let seconds =
            self.pace.duration.map(|(low, high)| json!({ "low": low.as_secs_f64(), "high": high.as_secs_f64() }));
        json!({
            "basis": self.basis.name(), "basis_text": self.basis_text(), "items": range_json(self.items), "unaccounted_items": self.unaccounted,
            "would_change": range_json(self.changed), "would_exceed_400_kb": self.exceeding.map(range_json),
            "pages": range_json(self.pages), "read_units": range_json(self.read_units),
            "write_units": range_json(self.write_units), "index_write_units": indexes,
            "elsewhere": self.elsewhere.as_ref().map(|elsewhere| json!({
                "table": elsewhere.table, "read_units": range_json(elsewhere.read_units),
                "write_units": range_json(elsewhere.write_units),
            })),
            "usd": range_json(self.dollars), "price_basis": self.prices.basis.name(), "regions": self.regions,
            "seconds": seconds, "decided_by": decides,
        })
    }
}

impl Basis {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Description => "description",
            Basis::Keys => "keys",
            Basis::Index => "index",
            Basis::Sample(..) => "sample",
            Basis::Whole => "whole_table",
        }
    }
}

/// The order of a cluster's figures in a [`SampleTally`]. The write units of each global index follow these figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Number of items.
    Items,
    /// Number of bytes.
    Bytes,
    /// Number of items that would be written.
    Changed,
    /// Number of items that already match the plan.
    AlreadyApplied,
    /// Number of items to which none of the plan's changes apply.
    NothingToDo,
    /// Number of items with a different existing value at a target. The plan treats such items as done.
    Skipped,
    /// Number of diverged items.
    Diverged,
    /// Number of items that would grow past 400 KB.
    Exceeding,
    /// Number of items whose structure does not allow the change.
    Rejected,
    /// Number of items for which an expression or conversion of the plan has no result.
    NotComputable,
    /// Write units of the table and its local indexes.
    TableWrite,
    /// Write units of the table with the derived items and its local indexes, if it is not the plan's table.
    ElsewhereWrite,
}

/// Number of figures per cluster, without the figures of the indexes.
pub const FIGURE_COUNT: usize = Figure::ElsewhereWrite as usize + 1;

impl TableTotals {
    /// Extrapolates the clusters of a sample to the whole table.
    ///
    /// `drawn` is the capacity that the most demanding partition key in the drawn clusters needs, in the plan's table and in
    /// the table with the derived items.
    pub fn from_sample(tally: &SampleTally, indexes: &[String], [drawn, elsewhere]: [KeyLoad; 2]) -> TableTotals {
        // No item needs more units than the largest possible item.
        let most = (MAX_ITEM_BYTES / 1024) as f64;
        // In the worst case, all items that the sample does not account for have the same partition key. This is
        // impossible if each partition key has only one item.
        let hidden = |figure: Figure| if drawn.bytes.high > 0.0 { tally.hidden(figure as usize) } else { 0.0 };
        let key = KeyLoad {
            write: Range::between(drawn.write.low, drawn.write.high.max(hidden(Figure::TableWrite))),
            bytes: Range::between(drawn.bytes.low, drawn.bytes.high.max(hidden(Figure::Bytes))),
        };
        let index_write = indexes.iter().enumerate();
        let index_write = index_write.map(|(place, name)| (name.clone(), tally.amount(FIGURE_COUNT + place, most)));
        TableTotals {
            items: tally.items(),
            unaccounted: tally.unaccounted(),
            bytes: tally.amount(Figure::Bytes as usize, MAX_ITEM_BYTES as f64),
            changed: total(tally, Figure::Changed),
            exceeding: Some(total(tally, Figure::Exceeding)),
            table_write: tally.amount(Figure::TableWrite as usize, most),
            index_write: index_write.filter(|(_, range)| range.low > 0.0).collect(),
            elsewhere_write: tally.amount(Figure::ElsewhereWrite as usize, most),
            key,
            key_elsewhere: sampled_key(elsewhere, tally.hidden(Figure::ElsewhereWrite as usize)),
        }
    }
}

/// Estimates a figure for the whole table from a sample. The figure must count items.
pub fn total(tally: &SampleTally, figure: Figure) -> Range {
    if matches!(figure, Figure::Items) { tally.items() } else { tally.count(figure as usize) }
}

/// Formats a range: `about 12 (10 to 14)`, `10 to 14`, or `12`. If nothing was found in a sample, the range says so:
/// `none in the sample (0 to 14)`.
pub fn format_range(range: Range, text: impl Fn(f64) -> String) -> String {
    let low = text(range.low);
    let high = if range.high.is_finite() { text(range.high) } else { "unknown".to_owned() };
    match range.likely {
        // Two different bounds can round to the same text.
        _ if low == high => low,
        Some(0.0) => format!("none in the sample ({low} to {high})"),
        Some(likely) => format!("about {} ({low} to {high})", text(likely)),
        None => format!("{low} to {high}"),
    }
}

/// Returns a range as JSON. An infinite bound becomes null.
pub fn range_json(range: Range) -> Json {
    json!({ "low": range.low, "likely": range.likely, "high": range.high })
}

#[cfg(test)]
mod tests;
