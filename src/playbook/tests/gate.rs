//! Tests the gate. Known mismatches keep the gate closed, and some obstacles cannot be overridden.

use super::*;
use crate::change::tests::replace;
use crate::change::{Change, OnExisting};
use crate::item::{KeyAttribute, KeySchema, Path};

const REPAIR_NEXT: &str = "verify --all --repair";

/// Mismatches from a full verification keep the gate closed until a later full verification is clean.
#[test]
fn a_sample_hides_no_mismatch_that_is_known() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.limits.accept_sample = true;
    sim.all(&[DUAL, RUN]);
    sim.mismatches = 12;
    sim.run(VERIFY);
    assert_eq!(sim.answer(READ), REPAIR_NEXT);
    // The sample missed all twelve items.
    sim.mismatches = 0;
    sim.run(SAMPLE);
    let refused = sim.next_step(READ, true).unwrap_err();
    assert!(refused.why.contains("12 mismatches") && refused.next.as_str() == REPAIR_NEXT, "{refused}");
    assert_eq!(sim.stage_and_next().1.as_deref(), Some(REPAIR_NEXT));
    sim.run(REPAIR);
    assert_eq!(sim.answer(READ), "allowed");

    // A new mismatch in a sample also closes the gate until a full verification is clean.
    sim.mismatches = 1;
    sim.run(SAMPLE);
    assert_eq!(sim.answer(READ), REPAIR_NEXT);
    sim.mismatches = 0;
    // A later clean sample proves nothing, because it can miss the item that differs.
    sim.run(SAMPLE);
    assert_eq!(sim.answer(READ), REPAIR_NEXT);
    sim.run(VERIFY);
    assert_eq!(sim.answer(READ), "allowed");
    sim.run(SAMPLE);
    assert_eq!(sim.answer(READ), "allowed");
}

/// RUNBOOK: "If `cutover --back` has begun, `write-new` is refused until the way back is complete"
#[test]
fn a_way_back_that_has_begun_must_end_before_write_new() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    // The pass that makes old values fresh left two items unequal.
    sim.mismatches = 2;
    sim.try_run(BACK).unwrap_err();
    assert_eq!(sim.flag.as_ref().map(|flag| flag.old_stale), Some(true));
    let refused = sim.next_step(WRITE, true).unwrap_err();
    assert!(refused.why.contains("a step back has begun"), "{refused}");
    assert!(refused.next.as_str().starts_with("cutover --back"), "{refused}");
    assert_eq!(sim.stage_and_next().1.as_deref(), Some(refused.next.as_str()));
    sim.mismatches = 0;
    sim.run(BACK);
    sim.all(&[VERIFY, READ, WRITE]);
}

/// RUNBOOK: "`--force` never overrides an incomplete expansion, and never allows `write-new` while items have failed"
#[test]
fn no_reason_overrides_items_without_a_new_value() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.force = Some("in a hurry");
    sim.run(DUAL);
    let always_refused = |sim: &SimulatedMigration, goal: Goal, why: &str, next: &str| {
        let refused = sim.next_step(goal, true).unwrap_err();
        assert!(refused.why.contains(why) && refused.why.contains("`--force` does not override that"), "{refused}");
        assert_eq!(refused.next.as_str(), next);
    };
    always_refused(&sim, READ, "expand has not begun", "run");
    sim.append(EventBody::PhaseBegun { phase: Phase::Expand });
    always_refused(&sim, READ, "expand is not complete", "run");
    sim.run(RUN);
    // At this step, writers still write old values, and readers fall back to old values. So the operator may move
    // readers with `--force`.
    sim.failures = 3;
    sim.run(READ);
    always_refused(&sim, WRITE, "3 items have failed", "cutover --back");
    assert_eq!(sim.stage_and_next().1.as_deref(), Some("cutover --back"));
    sim.force = None;
    assert_eq!(sim.answer(Goal::FailuresRetry), "cutover --back");
    sim.all(&[BACK, Goal::FailuresRetry]);
    sim.failures = 0;
    sim.all(&[VERIFY, READ, WRITE]);

    // This migration uses a second state file. No command with this file moved the flag or ran an expand pass.
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ]);
    let mut lost = SimulatedMigration {
        flag: sim.flag.take(),
        now: sim.now,
        force: Some("in a hurry"),
        ..SimulatedMigration::new(PlanKind::Flagged)
    };
    lost.append(EventBody::PreflightAccepted { kind: PlanKind::Flagged, accepted: Vec::new() });
    always_refused(&lost, WRITE, "expand has not begun", "run");
    assert_eq!(lost.answer(RUN), "cutover --back");
}

/// While readers fall back to old values, they do not see mismatches. From `write = new` on, readers would see the
/// mismatches.
/// RUNBOOK: "`write-new` refuses if a verification has found mismatches since readers moved"
#[test]
fn write_new_is_refused_while_a_later_verification_found_mismatches() {
    for found_by in [VERIFY, SAMPLE] {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        sim.all(&[DUAL, RUN, VERIFY, READ]);
        assert_eq!(sim.answer(WRITE), "allowed");
        sim.mismatches = 2;
        sim.run(found_by);
        let refused = sim.next_step(WRITE, true).unwrap_err();
        assert!(refused.why.contains("2 mismatches") && refused.next.as_str() == REPAIR_NEXT, "{refused}");
        assert_eq!(sim.stage_and_next().1.as_deref(), Some(REPAIR_NEXT));
        assert_eq!(sim.answer(Goal::Contract), REPAIR_NEXT);
        sim.mismatches = 0;
        sim.run(REPAIR);
        assert_eq!(sim.answer(WRITE), "allowed");
    }
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ]);
    sim.mismatches = 2;
    sim.run(VERIFY);
    sim.force = Some("they are tests of ours");
    sim.run(WRITE);
    let reason = |event: &Event| match &event.body {
        EventBody::FlagIntended { change: FlagChange::WriteNew, forced, .. } => forced.clone(),
        _ => None,
    };
    assert_eq!(sim.events.iter().find_map(reason).as_deref(), Some("they are tests of ours"));
}

/// RUNBOOK: "*once applications write only new values, a rollback might fail*"
#[test]
fn write_new_is_refused_if_old_values_could_not_come_back() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.one_way = Some("`a` and `b` may differ by then");
    sim.all(&[DUAL, RUN, VERIFY, READ]);
    let refused = sim.next_step(WRITE, true).unwrap_err();
    assert!(refused.why.contains("`a` and `b` may differ") && refused.why.contains("goes forward anyway"), "{refused}");
    assert_eq!(refused.next.as_str(), "cutover --to write-new --force REASON");
    sim.force = Some("it has soaked for a month");
    assert_eq!(sim.next_step(WRITE, false), Ok(Step::Confirm));
    let steps = sim.run(WRITE);
    assert!(steps.iter().any(|step| step.starts_with("Overridden") && step.contains("a month")), "{steps:?}");
    assert_eq!(sim.flag.as_ref().unwrap().write, WriteTo::New);
    // While applications write both attributes, no old value can be lost, so nothing is refused.
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.one_way = Some("`a` and `b` may differ by then");
    sim.all(&[DUAL, RUN, VERIFY, READ, Goal::Rollback]);
}

#[test]
fn plans_whose_old_values_may_not_come_back() {
    let attribute = |name: &str| KeyAttribute { name: name.to_owned(), kind: "S".to_owned() };
    let key = KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) };
    let path = |text: &str| text.parse::<Path>().unwrap();
    let copy = |from, to| Change::Copy { from: path(from), to: path(to), on_existing: OnExisting::Keep };
    let moved = |from, to| Change::Move { from: path(from), to: path(to), on_existing: OnExisting::Keep };
    let value = crate::item::Value::Bool(true);
    let on_existing = OnExisting::Keep;
    let set = Change::Set { to: path("old.z"), value, on_existing };
    for (changes, why) in [
        (vec![moved("old", "new"), copy("other", "newer"), set], None),
        (vec![copy("doc.a", "a"), copy("doc.b", "b")], None),
        (vec![copy("list[0].a", "a")], None),
        (vec![copy("old", "new"), copy("old", "newer")], Some("`new` and `newer` can differ")),
        (vec![moved("old", "new"), copy("old", "newer")], Some("`old` cannot equal both")),
        (vec![copy("doc", "a"), copy("x", "y"), copy("doc.b", "b")], Some("`doc` and `doc.b` cannot equal both")),
        (vec![copy("list[0]", "first")], Some("`list[0]` is an element of a list")),
        (vec![copy("sk", "sorted")], Some("`sk` is a key attribute")),
        (vec![replace("a", "b", "[item.a]", None)], Some("the plan has no `inverse`")),
        (vec![replace("a", "b", "[item.a]", Some("item.b[0]"))], None),
    ] {
        let found = one_way(&changes, &key);
        match why {
            None => assert_eq!(found, None),
            Some(why) => assert!(found.as_ref().is_some_and(|found| found.contains(why)), "{why}: {found:?}"),
        }
    }
}

/// Stated facts prove less than a flag, so a migration must not change from a plan with a flag to a plan without one,
/// or vice versa.
#[test]
fn a_migration_keeps_the_kind_it_began_with() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.run(DUAL);
    sim.kind = PlanKind::Stated;
    for goal in COMMANDS {
        let refused = sim.next_step(goal, true).unwrap_err();
        assert!(refused.why.contains("is of another kind"), "{goal:?}: {refused}");
    }
}

/// Breaks each condition of the gate in turn, and checks which command the refusal suggests.
/// RUNBOOK: "is younger than `max_age`, and has at most `max_mismatch` mismatches"
#[test]
fn the_gate_of_read_new() {
    type Spoil = fn(&mut SimulatedMigration);
    let cases: [(Spoil, &str, &str); 9] = [
        (|sim| sim.failures = 2, "2 items have failed", "failures retry"),
        (|sim| sim.diverged = 2, "2 items have diverged", "verify --all --repair"),
        (|sim| sim.state.full.as_mut().unwrap().mismatches = 1, "1 mismatch", "verify --all --repair"),
        (|sim| sim.state.full.as_mut().unwrap().plan = "other".to_owned(), "another plan", "verify --all"),
        (|sim| sim.state.full.as_mut().unwrap().span.began = time(0), "before expand ended", "verify --all"),
        (
            |sim| sim.flag.as_mut().unwrap().dual_since = Some(time(sim.now - i64::from(CACHE) - 1)),
            "before every writer wrote both",
            "verify --all",
        ),
        (|sim| sim.now += 200_000, "older than the plan's `max_age`", "verify --all"),
        (|sim| sim.state.full = None, "nothing has been verified", "verify --all"),
        (|sim| sim.state.sampled = sim.state.full.take(), "no full verification", "verify --all"),
    ];
    for (spoil, why, next) in cases {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        sim.all(&[DUAL, RUN, VERIFY]);
        assert_eq!(sim.answer(READ), "allowed");
        spoil(&mut sim);
        let refused = sim.next_step(READ, true).unwrap_err();
        assert!(refused.why.contains(why) && refused.next.as_str() == next, "{why}: {refused}");
        // The operator runs the step with `--force`, and the history records the reason.
        sim.force = Some("an incident");
        sim.run(READ);
        assert_eq!(sim.state.forced_reads.as_deref(), Some("an incident"));
        sim.force = None;
        let next = if sim.failures > 0 { "cutover --back" } else { next };
        assert_eq!(sim.answer(WRITE), next, "a forced step must not open the next gate");
    }
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, SAMPLE]);
    sim.limits.accept_sample = true;
    assert_eq!(sim.answer(READ), "allowed");
    sim.state.sampled.as_mut().unwrap().mismatches = 1;
    assert_eq!(sim.answer(READ), "verify --all --repair");
}

/// Some flag states are impossible, and `--force` cannot set them.
/// RUNBOOK: "No command sets `read = new` with `write = old`, or `write = new` below 100 %, not even with `--force`"
#[test]
fn force_cannot_set_impossible_flag_states() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.force = Some("an incident");
    sim.run(RUN);
    assert_eq!(sim.try_run(READ).unwrap_err().next.as_str(), "cutover --to dual-write");
    sim.all(&[DUAL, SOME]);
    assert_eq!(sim.try_run(WRITE).unwrap_err().next.as_str(), "verify --all", "the step to 100 % has a gate too");
    sim.all(&[READ, WRITE]);
    assert_eq!(sim.try_run(SOME).unwrap_err().next.as_str(), "contract");
}

/// RUNBOOK: "the tool refuses every step forward until the rollback has restored everything"
#[test]
fn no_step_forward_without_a_way_back() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.run(RUN);
    sim.unrestorable_targets = Some(7);
    let stays = |sim: &mut SimulatedMigration, goal: Goal| {
        let refused = sim.try_run(goal).unwrap_err();
        assert!(refused.why.contains("7 items already") && refused.why.contains("goes forward anyway"), "{refused}");
        assert_eq!(refused.next, NextCommand::from(goal).with("--force REASON"));
    };
    stays(&mut sim, DUAL);
    for goal in [READ, WRITE] {
        assert_eq!(
            sim.answer(goal),
            "cutover --to dual-write",
            "the refusal must first report the obstacle that no reason can override"
        );
    }
    // Every later step forward must be refused too.
    let mut later = SimulatedMigration::new(PlanKind::Flagged);
    for goal in [DUAL, RUN, VERIFY, SOME, READ, WRITE] {
        if matches!(goal, Goal::CutoverTo(_)) && later.state.preflight.is_some() {
            later.unrestorable_targets = Some(7);
            stays(&mut later, goal);
        }
        later.unrestorable_targets = None;
        later.run(goal);
    }
    // The operator gives a reason and confirms the step. The reason does not override other obstacles.
    sim.force = Some("the table is a copy");
    assert_eq!(sim.next_step(DUAL, false), Ok(Step::Confirm));
    sim.run(DUAL);
    assert!(
        matches!(&sim.events[3].body, EventBody::Overridden(Override { reason, .. }) if reason == "the table is a copy")
    );
    sim.force = None;
    assert_eq!(sim.answer(READ), "verify --all");
    sim.all(&[VERIFY, READ, WRITE]);
    // The reason does not cover a larger number of items.
    sim.unrestorable_targets = Some(8);
    sim.run(BACK);
    assert_eq!(sim.answer(READ), "cutover --to read-new --force REASON");
    assert_eq!(sim.try_run(Goal::Rollback).unwrap_err().next.as_str(), "rollback --force REASON");
    sim.force = Some("the table is a copy");
    sim.run(Goal::Rollback);
}

/// RUNBOOK: "A verification that compared no item proves nothing"
#[test]
fn a_verification_that_compared_nothing_opens_no_gate() {
    for (reads, compares, next) in [
        (Some(5), Some(0), "run --again"),
        (None, Some(0), "run --again"),
        (Some(0), Some(0), "cutover --to read-new --accept empty-table"),
        (Some(0), Some(3), "allowed"),
        // Earlier versions did not store these numbers.
        (None, None, "allowed"),
    ] {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        sim.reads = reads;
        sim.compares = compares;
        sim.all(&[DUAL, RUN, VERIFY]);
        assert_eq!(sim.answer(READ), next, "{reads:?} and {compares:?}");
        assert_eq!(
            sim.stage_and_next().1.as_deref(),
            Some(if next == "allowed" { "cutover --to read-new --percent 10" } else { next })
        );
        // The tool accepts an empty table only if a pass also read no item. It then records the acceptance.
        sim.accept_empty = true;
        let accepted = next.ends_with("empty-table");
        assert_eq!(sim.answer(READ) == "allowed", accepted || next == "allowed");
        if accepted {
            assert_eq!(sim.next_step(READ, false), Ok(Step::Confirm));
            sim.run(SOME);
            sim.accept_empty = false;
            sim.all(&[READ, WRITE]);
        }
        let recorded = sim.state.is_overridden(Obstacle::EmptyTable);
        assert_eq!(recorded, accepted, "{:?}", sim.state.overrides);
    }
}

/// During a rollback, the pass read items, but the verification compared no item. So this verification does not prove
/// that old values are fresh.
#[test]
fn a_verification_that_compared_nothing_sends_no_reader_back() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    sim.compares = Some(0);
    for _ in 0..2 {
        assert!(sim.try_run(BACK).unwrap_err().why.contains("compared no item"));
        assert_eq!(sim.flag.as_ref().unwrap().read, ReadFrom::New);
    }
    // Now the pass also reads no item, so readers may return to old values.
    sim.reads = Some(0);
    sim.run(BACK);
    assert_eq!(sim.flag.as_ref().unwrap().read, ReadFrom::Old);
}

/// If a sampled verification compared no item although the table has items, the next command is a full verification. A
/// further expand pass would prove nothing new.
#[test]
fn an_empty_sample_of_a_table_with_items_leads_to_a_full_verification() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.limits.accept_sample = true;
    for reads in [Some(5), None] {
        sim.reads = reads;
        sim.all(&[DUAL, Goal::Run { again: true }]);
        sim.compares = Some(0);
        sim.run(SAMPLE);
        assert_eq!(sim.answer(READ), "verify --all", "{reads:?}");
    }
    sim.compares = Some(5);
    sim.run(VERIFY);
    assert_eq!(sim.answer(READ), "allowed");
    let steps = sim.run(READ);
    assert!(!steps.iter().any(|step| step.starts_with("Overridden")), "no step may accept an empty table: {steps:?}");
    assert!(!sim.state.is_overridden(Obstacle::EmptyTable));
}
