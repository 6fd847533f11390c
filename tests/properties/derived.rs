//! Derived items (`put`): the formulas of the generated plans, and the expected result of a run over all sources.

use std::collections::BTreeMap;

use backfill::internals::item::{Item, Num, Value};
use fastrand::Rng;

use super::facts::{CONDITIONS, decimal, number_of, text};
use super::harness::key_of;
use super::naive::Expected;
use super::spec::{ChangeSpec, Kind, Spec};

/// A `put`.
pub(crate) struct Derived {
    pub(crate) source: &'static str,
    /// Returns the derived item of a source, or `None` if it has no result or no valid key.
    pub(crate) value: fn(&Item) -> Option<Item>,
}

fn derived<const N: usize>(pk: Value, sk: Value, attributes: [(&str, Value); N]) -> Option<Item> {
    let is_key = |value: &Value| matches!(value, Value::S(text) if !text.is_empty());
    let key = [("pk", pk), ("sk", sk)];
    let is_valid = key.iter().all(|(_, value)| is_key(value));
    let all = key.into_iter().chain(attributes).map(|(name, value)| (name.to_owned(), value));
    is_valid.then(|| all.collect())
}

fn string(text: impl Into<String>) -> Value {
    Value::S(text.into())
}

pub(crate) const DERIVED: [Derived; 6] = [
    // Several sources share one derived key, but derive different items.
    Derived {
        source: "{ key = { pk = '\"U#\" + item.s1', sk = '\"LOOKUP\"' }, \
                 attributes = { user = \"item.pk\", at = \"item.sk\" } }",
        value: |item| {
            let pk = string(format!("U#{}", text(item, "s1")?));
            derived(pk, string("LOOKUP"), [("user", item.get("pk")?.clone()), ("at", item.get("sk")?.clone())])
        },
    },
    // Several sources share one derived key, and derive equal items.
    Derived {
        source: "{ key = { pk = '\"K#\" + item.pk', sk = '\"A\"' }, attributes = { of = \"item.pk\", ik = \"item.pk\" } }",
        value: |item| {
            let pk = item.get("pk")?.clone();
            derived(string(format!("K#{}", text(item, "pk")?)), string("A"), [("of", pk.clone()), ("ik", pk)])
        },
    },
    // Each source has its own derived key.
    Derived {
        source: "{ key = { pk = \"item.pk\", sk = '\"D#\" + item.sk' }, \
                 attributes = { a = \"item.a\", n = \"item.n1 + 1\" } }",
        value: |item| {
            let Some(Value::N(number)) = item.get("n1") else { return None };
            let next = number_of(&(decimal(number) + 1))?;
            let sk = string(format!("D#{}", text(item, "sk")?));
            derived(item.get("pk")?.clone(), sk, [("a", item.get("a")?.clone()), ("n", next)])
        },
    },
    Derived {
        source: "{ key = { pk = '\"W#\" + item.pk', sk = \"item.sk\" }, \
                 attributes = { w = '{\"m\": item.m, \"one\": 1}', kind = '\"user\"' } }",
        value: |item| {
            let one = Value::N(Num::parse("1").unwrap());
            let map = Item::from([("m".to_owned(), item.get("m")?.clone()), ("one".to_owned(), one)]);
            let pk = string(format!("W#{}", text(item, "pk")?));
            derived(pk, item.get("sk")?.clone(), [("w", Value::M(map)), ("kind", string("user"))])
        },
    },
    // For some sources, the derived key is empty or is the source's own key.
    Derived {
        source: "{ key = { pk = \"item.pk\", sk = 'type(item.t1) == \"S\" ? item.t1 : item.sk' }, \
                 attributes = { kind = '\"user\"' } }",
        value: |item| {
            let sk = text(item, "t1").or_else(|| text(item, "sk"))?;
            derived(item.get("pk")?.clone(), string(sk), [("kind", string("user"))])
        },
    },
    // For some sources, the derived key is empty or has the wrong type.
    Derived {
        source: "{ key = { pk = '\"E\"', sk = \"item.s1\" }, attributes = { z = \"item.l\" } }",
        value: |item| derived(string("E"), item.get("s1")?.clone(), [("z", item.get("l")?.clone())]),
    },
];

/// Generates a plan's `put`.
pub(crate) fn random(rng: &mut Rng) -> ChangeSpec {
    ChangeSpec::plain(Kind::Put { derived: rng.usize(..DERIVED.len()) })
}

/// Returns the expected outcome of a run for a selected source.
pub(crate) fn expected(spec: &Spec, at: usize, source: &Item, unknown: Expected) -> Expected {
    let Some(item) = (DERIVED[at].value)(source) else { return unknown };
    let selects = spec.select.and_then(|select| (CONDITIONS[select].is_true)(&item));
    if key_of(&item) == key_of(source) || selects != Some(false) {
        return Expected::Rejected;
    }
    Expected::Puts(item)
}

/// Adds items that already exist under derived keys. Some of them equal the derived item.
pub(crate) fn add_existing(spec: &Spec, items: &mut Vec<Item>, rng: &mut Rng) {
    let Some(at) = spec.put() else { return };
    let mut existing: Vec<Item> = items.iter().filter_map(DERIVED[at].value).filter(|_| rng.u8(..4) == 0).collect();
    for item in &mut existing {
        if rng.bool() {
            item.insert("zz".to_owned(), string("another"));
        }
    }
    existing.retain(|item| items.iter().all(|other| key_of(other) != key_of(item)));
    items.extend(existing);
}

/// Returns the expected prediction of a dry run. A dry run takes the existing items into account, but does not notice
/// that two sources share a derived key.
pub(crate) fn predicted(
    expected: BTreeMap<String, Expected>,
    before: &BTreeMap<String, Item>,
) -> BTreeMap<String, Expected> {
    let judge = |expected| match expected {
        Expected::Puts(item) => match before.get(&key_of(&item).to_text()) {
            Some(existing) if *existing == item => Expected::AlreadyApplied,
            Some(_) => Expected::Diverged,
            None => Expected::Puts(item),
        },
        other => other,
    };
    expected.into_iter().map(|(key, expected)| (key, judge(expected))).collect()
}

/// Returns the expected outcomes of the run. If several sources share one derived key, the table `after` the run shows
/// which source was first.
///
/// # Errors
///
/// Fails if the table lacks the derived item of every such source.
pub(crate) fn settled(
    predicted: &BTreeMap<String, Expected>,
    after: &BTreeMap<String, Item>,
) -> Result<BTreeMap<String, Expected>, String> {
    let mut settled = predicted.clone();
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    for (source, expected) in predicted {
        let Expected::Puts(item) = expected else { continue };
        let key = key_of(item).to_text();
        if after.get(&key) == Some(item) {
            first.entry(key).or_insert_with(|| source.clone());
        }
    }
    for (source, expected) in &mut settled {
        let Expected::Puts(item) = expected else { continue };
        let key = key_of(item).to_text();
        let Some(first) = first.get(&key) else {
            return Err(format!(
                "the run left {:?}, but expected is {item:?} or that of another source",
                after.get(&key)
            ));
        };
        if first != source {
            *expected = match after.get(&key) == Some(item) {
                true => Expected::AlreadyApplied,
                false => Expected::Diverged,
            };
        }
    }
    Ok(settled)
}
