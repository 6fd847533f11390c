//! Tests that a refused command changes nothing. The test runs every command in every state, with and without each
//! fact.

use super::*;

/// Returns the commands that lead to each tested state of a migration with this kind of plan.
fn states(kind: PlanKind) -> Vec<Vec<Goal>> {
    let life: &[Goal] = match kind {
        PlanKind::Flagged | PlanKind::Stated => &[DUAL, RUN, VERIFY, READ, WRITE, BACK, Goal::Rollback],
        PlanKind::InPlace | PlanKind::SetOnly => &[RUN, VERIFY, Goal::Rollback],
        PlanKind::RemoveOnly => &[Goal::Contract],
    };
    let mut states: Vec<Vec<Goal>> = (0..=life.len()).map(|count| life[..count].to_vec()).collect();
    if matches!(kind, PlanKind::Flagged | PlanKind::Stated) {
        let ahead = [DUAL, RUN, VERIFY, READ, WRITE];
        states.extend([RUN].map(|goal| vec![goal]));
        states.extend([BACK_NOW, Goal::Contract].map(|goal| [&ahead[..], &[goal]].concat()));
        states.push(vec![DUAL, RUN, VERIFY, READ, BACK]);
    }
    states
}

/// Runs these commands, and returns the resulting migration.
fn after(kind: PlanKind, goals: &[Goal]) -> SimulatedMigration {
    let mut sim = SimulatedMigration::new(kind);
    for goal in goals {
        // A refusal lists every missing fact, so the next attempt states all of these facts. Contract must also wait
        // until the soak is over.
        for _ in 0..3 {
            match sim.try_run(*goal) {
                Ok(_) => break,
                Err(refused) => sim.facts.extend(refused.missing),
            }
            sim.now += if *goal == Goal::Contract { SOAK } else { 0 };
        }
        sim.facts.clear();
    }
    sim
}

/// Returns whether a step does lasting work. The recording of a stated fact is lasting work too.
fn is_lasting(step: &str) -> bool {
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
    for kind in [PlanKind::Flagged, PlanKind::Stated, PlanKind::InPlace, PlanKind::SetOnly, PlanKind::RemoveOnly] {
        for state in states(kind) {
            let reached = after(kind, &state);
            for goal in &goals {
                // If a flag proves the facts, the tool does not accept stated facts. In that case, the test tries only
                // two inputs: no fact, and one fact.
                let subsets = if matches!(kind, PlanKind::Stated | PlanKind::RemoveOnly) { 32 } else { 2_usize };
                for (given, force) in (0..subsets).flat_map(|given| [(given, None), (given, Some("because"))]) {
                    let mut sim = reached.clone();
                    sim.force = force;
                    sim.facts = facts(sim.now);
                    let mut at = 0..;
                    sim.facts.retain(|_| given & (1 << at.next().unwrap()) != 0);
                    let before = (sim.events.clone(), sim.flag.clone());
                    let mut steps = Vec::new();
                    let Err(refused) = sim.try_run_noting_steps(*goal, &mut steps) else { continue };
                    refusals += 1;
                    if !steps.iter().any(|step| is_lasting(step)) {
                        let now = (sim.events.clone(), sim.flag.clone());
                        assert_eq!(now, before, "{kind:?} after {state:?}: {goal:?} with {:?}: {refused}", sim.facts);
                    }
                    // The refusal lists every missing fact. So if the operator repeats the command with all of these
                    // facts, the command asks for no further facts before its next lasting work.
                    if !refused.missing.is_empty() {
                        unstated += 1;
                        sim.facts.extend(&refused.missing);
                        steps.clear();
                        if let Err(again) = sim.try_run_noting_steps(*goal, &mut steps) {
                            let asked_twice = !again.missing.is_empty() && !steps.iter().any(|step| is_lasting(step));
                            assert!(!asked_twice, "{kind:?} after {state:?}: {goal:?}: {refused} and then {again}");
                        }
                    }
                }
            }
        }
    }
    assert!(refusals > 5_000 && unstated > 100, "{refusals} refusals, {unstated} for facts");
}

/// A refused rollback has not begun, so the operator can still go forward.
/// RUNBOOK: "names every fact that is missing"
#[test]
fn a_rollback_that_is_refused_for_a_fact_leaves_the_way_forward() {
    let mut sim = after(PlanKind::Stated, &[DUAL, RUN, VERIFY]);
    let refused = sim.try_run(Goal::Rollback).unwrap_err();
    assert_eq!(refused.missing, [Fact::ReadersBack, Fact::NewWritesStopped]);
    assert_eq!(refused.next.as_str(), "rollback --readers-back --new-writes-stopped");
    assert_eq!(sim.state.rollback, PhaseStatus::NotBegun);
    sim.facts = vec![Fact::ReadersMoved];
    sim.run(READ);
}

/// For a plan that puts derived items, each `rollback` command needs the statement, and the history records it once. No
/// other plan accepts the statement.
#[test]
fn a_rollback_of_derived_items_needs_stopped_writers() {
    let mut sim = after(PlanKind::SetOnly, &[RUN, VERIFY]);
    sim.puts_items = true;
    sim.begin();
    let before = sim.events.len();
    let refused = sim.try_run(Goal::Rollback).unwrap_err();
    assert_eq!(refused.missing, [Fact::WritersStopped]);
    assert_eq!(refused.next.as_str(), "rollback --writers-stopped");
    assert_eq!((sim.events.len(), sim.state.rollback), (before, PhaseStatus::NotBegun));
    let repair = sim.try_run(REPAIR).unwrap_err();
    assert_eq!(repair.next.as_str(), "run --again");
    sim.facts = vec![Fact::WritersStopped];
    sim.run(Goal::Rollback);
    assert_eq!((sim.state.rollback, sim.state.writers_stopped), (PhaseStatus::Complete, None));
    let stated = |event: &&Event| matches!(event.body, EventBody::FactStated { fact: Fact::WritersStopped, .. });
    assert_eq!(sim.events.iter().filter(stated).count(), 1);
    // The rollback is complete, so the command needs no statement.
    sim.facts = Vec::new();
    sim.run(Goal::Rollback);
    for kind in [PlanKind::Stated, PlanKind::SetOnly, PlanKind::InPlace] {
        let mut other = after(kind, &[RUN]);
        other.facts = vec![Fact::WritersStopped];
        let refused = other.try_run(Goal::Rollback).unwrap_err();
        assert!(refused.why.contains("plans that put derived items"), "{refused}");
    }
}

/// Once contract has begun, the refusal of a retry explains what happened and what to do. It does not mention that a
/// rollback is no longer possible.
#[test]
fn a_retry_after_contract_has_begun_says_what_to_do() {
    let mut sim = after(PlanKind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE]);
    sim.now += SOAK;
    sim.flag = Some(sim.flag.as_ref().unwrap().next(FlagChange::Contract, time(sim.now), Duration::ZERO).unwrap());
    sim.append(EventBody::PhaseBegun { phase: Phase::Contract });
    let refused = sim.try_run(Goal::FailuresRetry).unwrap_err();
    for part in ["`contract` has begun", "nothing was retried", "Correct these items", "tries each of them again"] {
        assert!(refused.why.contains(part), "{part}: {refused}");
    }
    assert!(
        !refused.why.contains("rollback is no longer possible") && refused.next.as_str() == "contract",
        "{refused}"
    );
    let back = sim.try_run(Goal::Rollback).unwrap_err();
    assert!(back.why.contains("rollback is no longer possible"), "{back}");
    sim.run(Goal::Contract);
    let refused = sim.try_run(Goal::FailuresRetry).unwrap_err();
    assert!(refused.why.contains("by hand") && refused.next.as_str() == "status", "{refused}");
}

/// A retry cannot change an item that is not computable. So for every kind of plan, the first suggestion is the list of
/// failures.
#[test]
fn items_that_are_not_computable_are_looked_at_first() {
    for kind in [PlanKind::Flagged, PlanKind::Stated, PlanKind::SetOnly, PlanKind::InPlace] {
        let first: &[Goal] = if matches!(kind, PlanKind::Flagged | PlanKind::Stated) { &[DUAL, RUN] } else { &[RUN] };
        let mut sim = after(kind, first);
        sim.failures = 2;
        assert_eq!(sim.stage_and_next().1.as_deref(), Some("failures retry"), "{kind:?}");
        sim.not_computable = true;
        assert_eq!(sim.stage_and_next().1.as_deref(), Some("failures list"), "{kind:?}");
        sim.mismatches = 2;
        sim.run(VERIFY);
        assert_eq!(sim.stage_and_next().1.as_deref(), Some("failures list"), "{kind:?}: after a verification");
    }
}

/// A repair left mismatches. The refusal describes the careful way first. `--force` comes last, together with its risk.
#[test]
fn a_gate_closed_by_unrepaired_items_names_force_last() {
    for diverged in [0, 3] {
        let mut sim = after(PlanKind::Flagged, &[DUAL, RUN]);
        sim.mismatches = 3;
        sim.diverged = diverged;
        sim.run(REPAIR);
        let refused = sim.try_run(READ).unwrap_err();
        let at = |part: &str| refused.why.find(part).unwrap_or_else(|| panic!("{part}: {refused}"));
        let order = ["the last repair left 3 mismatches", "failures list", "explain --key", "Correct the items"];
        let places: Vec<usize> = order.into_iter().chain(["verify --all", "--force REASON"]).map(at).collect();
        assert!(places.is_sorted() && refused.why.contains("missing or wrong values"), "{refused}");
        assert_eq!(refused.why.matches("The last resort").count(), 1, "{refused}");
        assert_eq!(refused.next.as_str(), "failures list");
        assert_eq!(sim.stage_and_next().1.as_deref(), Some("failures list"));
    }
}

/// The status shows every step that was forced with `--force`.
#[test]
fn each_forced_step_is_recorded() {
    let mut sim = after(PlanKind::Flagged, &[DUAL, RUN]);
    sim.mismatches = 3;
    sim.run(VERIFY);
    sim.force = Some("first");
    sim.run(READ);
    sim.force = Some("second");
    sim.run(WRITE);
    let reasons = (sim.state.forced_reads.as_deref(), sim.state.forced_writes.as_deref());
    assert_eq!(reasons, (Some("first"), Some("second")));
}

/// After a purge of the journal, no rollback can undo what a pass writes. So a pass that writes begins only if the
/// operator accepts this. A command that writes nothing needs no acceptance.
#[test]
fn a_pass_after_a_purge_needs_an_acceptance() {
    let purged = || {
        let mut sim = after(PlanKind::InPlace, &[RUN]);
        sim.purged_at = Some("2026-01-01T00:00:00Z");
        sim.failures = 1;
        sim.begin();
        sim
    };
    for goal in [AGAIN, REPAIR, Goal::FailuresRetry] {
        let mut sim = purged();
        let before = sim.events.len();
        let refused = sim.try_run(goal).unwrap_err();
        assert!(refused.why.contains("purged at 2026-01-01") && refused.why.contains("no-way-back"), "{refused}");
        assert!(refused.next.as_str().ends_with("--accept no-way-back"), "{refused}");
        assert_eq!(sim.events.len(), before, "a refused command records nothing");
        sim.accept_no_way_back = true;
        sim.run(goal);
    }
    for goal in [RUN, VERIFY, SAMPLE] {
        purged().run(goal);
    }
}

/// A pass that began with the acceptance resumes without it.
#[test]
fn a_pass_that_began_after_a_purge_needs_no_further_acceptance() {
    for goal in [AGAIN, REPAIR] {
        let mut sim = after(PlanKind::InPlace, &[RUN]);
        sim.purged_at = Some("2026-01-01T00:00:00Z");
        sim.accept_no_way_back = true;
        sim.begin();
        let Ok(Step::Record(body)) = sim.next_step(goal, true) else { panic!("{goal:?} does not begin") };
        sim.append(body);
        sim.accept_no_way_back = false;
        sim.run(goal);
    }
}
