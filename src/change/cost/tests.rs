//! Tests the estimate of write units.

use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use serde_json::{Value as Json, json};

use super::super::OnExisting::Overwrite;
use super::super::Strategy::{ExpandContract, InPlace};
use super::super::tests::{all_with_on_existing, any_item, any_plan, copy, item, key, mv, remove, set, update};
use super::super::{Change, Changes, Decision, GuardedWrite};
use super::*;
use crate::item::{Path, item_bytes};

fn index(keys: &[(&str, &str)], projection: Projection) -> IndexSchema {
    let key = |(name, kind): &(&str, &str)| KeyAttribute { name: (*name).into(), kind: (*kind).into() };
    IndexSchema { name: "i".into(), key: keys.iter().map(key).collect(), partition: 1, projection, local: false }
}

fn include(names: &[&str]) -> Projection {
    Projection::Include(names.iter().map(|name| (*name).to_owned()).collect())
}

fn decide_write(changes: &[Change], image: &Item, indexes: Vec<IndexSchema>) -> GuardedWrite {
    match Changes::for_expand(&all_with_on_existing(changes, Overwrite), InPlace, key(), indexes).decide(image) {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

/// Returns the write's units on the table, and its units on an index whose key is the string attribute `k`.
fn units(changes: &[Change], image: Json, projection: Projection) -> (Units, Units) {
    let write = decide_write(changes, &item(image), vec![index(&[("k", "S")], projection)]);
    (write.cost.table, write.cost.total() - write.cost.table)
}

fn kb(n: usize) -> Json {
    json!({"S": "x".repeat(n * 1024)})
}

#[test]
fn an_entry_that_appears_or_disappears_costs_its_own_size() {
    let old = json!({"S": "o"});
    let k = json!({"S": "k"});
    let two = kb(2);
    let three = kb(3);
    let image = |k: &Json| json!({"pk": {"S": "1"}, "old": k, "two": two, "three": three});
    let attributes = || include(&["two"]);
    assert_eq!(units(&[mv("old", "k")], image(&old), attributes()), (6.0, 3.0));
    assert_eq!(units(&[mv("old", "k")], image(&old), Projection::All), (6.0, 6.0));
    assert_eq!(units(&[mv("old", "k")], image(&old), Projection::KeysOnly), (6.0, 1.0));
    let image = json!({"pk": {"S": "1"}, "k": k, "two": two, "three": three});
    assert_eq!(units(&[remove("k")], image.clone(), attributes()), (6.0, 3.0));
    assert_eq!(
        units(&[remove("k"), remove("two")], image.clone(), attributes()),
        (6.0, 3.0),
        "the cost depends on the entry's size before the write"
    );
    assert_eq!(units(&[remove("k"), remove("three")], image, Projection::All), (6.0, 6.0));
}

#[test]
fn a_changed_index_key_costs_the_entry_before_and_the_one_after() {
    let image = json!({"pk": {"S": "1"}, "k": {"S": "k"}, "old": {"S": "o"}, "two": kb(2), "three": kb(3)});
    assert_eq!(units(&[copy("old", "k")], image.clone(), Projection::KeysOnly), (6.0, 2.0));
    assert_eq!(units(&[copy("old", "k"), remove("two")], image.clone(), include(&["two"])), (6.0, 3.0 + 1.0));
    assert_eq!(units(&[copy("old", "k"), remove("two")], image, Projection::All), (6.0, 6.0 + 4.0));
}

#[test]
fn a_changed_projection_costs_the_larger_entry() {
    let image = json!({"pk": {"S": "1"}, "k": {"S": "k"}, "two": kb(2), "three": kb(3)});
    assert_eq!(units(&[remove("two")], image.clone(), include(&["two"])), (6.0, 3.0));
    assert_eq!(units(&[copy("three", "new")], image.clone(), include(&["new"])), (9.0, 4.0));
    assert_eq!(units(&[set("two", json!({"S": "x"}))], image.clone(), Projection::All), (6.0, 6.0));
    let nested = json!({"pk": {"S": "1"}, "k": {"S": "k"}, "doc": {"M": {"a": kb(2), "b": {"S": "b"}}}});
    assert_eq!(units(&[mv("doc.b", "doc.c")], nested.clone(), include(&["doc"])), (3.0, 3.0));
    assert_eq!(units(&[mv("doc.a", "a")], nested.clone(), include(&["doc"])), (3.0, 3.0));
    assert_eq!(units(&[copy("doc.a", "new.in.it")], nested, include(&["new"])), (5.0, 3.0));
}

#[test]
fn an_unchanged_entry_costs_nothing() {
    let image = json!({"pk": {"S": "1"}, "k": {"S": "k"}, "old": {"S": "o"}, "held": {"S": "h"}});
    assert_eq!(units(&[mv("old", "new")], image.clone(), include(&["held"])), (1.0, 0.0));
    assert_eq!(units(&[mv("old", "new")], image, Projection::KeysOnly), (1.0, 0.0));
    let image = item(json!({"pk": {"S": "1"}, "k": {"S": "k"}}));
    let value = Value::S("k".into());
    let same = [Action::SetValue { to: Path::attribute("k"), value }];
    let pricing = Pricing::new(vec!["k"], &key(), &vec![index(&[("k", "S")], Projection::All)].into());
    assert_eq!(pricing.cost(&image, &same, 2048, 2048), WriteCost { table: 2.0, indexes: vec![] });
}

#[test]
fn an_item_without_an_index_key_is_not_in_the_index() {
    let changes = [set("v", json!({"BOOL": true}))];
    for k in [json!({"N": "1"}), json!({"NULL": true}), json!({"M": {"x": {"S": "x"}}}), json!({"S": ""})] {
        let image = json!({"pk": {"S": "1"}, "k": k});
        assert_eq!(units(&changes, image.clone(), Projection::All), (1.0, 0.0), "{image}");
        // Once the key is valid, the item appears in the index.
        assert_eq!(units(&[set("k", json!({"S": "k"}))], image, Projection::All), (1.0, 1.0));
    }
    let both = || vec![index(&[("k", "S"), ("n", "N")], Projection::KeysOnly)];
    let image = item(json!({"pk": {"S": "1"}, "k": {"S": "k"}}));
    assert_eq!(decide_write(&[set("n", json!({"N": "1"}))], &image, both()).cost.indexes, [(0, 1.0)]);
    assert_eq!(decide_write(&[set("k", json!({"S": "l"}))], &image, both()).cost.indexes, []);
}

#[test]
fn local_indexes_use_the_tables_capacity() {
    let local = IndexSchema { local: true, ..index(&[("pk", "S"), ("k", "S")], Projection::All) };
    let global = index(&[("k", "S")], Projection::KeysOnly);
    let image = item(json!({"pk": {"S": "1"}, "k": {"S": "k"}, "old": {"S": "o"}}));
    let write = decide_write(&[copy("old", "k")], &image, vec![local, global]);
    assert_eq!(write.cost, WriteCost { table: 3.0, indexes: vec![(1, 2.0)] });
    assert_eq!(write.cost.total(), 5.0);
}

/// A phase determines once which indexes its writes can touch. It computes costs only for these indexes.
#[test]
fn only_indexes_that_a_phase_can_touch_are_computed() {
    let indexes = vec![
        index(&[("k", "S")], include(&["email"])),
        index(&[("email", "S")], Projection::KeysOnly),
        index(&[("k", "S")], include(&["contact"])),
        index(&[("k", "S")], Projection::KeysOnly),
    ];
    let affected_indexes = |strategy, changes: &[Change]| {
        let changes = Changes::for_expand(&all_with_on_existing(changes, Overwrite), strategy, key(), indexes.clone());
        changes.pricing.affected_indexes().iter().map(|index| index.position).collect::<Vec<_>>()
    };
    assert_eq!(affected_indexes(ExpandContract, &[mv("email", "contact")]), [2], "the source stays");
    assert_eq!(affected_indexes(InPlace, &[mv("email", "contact.of.it")]), [0, 1, 2]);
    assert_eq!(affected_indexes(InPlace, &[copy("email", "c"), set("v", json!({"S": "k"}))]), [] as [usize; 0]);
    assert_eq!(affected_indexes(InPlace, &[remove("email.x")]), [0, 1]);
    assert_eq!(affected_indexes(InPlace, &[remove("k.x")]), [0, 2, 3]);
}

/// Returns an item's index entry: the values of the index key, and the attributes that the index contains. Returns
/// `None` if the item is not in the index.
fn entry(image: &Item, index: &IndexSchema) -> Option<(Vec<Value>, Item)> {
    let of_key = |key: &KeyAttribute| image.get(&key.name).filter(|v| v.type_name() == key.kind).cloned();
    let position = index.key.iter().map(of_key).collect::<Option<Vec<Value>>>()?;
    if position.contains(&Value::S(String::new())) {
        return None;
    }
    let mut attributes = image.clone();
    attributes.retain(|name, _| {
        name == "pk"
            || index.key.iter().any(|key| key.name == *name)
            || match &index.projection {
                Projection::All => true,
                Projection::KeysOnly => false,
                Projection::Include(names) => names.contains(name),
            }
    });
    Some((position, attributes))
}

fn oracle(before: &Item, after: &Item, index: &IndexSchema) -> Units {
    let size = |attributes: &Item| item_bytes(attributes).div_ceil(1024).max(1) as Units;
    match (entry(before, index), entry(after, index)) {
        (None, None) => 0.0,
        (Some((_, only)), None) | (None, Some((_, only))) => size(&only),
        (Some((from, before)), Some((to, after))) if from != to => size(&before) + size(&after),
        (Some((_, before)), Some((_, after))) if before == after => 0.0,
        (Some((_, before)), Some((_, after))) => size(&before).max(size(&after)),
    }
}

/// Generates items whose attributes and nested members have up to 3 KB.
fn any_sized_item() -> impl Generator<Value = Item> {
    let sizes = proptest::collection::vec((0..5_usize, any::<bool>(), 0..3_000_usize), 0..4);
    (any_item(), sizes).prop_map(|(mut item, sizes)| {
        for (n, nested, bytes) in sizes {
            let name = ["a", "b", "c", "d", "e"][n];
            let text = Value::S("x".repeat(bytes));
            let value = if nested { Value::M([("x".to_owned(), text)].into()) } else { text };
            item.insert(name.to_owned(), value);
        }
        item
    })
}

fn any_index() -> impl Generator<Value = IndexSchema> {
    let name = || proptest::sample::select(vec!["a", "b", "c", "d", "e"]).prop_map(str::to_owned);
    let attribute = || {
        let kind = proptest::sample::select(vec!["S", "S", "N"]);
        (name(), kind).prop_map(|(name, kind)| KeyAttribute { name, kind: kind.into() })
    };
    let projection = prop_oneof![
        Just(Projection::All),
        Just(Projection::KeysOnly),
        proptest::collection::vec(name(), 1..3).prop_map(Projection::Include),
    ];
    (proptest::collection::vec(attribute(), 1..3), projection, any::<bool>())
        .prop_map(|(key, projection, local)| IndexSchema { name: "i".into(), key, partition: 1, projection, local })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// The computed cost of a write equals the cost found by comparing the complete index entries before and after
    /// the write.
    #[test]
    fn the_cost_of_a_write_matches_whole_items(
        plan in any_plan(), image in any_sized_item(), in_place in any::<bool>(),
        indexes in proptest::collection::vec(any_index(), 0..4),
    ) {
        let strategy = if in_place { InPlace } else { ExpandContract };
        let changes = Changes::for_expand(&all_with_on_existing(&plan, Overwrite), strategy, key(), indexes.clone());
        if let Decision::Write(write) = changes.decide(&image) {
            let after = update(&write, Some(&image)).unwrap();
            let mut expected = WriteCost {
                table: item_bytes(&image).max(item_bytes(&after)).div_ceil(1024).max(1) as Units,
                indexes: Vec::new(),
            };
            for (position, index) in indexes.iter().enumerate() {
                match oracle(&image, &after, index) {
                    units if index.local => expected.table += units,
                    units if units > 0.0 => expected.indexes.push((position, units)),
                    _ => {}
                }
            }
            prop_assert_eq!(&write.cost, &expected);
            prop_assert!(write.cost.total() >= write.cost.table);
        }
    }
}
