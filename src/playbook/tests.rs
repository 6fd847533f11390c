mod backups;
mod forced;
mod gate;
mod incidents;
mod overrides;
mod random_commands;
mod refusals;
mod sim;
mod suggested_commands;

use super::*;
use sim::*;

/// For each position in a migration, this table lists the commands that lead to it, and then the result of each command
/// at that position. `=` means "allowed".
/// RUNBOOK: "it refuses and names the command to run"
#[test]
fn every_command_in_every_phase_of_every_kind_of_plan() {
    let contract_facts = "contract --readers-moved --old-writes-stopped";
    let dual = "cutover --to dual-write --dual-writes-since TIME";
    let read = "cutover --to read-new --readers-moved";
    let write = "cutover --to write-new --old-writes-stopped";
    let new_file = "cutover --to dual-write --state PATH";
    let new_file_stated = "cutover --to dual-write --dual-writes-since TIME --state PATH";
    let new_file_in_place = "run --state PATH";
    let begin = "cutover --to dual-write";
    let first = "cutover --to read-new --percent 10";
    #[rustfmt::skip]
    let table: &[(PlanKind, &[Goal], [&str; 9])] = &[
        // After …                                      run  retry  verify  dual-write  read-new  write-new  --back
        // contract  rollback
        (PlanKind::Flagged, &[],                            ["=", begin, begin, "=", begin, begin, "=", begin, "="]),
        (PlanKind::Flagged, &[DUAL],                        ["=", "run", "run", "=", "run", "run", "=", "run", "="]),
        (PlanKind::Flagged, &[RUN],                         ["=", "=", "=", "=", "cutover --to dual-write", "cutover --to dual-write", "=", "cutover --to dual-write", "="]),
        (PlanKind::Flagged, &[DUAL, RUN],                   ["=", "=", "=", "=", "verify --all", "verify --all", "=", "verify --all", "="]),
        (PlanKind::Flagged, &[RUN, VERIFY, DUAL],           ["=", "=", "=", "=", "verify --all", "verify --all", "=", "verify --all", "="]),
        (PlanKind::Flagged, &[DUAL, RUN, SAMPLE],           ["=", "=", "=", "=", "verify --all", "verify --all", "=", "verify --all", "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY],           ["=", "=", "=", "=", "=", first, "=", first, "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, AGAIN],    ["=", "=", "=", "=", "verify --all", "verify --all", "=", "verify --all", "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, SOME],     ["cutover --to read-new", "cutover --to read-new", "=", "cutover --to read-new", "=", "cutover --to read-new", "=", "cutover --to read-new", "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, READ],     ["cutover --to write-new", "cutover --to write-new", "=", "cutover --to write-new", "=", "=", "=", "cutover --to write-new", "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, READ, BACK], ["=", "=", "=", "=", "=", first, "=", first, "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, READ, BACK, STOP_DUAL], ["=", "=", "=", "=", "cutover --to dual-write", "cutover --to dual-write", "=", "cutover --to dual-write", "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE], ["contract", "contract", "=", "contract", "contract", "=", "=", "=", "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE, BACK], ["=", "=", "=", "=", "=", first, "=", first, "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE, BACK_NOW], ["cutover --back", "cutover --back", "=", "=", "cutover --back", "cutover --back", "=", "cutover --back", "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE, Goal::Contract], ["status", "status", "=", "status", "status", "status", "status", "=", "status"]),
        (PlanKind::Flagged, &[DUAL, RUN, Goal::Rollback],   [new_file, new_file, new_file, new_file, new_file, new_file, "=", new_file, "="]),
        (PlanKind::Flagged, &[DUAL, RUN, VERIFY, READ, WRITE, Goal::Rollback], [new_file, new_file, new_file, new_file, new_file, new_file, "=", new_file, "="]),

        (PlanKind::Stated, &[],                             ["=", dual, dual, "=", dual, dual, dual, dual, "="]),
        (PlanKind::Stated, &[RUN],                          ["=", "=", "=", "=", dual, dual, "=", dual, "="]),
        (PlanKind::Stated, &[DUAL, RUN, VERIFY],            ["=", "=", "=", "=", "=", read, "=", read, "="]),
        (PlanKind::Stated, &[DUAL, RUN, VERIFY, READ],      [write, write, "=", write, "=", "=", "=", write, "="]),
        (PlanKind::Stated, &[DUAL, RUN, VERIFY, READ, WRITE], ["contract", "contract", "=", "contract", "contract", "=", "=", "=", "="]),
        (PlanKind::Stated, &[DUAL, RUN, VERIFY, READ, WRITE, Goal::Contract], ["status", "status", "=", "status", "status", "status", "status", "=", "status"]),
        (PlanKind::Stated, &[DUAL, RUN, VERIFY, READ, BACK, Goal::Rollback], [new_file_stated, new_file_stated, new_file_stated, new_file_stated, new_file_stated, new_file_stated, new_file_stated, new_file_stated, "="]),

        (PlanKind::InPlace, &[],                            ["=", "run", "run", "run", "run", "run", "run", "run", "="]),
        (PlanKind::InPlace, &[RUN],                         ["=", "=", "=", "verify --all", "verify --all", "verify --all", "verify --all", "verify --all", "="]),
        (PlanKind::InPlace, &[RUN, VERIFY],                 ["=", "=", "=", "status", "status", "status", "status", "status", "="]),
        (PlanKind::InPlace, &[RUN, VERIFY, Goal::Rollback], [new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, "="]),

        (PlanKind::SetOnly, &[],                            ["=", "run", "run", "run", "run", "run", "run", "run", "="]),
        (PlanKind::SetOnly, &[RUN],                         ["=", "=", "=", "verify --all", "verify --all", "verify --all", "verify --all", "verify --all", "="]),
        (PlanKind::SetOnly, &[RUN, VERIFY],                 ["=", "=", "=", "status", "status", "status", "status", "status", "="]),
        (PlanKind::SetOnly, &[RUN, VERIFY, Goal::Rollback], [new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, new_file_in_place, "="]),

        (PlanKind::RemoveOnly, &[],                         [contract_facts, contract_facts, contract_facts, contract_facts, contract_facts, contract_facts, contract_facts, contract_facts, "="]),
        (PlanKind::RemoveOnly, &[Goal::Contract],           ["status", "status", "=", "status", "status", "status", "status", "=", "status"]),
    ];
    let mut wrong = Vec::new();
    for (kind, commands, expected) in table {
        let mut sim = SimulatedMigration::new(*kind);
        for goal in *commands {
            sim.facts = match kind {
                PlanKind::Stated => {
                    let since = time(sim.now);
                    ALL_FACTS
                        .map(|f| if let Fact::DualWritesSince { .. } = f { Fact::DualWritesSince { since } } else { f })
                        .into()
                }
                PlanKind::RemoveOnly => vec![Fact::ReadersMoved, Fact::OldWritesStopped],
                _ => Vec::new(),
            };
            if *goal == Goal::Contract && *kind == PlanKind::RemoveOnly {
                assert_eq!(sim.try_run(*goal).unwrap_err().next.as_str(), "contract", "the soak is not over");
            }
            if *goal == Goal::Contract {
                sim.now += SOAK;
            }
            sim.run(*goal);
        }
        sim.now += SOAK;
        if *kind == PlanKind::Stated {
            sim.facts = facts(sim.now);
        }
        for (goal, expected) in COMMANDS.iter().zip(expected) {
            let expected = if *expected == "=" { "allowed" } else { expected };
            let answer = sim.answer(*goal);
            if answer != *expected {
                wrong.push(format!("{kind:?} after {commands:?}: {goal:?} says {answer:?}, not {expected:?}"));
            }
        }
        assert_eq!(
            MigrationState::replay(&sim.events).as_ref(),
            Ok(&sim.state),
            "the replayed state must equal the live state"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs every step of a migration with a flag.
/// RUNBOOK: "waits until application caches have expired before the next step"
#[test]
fn each_flag_change_waits_until_caches_have_expired() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    assert_eq!(sim.run(DUAL), ["Preflight", "Confirm", "record", "DualWrite", "record", "wait", "Done"]);
    assert_eq!(sim.run(RUN), ["Confirm", "begin Expand", "RunPass(Expand)", "Done"]);
    sim.run(VERIFY);
    assert_eq!(sim.run(READ), ["Confirm", "record", "ReadNew(100)", "record", "wait", "Done"]);
    assert_eq!(sim.run(WRITE), ["Confirm", "record", "WriteNew", "record", "wait", "Done"]);
    let soaking = sim.try_run(Goal::Contract).unwrap_err();
    assert!(soaking.why.contains("soaks until"), "{soaking}");
    sim.now += SOAK;
    assert_eq!(
        sim.run(Goal::Contract),
        ["Confirm", "record", "Contract", "record", "wait", "begin Contract", "RunPass(Contract)", "Done"]
    );
}

/// RUNBOOK: "1. It lets applications write both attributes again. 2. It makes old values equal to new values. 3. It
/// verifies the whole table. 4. It lets readers read the old attribute again."
#[test]
fn rollback_after_new_only_writes_makes_old_equal_new_and_verifies_first() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    let steps = sim.run(Goal::Rollback);
    let steps: Vec<_> = steps.iter().filter(|step| *step != "record").map(String::as_str).collect();
    #[rustfmt::skip]
    assert_eq!(steps, [
        "Confirm", "RollbackBegun { forced: None }", "DualWriteAgain", "wait",
        "begin OldFromNew", "RunPass(OldFromNew)",
        "begin Verify { scope: Full, repair: false }", "RunPass(Verify { scope: Full, repair: false })",
        "OldIsFresh", "ReadOld { accept_stale: false }", "wait", "WriteOld", "wait",
        "begin Undo", "RunPass(Undo)", "Done",
    ]);
}

/// If items are still unequal after the command's own pass, the command ends, and the next command starts a new pass.
#[test]
fn a_way_back_that_does_not_verify_stops() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    sim.mismatches = 3;
    for _ in 0..2 {
        let refused = sim.try_run(BACK).unwrap_err();
        assert!(
            refused.why.contains("3 items still differ") && refused.next.as_str() == "cutover --back --force REASON",
            "{refused}"
        );
        assert_eq!(sim.flag.as_ref().unwrap().read, ReadFrom::New);
    }
    sim.mismatches = 0;
    let steps = sim.run(BACK);
    assert_eq!(steps[..2], ["begin OldFromNew", "RunPass(OldFromNew)"]);
    assert_eq!(sim.flag.as_ref().unwrap().read, ReadFrom::Old);
}

/// RUNBOOK: "`status` names the phase, the flag and the next command"
#[test]
fn status_at_every_step() {
    let stage_and_next = |sim: &SimulatedMigration, stage, next: &str| {
        assert_eq!(sim.stage_and_next(), (stage, Some(next).filter(|next| !next.is_empty()).map(str::to_owned)));
    };
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    stage_and_next(&sim, MigrationStage::Preflight, "cutover --to dual-write");
    for (goal, stage, next) in [
        (DUAL, MigrationStage::Expand, "run"),
        (RUN, MigrationStage::Verify, "verify --all"),
        (VERIFY, MigrationStage::Cutover, "cutover --to read-new --percent 10"),
        (SOME, MigrationStage::Cutover, "cutover --to read-new"),
        (READ, MigrationStage::Cutover, "cutover --to write-new"),
        (WRITE, MigrationStage::Soak, "contract"),
    ] {
        sim.run(goal);
        stage_and_next(&sim, stage, next);
    }
    let soaking = status(&sim.state, &sim.context(true), time(sim.now));
    assert_eq!(
        soaking.not_before,
        sim.flag.as_ref().and_then(|flag| flag.new_since).map(|at| time(at.as_second() + SOAK))
    );
    sim.now += SOAK;
    sim.run(Goal::Contract);
    stage_and_next(&sim, MigrationStage::Contracted, "");

    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.all(&[DUAL, RUN]);
    sim.diverged = 1;
    stage_and_next(&sim, MigrationStage::Verify, "verify --all --repair");
    sim.run(Goal::Rollback);
    stage_and_next(&sim, MigrationStage::RolledBack, "");

    let mut sim = SimulatedMigration::new(PlanKind::Stated);
    stage_and_next(&sim, MigrationStage::Preflight, "cutover --to dual-write --dual-writes-since TIME");
    sim.facts = facts(sim.now);
    sim.all(&[DUAL, RUN, VERIFY]);
    stage_and_next(&sim, MigrationStage::Cutover, "cutover --to read-new --readers-moved");

    let mut sim = SimulatedMigration::new(PlanKind::InPlace);
    stage_and_next(&sim, MigrationStage::Preflight, "run");
    sim.all(&[RUN, VERIFY]);
    stage_and_next(&sim, MigrationStage::Verify, "");
    stage_and_next(
        &SimulatedMigration::new(PlanKind::RemoveOnly),
        MigrationStage::Preflight,
        "contract --readers-moved --old-writes-stopped",
    );
}

/// RUNBOOK: "Each command names the fact that you must confirm, and records it"
#[test]
fn facts_are_for_plans_without_a_flag_and_are_asked_for_by_name() {
    let mut sim = SimulatedMigration::new(PlanKind::Flagged);
    sim.facts = vec![Fact::ReadersMoved];
    assert!(sim.try_run(READ).unwrap_err().why.contains("`--readers-moved` is for plans without a flag"));
    let mut sim = SimulatedMigration::new(PlanKind::Stated);
    let mut asked = Vec::new();
    let goals = [DUAL, RUN, VERIFY, READ, WRITE, Goal::Rollback];
    for goal in goals {
        sim.facts.clear();
        while let Err(refused) = sim.try_run(goal) {
            asked.push(refused.next.as_str().to_owned());
            assert!(!refused.missing.is_empty(), "{refused}");
            sim.facts.extend(refused.missing);
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

/// While old values are fresh, `--back` needs only the flag, and returns to the previous stage.
/// RUNBOOK: "It needs no gate, no lock and no state file, and it works while other commands run"
/// RUNBOOK: "waits until `max_cache_seconds` have passed since then. It does not end dual writes"
#[test]
fn back_goes_one_stage() {
    let mut flag = Flag::new(CACHE, time(0)).next(FlagChange::DualWrite, time(100), Duration::ZERO).unwrap();
    let cache = Duration::from_secs(CACHE.into());
    let wait = |seconds| Duration::from_secs(seconds);
    assert_eq!(BackTarget::new(&flag, time(101), wait(59)), BackTarget::OldWrites);
    flag = flag.next(FlagChange::ReadNew(100), time(200), Duration::ZERO).unwrap();
    assert_eq!(BackTarget::new(&flag, time(201), wait(59)), BackTarget::OldReads);
    let step = |flag: &Flag, to, left| step_back(flag, to, time(300), left).unwrap();
    let change = FlagChange::ReadOld { accept_stale: false };
    // Readers return immediately, because applications write both attributes under every flag state that they may obey.
    assert_eq!(step(&flag, BackTarget::OldReads, cache), Step::Change(change));
    assert!(flag.next(change, time(300), cache).is_ok());
    let back = flag.next(change, time(300), Duration::ZERO).unwrap();
    assert_eq!(
        BackTarget::new(&back, time(301), wait(59)),
        BackTarget::OldReads,
        "if `--back` is killed while it waits, a rerun must request the same step"
    );
    assert_eq!(step(&back, BackTarget::OldReads, wait(59)), Step::Wait(wait(59)));
    assert_eq!(step(&back, BackTarget::OldReads, wait(0)), Step::Done);
    assert_eq!(BackTarget::new(&back, time(360), wait(0)), BackTarget::OldWrites);
    // In these cases, `--back` is a new command, not a rerun. Either this host sees the flag change only after the
    // cache time, or the recorded time of the change is two days ahead.
    for now in [360, -172_800] {
        assert_eq!(BackTarget::new(&back, time(now), cache), BackTarget::OldWrites);
    }
    assert_eq!(step(&back, BackTarget::OldWrites, wait(59)), Step::Wait(wait(59)));
    assert_eq!(step(&back, BackTarget::OldWrites, wait(0)), Step::Change(FlagChange::WriteOld));
    let new = flag.next(FlagChange::WriteNew, time(300), Duration::ZERO).unwrap();
    assert!(back_needs_state(&new) && step_back(&new, BackTarget::OldReads, time(400), wait(0)).is_err());
}

/// RUNBOOK: "a run never overwrites the attribute that readers read"
#[test]
fn only_fresh_old_values_that_are_read_are_copied() {
    let dual = Flag::new(CACHE, time(0)).next(FlagChange::DualWrite, time(100), Duration::ZERO).unwrap();
    let read = dual.next(FlagChange::ReadNew(1), time(200), Duration::ZERO).unwrap();
    assert!(may_expand(&dual).is_ok());
    for flag in [&read, &Flag { old_stale: true, ..dual.clone() }, &Flag { contracting: true, ..dual.clone() }] {
        assert!(may_expand(flag).is_err(), "{flag}");
    }
}

/// Later versions must be able to read the history, so the names of the stored events and fields must not change.
#[test]
fn events_are_stable_json() {
    let overridden = |obstacle| EventBody::Overridden(Override { obstacle, reason: "r".into() });
    let whats = [
        EventBody::PreflightAccepted { kind: PlanKind::RemoveOnly, accepted: vec!["no-pitr".to_owned()] },
        EventBody::PhaseBegun { phase: Phase::OldFromNew },
        EventBody::PhaseComplete { phase: Phase::Expand, scanned: None },
        EventBody::PhaseComplete { phase: Phase::Expand, scanned: Some(0) },
        EventBody::PhaseBegun { phase: Phase::Verify { scope: VerifyScope::Sampled, repair: true } },
        EventBody::Verified {
            scope: VerifyScope::Full,
            repair: false,
            mismatches: 2,
            plan: "f".into(),
            hash: "h".into(),
            compared: None,
        },
        EventBody::Verified {
            scope: VerifyScope::Full,
            repair: false,
            mismatches: 0,
            plan: "f".into(),
            hash: "h".into(),
            compared: Some(0),
        },
        EventBody::FlagIntended { change: FlagChange::ReadNew(25), version: 7, forced: Some("why".into()) },
        EventBody::FlagIntended { change: FlagChange::ReadOld { accept_stale: true }, version: 7, forced: None },
        EventBody::FlagSeen { version: 8, ours: true },
        EventBody::FactStated { fact: Fact::DualWritesSince { since: time(5) }, forced: None },
        EventBody::FactStated { fact: Fact::NewWritesStopped, forced: None },
        EventBody::OldIsFresh,
        overridden(Obstacle::FlagRemoved { version: 7 }),
        overridden(Obstacle::ForeignContract),
        overridden(Obstacle::UnsureTargets { items: 5 }),
        overridden(Obstacle::OneWay),
        overridden(Obstacle::ItemsUnequal { items: 3 }),
        overridden(Obstacle::ItemsFailed { items: 2 }),
        overridden(Obstacle::EmptyTable),
        EventBody::RollbackBegun { forced: None },
        EventBody::BackedUp { phase: Phase::Contract, arn: "arn:x".into() },
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
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"rollback_begun"}
{"at":"1970-01-01T00:00:09Z","actor":"a@h","type":"backed_up","phase":"contract","arn":"arn:x"}"#;
    let events = whats.map(|body| Event { at: time(9), actor: "a@h".to_owned(), flag: None, body });
    let written: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    assert_eq!(written.join("\n"), expected.trim_start());
    for (event, line) in events.iter().zip(&written) {
        assert_eq!(&serde_json::from_str::<Event>(line).unwrap(), event);
    }
    let flag = Some(Mark { version: 7, dual_since: Some(time(5)) });
    let marked = Event { at: time(9), actor: "a@h".to_owned(), flag, body: EventBody::OldIsFresh };
    let line = r#"{"at":"1970-01-01T00:00:09Z","actor":"a@h","flag":{"version":7,"dual_since":"1970-01-01T00:00:05Z"},"type":"old_is_fresh"}"#;
    assert_eq!(serde_json::to_string(&marked).unwrap().as_str(), line);
    assert_eq!(serde_json::from_str::<Event>(line).unwrap(), marked);
}
