//! A run and verification must agree about every item. If the run reports an item as a failure or as diverged,
//! verification reports a mismatch. If the run counts an item as done, verification accepts it. The random plans of
//! `tests/properties` found each of these cases.

use serde_json::json;

use super::tests::{item, key, update};
use super::*;
use crate::item::Item;
use crate::passes::verify::{Parity, TableStage, Truth};
use crate::plan::{Plan, load};
use crate::state::Verdict;

fn plan(settings: &str, select: &str, changes: &[&str]) -> Plan {
    let changes: String = changes.iter().map(|change| format!("[[change]]\n{change}\n")).collect();
    let text =
        format!("[migration]\nname = \"m\"\n{settings}\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n{select}\n{changes}");
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

fn decide(plan: &Plan, image: &Item) -> Decision {
    let changes = Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new());
    changes.with_rules(plan.item_rules()).decide(image)
}

fn verdict(plan: &Plan, image: &Item) -> Verdict {
    let parity = Parity::new(&plan.changes, plan.strategy, TableStage::Expanded, Truth::Old);
    parity.with_rules(plan.item_rules()).compare(image, &ItemHistory::EMPTY).verdict
}

const FAIL: &str = "on_not_computable = \"fail\"";
const SKIP: &str = "on_not_computable = \"skip\"";
const ADD: &str = "compute = \"t\"\nas = 'item.n + 1'";

/// With `skip`, an existing value counts as done, even if the expression has no result.
#[test]
fn a_value_that_counts_as_done_needs_no_result() {
    let plan = plan(FAIL, "", &[&format!("{ADD}\non_existing = \"skip\"\nnull_is_missing = true")]);
    let there = item(json!({"pk": {"S": "1"}, "n": {"S": "x"}, "t": {"S": "y"}}));
    assert_eq!(decide(&plan, &there), Decision::Skipped(vec!["t".parse().unwrap()]));
    assert_eq!(verdict(&plan, &there), Verdict::Skipped);
    for missing in [json!({"pk": {"S": "1"}}), json!({"pk": {"S": "1"}, "t": {"NULL": true}})] {
        let missing = item(missing);
        assert!(matches!(decide(&plan, &missing), Decision::NotComputable(_)));
        assert!(verdict(&plan, &missing).is_mismatch());
    }
}

/// If an existing value counts as done and the item needs another change, the condition of the write requires that this
/// value still exists.
#[test]
fn a_value_that_counts_as_done_is_pinned() {
    let plan = plan(FAIL, "", &[&format!("{ADD}\non_existing = \"skip\""), "set = \"v\"\nvalue = 1"]);
    let image = item(json!({"pk": {"S": "1"}, "t": {"S": "y"}}));
    let Decision::Write(write) = decide(&plan, &image) else { panic!() };
    assert!(update(&write, Some(&image)).is_some());
    assert_eq!(update(&write, Some(&item(json!({"pk": {"S": "1"}})))), None);
    let computable = item(json!({"pk": {"S": "1"}, "n": {"N": "1"}, "t": {"S": "y"}}));
    assert_eq!(update(&write, Some(&computable)), None);
}

/// If one change of an item is rejected, the item is a failure, even if `skip` allows another change to have no result.
#[test]
fn a_skipped_value_does_not_hide_another_fault() {
    let plan = plan(SKIP, "", &[&format!("{ADD}\non_existing = \"skip\""), "set = \"u.p\"\nvalue = 1"]);
    let image = item(json!({"pk": {"S": "1"}, "t": {"S": "y"}, "u": {"S": "no map"}}));
    assert!(matches!(decide(&plan, &image), Decision::Rejected(_)));
    assert!(verdict(&plan, &image).is_mismatch());
}

/// A rollback also raises the version. So a run writes an item only if a rollback can still raise its version after the
/// write.
#[test]
fn a_version_leaves_room_for_the_way_back() {
    let plan = plan("", "", &["set = \"v\"\nvalue = 1", "bump = \"version\""]);
    let nines = "9".repeat(37);
    for (version, is_written) in [
        (format!("{nines}6"), true),
        // The third raise gives 10^38, which has one significant digit. A fourth raise would need 39 digits.
        (format!("{nines}7"), true),
        (format!("{nines}8"), false),
        (format!("{nines}9"), false),
        (format!("-0.{}1", "0".repeat(37)), false),
        ("0".to_owned(), true),
    ] {
        let image = item(json!({"pk": {"S": "1"}, "version": {"N": version}}));
        let decision = decide(&plan, &image);
        assert_eq!(matches!(decision, Decision::Write(_)), is_written, "{version}: {decision:?}");
        let Decision::Write(write) = decision else { continue };
        let mut after = update(&write, Some(&image)).unwrap();
        for _ in 0..2 {
            let Value::N(version) = &after["version"] else { panic!() };
            let next = Value::N(version.plus_one().unwrap());
            after.insert("version".to_owned(), next);
        }
    }
}

/// `contract` also raises the version, so in a plan with a `contract` the version must allow one more raise.
#[test]
fn a_version_leaves_room_for_contract() {
    let plan = plan("", "", &["move = \"a\"\nto = \"b\"", "bump = \"version\""]);
    let nines = "9".repeat(37);
    for (version, is_written) in [(format!("{nines}6"), true), (format!("{nines}7"), false)] {
        let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "version": {"N": version}}));
        let decision = decide(&plan, &image);
        assert_eq!(matches!(decision, Decision::Write(_)), is_written, "{version}: {decision:?}");
        let Decision::Write(write) = decision else { continue };
        let mut after = update(&write, Some(&image)).unwrap();
        let contract = Changes::for_contract(&plan.changes, plan.strategy, key(), Vec::new()).decide(&after);
        let Decision::Write(contract) = contract else { panic!("{contract:?}") };
        after = update(&contract, Some(&after)).unwrap();
        for _ in 0..2 {
            let Value::N(version) = &after["version"] else { panic!() };
            let next = Value::N(version.plus_one().unwrap());
            after.insert("version".to_owned(), next);
        }
    }
}

/// After the write, the version can no longer be raised as often as a run requires. If one of the item's values is
/// wrong, verification must nevertheless report a mismatch.
#[test]
fn a_defect_in_a_written_item_with_a_large_version_is_a_mismatch() {
    let plan = plan(SKIP, "", &["set = \"v\"\nvalue = 1", "bump = \"version\""]);
    let image = item(json!({"pk": {"S": "1"}, "version": {"N": format!("{}7", "9".repeat(37))}}));
    let Decision::Write(write) = decide(&plan, &image) else { panic!() };
    let mut after = update(&write, Some(&image)).unwrap();
    assert_eq!(verdict(&plan, &after), Verdict::Matching);
    after.insert("v".to_owned(), Value::Bool(true));
    assert!(verdict(&plan, &after).is_mismatch());
    // A rollback can raise every version that a run writes. It cannot raise this version, so no run wrote this item.
    let full = item(json!({"pk": {"S": "1"}, "version": {"N": "9".repeat(38)}}));
    assert_eq!(verdict(&plan, &full), Verdict::Skipped);
}

fn removals(settings: &str, removed: &str, condition: &str) -> bool {
    let text = format!(
        "[migration]\nname = \"m\"\nstrategy = \"in-place\"\n{settings}\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n\
         [select]\nwhere = '{condition}'\n[[change]]\n{removed}\n"
    );
    let loaded = load("p", &text).unwrap_or_else(|errors| panic!("{errors}"));
    loaded.check_removals(&key()).is_ok()
}

/// A plan with such a `where` still loads, so that a migration that has already begun can continue. Only the check
/// before a new migration refuses the plan, and only if the written items would become failures.
#[test]
fn a_where_that_fails_after_its_own_removal_is_refused_for_a_new_migration() {
    let (moved, nested) = ("move = \"old\"\nto = \"new\"", "remove = \"m.b\"");
    for (removed, condition, is_accepted) in [
        (moved, "item.old.startsWith(\"x\")", false),
        (moved, "has(item.old) && item.old.startsWith(\"x\")", true),
        (moved, "type(item.old) == \"S\" && item.old.startsWith(\"x\")", true),
        (moved, "item.other.startsWith(\"x\")", true),
        (nested, "item.m.b == \"x\"", false),
        (nested, "item.m.b.c == \"x\"", false),
        (nested, "has(item.m.b) && item.m.b == \"x\"", true),
        (nested, "size(item.m) > 0", true),
        (nested, "item.m.c == \"x\"", true),
        (nested, "item.k == \"x\" && item.m.b == \"x\"", false),
        ("move = \"m.b\"\nto = \"new\"", "item.m.b == \"x\"", false),
        ("remove = \"m\"", "item.m.b == \"x\"", false),
    ] {
        assert_eq!(removals(FAIL, removed, condition), is_accepted, "{removed} {condition}");
        assert!(removals(SKIP, removed, condition), "{removed} {condition}");
    }
}

/// With `skip`, a second run and verification skip the items that the first run has written.
#[test]
fn written_items_without_a_result_are_skipped() {
    let plan = plan(
        &format!("strategy = \"in-place\"\n{SKIP}"),
        "[select]\nwhere = 'item.old.startsWith(\"x\")'",
        &["move = \"old\"\nto = \"new\""],
    );
    let image = item(json!({"pk": {"S": "1"}, "old": {"S": "xy"}}));
    let Decision::Write(write) = decide(&plan, &image) else { panic!() };
    let after = update(&write, Some(&image)).unwrap();
    assert_eq!(decide(&plan, &after), Decision::Skipped(Vec::new()));
    assert!(!verdict(&plan, &after).is_mismatch());
}

/// An item without a version is not computable, even if it is also diverged.
#[test]
fn a_missing_version_goes_before_a_divergence() {
    let changes = ["copy = \"a\"\nto = \"b\"", "bump = \"version\""];
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "y"}}));
    let in_place = |otherwise: &str| plan(&format!("strategy = \"in-place\"\n{otherwise}"), "", &changes);
    assert!(matches!(decide(&in_place(FAIL), &image), Decision::NotComputable(_)));
    assert!(verdict(&in_place(FAIL), &image).is_mismatch());
    assert_eq!(decide(&in_place(SKIP), &image), Decision::Skipped(Vec::new()));
    assert_eq!(verdict(&in_place(SKIP), &image), Verdict::Skipped);
    // An item that needs no write needs no version.
    let done = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}}));
    assert_eq!(decide(&in_place(FAIL), &done), Decision::AlreadyApplied);
}

/// A run also tests the `where` of a change that waits for `contract`, so that a failure is known before the cutover.
#[test]
fn a_condition_without_a_result_is_a_failure_before_contract() {
    let changes = ["set = \"v\"\nvalue = 1", "remove = \"b\"\nwhere = 'item.kind.startsWith(\"x\")'"];
    let plan = plan(FAIL, "[select]\nstable = [\"kind\"]", &changes);
    let image = item(json!({"pk": {"S": "1"}, "b": {"S": "y"}}));
    assert!(matches!(decide(&plan, &image), Decision::NotComputable(_)));
    assert!(verdict(&plan, &image).is_mismatch());
    for kind in ["xyz", "other"] {
        let image = item(json!({"pk": {"S": "1"}, "kind": {"S": kind}, "b": {"S": "y"}}));
        assert!(matches!(decide(&plan, &image), Decision::Write(_)));
    }
}
