mod astray;
mod desk;
mod forced;
mod gate;
mod lives;
mod overrides;
mod refusals;
mod walks;

use super::*;
use desk::*;

/// For each position of a migration, the commands that lead to it, and the reply of each command at that position. `=`
/// means "allowed".
/// RUNBOOK: "it refuses and names the command to run"
#[test]
fn every_command_in_every_phase_of_every_kind_of_plan() {
    let contract_facts = "contract --readers-moved --old-writes-stopped";
    let new_file = "run --state PATH";
    let first = "cutover --to read-new --percent 10";
    #[rustfmt::skip]
    let table: &[(Kind, &[Goal], [&str; 9])] = &[
        // After …                                      run  retry  verify  dual-write  read-new  write-new  --back
        // contract  rollback
        (Kind::Flagged, &[],                            ["=", "run", "run", "=", "run", "run", "=", "run", "="]),
        (Kind::Flagged, &[DUAL],                        ["=", "run", "run", "=", "run", "run", "=", "run", "="]),
        (Kind::Flagged, &[RUN],                         ["=", "=", "=", "=", "cutover --to dual-write", "cutover --to dual-write", "=", "cutover --to dual-write", "="]),
        (Kind::Flagged, &[DUAL, RUN],                   ["=", "=", "=", "=", "verify --all", "verify --all", "=", "verify --all", "="]),
        (Kind::Flagged, &[RUN, VERIFY, DUAL],           ["=", "=", "=", "=", "verify --all", "verify --all", "=", "verify --all", "="]),
        (Kind::Flagged, &[DUAL, RUN, SAMPLE],           ["=", "=", "=", "=", "verify --all", "verify --all", "=", "verify --all", "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY],           ["=", "=", "=", "=", "=", first, "=", first, "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, AGAIN],    ["=", "=", "=", "=", "verify --all", "verify --all", "=", "verify --all", "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, SOME],     ["cutover --to read-new", "cutover --to read-new", "=", "cutover --to read-new", "=", "cutover --to read-new", "=", "cutover --to read-new", "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, READ],     ["cutover --to write-new", "cutover --to write-new", "=", "cutover --to write-new", "=", "=", "=", "cutover --to write-new", "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, READ, BACK], ["=", "=", "=", "=", "=", first, "=", first, "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, READ, BACK, STOP_DUAL], ["=", "=", "=", "=", "cutover --to dual-write", "cutover --to dual-write", "=", "cutover --to dual-write", "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE], ["contract", "contract", "=", "contract", "contract", "=", "=", "=", "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE, BACK], ["=", "=", "=", "=", "=", first, "=", first, "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE, BACK_NOW], ["cutover --back", "cutover --back", "=", "=", "cutover --back", "cutover --back", "=", "cutover --back", "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE, Goal::Contract], ["status", "status", "=", "status", "status", "status", "status", "=", "status"]),
        (Kind::Flagged, &[DUAL, RUN, Goal::Rollback],   [new_file, new_file, new_file, new_file, new_file, new_file, "=", new_file, "="]),
        (Kind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE, Goal::Rollback], [new_file, new_file, new_file, new_file, new_file, new_file, "=", new_file, "="]),

        (Kind::Stated, &[],                             ["=", "run", "run", "=", "run", "run", "run", "run", "="]),
        (Kind::Stated, &[RUN],                          ["=", "=", "=", "=", "cutover --to dual-write", "cutover --to dual-write", "=", "cutover --to dual-write", "="]),
        (Kind::Stated, &[DUAL, RUN, VERIFY],            ["=", "=", "=", "=", "=", "cutover --to read-new", "=", "cutover --to read-new", "="]),
        (Kind::Stated, &[DUAL, RUN, VERIFY, READ],      ["cutover --to write-new", "cutover --to write-new", "=", "cutover --to write-new", "=", "=", "=", "cutover --to write-new", "="]),
        (Kind::Stated, &[DUAL, RUN, VERIFY, READ, WRITE], ["contract", "contract", "=", "contract", "contract", "=", "=", "=", "="]),
        (Kind::Stated, &[DUAL, RUN, VERIFY, READ, WRITE, Goal::Contract], ["status", "status", "=", "status", "status", "status", "status", "=", "status"]),
        (Kind::Stated, &[DUAL, RUN, VERIFY, READ, BACK, Goal::Rollback], [new_file, new_file, new_file, new_file, new_file, new_file, new_file, new_file, "="]),

        (Kind::InPlace, &[],                            ["=", "run", "run", "run", "run", "run", "run", "run", "="]),
        (Kind::InPlace, &[RUN],                         ["=", "=", "=", "verify --all", "verify --all", "verify --all", "verify --all", "verify --all", "="]),
        (Kind::InPlace, &[RUN, VERIFY],                 ["=", "=", "=", "status", "status", "status", "status", "status", "="]),
        (Kind::InPlace, &[RUN, VERIFY, Goal::Rollback], [new_file, new_file, new_file, new_file, new_file, new_file, new_file, new_file, "="]),

        (Kind::SetOnly, &[],                            ["=", "run", "run", "run", "run", "run", "run", "run", "="]),
        (Kind::SetOnly, &[RUN],                         ["=", "=", "=", "verify --all", "verify --all", "verify --all", "verify --all", "verify --all", "="]),
        (Kind::SetOnly, &[RUN, VERIFY],                 ["=", "=", "=", "status", "status", "status", "status", "status", "="]),
        (Kind::SetOnly, &[RUN, VERIFY, Goal::Rollback], [new_file, new_file, new_file, new_file, new_file, new_file, new_file, new_file, "="]),

        (Kind::RemoveOnly, &[],                         [contract_facts, contract_facts, contract_facts, contract_facts, contract_facts, contract_facts, contract_facts, contract_facts, "="]),
        (Kind::RemoveOnly, &[Goal::Contract],           ["status", "status", "=", "status", "status", "status", "status", "=", "status"]),
    ];
    let mut wrong = Vec::new();
    for (kind, commands, expected) in table {
        let mut desk = Desk::new(*kind);
        for goal in *commands {
            desk.facts = match kind {
                Kind::Stated => {
                    let since = time(desk.now);
                    ALL_FACTS
                        .map(|f| if let Fact::DualWritesSince { .. } = f { Fact::DualWritesSince { since } } else { f })
                        .into()
                }
                Kind::RemoveOnly => vec![Fact::ReadersMoved, Fact::OldWritesStopped],
                _ => Vec::new(),
            };
            if *goal == Goal::Contract && *kind == Kind::RemoveOnly {
                assert_eq!(desk.give(*goal).unwrap_err().next.words(), "contract", "the soak is not over");
            }
            if *goal == Goal::Contract {
                desk.now += SOAK;
            }
            desk.done(*goal);
        }
        desk.now += SOAK;
        if *kind == Kind::Stated {
            desk.facts = facts(desk.now);
        }
        for (goal, expected) in COMMANDS.iter().zip(expected) {
            let expected = if *expected == "=" { "allowed" } else { expected };
            let said = desk.says(*goal);
            if said != *expected {
                wrong.push(format!("{kind:?} after {commands:?}: {goal:?} says {said:?}, not {expected:?}"));
            }
        }
        assert_eq!(
            State::replay(&desk.events).as_ref(),
            Ok(&desk.state),
            "the replayed state must equal the live state"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Walks through a whole migration with a flag, step by step.
/// RUNBOOK: "waits until application caches have expired before the next step"
#[test]
fn each_change_of_the_flag_stands_alone_and_is_waited_out() {
    let mut desk = Desk::new(Kind::Flagged);
    assert_eq!(desk.done(DUAL), ["Preflight", "Confirm", "record", "DualWrite", "record", "wait", "Done"]);
    assert_eq!(desk.done(RUN), ["Confirm", "begin Expand", "Sweep(Expand)", "Done"]);
    desk.done(VERIFY);
    assert_eq!(desk.done(READ), ["Confirm", "record", "ReadNew(100)", "record", "wait", "Done"]);
    assert_eq!(desk.done(WRITE), ["Confirm", "record", "WriteNew", "record", "wait", "Done"]);
    let soaking = desk.give(Goal::Contract).unwrap_err();
    assert!(soaking.why.contains("soaks until"), "{soaking}");
    desk.now += SOAK;
    assert_eq!(
        desk.done(Goal::Contract),
        ["Confirm", "record", "Contract", "record", "wait", "begin Contract", "Sweep(Contract)", "Done"]
    );
}

/// RUNBOOK: "1. It lets applications write both attributes again. 2. It makes each old value equal to its new value. 3. It verifies the whole table. 4. It lets readers read old."
#[test]
fn rollback_after_new_only_writes_makes_old_equal_new_and_verifies_first() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    let steps = desk.done(Goal::Rollback);
    let steps: Vec<_> = steps.iter().filter(|step| *step != "record").map(String::as_str).collect();
    #[rustfmt::skip]
    assert_eq!(steps, [
        "Confirm", "RollbackBegun { forced: None }", "DualWriteAgain", "wait",
        "begin OldFromNew", "Sweep(OldFromNew)",
        "begin Verify { scope: Full, repair: false }", "Sweep(Verify { scope: Full, repair: false })",
        "OldIsFresh", "ReadOld { accept_stale: false }", "wait", "WriteOld", "wait",
        "begin Undo", "Sweep(Undo)", "Done",
    ]);
}

/// If items are still unequal after the command's own pass, the command ends. The next command starts a new pass.
#[test]
fn a_way_back_that_does_not_verify_stops() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    desk.mismatches = 3;
    for _ in 0..2 {
        let refused = desk.give(BACK).unwrap_err();
        assert!(
            refused.why.contains("3 items still differ") && refused.next.words() == "cutover --back --force REASON",
            "{refused}"
        );
        assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::New);
    }
    desk.mismatches = 0;
    let steps = desk.done(BACK);
    assert_eq!(steps[..2], ["begin OldFromNew", "Sweep(OldFromNew)"]);
    assert_eq!(desk.flag.as_ref().unwrap().read, ReadFrom::Old);
}

/// RUNBOOK: "`status` names the phase, the flag and the next command"
#[test]
fn where_a_migration_stands_at_every_step() {
    let stands = |desk: &Desk, stage, next: &str| {
        assert_eq!(desk.stands(), (stage, Some(next).filter(|next| !next.is_empty()).map(str::to_owned)));
    };
    let mut desk = Desk::new(Kind::Flagged);
    stands(&desk, Stage::Preflight, "cutover --to dual-write");
    for (goal, stage, next) in [
        (DUAL, Stage::Expand, "run"),
        (RUN, Stage::Verify, "verify --all"),
        (VERIFY, Stage::Cutover, "cutover --to read-new --percent 10"),
        (SOME, Stage::Cutover, "cutover --to read-new"),
        (READ, Stage::Cutover, "cutover --to write-new"),
        (WRITE, Stage::Soak, "contract"),
    ] {
        desk.done(goal);
        stands(&desk, stage, next);
    }
    let soaking = standing(&desk.state, &desk.world(true), time(desk.now));
    assert_eq!(
        soaking.not_before,
        desk.flag.as_ref().and_then(|flag| flag.new_since).map(|at| time(at.as_second() + SOAK))
    );
    desk.now += SOAK;
    desk.done(Goal::Contract);
    stands(&desk, Stage::Contracted, "");

    let mut desk = Desk::new(Kind::Flagged);
    desk.all(&[DUAL, RUN]);
    desk.diverged = 1;
    stands(&desk, Stage::Verify, "verify --all --repair");
    desk.done(Goal::Rollback);
    stands(&desk, Stage::RolledBack, "");

    let mut desk = Desk::new(Kind::Stated);
    stands(&desk, Stage::Preflight, "cutover --to dual-write --dual-writes-since TIME");
    desk.facts = facts(desk.now);
    desk.all(&[DUAL, RUN, VERIFY]);
    stands(&desk, Stage::Cutover, "cutover --to read-new --readers-moved");

    let mut desk = Desk::new(Kind::InPlace);
    stands(&desk, Stage::Preflight, "run");
    desk.all(&[RUN, VERIFY]);
    stands(&desk, Stage::Verify, "");
    stands(&Desk::new(Kind::RemoveOnly), Stage::Preflight, "contract --readers-moved --old-writes-stopped");
}

/// RUNBOOK: "Each command asks for its fact by name and records it"
#[test]
fn facts_are_for_plans_without_a_flag_and_are_asked_for_by_name() {
    let mut desk = Desk::new(Kind::Flagged);
    desk.facts = vec![Fact::ReadersMoved];
    assert!(desk.give(READ).unwrap_err().why.contains("`--readers-moved` is for plans without a flag"));
    let mut desk = Desk::new(Kind::Stated);
    let mut asked = Vec::new();
    let goals = [DUAL, RUN, VERIFY, READ, WRITE, Goal::Rollback];
    for goal in goals {
        desk.facts.clear();
        while let Err(refused) = desk.give(goal) {
            asked.push(refused.next.words().to_owned());
            assert!(!refused.missing.is_empty(), "{refused}");
            desk.facts.extend(refused.missing);
        }
    }
    #[rustfmt::skip]
    assert_eq!(asked, [
        "cutover --to dual-write --dual-writes-since TIME",
        "cutover --to read-new --readers-moved",
        "cutover --to write-new --old-writes-stopped",
        "rollback --dual-writes-since TIME",
        "rollback --dual-writes-since TIME --readers-back --new-writes-stopped",
    ]);
}

/// While old values are fresh, `--back` needs only the flag, and goes back exactly one stage.
/// RUNBOOK: "It needs no gate, no lock and no state file, and it works while other commands run"
/// RUNBOOK: "waits for the rest of that time, and goes no further"
#[test]
fn back_goes_one_stage() {
    let mut flag = Flag::first(CACHE, time(0)).next(FlagChange::DualWrite, time(100), Duration::ZERO).unwrap();
    let cache = Duration::from_secs(CACHE.into());
    let wait = |seconds| Duration::from_secs(seconds);
    assert_eq!(BackTo::of(&flag, time(101), wait(59)), BackTo::OldWrites);
    flag = flag.next(FlagChange::ReadNew(100), time(200), Duration::ZERO).unwrap();
    assert_eq!(BackTo::of(&flag, time(201), wait(59)), BackTo::OldReads);
    let step = |flag: &Flag, to, left| step_back(flag, to, time(300), left).unwrap();
    let change = FlagChange::ReadOld { accept_stale: false };
    // Readers go back immediately, because applications write both attributes under every flag state that they may
    // obey.
    assert_eq!(step(&flag, BackTo::OldReads, cache), Step::Change(change));
    assert!(flag.next(change, time(300), cache).is_ok());
    let back = flag.next(change, time(300), Duration::ZERO).unwrap();
    assert_eq!(
        BackTo::of(&back, time(301), wait(59)),
        BackTo::OldReads,
        "a rerun after a kill during the wait must request the same step"
    );
    assert_eq!(step(&back, BackTo::OldReads, wait(59)), Step::Wait(wait(59)));
    assert_eq!(step(&back, BackTo::OldReads, wait(0)), Step::Done);
    assert_eq!(BackTo::of(&back, time(360), wait(0)), BackTo::OldWrites);
    // Here `--back` is not the rerun of an earlier command. This host sees the change only after the cache time, or the
    // change is dated two days ahead.
    for now in [360, -172_800] {
        assert_eq!(BackTo::of(&back, time(now), cache), BackTo::OldWrites);
    }
    assert_eq!(step(&back, BackTo::OldWrites, wait(59)), Step::Wait(wait(59)));
    assert_eq!(step(&back, BackTo::OldWrites, wait(0)), Step::Change(FlagChange::WriteOld));
    let new = flag.next(FlagChange::WriteNew, time(300), Duration::ZERO).unwrap();
    assert!(back_needs_state(&new) && step_back(&new, BackTo::OldReads, time(400), wait(0)).is_err());
}

/// RUNBOOK: "a run never overwrites the attribute that readers read"
#[test]
fn only_fresh_old_values_that_are_read_are_copied() {
    let dual = Flag::first(CACHE, time(0)).next(FlagChange::DualWrite, time(100), Duration::ZERO).unwrap();
    let read = dual.next(FlagChange::ReadNew(1), time(200), Duration::ZERO).unwrap();
    assert!(may_expand(&dual).is_ok());
    for flag in [&read, &Flag { old_stale: true, ..dual.clone() }, &Flag { contracting: true, ..dual.clone() }] {
        assert!(may_expand(flag).is_err(), "{flag}");
    }
}

/// Later versions must be able to read the history, so the names of the stored events and fields must not change.
#[test]
fn events_are_stable_json() {
    let overridden = |obstacle| What::Overridden(Override { obstacle, reason: "r".into() });
    let whats = [
        What::PreflightAccepted { kind: Kind::RemoveOnly, accepted: vec!["no-pitr".to_owned()] },
        What::PhaseBegun { phase: Phase::OldFromNew },
        What::PhaseComplete { phase: Phase::Expand, scanned: None },
        What::PhaseComplete { phase: Phase::Expand, scanned: Some(0) },
        What::PhaseBegun { phase: Phase::Verify { scope: Scope::Sampled, repair: true } },
        What::Verified {
            scope: Scope::Full,
            repair: false,
            mismatches: 2,
            plan: "f".into(),
            hash: "h".into(),
            compared: None,
        },
        What::Verified {
            scope: Scope::Full,
            repair: false,
            mismatches: 0,
            plan: "f".into(),
            hash: "h".into(),
            compared: Some(0),
        },
        What::FlagIntended { change: FlagChange::ReadNew(25), version: 7, forced: Some("why".into()) },
        What::FlagIntended { change: FlagChange::ReadOld { accept_stale: true }, version: 7, forced: None },
        What::FlagSeen { version: 8, ours: true },
        What::FactStated { fact: Fact::DualWritesSince { since: time(5) }, forced: None },
        What::FactStated { fact: Fact::NewWritesStopped, forced: None },
        What::OldIsFresh,
        overridden(Obstacle::FlagRemoved { version: 7 }),
        overridden(Obstacle::ForeignContract),
        overridden(Obstacle::UnsureTargets { items: 5 }),
        overridden(Obstacle::OneWay),
        overridden(Obstacle::ItemsUnequal { items: 3 }),
        overridden(Obstacle::ItemsFailed { items: 2 }),
        overridden(Obstacle::EmptyTable),
        What::RollbackBegun { forced: None },
    ];
    let expected = r#"
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"preflight_accepted","kind":"remove_only","accepted":["no-pitr"]}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"phase_begun","phase":"old_from_new"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"phase_complete","phase":"expand"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"phase_complete","phase":"expand","scanned":0}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"phase_begun","phase":{"verify":{"scope":"sampled","repair":true}}}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"verified","scope":"full","repair":false,"mismatches":2,"plan":"f","hash":"h"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"verified","scope":"full","repair":false,"mismatches":0,"plan":"f","hash":"h","compared":0}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"flag_intended","change":{"read_new":25},"version":7,"forced":"why"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"flag_intended","change":{"read_old":{"accept_stale":true}},"version":7}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"flag_seen","version":8,"ours":true}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"fact_stated","fact":"dual_writes_since","since":"1970-01-01T00:00:05Z"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"fact_stated","fact":"new_writes_stopped"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"old_is_fresh"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"went_past","obstacle":"flag_removed","version":7,"reason":"r"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"went_past","obstacle":"foreign_contract","reason":"r"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"went_past","obstacle":"unsure_targets","items":5,"reason":"r"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"went_past","obstacle":"one_way","reason":"r"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"went_past","obstacle":"items_unequal","items":3,"reason":"r"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"went_past","obstacle":"items_failed","items":2,"reason":"r"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"went_past","obstacle":"empty_table","reason":"r"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"rollback_begun"}"#;
    let events = whats.map(|what| Event { at: time(9), actor: "a@h".to_owned(), flag: None, what });
    let written: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    assert_eq!(written.join("\n"), expected.trim_start());
    for (event, line) in events.iter().zip(&written) {
        assert_eq!(&serde_json::from_str::<Event>(line).unwrap(), event);
    }
    let flag = Some(Mark { version: 7, dual_since: Some(time(5)) });
    let marked = Event { at: time(9), actor: "a@h".to_owned(), flag, what: What::OldIsFresh };
    let line = r#"{"at":"1970-01-01T00:00:09Z","actor":"a@h","flag":{"version":7,"dual_since":"1970-01-01T00:00:05Z"},"type":"old_is_fresh"}"#;
    assert_eq!(serde_json::to_string(&marked).unwrap().as_str(), line);
    assert_eq!(serde_json::from_str::<Event>(line).unwrap(), marked);
}
