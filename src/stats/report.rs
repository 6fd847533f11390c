//! The output of `stats`.

use std::io::{Result, Write};

use serde_json::{Map, Value as Json, json};

use super::distribution::Distribution;
use super::table_stats::{AttributeStats, Coverage, TableStats};
use crate::dynamodb::TableDescription;
use crate::engine::StopReason;
use crate::figure::{count, number, units};
use crate::outside::escaped;
use crate::preflight::{FactLookup, Range, format_range, range_json};

/// Maximum number of attributes in the text for people. The JSON document has all of them.
const MAX_LINES: usize = 50;

/// Maximum number of characters of a name in the text for people. A name can have up to 65,535 bytes.
const MAX_NAME: usize = 40;

/// How the intervals are calculated, and what they assume.
const METHOD: &str = "95 % confidence, from the differences between clusters (Student's t; for rare attributes also the \
                      exact Poisson bounds). A cluster is a range of keys. Its items resemble each other, so an interval \
                      is wider than that of the same number of independent items. The intervals assume that the mean \
                      over the clusters is nearly normal";

/// The data that `stats` shows. Contains no values of attributes and no keys.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct StatsReport<'a> {
    /// The table.
    pub table: &'a TableDescription,
    /// The statistics.
    pub stats: &'a TableStats,
    /// The attribute that expires items.
    pub time_to_live: &'a FactLookup<Option<String>>,
    /// The reason why the sample was stopped. `None` if it was not stopped.
    pub stopped: Option<&'a StopReason>,
}

impl StatsReport<'_> {
    /// Returns the attributes. The most frequent attributes come first. The members of a map follow the map.
    pub fn attributes(&self) -> Vec<AttributeStats> {
        let expires = match self.time_to_live {
            FactLookup::Known(attribute) => attribute.as_deref(),
            FactLookup::Denied(_) | FactLookup::NotSupported | FactLookup::Failed(_) => None,
        };
        self.stats.attributes(self.table, expires)
    }

    /// Writes the report as text for people.
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        let StatsReport { table, stats, .. } = self;
        let mut line = |label: &str, text: String| writeln!(out, "{label:<12} {text}");
        let key = table.key.names().map(|name| escaped(name).to_string()).collect::<Vec<_>>().join(" + ");
        line("table", format!("{} ({}, key {key})", table.arn, table.status))?;
        line("size", self.size_text())?;
        line("sample", self.sample_text())?;
        if stats.coverage() == Coverage::Clusters {
            line("intervals", METHOD.to_owned())?;
        }
        if let Some(items) = stats.items_by_sample() {
            line("items", self.items_text(items))?;
        }
        if stats.items == 0 {
            return line("attributes", "unknown, because the sample contains no items".to_owned());
        }
        line("item size", self.item_size_text())?;
        line("keys", self.keys_text())?;
        if let Some(why) = self.time_to_live.unknown_reason() {
            line("expiry", format!("it is unknown which attribute expires items: {why}"))?;
        }
        self.write_attributes(out)
    }

    fn size_text(&self) -> String {
        let TableDescription { item_count, size_bytes, .. } = self.table;
        match item_count {
            0 => "0 items (DynamoDB's own count; DynamoDB counts about every six hours, and may not have counted yet)"
                .to_owned(),
            items => format!(
                "{}, {} (DynamoDB's own count, up to six hours old)",
                count(*items, "item", "items"),
                count(*size_bytes, "byte", "bytes")
            ),
        }
    }

    /// Describes the sample: the number of items, how they were drawn, and what they cost.
    pub fn sample_text(&self) -> String {
        let stats = self.stats;
        let (read, total) = stats.clusters();
        let items = format!("{}, {}", count(stats.items, "item", "items"), count(stats.bytes, "byte", "bytes"));
        let cost = format!("{} read units in {}", units(stats.read_units), count(stats.pages, "request", "requests"));
        let clusters = format!("{} of {} clusters", number(read.into()), number(total.into()));
        match (stats.coverage(), self.stopped) {
            (Coverage::Whole, _) => format!("every item of the table: {items}; {cost}"),
            (Coverage::Clusters, _) => format!("{items} in {clusters}, drawn at random; {cost}"),
            (Coverage::Part, Some(why)) => format!(
                "{items}; {cost}. The sample was stopped after {clusters}, so the figures describe only these items: {why}"
            ),
            (Coverage::Part, None) if total == 1 => format!(
                "{items}; {cost}. These are the first items of the scan. They were not drawn at random, so the figures describe \
                 only these items. A percentage, such as --sample 5%, draws them at random"
            ),
            (Coverage::Part, None) => format!(
                "{items}; {cost}. The sample reached its maximum number of items after {clusters}. A large item \
                 collection was drawn, or DynamoDB's count is too low. So the figures describe only these items. Request \
                 more items, or a percentage"
            ),
        }
    }

    fn items_text(&self, by_sample: Range) -> String {
        let text = format_range(by_sample, |n| number(n.round() as u64));
        let missing = match self.stats.unaccounted() {
            0.0 => String::new(),
            items => format!(
                ". DynamoDB counts about {} more than the sample accounts for. Either the count is stale, or there are \
                 large item collections that were not drawn",
                count(items.round() as u64, "item", "items")
            ),
        };
        match self.stats.coverage() {
            Coverage::Whole => format!("{text}, counted"),
            Coverage::Clusters | Coverage::Part => format!("{text} estimated from the sample{missing}"),
        }
    }

    fn item_size_text(&self) -> String {
        let stats = self.stats;
        let mean = match (stats.mean_bytes(), stats.sizes.mean()) {
            (Some(range), _) => format!("mean {} bytes", format_range(range, decimal)),
            (None, Some(mean)) => format!("mean {} bytes in the sample", decimal(mean)),
            (None, None) => "unknown".to_owned(),
        };
        format!("{mean}; in the sample: {} bytes", distribution_text(&stats.sizes))
    }

    fn keys_text(&self) -> String {
        let stats = self.stats;
        let keys = stats
            .partition_keys()
            .map(|range| format!("{} partition keys in the table", format_range(range, |n| number(n.round() as u64))));
        let Some(collections) = &stats.collections else {
            return "unknown, because the sample has too many partition keys to count".to_owned();
        };
        if self.table.key.sort.is_none() {
            return "one item for each partition key".to_owned();
        }
        let largest = collections.max().unwrap_or(0) as f64 / stats.items.max(1) as f64;
        let others = match stats.coverage() {
            Coverage::Whole => "",
            Coverage::Clusters | Coverage::Part => ". Larger item collections may exist outside the sample",
        };
        let counted = format!(
            "in the sample: {}; items for each key: mean {}, {}; the largest key has {} of the sampled items, and \
             the key with the most bytes has {} bytes{others}",
            count(collections.count(), "key", "keys"),
            decimal(collections.mean().unwrap_or(0.0)),
            distribution_text(collections),
            percent(largest),
            number(stats.largest_collection_bytes)
        );
        keys.into_iter().chain([counted]).collect::<Vec<_>>().join("; ")
    }

    fn write_attributes(&self, out: &mut impl Write) -> Result<()> {
        let stats = self.stats;
        let attributes = self.attributes();
        let rows = attributes.iter().take(MAX_LINES).map(|attribute| {
            let presence =
                attribute.presence.map_or_else(|| "unknown".to_owned(), |range| format_range(range, percent));
            [
                name_text(&attribute.path.to_string()),
                number(attribute.count.items),
                presence,
                percent(attribute.count.bytes as f64 / stats.bytes.max(1) as f64),
                types_text(attribute),
            ]
        });
        let head = ["name", "items", "share of items", "of bytes", "types"].map(str::to_owned);
        let rows: Vec<[String; 5]> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let [first, second, third, fourth] = [0, 1, 2, 3].map(width);
        writeln!(out, "attributes   items and bytes are those of the sample, shares of items are those of the table")?;
        for [name, items, presence, bytes, types] in &rows {
            writeln!(out, "  {name:<first$}  {items:>second$}  {presence:<third$}  {bytes:>fourth$}  {types}")?;
        }
        if attributes.len() > MAX_LINES {
            let more = count((attributes.len() - MAX_LINES) as u64, "more attribute", "more attributes");
            writeln!(out, "  and {more}; --output json lists them")?;
        }
        if stats.without_number > 0 {
            writeln!(
                out,
                "  and {} with other names. The table has too many names to list them all, so its names may be data",
                count(stats.without_number, "value", "values")
            )?;
        }
        Ok(())
    }

    /// Returns the report as JSON.
    pub fn to_json(&self) -> Json {
        let StatsReport { table, stats, stopped, .. } = self;
        let (read, total) = stats.clusters();
        let range = |range: Option<Range>| range.map(range_json);
        let attributes: Vec<Json> = self.attributes().iter().map(|attribute| self.attribute_json(attribute)).collect();
        json!({
            "type": "stats", "table": table.name, "table_arn": table.arn, "key": table.key.names().collect::<Vec<_>>(),
            "item_count_estimate": table.item_count, "size_bytes_estimate": table.size_bytes,
            "sample": {
                "coverage": stats.coverage().name(), "text": self.sample_text(), "stopped": stopped.map(ToString::to_string),
                "items": stats.items, "bytes": stats.bytes, "pages": stats.pages, "read_units": stats.read_units,
                "clusters": read, "total_clusters": total, "method": METHOD,
            },
            "items_by_sample": range(stats.items_by_sample()), "unaccounted_items": stats.unaccounted(),
            "item_bytes": { "mean": range(stats.mean_bytes()), "sample": distribution_json(&stats.sizes) },
            "partition_keys": {
                "count": range(stats.partition_keys()), "items": stats.collections.as_ref().map(distribution_json),
                "largest_bytes": stats.collections.as_ref().map(|_| stats.largest_collection_bytes),
            },
            "attributes": attributes, "values_without_figures": stats.without_number,
        })
    }

    fn attribute_json(&self, attribute: &AttributeStats) -> Json {
        let types: Map<String, Json> =
            attribute.count.types.iter().map(|(name, items)| ((*name).to_owned(), (*items).into())).collect();
        json!({
            "path": attribute.path.to_string(), "roles": attribute.roles, "items": attribute.count.items,
            "share": attribute.presence.map(range_json), "types": types, "bytes": attribute.count.bytes,
            "bytes_share": attribute.count.bytes as f64 / self.stats.bytes.max(1) as f64,
        })
    }
}

impl Coverage {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Coverage::Whole => "whole_table",
            Coverage::Clusters => "clusters",
            Coverage::Part => "part",
        }
    }
}

/// Formats the types of an attribute and its roles. The most frequent type comes first.
fn types_text(attribute: &AttributeStats) -> String {
    let mut types: Vec<(&str, u64)> = attribute.count.types.iter().map(|(name, items)| (*name, *items)).collect();
    types.sort_by_key(|(name, items)| (std::cmp::Reverse(*items), *name));
    let types = match types[..] {
        [(name, _)] => name.to_owned(),
        _ => types.iter().map(|(name, items)| format!("{name} {}", number(*items))).collect::<Vec<_>>().join(", "),
    };
    match attribute.roles.join(", ") {
        roles if roles.is_empty() => types,
        roles => format!("{types} ({roles})"),
    }
}

/// Escapes a name, and shortens it if it is long.
fn name_text(name: &str) -> String {
    let text = escaped(name).to_string();
    match text.char_indices().nth(MAX_NAME) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn distribution_text(distribution: &Distribution) -> String {
    let text = |value: Option<u64>| value.map_or_else(|| "unknown".to_owned(), number);
    format!(
        "median {}, 95th percentile {}, largest {}",
        text(distribution.quantile(0.5)),
        text(distribution.quantile(0.95)),
        text(distribution.max())
    )
}

fn distribution_json(distribution: &Distribution) -> Json {
    json!({
        "count": distribution.count(), "mean": distribution.mean(), "p50": distribution.quantile(0.5),
        "p95": distribution.quantile(0.95), "max": distribution.max(),
    })
}

/// Formats a number with one decimal.
fn decimal(n: f64) -> String {
    let tenths = (n * 10.0).round() as u64;
    match tenths % 10 {
        0 => number(tenths / 10),
        tenth => format!("{}.{tenth}", number(tenths / 10)),
    }
}

/// Formats a share as a percentage. Only an exact 0 or 1 becomes `0 %` or `100 %`.
fn percent(share: f64) -> String {
    match share {
        0.0 => "0 %".to_owned(),
        // Ignore rounding errors.
        share if share > 1.0 - 1e-9 => "100 %".to_owned(),
        share if share < 0.001 => "<0.1 %".to_owned(),
        share if share > 0.999 => ">99.9 %".to_owned(),
        share => format!("{:.1} %", share * 100.0),
    }
}

#[cfg(test)]
mod tests;
