//! Tests that the proxy injects faults, and counts requests and capacity.

use super::*;

/// Starts an engine with an empty sample table. The proxy injects the fault into request number `nth` of the operation.
fn start_with_fault(fault: Fault, operation: &'static str, nth: u64) -> Local {
    let local = local(0, None);
    local.proxy().unwrap().set_faults(Some(Arc::new(move |request| {
        let hit = request.operation == operation && request.operation_sequence == nth;
        if hit { fault.clone() } else { Fault::Pass }
    })));
    local
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
async fn a_delay_delays_and_no_rule_means_no_fault() {
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

/// As on a real server, a request is applied and counted even if the client disconnects before the reply.
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
