//! Kills the tool at every named crash point, for every kind of change and every kind of selection.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use backfill::internals::state::CrashPoint;

use super::kinds::Kind;
use super::number;
use super::scene::{Forced, play_cell, play_traced};

/// The maximum number of seeds in which a cell must be hit.
const SEEDS: u64 = 30;

/// Number of seeds to play for an impossible cell.
const SEEDS_OF_IMPOSSIBLE: u64 = 1;

/// Returns the reason why a plan with only this kind of change never reaches a crash point. Returns `None` if such a
/// plan can reach the crash point.
fn impossible(kind: Kind, point: CrashPoint) -> Option<&'static str> {
    // Puts of derived items use the crash points of deletes. The tool confirms such a put like a delete. The removal of
    // a derived item is recorded like the restoration of a deleted item.
    let deletes = matches!(kind, Kind::Delete | Kind::Put);
    // Plans with other kinds of change need no baseline, because the journal alone shows their writes.
    let has_baseline = matches!(kind, Kind::Move | Kind::Copy | Kind::Replace | Kind::StableWhere | Kind::Keys);
    match point {
        CrashPoint::BaselineUnrecorded | CrashPoint::BaselineRecorded | CrashPoint::BaselineCompletion
            if !has_baseline =>
        {
            Some("no baseline")
        }
        CrashPoint::ProgramAsked if kind != Kind::Exec => Some("no program"),
        CrashPoint::DeleteUnconfirmed | CrashPoint::PutBackUnmarked if !deletes => Some("no delete"),
        _ => None,
    }
}

/// Plays seeds of a cell until the tool is killed at the cell's crash point. Plays at least `least` seeds. Returns the
/// number of kills, and the violations of all played seeds.
fn play_until_hit((kind, point): Forced, least: u64) -> (u64, Vec<String>) {
    let most = if impossible(kind, point).is_some() { SEEDS_OF_IMPOSSIBLE } else { SEEDS };
    let mut violations = Vec::new();
    let mut all = 0;
    for seed in 1..=most.max(least) {
        let result = play_cell(seed, (kind, point));
        assert!(result.kinds.contains(&kind), "{kind:?}: {:?}", result.kinds);
        let of_seed = |violation| format!("{kind:?} × {point}, seed {seed}: {violation}");
        violations.extend(result.violations.into_iter().map(of_seed));
        all += result.kills_at.get(&point).copied().unwrap_or(0);
        if all > 0 && seed >= least {
            break;
        }
    }
    (all, violations)
}

#[test]
fn every_crash_point_is_hit_with_every_kind_of_change() {
    let cells: Vec<Forced> =
        Kind::ALL.into_iter().flat_map(|kind| CrashPoint::ALL.map(|point| (kind, point))).collect();
    let least = number("BACKFILL_TEST_WORLDS_PER_CELL").unwrap_or(1);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut part = Vec::new();
        while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            part.push((*cell, play_until_hit(*cell, least)));
        }
        part
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let hits: BTreeMap<Forced, (u64, Vec<String>)> = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    print_table(&hits);
    let violations: Vec<&String> = hits.values().flat_map(|(_, violations)| violations).collect();
    assert!(violations.is_empty(), "{violations:#?}");
    let is_wrong = |cell: &&Forced| (hits[cell].0 > 0) == impossible(cell.0, cell.1).is_some();
    let wrong: Vec<&Forced> = hits.keys().filter(is_wrong).collect();
    assert!(wrong.is_empty(), "these cells are hit although they are impossible, or are never hit: {wrong:?}");
}

/// Prints the number of kills of each cell. `-` marks an impossible cell.
fn print_table(hits: &BTreeMap<Forced, (u64, Vec<String>)>) {
    for (n, point) in CrashPoint::ALL.into_iter().enumerate() {
        println!("{:>14} {n:>2} = {point}", "");
    }
    let header: String = (0..CrashPoint::ALL.len()).map(|n| format!("{n:>5}")).collect();
    println!("{:14}{header}", "");
    for kind in Kind::ALL {
        let cell = |point| match (impossible(kind, point), hits.get(&(kind, point))) {
            (Some(_), _) => format!("{:>5}", "-"),
            (None, hit) => format!("{:>5}", hit.map_or(0, |(kills, _)| *kills)),
        };
        println!("{:14}{}", format!("{kind:?}"), CrashPoint::ALL.map(cell).concat());
    }
}

/// Plays one seed of one cell, and prints its trace. `BACKFILL_TEST_WORLD_CELL=Delete,page-uncommitted,1` selects the
/// cell and the seed.
#[test]
fn one_cell() {
    let Ok(text) = std::env::var("BACKFILL_TEST_WORLD_CELL") else { return };
    let parts: Vec<&str> = text.split(',').collect();
    let kind = Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == parts[0]).unwrap();
    let point = CrashPoint::ALL.into_iter().find(|point| point.name() == parts[1]).unwrap();
    let result = play_traced(parts[2].parse().unwrap(), Some((kind, point)));
    println!("{}\n{:#?}", result.trace, result.violations);
    assert!(result.violations.is_empty());
}
