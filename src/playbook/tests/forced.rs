//! A `--force` reason covers exactly the obstacles that the refusal reported.

use super::*;

/// RUNBOOK: "A refusal names every unmet precondition at once"
#[test]
fn a_reason_given_for_one_refusal_covers_no_other_refusal() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN]);
    desk.mismatches = 5;
    desk.done(VERIFY);
    desk.no_way_back = Some(7);
    desk.diverged = 2;
    for (goal, not_yet) in [(READ, "failed"), (WRITE, "copies")] {
        let refused = desk.give(goal).unwrap_err();
        for part in ["2 items have diverged", "5 mismatches", "a rollback could not", "items already had the new"] {
            assert!(refused.why.contains(part) && !refused.why.contains(not_yet), "{part}: {refused}");
        }
        assert_eq!(refused.next, Next::from(REPAIR), "a refusal must suggest a repair before it suggests `--force`");
        if goal == READ {
            // The reason covers every obstacle, and is recorded for each of them.
            desk.force = Some("a copy, for a test");
            assert_eq!(desk.ask(READ, false), Ok(Step::Confirm));
            desk.done(READ);
            assert_eq!(desk.state.forced_reads, desk.force.map(str::to_owned));
            let obstacles: Vec<Obstacle> = desk.state.overrides.iter().map(|given| given.obstacle).collect();
            assert_eq!(obstacles, [Obstacle::UnsureTargets { items: 7 }]);
            // Now the obstacle has one more item, which no refusal has reported.
            desk.force = None;
            desk.no_way_back = Some(8);
        }
    }
    desk.diverged = 0;
    desk.mismatches = 0;
    desk.all(&[REPAIR]);
    desk.one_way = Some("copies may differ");
    let refused = desk.give(WRITE).unwrap_err();
    assert!(refused.why.contains("8 items already") && refused.why.contains("copies may differ"), "{refused}");
    assert_eq!(refused.next, Next::from(WRITE).with("--force REASON"));
    desk.force = Some("a copy, for a test");
    desk.done(WRITE);
    let obstacles: Vec<Obstacle> = desk.state.overrides.iter().map(|given| given.obstacle).collect();
    assert_eq!(
        obstacles,
        [Obstacle::UnsureTargets { items: 8 }, Obstacle::OneWay],
        "each obstacle must be recorded once, with its largest number of items"
    );
}

/// A reason covers at most the number of items that the operator knew when giving the reason.
/// RUNBOOK: "A reason covers at most the number of items that the refusal named"
#[test]
fn a_reason_given_for_one_item_covers_no_other_items() {
    for goal in [Goal::Rollback, BACK] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
        desk.mismatches = 1;
        let refused = desk.give(goal).unwrap_err();
        assert!(refused.why.contains("1 item still differs"), "{refused}");
        // The operator looks at that item and accepts it. The next verification finds more items, which no refusal has
        // reported.
        desk.mismatches = 5_000;
        desk.force = Some("P#7 has grown, and nobody reads it");
        desk.begin();
        assert_eq!(desk.ask(goal, false), Ok(Step::Confirm));
        let refused = desk.give(goal).unwrap_err();
        assert!(
            refused.why.contains("5,000 items still differ") && refused.why.contains("when 1 were known"),
            "{refused}"
        );
        assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::New);
        // The last refusal reported all these items, so the reason now covers them.
        desk.done(goal);
        assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::Old);
        assert_eq!(State::replay(&desk.events), Ok(desk.state.clone()));
    }
}

/// A reason for items that failed in the pass does not cover items that a later verification finds unequal.
#[test]
fn a_reason_given_for_failed_items_covers_no_diverged_items() {
    for (mismatches, ends) in [(1, true), (2, false)] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
        desk.force = Some("P#7 has grown");
        desk.mismatches = mismatches;
        // The earlier pass ended with one failure; the command records this override for it.
        let obstacle = Obstacle::ItemsFailed { items: 1 };
        let reason = "P#7 has grown".to_owned();
        desk.append(What::Overridden(Override { obstacle, reason }));
        assert_eq!(desk.give(Goal::Rollback).is_ok(), ends, "{mismatches}");
        // By now, a refusal has reported every item. If a pass fails for one of these items again, the override is
        // still valid.
        desk.done(Goal::Rollback);
    }
}

/// A command with `--force` may be killed at any point. When the command resumes, its recorded reason is still valid.
#[test]
fn a_reason_outlives_the_command_that_was_killed() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    desk.mismatches = 3;
    assert!(desk.give(Goal::Rollback).is_err());
    desk.force = Some("they are tests of ours");
    for _ in 0..2 {
        desk.begin();
        let Step::Record(what) = desk.ask(Goal::Rollback, true).unwrap() else { panic!("nothing to record") };
        desk.append(what);
    }
    assert_eq!((desk.state.left, desk.state.full.as_ref()), (3, None), "the command was killed during its pass");
    desk.done(Goal::Rollback);
    // If a later verification finds fewer unequal items, the reason covers only the lower number.
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    for (mismatches, force) in [(3, None), (5, Some("tests of ours")), (1, None)] {
        desk.mismatches = mismatches;
        desk.force = force;
        assert!(desk.give(BACK).is_err());
    }
    assert_eq!(desk.state.left, 1);
    // The list of overrides does not grow, even if the command runs several times.
    for _ in 0..3 {
        for (mismatches, force) in [(3, None), (5, Some("tests of ours"))] {
            desk.mismatches = mismatches;
            desk.force = force;
            assert!(desk.give(BACK).is_err());
        }
    }
    assert_eq!(desk.state.overrides.len(), 1);
    // After the next new-only writes, no item may stay unequal without a new reason.
    desk.mismatches = 0;
    desk.all(&[BACK, READ, WRITE]);
    assert_eq!(desk.state.left, 0);
}

/// A reason given to begin a rollback does not cover unequal items.
#[test]
fn a_reason_given_to_begin_a_rollback_covers_no_stale_values() {
    for known in [false, true] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
        desk.mismatches = 5_000;
        // The result is the same if a refusal has already reported the unequal items.
        if known {
            assert!(desk.give(BACK).unwrap_err().why.contains("5,000 items still differ"));
        }
        desk.no_way_back = Some(7);
        let refused = desk.give(Goal::Rollback).unwrap_err();
        assert!(!refused.why.contains("differ") && refused.next.words() == "rollback --force REASON", "{refused}");
        desk.force = Some("some new attributes may stay");
        let refused = desk.give(Goal::Rollback).unwrap_err();
        assert!(refused.why.contains("5,000 items still differ"), "{refused}");
        assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::New);
        desk.force = Some("nobody reads those");
        desk.done(Goal::Rollback);
    }
}
