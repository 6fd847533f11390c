//! Tests that the memory of the tool's process does not grow with the table.
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::harness::Harness;
use backfill::internals::item::{Item, Value};

/// A run's memory limit in KB. A run needs much less. An earlier version needed much more, because it reserved memory
/// proportional to the square of the number of items in a page.
const LIMIT_KB: u64 = 100_000;

/// Items of about 300 bytes. A run has to write every fifth item, so it sends writes from its beginning to its end, but
/// takes little time. The other items need no write.
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

/// The plan's capacity section. The number of active segments does not depend on the budget, because one segment can
/// use the table's entire budget. Both runs use the whole budget, so they have the same number of writes in flight,
/// even though their tables differ in size.
const BUDGET: &str = "[capacity]\nwrite = 1200\nread = 40000\n\
    per_key_range = { write = 1200, read = 40000 }\nper_partition_key = { write = 1200, read = 40000 }\n";

/// Samples of a process's resident size during a run, in KB.
struct Resident {
    /// The peak size at the last sample. The kernel records it, so the samples miss only later growth.
    peak: u64,
    /// One sample every 20 ms.
    samples: Vec<u64>,
}

impl Resident {
    /// Samples the process until it ends.
    fn watch(child: &mut Child) -> Resident {
        let mut resident = Resident { peak: 0, samples: Vec::new() };
        while child.try_wait().unwrap().is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let kb = |name: &str| -> Option<u64> {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_whitespace().next()?.parse().ok()
            };
            resident.peak = resident.peak.max(kb("VmHWM:").unwrap_or(0));
            resident.samples.extend(kb("VmRSS:"));
            std::thread::sleep(Duration::from_millis(20));
        }
        resident
    }

    /// The highest of the samples in the first half of the run.
    fn highest_of_first_half(&self) -> u64 {
        assert!(self.samples.len() >= 100, "only {} samples", self.samples.len());
        *self.samples[..self.samples.len() / 2].iter().max().unwrap()
    }

    /// The median of the last quarter of the samples.
    fn median_of_last_quarter(&self) -> u64 {
        let mut quarter = self.samples[self.samples.len() * 3 / 4..].to_vec();
        quarter.sort_unstable();
        quarter[quarter.len() / 2]
    }
}

/// Runs the plan with default pages over a table of `count` items. The server does not run in the measured process. A
/// run keeps the pages of all active segments in memory, so every table gets the same number of segments. The number is
/// small for two reasons: the pages are then full, and the embedded engine needs time proportional to the size of the
/// table for each page.
async fn memory_of_a_run(count: u64) -> Resident {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let local = harness.local().unwrap();
    tokio::task::block_in_place(|| local.engine().load(&table, items(count))).unwrap();
    let changes = "[[change]]\nmove = \"email\"\nto = \"contact_email\"\n";
    let plan = harness.plan("memory", &table, "", &format!("{changes}[scan]\nsegments = 16\n{BUDGET}"));
    let began = Instant::now();
    let mut command = harness.command();
    command.arg("run").arg(&plan).arg("--yes").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let resident = Resident::watch(&mut child);
    assert!(child.wait().unwrap().success());
    assert_eq!(harness.proxy().tally().operation("UpdateItem").ok, count / 5);
    println!("{count} items: {} KB at most, in {:.1} s", resident.peak, began.elapsed().as_secs_f64());
    resident
}

/// A run's peak depends on chance, for example on the duration of disk commits and on the load of the machine. A longer
/// run is more likely to have a high peak. So the test measures growth within one run. If the run kept 150 additional
/// bytes for each item, the median of the last quarter would be a tenth above the highest value of the first half. The
/// comparison with the small table shows that the tool reserves no memory proportional to the size of the table.
#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_table() {
    let small = memory_of_a_run(12_000).await.peak;
    let large = memory_of_a_run(120_000).await;
    let earlier = large.highest_of_first_half();
    let later = large.median_of_last_quarter();
    println!("first half of the large run: {earlier} KB at most, last quarter: {later} KB (median)");
    assert!(later * 10 <= earlier * 11, "{later} KB in the last quarter, {earlier} KB in the first half");
    assert!(large.peak * 2 <= small * 3, "{} KB for 120,000 items, {small} KB for 12,000", large.peak);
    assert!(large.peak <= LIMIT_KB && small > 0, "{} KB", large.peak);
}
