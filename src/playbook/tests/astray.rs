//! Situations outside the usual order of commands: a removed or foreign flag, a lost state file, a clock that was set
//! back.

use super::*;

/// If somebody removed the flag, a command can recreate it.
/// RUNBOOK: "`cutover --back` recreates the flag"
#[test]
fn a_flag_that_was_removed_comes_back() {
    let remove = |desk: &mut Desk| desk.gone = desk.flag.take();
    for (goals, back) in [
        (&[DUAL, RUN][..], BACK),
        (&[DUAL, RUN, VERIFY, READ], BACK),
        (&[DUAL, RUN, VERIFY, READ, WRITE], BACK_NOW),
        (&[DUAL, RUN, VERIFY, READ, WRITE, BACK_NOW], BACK_NOW),
    ] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(goals);
        remove(&mut desk);
        let words = Next::from(back);
        for goal in COMMANDS.into_iter().filter(|goal| !matches!(goal, Goal::Back { .. })) {
            let refused = desk.give(goal).unwrap_err();
            assert!(refused.why.contains("missing") && refused.next == words, "{goals:?} {goal:?}: {refused}");
        }
        let version = desk.gone.as_ref().unwrap().version;
        if back == BACK_NOW {
            assert_eq!(desk.give(BACK).unwrap_err().next, words);
        }
        desk.done(back);
        let flag = desk.flag.clone().unwrap();
        assert_eq!((flag.version, flag.write, flag.read), (version + 1, WriteTo::Old, ReadFrom::Old));
        // A verification from before the flag was removed does not open the gate.
        desk.done(DUAL);
        assert_eq!(desk.says(READ), "verify --all");
        desk.done(Goal::Rollback);
    }
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    desk.now += SOAK;
    desk.done(Goal::Contract);
    desk.state.contract = Way::Begun;
    desk.state.open = Some(Open { phase: Phase::Contract, began: time(desk.now), under: None });
    remove(&mut desk);
    assert_eq!(desk.says(Goal::Contract), "contract --force REASON");
    assert!(desk.give(BACK_NOW).is_err());
    desk.force = Some("the item was deleted by mistake");
    desk.done(Goal::Contract);
    assert!(desk.flag.is_some_and(|flag| flag.contracting && flag.write == WriteTo::New));
}

/// The process set `write = new` and died before it read the flag again. After that, somebody removed the flag.
#[test]
fn a_removed_flag_is_as_stale_as_what_was_intended_with_it() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ]);
    let last_seen = desk.flag.take().unwrap();
    desk.append(What::FlagIntended { change: FlagChange::WriteNew, version: last_seen.version, forced: None });
    // Applications obeyed `write = new` for a day.
    desk.now += 86_400;
    desk.gone = Some(last_seen);
    for goal in [BACK, RUN, Goal::Rollback] {
        let refused = desk.give(goal).unwrap_err();
        assert!(refused.why.contains("old values are stale") && refused.next == Next::from(BACK_NOW), "{refused}");
    }
    desk.done(BACK_NOW);
    desk.all(&[DUAL, VERIFY, READ, WRITE]);
}

/// RUNBOOK: "but this state file did not begin that"
#[test]
fn a_contract_whose_state_file_is_lost_ends_with_another_one() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    let contracting =
        desk.flag.as_ref().unwrap().next(FlagChange::Contract, time(desk.now + SOAK), Duration::ZERO).unwrap();
    for goals in [&[][..], &[RUN], &[DUAL]] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.all(goals);
        if desk.state.expand != Expand::NotBegun {
            desk.state.expand = Expand::Open { began: time(desk.now) };
        }
        desk.flag = Some(contracting.clone());
        desk.now += 2 * SOAK;
        let refused = desk.give(Goal::Contract).unwrap_err();
        assert!(refused.why.contains("did not begin that") && refused.why.contains("--state"), "{refused}");
        assert_eq!(refused.next.words(), "contract --force REASON");
        assert_eq!(desk.stands().1.as_deref(), Some("contract"));
        desk.force = Some("its host is gone");
        let steps = desk.done(Goal::Contract);
        assert_eq!(steps[0], "Confirm");
        assert_eq!(desk.state.contract, Way::Complete, "{steps:?}");
    }
}

/// First the host's clock is an hour ahead, and then somebody corrects it.
#[test]
fn a_clock_that_is_set_back_opens_no_gate() {
    const HOUR: i64 = 3_600;
    // The order of the history shows that this verification ran before dual writes.
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[RUN, VERIFY]);
    desk.now -= HOUR;
    desk.done(DUAL);
    assert_eq!(desk.says(READ), "verify --all");

    // The refusal says that the age of the report is unknown, and `--force` overrides the refusal.
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY]);
    let latest = desk.state.latest;
    desk.now -= HOUR;
    let refused = desk.ask(READ, true).unwrap_err();
    assert!(refused.why.contains("set back") && refused.why.contains(&latest.to_string()), "{refused}");
    assert_eq!(refused.next, Next::from(READ));
    desk.now = latest.as_second();
    assert_eq!(desk.says(READ), "allowed");
    desk.now -= HOUR;
    desk.force = Some("it was looked at");
    desk.done(READ);
    assert_eq!(desk.state.forced_reads.as_deref(), Some("it was looked at"));

    // A command recognizes its own passes without any clock.
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN]);
    desk.now -= HOUR;
    let flag = desk.flag.as_mut().unwrap();
    flag.changed_at = time(0);
    flag.dual_since = Some(time(0));
    for _ in 0..2 {
        assert_eq!(desk.done(AGAIN), ["Confirm", "begin Expand", "Sweep(Expand)", "Done"]);
        assert_eq!(desk.done(VERIFY).len(), 3);
    }
}

/// The clock of the host that changes the flag is up to two days ahead of this host's clock, or behind it. Every wait
/// still lasts exactly the cache time, and no phase begins more than once.
#[test]
fn clocks_of_two_hosts_are_not_compared() {
    for skew in [-172_800, -90, 90, 172_800] {
        let mut desk = Desk::new(Kind::Flagged);
        desk.skew = skew;
        for goal in [DUAL, RUN, VERIFY, READ, WRITE, BACK, VERIFY, READ, WRITE, Goal::Rollback] {
            let began = desk.now;
            let steps = desk.done(goal);
            let changes = steps.iter().filter(|step| *step == "wait").count() as i64;
            assert!(desk.now - began <= changes * i64::from(CACHE) + 60, "{skew}, {goal:?}: {steps:?}");
            let begun = steps.iter().filter(|step| step.starts_with("begin")).count();
            assert!(begun <= 3, "{skew}, {goal:?}: {steps:?}");
        }
        assert_eq!(desk.state.rollback, Way::Complete);
    }
}

/// The wall clock decides when a soak ends. If the soak begins in the future, the refusal mentions that the clocks
/// differ.
#[test]
fn a_soak_that_began_in_the_future_mentions_the_clocks() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ]);
    desk.skew = 172_800;
    desk.done(WRITE);
    let refused = desk.ask(Goal::Contract, true).unwrap_err();
    assert!(refused.why.contains("the clocks differ"), "{refused}");
}

/// A command that is still running must not undo somebody's `--back`.
#[test]
fn a_flag_that_was_changed_meanwhile_is_left_alone() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY]);
    desk.done(READ);
    desk.now += i64::from(CACHE);
    let back = desk
        .flag
        .as_ref()
        .unwrap()
        .next(FlagChange::ReadOld { accept_stale: false }, time(desk.now), Duration::ZERO)
        .unwrap();
    desk.flag = Some(back);
    desk.now += i64::from(CACHE);
    let refused = desk.ask(READ, true).unwrap_err();
    assert!(refused.why.contains("somebody else") && refused.next.words() == "status", "{refused}");
    assert_eq!(desk.says(READ), "allowed", "a new command may move the flag again");
    // A command must not undo another person's change of the flag while the outcome of its own change is unknown.
    let mut flag = desk.flag.clone().unwrap();
    desk.append(What::FlagIntended { change: FlagChange::ReadNew(100), version: flag.version, forced: None });
    flag.version += 2;
    flag.changed_at = time(desk.now);
    // Somebody made this change just now.
    desk.flag = Some(flag);
    desk.made = desk.ticks;
    let seen = desk.ask(READ, true).unwrap();
    let Step::Record(seen @ What::FlagSeen { ours: false, .. }) = seen else { panic!("{seen:?}") };
    desk.append(seen);
    desk.now += i64::from(CACHE);
    desk.ticks += i64::from(CACHE);
    assert!(desk.ask(READ, true).is_err());
}

/// RUNBOOK: "the plan names a flag, but its item is missing"
#[test]
fn a_missing_or_impossible_flag_is_reported() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN]);
    let flag = desk.flag.take();
    assert!(desk.give(RUN).unwrap_err().why.contains("missing"));
    desk.flag = flag.map(|flag| Flag { write: WriteTo::Old, read: ReadFrom::New, read_percent: 100, ..flag });
    for goal in COMMANDS {
        assert!(desk.give(goal).is_err(), "{goal:?}");
    }
}
