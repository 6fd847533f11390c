//! Points in time and lengths of time.

use bigdecimal::BigDecimal;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

use crate::expr::decimal;
use crate::expr::function::{Fails, Function, Overload, Prepared, Returns, Stop, Style, overload, p};
use crate::expr::types::Kinds;
use crate::expr::value::{Const, Val, View};

const T: Kinds = Kinds::TIMESTAMP;
const D: Kinds = Kinds::DURATION;
const N: Kinds = Kinds::N;
const S: Kinds = Kinds::S;
const NUMBER: Returns = Returns::Kinds(Kinds::N);
const TIME: Returns = Returns::Kinds(Kinds::TIMESTAMP);

pub(in crate::expr) const SECOND: i128 = 1_000_000_000;

/// CEL's limit on a duration: about 10,000 years.
const MAX_DURATION: i128 = 315_576_000_000 * SECOND;

/// The reason why a sum of times has no result.
pub(in crate::expr) const TIME_TOO_LARGE: &str =
    "the time is outside the years -9999 to 9999, or the duration is longer than 10,000 years";

/// The reason why a text is not a time. The limit comes from the type of times: a time must have a valid date in every
/// time zone.
const NOT_A_TIME: &str = "the text is not a time in RFC 3339 format, or the time is after 9999-12-30T22:00:00Z";

const WITH_ZONE: &[Overload] = &[overload(&[p(T)], NUMBER), overload(&[p(T), p(S)], NUMBER)];
const OF_BOTH: &[Overload] = &[overload(&[p(T)], NUMBER), overload(&[p(T), p(S)], NUMBER), overload(&[p(D)], NUMBER)];

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "timestamp",
        style: Style::Global,
        overloads: &[overload(&[p(S)], TIME)],
        about: "The time of a text in RFC 3339 format, with `Z` or an offset.",
        examples: &[(r#"string(timestamp("2025-01-31T12:00:00+01:00"))"#, r#""2025-01-31T11:00:00Z""#)],
        fails: Fails::Sometimes(NOT_A_TIME),
        constant: None,
        body: |_, args, _| {
            let text = args[0].view().text().ok_or(Stop::Types)?;
            let time = if is_rfc3339(text) { text.parse::<Timestamp>().ok() } else { None };
            time.map(Val::Timestamp).ok_or(Stop::reason(NOT_A_TIME))
        },
    },
    Function {
        name: "duration",
        style: Style::Global,
        overloads: &[overload(&[p(S)], Returns::Kinds(D))],
        about: "The duration of a text with the units `h`, `m`, `s`, `ms`, `us` and `ns`.",
        examples: &[
            (r#"string(duration("1h30m"))"#, r#""5400s""#),
            (r#"timestamp("2025-01-31T00:00:00Z") + duration("-1.5s") < timestamp("2025-01-31T00:00:00Z")"#, "true"),
        ],
        fails: Fails::Sometimes("the text is not a duration such as `1h30m`"),
        constant: None,
        body: |_, args, _| {
            let text = args[0].view().text().ok_or(Stop::Types)?;
            parse_duration(text).map(Val::Duration).ok_or(Stop::reason("the text is not a duration such as `1h30m`"))
        },
    },
    Function {
        name: "epochSeconds",
        style: Style::Global,
        overloads: &[overload(&[p(T)], NUMBER)],
        about: "The whole seconds since 1970, the form that a time to live needs.",
        examples: &[(r#"epochSeconds(timestamp("2025-01-31T00:00:00.9Z"))"#, "1738281600")],
        fails: Fails::Never,
        constant: None,
        body: |_, args, _| epoch(args, SECOND),
    },
    Function {
        name: "epochMillis",
        style: Style::Global,
        overloads: &[overload(&[p(T)], NUMBER)],
        about: "The whole milliseconds since 1970.",
        examples: &[(r#"epochMillis(timestamp("2025-01-31T00:00:00.9Z"))"#, "1738281600900")],
        fails: Fails::Never,
        constant: None,
        body: |_, args, _| epoch(args, SECOND / 1000),
    },
    Function {
        name: "fromEpochSeconds",
        style: Style::Global,
        overloads: &[overload(&[p(N)], TIME)],
        about: "The time at this number of seconds since 1970.",
        examples: &[("string(fromEpochSeconds(1738281600))", r#""2025-01-31T00:00:00Z""#)],
        fails: Fails::Sometimes(NO_SUCH_TIME),
        constant: None,
        body: |_, args, _| from_epoch(args, SECOND),
    },
    Function {
        name: "fromEpochMillis",
        style: Style::Global,
        overloads: &[overload(&[p(N)], TIME)],
        about: "The time at this number of milliseconds since 1970.",
        examples: &[("string(fromEpochMillis(1738281600900))", r#""2025-01-31T00:00:00.9Z""#)],
        fails: Fails::Sometimes(NO_SUCH_TIME),
        constant: None,
        body: |_, args, _| from_epoch(args, SECOND / 1000),
    },
    getter(
        "getFullYear",
        WITH_ZONE,
        "The year.",
        &[(r#"timestamp("2025-01-31T00:00:00Z").getFullYear()"#, "2025")],
        |_, args, zone| calendar(args, zone, |at| i64::from(at.year())),
    ),
    getter(
        "getMonth",
        WITH_ZONE,
        "The month. January is 0, as in CEL.",
        &[(r#"timestamp("2025-01-31T00:00:00Z").getMonth()"#, "0")],
        |_, args, zone| calendar(args, zone, |at| i64::from(at.month()) - 1),
    ),
    getter(
        "getDate",
        WITH_ZONE,
        "The day of the month, from 1.",
        &[(r#"timestamp("2025-01-31T23:30:00Z").getDate("Europe/Paris")"#, "1")],
        |_, args, zone| calendar(args, zone, |at| i64::from(at.day())),
    ),
    getter(
        "getDayOfMonth",
        WITH_ZONE,
        "The day of the month, from 0, as in CEL.",
        &[(r#"timestamp("2025-01-31T00:00:00Z").getDayOfMonth()"#, "30")],
        |_, args, zone| calendar(args, zone, |at| i64::from(at.day()) - 1),
    ),
    getter(
        "getDayOfWeek",
        WITH_ZONE,
        "The day of the week. Sunday is 0.",
        &[(r#"timestamp("2025-01-31T00:00:00Z").getDayOfWeek()"#, "5")],
        |_, args, zone| calendar(args, zone, |at| i64::from(at.weekday().to_sunday_zero_offset())),
    ),
    getter(
        "getDayOfYear",
        WITH_ZONE,
        "The day of the year, from 0, as in CEL.",
        &[(r#"timestamp("2025-02-01T00:00:00Z").getDayOfYear()"#, "31")],
        |_, args, zone| calendar(args, zone, |at| i64::from(at.day_of_year()) - 1),
    ),
    getter(
        "getHours",
        OF_BOTH,
        "The hour of the day, or the whole hours of a duration.",
        &[(r#"timestamp("2025-01-31T12:30:00Z").getHours("America/New_York")"#, "7")],
        |_, args, zone| time_of_day(args, zone, 3600 * SECOND, |at| i64::from(at.hour())),
    ),
    getter(
        "getMinutes",
        OF_BOTH,
        "The minute of the hour, or the whole minutes of a duration.",
        &[(r#"duration("1h30m").getMinutes()"#, "90")],
        |_, args, zone| time_of_day(args, zone, 60 * SECOND, |at| i64::from(at.minute())),
    ),
    getter(
        "getSeconds",
        OF_BOTH,
        "The second of the minute, or the whole seconds of a duration.",
        &[(r#"duration("1m1.5s").getSeconds()"#, "61")],
        |_, args, zone| time_of_day(args, zone, SECOND, |at| i64::from(at.second())),
    ),
    getter(
        "getMilliseconds",
        OF_BOTH,
        "The milliseconds of the second, of a time or of a duration.",
        &[(r#"timestamp("2025-01-31T00:00:00.25Z").getMilliseconds()"#, "250")],
        |_, args, zone| {
            if let View::Duration(span) = args[0].view() {
                return Ok(Val::integer(BigDecimal::from(span % SECOND / 1_000_000)));
            }
            calendar(args, zone, |at| i64::from(at.millisecond()))
        },
    ),
];

const NO_SUCH_TIME: &str = "the number is not a time in the years -9999 to 9999, in whole nanoseconds";

const fn getter(
    name: &'static str,
    overloads: &'static [Overload],
    about: &'static str,
    examples: &'static [(&'static str, &'static str)],
    body: crate::expr::function::Body,
) -> Function {
    Function {
        name,
        style: Style::Method,
        overloads,
        about,
        examples,
        fails: Fails::Never,
        constant: Some((1, zone)),
        body,
    }
}

fn zone(constant: &Const) -> Result<Prepared, String> {
    let name = constant.text().ok_or("a time zone must be a text, such as \"Europe/Paris\"")?;
    // The bundled database: the result must not depend on the files of this system.
    let zone = TimeZoneDatabase::bundled().get(name);
    zone.map(Prepared::Zone).map_err(|_| "no time zone has this name; an example is \"Europe/Paris\"".to_owned())
}

fn calendar<'a>(args: &[Val<'a>], zone: &Prepared, f: impl FnOnce(&Zoned) -> i64) -> Result<Val<'a>, Stop> {
    let View::Timestamp(time) = args[0].view() else { return Err(Stop::Types) };
    let zone = match zone {
        Prepared::Zone(zone) => zone.clone(),
        Prepared::Nothing | Prepared::Pattern { .. } => TimeZone::UTC,
    };
    Ok(Val::integer(f(&time.to_zoned(zone))))
}

fn time_of_day<'a>(
    args: &[Val<'a>],
    zone: &Prepared,
    unit: i128,
    f: impl FnOnce(&Zoned) -> i64,
) -> Result<Val<'a>, Stop> {
    if let View::Duration(span) = args[0].view() {
        return Ok(Val::integer(BigDecimal::from(span / unit)));
    }
    calendar(args, zone, f)
}

fn epoch<'a>(args: &[Val<'a>], unit: i128) -> Result<Val<'a>, Stop> {
    let View::Timestamp(time) = args[0].view() else { return Err(Stop::Types) };
    Ok(Val::integer(BigDecimal::from(time.as_nanosecond().div_euclid(unit))))
}

fn from_epoch<'a>(args: &[Val<'a>], unit: i128) -> Result<Val<'a>, Stop> {
    let number = args[0].view().number().ok_or(Stop::Types)?;
    let nanoseconds = decimal::integer(&(number.as_ref() * BigDecimal::from(unit)));
    let time = nanoseconds.and_then(|nanoseconds| Timestamp::from_nanosecond(nanoseconds).ok());
    time.map(Val::Timestamp).ok_or(Stop::reason(NO_SUCH_TIME))
}

/// Whether the text has the form of RFC 3339. The parser of times accepts more.
fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let form = b"dddd-dd-ddTdd:dd:dd";
    let matches = |(byte, form): (&u8, &u8)| match form {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't'),
        other => byte == other,
    };
    if bytes.len() <= form.len() || !bytes.iter().zip(form).all(matches) {
        return false;
    }
    let mut rest = &text[form.len()..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=9).contains(&digits) {
            return false;
        }
        rest = &fraction[digits..];
    }
    let offset = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() == 6
            && matches!(bytes[0], b'+' | b'-')
            && bytes[3] == b':'
            && [1, 2, 4, 5].iter().all(|at| bytes[*at].is_ascii_digit())
    };
    matches!(rest, "Z" | "z") || offset(rest)
}

/// Parses a duration such as `1h30m` or `-1.5s`: nanoseconds.
fn parse_duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() || rest.len() > 60 {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let (unit, after) = [
            ("h", 3600 * SECOND),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("µs", 1_000),
            ("ns", 1),
            ("m", 60 * SECOND),
            ("s", SECOND),
        ]
        .iter()
        .find_map(|(name, unit)| after.strip_prefix(name).map(|after| (*unit, after)))?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if decimals.contains('.')
            || decimals.len() > 12
            || whole.len() > 18
            || number.len() == usize::from(number.contains('.'))
        {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let scale = 10_i128.pow(u32::try_from(decimals.len()).ok()?);
        let fraction: i128 = if decimals.is_empty() { 0 } else { decimals.parse().ok()? };
        if fraction * unit % scale != 0 {
            return None;
        }
        total = total.checked_add(whole.checked_mul(unit)?)?.checked_add(fraction * unit / scale)?;
        rest = after;
    }
    let total = if negative { -total } else { total };
    is_duration(total).then_some(total)
}

/// Whether this number of nanoseconds is a duration in CEL.
pub(in crate::expr) fn is_duration(span: i128) -> bool {
    span.abs() <= MAX_DURATION
}

/// Returns the text of a duration: seconds, as CEL writes it.
pub(super) fn duration_text(span: i128) -> String {
    let number = BigDecimal::new(span.into(), 9);
    format!("{}s", decimal::text(&number))
}

/// Returns a time plus a number of nanoseconds.
pub(in crate::expr) fn plus(time: Timestamp, span: i128) -> Option<Timestamp> {
    Timestamp::from_nanosecond(time.as_nanosecond().checked_add(span)?).ok()
}
