//! Reads `[limits]`, which contains the limits at which the migration stops, and `[prices]`, which the cost limit uses.

use jiff::Timestamp;
use toml::de::DeValue;
use toml::value::Datetime;

use super::diagnostic::{Diagnostic, Problems};
use super::fields::Fields;
use super::section::section;
use super::{PlanLimits, Prices, Window, window};

/// Largest limit in units or items. A larger limit is a mistake. A 64-bit floating-point number represents every
/// integer up to this limit exactly.
const MAX_COUNT: u64 = 1_000_000_000_000_000;

/// Largest amount in US dollars. A larger amount is a mistake.
const MAX_DOLLARS: f64 = 1e9;

/// The end of the help text for a limit that is out of range.
const LEAVE_OUT: &str = "remove it for no limit";

const DEADLINE: &str = "2026-12-01T06:00:00+01:00";

/// Reads `[limits]`.
pub(super) fn read(root: &Fields<'_, '_>, problems: &mut Problems) -> PlanLimits {
    const NAMES: [&str; 6] = ["max_failures", "max_wcu", "max_cost_usd", "max_items", "deadline", "window"];
    let mut limits = PlanLimits {
        max_failures: 1000,
        max_wcu: None,
        max_cost_usd: None,
        max_items: None,
        deadline: None,
        window: None,
    };
    let Some(fields) = section(root, "limits", "[limits]", &NAMES, None, problems) else { return limits };
    let failures = fields.whole_number("max_failures", "1000", 0..=1_000_000_000, problems);
    limits.max_failures = failures.unwrap_or(limits.max_failures);
    let units = format!("the limit is a number of write capacity units, indexes included; {LEAVE_OUT}");
    limits.max_wcu = fields.number("max_wcu", "5000000", MAX_COUNT as f64, &units, problems);
    let dollars = format!("the limit is a number of US dollars, for reads and writes together; {LEAVE_OUT}");
    limits.max_cost_usd = fields.number("max_cost_usd", "25.0", MAX_DOLLARS, &dollars, problems);
    limits.max_items = fields.whole_number("max_items", "1000000", 1..=MAX_COUNT, problems);
    limits.deadline = deadline(&fields, problems);
    limits.window = daily_window(&fields, problems);
    limits
}

/// Reads `[prices]`.
pub(super) fn read_prices(root: &Fields<'_, '_>, problems: &mut Problems) -> Prices {
    const NAMES: [&str; 2] = ["write_per_million", "read_per_million"];
    const PRICE_HELP: &str =
        "the price is a number of US dollars per million capacity units; remove it to use the list price";
    let Some(fields) = section(root, "prices", "[prices]", &NAMES, None, problems) else { return Prices::default() };
    Prices {
        write_per_million: fields.number("write_per_million", "0.625", MAX_DOLLARS, PRICE_HELP, problems),
        read_per_million: fields.number("read_per_million", "0.125", MAX_DOLLARS, PRICE_HELP, problems),
    }
}

/// Reads `deadline`, which is a TOML date-time with an offset from UTC, or a string with the same content. Because of
/// the offset, the deadline does not depend on the host's time zone.
fn deadline(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Timestamp> {
    let (_, value) = fields.get("deadline")?;
    let written: Option<Datetime> = match value.get_ref() {
        DeValue::Datetime(datetime) => Some(*datetime),
        DeValue::String(text) => text.parse().ok(),
        _ => {
            let expected = "a date and time with its offset from UTC";
            problems.add(fields.wrong_type("deadline", value, expected, DEADLINE));
            return None;
        }
    };
    deadline_time(written)
        .map_err(|(title, label, help)| problems.add(Diagnostic::new(title, value.span(), label).help(help)))
        .ok()
}

/// Converts a date-time to a point in time. If the date-time lacks a required part, returns the title, label and help
/// text of an error.
fn deadline_time(written: Option<Datetime>) -> Result<Timestamp, (&'static str, &'static str, String)> {
    let example = format!("for example, write `deadline = {DEADLINE}`");
    let invalid = ("`deadline` is not a date and time", "no such date and time", example.clone());
    let Some(datetime) = written else { return Err(invalid) };
    match (datetime.date, datetime.time, datetime.offset) {
        (Some(_), Some(_), Some(_)) => datetime.to_string().parse().map_err(|_| invalid),
        (Some(_), Some(_), None) => Err((
            "`deadline` has no offset from UTC",
            "a different moment in each time zone",
            format!("write `{datetime}Z` if that is UTC, or add the offset, such as `{datetime}+01:00`"),
        )),
        (Some(_), ..) => Err(("`deadline` has no time of the day", "only a date", example)),
        _ => Err((
            "`deadline` has no date",
            "only a time of the day",
            format!("{example}; for daily hours, write `window = {:?}`", window::EXAMPLE),
        )),
    }
}

fn daily_window(fields: &Fields<'_, '_>, problems: &mut Problems) -> Option<Window> {
    let written = fields.text("window", &format!("{:?}", window::EXAMPLE), problems)?;
    let text = *written.get_ref();
    let read = window::read(text);
    let add = |error: window::WindowError| {
        let at = problems.span_in_string(written.span(), text, error.span);
        let problem = Diagnostic::new(error.title, at, error.label);
        problems.add(error.help.into_iter().fold(problem, Diagnostic::help));
    };
    read.map_err(add).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load;

    fn deadline(text: &str) -> Option<Timestamp> {
        let plan = format!(
            "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nremove = \"a\"\n[limits]\ndeadline = {text}\n"
        );
        load("p", &plan).ok()?.plan.limits.deadline
    }

    #[test]
    fn every_spelling_of_a_deadline_gives_the_same_moment() {
        let deadline_time: Timestamp = "2026-12-01T05:00:00Z".parse().unwrap();
        for text in [
            "2026-12-01T06:00:00+01:00",
            "2026-12-01 05:00:00Z",
            "\"2026-12-01T06:00:00+01:00\"",
            "'2026-12-01T00:00:00.000-05:00'",
            "2026-12-01t05:00:00z",
        ] {
            assert_eq!(deadline(text), Some(deadline_time), "{text}");
        }
        for text in [
            "\"2026-12-01T06:00:00+01:00[Europe/Paris]\"",
            "\"2026-12-01\"",
            "\"2026-02-30T06:00:00Z\"",
            "\"tomorrow\"",
            "\"\"",
            "1764565200",
        ] {
            assert_eq!(deadline(text), None, "{text}");
        }
    }
}
