//! Tests `on_existing = "skip"`: an existing value counts as done, and the tool recognises the values that it wrote
//! itself.

use super::*;

#[test]
fn an_existing_value_counts_as_done() {
    let image = json!({"pk": {"S": "1"}, "a": {"S": "1"}, "b": {"S": "2"}, "c": {"S": "3"}, "v": {"N": "1"}});
    for (change, left) in [(mv("a", "b"), "b"), (copy("a", "b"), "b"), (set("v", json!({"N": "2"})), "v")] {
        for strategy in [ExpandContract, InPlace] {
            let skipped = Decision::Skipped(vec![path(left)]);
            assert_eq!(decide(std::slice::from_ref(&change), strategy, Skip, &item(image.clone())), skipped);
            // The item's other changes are written. The write fails if the target has lost its value.
            let plan = [change.clone(), copy("c", "d")];
            let Decision::Write(write) = decide(&plan, strategy, Skip, &item(image.clone())) else { panic!() };
            assert_eq!(write.actions.len(), 1);
            let mut raced = item(image.clone());
            raced.remove(left);
            assert_eq!(update(&write, Some(&raced)), None, "{change:?}");
        }
    }
    // An equal value is not skipped. An in-place move still removes the old value.
    let equal = json!({"pk": {"S": "1"}, "a": {"S": "1"}, "b": {"S": "1"}});
    assert_eq!(decide(&[mv("a", "b")], ExpandContract, Skip, &item(equal.clone())), Decision::AlreadyApplied);
    assert_eq!(decide_and_apply(&[mv("a", "b")], InPlace, Skip, &equal), json!({"pk": {"S": "1"}, "b": {"S": "1"}}));
    // If the copy of a value was skipped, the value is not removed.
    let plan = [copy("a", "b"), remove("a")];
    assert_eq!(decide(&plan, InPlace, Skip, &item(image)), Decision::Skipped(vec![path("b")]));
}

/// If a live writer fills the target meanwhile, the condition fails and the target is skipped.
#[test]
fn a_value_that_appears_meanwhile_counts_as_done() {
    for change in [mv("a", "b"), copy("a", "b"), set("b", json!({"S": "1"}))] {
        let image = item(json!({"pk": {"S": "1"}, "a": {"S": "1"}}));
        let plan = all_with_on_existing(&[change], Skip);
        let changes = Changes::for_expand(&plan, ExpandContract, key(), Vec::new());
        let Decision::Write(write) = changes.decide(&image) else { panic!() };
        let mut raced = image.clone();
        raced.insert("b".into(), Value::S("theirs".into()));
        assert_eq!(update(&write, Some(&raced)), None);
        assert_eq!(changes.decide(&raced), Decision::Skipped(vec![path("b")]));
        let noted = changes.skipped_targets(&raced);
        let pair = !matches!(plan[..], [Change::Set { .. }]);
        assert_eq!(noted.is_empty(), !pair, "a constant needs no record");
        assert!(changes.skipped_targets(&image).is_empty());
    }
}

/// With `skip`, a change writes only the value whose digest is recorded. The digest therefore shows whether the tool
/// wrote a value.
#[test]
fn a_change_that_skips_writes_only_the_recorded_value() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "1"}}));
    for (change, strategy) in [(mv("a", "b"), ExpandContract), (copy("a", "b"), InPlace), (mv("a", "b"), InPlace)] {
        let Decision::Write(write) = decide(&[change], strategy, Skip, &image) else { panic!() };
        let written_digest =
            write.pre_images.iter().find(|pre| pre.path == path("b")).and_then(|pre| pre.written_digest);
        assert_eq!(written_digest, Some(Digest::from_value(&Value::S("1".into()))));
        let mut changed = image.clone();
        changed.insert("a".into(), Value::S("2".into()));
        assert_eq!(update(&write, Some(&changed)), None);
    }
}
