//! Tests the embedded engine, the proxy in front of it and the sample table, over real sockets and with the AWS SDK.

mod faults;
mod process;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use backfill::internals::item::{Item, Value, item_from_json};
use backfill::internals::local::{
    Engine, EngineOptions, Fault, Local, LocalError, LocalOptions, Proxy, ProxyOptions, ProxyTally, SampleOrigin,
    sample,
};
use serde_json::{Map, json};

const SEED: u64 = 42;

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

fn local(items: u64, db: Option<&Path>) -> Local {
    let options = LocalOptions {
        db: db.map(Path::to_owned),
        items: Some(items),
        seed: SEED,
        proxy: true,
        ..LocalOptions::default()
    };
    Local::start(options).unwrap()
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// Converts a value of the SDK into a value of this crate. Sets and numbers are then compared in the same way as in
/// DynamoDB.
fn ours(value: &AttributeValue) -> Value {
    use backfill::internals::item::Num;
    let num = |n: &String| Num::from_wire(n.clone());
    match value {
        AttributeValue::S(s) => Value::S(s.clone()),
        AttributeValue::N(n) => Value::N(num(n)),
        AttributeValue::B(b) => Value::B(b.as_ref().to_vec()),
        AttributeValue::Bool(b) => Value::Bool(*b),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Ss(set) => Value::Ss(set.clone()),
        AttributeValue::Ns(set) => Value::Ns(set.iter().map(num).collect()),
        AttributeValue::Bs(set) => Value::Bs(set.iter().map(|b| b.as_ref().to_vec()).collect()),
        AttributeValue::L(list) => Value::L(list.iter().map(ours).collect()),
        AttributeValue::M(map) => Value::M(map.iter().map(|(k, v)| (k.clone(), ours(v))).collect()),
        other => panic!("{other:?}"),
    }
}

fn key(item: &Item) -> String {
    format!("{:?} {:?}", item["pk"], item["sk"])
}

/// Reads every page of every segment. Returns the items by key, and the total number of items on all pages.
async fn scan(client: &Client, total: i32, limit: Option<i32>) -> (BTreeMap<String, Item>, u64) {
    let mut items = BTreeMap::new();
    let mut seen = 0;
    for segment in 0..total {
        let mut start = None;
        loop {
            let page = client
                .scan()
                .table_name(sample::TABLE)
                .segment(segment)
                .total_segments(total)
                .set_limit(limit)
                .set_exclusive_start_key(start)
                .send()
                .await
                .unwrap();
            for item in page.items() {
                let item: Item = item.iter().map(|(name, value)| (name.clone(), ours(value))).collect();
                seen += 1;
                items.insert(key(&item), item);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
    }
    (items, seen)
}

#[tokio::test]
async fn parallel_scans_see_every_item_once_and_as_it_was_generated() {
    const ITEMS: u64 = 3_000;
    let expected: BTreeMap<_, _> = sample::items(SEED, ITEMS).map(|item| (key(&item), item)).collect();
    let local = local(ITEMS, None);
    let client = client(&local.endpoint());
    for (total, limit) in [(1, Some(250)), (4, None), (16, Some(100))] {
        let (items, seen) = scan(&client, total, limit).await;
        assert_eq!(seen, ITEMS, "{total} segments");
        assert_eq!(items, expected, "{total} segments");
    }
}

/// Checks the query plan instead of measuring the time. For each page, SQLite must search the index and must not sort.
#[tokio::test]
async fn a_table_created_over_http_is_indexed_for_parallel_scans() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.db");
    let options = LocalOptions { db: Some(file.clone()), proxy: true, ..LocalOptions::default() };
    let local = Local::start(options).unwrap();
    create_table(&client(&local.endpoint()), "made-by-a-test").await;

    let connection = rusqlite::Connection::open(&file).unwrap();
    let sql = "EXPLAIN QUERY PLAN SELECT pk, sk, item_json FROM \"made-by-a-test\" \
               WHERE (hash_prefix, pk, sk) > ('00', 'a', 'b') AND substr(hash_prefix, 1, 3) >= '000' \
               ORDER BY hash_prefix, pk, sk LIMIT 100";
    let plan: String = connection.query_row(sql, [], |row| row.get(3)).unwrap();
    assert!(plan.contains("USING INDEX made-by-a-test::hash ((hash_prefix,pk,sk)>"), "{plan}");
}

async fn create_table(client: &Client, name: &str) {
    use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
    let mut request = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        request = request
            .key_schema(KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap())
            .attribute_definitions(
                AttributeDefinition::builder()
                    .attribute_name(name)
                    .attribute_type(ScalarAttributeType::S)
                    .build()
                    .unwrap(),
            );
    }
    request.send().await.unwrap();
}

fn put(client: &Client, pk: &str) -> aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder {
    client.put_item().table_name(sample::TABLE).item("pk", s(pk)).item("sk", s("x"))
}

async fn exists(client: &Client, pk: &str) -> bool {
    let get = client.get_item().table_name(sample::TABLE).key("pk", s(pk)).key("sk", s("x")).consistent_read(true);
    get.send().await.unwrap().item.is_some()
}
