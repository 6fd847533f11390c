//! Measures how many items per second two processes of the Python example can answer. The measurement includes the
//! process pools and the protocol. It uses no table.
//!
//! Run it with `cargo bench --bench exec`. The exit code is 1 if the figure misses its target.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backfill::internals::change::{Change, Exec, ProgramQuestion, input_digest};
use backfill::internals::exec::{Pools, Programs as _, find_programs};
use backfill::internals::item::{Item, Value};
use backfill::internals::plan::load;

/// The minimum number of items per second.
const TARGET: f64 = 10_000.0;

/// Items of a page.
const PAGE: usize = 1_000;

/// The number of pages that are sent to the program at the same time, as in a run with four lanes.
const LANES: usize = 4;

fn main() -> ExitCode {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations-examples");
    let text = std::fs::read_to_string(folder.join("computed-by-a-program.toml")).unwrap();
    let mut plan = load("example", &text).unwrap().plan;
    find_programs(&mut plan.changes, &folder);
    let Change::Exec { exec, .. } = &plan.changes[0] else { panic!("the example has no `exec`") };
    let Exec { workers, batch, .. } = exec.as_ref();
    let pools = Arc::new(Pools::new(&plan.changes).unwrap());
    let page: Arc<Vec<ProgramQuestion>> = Arc::new((0..PAGE).map(question).collect());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let items = runtime.block_on(async {
        // Start the processes before the measurement begins.
        pools.ask(&page, &|| {}).await.unwrap();
        let began = Instant::now();
        let mut lanes = Vec::new();
        for _ in 0..LANES {
            let (pools, page) = (Arc::clone(&pools), Arc::clone(&page));
            lanes.push(tokio::spawn(async move {
                let mut items = 0;
                while began.elapsed() < Duration::from_secs(5) {
                    let answers = pools.ask(&page, &|| {}).await.unwrap();
                    items += answers.iter().filter(|answer| answer.is_ok()).count();
                }
                items
            }));
        }
        let mut items = 0;
        for lane in lanes {
            items += lane.await.unwrap();
        }
        items as f64 / began.elapsed().as_secs_f64()
    });
    println!("{items:.0} items/s with {workers} processes and batches of {batch} (target: {TARGET})");
    if items < TARGET { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn question(n: usize) -> ProgramQuestion {
    let text = |text: String| Value::S(text);
    let title = ("title".to_owned(), text(format!("item {n}")));
    let body = ("body".to_owned(), text("a text of a few words about this item, as applications have it".to_owned()));
    let inputs = Item::from([title, body]);
    ProgramQuestion { position: 0, digest: input_digest(&inputs), inputs, compares: false }
}
