//! Tests errors that affect every item. Such an error stops the run. No page is committed after the error, and the run
//! can be resumed.

use std::sync::atomic::AtomicBool;

use super::*;
use backfill::internals::local::{Proxy, ProxyOptions};

/// Returns a rule that forwards this number of writes, and then injects the fault into every request of these
/// operations.
fn after_writes(
    writes: u64,
    on: &'static [&'static str],
    fault: Fault,
) -> impl Fn(&RequestInfo) -> Fault + Send + Sync {
    let passed = AtomicU64::new(0);
    move |request| {
        if request.operation == "UpdateItem" {
            passed.fetch_add(1, Ordering::SeqCst);
        }
        let over = passed.load(Ordering::SeqCst) > writes;
        if over && on.contains(&request.operation.as_str()) { fault.clone() } else { Fault::Pass }
    }
}

const EVERYTHING: &[&str] = &["Scan", "UpdateItem", "GetItem", "DescribeTable"];

/// Tests credentials or a permission that are revoked after a third of the items.
async fn credentials(fault: Fault, on: &'static [&'static str], says: &[&str]) {
    let scene = Scene::with_move(300, QUICK).await;
    scene.fault(after_writes(100, on, fault));
    let ran = scene.run().exits(6);
    let json = ran.json();
    let stopped = json["stopped"].as_str().unwrap();
    for part in says {
        assert!(stopped.contains(part), "{part} is missing: {stopped}");
    }
    assert!(!stopped.contains(".."), "{stopped}");
    assert_eq!(json["run"]["status"], "stopped");
    scene.remove_faults();
    let committed = scene.check_committed().await;
    assert_eq!(counts(&json)["scanned"], committed, "the report matches what is committed");
    assert!(committed <= 100, "committed {committed}");
    assert!(committed > 0, "pages that were complete before the error are kept");
    let applied = scene.harness.dump(&scene.table).await.values().filter(|i| i.contains_key("new")).count();
    assert!(applied <= 101, "{applied} items were written");
    let status = tool(&scene.harness, &["status", scene.plan()]).exits(0);
    assert!(status.stdout.contains("stopped") && status.stdout.contains(says[0]), "{}", status.stdout);
    let end = scene.resumes_correctly().await;
    assert_eq!(end["run"]["sessions"], 2);
}

/// RUNBOOK: "nothing past that point is committed".
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_after_a_third_stops_the_run() {
    let message = "The security token included in the request is expired";
    let fault = reply(400, "ExpiredTokenException", message);
    credentials(fault, EVERYTHING, &["ExpiredTokenException", message, "Renew the credentials"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_after_a_third_stops_the_run() {
    let fault = reply(400, "UnrecognizedClientException", "The security token included in the request is invalid.");
    credentials(
        fault,
        EVERYTHING,
        &["UnrecognizedClientException", "token included in the request is invalid. Renew", "Renew the credentials"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_revoked_after_a_third_stops_the_run() {
    let message = "User: arn:aws:iam::123456789012:user/ops is not authorized to perform: dynamodb:UpdateItem on resource: \
                   arn:aws:dynamodb:us-east-1:000000000000:table/t";
    let fault = reply(400, "AccessDeniedException", message);
    credentials(fault, &["UpdateItem"], &["AccessDeniedException", "dynamodb:UpdateItem", "Grant the permission"])
        .await;
}

/// Tests an error of the table or the plan that affects every item from the first one on. Nothing is committed.
async fn table_wide(on: &'static [&'static str], fault: Fault, says: &[&str]) {
    let scene = Scene::with_move(300, QUICK).await;
    scene.fault(after_writes(0, on, fault));
    let ran = scene.run().exits(6);
    let json = ran.json();
    let stopped = json["stopped"].as_str().unwrap();
    for part in says {
        assert!(stopped.contains(part), "{part} is missing: {stopped}");
    }
    assert!(!stopped.contains(".."), "{stopped}");
    let summary = scene.state().summary().unwrap();
    let totals = summary.current.unwrap().totals;
    assert_eq!((totals.pages, totals.counts.scanned), (0, 0), "nothing may be committed");
    assert_eq!(stored_failures(&scene.state()), 0, "no failure may be recorded");
    assert_eq!(counts(&json)["scanned"], 0);
    scene.remove_faults();
    scene.assert_table(Item::clone).await;
    scene.resumes_correctly().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_expression_stops_the_run_immediately() {
    let fault = reply(400, "ValidationException", "Invalid UpdateExpression: Syntax error; token: \"S3CRET-7\"");
    table_wide(&["UpdateItem"], fault, &["Invalid UpdateExpression: Syntax error", "check the plan's changes"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_items_that_all_fail_stop_the_run() {
    let fault = reply(400, "ValidationException", "Something new that nobody knows: 'S3CRET-7'.");
    table_wide(&["UpdateItem"], fault, &["all of the first 1", "Something new that nobody knows"]).await;
}

/// If DynamoDB rejects every write, the run stops. The rejected writes have destroyed nothing, so a rollback must not
/// find pre-images for them.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_writes_leave_no_valid_pre_image() {
    let plan = format!("[[change]]\nremove = \"old\"\n{SMALL_PAGES}{QUICK}");
    let scene = Scene::new(items(300), "strategy = \"in-place\"", &plan).await;
    let refusal = reply(400, "ValidationException", "Something new that nobody knows");
    scene.fault(after_writes(0, &["UpdateItem"], refusal));
    scene.run().exits(6);
    let summary = scene.state().summary().unwrap();
    assert!(scene.harness.proxy().tally().operation("UpdateItem").requests >= 100);
    assert_eq!((summary.pre_images, summary.current.unwrap().totals.pages), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_is_not_allowed_stops_the_run() {
    let scene = Scene::with_move(60, QUICK).await;
    scene.fault(|request| match request.operation.as_str() {
        "Scan" => reply(400, "AccessDeniedException", "not authorized to perform: dynamodb:Scan"),
        _ => Fault::Pass,
    });
    let ran = scene.run().exits(6);
    let stopped = ran.json()["stopped"].as_str().unwrap().to_owned();
    assert!(stopped.contains("dynamodb:Scan") && stopped.contains("Grant the permission"), "{stopped}");
    assert_eq!(scene.state().summary().unwrap().current.unwrap().totals.pages, 0);
    scene.resumes_correctly().await;
}

/// If a table has only a few items, and each of them fails for a known reason, the run completes and lists the items.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_a_few_items_that_all_fail_completes() {
    let filler = "x".repeat(250 * 1024);
    let large = (0..5).map(|n| item("P", &format!("S#{n}"), [("old", Value::S(format!("{}-{filler}", tool::SECRET)))]));
    let scene = Scene::new(large, "", &format!("{MOVE}{SMALL_PAGES}")).await;
    let json = scene.run().exits(4).json();
    assert_eq!((&counts(&json)["scanned"], failed(&json)), (&json!(5), 5));
    assert_eq!(json["run"]["status"], "complete");
    scene.assert_table(Item::clone).await;
    let listed = tool(&scene.harness, &["failures", scene.plan(), "list", "--output", "json"]).exits(0).json();
    assert_eq!(listed["failures"].as_array().unwrap().len(), 5);
    for failure in listed["failures"].as_array().unwrap() {
        assert!(failure["reason"].as_str().unwrap().contains("size"), "{failure}");
    }
}

/// No server listens at the endpoint, for longer than `[retry] give_up_after`.
#[tokio::test(flavor = "multi_thread")]
async fn the_run_gives_up_on_an_endpoint_that_is_gone() {
    let scene = Scene::with_move(300, "").await;
    let upstream = scene.harness.local().unwrap().engine().endpoint();
    let proxy = Proxy::start(ProxyOptions { upstream: upstream.clone(), ..ProxyOptions::default() }).unwrap();
    let port = proxy.endpoint().rsplit(':').next().unwrap().parse().unwrap();
    let text = std::fs::read_to_string(&scene.plan).unwrap().replace(&scene.harness.endpoint(), &proxy.endpoint());
    std::fs::write(
        &scene.plan,
        text + "[retry]\nbase = \"5ms\"\ncap = \"200ms\"\ngive_up_after = \"2s\"\n[capacity]\nwrite = 100\n",
    )
    .unwrap();
    let running = scene.start();
    while proxy.tally().operation("UpdateItem").ok < 60 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::task::block_in_place(|| proxy.stop());
    let ran = tokio::task::block_in_place(|| running.end()).exits(6);
    let stopped = ran.json()["stopped"].as_str().unwrap().to_owned();
    assert!(stopped.contains("[retry] give_up_after") && stopped.contains("connection"), "{stopped}");
    assert!(stopped.contains("2 s"), "{stopped}");
    assert!(scene.check_committed().await > 0);
    // If no server listens at the start, the tool refuses to begin.
    let refused = scene.run().exits(3);
    assert!(refused.messages().contains("Nothing was done"), "{refused:?}");
    assert_eq!(refused.json()["type"], "error", "{refused:?}");
    let _proxy = Proxy::start(ProxyOptions { port, upstream, ..ProxyOptions::default() }).unwrap();
    scene.resumes_correctly().await;
}

/// The run also stops if an endpoint answers only with errors, or resets every connection.
#[tokio::test(flavor = "multi_thread")]
async fn the_run_gives_up_on_an_endpoint_that_only_fails() {
    for fault in [reply(500, "InternalServerError", "S3CRET"), Fault::Reset] {
        let scene = Scene::with_move(120, "[retry]\nbase = \"5ms\"\ncap = \"100ms\"\ngive_up_after = \"1s\"\n").await;
        let broken = AtomicBool::new(false);
        let writes = AtomicU64::new(0);
        scene.fault(move |request| {
            let writes = if request.operation == "UpdateItem" { writes.fetch_add(1, Ordering::SeqCst) } else { 0 };
            if writes > 50 {
                broken.store(true, Ordering::SeqCst);
            }
            if broken.load(Ordering::SeqCst) { fault.clone() } else { Fault::Pass }
        });
        let ran = scene.run().exits(6);
        assert!(ran.json()["stopped"].as_str().unwrap().contains("give_up_after"), "{ran:?}");
        scene.remove_faults();
        scene.check_committed().await;
        scene.resumes_correctly().await;
    }
}
