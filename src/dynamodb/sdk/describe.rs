//! Converts a reply to `DescribeTable` into the tool's own description.

use aws_sdk_dynamodb::types::{
    BillingMode, GlobalSecondaryIndexDescription, IndexStatus, KeySchemaElement, KeyType,
    LocalSecondaryIndexDescription, OnDemandThroughput, Projection as SdkProjection, ProvisionedThroughputDescription,
    TableDescription as SdkDescription,
};

use super::projection::projection_of;
use super::table_features::features;
use crate::dynamodb::{IndexDescription, TableDescription};
use crate::item::{IndexSchema, KeyAttribute, KeySchema};

/// Returns a text about the first missing part of a table description, or `None` if the description is complete.
pub(super) fn flaw(table: &SdkDescription) -> Option<&'static str> {
    let defined = |element: &KeySchemaElement| {
        table.attribute_definitions().iter().any(|defined| defined.attribute_name() == element.attribute_name())
    };
    let is_key = |key: &[KeySchemaElement]| {
        key.iter().any(|element| *element.key_type() == KeyType::Hash) && key.iter().all(defined)
    };
    let global = table.global_secondary_indexes().iter().map(|index| (index.index_name(), index.key_schema()));
    let local = table.local_secondary_indexes().iter().map(|index| (index.index_name(), index.key_schema()));
    let on_demand = table.billing_mode_summary().and_then(|summary| summary.billing_mode());
    if table.table_name().is_none() || table.table_arn().is_none() {
        Some("it does not name the table")
    } else if table.table_status().is_none() {
        Some("it has no TableStatus")
    } else if !is_key(table.key_schema()) {
        Some("it does not describe the table's key")
    } else if global.chain(local).any(|(name, key)| name.is_none() || !is_key(key)) {
        Some("it does not describe the key of an index")
    } else if table.provisioned_throughput().is_none() && on_demand != Some(&BillingMode::PayPerRequest) {
        Some("it does not report the table's capacity")
    } else {
        None
    }
}

/// Converts a table's description. Returns `None` if the description lacks a name or a key.
pub(super) fn describe(table: &SdkDescription) -> Option<TableDescription> {
    let key = |kind| key_attributes(table, table.key_schema(), &kind).next();
    let on_demand = table.billing_mode_summary().is_some_and(|b| b.billing_mode() == Some(&BillingMode::PayPerRequest));
    let global = table.global_secondary_indexes().iter().filter_map(|index| global(table, index, on_demand));
    let local = table.local_secondary_indexes().iter().filter_map(|index| local(table, index));
    Some(TableDescription {
        name: table.table_name()?.to_owned(),
        arn: table.table_arn().unwrap_or_default().to_owned(),
        id: table.table_id().map(str::to_owned),
        status: table.table_status().map_or_else(|| "unknown".to_owned(), |s| s.as_str().to_owned()),
        key: KeySchema { partition: key(KeyType::Hash)?, sort: key(KeyType::Range) },
        item_count: u64::try_from(table.item_count().unwrap_or(0)).unwrap_or(0),
        size_bytes: u64::try_from(table.table_size_bytes().unwrap_or(0)).unwrap_or(0),
        provisioned: provisioned(table.provisioned_throughput(), on_demand),
        on_demand_max: maxima(table.on_demand_throughput()),
        warm: table.warm_throughput().and_then(|w| both(w.read_units_per_second(), w.write_units_per_second())),
        indexes: global.chain(local).collect(),
        features: features(table),
        sink: None,
        derived: None,
    })
}

fn global(
    table: &SdkDescription,
    index: &GlobalSecondaryIndexDescription,
    on_demand: bool,
) -> Option<IndexDescription> {
    let warm = index.warm_throughput();
    Some(IndexDescription {
        schema: schema(table, index.index_name(), index.key_schema(), index.projection(), false)?,
        provisioned: provisioned(index.provisioned_throughput(), on_demand),
        on_demand_max: maxima(index.on_demand_throughput()),
        warm: warm.and_then(|w| both(w.read_units_per_second(), w.write_units_per_second())),
        // Some local engines do not report a status.
        is_ready: index
            .index_status()
            .is_none_or(|status| matches!(status, IndexStatus::Active | IndexStatus::Updating))
            && index.backfilling() != Some(true),
        entries: entries(index.item_count(), index.index_size_bytes()),
    })
}

/// Converts a local index. It has no capacity settings, because a local index uses the table's capacity.
fn local(table: &SdkDescription, index: &LocalSecondaryIndexDescription) -> Option<IndexDescription> {
    Some(IndexDescription {
        schema: schema(table, index.index_name(), index.key_schema(), index.projection(), true)?,
        provisioned: None,
        on_demand_max: (None, None),
        warm: None,
        is_ready: true,
        entries: entries(index.item_count(), index.index_size_bytes()),
    })
}

/// Returns the number of entries of an index, and their size in bytes.
fn entries(count: Option<i64>, bytes: Option<i64>) -> Option<(u64, u64)> {
    u64::try_from(count?).ok().zip(u64::try_from(bytes?).ok())
}

fn schema(
    table: &SdkDescription,
    name: Option<&str>,
    key: &[KeySchemaElement],
    projection: Option<&SdkProjection>,
    local: bool,
) -> Option<IndexSchema> {
    let role = |kind| key_attributes(table, key, &kind).collect::<Vec<_>>();
    let projection = projection_of(projection);
    let partition = role(KeyType::Hash);
    Some(IndexSchema {
        name: name?.to_owned(),
        partition: partition.len(),
        key: [partition, role(KeyType::Range)].concat(),
        projection,
        local,
    })
}

/// Returns the names and types of the key attributes that have this role (partition key or sort key). The key of a
/// global index can have several attributes in each role.
fn key_attributes<'t>(
    table: &'t SdkDescription,
    key: &'t [KeySchemaElement],
    role: &KeyType,
) -> impl Iterator<Item = KeyAttribute> + use<'t> {
    let role = role.clone();
    key.iter().filter(move |element| *element.key_type() == role).map(|element| {
        let name = element.attribute_name();
        let found = table.attribute_definitions().iter().find(|d| d.attribute_name() == name);
        let kind = found.map_or_else(|| "S".to_owned(), |d| d.attribute_type().as_str().to_owned());
        KeyAttribute { name: name.to_owned(), kind }
    })
}

/// Returns the provisioned (read, write) units per second. Returns `None` for an on-demand table, even if the engine
/// still reports the table's earlier provisioned capacity.
fn provisioned(throughput: Option<&ProvisionedThroughputDescription>, on_demand: bool) -> Option<(f64, f64)> {
    throughput.filter(|_| !on_demand).and_then(|p| both(p.read_capacity_units(), p.write_capacity_units()))
}

/// Returns both numbers as (read, write) units. Returns `None` if DynamoDB reports zero, which means that the table is
/// not provisioned.
fn both(read: Option<i64>, write: Option<i64>) -> Option<(f64, f64)> {
    above_zero(read).zip(above_zero(write))
}

/// Returns the configured on-demand maximum (read, write) in request units per second. A reply can contain -1 instead
/// of omitting the maximum.
fn maxima(throughput: Option<&OnDemandThroughput>) -> (Option<f64>, Option<f64>) {
    (
        above_zero(throughput.and_then(OnDemandThroughput::max_read_request_units)),
        above_zero(throughput.and_then(OnDemandThroughput::max_write_request_units)),
    )
}

fn above_zero(units: Option<i64>) -> Option<f64> {
    units.filter(|units| *units > 0).map(|units| units as f64)
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, BillingModeSummary, GlobalSecondaryIndexWarmThroughputDescription, ScalarAttributeType,
        TableWarmThroughputDescription,
    };

    use super::*;
    use crate::item::Projection;

    fn element(name: &str, role: KeyType) -> KeySchemaElement {
        KeySchemaElement::builder().attribute_name(name).key_type(role).build().unwrap()
    }

    fn definition(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
    }

    fn units(read: i64, write: i64) -> ProvisionedThroughputDescription {
        ProvisionedThroughputDescription::builder().read_capacity_units(read).write_capacity_units(write).build()
    }

    fn maximum(read: i64, write: i64) -> OnDemandThroughput {
        OnDemandThroughput::builder().max_read_request_units(read).max_write_request_units(write).build()
    }

    /// Tests the parts of a table description that the embedded engine never returns: multi-attribute keys, maxima,
    /// warm throughput and zeros.
    #[test]
    fn parts_that_only_the_service_describes_are_read_too() {
        let index = GlobalSecondaryIndexDescription::builder()
            .index_name("wide")
            .key_schema(element("sort-1", KeyType::Range))
            .key_schema(element("part-1", KeyType::Hash))
            .key_schema(element("part-2", KeyType::Hash))
            .provisioned_throughput(units(0, 0))
            .on_demand_throughput(maximum(-1, 70))
            .warm_throughput(
                GlobalSecondaryIndexWarmThroughputDescription::builder()
                    .read_units_per_second(12_000)
                    .write_units_per_second(4_000)
                    .build(),
            )
            .build();
        let table = SdkDescription::builder()
            .table_name("t")
            .key_schema(element("pk", KeyType::Hash))
            .attribute_definitions(definition("pk", ScalarAttributeType::B))
            .attribute_definitions(definition("part-2", ScalarAttributeType::N))
            .billing_mode_summary(BillingModeSummary::builder().billing_mode(BillingMode::PayPerRequest).build())
            .provisioned_throughput(units(5, 5))
            .on_demand_throughput(maximum(90, -1))
            .warm_throughput(TableWarmThroughputDescription::builder().read_units_per_second(12_000).build())
            .global_secondary_indexes(index)
            .build();
        let found = describe(&table).unwrap();
        assert_eq!((found.provisioned, found.on_demand_max, found.warm), (None, (Some(90.0), None), None));
        let key = |name: &str, kind: &str| KeyAttribute { name: name.into(), kind: kind.into() };
        let expected = IndexDescription {
            schema: IndexSchema {
                name: "wide".into(),
                key: vec![key("part-1", "S"), key("part-2", "N"), key("sort-1", "S")],
                partition: 2,
                projection: Projection::All,
                local: false,
            },
            provisioned: None,
            on_demand_max: (None, Some(70.0)),
            warm: Some((12_000.0, 4_000.0)),
            is_ready: true,
            entries: None,
        };
        assert_eq!(found.indexes, [expected]);
    }

    /// Removes one required part at a time, and expects a flaw each time.
    #[test]
    fn a_description_without_a_part_has_a_flaw() {
        let whole = || {
            let index = GlobalSecondaryIndexDescription::builder().index_name("i");
            SdkDescription::builder()
                .table_name("t")
                .table_arn("arn:aws:dynamodb:us-east-1:000000000000:table/t")
                .table_status(aws_sdk_dynamodb::types::TableStatus::Active)
                .key_schema(element("pk", KeyType::Hash))
                .attribute_definitions(definition("pk", ScalarAttributeType::S))
                .provisioned_throughput(units(5, 5))
                .global_secondary_indexes(index.key_schema(element("pk", KeyType::Hash)).build())
        };
        assert_eq!(flaw(&whole().build()), None);
        let on_demand = BillingModeSummary::builder().billing_mode(BillingMode::PayPerRequest).build();
        assert_eq!(flaw(&whole().set_provisioned_throughput(None).billing_mode_summary(on_demand).build()), None);
        let nameless = GlobalSecondaryIndexDescription::builder().key_schema(element("pk", KeyType::Hash));
        let keyless = LocalSecondaryIndexDescription::builder().index_name("l");
        for (part, without) in [
            ("name", whole().set_table_name(None)),
            ("ARN", whole().set_table_arn(None)),
            ("status", whole().set_table_status(None)),
            ("key", whole().set_key_schema(None)),
            ("type of the key", whole().set_attribute_definitions(None)),
            ("type of the sort key", whole().key_schema(element("sk", KeyType::Range))),
            ("capacity", whole().set_provisioned_throughput(None)),
            ("name of an index", whole().global_secondary_indexes(nameless.build())),
            ("key of an index", whole().local_secondary_indexes(keyless.build())),
        ] {
            assert!(flaw(&without.build()).is_some(), "without the {part}");
        }
    }
}
