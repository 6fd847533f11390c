//! Tests when a backup is due.

use proptest::prelude::*;

use super::*;
use crate::change::{OnExisting, Strategy};

const ALL: BackupPhases = BackupPhases { expand: true, contract: true, repair: true };

fn sim(kind: PlanKind) -> SimulatedMigration {
    SimulatedMigration { backup: ALL, ..SimulatedMigration::new(kind) }
}

fn is_backup(step: &str) -> bool {
    step.starts_with("Backup")
}

/// Returns the backups of a command, each with the step that follows it.
fn backups(steps: &[String]) -> Vec<(&str, &str)> {
    let pairs = steps.windows(2).filter(|pair| is_backup(&pair[0]));
    pairs.map(|pair| (pair[0].as_str(), pair[1].as_str())).collect()
}

#[test]
fn a_backup_comes_once_before_each_destructive_step() {
    let mut sim = sim(PlanKind::InPlace);
    let steps = sim.run(RUN);
    assert_eq!(backups(&steps), [("Backup(Expand)", "begin Expand")], "{steps:?}");
    // The confirmation comes before the backup, so that a command without a confirmation makes no backup.
    assert!(
        steps.iter().position(|step| step == "Confirm") < steps.iter().position(|step| is_backup(step)),
        "{steps:?}"
    );
    assert_eq!(backups(&sim.run(RUN)), [], "a command that has nothing to do makes none");
    assert_eq!(backups(&sim.run(AGAIN)), [("Backup(Expand)", "begin Expand")], "another pass needs another backup");
    assert_eq!(backups(&sim.run(VERIFY)), []);
    sim.mismatches = 1;
    assert_eq!(backups(&sim.run(REPAIR)).len(), 1);
    assert_eq!(backups(&sim.run(Goal::Rollback)), [], "the way back makes none");
    let phases: Vec<Phase> = sim.state.backups.iter().map(|backup| backup.phase).collect();
    let repair = Phase::Verify { scope: VerifyScope::Full, repair: true };
    assert_eq!(phases, [Phase::Expand, Phase::Expand, repair]);
}

#[test]
fn contract_makes_its_backup_before_the_point_of_no_return() {
    let mut flagged = sim(PlanKind::Flagged);
    flagged.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
    flagged.now += SOAK;
    let steps = flagged.run(Goal::Contract);
    assert_eq!(backups(&steps), [("Backup(Contract)", "record")], "{steps:?}");
    let change = steps.iter().position(|step| step == "Contract").unwrap();
    assert!(steps.iter().position(|step| is_backup(step)).unwrap() < change, "{steps:?}");

    let mut remove = sim(PlanKind::RemoveOnly);
    remove.facts = facts(remove.now);
    let _ = remove.try_run(Goal::Contract);
    remove.now += SOAK;
    assert_eq!(backups(&remove.run(Goal::Contract)), [("Backup(Contract)", "begin Contract")]);
}

/// If a process is killed after the backup, the command does not make another backup when it resumes, unless the
/// existing one is too old.
#[test]
fn a_killed_command_uses_its_backup() {
    for (later, due) in [(60, false), (3 * 60 * 60 - 60, false), (3 * 60 * 60, true)] {
        let mut sim = sim(PlanKind::InPlace);
        let mut steps: Vec<String> = Vec::new();
        while !steps.last().is_some_and(|step| is_backup(step)) {
            let step = sim.next_step(RUN, true).unwrap();
            steps.push(name(&step));
            match step {
                Step::Preflight => {
                    sim.append(EventBody::PreflightAccepted { kind: PlanKind::InPlace, accepted: Vec::new() });
                }
                Step::Backup(phase) => sim.append(EventBody::BackedUp { phase, arn: "arn".into() }),
                other => panic!("{other:?}"),
            }
        }
        sim.now += later;
        assert_eq!(!backups(&sim.run(RUN)).is_empty(), due, "{later}");
    }
}

#[test]
fn the_plan_decides_whether_expand_destroys_values() {
    let path = |name: &str| crate::item::Path::attribute(name);
    let copy = |on_existing| Change::Copy { from: path("a"), to: path("b"), on_existing };
    let moved = |on_existing| Change::Move { from: path("a"), to: path("b"), on_existing };
    let remove = Change::Remove { path: path("c") };
    for (strategy, change, destroys) in [
        (Strategy::ExpandContract, moved(OnExisting::Keep), false),
        (Strategy::ExpandContract, moved(OnExisting::Skip), false),
        (Strategy::ExpandContract, moved(OnExisting::Overwrite), true),
        (Strategy::ExpandContract, remove.clone(), false),
        (Strategy::InPlace, copy(OnExisting::Keep), false),
        (Strategy::InPlace, copy(OnExisting::Overwrite), true),
        (Strategy::InPlace, moved(OnExisting::Keep), true),
        (Strategy::InPlace, remove, true),
    ] {
        let phases = BackupPhases::new(strategy, std::slice::from_ref(&change));
        assert_eq!(phases, BackupPhases { expand: destroys, contract: true, repair: true }, "{strategy:?} {change}");
    }
}

proptest! {
    /// In any order of commands, each phase that destroys values begins only after its own backup. No backup is made
    /// for a rollback.
    #[test]
    fn no_destructive_phase_begins_without_a_backup(
        kind in prop::sample::select(vec![PlanKind::Flagged, PlanKind::Stated, PlanKind::InPlace, PlanKind::RemoveOnly]),
        goals in prop::collection::vec(prop::sample::select(vec![
            RUN, AGAIN, VERIFY, REPAIR, DUAL, READ, WRITE, BACK, BACK_NOW, STOP_DUAL, Goal::Contract, Goal::Rollback,
        ]), 0..14),
    ) {
        let mut sim = sim(kind);
        for goal in goals {
            if matches!(kind, PlanKind::Stated | PlanKind::RemoveOnly) {
                sim.facts = facts(sim.now);
            }
            let mut steps = Vec::new();
            let _ = sim.try_run_noting_steps(goal, &mut steps);
            if matches!(goal, Goal::Back { .. } | Goal::Rollback) {
                prop_assert!(!steps.iter().any(|step| is_backup(step)), "{:?}", steps);
            }
            sim.now += SOAK;
        }
        let mut ready = Vec::new();
        for event in &sim.events {
            match &event.body {
                EventBody::BackedUp { phase, .. } => ready.push(*phase),
                EventBody::PhaseBegun { phase } if ALL.includes(*phase) => {
                    prop_assert!(ready.contains(phase), "{:?}", sim.events);
                    ready.retain(|made| made != phase);
                }
                _ => {}
            }
        }
    }
}
