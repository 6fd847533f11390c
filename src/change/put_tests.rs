//! Tests for derived items and for their undo.

use std::sync::Arc;

use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_assert_ne, prop_oneof, proptest};
use proptest::strategy::Strategy as _;
use serde_json::json;

use super::tests::{item, key};
use super::*;
use crate::dynamodb::memory::rules::{DerivedEffect, derived_effect};
use crate::expr::{Expected, Expr, Facts};
use crate::item::{IndexSchema, Item, ItemKey, KeyAttribute, KeySchema, Projection, write_units};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn expression(text: &str) -> Expr {
    Expr::compile(text, Expected::Value).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// The derived item of a user: the user's email address is the key.
fn by_email() -> DerivedItem {
    DerivedItem {
        table: None,
        key: vec![("pk".to_owned(), expression("\"EMAIL#\" + item.email"))],
        attributes: vec![("user".to_owned(), expression("item.pk")), ("rank".to_owned(), expression("item.rank"))],
    }
}

fn rules(selection: &str) -> ItemRules {
    let condition = Expr::compile(selection, Expected::Bool).unwrap_or_else(|errors| panic!("{errors:?}"));
    ItemRules { selection: Some(Selection { condition, stable: Vec::new() }), ..ItemRules::default() }
}

const USERS: &str = "item.pk.startsWith(\"USER#\") && has(item.email)";

fn run_with(derived: DerivedItem, selection: &str) -> Changes {
    let change = Change::Put { derived: Arc::new(derived) };
    Changes::for_expand(&[change], Strategy::ExpandContract, key(), Vec::new()).with_rules(rules(selection))
}

fn run() -> Changes {
    run_with(by_email(), USERS)
}

fn undo() -> Changes {
    let change = Change::Put { derived: Arc::new(by_email()) };
    Changes::for_undo(&[change], Strategy::ExpandContract, key(), Vec::new()).with_rules(rules(USERS))
}

#[track_caller]
fn write(decision: Decision) -> GuardedWrite {
    match decision {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

fn user(extra: serde_json::Value) -> Item {
    let mut json = json!({"pk": {"S": "USER#1"}, "email": {"S": "a@x"}, "rank": {"N": "1.50"}});
    json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    item(json)
}

/// The derived item of [`user`], as DynamoDB stores it.
fn lookup() -> Item {
    item(json!({"pk": {"S": "EMAIL#a@x"}, "user": {"S": "USER#1"}, "rank": {"N": "1.5"}}))
}

#[test]
fn a_put_pins_every_input_and_leaves_its_source_alone() {
    let image = user(json!({"other": {"S": "x"}}));
    let write = write(run().decide(&image));
    assert_eq!(write.derived_item(), Some(&lookup()));
    assert_eq!(write.derived_key(), key().key_of(&lookup()).as_ref());
    assert_eq!(write.record_key(), write.derived_key().unwrap());
    assert_eq!(write.key, key().key_of(&image).unwrap());
    assert_eq!(write.conditions[0], Condition::ItemExists("pk".into()));
    for input in ["email", "rank"] {
        let pin = Condition::Equals(path(input), image[input].clone());
        assert!(write.conditions.contains(&pin), "{:?}", write.conditions);
    }
    assert!(!format!("{:?}", write.conditions).contains("other"), "an attribute that nothing reads is not pinned");
    assert_eq!(write.pre_images.last(), Some(&PreImage::of_item("pk", &lookup())));
    // The condition check and the put each cost twice their units.
    assert_eq!(write.cost.table, 4.0);
    let large = user(json!({"other": {"S": "x".repeat(3_000)}}));
    let write_large = match run().decide(&large) {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    };
    assert_eq!(write_large.cost.table, 2.0 + 2.0 * write_units(crate::item::item_bytes(&large), 0));
}

#[test]
fn an_input_that_is_missing_must_stay_missing() {
    let derived = DerivedItem {
        attributes: vec![("name".to_owned(), expression("has(item.name) ? item.name : \"unknown\""))],
        ..by_email()
    };
    let write = write(run_with(derived, USERS).decide(&user(json!({}))));
    assert!(write.conditions.contains(&Condition::Missing(path("name"))), "{:?}", write.conditions);
}

#[test]
fn an_item_outside_the_selection_gets_nothing() {
    let other = item(json!({"pk": {"S": "ORDER#1"}, "email": {"S": "a@x"}}));
    assert_eq!(run().decide(&other), Decision::NothingToDo);
    assert_eq!(run().decide(&lookup()), Decision::NothingToDo);
}

#[test]
fn an_item_without_a_valid_derived_key_is_not_computable() {
    let refuses = |derived: DerivedItem, image: Item, part: &str| {
        let decision = run_with(derived, USERS).decide(&image);
        assert!(matches!(&decision, Decision::NotComputable(why) if why.reason().contains(part)), "{decision:?}");
    };
    refuses(by_email(), user(json!({"email": {"N": "1"}})), "`pk` of the derived item cannot be computed");
    refuses(by_email(), item(json!({"pk": {"S": "USER#1"}, "email": {"S": "a"}})), "`rank` of the derived item");
    let with_key = |text: &str| DerivedItem { key: vec![("pk".to_owned(), expression(text))], ..by_email() };
    refuses(with_key("item.email"), user(json!({"email": {"S": ""}})), "would be empty");
    refuses(with_key("item.rank"), user(json!({})), "would be of type N");
    refuses(with_key("item.email"), user(json!({"email": {"S": "x".repeat(2_049)}})), "2,048");
    let unknown = DerivedItem { key: vec![("id".to_owned(), expression("item.email"))], ..by_email() };
    refuses(unknown, user(json!({})), "has no key attribute `pk`");
}

/// Otherwise, each run would derive more items from the items that the previous run derived.
#[test]
fn a_derived_item_that_would_be_selected_is_a_failure() {
    let rejects = |changes: Changes, part: &str| {
        let decision = changes.decide(&user(json!({"pk": {"S": "EMAIL#1"}})));
        assert!(matches!(&decision, Decision::Rejected(why) if why.contains(part)), "{decision:?}");
    };
    rejects(run_with(by_email(), "item.pk.startsWith(\"EMAIL#\")"), "would include the derived item");
    rejects(run_with(by_email(), "has(item.email) ? true : item.n > 1"), "unknown whether the selection would include");
    let itself = DerivedItem { key: vec![("pk".to_owned(), expression("item.pk"))], ..by_email() };
    rejects(run_with(itself, "has(item.email)"), "the key of the item itself");
}

fn record(rows: &[PreImage]) -> ItemHistory {
    // The newest row comes first.
    ItemHistory::new([], rows.iter().rev().map(|row| (PreImageOrigin::Run, row.clone())))
}

fn confirmed() -> Vec<PreImage> {
    let source = key().key_of(&user(json!({}))).unwrap();
    let of = || [PreImage::source_of("pk", &source), PreImage::of_item("pk", &lookup())];
    [&of()[..], &of()[..], &[PreImage::confirmed_delete("pk")]].concat()
}

#[test]
fn a_rollback_deletes_exactly_what_was_put() {
    let write = write(undo().decide_with(&lookup(), &record(&confirmed())));
    assert_eq!(write.deleted_item(), Some(&lookup()));
    let pins = |name: &str| write.conditions.contains(&Condition::Equals(path(name), lookup()[name].clone()));
    assert!(pins("user") && pins("rank"), "{:?}", write.conditions);
    assert_eq!(write.conditions[0], Condition::ItemExists("pk".into()));
}

#[test]
fn a_rollback_keeps_everything_else() {
    let undo = undo();
    // Without a record, even an equal item belongs to somebody else.
    assert_eq!(undo.decide_with(&lookup(), &ItemHistory::default()), Decision::NothingToDo);
    // Somebody changed the item, or added an attribute.
    for (name, value) in [("user", "USER#2"), ("note", "x")] {
        let mut changed = lookup();
        changed.insert(name.to_owned(), Value::S(value.to_owned()));
        assert_eq!(undo.decide_with(&changed, &record(&confirmed())), Decision::Diverged(vec![path(name)]));
    }
    // It is unknown who put the item.
    let unconfirmed = record(&confirmed()[..2]);
    let decision = undo.decide_with(&lookup(), &unconfirmed);
    assert!(matches!(&decision, Decision::Rejected(why) if why.contains("unknown whether")), "{decision:?}");
    // The item is gone, or an earlier rollback deleted it and an application put it again.
    let key = key().key_of(&lookup()).unwrap();
    assert_eq!(undo.decide_missing(&key, &record(&confirmed())), Decision::AlreadyApplied);
    let rows = [confirmed(), vec![PreImage::mark("pk", ItemMark::PutBack)]].concat();
    assert_eq!(undo.decide_with(&lookup(), &record(&rows)), Decision::AlreadyApplied);
}

/// Two sources have the same derived key, and the records of their items alternate. A confirmation counts only for its
/// own item.
#[test]
fn a_confirmation_belongs_to_its_item() {
    let mut other = lookup();
    other.insert("user".to_owned(), Value::S("USER#2".to_owned()));
    let other_row = PreImage::of_item("pk", &other);
    // In this order: the first source's record, the other source's record, and the first source's confirmation.
    let rows = [&confirmed()[..2], std::slice::from_ref(&other_row), &confirmed()[2..]].concat();
    assert!(matches!(undo().decide_with(&lookup(), &record(&rows)), Decision::Write(_)));
    assert_eq!(undo().decide_with(&other, &record(&rows)), Decision::Diverged(vec![path("user")]));
    // The record of the other source's item is newer than the confirmation of the first source.
    let rows = [confirmed(), vec![other_row]].concat();
    assert!(matches!(undo().decide_with(&other, &record(&rows)), Decision::Rejected(_)));
}

/// Returns the rows that are recorded for another source before its transaction is sent.
fn other_put() -> Vec<PreImage> {
    let mut other = lookup();
    other.insert("user".to_owned(), Value::S("USER#2".to_owned()));
    let source = key().key_of(&user(json!({"pk": {"S": "USER#2"}}))).unwrap();
    vec![PreImage::source_of("pk", &source), PreImage::of_item("pk", &other)]
}

/// A process recorded the item of another source, and died before it found that an item with this key exists. This
/// newer record must not hide the confirmed put.
#[test]
fn a_newer_record_without_confirmation_hides_no_put() {
    let rows = [confirmed(), other_put()].concat();
    assert!(matches!(undo().decide_with(&lookup(), &record(&rows)), Decision::Write(_)));
    // If the other source's put was also confirmed, the first item must have been gone. So somebody else put this equal
    // item.
    let rows = [rows, other_put(), vec![PreImage::confirmed_delete("pk")]].concat();
    assert_eq!(undo().decide_with(&lookup(), &record(&rows)), Decision::Diverged(vec![path("user")]));
    // A confirmation that is older than a rollback's mark belongs to a put that is already undone.
    let rows = [confirmed(), vec![PreImage::mark("pk", ItemMark::PutBack)], other_put()].concat();
    assert_eq!(undo().decide_with(&lookup(), &record(&rows)), Decision::Diverged(vec![path("user")]));
}

/// Each transaction needs a confirmation of its own. Otherwise it may still arrive.
#[test]
fn a_transaction_without_its_own_confirmation_may_arrive() {
    let may_arrive = |rows: &[PreImage]| record(rows).deletion().unwrap().puts.has_unconfirmed;
    let (first, confirmation) = (confirmed()[..2].to_vec(), confirmed()[2..].to_vec());
    assert!(!may_arrive(&confirmed()));
    assert!(may_arrive(&first));
    assert!(may_arrive(&[first.clone(), confirmed()].concat()), "two transactions of one source, one confirmation");
    assert!(!may_arrive(&[first.clone(), confirmed(), confirmation.clone()].concat()));
    assert!(may_arrive(&[other_put(), confirmed()].concat()), "an older transaction of another source");
    assert!(may_arrive(&[confirmed(), other_put()].concat()), "a newer transaction of another source");
}

/// The process died after it recorded what the rollback removed, and before the failure was durable.
#[test]
fn a_late_change_stays_a_failure_after_a_kill() {
    let mut removed = lookup();
    removed.insert("note".to_owned(), Value::S("secret".to_owned()));
    let rows = confirmed().into_iter().rev().map(|row| (PreImageOrigin::Run, row));
    let marks = [PreImage::mark("pk", ItemMark::PutBack), PreImage::of_item("pk", &removed)];
    let history = ItemHistory::new([], marks.map(|row| (PreImageOrigin::Rollback, row)).into_iter().chain(rows));
    let key = key().key_of(&lookup()).unwrap();
    let decision = undo().decide_missing(&key, &history);
    let is_right = |why: &str| why.contains("changed `note` just before") && !why.contains("secret");
    assert!(matches!(&decision, Decision::Rejected(why) if is_right(why)), "{decision:?}");
}

#[test]
fn the_record_names_the_source() {
    let source = key().key_of(&user(json!({}))).unwrap();
    let of = |rows: &[PreImage]| record(rows).deletion()?.puts.of(&lookup())?.source.clone();
    assert_eq!(of(&confirmed()), Some(source.clone()));
    assert_eq!(of(&[]), None);
    // The record of another source is newer.
    assert_eq!(of(&[confirmed(), other_put()].concat()), Some(source));
}

#[test]
fn inputs_are_listed_once() {
    let derived = DerivedItem {
        table: None,
        key: vec![("pk".to_owned(), expression("item.doc.a + string(size(item.doc))"))],
        attributes: vec![("x".to_owned(), expression("item.doc.a")), ("y".to_owned(), expression("item.b"))],
    };
    let inputs: Vec<String> = derived.inputs().into_iter().map(ToString::to_string).collect();
    assert_eq!(inputs, ["b", "doc"]);
}

fn value() -> impl proptest::strategy::Strategy<Value = Value> {
    prop_oneof![
        "[a-c]{0,2}".prop_map(Value::S),
        (-3..3_i32).prop_map(|n| Value::N(crate::item::Num::parse(&format!("{n}.0")).unwrap())),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
    ]
}

fn any_user() -> impl proptest::strategy::Strategy<Value = Item> {
    proptest::collection::btree_map("email|rank|other", value(), 0..4).prop_map(|mut item| {
        item.insert("pk".to_owned(), Value::S("USER#1".to_owned()));
        item
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// If the source item differs from the planned image, the write takes effect only if both images produce the same
    /// derived item.
    #[test]
    fn no_derived_item_is_put_from_stale_inputs(planned in any_user(), current in any_user()) {
        let Decision::Write(write) = run().decide(&planned) else { return Ok(()) };
        let effect = derived_effect(&write, Some(&current), None, &[]).unwrap();
        let of = |source: &Item| by_email().of_source(source, &key(), &Facts::default());
        match effect {
            DerivedEffect::Put(item) => {
                prop_assert_eq!(of(&current), Ok(item));
                prop_assert_eq!(run().selected(&current), Selected::Yes);
            }
            DerivedEffect::ConditionFailed => prop_assert_ne!(&planned, &current),
            DerivedEffect::Exists | DerivedEffect::Rejected(_) => prop_assert!(false, "there is no such item"),
        }
        // A missing source, or an existing item with the derived key, always prevents the put.
        prop_assert_eq!(derived_effect(&write, None, None, &[]), Some(DerivedEffect::ConditionFailed));
        let existing = derived_effect(&write, Some(&planned), Some(&current), &[]);
        prop_assert_eq!(existing, Some(DerivedEffect::Exists));
    }

    /// After the put, a second run finds an equal derived item, and a rollback deletes it.
    #[test]
    fn what_was_put_is_recognised(source in any_user()) {
        let Decision::Write(write) = run().decide(&source) else { return Ok(()) };
        let Some(DerivedEffect::Put(put)) = derived_effect(&write, Some(&source), None, &[]) else { panic!("no put") };
        prop_assert_eq!(ExistingDerived::of(Some(&put), write.derived_item().unwrap()), ExistingDerived::Equal);
        let rows: Vec<PreImage> =
            write.pre_images.iter().cloned().chain([PreImage::confirmed_delete("pk")]).collect();
        let Decision::Write(delete) = undo().decide_with(&put, &record(&rows)) else { panic!("no delete") };
        prop_assert_eq!(delete.deleted_item(), Some(&put));
    }
}

/// The key schema of the other tests has no sort key, so this test uses a key schema with one.
#[test]
fn both_parts_of_the_key_are_checked() {
    let wide = KeySchema {
        partition: key().partition,
        sort: Some(crate::item::KeyAttribute { name: "sk".to_owned(), kind: "N".to_owned() }),
    };
    let derived = |sort: &str| DerivedItem {
        table: None,
        key: vec![("pk".to_owned(), expression("\"A\"")), ("sk".to_owned(), expression(sort))],
        attributes: Vec::new(),
    };
    let of = |sort: &str| derived(sort).of_source(&user(json!({})), &wide, &Facts::default());
    let expected = item(json!({"pk": {"S": "A"}, "sk": {"N": "1.5"}}));
    assert_eq!(of("item.rank"), Ok(expected.clone()));
    assert!(of("item.email").is_err());
    assert_eq!(wide.key_of(&expected), Some(ItemKey::new(expected)));
}

/// In another table, the derived item has the key of that table, and the selection does not matter. The cost of each table
/// is counted for itself, and the rules of that table's indexes apply.
#[test]
fn a_derived_item_goes_into_another_table() {
    let derived = DerivedItem {
        table: Some("lookup".into()),
        key: vec![("email".to_owned(), expression("item.email"))],
        attributes: vec![("rank".to_owned(), expression("item.rank"))],
    };
    let attribute = |name: &str, kind: &str| KeyAttribute { name: name.into(), kind: kind.into() };
    let schema = KeySchema { partition: attribute("email", "S"), sort: None };
    let index = IndexSchema {
        name: "by-rank".into(),
        key: vec![attribute("rank", "N")],
        partition: 1,
        projection: Projection::All,
        local: false,
    };
    let other = OtherTable::new("lookup", schema.clone(), vec![index]);
    // The selection includes the derived item.
    let changes = run_with(derived, "has(item.rank)").with_other_table(Some(other));
    let image = user(json!({}));
    let write = write(changes.decide(&image));
    let put = Item::from([("email".to_owned(), image["email"].clone()), ("rank".to_owned(), image["rank"].clone())]);
    assert_eq!((write.other_table(), write.derived_item()), (Some("lookup"), Some(&put)));
    assert_eq!(write.derived_key(), schema.key_of(&put).as_ref());
    assert_eq!(write.cost, WriteCost { table: 2.0, indexes: Vec::new() });
    assert_eq!(write.cost_elsewhere, Some(WriteCost { table: 2.0, indexes: vec![(0, 1.0)] }));
    assert_eq!(write.total_cost(), 5.0);
    assert_eq!(write.pre_images.last(), Some(&PreImage::of_item("email", &put)));
    // DynamoDB would reject this value in the key of the other table's index.
    let text = user(json!({"rank": {"S": "first"}}));
    assert!(matches!(changes.decide(&text), Decision::Refused(..)), "{:?}", changes.decide(&text));
}
