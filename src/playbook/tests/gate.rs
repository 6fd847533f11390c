//! A gate is closed while differences are known. Some obstacles cannot be overridden.

use super::*;
use crate::change::{Change, OnExisting};
use crate::item::{KeyAttribute, KeySchema, Path};

const REPAIR_NEXT: &str = "verify --all --repair";

/// Mismatches from a full verification keep the gate closed until a later full verification is clean.
#[test]
fn a_sample_hides_no_mismatch_that_is_known() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.limits.accept_sample = true;
    desk.all(&[DUAL, RUN]);
    desk.mismatches = 12;
    desk.done(VERIFY);
    assert_eq!(desk.says(READ), REPAIR_NEXT);
    // The sample missed all twelve items.
    desk.mismatches = 0;
    desk.done(SAMPLE);
    let refused = desk.ask(READ, true).unwrap_err();
    assert!(refused.why.contains("12 mismatches") && refused.next.words() == REPAIR_NEXT, "{refused}");
    assert_eq!(desk.stands().1.as_deref(), Some(REPAIR_NEXT));
    desk.done(REPAIR);
    assert_eq!(desk.says(READ), "allowed");

    // A sampled verification that finds a new mismatch closes the gate too, until a full verification is clean.
    desk.mismatches = 1;
    desk.done(SAMPLE);
    assert_eq!(desk.says(READ), REPAIR_NEXT);
    desk.mismatches = 0;
    // A later clean sample proves nothing about the item that differs: it may miss this item.
    desk.done(SAMPLE);
    assert_eq!(desk.says(READ), REPAIR_NEXT);
    desk.done(VERIFY);
    assert_eq!(desk.says(READ), "allowed");
    desk.done(SAMPLE);
    assert_eq!(desk.says(READ), "allowed");
}

/// RUNBOOK: "`--force` never overrides an incomplete expansion, and never allows `write-new` while items have failed"
#[test]
fn no_reason_overrides_items_without_a_new_value() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.force = Some("in a hurry");
    desk.done(DUAL);
    let always_refused = |desk: &Desk, goal: Goal, why: &str, next: &str| {
        let refused = desk.ask(goal, true).unwrap_err();
        assert!(refused.why.contains(why) && refused.why.contains("`--force` does not go past that"), "{refused}");
        assert_eq!(refused.next.words(), next);
    };
    always_refused(&desk, READ, "nothing has been expanded", "run");
    desk.append(What::PhaseBegun { phase: Phase::Expand });
    always_refused(&desk, READ, "expand is not complete", "run");
    desk.done(RUN);
    // At this step writers still write old values, and readers fall back to them. So `--force` may move readers.
    desk.failures = 3;
    desk.done(READ);
    always_refused(&desk, WRITE, "3 items have failed", "cutover --back");
    assert_eq!(desk.stands().1.as_deref(), Some("cutover --back"));
    desk.force = None;
    assert_eq!(desk.says(Goal::FailuresRetry), "cutover --back");
    desk.all(&[BACK, Goal::FailuresRetry]);
    desk.failures = 0;
    desk.all(&[VERIFY, READ, WRITE]);

    // This is a second state file. Its migration did not move the flag and has recorded no expand pass.
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ]);
    let mut lost =
        Desk { flag: desk.flag.take(), now: desk.now, force: Some("in a hurry"), ..Desk::new(Kind::Flagged) };
    lost.append(What::PreflightAccepted { kind: Kind::Flagged, accepted: Vec::new() });
    always_refused(&lost, WRITE, "nothing has been expanded", "run");
    assert_eq!(lost.says(RUN), "cutover --back");
}

/// While readers fall back to old values, they do not see mismatches. From `write = new` on, readers would see the
/// mismatches.
/// RUNBOOK: "`write-new` checks again what verification found since readers moved"
#[test]
fn write_new_is_refused_while_a_later_verification_found_mismatches() {
    for found_by in [VERIFY, SAMPLE] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(&[DUAL, RUN, VERIFY, READ]);
        assert_eq!(desk.says(WRITE), "allowed");
        desk.mismatches = 2;
        desk.done(found_by);
        let refused = desk.ask(WRITE, true).unwrap_err();
        assert!(refused.why.contains("2 mismatches") && refused.next.words() == REPAIR_NEXT, "{refused}");
        assert_eq!(desk.stands().1.as_deref(), Some(REPAIR_NEXT));
        assert_eq!(desk.says(Goal::Contract), REPAIR_NEXT);
        desk.mismatches = 0;
        desk.done(REPAIR);
        assert_eq!(desk.says(WRITE), "allowed");
    }
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ]);
    desk.mismatches = 2;
    desk.done(VERIFY);
    desk.force = Some("they are tests of ours");
    desk.done(WRITE);
    let reason = |event: &Event| match &event.what {
        What::FlagIntended { change: FlagChange::WriteNew, forced, .. } => forced.clone(),
        _ => None,
    };
    assert_eq!(desk.events.iter().find_map(reason).as_deref(), Some("they are tests of ours"));
}

/// RUNBOOK: "*once new values alone are written, a rollback may not succeed*"
#[test]
fn write_new_is_refused_if_old_values_could_not_come_back() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.one_way = Some("`a` and `b` may differ by then");
    desk.all(&[DUAL, RUN, VERIFY, READ]);
    let refused = desk.ask(WRITE, true).unwrap_err();
    assert!(refused.why.contains("`a` and `b` may differ") && refused.why.contains("goes forward anyway"), "{refused}");
    assert_eq!(refused.next.words(), "cutover --to write-new --force REASON");
    desk.force = Some("it has soaked for a month");
    assert_eq!(desk.ask(WRITE, false), Ok(Step::Confirm));
    let steps = desk.done(WRITE);
    assert!(steps.iter().any(|step| step.starts_with("Overridden") && step.contains("a month")), "{steps:?}");
    assert_eq!(desk.flag.as_ref().unwrap().write, WriteTo::New);
    // While both attributes are written, no old value is lost, so nothing is refused.
    let mut desk = Desk::new(Kind::Flagged);
    desk.one_way = Some("`a` and `b` may differ by then");
    desk.all(&[DUAL, RUN, VERIFY, READ, Goal::Rollback]);
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
        (vec![copy("old", "new"), copy("old", "newer")], Some("`new` and `newer` may differ")),
        (vec![moved("old", "new"), copy("old", "newer")], Some("`old` cannot equal both")),
        (vec![copy("doc", "a"), copy("x", "y"), copy("doc.b", "b")], Some("`doc` and `doc.b` cannot equal both")),
        (vec![copy("list[0]", "first")], Some("`list[0]` is an element of a list")),
        (vec![copy("sk", "sorted")], Some("`sk` is a key attribute")),
    ] {
        let found = one_way(&changes, &key);
        match why {
            None => assert_eq!(found, None),
            Some(why) => assert!(found.as_ref().is_some_and(|found| found.contains(why)), "{why}: {found:?}"),
        }
    }
}

/// A stated fact proves less than a flag, so a migration must not switch between a plan with a flag and a plan without
/// one.
#[test]
fn a_migration_keeps_the_kind_it_began_with() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.done(DUAL);
    desk.kind = Kind::Stated;
    for goal in COMMANDS {
        let refused = desk.ask(goal, true).unwrap_err();
        assert!(refused.why.contains("is of another kind"), "{goal:?}: {refused}");
    }
}

/// Breaks each condition of the gate, and checks which command the refusal names.
/// RUNBOOK: "is younger than `max_age`, and has at most `max_mismatch` mismatches"
#[test]
fn the_gate_of_read_new() {
    type Spoil = fn(&mut Desk);
    let cases: [(Spoil, &str, &str); 9] = [
        (|desk| desk.failures = 2, "2 items have failed", "failures retry"),
        (|desk| desk.diverged = 2, "2 items have diverged", "verify --all --repair"),
        (|desk| desk.state.full.as_mut().unwrap().mismatches = 1, "1 mismatch", "verify --all --repair"),
        (|desk| desk.state.full.as_mut().unwrap().plan = "other".to_owned(), "another plan", "verify --all"),
        (|desk| desk.state.full.as_mut().unwrap().span.began = time(0), "before expand ended", "verify --all"),
        (
            |desk| desk.flag.as_mut().unwrap().dual_since = Some(time(desk.now - i64::from(CACHE) - 1)),
            "before every writer wrote both",
            "verify --all",
        ),
        (|desk| desk.now += 200_000, "older than the plan's `max_age`", "verify --all"),
        (|desk| desk.state.full = None, "nothing has been verified", "verify --all"),
        (|desk| desk.state.sampled = desk.state.full.take(), "no full verification", "verify --all"),
    ];
    for (spoil, why, next) in cases {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(&[DUAL, RUN, VERIFY]);
        assert_eq!(desk.says(READ), "allowed");
        spoil(&mut desk);
        let refused = desk.ask(READ, true).unwrap_err();
        assert!(refused.why.contains(why) && refused.next.words() == next, "{why}: {refused}");
        // The operator forces the step, and the history records the reason.
        desk.force = Some("an incident");
        desk.done(READ);
        assert_eq!(desk.state.forced_reads.as_deref(), Some("an incident"));
        desk.force = None;
        let next = if desk.failures > 0 { "cutover --back" } else { next };
        assert_eq!(desk.says(WRITE), next, "a forced step does not open the next gate");
    }
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, SAMPLE]);
    desk.limits.accept_sample = true;
    assert_eq!(desk.says(READ), "allowed");
    desk.state.sampled.as_mut().unwrap().mismatches = 1;
    assert_eq!(desk.says(READ), "verify --all --repair");
}

/// Some flag states are impossible, and `--force` cannot set them.
/// RUNBOOK: "No command sets `read = new` with `write = old`, or `write = new` below 100 %, not even with `--force`"
#[test]
fn force_cannot_set_impossible_flag_states() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.force = Some("an incident");
    desk.done(RUN);
    assert_eq!(desk.give(READ).unwrap_err().next.words(), "cutover --to dual-write");
    desk.all(&[DUAL, SOME]);
    assert_eq!(desk.give(WRITE).unwrap_err().next.words(), "verify --all", "the step to 100 % has a gate too");
    desk.all(&[READ, WRITE]);
    assert_eq!(desk.give(SOME).unwrap_err().next.words(), "contract");
}

/// RUNBOOK: "the tool refuses every step forward until the rollback has restored everything"
#[test]
fn no_step_forward_without_a_way_back() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.done(RUN);
    desk.no_way_back = Some(7);
    let stays = |desk: &mut Desk, goal: Goal| {
        let refused = desk.give(goal).unwrap_err();
        assert!(refused.why.contains("7 items already") && refused.why.contains("goes forward anyway"), "{refused}");
        assert_eq!(refused.next, Next::from(goal).with("--force REASON"));
    };
    stays(&mut desk, DUAL);
    for goal in [READ, WRITE] {
        assert_eq!(
            desk.says(goal),
            "cutover --to dual-write",
            "the refusal must first report the obstacle that no reason can override"
        );
    }
    // Every later step forward must be refused too.
    let mut later = Desk::new(Kind::Flagged);
    for goal in [DUAL, RUN, VERIFY, SOME, READ, WRITE] {
        if matches!(goal, Goal::CutoverTo(_)) && later.state.preflight.is_some() {
            later.no_way_back = Some(7);
            stays(&mut later, goal);
        }
        later.no_way_back = None;
        later.done(goal);
    }
    // The operator gives a reason and confirms the step. Other obstacles remain.
    desk.force = Some("the table is a copy");
    assert_eq!(desk.ask(DUAL, false), Ok(Step::Confirm));
    desk.done(DUAL);
    assert!(
        matches!(&desk.events[3].what, What::Overridden(Override { reason, .. }) if reason == "the table is a copy")
    );
    desk.force = None;
    assert_eq!(desk.says(READ), "verify --all");
    desk.all(&[VERIFY, READ, WRITE]);
    // The reason does not cover a larger number of items.
    desk.no_way_back = Some(8);
    desk.done(BACK);
    assert_eq!(desk.says(READ), "cutover --to read-new --force REASON");
    assert_eq!(desk.give(Goal::Rollback).unwrap_err().next.words(), "rollback --force REASON");
    desk.force = Some("the table is a copy");
    desk.done(Goal::Rollback);
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
        let mut desk = Desk::new(Kind::Flagged);
        desk.reads = reads;
        desk.compares = compares;
        desk.all(&[DUAL, RUN, VERIFY]);
        assert_eq!(desk.says(READ), next, "{reads:?} and {compares:?}");
        assert_eq!(
            desk.stands().1.as_deref(),
            Some(if next == "allowed" { "cutover --to read-new --percent 10" } else { next })
        );
        // An empty table is accepted only if a pass also found it empty, and the acceptance is recorded.
        desk.accept_empty = true;
        let accepted = next.ends_with("empty-table");
        assert_eq!(desk.says(READ) == "allowed", accepted || next == "allowed");
        if accepted {
            assert_eq!(desk.ask(READ, false), Ok(Step::Confirm));
            desk.done(SOME);
            desk.accept_empty = false;
            desk.all(&[READ, WRITE]);
        }
        let recorded = desk.state.is_overridden(Obstacle::EmptyTable);
        assert_eq!(recorded, accepted, "{:?}", desk.state.overrides);
    }
}

/// On the way back, a verification that compared nothing does not prove that old values are fresh if the pass read
/// items.
#[test]
fn a_verification_that_compared_nothing_sends_no_reader_back() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    desk.compares = Some(0);
    for _ in 0..2 {
        assert!(desk.give(BACK).unwrap_err().why.contains("compared no item"));
        assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::New);
    }
    // Now the pass also finds that the table is empty, so readers may go back.
    desk.reads = Some(0);
    desk.done(BACK);
    assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::Old);
}

/// A sample of a table that has items may contain no item. Then the next command is a full verification, because a
/// further expand pass would prove nothing new.
#[test]
fn an_empty_sample_of_a_table_with_items_leads_to_a_full_verification() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.limits.accept_sample = true;
    for reads in [Some(5), None] {
        desk.reads = reads;
        desk.all(&[DUAL, Goal::Run { again: true }]);
        desk.compares = Some(0);
        desk.done(SAMPLE);
        assert_eq!(desk.says(READ), "verify --all", "{reads:?}");
    }
    desk.compares = Some(5);
    desk.done(VERIFY);
    assert_eq!(desk.says(READ), "allowed");
    let steps = desk.done(READ);
    assert!(!steps.iter().any(|step| step.starts_with("Overridden")), "nobody accepted an empty table: {steps:?}");
    assert!(!desk.state.is_overridden(Obstacle::EmptyTable));
}
