//! Functions of texts. Positions count characters (Unicode code points), as in CEL.

use regex::RegexBuilder;

use crate::expr::decimal;
use crate::expr::function::{Fails, Form, Function, Prepared, Returns, Stop, Style, list, overload, p};
use crate::expr::run::Run;
use crate::expr::types::Kinds;
use crate::expr::value::{Const, Val, View, weight};
use crate::item::Value;

const S: Kinds = Kinds::S;
const N: Kinds = Kinds::N;
const BOOL: Returns = Returns::Kinds(Kinds::BOOL);
const TEXT: Returns = Returns::Kinds(Kinds::S);
const NUMBER: Returns = Returns::Kinds(Kinds::N);

/// The maximum size of a compiled pattern.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// In the worst case, the matcher visits every state of the pattern for every byte of the text. So for each byte of the
/// text, `matches` counts one step per this number of bytes of the pattern's size. The number is chosen so that all
/// steps of an evaluation take a few seconds.
const PATTERN_BYTES_OF_A_STEP: u64 = 1 << 11;

const OUT_OF_RANGE: &str = "a position is not a whole number inside the text";

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "contains",
        style: Style::Method,
        overloads: &[overload(&[p(S), p(S)], BOOL)],
        about: "Whether the text contains the other text.",
        examples: &[(r#""backfill".contains("fill")"#, "true")],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| two_texts(run, args, |a, b| Val::Bool(a.contains(b))),
    },
    Function {
        name: "startsWith",
        style: Style::Method,
        overloads: &[overload(&[p(S), p(S)], BOOL)],
        about: "Whether the text starts with the other text.",
        examples: &[(r#""ORDER#1".startsWith("ORDER#")"#, "true")],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| two_texts(run, args, |a, b| Val::Bool(a.starts_with(b))),
    },
    Function {
        name: "endsWith",
        style: Style::Method,
        overloads: &[overload(&[p(S), p(S)], BOOL)],
        about: "Whether the text ends with the other text.",
        examples: &[(r#""photo.jpg".endsWith(".png")"#, "false")],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| two_texts(run, args, |a, b| Val::Bool(a.ends_with(b))),
    },
    Function {
        name: "matches",
        style: Style::Both,
        overloads: &[overload(&[p(S), p(S)], BOOL)],
        about: "Whether any part of the text matches the pattern. The pattern is a constant in RE2 syntax. `^` and `$` match the start and the end of the text.",
        examples: &[(r#""2025-01-31".matches("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")"#, "true")],
        fails: Fails::Never,
        constant: Some((1, pattern)),
        body: |run, args, prepared| {
            let text = args[0].view().text().ok_or(Stop::Types)?;
            let Prepared::Pattern { pattern, states, .. } = prepared else { return Err(Stop::Types) };
            run.spend(1 + text.len() as u64 * *states as u64 / PATTERN_BYTES_OF_A_STEP)?;
            Ok(Val::Bool(pattern.is_match(text)))
        },
    },
    Function {
        name: "lowerAscii",
        style: Style::Method,
        overloads: &[overload(&[p(S)], TEXT)],
        about: "The text with the letters A to Z in lower case. Other letters stay.",
        examples: &[(r#""Ann@Example.COM".lowerAscii()"#, r#""ann@example.com""#)],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| one_text(run, args, str::to_ascii_lowercase),
    },
    Function {
        name: "upperAscii",
        style: Style::Method,
        overloads: &[overload(&[p(S)], TEXT)],
        about: "The text with the letters a to z in upper case. Other letters stay.",
        examples: &[(r#""eur".upperAscii()"#, r#""EUR""#)],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| one_text(run, args, str::to_ascii_uppercase),
    },
    Function {
        name: "trim",
        style: Style::Method,
        overloads: &[overload(&[p(S)], TEXT)],
        about: "The text without white space at its ends.",
        examples: &[(r#""  a b ".trim()"#, r#""a b""#)],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| one_text(run, args, |text| text.trim().to_owned()),
    },
    Function {
        name: "reverse",
        style: Style::Method,
        overloads: &[overload(&[p(S)], TEXT), overload(&[p(Kinds::L)], Returns::SameList)],
        about: "The characters or elements in reverse order.",
        examples: &[(r#""abc".reverse()"#, r#""cba""#), ("[1, 2].reverse()", "[2, 1]")],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| {
            if let View::L(list) = args[0].view() {
                run.spend(1 + list.iter().map(weight).sum::<u64>())?;
                return Ok(Val::Own(Value::L(list.iter().rev().cloned().collect())));
            }
            one_text(run, args, |text| text.chars().rev().collect())
        },
    },
    Function {
        name: "replace",
        style: Style::Method,
        overloads: &[overload(&[p(S), p(S), p(S)], TEXT), overload(&[p(S), p(S), p(S), p(N)], TEXT)],
        about: "The text with every occurrence of the second text replaced by the third; with a number, at most this number of occurrences. A negative number means all.",
        examples: &[(r#""a-b-c".replace("-", "_")"#, r#""a_b_c""#), (r#""a-b-c".replace("-", "", 1)"#, r#""ab-c""#)],
        fails: Fails::Unless(replace_limit_is_whole, "the number of occurrences is not whole"),
        constant: None,
        body: replace,
    },
    Function {
        name: "split",
        style: Style::Method,
        overloads: &[overload(&[p(S), p(S)], Returns::List(S)), overload(&[p(S), p(S), p(N)], Returns::List(S))],
        about: "The parts of the text between the separators; with a number, at most this number of parts. A negative number means all.",
        examples: &[
            (r##""a#b#c".split("#")"##, r#"["a", "b", "c"]"#),
            (r##""a#b#c".split("#", 2)"##, r##"["a", "b#c"]"##),
        ],
        fails: Fails::Unless(split_limit_is_whole, "the number of parts is not whole"),
        constant: None,
        body: split,
    },
    Function {
        name: "join",
        style: Style::Method,
        overloads: &[overload(&[list(S)], TEXT), overload(&[list(S), p(S)], TEXT)],
        about: "The texts of the list in one text, with the separator between them.",
        examples: &[(r#"["a", "b"].join("-")"#, r#""a-b""#), (r#"["a", "b"].join()"#, r#""ab""#)],
        fails: Fails::Never,
        constant: None,
        body: join,
    },
    Function {
        name: "substring",
        style: Style::Method,
        overloads: &[overload(&[p(S), p(N)], TEXT), overload(&[p(S), p(N), p(N)], TEXT)],
        about: "The part of the text from the first position up to, but not including, the second position. Without a second position, the part ends with the text. Positions start at 0.",
        examples: &[(r#""2025-01-31".substring(0, 4)"#, r#""2025""#), (r#""ORDER#17".substring(6)"#, r#""17""#)],
        fails: Fails::Unless(starts_at_zero, OUT_OF_RANGE),
        constant: None,
        body: substring,
    },
    Function {
        name: "charAt",
        style: Style::Method,
        overloads: &[overload(&[p(S), p(N)], TEXT)],
        about: "The character at a position, from 0. At the position after the last character, the result is the empty text.",
        examples: &[(r#""abc".charAt(1)"#, r#""b""#)],
        fails: Fails::Unless(starts_at_zero, OUT_OF_RANGE),
        constant: None,
        body: |run, args, _| {
            let text = args[0].view().text().ok_or(Stop::Types)?;
            run.spend_bytes(text.len())?;
            let start = offset(text, &args[1])?;
            Ok(Val::text(text[start..].chars().next().map(String::from).unwrap_or_default()))
        },
    },
    Function {
        name: "indexOf",
        style: Style::Method,
        overloads: &[overload(&[p(S), p(S)], NUMBER)],
        about: "The position of the first occurrence of the other text, or -1.",
        examples: &[(r##""a#b#c".indexOf("#")"##, "1"), (r#""abc".indexOf("x")"#, "-1")],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| two_texts(run, args, |a, b| position(a, a.find(b))),
    },
    Function {
        name: "lastIndexOf",
        style: Style::Method,
        overloads: &[overload(&[p(S), p(S)], NUMBER)],
        about: "The position of the last occurrence of the other text, or -1.",
        examples: &[(r##""a#b#c".lastIndexOf("#")"##, "3")],
        fails: Fails::Never,
        constant: None,
        body: |run, args, _| two_texts(run, args, |a, b| position(a, a.rfind(b))),
    },
];

fn one_text<'a>(run: &mut Run<'a>, args: &[Val<'a>], f: fn(&str) -> String) -> Result<Val<'a>, Stop> {
    let text = args[0].view().text().ok_or(Stop::Types)?;
    run.spend_bytes(text.len())?;
    Ok(Val::text(f(text)))
}

fn two_texts<'a>(run: &mut Run<'a>, args: &[Val<'a>], f: impl FnOnce(&str, &str) -> Val<'a>) -> Result<Val<'a>, Stop> {
    let (View::S(a), View::S(b)) = (args[0].view(), args[1].view()) else { return Err(Stop::Types) };
    run.spend_bytes(a.len() + b.len())?;
    Ok(f(a, b))
}

fn position<'a>(text: &str, at: Option<usize>) -> Val<'a> {
    match at {
        Some(at) => Val::integer(text[..at].chars().count() as u64),
        None => Val::integer(-1),
    }
}

fn pattern(constant: &Const) -> Result<Prepared, String> {
    let text = constant.text().ok_or("a pattern is a text")?;
    let build = |limit: usize| RegexBuilder::new(text).size_limit(limit).build();
    match smallest(&[1 << 13, 1 << 16, 1 << 18, MAX_PATTERN_BYTES], build) {
        Ok((pattern, bytes)) => {
            Ok(Prepared::Pattern { pattern: Box::new(pattern), bytes, states: states(text).unwrap_or(bytes) })
        }
        Err(regex::Error::CompiledTooBig(_)) => Err("the pattern is too large".to_owned()),
        Err(other) => Err(last_line(&other.to_string())),
    }
}

/// Returns the approximate size of a pattern whose classes have only ASCII characters. It is proportional to the number
/// of states that the matcher visits in the worst case. A class such as `\w` has a large table, but few states. Returns
/// `None` if the pattern names other characters in a class.
fn states(pattern: &str) -> Option<usize> {
    let limits: Vec<usize> = (11..=20).map(|bits| 1 << bits).collect();
    let build = |limit: usize| regex::bytes::RegexBuilder::new(pattern).unicode(false).size_limit(limit).build();
    smallest(&limits, build).ok().map(|(_, bytes)| bytes)
}

/// Builds a pattern with the smallest of these limits that is large enough, because the library does not report the
/// size of a pattern.
fn smallest<R>(limits: &[usize], build: impl Fn(usize) -> Result<R, regex::Error>) -> Result<(R, usize), regex::Error> {
    let mut too_big = regex::Error::CompiledTooBig(0);
    for limit in limits {
        match build(*limit) {
            Ok(built) => return Ok((built, *limit)),
            Err(error @ regex::Error::CompiledTooBig(_)) => too_big = error,
            Err(other) => return Err(other),
        }
    }
    Err(too_big)
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").to_owned()
}

/// Returns the number of characters or parts, if it is whole. A negative number means all.
fn limit(args: &[Val<'_>], at: usize) -> Result<Option<usize>, Stop> {
    let Some(arg) = args.get(at) else { return Ok(None) };
    let number = arg.view().number().ok_or(Stop::Types)?;
    match decimal::integer(&number) {
        Some(count) if count < 0 => Ok(None),
        Some(count) => Ok(Some(usize::try_from(count).unwrap_or(usize::MAX))),
        None => Err(Stop::reason("the number of occurrences or parts is not whole")),
    }
}

fn split_limit_is_whole(args: &[Form<'_>]) -> bool {
    is_absent_or_whole(args.get(2))
}

fn replace_limit_is_whole(args: &[Form<'_>]) -> bool {
    is_absent_or_whole(args.get(3))
}

fn is_absent_or_whole(limit: Option<&Form<'_>>) -> bool {
    match limit {
        None => true,
        Some(Form::Const(limit)) => limit.view().number().is_some_and(|number| decimal::integer(&number).is_some()),
        Some(Form::WrittenList | Form::Other) => false,
    }
}

fn starts_at_zero(args: &[Form<'_>]) -> bool {
    let [_, Form::Const(start)] = args else { return false };
    start.view().number().is_some_and(|number| decimal::integer(&number) == Some(0))
}

fn replace<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let texts = (args[0].view().text(), args[1].view().text(), args[2].view().text());
    let (Some(text), Some(from), Some(to)) = texts else { return Err(Stop::Types) };
    let count = limit(args, 3)?.unwrap_or(usize::MAX);
    run.spend_bytes(text.len())?;
    let found = text.matches(from).take(count).count();
    run.spend_bytes(text.len().saturating_add(found.saturating_mul(to.len())))?;
    Ok(Val::text(text.replacen(from, to, count)))
}

fn split<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let (Some(text), Some(by)) = (args[0].view().text(), args[1].view().text()) else { return Err(Stop::Types) };
    let count = limit(args, 2)?;
    run.spend_bytes(text.len())?;
    let part = |text: &str| Value::S(text.to_owned());
    // With an empty separator, the parts are the characters.
    let parts: Vec<Value> = match (count, by.is_empty()) {
        (Some(0), _) => Vec::new(),
        (None, false) => text.split(by).map(part).collect(),
        (Some(count), false) => text.splitn(count, by).map(part).collect(),
        (None, true) => text.chars().map(|c| Value::S(c.to_string())).collect(),
        (Some(count), true) => characters(text, count),
    };
    run.spend(parts.len() as u64)?;
    Ok(Val::Own(Value::L(parts)))
}

fn characters(text: &str, count: usize) -> Vec<Value> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = if parts.len() + 1 == count { rest.len() } else { c.len_utf8() };
        parts.push(Value::S(rest[..end].to_owned()));
        rest = &rest[end..];
    }
    parts
}

fn join<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let parts = args[0].view().list().ok_or(Stop::Types)?;
    let separator = match args.get(1) {
        Some(separator) => separator.view().text().ok_or(Stop::Types)?,
        None => "",
    };
    run.spend(parts.len() as u64)?;
    let mut joined = String::new();
    for (at, part) in parts.iter().enumerate() {
        let Value::S(part) = part else { return Err(Stop::reason("an element of the list is not of type S")) };
        if at > 0 {
            joined.push_str(separator);
        }
        joined.push_str(part);
        run.spend_bytes(joined.len().min(separator.len() + part.len()))?;
        if joined.len() > crate::expr::run::MAX_BYTES {
            run.spend_bytes(joined.len())?;
        }
    }
    Ok(Val::text(joined))
}

/// Returns the byte offset of a position in characters.
fn offset(text: &str, position: &Val<'_>) -> Result<usize, Stop> {
    let number = position.view().number().ok_or(Stop::Types)?;
    let position = decimal::integer(&number).and_then(|position| usize::try_from(position).ok());
    let offsets = || text.char_indices().map(|(at, _)| at).chain([text.len()]);
    position.and_then(|position| offsets().nth(position)).ok_or(Stop::reason(OUT_OF_RANGE))
}

fn substring<'a>(run: &mut Run<'a>, args: &mut [Val<'a>], _: &Prepared) -> Result<Val<'a>, Stop> {
    let text = args[0].view().text().ok_or(Stop::Types)?;
    run.spend_bytes(text.len())?;
    let start = offset(text, &args[1])?;
    let end = match args.get(2) {
        Some(end) => offset(text, end)?,
        None => text.len(),
    };
    match text.get(start..end) {
        Some(part) => Ok(Val::text(part)),
        None => Err(Stop::reason("the part would end before it starts")),
    }
}
