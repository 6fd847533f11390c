//! Tests properties of complete migrations with random plans and items of every type. The tool parses each plan and
//! makes its real passes. A second, naive implementation of every change computes the expected results.
//!
//! For each plan, the test checks that
//!
//! - the tool refuses the plan if the plan's own removals can leave a `where` without a result, and never refuses a
//!   plan for this reason if they cannot;
//! - the dry run predicts the run's counts, and writes nothing;
//! - the run produces exactly the items of the naive implementation: numbers keep all their digits, and the attributes
//!   that the plan does not name keep every byte;
//! - the estimated cost of each write equals the server's count;
//! - each write raises the version of its item once, even if an item gets several writes;
//! - if several sources have the same derived key, the run puts the item of one source, and reports the other sources;
//! - a second run writes nothing;
//! - verification finds exactly the items that the run could not change, and the defects that the test plants;
//! - a rollback restores every byte, except for versions and for what an application has written since. What an
//!   application wrote at a target stays, or comes back if a later run overwrote it;
//! - `contract` removes exactly the old attributes whose values are in the new ones.
//!
//! A seed determines a case. The test shrinks a failing case, and prints its plan and its items.
//! `BACKFILL_TEST_PROPERTIES=N` checks N plans instead of the default number, beginning with the seed
//! `BACKFILL_TEST_PROPERTIES_FIRST`. `tests/properties.sh` runs the long form.
#![cfg(feature = "local")]
#![expect(clippy::print_stdout, reason = "the test prints its figures")]

mod derived;
mod elements;
mod facts;
#[expect(dead_code, reason = "the properties use a part of this module")]
#[path = "../world/flag.rs"]
mod flag;
#[expect(dead_code, unreachable_pub, reason = "each test binary uses its own part of this module")]
#[path = "../harness/mod.rs"]
mod harness;
mod items;
mod naive;
mod scene;
mod server;
mod shrink;
mod spec;
mod wide;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use backfill::internals::change::Outcome;
use backfill::internals::item::{Item, item_to_json};
use fastrand::Rng;
use harness::Harness;
use scene::{Figures, Sabotage, check, refusal};
use server::Server;
use shrink::shrunk;
use spec::Spec;

/// Number of plans that `cargo test` checks in memory.
const PLANS: u64 = 500;

/// Number of plans that `cargo test` checks on an engine.
const PLANS_ON_AN_ENGINE: u64 = 20;

/// Number of plans to check with a planted defect. At least one of them must reveal the defect.
const PLANS_OF_A_DEFECT: u64 = 150;

/// The maximum percentage of refused plans. The generator makes a few invalid plans on purpose.
const MAX_REFUSED_PERCENT: u64 = 40;

/// A plan and the items of its table.
#[derive(Clone)]
struct Case {
    spec: Spec,
    items: Vec<Item>,
}

impl Case {
    fn from_seed(seed: u64) -> Case {
        let mut rng = Rng::with_seed(seed);
        let spec = Spec::random(&mut rng);
        let number = rng.usize(if spec.is_wide() { 3..10 } else { 3..30 });
        let mut items: Vec<Item> = (0..number).map(|n| items::item(n, &mut rng)).collect();
        if spec.is_wide() {
            items.iter_mut().for_each(|item| wide::fill(item, &mut rng));
        }
        derived::add_existing(&spec, &mut items, &mut rng);
        if spec.contracts && rng.u8(..4) > 0 {
            // The cutover gate opens only without mismatches, so remove the items that would be mismatches.
            let is_mismatch =
                |item: &Item| naive::is_mismatch(&spec, item) || naive::expected(&spec, item).is_mismatch();
            if !items.iter().all(is_mismatch) {
                items.retain(|item| !is_mismatch(item));
            }
        }
        Case { spec, items }
    }

    /// Checks the case on a table in memory, in virtual time.
    fn check(&self, sabotage: Option<Sabotage>) -> Result<Figures, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let checked = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let server = Server::in_memory(self.spec.has_index);
                check(&self.spec, &self.items, &server, sabotage).await
            })
        }));
        checked.unwrap_or_else(|_| Err("the tool panicked".to_owned()))
    }

    /// Returns the case as readable text.
    fn text(&self, why: &str) -> String {
        let items: Vec<String> = self.items.iter().map(|item| item_to_json(item).to_string()).collect();
        format!("{why}\n{}\nitems:\n{}", self.spec.toml("shop", None), items.join("\n"))
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Checks this number of plans, beginning with the seed `first`, with one thread for each core. Returns the figures,
/// and the seeds that failed.
fn campaign(first: u64, plans: u64) -> (Figures, BTreeMap<u64, String>) {
    let next = AtomicU64::new(first);
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let part = || {
        let (mut figures, mut failed) = (Figures::default(), BTreeMap::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + plans {
                return (figures, failed);
            }
            match Case::from_seed(seed).check(None) {
                Ok(checked) => figures.merge(checked),
                Err(why) => drop(failed.insert(seed, why)),
            }
        }
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|_| scope.spawn(part)).collect();
        let (mut figures, mut failed) = (Figures::default(), BTreeMap::new());
        for part in parts {
            let (more, others) = part.join().unwrap();
            figures.merge(more);
            failed.extend(others);
        }
        (figures, failed)
    })
}

#[test]
fn random_plans_do_what_the_naive_implementation_does() {
    let plans = number("BACKFILL_TEST_PROPERTIES").unwrap_or(PLANS);
    let first = number("BACKFILL_TEST_PROPERTIES_FIRST").unwrap_or(1);
    let began = Instant::now();
    let (figures, failed) = campaign(first, plans);
    println!("{plans} plans in {:.1} s, {} failed: {figures:#?}", began.elapsed().as_secs_f64(), failed.len());
    // Shrinking takes a while, so list all failed cases first.
    failed.iter().for_each(|(seed, why)| println!("seed {seed}: {}", why.chars().take(300).collect::<String>()));
    let shown = number("BACKFILL_TEST_PROPERTIES_SHOWN").and_then(|shown| usize::try_from(shown).ok()).unwrap_or(1);
    for (seed, why) in failed.iter().take(shown) {
        let (small, why) = shrunk(&Case::from_seed(*seed), why);
        println!("seed {seed}: {}\n", small.text(&why));
    }
    assert!(failed.is_empty(), "{} of {plans} plans failed, seeds {:?}", failed.len(), failed.keys());
    assert!(figures.refused * 100 <= plans * MAX_REFUSED_PERCENT, "{} of {plans} plans were refused", figures.refused);
    if plans < PLANS {
        return;
    }
    // The properties are meaningful only if every operation and outcome occurs.
    let operations: BTreeSet<&str> = figures.operations.keys().copied().collect();
    assert_eq!(operations.len(), 17, "operations that occurred: {operations:?}");
    let never = [Outcome::Gone, Outcome::Conflict];
    for outcome in Outcome::ALL.into_iter().filter(|outcome| !never.contains(outcome)) {
        assert!(figures.outcomes.contains_key(outcome.name()), "{outcome:?} never occurred: {figures:?}");
    }
    assert!(figures.planted > 0 && figures.rolled_back > 0 && figures.contracted > 0, "{figures:?}");
    assert!(figures.replaced > 0, "{figures:?}");
}

/// Counts the reasons for refused plans by the first line of the error.
#[test]
fn most_random_plans_are_accepted() {
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..2_000 {
        let Some(why) = refusal(&Case::from_seed(seed).spec) else { continue };
        let line = why.lines().find(|line| line.starts_with("error")).unwrap_or(&why);
        // Remove the paths, which differ from plan to plan.
        let kind: Vec<&str> = line.split('`').step_by(2).collect();
        *reasons.entry(kind.join("…")).or_default() += 1;
    }
    let refused: u64 = reasons.values().sum();
    println!("{refused} of 2,000 plans refused: {reasons:#?}");
    assert!(refused * 100 <= 2_000 * MAX_REFUSED_PERCENT, "{refused} of 2,000 plans were refused: {reasons:#?}");
}

/// Asserts that the checks find a planted defect in one of the first plans. The reason must contain the text `by`.
fn is_found(sabotage: Sabotage, by: &str) {
    let found = (1..=PLANS_OF_A_DEFECT).find_map(|seed| {
        let why = Case::from_seed(seed).check(Some(sabotage)).err()?;
        why.contains(by).then_some((seed, why))
    });
    println!("{sabotage:?}: {found:?}");
    assert!(found.is_some(), "{sabotage:?} was not found in {PLANS_OF_A_DEFECT} plans");
}

#[test]
fn a_lost_attribute_is_found() {
    is_found(Sabotage::LostAttribute, "the run left");
}

#[test]
fn a_lost_digit_is_found() {
    is_found(Sabotage::LostDigit, "the run left");
}

#[test]
fn a_lost_write_is_found() {
    is_found(Sabotage::LostWrite, "the run left");
}

#[test]
fn an_incomplete_rollback_is_found() {
    is_found(Sabotage::IncompleteRollback, "the rollback left");
}

#[test]
fn an_overlooked_mismatch_is_found() {
    is_found(Sabotage::OverlookedMismatch, "verification found");
}

/// Checks random plans on a real engine, in real time. The engine is the embedded one, or the one at
/// `BACKFILL_TEST_ENDPOINT`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_plans_do_the_same_on_an_engine() {
    let plans = number("BACKFILL_TEST_PROPERTIES_ENGINE").unwrap_or(PLANS_ON_AN_ENGINE);
    let first = number("BACKFILL_TEST_PROPERTIES_FIRST").unwrap_or(1);
    let harness = Harness::start();
    let began = Instant::now();
    let mut figures = Figures::default();
    for seed in first..first + plans {
        let Case { spec, items } = Case::from_seed(seed);
        if refusal(&spec).is_some() {
            figures.refused += 1;
            continue;
        }
        let server = Server::on_engine(&harness, spec.has_index).await;
        match check(&spec, &items, &server, None).await {
            Ok(checked) => figures.merge(checked),
            Err(why) => panic!("seed {seed}: {}", Case { spec, items }.text(&why)),
        }
        server.remove().await;
    }
    println!("{plans} plans on an engine in {:.1} s: {figures:#?}", began.elapsed().as_secs_f64());
    assert!(figures.writes > 0 && figures.estimates > 0, "{figures:?}");
}

/// Checks one seed, and prints its plan.
#[test]
fn one_seed() {
    let Some(seed) = number("BACKFILL_TEST_PROPERTIES_SEED") else { return };
    let case = Case::from_seed(seed);
    println!("{}", case.text("the case"));
    println!("{:?}", refusal(&case.spec));
    if let Err(why) = case.check(None) {
        let (small, why) = shrunk(&case, &why);
        panic!("{}", small.text(&why));
    }
}
