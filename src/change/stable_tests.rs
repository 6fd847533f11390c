//! Tests what each phase does with an item whose stable attribute has changed since it was recorded.

use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;
use serde_json::{Value as Json, json};

use super::tests::{check, item, key, path};
use super::*;
use crate::item::Item;
use crate::passes::verify::{Parity, Repair, TableStage, Truth};
use crate::plan::{Plan, load};
use crate::state::Verdict;

const PLAN: &str = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n\
    [select]\nwhere = 'type(item.kind) == \"S\" && item.kind == \"order\"'\nstable = [\"kind\", \"unread\"]\n\
    [[change]]\nmove = \"a\"\nto = \"b\"\n";

fn plan(text: &str) -> Plan {
    load("p", text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

type Phase = fn(&[Change], Strategy, crate::item::KeySchema, Vec<crate::item::IndexSchema>) -> Changes;

fn changes(phase: Phase, plan: &Plan) -> Changes {
    phase(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn image(kind: &str, a: Json, b: Json) -> Item {
    let mut all = json!({"pk": {"S": "1"}, "kind": {"S": kind}});
    for (name, value) in [("a", a), ("b", b)] {
        if !value.is_null() {
            all[name] = json!({"S": value});
        }
    }
    item(all)
}

/// Returns the history of an item after a run: its baseline and what its write recorded.
fn history(plan: &Plan, before: &Item) -> ItemHistory {
    let expand = changes(Changes::for_expand, plan);
    let baseline = expand.baseline(before);
    let from_baseline = baseline
        .stable
        .into_iter()
        .map(|(path, digest)| PreImage { written_digest: Some(digest), ..PreImage::same_as_source(&path) });
    let from_write = match expand.decide(before) {
        Decision::Write(write) => write.pre_images,
        Decision::NothingToDo | Decision::AlreadyApplied => Vec::new(),
        other => panic!("{other:?}"),
    };
    let newest_first = from_write.into_iter().chain(from_baseline).map(|pre| (PreImageOrigin::Run, pre));
    ItemHistory::new(baseline.preexisting, newest_first)
}

fn verdict(plan: &Plan, image: &Item, history: &ItemHistory) -> (Verdict, Vec<Path>) {
    let parity = Parity::new(&plan.changes, plan.strategy, TableStage::Expanded, Truth::Old);
    let found = parity.with_rules(plan.item_rules()).compare(image, history);
    (found.verdict, found.paths.into_iter().map(|(path, _)| path).collect())
}

fn is_reported(decision: &Decision) -> bool {
    matches!(decision, Decision::Rejected(why) if why.starts_with("stable-changed: `kind` ") && !why.contains("invoice"))
}

/// The first write records the stable attributes that the selection reads, under a condition that pins them.
#[test]
fn a_write_records_what_its_condition_pins() {
    let plan = plan(PLAN);
    assert_eq!(plan.item_rules().stable, [path("kind")], "nothing reads `unread`");
    let before = image("order", json!("x"), Json::Null);
    let Decision::Write(write) = changes(Changes::for_expand, &plan).decide(&before) else { panic!() };
    assert!(write.pre_images.contains(&PreImage::of_stable(&path("kind"), before.get("kind"))));
    assert!(write.conditions.contains(&Condition::Equals(path("kind"), before["kind"].clone())));
    // A plan without stable attributes records no such attribute.
    let without = self::plan(&PLAN.replace("item.kind", "item.pk").replace("stable = [\"kind\", \"unread\"]\n", ""));
    assert_eq!(without.item_rules().stable, Vec::<Path>::new());
}

#[test]
fn contract_old_from_new_and_verification_report_a_changed_attribute() {
    let plan = plan(PLAN);
    for (before, kinds) in [
        // The run wrote the item. Now the plan no longer selects it.
        (image("order", json!("x"), Json::Null), ("order", "invoice")),
        // The baseline recorded the item. Now the plan selects it.
        (image("invoice", json!("x"), json!("x")), ("invoice", "order")),
    ] {
        let history = history(&plan, &before);
        let (same, other) = (image(kinds.0, json!("x"), json!("y")), image(kinds.1, json!("x"), json!("y")));
        for phase in [Changes::for_contract as Phase, Changes::for_old_from_new] {
            let phase = changes(phase, &plan);
            assert!(phase.lookup().is_some());
            // Old-from-new can rely on a record that shows that the run wrote the new attribute.
            let is_proven = kinds.0 == "order" && matches!(phase.ops, ops::Ops::OldFromNew(_));
            assert_eq!(is_reported(&phase.decide_with(&other, &history)), !is_proven, "{kinds:?}");
            assert!(!is_reported(&phase.decide_with(&same, &history)), "{kinds:?}");
        }
        assert_eq!(verdict(&plan, &other, &history), (Verdict::Stale, vec![path("kind")]));
        let equal = image(kinds.0, json!("x"), json!("x"));
        assert_eq!(verdict(&plan, &equal, &history).1, []);
        let repair = Repair::new(&plan.changes, plan.strategy, Truth::Old, key(), Vec::new());
        assert!(is_reported(&repair.with_rules(plan.item_rules()).decide(&other, &history)));
    }
}

/// If the run created the new attribute, old-from-new copies its value to the old attribute. Without this copy, the new
/// attribute might have the only copy of a value, and the rollback could remove it.
#[test]
fn old_from_new_restores_what_the_run_created() {
    let plan = plan(PLAN);
    let written = history(&plan, &image("order", json!("x"), Json::Null));
    let old_from_new = changes(Changes::for_old_from_new, &plan);
    for a in [Json::Null, json!("x")] {
        let now = image("invoice", a, json!("y"));
        let Decision::Write(write) = old_from_new.decide_with(&now, &written) else { panic!("{now:?}") };
        assert_eq!(check(&write, &now)["a"], Value::S("y".to_owned()));
    }
    // The new attribute existed before the migration, so no record shows the correct old value.
    let recorded = history(&plan, &image("invoice", json!("x"), json!("x")));
    for a in [Json::Null, json!("x")] {
        assert!(is_reported(&old_from_new.decide_with(&image("order", a, json!("y")), &recorded)));
    }
}

/// Another item with the same key may have been inserted since the run. Its old value is not the value that the run
/// copied.
#[test]
fn old_from_new_leaves_an_item_whose_old_value_the_run_did_not_copy() {
    let plan = plan(PLAN);
    let written = history(&plan, &image("order", json!("x"), Json::Null));
    let old_from_new = changes(Changes::for_old_from_new, &plan);
    assert!(is_reported(&old_from_new.decide_with(&image("note", json!("1"), json!("2")), &written)));
}

/// If old-from-new did not restore the old attribute, undo keeps the new attribute, even if the run wrote its value.
#[test]
fn undo_keeps_the_last_copy_if_the_attribute_has_changed() {
    for text in [PLAN.to_owned(), PLAN.replace("name = \"m\"\n", "name = \"m\"\non_existing = \"overwrite\"\n")] {
        let plan = plan(&text);
        let before = if text == PLAN { Json::Null } else { json!("w") };
        let written = history(&plan, &image("order", json!("x"), before));
        let undo = changes(Changes::for_undo, &plan);
        assert!(is_reported(&undo.decide_with(&image("invoice", Json::Null, json!("x")), &written)), "{text}");
        assert!(matches!(undo.decide_with(&image("order", Json::Null, json!("x")), &written), Decision::Write(_)));
        assert!(matches!(undo.decide_with(&image("invoice", json!("x"), json!("x")), &written), Decision::Write(_)));
    }
}

/// If a selected item in the same state would need no write, the item is not a failure.
#[test]
fn an_item_that_needs_nothing_is_not_reported() {
    let plan = plan(PLAN);
    let parity = Parity::new(&plan.changes, plan.strategy, TableStage::Expanded, Truth::NewDuringRollback);
    let parity = parity.with_rules(plan.item_rules());
    for (before, kind) in [
        (image("order", json!("x"), Json::Null), "invoice"),
        (image("invoice", json!("x"), json!("x")), "order"),
        (image("invoice", json!("x"), json!("x")), "letter"),
    ] {
        let history = history(&plan, &before);
        let (contracted, equal) = (image(kind, Json::Null, json!("x")), image(kind, json!("x"), json!("x")));
        let contract = changes(Changes::for_contract, &plan).decide_with(&contracted, &history);
        assert_eq!(contract, Decision::NothingToDo, "{kind}");
        let old_from_new = changes(Changes::for_old_from_new, &plan).decide_with(&equal, &history);
        assert_eq!(old_from_new, Decision::AlreadyApplied, "{kind}");
        // During a rollback, the item counts as matching. In the expanded table, verification reports it.
        assert_eq!(parity.compare(&equal, &history).verdict, Verdict::Matching, "{kind}");
        assert_eq!(verdict(&plan, &equal, &history).0, Verdict::Stale, "{kind}");
        let unequal = image(kind, json!("x"), json!("y"));
        assert_eq!(parity.compare(&unequal, &history).paths, [(path("kind"), Verdict::Stale)], "{kind}");
    }
}

/// If the record is damaged, old-from-new relies on the item's current attributes.
#[test]
fn old_from_new_needs_no_readable_record() {
    let plan = plan(PLAN);
    let old_from_new = changes(Changes::for_old_from_new, &plan);
    assert_eq!(old_from_new.lookup(), Some(HistoryLookup::ForReport));
    let unreadable = ItemHistory::unreadable("damaged");
    let now = image("order", Json::Null, json!("y"));
    let Decision::Write(write) = old_from_new.decide_with(&now, &unreadable) else { panic!() };
    assert!(write.pre_images.contains(&PreImage::with_leftover(&path("a"), Leftover::Unknown)));
    let contract = changes(Changes::for_contract, &plan);
    assert_eq!(contract.lookup(), Some(HistoryLookup::ForDecision));
    assert!(matches!(
        contract.decide_with(&image("order", json!("x"), json!("x")), &unreadable),
        Decision::Rejected(_)
    ));
}

/// The removal of a stable attribute counts as a change.
#[test]
fn a_removed_stable_attribute_is_a_change() {
    let plan = plan(&PLAN.replace("type(item.kind) == \"S\" && item.kind == \"order\"", "!has(item.kind)"));
    let before = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let history = history(&plan, &before);
    let after = image("order", json!("x"), json!("x"));
    assert!(is_reported(&changes(Changes::for_contract, &plan).decide_with(&after, &history)));
    assert!(!is_reported(&changes(Changes::for_contract, &plan).decide_with(&before, &history)));
}

/// If the attribute has changed, undo reverts a value only if a record shows that the migration wrote it.
#[test]
fn undo_acts_only_on_records_if_the_attribute_has_changed() {
    let plan = plan(PLAN);
    let undo = changes(Changes::for_undo, &plan);
    let written = history(&plan, &image("order", json!("x"), Json::Null));
    let Decision::Write(back) = undo.decide_with(&image("invoice", json!("x"), json!("x")), &written) else { panic!() };
    assert_eq!(back.actions, [Action::Remove { path: path("b") }]);
    // The run found nothing to write, because the item had neither attribute. Applications have written both attributes
    // since. While the stable attribute is unchanged, the selection is sufficient proof. After the stable attribute has
    // changed, only a record would be sufficient.
    let kind = PreImage::of_stable(&path("kind"), Some(&Value::S("invoice".to_owned())));
    let recorded = ItemHistory::new([], [(PreImageOrigin::Run, kind)]);
    let selected = image("order", json!("x"), json!("x"));
    assert!(is_reported(&undo.decide_with(&selected, &recorded)));
    assert!(matches!(undo.decide_with(&selected, &ItemHistory::default()), Decision::Write(_)));
    // Nothing is left to undo.
    assert!(!is_reported(&undo.decide_with(&image("order", json!("x"), Json::Null), &recorded)));
}

/// The oldest record counts, so that a later write cannot hide a change of the attribute.
#[test]
fn a_later_record_does_not_replace_the_first() {
    let plan = plan(PLAN);
    let record =
        |kind: &str| (PreImageOrigin::Run, PreImage::of_stable(&path("kind"), Some(&Value::S(kind.to_owned()))));
    let history = ItemHistory::new([], [record("order"), record("invoice")]);
    let after = image("order", json!("x"), json!("x"));
    assert!(is_reported(&changes(Changes::for_contract, &plan).decide_with(&after, &history)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// After the attribute has changed, no phase relies on the selection to write the item. No phase reports an
    /// attribute that has not changed.
    #[test]
    fn only_a_changed_attribute_is_reported(
        (kind, later) in (select(vec!["order", "invoice"]), select(vec!["order", "invoice"])),
        (a, b) in (select(vec![None, Some("x"), Some("y")]), select(vec![None, Some("x")])),
        (a2, b2) in (select(vec![None, Some("x"), Some("z")]), select(vec![None, Some("x"), Some("z")])),
    ) {
        let plan = plan(&PLAN.replace("name = \"m\"\n", "name = \"m\"\non_existing = \"skip\"\n"));
        let before = image(kind, json!(a), json!(b));
        let expand = changes(Changes::for_expand, &plan);
        let decision = expand.decide(&before);
        let baseline = expand.baseline(&before);
        let mut rows = Vec::new();
        if let Decision::Write(write) = &decision {
            prop_assert!(check(write, &before).contains_key("b"));
            rows.extend(write.pre_images.iter().map(|pre| (PreImageOrigin::Run, pre.clone())));
        }
        rows.extend(baseline.stable.iter().map(|(path, digest)| {
            (PreImageOrigin::Run, PreImage { written_digest: Some(*digest), ..PreImage::same_as_source(path) })
        }));
        let is_recorded = !rows.is_empty();
        let history = ItemHistory::new(baseline.preexisting, rows);
        let after = image(later, json!(a2), json!(b2));
        let has_changed = is_recorded && kind != later;
        let is_written = matches!(decision, Decision::Write(_));
        // Compare with the decision of a phase that selects every item.
        for phase in [Changes::for_contract as Phase, Changes::for_old_from_new] {
            let all = phase(&plan.changes, plan.strategy, key(), Vec::new()).decide_with(&after, &history);
            let needs_nothing =
                matches!(all, Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_));
            let phase = changes(phase, &plan);
            // If the run did not copy the old value, the value belongs to another item or was written since.
            let is_copied = a2.is_none() || a2 == a;
            let is_proven = is_written && is_copied && matches!(phase.ops, ops::Ops::OldFromNew(_));
            let found = phase.decide_with(&after, &history);
            prop_assert_eq!(is_reported(&found), has_changed && !needs_nothing && !is_proven);
            if has_changed && needs_nothing {
                prop_assert_eq!(found, all);
            }
        }
        prop_assert_eq!(verdict(&plan, &after, &history).1.contains(&path("kind")), has_changed);
        let back = changes(Changes::for_undo, &plan).decide_with(&after, &history);
        prop_assert!(!is_reported(&back) || has_changed);
        if has_changed && matches!(back, Decision::Write(_)) {
            prop_assert!(is_written, "undo wrote an item that the run had not written");
            prop_assert!(a2.is_some(), "undo removed the last copy of a value");
        }
    }
}
