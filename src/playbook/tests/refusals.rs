//! A refused command changes nothing. The test runs every command in every state, with each fact given or missing.

use super::*;

/// Returns, for each state that a plan of this kind can reach, the commands that lead to it.
fn states(kind: Kind) -> Vec<Vec<Goal>> {
    let life: &[Goal] = match kind {
        Kind::Flagged | Kind::Stated => &[DUAL, RUN, VERIFY, READ, WRITE, BACK, Goal::Rollback],
        Kind::InPlace | Kind::SetOnly => &[RUN, VERIFY, Goal::Rollback],
        Kind::RemoveOnly => &[Goal::Contract],
    };
    let mut states: Vec<Vec<Goal>> = (0..=life.len()).map(|count| life[..count].to_vec()).collect();
    if matches!(kind, Kind::Flagged | Kind::Stated) {
        let ahead = [DUAL, RUN, VERIFY, READ, WRITE];
        states.extend([RUN].map(|goal| vec![goal]));
        states.extend([BACK_NOW, Goal::Contract].map(|goal| [&ahead[..], &[goal]].concat()));
        states.push(vec![DUAL, RUN, VERIFY, READ, BACK]);
    }
    states
}

/// Runs these commands, and returns the resulting migration.
fn after(kind: Kind, goals: &[Goal]) -> Desk {
    let mut desk = Desk::new(kind);
    for goal in goals {
        // A refusal names every missing fact, so the next attempt states all of these facts. Contract must also wait
        // for the soak.
        for _ in 0..3 {
            match desk.give(*goal) {
                Ok(_) => break,
                Err(refused) => desk.facts.extend(refused.missing),
            }
            desk.now += if *goal == Goal::Contract { SOAK } else { 0 };
        }
        desk.facts.clear();
    }
    desk
}

/// Whether a step does lasting work. Recording a stated fact is lasting work too.
fn lasts(step: &str) -> bool {
    let begins = |words: &[&str]| words.iter().any(|word| step.starts_with(word));
    let records = begins(&["Preflight", "record", "begin ", "Confirm", "Overridden", "RollbackBegun"]);
    !records
}

/// RUNBOOK: "A command out of order changes nothing"
#[test]
fn a_refused_command_records_nothing_whatever_is_missing() {
    let goals = COMMANDS.into_iter().chain([AGAIN, SAMPLE, REPAIR, SOME, BACK_NOW, STOP_DUAL]);
    let goals: Vec<Goal> = goals.collect();
    let mut refusals = 0;
    let mut unstated = 0;
    for kind in [Kind::Flagged, Kind::Stated, Kind::InPlace, Kind::SetOnly, Kind::RemoveOnly] {
        for state in states(kind) {
            let reached = after(kind, &state);
            for goal in &goals {
                // If a flag proves the facts, the plan accepts no stated fact. So the test only tries no fact and one
                // fact.
                let subsets = if matches!(kind, Kind::Stated | Kind::RemoveOnly) { 32 } else { 2_usize };
                for (given, force) in (0..subsets).flat_map(|given| [(given, None), (given, Some("because"))]) {
                    let mut desk = reached.clone();
                    desk.force = force;
                    desk.facts = facts(desk.now);
                    let mut at = 0..;
                    desk.facts.retain(|_| given & (1 << at.next().unwrap()) != 0);
                    let before = (desk.events.clone(), desk.flag.clone());
                    let mut steps = Vec::new();
                    let Err(refused) = desk.give_noting(*goal, &mut steps) else { continue };
                    refusals += 1;
                    if !steps.iter().any(|step| lasts(step)) {
                        let now = (desk.events.clone(), desk.flag.clone());
                        assert_eq!(now, before, "{kind:?} after {state:?}: {goal:?} with {:?}: {refused}", desk.facts);
                    }
                    // The refusal names every missing fact. So if the operator repeats the command with all these
                    // facts, the command asks for no other fact before its next lasting work.
                    if !refused.missing.is_empty() {
                        unstated += 1;
                        desk.facts.extend(&refused.missing);
                        steps.clear();
                        if let Err(again) = desk.give_noting(*goal, &mut steps) {
                            let asked_twice = !again.missing.is_empty() && !steps.iter().any(|step| lasts(step));
                            assert!(!asked_twice, "{kind:?} after {state:?}: {goal:?}: {refused} and then {again}");
                        }
                    }
                }
            }
        }
    }
    assert!(refusals > 5_000 && unstated > 100, "{refusals} refusals, {unstated} for facts");
}

/// The refused rollback has not begun, so the operator can still go forward.
/// RUNBOOK: "names every fact that is missing"
#[test]
fn a_rollback_that_is_refused_for_a_fact_leaves_the_way_forward() {
    let mut desk = after(Kind::Stated, &[DUAL, RUN, VERIFY]);
    let refused = desk.give(Goal::Rollback).unwrap_err();
    assert_eq!(refused.missing, [Fact::ReadersBack, Fact::NewWritesStopped]);
    assert_eq!(refused.next.words(), "rollback --readers-back --new-writes-stopped");
    assert_eq!(desk.state.rollback, Way::Ahead);
    desk.facts = vec![Fact::ReadersMoved];
    desk.done(READ);
}
