//! Tests plans that select items and compute values, against the model of `UpdateItem`. The expected values come from
//! plain Rust code, not from the evaluator of expressions.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::strategy::{Just, Strategy as Generator};
use serde_json::json;

use super::tests::{check, item, key, path, update};
use super::*;
use crate::item::{Item, Num};
use crate::plan::{Plan, load};

/// Loads a plan with these changes. `migration` contains more fields of `[migration]`.
fn plan(migration: &str, select: &str, changes: &[&str]) -> Plan {
    let changes: String = changes.iter().map(|change| format!("[[change]]\n{change}\n")).collect();
    let select = if select.is_empty() { String::new() } else { format!("[select]\nwhere = '{select}'\n") };
    let text =
        format!("[migration]\nname = \"m\"\n{migration}\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n{select}{changes}");
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

fn expand(plan: &Plan) -> Changes {
    Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn undo(plan: &Plan) -> Changes {
    Changes::for_undo(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

const FAIL: &str = "on_not_computable = \"fail\"";
const LABEL: &str = "compute = \"label\"\nas = 'item.a + \"#\" + item.b'";
const PRICE: &str = "convert = \"price\"\nto = \"N\"";
const COPY: &str = "convert = \"price\"\nto = \"N\"\ninto = \"amount\"";

#[test]
fn a_computed_value_is_pinned_to_its_inputs() {
    let plan = plan(FAIL, "", &[LABEL]);
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "y"}}));
    let Decision::Write(write) = expand(&plan).decide(&image) else { panic!() };
    let after = update(&write, Some(&image)).unwrap();
    assert_eq!(after.get("label"), Some(&Value::S("x#y".to_owned())));
    assert_eq!(write.conditions[0], Condition::ItemExists("pk".to_owned()));
    for (name, value) in [("a", "z"), ("b", "z"), ("label", "theirs")] {
        let mut raced = image.clone();
        raced.insert(name.to_owned(), Value::S(value.to_owned()));
        assert_eq!(update(&write, Some(&raced)), None, "{name}");
        raced.remove(name);
        assert_eq!(update(&write, Some(&raced)).is_some(), name == "label", "{name}");
    }
    assert_eq!(update(&write, None), None, "a deleted item is not recreated");
    assert_eq!(expand(&plan).decide(&after), Decision::AlreadyApplied);
}

#[test]
fn an_item_without_a_result_is_never_written() {
    let changes = [LABEL, "set = \"v\"\nvalue = 1"];
    let image = item(json!({"pk": {"S": "1"}, "a": {"N": "5"}, "b": {"S": "secret"}}));
    let Decision::NotComputable(why) = expand(&plan(FAIL, "", &changes)).decide(&image) else { panic!() };
    assert!(why.reason().contains("item.a") && !why.reason().contains("secret"), "{why}");
    let skip = plan("on_not_computable = \"skip\"", "", &changes);
    assert_eq!(expand(&skip).decide(&image), Decision::Skipped(Vec::new()));
}

#[test]
fn a_selection_is_part_of_the_condition() {
    let plan = plan("", "has(item.kind) && !has(item.done)", &["set = \"v\"\nvalue = 1"]);
    let image = item(json!({"pk": {"S": "1"}, "kind": {"S": "order"}}));
    let Decision::Write(write) = expand(&plan).decide(&image) else { panic!() };
    let mut raced = image.clone();
    raced.insert("done".to_owned(), Value::Bool(true));
    assert_eq!(update(&write, Some(&raced)), None);
    assert_eq!(expand(&plan).decide(&raced), Decision::NothingToDo);
    raced = image.clone();
    raced.remove("kind");
    assert_eq!(update(&write, Some(&raced)), None);
}

/// A key never changes, so a condition on it would only make the write larger.
#[test]
fn a_selection_by_key_needs_no_condition() {
    let plan = plan(FAIL, "item.pk.startsWith(\"1\")", &["set = \"v\"\nvalue = 1"]);
    let Decision::Write(write) = expand(&plan).decide(&item(json!({"pk": {"S": "1"}}))) else { panic!() };
    assert_eq!(write.conditions, [Condition::ItemExists("pk".to_owned()), Condition::Missing(path("v"))]);
    assert_eq!(expand(&plan).decide(&item(json!({"pk": {"S": "2"}}))), Decision::NothingToDo);
}

#[test]
fn a_conversion_under_the_same_name_happens_once() {
    let plan = plan("", "", &[PRICE]);
    let image = item(json!({"pk": {"S": "1"}, "price": {"S": "12.50"}}));
    let Decision::Write(write) = expand(&plan).decide(&image) else { panic!() };
    let after = update(&write, Some(&image)).unwrap();
    assert_eq!(after["price"], Value::N(Num::parse("12.50").unwrap()));
    assert_eq!(expand(&plan).decide(&after), Decision::AlreadyApplied);
    assert_eq!(write.pre_images[0].prior, PriorValue::Value(Value::S("12.50".to_owned())));
    let bad = item(json!({"pk": {"S": "1"}, "price": {"S": "secret"}}));
    let Decision::NotComputable(why) = expand(&plan).decide(&bad) else { panic!() };
    assert!(why.reason().contains("`price`") && !why.reason().contains("secret"), "{why}");
}

/// Undo restores the exact old value, and keeps a value that somebody has written since.
#[test]
fn undo_restores_a_converted_value_only_if_the_tool_wrote_it() {
    let plan = plan("", "", &[PRICE]);
    let image = item(json!({"pk": {"S": "1"}, "price": {"S": "12.50"}}));
    let Decision::Write(write) = expand(&plan).decide(&image) else { panic!() };
    let after = update(&write, Some(&image)).unwrap();
    let history = history_of(&write);
    let Decision::Write(back) = undo(&plan).decide_with(&after, &history) else { panic!() };
    assert_eq!(update(&back, Some(&after)).unwrap(), image);
    let mut theirs = after.clone();
    theirs.insert("price".to_owned(), Value::N(Num::parse("99").unwrap()));
    assert_eq!(update(&back, Some(&theirs)), None);
    assert_eq!(undo(&plan).decide_with(&theirs, &history), Decision::Diverged(vec![path("price")]));
}

#[test]
fn undo_needs_a_record() {
    let plan =
        plan("strategy = \"in-place\"", "has(item.kind)", &["copy = \"a\"\nto = \"b\"", "set = \"v\"\nvalue = 1"]);
    // Nothing shows that the migration wrote `b` and `v`, although both have the values that it would write.
    let image = item(json!({"pk": {"S": "1"}, "kind": {"S": "x"}, "a": {"S": "y"}, "b": {"S": "y"}, "v": {"N": "1"}}));
    assert_eq!(undo(&plan).decide_with(&image, &ItemHistory::default()), Decision::NothingToDo);
    let before = item(json!({"pk": {"S": "1"}, "kind": {"S": "x"}, "a": {"S": "y"}}));
    let Decision::Write(write) = expand(&plan).decide(&before) else { panic!() };
    let mut after = update(&write, Some(&before)).unwrap();
    // The plan no longer selects the item. Undo still restores it.
    after.remove("kind");
    let Decision::Write(back) = undo(&plan).decide_with(&after, &history_of(&write)) else { panic!() };
    assert_eq!(update(&back, Some(&after)).unwrap(), item(json!({"pk": {"S": "1"}, "a": {"S": "y"}})));
}

#[test]
fn every_write_raises_the_version() {
    let plan = plan("", "", &["set = \"v\"\nvalue = 1", "bump = \"version\""]);
    let image = item(json!({"pk": {"S": "1"}, "version": {"N": "41"}}));
    let Decision::Write(write) = expand(&plan).decide(&image) else { panic!() };
    let after = update(&write, Some(&image)).unwrap();
    assert_eq!(after["version"], Value::N(Num::parse("42").unwrap()));
    assert_eq!(expand(&plan).decide(&after), Decision::AlreadyApplied, "a version alone is no reason to write");
    let Decision::Write(back) = undo(&plan).decide_with(&after, &history_of(&write)) else { panic!() };
    let restored = update(&back, Some(&after)).unwrap();
    assert_eq!(restored, item(json!({"pk": {"S": "1"}, "version": {"N": "43"}})));
    for bad in [json!({"pk": {"S": "1"}}), json!({"pk": {"S": "1"}, "version": {"S": "41"}})] {
        assert!(matches!(expand(&plan).decide(&item(bad)), Decision::NotComputable(_)));
    }
}

#[test]
fn a_value_computed_from_itself_needs_a_selection_that_ends() {
    let changes = ["compute = \"n\"\nas = 'item.n + 1'"];
    let ends = plan("on_not_computable = \"fail\"\non_existing = \"overwrite\"", "item.n < 3", &changes);
    let at = |n: &str| item(json!({"pk": {"S": "1"}, "n": {"N": n}}));
    assert!(matches!(expand(&ends).decide(&at("2")), Decision::Write(_)));
    // The written item would still be selected, so the change could be applied twice.
    assert!(matches!(expand(&ends).decide(&at("1")), Decision::NotComputable(_)));
    assert_eq!(expand(&ends).decide(&at("3")), Decision::NothingToDo);
}

/// A repair converts a value that an application wrote in the old type. A rollback then restores this value, not the
/// value that the run replaced.
#[test]
fn undo_restores_the_last_value_of_an_application() {
    let plan = plan("", "", &[PRICE]);
    let converted = |text: &str| {
        let image = item(json!({"pk": {"S": "1"}, "price": {"S": text}}));
        let Decision::Write(write) = expand(&plan).decide(&image) else { panic!() };
        (update(&write, Some(&image)).unwrap(), write.pre_images[0].clone())
    };
    let (_, by_run) = converted("10");
    let (after, by_repair) = converted("99");
    let rows = [(PreImageOrigin::Repair, by_repair), (PreImageOrigin::Run, by_run)];
    let Decision::Write(back) = undo(&plan).decide_with(&after, &ItemHistory::new([], rows)) else { panic!() };
    assert_eq!(update(&back, Some(&after)).unwrap()["price"], Value::S("99".to_owned()));
}

/// Only a run may skip an item. If a rollback skipped an item, the rollback would complete although the item still has
/// a value of the migration.
#[test]
fn a_rollback_never_skips_an_item() {
    let plan = plan("on_not_computable = \"skip\"", "", &["set = \"v\"\nvalue = 1", "bump = \"version\""]);
    let image = item(json!({"pk": {"S": "1"}, "version": {"N": "1"}}));
    let Decision::Write(write) = expand(&plan).decide(&image) else { panic!() };
    let mut after = update(&write, Some(&image)).unwrap();
    after.remove("version");
    assert!(matches!(undo(&plan).decide_with(&after, &history_of(&write)), Decision::NotComputable(_)));
    assert_eq!(expand(&plan).decide(&item(json!({"pk": {"S": "1"}}))), Decision::Skipped(Vec::new()));
}

/// DynamoDB normalizes numbers. Undo recognises a number in its normalized form.
#[test]
fn a_computed_number_is_recognised_in_another_form() {
    let plan = plan("", "", &["compute = \"n\"\nas = '[1.50, 2]'"]);
    let image = item(json!({"pk": {"S": "1"}}));
    let Decision::Write(write) = expand(&plan).decide(&image) else { panic!() };
    let stored = item(json!({"pk": {"S": "1"}, "n": {"L": [{"N": "1.5"}, {"N": "2"}]}}));
    let Decision::Write(back) = undo(&plan).decide_with(&stored, &history_of(&write)) else { panic!() };
    assert_eq!(update(&back, Some(&stored)).unwrap(), image);
}

/// An application wrote its own value at the target after the item left the selection. Undo keeps this value.
#[test]
fn undo_keeps_a_value_of_an_unselected_item() {
    let plan = plan("strategy = \"in-place\"", "has(item.kind)", &["copy = \"a\"\nto = \"b\""]);
    let image = item(json!({"pk": {"S": "1"}, "kind": {"S": "x"}, "a": {"S": "y"}}));
    let Decision::Write(write) = expand(&plan).decide(&image) else { panic!() };
    let theirs = item(json!({"pk": {"S": "1"}, "a": {"S": "y"}, "b": {"S": "theirs"}}));
    assert_eq!(undo(&plan).decide_with(&theirs, &history_of(&write)), Decision::Diverged(vec![path("b")]));
}

pub(super) fn history_of(write: &GuardedWrite) -> ItemHistory {
    ItemHistory::new([], write.pre_images.iter().map(|pre| (PreImageOrigin::Run, pre.clone())))
}

/// Generates a value for an attribute of a random item.
fn any_value() -> impl Generator<Value = Value> {
    prop_oneof![
        4 => select(vec!["x", "y", "", "12.50", "0.10", "99999999999999999999999999999999999999"])
            .prop_map(|text| Value::S(text.to_owned())),
        2 => select(vec!["0", "1.10", "-5", "99999999999999999999999999999999999999", "1E-130"])
            .prop_map(|text| Value::N(Num::parse(text).unwrap())),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Null),
        1 => Just(Value::B(vec![0, 255])),
        1 => Just(Value::Ss(vec!["x".to_owned(), "y".to_owned()])),
        1 => Just(Value::L(vec![Value::S("x".to_owned()), Value::Null])),
        1 => Just(Value::M(Item::from([("m".to_owned(), Value::S("x".to_owned()))]))),
    ]
}

const NAMES: [&str; 8] = ["a", "b", "price", "amount", "label", "v", "version", "kind"];

fn any_item() -> impl Generator<Value = Item> {
    proptest::collection::btree_map(select(&NAMES[..]).prop_map(str::to_owned), any_value(), 0..8).prop_map(
        |mut item| {
            item.insert("pk".to_owned(), Value::S("1".to_owned()));
            item
        },
    )
}

fn any_plan() -> impl Generator<Value = Plan> {
    let changes = select(vec![
        vec![LABEL],
        vec![PRICE],
        vec![COPY],
        vec![LABEL, PRICE, "bump = \"version\""],
        vec![LABEL, COPY, "set = \"v\"\nvalue = 1"],
        vec!["set = \"v\"\nvalue = 1", "bump = \"version\""],
    ]);
    let selection = select(vec!["", "has(item.kind)", "item.kind == \"x\"", "!has(item.label) && item.a != \"y\""]);
    let settings = (select(vec!["keep", "skip", "overwrite"]), select(vec!["fail", "skip"]), any::<bool>());
    (changes, selection, settings).prop_map(|(changes, selection, (existing, otherwise, in_place))| {
        let strategy = if in_place { "in-place" } else { "expand-contract" };
        let settings =
            format!("on_existing = \"{existing}\"\non_not_computable = \"{otherwise}\"\nstrategy = \"{strategy}\"");
        plan(&settings, selection, &changes)
    })
}

/// Returns the value that a change writes, computed without the evaluator of expressions. Returns `None` if the change
/// has no result.
fn expected(change: &Change, image: &Item) -> Option<Option<Value>> {
    let text = |name: &str| match image.get(name) {
        Some(Value::S(text)) => Some(text.clone()),
        _ => None,
    };
    let number = |from: &str| match image.get(from) {
        None => Some(None),
        Some(Value::N(number)) => Some(Some(Value::N(number.clone()))),
        Some(Value::S(text)) => Num::parse(text).ok().map(|number| Some(Value::N(number))),
        Some(_) => None,
    };
    match change {
        Change::Compute { formula: Formula::Expression(_), .. } => {
            Some(Some(Value::S(format!("{}#{}", text("a")?, text("b")?))))
        }
        Change::Compute { .. } | Change::Convert { .. } => number("price"),
        Change::Set { value, .. } => Some(Some(value.clone())),
        Change::Move { .. }
        | Change::Copy { .. }
        | Change::Remove { .. }
        | Change::Append { .. }
        | Change::Bump { .. }
        | Change::Delete { .. } => Some(None),
        Change::Exec { .. } | Change::Put { .. } | Change::Each { .. } => unreachable!("not generated"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// A write stores exactly what a plain function computes, and changes nothing else. It fails if one of its inputs
    /// has changed. A second run does not repeat it, and undo reverts it exactly.
    #[test]
    fn a_write_is_the_pure_function_of_the_image(plan in any_plan(), image in any_item(), edit in (select(&NAMES[..]), any_value())) {
        let changes = expand(&plan);
        let Decision::Write(write) = changes.decide(&image) else { return Ok(()) };
        let after = check(&write, &image);
        let mut written = vec!["version"];
        for change in &plan.changes {
            let Some(to) = change.paths().writes.first().copied().cloned() else { continue };
            written.extend(NAMES.iter().find(|name| **name == to.root()));
            let Some(value) = expected(change, &image) else {
                // With `skip`, an existing value counts as done.
                prop_assert!(change.skips_existing() && to.get(&image).is_some(), "{change:?} has no result for {image:?}");
                prop_assert_eq!(to.get(&image), to.get(&after));
                continue;
            };
            if let Some(value) = value {
                let there = to.get(&image).filter(|_| change.skips_existing());
                prop_assert_eq!(to.get(&after), Some(there.unwrap_or(&value)));
            }
        }
        for name in NAMES.iter().filter(|name| !written.contains(name)) {
            prop_assert_eq!(image.get(*name), after.get(*name));
        }
        prop_assert!(!matches!(changes.decide(&after), Decision::Write(_)), "a second write");
        // A writer changes one attribute before the write arrives. If the write still succeeds, the decision for the
        // changed image must give the same result.
        let mut raced = image.clone();
        raced.insert(edit.0.to_owned(), edit.1);
        if let Some(raced_after) = update(&write, Some(&raced)) {
            let Decision::Write(again) = changes.decide(&raced) else { panic!("{raced:?} needs no write") };
            prop_assert_eq!(update(&again, Some(&raced)), Some(raced_after));
        }
        // A rollback can always raise the version.
        let history = history_of(&write);
        let restored = match undo(&plan).decide_with(&after, &history) {
            Decision::Write(back) => update(&back, Some(&after)).unwrap(),
            other => panic!("{other:?} for {after:?}"),
        };
        for name in NAMES.iter().filter(|name| **name != "version") {
            prop_assert_eq!(image.get(*name), restored.get(*name), "{}", name);
        }
    }
}
