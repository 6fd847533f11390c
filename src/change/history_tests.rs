//! Tests how a rollback uses the history: items without a baseline, several pre-images of a path, and repairs.

use proptest::prelude::{ProptestConfig, Strategy as _, any, prop_assert, prop_assert_eq, proptest};
use serde_json::json;

use super::OnExisting::{Keep, Overwrite};
use super::Strategy::{ExpandContract, InPlace};
use super::tests::{any_item, copy, item, key, path, remove, replace, set};
use super::undo_tests::{Scenario, any_rollback_plan, moves, strategy, text};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// The test deletes targets that the migration created, or writes wrong values to these targets. It then repairs
    /// the targets, sometimes runs a further pass, and rolls back. Afterwards, the item is the same as before the
    /// migration, byte for byte. This is true for every plan, even if a pass reported the item as diverged. One case is
    /// an exception: a wrong value of a copy in place whose source is gone.
    #[test]
    fn a_rollback_after_a_repair_restores_the_item(
        plan in any_rollback_plan(), image in any_item(), in_place in any::<bool>(), overwrite in any::<bool>(),
        spoil in proptest::collection::vec(0..3_u8, 4), again in any::<bool>(),
    ) {
        // An in-place move removes the source, so a repair cannot compare the target with the source.
        let in_place = in_place && !plan.iter().any(|change| matches!(change, Change::Move { .. }));
        let strategy = strategy(&plan, in_place);
        let mut scenario = Scenario::new(&plan, strategy, if overwrite { Overwrite } else { Keep }, &image);
        scenario.run(false);
        for (change, how) in plan.iter().zip(spoil) {
            let (Change::Move { to, .. } | Change::Copy { to, .. }) = change else { continue };
            if to.get(&image).is_some() || to.get(&scenario.image).is_none() {
                continue;
            }
            match how {
                1 => prop_assert!(to.set(&mut scenario.image, Value::S("spoilt".into()))),
                2 => drop(to.remove(&mut scenario.image)),
                _ => {}
            }
        }
        let repaired = scenario.repair();
        prop_assert!(!matches!(repaired, Decision::Diverged(_)), "{:?}", repaired);
        if again {
            scenario.run(false);
        }
        let spoilt = Value::S("spoilt".into());
        let is_spoilt = |change: &Change| change.paths().writes.iter().any(|to| to.get(&scenario.image) == Some(&spoilt));
        // If the same write removed the source of a copy in place, no repair can tell that the target is wrong. Then the
        // value may be an application's, so the rollback reports the item.
        let stays = strategy == InPlace && plan.iter().any(is_spoilt);
        let undone = scenario.undo();
        if stays {
            prop_assert!(matches!(undone, Decision::Diverged(_)), "{:?}", undone);
        } else if !matches!(repaired, Decision::Rejected(_)) {
            prop_assert_eq!(text(&scenario.image), text(&image), "{:?}", repaired);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// An application that knows only the old name continues to write and delete the old attribute. Passes and repairs
    /// run in between. Some of them are killed between the journal entry and the write. A rollback restores the new
    /// attribute to its state before the migration, even if the tool has overwritten its own values since. The old
    /// attribute keeps the application's value.
    #[test]
    fn a_rollback_after_an_old_applications_writes_restores_the_new_attribute(
        image in any_pair(), dual in any::<bool>(),
        steps in proptest::collection::vec((any_text(), 0..4_u8), 1..6), last in any_text(),
    ) {
        let mut scenario = Scenario::new(&moves(), ExpandContract, Overwrite, &image);
        // If an application writes both attributes, an equal pair is not preexisting.
        let prior = image.get("b").filter(|new| !dual || image.get("a") != Some(new));
        scenario.dual_writes = dual;
        scenario.run(false);
        for (old, how) in steps {
            scenario.edit([("a".to_owned(), old)].into());
            match how {
                0 => scenario.run(true),
                1 => drop(scenario.repair()),
                2 => scenario.run(false),
                _ => {}
            }
        }
        scenario.edit([("a".to_owned(), last.clone())].into());
        let undone = scenario.undo();
        prop_assert!(!matches!(undone, Decision::Diverged(_)), "{:?}", undone);
        prop_assert_eq!((scenario.image.get("a"), scenario.image.get("b")), (last.as_ref(), prior), "{:?}", undone);
        let again = scenario.undo();
        prop_assert!(!matches!(again, Decision::Write(_)), "{:?}", again);
    }
}

fn any_text() -> impl proptest::strategy::Strategy<Value = Option<Value>> {
    proptest::sample::select(vec![None, Some("0"), Some("1"), Some("2")])
        .prop_map(|text| text.map(|s| Value::S(s.into())))
}

/// Generates an item that may have values at `a` and `b`.
fn any_pair() -> impl proptest::strategy::Strategy<Value = crate::item::Item> {
    (any_text(), any_text()).prop_map(|(old, new)| {
        let values = [("pk", Some(Value::S("1".into()))), ("a", old), ("b", new)];
        values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

/// The tool filled an empty target and overwrote its own value in a later pass. A rollback removes the target, even if
/// somebody else wrote the target between the two passes.
#[test]
fn a_target_that_did_not_exist_before_is_removed() {
    let s = |text: &str| Some(Value::S(text.into()));
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v1"}}));
    for (live, last) in [(None, "v2"), (s("live"), "v2"), (None, "v3"), (s("live"), "v3")] {
        let mut scenario = Scenario::new(&moves(), ExpandContract, Overwrite, &image);
        scenario.run(false);
        scenario.edit([("a".to_owned(), s("v2"))].into());
        scenario.edit(live.clone().map(|live| ("b".to_owned(), Some(live))).into_iter().collect());
        scenario.run(false);
        assert_eq!(scenario.journal.len(), 1);
        scenario.edit([("a".to_owned(), s(last))].into());
        assert!(matches!(scenario.undo(), Decision::Write(_)));
        assert_eq!((scenario.image.get("a"), scenario.image.get("b")), (s(last).as_ref(), None), "{live:?} {last}");
    }
    // Without a baseline, it is unknown whether the target existed before the migration, so the rollback restores the
    // overwritten value.
    let rollback = Changes::for_undo(&moves(), ExpandContract, key(), Vec::new());
    let row = PreImage::with_value(&path("b"), &Value::S("x".into())).with_written_value(&Value::S("v".into()));
    let without_baseline = ItemHistory::new([], [(PreImageOrigin::Run, row)]).without_baseline();
    let Decision::Write(write) =
        rollback.decide_with(&item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "v"}})), &without_baseline)
    else {
        panic!()
    };
    assert_eq!(write.actions, [Action::SetValue { to: path("b"), value: Value::S("x".into()) }]);
}

/// A rollback restores a preexisting value that the tool's copy replaced, even if the old attribute has changed since.
#[test]
fn the_tools_copy_is_replaced_even_if_the_old_value_changed_since() {
    let s = |text: &str| Some(Value::S(text.into()));
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v1"}, "b": {"S": "x0"}}));
    for (old, killed) in [(s("v2"), false), (s("v2"), true), (None, false), (None, true)] {
        let mut scenario = Scenario::new(&moves(), ExpandContract, Overwrite, &image);
        scenario.run(false);
        scenario.edit([("a".to_owned(), s("killed"))].into());
        if killed {
            scenario.run(true);
        }
        scenario.edit([("a".to_owned(), old.clone())].into());
        let Decision::Write(write) = scenario.undo() else { panic!("{old:?} {killed}") };
        assert_eq!((scenario.image.get("a"), scenario.image.get("b")), (old.as_ref(), s("x0").as_ref()));
        // The write records the removed value, and its condition pins both values.
        assert_eq!(write.pre_images, [PreImage::with_value(&path("b"), &Value::S("v1".into()))]);
        let held = old.map_or(Condition::Missing(path("a")), |old| Condition::Equals(path("a"), old));
        assert!(write.conditions.contains(&held));
    }
    // A rollback does not replace a live writer's value at the new attribute.
    let mut scenario = Scenario::new(&moves(), ExpandContract, Overwrite, &image);
    scenario.run(false);
    scenario.edit([("a".to_owned(), s("v2")), ("b".to_owned(), s("live"))].into());
    assert_eq!(scenario.undo(), Decision::Diverged(vec![path("b")]));
}

/// If a write was never sent, its journal entry does not show who wrote the value that it found.
#[test]
fn a_killed_write_over_the_tools_own_value_does_not_make_it_foreign() {
    let s = |text: &str| Some(Value::S(text.into()));
    for strategy in [ExpandContract, InPlace] {
        let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v1"}, "b": {"S": "x0"}}));
        let mut scenario = Scenario::new(&moves(), strategy, Overwrite, &image);
        scenario.run(false);
        scenario.edit([("a".to_owned(), s("v2"))].into());
        scenario.run(true);
        scenario.run(true);
        scenario.run(false);
        assert_eq!(scenario.journal.len(), 4);
        assert!(matches!(scenario.undo(), Decision::Write(_)));
        assert_eq!(
            (scenario.image.get("a"), scenario.image.get("b")),
            (s("v2").as_ref(), s("x0").as_ref()),
            "{strategy:?}"
        );
    }
}

/// If a repair found a wrong value, a rollback restores that value only if it existed before the migration.
#[test]
fn a_rollback_after_a_repair_restores_the_state_before_the_migration() {
    let s = |text: &str| Some(Value::S(text.into()));
    let edit = |name: &str, text: &str| std::collections::BTreeMap::from([(name.to_owned(), s(text))]);
    let alone = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}}));
    let unequal = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "x0"}}));
    let equal = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "v"}}));
    for (image, on_existing, spoilt) in [
        (&alone, Keep, Some("bad")),
        (&unequal, Keep, None),
        (&unequal, Overwrite, Some("bad")),
        (&unequal, Overwrite, None),
        (&equal, Keep, Some("bad")),
        (&equal, Overwrite, Some("bad")),
    ] {
        let mut scenario = Scenario::new(&moves(), ExpandContract, on_existing, image);
        scenario.run(false);
        if let Some(bad) = spoilt {
            scenario.edit(edit("b", bad));
        }
        scenario.repair();
        assert_eq!(scenario.image["a"], scenario.image["b"]);
        scenario.undo();
        assert_eq!(text(&scenario.image), text(image), "{on_existing:?} {spoilt:?}");
        assert!(!matches!(scenario.undo(), Decision::Write(_)), "{on_existing:?} {spoilt:?}");
    }
    // An application that knows only the old name continues to write, and a pass or a repair runs after each of its
    // writes. A rollback still restores the new attribute's value from before the migration.
    for image in [&unequal, &equal] {
        let mut scenario = Scenario::new(&moves(), ExpandContract, Overwrite, image);
        scenario.run(false);
        for (n, value) in ["w1", "w2", "w3", "w4"].into_iter().enumerate() {
            scenario.edit(edit("a", value));
            if n % 2 == 0 {
                drop(scenario.repair())
            } else {
                scenario.run(false)
            }
            assert_eq!(scenario.image.get("b"), s(value).as_ref());
        }
        scenario.undo();
        assert_eq!((scenario.image.get("a"), &scenario.image["b"]), (s("w4").as_ref(), &image["b"]));
    }
    // A rollback also ignores the value that a repair found if the change is a constant, an in-place removal or an
    // in-place copy.
    for (plan, strategy, name) in [
        (vec![set("b", json!({"S": "c"}))], ExpandContract, "b"),
        (vec![remove("b")], InPlace, "b"),
        (vec![copy("a", "b")], InPlace, "b"),
    ] {
        for image in [&alone, &unequal] {
            if image.contains_key("b") || matches!(plan[..], [Change::Set { .. }] | [Change::Copy { .. }]) {
                let mut scenario = Scenario::new(&plan, strategy, Overwrite, image);
                scenario.run(false);
                scenario.edit(edit(name, "bad"));
                assert!(matches!(scenario.repair(), Decision::Write(_)));
                scenario.undo();
                assert_eq!(text(&scenario.image), text(image), "{plan:?}");
            }
        }
    }
}

/// If no pass has read an item, it is unknown which targets existed before the migration.
#[test]
fn without_a_baseline_only_copies_of_the_old_value_are_removed() {
    let rollback = Changes::for_undo(&moves(), ExpandContract, key(), Vec::new());
    let without_baseline = ItemHistory::default().without_baseline();
    let decide = |image: serde_json::Value| rollback.decide_with(&item(image), &without_baseline);
    let equal = json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}});
    let Decision::Write(write) = decide(equal) else { panic!() };
    assert_eq!(write.actions, [Action::Remove { path: path("b") }]);
    let unequal = json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "y"}});
    assert_eq!(decide(unequal), Decision::Diverged(vec![path("b")]));
    assert_eq!(decide(json!({"pk": {"S": "1"}, "b": {"S": "y"}})), Decision::NothingToDo);
    // If the baseline is complete, a target that it does not list was written after the migration began.
    let with_baseline = |image| rollback.decide_with(&item(image), &ItemHistory::default());
    assert!(matches!(with_baseline(json!({"pk": {"S": "1"}, "b": {"S": "y"}})), Decision::Write(_)));
}

/// If a path has several pre-images, the rollback chooses one by the rule in `history.rs`.
#[test]
fn the_tools_own_values_are_not_restored() {
    let s = |text: &str| Some(Value::S(text.into()));
    let old = |value: &str| std::collections::BTreeMap::from([("a".to_owned(), s(value))]);
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "x0"}}));
    for (strategy, back) in [(ExpandContract, "w"), (InPlace, "w")] {
        let mut scenario = Scenario::new(&moves(), strategy, Overwrite, &image);
        scenario.run(false);
        scenario.edit(old("w"));
        scenario.run(false);
        assert_eq!(scenario.journal.len(), 2);
        assert!(matches!(scenario.undo(), Decision::Write(_)));
        assert_eq!(
            (scenario.image.get("a"), scenario.image.get("b")),
            (s(back).as_ref(), s("x0").as_ref()),
            "{strategy:?}"
        );
    }
    // A pass was killed between its journal entry and its write. Then a live writer wrote the target. The rollback
    // restores the live writer's value, not the first value.
    let mut scenario = Scenario::new(&moves(), ExpandContract, Overwrite, &image);
    scenario.run(true);
    scenario.edit([("b".to_owned(), s("x1"))].into());
    scenario.run(false);
    assert!(matches!(scenario.undo(), Decision::Write(_)));
    assert_eq!(scenario.image.get("b"), s("x1").as_ref());
    // A live writer overwrote a constant, and a later pass wrote the constant again. The rollback restores the live
    // writer's value.
    let mut scenario = Scenario::new(&[set("b", json!({"S": "c"}))], ExpandContract, Overwrite, &image);
    scenario.run(false);
    scenario.edit([("b".to_owned(), s("x1"))].into());
    scenario.run(false);
    assert!(matches!(scenario.undo(), Decision::Write(_)));
    assert_eq!(scenario.image.get("b"), s("x1").as_ref());
}

/// A pass copied a value in place to a path without one. What an application wrote there afterwards stays, or comes back if
/// a later pass overwrote it. RUNBOOK: "the rollback restores the overwritten value"
#[test]
fn a_rollback_in_place_gives_back_what_an_application_wrote_at_the_target() {
    let s = |text: &str| Some(Value::S(text.into()));
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}}));
    let written = |on_existing: OnExisting, new: Option<Value>| {
        let mut scenario = Scenario::new(&[copy("a", "b")], InPlace, on_existing, &image);
        scenario.run(false);
        scenario.edit([("b".to_owned(), new)].into());
        scenario
    };
    let mut overwritten = written(Overwrite, s("live"));
    overwritten.run(false);
    assert_eq!(overwritten.image.get("b"), s("v").as_ref());
    assert!(matches!(overwritten.undo(), Decision::Write(_)));
    assert_eq!(overwritten.image.get("b"), s("live").as_ref());
    // No later pass overwrote the value, so it is still there. The rollback reports the item.
    for on_existing in [Keep, Overwrite] {
        let mut kept = written(on_existing, s("live"));
        assert_eq!(kept.undo(), Decision::Diverged(vec![path("b")]), "{on_existing:?}");
        assert_eq!(kept.image.get("b"), s("live").as_ref());
    }
    // An application removed the target, and a later pass copied the value again.
    let mut again = written(Keep, None);
    again.run(false);
    assert!(matches!(again.undo(), Decision::Write(_)));
    assert_eq!(text(&again.image), text(&image));
}

/// An application inserts an item with equal values after the run. No record shows a write to it, so it stays.
#[test]
fn a_rollback_in_place_leaves_an_item_without_a_record_alone() {
    let equal = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "v"}}));
    let plan = [copy("a", "b")];
    let rollback = Changes::for_undo(&plan, InPlace, key(), Vec::new());
    assert_eq!(rollback.decide_with(&equal, &ItemHistory::default()), Decision::NothingToDo);
    // An earlier version did not record such a copy. So only equal values show what that version wrote.
    let earlier = ItemHistory::default().without_creations();
    let Decision::Write(write) = rollback.decide_with(&equal, &earlier) else { panic!() };
    assert_eq!(write.actions, [Action::Remove { path: path("b") }]);
}

/// The target existed before the migration, an application removed it, and a later pass wrote it again. The last state
/// that an application left is that the target is missing.
#[test]
fn a_rollback_in_place_removes_a_target_that_an_application_had_removed() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "x"}}));
    let mut scenario = Scenario::new(&[copy("a", "b")], InPlace, Overwrite, &image);
    scenario.run(false);
    scenario.edit([("b".to_owned(), None)].into());
    scenario.run(false);
    assert!(matches!(scenario.undo(), Decision::Write(_)));
    assert_eq!(text(&scenario.image), text(&item(json!({"pk": {"S": "1"}, "a": {"S": "v"}}))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// An application reads and writes the target of an in-place change, while passes and repairs run. Some passes are
    /// killed between the journal entry and the write. After a rollback, the target has the last value that the
    /// application left there: the rollback restores it or leaves it alone. If it does neither, because a repair replaced
    /// the value, it notes the path.
    #[test]
    fn a_rollback_in_place_keeps_or_names_the_last_value_of_an_application(
        change in 0..3_usize, overwrites in any::<bool>(), new in any_live(), repairs in any::<bool>(),
        steps in proptest::collection::vec((0..6_u8, any_text(), any_live()), 1..7),
    ) {
        let plan = [
            copy("a", "b"),
            set("b", json!({"S": "constant"})),
            computed("b", "'computed ' + item.a"),
        ];
        let plan = &plan[change..=change];
        let image = item(json!({"pk": {"S": "1"}, "a": {"S": "0"}}));
        let mut scenario = Scenario::new(plan, InPlace, if overwrites { Overwrite } else { Keep }, &image);
        scenario.edit([("b".to_owned(), new.clone())].into());
        let mut last = new;
        scenario.run(false);
        for (step, old, new) in steps {
            match step {
                0 => scenario.run(true),
                1 if repairs => drop(scenario.repair()),
                1 => scenario.run(false),
                2 | 3 => scenario.run(false),
                4 => scenario.edit([("a".to_owned(), old)].into()),
                _ => {
                    scenario.edit([("b".to_owned(), new.clone())].into());
                    last = new;
                }
            }
        }
        let before = scenario.image.clone();
        let decision = scenario.undo();
        let notes = match &decision {
            Decision::Write(write) => write.pre_images.clone(),
            _ => scenario.notes(&before),
        };
        let is_named = notes.iter().any(|note| note.leftover() == Some(Leftover::RepairedOver) && note.path == path("b"));
        // A repair may create the target again. The rollback then returns to the state before the migration.
        let is_filled = repairs && last.is_none();
        let is_kept = scenario.image.get("b") == last.as_ref();
        prop_assert!(is_kept || is_named || is_filled, "{:?} on {}", decision, text(&before));
        prop_assert!(repairs || !is_named, "{:?}", notes);
        prop_assert!(!matches!(scenario.undo(), Decision::Write(_)));
    }
}

/// Returns a change that computes an attribute.
fn computed(to: &str, formula: &str) -> Change {
    match replace("a", to, formula, None) {
        Change::Compute { to, formula, on_existing, .. } => {
            Change::Compute { to, formula, on_existing, replaces: None }
        }
        other => panic!("{other:?}"),
    }
}

/// Generates values that no change of the plan writes.
fn any_live() -> impl proptest::strategy::Strategy<Value = Option<Value>> {
    proptest::sample::select(vec![None, Some("live 1"), Some("live 2")])
        .prop_map(|text| text.map(|s| Value::S(s.into())))
}
