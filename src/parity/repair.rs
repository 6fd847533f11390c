//! What a repair wants of one mismatching item: pure. The side that is derived becomes equal to the side that is the truth.
//!
//! Everything is compare-and-set on both values of a pair, as the image had them, and what is overwritten or removed is a
//! pre-image: durable before the write, and in its condition. A value is copied by DynamoDB, as in `run`. Whatever a live
//! writer does in between, it fails as a condition, and its image is decided on anew.
//!
//! An item is left alone as a whole where one of its mismatching changes cannot be derived: see [`Repair::decide`].

use std::collections::BTreeMap;

use super::compare::{Existing, was_skipped};
use super::truth::{Truth, Truths};
use crate::change::{Change, Changes, Condition, Decides, Decision, Indexes, OnExisting, OnRecord, Strategy};
use crate::item::{Item, KeySchema, Path, Value};

/// How items of one table are repaired, before `contract`: it removes what is left by itself, when it is run again.
#[derive(Debug, Clone)]
pub struct Repair {
    changes: Vec<Change>,
    strategy: Strategy,
    truths: Truths,
    removes: bool,
    key: KeySchema,
    indexes: Indexes,
}

/// A repair of the items of one page, with what is known of them.
#[derive(Debug)]
pub(super) struct PageRepair {
    /// How.
    pub(super) repair: Repair,
    /// What is on record of them, by the text of the item's key.
    pub(super) records: BTreeMap<String, OnRecord>,
}

/// A move or a copy.
struct Pair<'a> {
    old: &'a Path,
    new: &'a Path,
    existing: Existing,
}

/// What one item needs, so far.
#[derive(Default)]
struct Needs {
    changes: Vec<Change>,
    conditions: Vec<Condition>,
    left: Vec<Path>,
}

impl Repair {
    /// Repairs of a plan's changes.
    pub fn new(
        changes: &[Change],
        strategy: Strategy,
        truths: impl Into<Truths>,
        key: KeySchema,
        indexes: impl Into<Indexes>,
    ) -> Repair {
        Repair {
            changes: changes.to_vec(),
            strategy,
            truths: truths.into(),
            removes: false,
            key,
            indexes: indexes.into(),
        }
    }

    /// The same, which also removes values that nothing implies. They may be live: that has to be asked for by name.
    #[must_use]
    pub fn removing(self) -> Repair {
        Repair { removes: true, ..self }
    }

    /// The table's key.
    pub(super) fn key(&self) -> &KeySchema {
        &self.key
    }

    /// Its indexes, as they are known now.
    pub(super) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// What this item needs. A new value without an old one that was there before the migration, by its record, matches, and
    /// stays, as long as old values are not stale; one beside an old value is held to it as any other, unless
    /// `on_existing = "skip"` counts it as done.
    ///
    /// `Diverged` names what the item is left alone for: an old value that is alone where only new ones are written, because
    /// it may be the only one that the item has; a constant that another value has taken while readers read them; a
    /// source whose targets disagree, or that is an element of a list; a value that nothing implies, unless the repair
    /// [removes](Repair::removing) those; with `skip`, a new value that is neither the one of
    /// before nor what the migration wrote.
    pub fn decide(&self, item: &Item, record: &OnRecord) -> Decision {
        if let Some(why) = record.why_unreadable() {
            return Decision::Rejected(format!(
                "its record in the state file cannot be read: {why}; it was not written"
            ));
        }
        let mut needs = Needs::default();
        let truth = self.truths.at(item.get(&self.key.partition.name));
        for change in &self.changes {
            match change {
                Change::Move { from, .. } | Change::Copy { from, .. } if self.leaves_in_place(change) => {
                    needs.hold(from, item);
                    // Both are there, and equal: all that is left is to remove the source.
                    let only_removes =
                        from.get(item).is_some() && from.get(item) == change.target().and_then(|to| to.get(item));
                    needs.keep(from, only_removes && !self.removes);
                    needs.changes.push(overwriting(change));
                }
                Change::Move { from, to, .. } | Change::Copy { from, to, .. } => {
                    let pair = Pair { old: from, new: to, existing: Existing::of(change, self.strategy) };
                    self.pair(&mut needs, item, record, &pair, truth);
                }
                // Not held (`compare.rs`), and nothing that holds a pair's repair up.
                Change::Set { .. } if truth.is_new_alone() => {}
                Change::Set { to, value, .. } => {
                    let other = to.get(item).is_some_and(|there| there != value) && !change.skips();
                    needs.keep(to, other && truth != Truth::Old);
                    needs.changes.push(overwriting(change));
                }
                Change::Remove { path } if self.strategy == Strategy::InPlace => {
                    if !self.is_left_of_a_skip(item, record, path) {
                        needs.keep(path, self.only_removed(item, path) && !self.removes);
                        needs.changes.push(change.clone());
                    }
                }
                Change::Remove { .. } => {}
            }
        }
        if !needs.left.is_empty() {
            return Decision::Diverged(needs.left);
        }
        // In place, because what is unexpected goes at once; overwriting, because what differs is to be made equal.
        let (way, indexes) = (Strategy::InPlace, self.indexes.schemas().to_vec());
        let changes = Changes::for_run(&needs.changes, way, self.key.clone(), indexes);
        match changes.decide(item) {
            Decision::Write(mut write) => {
                for condition in needs.conditions {
                    if let Condition::Equals(path, _) = &condition {
                        // It says more than that there is one.
                        write.conditions.retain(|other| *other != Condition::Exists(path.clone()));
                    }
                    if !write.conditions.contains(&condition) {
                        write.conditions.push(condition);
                    }
                }
                Decision::Write(write)
            }
            decided => decided,
        }
    }

    fn pair(&self, needs: &mut Needs, item: &Item, record: &OnRecord, pair: &Pair<'_>, truth: Truth) {
        let Pair { old, new, existing } = *pair;
        needs.hold(old, item);
        needs.hold(new, item);
        match (old.get(item), new.get(item), truth) {
            (None, None, _) | (Some(_), None, Truth::NewOnTheWayBack) => {}
            (None, Some(_), Truth::Old | Truth::NewThenOld) if record.was_there_before(new) => {}
            (Some(a), Some(b), _) if a == b || existing.counts(record, new, b) => {}
            (Some(_), None, Truth::New) => needs.keep(new, true),
            // Nothing but a copy of the migration's own is overwritten, or removed.
            (_, Some(b), Truth::Old) if existing == Existing::Recorded && !record.is_ours(new, b) => {
                needs.keep(new, true);
            }
            // It goes on record as the migration's own.
            (Some(_), None, _) if existing != Existing::Held => {
                needs.changes.push(derive(old, new).with_existing(OnExisting::Skip));
            }
            (Some(_), None, _) | (Some(_), Some(_), Truth::Old) => needs.changes.push(derive(old, new)),
            (None, Some(_), _) if existing == Existing::Done => {}
            (None, Some(_), Truth::Old) if !self.removes => needs.keep(new, true),
            (None, Some(_), Truth::Old) => needs.changes.push(Change::Remove { path: new.clone() }),
            (_, Some(_), _) => self.derive_old(needs, item, record, pair),
        }
    }

    /// The old value is derived from the new one: once, however many targets it has, and only where they all agree.
    fn derive_old(&self, needs: &mut Needs, item: &Item, record: &OnRecord, &Pair { old, new, .. }: &Pair<'_>) {
        let targets = self.changes.iter().filter_map(|change| match change {
            Change::Move { from, to, .. } | Change::Copy { from, to, .. } if from == old => {
                let there = to.get(item);
                let done = |there: &Value| Existing::of(change, self.strategy).counts(record, to, there);
                // One that is done says nothing of the old value.
                (!there.is_some_and(|there| old.get(item).is_some() && done(there))).then_some(there)
            }
            _ => None,
        });
        let values: Vec<Option<&Value>> = targets.collect();
        // Of a list, elements are never written: another one may be there by then.
        if values.windows(2).any(|two| two[0] != two[1]) || old.ends_in_index() {
            return needs.keep(old, true);
        }
        if !needs.changes.iter().any(|change| matches!(change, Change::Copy { to, .. } if to == old)) {
            needs.changes.push(derive(new, old));
        }
    }
}

impl Repair {
    /// Whether the source goes with the same write, so that nothing is left to derive the target from.
    fn leaves_in_place(&self, change: &Change) -> bool {
        self.strategy == Strategy::InPlace
            && match change {
                Change::Move { .. } => true,
                Change::Copy { from, .. } => self.changes.iter().any(|other| other.removes(from)),
                Change::Set { .. } | Change::Remove { .. } => false,
            }
    }

    /// Whether removing this path would only take a value away: none of its copies is still to be made from it.
    fn only_removed(&self, item: &Item, path: &Path) -> bool {
        let Some(old) = path.get(item) else { return false };
        !self.changes.iter().any(|change| match change {
            Change::Copy { from, to, .. } => from == path && to.get(item) != Some(old),
            Change::Move { .. } | Change::Set { .. } | Change::Remove { .. } => false,
        })
    }

    /// Whether a path that the plan removes stays: one of its copies was skipped.
    fn is_left_of_a_skip(&self, item: &Item, record: &OnRecord, path: &Path) -> bool {
        let Some(old) = path.get(item) else { return false };
        self.changes.iter().any(|change| match change {
            Change::Copy { from, to, .. } if from == path => {
                was_skipped(item, record, old, &(to.clone(), Existing::of(change, self.strategy)))
            }
            _ => false,
        })
    }
}

fn derive(from: &Path, to: &Path) -> Change {
    Change::Copy { from: from.clone(), to: to.clone(), on_existing: OnExisting::Overwrite }
}

/// The change as a repair makes it: what differs is made equal, except where the plan counts it as done.
fn overwriting(change: &Change) -> Change {
    let answer = if change.skips() { OnExisting::Skip } else { OnExisting::Overwrite };
    change.clone().with_existing(answer)
}

impl Needs {
    /// Holds the write to what the image has at a path.
    fn hold(&mut self, path: &Path, item: &Item) {
        self.conditions.push(match path.get(item) {
            Some(value) => Condition::Equals(path.clone(), value.clone()),
            None => Condition::Missing(path.clone()),
        });
    }

    fn keep(&mut self, path: &Path, kept: bool) {
        if kept && !self.left.contains(path) {
            self.left.push(path.clone());
        }
    }
}

impl Decides for PageRepair {
    fn decide(&self, item: &Item) -> Decision {
        let key = self.repair.key.key_of(item).map(|key| key.to_text());
        let none = OnRecord::default();
        let record = key.and_then(|key| self.records.get(&key)).unwrap_or(&none);
        self.repair.decide(item, record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
    use proptest::strategy::Strategy as Generator;
    use serde_json::{Value as Json, json};

    use super::super::compare::{Parity, Stage};
    use super::*;
    use crate::change::OnExisting::{Keep, Skip};
    use crate::change::{Action, Digest, GuardedWrite, PreImage, Was};
    use crate::item::{KeyAttribute, item_from_json, item_to_json};

    /// What DynamoDB does with a guarded write.
    fn update(write: &GuardedWrite, image: &Item) -> Option<Item> {
        let holds = write.conditions.iter().all(|condition| match condition {
            Condition::ItemExists(name) => image.contains_key(name),
            Condition::Exists(path) => path.get(image).is_some(),
            Condition::Missing(path) => path.get(image).is_none(),
            Condition::IsMap(path) => matches!(path.get(image), Some(Value::M(_))),
            Condition::Equals(path, value) => path.get(image) == Some(value),
            Condition::Same(a, b) => a.get(image).is_some() && a.get(image) == b.get(image),
        });
        let mut after = image.clone();
        for action in write.actions.iter().take_while(|_| holds) {
            match action {
                Action::SetFrom { to, from } => assert!(to.set(&mut after, from.get(image).unwrap().clone())),
                Action::SetValue { to, value } => assert!(to.set(&mut after, value.clone())),
                Action::Remove { path } => assert!(path.remove(&mut after).is_some()),
            }
        }
        holds.then_some(after)
    }

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn repair(changes: &[Change], strategy: Strategy, truth: Truth) -> Repair {
        let key = KeySchema { partition: KeyAttribute { name: "pk".into(), kind: "S".into() }, sort: None };
        Repair::new(changes, strategy, truth, key, Vec::new()).removing()
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
        match &pre.was {
            Was::Value(value) => Some(value),
            Was::Nothing | Was::Same | Was::Left(_) => None,
        }
    }

    /// This target had this value before the migration.
    fn there_before(target: &str, value: &str) -> OnRecord {
        OnRecord::new([(path(target), Digest::of(&Value::S(value.to_owned())))], [])
    }

    /// What the item is after its repair, and what it overwrote, in DynamoDB JSON.
    fn repaired(repair: &Repair, json: &Json) -> (Json, Vec<Json>) {
        let before = image(json.clone());
        let Decision::Write(write) = repair.decide(&before, &OnRecord::default()) else {
            panic!("{:?}", repair.decide(&before, &OnRecord::default()))
        };
        let after = update(&write, &before).expect("its conditions hold on its own image");
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
        let way = Strategy::ExpandContract;
        let emptied = json!({"pk": {"S": "1"}, "d": {"M": {}}});
        let old = repair(&[mv()], way, Truth::Old);
        assert_eq!(repaired(&old, &item(Some("x"), None)), (item(Some("x"), Some("x")), vec![]));
        assert_eq!(repaired(&old, &item(Some("x"), Some("y"))), (item(Some("x"), Some("x")), vec![text("y")]));
        assert_eq!(repaired(&old, &item(None, Some("y"))), (emptied, vec![text("y")]));
        let new = repair(&[mv()], way, Truth::New);
        assert_eq!(repaired(&new, &item(Some("x"), Some("y"))), (item(Some("y"), Some("y")), vec![text("x")]));
        assert_eq!(repaired(&new, &item(None, Some("y"))), (item(Some("y"), Some("y")), vec![]));
        let both = repair(&[mv()], way, Truth::NewThenOld);
        assert_eq!(repaired(&both, &item(Some("x"), None)), (item(Some("x"), Some("x")), vec![]));
        assert_eq!(repaired(&both, &item(Some("x"), Some("y"))), (item(Some("y"), Some("y")), vec![text("x")]));
        let in_place = repair(&[mv()], Strategy::InPlace, Truth::Old);
        assert_eq!(repaired(&in_place, &item(Some("x"), None)), (item(None, Some("x")), vec![]));
        assert_eq!(repaired(&in_place, &item(Some("x"), Some("x"))).0, item(None, Some("x")));
        assert_eq!(repaired(&in_place, &item(Some("x"), Some("y"))), (item(None, Some("x")), vec![text("y")]));
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let way = Strategy::ExpandContract;
        let left = |repair: &Repair, json: Json| match repair.decide(&image(json.clone()), &OnRecord::default()) {
            Decision::Diverged(paths) => paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
            other => panic!("{json}: {other:?}"),
        };
        // An old value that is alone may be the only one; on the way back it stands.
        let only_old = json!({"pk": {"S": "1"}, "a": {"S": "x"}});
        for change in [mv(), copy()] {
            assert_eq!(left(&repair(std::slice::from_ref(&change), way, Truth::New), only_old.clone()), ["d.b"]);
            let back = repair(&[change], way, Truth::NewOnTheWayBack);
            assert_eq!(back.decide(&image(only_old.clone()), &OnRecord::default()), Decision::NothingToDo);
        }
        // Two targets that disagree say nothing of their source.
        let two = [mv(), Change::Copy { from: path("a"), to: path("c"), on_existing: Keep }];
        let item = json!({"pk": {"S": "1"}, "a": {"S": "x"}, "c": {"S": "x"}, "d": {"M": {"b": {"S": "y"}}}});
        assert_eq!(left(&repair(&two, way, Truth::New), item), ["a"]);
        // Where applications write the new side, a constant may be theirs.
        let set = [Change::Set { to: path("v"), value: Value::S("1".into()), on_existing: Keep }];
        let item = json!({"pk": {"S": "1"}, "v": {"S": "2"}});
        assert_eq!(left(&repair(&set, way, Truth::NewThenOld), item.clone()), ["v"]);
        let alone = repair(&set, way, Truth::New).decide(&image(item.clone()), &OnRecord::default());
        assert_eq!(alone, Decision::NothingToDo, "they are not even held");
        assert_eq!(repaired(&repair(&set, way, Truth::Old), &item).0, json!({"pk": {"S": "1"}, "v": {"S": "1"}}));
        // Of a list, no element is written.
        let element = [Change::Move { from: path("l[0]"), to: path("b"), on_existing: Keep }];
        let item = json!({"pk": {"S": "1"}, "l": {"L": [{"S": "x"}]}, "b": {"S": "y"}});
        assert_eq!(left(&repair(&element, way, Truth::New), item), ["l[0]"]);
    }

    /// What nothing implies may be live: it goes only where that was asked for.
    #[test]
    fn nothing_is_removed_without_being_asked_for() {
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
            let asked = repair(&[change], strategy, Truth::Old);
            let not_asked = Repair { removes: false, ..asked.clone() };
            let item = image(item.clone());
            let decide = |repair: &Repair| repair.decide(&item, &OnRecord::default());
            assert_eq!(decide(&not_asked), Decision::Diverged(vec![path(left)]));
            assert!(matches!(decide(&asked), Decision::Write(_)), "{left}");
        }
        // What moves is not lost.
        let moved = Repair { removes: false, ..repair(&[mv()], Strategy::InPlace, Truth::Old) };
        let old = image(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
        assert!(matches!(moved.decide(&old, &OnRecord::default()), Decision::Write(_)));
    }

    #[test]
    fn what_was_there_before_is_left_alone_until_old_values_are_stale() {
        let before = there_before("d.b", "y");
        let there = image(json!({"pk": {"S": "1"}, "d": {"M": {"b": {"S": "y"}}}}));
        let unequal = image(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "d": {"M": {"b": {"S": "y"}}}}));
        for truth in [Truth::Old, Truth::NewThenOld, Truth::New, Truth::NewOnTheWayBack] {
            let repair = repair(&[mv()], Strategy::ExpandContract, truth);
            match repair.decide(&there, &before) {
                Decision::Write(write) if truth.is_new_alone() => {
                    assert_eq!(update(&write, &there).unwrap()["a"], Value::S("y".into()));
                }
                decided => assert_eq!((decided, truth.is_new_alone()), (Decision::NothingToDo, false)),
            }
            // Beside an old value it is one that a pass has kept as diverged: a repair ends that.
            let Decision::Write(write) = repair.decide(&unequal, &before) else { panic!("{truth:?}") };
            let after = update(&write, &unequal).unwrap();
            assert_eq!(after.get("a"), path("d.b").get(&after), "{truth:?}");
            assert!(write.pre_images[0].wrote.is_some(), "a rollback knows what the tool wrote");
        }
    }

    fn any_value() -> impl Generator<Value = Option<Value>> {
        proptest::option::of((0_u8..3).prop_map(|n| Value::S(n.to_string())))
    }

    /// Values at `a`, `b`, `c`, `v` and `junk`.
    fn any_image() -> impl Generator<Value = Item> {
        proptest::collection::vec(any_value(), 5).prop_map(|values| {
            let names = ["a", "b", "c", "v", "junk"];
            let there = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
            there.chain([("pk".to_owned(), Value::S("1".into()))]).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// A repaired item matches; one that is left alone did not; whatever a writer changed of the pairs in between, the
        /// write fails; and no value goes that is neither in the item nor a pre-image.
        #[test]
        fn a_repair_ends_in_parity_and_loses_nothing(
            before in any_image(), meanwhile in any_image(), in_place in any::<bool>(), truth in 0_usize..4, second in any::<bool>(),
            there in proptest::sample::subsequence(vec!["b", "c"], 0..=2), skip in any::<bool>(),
        ) {
            let digest = |path: &Path| path.get(&before).map_or(Digest([0; 8]), Digest::of);
            let there = OnRecord::new(there.into_iter().map(path).map(|path| (path.clone(), digest(&path))), []);
            let strategy = if in_place { Strategy::InPlace } else { Strategy::ExpandContract };
            let truth = if in_place { Truth::Old } else { [Truth::Old, Truth::NewThenOld, Truth::New, Truth::NewOnTheWayBack][truth] };
            let from = if second && !in_place { path("a") } else { path("junk2") };
            let on_existing = if skip { Skip } else { Keep };
            let changes = [
                Change::Move { from: path("a"), to: path("b"), on_existing },
                Change::Copy { from, to: path("c"), on_existing },
                Change::Set { to: path("v"), value: Value::S("1".into()), on_existing },
                Change::Remove { path: path("junk") },
            ];
            let parity = Parity::new(&changes, strategy, Stage::Expanded, truth);
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
                        prop_assert_eq!(after.get(name), Some(value), "{} is not left", name);
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
                Decision::Refused(_, rule) => prop_assert!(false, "{rule}"),
            }
        }
    }
}
