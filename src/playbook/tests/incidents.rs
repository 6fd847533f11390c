//! Tests incidents. Somebody removed or changed the flag, the state file was lost, or the clock was set back.

use super::*;

/// If somebody removed the flag, a command can recreate it.
/// RUNBOOK: "`cutover --back` recreates the flag"
#[test]
fn a_flag_that_was_removed_comes_back() {
    let remove = |sim: &mut SimulatedMigration| sim.missing_flag = sim.flag.take();
    for (goals, back) in [
        (&[DUAL, RUN][..], BACK),
        (&[DUAL, RUN, VERIFY, READ], BACK),
        (&[DUAL, RUN, VERIFY, READ, WRITE], BACK_NOW),
        (&[DUAL, RUN, VERIFY, READ, WRITE, BACK_NOW], BACK_NOW),
    ] {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        sim.all(goals);
        remove(&mut sim);
        let words = NextCommand::from(back);
        for goal in COMMANDS.into_iter().filter(|goal| !matches!(goal, Goal::Back { .. })) {
            let refused = sim.try_run(goal).unwrap_err();
            assert!(refused.why.contains("missing") && refused.next == words, "{goals:?} {goal:?}: {refused}");
        }
        let version = sim.missing_flag.as_ref().unwrap().version;
        if back == BACK_NOW {
            assert_eq!(sim.try_run(BACK).unwrap_err().next, words);
        }
        sim.run(back);
        let flag = sim.flag.clone().unwrap();
        assert_eq!((flag.version, flag.write, flag.read), (version + 1, WriteTo::Old, ReadFrom::Old));
        // A verification from before the flag was removed does not open the gate.
        sim.run(DUAL);
        assert_eq!(sim.answer(READ), "verify --all");
        sim.run(Goal::Rollback);
    }
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    sim.now += SOAK;
    sim.run(Goal::Contract);
    sim.state.contract = PhaseStatus::Begun;
    sim.state.open = Some(OpenPhase { phase: Phase::Contract, began: time(sim.now), flag_mark: None });
    remove(&mut sim);
    assert_eq!(sim.answer(Goal::Contract), "contract --force REASON");
    assert!(sim.try_run(BACK_NOW).is_err());
    sim.force = Some("the item was deleted by mistake");
    sim.run(Goal::Contract);
    assert!(sim.flag.is_some_and(|flag| flag.contracting && flag.write == WriteTo::New));
}

/// The process set `write = new`, and died before it read the flag again. Then somebody removed the flag.
#[test]
fn an_intended_change_counts_if_the_flag_is_missing() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ]);
    let last_seen = sim.flag.take().unwrap();
    sim.append(EventBody::FlagIntended { change: FlagChange::WriteNew, version: last_seen.version, forced: None });
    // For a day, applications wrote only the new attribute.
    sim.now += 86_400;
    sim.missing_flag = Some(last_seen);
    for goal in [BACK, RUN, Goal::Rollback] {
        let refused = sim.try_run(goal).unwrap_err();
        assert!(
            refused.why.contains("old values are stale") && refused.next == NextCommand::from(BACK_NOW),
            "{refused}"
        );
    }
    sim.run(BACK_NOW);
    sim.all(&[DUAL, VERIFY, READ, WRITE]);
}

/// RUNBOOK: "but this state file did not begin that"
#[test]
fn a_contract_whose_state_file_is_lost_ends_with_another_one() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    let contracting =
        sim.flag.as_ref().unwrap().next(FlagChange::Contract, time(sim.now + SOAK), Duration::ZERO).unwrap();
    for goals in [&[][..], &[RUN], &[DUAL]] {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        sim.all(goals);
        if sim.state.expand != ExpandStatus::NotBegun {
            sim.state.expand = ExpandStatus::Open { began: time(sim.now) };
        }
        sim.flag = Some(contracting.clone());
        sim.now += 2 * SOAK;
        let refused = sim.try_run(Goal::Contract).unwrap_err();
        assert!(refused.why.contains("did not begin that") && refused.why.contains("--state"), "{refused}");
        assert_eq!(refused.next.as_str(), "contract --force REASON");
        assert_eq!(sim.stage_and_next().1.as_deref(), Some("contract"));
        sim.force = Some("its host is gone");
        let steps = sim.run(Goal::Contract);
        assert_eq!(steps[0], "Confirm");
        assert_eq!(sim.state.contract, PhaseStatus::Complete, "{steps:?}");
    }
}

/// The host's clock is an hour ahead, until somebody corrects it.
#[test]
fn a_clock_that_is_set_back_opens_no_gate() {
    const HOUR: i64 = 3_600;
    // The order of the events in the history shows that this verification ran before dual writes.
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[RUN, VERIFY]);
    sim.now -= HOUR;
    sim.run(DUAL);
    assert_eq!(sim.answer(READ), "verify --all");

    // The refusal reports that the age of the verification is unknown. `--force` overrides this refusal.
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY]);
    let latest = sim.state.latest;
    sim.now -= HOUR;
    let refused = sim.next_step(READ, true).unwrap_err();
    assert!(refused.why.contains("set back") && refused.why.contains(&latest.to_string()), "{refused}");
    assert_eq!(refused.next, NextCommand::from(READ));
    sim.now = latest.as_second();
    assert_eq!(sim.answer(READ), "allowed");
    sim.now -= HOUR;
    sim.force = Some("it was looked at");
    sim.run(READ);
    assert_eq!(sim.state.forced_reads.as_deref(), Some("it was looked at"));

    // A command recognizes its own passes without a clock.
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN]);
    sim.now -= HOUR;
    let flag = sim.flag.as_mut().unwrap();
    flag.changed_at = time(0);
    flag.dual_since = Some(time(0));
    for _ in 0..2 {
        assert_eq!(sim.run(AGAIN), ["Confirm", "begin Expand", "RunPass(Expand)", "Done"]);
        assert_eq!(sim.run(VERIFY).len(), 3);
    }
}

/// The clock of the host that changes the flag differs from this host's clock by up to two days in either direction.
/// Every wait still lasts exactly the cache time, and every phase begins only once.
#[test]
fn clocks_of_two_hosts_are_not_compared() {
    for skew in [-172_800, -90, 90, 172_800] {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        sim.skew = skew;
        for goal in [DUAL, RUN, VERIFY, READ, WRITE, BACK, VERIFY, READ, WRITE, Goal::Rollback] {
            let began = sim.now;
            let steps = sim.run(goal);
            let changes = steps.iter().filter(|step| *step == "wait").count() as i64;
            assert!(sim.now - began <= changes * i64::from(CACHE) + 60, "{skew}, {goal:?}: {steps:?}");
            let begun = steps.iter().filter(|step| step.starts_with("begin")).count();
            assert!(begun <= 3, "{skew}, {goal:?}: {steps:?}");
        }
        assert_eq!(sim.state.rollback, PhaseStatus::Complete);
    }
}

/// The wall clock determines when a soak ends. If the beginning of the soak is in the future, the refusal mentions that
/// the clocks differ.
#[test]
fn a_soak_that_began_in_the_future_mentions_the_clocks() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ]);
    sim.skew = 172_800;
    sim.run(WRITE);
    let refused = sim.next_step(Goal::Contract, true).unwrap_err();
    assert!(refused.why.contains("the clocks differ"), "{refused}");
}

/// A running command must not undo somebody else's `--back`.
#[test]
fn a_flag_that_was_changed_meanwhile_is_left_alone() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY]);
    sim.run(READ);
    sim.now += i64::from(CACHE);
    let back = sim
        .flag
        .as_ref()
        .unwrap()
        .next(FlagChange::ReadOld { accept_stale: false }, time(sim.now), Duration::ZERO)
        .unwrap();
    sim.flag = Some(back);
    sim.now += i64::from(CACHE);
    let refused = sim.next_step(READ, true).unwrap_err();
    assert!(refused.why.contains("somebody else") && refused.next.as_str() == "status", "{refused}");
    assert_eq!(sim.answer(READ), "allowed", "a new command may move the flag again");
    // While the outcome of a command's own flag change is unknown, the command must not undo somebody else's change.
    let mut flag = sim.flag.clone().unwrap();
    sim.append(EventBody::FlagIntended { change: FlagChange::ReadNew(100), version: flag.version, forced: None });
    flag.version += 2;
    flag.changed_at = time(sim.now);
    // Somebody made this change just now.
    sim.flag = Some(flag);
    sim.made = sim.ticks;
    let seen = sim.next_step(READ, true).unwrap();
    let Step::Record(seen @ EventBody::FlagSeen { ours: false, .. }) = seen else { panic!("{seen:?}") };
    sim.append(seen);
    sim.now += i64::from(CACHE);
    sim.ticks += i64::from(CACHE);
    assert!(sim.next_step(READ, true).is_err());
}

/// RUNBOOK: "the plan names a flag, but its item is missing"
#[test]
fn a_missing_or_impossible_flag_is_reported() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN]);
    let flag = sim.flag.take();
    assert!(sim.try_run(RUN).unwrap_err().why.contains("missing"));
    sim.flag = flag.map(|flag| Flag { write: WriteTo::Old, read: ReadFrom::New, read_percent: 100, ..flag });
    for goal in COMMANDS {
        assert!(sim.try_run(goal).is_err(), "{goal:?}");
    }
}
