//! Tests each rule at its limit. A write at the limit is sent, and a write beyond the limit is refused.

use serde_json::json;

use super::OnExisting::Overwrite;
use super::Strategy::{ExpandContract, InPlace};
use super::tests::{all_with_on_existing, copy, item, key, mv, path, set, update};
use super::*;
use crate::item::{IndexSchema, Item, KeyAttribute, MAX_ITEM_BYTES, Projection, item_bytes};

/// Builds an index. Its first `partition` key attributes form its partition key.
fn index(name: &str, keys: &[(&str, &str)], partition: usize) -> IndexSchema {
    let key = |(name, kind): &(&str, &str)| KeyAttribute { name: (*name).into(), kind: (*kind).into() };
    let key = keys.iter().map(key).collect();
    IndexSchema { name: name.into(), key, partition, projection: Projection::KeysOnly, local: false }
}

fn decide(changes: &[Change], strategy: Strategy, image: &Item, indexes: Vec<IndexSchema>) -> Decision {
    Changes::for_expand(&all_with_on_existing(changes, Overwrite), strategy, key(), indexes).decide(image)
}

/// Returns the text of the rule that forbids the write, or `None` if the write is sent.
fn refusal(changes: &[Change], image: &Item, indexes: &[IndexSchema]) -> Option<String> {
    match decide(changes, ExpandContract, image, indexes.to_vec()) {
        Decision::Refused(write, rule) => {
            assert!(update(&write, Some(image)).is_some(), "without the rule, this write would be sent");
            Some(rule.to_string())
        }
        Decision::Write(_) => None,
        other => panic!("{other:?}"),
    }
}

fn s(bytes: usize) -> Value {
    Value::S("x".repeat(bytes))
}

#[test]
fn an_index_key_value_has_the_right_type_and_length() {
    let indexes = [
        index("one", &[("k", "S"), ("n", "N"), ("s", "S")], 1),
        index("many", &[("a", "B"), ("b", "S"), ("c", "B")], 2),
    ];
    let of = |target: &str, value: Value| {
        let image = Item::from([("pk".to_owned(), s(1)), ("from".to_owned(), value)]);
        refusal(&[copy("from", target)], &image, &indexes)
    };
    for (target, value) in [
        ("k", s(1)),
        ("k", s(2_048)),
        ("s", s(1_024)),
        ("n", Value::N("1E-130".parse().unwrap())),
        ("a", Value::B(vec![0; 2_048])),
        ("b", s(2_048)),
        ("c", Value::B(vec![0; 1_024])),
        ("other", Value::Null),
    ] {
        assert_eq!(of(target, value), None, "{target}");
    }
    for (target, value, says) in [
        ("k", s(0), "`k` is in the key of the index `one`, and the value would be empty"),
        (
            "k",
            s(2_049),
            "`k` is in the partition key of the index `one`, and the value would be longer than 2,048 bytes",
        ),
        ("k", Value::N("1".parse().unwrap()), "the value would be of type N, not S"),
        ("k", Value::Ss(vec!["a".into()]), "of type SS, not S"),
        ("s", s(1_025), "`s` is in the sort key of the index `one`, and the value would be longer than 1,024 bytes"),
        ("n", s(1), "of type S, not N"),
        ("a", Value::B(Vec::new()), "would be empty"),
        ("b", s(2_049), "partition key of the index `many`"),
        ("c", Value::B(vec![0; 1_025]), "sort key of the index `many`"),
    ] {
        let why = of(target, value).unwrap_or_default();
        assert!(why.contains(says), "{target}: {why}");
    }
}

#[test]
fn an_index_key_is_checked_only_if_the_write_changes_it() {
    let indexes = [index("i", &[("k", "S")], 1)];
    // The item had this value of `k` before the index was created.
    let image = item(json!({"pk": {"S": "1"}, "k": {"N": "1"}, "from": {"S": "x"}}));
    assert_eq!(refusal(&[copy("from", "to")], &image, &indexes), None);
    assert_eq!(refusal(&[copy("from", "k")], &image, &indexes), None, "the write replaces the invalid value");
    let document = item(json!({"pk": {"S": "1"}, "k": {"M": {"a": {"S": "x"}}}, "from": {"S": "x"}}));
    for image in [document, item(json!({"pk": {"S": "1"}, "from": {"S": "x"}}))] {
        let why = refusal(&[copy("from", "k.new")], &image, &indexes).unwrap();
        assert!(why.contains("of type M, not S"), "{why}");
    }
}

#[test]
fn an_attribute_has_at_most_32_levels_at_its_target() {
    let nested = |lists: usize, leaf: Value| (0..lists).fold(leaf, |value, _| Value::L(vec![value]));
    let of = |value: Value, changes: &[Change]| {
        let image = Item::from([
            ("pk".to_owned(), s(1)),
            ("from".to_owned(), value),
            ("doc".to_owned(), Value::M([("in".to_owned(), Value::M(Item::new()))].into())),
        ]);
        refusal(changes, &image, &[])
    };
    for to in ["doc.in.to", "made.in.to"] {
        assert_eq!(of(nested(29, s(1)), &[copy("from", to)]), None, "{to}");
        assert_eq!(
            of(nested(29, Value::L(Vec::new())), &[copy("from", to)]),
            None,
            "{to}: the innermost list is empty"
        );
        let why = of(nested(30, s(1)), &[copy("from", to)]).unwrap();
        assert!(why.contains("would be nested deeper than 32 levels"), "{why}");
    }
    assert_eq!(of(nested(31, s(1)), &[copy("from", "to")]), None, "the value is at the same depth as before");
}

#[test]
fn a_growing_item_has_at_most_400_kb() {
    let image = |bytes: usize| {
        let mut image = Item::from([("pk".to_owned(), s(1)), ("old".to_owned(), s(1_000))]);
        let filler = bytes - item_bytes(&image) - "filler".len();
        image.insert("filler".into(), s(filler));
        image
    };
    let grows = "new".len() + 1_000;
    let fits = image(MAX_ITEM_BYTES - grows);
    assert_eq!(refusal(&[mv("old", "new")], &fits, &[]), None);
    let full = image(MAX_ITEM_BYTES - grows + 1);
    let why = refusal(&[mv("old", "new")], &full, &[]).unwrap();
    assert!(why.contains("exceed 400 KB") && why.contains("\"in-place\"") && why.contains("it would fit"), "{why}");
    assert!(matches!(decide(&[mv("old", "new")], InPlace, &full, Vec::new()), Decision::Write(_)), "in place, it fits");
    let why = refusal(&[copy("old", "new")], &full, &[]).unwrap();
    assert!(!why.contains("in-place"), "{why}");
    // By the tool's calculation the item is already too large, but this write does not make it larger.
    let over = image(MAX_ITEM_BYTES + 9);
    assert!(matches!(decide(&[remove("old")], InPlace, &over, Vec::new()), Decision::Write(_)));
    // The size of an update is larger than the size of its value.
    let alone = item(json!({"pk": {"S": ""}}));
    let value = |bytes: usize| set("v", s(bytes).to_json());
    let most = MAX_ITEM_BYTES - 3 - 19 - 1;
    assert_eq!(refusal(&[value(most)], &alone, &[]), None);
    let why = refusal(&[value(most + 1)], &alone, &[]).unwrap();
    assert!(why.contains("the update would carry more than 400 KB"), "{why}");
}

#[test]
fn items_signed_on_the_client_are_refused_on_request() {
    for mark in ["aws_dbe_head", "aws_dbe_foot", "*amzn-ddb-map-sig*", "*amzn-ddb-map-desc*"] {
        let mut image = item(json!({"pk": {"S": "1"}, "old": {"S": "x"}}));
        image.insert(mark.to_owned(), Value::B(vec![1]));
        let changes = Changes::for_expand(&[mv("old", "new")], ExpandContract, key(), Vec::new());
        assert!(matches!(changes.decide(&image), Decision::Write(_)), "{mark}");
        let refusing = changes.with_encrypted_refused(true);
        let Decision::Refused(_, rule) = refusing.decide(&image) else { panic!("{mark}") };
        assert!(rule.is_client_encryption() && rule.to_string().contains(mark), "{rule}");
        image.insert("new".to_owned(), s(1));
        assert_eq!(refusing.decide(&image), Decision::AlreadyApplied, "an item that needs no write is not refused");
        assert!(matches!(
            refusing.with_encrypted_refused(false).decide(&item(json!({"pk": {"S": "1"}}))),
            Decision::NothingToDo
        ));
    }
}

fn remove(text: &str) -> Change {
    Change::Remove { path: path(text) }
}
