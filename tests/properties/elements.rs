//! Generates changes in the elements of a list or map (`each`), and defines expressions over an element.

use backfill::internals::change::OnExisting;
use backfill::internals::item::{Item, Value};
use bigdecimal::{BigDecimal, Zero as _};
use fastrand::Rng;

use super::facts::{CONDITIONS, CONSTANTS, CONVERSIONS, decimal, number_of};
use super::spec::{ChangeSpec, Kind};

/// The lists and maps whose elements the plans change. Other changes use `m` and `l` too.
const CONTAINERS: [&str; 8] = ["lines", "book", "lines", "book", "lines", "book", "m", "l"];

/// The paths in an element from which the changes read, or which they remove.
const SOURCES: [&str; 4] = ["sku", "qty", "price", "d.x"];

/// The paths in an element to which the changes write.
const TARGETS: [&str; 4] = ["product_id", "total", "d.y", "kind"];

/// An expression of `compute` over an element.
pub(crate) struct ElementFormula {
    pub(crate) source: &'static str,
    /// The arguments are the item and the element.
    pub(crate) value: fn(&Item, &Value) -> Option<Value>,
}

fn member<'v>(element: &'v Value, name: &str) -> Option<&'v Value> {
    if let Value::M(map) = element { map.get(name) } else { None }
}

pub(crate) const ELEMENT_FORMULAS: [ElementFormula; 5] = [
    ElementFormula {
        source: "has(element.qty) && type(element.price) == \"N\" && type(element.qty) == \"N\" \
                 ? element.qty * element.price : 0",
        value: |_, element| match (member(element, "qty"), member(element, "price")) {
            (Some(Value::N(qty)), Some(Value::N(price))) => number_of(&(decimal(qty) * decimal(price))),
            _ => number_of(&BigDecimal::zero()),
        },
    },
    ElementFormula {
        source: "type(element) == \"M\" ? item.sk : \"none\"",
        value: |item, element| match element {
            Value::M(_) => item.get("sk").cloned(),
            _ => Some(Value::S("none".to_owned())),
        },
    },
    ElementFormula {
        source: "element.sku + \"#\" + item.pk",
        value: |item, element| match (member(element, "sku"), item.get("pk")) {
            (Some(Value::S(sku)), Some(Value::S(pk))) => Some(Value::S(format!("{sku}#{pk}"))),
            _ => None,
        },
    },
    ElementFormula {
        source: "has(element.d.x) ? element.d.x : item.n1",
        value: |item, element| match member(element, "d").and_then(|inner| member(inner, "x")) {
            Some(value) => Some(value.clone()),
            None => item.get("n1").cloned(),
        },
    },
    ElementFormula {
        source: "type(element) == \"M\" ? \"of \" + item.kind : \"none\"",
        value: |item, element| match (element, item.get("kind")) {
            (Value::M(_), Some(Value::S(kind))) => Some(Value::S(format!("of {kind}"))),
            (Value::M(_), _) => None,
            _ => Some(Value::S("none".to_owned())),
        },
    },
];

/// Generates the changes in the elements of one list or map. Most groups are valid.
pub(crate) fn group(rng: &mut Rng) -> ChangeSpec {
    let (mut sources, mut targets) = (SOURCES.to_vec(), TARGETS.to_vec());
    rng.shuffle(&mut sources);
    rng.shuffle(&mut targets);
    let mut edits = Vec::new();
    for _ in 0..rng.usize(1..=3) {
        let (Some(from), Some(to)) = (sources.pop(), targets.pop()) else { break };
        let kind = match rng.u8(..16) {
            0..=3 => Kind::Move { from, to },
            4..=6 => Kind::Set { to, constant: rng.usize(..CONSTANTS.len()) },
            7..=8 => Kind::Remove { path: from },
            9..=11 => Kind::ElementCompute { to, formula: rng.usize(..ELEMENT_FORMULAS.len()) },
            12..=13 => Kind::Convert { path: from, conversion: rng.usize(..CONVERSIONS.len()) },
            _ => Kind::ConvertInto { path: from, to, conversion: rng.usize(..CONVERSIONS.len()) },
        };
        let has_target = !matches!(kind, Kind::Remove { .. } | Kind::Convert { .. });
        edits.push(ChangeSpec {
            kind,
            on_existing: (has_target && rng.u8(..2) == 0).then(|| OnExisting::ALL[rng.usize(..3)]),
            condition: None,
            null_is_missing: has_target && rng.u8(..3) == 0,
        });
    }
    ChangeSpec {
        kind: Kind::Each { container: CONTAINERS[rng.usize(..CONTAINERS.len())], edits },
        on_existing: None,
        condition: (rng.u8(..4) == 0).then(|| rng.usize(..CONDITIONS.len())),
        null_is_missing: false,
    }
}

/// Returns the elements of a list, or the values of a map.
pub(crate) fn elements(container: &mut Value) -> Vec<&mut Value> {
    match container {
        Value::L(list) => list.iter_mut().collect(),
        Value::M(map) => map.values_mut().collect(),
        _ => Vec::new(),
    }
}
