//! Proofs of a second review: each of these fails.

use super::*;

fn s(text: &str) -> backfill::item::Value {
    backfill::item::Value::S(text.into())
}

/// A first run that is stopped while it waits for the flag's cache has done nothing, and does not say that it is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_that_is_stopped_in_its_wait_is_not_done() {
    let bed = Bed::embedded();
    let (table, flags) = (bed.create_table().await, bed.create_table().await);
    bed.load(&table, (0..20).map(|n| item(&format!("P#{n}"), "x", [("old", s("current"))]))).await;
    let flag =
        format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\nmax_cache_seconds = 40\n");
    let plan = bed.plan("waits", &table, "", &format!("{MOVE}{flag}"));
    let mut command = bed.command();
    command.args(["run", text(&plan), "--yes"]);
    let running = Running::start(command);
    // The flag is made; applications may not have seen it yet.
    while bed.dump(&flags).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    running.signal(Signal::SIGTERM);
    let ran = tokio::task::block_in_place(|| running.end());
    assert!(bed.dump(&table).await.values().all(|item| !item.contains_key("new")), "nothing was written");
    assert_eq!(ran.code, 130, "stdout {:?}, stderr {:?}", ran.stdout, ran.stderr);
}

/// What was on record when a signal came is not said to be "not on record".
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_is_on_record_is_not_said_to_be_lost() {
    let bed = Bed::embedded();
    let (table, flags) = (bed.create_table().await, bed.create_table().await);
    bed.load(&table, (0..20).map(|n| item(&format!("P#{n}"), "x", [("old", s("current"))]))).await;
    let flag =
        format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"life\" }}\nmax_cache_seconds = 6\n");
    let plan = bed.plan("told", &table, "", &format!("{MOVE}[scan]\nsegments = 1\n{flag}"));
    tool(&bed, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).exits(0);
    tool(&bed, &["run", text(&plan), "--yes"]).exits(0);
    bed.front().reset_tally();
    // The flag's table is slow: it is read once more when the last page is compared.
    fault(&bed, |request| match request.operation.as_str() {
        "GetItem" => Fault::Delay(Duration::from_millis(1_200)),
        _ => Fault::Pass,
    });
    let mut command = bed.command();
    command.args(["verify", text(&plan), "--all"]);
    let running = Running::start(command);
    while bed.front().tally().operation("Scan").ok == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.signal(Signal::SIGTERM);
    let ran = tokio::task::block_in_place(|| running.end());
    let status = tool(&bed, &["status", text(&plan), "--output", "json"]).exits(0).json();
    let on_record = !status["playbook"]["full_verification"].is_null();
    println!("on record: {on_record}, exit {}: {}", ran.code, ran.stderr);
    assert!(on_record, "the signal came too early for this proof");
    assert!(!ran.stderr.contains("nothing of it is on record"), "{}", ran.stderr);
}

/// A look at the rest that has reached the limit is not given the whole limit again by each command that resumes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_the_rest_keeps_to_its_limit_over_all_sessions() {
    let (bed, _, plan) = scene(
        2_000,
        "[scan]\nsegments = 2\npage_limit = 10\n[prices]\nwrite_per_million = 1\nread_per_million = 1000000\n[limits]\n\
         max_cost_usd = 30\n",
    )
    .await;
    tool(&bed, &["run", text(&plan), "--yes"]).exits(6);
    let read = || bed.front().tally().read_units();
    let before = read();
    let mut spent = Vec::new();
    for args in [&["--restart", "--yes"][..], &["--yes"], &["--yes"], &["--yes"]] {
        let began = read();
        let ran = tool(&bed, &[&["run", text(&plan)], args].concat());
        spent.push((ran.code, read() - began));
    }
    let all = read() - before;
    assert!(all <= 31.0, "the limit is 30 read units; the look has taken {all}: {spent:?}");
}
