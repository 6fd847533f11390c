//! Tests contract and rollback of single items, case by case.

use super::*;

#[test]
fn contract_removes_copied_values() {
    let decide = |image: serde_json::Value| {
        Changes::for_contract(&[mv("a", "b"), copy("c", "d")], ExpandContract, key(), Vec::new()).decide(&item(image))
    };
    let Decision::Write(write) = decide(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}, "c": {"S": "y"}}))
    else {
        panic!()
    };
    assert_eq!(write.actions, [Action::Remove { path: path("a") }]);
    assert!(write.pre_images.is_empty() && render(&write).values.is_empty(), "no value passes through the client");
    let Decision::Write(write) = decide(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "later"}})) else {
        panic!()
    };
    assert_eq!(write.pre_images, [PreImage::with_value(&path("a"), &Value::S("x".into()))]);
    assert!(write.conditions.contains(&Condition::Equals(path("b"), Value::S("later".into()))));
    let old_alone = decide(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    assert_eq!(old_alone, Decision::Diverged(vec![path("a")]), "an old value without a new one is kept");
    let nothing = decide(json!({"pk": {"S": "1"}, "b": {"S": "x"}, "c": {"S": "y"}, "d": {"S": "z"}}));
    assert_eq!(nothing, Decision::NothingToDo);
    assert!(Changes::for_contract(&moves(), InPlace, key(), Vec::new()).is_empty());
}

#[test]
fn contract_runs_removes_and_records_the_values() {
    let plan = [copy("a", "b"), remove("a"), remove("c")];
    let contract = Changes::for_contract(&plan, ExpandContract, key(), Vec::new());
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "later"}, "c": {"S": "y"}}));
    let Decision::Write(write) = contract.decide(&image) else { panic!() };
    let x = |path: &str, value: &str| PreImage::with_value(&super::tests::path(path), &Value::S(value.into()));
    assert_eq!(write.pre_images, [x("a", "x"), x("c", "y")]);
    assert_eq!(text(&check(&write, &image)), text(&item(json!({"pk": {"S": "1"}, "b": {"S": "later"}}))));
    let uncopied = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    assert_eq!(contract.decide(&uncopied), Decision::Diverged(vec![path("a")]));
}

/// Tests each kind of new-only write, followed by the two phases of a rollback.
#[test]
fn a_rollback_after_new_only_writes_copies_them_to_the_old_attribute() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let after = |new: Option<&str>, also: Option<&str>| {
        let mut scenario = Scenario::new(&moves(), ExpandContract, Keep, &image);
        scenario.run(false);
        scenario.edit([("b".to_owned(), new.map(|s| Value::S(s.into())))].into());
        scenario.edit(also.map(|name| (name.to_owned(), None)).into_iter().collect());
        let Decision::Write(write) = scenario.apply(&scenario.old_from_new()) else { panic!() };
        let journaled: Vec<PreImage> = write.pre_images;
        (scenario, journaled)
    };
    let x = PreImage::with_value(&path("a"), &Value::S("x".into()));
    let (mut scenario, journaled) = after(Some("new"), None);
    assert_eq!(journaled, std::slice::from_ref(&x));
    assert_eq!(scenario.undo(), last_undo_decision(&scenario));
    assert_eq!(text(&scenario.image), text(&item(json!({"pk": {"S": "1"}, "a": {"S": "new"}}))));
    // If an application has replaced the whole item, the old attribute no longer exists.
    let (scenario, journaled) = after(Some("new"), Some("a"));
    assert!(journaled.is_empty());
    assert_eq!(scenario.image["a"], Value::S("new".into()));
}

/// If the item has no new value, the old path has the only copy of the value. This value stays, and the item's other
/// changes are still made.
#[test]
fn a_rollback_after_new_only_writes_leaves_an_old_value_without_a_new_one() {
    let plan = [mv("a", "b"), copy("c", "d")];
    for plan in [&plan[..1], &plan[..]] {
        let alone = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
        let mut scenario = Scenario::new(plan, ExpandContract, Keep, &alone);
        assert_eq!(
            scenario.apply(&scenario.old_from_new()),
            Decision::Diverged(vec![path("a")]),
            "the old value is reported"
        );
        assert_eq!((scenario.undo(), text(&scenario.image)), (Decision::NothingToDo, text(&alone)));
    }
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "c": {"S": "y"}, "d": {"S": "later"}}));
    let mut scenario = Scenario::new(&plan, ExpandContract, Keep, &image);
    assert!(matches!(scenario.apply(&scenario.old_from_new()), Decision::Write(_)));
    assert_eq!((&scenario.image["a"], &scenario.image["c"]), (&Value::S("x".into()), &Value::S("later".into())));
    let list = item(json!({"pk": {"S": "1"}, "l": {"L": [{"S": "x"}]}}));
    let mut scenario = Scenario::new(&[copy("l[0]", "b")], ExpandContract, Keep, &list);
    assert_eq!(scenario.apply(&scenario.old_from_new()), Decision::Diverged(vec![path("l[0]")]));
}

/// The tool cannot restore a value if somebody has changed the item's shape since the run. In this case, the rollback
/// reports the item.
#[test]
fn a_value_that_cannot_be_restored_is_reported() {
    let doc = item(json!({"pk": {"S": "1"}, "d": {"M": {"x": {"S": "v"}}}}));
    let shapes = [json!({"S": "text"}), json!({"L": []})];
    for plan in [vec![remove("d.x")], vec![mv("d.x", "b")]] {
        for shape in &shapes {
            let mut scenario = Scenario::new(&plan, InPlace, Keep, &doc);
            scenario.run(false);
            scenario.edit([("d".to_owned(), Some(Value::from_json(shape).unwrap()))].into());
            let before = text(&scenario.image);
            assert_eq!(scenario.undo(), Decision::Diverged(vec![path("d.x")]), "{plan:?}");
            assert_eq!(text(&scenario.image), before);
        }
    }
}

/// A rollback restores an overwritten value only if the target has a value that the tool wrote. The rollback does not
/// replace a value that applications have written to both attributes since the run. It does not write to a new item
/// with the same key.
#[test]
fn an_overwritten_value_is_restored_only_over_the_tools_own_value() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "was there"}}));
    let mut scenario = Scenario::new(&moves(), ExpandContract, Overwrite, &image);
    scenario.run(false);
    let mut both = scenario.clone();
    let s = |text: &str| Some(Value::S(text.into()));
    both.edit([("a".to_owned(), s("y")), ("b".to_owned(), s("y"))].into());
    let before = text(&both.image);
    assert_eq!(both.undo(), Decision::Diverged(vec![path("b")]));
    assert_eq!(text(&both.image), before);
    // The result is the same if the live writer changes the item after the decision and before the write.
    let Decision::Write(write) = scenario.rollback().decide_with(&scenario.image, &scenario.history()) else {
        panic!()
    };
    assert_eq!(update(&write, Some(&both.image)), None);
    scenario.undo();
    assert_eq!(text(&scenario.image), text(&image));
}

/// Recomputes a scenario's last undo decision, so that a test can compare both decisions.
fn last_undo_decision(scenario: &Scenario) -> Decision {
    let mut before = scenario.clone();
    let new = before.image["a"].clone();
    before.image.insert("b".into(), new);
    before.undo()
}

#[test]
fn preexisting_new_values_stay() {
    for (image, undone) in [
        (json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}}), "equal"),
        (json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "y"}}), "unequal"),
        (json!({"pk": {"S": "1"}, "b": {"S": "y"}}), "new alone"),
    ] {
        let mut scenario = Scenario::new(&moves(), ExpandContract, Keep, &item(image.clone()));
        scenario.run(false);
        scenario.run(false);
        assert_eq!(scenario.apply(&scenario.rollback()), Decision::NothingToDo, "{undone}");
        assert_eq!(text(&scenario.image), text(&item(image)));
    }
    // If two values of a pair are equal during dual writes, the tool assumes that an application wrote both of them.
    let changes = Changes::for_expand(&moves(), ExpandContract, key(), Vec::new());
    let pair = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}}));
    let baseline = Baseline { pairs: vec![(path("b"), BaselinePair::Equal)], ..Baseline::default() };
    assert_eq!(
        changes.clone().with_dual_writes(true).baseline(&pair),
        baseline,
        "the target is in a pair, and is not preexisting"
    );
    assert_eq!(changes.baseline(&pair).preexisting, [(path("b"), Digest::from_value(&Value::S("x".into())))]);
    // After new-only writes, the new value may differ from the old value. The first phase of the rollback makes the
    // pair equal, with or without an old value.
    let alone = item(json!({"pk": {"S": "1"}, "b": {"S": "x"}}));
    for (image, new) in [(&pair, "new"), (&alone, "new"), (&alone, "x")] {
        let mut scenario = Scenario::new(&moves(), ExpandContract, Keep, image);
        scenario.run(false);
        scenario.edit([("b".to_owned(), Some(Value::S(new.into())))].into());
        assert!(matches!(scenario.apply(&scenario.old_from_new()), Decision::Write(_)));
        assert_eq!(scenario.image["a"], Value::S(new.into()));
        assert_eq!(scenario.undo(), Decision::NothingToDo, "the new value stays");
    }
}

#[test]
fn a_value_that_a_live_writer_changed_since_stays_and_is_reported() {
    let s = |text: &str| Some(Value::S(text.into()));
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "x0"}, "c": {"S": "gone"}}));
    for (plan, strategy, name) in [
        (vec![set("b", json!({"S": "c"}))], ExpandContract, "b"),
        (vec![mv("a", "b")], ExpandContract, "b"),
        (vec![remove("c")], InPlace, "c"),
        (vec![mv("a", "b")], InPlace, "a"),
    ] {
        let mut scenario = Scenario::new(&plan, strategy, Overwrite, &image);
        scenario.run(false);
        scenario.edit([(name.to_owned(), s("live"))].into());
        let before = text(&scenario.image);
        assert!(matches!(scenario.undo(), Decision::Diverged(_)), "{plan:?}");
        assert_eq!(text(&scenario.image), before);
    }
}

#[test]
fn a_created_map_is_removed_unless_it_has_other_members() {
    let plan = [mv("a", "b.x.y"), copy("c", "b.z")];
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "c": {"S": "w"}}));
    let mut scenario = Scenario::new(&plan, ExpandContract, Keep, &image);
    scenario.run(false);
    let mut live = scenario.clone();
    let Decision::Write(write) = scenario.undo() else { panic!() };
    assert_eq!(write.actions, [Action::Remove { path: path("b") }]);
    assert_eq!(text(&scenario.image), text(&image));
    // A live writer has added a member to the created map.
    assert!(path("b.x.live").set(&mut live.image, Value::Null));
    live.undo();
    let left =
        json!({"pk": {"S": "1"}, "a": {"S": "v"}, "c": {"S": "w"}, "b": {"M": {"x": {"M": {"live": {"NULL": true}}}}}});
    assert_eq!(text(&live.image), text(&item(left)));
    // A preexisting map stays, even if it is empty.
    let with_map = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"M": {"x": {"M": {}}}}}));
    let mut scenario = Scenario::new(&plan, ExpandContract, Keep, &with_map);
    scenario.run(false);
    scenario.undo();
    assert_eq!(text(&scenario.image), text(&with_map));
    assert!(
        matches!(decide(&plan, ExpandContract, Keep, &with_map), Decision::Write(write) if write.pre_images.is_empty())
    );
}
