//! Computes the capacity that a write consumes on the table, and on every index in which the write changes an entry.
//!
//! Sources: The developer guide, "Provisioned throughput", says that a write costs the item's size before or after the
//! write, whichever is larger, rounded up to KB. The developer guide, "Global secondary indexes", "Provisioned
//! throughput considerations", says that an index entry that appears, disappears or changes costs one write of the
//! entry's size. If the index key changes, the entry costs two writes. Local indexes have the same costs, but consume
//! the table's capacity. Third-party recordings of AWS responses show that an unchanged entry costs nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Action, Indexes, WriteCost};
use crate::item::{
    IndexSchema, Item, KeyAttribute, KeySchema, Projection, Units, Value, attribute_bytes, item_bytes, write_units,
};

/// The cost calculation for one phase's writes. It includes only the indexes that the phase can touch.
#[derive(Debug, Clone)]
pub(super) struct Pricing {
    /// The top-level attributes that the phase changes. `None` if it deletes or creates whole items.
    changed: Option<Arc<[String]>>,
    table_key: KeySchema,
    indexes: Indexes,
    /// A cache of the indexes that the phase can touch, with the version of `indexes` from which it was computed.
    affected_indexes: Arc<RwLock<(u64, Arc<[AffectedIndex]>)>>,
}

/// An index in which one of the phase's writes may change an entry.
#[derive(Debug, Clone)]
struct AffectedIndex {
    /// The index's position in [`Indexes`].
    position: usize,
    local: bool,
    key: Vec<KeyAttribute>,
    /// Every attribute of an entry: the index key, the table key and the projected attributes. `None` means all
    /// attributes.
    attributes: Option<Vec<String>>,
}

impl Pricing {
    /// Prepares the calculation for a phase that changes only these top-level attributes, or values inside them.
    pub(super) fn new(changed: Vec<&str>, table_key: &KeySchema, indexes: &Indexes) -> Pricing {
        Pricing::of(Some(changed.into_iter().map(str::to_owned).collect()), table_key, indexes)
    }

    /// Prepares the calculation for a phase that deletes or creates whole items.
    pub(super) fn for_whole_items(table_key: &KeySchema, indexes: &Indexes) -> Pricing {
        Pricing::of(None, table_key, indexes)
    }

    fn of(changed: Option<Arc<[String]>>, table_key: &KeySchema, indexes: &Indexes) -> Pricing {
        let version = indexes.version();
        let affected_indexes = affected_indexes(changed.as_deref(), table_key, &indexes.schemas());
        let table_key = table_key.clone();
        let indexes = indexes.clone();
        Pricing { changed, table_key, indexes, affected_indexes: Arc::new(RwLock::new((version, affected_indexes))) }
    }

    /// Returns the currently known indexes that the phase can touch.
    fn affected_indexes(&self) -> Arc<[AffectedIndex]> {
        // Read the version before the schemas. If the indexes change between the two reads, the only consequence is
        // that the result is computed once more.
        let version = self.indexes.version();
        {
            let cached = self.affected_indexes.read().unwrap_or_else(PoisonError::into_inner);
            if cached.0 == version {
                return Arc::clone(&cached.1);
            }
        }
        let now = affected_indexes(self.changed.as_deref(), &self.table_key, &self.indexes.schemas());
        *self.affected_indexes.write().unwrap_or_else(PoisonError::into_inner) = (version, Arc::clone(&now));
        now
    }

    /// Returns the cost of a write with these actions on this image. `before` and `after` are the item's sizes in
    /// bytes, before and after the write.
    pub(super) fn cost(&self, image: &Item, actions: &[Action], before: usize, after: usize) -> WriteCost {
        let mut cost = WriteCost { table: write_units(before, after), indexes: Vec::new() };
        let affected_indexes = self.affected_indexes();
        if affected_indexes.is_empty() {
            return cost;
        }
        let write = PricedWrite { image, changed: changed(&affected_indexes, image, actions), before, after };
        let whole_item = whole_item(actions);
        for index in affected_indexes.iter() {
            let units = match whole_item {
                Some(item) => index.entry_units(item),
                None => index.units(&write),
            };
            if index.local {
                cost.table += units;
            } else if units > 0.0 {
                cost.indexes.push((index.position, units));
            }
        }
        cost
    }
}

/// Returns the indexes that contain at least one of the changed attributes, or all indexes for whole items.
fn affected_indexes(
    changed: Option<&[String]>,
    table_key: &KeySchema,
    indexes: &[IndexSchema],
) -> Arc<[AffectedIndex]> {
    let affected_indexes =
        indexes.iter().enumerate().map(|(position, index)| AffectedIndex::new(position, index, table_key));
    let is_affected =
        |index: &AffectedIndex| changed.is_none_or(|changed| changed.iter().any(|name| index.has_attribute(name)));
    affected_indexes.filter(is_affected).collect()
}

/// Returns the item that the actions delete or create, or `None` if they change only paths.
fn whole_item(actions: &[Action]) -> Option<&Item> {
    actions.iter().find_map(|action| match action {
        Action::DeleteItem { image: item } | Action::PutItem { item } => Some(item),
        Action::SetFrom { .. } | Action::SetValue { .. } | Action::Remove { .. } => None,
    })
}

/// Returns the new values of the top-level attributes that the actions change and that an index contains. A value is
/// `None` if the actions remove the attribute.
fn changed<'a>(
    affected_indexes: &[AffectedIndex],
    image: &'a Item,
    actions: &'a [Action],
) -> BTreeMap<&'a str, Option<Cow<'a, Value>>> {
    let mut changed = BTreeMap::new();
    for action in actions {
        // DynamoDB copies the value that a source had before the write, even if another action changes the source.
        let Some(path) = action.path() else { continue };
        let value = action.written_value(image);
        let root = path.root();
        if !affected_indexes.iter().any(|index| index.has_attribute(root)) {
            continue;
        }
        if path.is_top_level() {
            changed.insert(root, value.map(Cow::Borrowed));
            continue;
        }
        let attribute = changed.entry(root).or_insert_with(|| image.get(root).map(Cow::Borrowed));
        let document = attribute.take().map(|value| (root.to_owned(), value.into_owned()));
        let mut document: Item = document.into_iter().collect();
        match value {
            Some(value) => drop(path.set(&mut document, value.clone())),
            None => drop(path.remove(&mut document)),
        }
        *attribute = document.remove(root).map(Cow::Owned);
    }
    changed.retain(|name, value| value.as_deref() != image.get(*name));
    changed
}

/// The facts about a write that determine its cost on an index.
struct PricedWrite<'a> {
    image: &'a Item,
    changed: BTreeMap<&'a str, Option<Cow<'a, Value>>>,
    /// The item's size in bytes before the write. `after` is its size after the write.
    before: usize,
    after: usize,
}

impl PricedWrite<'_> {
    fn value_before(&self, name: &str) -> Option<&Value> {
        self.image.get(name)
    }

    fn value_after(&self, name: &str) -> Option<&Value> {
        match self.changed.get(name) {
            Some(value) => value.as_deref(),
            None => self.image.get(name),
        }
    }
}

impl AffectedIndex {
    fn new(position: usize, index: &IndexSchema, table_key: &KeySchema) -> AffectedIndex {
        let projected = match &index.projection {
            Projection::All => None,
            Projection::KeysOnly => Some(&[][..]),
            Projection::Include(names) => Some(&names[..]),
        };
        let attributes = projected.map(|names| {
            let keys = index.key.iter().map(|key| key.name.as_str()).chain(table_key.names());
            let mut attributes: Vec<String> = keys.chain(names.iter().map(String::as_str)).map(str::to_owned).collect();
            attributes.sort();
            attributes.dedup();
            attributes
        });
        AffectedIndex { position, local: index.local, key: index.key.clone(), attributes }
    }

    fn has_attribute(&self, name: &str) -> bool {
        match &self.attributes {
            Some(attributes) => attributes.iter().any(|n| n == name),
            None => true,
        }
    }

    /// Returns the number of units that the write consumes on the index: zero if the write does not change the item's
    /// entry.
    fn units(&self, write: &PricedWrite<'_>) -> Units {
        let is_in = self.has_entry(|name| write.value_before(name));
        let will_be_in = self.has_entry(|name| write.value_after(name));
        let before = || write_units(self.bytes(write.before, |name| write.value_before(name)), 0);
        let after = || write_units(0, self.bytes(write.after, |name| write.value_after(name)));
        match (is_in, will_be_in) {
            (false, false) => 0.0,
            (false, true) => after(),
            (true, false) => before(),
            // If the index key changes, DynamoDB removes the old index entry and adds a new one.
            (true, true) if self.key.iter().any(|key| write.changed.contains_key(key.name.as_str())) => {
                before() + after()
            }
            (true, true) if write.changed.keys().any(|name| self.has_attribute(name)) => before().max(after()),
            (true, true) => 0.0,
        }
    }

    /// Returns the number of units that the delete or the creation of this item consumes on the index.
    fn entry_units(&self, item: &Item) -> Units {
        let value = |name: &str| item.get(name);
        if self.has_entry(value) { write_units(self.bytes(item_bytes(item), value), 0) } else { 0.0 }
    }

    /// Returns whether an item is in the index. An item is in the index if it has every key attribute with the declared
    /// type. A write cannot give an index key a value of a different type or an empty value. But the item may already
    /// have had such a value when the index was created.
    fn has_entry<'v>(&self, value: impl Fn(&str) -> Option<&'v Value>) -> bool {
        self.key.iter().all(|key| match value(&key.name) {
            Some(Value::S(s)) => key.kind == "S" && !s.is_empty(),
            Some(Value::B(b)) => key.kind == "B" && !b.is_empty(),
            Some(Value::N(_)) => key.kind == "N",
            Some(
                Value::Bool(_) | Value::Null | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_),
            )
            | None => false,
        })
    }

    /// Returns the size in bytes of an item's entry in the index. `whole` is the item's total size.
    fn bytes<'v>(&self, whole: usize, value: impl Fn(&str) -> Option<&'v Value>) -> usize {
        match &self.attributes {
            None => whole,
            Some(attributes) => attributes.iter().filter_map(|name| Some(attribute_bytes(name, value(name)?))).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
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

    /// Returns the number of units that the table consumes, and the number that an index consumes if its key is the
    /// string attribute `k`.
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
            let changes =
                Changes::for_expand(&all_with_on_existing(changes, Overwrite), strategy, key(), indexes.clone());
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
}
