use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy as Generator;
use serde_json::{Value as Json, json};

use super::super::compare::Parity;
use super::*;
use crate::change::OnExisting::{Keep, Skip};
use crate::change::tests::replace;
use crate::change::{Digest, GuardedWrite, PreImage, PriorValue};
use crate::item::{KeyAttribute, Value, item_from_json, item_to_json};
use crate::state::TableStage;

/// Applies a guarded write to an existing item, as DynamoDB does.
fn update(write: &GuardedWrite, image: &Item) -> Option<Item> {
    crate::change::tests::update(write, Some(image))
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn repair(changes: &[Change], strategy: Strategy, truth: Truth) -> Repair {
    let key = KeySchema { partition: KeyAttribute { name: "pk".into(), kind: "S".into() }, sort: None };
    Repair::new(changes, strategy, truth, key, Vec::new()).with_removals()
}

fn mv() -> Change {
    Change::Move { from: path("a"), to: path("d.b"), on_existing: Keep }
}

fn copy() -> Change {
    Change::Copy { from: path("a"), to: path("d.b"), on_existing: Keep }
}

fn image(json: Json) -> Item {
    item_from_json(&json).unwrap()
}

fn value_of(pre: &PreImage) -> Option<&Value> {
    match &pre.prior {
        PriorValue::Value(value) => Some(value),
        PriorValue::Nothing
        | PriorValue::SameAsSource
        | PriorValue::Item(_)
        | PriorValue::Mark(_)
        | PriorValue::Leftover(_) => None,
    }
}

/// Creates a history in which this target had this value before the migration.
fn preexisting(target: &str, value: &str) -> ItemHistory {
    ItemHistory::new([(path(target), Digest::from_value(&Value::S(value.to_owned())))], [])
}

/// Returns the item after its repair, and the values that the repair overwrote, in DynamoDB JSON.
fn repaired(repair: &Repair, json: &Json) -> (Json, Vec<Json>) {
    let before = image(json.clone());
    let Decision::Write(write) = repair.decide(&before, &ItemHistory::default()) else {
        panic!("{:?}", repair.decide(&before, &ItemHistory::default()))
    };
    let after = update(&write, &before).expect("the conditions are true for the image from which they were made");
    (item_to_json(&after), write.pre_images.iter().filter_map(value_of).map(Value::to_json).collect())
}

#[test]
fn the_derived_side_becomes_what_the_truth_implies() {
    let item = |old: Option<&str>, new: Option<&str>| {
        let mut item = json!({"pk": {"S": "1"}});
        if let Some(old) = old {
            item["a"] = json!({"S": old});
        }
        if let Some(new) = new {
            item["d"] = json!({"M": {"b": {"S": new}}});
        }
        item
    };
    let text = |text: &str| json!({"S": text});
    let strategy = Strategy::ExpandContract;
    let emptied = json!({"pk": {"S": "1"}, "d": {"M": {}}});
    let old = repair(&[mv()], strategy, Truth::Old);
    assert_eq!(repaired(&old, &item(Some("x"), None)), (item(Some("x"), Some("x")), vec![]));
    assert_eq!(repaired(&old, &item(Some("x"), Some("y"))), (item(Some("x"), Some("x")), vec![text("y")]));
    assert_eq!(repaired(&old, &item(None, Some("y"))), (emptied, vec![text("y")]));
    let new = repair(&[mv()], strategy, Truth::New);
    assert_eq!(repaired(&new, &item(Some("x"), Some("y"))), (item(Some("y"), Some("y")), vec![text("x")]));
    assert_eq!(repaired(&new, &item(None, Some("y"))), (item(Some("y"), Some("y")), vec![]));
    let both = repair(&[mv()], strategy, Truth::NewThenOld);
    assert_eq!(repaired(&both, &item(Some("x"), None)), (item(Some("x"), Some("x")), vec![]));
    assert_eq!(repaired(&both, &item(Some("x"), Some("y"))), (item(Some("y"), Some("y")), vec![text("x")]));
    let in_place = repair(&[mv()], Strategy::InPlace, Truth::Old);
    assert_eq!(repaired(&in_place, &item(Some("x"), None)), (item(None, Some("x")), vec![]));
    assert_eq!(repaired(&in_place, &item(Some("x"), Some("x"))).0, item(None, Some("x")));
    assert_eq!(repaired(&in_place, &item(Some("x"), Some("y"))), (item(None, Some("x")), vec![text("y")]));
}

#[test]
fn values_of_live_writers_are_left_alone() {
    let strategy = Strategy::ExpandContract;
    let left = |repair: &Repair, json: Json| match repair.decide(&image(json.clone()), &ItemHistory::default()) {
        Decision::Diverged(paths) => paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{json}: {other:?}"),
    };
    // An old value without a new one could be the only copy, so it is not changed. During a rollback, such an item
    // matches.
    let only_old = json!({"pk": {"S": "1"}, "a": {"S": "x"}});
    for change in [mv(), copy()] {
        assert_eq!(left(&repair(std::slice::from_ref(&change), strategy, Truth::New), only_old.clone()), ["d.b"]);
        let back = repair(&[change], strategy, Truth::NewDuringRollback);
        assert_eq!(back.decide(&image(only_old.clone()), &ItemHistory::default()), Decision::NothingToDo);
    }
    // If the two targets of a source have different values, the right value of the source is unknown.
    let two = [mv(), Change::Copy { from: path("a"), to: path("c"), on_existing: Keep }];
    let item = json!({"pk": {"S": "1"}, "a": {"S": "x"}, "c": {"S": "x"}, "d": {"M": {"b": {"S": "y"}}}});
    assert_eq!(left(&repair(&two, strategy, Truth::New), item), ["a"]);
    // An application that writes the new side may have changed the constant.
    let set = [Change::Set { to: path("v"), value: Value::S("1".into()), on_existing: Keep }];
    let item = json!({"pk": {"S": "1"}, "v": {"S": "2"}});
    assert_eq!(left(&repair(&set, strategy, Truth::NewThenOld), item.clone()), ["v"]);
    let alone = repair(&set, strategy, Truth::New).decide(&image(item.clone()), &ItemHistory::default());
    assert_eq!(alone, Decision::NothingToDo, "constants are not compared in this case");
    assert_eq!(repaired(&repair(&set, strategy, Truth::Old), &item).0, json!({"pk": {"S": "1"}, "v": {"S": "1"}}));
    // Without an inverse, the old value cannot be derived from a computed new value.
    let one_way = [replace("a", "b", "[item.a]", None)];
    let item = json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"L": [{"S": "y"}]}});
    assert_eq!(left(&repair(&one_way, strategy, Truth::New), item.clone()), ["a"]);
    assert_eq!(repaired(&repair(&one_way, strategy, Truth::Old), &item).0["b"], json!({"L": [{"S": "x"}]}));
    let with_inverse = [replace("a", "b", "[item.a]", Some("item.b[0]"))];
    assert_eq!(repaired(&repair(&with_inverse, strategy, Truth::New), &item).0["a"], json!({"S": "y"}));
    // List elements are never written.
    let element = [Change::Move { from: path("l[0]"), to: path("b"), on_existing: Keep }];
    let item = json!({"pk": {"S": "1"}, "l": {"L": [{"S": "x"}]}, "b": {"S": "y"}});
    assert_eq!(left(&repair(&element, strategy, Truth::New), item), ["l[0]"]);
}

/// Applications might still use a value that the plan does not imply, so a repair removes such a value only on request.
#[test]
fn nothing_is_removed_without_a_request() {
    let new_alone = json!({"pk": {"S": "1"}, "d": {"M": {"b": {"S": "y"}}}});
    let equal = json!({"pk": {"S": "1"}, "a": {"S": "y"}, "d": {"M": {"b": {"S": "y"}}}});
    let junk = json!({"pk": {"S": "1"}, "junk": {"S": "y"}});
    let remove = Change::Remove { path: path("junk") };
    for (change, strategy, item, left) in [
        (mv(), Strategy::ExpandContract, &new_alone, "d.b"),
        (copy(), Strategy::ExpandContract, &new_alone, "d.b"),
        (mv(), Strategy::InPlace, &equal, "a"),
        (remove, Strategy::InPlace, &junk, "junk"),
    ] {
        let with_removals = repair(&[change], strategy, Truth::Old);
        let without_removals = Repair { removes: false, ..with_removals.clone() };
        let item = image(item.clone());
        let decide = |repair: &Repair| repair.decide(&item, &ItemHistory::default());
        assert_eq!(decide(&without_removals), Decision::Diverged(vec![path(left)]));
        assert!(matches!(decide(&with_removals), Decision::Write(_)), "{left}");
    }
    // A repair of a move removes the old value without a request, because the target gets this value.
    let moved = Repair { removes: false, ..repair(&[mv()], Strategy::InPlace, Truth::Old) };
    let old = image(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    assert!(matches!(moved.decide(&old, &ItemHistory::default()), Decision::Write(_)));
}

#[test]
fn preexisting_values_are_left_alone_until_old_values_are_stale() {
    let before = preexisting("d.b", "y");
    let there = image(json!({"pk": {"S": "1"}, "d": {"M": {"b": {"S": "y"}}}}));
    let unequal = image(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "d": {"M": {"b": {"S": "y"}}}}));
    for truth in [Truth::Old, Truth::NewThenOld, Truth::New, Truth::NewDuringRollback] {
        let repair = repair(&[mv()], Strategy::ExpandContract, truth);
        match repair.decide(&there, &before) {
            Decision::Write(write) if truth.is_new_only() => {
                assert_eq!(update(&write, &there).unwrap()["a"], Value::S("y".into()));
            }
            decided => assert_eq!((decided, truth.is_new_only()), (Decision::NothingToDo, false)),
        }
        // If the item also has an old value, an earlier pass reported the item as diverged. The repair makes the two
        // values equal.
        let Decision::Write(write) = repair.decide(&unequal, &before) else { panic!("{truth:?}") };
        let after = update(&write, &unequal).unwrap();
        assert_eq!(after.get("a"), path("d.b").get(&after), "{truth:?}");
        assert!(
            write.pre_images[0].written_digest.is_some(),
            "the pre-image has the digest of the value that the tool writes"
        );
    }
}

fn any_value() -> impl Generator<Value = Option<Value>> {
    proptest::option::of((0_u8..3).prop_map(|n| Value::S(n.to_string())))
}

/// Generates an image with arbitrary values at `a`, `b`, `c`, `v` and `junk`.
fn any_image() -> impl Generator<Value = Item> {
    proptest::collection::vec(any_value(), 5).prop_map(|values| {
        let names = ["a", "b", "c", "v", "junk"];
        let there = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        there.chain([("pk".to_owned(), Value::S("1".into()))]).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// After a repair, the item matches, and every earlier value is still in the item or in a pre-image. If the repair
    /// must not change an item, the item still does not match afterwards. If a writer changes a pair before the write
    /// of the repair, this write fails.
    #[test]
    fn a_repair_ends_in_parity_and_loses_nothing(
        before in any_image(), meanwhile in any_image(), in_place in any::<bool>(), truth in 0_usize..4, second in any::<bool>(),
        there in proptest::sample::subsequence(vec!["b", "c"], 0..=2), skip in any::<bool>(),
    ) {
        let digest = |path: &Path| path.get(&before).map_or(Digest([0; 8]), Digest::from_value);
        let there = ItemHistory::new(there.into_iter().map(path).map(|path| (path.clone(), digest(&path))), []);
        let strategy = if in_place { Strategy::InPlace } else { Strategy::ExpandContract };
        let truth = if in_place { Truth::Old } else { [Truth::Old, Truth::NewThenOld, Truth::New, Truth::NewDuringRollback][truth] };
        let from = if second && !in_place { path("a") } else { path("junk2") };
        let on_existing = if skip { Skip } else { Keep };
        let changes = [
            Change::Move { from: path("a"), to: path("b"), on_existing },
            Change::Copy { from, to: path("c"), on_existing },
            Change::Set { to: path("v"), value: Value::S("1".into()), on_existing },
            Change::Remove { path: path("junk") },
        ];
        let parity = Parity::new(&changes, strategy, TableStage::Expanded, truth);
        let matches = |item: &Item| !parity.compare(item, &there).verdict.is_mismatch();
        match repair(&changes, strategy, truth).decide(&before, &there) {
            Decision::Write(write) => {
                let after = update(&write, &before).unwrap();
                prop_assert!(matches(&after), "{after:?}");
                prop_assert_eq!(write.bytes_after, crate::item::item_bytes(&after));
                for (name, value) in &before {
                    let kept = after.get(name) == Some(value)
                        || write.pre_images.iter().any(|pre| pre.path.root() == name && value_of(pre) == Some(value))
                        || after.values().any(|other| other == value);
                    prop_assert!(kept, "{name} is lost");
                }
                for (name, value) in before.iter().filter(|(name, _)| skip && ["b", "c", "v"].contains(&name.as_str())) {
                    prop_assert_eq!(after.get(name), Some(value), "{} must not change", name);
                }
                let untouched = |name: &str| before.get(name) == meanwhile.get(name);
                let pairs = ["a", "b"].into_iter().chain(second.then_some("c"));
                let raced = pairs.into_iter().any(|name| !in_place && !untouched(name));
                prop_assert!(!raced || update(&write, &meanwhile).is_none());
                prop_assert!(!matches(&before));
            }
            Decision::Diverged(paths) => prop_assert!(!matches(&before), "{paths:?}"),
            Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_) => prop_assert!(matches(&before)),
            Decision::Rejected(why) => prop_assert!(false, "{why}"),
            Decision::NotComputable(why) => prop_assert!(false, "{why}"),
            Decision::NeedsAnswers(..) => prop_assert!(false, "a repair asks no program"),
            Decision::Refused(_, rule) => prop_assert!(false, "{rule}"),
        }
    }
}
