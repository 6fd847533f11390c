//! A reason goes past what was said to stand in the way, and past nothing else.

use super::*;

/// RUNBOOK: "All that stands in the way is named at once"
#[test]
fn a_reason_given_for_one_refusal_goes_past_no_other_one() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN]);
    desk.mismatches = 5;
    desk.done(VERIFY);
    (desk.no_way_back, desk.diverged) = (Some(7), 2);
    for (goal, not_yet) in [(READ, "failed"), (WRITE, "copies")] {
        let refused = desk.give(goal).unwrap_err();
        for part in ["2 items have diverged", "5 mismatches", "a rollback could not", "items already had the new"] {
            assert!(refused.why.contains(part) && !refused.why.contains(not_yet), "{part}: {refused}");
        }
        assert_eq!(refused.next, Next::from(REPAIR), "what mends something comes before a reason");
        if goal == READ {
            // The reason covers every obstacle, and is recorded for each of them.
            desk.force = Some("a copy, for a test");
            assert_eq!(desk.ask(READ, false), Ok(Step::Confirm));
            desk.done(READ);
            assert_eq!(desk.state.forced_reads, desk.force.map(str::to_owned));
            let obstacles: Vec<Obstacle> = desk.state.overrides.iter().map(|given| given.obstacle).collect();
            assert_eq!(obstacles, [Obstacle::UnsureTargets { items: 7 }]);
            // There is one more by now, which nobody was told of.
            (desk.force, desk.no_way_back) = (None, Some(8));
        }
    }
    (desk.diverged, desk.mismatches) = (0, 0);
    desk.all(&[REPAIR]);
    desk.one_way = Some("copies may differ");
    let refused = desk.give(WRITE).unwrap_err();
    assert!(refused.why.contains("8 items already") && refused.why.contains("copies may differ"), "{refused}");
    assert_eq!(refused.next, Next::from(WRITE).with("--force REASON"));
    desk.force = Some("a copy, for a test");
    desk.done(WRITE);
    let obstacles: Vec<Obstacle> = desk.state.overrides.iter().map(|given| given.obstacle).collect();
    assert_eq!(obstacles, [Obstacle::UnsureTargets { items: 8 }, Obstacle::OneWay], "each to its largest extent");
}

/// Of what stands behind a reason there is no more than whoever gave it was told of.
/// RUNBOOK: "A reason is for as many items as were named before it was given"
#[test]
fn a_reason_given_for_one_item_sends_no_reader_to_others() {
    for goal in [Goal::Rollback, BACK] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
        desk.mismatches = 1;
        let refused = desk.give(goal).unwrap_err();
        assert!(refused.why.contains("1 items differ"), "{refused}");
        // The operator looks at that one, and leaves it. By the next look there are more, which nobody has been told of.
        desk.mismatches = 5_000;
        desk.force = Some("P#7 has grown, and nobody reads it");
        desk.begin();
        assert_eq!(desk.ask(goal, false), Ok(Step::Confirm));
        let refused = desk.give(goal).unwrap_err();
        assert!(refused.why.contains("5000 items differ") && refused.why.contains("when 1 were known"), "{refused}");
        assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::New);
        // Now they were named.
        desk.done(goal);
        assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::Old);
        assert_eq!(State::replay(&desk.events), Ok(desk.state.clone()));
    }
}

/// A reason for what the pass could not change is for no other item that the verification finds behind it.
#[test]
fn a_reason_given_for_what_failed_sends_no_reader_to_what_diverged() {
    for (mismatches, ends) in [(1, true), (2, false)] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
        desk.force = Some("P#7 has grown");
        desk.mismatches = mismatches;
        // The pass before has ended with one failure; what the command puts on record for it is this.
        let (obstacle, reason) = (Obstacle::ItemsFailed { items: 1 }, "P#7 has grown".to_owned());
        desk.append(What::Overridden(Override { obstacle, reason }));
        assert_eq!(desk.give(Goal::Rollback).is_ok(), ends, "{mismatches}");
        // Those were named by then; a pass that fails for one of them again lets nothing be forgotten.
        desk.done(Goal::Rollback);
    }
}

/// Killed anywhere, the command that was forced goes on with what its reason was given for.
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
    assert_eq!((desk.state.left, desk.state.full.as_ref()), (3, None), "killed in its pass over the table");
    desk.done(Goal::Rollback);
    // What is there less is left no more.
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    for (mismatches, force) in [(3, None), (5, Some("tests of ours")), (1, None)] {
        (desk.mismatches, desk.force) = (mismatches, force);
        assert!(desk.give(BACK).is_err());
    }
    assert_eq!(desk.state.left, 1);
    // However often it is given, what is known of it does not grow.
    for _ in 0..3 {
        for (mismatches, force) in [(3, None), (5, Some("tests of ours"))] {
            (desk.mismatches, desk.force) = (mismatches, force);
            assert!(desk.give(BACK).is_err());
        }
    }
    assert_eq!(desk.state.overrides.len(), 1);
    // Another round of new-only writes is another matter.
    desk.mismatches = 0;
    desk.all(&[BACK, READ, WRITE]);
    assert_eq!(desk.state.left, 0);
}

/// Nor is a reason that was given to begin.
#[test]
fn a_reason_given_to_begin_a_rollback_sends_no_reader_to_stale_values() {
    for known in [false, true] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
        desk.mismatches = 5_000;
        // Also where some were known to differ before that.
        if known {
            assert!(desk.give(BACK).unwrap_err().why.contains("5000 items differ"));
        }
        desk.no_way_back = Some(7);
        let refused = desk.give(Goal::Rollback).unwrap_err();
        assert!(!refused.why.contains("differ") && refused.next.words() == "rollback --force REASON", "{refused}");
        desk.force = Some("some new attributes may stay");
        let refused = desk.give(Goal::Rollback).unwrap_err();
        assert!(refused.why.contains("5000 items differ"), "{refused}");
        assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::New);
        desk.force = Some("nobody reads those");
        desk.done(Goal::Rollback);
    }
}
