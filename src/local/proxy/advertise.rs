//! Rewrites the reply to `DescribeTable` so that it shows the model's limits.

use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::item::Units;
use crate::local::capacity::{LimitScope, Model, RequestKind};

/// Returns the reply with the model's limits, or `None` if the reply describes no table.
///
/// DynamoDB reports whole units. So a scaled limit is rounded down, but is at least one.
pub(super) fn advertise(reply: &Bytes, model: &Model) -> Option<Bytes> {
    let mut reply: Json = serde_json::from_slice(reply).ok()?;
    let table = reply.get_mut("Table")?;
    let mode = if is_provisioned(model) { "PROVISIONED" } else { "PAY_PER_REQUEST" };
    table["BillingModeSummary"] = json!({ "BillingMode": mode });
    write_limits(table, model, LimitScope::Table);
    let all = |kind| {
        let partitions = model.partitions().len() as f64;
        whole_units(model.allowed_rate(LimitScope::Partition, kind) * partitions)
    };
    table["WarmThroughput"] = json!({
        "ReadUnitsPerSecond": all(RequestKind::Read),
        "WriteUnitsPerSecond": all(RequestKind::Write),
        "Status": "ACTIVE",
    });
    for index in table.get_mut("GlobalSecondaryIndexes").and_then(Json::as_array_mut).into_iter().flatten() {
        // An index that the spec does not list has no limit of its own. So this index's description shows the table's
        // limits.
        let named = index["IndexName"].as_str().and_then(|name| model.index(name));
        write_limits(index, model, named.map_or(LimitScope::Table, LimitScope::Index));
    }
    Some(reply.to_string().into())
}

fn is_provisioned(model: &Model) -> bool {
    model.spec().provisioned.is_some()
}

/// Writes the limits of a scope into its description: the provisioned capacity, or the on-demand maxima. If the table
/// is provisioned and an index has no limit of its own, the index's description shows the table's limits.
fn write_limits(described: &mut Json, model: &Model, scope: LimitScope) {
    let limit = |kind| {
        let own = Some(model.allowed_rate(scope, kind)).filter(|units| units.is_finite());
        own.or_else(|| {
            Some(model.allowed_rate(LimitScope::Table, kind)).filter(|units| units.is_finite() && is_provisioned(model))
        })
    };
    let units = |kind| limit(kind).map_or(0, whole_units);
    let throughput =
        |read, write| json!({ "ReadCapacityUnits": read, "WriteCapacityUnits": write, "NumberOfDecreasesToday": 0 });
    if let Some(object) = described.as_object_mut() {
        object.remove("OnDemandThroughput");
    }
    if is_provisioned(model) {
        described["ProvisionedThroughput"] = throughput(units(RequestKind::Read), units(RequestKind::Write));
        return;
    }
    described["ProvisionedThroughput"] = throughput(0, 0);
    let members = [("MaxReadRequestUnits", RequestKind::Read), ("MaxWriteRequestUnits", RequestKind::Write)];
    let maxima: serde_json::Map<String, Json> = members
        .into_iter()
        .filter_map(|(member, kind)| Some((member.to_owned(), whole_units(limit(kind)?).into())))
        .collect();
    if !maxima.is_empty() {
        described["OnDemandThroughput"] = Json::Object(maxima);
    }
}

fn whole_units(units: Units) -> u64 {
    // The cast saturates at 2^64 units.
    units.floor().max(1.0) as u64
}
