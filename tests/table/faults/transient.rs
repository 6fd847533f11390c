//! Tests that throttles, server errors, resets and hangs are retried and never make an item fail.

use super::*;

/// Every error after which a client should retry later. Each one has its name, its HTTP status, and the name of its
/// JSON member for throttling reasons, if any.
const RETRYABLE_ERRORS: [(&str, u16, Option<&str>); 13] = [
    ("ProvisionedThroughputExceededException", 400, None),
    ("ProvisionedThroughputExceededException", 400, Some("ThrottlingReasons")),
    ("ThrottlingException", 400, None),
    ("ThrottlingException", 400, Some("throttlingReasons")),
    ("RequestLimitExceeded", 400, None),
    ("RequestLimitExceeded", 400, Some("ThrottlingReasons")),
    ("ThrottlingError", 400, None),
    ("LimitExceededException", 400, None),
    ("TransactionConflictException", 400, None),
    ("ReplicatedWriteConflictException", 400, None),
    ("InternalServerError", 500, None),
    ("ServiceUnavailable", 503, None),
    ("", 502, None),
];

fn retryable_error(which: usize) -> Fault {
    let (error, status, reasons) = RETRYABLE_ERRORS[which % RETRYABLE_ERRORS.len()];
    let mut extra = Map::new();
    if let Some(spelt) = reasons {
        let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/t";
        extra.insert(spelt.into(), json!([{ "reason": "TableWriteKeyRangeThroughputExceeded", "resource": arn }]));
    }
    let message = format!("Later, please: '{}'", tool::SECRET);
    Fault::Reply { status, error: error.into(), message, extra }
}

/// Injects each of these errors into each operation of a run, always as the first reply to a request.
#[tokio::test(flavor = "multi_thread")]
async fn each_retryable_error_is_retried() {
    let scene = Scene::with_move(120, QUICK).await;
    let first = first_occurrence();
    let delete = scene.behind();
    scene.fault(move |request| {
        let operation = request.operation.as_str();
        let n = request.operation_sequence as usize;
        let sort_key = sort_key(request);
        let fresh = first(format!("{operation} {} {}", request.body()["ExclusiveStartKey"], request.body()["Key"]));
        if operation == "UpdateItem" && fresh && sort_key.ends_with('7') {
            // The item is deleted just before the tool's write. So the condition fails, and the reply contains no
            // image. The tool then has to send a GetItem.
            delete(crate::harness::to_sdk(
                key_of(&backfill::internals::item::item_from_json(&request.body()["Key"]).unwrap()).attributes(),
            ));
            return Fault::Pass;
        }
        if fresh { retryable_error(n) } else { Fault::Pass }
    });
    let ran = scene.run().exits(0);
    let json = ran.json();
    assert_eq!(counts(&json)["scanned"], 120);
    assert_eq!((&counts(&json)["applied"], &counts(&json)["gone"]), (&json!(108), &json!(12)), "{}", counts(&json));
    let tally = scene.harness.proxy().tally();
    assert_eq!(tally.operation("GetItem").ok, 12);
    for operation in ["Scan", "UpdateItem", "GetItem"] {
        assert!(tally.operation(operation).injected >= 8, "{operation}: {tally:?}");
    }
    let now = scene.harness.dump(&scene.table).await;
    assert_eq!(now.len(), 108, "no deleted item came back");
    for (key, item) in &now {
        assert_eq!(bytes_of(item), bytes_of(&moved(&scene.before[key])));
    }
}

/// Injects random faults into every request. The run completes correctly, no item fails, and no page is lost.
#[tokio::test(flavor = "multi_thread")]
async fn random_faults_lose_nothing() {
    for seed in [3, 20] {
        let scene = Scene::with_move(400, QUICK).await;
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        scene.fault(move |_| {
            let mut rng = rng.lock().unwrap();
            match rng.u8(..100) {
                0..15 => retryable_error(rng.usize(..RETRYABLE_ERRORS.len())),
                15..20 => Fault::Reset,
                20..30 => Fault::DropReply,
                30..35 => Fault::Delay(Duration::from_millis(rng.u64(..50))),
                _ => Fault::Pass,
            }
        });
        let json = scene.run().exits(0).json();
        let counted = counts(&json);
        let done = counted["applied"].as_u64().unwrap() + counted["already_applied"].as_u64().unwrap();
        assert_eq!((counted["scanned"].as_u64(), done), (Some(400), 400), "seed {seed}: {counted}");
        assert_eq!(stored_failures(&scene.state()), 0);
        scene.remove_faults();
        assert_eq!(scene.check_committed().await, 400);
        scene.assert_table(moved).await;
    }
}

/// For each operation, the proxy delays some replies for longer than an attempt's timeout (5 s). After the retries, all
/// items are done.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_later_than_the_attempt_timeout_is_retried() {
    let scene = Scene::with_move(60, QUICK).await;
    let delete = scene.behind();
    let first = first_occurrence();
    scene.fault(move |request| {
        let sort_key = sort_key(request);
        let late = match request.operation.as_str() {
            "Scan" => request.operation_sequence == 5,
            "UpdateItem" => matches!(sort_key.as_str(), "S#00011" | "S#00012"),
            "GetItem" => true,
            _ => false,
        };
        if request.operation == "UpdateItem" && sort_key == "S#00013" {
            delete(crate::harness::to_sdk(
                key_of(&backfill::internals::item::item_from_json(&request.body()["Key"]).unwrap()).attributes(),
            ));
        }
        if late && first(format!("{} {sort_key}", request.operation)) {
            Fault::Delay(Duration::from_millis(5_600))
        } else {
            Fault::Pass
        }
    });
    let ran = scene.run().exits(0);
    assert!(ran.took > Duration::from_secs(5), "{:?}", ran.took);
    let json = ran.json();
    assert_eq!((&counts(&json)["scanned"], &counts(&json)["gone"]), (&json!(60), &json!(1)), "{}", counts(&json));
    assert_eq!(failed(&json), 0);
    let now = scene.harness.dump(&scene.table).await;
    assert_eq!(now.len(), 59);
    for (key, item) in &now {
        assert_eq!(bytes_of(item), bytes_of(&moved(&scene.before[key])));
    }
}

/// At the start of a run, the first reply to `DescribeTable` takes longer than an attempt's timeout (5 s). The tool
/// repeats the request.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_reply_that_hangs_is_retried() {
    let scene = Scene::with_move(20, QUICK).await;
    let first = first_occurrence();
    scene.fault(move |request| match request.operation.as_str() {
        "DescribeTable" if first(request.operation.clone()) => Fault::Delay(Duration::from_millis(5_600)),
        _ => Fault::Pass,
    });
    assert_eq!(counts(&scene.run().exits(0).json())["applied"], 20);
}
