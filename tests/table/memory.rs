//! What the tool's process takes in memory does not grow with the table.
#![expect(clippy::print_stdout, reason = "the figures are part of the result")]

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::Bed;
use backfill::internals::item::{Item, Value};

/// Far more than a run takes, far less than it did when each page kept room for the square of its items.
const LIMIT_KB: u64 = 100_000;

/// Items of about 300 bytes. Every fifth has to be written, at either size of the table, so that the write path is at
/// work all along and the test is not longer than it must be; the other four are as the plan implies.
fn items(count: u64) -> impl Iterator<Item = Item> {
    (0..count).map(|number| {
        let email = Value::S(format!("customer.{number}@example.com"));
        let mut item: Item = [
            ("pk".to_owned(), Value::S(format!("CUSTOMER#{number}"))),
            ("sk".to_owned(), Value::S("PROFILE".to_owned())),
            ("email".to_owned(), email.clone()),
            ("about".to_owned(), Value::S("Would order again. ".repeat(11))),
        ]
        .into();
        if number % 5 != 0 {
            item.insert("contact_email".into(), email);
        }
        item
    })
}

/// One segment may take what the table may: how many are active does not follow from the budget. The budget is one that
/// both sizes use up, so that both have as many writes in flight.
const BUDGET: &str = "[capacity]\nwrite = 1200\nread = 40000\n\
    per_key_range = { write = 1200, read = 40000 }\nper_partition_key = { write = 1200, read = 40000 }\n";

/// The largest resident size that the process ever had, in KB; the kernel keeps it, so that sampling misses only what
/// comes after the last sample.
fn peak_kb(child: &mut Child) -> u64 {
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kb: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = peak.max(kb.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    peak
}

/// Runs the plan, with the default pages, over a table of so many items; the server is another process than the one that
/// is measured. The segments are stated: what a run keeps in memory are the pages of those that it works on, so that both
/// tables get as many, and fill the pages. (They are also few: a page of the embedded engine takes time in proportion to
/// the table.)
async fn peak_of_a_run(count: u64) -> u64 {
    let bed = Bed::embedded();
    let table = bed.create_table().await;
    let local = bed.local().unwrap();
    tokio::task::block_in_place(|| local.engine().load(&table, items(count))).unwrap();
    let changes = "[[change]]\nmove = \"email\"\nto = \"contact_email\"\n";
    let plan = bed.plan("memory", &table, "", &format!("{changes}[scan]\nsegments = 16\n{BUDGET}"));
    let began = Instant::now();
    let mut command = bed.command();
    command.arg("run").arg(&plan).arg("--yes").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let peak = peak_kb(&mut child);
    assert!(child.wait().unwrap().success());
    assert_eq!(bed.front().tally().operation("UpdateItem").ok, count / 5);
    println!("{count} items: {peak} KB at most, in {:.1} s", began.elapsed().as_secs_f64());
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_table() {
    let small = peak_of_a_run(20_000).await;
    let large = peak_of_a_run(200_000).await;
    println!("200,000 items take {:.1} % of what 20,000 take", large as f64 * 100.0 / small as f64);
    assert!(large * 100 <= small * 120, "{large} KB for 200,000 items, {small} KB for 20,000");
    assert!(large <= LIMIT_KB && small > 0, "{large} KB");
}
