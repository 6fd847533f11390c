//! From every position of every kind of plan, an operator who follows `Next:` reaches an end. This holds for every set
//! of problems that the commands may find.

use super::*;

const KINDS: [Kind; 5] = [Kind::Flagged, Kind::Stated, Kind::InPlace, Kind::SetOnly, Kind::RemoveOnly];

/// The maximum number of commands that an operator may need to reach an end.
const STEPS: usize = 16;

/// The problems of a simulated migration.
#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    failures: u64,
    diverged: u64,
    mismatches: u64,
    /// Whether retries and repairs help.
    fixable: bool,
}

/// For each position, the commands that lead to it.
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
fn every_walk_by_next_ends() {
    let mut ends = std::collections::BTreeMap::new();
    for kind in KINDS {
        for place in PLACES {
            for trouble in troubles() {
                // The problems exist from the beginning. If `late` is set, they appear only when the position is
                // reached.
                for late in [false, true] {
                    let mut desk = Desk::new(kind);
                    meet(&mut desk, if late { Trouble::default() } else { trouble });
                    for goal in place {
                        give(&mut desk, *goal, None, trouble.fixable && !late);
                    }
                    meet(&mut desk, trouble);
                    let end = walk(&mut desk, trouble).unwrap_or_else(|way| {
                        panic!("{kind:?} after {place:?}, {trouble:?}, late {late}:\n  {}", way.join("\n  "))
                    });
                    *ends.entry(end).or_insert(0) += 1;
                }
            }
        }
    }
    // A walk ends only if nothing is left to do, or if a person must look at the failures.
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), ["failures list", "nothing"], "{ends:?}");
    assert!(ends.values().all(|walks| *walks > 20), "{ends:?}");
}

/// If a pass of contract or of a way back left failures, the next command in `status` is `failures list`. If the
/// command was killed, `status` names the command again.
#[test]
fn a_pass_that_left_failures_names_their_list() {
    let mut desk = Desk::new(Kind::InPlace);
    desk.all(&[RUN]);
    desk.append(What::RollbackBegun { forced: None });
    desk.append(What::PhaseBegun { phase: Phase::Undo });
    assert_eq!(desk.stands(), (Stage::Rollback, Some("rollback".to_owned())), "the command was killed");
    desk.unfinished = 2;
    assert_eq!(desk.stands(), (Stage::Rollback, Some("failures list".to_owned())));
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    desk.now += SOAK;
    desk.flag = Some(desk.flag.as_ref().unwrap().next(FlagChange::Contract, time(desk.now), Duration::ZERO).unwrap());
    desk.append(What::PhaseBegun { phase: Phase::Contract });
    assert_eq!(desk.stands(), (Stage::Contract, Some("contract".to_owned())), "the command was killed");
    desk.unfinished = 2;
    assert_eq!(desk.stands(), (Stage::Contract, Some("failures list".to_owned())));
}

fn troubles() -> Vec<Trouble> {
    let counts = [(0, 0, 0), (3, 0, 0), (0, 2, 2), (0, 0, 5), (3, 2, 5), (0, 2, 0)];
    let trouble = |(failures, diverged, mismatches), fixable| Trouble { failures, diverged, mismatches, fixable };
    counts.into_iter().flat_map(|counts| [false, true].map(|fixable| trouble(counts, fixable))).collect()
}

fn meet(desk: &mut Desk, trouble: Trouble) {
    desk.failures = trouble.failures;
    desk.diverged = trouble.diverged;
    desk.mismatches = trouble.mismatches;
}

/// Runs each suggested command until nothing is left to do, or until a person must look at the failures. If the
/// operator never reaches an end, returns the path as the error.
fn walk(desk: &mut Desk, trouble: Trouble) -> Result<&'static str, Vec<String>> {
    let mut way: Vec<String> = Vec::new();
    let mut next = desk.stands().1;
    for _ in 0..STEPS {
        let words = match next.as_deref() {
            None | Some("status") => return Ok("nothing"),
            Some("failures list") => return Ok("failures list"),
            Some(words) => words.to_owned(),
        };
        let bare = words.trim_end_matches(" --force REASON");
        let goal = goal_of(desk, bare).ok_or_else(|| vec![format!("{words} is not a command")])?;
        let refused = give(desk, goal, (bare != words).then_some("a reason"), trouble.fixable);
        if let Some(refused) = &refused
            && refused.why.contains("soaks until")
        {
            desk.now += SOAK;
            next = Some(words);
            continue;
        }
        way.push(format!("{words}: {}", refused.as_ref().map_or("done", |refused| &refused.why)));
        next = match refused {
            Some(refused) => Some(refused.next.words().to_owned()),
            None => desk.stands().1,
        };
        if next.as_ref() == Some(&words) {
            way.push(format!("{words} again"));
            return Err(way);
        }
    }
    Err(way)
}

/// Runs a command with every fact that it may ask for. Returns the refusal, if any.
fn give(desk: &mut Desk, goal: Goal, force: Option<&'static str>, fixable: bool) -> Option<Refused> {
    desk.force = force;
    desk.facts = if matches!(desk.kind, Kind::Stated | Kind::RemoveOnly) { facts(desk.now) } else { Vec::new() };
    let found = desk.mismatches;
    if goal == REPAIR && fixable {
        desk.mismatches = 0;
    }
    let refused = desk.give(goal).err();
    match goal {
        REPAIR if fixable && refused.is_none() => desk.diverged = 0,
        REPAIR => desk.mismatches = found,
        Goal::FailuresRetry if fixable && refused.is_none() => desk.failures = 0,
        _ => {}
    }
    refused
}

/// The goal for a suggested command.
fn goal_of(desk: &Desk, words: &str) -> Option<Goal> {
    let bare = ALL_FACTS.iter().fold(words.to_owned(), |words, fact| words.replace(&format!(" {}", fact.option()), ""));
    let flag = if desk.kind == Kind::Flagged { desk.flag.as_ref() } else { desk.state.stated.as_ref() };
    let to = flag.map_or(BackTo::OldWrites, |flag| BackTo::of(flag, time(desk.now), desk.left()));
    let backs = [false, true].map(|now| Goal::Back { to, now });
    let goals =
        [RUN, AGAIN, Goal::FailuresRetry, VERIFY, REPAIR, DUAL, SOME, READ, WRITE, Goal::Contract, Goal::Rollback];
    goals.into_iter().chain(backs).find(|goal| Next::from(*goal).words() == bare)
}
