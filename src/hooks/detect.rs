//! Turns the views of a pass into announcements. Each stall, each pause and each long throttling is announced once when
//! it begins and once when it is over. This module is pure.

use std::time::Duration;

use super::Announcement;
use crate::telemetry::{Activity, PassView};

/// The part of a view that determines the announcements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// What the pass is doing.
    pub activity: Activity,
    /// The total time for which the run was throttled so far. Time in which the process slept is not included.
    pub throttled: Duration,
    /// Number of failed items, over all sessions.
    pub failures: u64,
}

impl Sight {
    /// Returns what this view shows.
    pub fn new(view: &PassView) -> Sight {
        Sight {
            activity: view.current.activity,
            throttled: view.clocks.of(Activity::Throttled),
            failures: view.totals.failures(),
        }
    }
}

/// Compares each view of a pass with the views before it.
#[derive(Debug, Clone)]
pub struct Detector {
    long_throttling: Duration,
    failure_threshold: u64,
    is_stalled: bool,
    is_paused: bool,
    /// The throttled time when the current throttling began; `None` while the pass is not throttled.
    throttled_from: Option<Duration>,
    /// The throttled time at the previous view.
    throttled: Option<Duration>,
    /// Whether the current throttling was announced.
    is_long: bool,
    /// Whether the failures were announced.
    has_failed: bool,
}

impl Detector {
    /// Creates a detector for one pass of this session.
    pub fn new(long_throttling: Duration, failure_threshold: u64) -> Detector {
        Detector {
            long_throttling,
            failure_threshold,
            is_stalled: false,
            is_paused: false,
            throttled_from: None,
            throttled: None,
            is_long: false,
            has_failed: false,
        }
    }

    /// Processes a view. Returns what has happened since the previous view, in order.
    pub fn observe(&mut self, sight: Sight) -> Vec<Announcement> {
        let mut found = Vec::new();
        let Sight { activity, throttled, failures } = sight;
        let stalled = activity == Activity::Stalled;
        let paused = activity == Activity::Paused;
        // Announce endings before beginnings.
        for over in [true, false] {
            if stalled != over && self.is_stalled == over {
                found.push(Announcement::Stall { over });
                self.is_stalled = !over;
            }
            if paused != over && self.is_paused == over {
                found.push(Announcement::Pause { over, ended_by: None });
                self.is_paused = !over;
            }
        }
        self.observe_throttling(activity == Activity::Throttled, throttled, &mut found);
        if failures >= self.failure_threshold && !self.has_failed {
            self.has_failed = true;
            found.push(Announcement::Failures { threshold: self.failure_threshold });
        }
        found
    }

    fn observe_throttling(&mut self, is_throttled: bool, throttled: Duration, found: &mut Vec<Announcement>) {
        // The time since the previous view counts as throttled if this view is throttled.
        let before = self.throttled.replace(throttled).unwrap_or(throttled);
        if !is_throttled {
            if let Some(from) = self.throttled_from.take().filter(|_| self.is_long) {
                found.push(Announcement::LongThrottling { over: true, lasted: throttled.saturating_sub(from) });
            }
            self.is_long = false;
            return;
        }
        let from = *self.throttled_from.get_or_insert(before);
        let lasted = throttled.saturating_sub(from);
        if lasted >= self.long_throttling && !self.is_long {
            self.is_long = true;
            found.push(Announcement::LongThrottling { over: false, lasted });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 5;

    fn kinds() -> impl Strategy<Value = Activity> {
        prop::sample::select(vec![
            Activity::Starting,
            Activity::Scanning,
            Activity::Throttled,
            Activity::Throttled,
            Activity::Throttled,
            Activity::Paused,
            Activity::Stalled,
            Activity::Draining,
            Activity::Done,
        ])
    }

    /// Observes views of one second each. Returns the announcements of each view.
    fn observe(activities: &[Activity], failures: &[u64]) -> Vec<Vec<Announcement>> {
        let mut detector = Detector::new(Duration::from_secs(LIMIT), 100);
        let mut throttled = Duration::ZERO;
        let mut sight = |activity, failures: u64| {
            if activity == Activity::Throttled {
                throttled += Duration::from_secs(1);
            }
            detector.observe(Sight { activity, throttled, failures })
        };
        let mut all = Vec::new();
        for (index, activity) in activities.iter().enumerate() {
            all.push(sight(*activity, failures.get(index).copied().unwrap_or(0)));
        }
        all
    }

    /// Returns the beginning and the end of each maximal series of views with this activity.
    fn series(activities: &[Activity], of: Activity) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut begin = None;
        for (index, activity) in activities.iter().enumerate() {
            match (*activity == of, begin) {
                (true, None) => begin = Some(index),
                (false, Some(from)) => {
                    found.push((from, index));
                    begin = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        found.extend(begin.map(|from| (from, activities.len())));
        found
    }

    /// Returns the views in which this announcement occurs.
    fn views(all: &[Vec<Announcement>], is: impl Fn(&Announcement) -> bool) -> Vec<usize> {
        let each = all.iter().enumerate().flat_map(|(index, found)| found.iter().map(move |one| (index, one)));
        each.filter(|(_, one)| is(one)).map(|(index, _)| index).collect()
    }

    proptest! {
        #[test]
        fn each_stall_and_each_pause_is_announced_once(activities in prop::collection::vec(kinds(), 0..80)) {
            let all = observe(&activities, &[]);
            for of in [Activity::Stalled, Activity::Paused] {
                let is = |over: bool| views(&all, |one| {
                    let stall = matches!(one, Announcement::Stall { over: is } if *is == over);
                    let pause = matches!(one, Announcement::Pause { over: is, .. } if *is == over);
                    if of == Activity::Stalled { stall } else { pause }
                });
                let expected = series(&activities, of);
                prop_assert_eq!(is(false), expected.iter().map(|(from, _)| *from).collect::<Vec<_>>());
                let ended = expected.iter().filter(|(_, to)| *to < activities.len());
                prop_assert_eq!(is(true), ended.map(|(_, to)| *to).collect::<Vec<_>>());
            }
        }

        #[test]
        fn only_long_throttling_is_announced(activities in prop::collection::vec(kinds(), 0..80)) {
            let all = observe(&activities, &[]);
            let is = |over: bool| views(&all, |one| matches!(one, Announcement::LongThrottling { over: is, .. } if *is == over));
            let series = series(&activities, Activity::Throttled);
            // The first view of a session says nothing about the time before it.
            let lasted = |from: usize, to: usize| to - from - usize::from(from == 0);
            let long: Vec<_> = series.into_iter().filter(|(from, to)| lasted(*from, *to) >= LIMIT as usize).collect();
            let begun = |from: usize| from + LIMIT as usize - 1 + usize::from(from == 0);
            prop_assert_eq!(is(false), long.iter().map(|(from, _)| begun(*from)).collect::<Vec<_>>());
            let ended = long.iter().filter(|(_, to)| *to < activities.len());
            prop_assert_eq!(is(true), ended.map(|(_, to)| *to).collect::<Vec<_>>());
        }

        #[test]
        fn failures_are_announced_once(failures in prop::collection::vec(0_u64..120, 0..80)) {
            let all = observe(&vec![Activity::Scanning; failures.len()], &failures);
            let found = views(&all, |one| matches!(one, Announcement::Failures { threshold: 100 }));
            let first = failures.iter().position(|failures| *failures >= 100);
            prop_assert_eq!(found, first.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn sleep_is_no_throttling() {
        let mut detector = Detector::new(Duration::from_secs(60), 100);
        let mut sight = |seconds| {
            let throttled = Duration::from_secs(seconds);
            detector.observe(Sight { activity: Activity::Throttled, throttled, failures: 0 })
        };
        assert_eq!((sight(0), sight(1)), (vec![], vec![]));
        // The process slept for an hour. The monitor counts one second of it as throttled.
        assert_eq!(sight(2), vec![]);
        let long = vec![Announcement::LongThrottling { over: false, lasted: Duration::from_secs(60) }];
        assert_eq!((sight(59), sight(60), sight(500)), (vec![], long, vec![]));
    }
}
