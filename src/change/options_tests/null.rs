//! Tests `null_is_missing`: a NULL at a target, or at a map that contains it, counts as missing.

use super::*;

/// A missing document, an empty document and a NULL all become the same document, and a rollback restores each of them.
#[test]
fn a_null_at_a_map_or_at_the_target_counts_as_missing() {
    for strategy in ["in-place", "expand-contract"] {
        let plan = plan(&format!("strategy = \"{strategy}\""), "", &[STREET, ZIP]);
        for (before, after) in [
            (Json::Null, json!({"street": {"S": "High St 1"}, "zip": {"S": "1000"}})),
            (json!({"NULL": true}), json!({"street": {"S": "High St 1"}, "zip": {"S": "1000"}})),
            (json!({"M": {}}), json!({"street": {"S": "High St 1"}, "zip": {"S": "1000"}})),
            (
                json!({"M": {"street": {"NULL": true}, "country": {"S": "BE"}}}),
                json!({"street": {"S": "High St 1"}, "zip": {"S": "1000"}, "country": {"S": "BE"}}),
            ),
        ] {
            let image = address(before);
            let changes = expand(&plan);
            let write = written(&changes, &image);
            let now = check(&write, &image);
            assert_eq!(now["address"], item(json!({ "address": { "M": after } }))["address"]);
            assert_eq!(expand(&plan).decide(&now), Decision::AlreadyApplied);
            let history = history_of(&changes, &image, &write);
            assert_eq!(verdict(&plan, &image, &ItemHistory::default()), Verdict::Missing);
            assert_eq!(verdict(&plan, &now, &history), Verdict::Matching);
            let Decision::Write(back) = undo(&plan).decide_with(&now, &history) else { panic!("{image:?}") };
            assert_eq!(check(&back, &now), image, "{strategy}");
        }
        for other in [json!({"S": "High St 1, 1000"}), json!({"L": []})] {
            assert!(matches!(expand(&plan).decide(&address(other)), Decision::Rejected(_)));
        }
    }
}

/// Without `null_is_missing`, a NULL is a value, and the tool does not replace it with a document.
#[test]
fn a_null_is_a_value_by_default() {
    let plan = plan("strategy = \"in-place\"", "", &["move = \"street\"\nto = \"address.street\""]);
    let Decision::Rejected(why) = expand(&plan).decide(&address(json!({"NULL": true}))) else { panic!() };
    assert!(why.contains("`address` is of type NULL, not M"), "{why}");
    let member = address(json!({"M": {"street": {"NULL": true}}}));
    assert_eq!(expand(&plan).decide(&member), Decision::Diverged(vec![path("address.street")]));
}

/// A live writer replaces the NULL with a value, or the value with a NULL. The condition of the write then fails.
#[test]
fn the_write_is_conditional_on_the_null() {
    let plan = plan("strategy = \"in-place\"", "", &[STREET]);
    let at_map = address(json!({"NULL": true}));
    let at_target = address(json!({"M": {"street": {"NULL": true}}}));
    let absent = address(Json::Null);
    let theirs = address(json!({"M": {"street": {"S": "theirs"}}}));
    for planned in [&at_map, &at_target, &absent] {
        let write = written(&expand(&plan), planned);
        for raced in [&at_map, &at_target, &absent, &theirs] {
            assert_eq!(update(&write, Some(raced)).is_some(), planned == raced, "{raced:?}");
        }
    }
}

/// A NULL at the source is a value. A run moves it, and the target then counts as done.
#[test]
fn a_null_at_the_source_is_a_value() {
    let plan = plan("strategy = \"in-place\"", "", &["move = \"a\"\nto = \"b\"\nnull_is_missing = true"]);
    let image = item(json!({"pk": {"S": "1"}, "a": {"NULL": true}}));
    let now = check(&written(&expand(&plan), &image), &image);
    assert_eq!(now, item(json!({"pk": {"S": "1"}, "b": {"NULL": true}})));
    let both = item(json!({"pk": {"S": "1"}, "a": {"NULL": true}, "b": {"NULL": true}}));
    assert_eq!(check(&written(&expand(&plan), &both), &both), now);
}

/// With `skip`, a run fills missing targets. A target with a NULL is missing, so the run fills it, and the NULL never
/// counts as a skipped value.
#[test]
fn skip_fills_a_null() {
    let plan = plan("on_existing = \"skip\"", "", &["set = \"tier\"\nvalue = \"free\"\nnull_is_missing = true"]);
    let null = item(json!({"pk": {"S": "1"}, "tier": {"NULL": true}}));
    let write = written(&expand(&plan), &null);
    assert_eq!(check(&write, &null)["tier"], Value::S("free".to_owned()));
    assert_eq!(verdict(&plan, &null, &ItemHistory::default()), Verdict::Missing);
    let other = item(json!({"pk": {"S": "1"}, "tier": {"S": "gold"}}));
    assert_eq!(expand(&plan).decide(&other), Decision::Skipped(vec![path("tier")]));
    assert_eq!(verdict(&plan, &other, &ItemHistory::default()), Verdict::Skipped);
}

/// `contract` does not remove the source of a move whose target is NULL, because the value would be lost.
#[test]
fn contract_keeps_the_source_of_a_null() {
    let change = "move = \"a\"\nto = \"b\"\nnull_is_missing = true";
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"NULL": true}}));
    for existing in ["keep", "skip", "overwrite"] {
        let plan = plan(&format!("on_existing = \"{existing}\""), "", &[change]);
        assert_eq!(contract(&plan).decide(&image), Decision::Diverged(vec![path("a")]));
        let changes = Changes::for_old_from_new(&plan.changes, plan.strategy, key(), Vec::new());
        let decided = changes.with_rules(plan.item_rules()).decide(&image);
        assert_eq!(decided, Decision::Diverged(vec![path("a")]), "the old value stays");
    }
}

/// An old-only writer removes the source after the run has replaced a NULL. After this removal, no old value implies
/// the value that the migration wrote, so readers must not see this value.
#[test]
fn a_filled_null_is_not_preexisting() {
    let (null, other) = (json!({"NULL": true}), json!({"S": "before"}));
    for (on_existing, null_is_missing, before) in [
        ("", true, &null),
        ("on_existing = \"skip\"", true, &null),
        ("on_existing = \"overwrite\"", true, &null),
        ("on_existing = \"overwrite\"", true, &other),
        // Any other value that the run overwrote is not preexisting either.
        ("on_existing = \"overwrite\"", false, &null),
        ("on_existing = \"overwrite\"", false, &other),
    ] {
        let plan = plan(on_existing, "", &[&format!("move = \"a\"\nto = \"b\"\nnull_is_missing = {null_is_missing}")]);
        let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": before}));
        let changes = expand(&plan);
        let write = written(&changes, &image);
        let history = history_of(&changes, &image, &write);
        assert_eq!(verdict(&plan, &check(&write, &image), &history), Verdict::Matching);
        let without_source = |b: &Json| item(json!({"pk": {"S": "1"}, "b": b}));
        let own = without_source(&json!({"S": "x"}));
        assert_eq!(verdict(&plan, &own, &history), Verdict::Unexpected, "{on_existing} {before}");
        assert_eq!(verdict(&plan, &without_source(&json!({"S": "other"})), &history), Verdict::Matching);
        // A repair finds the same mismatch and keeps the value. A rollback then restores the previous value.
        let repair = || {
            let rules = plan.item_rules();
            Repair::new(&plan.changes, plan.strategy, Truth::Old, key(), Vec::new()).with_rules(rules)
        };
        assert_eq!(repair().decide(&own, &history), Decision::Diverged(vec![path("b")]), "{on_existing} {before}");
        assert_eq!(repair().with_removals().decide(&own, &history), Decision::Diverged(vec![path("b")]), "{before}");
    }
}

/// Applications write both attributes after the run has replaced a NULL. A rollback replaces the applications' new
/// value with the NULL.
#[test]
fn undo_of_dual_writes_brings_the_null_back() {
    let plan = plan("", "", &["move = \"a\"\nto = \"b\"\nnull_is_missing = true"]);
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"NULL": true}}));
    let changes = expand(&plan);
    let history = history_of(&changes, &image, &written(&changes, &image));
    let dual = item(json!({"pk": {"S": "1"}, "a": {"S": "w"}, "b": {"S": "w"}}));
    let Decision::Write(back) = undo(&plan).decide_with(&dual, &history) else { panic!() };
    let restored = check(&back, &dual);
    assert_eq!(restored, item(json!({"pk": {"S": "1"}, "a": {"S": "w"}, "b": {"NULL": true}})));
    let only_new = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "w"}}));
    assert_eq!(undo(&plan).decide_with(&only_new, &history), Decision::Diverged(vec![path("b")]));
}
