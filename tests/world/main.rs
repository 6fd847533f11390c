//! The deterministic world: the whole of `run`, `verify` and `rollback` on a table in memory, with a state in memory, a live
//! application, faults, and kills at any point, in virtual time on one thread.
//!
//! A seed decides everything: the items, the plan, what the application writes and when, what goes wrong, when the tool is
//! killed. So a seed that fails is a test by itself: `BACKFILL_TEST_WORLD_SEED=N cargo test --test world one_seed -- --nocapture`
//! prints what happened in it. `BACKFILL_TEST_WORLDS=N` plays this number of seeds instead of the few of `cargo test`.

#![expect(clippy::print_stdout, reason = "the figures are part of the result")]

mod application;
mod checks;
mod flag;
mod plan;
mod scene;
mod wire;

use std::collections::BTreeMap;

use backfill::internals::dynamodb::memory::Fault;
use scene::{Played, play};
use wire::Planted;

/// Seeds that `cargo test` plays.
const SEEDS: u64 = 120;

/// Seeds in which a planted bug has to be found.
const SEEDS_OF_A_BUG: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_seed_violates_an_invariant_and_every_kind_of_fault_fires() {
    let seeds = number("BACKFILL_TEST_WORLDS").unwrap_or(SEEDS);
    let first = number("BACKFILL_TEST_WORLD_FIRST").unwrap_or(1);
    let (mut fired, mut failed, mut kills, mut writes) = (BTreeMap::new(), Vec::new(), 0, 0);
    for seed in first..first + seeds {
        let Played { violations, fired: of_seed, kills: of_kills, writes: of_writes, .. } = play(seed, None);
        of_seed.into_iter().for_each(|(fault, times)| *fired.entry(fault).or_insert(0) += times);
        (kills, writes) = (kills + of_kills, writes + of_writes);
        failed.extend((!violations.is_empty()).then(|| format!("seed {seed}: {}", violations.join("; "))));
    }
    println!("{seeds} seeds: {kills} kills, {writes} writes of the tool, faults {fired:?}");
    assert!(failed.is_empty(), "{} of {seeds} seeds:\n{}", failed.len(), failed.join("\n"));
    let missing: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !fired.contains_key(fault)).collect();
    assert!(missing.is_empty() && kills > 0, "never fired: {missing:?}, {kills} kills");
}

/// Requests, replies, every version of every item, and the state: the same text.
#[test]
fn a_seed_replays_byte_for_byte() {
    for seed in 1..=12 {
        let (one, other) = (play(seed, None), play(seed, None));
        assert!(one.trace == other.trace, "seed {seed}: {}", first_difference(&one.trace, &other.trace));
    }
    assert_ne!(play(1, None).trace, play(2, None).trace);
}

fn first_difference(one: &str, other: &str) -> String {
    let differs = one.lines().zip(other.lines()).enumerate().find(|(_, (one, other))| one != other);
    differs.map_or("one is longer".into(), |(n, (one, other))| format!("line {n}:\n{one}\n{other}"))
}

#[test]
fn a_checkpoint_before_its_outcomes_is_found() {
    is_found(Planted::EarlyCheckpoint, "passed over");
}

#[test]
fn a_write_without_attribute_exists_is_found() {
    is_found(Planted::NoExistenceCheck, "brought back");
}

#[test]
fn a_consumption_that_is_reconciled_twice_is_found() {
    is_found(Planted::ReconciledTwice, "more than the table consumed");
}

fn is_found(planted: Planted, by: &str) {
    let found = (1..=SEEDS_OF_A_BUG).find(|seed| play(*seed, Some(planted)).violations.iter().any(|v| v.contains(by)));
    println!("{planted:?}: found by seed {found:?}");
    assert!(found.is_some(), "{planted:?} is not found in {SEEDS_OF_A_BUG} seeds");
}

/// Plays one seed, and prints it.
#[test]
fn one_seed() {
    let Some(seed) = number("BACKFILL_TEST_WORLD_SEED") else { return };
    let played = play(seed, None);
    println!("{}\n{:#?}", played.trace, played.violations);
    assert!(played.violations.is_empty());
}
