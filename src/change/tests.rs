//! Tests decisions against a small model of `UpdateItem`, which applies conditions and actions to an in-memory item.

use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use serde_json::{Value as Json, json};

use super::OnExisting::{Keep, Overwrite, Skip};
use super::Strategy::{self, ExpandContract, InPlace};
use super::*;
use crate::expr::{Expected, Expr};
use crate::item::{Item, KeyAttribute, KeySchema, MAX_ITEM_BYTES, Num, item_bytes, item_from_json};

mod pinned;
mod skip;
mod statements;

/// Applies a guarded write as DynamoDB would. Returns the new image, or `None` if a condition fails. Panics if DynamoDB
/// would answer with a validation error, because no race may cause a validation error.
pub(crate) fn update(write: &GuardedWrite, item: Option<&Item>) -> Option<Item> {
    let empty = Item::new();
    let image = item.unwrap_or(&empty);
    let holds = write.conditions.iter().all(|c| match c {
        Condition::ItemExists(name) => image.contains_key(name),
        Condition::ItemMissing(name) => !image.contains_key(name),
        Condition::Exists(path) => path.get(image).is_some(),
        Condition::Missing(path) => path.get(image).is_none(),
        Condition::IsMap(path) => matches!(path.get(image), Some(Value::M(_))),
        Condition::Equals(path, value) => path.get(image) == Some(value),
        Condition::PathsEqual(a, b) => a.get(image).is_some() && a.get(image) == b.get(image),
    });
    if !holds {
        return None;
    }
    let mut after = image.clone();
    for action in &write.actions {
        match action {
            Action::SetFrom { to, from, .. } => {
                let value = from.get(image).expect("the source exists").clone();
                assert!(to.set(&mut after, value), "the target's parent exists");
            }
            Action::SetValue { to, value } => assert!(to.set(&mut after, value.clone()), "the target's parent exists"),
            Action::Remove { path } => assert!(path.remove(&mut after).is_some(), "the removed path exists"),
            Action::DeleteItem { .. } | Action::PutItem { .. } | Action::PutDerived { .. } => {
                unreachable!("`UpdateItem` changes paths")
            }
        }
    }
    Some(after)
}

pub(super) fn item(json: Json) -> Item {
    item_from_json(&json).unwrap()
}

pub(super) fn key() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "pk".into(), kind: "S".into() }, sort: None }
}

pub(super) fn path(text: &str) -> Path {
    text.parse().unwrap()
}

pub(super) fn mv(from: &str, to: &str) -> Change {
    Change::Move { from: path(from), to: path(to), on_existing: Keep }
}

pub(super) fn copy(from: &str, to: &str) -> Change {
    Change::Copy { from: path(from), to: path(to), on_existing: Keep }
}

pub(super) fn set(to: &str, value: Json) -> Change {
    Change::Set { to: path(to), value: Value::from_json(&value).unwrap(), on_existing: Keep }
}

pub(super) fn remove(text: &str) -> Change {
    Change::Remove { path: path(text) }
}

/// Returns a change that replaces an attribute with the value of an expression.
pub(crate) fn replace(from: &str, to: &str, formula: &str, inverse: Option<&str>) -> Change {
    let formula_of = |source| Formula::Expression(Expr::compile(source, Expected::Value).unwrap());
    let (old, to, formula) = (path(from), path(to), formula_of(formula));
    let inverse = inverse.map(|source| Inverse::new(formula_of(source), formula.clone(), &old, &to));
    Change::Compute { to, formula, on_existing: Keep, replaces: Some(Replaced { path: old, inverse }) }
}

/// Returns the same changes with this `on_existing`.
pub(super) fn all_with_on_existing(changes: &[Change], on_existing: OnExisting) -> Vec<Change> {
    changes.iter().map(|change| change.clone().with_on_existing(on_existing)).collect()
}

pub(super) fn decide(changes: &[Change], strategy: Strategy, on_existing: OnExisting, image: &Item) -> Decision {
    Changes::for_expand(&all_with_on_existing(changes, on_existing), strategy, key(), Vec::new()).decide(image)
}

/// Decides about an item, and applies the write. Panics if the decision is not a write. Also checks the properties that
/// every write must have.
fn decide_and_apply(changes: &[Change], strategy: Strategy, on_existing: OnExisting, image: &Json) -> Json {
    let image = item(image.clone());
    let Decision::Write(write) = decide(changes, strategy, on_existing, &image) else {
        panic!("{:?}", decide(changes, strategy, on_existing, &image))
    };
    crate::item::item_to_json(&check(&write, &image))
}

/// Checks the properties that every write must have. Returns the image after the write.
pub(super) fn check(write: &GuardedWrite, image: &Item) -> Item {
    assert_eq!(write.conditions[0], Condition::ItemExists("pk".into()));
    assert_eq!(update(write, None), None, "a deleted item is not recreated");
    let after =
        update(write, Some(image)).expect("the condition is true for the image that the write was planned from");
    assert_eq!(
        update(write, Some(&after)),
        None,
        "after a lost reply, the condition fails and nothing is written twice"
    );
    assert_eq!(write.bytes_before, item_bytes(image));
    assert_eq!(write.bytes_after, item_bytes(&after));
    for pre in &write.pre_images {
        check_pre_image(pre, write, image);
    }
    let text = render(write);
    for placeholder in text.names.keys().chain(text.values.keys()) {
        assert!(text.update.contains(placeholder.as_str()) || text.condition.contains(placeholder.as_str()));
    }
    after
}

/// Checks that a pre-image contains the image's value, and that the write's condition requires exactly this value.
fn check_pre_image(pre: &PreImage, write: &GuardedWrite, image: &Item) {
    // A map can also replace a NULL, which the condition then pins.
    let missing = |path: &Path| {
        [Condition::Missing(path.clone()), Condition::Equals(path.clone(), Value::Null)]
            .iter()
            .any(|condition| write.conditions.contains(condition))
    };
    match &pre.prior {
        PriorValue::Value(value) => {
            assert_eq!(pre.path.get(image), Some(value));
            assert!(write.conditions.contains(&Condition::Equals(pre.path.clone(), value.clone())));
        }
        PriorValue::Nothing => {
            assert_eq!(pre.path.get(image), None);
            assert!(missing(&pre.path) || pre.path.ancestors().any(|map| missing(&map)));
        }
        PriorValue::Item(_) | PriorValue::Mark(_) => unreachable!("these plans change paths"),
        // This is an in-place move that only removes its source, or the record of a stable attribute.
        PriorValue::SameAsSource => assert!(write.conditions.iter().any(|c| match c {
            Condition::PathsEqual(_, to) => *to == pre.path,
            Condition::Equals(path, value) => *path == pre.path && path.get(image) == Some(value),
            Condition::Missing(path) => *path == pre.path && path.get(image).is_none(),
            _ => false,
        })),
        PriorValue::Leftover(Leftover::OldCreated | Leftover::Unknown) => {
            assert_eq!(pre.path.get(image), None);
            assert!(missing(&pre.path));
        }
        // The write is conditional on the old value. This is the current old value, or the old value that the same
        // write restores.
        PriorValue::Leftover(Leftover::NewRemoved) => {
            let now = pre.path.get(image).expect("the removed path exists");
            assert!(write.conditions.iter().any(|c| match c {
                Condition::PathsEqual(_, to) => *to == pre.path,
                Condition::Equals(to, value) => *to == pre.path && value == now,
                _ => false,
            }));
        }
        // The note is about an earlier repair, so no writer can change anything on which it depends.
        PriorValue::Leftover(Leftover::RepairedOver) => {}
        PriorValue::Leftover(Leftover::DeleteReplyLost) => unreachable!("these plans delete no derived item"),
    }
}

#[test]
fn a_move_copies_first_and_moves_in_place() {
    let image = json!({"pk": {"S": "1"}, "email": {"S": "a@b"}});
    assert_eq!(
        decide_and_apply(&[mv("email", "contact")], ExpandContract, Keep, &image),
        json!({"pk": {"S": "1"}, "email": {"S": "a@b"}, "contact": {"S": "a@b"}})
    );
    assert_eq!(
        decide_and_apply(&[mv("email", "contact")], InPlace, Keep, &image),
        json!({"pk": {"S": "1"}, "contact": {"S": "a@b"}})
    );
}

#[test]
fn a_moved_value_does_not_pass_through_the_client() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "secret"}}));
    let Decision::Write(write) = decide(&[mv("a", "b")], InPlace, Keep, &image) else { panic!() };
    let text = render(&write);
    assert_eq!(text.update, "SET #1 = #0 REMOVE #0".replace("#1", &name(&text, "b")).replace("#0", &name(&text, "a")));
    assert!(text.values.is_empty());
}

fn name(text: &Expression, name: &str) -> String {
    text.names.iter().find(|(_, n)| *n == name).unwrap().0.clone()
}

#[test]
fn the_value_at_the_target_decides() {
    let equal = item(json!({"pk": {"S": "1"}, "a": {"N": "1.0"}, "b": {"N": "1"}}));
    let unequal = item(json!({"pk": {"S": "1"}, "a": {"N": "1"}, "b": {"N": "2"}}));
    let only_new = item(json!({"pk": {"S": "1"}, "b": {"N": "2"}}));
    let neither = item(json!({"pk": {"S": "1"}}));
    let plan = [mv("a", "b")];
    assert_eq!(decide(&plan, ExpandContract, Keep, &equal), Decision::AlreadyApplied);
    assert_eq!(decide(&plan, ExpandContract, Keep, &unequal), Decision::Diverged(vec![path("b")]));
    assert_eq!(decide(&plan, InPlace, Keep, &unequal), Decision::Diverged(vec![path("b")]));
    assert_eq!(decide(&plan, InPlace, Keep, &only_new), Decision::AlreadyApplied);
    assert_eq!(decide(&[copy("a", "b")], InPlace, Keep, &only_new), Decision::NothingToDo);
    assert_eq!(decide(&plan, InPlace, Overwrite, &neither), Decision::NothingToDo);
    // If both values are equal, an in-place move only removes the old value. The write requires that both values are
    // still equal.
    let Decision::Write(write) = decide(&plan, InPlace, Keep, &equal) else { panic!() };
    assert!(write.conditions.contains(&Condition::PathsEqual(path("a"), path("b"))));
    assert_eq!(check(&write, &equal), only_new_with("1"));
    // An overwriting write records the value that it destroys.
    let Decision::Write(write) = decide(&plan, ExpandContract, Overwrite, &unequal) else { panic!() };
    assert_eq!(write.pre_images.len(), 1);
    check(&write, &unequal);
}

fn only_new_with(n: &str) -> Item {
    item(json!({"pk": {"S": "1"}, "b": {"N": n}}))
}

#[test]
fn a_missing_parent_is_created_once_and_pins_the_source() {
    let image = json!({"pk": {"S": "1"}, "zip": {"S": "8000"}, "city": {"S": "Zürich"}});
    let plan = [mv("zip", "address.zip"), copy("city", "address.geo.city"), set("address.v", json!({"N": "1"}))];
    assert_eq!(
        decide_and_apply(&plan, InPlace, Keep, &image),
        json!({"pk": {"S": "1"}, "city": {"S": "Zürich"},
               "address": {"M": {"zip": {"S": "8000"}, "geo": {"M": {"city": {"S": "Zürich"}}}, "v": {"N": "1"}}}})
    );
    let image = item(image);
    let Decision::Write(write) = decide(&plan, InPlace, Keep, &image) else { panic!() };
    let mut changed = image.clone();
    changed.insert("zip".into(), Value::S("3000".into()));
    assert_eq!(
        update(&write, Some(&changed)),
        None,
        "the condition pins the source of a value that passes through the client"
    );
    let mut raced = image.clone();
    raced.insert("address".into(), Value::M(Item::new()));
    assert_eq!(update(&write, Some(&raced)), None, "a parent that appeared meanwhile is not overwritten");
}

/// If the parent of a nested target is missing, the write creates the parent. If the parent has a different type, the
/// item is reported.
#[test]
fn a_nested_target_is_filled_or_reported() {
    let plan = [mv("street", "address.street"), mv("zip", "address.zip")];
    let with = |address: Option<Json>| {
        let mut image = json!({"pk": {"S": "1"}, "street": {"S": "High St 1"}, "zip": {"S": "1000"}});
        if let Some(address) = address {
            image["address"] = address;
        }
        item(image)
    };
    let map = |members: Json| Some(json!({"M": members}));
    for address in [None, map(json!({})), map(json!({"country": {"S": "BE"}}))] {
        let image = with(address);
        let Decision::Write(write) = decide(&plan, InPlace, Keep, &image) else { panic!("{image:?}") };
        let after = check(&write, &image);
        let moved = [path("address.street"), path("address.zip")].map(|path| path.get(&after).cloned());
        assert_eq!(moved, ["High St 1", "1000"].map(|text| Some(Value::S(text.into()))));
        assert_eq!(path("address.country").get(&after), path("address.country").get(&image));
    }
    for (address, kind) in [(json!({"NULL": true}), "NULL"), (json!({"S": "High St 1"}), "S"), (json!({"L": []}), "L")]
    {
        let decision = decide(&plan, InPlace, Keep, &with(Some(address)));
        assert!(matches!(&decision, Decision::Rejected(why) if why.contains(&format!("of type {kind}, not M"))));
    }
    // An existing member must be equal to the source. With `skip`, an existing member counts as done.
    for street in [json!({"S": "Other"}), json!({"NULL": true})] {
        let image = with(map(json!({"street": street})));
        assert_eq!(decide(&plan, InPlace, Keep, &image), Decision::Diverged(vec![path("address.street")]));
        let Decision::Write(write) = decide(&plan, InPlace, Skip, &image) else { panic!() };
        let after = check(&write, &image);
        assert_eq!(path("address.street").get(&after), path("address.street").get(&image), "the existing member stays");
        assert_eq!(after.get("street"), image.get("street"), "the source of the skipped member stays");
        assert_eq!((after.get("zip"), path("address.zip").get(&after)), (None, image.get("zip")));
    }
}

#[test]
fn a_parent_of_the_wrong_type_rejects_the_whole_item() {
    let image = item(json!({"pk": {"S": "1"}, "zip": {"S": "8000"}, "address": {"S": "a street"}, "x": {"S": "y"}}));
    let plan = [mv("zip", "address.zip"), mv("x", "z")];
    assert!(matches!(decide(&plan, InPlace, Keep, &image), Decision::Rejected(why) if !why.contains("street")));
    let image = item(json!({"pk": {"S": "1"}, "zip": {"S": "8000"}, "list": {"L": []}}));
    assert!(matches!(decide(&[copy("zip", "list[0].zip")], InPlace, Keep, &image), Decision::Rejected(_)));
}

#[test]
fn one_diverged_change_holds_back_the_others() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "1"}, "b": {"S": "2"}, "c": {"S": "3"}}));
    assert_eq!(
        decide(&[mv("a", "b"), mv("c", "d"), remove("e")], InPlace, Keep, &image),
        Decision::Diverged(vec![path("b")])
    );
}

#[test]
fn a_change_that_needs_nothing_is_pinned_while_others_are_written() {
    let plan = [mv("a", "b"), copy("c", "d"), remove("e"), set("f", json!({"S": "f"})), set("v", json!({"N": "2"}))];
    let image = json!({"pk": {"S": "1"}, "c": {"S": "c"}, "d": {"S": "c"}, "f": {"S": "f"}});
    for (name, value) in [("a", "late"), ("c", "late"), ("d", "late"), ("e", "late"), ("f", "late")] {
        let image = item(image.clone());
        let Decision::Write(write) = decide(&plan, InPlace, Keep, &image) else { panic!() };
        assert_eq!(write.actions, [Action::SetValue { to: path("v"), value: Value::N(Num::parse("2").unwrap()) }]);
        let mut raced = image.clone();
        raced.insert(name.into(), Value::S(value.into()));
        assert_eq!(update(&write, Some(&raced)), None, "`{name}` changed, so the item would be only partly changed");
    }
}

#[test]
fn removes_wait_for_contract_unless_in_place() {
    let image = json!({"pk": {"S": "1"}, "old": {"M": {"x": {"S": "y"}, "z": {"NULL": true}}}});
    assert!(Changes::for_expand(&[remove("old.x")], ExpandContract, key(), Vec::new()).is_empty());
    assert_eq!(
        decide_and_apply(&[remove("old.x")], InPlace, Keep, &image),
        json!({"pk": {"S": "1"}, "old": {"M": {"z": {"NULL": true}}}})
    );
}

#[test]
fn the_400_kb_limit_is_known_before_the_write() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x".repeat(210 * 1024)}}));
    let Decision::Refused(write, rule) = decide(&[mv("a", "b")], ExpandContract, Keep, &image) else { panic!() };
    assert!(write.bytes_after > MAX_ITEM_BYTES && rule.is_item_size());
    assert_eq!(write.cost.total(), write.bytes_after.div_ceil(1024) as f64);
}

fn any_value() -> impl Generator<Value = Value> {
    let scalar = prop_oneof![
        "[a-c]{0,2}".prop_map(Value::S),
        (0..3_i32).prop_map(|n| Value::N(crate::item::Num::parse(&n.to_string()).unwrap())),
        Just(Value::Null),
    ];
    scalar.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::L),
            proptest::collection::btree_map("[x-z]", inner, 0..3).prop_map(Value::M),
        ]
    })
}

pub(super) fn any_item() -> impl Generator<Value = Item> {
    proptest::collection::btree_map("[a-e]", any_value(), 0..5).prop_map(|mut item| {
        item.insert("pk".into(), Value::S("1".into()));
        item
    })
}

/// Generates the attributes that a live writer sets or removes.
pub(super) fn any_edits() -> impl Generator<Value = std::collections::BTreeMap<String, Option<Value>>> {
    proptest::collection::btree_map("[a-e]", proptest::option::of(any_value()), 1..3)
}

/// Generates any `on_existing`.
pub(super) fn any_on_existing() -> impl Generator<Value = OnExisting> {
    proptest::sample::select(OnExisting::ALL.to_vec())
}

/// Returns the paths that a plan writes.
pub(super) fn targets(plan: &[Change]) -> Vec<&Path> {
    plan.iter().flat_map(|change| change.paths().writes).collect()
}

/// Generates plans that combine different kinds of change, as a plan file can.
pub(super) fn any_plan() -> impl Generator<Value = Vec<Change>> {
    proptest::sample::select(vec![
        vec![mv("a", "b")],
        vec![copy("a", "b"), remove("a")],
        vec![mv("a.x", "b")],
        vec![mv("a", "b.x"), copy("c", "b.y.z")],
        vec![copy("a", "b.x.y"), set("b.z", json!({"BOOL": true})), remove("c")],
        vec![set("a.x.y", json!({"N": "2"})), mv("b", "c"), remove("d.x")],
        vec![copy("a[0]", "b"), copy("c", "d[0].x")],
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// For every item and plan, a write has the properties that `check` requires, and the written item needs no further
    /// write. The write changes only the plan's paths. The write causes no validation error on any other image.
    #[test]
    fn every_write_is_guarded_complete_and_final(
        plan in any_plan(), image in any_item(), other in any_item(), edits in any_edits(),
        in_place in any::<bool>(), on_existing in any_on_existing(),
    ) {
        let strategy = if in_place { InPlace } else { ExpandContract };
        if let Decision::Write(write) = decide(&plan, strategy, on_existing, &image) {
            let after = check(&write, &image);
            prop_assert!(matches!(
                decide(&plan, strategy, on_existing, &after),
                Decision::AlreadyApplied | Decision::NothingToDo | Decision::Skipped(_)
            ), "not final: {:?}", after);
            for to in targets(&plan).into_iter().filter(|_| on_existing == Skip) {
                let existing = to.get(&image);
                prop_assert!(existing.is_none() || to.get(&after) == existing, "`{}` already existed", to);
            }
            let bound = crate::plan::expression_bound(&plan, None, &Default::default());
            let text = render(&write);
            prop_assert!(text.update.len() <= bound.update_bytes && text.condition.len() <= bound.condition_bytes);
            let terms = text.condition.matches(" AND ").count() + 1;
            prop_assert!(write.actions.len() <= bound.update_operators && 2 * terms - 1 <= bound.condition_operators);
            let touched: Vec<&str> = plan.iter().flat_map(|change| {
                let paths = change.paths();
                paths.writes.into_iter().chain(paths.removes).map(Path::root)
            }).collect();
            for (name, value) in &image {
                prop_assert!(touched.contains(&name.as_str()) || after.get(name) == Some(value));
            }
            // A live writer may have changed part or all of the item. Either the condition of the write fails, or the
            // write has the same effect as a write that is planned from the current item.
            let mut edited = image.clone();
            for (name, value) in edits {
                match value {
                    Some(value) => drop(edited.insert(name, value)),
                    None => drop(edited.remove(&name)),
                }
            }
            for raced in [other, edited] {
                let Some(after) = update(&write, Some(&raced)) else { continue };
                let expected = match decide(&plan, strategy, on_existing, &raced) {
                    Decision::Write(now) => update(&now, Some(&raced)),
                    Decision::AlreadyApplied | Decision::NothingToDo | Decision::Skipped(_) => Some(raced),
                    Decision::Diverged(_)
                    | Decision::Rejected(_)
                    | Decision::NotComputable(_)
                    | Decision::NeedsAnswers(..)
                    | Decision::Refused(..) => None,
                };
                prop_assert_eq!(Some(after), expected, "the write does not match the current item");
            }
        }
    }
}
