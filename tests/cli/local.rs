//! Tests the embedded engine, the proxy in front of it and the sample table, over real sockets and with the AWS SDK.

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

/// Converts a value of the SDK into a value of this crate, so that sets and numbers compare as in DynamoDB.
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

/// Reads every page of every segment. Returns the items, and the number of items on all pages.
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

/// Checks the query plan instead of measuring the time: SQLite must search the index for each page, and must sort
/// nothing.
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

/// Starts an engine with the empty sample table. The proxy injects the fault into the `nth` request of the operation.
fn start_with_fault(fault: Fault, operation: &'static str, nth: u64) -> Local {
    let local = local(0, None);
    local.proxy().unwrap().set_faults(Some(Arc::new(move |request| {
        let hit = request.operation == operation && request.operation_sequence == nth;
        if hit { fault.clone() } else { Fault::Pass }
    })));
    local
}

fn put(client: &Client, pk: &str) -> aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder {
    client.put_item().table_name(sample::TABLE).item("pk", s(pk)).item("sk", s("x"))
}

async fn exists(client: &Client, pk: &str) -> bool {
    let get = client.get_item().table_name(sample::TABLE).key("pk", s(pk)).key("sk", s("x")).consistent_read(true);
    get.send().await.unwrap().item.is_some()
}

#[tokio::test]
async fn a_dropped_reply_leaves_the_write_applied() {
    let local = start_with_fault(Fault::DropReply, "PutItem", 1);
    let client = client(&local.endpoint());
    put(&client, "a").send().await.unwrap();
    let error = put(&client, "b").send().await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_) | SdkError::ResponseError(_)), "{error:?}");
    assert!(exists(&client, "b").await, "the write was applied");
    put(&client, "c").send().await.unwrap();

    let tally = local.proxy().unwrap().tally();
    let puts = tally.operation("PutItem");
    assert_eq!((puts.requests, puts.ok, puts.dropped), (3, 3, 1));
    assert_eq!(puts.write_units, 3.0, "the dropped request consumed its unit");
}

#[tokio::test]
async fn a_reset_request_is_not_applied() {
    let local = start_with_fault(Fault::Reset, "PutItem", 0);
    let client = client(&local.endpoint());
    let error = put(&client, "a").send().await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    assert!(!exists(&client, "a").await);
    let puts = local.proxy().unwrap().tally().operation("PutItem");
    assert_eq!((puts.requests, puts.ok, puts.reset), (1, 0, 1));
}

#[test]
fn a_reset_is_a_reset_on_the_wire() {
    let local = start_with_fault(Fault::Reset, "PutItem", 0);
    let mut stream = TcpStream::connect(local.endpoint().strip_prefix("http://").unwrap()).unwrap();
    let request =
        "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: DynamoDB_20120810.PutItem\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_sdk_recognises_an_injected_throttle() {
    let reasons =
        json!([{"reason": "TableWriteKeyRangeThroughputExceeded", "resource": "arn:aws:dynamodb:x:1:table/shop"}]);
    let reply = |error: &str, member: &str| Fault::Reply {
        status: 400,
        error: error.into(),
        message: "slow down".into(),
        extra: Map::from_iter([(member.to_owned(), reasons.clone())]),
    };
    for (error, member) in [
        ("ThrottlingException", "throttlingReasons"),
        ("ProvisionedThroughputExceededException", "ThrottlingReasons"),
        ("RequestLimitExceeded", "ThrottlingReasons"),
    ] {
        let local = start_with_fault(reply(error, member), "PutItem", 0);
        let client = client(&local.endpoint());
        let seen = put(&client, "a").send().await.unwrap_err().into_service_error();
        assert_eq!((seen.code(), seen.message()), (Some(error), Some("slow down")));
        assert!(format!("{seen:?}").contains("TableWriteKeyRangeThroughputExceeded"), "{seen:?}");
        assert!(!exists(&client, "a").await);

        let puts = local.proxy().unwrap().tally().operation("PutItem");
        assert_eq!((puts.requests, puts.ok, puts.injected), (1, 0, 1));
        assert_eq!(puts.errors, BTreeMap::from([((400, error.to_owned()), 1)]));
    }
}

#[tokio::test]
async fn a_delay_delays_and_without_a_rule_nothing_is_faulted() {
    let local = start_with_fault(Fault::Delay(Duration::from_millis(150)), "PutItem", 0);
    let client = client(&local.endpoint());
    let began = Instant::now();
    put(&client, "a").send().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(150));
    local.proxy().unwrap().set_faults(None);
    put(&client, "b").send().await.unwrap();
    assert!(exists(&client, "a").await);
}

#[tokio::test]
async fn a_rule_sees_the_request() {
    let local = local(0, None);
    local.proxy().unwrap().set_faults(Some(Arc::new(|request| {
        let hit = request.table() == Some(sample::TABLE) && request.body()["Item"]["pk"]["S"] == "bad";
        if hit { Fault::Reset } else { Fault::Pass }
    })));
    let client = client(&local.endpoint());
    put(&client, "good").send().await.unwrap();
    put(&client, "bad").send().await.unwrap_err();
}

#[tokio::test]
async fn the_tally_is_exact_and_only_clients_that_ask_see_capacity() {
    let local = local(600, None);
    let client = client(&local.endpoint());
    let proxy = local.proxy().unwrap();
    proxy.reset_tally();
    assert_eq!(proxy.tally(), ProxyTally::default());

    let put_reply = put(&client, "a").return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.unwrap();
    assert_eq!(put_reply.consumed_capacity.unwrap().capacity_units, Some(1.0));
    let large = put(&client, "b").item("v", s(&"x".repeat(3_000))).send().await.unwrap();
    assert_eq!(large.consumed_capacity, None, "the client did not ask for the consumed capacity");
    let refused = put(&client, "a").condition_expression("attribute_not_exists(pk)").send().await.unwrap_err();
    assert!(refused.into_service_error().is_conditional_check_failed_exception());
    let statement = |pk: &str| {
        let text = format!("UPDATE \"shop\" SET v = 'w' WHERE pk = '{pk}' AND sk = 'x'");
        aws_sdk_dynamodb::types::BatchStatementRequest::builder().statement(text).build().unwrap()
    };
    let batch = client.batch_execute_statement().statements(statement("a")).statements(statement("b")).send().await;
    assert_eq!(batch.unwrap().consumed_capacity, None);
    let (items, _) = scan(&client, 4, Some(50)).await;
    assert_eq!(items.len(), 602);
    let mut counted_by_client = 0.0;
    for segment in 0..4 {
        let page = client.scan().table_name("shop").segment(segment).total_segments(4).limit(50);
        let page = page.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.unwrap();
        counted_by_client += page.consumed_capacity.unwrap().capacity_units.unwrap();
    }

    let tally = proxy.tally();
    let puts = tally.operation("PutItem");
    assert_eq!((puts.requests, puts.ok), (3, 2));
    assert_eq!(puts.errors, BTreeMap::from([((400, "ConditionalCheckFailedException".to_owned()), 1)]));
    assert_eq!(puts.write_units, 4.0, "the two successful puts report 1 and 3 units, and an error reports none");
    let batches = tally.operation("BatchExecuteStatement");
    assert_eq!((batches.requests, batches.ok, batches.write_units, batches.read_units), (1, 1, 4.0, 0.0));
    let scans = tally.operation("Scan");
    assert_eq!(scans.ok as usize, tally.scans.len());
    assert!(scans.read_units > counted_by_client && counted_by_client > 0.0);
    // The test requested the first page of each segment twice, and every other page once.
    for (page, times) in tally.times_sent() {
        assert_eq!((page.table.as_str(), page.total_segments, page.sent), ("shop", Some(4), true));
        assert_eq!(times, if page.start_key.is_none() { 2 } else { 1 }, "{page:?}");
    }
    let first = &tally.scans[1];
    assert_eq!(first.segment, Some(0));
    let start: serde_json::Value = serde_json::from_str(first.start_key.as_deref().unwrap()).unwrap();
    assert!(items.contains_key(&key(&item_from_json(&start).unwrap())));
}

#[tokio::test]
async fn every_request_of_many_clients_is_counted() {
    let local = local(0, None);
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..16 {
        let client = client(&local.endpoint());
        tasks.spawn(async move {
            for i in 0..50 {
                put(&client, &format!("{worker}-{i}")).send().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let tally = local.proxy().unwrap().tally();
    assert_eq!((tally.operation("PutItem").ok, tally.requests(), tally.write_units()), (800, 800, 800.0));
    assert_eq!(local.engine().count(sample::TABLE).unwrap(), Some(800));
}

/// A request is applied and counted even if its client has disconnected, as on a real server.
#[tokio::test]
async fn a_request_is_counted_even_if_its_client_hangs_up() {
    let local = start_with_fault(Fault::Delay(Duration::from_millis(100)), "PutItem", 0);
    let client = client(&local.endpoint());
    let gone = tokio::time::timeout(Duration::from_millis(30), put(&client, "a").send()).await;
    assert!(gone.is_err());
    let began = Instant::now();
    while local.proxy().unwrap().tally().operation("PutItem").ok == 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "the request was not counted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(exists(&client, "a").await);
}

#[tokio::test]
async fn a_restart_on_the_same_file_finds_the_items() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.db");
    let first = local(500, Some(&file));
    assert_eq!(first.table().unwrap().origin, SampleOrigin::Loaded);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    put(&client(&first.endpoint()), "mine").send().await.unwrap();
    first.stop();

    // The second start requests a different number of items, but the table keeps its existing items.
    let second = local(900, Some(&file));
    let table = second.table().unwrap();
    assert_eq!((table.origin, table.items), (SampleOrigin::Existing, 501));
    assert!(exists(&client(&second.endpoint()), "mine").await);
}

/// A process is killed while it loads the sample table. The process is this test binary, started again as a child.
#[test]
fn a_killed_load_is_noticed_and_repeated() {
    const ITEMS: u64 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.db");
    let test = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(test)
        .args(["--exact", "local::loads_until_it_is_killed", "--nocapture"])
        .env(LOAD_INTO, &file)
        .env("ITEMS", ITEMS.to_string())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while rows_in(&file) < 4_000 {
        assert!(began.elapsed() < Duration::from_secs(60), "the child loads nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = rows_in(&file);
    assert!(left < ITEMS, "the kill came too late: {left} rows");

    // The restart does not specify the number of items, because this number is recorded in the database file.
    let options = LocalOptions { db: Some(file.clone()), proxy: true, ..LocalOptions::default() };
    let again = Local::start(options).unwrap();
    let table = again.table().unwrap();
    assert_eq!((table.origin, table.items), (SampleOrigin::Reloaded, ITEMS));
    assert_eq!(again.engine().count(sample::TABLE).unwrap(), Some(ITEMS));
    again.stop();

    let after = local(ITEMS, Some(&file));
    assert_eq!(after.table().unwrap().origin, SampleOrigin::Existing);
}

const LOAD_INTO: &str = "BACKFILL_TEST_LOAD_INTO";

/// This function is not a test. It runs in the child process of the test above.
#[test]
fn loads_until_it_is_killed() {
    let Some(file) = std::env::var_os(LOAD_INTO) else { return };
    let items = std::env::var("ITEMS").unwrap().parse().unwrap();
    local(items, Some(Path::new(&file)));
}

fn rows_in(file: &Path) -> u64 {
    let open = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    open.and_then(|c| c.query_row("SELECT count(*) FROM shop", [], |row| row.get(0))).unwrap_or(0)
}

#[test]
fn unusable_files_and_ports_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let start = |file: &Path, port: u16| Engine::start(EngineOptions { db: Some(file.to_owned()), port }).map(|_| ());

    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "not a database, and somebody's notes; long enough to have a header".repeat(20)).unwrap();
    let before = std::fs::read(&text).unwrap();
    assert!(matches!(start(&text, 0), Err(LocalError::Foreign { .. })));
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let other = directory.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&other).unwrap();
    let error = start(&other, 0).unwrap_err();
    assert!(error.to_string().contains("of another program"), "{error}");
    assert_eq!(std::fs::read(&other).unwrap(), before);

    let nowhere = directory.path().join("no/such/directory/t.db");
    assert!(matches!(start(&nowhere, 0), Err(LocalError::File { .. })));
    assert!(matches!(start(directory.path(), 0), Err(LocalError::File { .. })));

    let ours = directory.path().join("ours.db");
    let running = Engine::start(EngineOptions { db: Some(ours.clone()), port: 0 }).unwrap();
    assert!(matches!(start(&ours, 0), Err(LocalError::InUse { .. })));
    running.stop();
    start(&ours, 0).unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    assert!(matches!(start(&ours, port), Err(LocalError::PortTaken { port: p, .. }) if p == port));
    let proxy = LocalOptions { port, proxy: true, items: Some(1), db: Some(ours), ..LocalOptions::default() };
    assert!(matches!(Local::start(proxy), Err(LocalError::PortTaken { .. })));
    let wrong = ProxyOptions { upstream: "localhost:8000".into(), ..ProxyOptions::default() };
    assert!(matches!(Proxy::start(wrong), Err(LocalError::Upstream { .. })));
}

/// This test runs only on Linux, because only there all of 127.0.0.0/8 is available without configuration.
#[cfg(target_os = "linux")]
#[test]
fn local_listens_only_on_the_given_address() {
    let listen = Some("127.0.0.2".parse().unwrap());
    let local = Local::start(LocalOptions { listen, proxy: true, ..LocalOptions::default() }).unwrap();
    let address = local.endpoint().strip_prefix("http://").unwrap().to_owned();
    assert!(address.starts_with("127.0.0.2:"), "{address}");
    TcpStream::connect(&address).unwrap();
    let elsewhere = address.replace("127.0.0.2", "127.0.0.1");
    assert!(TcpStream::connect(elsewhere).is_err());
    // The engine behind the proxy still listens on 127.0.0.1.
    assert!(local.engine().endpoint().starts_with("http://127.0.0.1:"));
}

#[test]
fn a_half_sent_request_does_not_delay_the_stop() {
    let local = local(10, None);
    let half = |endpoint: String| {
        let mut stream = TcpStream::connect(endpoint.strip_prefix("http://").unwrap()).unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{\"half\":").unwrap();
        stream
    };
    let _proxy = half(local.endpoint());
    let _engine = half(local.engine().endpoint());
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    local.stop();
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
}

#[test]
fn local_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Local>();
}

/// The engine can be dropped inside an async runtime. This happens if a test ends early.
#[tokio::test]
async fn local_can_be_dropped_inside_a_runtime() {
    drop(local(10, None));
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_a_server_error() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = ProxyOptions { upstream: format!("http://127.0.0.1:{port}"), ..ProxyOptions::default() };
    let proxy = Proxy::start(options).unwrap();
    let error = client(&proxy.endpoint()).list_tables().send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 503);
    assert_eq!(proxy.tally().operation("ListTables").errors, BTreeMap::from([((503, "ServiceUnavailable".into()), 1)]));
}

#[test]
fn a_refused_request_is_an_error_with_the_engines_message() {
    let engine = Engine::start(EngineOptions::default()).unwrap();
    let error = engine.create_table(&json!({"TableName": "x"})).unwrap_err();
    assert!(matches!(&error, LocalError::Engine(text) if !text.contains("VALIDATION:")), "{error}");
    engine.create_table(&sample::create_table_request("abc")).unwrap();
    assert_eq!(engine.load("abc", sample::items(1, 5_000)).unwrap(), 5_000);
    assert_eq!(engine.count("abc").unwrap(), Some(5_000));
    let unknown = engine.load("no-such-table", sample::items(1, 50_000)).unwrap_err();
    assert!(matches!(unknown, LocalError::Engine(_)), "{unknown}");
    engine.delete_table("abc").unwrap();
    assert_eq!(engine.count("abc").unwrap(), None);
}
