//! The deterministic world: a simulation of `run`, `verify` and `rollback`. The world consists of a table in memory, a
//! state in memory and a live application. The simulation injects faults, and kills the tool at any point. It uses
//! virtual time and one thread.
//!
//! A seed determines everything: the items, the plan, the content and time of the application's writes, the faults, and
//! the moments of the kills. So a failing seed can be repeated as a single test. `BACKFILL_TEST_WORLD_SEED=N cargo test
//! --test world one_seed -- --nocapture` prints the events of seed N. `BACKFILL_TEST_WORLDS=N` plays N seeds instead of
//! the default number.

#![expect(clippy::print_stdout, reason = "the test prints its figures")]

mod application;
mod attempts;
mod budgets;
mod checks;
mod claims;
mod computed;
mod crash_points;
mod delete;
mod elements;
mod eta;
mod flag;
mod kills;
mod kinds;
mod plan;
mod program;
mod put;
mod scene;
mod select;
mod values;
mod verdicts;
mod wire;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use backfill::internals::dynamodb::memory::SimulatedFault;
use backfill::internals::state::CrashPoint;
use claims::Claim;
use kinds::Kind;
use scene::{SeedResult, play, play_in_batches, play_kind, play_traced};
use wire::PlantedBug;

/// Number of seeds that `cargo test` plays by default.
const SEEDS: u64 = 120;

/// Number of seeds to play with a planted bug. At least one of these seeds must reveal the bug.
const SEEDS_OF_A_BUG: u64 = 600;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The result of playing a range of seeds.
#[derive(Default)]
struct Campaign {
    fired: BTreeMap<SimulatedFault, u64>,
    /// The violations in each failed seed.
    failed: BTreeMap<u64, String>,
    kills: u64,
    /// Number of kills at each crash point.
    kills_at: BTreeMap<CrashPoint, u64>,
    writes: u64,
}

impl Campaign {
    /// Plays `seeds` seeds, beginning with the seed `first`, in parallel with one thread per core. Each seed runs on a
    /// single thread, independently of the other seeds.
    fn play(first: u64, seeds: u64) -> Campaign {
        Campaign::play_each(first, seeds, |seed| play(seed, None))
    }

    fn play_each(first: u64, seeds: u64, play: impl Fn(u64) -> SeedResult + Sync) -> Campaign {
        let next = AtomicU64::new(first);
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let part = || {
            let mut part = Campaign::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + seeds {
                    return part;
                }
                part.count(seed, play(seed));
            }
        };
        thread::scope(|scope| {
            let parts: Vec<_> = (0..threads).map(|_| scope.spawn(part)).collect();
            parts.into_iter().map(|part| part.join().unwrap()).fold(Campaign::default(), Campaign::merge)
        })
    }

    fn count(&mut self, seed: u64, result: SeedResult) {
        let SeedResult { violations, fired, kills, kills_at, writes, trace: _, kinds: _ } = result;
        kills_at.into_iter().for_each(|(point, times)| *self.kills_at.entry(point).or_insert(0) += times);
        fired.into_iter().for_each(|(fault, times)| *self.fired.entry(fault).or_insert(0) += times);
        (self.kills, self.writes) = (self.kills + kills, self.writes + writes);
        self.failed.extend((!violations.is_empty()).then(|| (seed, violations.join("; "))));
    }

    fn merge(mut self, other: Campaign) -> Campaign {
        other.fired.into_iter().for_each(|(fault, times)| *self.fired.entry(fault).or_insert(0) += times);
        other.kills_at.into_iter().for_each(|(point, times)| *self.kills_at.entry(point).or_insert(0) += times);
        self.failed.extend(other.failed);
        Campaign { kills: self.kills + other.kills, writes: self.writes + other.writes, ..self }
    }
}

#[test]
fn no_seed_violates_an_invariant_and_every_kind_of_fault_fires() {
    let seeds = number("BACKFILL_TEST_WORLDS").unwrap_or(SEEDS);
    let first = number("BACKFILL_TEST_WORLD_FIRST").unwrap_or(1);
    let began = Instant::now();
    let Campaign { fired, failed, kills, kills_at, writes } = Campaign::play(first, seeds);
    let seconds = began.elapsed().as_secs_f64();
    let violations = failed.len();
    println!(
        "{seeds} seeds in {seconds:.1} s: {violations} with a violation; {kills} kills, {writes} writes by the tool"
    );
    println!("faults that took effect: {fired:?}");
    println!("kills at crash points: {kills_at:?}");
    let failed: Vec<String> = failed.into_iter().map(|(seed, why)| format!("seed {seed}: {why}")).collect();
    assert!(failed.is_empty(), "{} of {seeds} seeds:\n{}", failed.len(), failed.join("\n"));
    let missing: Vec<SimulatedFault> =
        SimulatedFault::ALL.into_iter().filter(|fault| !fired.contains_key(fault)).collect();
    assert!(missing.is_empty() && kills > 0, "never fired: {missing:?}, {kills} kills");
}

/// The same worlds, but writes go in batches of PartiQL statements. Faults also concern single statements of a batch.
#[test]
fn no_seed_violates_an_invariant_if_writes_go_in_batches() {
    let seeds = number("BACKFILL_TEST_WORLDS").unwrap_or(SEEDS);
    let first = number("BACKFILL_TEST_WORLD_FIRST").unwrap_or(1);
    let Campaign { fired, failed, kills, writes, .. } = Campaign::play_each(first, seeds, play_in_batches);
    println!("{seeds} seeds in batches: {kills} kills, {writes} writes by the tool, {fired:?}");
    let failed: Vec<String> = failed.into_iter().map(|(seed, why)| format!("seed {seed}: {why}")).collect();
    assert!(failed.is_empty() && kills > 0, "{} of {seeds} seeds:\n{}", failed.len(), failed.join("\n"));
}

/// Plays each seed twice, and compares the two traces. Both traces must contain the same requests, replies, item
/// versions and state.
#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in 1..=12 {
        let one = play_traced(seed, None);
        let other = play_traced(seed, None);
        assert!(one.trace == other.trace, "seed {seed}: {}", first_difference(&one.trace, &other.trace));
    }
    assert_ne!(play_traced(1, None).trace, play_traced(2, None).trace);
}

fn first_difference(one: &str, other: &str) -> String {
    let differs = one.lines().zip(other.lines()).enumerate().find(|(_, (one, other))| one != other);
    differs.map_or("one trace is longer".into(), |(n, (one, other))| format!("line {n}:\n{one}\n{other}"))
}

#[test]
fn a_premature_checkpoint_is_found() {
    is_found(PlantedBug::EarlyCheckpoint, "was missed");
}

#[test]
fn a_write_without_attribute_exists_is_found() {
    is_found(PlantedBug::NoExistenceCheck, &Claim::Resurrection.to_string());
}

#[test]
fn a_delete_without_a_guard_is_found() {
    is_found(PlantedBug::UnguardedDelete, "the last copy of a deleted item is lost");
    is_found_in(Kind::Delete, PlantedBug::UnguardedDelete, "an item is deleted that must stay");
}

#[test]
fn a_restore_without_a_guard_is_found() {
    is_found(PlantedBug::UnguardedRestore, "rollback: process");
}

#[test]
fn writes_that_pin_nothing_are_found() {
    for claim in [Claim::LostUpdate, Claim::StaleComputation, Claim::UnselectedTouched] {
        is_found(PlantedBug::UnpinnedInputs, &claim.to_string());
    }
}

#[test]
fn a_version_that_is_not_raised_is_found() {
    is_found(PlantedBug::NoBump, &Claim::VersionNotRaised.to_string());
}

#[test]
fn a_change_of_another_attribute_is_found() {
    is_found(PlantedBug::ForeignAttribute, &Claim::UntouchedChanged.to_string());
}

#[test]
fn a_list_that_is_written_without_a_guard_is_found() {
    is_found_in(Kind::Each, PlantedBug::UnguardedElements, "lines is wrong");
}

#[test]
fn a_list_that_is_restored_in_part_is_found() {
    is_found_in(Kind::Each, PlantedBug::PartlyRestoredElements, "keeps a part of the migration");
}

#[test]
fn a_derived_item_that_pins_no_input_is_found() {
    is_found_in(Kind::Put, PlantedBug::UnpinnedInputs, "put from stale inputs");
}

#[test]
fn a_removal_of_a_derived_item_that_another_writer_put_is_found() {
    is_found_in(Kind::Put, PlantedBug::UnguardedDelete, "a derived item is deleted that the tool did not put");
}

#[test]
fn a_derived_item_that_a_rollback_keeps_is_found() {
    is_found_in(Kind::Put, PlantedBug::LostDelete, "stays after the rollback");
}

#[test]
fn a_doubly_reconciled_consumption_is_found() {
    is_found(PlantedBug::ReconciledTwice, "more than the table consumed");
}

#[test]
fn a_write_without_permits_is_found() {
    is_found(PlantedBug::SentTwice, "beyond the budget");
}

#[test]
fn caches_older_than_the_plan_allows_are_found() {
    is_found(PlantedBug::OldCaches, "was missed");
}

fn is_found(planted: PlantedBug, by: &str) {
    is_found_by(planted, by, |seed| play(seed, Some(planted)));
}

/// Checks a planted bug like [`is_found`], but only with plans that have this kind of change.
fn is_found_in(kind: Kind, planted: PlantedBug, by: &str) {
    is_found_by(planted, by, |seed| play_kind(seed, kind, Some(planted)));
}

fn is_found_by(planted: PlantedBug, by: &str, play: impl Fn(u64) -> SeedResult) {
    let found = (1..=SEEDS_OF_A_BUG).find(|seed| play(*seed).violations.iter().any(|v| v.contains(by)));
    println!("{planted:?}: found by seed {found:?}");
    assert!(found.is_some(), "{planted:?} was not found in {SEEDS_OF_A_BUG} seeds");
}

/// Plays one seed, and prints its trace.
#[test]
fn one_seed() {
    let Some(seed) = number("BACKFILL_TEST_WORLD_SEED") else { return };
    let result = play_traced(seed, None);
    println!("{}\n{:#?}", result.trace, result.violations);
    assert!(result.violations.is_empty());
}
