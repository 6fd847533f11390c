use serde_json::{Value as Json, json};

use super::Strategy::{ExpandContract, InPlace};
use super::Verdict::{Matching, Missing, Skipped, Stale, Unexpected};
use super::*;
use crate::change::Digest;
use crate::change::OnExisting::{Keep, Skip};
use crate::item::{Value, item_from_json};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn mv() -> Change {
    Change::Move { from: path("a"), to: path("d.b"), on_existing: Keep }
}

fn copy() -> Change {
    Change::Copy { from: path("a"), to: path("d.b"), on_existing: Keep }
}

fn set() -> Change {
    Change::Set { to: path("schema"), value: Value::from_json(&json!({"N": "2"})).unwrap(), on_existing: Keep }
}

fn remove() -> Change {
    Change::Remove { path: path("junk") }
}

/// Creates an image with these values at the paths `a` and `d.b`.
fn pair(old: Option<&str>, new: Option<&str>) -> Item {
    let mut item = json!({"pk": {"S": "1"}, "d": {"M": {}}});
    if let Some(old) = old {
        item["a"] = json!({"S": old});
    }
    if let Some(new) = new {
        item["d"]["M"]["b"] = json!({"S": new});
    }
    item_from_json(&item).unwrap()
}

/// Creates a history in which the target had this value before the migration.
fn preexisting(value: &str) -> ItemHistory {
    ItemHistory::new([(path("d.b"), Digest::from_value(&Value::S(value.to_owned())))], [])
}

const PAIRS: [(Option<&str>, Option<&str>); 5] =
    [(None, None), (Some("1"), Some("1")), (Some("1"), Some("2")), (Some("1"), None), (None, Some("2"))];

fn verdicts(change: Change, strategy: Strategy, stage: TableStage, truth: Truth, before: bool) -> [Verdict; 5] {
    let parity = Parity::new(&[change], strategy, stage, truth);
    let record = if before { preexisting("2") } else { ItemHistory::default() };
    PAIRS.map(|(old, new)| parity.compare(&pair(old, new), &record).verdict)
}

#[test]
fn each_pair_has_the_expected_verdict() {
    use TableStage::{Contracted, Expanded};
    for (truth, expected) in [
        (Truth::Old, [Matching, Matching, Stale, Missing, Unexpected]),
        (Truth::NewThenOld, [Matching, Matching, Stale, Missing, Missing]),
        (Truth::New, [Matching, Matching, Stale, Missing, Missing]),
        (Truth::NewDuringRollback, [Matching, Matching, Stale, Matching, Missing]),
    ] {
        for change in [mv(), copy()] {
            assert_eq!(verdicts(change.clone(), ExpandContract, Expanded, truth, false), expected, "{truth:?}");
            // If an item has a preexisting new value and no old value, the pair matches, provided that old values
            // cannot be stale. If the item also has an old value, the two values are compared as usual.
            let mut preexisting = expected;
            preexisting[4] = if truth.is_new_only() { Missing } else { Matching };
            assert_eq!(verdicts(change, ExpandContract, Expanded, truth, true), preexisting, "{truth:?}");
        }
    }
    let in_place = [Matching, Unexpected, Stale, Missing, Matching];
    assert_eq!(verdicts(mv(), InPlace, Expanded, Truth::Old, false), in_place);
    let in_place = [Matching, Matching, Stale, Missing, Unexpected];
    assert_eq!(verdicts(copy(), InPlace, Expanded, Truth::Old, false), in_place);
    let contracted = [Matching, Unexpected, Unexpected, Unexpected, Matching];
    assert_eq!(verdicts(mv(), ExpandContract, Contracted, Truth::New, false), contracted);
    assert_eq!(verdicts(copy(), ExpandContract, Contracted, Truth::New, false), [Matching; 5]);
}

/// Tests the values that count as done with `on_existing = "skip"`, at every stage and for each truth.
#[test]
fn skipped_values_count_as_done() {
    use TableStage::{Contracted, Expanded};
    let skipping = |change: Change| change.with_on_existing(Skip);
    for truth in [Truth::Old, Truth::NewThenOld, Truth::New, Truth::NewDuringRollback] {
        for change in [mv(), copy()].map(skipping) {
            let at = |before| verdicts(change.clone(), ExpandContract, Expanded, truth, before)[2];
            assert_eq!((at(true), at(false)), (Skipped, Stale), "{truth:?}: only the preexisting value counts as done");
            // The current new value is not the preexisting value, so it does not count as done.
            let parity = Parity::new(&[change], ExpandContract, Expanded, truth);
            assert_eq!(parity.compare(&pair(Some("1"), Some("3")), &preexisting("2")).verdict, Stale);
        }
    }
    // In an in-place plan, a copied value cannot be distinguished from any other value, and readers do not switch.
    let in_place = [Matching, Unexpected, Skipped, Missing, Matching];
    assert_eq!(verdicts(skipping(mv()), InPlace, Expanded, Truth::Old, false), in_place);
    assert_eq!(verdicts(skipping(copy()), InPlace, Expanded, Truth::Old, false)[2], Skipped);
    // After `contract`, a skipped pair still has its old value.
    let contracted = [Matching, Unexpected, Skipped, Unexpected, Matching];
    assert_eq!(verdicts(skipping(mv()), ExpandContract, Contracted, Truth::New, true), contracted);
    let item = |n: &str| item_from_json(&json!({"schema": {"N": n}})).unwrap();
    let constant = Parity::new(&[skipping(set())], ExpandContract, Expanded, Truth::Old);
    let verdict = |item: &Item| constant.compare(item, &ItemHistory::default()).verdict;
    assert_eq!([verdict(&item("2")), verdict(&item("3")), verdict(&Item::new())], [Matching, Skipped, Missing]);
}

/// If an in-place copy removes its source, only the new value remains, as after a move.
#[test]
fn a_copy_and_a_removal_in_place_are_a_move() {
    let [moved, copied] = [vec![mv()], vec![copy(), Change::Remove { path: path("a") }]].map(|changes| {
        let parity = Parity::new(&changes, InPlace, TableStage::Expanded, Truth::Old);
        PAIRS.map(|(old, new)| parity.compare(&pair(old, new), &ItemHistory::default()).verdict.is_mismatch())
    });
    assert_eq!(moved, copied);
    assert!(!copied[4], "an item with only the new value matches");
}

#[test]
fn constants_and_removals() {
    let verdict = |change: Change, strategy, stage, image: Json| {
        let item = item_from_json(&image).unwrap();
        Parity::new(&[change], strategy, stage, Truth::Old).compare(&item, &ItemHistory::default()).verdict
    };
    let expanded = |change, image| verdict(change, ExpandContract, TableStage::Expanded, image);
    assert_eq!(expanded(set(), json!({"schema": {"N": "2.0"}})), Matching, "numbers are compared as numbers");
    assert_eq!(expanded(set(), json!({"schema": {"S": "2"}})), Stale);
    assert_eq!(expanded(set(), json!({})), Missing);
    assert_eq!(expanded(remove(), json!({"junk": {"S": "x"}})), Matching, "removed only by contract");
    assert_eq!(verdict(remove(), ExpandContract, TableStage::Contracted, json!({"junk": {"S": "x"}})), Unexpected);
    assert_eq!(verdict(remove(), InPlace, TableStage::Expanded, json!({"junk": {"S": "x"}})), Unexpected);
    assert_eq!(verdict(remove(), InPlace, TableStage::Expanded, json!({})), Matching);
    assert!(Parity::new(&[remove()], ExpandContract, TableStage::Expanded, Truth::Old).is_empty());
    assert!(
        Parity::new(&[set()], ExpandContract, TableStage::Expanded, Truth::New).is_empty(),
        "applications own the constant"
    );
    assert!(!Parity::new(&[set()], ExpandContract, TableStage::Expanded, Truth::NewThenOld).is_empty());
}

#[test]
fn the_worst_change_counts_and_each_path_is_named() {
    let parity = Parity::new(&[mv(), set()], ExpandContract, TableStage::Expanded, Truth::Old);
    let found = parity.compare(&pair(Some("1"), Some("2")), &ItemHistory::default());
    assert_eq!(found.verdict, Stale);
    assert_eq!(found.paths, [(path("d.b"), Stale), (path("schema"), Missing)]);
    // The comparison reports the path of the derived side.
    let parity = Parity::new(&[mv()], ExpandContract, TableStage::Expanded, Truth::New);
    assert_eq!(parity.compare(&pair(Some("1"), Some("2")), &ItemHistory::default()).paths, [(path("a"), Stale)]);
    assert_eq!(parity.compare(&pair(None, Some("2")), &ItemHistory::default()).paths, [(path("a"), Missing)]);
    // If the parent of a path is not a map, the value at the path is missing.
    let text = item_from_json(&json!({"a": {"S": "1"}, "d": {"S": "text"}})).unwrap();
    let parity = Parity::new(&[mv()], ExpandContract, TableStage::Expanded, Truth::Old);
    assert_eq!(parity.compare(&text, &ItemHistory::default()).verdict, Missing);
}

/// The comparison of a key depends on which attribute its readers use. So for two keys with equal images, the wrong
/// value can be the old one for one key, and the new one for the other.
#[test]
fn below_100_percent_each_key_is_compared_by_its_own_truth() {
    let parity = Parity::with_truths(&[mv()], ExpandContract, TableStage::Expanded, TruthByKey::Percent(50), "pk");
    let mut moved = 0;
    let mut others = 0;
    for n in 0..40 {
        let mut unequal = pair(Some("1"), Some("2"));
        unequal.insert("pk".into(), Value::S(n.to_string()));
        let derived = if TruthByKey::Percent(50).at(unequal.get("pk")) == Truth::Old { "d.b" } else { "a" };
        assert_eq!(parity.compare(&unequal, &ItemHistory::default()).paths, [(path(derived), Stale)]);
        *(if derived == "a" { &mut moved } else { &mut others }) += 1;
    }
    assert!(moved > 5 && others > 5, "{moved} and {others}");
}

/// Creates the comparison of a plan with these parts.
fn parity_of(parts: &str) -> Parity {
    let text = format!("[migration]\nname = \"m\"\non_not_computable = \"skip\"\n[table]\nname = \"shop\"\n{parts}");
    let plan = crate::plan::load("plan", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
    Parity::new(&plan.changes, plan.strategy, TableStage::Expanded, Truth::Old).with_rules(plan.item_rules())
}

/// If the record of an item cannot be read, it is unknown whether the migration wrote a value. An outdated value of the
/// migration must not count as a preexisting value.
#[test]
fn an_unreadable_record_proves_no_author() {
    let unreadable = ItemHistory::unreadable("a row is damaged");
    let none = ItemHistory::default();
    let image = |image: Json| item_from_json(&image).unwrap();
    let with_skip = parity_of("[[change]]\ncompute = \"b\"\nas = 'item.a + \"!\"'\non_existing = \"skip\"\n");
    let stale = image(json!({"pk": {"S": "1"}, "a": {"S": "new"}, "b": {"S": "old!"}}));
    assert_eq!(with_skip.compare(&stale, &none).verdict, Skipped);
    assert!(with_skip.compare(&stale, &unreadable).verdict.is_mismatch());
    let without_source = image(json!({"pk": {"S": "1"}, "b": {"S": "old!"}}));
    assert!(!with_skip.compare(&without_source, &none).verdict.is_mismatch());
    assert!(with_skip.compare(&without_source, &unreadable).verdict.is_mismatch());
    let some = parity_of("[[change]]\nset = \"b\"\nvalue = { S = \"x\" }\nwhere = 'item.a == \"yes\"'\n");
    let left_out = image(json!({"pk": {"S": "1"}, "a": {"S": "no"}, "b": {"S": "y"}}));
    assert!(!some.compare(&left_out, &none).verdict.is_mismatch());
    assert!(some.compare(&left_out, &unreadable).verdict.is_mismatch());
    // These items can be shown to be right without their history.
    for fine in [json!({"pk": {"S": "1"}, "a": {"S": "n"}, "b": {"S": "n!"}}), json!({"pk": {"S": "1"}})] {
        assert!(!with_skip.compare(&image(fine), &unreadable).verdict.is_mismatch());
    }
}
