//! Tests the flag's rules with all sequences of changes up to a fixed length, and with random sequences.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const CACHE: u32 = 60;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// Makes each of these changes as early as possible, and returns the resulting flag.
fn after(changes: &[FlagChange]) -> Flag {
    changes.iter().fold(Flag::new(CACHE, at(0)), |flag, change| {
        flag.next(*change, flag.settled_at(), Duration::ZERO)
            .unwrap_or_else(|error| panic!("{change:?} at {flag}: {error}"))
    })
}

fn changes() -> Vec<FlagChange> {
    use FlagChange::{Contract, DualWrite, DualWriteAgain, OldIsFresh, ReadNew, ReadOld, WriteNew, WriteOld};
    let mut all = vec![DualWrite, WriteNew, Contract, DualWriteAgain, OldIsFresh, WriteOld];
    all.extend([ReadNew(0), ReadNew(1), ReadNew(25), ReadNew(99), ReadNew(100), ReadNew(101), ReadNew(255)]);
    all.extend([ReadOld { accept_stale: false }, ReadOld { accept_stale: true }]);
    all
}

/// Returns the content of a flag, without its times and version.
fn state(flag: &Flag) -> (WriteTo, ReadFrom, u8, bool, bool) {
    (flag.write, flag.read, flag.read_percent, flag.old_stale, flag.contracting)
}

const FORWARD: [FlagChange; 3] = [FlagChange::DualWrite, FlagChange::ReadNew(100), FlagChange::WriteNew];

/// With this test's percentages, the reachable states are exactly the states of this list.
#[test]
fn these_states_are_reached_and_no_others() {
    use ReadFrom::{New, Old};
    let mut expected: HashSet<_> = [(WriteTo::Old, Old, 0, false, false), (WriteTo::Both, Old, 0, false, false)].into();
    expected.extend([1, 25, 99, 100].map(|percent| (WriteTo::Both, New, percent, false, false)));
    expected.extend([false, true].map(|contracting| (WriteTo::New, New, 100, true, contracting)));
    // The next two states occur during a rollback, after dual writes have resumed. In the second state, the operator
    // has accepted stale reads.
    expected.extend([(WriteTo::Both, New, 100, true, false), (WriteTo::Both, Old, 0, true, false)]);

    let first = Flag::new(CACHE, at(0));
    let mut found = HashSet::from([state(&first)]);
    let mut open = vec![first];
    while let Some(flag) = open.pop() {
        assert_eq!(flag.broken_rule(), None, "{flag:?}");
        for change in changes() {
            if let Ok(next) = flag.next(change, flag.settled_at(), Duration::ZERO)
                && found.insert(state(&next))
            {
                open.push(next);
            }
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn forward_changes_record_their_times() {
    let both = after(&FORWARD[..1]);
    assert_eq!((both.version, both.dual_since, both.new_since), (2, Some(at(60)), None));
    let new = after(&FORWARD);
    assert_eq!((new.version, new.dual_since, new.new_since, new.old_stale), (4, Some(at(60)), Some(at(180)), true));
    let contracting = new.next(FlagChange::Contract, at(240), Duration::ZERO).unwrap();
    for change in changes() {
        let refused = contracting.next(change, at(100_000), Duration::ZERO);
        assert!(
            matches!(&refused, Err(FlagError::OutOfOrder(why)) if why.contains("backfill contract")),
            "{refused:?}"
        );
    }
}

/// Once applications have written only new values, they can return to old values only after a verification.
#[test]
fn the_way_back_from_new_only_writes() {
    let both = after(&[&FORWARD[..], &[FlagChange::DualWriteAgain]].concat());
    assert_eq!((both.dual_since, both.new_since, both.read_percent), (Some(at(240)), None, 100));
    let later = both.settled_at();
    let refused = |flag: &Flag, change| {
        flag.next(change, later + SignedDuration::from_hours(1), Duration::ZERO).unwrap_err().to_string()
    };
    assert!(refused(&both, FlagChange::ReadOld { accept_stale: false }).contains("--now"));
    assert!(refused(&both, FlagChange::ReadNew(99)).contains("backfill rollback"));
    let accepted = both.next(FlagChange::ReadOld { accept_stale: true }, later, Duration::ZERO).unwrap();
    assert!(accepted.old_stale);
    assert!(refused(&accepted, FlagChange::WriteOld).contains("backfill rollback"));
    assert!(refused(&accepted, FlagChange::ReadNew(50)).contains("backfill rollback"));

    let fresh = both.next(FlagChange::OldIsFresh, later, Duration::ZERO).unwrap();
    let read_old = fresh.next(FlagChange::ReadOld { accept_stale: false }, fresh.settled_at(), Duration::ZERO).unwrap();
    let old = read_old.next(FlagChange::WriteOld, read_old.settled_at(), Duration::ZERO).unwrap();
    assert_eq!((state(&old), old.dual_since), ((WriteTo::Old, ReadFrom::Old, 0, false, false), None));
    assert_eq!(
        old.next(FlagChange::DualWrite, old.settled_at(), Duration::ZERO).unwrap().dual_since,
        Some(old.settled_at())
    );
}

#[test]
fn each_change_waits_out_the_cache_of_the_one_before() {
    let flag = after(&FORWARD[..1]);
    assert_eq!(flag.settled_at(), at(120));
    let left = Duration::from_nanos(1);
    // Whether a change needs a wait does not depend on the recorded time.
    for now in [at(0), at(100_000)] {
        assert_eq!(flag.next(FlagChange::ReadNew(1), now, left), Err(FlagError::TooSoon { left }));
        assert!(flag.next(FlagChange::ReadNew(1), now, Duration::ZERO).is_ok());
    }
    // A change that would still be refused after the wait is refused immediately.
    assert!(matches!(flag.next(FlagChange::WriteNew, at(0), left), Err(FlagError::OutOfOrder(_))));
    assert!(matches!(flag.next(FlagChange::DualWrite, at(0), left), Err(FlagError::AlreadyInState(_))));
    // Readers can return to old values without a wait under two conditions. Old values must be fresh. In every flag
    // state that applications may still obey, they must write both attributes.
    let back = FlagChange::ReadOld { accept_stale: false };
    assert!(after(&FORWARD[..2]).next(back, at(0), left).is_ok());
    let again = after(&[&FORWARD[..], &[FlagChange::DualWriteAgain]].concat());
    let stale = again.next(FlagChange::ReadOld { accept_stale: true }, at(0), left);
    assert_eq!(
        stale,
        Err(FlagError::TooSoon { left }),
        "the change must wait, because some writers still write only new values"
    );
    let last = Flag { changed_at: Timestamp::MAX, ..flag };
    assert_eq!(last.settled_at(), Timestamp::MAX);
}

/// Every refusal must suggest a command.
#[test]
fn refusals_say_what_to_do() {
    let ways: [&[FlagChange]; 5] = [
        &[],
        &FORWARD[..1],
        &FORWARD[..2],
        &FORWARD,
        &[FORWARD[0], FORWARD[1], FORWARD[2], FlagChange::DualWriteAgain],
    ];
    let mut refusals = 0;
    for flag in ways.map(after) {
        for change in changes() {
            if let Err(error) = flag.next(change, flag.settled_at(), Duration::ZERO) {
                assert!(
                    error.to_string().contains("`backfill ") && !error.to_string().contains("  "),
                    "{flag}: {error}"
                );
                refusals += 1;
            }
        }
    }
    assert!(refusals > 30, "{refusals}");
}

#[test]
fn a_slow_change_records_the_later_time() {
    let flag = after(&FORWARD[..1]).with_changed_at(at(63));
    assert_eq!((flag.changed_at, flag.dual_since), (at(63), Some(at(63))));
    let read = flag.next(FlagChange::ReadNew(100), at(200), Duration::ZERO).unwrap().with_changed_at(at(205));
    assert_eq!(
        (read.changed_at, read.dual_since),
        (at(205), Some(at(63))),
        "the recorded time of an earlier change must not change"
    );
    let new = read.next(FlagChange::WriteNew, at(300), Duration::ZERO).unwrap().with_changed_at(at(301));
    assert_eq!((new.new_since, new.dual_since), (Some(at(301)), Some(at(63))));
}

#[test]
fn a_flag_is_displayed_on_one_line() {
    assert_eq!(after(&[]).to_string(), "version 1: write = old, read = old");
    assert_eq!(after(&FORWARD).to_string(), "version 4: write = new, read = new at 100 %, old values may be stale");
}

fn change() -> impl Strategy<Value = FlagChange> {
    prop_oneof![
        3 => Just(FlagChange::DualWrite),
        3 => any::<u8>().prop_map(FlagChange::ReadNew),
        3 => Just(FlagChange::ReadNew(100)),
        3 => Just(FlagChange::WriteNew),
        1 => Just(FlagChange::Contract),
        2 => Just(FlagChange::DualWriteAgain),
        2 => Just(FlagChange::OldIsFresh),
        2 => any::<bool>().prop_map(|accept_stale| FlagChange::ReadOld { accept_stale }),
        2 => Just(FlagChange::WriteOld),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_forbidden_is_reachable(
        steps in proptest::collection::vec((change(), 0_i64..200), 0..40), cache in 0_u32..=150,
    ) {
        let mut flag = Flag::new(cache, at(0));
        let mut now = 0;
        for (change, pause) in steps {
            now += pause;
            let settled = flag.settled_at();
            let left = Duration::try_from(settled.duration_since(at(now))).unwrap_or_default();
            let Ok(next) = flag.next(change, at(now), left) else { continue };
            prop_assert_eq!(next.broken_rule(), None);
            prop_assert_eq!(next.read_percent == 0, next.read == ReadFrom::Old);
            prop_assert!(next.read == ReadFrom::Old || next.write != WriteTo::Old);
            prop_assert!(next.write != WriteTo::New || next.read_percent == 100);
            prop_assert_eq!(next.version, flag.version + 1);
            prop_assert_eq!(next.max_cache_seconds, flag.max_cache_seconds);
            let back = change == FlagChange::ReadOld { accept_stale: false };
            prop_assert!(at(now) >= settled || (back && flag.write == WriteTo::Both), "the cache time must have passed");
            prop_assert_eq!(next.changed_at, at(now));
            // Each step changes only one setting, so an application with a stale cache is at most one step behind.
            let read = (flag.read, flag.read_percent) != (next.read, next.read_percent);
            let moved = [flag.write != next.write, read, flag.contracting != next.contracting];
            prop_assert!(moved.into_iter().filter(|moved| *moved).count() <= 1);
            // Readers move to possibly stale old values only if the operator accepted stale reads. Stale old values
            // never become the truth.
            if next.old_stale && next.read == ReadFrom::Old && flag.read == ReadFrom::New {
                prop_assert_eq!(change, FlagChange::ReadOld { accept_stale: true });
            }
            prop_assert!(!flag.old_stale || next.old_stale || change == FlagChange::OldIsFresh);
            flag = next;
        }
    }
}
