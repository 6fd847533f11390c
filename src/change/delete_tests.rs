//! Tests for the deletion of items and for its undo.

use serde_json::json;

use super::tests::{item, key};
use super::*;
use crate::expr::Expected;
use crate::item::{Item, ItemKey};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn rules() -> ItemRules {
    let condition = crate::expr::Expr::compile("has(item.status) && item.status == \"old\"", Expected::Bool).unwrap();
    ItemRules { selection: Some(Selection { condition, stable: Vec::new() }), ..ItemRules::default() }
}

fn delete(gap: GapRule) -> Change {
    Change::Delete { gap, keeps_image: true }
}

fn run(change: Change) -> Changes {
    Changes::for_expand(&[change], Strategy::InPlace, key(), Vec::new()).with_rules(rules())
}

fn undo(keeps_image: bool) -> Changes {
    let change = Change::Delete { gap: GapRule::WritersStopped, keeps_image };
    Changes::for_undo(&[change], Strategy::InPlace, key(), Vec::new()).with_rules(rules())
}

#[track_caller]
fn write(decision: Decision) -> GuardedWrite {
    match decision {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

fn old(extra: serde_json::Value) -> Item {
    let mut json = json!({"pk": {"S": "p"}, "status": {"S": "old"}, "v": {"N": "7"}});
    json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    item(json)
}

#[test]
fn a_delete_pins_what_its_gap_rule_needs() {
    let image = old(json!({"a": {"SS": ["x"]}}));
    let equals = |name: &str| Condition::Equals(path(name), image[name].clone());
    let exists = Condition::ItemExists("pk".into());
    let sorted = |conditions: &[Condition]| {
        let mut texts: Vec<String> = conditions.iter().map(|condition| format!("{condition:?}")).collect();
        texts.sort();
        texts
    };
    let listed = ["status", "v", "a", "never"].map(str::to_owned).to_vec();
    for (gap, expected) in [
        (GapRule::Version(path("v")), vec![exists.clone(), equals("status"), equals("v")]),
        (GapRule::WritersStopped, vec![exists.clone(), equals("status"), equals("v"), equals("a")]),
        (
            GapRule::Attributes(listed),
            vec![exists.clone(), equals("status"), equals("v"), equals("a"), Condition::Missing(path("never"))],
        ),
    ] {
        let write = write(run(delete(gap.clone())).decide(&image));
        assert_eq!(write.conditions[0], exists);
        assert_eq!(sorted(&write.conditions), sorted(&expected), "{gap:?}");
        assert_eq!(write.deleted_item(), Some(&image));
        assert_eq!(write.pre_images, [PreImage::of_item("pk", &image)]);
        assert_eq!((write.bytes_before > 0, write.bytes_after), (true, 0));
        let rendered = render(&write);
        assert!(rendered.update.is_empty() && rendered.condition.starts_with("attribute_exists(#"), "{rendered:?}");
    }
}

#[test]
fn an_item_that_the_promise_does_not_cover_stays() {
    let decide = |gap, image: &Item| run(delete(gap)).decide(image);
    let other = old(json!({"surprise": {"NULL": true}}));
    let Decision::Rejected(why) = decide(GapRule::Attributes(vec!["status".into(), "v".into()]), &other) else {
        panic!("an attribute that is not listed")
    };
    assert!(why.contains("`surprise`"), "{why}");
    for version in [json!({}), json!({"version": {"S": "7"}})] {
        let decision = decide(GapRule::Version(path("version")), &old(version));
        assert!(matches!(decision, Decision::NotComputable(_)), "{decision:?}");
    }
    assert_eq!(decide(GapRule::WritersStopped, &item(json!({"pk": {"S": "p"}}))), Decision::NothingToDo);
    // A delete cannot leave an item with an invalid signature.
    let signed = old(json!({"*amzn-ddb-map-desc*": {"B": "AAEC"}}));
    let changes = run(delete(GapRule::WritersStopped)).with_encrypted_refused(true);
    assert!(matches!(changes.decide(&signed), Decision::Write(_)));
}

#[test]
fn a_guard_beyond_the_limits_is_not_sent() {
    let many = |n: usize| {
        let names = (0..n).map(|n| (format!("a{n}"), json!({"S": "x"})));
        old(serde_json::Value::Object(names.collect()))
    };
    let decide = |gap, n| run(delete(gap)).decide(&many(n));
    // The condition also has one term for the item's existence, one for `status` and one for `v`.
    let limit = MAX_OPERATORS / 2 - 3;
    assert!(matches!(decide(GapRule::WritersStopped, limit), Decision::Write(_)));
    assert!(matches!(decide(GapRule::WritersStopped, limit + 1), Decision::Refused(_, Rule::GuardSize)));
    assert!(matches!(decide(GapRule::Version(path("v")), 400), Decision::Write(_)));
    let rendered = render(&write(decide(GapRule::WritersStopped, limit)));
    assert!(rendered.condition.len() <= MAX_EXPRESSION_BYTES, "{}", rendered.condition.len());
}

#[test]
fn without_a_journal_nothing_is_kept() {
    let change = Change::Delete { gap: GapRule::WritersStopped, keeps_image: false };
    assert!(write(run(change).decide(&old(json!({})))).pre_images.is_empty());
    assert!(undo(false).is_empty() && !undo(false).restores_items());
}

fn history(rows: Vec<PreImage>) -> ItemHistory {
    ItemHistory::new([], rows.into_iter().map(|row| (PreImageOrigin::Run, row)))
}

/// Rows are newest first.
#[test]
fn only_a_confirmed_delete_is_undone() {
    let first = old(json!({"a": {"N": "1.0"}}));
    let last = old(json!({"a": {"N": "2.50"}}));
    let of = |image: &Item| PreImage::of_item("pk", image);
    let confirmed = || PreImage::confirmed_delete("pk");
    let absent = item(json!({"pk": {"S": "p"}}));
    let mark = |mark| PreImage::mark("pk", mark);
    let decide = |rows: Vec<PreImage>, now: &Item| match now == &absent {
        true => undo(true).decide_missing(&ItemKey::new(absent.clone()), &history(rows)),
        false => undo(true).decide_with(now, &history(rows)),
    };

    let put = write(decide(vec![confirmed(), of(&last), confirmed(), of(&first)], &absent));
    assert_eq!(put.created_item(), Some(&last));
    assert_eq!(put.created_item().unwrap()["a"].to_json(), json!({"N": "2.50"}), "byte for byte");
    assert_eq!(put.conditions, [Condition::ItemMissing("pk".into())]);
    assert_eq!(put.key, ItemKey::new(absent.clone()));
    assert_eq!(put.pre_images, [mark(ItemMark::PuttingBack)]);
    assert!(put.bytes_before == 0 && put.bytes_after > 0);

    // The removed item differed from the planned item, so the newer record contains the item to restore.
    assert_eq!(write(decide(vec![confirmed(), of(&last), of(&first)], &absent)).created_item(), Some(&last));
    assert_eq!(decide(vec![], &absent), Decision::NothingToDo);
    let Decision::Rejected(why) = decide(vec![of(&last), confirmed(), of(&first)], &absent) else {
        panic!("the last delete was not confirmed")
    };
    assert!(why.contains("unknown whether this migration or another writer"), "{why}");
    assert_eq!(decide(vec![of(&last)], &last), Decision::NothingToDo, "the delete did not take effect");
    let is_there = undo(true).decide_with(&absent, &history(vec![of(&absent)]));
    assert_eq!(is_there, Decision::NothingToDo, "an item with only its key exists");

    // After a rollback has restored the item, the item belongs to the application, and undo leaves it unchanged.
    let (putting, back) = (|| mark(ItemMark::PuttingBack), || mark(ItemMark::PutBack));
    for now in [&absent, &last, &first] {
        let rows = vec![back(), putting(), confirmed(), of(&last)];
        assert_eq!(decide(rows, now), Decision::AlreadyApplied);
    }
    assert_eq!(decide(vec![putting(), confirmed(), of(&last)], &last), Decision::AlreadyApplied);
    assert_eq!(decide(vec![putting(), confirmed(), of(&last)], &first), Decision::Diverged(vec![path("pk")]));
    let Decision::Rejected(why) = decide(vec![putting(), confirmed(), of(&last)], &absent) else {
        panic!("the item may be back already")
    };
    assert!(why.contains("a rollback found another item with this key"), "{why}");
    let again = vec![confirmed(), of(&first), back(), putting(), confirmed(), of(&last)];
    assert_eq!(write(decide(again, &absent)).created_item(), Some(&first), "deleted once more");
}

#[test]
fn an_item_that_exists_again_stays() {
    let image = old(json!({}));
    let record = history(vec![PreImage::confirmed_delete("pk"), PreImage::of_item("pk", &image)]);
    let changes = undo(true);
    let put = write(changes.decide_missing(&key().key_of(&image).unwrap(), &record));
    assert_eq!(changes.decide_found(&image, &put), Some(Decision::AlreadyApplied));
    let other = old(json!({"new": {"S": "owner"}}));
    assert_eq!(changes.decide_found(&other, &put), Some(Decision::Diverged(vec![path("pk")])));
    assert_eq!(changes.decide_with(&other, &record), Decision::Diverged(vec![path("pk")]));
    assert_eq!(changes.decide_with(&image, &record), Decision::AlreadyApplied);
    assert!(changes.needs_history() && changes.restores_items() && !changes.is_empty());
}
