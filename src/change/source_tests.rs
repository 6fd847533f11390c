//! Tests computed values that replace an old attribute. `tests/playbook/model/table.rs` compares the decisions of every
//! phase with those of a move; these tests check the differences. The expected values come from plain Rust code, not
//! from the evaluator of expressions.

use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::strategy::{Just, Strategy as Generator};
use serde_json::{Value as Json, json};

use super::OnExisting::Keep;
use super::Strategy::ExpandContract;
use super::tests::{check, item, key, path, replace, update};
use super::undo_tests::{Scenario, text};
use super::*;
use crate::item::{Item, Num};

/// The year of a date is not enough to restore the date.
fn year() -> Vec<Change> {
    vec![replace("date", "year", "number(item.date.substring(0, 4))", Some("string(item.year) + \"-01-01\""))]
}

fn expand(changes: &[Change]) -> Changes {
    Changes::for_expand(changes, ExpandContract, key(), Vec::new())
}

fn old_from_new(changes: &[Change]) -> Changes {
    Changes::for_old_from_new(changes, ExpandContract, key(), Vec::new())
}

fn contract(changes: &[Change]) -> Changes {
    Changes::for_contract(changes, ExpandContract, key(), Vec::new())
}

#[track_caller]
fn write(changes: &Changes, image: &Item) -> GuardedWrite {
    match changes.decide(image) {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn failure(changes: &Changes, image: Json) -> String {
    match changes.decide(&item(image)) {
        Decision::NotComputable(why) => why.reason().to_owned(),
        Decision::Rejected(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_item_without_the_old_attribute_needs_nothing() {
    let expand = expand(&year());
    assert_eq!(expand.decide(&item(json!({"pk": {"S": "1"}}))), Decision::NothingToDo);
    let new_only = item(json!({"pk": {"S": "1"}, "year": {"N": "2025"}}));
    assert_eq!(expand.decide(&new_only), Decision::AlreadyApplied);
    let bad = json!({"pk": {"S": "1"}, "date": {"S": "secret"}});
    assert!(failure(&expand, bad).contains("number"), "a value without a result is a failure");
}

#[test]
fn the_new_value_is_pinned_to_the_old_one() {
    let image = item(json!({"pk": {"S": "1"}, "date": {"S": "2025-07-31"}}));
    let write = write(&expand(&year()), &image);
    let after = check(&write, &image);
    assert_eq!(after["year"], Value::N(Num::parse("2025").unwrap()));
    assert_eq!(after["date"], image["date"], "`contract` removes the old attribute, not the run");
    for raced in [json!({"date": {"S": "2024-01-01"}}), json!({}), json!({"year": {"N": "1"}})] {
        let mut raced = item(raced);
        raced.insert("pk".to_owned(), Value::S("1".to_owned()));
        assert_eq!(update(&write, Some(&raced)), None);
    }
}

/// A formula may lose information, so `contract` journals every old value, even if the new value matches.
#[test]
fn contract_journals_every_old_value() {
    for year_now in ["2025", "1999"] {
        let image = item(json!({"pk": {"S": "1"}, "date": {"S": "2025-07-31"}, "year": {"N": year_now}}));
        let write = write(&contract(&year()), &image);
        assert_eq!(write.actions, [Action::Remove { path: path("date") }]);
        assert_eq!(write.pre_images, [PreImage::with_value(&path("date"), &image["date"])]);
        assert!(write.conditions.contains(&Condition::Equals(path("date"), image["date"].clone())));
        assert!(write.conditions.contains(&Condition::Equals(path("year"), image["year"].clone())));
    }
    let old_only = item(json!({"pk": {"S": "1"}, "date": {"S": "2025-07-31"}}));
    assert_eq!(contract(&year()).decide(&old_only), Decision::Diverged(vec![path("date")]));
    let not_computable = item(json!({"pk": {"S": "1"}, "date": {"S": "soon"}, "year": {"N": "2025"}}));
    assert_eq!(write(&contract(&year()), &not_computable).pre_images.len(), 1, "new-only writers own the new value");
}

/// If the new value can be computed from the old value, the old value stays byte for byte, although the inverse
/// computes a different value.
#[test]
fn old_from_new_leaves_a_matching_old_value_alone() {
    let image = item(json!({"pk": {"S": "1"}, "date": {"S": "2025-07-31"}, "year": {"N": "2025"}}));
    assert_eq!(old_from_new(&year()).decide(&image), Decision::AlreadyApplied);
    let old_only = item(json!({"pk": {"S": "1"}, "date": {"S": "2025-07-31"}}));
    assert_eq!(old_from_new(&year()).decide(&old_only), Decision::Diverged(vec![path("date")]));
    assert_eq!(old_from_new(&year()).decide(&item(json!({"pk": {"S": "1"}}))), Decision::NothingToDo);
}

#[test]
fn old_from_new_computes_other_old_values_by_the_inverse() {
    for old in [json!({"S": "2025-07-31"}), json!({"S": "secret"}), Json::Null] {
        let mut image = json!({"pk": {"S": "1"}, "year": {"N": "1999"}});
        if !old.is_null() {
            image["date"] = old.clone();
        }
        let image = item(image);
        let write = write(&old_from_new(&year()), &image);
        assert_eq!(check(&write, &image)["date"], Value::S("1999-01-01".to_owned()));
        let journaled: Vec<&Value> = write.pre_images.iter().filter_map(|pre| pre.prior.value()).collect();
        assert_eq!(journaled, image.get("date").into_iter().collect::<Vec<_>>());
        let mut raced = image.clone();
        raced.insert("year".to_owned(), Value::N(Num::parse("1998").unwrap()));
        assert_eq!(update(&write, Some(&raced)), None);
    }
}

#[test]
fn an_old_value_that_breaks_the_law_is_never_written() {
    let broken = |json: Json| {
        let why = failure(&old_from_new(&year()), json);
        assert!(!why.contains("12345") && !why.contains("secret"), "{why}");
        why
    };
    // From "12345-01-01", the plan computes 1234.
    let why = broken(json!({"pk": {"S": "1"}, "date": {"S": "secret"}, "year": {"N": "12345"}}));
    assert!(why.starts_with("`date` cannot be restored from `year`") && why.contains("a different value"), "{why}");
    let why = broken(json!({"pk": {"S": "1"}, "year": {"S": "secret"}}));
    assert!(why.starts_with("`date` cannot be restored from `year`"), "{why}");
    let one_way = [replace("date", "year", "number(item.date.substring(0, 4))", None)];
    let why = failure(&old_from_new(&one_way), json!({"pk": {"S": "1"}, "year": {"N": "1999"}}));
    assert!(why.contains("no `inverse`"), "{why}");
}

/// DynamoDB drops the redundant zeros of a number, so the check of the formula must use the number without these zeros.
#[test]
fn the_law_is_checked_with_the_number_that_dynamodb_stores() {
    let to_text = [replace("n", "text", "string(item.n)", Some("number(item.text)"))];
    let image = |text: &str| json!({"pk": {"S": "1"}, "text": {"S": text}});
    let exact = write(&old_from_new(&to_text), &item(image("1.5")));
    assert_eq!(check(&exact, &item(image("1.5")))["n"], Value::N(Num::parse("1.5").unwrap()));
    assert!(failure(&old_from_new(&to_text), image("1.50")).contains("a different value"));
}

/// The condition of a write pins every other input of the value.
#[test]
fn other_inputs_are_pinned_on_the_way_back() {
    let scaled = [replace("cents", "amount", "item.cents * item.scale", Some("item.amount / item.scale"))];
    let image = item(json!({"pk": {"S": "1"}, "cents": {"N": "5"}, "scale": {"N": "4"}, "amount": {"N": "12"}}));
    let write = write(&old_from_new(&scaled), &image);
    assert_eq!(check(&write, &image)["cents"], Value::N(Num::parse("3").unwrap()));
    for name in ["scale", "amount", "cents"] {
        let mut raced = image.clone();
        raced.insert(name.to_owned(), Value::N(Num::parse("7").unwrap()));
        assert_eq!(update(&write, Some(&raced)), None, "{name}");
        raced.remove(name);
        assert_eq!(update(&write, Some(&raced)), None, "{name}");
    }
}

/// The parent document of the old attribute can be missing when the old value is restored.
#[test]
fn an_old_value_inside_a_missing_document_is_restored() {
    let nested = [replace("doc.a.x", "b", "[item.doc.a.x]", Some("item.b[0]"))];
    let image = item(json!({"pk": {"S": "1"}, "b": {"L": [{"S": "v"}]}}));
    let after = check(&write(&old_from_new(&nested), &image), &image);
    assert_eq!(after["doc"], Value::M(item(json!({"a": {"M": {"x": {"S": "v"}}}}))));
    let blocked = json!({"pk": {"S": "1"}, "b": {"L": [{"S": "v"}]}, "doc": {"S": "text"}});
    assert!(
        failure(&old_from_new(&nested), blocked).contains("needs a map"),
        "a document of another type is a failure"
    );
}

/// Dual writers write both attributes, so no journal entry shows who wrote the new value. The baseline shows that the
/// new value did not exist before the migration.
#[test]
fn undo_removes_what_dual_writers_wrote() {
    let image = item(json!({"pk": {"S": "1"}, "date": {"S": "2025-07-31"}}));
    for (date, new) in [("2024-05-05", "2024"), ("2024-05-05", "7"), ("soon", "2024")] {
        let mut scenario = Scenario::new(&year(), ExpandContract, Keep, &image);
        scenario.run(false);
        let number = Value::N(Num::parse(new).unwrap());
        let written = [("date", Value::S(date.to_owned())), ("year", number)];
        scenario.edit(written.map(|(name, value)| (name.to_owned(), Some(value))).into());
        assert!(matches!(scenario.undo(), Decision::Write(_)), "{date} {new}");
        assert_eq!(text(&scenario.image), text(&item(json!({"pk": {"S": "1"}, "date": {"S": date}}))));
    }
    // A preexisting value stays.
    let both = item(json!({"pk": {"S": "1"}, "date": {"S": "2025-07-31"}, "year": {"N": "1"}}));
    let mut scenario = Scenario::new(&year(), ExpandContract, Keep, &both);
    scenario.run(false);
    assert!(!matches!(scenario.undo(), Decision::Write(_)));
    assert_eq!(text(&scenario.image), text(&both));
}

/// A formula and its inverse, with the same two functions in Rust.
#[derive(Debug, Clone, Copy)]
struct Pair {
    formula: &'static str,
    inverse: &'static str,
    forward: fn(&Value) -> Option<Value>,
    back: fn(&Value) -> Option<Value>,
}

fn on_text(value: &Value, with: impl Fn(&str) -> String) -> Option<Value> {
    match value {
        Value::S(text) => Some(Value::S(with(text))),
        _ => None,
    }
}

fn parsed(value: &Value) -> Option<Value> {
    match value {
        Value::S(text) => Num::parse(text).ok().map(Value::N),
        _ => None,
    }
}

fn printed(value: &Value) -> Option<Value> {
    match value {
        Value::N(number) => Some(Value::S(number.stored().as_str().to_owned())),
        Value::S(_) => Some(value.clone()),
        _ => None,
    }
}

/// Some of these inverses compute a valid old value for every new value, some do so only for a few new values, and one
/// inverse never does.
const PAIRS: [Pair; 6] = [
    Pair { formula: "number(item.a)", inverse: "string(item.b)", forward: parsed, back: printed },
    Pair { formula: "string(item.a)", inverse: "number(item.b)", forward: printed, back: parsed },
    Pair {
        formula: "item.a + \"!\"",
        inverse: "item.b.replace(\"!\", \"\")",
        forward: |a| on_text(a, |a| format!("{a}!")),
        back: |b| on_text(b, |b| b.replace('!', "")),
    },
    Pair {
        formula: "item.a.upperAscii()",
        inverse: "item.b.lowerAscii()",
        forward: |a| on_text(a, str::to_ascii_uppercase),
        back: |b| on_text(b, str::to_ascii_lowercase),
    },
    Pair {
        formula: "item.a.upperAscii()",
        inverse: "item.b",
        forward: |a| on_text(a, str::to_ascii_uppercase),
        back: |b| Some(b.clone()),
    },
    Pair {
        formula: "item.a + \"!\"",
        inverse: "item.b",
        forward: |a| on_text(a, |a| format!("{a}!")),
        back: |b| Some(b.clone()),
    },
];

fn any_value() -> impl Generator<Value = Value> {
    prop_oneof![
        6 => select(vec!["", "!", "x", "X", "x!", "!x!", "X!", "1", "1.5", "1.50", "1E2", "100", "-0"])
            .prop_map(|text| Value::S(text.to_owned())),
        3 => select(vec!["0", "1", "1.5", "100", "-7"]).prop_map(|text| Value::N(Num::parse(text).unwrap())),
        1 => Just(Value::Null),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Old-from-new writes the result of the inverse if and only if the formula computes the same new value from it.
    /// Otherwise, it writes nothing. Afterwards, the old value implies the new value, and nothing else has changed.
    #[test]
    fn old_from_new_writes_only_what_keeps_the_law(
        pair in select(PAIRS.to_vec()), old in proptest::option::of(any_value()), new in any_value(),
    ) {
        let changes = [replace("a", "b", pair.formula, Some(pair.inverse))];
        let mut image = Item::from([("pk".to_owned(), Value::S("1".to_owned())), ("b".to_owned(), new.clone())]);
        image.extend(old.clone().map(|old| ("a".to_owned(), old)));
        let forward = |value: &Value| (pair.forward)(value);
        let matches = old.as_ref().and_then(forward).as_ref() == Some(&new);
        let restored = (pair.back)(&new).filter(|value| forward(&stored(value)).as_ref() == Some(&new));
        let decision = old_from_new(&changes).decide(&image);
        match (matches, restored) {
            (true, _) => prop_assert_eq!(decision, Decision::AlreadyApplied),
            (false, None) => prop_assert!(matches!(decision, Decision::NotComputable(_)), "{:?}", decision),
            (false, Some(expected)) => {
                let Decision::Write(write) = decision else { panic!("{decision:?}") };
                let after = check(&write, &image);
                let mut wanted = image.clone();
                wanted.insert("a".to_owned(), expected);
                prop_assert_eq!(&after, &wanted);
                prop_assert_eq!(old_from_new(&changes).decide(&after), Decision::AlreadyApplied);
            }
        }
    }
}

fn stored(value: &Value) -> Value {
    match value {
        Value::N(number) => Value::N(number.stored()),
        other => other.clone(),
    }
}
