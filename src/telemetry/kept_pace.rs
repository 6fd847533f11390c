//! The recorded pace of a pass. The process of the pass records it in the state file for `status`. The record also
//! shows that the process is alive.

use std::io::{Result, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{Pace, number};
use crate::clock::to_text;
use crate::figure::whole_duration;
use crate::state::{Holder, KeptFact, StateReader};

/// The interval at which the process records its pace.
pub const KEPT_EVERY: Duration = Duration::from_secs(5);

/// If a process has recorded nothing for this duration, it is asleep or hangs. Every commit of a working process takes
/// less time.
const SILENT: Duration = Duration::from_secs(60);

/// The pace of a pass at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptPace {
    at: Timestamp,
    pid: u32,
    /// The number of items and the number of write units per second over the last minute; `None` before a rate is
    /// known.
    rates: Option<(f64, f64)>,
    left: Option<Duration>,
}

impl KeptPace {
    /// The current pace of this process.
    pub fn of(pace: &Pace, at: Timestamp) -> KeptPace {
        KeptPace { at, pid: std::process::id(), rates: pace.rates(), left: pace.eta() }
    }

    /// The pace that was recorded in this file by the process that now works on the migration. `None` if no process
    /// works on the migration, or if that process has recorded no pace.
    pub async fn in_file(file: &dyn StateReader, holder: Option<&Holder>) -> Option<KeptPace> {
        let kept = KeptPace::from_text(&file.kept(KeptFact::Pace).await.ok()??)?;
        let since = holder?.since.as_ref()?.as_it_is().parse::<Timestamp>().ok()?;
        // A record from before the process locked the file may come from an earlier process with the same process id.
        // The file stores times to the second.
        (holder?.pid == Some(kept.pid) && kept.at.as_second() >= since.as_second()).then_some(kept)
    }

    /// The pace as the JSON that the state file stores.
    pub fn to_json(&self) -> Json {
        json!({ "at": self.at.to_string(), "pid": self.pid, "items_per_s": self.rates.map(|(items, _)| items),
                "wcu_per_s": self.rates.map(|(_, units)| units), "eta_s": self.left.map(|left| left.as_secs()) })
    }

    fn from_text(text: &str) -> Option<KeptPace> {
        let kept: Json = serde_json::from_str(text).ok()?;
        Some(KeptPace {
            at: kept["at"].as_str()?.parse().ok()?,
            pid: kept["pid"].as_u64()?.try_into().ok()?,
            rates: kept["items_per_s"].as_f64().zip(kept["wcu_per_s"].as_f64()),
            left: kept["eta_s"].as_u64().map(Duration::from_secs),
        })
    }
}

/// Whether a process that holds a state file works, is stopped or is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveliness {
    /// The process works.
    Works,
    /// A signal has stopped the process.
    Stopped,
    /// The process has recorded nothing for this duration.
    Silent(Duration),
}

/// A process that works on a state file, with its pace.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker<'a> {
    holder: &'a Holder,
    pace: Option<KeptPace>,
    stopped: bool,
    now: Timestamp,
}

impl<'a> Worker<'a> {
    /// The worker that holds the state file. `stopped` says whether a signal has stopped the process.
    pub fn new(holder: &'a Holder, pace: Option<KeptPace>, stopped: bool, now: Timestamp) -> Worker<'a> {
        Worker { holder, pace, stopped, now }
    }

    /// Whether the process works, is stopped or is silent.
    pub fn liveliness(&self) -> Liveliness {
        let silent = self.pace.as_ref().map(|pace| since(pace.at, self.now)).filter(|silent| *silent >= SILENT);
        match (self.stopped, silent) {
            (true, _) => Liveliness::Stopped,
            (false, Some(silent)) => Liveliness::Silent(silent),
            (false, None) => Liveliness::Works,
        }
    }

    /// The time since the process locked the state file; `None` if the process did not record when it locked the file.
    fn age(&self) -> Option<Duration> {
        Some(since(self.holder.since.as_ref()?.as_it_is().parse().ok()?, self.now))
    }

    /// A short description of the process and its condition.
    pub fn words(&self) -> String {
        let age = self.age().map_or_else(String::new, |age| format!(" ({})", whole_duration(age)));
        let who = format!("{}{age}", self.holder);
        match self.liveliness() {
            Liveliness::Works => format!("running: {who}"),
            Liveliness::Stopped => {
                let pid = self.holder.pid.map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
                format!("stopped by a signal: {who}; `kill -CONT {pid}` continues it")
            }
            Liveliness::Silent(silent) => {
                format!("silent for {} (its machine sleeps, or it hangs): {who}", whole_duration(silent))
            }
        }
    }

    /// Writes the pace if the process works and has recorded a pace.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        let Some(pace) = self.pace.as_ref().filter(|_| self.liveliness() == Liveliness::Works) else { return Ok(()) };
        match pace.rates {
            Some((items, units)) => {
                let left =
                    pace.left.map_or_else(|| "ETA unknown".to_owned(), |left| format!("ETA ~{}", whole_duration(left)));
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

    /// The JSON form.
    pub fn to_json(&self) -> Json {
        let (state, silent) = match self.liveliness() {
            Liveliness::Works => ("running", None),
            Liveliness::Stopped => ("stopped", None),
            Liveliness::Silent(silent) => ("silent", Some(silent.as_secs())),
        };
        json!({ "pid": self.holder.pid, "host": self.holder.host, "since": self.holder.since,
                "age_s": self.age().map(|age| age.as_secs()), "state": state, "silent_for_s": silent,
                "pace": self.pace.as_ref().map(KeptPace::to_json) })
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

    fn pace() -> KeptPace {
        KeptPace { at: at(100), pid: 7, rates: Some((12.4, 30.0)), left: Some(Duration::from_secs(90)) }
    }

    fn holder() -> Holder {
        Holder { pid: Some(7), host: Some("h".into()), since: Some(to_text(at(40)).into()) }
    }

    #[test]
    fn a_recorded_pace_reads_back_unchanged() {
        assert_eq!(KeptPace::from_text(&pace().to_json().to_string()), Some(pace()));
        let fresh = KeptPace { rates: None, left: None, ..pace() };
        assert_eq!(KeptPace::from_text(&fresh.to_json().to_string()), Some(fresh));
        assert_eq!(KeptPace::from_text("{}"), None);
    }

    #[test]
    fn a_process_works_is_stopped_or_is_silent() {
        let holder = holder();
        let said = |pace: Option<KeptPace>, stopped, now| {
            let worker = Worker::new(&holder, pace, stopped, at(now));
            let mut out = Vec::new();
            worker.write(&mut out).unwrap();
            (worker.words(), String::from_utf8(out).unwrap())
        };
        let (words, rate) = said(Some(pace()), false, 105);
        assert_eq!(words, "running: process 7 on host h, since 1970-01-01T00:00:40Z (1 min 5 s)");
        assert_eq!(
            rate,
            "  rate 12 items/s, 30 WCU/s over the last minute; ETA ~1 min 30 s; as of 1970-01-01T00:01:40Z\n"
        );
        let (words, rate) = said(Some(pace()), true, 105);
        assert!(
            words.starts_with("stopped by a signal") && words.contains("kill -CONT 7") && rate.is_empty(),
            "{words}"
        );
        let (words, rate) = said(Some(pace()), false, 3_700);
        assert!(words.starts_with("silent for 1 h 0 min") && rate.is_empty(), "{words}");
        assert!(said(None, false, 3_700).0.starts_with("running"), "the process has not recorded a pace yet");
    }
}
