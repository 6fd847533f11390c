//! Tests properties of deletes against the rules by which DynamoDB applies a write.

use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_assert_ne, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;

use super::rules::{WriteEffect, consumed, effect};
use crate::change::{
    Change, Changes, Decision, GapRule, GuardedWrite, ItemHistory, PreImage, PreImageOrigin, Strategy,
};
use crate::item::{IndexSchema, Item, ItemKey, KeyAttribute, KeySchema, Num, Projection, Value};

fn key() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "pk".into(), kind: "S".into() }, sort: None }
}

fn value() -> impl Generator<Value = Value> {
    let leaf = prop_oneof![
        "[a-c]{0,3}".prop_map(Value::S),
        (0_u32..20, 0_usize..3)
            .prop_map(|(n, zeros)| { Value::N(Num::from_wire(format!("{n}.5{}", "0".repeat(zeros)))) }),
        proptest::collection::vec(any::<u8>(), 1..4).prop_map(Value::B),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        Just(Value::Ss(vec!["a".to_owned(), "b".to_owned()])),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::L),
            proptest::collection::btree_map("[a-c]", inner, 0..3).prop_map(Value::M),
        ]
    })
}

/// An item with a version and some of the attributes `a` to `h`.
fn item() -> impl Generator<Value = Item> {
    (proptest::collection::btree_map("[a-h]", value(), 0..8), 0_u32..5).prop_map(|(mut item, version)| {
        item.insert("pk".to_owned(), Value::S("k".to_owned()));
        item.insert("v".to_owned(), Value::N(Num::from_wire(version.to_string())));
        item
    })
}

fn gap() -> impl Generator<Value = GapRule> {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "v"].map(str::to_owned).to_vec();
    prop_oneof![
        Just(GapRule::Version("v".parse().unwrap())),
        Just(GapRule::Attributes(names)),
        Just(GapRule::WritersStopped)
    ]
}

fn planned(gap: GapRule, image: &Item, indexes: Vec<IndexSchema>) -> GuardedWrite {
    let change = Change::Delete { gap, keeps_image: true };
    match Changes::for_expand(&[change], Strategy::InPlace, key(), indexes).decide(image) {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

fn indexes() -> impl Generator<Value = Vec<IndexSchema>> {
    let projection = prop_oneof![
        Just(Projection::All),
        Just(Projection::KeysOnly),
        Just(Projection::Include(vec!["b".to_owned(), "c".to_owned()]))
    ];
    let index = ("[a-d]", any::<bool>(), projection).prop_map(|(name, local, projection)| IndexSchema {
        name: format!("by-{name}-{local}"),
        key: vec![KeyAttribute { name, kind: "S".to_owned() }],
        partition: 1,
        projection,
        local,
    });
    proptest::collection::vec(index, 0..3)
}

/// Removes empty strings and values of other types from the index key attributes, because DynamoDB would reject them.
fn remove_invalid_keys(item: &mut Item, indexes: &[IndexSchema]) {
    for key in indexes.iter().flat_map(|index| &index.key) {
        if !matches!(item.get(&key.name), Some(Value::S(text)) if !text.is_empty()) {
            item.remove(&key.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    /// If writers respect the gap rule, a delete removes only the exact image that was read. This is true for all
    /// writes between the read and the delete.
    #[test]
    fn a_delete_removes_only_what_was_read(gap in gap(), image in item(), mut now in item(), is_gone in 0_u8..8) {
        let write = planned(gap.clone(), &image, Vec::new());
        match &gap {
            // Each write raises the version.
            GapRule::Version(_) if now != image => {
                now.insert("v".to_owned(), Value::N(Num::from_wire("9".to_owned())));
            }
            GapRule::WritersStopped => now.clone_from(&image),
            GapRule::Version(_) | GapRule::Attributes(_) => {}
        }
        let current = (is_gone > 0).then_some(&now);
        match effect(&write, current, &key(), &[]) {
            WriteEffect::Applied(after) => {
                prop_assert_eq!(after, None);
                prop_assert_eq!(current, Some(&image), "{:?}", gap);
            }
            WriteEffect::ConditionFailed => prop_assert_ne!(current, Some(&image)),
            WriteEffect::Rejected(why) => prop_assert!(false, "{}", why),
        }
    }

    /// A rollback restores the same bytes, and never replaces an existing item.
    #[test]
    fn a_restored_item_has_the_same_bytes(image in item(), now in item(), exists in any::<bool>()) {
        let change = Change::Delete { gap: GapRule::WritersStopped, keeps_image: true };
        let undo = Changes::for_undo(&[change], Strategy::InPlace, key(), Vec::new());
        let rows = [PreImage::confirmed_delete("pk"), PreImage::of_item("pk", &image)];
        let record = ItemHistory::new([], rows.map(|row| (PreImageOrigin::Run, row)));
        let absent = Item::from([("pk".to_owned(), image["pk"].clone())]);
        let Decision::Write(put) = undo.decide_missing(&ItemKey::new(absent), &record) else { panic!("nothing to put back") };
        match effect(&put, exists.then_some(&now), &key(), &[]) {
            WriteEffect::Applied(after) => {
                prop_assert!(!exists);
                let text = |item: &Item| crate::item::item_to_json(item).to_string();
                prop_assert_eq!(text(&after.unwrap()), text(&image));
            }
            WriteEffect::ConditionFailed => {
                prop_assert!(exists);
                let again = undo.decide_found(&now, &put);
                prop_assert_eq!(again == Some(Decision::AlreadyApplied), now == image);
            }
            WriteEffect::Rejected(why) => prop_assert!(false, "{}", why),
        }
    }

    /// The estimated cost of a delete, and of the write that restores the item, equals the cost that the server counts.
    #[test]
    fn the_estimate_is_what_a_delete_consumes(image in item(), size in 0_usize..9_000, indexes in indexes()) {
        let mut image = image;
        image.insert("h".to_owned(), Value::S("x".repeat(size)));
        remove_invalid_keys(&mut image, &indexes);
        let write = planned(GapRule::WritersStopped, &image, indexes.clone());
        let counted = consumed(Some(&image), None, &key(), &indexes);
        let listed = |of: &GuardedWrite| {
            let mut named: Vec<_> = of.cost.indexes.iter().map(|(at, units)| (indexes[*at].name.clone(), *units)).collect();
            named.sort_by(|a, b| a.0.cmp(&b.0));
            (of.cost.table, named)
        };
        let mut named = counted.indexes.clone();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(listed(&write), (counted.table, named));
        prop_assert_eq!(consumed(None, Some(&image), &key(), &indexes), counted);
    }
}
