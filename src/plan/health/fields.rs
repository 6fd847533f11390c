//! Reads `[[health_check]]`.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{FailMode, HealthCheck, HealthProbe, OnUnhealthy, probe};
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::{Fields, check, format_duration};
use crate::plan::names::health_check_name;

/// The name of a check's section in messages.
const TITLE: &str = "[[health_check]]";

/// The maximum number of checks in a plan. Each check adds a task to the process and a label value to a metric.
const MAX_CHECKS: usize = 16;

const NAMES: [&str; 17] = [
    "name",
    "url",
    "expect_status",
    "command",
    "alarm",
    "metric",
    "unhealthy_above",
    "unhealthy_below",
    "no_data",
    "endpoint_url",
    "interval",
    "timeout",
    "unhealthy_after",
    "healthy_after",
    "on_unhealthy",
    "slow_to",
    "fail_mode",
];

const SECOND: Duration = Duration::from_secs(1);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_SLOW_TO: u8 = 25;
const MAX_ANSWERS: u64 = 100;

/// Reads all health checks. Reports invalid checks and omits them from the result.
pub(in crate::plan) fn read(root: &Fields<'_, '_>, problems: &mut Problems) -> Vec<HealthCheck> {
    let Some((_, value)) = root.get("health_check") else { return Vec::new() };
    let DeValue::Array(array) = value.get_ref() else {
        problems.add(not_a_list(value));
        return Vec::new();
    };
    if array.len() > MAX_CHECKS {
        let label = format!("{} checks", array.len());
        problems.add(Diagnostic::new("the plan has too many health checks", value.span(), label).help(format!(
            "a plan can have at most {MAX_CHECKS} checks; one program (`command`) can combine several checks"
        )));
        return Vec::new();
    }
    let mut names: BTreeMap<String, TextSpan> = BTreeMap::new();
    array.iter().filter_map(|entry| read_entry(entry, &mut names, problems)).collect()
}

fn read_entry(
    entry: &Spanned<DeValue<'_>>,
    names: &mut BTreeMap<String, TextSpan>,
    problems: &mut Problems,
) -> Option<HealthCheck> {
    match entry.get_ref() {
        DeValue::Table(table) => read_check(table, entry.span(), names, problems),
        _ => {
            problems.add(not_a_list(entry));
            None
        }
    }
}

fn read_check(
    table: &DeTable<'_>,
    at: TextSpan,
    names: &mut BTreeMap<String, TextSpan>,
    problems: &mut Problems,
) -> Option<HealthCheck> {
    let fields = Fields::open(table, TITLE, &NAMES, at, problems);
    let name = read_name(&fields, names, problems);
    let probe = probe::read(&fields, problems);
    let default_interval = match &probe {
        // A shorter interval would not help, because the newest value of a metric does not change within a period.
        Some(HealthProbe::Metric { .. }) => 60 * SECOND,
        Some(HealthProbe::Http { .. } | HealthProbe::Command(_) | HealthProbe::Alarm { .. }) | None => DEFAULT_INTERVAL,
    };
    let (interval, timeout) = times(&fields, default_interval, problems);
    let answers = |name, default: u32, problems: &mut Problems| {
        let number = fields.whole_number(name, &default.to_string(), 1..=MAX_ANSWERS, problems);
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    let unhealthy_after = answers("unhealthy_after", 2, problems);
    let healthy_after = answers("healthy_after", 3, problems);
    let on_unhealthy = on_unhealthy(&fields, problems);
    let modes = [("closed", FailMode::Closed), ("open", FailMode::Open)];
    let fail_mode = fields.choice("fail_mode", &modes, problems).unwrap_or(FailMode::Closed);
    let (name, probe) = (name?, probe?);
    Some(HealthCheck { name, probe, interval, timeout, unhealthy_after, healthy_after, on_unhealthy, fail_mode })
}

fn read_name(
    fields: &Fields<'_, '_>,
    names: &mut BTreeMap<String, TextSpan>,
    problems: &mut Problems,
) -> Option<String> {
    let written = fields.required_text("name", "\"api\"", problems)?;
    let name = check(&written, problems, health_check_name)?;
    match names.get(&name) {
        None => {
            names.insert(name.clone(), written.span());
            Some(name)
        }
        Some(first) => {
            problems.add(
                Diagnostic::new("two health checks have the same name", written.span(), "used again")
                    .also(first.clone(), "used first")
                    .help("give each check its own name, because messages and metrics identify a check by its name"),
            );
            None
        }
    }
}

/// Reads `interval` and `timeout`.
fn times(fields: &Fields<'_, '_>, default: Duration, problems: &mut Problems) -> (Duration, Duration) {
    let example = format!("{:?}", format_duration(default));
    let interval = fields.duration("interval", &example, SECOND..=600 * SECOND, problems);
    let timeout = fields.duration("timeout", "\"5s\"", SECOND / 10..=60 * SECOND, problems);
    let asked_every = interval.as_ref().map_or(default, |interval| *interval.get_ref());
    let Some(timeout) = timeout else { return (asked_every, DEFAULT_TIMEOUT.min(asked_every)) };
    let limit = *timeout.get_ref();
    if limit > asked_every {
        let stated = format!("timeout = {}", format_duration(limit));
        let mut problem = Diagnostic::new("`timeout` is longer than `interval`", timeout.span(), stated);
        if let Some(interval) = interval {
            problem = problem.also(interval.span(), format!("interval = {}", format_duration(asked_every)));
        }
        let defaults = "the defaults are interval = \"10s\" (for a metric \"1m\") and timeout = \"5s\"";
        problems.add(problem.help(format!("each check must end before it is repeated; {defaults}")));
    }
    (asked_every, limit)
}

/// Reads `on_unhealthy` and `slow_to`.
fn on_unhealthy(fields: &Fields<'_, '_>, problems: &mut Problems) -> OnUnhealthy {
    let choices = [("pause", OnUnhealthy::Pause), ("slow", OnUnhealthy::Slow(DEFAULT_SLOW_TO))];
    let written = fields.choice("on_unhealthy", &choices, problems);
    let slow_to = fields.text("slow_to", "\"25%\"", problems);
    let Some(slow_to) = slow_to else { return written.unwrap_or(OnUnhealthy::Pause) };
    let is_slow = matches!(written, Some(OnUnhealthy::Slow(_)));
    if !is_slow && (written.is_some() || fields.get("on_unhealthy").is_none()) {
        problems.add(
            Diagnostic::new("`slow_to` needs `on_unhealthy = \"slow\"`", slow_to.span(), "the check pauses the pass")
                .help("write `on_unhealthy = \"slow\"`, or remove `slow_to`"),
        );
    }
    let percent = slow_to.get_ref().strip_suffix('%').and_then(|number| number.trim_end().parse::<u8>().ok());
    match percent.filter(|percent| (1..=99).contains(percent)) {
        Some(percent) => OnUnhealthy::Slow(percent),
        None => {
            problems.add(
                Diagnostic::new("`slow_to` is not a percentage", slow_to.span(), "must be from 1% to 99%").help(
                    "write the percentage of the budgets that the pass may use, as a whole number with its sign: \
                     `slow_to = \"25%\"`. To send no requests, use `on_unhealthy = \"pause\"`",
                ),
            );
            OnUnhealthy::Pause
        }
    }
}

fn not_a_list(value: &Spanned<DeValue<'_>>) -> Diagnostic {
    let label = format!("expected [[health_check]], found {}", value.get_ref().type_str());
    Diagnostic::new("health checks must be written as [[health_check]]", value.span(), label)
        .help("write [[health_check]] with two brackets on its own line, with its fields below, once for each check")
}
