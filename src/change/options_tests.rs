//! Tests changes with their own `where`, and changes for which a NULL counts as missing, against the model of
//! `UpdateItem`.

mod null;
mod overwritten;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::strategy::{Just, Strategy as Generator};
use serde_json::{Value as Json, json};

use super::tests::{check, item, key, path, update};
use super::*;
use crate::item::Item;
use crate::passes::verify::{Parity, Repair, TableStage, Truth};
use crate::plan::{Plan, SelectedIndex, load};
use crate::state::Verdict;

fn plan(settings: &str, select: &str, changes: &[&str]) -> Plan {
    let changes: String = changes.iter().map(|change| format!("[[change]]\n{change}\n")).collect();
    let text =
        format!("[migration]\nname = \"m\"\n{settings}\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n{select}\n{changes}");
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

fn expand(plan: &Plan) -> Changes {
    Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn undo(plan: &Plan) -> Changes {
    Changes::for_undo(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn contract(plan: &Plan) -> Changes {
    Changes::for_contract(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn verdict(plan: &Plan, image: &Item, history: &ItemHistory) -> Verdict {
    let parity = Parity::new(&plan.changes, plan.strategy, TableStage::Expanded, Truth::Old);
    parity.with_rules(plan.item_rules()).compare(image, history).verdict
}

fn written(changes: &Changes, image: &Item) -> GuardedWrite {
    match changes.decide(image) {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

/// If the index through which the plan selects is deleted after the run, it is unknown which items the index contained.
#[test]
fn only_records_count_after_the_index_was_deleted() {
    let mut plan = plan("strategy = \"expand-contract\"", "", &["move = \"a\"\nto = \"b\""]);
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let write = written(&expand(&plan), &image);
    let after = check(&write, &image);
    assert!(matches!(undo(&plan).decide_with(&after, &ItemHistory::default()), Decision::Write(_)), "a plan for all");
    plan.index = Some(SelectedIndex { name: "by-status".to_owned(), schema: None });
    let old_from_new = Changes::for_old_from_new(&plan.changes, plan.strategy, key(), Vec::new());
    let stale = item(json!({"pk": {"S": "1"}, "a": {"S": "old"}, "b": {"S": "x"}}));
    for (changes, found) in [
        (undo(&plan), &after),
        (expand(&plan), &image),
        (contract(&plan), &after),
        (old_from_new.with_rules(plan.item_rules()), &stale),
    ] {
        let decided = changes.decide_with(found, &ItemHistory::default());
        assert_eq!(decided, Decision::NothingToDo, "{changes:?}");
    }
    // If a plan selects items, a run records its writes, and a rollback relies on these records.
    let rows = [(PreImageOrigin::Run, PreImage::without_value(&path("b")).with_written_value(&after["b"]))];
    let Decision::Write(back) = undo(&plan).decide_with(&after, &ItemHistory::new([], rows)) else {
        panic!("{after:?}")
    };
    assert_eq!(update(&back, Some(&after)).unwrap(), image);
}

/// The history after a run: what the baseline and the journal recorded.
fn history_of(changes: &Changes, image: &Item, write: &GuardedWrite) -> ItemHistory {
    let rows = write.pre_images.iter().map(|pre| (PreImageOrigin::Run, pre.clone()));
    ItemHistory::new(changes.baseline(image).preexisting, rows)
}

const STREET: &str = "move = \"street\"\nto = \"address.street\"\nnull_is_missing = true";
const ZIP: &str = "move = \"zip\"\nto = \"address.zip\"\nnull_is_missing = true";

fn address(address: Json) -> Item {
    let mut image = json!({"pk": {"S": "1"}, "street": {"S": "High St 1"}, "zip": {"S": "1000"}});
    if !address.is_null() {
        image["address"] = address;
    }
    item(image)
}

/// A live writer added a member to the map that replaced a NULL. The member stays.
#[test]
fn undo_keeps_what_was_added_to_the_map() {
    let plan = plan("strategy = \"in-place\"", "", &[STREET]);
    let image = address(json!({"NULL": true}));
    let changes = expand(&plan);
    let write = written(&changes, &image);
    let mut now = update(&write, Some(&image)).unwrap();
    path("address.country").set(&mut now, Value::S("BE".to_owned()));
    let history = history_of(&changes, &image, &write);
    let Decision::Write(back) = undo(&plan).decide_with(&now, &history) else { panic!() };
    let restored = check(&back, &now);
    assert_eq!(restored["address"], item(json!({"a": {"M": {"country": {"S": "BE"}}}}))["a"]);
    assert_eq!(restored["street"], image["street"]);
}

const KIND: &str = "set = \"kind\"\nvalue = \"order\"\nwhere = 'item.pk.startsWith(\"O\")'";
const LATE: &str = "set = \"late\"\nvalue = true\nwhere = 'has(item.due) && item.due == \"past\"'";

#[test]
fn each_change_applies_where_its_condition_is_true() {
    let plan = plan("on_not_computable = \"fail\"", "", &[KIND, LATE]);
    let changes = expand(&plan);
    let image = |pk: &str, due: &str| item(json!({"pk": {"S": pk}, "due": {"S": due}}));
    let after = check(&written(&changes, &image("O1", "past")), &image("O1", "past"));
    assert!(after.contains_key("kind") && after.contains_key("late"));
    let after = check(&written(&changes, &image("O1", "soon")), &image("O1", "soon"));
    assert!(after.contains_key("kind") && !after.contains_key("late"));
    let after = check(&written(&changes, &image("U1", "past")), &image("U1", "past"));
    assert!(!after.contains_key("kind") && after.contains_key("late"));
    assert_eq!(changes.decide(&image("U1", "soon")), Decision::NothingToDo);
    assert!(changes.applies_to_nothing(&image("U1", "soon")) && !changes.applies_to_nothing(&image("O1", "soon")));
    assert_eq!(verdict(&plan, &image("U1", "soon"), &ItemHistory::default()), Verdict::NotSelected);
    assert_eq!(verdict(&plan, &image("U1", "past"), &ItemHistory::default()), Verdict::Missing);
    let failed = item(json!({"pk": {"S": "O1"}, "due": {"N": "1"}}));
    assert!(matches!(changes.decide(&failed), Decision::NotComputable(_)), "all changes of an item or none");
    assert_eq!(verdict(&plan, &failed, &ItemHistory::default()), Verdict::Missing);
}

/// A write also pins the inputs of a `where` that was false. Otherwise, the `where` could become true before the write
/// arrives, and the item would get only some of its changes.
#[test]
fn a_condition_that_is_false_is_pinned() {
    let plan = plan("on_not_computable = \"fail\"", "", &[KIND, LATE]);
    let image = item(json!({"pk": {"S": "O1"}, "due": {"S": "soon"}}));
    let write = written(&expand(&plan), &image);
    let mut raced = image.clone();
    raced.insert("due".to_owned(), Value::S("past".to_owned()));
    assert_eq!(update(&write, Some(&raced)), None);
    assert!(
        !write.conditions.iter().any(|condition| matches!(condition, Condition::Equals(at, _) if at.root() == "pk"))
    );
}

/// The written value makes the change's own `where` false, so the value is never computed twice.
#[test]
fn a_value_computed_from_itself_needs_a_condition_that_ends() {
    let settings = "on_not_computable = \"fail\"\non_existing = \"overwrite\"";
    let plan =
        plan(settings, "", &["compute = \"n\"\nas = 'item.n + 1'\nwhere = 'item.n < 3'", "set = \"v\"\nvalue = 1"]);
    let at = |n: &str| item(json!({"pk": {"S": "1"}, "n": {"N": n}}));
    assert_eq!(check(&written(&expand(&plan), &at("2")), &at("2"))["n"], at("3")["n"]);
    assert!(matches!(expand(&plan).decide(&at("1")), Decision::NotComputable(_)));
    // The change does not apply to this item, so it does not prevent the other change.
    let image = at("7");
    assert_eq!(check(&written(&expand(&plan), &image), &image)["n"], image["n"]);
}

/// Undo reverts exactly what the journal shows, even if the item no longer matches the change's `where`.
#[test]
fn undo_goes_by_records() {
    let copy = "copy = \"a\"\nto = \"b\"\nwhere = 'has(item.kind)'";
    let plan = plan("strategy = \"in-place\"", "", &[copy]);
    let image = item(json!({"pk": {"S": "1"}, "kind": {"S": "x"}, "a": {"S": "y"}}));
    let changes = expand(&plan);
    let write = written(&changes, &image);
    let mut after = check(&write, &image);
    after.remove("kind");
    let history = history_of(&changes, &image, &write);
    let Decision::Write(back) = undo(&plan).decide_with(&after, &history) else { panic!() };
    assert_eq!(update(&back, Some(&after)).unwrap(), item(json!({"pk": {"S": "1"}, "a": {"S": "y"}})));
    // Nothing shows that the migration wrote this copy.
    assert_eq!(undo(&plan).decide_with(&after, &ItemHistory::default()), Decision::NothingToDo);
}

/// A plan with a cutover removes the old attribute only of items to which the move applies.
#[test]
fn contract_and_the_way_back_follow_a_stable_condition() {
    let moved = "move = \"a\"\nto = \"b\"\nwhere = 'has(item.kind) && item.kind == \"x\"'";
    let plan = plan("on_not_computable = \"fail\"", "[select]\nstable = [\"kind\"]", &[moved]);
    let image = |kind: &str| item(json!({"pk": {"S": "1"}, "kind": {"S": kind}, "a": {"S": "y"}, "b": {"S": "y"}}));
    assert!(matches!(contract(&plan).decide(&image("x")), Decision::Write(_)));
    assert_eq!(contract(&plan).decide(&image("z")), Decision::NothingToDo);
    let Decision::Write(back) = undo(&plan).decide(&image("x")) else { panic!() };
    assert!(back.conditions.contains(&Condition::Equals(path("kind"), Value::S("x".to_owned()))));
    assert_eq!(undo(&plan).decide(&image("z")), Decision::NothingToDo);
}

const NAMES: [&str; 6] = ["a", "b", "doc", "kind", "v", "n"];

fn any_item() -> impl Generator<Value = Item> {
    let value = prop_oneof![
        3 => select(vec!["x", "y"]).prop_map(|text| Value::S(text.to_owned())),
        2 => Just(Value::Null),
        1 => Just(Value::Bool(true)),
        1 => Just(Value::M(Item::new())),
        1 => Just(Value::M(Item::from([("m".to_owned(), Value::Null)]))),
        1 => Just(Value::M(Item::from([("m".to_owned(), Value::S("x".to_owned()))]))),
    ];
    proptest::collection::btree_map(select(&NAMES[..]).prop_map(str::to_owned), value, 0..6).prop_map(|mut item| {
        item.insert("pk".to_owned(), Value::S("1".to_owned()));
        item
    })
}

fn any_plan() -> impl Generator<Value = Plan> {
    let change = |text: &'static str| {
        (any::<bool>(), select(vec!["", "has(item.kind)", "!has(item.kind) || item.kind == \"x\""])).prop_map(
            move |(null, condition)| {
                let null = if null { "\nnull_is_missing = true" } else { "" };
                let condition = if condition.is_empty() { String::new() } else { format!("\nwhere = '{condition}'") };
                format!("{text}{null}{condition}")
            },
        )
    };
    let changes = (
        change("move = \"a\"\nto = \"doc.m\""),
        change("copy = \"b\"\nto = \"doc.n\""),
        change("set = \"v\"\nvalue = \"x\""),
        1_usize..8,
    );
    let settings = (select(vec!["keep", "skip", "overwrite"]), select(vec!["fail", "skip"]));
    (changes, settings).prop_map(|((moved, copied, set, which), (existing, otherwise))| {
        let all = [moved, copied, set];
        let some: Vec<&str> = (0..3).filter(|n| which & (1 << n) != 0).map(|n| all[n].as_str()).collect();
        let settings =
            format!("strategy = \"in-place\"\non_existing = \"{existing}\"\non_not_computable = \"{otherwise}\"");
        plan(&settings, "", &some)
    })
}

/// Returns whether the change applies to the item, computed without the evaluator of expressions. Returns `None` if the
/// `where` has no result.
fn applies(plan: &Plan, change: &Change, image: &Item) -> Option<bool> {
    let source = plan.options.of_change(change).applies_to.as_ref().map(|selection| selection.condition.source());
    match (source, image.get("kind")) {
        (None, _) => Some(true),
        (Some("has(item.kind)"), kind) => Some(kind.is_some()),
        (Some(_), None) => Some(true),
        (Some(_), Some(Value::S(kind))) => Some(kind == "x"),
        (Some(_), Some(Value::Null)) => Some(false),
        (Some(_), Some(_)) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// A write changes exactly the targets of the changes that apply, and fails if anything on which it depends has
    /// changed. A second run does not repeat it. Afterwards, verification finds no mismatch, and undo restores the item
    /// exactly.
    #[test]
    fn a_write_follows_every_option(plan in any_plan(), image in any_item(), edit in (select(&NAMES[..]), any_item())) {
        let changes = expand(&plan);
        let decided = changes.decide(&image);
        let applying: Vec<Option<bool>> = plan.changes.iter().map(|change| applies(&plan, change, &image)).collect();
        if applying.contains(&None) {
            prop_assert!(matches!(decided, Decision::NotComputable(_) | Decision::Skipped(_)), "{:?}", decided);
            return Ok(());
        }
        if applying.iter().all(|applies| *applies == Some(false)) {
            prop_assert_eq!(decided, Decision::NothingToDo);
            prop_assert_eq!(verdict(&plan, &image, &ItemHistory::default()), Verdict::NotSelected);
            return Ok(());
        }
        let Decision::Write(write) = decided else { return Ok(()) };
        let after = check(&write, &image);
        for (change, applies) in plan.changes.iter().zip(&applying) {
            let to = change.own_path().unwrap();
            let null = plan.options.of_change(change).null_is_missing;
            let wanted = match change {
                Change::Move { from, .. } | Change::Copy { from, .. } => from.get(&image),
                Change::Set { value, .. } => Some(value),
                other => panic!("{other:?}"),
            };
            let there = to.get(&image);
            let keeps = there.is_some_and(|there| change.skips_existing() && !(null && *there == Value::Null));
            match wanted {
                Some(wanted) if *applies == Some(true) && !keeps => prop_assert_eq!(to.get(&after), Some(wanted)),
                Some(_) | None => prop_assert_eq!(to.get(&after), there),
            }
        }
        prop_assert!(!matches!(changes.decide(&after), Decision::Write(_)), "a second write");
        let history = history_of(&changes, &image, &write);
        prop_assert!(!verdict(&plan, &after, &history).is_mismatch());
        prop_assert!(verdict(&plan, &image, &ItemHistory::default()).is_mismatch());
        let mut raced = image.clone();
        match edit.1.get(edit.0) {
            Some(value) => drop(raced.insert(edit.0.to_owned(), value.clone())),
            None => drop(raced.remove(edit.0)),
        }
        if let Some(raced_after) = update(&write, Some(&raced)) {
            let Decision::Write(again) = changes.decide(&raced) else { panic!("{raced:?} needs no write") };
            prop_assert_eq!(update(&again, Some(&raced)), Some(raced_after));
        }
        // A repair makes the same write.
        let repair = Repair::new(&plan.changes, plan.strategy, Truth::Old, key(), Vec::new()).with_rules(plan.item_rules());
        if let Decision::Write(repaired) = repair.with_removals().decide(&image, &ItemHistory::default()) {
            let repaired = check(&repaired, &image);
            prop_assert!(!verdict(&plan, &repaired, &ItemHistory::default()).is_mismatch(), "{:?}", repaired);
        }
        match undo(&plan).decide_with(&after, &history) {
            Decision::Write(back) => prop_assert_eq!(update(&back, Some(&after)).unwrap(), image),
            other => prop_assert!(false, "{:?} for {:?}", other, after),
        }
    }
    /// Tests a computed value that replaces an attribute, with every combination of options, in a plan with a cutover.
    #[test]
    fn a_replacement_follows_every_option(
        null in any::<bool>(),
        has_where in any::<bool>(),
        existing in select(vec!["keep", "skip", "overwrite"]),
        image in any_item(),
    ) {
        let null_option = if null { "\nnull_is_missing = true" } else { "" };
        let condition = if has_where { "\nwhere = 'has(item.kind) && item.kind == \"x\"'" } else { "" };
        let change = format!("compute = \"b\"\nas = '\"n:\" + item.a'\nreplaces = \"a\"{null_option}{condition}");
        let settings = format!("on_existing = \"{existing}\"\non_not_computable = \"fail\"");
        let select = if has_where { "[select]\nstable = [\"kind\"]" } else { "" };
        let plan = plan(&settings, select, &[&change]);
        let changes = expand(&plan);
        let decided = changes.decide(&image);
        let is_known = |kind: &Value| matches!(kind, Value::S(_) | Value::Null);
        if has_where && image.get("kind").is_some_and(|kind| !is_known(kind)) {
            prop_assert!(matches!(decided, Decision::NotComputable(_)), "{:?}", decided);
            return Ok(());
        }
        if has_where && image.get("kind") != Some(&Value::S("x".to_owned())) {
            prop_assert_eq!(&decided, &Decision::NothingToDo);
            prop_assert_eq!(contract(&plan).decide(&image), Decision::NothingToDo);
            return Ok(());
        }
        let implied = match image.get("a") {
            Some(Value::S(old)) => Value::S(format!("n:{old}")),
            Some(_) => {
                prop_assert!(matches!(decided, Decision::NotComputable(_)), "{:?}", decided);
                return Ok(());
            }
            None => {
                prop_assert!(matches!(decided, Decision::NothingToDo | Decision::AlreadyApplied), "{:?}", decided);
                return Ok(());
            }
        };
        let there = image.get("b").filter(|there| !(null && **there == Value::Null));
        match (there, existing) {
            (Some(_), "keep") => prop_assert_eq!(&decided, &Decision::Diverged(vec![path("b")])),
            (Some(_), "skip") => prop_assert_eq!(&decided, &Decision::Skipped(vec![path("b")])),
            (_, _) => prop_assert!(matches!(&decided, Decision::Write(_)), "{:?}", decided),
        }
        let Decision::Write(write) = decided else { return Ok(()) };
        let after = check(&write, &image);
        prop_assert_eq!(&after["b"], &implied);
        prop_assert_eq!(changes.decide(&after), Decision::AlreadyApplied);
        let history = history_of(&changes, &image, &write);
        prop_assert_eq!(verdict(&plan, &after, &history), Verdict::Matching);
        prop_assert!(verdict(&plan, &image, &ItemHistory::default()).is_mismatch());
        let Decision::Write(removal) = contract(&plan).decide_with(&after, &history) else { panic!("{after:?}") };
        let mut contracted = after.clone();
        contracted.remove("a");
        prop_assert_eq!(update(&removal, Some(&after)).unwrap(), contracted);
        match undo(&plan).decide_with(&after, &history) {
            Decision::Write(back) => prop_assert_eq!(update(&back, Some(&after)).unwrap(), image),
            other => prop_assert!(false, "{:?} for {:?}", other, after),
        }
    }
}
