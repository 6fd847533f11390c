//! Tests that an operator who follows `Next:` reaches a final state. The test tries every kind of plan, every position
//! in the migration, and many combinations of problems that the commands can find.

use super::*;

const CHANGE_CASES: [PlanKind; 5] =
    [PlanKind::Flagged, PlanKind::Stated, PlanKind::InPlace, PlanKind::SetOnly, PlanKind::RemoveOnly];

/// The maximum number of commands that an operator may need to reach a final state.
const STEPS: usize = 16;

/// The problems of a simulated migration.
#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    failures: u64,
    diverged: u64,
    mismatches: u64,
    /// Whether retries and repairs fix the problems.
    fixable: bool,
}

/// The positions in a migration. A position consists of the commands that lead to it.
const PLACES: [&[Goal]; 14] = [
    &[],
    &[DUAL],
    &[RUN],
    &[DUAL, RUN],
    &[DUAL, RUN, SAMPLE],
    &[DUAL, RUN, VERIFY],
    &[DUAL, RUN, REPAIR],
    &[DUAL, RUN, Goal::FailuresRetry],
    &[RUN, VERIFY],
    &[DUAL, RUN, VERIFY, SOME],
    &[DUAL, RUN, VERIFY, READ],
    &[DUAL, RUN, VERIFY, READ, WRITE],
    &[DUAL, RUN, VERIFY, READ, WRITE, BACK_NOW],
    &[DUAL, RUN, VERIFY, READ, WRITE, BACK],
];

#[test]
fn following_next_always_ends() {
    let mut ends = std::collections::BTreeMap::new();
    for kind in CHANGE_CASES {
        for place in PLACES {
            for trouble in troubles() {
                // Without `late`, the problems exist from the beginning. With `late`, they appear only when the
                // migration reaches the position.
                for late in [false, true] {
                    let mut sim = SimulatedMigration::new(kind);
                    set_trouble(&mut sim, if late { Trouble::default() } else { trouble });
                    for goal in place {
                        try_run(&mut sim, *goal, None, trouble.fixable && !late);
                    }
                    set_trouble(&mut sim, trouble);
                    let end = walk(&mut sim, trouble).unwrap_or_else(|way| {
                        panic!("{kind:?} after {place:?}, {trouble:?}, late {late}:\n  {}", way.join("\n  "))
                    });
                    *ends.entry(end).or_insert(0) += 1;
                }
            }
        }
    }
    // The series of commands ends only if nothing remains to be done, or if a person must inspect the failures.
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), ["failures list", "nothing"], "{ends:?}");
    assert!(ends.values().all(|walks| *walks > 20), "{ends:?}");
}

/// If a pass of contract or of a rollback left failures, the next command in `status` is `failures list`. If the
/// command was killed, `status` suggests the same command again.
#[test]
fn a_pass_that_left_failures_names_their_list() {
    let mut sim = SimulatedMigration::new(PlanKind::InPlace);
    sim.all(&[RUN]);
    sim.append(EventBody::RollbackBegun { forced: None });
    sim.append(EventBody::PhaseBegun { phase: Phase::Undo });
    assert_eq!(sim.stage_and_next(), (MigrationStage::Rollback, Some("rollback".to_owned())), "the command was killed");
    sim.unfinished = 2;
    assert_eq!(sim.stage_and_next(), (MigrationStage::Rollback, Some("failures list".to_owned())));
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    sim.now += SOAK;
    sim.flag = Some(sim.flag.as_ref().unwrap().next(FlagChange::Contract, time(sim.now), Duration::ZERO).unwrap());
    sim.append(EventBody::PhaseBegun { phase: Phase::Contract });
    assert_eq!(sim.stage_and_next(), (MigrationStage::Contract, Some("contract".to_owned())), "the command was killed");
    sim.unfinished = 2;
    assert_eq!(sim.stage_and_next(), (MigrationStage::Contract, Some("failures list".to_owned())));
}

fn troubles() -> Vec<Trouble> {
    let counts = [(0, 0, 0), (3, 0, 0), (0, 2, 2), (0, 0, 5), (3, 2, 5), (0, 2, 0)];
    let trouble = |(failures, diverged, mismatches), fixable| Trouble { failures, diverged, mismatches, fixable };
    counts.into_iter().flat_map(|counts| [false, true].map(|fixable| trouble(counts, fixable))).collect()
}

fn set_trouble(sim: &mut SimulatedMigration, trouble: Trouble) {
    sim.failures = trouble.failures;
    sim.diverged = trouble.diverged;
    sim.mismatches = trouble.mismatches;
}

/// Runs each suggested command until nothing remains to be done, or until a person must inspect the failures. If this
/// never happens, returns an error with the commands that ran.
fn walk(sim: &mut SimulatedMigration, trouble: Trouble) -> Result<&'static str, Vec<String>> {
    let mut way: Vec<String> = Vec::new();
    let mut next = sim.stage_and_next().1;
    for _ in 0..STEPS {
        let words = match next.as_deref() {
            None | Some("status") => return Ok("nothing"),
            Some("failures list") => return Ok("failures list"),
            Some(words) => words.to_owned(),
        };
        let bare = words.trim_end_matches(" --force REASON");
        let goal = goal_of(sim, bare).ok_or_else(|| vec![format!("{words} is not a command")])?;
        let refused = try_run(sim, goal, (bare != words).then_some("a reason"), trouble.fixable);
        if let Some(refused) = &refused
            && refused.why.contains("soaks until")
        {
            sim.now += SOAK;
            next = Some(words);
            continue;
        }
        way.push(format!("{words}: {}", refused.as_ref().map_or("done", |refused| &refused.why)));
        next = match refused {
            Some(refused) => Some(refused.next.as_str().to_owned()),
            None => sim.stage_and_next().1,
        };
        if next.as_ref() == Some(&words) {
            way.push(format!("{words} again"));
            return Err(way);
        }
    }
    Err(way)
}

/// Runs a command with all facts that it can ask for. If the command is refused, returns the refusal.
fn try_run(
    sim: &mut SimulatedMigration,
    goal: Goal,
    force: Option<&'static str>,
    fixable: bool,
) -> Option<StepRefusal> {
    sim.force = force;
    sim.facts = if matches!(sim.kind, PlanKind::Stated | PlanKind::RemoveOnly) { facts(sim.now) } else { Vec::new() };
    let found = sim.mismatches;
    if goal == REPAIR && fixable {
        sim.mismatches = 0;
    }
    let refused = sim.try_run(goal).err();
    match goal {
        REPAIR if fixable && refused.is_none() => sim.diverged = 0,
        REPAIR => sim.mismatches = found,
        Goal::FailuresRetry if fixable && refused.is_none() => sim.failures = 0,
        _ => {}
    }
    refused
}

/// Returns the goal of a suggested command.
fn goal_of(sim: &SimulatedMigration, words: &str) -> Option<Goal> {
    let bare = ALL_FACTS.iter().fold(words.to_owned(), |words, fact| words.replace(&format!(" {}", fact.option()), ""));
    let flag = if sim.kind == PlanKind::Flagged { sim.flag.as_ref() } else { sim.state.stated_flag.as_ref() };
    let to = flag.map_or(BackTarget::OldWrites, |flag| BackTarget::new(flag, time(sim.now), sim.left()));
    let backs = [false, true].map(|now| Goal::Back { to, now });
    let goals =
        [RUN, AGAIN, Goal::FailuresRetry, VERIFY, REPAIR, DUAL, SOME, READ, WRITE, Goal::Contract, Goal::Rollback];
    goals.into_iter().chain(backs).find(|goal| NextCommand::from(*goal).as_str() == bare)
}
