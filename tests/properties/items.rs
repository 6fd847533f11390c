//! Generates items with values of every type, and with every attribute that the generated plans use.

use backfill::internals::item::{Item, Num, Value};
use fastrand::Rng;

/// Texts, of which some are valid input for the plans' conversions and conditions.
const TEXTS: [&str; 18] = [
    "",
    "x",
    "xyz",
    "order",
    "user",
    "12.50",
    "007",
    "-1e3",
    "+7",
    "true",
    "false",
    "2026-01-31",
    "1970-01-01",
    "{}",
    r#"{"a":12345678901234567890123456789012345678,"b":[null,true]}"#,
    "[1,\"x\"]",
    "AAEC",
    "größer 😀",
];

/// Numbers, of which some are at DynamoDB's limits.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-5",
    "9",
    "12.5",
    "0.1",
    "100",
    "-0.00000000000000000000000000000000000001",
    "12345678901234567890123456789012345678",
    "99999999999999999999999999999999999999",
    // If these two numbers are versions, the first one can be raised three times, and the second one four times.
    "99999999999999999999999999999999999997",
    "99999999999999999999999999999999999996",
    "9.9e125",
    "1e-130",
];

/// Attributes that no plan uses.
const OTHERS: [&str; 4] = ["zz", "e-mail", "a.b", "\u{1f600}"];

fn one<T: Copy>(of: &[T], rng: &mut Rng) -> T {
    of[rng.usize(..of.len())]
}

fn text(rng: &mut Rng) -> String {
    match rng.u8(..4) {
        0 => (0..rng.usize(1..9)).map(|_| rng.lowercase()).collect(),
        _ => one(&TEXTS, rng).to_owned(),
    }
}

/// Generates a number in the form in which DynamoDB returns it.
fn number(rng: &mut Rng) -> Num {
    let number = match rng.u8(..3) {
        0 => Num::parse(&rng.i64(-1_000..1_000).to_string()),
        _ => Num::parse(one(&NUMBERS, rng)),
    };
    number.unwrap().stored()
}

/// Generates members of a set, sorted and without repetitions.
fn members<T: Ord>(rng: &mut Rng, mut member: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    let set: std::collections::BTreeSet<T> = (0..rng.usize(1..4)).map(|_| member(rng)).collect();
    set.into_iter().collect()
}

/// Generates a value of any type.
pub(crate) fn value(rng: &mut Rng, depth: usize) -> Value {
    match rng.u8(..if depth == 0 { 12 } else { 15 }) {
        0..=2 => Value::S(text(rng)),
        3..=5 => Value::N(number(rng)),
        6 => Value::B((0..rng.usize(1..5)).map(|_| rng.u8(..)).collect()),
        7 => Value::Bool(rng.bool()),
        8 => Value::Null,
        9 => Value::Ss(members(rng, |rng| one(&["x", "y", "migrated", "z"], rng).to_owned())),
        10 => {
            let numbers = members(rng, |rng| rng.i64(-3..9));
            Value::Ns(numbers.into_iter().map(|n| Num::parse(&n.to_string()).unwrap()).collect())
        }
        11 => Value::Bs(members(rng, |rng| vec![rng.u8(..), rng.u8(..)])),
        12 => Value::L((0..rng.usize(..4)).map(|_| value(rng, depth - 1)).collect()),
        _ => Value::M(
            (0..rng.usize(..4))
                .map(|_| (one(&["x", "y", "z", "p", "q"], rng).to_owned(), value(rng, depth - 1)))
                .collect(),
        ),
    }
}

/// Generates an element of a list or map. Most elements are maps.
fn element(rng: &mut Rng) -> Value {
    if rng.u8(..12) == 0 {
        return value(rng, 1);
    }
    let mut element = Item::new();
    for name in ["sku", "qty", "price", "d"] {
        let value = match (rng.u8(..10), name) {
            (0, _) => continue,
            (1, _) => value(rng, 1),
            (_, "sku") => Value::S(text(rng)),
            (_, "d") => Value::M(Item::from([("x".to_owned(), value(rng, 0))])),
            (_, _) => Value::N(number(rng)),
        };
        element.insert(name.to_owned(), value);
    }
    for name in ["product_id", "total", "kind"] {
        let value = match rng.u8(..16) {
            0..=12 => continue,
            13 => Value::Null,
            14 => element.get("sku").cloned().unwrap_or(Value::Bool(true)),
            _ => value(rng, 1),
        };
        element.insert(name.to_owned(), value);
    }
    Value::M(element)
}

/// Generates item number `n`.
pub(crate) fn item(n: usize, rng: &mut Rng) -> Item {
    let mut item = Item::new();
    item.insert("pk".to_owned(), Value::S(if rng.u8(..3) == 0 { "hot".to_owned() } else { format!("p{}", n / 2) }));
    item.insert("sk".to_owned(), Value::S(format!("{n:03}")));
    let usual = |name: &str, rng: &mut Rng| match name {
        "s1" => Value::S(text(rng)),
        "n1" | "v" => Value::N(number(rng)),
        "kind" => Value::S(one(&["order", "user"], rng).to_owned()),
        "tags" => Value::Ss(members(rng, |rng| one(&["x", "y", "migrated"], rng).to_owned())),
        "l" => Value::L((0..rng.usize(..4)).map(|_| Value::S(one(&["tagged", "b", "c"], rng).to_owned())).collect()),
        "m" | "u" => {
            Value::M((0..rng.usize(..3)).map(|_| (one(&["x", "y", "z", "p"], rng).to_owned(), value(rng, 1))).collect())
        }
        "lines" => Value::L((0..rng.usize(..4)).map(|_| element(rng)).collect()),
        "book" => Value::M((0..rng.usize(..4)).map(|n| (format!("k{n}"), element(rng))).collect()),
        _ => value(rng, 2),
    };
    for name in ["a", "b", "c", "s1", "n1", "m", "l", "tags", "kind", "v", "lines", "book"] {
        match rng.u8(..16) {
            0..=1 => {}
            2 => drop(item.insert(name.to_owned(), Value::Null)),
            3 => drop(item.insert(name.to_owned(), value(rng, 2))),
            _ => drop(item.insert(name.to_owned(), usual(name, rng))),
        }
    }
    for name in ["t1", "t2", "t3", "u", "ik", "eo", "ep", "em", "co", "cp"] {
        let value = match rng.u8(..16) {
            0..=9 => continue,
            10 => Value::Null,
            // This is often the value that a change would write.
            11..=12 => match item.get(one(&["a", "b", "c", "s1"], rng)) {
                Some(same) => same.clone(),
                None => continue,
            },
            13 => value(rng, 2),
            _ => usual(name, rng),
        };
        item.insert(name.to_owned(), value);
    }
    for name in OTHERS.into_iter().filter(|_| rng.u8(..6) == 0).collect::<Vec<_>>() {
        item.insert(name.to_owned(), value(rng, 3));
    }
    if rng.u8(..6) == 0 {
        item.insert("unlisted".to_owned(), value(rng, 1));
    }
    if !matches!(item.get("ik"), Some(Value::S(text)) if !text.is_empty()) {
        // DynamoDB would reject the item if the table had the index.
        item.remove("ik");
    }
    item
}
