//! Tests scans, table descriptions and errors.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, LocalSecondaryIndex,
    Projection as SdkProjection, ProjectionType, ProvisionedThroughput, ScalarAttributeType as Kind,
};
use backfill::internals::change::{Action, Condition, GuardedWrite, WriteCost};
use backfill::internals::dynamodb::{Describe, FatalKind, PageRequest, Sink, Source, TableError, WriteReply};
use backfill::internals::item::{IndexSchema, Item, ItemKey, KeyAttribute, Num, Path, Position, Projection, Value};
use serde_json::json;

use super::{Table, item, sdk_table, table};
use crate::harness::{Harness, bytes_of, key_of, to_sdk};

/// Reads every item of every segment, in pages of at most `limit` items. Between two pages, the start key is converted
/// to its stored text and parsed from this text.
async fn scan(table: &dyn Source, total_segments: u32, limit: Option<u32>, consistent: bool) -> Vec<Item> {
    let mut items = Vec::new();
    for segment in 0..total_segments {
        let mut start = None;
        loop {
            let request = PageRequest { segment, total_segments, start, limit, consistent, keys_only: false };
            let page = table.read_page(&request).await.unwrap();
            assert!(limit.is_none_or(|limit| page.items.len() <= limit as usize));
            assert!(page.units.is_some_and(|units| units > 0.0) || page.items.is_empty(), "{:?}", page.units);
            items.extend(page.items);
            let Some(next) = page.next else { break };
            let Position::Key(next) = next else { panic!("{next:?}") };
            start = Some(Position::Key(ItemKey::from_text(&next.to_text()).unwrap()));
        }
    }
    items
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_segmentation_reads_every_item_once() {
    let harness = Harness::start();
    read_segmentations(&harness, &[(1, None, false), (3, Some(37), true), (16, Some(1), false), (50, None, true)])
        .await;
}

/// Reads a table with these numbers of segments, page limits and consistencies. Uses both the client under test and the
/// lean client.
async fn read_segmentations(harness: &Harness, segmentations: &[(u32, Option<u32>, bool)]) {
    let name = harness.create_table().await;
    let expected: BTreeMap<String, String> = (0..600)
        .map(|n| {
            // One partition key has many items. Every other partition key has one item.
            let pk = if n % 4 == 0 { "hot".to_owned() } else { format!("k{n}") };
            let mut item = item(&pk, &json!({"n": {"N": n.to_string()}, "text": {"S": "y".repeat(n)}}));
            item.insert("sk".into(), Value::S(format!("{n}")));
            item
        })
        .map(|item| (key_of(&item).to_text(), bytes_of(&item)))
        .collect();
    let items =
        expected.values().map(|text| backfill::internals::item::item_from_json(&text.parse().unwrap()).unwrap());
    harness.load(&name, items).await;
    let lean = Table::lean(sdk_table(harness, &name).await).await;
    for table in [table(harness, &name).await, lean] {
        for (segments, limit, consistent) in segmentations {
            let items = scan(&table, *segments, *limit, *consistent).await;
            assert_eq!(items.len(), expected.len(), "{segments} segments, limit {limit:?}");
            let found: BTreeMap<String, String> = items.iter().map(|i| (key_of(i).to_text(), bytes_of(i))).collect();
            assert_eq!(found, expected, "{segments} segments, limit {limit:?}");
        }
    }
}

/// A scan that requests only keys costs as much as a scan of whole items, and returns the keys of the same items.
/// Before the tool has described the table, such a scan returns whole items.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_for_keys_returns_keys_at_the_same_cost() {
    let harness = Harness::start();
    let name = harness.create_table().await;
    harness.load(&name, (0..40).map(|n| item(&format!("k{n}"), &json!({"text": {"S": "y".repeat(2_000)}})))).await;
    let table = table(&harness, &name).await;
    let whole =
        PageRequest { segment: 0, total_segments: 1, start: None, limit: Some(25), consistent: true, keys_only: false };
    let keys = PageRequest { keys_only: true, ..whole.clone() };
    let page = table.read_page(&whole).await.unwrap();
    assert_eq!(table.read_page(&keys).await.unwrap(), page, "the tool does not know the key yet");
    let schema = table.describe().await.unwrap().key;
    let looked = table.read_page(&keys).await.unwrap();
    assert_eq!((looked.items.len(), &looked.next, looked.units), (25, &page.next, page.units));
    for (key, item) in looked.items.iter().zip(&page.items) {
        assert_eq!(key, schema.key_of(item).unwrap().attributes());
    }
    let logged: Vec<bool> = harness.proxy().tally().scans.iter().map(|page| page.keys_only).collect();
    assert_eq!(logged, [false, false, true]);
}

/// The embedded engine has 4,096 hash buckets. If a scan has more segments than the engine has buckets, some segments
/// are empty, but no item is lost or returned twice. `segments = "auto"` can exceed the number of buckets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_segments_than_hash_buckets_read_every_item_once() {
    let harness = Harness::embedded();
    let name = harness.create_table().await;
    let items = (0..600).map(|n| item(&format!("k{n}"), &json!({"n": {"N": n.to_string()}})));
    harness.load(&name, items).await;
    let table = table(&harness, &name).await;
    for segments in [4_097, 6_000] {
        let found = scan(&table, segments, Some(250), false).await;
        let keys: std::collections::BTreeSet<String> = found.iter().map(|item| key_of(item).to_text()).collect();
        assert_eq!((found.len(), keys.len()), (600, 600), "{segments} segments");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_names_the_key_and_the_table() {
    let harness = Harness::start();
    let name = harness.create_table().await;
    let found = table(&harness, &name).await.describe().await.unwrap();
    assert_eq!((found.name.as_str(), found.status.as_str()), (name.as_str(), "ACTIVE"));
    assert_eq!(found.key, crate::harness::key_schema());
    assert_eq!((found.provisioned, found.indexes.len()), (None, 0));
    assert!(found.arn.ends_with(&format!("table/{name}")), "{}", found.arn);
}

fn element(attribute: &str, role: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(attribute).key_type(role).build().unwrap()
}

fn definition(attribute: &str, kind: Kind) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(attribute).attribute_type(kind).build().unwrap()
}

fn provisioned(read: i64, write: i64) -> ProvisionedThroughput {
    ProvisionedThroughput::builder().read_capacity_units(read).write_capacity_units(write).build().unwrap()
}

fn projection(kind: ProjectionType) -> SdkProjection {
    let included = (kind == ProjectionType::Include).then(|| vec!["n".to_owned(), "m".to_owned()]);
    SdkProjection::builder().projection_type(kind).set_non_key_attributes(included).build()
}

/// The estimated cost of a write and the limits of a budget depend on a correct table description.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_has_the_indexes_and_the_provisioned_capacity() {
    let harness = Harness::start();
    let name = format!("indexes_{}_{}", std::process::id(), fastrand::u32(..));
    let by_mail = GlobalSecondaryIndex::builder()
        .index_name("by.mail")
        .key_schema(element("mail", KeyType::Hash))
        .key_schema(element("age", KeyType::Range))
        .projection(projection(ProjectionType::Include))
        .provisioned_throughput(provisioned(3, 7));
    let by_age = GlobalSecondaryIndex::builder()
        .index_name("by-age")
        .key_schema(element("age", KeyType::Hash))
        .projection(projection(ProjectionType::All))
        .provisioned_throughput(provisioned(11, 13));
    let by_date = LocalSecondaryIndex::builder()
        .index_name("by_date")
        .key_schema(element("pk", KeyType::Hash))
        .key_schema(element("day", KeyType::Range))
        .projection(projection(ProjectionType::KeysOnly));
    let mut request = harness.client().create_table().table_name(&name).provisioned_throughput(provisioned(40, 20));
    for (attribute, kind) in [("pk", Kind::S), ("sk", Kind::S), ("mail", Kind::S), ("age", Kind::N), ("day", Kind::B)] {
        request = request.attribute_definitions(definition(attribute, kind));
    }
    let request = request
        .key_schema(element("pk", KeyType::Hash))
        .key_schema(element("sk", KeyType::Range))
        .global_secondary_indexes(by_mail.build().unwrap())
        .global_secondary_indexes(by_age.build().unwrap())
        .local_secondary_indexes(by_date.build().unwrap());
    request.send().await.unwrap();
    harness.wait_until_active(&name).await;

    let found = table(&harness, &name).await.describe().await.unwrap();
    assert_eq!((found.provisioned, found.on_demand_max), (Some((40.0, 20.0)), (None, None)));
    assert!(found.indexes.last().is_some_and(|index| index.schema.local), "global indexes come first");
    let index = |name: &str| found.indexes.iter().find(|index| index.schema.name == name).unwrap();
    let included = Projection::Include(vec!["n".into(), "m".into()]);
    for (name, key, projection, local, provisioned) in [
        ("by.mail", vec![("mail", "S"), ("age", "N")], included, false, Some((3.0, 7.0))),
        ("by-age", vec![("age", "N")], Projection::All, false, Some((11.0, 13.0))),
        ("by_date", vec![("pk", "S"), ("day", "B")], Projection::KeysOnly, true, None),
    ] {
        let key = key.into_iter().map(|(name, kind)| KeyAttribute { name: name.into(), kind: kind.into() }).collect();
        let mut schema = index(name).schema.clone();
        let stated = IndexSchema { name: name.into(), key, partition: 1, projection, local };
        // The server can return included attributes in any order.
        if let (Projection::Include(found), Projection::Include(stated)) = (&mut schema.projection, &stated.projection)
        {
            found.sort_by_key(|attribute| stated.iter().position(|name| name == attribute));
        }
        assert_eq!(schema, stated);
        assert_eq!((index(name).provisioned, index(name).on_demand_max), (provisioned, (None, None)), "{name}");
    }
    assert_eq!(found.indexes.len(), 3);
}

/// Items whose keys are numbers or bytes can be read page by page and written by key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_other_types_work_the_same_way() {
    let harness = Harness::start();
    let number = |text: &str| Value::N(Num::parse(text).unwrap());
    let keys: Vec<Item> =
        [("-1.5", vec![0]), ("-1.5", vec![0, 255]), ("0", vec![1]), ("12345678901234567890", vec![b'"'])]
            .into_iter()
            .map(|(pk, sk)| [("no".to_owned(), number(pk)), ("a.b".to_owned(), Value::B(sk))].into())
            .collect();
    let name = format!("keys_{}_{}", std::process::id(), fastrand::u32(..));
    let mut request = harness.client().create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest);
    for (attribute, role, kind) in [("no", KeyType::Hash, Kind::N), ("a.b", KeyType::Range, Kind::B)] {
        request = request.key_schema(element(attribute, role)).attribute_definitions(definition(attribute, kind));
    }
    request.send().await.unwrap();
    harness.wait_until_active(&name).await;
    for key in &keys {
        harness.client().put_item().table_name(&name).set_item(Some(to_sdk(key))).send().await.unwrap();
    }
    let table = table(&harness, &name).await;
    let schema = table.describe().await.unwrap().key;
    let found = scan(&table, 2, Some(1), true).await;
    assert_eq!(found.len(), keys.len());
    assert!(keys.iter().all(|key| found.contains(key)));
    for item in &found {
        let key = schema.key_of(item).unwrap();
        let v = Path::attribute("v");
        let write = GuardedWrite {
            key: key.clone(),
            actions: vec![Action::SetValue { to: v.clone(), value: Value::Null }],
            conditions: vec![Condition::ItemExists("no".into()), Condition::Missing(v.clone())],
            equal_values: vec![],
            pre_images: vec![],
            bytes_before: 0,
            bytes_after: 0,
            cost: WriteCost::default(),
            cost_elsewhere: None,
            next: None,
        };
        let replies = [table.write(&[&write]).await, table.write(&[&write]).await].concat();
        assert!(matches!(replies[0], Ok(WriteReply::Applied { .. })), "{replies:?}");
        assert!(matches!(replies[1], Ok(WriteReply::ConditionFailed { .. })), "{replies:?}");
        assert_eq!(v.get(&table.get(&key).await.unwrap().item.unwrap()), Some(&Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_table_is_fatal_for_every_operation() {
    let harness = Harness::start();
    let table = table(&harness, "no-such-table").await;
    let key = key_of(&item("x", &json!({})));
    let request =
        PageRequest { segment: 0, total_segments: 1, start: None, limit: None, consistent: false, keys_only: false };
    let write = GuardedWrite {
        key: key.clone(),
        actions: vec![Action::SetValue { to: Path::attribute("v"), value: Value::Null }],
        conditions: vec![Condition::ItemExists("pk".into())],
        equal_values: vec![],
        pre_images: vec![],
        bytes_before: 0,
        bytes_after: 0,
        cost: WriteCost::default(),
        cost_elsewhere: None,
        next: None,
    };
    let errors = [
        table.describe().await.unwrap_err(),
        table.read_page(&request).await.unwrap_err(),
        table.get(&key).await.unwrap_err(),
        table.write(&[&write]).await.remove(0).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, TableError::Fatal { kind: FatalKind::TableMissing, .. }), "{error:?}");
    }
}
