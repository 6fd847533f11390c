//! Properties of changes in elements, over random containers and plans.

use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use serde_json::json;

use super::tests::{CONVERT, REMOVE, SET, expand, history_of, plan, text, undo, verdict};
use super::{EditFailure, Edited};
use crate::change::Decision;
use crate::change::tests::{check, item};
use crate::item::{Num, Value};
use crate::plan::load;

/// Returns an element after the changes of the property test's plan. This code is independent of the tested code.
fn expected(element: &Value) -> Value {
    let Value::M(before) = element else { return element.clone() };
    let mut after = before.clone();
    if let Some(sku) = after.remove("sku") {
        after.insert("product_id".to_owned(), sku);
    }
    after.remove("tmp");
    after.entry("cur".to_owned()).or_insert_with(|| Value::S("EUR".to_owned()));
    if let Some(Value::S(digits)) = before.get("qty") {
        after.insert("qty".to_owned(), Value::N(Num::parse(digits).unwrap()));
    }
    let kind = if before.contains_key("name") { "named" } else { "unnamed" };
    after.insert("kind".to_owned(), Value::S(kind.to_owned()));
    Value::M(after)
}

const KIND: &str = "each = \"lines[*]\"\ncompute = \"kind\"\nas = 'has(element.name) ? \"named\" : \"unnamed\"'\n\
                    on_existing = \"overwrite\"";
const MOVE_OVER: &str = "each = \"lines[*]\"\nmove = \"sku\"\nto = \"product_id\"\non_existing = \"overwrite\"";

fn any_value() -> impl Generator<Value = Value> {
    let number = || prop_oneof!["-?[1-9][0-9]{0,37}", "0\\.0{0,9}[1-9]0{0,3}", Just("1.50".to_owned())];
    let leaf = prop_oneof![
        ".{0,4}".prop_map(Value::S),
        number().prop_map(|text| Value::N(Num::from_wire(text))),
        any::<Vec<u8>>().prop_map(Value::B),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        Just(Value::Ss(vec!["b".to_owned(), "a".to_owned()])),
        number().prop_map(|text| Value::Ns(vec![Num::from_wire(text)])),
        Just(Value::Bs(vec![vec![0], vec![1, 2]])),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::L),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..3).prop_map(Value::M),
        ]
    })
}

/// An element: a map with some of the members that the plan reads or writes, or any value.
fn any_element() -> impl Generator<Value = Value> {
    let quantity = prop_oneof![
        "[1-9][0-9]{0,37}".prop_map(Value::S),
        "[1-9][0-9]{0,37}".prop_map(|text| Value::N(Num::from_wire(text)))
    ];
    let members = (
        proptest::option::of(any_value()),
        proptest::option::of(any_value()),
        proptest::option::of(any_value()),
        proptest::option::of(any_value()),
        proptest::option::of(quantity),
        proptest::option::of(any_value()),
        proptest::option::of(any_value()),
    );
    let map = members.prop_map(|(sku, product, tmp, currency, quantity, name, other)| {
        let named = [
            ("sku", sku),
            ("product_id", product),
            ("tmp", tmp),
            ("cur", currency),
            ("qty", quantity),
            ("name", name),
            ("other", other),
        ];
        Value::M(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    });
    prop_oneof![4 => map, 1 => any_value()]
}

fn any_container() -> impl Generator<Value = Option<Value>> {
    prop_oneof![
        4 => proptest::collection::vec(any_element(), 0..6).prop_map(|list| Some(Value::L(list))),
        4 => proptest::collection::btree_map(".{1,3}", any_element(), 0..6).prop_map(|map| Some(Value::M(map))),
        1 => any_value().prop_map(Some),
        1 => Just(None),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    /// The written container is the expected one. A second run writes nothing, verification agrees, the order of the
    /// changes does not matter, and undo restores the item byte for byte.
    #[test]
    fn a_container_changes_exactly_once_and_back(
        container in any_container(),
        order in Just(vec![MOVE_OVER, SET, REMOVE, CONVERT, KIND]).prop_shuffle(),
    ) {
        let plan = plan(&order);
        let mut before = item(json!({"pk": {"S": "1"}, "untouched": {"N": "1.50"}}));
        before.extend(container.clone().map(|value| ("lines".to_owned(), value)));
        let mut after = before.clone();
        match after.get_mut("lines") {
            Some(Value::L(list)) => list.iter_mut().for_each(|element| *element = expected(element)),
            Some(Value::M(map)) => map.values_mut().for_each(|element| *element = expected(element)),
            _ => {}
        }
        let is_container = matches!(container, None | Some(Value::L(_) | Value::M(_) | Value::Null));
        let changes = expand(&plan);
        match changes.decide(&before) {
            Decision::Write(write) => {
                let found = check(&write, &before);
                prop_assert_eq!(text(&found), text(&after));
                prop_assert!(verdict(&plan, &before).is_mismatch());
                let history = history_of(&[&write]);
                let Decision::Write(back) = undo(&plan).decide_with(&found, &history) else { panic!("not undone") };
                prop_assert_eq!(text(&check(&back, &found)), text(&before));
                prop_assert_eq!(write.bytes_after, crate::item::item_bytes(&after));
            }
            Decision::NotComputable(_) => prop_assert!(!is_container),
            Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_) => {
                prop_assert!(is_container);
                prop_assert_eq!(text(&before), text(&after));
            }
            other => panic!("{other:?}"),
        }
        if is_container {
            prop_assert!(!matches!(changes.decide(&after), Decision::Write(_)));
            prop_assert!(!verdict(&plan, &after).is_mismatch());
        }
    }

    /// For every value of `on_existing`, a written container needs no second write.
    #[test]
    fn the_function_of_a_container_is_idempotent(
        container in any_container(),
        existing in prop_oneof![Just("keep"), Just("skip"), Just("overwrite")],
        null_is_missing in any::<bool>(),
    ) {
        let more = format!("on_existing = \"{existing}\"\nnull_is_missing = {null_is_missing}");
        let moved = format!("each = \"lines[*]\"\nmove = \"sku\"\nto = \"other.sku\"\n{more}");
        let set = format!("each = \"lines[*]\"\nset = \"name.cur\"\nvalue = 1\n{more}");
        let copied = format!(
            "each = \"lines[*]\"\ncompute = \"product_id\"\n\
             as = 'type(element.tmp) == \"MISSING\" ? item.pk : type(element.tmp)'\n{more}"
        );
        let plan = plan(&[&moved, &set, &copied]);
        let mut before = item(json!({"pk": {"S": "1"}}));
        before.extend(container.map(|value| ("lines".to_owned(), value)));
        if let Decision::Write(write) = expand(&plan).decide(&before) {
            let after = check(&write, &before);
            let again = expand(&plan).decide(&after);
            prop_assert!(matches!(again, Decision::AlreadyApplied | Decision::Skipped(_)), "{:?}", again);
            prop_assert!(!verdict(&plan, &after).is_mismatch());
        }
    }

    /// The changes of an accepted plan produce the same container in any order, and also if they are applied twice.
    #[test]
    fn an_accepted_plan_does_not_depend_on_order_or_repetition(
        (changes, shuffled) in proptest::collection::vec(any_change(), 1..4)
            .prop_flat_map(|changes| (Just(changes.clone()), Just(changes).prop_shuffle())),
        existing in prop_oneof![Just("keep"), Just("skip"), Just("overwrite")],
    ) {
        let load = |changes: &[String]| {
            let changes: String = changes.iter().map(|change| format!("[[change]]\neach = \"l[*]\"\n{change}\n")).collect();
            load("p", &format!(
                "[migration]\nname = \"m\"\non_existing = \"{existing}\"\non_not_computable = \"fail\"\n\
                 [table]\nname = \"shop\"\n{changes}"
            ))
        };
        let (first, second) = (load(&changes), load(&shuffled));
        prop_assert_eq!(first.is_ok(), second.is_ok());
        let (Ok(first), Ok(second)) = (first, second) else { return Ok(()) };
        prop_assert_eq!(first.plan.fingerprint(), second.plan.fingerprint());
        let (first, second) = (first.plan.changes[0].each().unwrap(), second.plan.changes[0].each().unwrap());
        let element = json!({"M": {
            "a": {"M": {"x": {"N": "1"}, "y": {"M": {}}}}, "b": {"M": {"x": {"S": "2"}}}, "c": {"S": "3"},
            "l": {"L": [{"M": {"z": {"BOOL": true}}}, {"S": "5"}]}
        }});
        let mut image = item(json!({"l": {"L": [element, {"S": "a note"}, {"M": {}}]}}));
        let facts = crate::expr::Facts::default();
        let once = first.edit(&image, &facts);
        match (&once, &second.edit(&image, &facts)) {
            (Ok(one), Ok(other)) => prop_assert_eq!(one, other),
            // The reasons may differ, because an item can have several.
            (Err(EditFailure::NotComputable(_)), Err(EditFailure::NotComputable(_)))
            | (Err(EditFailure::Rejected(_)), Err(EditFailure::Rejected(_))) => {}
            (one, other) => panic!("{one:?} and {other:?}"),
        }
        if let Ok(Edited { after: Some(after), has_diverged: false, .. }) = once {
            image.insert("l".to_owned(), after);
            let again = first.edit(&image, &facts).unwrap();
            prop_assert!(again.after.is_none() && !again.has_diverged, "{:?}", again);
        }
    }
}

/// A random change in elements. It may conflict with the other changes of a plan.
fn any_change() -> impl Generator<Value = String> {
    let path = || proptest::sample::select(vec!["a", "b", "a.x", "a.y", "b.x", "c", "d", "d.e", "l", "l[0].z"]);
    prop_oneof![
        (path(), path()).prop_map(|(from, to)| format!("move = \"{from}\"\nto = \"{to}\"")),
        path().prop_map(|to| format!("set = \"{to}\"\nvalue = 7")),
        path().prop_map(|path| format!("remove = \"{path}\"")),
        (path(), path()).prop_map(|(from, to)| {
            format!("compute = \"{to}\"\nas = 'has(element.{from}) ? type(element.{from}) : \"none\"'")
        }),
        path().prop_map(|path| format!("convert = \"{path}\"\nto = \"JSON\"")),
        (path(), path()).prop_map(|(from, to)| format!("convert = \"{from}\"\nto = \"JSON\"\ninto = \"{to}\"")),
    ]
}
