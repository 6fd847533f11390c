//! Computes the shortest possible duration of a run. For every scope and every partition of the model, this module
//! divides the required units by the allowed rate. The largest of these quotients is the bound.

use std::collections::HashMap;

use backfill::internals::item::{read_units, write_units};
use backfill::internals::local::capacity::{LimitScope, ModelSpec, RequestKind};
use backfill::internals::ratelimit::Budgets;

use super::data::Data;
use super::model::{INDEX, model};

/// The bound, and the scope that determines it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The bound in seconds.
    pub seconds: f64,
    /// The scope that determines the bound, for example `partition key 0, writes`.
    pub scope: String,
}

/// Returns the bound of a run with this number of segments. A scope's allowed rate is its budget or the model's limit,
/// whichever is smaller.
pub fn bound(data: &Data, budgets: &Budgets, spec: &ModelSpec, segments: u32) -> Bound {
    let mut longest = Bound { seconds: 0.0, scope: String::new() };
    let mut hold = |scope: String, units: f64, allowed: f64| {
        if units / allowed > longest.seconds {
            longest = Bound { seconds: units / allowed, scope };
        }
    };
    let writes =
        |item: &super::data::StoredItem| write_units(item.bytes as usize, item.bytes as usize + super::table::GROWTH);
    let reads = |bytes: usize| read_units(bytes, false);
    let all: f64 = data.items.iter().map(writes).sum();
    let table = budgets.table;
    let model = model(spec);
    let allowed_rate =
        |scope| (model.allowed_rate(scope, RequestKind::Write), model.allowed_rate(scope, RequestKind::Read));
    let table_limits = allowed_rate(LimitScope::Table);
    let partition = allowed_rate(LimitScope::Partition);
    hold("table, writes".into(), all, table.write.min(table_limits.0));
    hold("table, reads".into(), reads(data.bytes() as usize), table.read.min(table_limits.1));
    if !spec.indexes.is_empty() {
        let budget = budgets.indexes.first().copied().flatten().unwrap_or(f64::MAX);
        hold(format!("index {INDEX}"), all, budget.min(allowed_rate(LimitScope::Index(0)).0));
    }
    for segment in 0..segments {
        let items = &data.items[data.segment(segment, segments)];
        let bytes = items.iter().map(|item| item.bytes as usize).sum();
        let range = budgets.per_key_range;
        hold(format!("segment {segment}, writes"), items.iter().map(writes).sum(), range.write);
        hold(format!("segment {segment}, reads"), reads(bytes), range.read);
    }
    let partitions = model.partitions().len() as u32;
    for number in 0..partitions {
        let items = &data.items[data.segment(number, partitions)];
        let bytes = items.iter().map(|item| item.bytes as usize).sum();
        hold(format!("partition {number}, writes"), items.iter().map(writes).sum(), partition.0);
        hold(format!("partition {number}, reads"), reads(bytes), partition.1);
    }
    let mut keys: HashMap<u32, f64> = HashMap::new();
    for item in &data.items {
        *keys.entry(item.partition_key).or_default() += writes(item);
    }
    for (key, units) in keys {
        hold(format!("partition key {key}, writes"), units, budgets.per_partition_key.write.min(partition.0));
    }
    longest
}
