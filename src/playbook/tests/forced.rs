//! A `--force` reason covers exactly the obstacles that the refusal reported.

use super::*;

/// RUNBOOK: "A refusal names every unmet precondition at once"
#[test]
fn a_reason_given_for_one_refusal_covers_no_other_refusal() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN]);
    sim.mismatches = 5;
    sim.run(VERIFY);
    sim.unrestorable_targets = Some(7);
    sim.diverged = 2;
    for (goal, not_yet) in [(READ, "failed"), (WRITE, "copies")] {
        let refused = sim.try_run(goal).unwrap_err();
        for part in ["2 items have diverged", "5 mismatches", "a rollback could not", "items already had the new"] {
            assert!(refused.why.contains(part) && !refused.why.contains(not_yet), "{part}: {refused}");
        }
        assert_eq!(
            refused.next,
            NextCommand::from(REPAIR),
            "a refusal must suggest a repair before it suggests `--force`"
        );
        if goal == READ {
            // The reason covers every reported obstacle. For each obstacle, an override with this reason is recorded.
            sim.force = Some("a copy, for a test");
            assert_eq!(sim.next_step(READ, false), Ok(Step::Confirm));
            sim.run(READ);
            assert_eq!(sim.state.forced_reads, sim.force.map(str::to_owned));
            let obstacles: Vec<Obstacle> = sim.state.overrides.iter().map(|given| given.obstacle).collect();
            assert_eq!(obstacles, [Obstacle::UnsureTargets { items: 7 }]);
            // The obstacle now affects one more item. No refusal has reported this item.
            sim.force = None;
            sim.unrestorable_targets = Some(8);
        }
    }
    sim.diverged = 0;
    sim.mismatches = 0;
    sim.all(&[REPAIR]);
    sim.one_way = Some("copies may differ");
    let refused = sim.try_run(WRITE).unwrap_err();
    assert!(refused.why.contains("8 items already") && refused.why.contains("copies may differ"), "{refused}");
    assert_eq!(refused.next, NextCommand::from(WRITE).with("--force REASON"));
    sim.force = Some("a copy, for a test");
    sim.run(WRITE);
    let obstacles: Vec<Obstacle> = sim.state.overrides.iter().map(|given| given.obstacle).collect();
    assert_eq!(
        obstacles,
        [Obstacle::UnsureTargets { items: 8 }, Obstacle::OneWay],
        "each obstacle must be recorded once, with its largest number of items"
    );
}

/// A reason covers at most the number of items that were known when the operator gave it.
/// RUNBOOK: "A reason covers at most the number of items that the refusal named"
#[test]
fn a_reason_given_for_one_item_covers_no_other_items() {
    for goal in [Goal::Rollback, BACK] {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
        sim.mismatches = 1;
        let refused = sim.try_run(goal).unwrap_err();
        assert!(refused.why.contains("1 item still differs"), "{refused}");
        // The operator inspects that item and accepts it. The next verification finds more items. No refusal has
        // reported these items.
        sim.mismatches = 5_000;
        sim.force = Some("P#7 has grown, and nobody reads it");
        sim.begin();
        assert_eq!(sim.next_step(goal, false), Ok(Step::Confirm));
        let refused = sim.try_run(goal).unwrap_err();
        assert!(refused.why.contains("5,000 items still differ") && refused.why.contains("1 were known"), "{refused}");
        assert_eq!(sim.flag.as_ref().unwrap().read, ReadFrom::New);
        // The last refusal reported all of these items, so the reason now covers them.
        sim.run(goal);
        assert_eq!(sim.flag.as_ref().unwrap().read, ReadFrom::Old);
        assert_eq!(MigrationState::replay(&sim.events), Ok(sim.state.clone()));
    }
}

/// A reason for items that failed in a pass covers at most the same number of unequal items in the verification after
/// that pass.
#[test]
fn a_reason_given_for_failed_items_covers_no_diverged_items() {
    for (mismatches, ends) in [(1, true), (2, false)] {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
        sim.force = Some("P#7 has grown");
        sim.mismatches = mismatches;
        // The earlier pass ended with one failure. The command recorded this override for it.
        let obstacle = Obstacle::ItemsFailed { items: 1 };
        let reason = "P#7 has grown".to_owned();
        sim.append(EventBody::Overridden(Override { obstacle, reason }));
        assert_eq!(sim.try_run(Goal::Rollback).is_ok(), ends, "{mismatches}");
        // At this point, refusals have reported every item. If one of these items fails in another pass, the override
        // is still valid.
        sim.run(Goal::Rollback);
    }
}

/// A command with `--force` can be killed at any point. When it resumes, its recorded reason is still valid.
#[test]
fn a_reason_outlives_the_command_that_was_killed() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    sim.mismatches = 3;
    assert!(sim.try_run(Goal::Rollback).is_err());
    sim.force = Some("they are tests of ours");
    for _ in 0..2 {
        sim.begin();
        let Step::Record(body) = sim.next_step(Goal::Rollback, true).unwrap() else { panic!("nothing to record") };
        sim.append(body);
    }
    assert_eq!(
        (sim.state.accepted_unequal, sim.state.full.as_ref()),
        (3, None),
        "the command was killed during its pass"
    );
    sim.run(Goal::Rollback);
    // If a later verification finds fewer unequal items, the reason covers only that lower number.
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    for (mismatches, force) in [(3, None), (5, Some("tests of ours")), (1, None)] {
        sim.mismatches = mismatches;
        sim.force = force;
        assert!(sim.try_run(BACK).is_err());
    }
    assert_eq!(sim.state.accepted_unequal, 1);
    // If the command runs several times, it adds no further overrides to the list.
    for _ in 0..3 {
        for (mismatches, force) in [(3, None), (5, Some("tests of ours"))] {
            sim.mismatches = mismatches;
            sim.force = force;
            assert!(sim.try_run(BACK).is_err());
        }
    }
    assert_eq!(sim.state.overrides.len(), 1);
    // After applications have written only new values again, unequal items need a new reason.
    sim.mismatches = 0;
    sim.all(&[BACK, READ, WRITE]);
    assert_eq!(sim.state.accepted_unequal, 0);
}

/// The reason for the beginning of a rollback does not cover unequal items.
#[test]
fn a_reason_given_to_begin_a_rollback_covers_no_stale_values() {
    for known in [false, true] {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
        sim.mismatches = 5_000;
        // The result is the same even if an earlier refusal has already reported the mismatches.
        if known {
            assert!(sim.try_run(BACK).unwrap_err().why.contains("5,000 items still differ"));
        }
        sim.unrestorable_targets = Some(7);
        let refused = sim.try_run(Goal::Rollback).unwrap_err();
        assert!(!refused.why.contains("differ") && refused.next.as_str() == "rollback --force REASON", "{refused}");
        sim.force = Some("some new attributes may stay");
        let refused = sim.try_run(Goal::Rollback).unwrap_err();
        assert!(refused.why.contains("5,000 items still differ"), "{refused}");
        assert_eq!(sim.flag.as_ref().unwrap().read, ReadFrom::New);
        sim.force = Some("nobody reads those");
        sim.run(Goal::Rollback);
    }
}
