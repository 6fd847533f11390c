//! An override refers to an obstacle by its id, not by its message. The tool still recognizes the messages that earlier
//! versions stored instead of ids.

use super::*;

/// Creates an override in the form that was stored before ids existed.
fn stored(why: &str, items: Option<u64>) -> Event {
    let items = items.map_or(String::new(), |items| format!(",\"items\":{items}"));
    let why = serde_json::to_string(why).unwrap();
    let line = format!(
        "{{\"at\":\"1970-01-01T02:00:00Z\",\"actor\":\"a@h\",\"type\":\"went_past\",\"why\":{why},\"reason\":\"r\"{items}}}"
    );
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Every obstacle message that was ever stored, with its number of items and its obstacle.
const SENTENCES: &[(&str, Option<u64>, Obstacle)] = &[
    (
        "the plan names a flag, and there is none: its item is missing. It was last seen as [version 12: write = new, read = \
         new at 100 %, old values may be stale, contracting]. Applications that find none read and write the old attribute. \
         Find out who removed it; then put it back as it was, at once, or have this put it back: the old attribute was being \
         removed",
        None,
        Obstacle::FlagRemoved { version: 12 },
    ),
    (
        "the plan names a flag, and there is none: its item is missing. It was last seen as [version 4: write = both, read = \
         old]. Applications that find none read and write the old attribute. Find out who removed it; then begin it anew where \
         applications are by now, at old",
        None,
        Obstacle::FlagRemoved { version: 4 },
    ),
    (
        "the plan names a flag, and there is none: its item is missing. It was last seen as [version 5: write = new, read = new \
         at 100 %, old values may be stale]. Applications that find none read and write the old attribute. Find out who removed \
         it; then put it back as it was, at once: old values are stale. Or accept that they are what is read, and begin the flag \
         anew at old; what only the new attribute has stays there",
        None,
        Obstacle::FlagRemoved { version: 5 },
    ),
    (
        "the flag says that the old attribute is being removed, and this state file has not led there: give the one that has, by \
         `--state`, on its host. Where that is lost, `--force REASON` ends the contract with this one, and what the lost one had \
         on record of removed values is given up",
        None,
        Obstacle::ForeignContract,
    ),
    (
        "a rollback could not put everything back, so nothing goes forward: a run that had written was begun anew with --restart \
         before it had met every item. The new attribute of 17 items, which the next run found there, may be its work or may \
         have been there before the migration: a rollback leaves all of them as they are. `--force REASON` goes forward, and \
         gives that up",
        None,
        Obstacle::UnsureTargets { items: 17 },
    ),
    (
        "once new values alone are written, a rollback may not succeed: `a` and `b` may differ by then, and `c` cannot equal \
         both. `--force REASON` goes forward, and gives that up",
        None,
        Obstacle::OneWay,
    ),
    ("3 items differ although old was made equal new", Some(3), Obstacle::ItemsUnequal { items: 3 }),
    ("2 items could not be changed on the way back, and stay as they are", Some(2), Obstacle::ItemsFailed { items: 2 }),
];

#[test]
fn sentences_stored_before_ids_still_count() {
    for (why, items, obstacle) in SENTENCES {
        let EventBody::Overridden(read) = stored(why, *items).body else { panic!("{why}") };
        assert_eq!((read.obstacle, read.reason.as_str()), (*obstacle, "r"), "{why}");
    }
    // An unknown message does not override any obstacle, but the state file stays readable.
    for (why, items) in [("a sentence of another version", None), ("9 items are odd", Some(9))] {
        let EventBody::Overridden(read) = stored(why, items).body else { panic!("{why}") };
        assert_eq!(read.obstacle, Obstacle::Unrecognized { items: items.unwrap_or(0) });
        assert!(!read.obstacle.covers(read.obstacle));
    }
}

/// An override of an earlier version stays valid. The migration can continue, even if the obstacle's message has
/// changed since then.
#[test]
fn a_reworded_message_does_not_ask_for_a_reason_again() {
    for (why, _, obstacle) in SENTENCES {
        let mut sim = SimulatedMigration::new(PlanKind::Flagged);
        let goal = match obstacle {
            Obstacle::FlagRemoved { version } => {
                sim.all(&[DUAL, RUN]);
                sim.missing_flag = sim.flag.take().map(|flag| Flag { version: *version, ..flag });
                BACK
            }
            Obstacle::UnsureTargets { items } => {
                sim.all(&[DUAL, RUN, VERIFY]);
                sim.unrestorable_targets = Some(*items);
                READ
            }
            Obstacle::OneWay => {
                sim.all(&[DUAL, RUN, VERIFY, READ]);
                sim.one_way = Some("in other words");
                WRITE
            }
            Obstacle::ForeignContract => {
                sim.run(DUAL);
                let mut other = SimulatedMigration::new(PlanKind::Flagged);
                other.all(&[DUAL, RUN, VERIFY, READ, WRITE]);
                sim.now = other.now + 2 * SOAK;
                sim.flag = other.flag;
                sim.flag = sim
                    .flag
                    .map(|flag| flag.next(FlagChange::Contract, time(other.now + SOAK), Duration::ZERO).unwrap());
                Goal::Contract
            }
            Obstacle::ItemsUnequal { .. }
            | Obstacle::ItemsFailed { .. }
            | Obstacle::EmptyTable
            | Obstacle::Unrecognized { .. } => continue,
        };
        let asks = |sim: &SimulatedMigration| match sim.next_step(goal, true) {
            Err(refused) => refused.next.as_str().ends_with("--force REASON"),
            Ok(step) => matches!(step, Step::Record(EventBody::Overridden(_))),
        };
        assert!(asks(&sim), "{obstacle:?} must block: {:?}", sim.next_step(goal, true));
        sim.append(stored(why, None).body);
        assert!(!asks(&sim), "{why}: {:?}", sim.next_step(goal, true));
    }
}

/// An override covers only the obstacle that the refusal reported. It covers neither a later removal of the flag nor a
/// larger number of items.
#[test]
fn an_override_covers_no_more_than_was_named() {
    let all = |n| {
        [
            Obstacle::FlagRemoved { version: n },
            Obstacle::ForeignContract,
            Obstacle::UnsureTargets { items: n },
            Obstacle::OneWay,
            Obstacle::ItemsUnequal { items: n },
            Obstacle::ItemsFailed { items: n },
        ]
    };
    for (at, one) in all(5).into_iter().enumerate() {
        for (n, same) in [(4, true), (5, true), (6, false)] {
            for (place, other) in all(n).into_iter().enumerate() {
                let counted = matches!(
                    one,
                    Obstacle::UnsureTargets { .. } | Obstacle::ItemsUnequal { .. } | Obstacle::ItemsFailed { .. }
                );
                let covers = match one {
                    _ if at != place => false,
                    Obstacle::FlagRemoved { .. } => n == 5,
                    _ => !counted || same,
                };
                assert_eq!(one.covers(other), covers, "{one:?} and {other:?}");
            }
        }
        assert!(!one.to_string().is_empty());
    }
}
