//! The pace of a pass, as recorded in the state file. The process that executes the pass records the pace, and `status`
//! shows it. The record also shows that the process is alive.

use std::io::{Result, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{Activity, ActivityChange, ActivityClocks, CurrentActivity, Eta, PassView, eta_text, number};
use crate::clock::to_text;
use crate::figure::whole_duration;
use crate::state::{LockHolder, RunId, StateReader, StoredFact};

/// The time between two records of the pace.
pub const PACE_RECORD_INTERVAL: Duration = Duration::from_secs(5);

/// A process that has recorded nothing for this time is asleep or hangs. A working process completes every commit in
/// less time.
const SILENT: Duration = Duration::from_secs(60);

/// The pace of a pass at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceRecord {
    at: Timestamp,
    pid: u32,
    /// The number of items per second and the number of write units per second, over the last minute; `None` while no
    /// rate is known.
    rates: Option<(f64, f64)>,
    left: Option<Eta>,
    /// The activity of the pass; `None` if an earlier version of the tool made the record.
    doing: Option<Doing>,
}

/// The activity of a pass when its pace was recorded.
#[derive(Debug, Clone, PartialEq)]
struct Doing {
    run: RunId,
    current: CurrentActivity,
    since: Timestamp,
    clocks: ActivityClocks,
    hung: Vec<String>,
}

impl PaceRecord {
    /// Returns the record for a view of a pass of this run, which this process executes.
    pub fn new(view: &PassView, run: RunId) -> PaceRecord {
        let doing = Doing {
            run,
            current: view.current.clone(),
            since: view.since,
            clocks: view.clocks.clone(),
            hung: view.hung.iter().map(ToString::to_string).collect(),
        };
        let PassView { at, pace, .. } = view;
        let pid = std::process::id();
        PaceRecord {
            at: *at,
            pid,
            rates: pace.rates().map(|rates| (rates.items, rates.write_units)),
            left: pace.eta(),
            doing: Some(doing),
        }
    }

    /// Returns the pace that `holder`, the process that works on the migration, has recorded in this file. Returns
    /// `None` if no process works on the migration, or if the process has recorded no pace.
    pub async fn from_file(file: &dyn StateReader, holder: Option<&LockHolder>) -> Option<PaceRecord> {
        let kept = PaceRecord::from_text(&file.fact(StoredFact::Pace).await.ok()??)?;
        let since = holder?.since.as_ref()?.as_raw().parse::<Timestamp>().ok()?;
        // Ignore a record from before the process locked the file: it might come from an earlier process with the same
        // process id. The state file stores times with a precision of one second.
        (holder?.pid == Some(kept.pid) && kept.at.as_second() >= since.as_second()).then_some(kept)
    }

    /// Returns the pace as the JSON that the state file stores.
    pub fn to_json(&self) -> Json {
        json!({ "at": self.at.to_string(), "pid": self.pid, "items_per_s": self.rates.map(|(items, _)| items),
                "wcu_per_s": self.rates.map(|(_, units)| units), "eta_s": self.left.map(|left| left.likely.as_secs()),
                "eta_low_s": self.left.map(|left| left.low.as_secs()),
                "eta_high_s": self.left.map(|left| left.high.as_secs()),
                "run": self.doing.as_ref().map(|doing| doing.run.number()),
                "activity": self.doing.as_ref().map(Doing::to_json) })
    }

    fn from_text(text: &str) -> Option<PaceRecord> {
        let kept: Json = serde_json::from_str(text).ok()?;
        Some(PaceRecord {
            at: kept["at"].as_str()?.parse().ok()?,
            pid: kept["pid"].as_u64()?.try_into().ok()?,
            rates: kept["items_per_s"].as_f64().zip(kept["wcu_per_s"].as_f64()),
            left: eta_from_json(&kept),
            doing: kept["run"].as_i64().and_then(|run| Doing::from_json(RunId::from_number(run), &kept["activity"])),
        })
    }
}

/// Reads an ETA. A record of an earlier version of the tool has no range, so its ETA is unknown.
fn eta_from_json(json: &Json) -> Option<Eta> {
    let read = |name: &str| json[name].as_u64().map(Duration::from_secs);
    Some(Eta { low: read("eta_low_s")?, likely: read("eta_s")?, high: read("eta_high_s")? })
}

impl Doing {
    fn to_json(&self) -> Json {
        json!({ "state": self.current.activity.name(), "detail": self.current.detail, "since": self.since.to_string(),
                "seconds": self.clocks.to_json(), "hung": self.hung })
    }

    fn from_json(run: RunId, json: &Json) -> Option<Doing> {
        let texts = json["hung"].as_array()?.iter().filter_map(Json::as_str);
        Some(Doing {
            run,
            current: CurrentActivity::new(Activity::from_name(json["state"].as_str()?)?, json["detail"].as_str()?),
            since: json["since"].as_str()?.parse().ok()?,
            clocks: ActivityClocks::from_json(&json["seconds"]),
            hung: texts.map(str::to_owned).collect(),
        })
    }
}

/// Whether the process that holds a state file is working, stopped or silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// The process is working.
    Running,
    /// A signal has stopped the process.
    Stopped,
    /// The process is silent: it has recorded nothing for this time.
    Silent(Duration),
}

/// A process that works on a state file, and the pace of the process.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker<'a> {
    holder: &'a LockHolder,
    pace: Option<PaceRecord>,
    stopped: bool,
    now: Timestamp,
}

impl<'a> Worker<'a> {
    /// Creates the worker that holds the state file. `stopped` is true if a signal has stopped the process.
    pub fn new(holder: &'a LockHolder, pace: Option<PaceRecord>, stopped: bool, now: Timestamp) -> Worker<'a> {
        Worker { holder, pace, stopped, now }
    }

    /// Returns whether the process is working, stopped or silent.
    pub fn liveness(&self) -> Liveness {
        let silent = self.pace.as_ref().map(|pace| since(pace.at, self.now)).filter(|silent| *silent >= SILENT);
        match (self.stopped, silent) {
            (true, _) => Liveness::Stopped,
            (false, Some(silent)) => Liveness::Silent(silent),
            (false, None) => Liveness::Running,
        }
    }

    /// Returns how long ago the process locked the state file; `None` if the process did not record the time of the
    /// lock.
    fn age(&self) -> Option<Duration> {
        Some(since(self.holder.since.as_ref()?.as_raw().parse().ok()?, self.now))
    }

    /// Returns a short description of the process and of its condition.
    pub fn description(&self) -> String {
        let age = self.age().map_or_else(String::new, |age| format!(" ({})", whole_duration(age)));
        let who = format!("{}{age}", self.holder);
        match self.liveness() {
            Liveness::Running => format!("running: {who}"),
            Liveness::Stopped => {
                let pid = self.holder.pid.map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
                format!("stopped by a signal: {who}; `kill -CONT {pid}` continues it")
            }
            Liveness::Silent(silent) => {
                format!("silent for {} (its machine sleeps, or it hangs): {who}", whole_duration(silent))
            }
        }
    }

    /// Returns the activity of the pass. If a signal has stopped the process, or if the process has recorded nothing
    /// for a long time, the activity is asleep, regardless of the last record.
    fn doing(&self) -> Option<Doing> {
        let doing = self.pace.as_ref()?.doing.clone()?;
        let at = self.pace.as_ref()?.at;
        let asleep = |detail: &str| {
            Some(Doing { current: CurrentActivity::new(Activity::Asleep, detail), since: at, ..doing.clone() })
        };
        match self.liveness() {
            Liveness::Running => Some(doing),
            Liveness::Stopped => asleep("a signal stopped the process"),
            Liveness::Silent(_) => asleep("the process has recorded nothing since then"),
        }
    }

    /// Returns the activity of the pass, and the time at which it began; `None` if the process has recorded nothing
    /// yet.
    pub fn current(&self) -> Option<ActivityChange> {
        let Doing { current, since, .. } = self.doing()?;
        Some(ActivityChange { since, state: current.activity, detail: current.detail })
    }

    /// Returns the requests that hang, as text for people.
    pub fn hung(&self) -> Vec<String> {
        self.doing().map(|doing| doing.hung).unwrap_or_default()
    }

    /// Returns the number of items per second and of write units per second over the last minute; `None` if they are
    /// not known, or if the process is not working.
    pub fn rates(&self) -> Option<(f64, f64)> {
        self.running_pace()?.rates
    }

    /// Returns the time until the pass ends; `None` if it is not known, or if the process is not working.
    pub fn eta(&self) -> Option<Eta> {
        self.running_pace()?.left
    }

    fn running_pace(&self) -> Option<&PaceRecord> {
        self.pace.as_ref().filter(|_| self.liveness() == Liveness::Running)
    }

    /// Writes the pace and the activity if the process is working and has recorded a pace.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        let Some(pace) = self.pace.as_ref().filter(|_| self.liveness() == Liveness::Running) else { return Ok(()) };
        if let Some(Doing { current, since, clocks, hung, .. }) = &pace.doing {
            writeln!(out, "  {current} (since {})", to_text(*since))?;
            hung.iter().try_for_each(|hung| writeln!(out, "  {hung}"))?;
            writeln!(out, "  time so far: {clocks}")?;
        }
        match pace.rates {
            Some((items, units)) => {
                let left = eta_text(pace.left);
                let items = number(items.round() as u64);
                let units = number(units.round() as u64);
                writeln!(
                    out,
                    "  rate {items} items/s, {units} WCU/s over the last minute; {left}; as of {}",
                    to_text(pace.at)
                )
            }
            None => writeln!(out, "  rate not known yet; ETA unknown"),
        }
    }

    /// Returns the worker as JSON.
    pub fn to_json(&self) -> Json {
        let (state, silent) = match self.liveness() {
            Liveness::Running => ("running", None),
            Liveness::Stopped => ("stopped", None),
            Liveness::Silent(silent) => ("silent", Some(silent.as_secs())),
        };
        json!({ "pid": self.holder.pid, "host": self.holder.host, "since": self.holder.since,
                "age_s": self.age().map(|age| age.as_secs()), "state": state, "silent_for_s": silent,
                "activity": self.doing().as_ref().map(Doing::to_json),
                "pace": self.pace.as_ref().map(PaceRecord::to_json) })
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pace() -> PaceRecord {
        let mut clocks = ActivityClocks::default();
        clocks.add(Activity::Scanning, Duration::from_secs(50));
        let current = CurrentActivity::new(Activity::Scanning, "");
        let doing = Doing { run: RunId::from_number(3), current, since: at(50), clocks, hung: Vec::new() };
        PaceRecord {
            at: at(100),
            pid: 7,
            rates: Some((12.4, 30.0)),
            left: Some(Eta {
                low: Duration::from_secs(80),
                likely: Duration::from_secs(90),
                high: Duration::from_secs(110),
            }),
            doing: Some(doing),
        }
    }

    fn holder() -> LockHolder {
        LockHolder { pid: Some(7), host: Some("h".into()), since: Some(to_text(at(40)).into()) }
    }

    #[test]
    fn a_recorded_pace_reads_back_unchanged() {
        assert_eq!(PaceRecord::from_text(&pace().to_json().to_string()), Some(pace()));
        let fresh = PaceRecord { rates: None, left: None, doing: None, ..pace() };
        assert_eq!(PaceRecord::from_text(&fresh.to_json().to_string()), Some(fresh));
        assert_eq!(PaceRecord::from_text("{}"), None);
    }

    #[test]
    fn a_process_works_is_stopped_or_is_silent() {
        let holder = holder();
        let status_text = |pace: Option<PaceRecord>, stopped, now| {
            let worker = Worker::new(&holder, pace, stopped, at(now));
            let mut out = Vec::new();
            worker.write(&mut out).unwrap();
            (worker.description(), String::from_utf8(out).unwrap())
        };
        let (description, rate) = status_text(Some(pace()), false, 105);
        assert_eq!(description, "running: process 7 on host h, since 1970-01-01T00:00:40Z (1 min 5 s)");
        assert_eq!(
            rate,
            "  scanning (since 1970-01-01T00:00:50Z)\n  time so far: scanning 50 s\n  rate 12 items/s, 30 WCU/s over the \
             last minute; ETA 1 min 20 s to 1 min 50 s; as of 1970-01-01T00:01:40Z\n"
        );
        let (description, rate) = status_text(Some(pace()), true, 105);
        assert!(
            description.starts_with("stopped by a signal") && description.contains("kill -CONT 7") && rate.is_empty(),
            "{description}"
        );
        let (description, rate) = status_text(Some(pace()), false, 3_700);
        assert!(description.starts_with("silent for 1 h 0 min") && rate.is_empty(), "{description}");
        assert!(status_text(None, false, 3_700).0.starts_with("running"), "the process has not recorded a pace yet");
    }
}
