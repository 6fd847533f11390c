//! Reads a daily window such as `"22:00-06:00 Europe/Paris"`.

use std::ops::Range;

use jiff::civil::Time;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::Window;
use crate::expr::edit_distance;

/// An example of a window.
pub(super) const EXAMPLE: &str = "22:00-06:00 Europe/Paris";

/// An error in the text of a window, and the byte range of the wrong part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WindowError {
    pub(super) span: Range<usize>,
    pub(super) title: String,
    pub(super) label: &'static str,
    pub(super) help: Vec<String>,
}

/// Reads a window. Time zones come from the bundled database, so a plan has the same meaning on every machine.
pub(super) fn read(text: &str) -> Result<Window, WindowError> {
    let example = || format!("for example, write `window = {EXAMPLE:?}`");
    let (times, zone) = text.split_once(' ').unwrap_or((text, ""));
    let Some((opens, closes)) = times.split_once('-') else {
        let title = "`window` is not a daily window";
        let label = "expected two times separated by a dash";
        return Err(WindowError { span: 0..text.len(), title: title.into(), label, help: vec![example()] });
    };
    let from = opens.len() + 1;
    let opens = time(opens, 0)?;
    let closes = time(closes, from)?;
    let zone_at = (times.len() + 1).min(text.len());
    let zone = zone.trim();
    if zone.is_empty() {
        let help = vec!["add a time zone, so that the window is the same on every machine".into(), example()];
        return Err(WindowError {
            span: 0..text.len(),
            title: "`window` has no time zone".into(),
            label: "no time zone after the times",
            help,
        });
    }
    let zone = find_zone(zone).map_err(|help| WindowError {
        span: zone_at..text.len(),
        title: "there is no such time zone".into(),
        label: "not in the IANA database",
        help,
    })?;
    if opens == closes {
        let help = vec!["remove `window` to work at any time of the day".into(), example()];
        let title = "`window` opens and closes at the same time";
        let label = "the same time twice";
        return Err(WindowError { span: 0..times.len(), title: title.into(), label, help });
    }
    Ok(Window { opens, closes, zone })
}

/// Reads a time `HH:MM`. `at` is the byte offset of the time in the window's text.
fn time(text: &str, at: usize) -> Result<Time, WindowError> {
    let number = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse::<i8>().ok()).flatten()
    };
    let parts = text.split_once(':').and_then(|(hour, minute)| number(hour).zip(number(minute)));
    parts.and_then(|(hour, minute)| Time::new(hour, minute, 0, 0).ok()).ok_or_else(|| {
        let midnight = (text == "24:00").then(|| "midnight is 00:00".to_owned());
        let form = "hours and minutes, two digits each: 06:30".to_owned();
        WindowError {
            span: at..at + text.len(),
            title: format!("`{text}` is not a time of the day"),
            label: "must be from 00:00 to 23:59",
            help: vec![midnight.unwrap_or(form)],
        }
    })
}

/// Finds a time zone by its name. If the name is unknown, returns the help texts of an error.
pub(super) fn find_zone(name: &str) -> Result<TimeZone, Vec<String>> {
    let zones = TimeZoneDatabase::bundled();
    if let Some(zone) = zones.get(name).ok().filter(|zone| !zone.is_unknown()) {
        return Ok(zone);
    }
    let mut help = Vec::new();
    if name.chars().any(|c| c.is_ascii_digit()) {
        help.push("an offset does not follow daylight saving time, so use a zone name".to_owned());
    } else if let Some(suggestion) = closest_zone(name, zones.available().map(|zone| zone.to_string())) {
        help.push(format!("did you mean {suggestion}?"));
    }
    help.push("write a zone name such as Europe/Paris, America/New_York or UTC".to_owned());
    Err(help)
}

/// Returns the time zone that the operator probably meant. It is a zone of this city, or a zone with a similar
/// spelling.
fn closest_zone(name: &str, zones: impl Iterator<Item = String>) -> Option<String> {
    if name.len() > 40 {
        return None;
    }
    let name = name.to_lowercase().replace(' ', "_");
    let edits = |zone: &str| {
        let zone = zone.to_lowercase();
        if zone.rsplit('/').next() == Some(&name) { 0 } else { edit_distance(&name, &zone) }
    };
    let (edits, zone) = zones.map(|zone| (edits(&zone), zone)).min()?;
    (edits <= zone.len().div_ceil(4)).then_some(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_two_times_and_a_zone() {
        let time = |hour, minute| Time::new(hour, minute, 0, 0).unwrap();
        let window = read(EXAMPLE).unwrap();
        assert_eq!(
            (window.opens, window.closes, window.zone.iana_name()),
            (time(22, 0), time(6, 0), Some("Europe/Paris"))
        );
        let window = read("00:00-23:59 utc").unwrap();
        assert_eq!((window.opens, window.closes, window.zone), (time(0, 0), time(23, 59), TimeZone::UTC));
        assert_eq!(read("09:30-10:00  europe/PARIS ").unwrap().zone.iana_name(), Some("Europe/Paris"));
    }

    #[test]
    fn an_invalid_window_is_marked_where_it_is_wrong() {
        for (text, span) in [
            ("", ""),
            ("night", "night"),
            ("22:00 Europe/Paris", "22:00 Europe/Paris"),
            ("22:00-06:00", "22:00-06:00"),
            ("22:00-06:00 ", "22:00-06:00 "),
            ("22:00–06:00 Europe/Paris", "22:00–06:00 Europe/Paris"),
            ("22:00 - 06:00 Europe/Paris", "22:00 - 06:00 Europe/Paris"),
            ("22-06 Europe/Paris", "22"),
            ("9:00-17:00 Europe/Paris", "9:00"),
            ("09:00-24:00 Europe/Paris", "24:00"),
            ("09:00-17:60 Europe/Paris", "17:60"),
            ("+9:00-17:00 Europe/Paris", "+9:00"),
            ("10:00-10:00 Europe/Paris", "10:00-10:00"),
            ("10:00-11:00 Mars/Base", "Mars/Base"),
            ("10:00-11:00 Etc/Unknown", "Etc/Unknown"),
            ("10:00-11:00 +02:00", "+02:00"),
            ("10:00-é1:00 Europe/Paris", "é1:00"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(&text[error.span.clone()], span, "{text}: {error:?}");
            assert!(!error.help.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_misspelt_zone_gets_the_right_suggestion() {
        for (written, suggestion) in [
            ("Paris", "Europe/Paris"),
            ("Europe/Pari", "Europe/Paris"),
            ("America/New York", "America/New_York"),
            ("new york", "America/New_York"),
            ("Europe/Berlín", "Europe/Berlin"),
        ] {
            let help = find_zone(written).unwrap_err();
            assert_eq!(help[0], format!("did you mean {suggestion}?"), "{written}");
        }
        assert_eq!(find_zone("somewhere else entirely").unwrap_err().len(), 1);
    }
}
