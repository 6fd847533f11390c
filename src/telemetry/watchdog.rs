//! Detects that a pass is stalled. A pass is stalled if no request is answered for a long time and nothing explains
//! this. This module is pure.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::activity::Activity;
use crate::engine::SegmentSnapshot;
use crate::figure::{count, whole_duration};

/// Requests of a segment that have not been answered for a long time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HungRequests {
    /// The segment and its requests in flight.
    pub requests: SegmentSnapshot,
    /// The time for which the segment has had requests in flight but no answer.
    pub silent: Duration,
}

/// Shows the segment, the page and the operation: `segment 7, page 12: 1 read without an answer for 5 min 0 s`.
impl fmt::Display for HungRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SegmentSnapshot { segment, page, reads, writes, .. } = self.requests;
        match segment {
            Some(segment) => write!(f, "segment {segment}, page {}: ", page.max(1))?,
            None => f.write_str("single items: ")?,
        }
        let kinds = [(reads, "read", "reads"), (writes, "write", "writes")];
        let kinds: Vec<_> =
            kinds.into_iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| count(n, one, many)).collect();
        let kinds = if kinds.is_empty() { "requests".to_owned() } else { kinds.join(" and ") };
        write!(f, "{kinds} without an answer for {}", whole_duration(self.silent))
    }
}

/// The state of a stall.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Silence {
    /// The time without an answer and without any explanation. Zero if a request was just answered.
    pub unexplained: Duration,
    /// The segments that hang.
    pub hung: Vec<HungRequests>,
    /// Whether the pass is stalled.
    pub stalled: bool,
}

/// Watches for answers. Two clocks run: one for the whole pass, and one for each segment with requests in flight.
#[derive(Debug, Clone)]
pub struct Watchdog {
    limit: Duration,
    answers: u64,
    unexplained: Duration,
    segments: HashMap<Option<u32>, SegmentSilence>,
}

/// The time for which a segment has had no answer.
#[derive(Debug, Clone, Copy)]
struct SegmentSilence {
    answers: u64,
    /// Whether the segment has sent a request since its last answer.
    has_sent: bool,
    silent: Duration,
}

impl Watchdog {
    /// Creates a watchdog that reports a stall after `limit`.
    pub fn new(limit: Duration) -> Watchdog {
        Watchdog { limit, answers: 0, unexplained: Duration::ZERO, segments: HashMap::new() }
    }

    /// Processes the current counters. `passed` is the time since the previous call. `activity` is the activity of the
    /// pass in that time, according to the signals. `passed` must not include time in which the process slept.
    pub fn observe(
        &mut self,
        passed: Duration,
        activity: Activity,
        answers: u64,
        segments: &[SegmentSnapshot],
    ) -> Silence {
        if answers != self.answers || activity.is_deliberate() {
            self.answers = answers;
            self.unexplained = Duration::ZERO;
        } else if !activity.explains_silence() {
            self.unexplained += passed;
        }
        let before = std::mem::take(&mut self.segments);
        for requests in segments {
            let in_flight = requests.reads + requests.writes > 0;
            let known = before.get(&requests.segment).filter(|known| known.answers == requests.answers);
            let known = known.filter(|_| !activity.is_deliberate());
            // Between two attempts, a hanging request is not in flight. It nevertheless counts as hanging while nothing
            // explains the silence.
            let has_sent = known.is_some_and(|known| known.has_sent);
            let counts = known.is_some() && (in_flight || (has_sent && !activity.explains_silence()));
            let silent = known.map_or(Duration::ZERO, |known| known.silent);
            let silent = if counts { silent + passed } else { silent };
            let now = SegmentSilence { answers: requests.answers, has_sent: has_sent || in_flight, silent };
            self.segments.insert(requests.segment, now);
        }
        let hangs = |requests: &&SegmentSnapshot| self.silent(requests.segment) >= self.limit;
        let mut hung: Vec<_> = segments
            .iter()
            .filter(hangs)
            .map(|requests| HungRequests { requests: *requests, silent: self.silent(requests.segment) })
            .collect();
        hung.sort_by_key(|hung| hung.requests.segment);
        let stalled = self.unexplained >= self.limit && !activity.explains_silence();
        Silence { unexplained: self.unexplained, hung, stalled }
    }

    fn silent(&self, segment: Option<u32>) -> Duration {
        self.segments.get(&segment).map_or(Duration::ZERO, |known| known.silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn reading(segment: u32, answers: u64) -> SegmentSnapshot {
        SegmentSnapshot { segment: Some(segment), page: 12, reads: 1, writes: 0, answers }
    }

    #[test]
    fn a_hung_request_is_a_stall_and_is_named() {
        let mut watchdog = Watchdog::new(5 * MINUTE);
        watchdog.observe(MINUTE, Activity::Scanning, 10, &[reading(7, 10)]);
        for _ in 0..4 {
            let silence = watchdog.observe(MINUTE, Activity::Scanning, 10, &[reading(7, 10)]);
            assert!(!silence.stalled && silence.hung.is_empty(), "{silence:?}");
        }
        let silence = watchdog.observe(MINUTE, Activity::Scanning, 10, &[reading(7, 10)]);
        assert!(silence.stalled);
        assert_eq!(silence.hung[0].to_string(), "segment 7, page 12: 1 read without an answer for 5 min 0 s");
        let silence = watchdog.observe(MINUTE, Activity::Scanning, 11, &[reading(7, 11)]);
        assert_eq!(silence, Silence::default(), "one answer ends the stall");
    }

    /// A request that times out and is sent again is not in flight between two attempts.
    #[test]
    fn a_request_that_times_out_again_and_again_hangs() {
        let mut watchdog = Watchdog::new(5 * MINUTE);
        let between = SegmentSnapshot { reads: 0, ..reading(7, 10) };
        // This segment waits and has sent nothing.
        let other = SegmentSnapshot { segment: Some(8), reads: 0, ..reading(8, 0) };
        watchdog.observe(MINUTE, Activity::Scanning, 10, &[reading(7, 10)]);
        let mut silence = Silence::default();
        for minute in 0..5 {
            let (activity, segment) =
                if minute % 2 == 0 { (Activity::BackingOff, between) } else { (Activity::Scanning, reading(7, 10)) };
            silence = watchdog.observe(MINUTE, activity, 10, &[segment, other]);
        }
        assert!(silence.stalled);
        assert_eq!(silence.hung.len(), 1, "{:?}", silence.hung);
        assert_eq!(silence.hung[0].to_string(), "segment 7, page 12: requests without an answer for 5 min 0 s");
    }

    #[test]
    fn a_segment_hangs_while_others_work() {
        let mut watchdog = Watchdog::new(5 * MINUTE);
        let mut silence = Silence::default();
        for minute in 0..7 {
            silence = watchdog.observe(MINUTE, Activity::Scanning, minute, &[reading(3, 2), reading(4, minute)]);
        }
        assert!(!silence.stalled, "the pass makes progress");
        assert_eq!(silence.hung.iter().map(|hung| hung.requests.segment).collect::<Vec<_>>(), [Some(3)]);
    }

    /// RUNBOOK: "throttled, paused or draining, or that waits for a budget or for the window, is never stalled".
    #[test]
    fn an_explained_silence_is_no_stall() {
        for activity in Activity::ALL {
            let mut watchdog = Watchdog::new(5 * MINUTE);
            // No request is in flight: all of them wait.
            let waiting = SegmentSnapshot { reads: 0, ..reading(1, 0) };
            let mut stalled = false;
            for _ in 0..30 {
                stalled |= watchdog.observe(MINUTE, activity, 0, &[waiting]).stalled;
            }
            assert_eq!(stalled, !activity.explains_silence(), "{activity:?}");
        }
    }

    #[test]
    fn a_pause_a_closed_window_and_a_drain_end_a_stall() {
        for activity in [Activity::Paused, Activity::OutsideWindow, Activity::Draining] {
            let mut watchdog = Watchdog::new(5 * MINUTE);
            for _ in 0..9 {
                watchdog.observe(MINUTE, Activity::BackingOff, 0, &[]);
            }
            assert!(watchdog.observe(MINUTE, Activity::BackingOff, 0, &[]).stalled);
            assert!(!watchdog.observe(MINUTE, activity, 0, &[]).stalled, "{activity:?}");
            assert!(!watchdog.observe(4 * MINUTE, Activity::BackingOff, 0, &[]).stalled, "the time counts anew");
            assert!(watchdog.observe(MINUTE, Activity::BackingOff, 0, &[]).stalled);
        }
        // A throttle hides a stall only while the throttle lasts.
        let mut watchdog = Watchdog::new(5 * MINUTE);
        watchdog.observe(6 * MINUTE, Activity::BackingOff, 0, &[]);
        assert!(!watchdog.observe(MINUTE, Activity::Throttled, 0, &[]).stalled);
        assert!(watchdog.observe(MINUTE, Activity::BackingOff, 0, &[]).stalled);
    }

    #[test]
    fn an_explained_time_does_not_count_towards_a_stall() {
        let mut watchdog = Watchdog::new(5 * MINUTE);
        for _ in 0..4 {
            watchdog.observe(MINUTE, Activity::BackingOff, 0, &[]);
        }
        for _ in 0..480 {
            assert!(!watchdog.observe(MINUTE, Activity::Throttled, 0, &[]).stalled);
        }
        assert!(watchdog.observe(MINUTE, Activity::BackingOff, 0, &[]).stalled, "five minutes with errors alone");
    }
}
