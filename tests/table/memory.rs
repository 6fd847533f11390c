//! The memory of the tool's process does not grow with the table.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::Bed;
use backfill::internals::item::{Item, Value};

/// The memory limit of a run in KB. A run needs much less memory. An earlier version reserved memory for the square of
/// the number of items of each page, and needed much more.
const LIMIT_KB: u64 = 100_000;

/// Items of about 300 bytes. A run has to write every fifth item, for any size of the table. So writes happen during
/// the whole run, and the test still stays short. The other items already are as the plan wants them.
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

/// The capacity section of the plan. The number of active segments does not depend on the budget, so one segment may
/// use the entire budget of the table. The runs over both table sizes use the whole budget, so both have the same
/// number of writes in flight.
const BUDGET: &str = "[capacity]\nwrite = 1200\nread = 40000\n\
    per_key_range = { write = 1200, read = 40000 }\nper_partition_key = { write = 1200, read = 40000 }\n";

/// The largest resident size of the process so far, in KB. The kernel keeps the maximum, so sampling misses only growth
/// after the last sample.
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

/// Runs the plan with default pages over a table of `count` items. The server does not run in the measured process. A
/// run keeps the pages of all active segments in memory. So both tables get the same number of segments, which is so
/// small that their pages are full. The number is also small because the time that the embedded engine takes for a page
/// is proportional to the size of the table.
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
    println!("200,000 items take {:.1} % of the memory that 20,000 take", large as f64 * 100.0 / small as f64);
    assert!(large * 100 <= small * 120, "{large} KB for 200,000 items, {small} KB for 20,000");
    assert!(large <= LIMIT_KB && small > 0, "{large} KB");
}
