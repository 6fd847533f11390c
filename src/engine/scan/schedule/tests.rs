use std::collections::BTreeSet;

use futures::FutureExt as _;
use proptest::prelude::*;

use super::*;
use crate::item::{Item, ItemKey, Position};
use crate::machine::Rng;

/// Unwraps an answer of the local scheduler. That scheduler answers immediately and never fails.
fn now<T>(answer: impl Future<Output = Result<T, SchedulerError>>) -> T {
    answer.now_or_never().expect("the local scheduler answers immediately").unwrap()
}

fn next(scheduler: &LocalScheduler, lane: Lane) -> Option<WorkLease> {
    now(scheduler.next(lane))
}

fn next_unsurveyed(scheduler: &LocalScheduler) -> Option<u32> {
    now(scheduler.next_unsurveyed())
}

fn record_first_page(scheduler: &LocalScheduler, unit: u32, first_page: FirstPage) {
    now(scheduler.record_first_page(unit, first_page));
}

fn drain(scheduler: &LocalScheduler, lane: Lane) -> Vec<u32> {
    std::iter::from_fn(|| next(scheduler, lane)).map(|lease| lease.unit).collect()
}

fn begun(items: u64) -> SegmentState {
    let mut state = SegmentState { pages: 1, status: SegmentStatus::Done, ..SegmentState::default() };
    state.counts.scanned = items;
    state
}

fn position() -> Position {
    Position::Key(ItemKey::new(Item::new()))
}

proptest! {
    /// Each segment is leased exactly once.
    #[test]
    fn the_order_is_a_permutation(total in 1_u32..2_000) {
        let handed_out = drain(&LocalScheduler::new(total), Lane::Shared);
        prop_assert_eq!(handed_out.len(), total as usize);
        prop_assert_eq!(handed_out.into_iter().collect::<BTreeSet<_>>(), (0..total).collect());
    }

    /// The number of segments is a power of two, and the hash space is divided into 2^k equal parts. Each aligned group
    /// of 2^k consecutive segments in the order then contains one segment of each part.
    #[test]
    fn aligned_runs_have_one_in_each_part(bits in 0_u32..13, k in 0_u32..13, run in any::<usize>()) {
        let k = k.min(bits);
        let order = drain(&LocalScheduler::new(1 << bits), Lane::Shared);
        let runs: Vec<&[u32]> = order.chunks(1 << k).collect();
        let parts: BTreeSet<u32> = runs[run % runs.len()].iter().map(|segment| segment >> (bits - k)).collect();
        prop_assert_eq!(parts, (0..1 << k).collect());
    }

    /// 2^k segments are active. Whenever one ends, another one begins. Segments end in any order. The hash space is
    /// divided into 2^k / 4 parts, so each part has four active segments on average. Until half of all segments have
    /// been leased, no part has more than eight active segments.
    #[test]
    fn active_segments_are_spread(total in 512_u32..2_000, k in 2_u32..=LEVELS, ends in any::<u64>()) {
        let scheduler = LocalScheduler::new(total);
        let mut rng = Rng::with_seed(ends);
        let mut active = Vec::new();
        for _ in 0..total / 2 {
            active.push(next(&scheduler, Lane::Shared).unwrap());
            if active.len() > 1 << k {
                now(scheduler.release(active.swap_remove(rng.usize(..active.len()))));
            }
            let mut parts = vec![0; 1 << (k - 2)];
            let part = |segment: u32| ((u64::from(segment) << (k - 2)) / u64::from(total)) as usize;
            active.iter().for_each(|lease| parts[part(lease.unit)] += 1);
            prop_assert!(parts.iter().all(|n| *n <= 8), "{:?}", parts);
        }
    }

    /// Each segment is leased once, and the survey gets it at most once. This does not depend on what the scheduler
    /// learns about the segments, or in which order.
    #[test]
    fn nothing_is_lost_or_handed_out_twice(
        total in 1_u32..200,
        steps in proptest::collection::vec((0_u8..4, 0_u8..3), 0..600),
    ) {
        let scheduler = LocalScheduler::new(total);
        let mut surveyed = Vec::new();
        let mut named = BTreeSet::new();
        let mut out = BTreeSet::new();
        for (step, answer) in steps {
            match step {
                0 => if let Some(segment) = next_unsurveyed(&scheduler) {
                    prop_assert!(named.insert(segment) && !out.contains(&segment));
                    surveyed.push(segment);
                },
                1 => if let Some(segment) = surveyed.pop() {
                    let pages = [FirstPage::Ends, FirstPage::Continues, FirstPage::InCollection];
                    record_first_page(&scheduler, segment, pages[usize::from(answer)]);
                },
                2 => if let Some(lease) = next(&scheduler, Lane::Large) {
                    prop_assert!(out.insert(lease.unit));
                },
                _ => if let Some(lease) = next(&scheduler, Lane::Shared) {
                    prop_assert!(out.insert(lease.unit));
                },
            }
        }
        for segment in drain(&scheduler, Lane::Shared) {
            prop_assert!(out.insert(segment));
        }
        prop_assert_eq!(out, (0..total).collect());
    }
}

proptest! {
    /// A run has several sessions, and some of them are killed. A unit has one holder at a time. Each new lease of a
    /// unit has a higher epoch than the unit's earlier leases, and contains the unit's committed state. Every unit is
    /// leased until it is done.
    #[test]
    fn a_unit_has_one_holder_and_every_unit_is_leased_until_done(
        total in 1_u32..60,
        sessions in proptest::collection::vec(proptest::collection::vec((0_u8..4, any::<usize>()), 0..80), 0..4),
    ) {
        let mut committed = BTreeMap::new();
        let mut epochs = BTreeMap::new();
        // The last session finishes all units.
        let whole = (0..4 * total as usize).flat_map(|n| [(0, n), (2, n)]).collect();
        for (session, steps) in sessions.into_iter().chain([whole]).enumerate() {
            let mut scheduler = LocalScheduler::new(total).in_session(u32::try_from(session).unwrap() + 1);
            committed.iter().for_each(|(unit, state): (&u32, &SegmentState)| scheduler.restore(*unit, state.clone()));
            let mut leases: Vec<WorkLease> = Vec::new();
            for (step, which) in steps {
                match step {
                    0 | 1 => if let Some(lease) = next(&scheduler, if step == 0 { Lane::Shared } else { Lane::Large }) {
                        prop_assert!(leases.iter().all(|other| other.unit != lease.unit), "a unit has two holders");
                        let state = committed.get(&lease.unit).cloned().unwrap_or_default();
                        prop_assert!(state.status != SegmentStatus::Done, "a unit that is done must not be leased");
                        prop_assert_eq!(&lease.state, &state);
                        prop_assert!(epochs.insert(lease.unit, lease.epoch).is_none_or(|before| before < lease.epoch));
                        leases.push(lease);
                    },
                    2 if !leases.is_empty() => {
                        let lease = leases.swap_remove(which % leases.len());
                        committed.insert(lease.unit, begun(1));
                        now(scheduler.release(lease));
                    },
                    3 if !leases.is_empty() => {
                        let unit = leases[which % leases.len()].unit;
                        let state = SegmentState { status: SegmentStatus::Scanning(position()), ..begun(1) };
                        committed.insert(unit, state);
                    },
                    _ => {}
                }
            }
        }
        prop_assert_eq!(committed.len(), total as usize);
        prop_assert!(committed.values().all(|state| state.status == SegmentStatus::Done));
    }
}

#[test]
fn begun_segments_come_first_and_the_longest_before_the_others() {
    let mut scheduler = LocalScheduler::new(8);
    scheduler.restore(1, begun(300));
    scheduler.restore(3, SegmentState { status: SegmentStatus::Scanning(position()), ..begun(50) });
    scheduler.restore(6, SegmentState { status: SegmentStatus::Scanning(position()), ..begun(90_000) });
    scheduler.restore(7, SegmentState { status: SegmentStatus::Scanning(position()), ..begun(1_100) });
    let lease = next(&scheduler, Lane::Large).unwrap();
    assert_eq!((lease.unit, lease.state.counts.scanned), (6, 90_000), "the checkpoint shows that the segment is large");
    assert_eq!(
        next(&scheduler, Lane::Large),
        None,
        "1,100 items are less than four times the 300 items of the finished segment"
    );
    assert_eq!(drain(&scheduler, Lane::Shared), [7, 3, 0, 4, 2, 5]);

    let mut unknown = LocalScheduler::new(2);
    unknown.restore(1, SegmentState { status: SegmentStatus::Scanning(position()), ..begun(90_000) });
    assert_eq!(next(&unknown, Lane::Large), None, "no segment is finished, so every segment may be this long");
}

#[test]
fn knowledge_overrides_the_order() {
    let scheduler = LocalScheduler::new(8);
    let surveyed: Vec<u32> = std::iter::from_fn(|| next_unsurveyed(&scheduler)).take(5).collect();
    assert_eq!(surveyed, [0, 4, 2, 6, 1], "the survey reads in the same order");
    assert_eq!(next(&scheduler, Lane::Large), None);
    record_first_page(&scheduler, 4, FirstPage::Ends);
    record_first_page(&scheduler, 6, FirstPage::InCollection);
    record_first_page(&scheduler, 1, FirstPage::InCollection);
    record_first_page(&scheduler, 0, FirstPage::Continues);
    record_first_page(&scheduler, 5, FirstPage::InCollection);
    assert_eq!(next(&scheduler, Lane::Large).unwrap().unit, 6);
    // The survey has not yet requested segment 5, it is still reading segment 2, and it has found that segment 4 is
    // short.
    assert_eq!(drain(&scheduler, Lane::Shared), [1, 0, 5, 3, 7, 2, 4]);
    record_first_page(&scheduler, 2, FirstPage::InCollection);
    assert_eq!(
        (next(&scheduler, Lane::Large), next_unsurveyed(&scheduler)),
        (None, None),
        "segment 2 has been handed out"
    );
}
