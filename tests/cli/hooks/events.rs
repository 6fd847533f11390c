//! Tests which events a hook receives.

use super::*;

/// RUNBOOK: "A hook receives one JSON document on stdin. It contains no attribute values, no keys of items and no credentials."
#[tokio::test(flavor = "multi_thread")]
async fn the_hooks_follow_a_whole_migration() {
    let cutover = "[cutover]\ntable = \"$flags\"\nmax_cache_seconds = 1\nsoak = \"0s\"\n";
    let hooked = Hooked::new(200, &format!("{}{cutover}", log_everything())).await;
    let mut seen = 0;
    let mut expect = |args: &[&str], expected: &[&str]| {
        hooked.tool(args).exits(0);
        let events = hooked.events();
        assert_eq!(events[seen..], *expected, "after {args:?}");
        seen = events.len();
        hooked.documents().pop().unwrap()
    };
    // The first command creates the flag.
    expect(&["cutover", "--to", "dual-write", "--yes"], &["flag_change", "flag_change", "step_due"]);
    let due = expect(&["run", "--yes"], &["start", "pass_end done", "step_due"]);
    let next = due["next"].as_str().unwrap();
    assert!(next.starts_with("backfill verify ") && next.ends_with("plan.toml --all"), "{due:#}");
    expect(&["run", "--yes"], &[]);
    expect(&["verify", "--all"], &["start", "pass_end done", "step_due"]);
    expect(&["cutover", "--to", "read-new", "--percent", "100", "--yes"], &["flag_change", "step_due"]);
    expect(&["cutover", "--back"], &["flag_change"]);
    expect(&["cutover", "--to", "read-new", "--percent", "100", "--yes"], &["flag_change", "step_due"]);
    let due = expect(&["cutover", "--to", "write-new", "--yes"], &["flag_change", "step_due"]);
    assert!(due["next"].as_str().unwrap().starts_with("backfill contract "), "{due:#}");
    let status = hooked.tool(&["status", "--output", "json"]).exits(0).json();
    assert_eq!(status["cleanup"], json!([]), "nothing can go before the migration is over");
    // After the migration has ended, no step is due.
    let end = expect(&["contract", "--yes"], &["flag_change", "start", "pass_end done"]);
    let pass = &end["pass"];
    assert_eq!((&pass["phase"], &pass["items"], &pass["failures"]), (&json!("contract"), &json!(200), &json!(0)));
    assert_eq!((&end["migration"], &end["table"]), (&json!("plan"), &json!(hooked.table)));
    let verified = hooked.documents().into_iter().find(|document| document["mismatches"].is_u64()).unwrap();
    assert_eq!((&verified["pass"]["phase"], &verified["mismatches"]), (&json!("verify"), &json!(0)));
    let flags: Vec<u64> =
        hooked.documents().iter().filter_map(|document| document["flag"]["version"].as_u64()).collect();
    assert!(flags.is_sorted_by(|before, after| before < after), "{flags:?}");

    let status = hooked.tool(&["status", "--output", "json"]).exits(0).json();
    let cleanup: Vec<&str> =
        status["cleanup"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert!(cleanup.iter().any(|what| what.starts_with("the flag: item \"plan\" of table ")), "{cleanup:?}");
    assert!(cleanup.iter().any(|what| what.starts_with("the IAM statement ")), "{cleanup:?}");
    let said = hooked.tool(&["status"]).exits(0).stdout;
    assert!(said.contains("clean up:\n  code that reads or writes old: when no application"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_its_end_are_announced_with_who_did_it() {
    let hooked = Hooked::new(2_000, &format!("{}[capacity]\nwrite = 250\n", log_everything())).await;
    let running = hooked.start(&["run", "--yes"]);
    hooked.wait_for("start", None).await;
    hooked.tool(&["ctl", "pause", "--reason", "the application is slow"]).exits(0);
    let paused = hooked.wait_for("pause", Some(false)).await;
    let detail = paused["pass"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("by ") && detail.contains(": the application is slow"), "{paused:#}");
    hooked.tool(&["ctl", "resume"]).exits(0);
    let resumed = hooked.wait_for("pause", Some(true)).await;
    assert_eq!(resumed["ended_by"], resumed["actor"], "{resumed:#}");
    assert_ne!(resumed["pass"]["activity"], "paused");
    hooked.tool(&["ctl", "drain"]).exits(0);
    tokio::task::block_in_place(|| running.end()).exits(6);
    assert_eq!(hooked.events(), ["start", "pause", "pause over", "pass_end stopped"]);
    let end = hooked.documents().pop().unwrap();
    assert!(end["reason"].as_str().unwrap().contains("stopped it with `backfill ctl drain`"), "{end:#}");
    let running = hooked.start(&["run", "--yes"]);
    tokio::task::block_in_place(|| running.end()).exits(0);
    let documents = hooked.documents();
    assert!(documents[4]["text"].as_str().unwrap().contains("the pass expand continues after "), "{documents:#?}");
    assert_eq!(hooked.events()[4..], ["start", "pass_end done", "step_due"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_and_long_throttling_are_announced_once() {
    let sections =
        "long_throttling = \"2s\"\n[scan]\nsegments = 1\n[alerts]\nstall_after = \"10s\"\n[retry]\ncap = \"1s\"\n";
    let hooked = Hooked::new(20, &format!("{}{sections}", log_everything())).await;
    answer(&hooked.harness, "UpdateItem", 400, "ThrottlingException", "slow down");
    let running = hooked.start(&["run", "--yes"]);
    let throttled = hooked.wait_for("long_throttling", Some(false)).await;
    assert!(
        throttled["seconds"].as_u64().unwrap() >= 2 && throttled["pass"]["activity"] == "throttled",
        "{throttled:#}"
    );
    // A request without an answer ends the throttling, and then stalls the pass.
    inject_fault(&hooked.harness, |request| match request.operation.as_str() {
        "UpdateItem" => Fault::Delay(Duration::from_secs(300)),
        _ => Fault::Pass,
    });
    let stalled = hooked.wait_for("stall", Some(false)).await;
    let detail = stalled["pass"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("no request was answered for ") && detail.contains("; segment 0, page 1: "), "{detail}");
    hooked.harness.proxy().set_faults(None);
    running.signal(Signal::SIGTERM);
    tokio::task::block_in_place(|| running.end()).exits(130);
    let expected = ["start", "long_throttling", "long_throttling over", "stall", "stall over", "pass_end stopped"];
    assert_eq!(hooked.events(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failure_threshold_is_announced_once() {
    let hooked = Hooked::new(40, &format!("{}failure_threshold = 3\n", log_everything())).await;
    reject_writes(&hooked.harness, "P#1");
    hooked.tool(&["run", "--yes"]).exits(4);
    assert_eq!(hooked.events(), ["start", "failures", "pass_end done", "step_due"]);
    let failures = &hooked.documents()[1];
    assert!(failures["pass"]["failures"].as_u64().unwrap() >= 3 && failures["threshold"] == 3, "{failures:#}");
    // The phase is complete, but the command exits with an error.
    let end = &hooked.documents()[2];
    let says = format!("{} items have failed. `backfill failures list` lists them", end["pass"]["failures"]);
    assert_eq!(end["reason"], json!(says), "{end:#}");
    hooked.tool(&["failures", "retry", "--yes"]).exits(4);
    let documents = hooked.documents();
    let end = documents.iter().rfind(|document| document["event"] == "pass_end").unwrap();
    assert_eq!((&end["pass"]["phase"], &end["reason"]), (&json!("retry"), &json!(says)), "{end:#}");
}

/// A restarted run first records the baseline of the items that the stopped pass has not read. The hooks see the
/// baseline and the run as one pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_with_two_parts_begins_once() {
    let pause = "[steering]\npause_file = \"$dir/pause\"\n";
    let hooked = Hooked::new(800, &format!("{}[capacity]\nwrite = 100\n{pause}", log_everything())).await;
    let running = hooked.start(&["run", "--yes"]);
    hooked.wait_for("start", None).await;
    // If no operator ended the pause, the event names no operator.
    std::fs::write(hooked.harness.dir().join("pause"), "").unwrap();
    let paused = hooked.wait_for("pause", Some(false)).await;
    assert!(paused["pass"]["detail"].as_str().unwrap().starts_with("the file "), "{paused:#}");
    std::fs::remove_file(hooked.harness.dir().join("pause")).unwrap();
    assert_eq!(hooked.wait_for("pause", Some(true)).await["ended_by"], Json::Null);
    running.signal(Signal::SIGTERM);
    tokio::task::block_in_place(|| running.end()).exits(130);
    let before = hooked.events();
    assert_eq!(before, ["start", "pause", "pause over", "pass_end stopped"]);
    let plan = std::fs::read_to_string(&hooked.plan).unwrap().replace("write = 100", "write = 5000");
    std::fs::write(&hooked.plan, plan).unwrap();
    hooked.tool(&["run", "--restart", "--yes"]).exits(0);
    assert_eq!(hooked.events()[before.len()..], ["start", "pass_end done", "step_due"]);
    assert_eq!(hooked.documents()[5]["pass"]["items"], 800);
}

/// A contract that fails for some items is not complete.
#[tokio::test(flavor = "multi_thread")]
async fn failed_items_leave_a_pass_unfinished() {
    let hooked = Hooked::new(30, &format!("{}[cutover]\nsoak = \"0s\"\n", log_everything())).await;
    let plan = std::fs::read_to_string(&hooked.plan).unwrap().replace(MOVE, "[[change]]\nremove = \"old\"\n");
    std::fs::write(&hooked.plan, plan).unwrap();
    reject_writes(&hooked.harness, "P#1");
    let contract = ["contract", "--readers-moved", "--old-writes-stopped", "--yes"];
    hooked.tool(&contract).exits(4);
    assert_eq!(hooked.events(), ["start", "pass_end unfinished", "step_due"]);
    let due = hooked.documents().pop().unwrap();
    assert!(due["next"].as_str().unwrap().starts_with("backfill failures list "), "{due:#}");
    hooked.harness.proxy().set_faults(None);
    hooked.tool(&contract).exits(0);
    assert_eq!(hooked.events()[3..], ["start", "pass_end done"]);
}
