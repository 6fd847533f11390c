//! The expressions, conversions and constants of the generated plans. Each one has a second implementation in plain
//! code, which shares nothing with the tool's evaluator and conversions.

use std::collections::BTreeSet;

use backfill::internals::item::{Item, Num, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bigdecimal::{BigDecimal, Zero as _};

/// A condition of `where`.
pub(crate) struct Condition {
    pub(crate) source: &'static str,
    /// The attributes that the condition reads, except key attributes.
    pub(crate) reads: &'static [&'static str],
    /// Returns the condition's result for an item. Returns `None` if the condition has no result.
    pub(crate) is_true: fn(&Item) -> Option<bool>,
}

pub(crate) const CONDITIONS: [Condition; 10] = [
    Condition { source: "item.sk < \"03\"", reads: &[], is_true: |item| Some(text(item, "sk")? < "03") },
    Condition { source: "has(item.kind)", reads: &["kind"], is_true: |item| Some(item.contains_key("kind")) },
    Condition {
        source: "has(item.kind) && item.kind == \"order\"",
        reads: &["kind"],
        is_true: |item| match item.get("kind") {
            // A NULL never equals a value of another type.
            None | Some(Value::Null) => Some(false),
            Some(Value::S(kind)) => Some(kind == "order"),
            Some(_) => None,
        },
    },
    Condition {
        source: "type(item.b) == \"N\" && item.b > 5",
        reads: &["b"],
        is_true: |item| match item.get("b") {
            Some(Value::N(number)) => Some(decimal(number) > 5),
            _ => Some(false),
        },
    },
    Condition { source: "!has(item.t1)", reads: &["t1"], is_true: |item| Some(!item.contains_key("t1")) },
    Condition {
        source: "item.s1.startsWith(\"x\")",
        reads: &["s1"],
        is_true: |item| Some(text(item, "s1")?.starts_with('x')),
    },
    Condition {
        source: "type(item.a) in [\"S\", \"N\"] || has(item.c)",
        reads: &["a", "c"],
        is_true: |item| Some(matches!(item.get("a"), Some(Value::S(_) | Value::N(_))) || item.contains_key("c")),
    },
    Condition {
        source: "type(item.s1) == \"S\" && item.s1.startsWith(\"x\")",
        reads: &["s1"],
        is_true: |item| Some(text(item, "s1").is_some_and(|text| text.starts_with('x'))),
    },
    // If `c` exists, the condition is true. If `c` is removed, the condition can be without a result.
    Condition {
        source: "has(item.c) || item.n1 > 0",
        reads: &["c", "n1"],
        is_true: |item| match item.get("n1") {
            _ if item.contains_key("c") => Some(true),
            Some(Value::N(number)) => Some(decimal(number) > 0),
            _ => None,
        },
    },
    Condition {
        source: "!has(item.c) && item.a != \"x\"",
        reads: &["a", "c"],
        is_true: |item| match item.get("a") {
            _ if item.contains_key("c") => Some(false),
            Some(Value::S(a)) => Some(a != "x"),
            Some(Value::Null) => Some(true),
            _ => None,
        },
    },
];

/// An expression of `compute`.
pub(crate) struct Formula {
    pub(crate) source: &'static str,
    pub(crate) value: fn(&Item) -> Option<Value>,
}

pub(crate) const FORMULAS: [Formula; 9] = [
    Formula {
        source: "item.s1 + \"#\" + item.sk",
        value: |item| Some(Value::S(format!("{}#{}", text(item, "s1")?, text(item, "sk")?))),
    },
    Formula {
        source: "item.n1 + 1",
        value: |item| match item.get("n1") {
            Some(Value::N(number)) => number_of(&(decimal(number) + BigDecimal::from(1))),
            _ => None,
        },
    },
    Formula {
        source: "type(item.a) == \"S\" ? item.a : \"none\"",
        value: |item| Some(Value::S(text(item, "a").unwrap_or("none").to_owned())),
    },
    Formula {
        source: "type(item.l) == \"L\" ? size(item.l) : 0",
        value: |item| match item.get("l") {
            Some(Value::L(list)) => number_of(&BigDecimal::from(list.len() as u64)),
            _ => number_of(&BigDecimal::zero()),
        },
    },
    Formula {
        source: "string(item.n1)",
        value: |item| match item.get("n1") {
            Some(Value::N(number)) => Some(Value::S(plain(&decimal(number)))),
            Some(Value::S(same)) => Some(Value::S(same.clone())),
            Some(Value::Bool(flag)) => Some(Value::S(flag.to_string())),
            // The conversion from bytes to text has no result for bytes that are not UTF-8. The generated attribute
            // never contains bytes.
            _ => None,
        },
    },
    Formula {
        source: "[item.a, item.b]",
        value: |item| Some(Value::L(vec![item.get("a")?.clone(), item.get("b")?.clone()])),
    },
    Formula {
        source: "has(item.m.x) ? item.m.x : item.sk",
        value: |item| match item.get("m") {
            Some(Value::M(map)) if map.contains_key("x") => map.get("x").cloned(),
            _ => item.get("sk").cloned(),
        },
    },
    Formula {
        source: "{\"was\": item.c}",
        value: |item| Some(Value::M(Item::from([("was".to_owned(), item.get("c")?.clone())]))),
    },
    Formula {
        source: "item.s1.size() > 2 ? \"long\" : \"short\"",
        value: |item| {
            let size = match item.get("s1")? {
                Value::S(text) => text.chars().count(),
                Value::B(bytes) => bytes.len(),
                Value::L(list) => list.len(),
                Value::M(map) => map.len(),
                Value::Ss(set) => set.len(),
                Value::Ns(set) => set.len(),
                Value::Bs(set) => set.len(),
                Value::N(_) | Value::Bool(_) | Value::Null => return None,
            };
            Some(Value::S(if size > 2 { "long" } else { "short" }.to_owned()))
        },
    },
];

/// A computed value that replaces an old attribute.
pub(crate) struct Replacement {
    pub(crate) old: &'static str,
    pub(crate) source: &'static str,
    /// `NEW` stands for the new attribute.
    pub(crate) inverse: &'static str,
    pub(crate) value: fn(&Item) -> Option<Value>,
}

pub(crate) const REPLACEMENTS: [Replacement; 2] = [
    Replacement {
        old: "a",
        source: "\"n:\" + item.a",
        inverse: "NEW.substring(2)",
        value: |item| Some(Value::S(format!("n:{}", text(item, "a")?))),
    },
    Replacement {
        old: "n1",
        source: "item.n1 * 2",
        inverse: "NEW / 2",
        value: |item| match item.get("n1") {
            Some(Value::N(number)) => number_of(&(decimal(number) * BigDecimal::from(2))),
            _ => None,
        },
    },
];

/// A conversion.
pub(crate) struct Conversion {
    pub(crate) source: &'static str,
    /// Returns the converted value, or `None` if the value cannot be converted.
    pub(crate) value: fn(&Value) -> Option<Value>,
    /// Returns whether a value is already converted.
    pub(crate) is_done: fn(&Value) -> bool,
}

pub(crate) const CONVERSIONS: [Conversion; 8] = [
    Conversion {
        source: "to = \"N\"",
        value: |value| if let Value::S(text) = value { read_number(text) } else { None },
        is_done: |value| matches!(value, Value::N(_)),
    },
    Conversion {
        source: "to = \"S\"",
        value: |value| match value {
            Value::N(number) => Some(Value::S(plain(&decimal(number)))),
            Value::Bool(flag) => Some(Value::S(flag.to_string())),
            _ => None,
        },
        is_done: |value| matches!(value, Value::S(_)),
    },
    Conversion {
        source: "to = \"BOOL\"",
        value: |value| match value {
            Value::S(text) => text.parse().ok().map(Value::Bool),
            Value::N(number) if decimal(number).is_zero() => Some(Value::Bool(false)),
            Value::N(number) if decimal(number) == 1 => Some(Value::Bool(true)),
            _ => None,
        },
        is_done: |value| matches!(value, Value::Bool(_)),
    },
    Conversion {
        source: "to = \"M\"",
        // The generated texts contain only these objects.
        value: |value| match value {
            Value::S(text) if text == "{}" => Some(Value::M(Item::new())),
            Value::S(text) if text == r#"{"a":12345678901234567890123456789012345678,"b":[null,true]}"# => {
                let number = Value::N(Num::parse("12345678901234567890123456789012345678").unwrap());
                let list = Value::L(vec![Value::Null, Value::Bool(true)]);
                Some(Value::M(Item::from([("a".to_owned(), number), ("b".to_owned(), list)])))
            }
            _ => None,
        },
        is_done: |value| matches!(value, Value::M(_)),
    },
    Conversion {
        source: "to = \"L\"",
        value: |value| match value {
            Value::S(text) if text == "[1,\"x\"]" => {
                Some(Value::L(vec![Value::N(Num::parse("1").unwrap()), Value::S("x".to_owned())]))
            }
            Value::Ss(set) => Some(Value::L(BTreeSet::from_iter(set).into_iter().cloned().map(Value::S).collect())),
            Value::Bs(set) => Some(Value::L(BTreeSet::from_iter(set).into_iter().cloned().map(Value::B).collect())),
            Value::Ns(set) => {
                let mut numbers: Vec<BigDecimal> = set.iter().map(decimal).collect();
                numbers.sort();
                numbers.iter().map(number_of).collect::<Option<Vec<Value>>>().map(Value::L)
            }
            _ => None,
        },
        is_done: |value| matches!(value, Value::L(_)),
    },
    Conversion {
        source: "to = \"SS\"",
        value: |value| {
            let Value::L(list) = value else { return None };
            let texts = list.iter().map(|member| if let Value::S(text) = member { Some(text.clone()) } else { None });
            let texts: Vec<String> = texts.collect::<Option<_>>()?;
            let set: BTreeSet<String> = texts.iter().cloned().collect();
            (!set.is_empty() && set.len() == texts.len()).then(|| Value::Ss(set.into_iter().collect()))
        },
        is_done: |value| matches!(value, Value::Ss(_)),
    },
    Conversion {
        source: "to = \"B\"",
        value: |value| if let Value::S(text) = value { BASE64.decode(text).ok().map(Value::B) } else { None },
        is_done: |value| matches!(value, Value::B(_)),
    },
    Conversion {
        source: "to = \"epoch-seconds\"\nformats = [\"%Y-%m-%d\"]\nzone = \"UTC\"",
        // The generated texts contain only these dates.
        value: |value| match value {
            Value::S(text) if text == "2026-01-31" => number_of(&BigDecimal::from(1_769_817_600)),
            Value::S(text) if text == "1970-01-01" => number_of(&BigDecimal::zero()),
            _ => None,
        },
        // The range extends from the year -9999 to the year 9999.
        is_done: |value| match value {
            Value::N(number) => {
                let seconds = decimal(number);
                seconds.is_integer()
                    && (BigDecimal::from(-377_705_023_201_i64)..=BigDecimal::from(253_402_207_200_i64))
                        .contains(&seconds)
            }
            _ => false,
        },
    },
];

/// A value, with its TOML text.
pub(crate) type NamedValue = (&'static str, fn() -> Value);

/// The constants of `set`: the TOML text, and the value.
pub(crate) const CONSTANTS: [NamedValue; 7] = [
    ("\"free\"", || Value::S("free".to_owned())),
    ("{ N = \"12345678901234567890123456789012345678\" }", || {
        Value::N(Num::parse("12345678901234567890123456789012345678").unwrap())
    }),
    ("true", || Value::Bool(true)),
    ("{ NULL = true }", || Value::Null),
    ("{ SS = [\"x\", \"y\"] }", || Value::Ss(vec!["x".to_owned(), "y".to_owned()])),
    ("{ M = { a = { L = [{ N = \"1\" }] } } }", || {
        Value::M(Item::from([("a".to_owned(), Value::L(vec![Value::N(Num::parse("1").unwrap())]))]))
    }),
    ("{ B = \"AAEC\" }", || Value::B(vec![0, 1, 2])),
];

/// The values that `append` adds, each with its TOML text. If the value is a set, `append` adds each of its members. If
/// not, it adds the value as one element.
pub(crate) const ADDITIONS: [NamedValue; 4] = [
    ("values = { SS = [\"migrated\", \"x\"] }", || Value::Ss(vec!["migrated".to_owned(), "x".to_owned()])),
    ("values = { NS = [\"7\"] }", || Value::Ns(vec![Num::parse("7").unwrap()])),
    ("value = \"tagged\"", || Value::S("tagged".to_owned())),
    ("value = { N = \"0.1\" }", || Value::N(Num::parse("0.1").unwrap())),
];

pub(crate) fn text<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    if let Some(Value::S(text)) = item.get(name) { Some(text) } else { None }
}

/// Returns the exact value of a number.
pub(crate) fn decimal(number: &Num) -> BigDecimal {
    number.as_str().parse().unwrap()
}

/// Returns a number that DynamoDB can store.
pub(crate) fn number_of(value: &BigDecimal) -> Option<Value> {
    Num::parse(&plain(value)).ok().map(Value::N)
}

fn plain(value: &BigDecimal) -> String {
    value.normalized().to_plain_string()
}

/// Parses a text as a number: digits, with an optional `-`, point and exponent.
fn read_number(text: &str) -> Option<Value> {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '.' | 'e' | 'E');
    if !text.chars().all(is_part) || !text.chars().any(|c| c.is_ascii_digit()) {
        return None;
    }
    text.parse::<BigDecimal>().ok().as_ref().and_then(number_of)
}
