//! Reads the probe of a health check: `url`, `command`, `alarm` or `metric`, and the fields that depend on it.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{HealthProbe, HealthyBounds, MetricQuery, NoData, SecretUrl};
use crate::plan::argv::argv;
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::{Fields, check, parse_number};
use crate::plan::names::endpoint_url;
use crate::web;

const KINDS: [&str; 4] = ["url", "command", "alarm", "metric"];

/// The fields that only some kinds of check have. Each field is listed with these kinds.
const DEPENDENT: [(&str, &[&str]); 5] = [
    ("expect_status", &["url"]),
    ("unhealthy_above", &["metric"]),
    ("unhealthy_below", &["metric"]),
    ("no_data", &["alarm", "metric"]),
    ("endpoint_url", &["alarm", "metric"]),
];

/// The maximum length of a name in CloudWatch, in bytes (API references of `DescribeAlarms` and `Metric`).
const MAX_NAME: usize = 255;

/// The maximum length of a dimension's value (API reference of `Dimension`).
const MAX_DIMENSION_VALUE: usize = 1_024;

/// The maximum number of dimensions of a metric (API reference of `Metric`).
const MAX_DIMENSIONS: usize = 30;

/// The valid CloudWatch periods below one minute, in seconds. Longer periods are multiples of one minute (API reference
/// of `MetricStat`).
const SHORT_PERIODS: [u64; 5] = [1, 5, 10, 20, 30];

const METRIC_EXAMPLE: &str = "{ namespace = \"AWS/DynamoDB\", name = \"ReadThrottleEvents\", dimensions = { TableName = \"shop\" }, statistic = \"Sum\" }";

/// Reads the probe of this check. Reports an error if the check has no probe, or more than one probe.
pub(super) fn read(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<HealthProbe> {
    let kinds = fields.present_fields(&KINDS);
    let (kind, key, value) = match kinds.as_slice() {
        [one] => one.clone(),
        [] => {
            if !fields.has_misspelt(&KINDS) {
                let title = "this health check does not say what to check";
                let label = "no url, command, alarm or metric";
                problems.add_missing(Diagnostic::new(title, fields.at.clone(), label).help(
                    "write one of these: url = \"https://…\"; command = [\"/path/to/program\"]; alarm = \"name\"; metric = { … }",
                ));
            }
            return None;
        }
        [first, others @ ..] => {
            for (name, key, _) in others {
                problems.add(
                    Diagnostic::new(
                        "a health check can check only one thing",
                        key.clone(),
                        format!("`{name}` needs its own [[health_check]]"),
                    )
                    .also(shown_at(first.0, &first.1, fields), format!("this check has `{}`", first.0))
                    .help("to check several things, use several health checks; the pass continues only while all of them allow it"),
                );
            }
            return None;
        }
    };
    for (name, owners) in DEPENDENT {
        if let Some((at, _)) = fields.get(name).filter(|_| !owners.contains(&kind)) {
            let owners = owners.iter().map(|owner| format!("`{owner}`")).collect::<Vec<_>>();
            let title = format!("`{name}` needs {}", owners.join(" or "));
            problems.add(
                Diagnostic::new(title, at, "has no effect here")
                    .also(shown_at(kind, &key, fields), format!("this check has `{kind}`"))
                    .help(format!("remove `{name}`")),
            );
        }
    }
    match kind {
        "url" => http(fields, problems),
        "command" => {
            let example = "[\"/usr/local/bin/check\", \"argument\"]";
            argv(fields, "command", example, problems).map(HealthProbe::Command)
        }
        "alarm" => alarm(fields, problems),
        _ => metric(fields, value, problems),
    }
}

/// Returns the position for an error about this kind of check. An error shows whole lines of the plan, and a URL can
/// contain a secret. So an error about a URL shows the first line of the check instead.
fn shown_at(kind: &str, key: &TextSpan, fields: &Fields<'_, '_>) -> TextSpan {
    if kind == "url" { fields.at.clone() } else { key.clone() }
}

fn http(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<HealthProbe> {
    let status = fields.whole_number("expect_status", "204", 100..=599, problems);
    let expect_status = status.and_then(|status| u16::try_from(status).ok());
    let text = *fields.text("url", "\"https://example.com/health\"", problems)?.get_ref();
    if let Err(error) = web::parse(text) {
        let at = shown_at("url", &fields.at, fields);
        let problem = Diagnostic::new("the `url` of this health check cannot be used", at, "in this check");
        problems.add(problem.help(error.to_string()));
        return None;
    }
    Some(HealthProbe::Http { url: SecretUrl(text.to_owned()), expect_status })
}

fn alarm(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<HealthProbe> {
    let rule = |name: &str| match is_name(name, MAX_NAME) {
        true => Ok(()),
        false => Err(wrong_name("an alarm", MAX_NAME)),
    };
    let name = fields.checked_text("alarm", "\"api-latency\"", problems, rule);
    let no_data = no_data(fields, problems);
    let endpoint_url = fields.checked_text("endpoint_url", "\"http://127.0.0.1:5000\"", problems, endpoint_url);
    Some(HealthProbe::Alarm { name: name?, no_data, endpoint_url })
}

fn no_data(fields: &Fields<'_, '_>, problems: &mut Problems) -> NoData {
    let choices = [("healthy", NoData::Healthy), ("unhealthy", NoData::Unhealthy)];
    fields.choice("no_data", &choices, problems).unwrap_or(NoData::FailMode)
}

fn metric(fields: &Fields<'_, '_>, value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<HealthProbe> {
    let bounds = bounds(fields, problems);
    let no_data = no_data(fields, problems);
    let endpoint_url = fields.checked_text("endpoint_url", "\"http://127.0.0.1:5000\"", problems, endpoint_url);
    let DeValue::Table(table) = value.get_ref() else {
        problems.add(fields.wrong_type("metric", value, "a table", METRIC_EXAMPLE));
        return None;
    };
    const NAMES: [&str; 5] = ["namespace", "name", "dimensions", "statistic", "period"];
    let inner = Fields::open(table, "`metric` of [[health_check]]", &NAMES, value.span(), problems);
    let mut text = |field: &str, what: &str, example: &str| {
        let written = inner.required_text(field, example, problems)?;
        let rule = |name: &str| if is_name(name, MAX_NAME) { Ok(()) } else { Err(wrong_name(what, MAX_NAME)) };
        check(&written, problems, rule)
    };
    let namespace = text("namespace", "a namespace", "\"AWS/DynamoDB\"");
    let name = text("name", "a metric", "\"ReadThrottleEvents\"");
    let statistic = inner.required_text("statistic", "\"Sum\"", problems);
    let statistic = statistic.and_then(|written| check(&written, problems, statistic_rule));
    let dimensions = dimensions(&inner, problems);
    let period = period(&inner, problems);
    let metric = MetricQuery {
        namespace: namespace?,
        name: name?,
        dimensions: dimensions?,
        statistic: statistic?,
        period: period?,
    };
    Some(HealthProbe::Metric { metric, bounds: bounds?, no_data, endpoint_url })
}

fn bounds(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<HealthyBounds> {
    let mut bound = |name: &str| {
        let Some((_, value)) = fields.get(name) else { return Ok(None) };
        match parse_number(value.get_ref()) {
            Some(number) if number.is_finite() => Ok(Some(number)),
            Some(_) => {
                let title = format!("`{name}` is out of range");
                problems.add(Diagnostic::new(title, value.span(), "must be a finite number"));
                Err(())
            }
            None => {
                problems.add(fields.wrong_type(name, value, "a number, without quotes", "100"));
                Err(())
            }
        }
    };
    let (above, below) = (bound("unhealthy_above"), bound("unhealthy_below"));
    let (unhealthy_above, unhealthy_below) = (above.ok()?, below.ok()?);
    if unhealthy_above.is_none() && unhealthy_below.is_none() {
        if !fields.has_misspelt(&["unhealthy_above", "unhealthy_below"]) {
            problems.add_missing(
                Diagnostic::new(
                    "this health check does not say which values are unhealthy",
                    fields.at.clone(),
                    "no unhealthy_above or unhealthy_below",
                )
                .help("write `unhealthy_above = 100`, `unhealthy_below = 1`, or both"),
            );
        }
        return None;
    }
    if let (Some(above), Some(below)) = (unhealthy_above, unhealthy_below)
        && below > above
    {
        let at = fields.get("unhealthy_below").map_or_else(|| fields.at.clone(), |(at, _)| at);
        problems.add(
            Diagnostic::new("every value of this metric is unhealthy", at, "larger than `unhealthy_above`")
                .help("healthy values lie between `unhealthy_below` and `unhealthy_above`"),
        );
        return None;
    }
    Some(HealthyBounds { unhealthy_above, unhealthy_below })
}

fn dimensions(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Vec<(String, String)>> {
    let Some((_, value)) = fields.get("dimensions") else { return Some(Vec::new()) };
    let DeValue::Table(table) = value.get_ref() else {
        problems.add(fields.wrong_type("dimensions", value, "a table of names and values", "{ TableName = \"shop\" }"));
        return None;
    };
    if table.len() > MAX_DIMENSIONS {
        let label = format!("{} dimensions", table.len());
        problems.add(
            Diagnostic::new("this metric has too many dimensions", value.span(), label)
                .help(format!("CloudWatch allows at most {MAX_DIMENSIONS}")),
        );
        return None;
    }
    let mut dimensions = Vec::new();
    for (name, value) in table.iter() {
        match value.get_ref().as_str() {
            Some(text) if is_name(name.get_ref(), MAX_NAME) && is_name(text, MAX_DIMENSION_VALUE) => {
                dimensions.push((name.get_ref().to_string(), text.to_owned()));
            }
            Some(_) | None => {
                let label = format!("a name of at most {MAX_NAME} bytes and a value of at most {MAX_DIMENSION_VALUE}");
                problems.add(
                    Diagnostic::new("this dimension cannot be used", name.span(), label)
                        .help("write both as CloudWatch shows them: `dimensions = { TableName = \"shop\" }`"),
                );
                return None;
            }
        }
    }
    dimensions.sort();
    Some(dimensions)
}

fn period(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Duration> {
    const MINUTE: Duration = Duration::from_secs(60);
    if fields.get("period").is_none() {
        return Some(MINUTE);
    }
    let second = Duration::from_secs(1);
    let period = fields.duration("period", "\"1m\"", second..=60 * MINUTE, problems)?;
    let is_whole = period.get_ref().subsec_nanos() == 0;
    let seconds = period.get_ref().as_secs();
    if !is_whole || !(seconds.is_multiple_of(60) || SHORT_PERIODS.contains(&seconds)) {
        problems.add(
            Diagnostic::new("CloudWatch does not accept this `period`", period.span(), "not a valid period")
                .help("use a multiple of a minute. Metrics with a high resolution also have 1s, 5s, 10s, 20s and 30s"),
        );
        return None;
    }
    Some(*period.get_ref())
}

fn statistic_rule(text: &str) -> Result<(), (String, String)> {
    const SIMPLE: [&str; 5] = ["Average", "Maximum", "Minimum", "SampleCount", "Sum"];
    let percentile = text.strip_prefix('p').filter(|number| number.chars().all(|c| c.is_ascii_digit() || c == '.'));
    let percentile = percentile.and_then(|number| number.parse::<f64>().ok());
    if SIMPLE.contains(&text) || percentile.is_some_and(|percent| (0.0..=100.0).contains(&percent)) {
        return Ok(());
    }
    let help = format!("use {}, or a percentile such as \"p99\"", SIMPLE.map(|name| format!("{name:?}")).join(", "));
    Err(("this statistic is unknown".into(), help))
}

fn is_name(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn wrong_name(what: &str, longest: usize) -> (String, String) {
    let help = format!("write the name as CloudWatch shows it (1 to {longest} bytes, not the ARN)");
    (format!("this is not the name of {what} in CloudWatch"), help)
}
