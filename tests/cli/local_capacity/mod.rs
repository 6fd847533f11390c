//! Tests the capacity model over real sockets: the errors that the SDK receives, the units that the model charges, the
//! description of the table, and the effect on an application. Rates are extremely low or extremely high, so that no
//! test depends on the clock.

mod command;
mod follow;

use std::sync::Arc;
use std::time::Duration;

use crate::harness::{Harness, tool};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate,
    KeySchemaElement, KeyType, Projection, ProjectionType, ReturnConsumedCapacity, ScalarAttributeType,
    TableDescription,
};
use backfill::internals::local::capacity::{
    BurstSpec, IndexSpec, LimitScope, Maximum, Model, ModelSpec, PartitionSpec, RequestKind, Throughput,
};
use backfill::internals::local::traffic::{HttpApplication, Traffic, TrafficReport, TrafficSpec};
use tokio_util::sync::CancellationToken;

/// A limit in units per second. It is so low that one unit takes hours to recover.
const TINY_LIMIT: f64 = 0.000_1;

const PLENTY: f64 = 1e6;

const NO_BURST: BurstSpec = BurstSpec { seconds: 0.0, available: 1.0, initial: 1.0 };

async fn harness(spec: impl FnOnce(&mut ModelSpec)) -> (Harness, String) {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let mut whole = ModelSpec { table: table.clone(), burst: NO_BURST, ..ModelSpec::default() };
    spec(&mut whole);
    harness.proxy().set_model(Some(Model::new(whole)));
    (harness, table)
}

fn provisioned(read: f64, write: f64) -> Option<Throughput> {
    Some(Throughput { read, write })
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn put(harness: &Harness, table: &str, pk: &str) -> PutItemFluentBuilder {
    harness.client().put_item().table_name(table).item("pk", s(pk)).item("sk", s("x"))
}

async fn refused(put: PutItemFluentBuilder) -> PutItemError {
    put.send().await.unwrap_err().into_service_error()
}

/// Adds a global index on `g` that projects all attributes.
async fn add_index(harness: &Harness, table: &str) {
    let key = KeySchemaElement::builder().attribute_name("g").key_type(KeyType::Hash).build().unwrap();
    let projection = Projection::builder().projection_type(ProjectionType::All).build();
    let create = CreateGlobalSecondaryIndexAction::builder().index_name("by-g").key_schema(key).projection(projection);
    let define = AttributeDefinition::builder().attribute_name("g").attribute_type(ScalarAttributeType::S);
    harness
        .client()
        .update_table()
        .table_name(table)
        .attribute_definitions(define.build().unwrap())
        .global_secondary_index_updates(GlobalSecondaryIndexUpdate::builder().create(create.build().unwrap()).build())
        .send()
        .await
        .unwrap();
}

fn index_on_g(write: Option<f64>) -> Vec<IndexSpec> {
    vec![IndexSpec { name: "by-g".into(), write, ..IndexSpec::default() }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioned_table_throttles_with_its_exception_and_names_the_limit() {
    let (harness, table) = harness(|spec| spec.provisioned = provisioned(PLENTY, TINY_LIMIT)).await;
    put(&harness, &table, "a").send().await.unwrap();
    let error = refused(put(&harness, &table, "b")).await;
    let PutItemError::ProvisionedThroughputExceededException(error) = error else { panic!("{error:?}") };
    let [reason] = error.throttling_reasons() else { panic!("{error:?}") };
    assert_eq!(reason.reason(), Some("TableWriteProvisionedThroughputExceeded"));
    let described = harness.client().describe_table().table_name(&table).send().await.unwrap();
    assert_eq!(reason.resource(), described.table().unwrap().table_arn());
    assert!(error.message().unwrap().contains("provisioned throughput"));

    // The throttled write was not applied, and reads still work.
    let get = |pk: &str| harness.client().get_item().table_name(&table).key("pk", s(pk)).key("sk", s("x"));
    assert!(get("a").send().await.unwrap().item.is_some());
    assert!(get("b").send().await.unwrap().item.is_none());
    let puts = harness.proxy().tally().operation("PutItem");
    assert_eq!((puts.requests, puts.ok, puts.throttled, puts.injected), (2, 1, 1, 0));
    assert_eq!(harness.proxy().model(|model, _| model.stats().throttled.write), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_demand_throttles_with_the_other_exception_and_the_other_spelling() {
    let (harness, table) = harness(|spec| {
        spec.on_demand = Some(Maximum { read: None, write: Some(TINY_LIMIT) });
    })
    .await;
    put(&harness, &table, "a").send().await.unwrap();
    let error = refused(put(&harness, &table, "b")).await;
    let PutItemError::ThrottlingException(error) = error else { panic!("{error:?}") };
    let reasons: Vec<_> = error.throttling_reasons().iter().filter_map(|r| r.reason()).collect();
    assert_eq!(reasons, ["TableWriteMaxOnDemandThroughputExceeded"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_engines_give_no_reason() {
    let (harness, table) = harness(|spec| {
        spec.provisioned = provisioned(PLENTY, TINY_LIMIT);
        spec.reasons = false;
    })
    .await;
    put(&harness, &table, "a").send().await.unwrap();
    let error = refused(put(&harness, &table, "b")).await;
    let PutItemError::ProvisionedThroughputExceededException(error) = error else { panic!("{error:?}") };
    assert_eq!(error.throttling_reasons(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_partition_throttles_its_own_keys_only() {
    let (harness, table) = harness(|spec| {
        spec.partitions = PartitionSpec { count: Some(4_096), write: TINY_LIMIT, ..spec.partitions };
    })
    .await;
    put(&harness, &table, "a").send().await.unwrap();
    let error = refused(put(&harness, &table, "a")).await;
    let PutItemError::ThrottlingException(error) = error else { panic!("{error:?}") };
    assert_eq!(error.throttling_reasons()[0].reason(), Some("TableWriteKeyRangeThroughputExceeded"));
    put(&harness, &table, "b").send().await.unwrap();
    let hot = harness.proxy().model(|model, _| {
        model.partitions().into_iter().filter(|part| part.served.write > 0.0).map(|p| p.throttled.write).sum::<u64>()
    });
    assert_eq!(hot, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_without_write_capacity_throttles_every_write_to_the_table() {
    let (harness, table) = harness(|spec| {
        spec.provisioned = provisioned(PLENTY, PLENTY);
        spec.partitions = PartitionSpec { count: Some(1), read: PLENTY, write: PLENTY, ..spec.partitions };
        spec.indexes = index_on_g(Some(TINY_LIMIT));
    })
    .await;
    add_index(&harness, &table).await;
    put(&harness, &table, "outside").send().await.unwrap();
    put(&harness, &table, "inside").item("g", s("1")).send().await.unwrap();
    let error = refused(put(&harness, &table, "outside again")).await;
    let PutItemError::ProvisionedThroughputExceededException(error) = error else { panic!("{error:?}") };
    let reason = &error.throttling_reasons()[0];
    assert_eq!(reason.reason(), Some("IndexWriteProvisionedThroughputExceeded"));
    assert!(reason.resource().unwrap().ends_with(&format!("table/{table}/index/by-g")), "{reason:?}");
    harness.client().scan().table_name(&table).send().await.unwrap();
    let charged = harness.proxy().model(|model, _| (model.stats().table.write, model.stats().indexes[0].write));
    assert_eq!(charged, Some((2.0, 1.0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_clients_that_ask_see_capacity_by_index() {
    let (harness, table) = harness(|spec| spec.indexes = index_on_g(None)).await;
    add_index(&harness, &table).await;
    let ask = |level: Option<ReturnConsumedCapacity>| {
        put(&harness, &table, "a").item("g", s("1")).set_return_consumed_capacity(level).send()
    };
    assert_eq!(ask(None).await.unwrap().consumed_capacity, None);
    put(&harness, &table, "b").item("g", s("1")).send().await.unwrap();
    let total = put(&harness, &table, "c").item("g", s("1")).return_consumed_capacity(ReturnConsumedCapacity::Total);
    let total = total.send().await.unwrap().consumed_capacity.unwrap();
    assert_eq!((total.capacity_units, total.table, total.global_secondary_indexes), (Some(2.0), None, None));
    let all = put(&harness, &table, "d").item("g", s("1")).return_consumed_capacity(ReturnConsumedCapacity::Indexes);
    let all = all.send().await.unwrap().consumed_capacity.unwrap();
    assert_eq!(all.global_secondary_indexes.unwrap()["by-g"].capacity_units, Some(1.0));
}

/// For each kind of request, the model charges the units that the server reports. It charges a page's units to the
/// partitions that contain the page's items.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_charges_what_the_server_consumed() {
    let (harness, table) = harness(|spec| spec.partitions.count = Some(4)).await;
    let items = (0..400).map(|i| tool::item(&format!("k{i}"), "x", []));
    harness.load(&table, items).await;
    for i in 0..20 {
        put(&harness, &table, &format!("k{i}")).item("v", s(&"x".repeat(1_500))).send().await.unwrap();
    }
    harness
        .client()
        .query()
        .table_name(&table)
        .key_condition_expression("pk = :p")
        .expression_attribute_values(":p", s("k1"))
        .send()
        .await
        .unwrap();
    for segment in 0..8 {
        let mut start = None;
        loop {
            let page = harness.client().scan().table_name(&table).segment(segment).total_segments(8).limit(10);
            let page = page.set_exclusive_start_key(start).send().await.unwrap();
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
    }
    let tally = harness.proxy().tally();
    let (stats, partitions) = harness.proxy().model(|model, _| (model.stats().clone(), model.partitions())).unwrap();
    assert!((stats.table.read - tally.read_units()).abs() < 1e-6, "{stats:?} {}", tally.read_units());
    assert_eq!((stats.table.write, tally.write_units()), (40.0, 40.0));
    assert_eq!(stats.admitted.read, tally.operation("Scan").ok + tally.operation("Query").ok);
    let quarter = stats.table.read / 4.0;
    for partition in &partitions {
        assert!((partition.served.read / quarter - 1.0).abs() < 0.35, "{partitions:?}");
    }

    // The reply to a failed condition reports no units. The model charges the request by the size of the item in the
    // reply.
    let refused = put(&harness, &table, "k1").condition_expression("attribute_not_exists(pk)");
    let with_image = refused
        .clone()
        .return_values_on_condition_check_failure(aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld);
    for (put, units) in [(refused, 1.0), (with_image, 2.0)] {
        let before = harness.proxy().model(|model, _| model.stats().table.write).unwrap();
        assert!(put.send().await.unwrap_err().into_service_error().is_conditional_check_failed_exception());
        let after = harness.proxy().model(|model, _| model.stats().table.write).unwrap();
        assert_eq!(after - before, units);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_tables_have_no_limit_and_the_server_reports_missing_ones() {
    let (harness, table) = harness(|spec| {
        spec.provisioned = provisioned(PLENTY, TINY_LIMIT);
        spec.table = "not-there-yet".into();
    })
    .await;
    for i in 0..5 {
        put(&harness, &table, &i.to_string()).send().await.unwrap();
    }
    let error = refused(put(&harness, "not-there-yet", "a")).await;
    assert!(error.is_resource_not_found_exception(), "{error:?}");
    harness.proxy().set_model(None);
    assert_eq!(harness.proxy().model(|_, now| now), None);
}

async fn described(harness: &Harness, table: &str) -> TableDescription {
    harness.client().describe_table().table_name(table).send().await.unwrap().table.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn describe_table_shows_the_models_limits() {
    let (harness, table) = harness(|spec| {
        spec.scale = 0.5;
        spec.provisioned = provisioned(300.0, 100.5);
        spec.indexes = index_on_g(Some(40.0));
    })
    .await;
    add_index(&harness, &table).await;
    let shown = described(&harness, &table).await;
    let read_and_write = |p: Option<&aws_sdk_dynamodb::types::ProvisionedThroughputDescription>| {
        p.map(|p| (p.read_capacity_units(), p.write_capacity_units())).unwrap()
    };
    assert_eq!(read_and_write(shown.provisioned_throughput()), (Some(150), Some(50)), "rounded down");
    let billing = |shown: &TableDescription| shown.billing_mode_summary().and_then(|b| b.billing_mode().cloned());
    assert_eq!(billing(&shown), Some(BillingMode::Provisioned));
    // The model contains no read capacity for the index, so the index's description shows the table's read capacity.
    assert_eq!(read_and_write(shown.global_secondary_indexes()[0].provisioned_throughput()), (Some(150), Some(20)));
    assert_eq!(shown.key_schema().len(), 2);

    let set = |spec: ModelSpec| harness.proxy().set_model(Some(Model::new(ModelSpec { table: table.clone(), ..spec })));
    let maxima = Some(Maximum { read: None, write: Some(250.0) });
    set(ModelSpec { on_demand: maxima, indexes: index_on_g(Some(40.0)), ..ModelSpec::default() });
    let shown = described(&harness, &table).await;
    assert_eq!(billing(&shown), Some(BillingMode::PayPerRequest));
    let maxima = |m: Option<&aws_sdk_dynamodb::types::OnDemandThroughput>| {
        m.map(|m| (m.max_read_request_units(), m.max_write_request_units()))
    };
    assert_eq!(maxima(shown.on_demand_throughput()), Some((None, Some(250))));
    assert_eq!(maxima(shown.global_secondary_indexes()[0].on_demand_throughput()), Some((None, Some(40))));
    let warm = shown.warm_throughput().map(|w| (w.read_units_per_second(), w.write_units_per_second()));
    assert_eq!(warm, Some((Some(12_000), Some(4_000))));

    set(ModelSpec { provisioned: provisioned(7.0, 7.0), advertise: false, ..ModelSpec::default() });
    assert_eq!(
        billing(&described(&harness, &table).await),
        Some(BillingMode::PayPerRequest),
        "the engine's own description"
    );
}

/// Runs the application until it has sent this number of requests. Returns its report.
async fn application(harness: &Harness, table: &str, requests: u64) -> TrafficReport {
    let spec = TrafficSpec { writes_per_second: 200.0, reads_per_second: 100.0, keys: 50, ..TrafficSpec::default() };
    let traffic = Traffic::new(spec);
    let http = HttpApplication::connect(&harness.endpoint(), table).await.unwrap();
    let stop = CancellationToken::new();
    let enough = async {
        while traffic.report().sent() < requests {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    tokio::join!(traffic.run(Arc::new(http), stop.clone()), enough);
    traffic.report()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_is_throttled_on_a_small_table_but_not_on_a_large_one() {
    let (harness, table) = harness(|spec| spec.provisioned = provisioned(PLENTY, PLENTY)).await;
    let report = application(&harness, &table, 200).await;
    assert_eq!((report.throttled(), report.failed()), (0, 0), "{report}");
    assert_eq!((report.sent(), report.reads.served > 0, report.writes.served > 0), (report.served(), true, true));
    let stats = harness.proxy().model(|model, _| model.stats().clone()).unwrap();
    assert_eq!((stats.admitted.read, stats.admitted.write), (report.reads.served, report.writes.served));
    assert!(report.writes.latency.quantile(0.5) > Duration::ZERO);
    let keys: Vec<String> = harness.dump(&table).await.into_keys().collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| key.contains("app#")), "{keys:?}");

    let small = ModelSpec {
        table: table.clone(),
        provisioned: provisioned(PLENTY, TINY_LIMIT),
        burst: NO_BURST,
        ..ModelSpec::default()
    };
    harness.proxy().set_model(Some(Model::new(small)));
    let report = application(&harness, &table, 200).await;
    assert_eq!((report.reads.throttled, report.failed()), (0, 0), "{report}");
    assert_eq!(report.writes.served + report.writes.throttled, report.writes.sent);
    // The model admits requests before it charges them. So it also serves some writes that are in flight at the same
    // time as the first one.
    assert!(report.writes.throttled > report.writes.served && report.writes.served >= 1, "{report}");
    let reasons: Vec<_> = report.writes.reasons.into_iter().collect();
    assert_eq!(reasons, [("TableWriteProvisionedThroughputExceeded".to_owned(), report.writes.throttled)]);
    let left = harness.proxy().model(|model, now| model.balance(now, LimitScope::Table, RequestKind::Write)).unwrap();
    assert!(left < 0.0, "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_needs_a_table_with_string_keys() {
    let harness = Harness::embedded();
    let error = HttpApplication::connect(&harness.endpoint(), "missing").await.err().unwrap().to_string();
    assert!(error.contains("\"missing\"") && error.contains("ResourceNotFoundException"), "{error}");
    let request = serde_json::json!({
        "TableName": "numbers", "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "N"}],
    });
    harness.local().unwrap().engine().create_table(&request).unwrap();
    let error = HttpApplication::connect(&harness.endpoint(), "numbers").await.err().unwrap().to_string();
    assert!(error.contains("app#") && error.contains("\"numbers\""), "{error}");
}
