//! Contract and rollback of single items, case by case.

use super::*;

#[test]
fn contract_removes_what_has_a_copy() {
    let decide = |image: serde_json::Value| {
        Changes::for_contract(&[mv("a", "b"), copy("c", "d")], ExpandContract, key(), Vec::new()).decide(&item(image))
    };
    let Decision::Write(write) = decide(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}, "c": {"S": "y"}}))
    else {
        panic!()
    };
    assert_eq!(write.actions, [Action::Remove { path: path("a") }]);
    assert!(write.pre_images.is_empty() && render(&write).values.is_empty(), "no value travels");
    let Decision::Write(write) = decide(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "later"}})) else {
        panic!()
    };
    assert_eq!(write.pre_images, [PreImage::of(&path("a"), &Value::S("x".into()))]);
    assert!(write.conditions.contains(&Condition::Equals(path("b"), Value::S("later".into()))));
    let old_alone = decide(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    assert_eq!(old_alone, Decision::Diverged(vec![path("a")]), "an old value without a new one is kept");
    let nothing = decide(json!({"pk": {"S": "1"}, "b": {"S": "x"}, "c": {"S": "y"}, "d": {"S": "z"}}));
    assert_eq!(nothing, Decision::NothingToDo);
    assert!(Changes::for_contract(&moves(), InPlace, key(), Vec::new()).is_empty());
}

#[test]
fn contract_removes_what_the_plan_removes_and_keeps_it_on_record() {
    let plan = [copy("a", "b"), remove("a"), remove("c")];
    let contract = Changes::for_contract(&plan, ExpandContract, key(), Vec::new());
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "later"}, "c": {"S": "y"}}));
    let Decision::Write(write) = contract.decide(&image) else { panic!() };
    let x = |path: &str, value: &str| PreImage::of(&super::tests::path(path), &Value::S(value.into()));
    assert_eq!(write.pre_images, [x("a", "x"), x("c", "y")]);
    assert_eq!(text(&check(&write, &image)), text(&item(json!({"pk": {"S": "1"}, "b": {"S": "later"}}))));
    let uncopied = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    assert_eq!(contract.decide(&uncopied), Decision::Diverged(vec![path("a")]));
}

/// New-only writes of every kind, and the two phases of the way back behind them.
#[test]
fn a_rollback_behind_new_only_writes_takes_them_to_the_old_attribute() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let after = |new: Option<&str>, also: Option<&str>| {
        let mut story = Story::new(&moves(), ExpandContract, Keep, &image);
        story.run(false);
        story.edit([("b".to_owned(), new.map(|s| Value::S(s.into())))].into());
        story.edit(also.map(|name| (name.to_owned(), None)).into_iter().collect());
        let Decision::Write(write) = story.apply(&story.old_equal_new()) else { panic!() };
        let journaled: Vec<PreImage> = write.pre_images;
        (story, journaled)
    };
    let x = PreImage::of(&path("a"), &Value::S("x".into()));
    let (mut story, journaled) = after(Some("new"), None);
    assert_eq!(journaled, std::slice::from_ref(&x));
    assert_eq!(story.undo(), story_write(&story));
    assert_eq!(text(&story.image), text(&item(json!({"pk": {"S": "1"}, "a": {"S": "new"}}))));
    // Deleted under both, by an application that inserts it again.
    let (story, journaled) = after(Some("new"), Some("a"));
    assert!(journaled.is_empty());
    assert_eq!(story.image["a"], Value::S("new".into()));
}

/// What no pass has given a new value has its only one at the old path. It stays, and holds nothing else of the item up.
#[test]
fn a_rollback_behind_new_only_writes_leaves_an_old_value_that_is_alone() {
    let plan = [mv("a", "b"), copy("c", "d")];
    for plan in [&plan[..1], &plan[..]] {
        let alone = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
        let mut story = Story::new(plan, ExpandContract, Keep, &alone);
        assert_eq!(story.apply(&story.old_equal_new()), Decision::Diverged(vec![path("a")]), "it is told of");
        assert_eq!((story.undo(), text(&story.image)), (Decision::NothingToDo, text(&alone)));
    }
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "c": {"S": "y"}, "d": {"S": "later"}}));
    let mut story = Story::new(&plan, ExpandContract, Keep, &image);
    assert!(matches!(story.apply(&story.old_equal_new()), Decision::Write(_)));
    assert_eq!((&story.image["a"], &story.image["c"]), (&Value::S("x".into()), &Value::S("later".into())));
    let list = item(json!({"pk": {"S": "1"}, "l": {"L": [{"S": "x"}]}}));
    let mut story = Story::new(&[copy("l[0]", "b")], ExpandContract, Keep, &list);
    assert_eq!(story.apply(&story.old_equal_new()), Decision::Diverged(vec![path("l[0]")]));
}

/// Where the item's shape has no place any more for what would come back, somebody has changed it since.
#[test]
fn what_has_no_place_to_come_back_to_is_reported() {
    let doc = item(json!({"pk": {"S": "1"}, "d": {"M": {"x": {"S": "v"}}}}));
    let shapes = [json!({"S": "text"}), json!({"L": []})];
    for plan in [vec![remove("d.x")], vec![mv("d.x", "b")]] {
        for shape in &shapes {
            let mut story = Story::new(&plan, InPlace, Keep, &doc);
            story.run(false);
            story.edit([("d".to_owned(), Some(Value::from_json(shape).unwrap()))].into());
            let before = text(&story.image);
            assert_eq!(story.undo(), Decision::Diverged(vec![path("d.x")]), "{plan:?}");
            assert_eq!(text(&story.image), before);
        }
    }
}

/// What the tool has overwritten comes back over what the tool wrote, and over nothing else: not over what applications have
/// written to both since, nor over what another item of the same key has.
#[test]
fn what_was_overwritten_comes_back_only_over_what_the_tool_wrote() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "was there"}}));
    let mut story = Story::new(&moves(), ExpandContract, Overwrite, &image);
    story.run(false);
    let mut both = story.clone();
    let s = |text: &str| Some(Value::S(text.into()));
    both.edit([("a".to_owned(), s("y")), ("b".to_owned(), s("y"))].into());
    let before = text(&both.image);
    assert_eq!(both.undo(), Decision::Diverged(vec![path("b")]));
    assert_eq!(text(&both.image), before);
    // Nor where they come to be written between decision and write.
    let Decision::Write(write) = story.rollback().decide_with(&story.image, &story.record()) else { panic!() };
    assert_eq!(update(&write, Some(&both.image)), None);
    story.undo();
    assert_eq!(text(&story.image), text(&image));
}

/// What the last undo of a story that was written looks like, to say so in one line.
fn story_write(story: &Story) -> Decision {
    let mut before = story.clone();
    let new = before.image["a"].clone();
    before.image.insert("b".into(), new);
    before.undo()
}

#[test]
fn new_values_that_were_there_before_stay() {
    for (image, undone) in [
        (json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}}), "equal"),
        (json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "y"}}), "unequal"),
        (json!({"pk": {"S": "1"}, "b": {"S": "y"}}), "new alone"),
    ] {
        let mut story = Story::new(&moves(), ExpandContract, Keep, &item(image.clone()));
        story.run(false);
        story.run(false);
        assert_eq!(story.apply(&story.rollback()), Decision::NothingToDo, "{undone}");
        assert_eq!(text(&story.image), text(&item(image)));
    }
    // While applications write both, an equal pair is theirs.
    let changes = Changes::for_expand(&moves(), ExpandContract, key(), Vec::new());
    let pair = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}}));
    let baseline = Baseline { pairs: vec![(path("b"), BaselinePair::Equal)], ..Baseline::default() };
    assert_eq!(changes.clone().beside_dual_writes(true).baseline(&pair), baseline, "a pair, and not preexisting");
    assert_eq!(changes.baseline(&pair).preexisting, [(path("b"), Digest::of(&Value::S("x".into())))]);
    // What the application may have changed under the new name alone is made equal all the same, with an old value and
    // without one.
    let alone = item(json!({"pk": {"S": "1"}, "b": {"S": "x"}}));
    for (image, new) in [(&pair, "new"), (&alone, "new"), (&alone, "x")] {
        let mut story = Story::new(&moves(), ExpandContract, Keep, image);
        story.run(false);
        story.edit([("b".to_owned(), Some(Value::S(new.into())))].into());
        assert!(matches!(story.apply(&story.old_equal_new()), Decision::Write(_)));
        assert_eq!(story.image["a"], Value::S(new.into()));
        assert_eq!(story.undo(), Decision::NothingToDo, "the new one stays");
    }
}

#[test]
fn what_a_live_writer_has_changed_since_stays_and_is_reported() {
    let s = |text: &str| Some(Value::S(text.into()));
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "x0"}, "c": {"S": "gone"}}));
    for (plan, strategy, name) in [
        (vec![set("b", json!({"S": "c"}))], ExpandContract, "b"),
        (vec![mv("a", "b")], ExpandContract, "b"),
        (vec![remove("c")], InPlace, "c"),
        (vec![mv("a", "b")], InPlace, "a"),
    ] {
        let mut story = Story::new(&plan, strategy, Overwrite, &image);
        story.run(false);
        story.edit([(name.to_owned(), s("live"))].into());
        let before = text(&story.image);
        assert!(matches!(story.undo(), Decision::Diverged(_)), "{plan:?}");
        assert_eq!(text(&story.image), before);
    }
}

#[test]
fn a_map_that_was_made_goes_when_nothing_else_is_in_it() {
    let plan = [mv("a", "b.x.y"), copy("c", "b.z")];
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "c": {"S": "w"}}));
    let mut story = Story::new(&plan, ExpandContract, Keep, &image);
    story.run(false);
    let mut live = story.clone();
    let Decision::Write(write) = story.undo() else { panic!() };
    assert_eq!(write.actions, [Action::Remove { path: path("b") }]);
    assert_eq!(text(&story.image), text(&image));
    // A live writer has put something beside it.
    assert!(path("b.x.live").set(&mut live.image, Value::Null));
    live.undo();
    let left =
        json!({"pk": {"S": "1"}, "a": {"S": "v"}, "c": {"S": "w"}, "b": {"M": {"x": {"M": {"live": {"NULL": true}}}}}});
    assert_eq!(text(&live.image), text(&item(left)));
    // A map that was there, though empty, stays.
    let with_map = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"M": {"x": {"M": {}}}}}));
    let mut story = Story::new(&plan, ExpandContract, Keep, &with_map);
    story.run(false);
    story.undo();
    assert_eq!(text(&story.image), text(&with_map));
    assert!(
        matches!(decide(&plan, ExpandContract, Keep, &with_map), Decision::Write(write) if write.pre_images.is_empty())
    );
}
