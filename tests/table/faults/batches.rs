//! Tests `transport` in `[write]` with the real binary: batches of PartiQL statements.

use super::*;

/// Pages with several batches.
const PAGES: &str = "[scan]\nsegments = 2\npage_limit = 100\n";

/// The number of statements that prove that the endpoint obeys conditions.
const PROOF: u64 = 2;

const BATCH: &str = "BatchExecuteStatement";

impl Scene {
    async fn with_transport(transport: &str, count: usize, migration: &str, more: &str) -> Scene {
        let rest = format!("{MOVE}{PAGES}{QUICK}{more}\n[write]\ntransport = \"{transport}\"\n");
        Scene::new(items(count), migration, &rest).await
    }

    fn requests(&self, operation: &str) -> u64 {
        self.harness.proxy().tally().operation(operation).requests
    }
}

/// The number of statements of a batch.
fn statements(request: &RequestInfo) -> usize {
    request.body()["Statements"].as_array().map_or(0, Vec::len)
}

/// A reply in which every statement has this error.
fn all_fail(request: &RequestInfo, code: &str) -> Fault {
    let error = json!({"Error": {"Code": code, "Message": format!("It says '{}'", tool::SECRET)}});
    let body = json!({"Responses": vec![error; statements(request)]}).to_string();
    Fault::FixedBody(Box::leak(body.into_boxed_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_batches_sends_few_requests() {
    for transport in ["batch", "auto"] {
        let scene = Scene::with_transport(transport, 400, "", "").await;
        let json = scene.run().exits(0).json();
        let counted = counts(&json);
        assert_eq!((&counted["scanned"], &counted["applied"]), (&json!(400), &json!(400)), "{counted}");
        scene.assert_table(moved).await;
        let (batches, updates) = (scene.requests(BATCH), scene.requests("UpdateItem"));
        // Until the proof is complete, a few writes go one by one. Each page ends with a smaller batch.
        assert!((400 / 25..400 / 25 + 20).contains(&batches) && updates < 150, "{batches} batches, {updates} updates");
        // Each item has less than 1 KB. The replies report every unit except those of the two refused statements.
        assert_eq!(
            (counted["write_units"].as_f64(), counted["assumed_write_units"].as_f64()),
            (Some(400.0), Some(2.0))
        );
        // A second run finds nothing to do, and sends no statement.
        scene.harness.proxy().reset_tally();
        let again =
            tool(&scene.harness, &["run", scene.plan(), "--again", "--yes", "--output", "json"]).exits(0).json();
        assert_eq!(counts(&again)["already_applied"], 400, "{again}");
        assert_eq!((scene.requests(BATCH), scene.requests("UpdateItem")), (0, 0));
    }
}

/// DynamoDB carries out a batch, but its reply is lost. Each item is then decided by its own image, and nothing is
/// written or recorded twice.
#[tokio::test(flavor = "multi_thread")]
async fn the_lost_reply_to_a_batch_is_resolved_for_each_item() {
    let migration = "strategy = \"in-place\"\non_existing = \"overwrite\"";
    let rest = format!("{MOVE}{PAGES}{QUICK}\n[write]\ntransport = \"batch\"\n");
    let with_new = items(200).map(|mut item| {
        item.insert("new".to_owned(), secret_number(7));
        item
    });
    let scene = Scene::new(with_new, migration, &rest).await;
    let lost = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lost);
    scene.fault(move |request| {
        let is_lost = request.operation == BATCH && statements(request) > 1 && request.operation_sequence % 2 == 0;
        if !is_lost {
            return Fault::Pass;
        }
        seen.fetch_add(statements(request) as u64, Ordering::Relaxed);
        Fault::DropReply
    });
    let json = scene.run().exits(0).json();
    let counted = counts(&json);
    let number = |name: &str| counted[name].as_u64().unwrap();
    assert_eq!((number("scanned"), number("applied") + number("already_applied")), (200, 200), "{counted}");
    assert!(number("already_applied") > 25 && number("already_applied") <= lost.load(Ordering::Relaxed), "{counted}");
    assert_eq!(json["run"]["lower_bound"], true);
    scene.remove_faults();
    scene
        .assert_table(|item| {
            let mut item = item.clone();
            let old = item.remove("old").unwrap();
            item.insert("new".to_owned(), old);
            item
        })
        .await;
    // Every write destroyed a value of `new`. Each is recorded exactly once.
    assert_eq!(scene.state().summary().unwrap().pre_images, 200);
}

/// DynamoDB throttles single statements. The next attempt of each is an `UpdateItem`, whose reply names the throttled
/// scope.
#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_statement_is_sent_again_alone() {
    for code in ["ProvisionedThroughputExceeded", "ThrottlingError"] {
        let scene = Scene::with_transport("batch", 200, "", "").await;
        let throttled = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&throttled);
        scene.fault(move |request| {
            let is_due = request.operation == BATCH && statements(request) > 1 && request.operation_sequence % 3 == 0;
            if is_due {
                seen.fetch_add(statements(request) as u64, Ordering::Relaxed);
                return all_fail(request, code);
            }
            Fault::Pass
        });
        let ran = scene.run().exits(0);
        let counted = counts(&ran.json()).clone();
        assert_eq!((&counted["applied"], &counted["scanned"]), (&json!(200), &json!(200)), "{counted}");
        let throttled = throttled.load(Ordering::Relaxed);
        let updates = scene.requests("UpdateItem");
        assert!(
            throttled > 20 && updates >= throttled && throttled + updates < 250,
            "{throttled} throttled, {updates} updates"
        );
        scene.remove_faults();
        scene.assert_table(moved).await;
    }
}

/// What DynamoDB rejects as a statement is decided by an `UpdateItem`. After a hundred rejected statements, no batch is
/// sent any more.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_statements_are_decided_by_update_item() {
    let scene = Scene::with_transport("batch", 400, "", "").await;
    scene.fault(|request| {
        if request.operation == BATCH && statements(request) > 1 {
            all_fail(request, "ValidationError")
        } else {
            Fault::Pass
        }
    });
    let ran = scene.run().exits(0);
    assert_eq!(counts(&ran.json())["applied"], 400);
    assert_eq!(ran.stderr.matches("writes are sent with UpdateItem, not in batches").count(), 1, "{}", ran.stderr);
    assert!(scene.requests(BATCH) < 40, "{}", scene.requests(BATCH));
    assert_eq!(scene.requests("UpdateItem"), 400);
    scene.remove_faults();
    scene.assert_table(moved).await;
}

/// A plan that fails for every item records no failure, although DynamoDB has evaluated the statements of the proof.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_fails_for_every_item_stops_the_run() {
    let scene = Scene::with_transport("batch", 400, "", "").await;
    scene.fault(|request| match request.operation.as_str() {
        BATCH if statements(request) > 1 => all_fail(request, "ValidationError"),
        "UpdateItem" => reply(400, "ValidationException", "One or more parameter values were invalid"),
        _ => Fault::Pass,
    });
    scene.run().exits(6);
    assert_eq!(stored_failures(&scene.state()), 0);
    let json = scene.resumes_correctly().await;
    assert_eq!(counts(&json)["applied"], 400);
}

/// An engine without PartiQL, an engine that ignores conditions, and credentials without the permission.
#[tokio::test(flavor = "multi_thread")]
async fn auto_falls_back_and_batch_stops() {
    let ignores = Fault::FixedBody(r#"{"Responses":[{"TableName":"t"}]}"#);
    for unfit in [
        reply(400, "UnknownOperationException", ""),
        ignores,
        reply(400, "AccessDeniedException", "not authorized to perform: dynamodb:PartiQLUpdate"),
    ] {
        let scene = Scene::with_transport("auto", 60, "", "").await;
        let fault = unfit.clone();
        scene.fault(move |request| if request.operation == BATCH { fault.clone() } else { Fault::Pass });
        let ran = scene.run().exits(0);
        assert_eq!(counts(&ran.json())["applied"], 60);
        let line = "writes are sent with UpdateItem, not in batches";
        assert_eq!(ran.stderr.matches(line).count(), 1, "{unfit:?}: {}", ran.stderr);
        assert_eq!((scene.requests(BATCH), scene.requests("UpdateItem")), (1, 60), "{unfit:?}");

        let scene = Scene::with_transport("batch", 60, "", "").await;
        let fault = unfit.clone();
        scene.fault(move |request| if request.operation == BATCH { fault.clone() } else { Fault::Pass });
        let ran = scene.run().exits(6);
        assert!(ran.json()["stopped"].as_str().unwrap().contains("[write] transport"), "{unfit:?}: {}", ran.stdout);
        // RUNBOOK: "A run that one transport began resumes with the other one".
        scene.remove_faults();
        let other = ["run", scene.plan(), "--yes", "--output", "json", "--set", "write.transport=update"];
        let json = tool(&scene.harness, &other).exits(0).json();
        assert_eq!(counts(&json)["scanned"], 60, "{json}");
        scene.assert_table(moved).await;
    }
}

/// The process is killed while a batch is at the server. The next process finds its items written.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_during_a_batch_resumes() {
    let scene = Scene::with_transport("batch", 300, "", "").await;
    scene.fault(|request| {
        let is_slow = request.operation == BATCH && request.operation_sequence >= PROOF + 3;
        if is_slow { Fault::Delay(Duration::from_millis(400)) } else { Fault::Pass }
    });
    let mut running = scene.start();
    while scene.requests(BATCH) < PROOF + 6 {
        assert!(!running.has_ended());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.signal(Signal::SIGKILL);
    tokio::task::spawn_blocking(move || running.end()).await.unwrap();
    // The batches still arrive.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let json = scene.resumes_correctly().await;
    assert!(counts(&json)["already_applied"].as_u64().unwrap() > 0, "{json}");
}

/// A spending limit that is smaller than a batch is used up, and never exceeded.
#[tokio::test(flavor = "multi_thread")]
async fn a_spending_limit_below_a_batch_is_used_up() {
    let scene = Scene::with_transport("batch", 100, "", "[limits]\nmax_wcu = 12\n").await;
    let json = scene.run().exits(6).json();
    let applied = counts(&json)["applied"].as_u64().unwrap();
    let done = scene.harness.dump(&scene.table).await.values().filter(|item| item.contains_key("new")).count();
    // The two statements of the proof cost a unit each.
    assert!((8..=10).contains(&done) && applied <= 10, "{done} written, {json}");
}
