//! The current activity of a pass, and the time since the activity began. The progress line, `status`, the report and
//! the log all show this activity. This module is pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::figure::whole_duration;
use crate::state::{RunId, StoreError};

/// The activity of a pass. At each moment, a pass has exactly one activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// No request has been answered yet.
    Starting,
    /// Requests are sent without waiting for a budget of the tool. DynamoDB's latency limits the speed.
    Scanning,
    /// Requests wait for a budget of the tool, or until the lease and the flag are confirmed.
    Waiting,
    /// DynamoDB throttles, or requests wait for a scope that the tool has slowed down after a throttle.
    Throttled,
    /// Requests wait before a retry after an error other than a throttle.
    BackingOff,
    /// Somebody paused the run, or a budget is zero.
    Paused,
    /// The daily window is closed.
    OutsideWindow,
    /// The run stops. It waits for the requests in flight.
    Draining,
    /// The process did not run, because its machine slept or a signal stopped the process.
    Asleep,
    /// No request was answered for a long time, and no other activity explains it.
    Stalled,
    /// The pass has ended.
    Done,
}

impl Activity {
    /// All activities.
    pub const ALL: [Activity; 11] = [
        Activity::Starting,
        Activity::Scanning,
        Activity::Waiting,
        Activity::Throttled,
        Activity::BackingOff,
        Activity::Paused,
        Activity::OutsideWindow,
        Activity::Draining,
        Activity::Asleep,
        Activity::Stalled,
        Activity::Done,
    ];

    /// Returns the activity's name in JSON and in the state file.
    pub fn name(self) -> &'static str {
        match self {
            Activity::Starting => "starting",
            Activity::Scanning => "scanning",
            Activity::Waiting => "waiting",
            Activity::Throttled => "throttled",
            Activity::BackingOff => "backing_off",
            Activity::Paused => "paused",
            Activity::OutsideWindow => "outside_window",
            Activity::Draining => "draining",
            Activity::Asleep => "asleep",
            Activity::Stalled => "stalled",
            Activity::Done => "done",
        }
    }

    /// Returns the activity with this name; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Activity> {
        Activity::ALL.into_iter().find(|activity| activity.name() == name)
    }

    /// Returns the activity in words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Activity::BackingOff => "backing off",
            Activity::OutsideWindow => "outside the window",
            Activity::Starting
            | Activity::Scanning
            | Activity::Waiting
            | Activity::Throttled
            | Activity::Paused
            | Activity::Draining
            | Activity::Asleep
            | Activity::Stalled
            | Activity::Done => self.name(),
        }
    }

    /// Returns whether this activity explains why no answer arrives. If it does not, and no answer arrives for a long
    /// time, the pass is stalled. Errors other than throttles do not count as an explanation, because somebody has to
    /// fix their cause.
    pub fn explains_silence(self) -> bool {
        match self {
            Activity::Waiting
            | Activity::Throttled
            | Activity::Paused
            | Activity::OutsideWindow
            | Activity::Draining
            | Activity::Asleep
            | Activity::Done => true,
            Activity::Starting | Activity::Scanning | Activity::BackingOff | Activity::Stalled => false,
        }
    }
}

impl Activity {
    /// Returns whether the pass sends no requests because somebody wants this, for example by a pause. When this
    /// activity ends, the time without an answer restarts at zero.
    pub fn is_deliberate(self) -> bool {
        match self {
            Activity::Paused | Activity::OutsideWindow | Activity::Draining | Activity::Done => true,
            Activity::Starting
            | Activity::Scanning
            | Activity::Waiting
            | Activity::Throttled
            | Activity::BackingOff
            | Activity::Asleep
            | Activity::Stalled => false,
        }
    }
}

/// An activity and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentActivity {
    /// The activity.
    pub activity: Activity,
    /// The reason or the scope, as text for people; empty if there is nothing to add.
    pub detail: String,
}

impl CurrentActivity {
    /// Creates an activity with its reason.
    pub fn new(activity: Activity, detail: impl Into<String>) -> CurrentActivity {
        CurrentActivity { activity, detail: detail.into() }
    }
}

/// Shows the activity and its reason: `waiting for the budget of the table's writes, 100 WCU/s`.
impl fmt::Display for CurrentActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.activity.words();
        let detail = self.detail.as_str();
        if detail.is_empty() {
            return f.write_str(words);
        }
        match self.activity {
            Activity::OutsideWindow => f.write_str(detail),
            Activity::Waiting => write!(f, "{words} for {detail}"),
            Activity::Starting
            | Activity::Scanning
            | Activity::Throttled
            | Activity::BackingOff
            | Activity::Paused
            | Activity::Draining
            | Activity::Asleep
            | Activity::Stalled
            | Activity::Done => write!(f, "{words}: {detail}"),
        }
    }
}

/// An activity, and the time at which it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityChange {
    /// The time at which it began.
    pub since: Timestamp,
    /// The activity.
    pub state: Activity,
    /// The reason or the scope, as text for people; empty if there is nothing to add.
    pub detail: String,
}

impl ActivityChange {
    /// Returns the activity and its reason.
    pub fn current(&self) -> CurrentActivity {
        CurrentActivity::new(self.state, self.detail.as_str())
    }
}

/// The signals of a run at one moment. Each field is `None` if it does not apply. The texts are for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals {
    /// Whether the pass has ended.
    pub ended: bool,
    /// The reason why the run stops.
    pub stopping: Option<String>,
    /// Who or what paused the run.
    pub paused: Option<String>,
    /// When the window opens.
    pub window: Option<String>,
    /// What DynamoDB throttles.
    pub throttled: Option<String>,
    /// The error for which requests wait before a retry.
    pub backing_off: Option<String>,
    /// The budgets for which requests wait.
    pub waiting: Option<String>,
    /// Whether any request has been answered.
    pub answered: bool,
    /// The reason why the run is slow while requests are sent.
    pub note: String,
}

impl Signals {
    /// Returns the activity that these signals show. If several apply, returns the one that must end before the run can
    /// become faster. The result is never [`Activity::Stalled`] or [`Activity::Asleep`], because these two depend on
    /// the past.
    pub fn activity(&self) -> CurrentActivity {
        let by_precedence = [
            (Activity::Draining, &self.stopping),
            (Activity::Paused, &self.paused),
            (Activity::OutsideWindow, &self.window),
            (Activity::Throttled, &self.throttled),
            (Activity::BackingOff, &self.backing_off),
            (Activity::Waiting, &self.waiting),
        ];
        if self.ended {
            return CurrentActivity::new(Activity::Done, "");
        }
        let first = by_precedence.into_iter().find_map(|(activity, detail)| Some((activity, detail.as_ref()?)));
        match first {
            Some((activity, detail)) => CurrentActivity::new(activity, detail.as_str()),
            None if !self.answered => CurrentActivity::new(Activity::Starting, ""),
            None => CurrentActivity::new(Activity::Scanning, self.note.as_str()),
        }
    }
}

/// The time that a run spent in each activity, over all its sessions. The time between two sessions is not included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActivityClocks(BTreeMap<Activity, Duration>);

impl ActivityClocks {
    /// Adds time.
    pub fn add(&mut self, activity: Activity, time: Duration) {
        if !time.is_zero() {
            *self.0.entry(activity).or_default() += time;
        }
    }

    /// Returns the time spent in this activity.
    pub fn of(&self, activity: Activity) -> Duration {
        self.0.get(&activity).copied().unwrap_or_default()
    }

    /// Returns the total time.
    pub fn total(&self) -> Duration {
        self.0.values().sum()
    }

    /// Returns the seconds of each activity that occurred, as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let seconds = |time: &Duration| (time.as_secs_f64() * 1_000.0).round() / 1_000.0;
        self.0
            .iter()
            .map(|(activity, time)| (activity.name().to_owned(), serde_json::Value::from(seconds(time))))
            .collect()
    }

    /// Reads the form that [`ActivityClocks::to_json`] writes. Ignores unknown activities and invalid times.
    pub fn from_json(json: &serde_json::Value) -> ActivityClocks {
        let mut clocks = ActivityClocks::default();
        for (name, seconds) in json.as_object().into_iter().flatten() {
            let milliseconds = seconds.as_f64().map(|seconds| (seconds * 1_000.0).round() as u64);
            let time = milliseconds.map(Duration::from_millis);
            if let (Some(activity), Some(time)) = (Activity::from_name(name), time) {
                clocks.add(activity, time);
            }
        }
        clocks
    }
}

/// Shows the activities, longest first: `scanning 2 h 3 min, waiting 40 min`. Omits activities that took less than a
/// second, unless all of them did.
impl fmt::Display for ActivityClocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_time: Vec<_> = self.0.iter().filter(|(_, time)| time.as_secs() > 0).collect();
        by_time.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
        if by_time.is_empty() {
            return f.write_str("less than a second");
        }
        let text: Vec<_> = by_time
            .into_iter()
            .map(|(activity, time)| {
                format!("{} {}", activity.words(), whole_duration(Duration::from_secs(time.as_secs())))
            })
            .collect();
        f.write_str(&text.join(", "))
    }
}

/// The activity clocks of all runs in a state file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClocksByRun(BTreeMap<i64, ActivityClocks>);

impl ClocksByRun {
    /// Reads the clocks from a stored fact. The clocks are for display only, so a fact that cannot be read is treated
    /// as empty clocks.
    pub fn from_fact(fact: Result<Option<String>, StoreError>) -> ClocksByRun {
        fact.ok().flatten().map(|text| ClocksByRun::from_text(&text)).unwrap_or_default()
    }

    /// Returns the clocks of a run.
    pub fn of(&self, run: RunId) -> ActivityClocks {
        self.0.get(&run.number()).cloned().unwrap_or_default()
    }

    /// Replaces the clocks of a run.
    pub fn set(&mut self, run: RunId, clocks: ActivityClocks) {
        self.0.insert(run.number(), clocks);
    }

    /// Removes the clocks of all runs except those in `kept`.
    pub fn keep(&mut self, kept: &[RunId]) {
        self.0.retain(|run, _| kept.contains(&RunId::from_number(*run)));
    }

    /// Returns the text that the state file stores.
    pub fn to_text(&self) -> String {
        let runs: serde_json::Map<_, _> =
            self.0.iter().map(|(run, clocks)| (run.to_string(), clocks.to_json())).collect();
        serde_json::Value::Object(runs).to_string()
    }

    fn from_text(text: &str) -> ClocksByRun {
        let runs: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
        let runs = runs.iter().filter_map(|(run, clocks)| Some((run.parse().ok()?, ActivityClocks::from_json(clocks))));
        ClocksByRun(runs.collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn the_first_obstacle_names_the_activity() {
        let mut signals = Signals {
            ended: false,
            stopping: text("it was interrupted"),
            paused: text("the write budget is 0"),
            window: text("waiting for the window until 22:00"),
            throttled: text("the table's writes"),
            backing_off: text("1 request: timeout"),
            waiting: text("the budget of the table's writes"),
            answered: false,
            note: String::new(),
        };
        let mut seen = Vec::new();
        for _ in 0..6 {
            let current = signals.activity();
            match current.activity {
                Activity::Draining => signals.stopping = None,
                Activity::Paused => signals.paused = None,
                Activity::OutsideWindow => signals.window = None,
                Activity::Throttled => signals.throttled = None,
                Activity::BackingOff => signals.backing_off = None,
                Activity::Waiting => signals.waiting = None,
                Activity::Starting | Activity::Scanning | Activity::Asleep | Activity::Stalled | Activity::Done => {}
            }
            seen.push(current.to_string());
        }
        assert_eq!(
            seen,
            [
                "draining: it was interrupted",
                "paused: the write budget is 0",
                "waiting for the window until 22:00",
                "throttled: the table's writes",
                "backing off: 1 request: timeout",
                "waiting for the budget of the table's writes",
            ]
        );
        assert_eq!(signals.activity().to_string(), "starting");
        signals.answered = true;
        assert_eq!(signals.activity().to_string(), "scanning");
        signals.ended = true;
        assert_eq!(signals.activity().activity, Activity::Done);
    }

    #[test]
    fn clocks_are_shown_longest_first() {
        let mut clocks = ActivityClocks::default();
        assert_eq!(clocks.to_string(), "less than a second");
        clocks.add(Activity::Waiting, Duration::from_secs(2_400));
        clocks.add(Activity::Scanning, Duration::from_secs(7_380));
        clocks.add(Activity::BackingOff, Duration::from_millis(900));
        assert_eq!(clocks.to_string(), "scanning 2 h 3 min, waiting 40 min 0 s");
        assert_eq!(clocks.total(), Duration::from_millis(9_780_900));
    }

    proptest! {
        #[test]
        fn clocks_read_back_to_the_millisecond(times in prop::collection::vec(0_u64..10_000_000_000, 11)) {
            let mut clocks = ActivityClocks::default();
            for (activity, time) in Activity::ALL.into_iter().zip(times) {
                clocks.add(activity, Duration::from_millis(time));
            }
            let read = ActivityClocks::from_json(&clocks.to_json());
            for activity in Activity::ALL {
                prop_assert_eq!(read.of(activity).as_millis(), clocks.of(activity).as_millis());
            }
        }

        #[test]
        fn clocks_of_several_runs_read_back(runs in prop::collection::btree_map(0_i64..100, 1_u64..1_000_000, 0..5)) {
            let mut clocks = ClocksByRun::default();
            for (run, seconds) in &runs {
                let mut of_run = ActivityClocks::default();
                of_run.add(Activity::Waiting, Duration::from_secs(*seconds));
                clocks.set(RunId::from_number(*run), of_run);
            }
            prop_assert_eq!(ClocksByRun::from_fact(Ok(Some(clocks.to_text()))), clocks);
            prop_assert_eq!(ClocksByRun::from_fact(Ok(Some("{".to_owned()))), ClocksByRun::default());
        }

        /// A stall is hidden only by an activity that explains the silence. The name of each activity is unique.
        #[test]
        fn an_activity_is_found_by_its_name(place in 0_usize..11) {
            let activity = Activity::ALL[place];
            prop_assert_eq!(Activity::from_name(activity.name()), Some(activity));
        }
    }
}
