//! What operators have set with `ctl`. The settings are stored in the state file, and a process obeys them after a
//! restart. This module is pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::command::Command;
use crate::plan::{Capacity, CapacityRate};

/// The lowest and the highest rate that an operator can set. Steps back and rollbacks obey the rate too, so a lower
/// rate would stop them.
const MIN_RATE: f64 = 1.0;
const MAX_RATE: f64 = 1e9;

/// The maximum length of a reason in bytes, so that a reply stays small.
const MAX_REASON: usize = 500;

/// Maximum number of commands in the record. The oldest commands are dropped.
const MAX_RECORD: usize = 100;

/// The settings, and the commands that led to them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Who paused the migration; `None` if it is not paused.
    pub paused: Option<Paused>,
    /// The rate that replaces the plan's budgets; `None` if the plan's budgets apply.
    pub rate: Option<Rate>,
    /// The last commands, oldest first.
    pub record: Vec<Steered>,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paused {
    /// Who paused the migration: `user@host`.
    pub by: String,
    /// The time.
    pub at: Timestamp,
    /// The reason, if given.
    pub reason: Option<String>,
}

/// A rate that an operator has set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Who set the rate: `user@host`.
    pub by: String,
    /// The time.
    pub at: Timestamp,
    /// Write capacity units per second for the table; `None` if the plan's budget applies.
    pub write: Option<f64>,
    /// Read capacity units per second for the table; `None` if the plan's budget applies.
    pub read: Option<f64>,
    /// The plan's `[capacity]` when the operator set the rate. If the plan changes it later, the rate no longer
    /// applies.
    pub capacity: CapacityMark,
}

/// Identifies the content of a plan's `[capacity]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapacityMark(String);

/// A command in the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Steered {
    /// When the command was carried out.
    pub at: Timestamp,
    /// Who gave it: `user@host`.
    pub by: String,
    /// The command: `rate --write 500`.
    pub command: String,
}

impl CapacityMark {
    /// Returns the mark of this `[capacity]`. It contains only the fields that the plan states, so a later version of
    /// the tool that knows more fields computes the same mark.
    pub fn new(capacity: &Capacity) -> CapacityMark {
        let Capacity { write, read, per_key_range, per_partition_key, indexes } = capacity;
        let units = |units: Option<f64>| units.map(|units| units.to_string());
        let mut stated: Vec<(String, Option<String>)> = vec![
            ("write".into(), write.map(rate_of)),
            ("read".into(), read.map(rate_of)),
            ("per_key_range.write".into(), units(per_key_range.write)),
            ("per_key_range.read".into(), units(per_key_range.read)),
            ("per_partition_key.write".into(), units(per_partition_key.write)),
            ("per_partition_key.read".into(), units(per_partition_key.read)),
        ];
        stated.extend(indexes.iter().map(|(name, rate)| (format!("index.{name}"), Some(rate_of(*rate)))));
        let mut fields: Vec<String> =
            stated.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
        fields.sort_unstable();
        CapacityMark(fields.join(";"))
    }
}

fn rate_of(rate: CapacityRate) -> String {
    match rate {
        CapacityRate::Units(units) | CapacityRate::Steered(units) => units.to_string(),
        CapacityRate::Percent(percent) => format!("{percent}%"),
    }
}

impl Settings {
    /// Reads stored settings; `None` if another version of the tool stored them in a form that this version cannot
    /// read.
    pub fn from_text(text: &str) -> Option<Settings> {
        serde_json::from_str(text).ok()
    }

    /// Returns the settings to use if the stored settings cannot be read. They pause the migration.
    pub fn unreadable(at: Timestamp) -> Settings {
        let reason = "the stored settings of `ctl` cannot be read; `ctl resume` clears them".to_owned();
        Settings { paused: Some(Paused { by: "backfill".to_owned(), at, reason: Some(reason) }), ..Settings::default() }
    }

    /// Returns the text that the state file stores.
    pub fn to_text(&self) -> String {
        // All keys are text, so this never fails.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the settings that result from a command. `capacity` is the plan's `[capacity]`.
    ///
    /// # Errors
    ///
    /// Returns the reason, for people, if the command is not valid.
    pub fn after(&self, command: &Command, by: &str, at: Timestamp, capacity: &Capacity) -> Result<Settings, String> {
        let mut next = self.clone();
        match command {
            Command::Pause { reason: Some(reason) } if reason.len() > MAX_REASON => {
                return Err(format!("a reason can have at most {MAX_REASON} bytes"));
            }
            Command::Pause { reason } => {
                next.paused = Some(Paused { by: by.to_owned(), at, reason: reason.clone() });
            }
            Command::Resume => next.paused = None,
            Command::Rate { write, read } => {
                let valid = |units: &f64| (MIN_RATE..=MAX_RATE).contains(units);
                if write.is_none() && read.is_none() {
                    return Err("a rate needs `--write` or `--read`".to_owned());
                }
                if ![write, read].into_iter().flatten().all(valid) {
                    return Err(format!(
                        "a rate must be from {MIN_RATE} to {MAX_RATE} capacity units per second. To send nothing, use `ctl pause`"
                    ));
                }
                let before = self.rate_for(capacity);
                next.rate = Some(Rate {
                    by: by.to_owned(),
                    at,
                    write: write.or(before.and_then(|rate| rate.write)),
                    read: read.or(before.and_then(|rate| rate.read)),
                    capacity: CapacityMark::new(capacity),
                });
            }
            Command::PlanRate => next.rate = None,
            Command::Drain | Command::Status => {}
        }
        if *command != Command::Status {
            next.record.push(Steered { at, by: by.to_owned(), command: command.words() });
            let surplus = next.record.len().saturating_sub(MAX_RECORD);
            next.record.drain(..surplus);
        }
        Ok(next)
    }

    /// Returns the rate, if it was set for this `[capacity]`.
    pub fn rate_for(&self, capacity: &Capacity) -> Option<&Rate> {
        self.rate.as_ref().filter(|rate| rate.capacity == CapacityMark::new(capacity))
    }

    /// Returns the `[capacity]` to use: the plan's `[capacity]`, in which the rate that an operator set replaces the
    /// budgets.
    pub fn capacity(&self, plan: &Capacity) -> Capacity {
        let mut capacity = plan.clone();
        if let Some(rate) = self.rate_for(plan) {
            capacity.write = rate.write.map(CapacityRate::Steered).or(capacity.write);
            capacity.read = rate.read.map(CapacityRate::Steered).or(capacity.read);
        }
        capacity
    }

    /// Removes a rate that was set for another `[capacity]`. Returns it, so that the operator can be told.
    pub fn take_outdated_rate(&mut self, plan: &Capacity) -> Option<Rate> {
        if self.rate_for(plan).is_some() { None } else { self.rate.take() }
    }
}

/// Shows who paused the migration: `by ann@host since 2026-01-01T00:00:00Z: the application is slow`.
impl std::fmt::Display for Paused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "by {} since {}", self.by, crate::clock::to_text(self.at))?;
        self.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
    }
}

/// Shows the rate and who set it: `500 WCU/s, set by ann@host at 2026-01-01T00:00:00Z`.
impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rates = [(self.write, "WCU/s"), (self.read, "RCU/s")];
        let rates = rates.into_iter().filter_map(|(units, unit)| Some(format!("{} {unit}", units?)));
        let rates = rates.collect::<Vec<_>>().join(", ");
        write!(f, "{rates}, set by {} at {}", self.by, crate::clock::to_text(self.at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn capacity(write: f64) -> Capacity {
        Capacity { write: Some(CapacityRate::Units(write)), ..Capacity::default() }
    }

    fn rate(write: f64) -> Command {
        Command::Rate { write: Some(write), read: None }
    }

    #[test]
    fn a_changed_capacity_clears_the_rate() {
        let plan = capacity(1_000.0);
        let mut settings = Settings::default().after(&rate(500.0), "ann@h", at(0), &plan).unwrap();
        assert_eq!(settings.capacity(&plan).write, Some(CapacityRate::Steered(500.0)));
        assert_eq!(settings.take_outdated_rate(&plan), None);
        let changed = capacity(2_000.0);
        assert_eq!(settings.capacity(&changed), changed, "the rate was set for another [capacity]");
        let outdated = settings.take_outdated_rate(&changed).unwrap();
        assert_eq!(outdated.to_string(), "500 WCU/s, set by ann@h at 1970-01-01T00:00:00Z");
        assert_eq!(settings.rate, None);
    }

    /// The mark is stored, so its form must not change.
    #[test]
    fn the_mark_names_the_stated_fields() {
        let plan = Capacity {
            write: Some(CapacityRate::Percent(40.0)),
            indexes: vec![("by-email".to_owned(), CapacityRate::Units(7.5))],
            ..Capacity::default()
        };
        assert_eq!(CapacityMark::new(&plan), CapacityMark("index.by-email=7.5;write=40%".to_owned()));
        assert_eq!(CapacityMark::new(&Capacity::default()), CapacityMark(String::new()));
    }

    #[test]
    fn reads_and_writes_are_set_one_by_one() {
        let plan = capacity(1_000.0);
        let read = Command::Rate { write: None, read: Some(50.0) };
        let settings = Settings::default().after(&rate(500.0), "a", at(0), &plan).unwrap();
        let settings = settings.after(&read, "b", at(1), &plan).unwrap();
        let both = settings.capacity(&plan);
        assert_eq!((both.write, both.read), (Some(CapacityRate::Steered(500.0)), Some(CapacityRate::Steered(50.0))));
        let settings = settings.after(&Command::PlanRate, "b", at(2), &plan).unwrap();
        assert_eq!(settings.capacity(&plan), plan);
    }

    #[test]
    fn an_invalid_rate_changes_nothing() {
        let none = Command::Rate { write: None, read: None };
        for command in [rate(0.0), rate(0.5), rate(-1.0), rate(f64::NAN), rate(f64::INFINITY), none] {
            assert!(Settings::default().after(&command, "a", at(0), &capacity(1.0)).is_err(), "{command:?}");
        }
    }

    proptest! {
        /// The settings take bounded space, and a restart reads exactly what was stored.
        #[test]
        fn settings_read_back_and_stay_small(commands in prop::collection::vec(0_u8..5, 0..300)) {
            let plan = capacity(1_000.0);
            let mut settings = Settings::default();
            for (second, number) in commands.iter().enumerate() {
                let command = match number {
                    0 => Command::Pause { reason: Some("why".into()) },
                    1 => Command::Resume,
                    2 => rate(f64::from(*number) + second as f64),
                    3 => Command::PlanRate,
                    _ => Command::Drain,
                };
                settings = settings.after(&command, "ann@host", at(second as i64), &plan).unwrap();
            }
            prop_assert!(settings.record.len() <= MAX_RECORD);
            prop_assert_eq!(Settings::from_text(&settings.to_text()), Some(settings));
        }
    }
}
