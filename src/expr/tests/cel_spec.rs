//! The facts of CEL's own conformance tests: expressions and their results. `cel_spec.tsv` names their source.
//!
//! If an expression has no result in CEL, it either has no result here, or the plan is refused. Every other difference
//! is counted, with its reason.

use std::collections::BTreeMap;

use super::constant;
use crate::expr::{Expected, Expr};
use crate::item::Value;

const FACTS: &str = include_str!("cel_spec.tsv");

/// A fact: an expression, and its result in CEL. `None` means an error.
struct Fact {
    name: String,
    source: &'static str,
    result: Option<Value>,
}

fn facts() -> Vec<Fact> {
    let lines = FACTS.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut parts = line.split('\t');
            let mut part = || parts.next().unwrap_or_else(|| panic!("{line}"));
            let name = format!("{}: {}: {}", part(), part(), part());
            let (source, result) = (part(), part());
            let json = || Value::from_json(&serde_json::from_str(result).unwrap()).unwrap();
            Fact { name, source, result: (result != "error").then(json) }
        })
        .collect()
}

/// What this tool does with an expression.
#[derive(Debug, Clone, PartialEq)]
enum Found {
    Value(Value),
    NoResult(String),
    Refused(String),
}

fn found(source: &str) -> Found {
    if let Err(errors) = Expr::compile(source, Expected::Value) {
        return Found::Refused(errors.into_iter().map(|error| error.title).collect::<Vec<_>>().join("; "));
    }
    match constant(source) {
        Ok(value) => Found::Value(value),
        Err(why) => Found::NoResult(why),
    }
}

fn agrees(fact: &Fact, found: &Found) -> bool {
    match (&fact.result, found) {
        (Some(due), Found::Value(value)) => due.type_name() == value.type_name() && due == value,
        (None, Found::NoResult(_) | Found::Refused(_)) => true,
        (_, _) => false,
    }
}

/// Why this tool does not reproduce a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// A function, macro or name that does not exist here: `format`, `quote`, `int`, `double`, `bool`, optional values,
    /// macros with two variables.
    Name,
    /// The keys of a map are texts.
    MapKeys,
    /// Booleans have no order, there is no NaN, a number alone is not a time, and values of two types are not compared.
    NoResult,
    /// `indexOf` and `lastIndexOf` have one form.
    Arguments,
    /// A time zone has a name, not an offset.
    Offset,
    /// The smallest positive number in DynamoDB is 1E-130, a position has no decimal point, and brackets are nested at
    /// most 24 deep.
    Limit,
    /// Numbers are exact and have 38 digits: they are not rounded like doubles, and do not overflow at 64 bits. `-` and
    /// `%` take every number.
    Numbers,
}

/// The number of facts that this tool does not reproduce, by reason.
const DIFFERENT: [(Reason, usize); 7] = [
    (Reason::Name, 195),
    (Reason::MapKeys, 34),
    (Reason::NoResult, 46),
    (Reason::Arguments, 13),
    (Reason::Offset, 5),
    (Reason::Limit, 3),
    (Reason::Numbers, 23),
];

/// The number of facts that this tool reproduces.
const SAME: usize = 921;

fn reason(fact: &Fact, found: &Found) -> Option<Reason> {
    const NAMES: [&str; 2] = ["there is no function", "there is no variable"];
    const LIMITS: [&str; 3] =
        ["cannot store this number", "a position in a list must be a whole number", "brackets are nested"];
    let refused = match found {
        Found::Value(Value::Bool(_) | Value::N(_)) if fact.name.contains("math") => return Some(Reason::Numbers),
        Found::Value(Value::Bool(_)) if fact.source.contains("9223372036854775") => return Some(Reason::Numbers),
        Found::Value(_) => return None,
        Found::NoResult(why) => return why.contains("compares values of one type").then_some(Reason::NoResult),
        Found::Refused(why) => why,
    };
    let has = |part: &&str| refused.contains(*part);
    if NAMES.iter().any(has) {
        return Some(Reason::Name);
    }
    if LIMITS.iter().any(has) {
        return Some(Reason::Limit);
    }
    [
        ("the keys of a map must be constant texts", Reason::MapKeys),
        ("this constant part has no result", Reason::NoResult),
        ("has the wrong number of arguments", Reason::Arguments),
        ("no time zone has this name", Reason::Offset),
    ]
    .into_iter()
    .find_map(|(part, reason)| refused.contains(part).then_some(reason))
}

#[test]
fn expressions_have_the_results_that_cel_states() {
    let (mut same, mut different) = (0, BTreeMap::new());
    for fact in facts() {
        let found = found(fact.source);
        if agrees(&fact, &found) {
            same += 1;
            continue;
        }
        let Some(reason) = reason(&fact, &found) else {
            panic!("{}: {} is {found:?}, but in CEL {:?}", fact.name, fact.source, fact.result)
        };
        *different.entry(reason).or_insert(0) += 1;
    }
    assert_eq!(different, BTreeMap::from(DIFFERENT));
    assert_eq!(same, SAME);
}
