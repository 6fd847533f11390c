//! Compares the model's decisions with those of the tool, for every image of an item, every recorded history of the
//! item, every flag and every phase. The comparison covers a move, and a computed value that replaces an old attribute
//! and has an inverse. So the model's proofs apply to both.
//!
//! Two writes of a move are considered equal if they change every possible item in the same way, and journal the same
//! values. There are two allowed differences for computed values. Their write can fail where the write of a move
//! succeeds, because its condition contains the exact inputs. `contract` journals every old value from which a value
//! was computed.

use std::sync::LazyLock;

use backfill::internals::change::{
    Action, Change, Changes, Condition, Decision as Decided, Digest, GuardedWrite, ItemHistory, OnExisting, PreImage,
    PreImageOrigin, PriorValue, Strategy,
};
use backfill::internals::cutover::{Flag, ReadFrom, WriteTo, bucket};
use backfill::internals::item::{self, KeyAttribute, KeySchema, Num, Path};
use backfill::internals::passes::verify::{Parity, Repair, TableStage, TruthByKey};
use backfill::internals::plan::load;

use super::sweep::{
    Decision, Item, Knowledge, ModelPhase, Value, counts_as_preexisting, decide, destroyed, values, write,
};
use super::system::time;

/// The possible contents of an attribute: no value, the application's values, and one more value that can appear just
/// before a write.
const VALUES: [Option<Value>; 4] = [None, Some(0), Some(1), Some(2)];

/// The item's partition key.
const KEY: &str = "1";

/// The kind of change that the plan makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Move,
    /// The old values are numbers in text form, and the new values are numbers.
    Replace,
}

/// An item, and everything that the tool can know about it.
#[derive(Debug, Clone)]
struct Case {
    kind: Kind,
    image: Item,
    known: Knowledge,
    flag: Flag,
    record: ItemHistory,
    /// The new values that repairs have overwritten. Empty if the item's new attribute did not exist before the
    /// migration.
    overwritten: Vec<Value>,
}

#[test]
fn the_tool_decides_as_the_model_does() {
    let mut compared = 0;
    let mut restored = 0;
    let phases = [
        ModelPhase::Expand,
        ModelPhase::Retry,
        ModelPhase::Verify,
        ModelPhase::Repair,
        ModelPhase::OldFromNew,
        ModelPhase::Undo,
        ModelPhase::Contract,
    ];
    let all = phases.into_iter().flat_map(|phase| [(phase, Kind::Move), (phase, Kind::Replace)]);
    for (phase, case) in all.flat_map(|(phase, kind)| cases(phase, kind).map(move |case| (phase, case))) {
        let model = decide(phase, case.image, case.known);
        let tool = case.decided(phase);
        let what = format!("{phase:?}, {case:?}: {model:?}, {tool:?}");
        if phase == ModelPhase::Undo && !case.overwritten.is_empty() {
            // If a repair has overwritten a preexisting value, the tool restores that value, but the model does not
            // change the item.
            assert_eq!(model, Decision::Nothing, "{what}");
            restored += u64::from(case.restores_overwritten(&tool, &what));
        } else {
            assert!(case.is_same(phase, model, &tool), "{what}");
        }
        compared += 1;
    }
    assert!(compared > 6_000 && restored > 100, "{compared} compared, {restored} restored");
}

/// While old values are fresh, a repair does not change the value that readers of this key see, whichever attribute
/// they read.
#[test]
fn a_repair_keeps_what_readers_read() {
    let mut written = 0;
    let kinds = [Kind::Move, Kind::Replace].into_iter();
    let all = kinds.flat_map(|kind| cases(ModelPhase::Repair, kind));
    for case in all.filter(|case| !case.known.old_stale) {
        let Decided::Write(write) = case.decided(ModelPhase::Repair) else { continue };
        let read = |item: Item| if case.known.reads_new { item.new.or(item.old) } else { item.old };
        let after =
            update(case.kind, &write, case.image).expect("a write must succeed on the image for which it was planned");
        assert_eq!(read(after), read(case.image), "{case:?}");
        written += 1;
    }
    assert!(written > 200, "{written} written");
}

/// Checks that the tool's baseline and the model count the same new attributes as preexisting.
#[test]
fn the_tool_records_the_baseline_as_the_model_does() {
    for (image, dual) in images(&VALUES).flat_map(|image| [(image, false), (image, true)]) {
        for kind in [Kind::Move, Kind::Replace] {
            let baseline = for_expand(kind).with_dual_writes(dual).baseline(&to_real(kind, image));
            assert_eq!(!baseline.preexisting.is_empty(), counts_as_preexisting(image, dual), "{image:?} {dual}");
        }
    }
}

impl Case {
    /// Returns the tool's decision.
    fn decided(&self, phase: ModelPhase) -> Decided {
        let image = to_real(self.kind, self.image);
        let plan = [change(self.kind)];
        let truths = TruthByKey::from_flag(&self.flag);
        let way = Strategy::ExpandContract;
        match phase {
            ModelPhase::Expand | ModelPhase::Retry => for_expand(self.kind).decide(&image),
            ModelPhase::Verify => {
                let found =
                    Parity::with_truths(&plan, way, TableStage::Expanded, truths, "pk").compare(&image, &self.record);
                match found.verdict.is_mismatch() {
                    true => Decided::Diverged(found.paths.into_iter().map(|(path, _)| path).collect()),
                    false => Decided::AlreadyApplied,
                }
            }
            ModelPhase::Repair => {
                Repair::new(&plan, way, truths, key(), Vec::new()).with_removals().decide(&image, &self.record)
            }
            ModelPhase::OldFromNew => {
                Changes::for_old_from_new(&plan, way, key(), Vec::new()).decide_with(&image, &self.record)
            }
            ModelPhase::Undo => Changes::for_undo(&plan, way, key(), Vec::new()).decide_with(&image, &self.record),
            ModelPhase::Contract => {
                Changes::for_contract(&plan, way, key(), Vec::new()).decide_with(&image, &self.record)
            }
        }
    }

    fn is_same(&self, phase: ModelPhase, model: Decision, tool: &Decided) -> bool {
        match (model, tool) {
            (Decision::Nothing, Decided::NothingToDo | Decided::AlreadyApplied) => true,
            (Decision::Differs, Decided::Diverged(_)) => true,
            // There are two cases in which the tool reports an item as diverged, and the model can only leave it
            // unchanged. First, no pass has read the item. Second, the tool has overwritten a preexisting value and the
            // old value is gone, so nothing implies the tool's value.
            (Decision::Nothing, Decided::Diverged(_)) => match phase {
                ModelPhase::Undo => self.known.preexisting.is_none(),
                ModelPhase::Verify | ModelPhase::Repair => self.image.old.is_none() && !self.overwritten.is_empty(),
                ModelPhase::Expand | ModelPhase::Retry | ModelPhase::OldFromNew | ModelPhase::Contract => false,
            },
            (Decision::Nothing | Decision::Differs, _) => false,
            (_, Decided::Write(made)) => {
                let removes_computed = self.kind == Kind::Replace && phase == ModelPhase::Contract;
                let removed = if removes_computed { values(Item { new: None, ..self.image }) } else { 0 };
                let may_fail = |item| self.kind == Kind::Replace && item != self.image;
                journaled(self.kind, made) == destroyed(model, self.image) | removed
                    && images(&VALUES).all(|item| match update(self.kind, made, item) {
                        None if may_fail(item) => true,
                        after => after == write(model, item, self.image),
                    })
            }
            _ => false,
        }
    }

    /// Returns whether the tool restores the overwritten value. If so, checks three properties of the tool's write. The
    /// write keeps the old attribute. It succeeds only if both attributes are equal or as they were read. It journals
    /// the values that it destroys.
    fn restores_overwritten(&self, tool: &Decided, what: &str) -> bool {
        let Decided::Write(made) = tool else { return false };
        for item in images(&VALUES) {
            let Some(after) = update(self.kind, made, item) else { continue };
            assert!(item == self.image || (item.old.is_some() && item.old == item.new), "{what}");
            assert_eq!(after.old, item.old, "{what}");
            assert!(after.new.is_some_and(|new| self.overwritten.contains(&new)), "{what}");
            assert_eq!(values(item) & !(values(after) | journaled(self.kind, made)), 0, "{what}");
        }
        true
    }
}

/// Returns all cases that a phase must handle.
fn cases(phase: ModelPhase, kind: Kind) -> impl Iterator<Item = Case> {
    let flags = flags().into_iter().flat_map(|flag| [false, true].map(|dual_written| (flag.clone(), dual_written)));
    let flags = flags.filter(|(flag, dual_written)| *dual_written || flag.write == WriteTo::Old);
    flags.flat_map(|flag| images(&VALUES[..3]).map(move |image| (flag.clone(), image))).flat_map(
        move |((flag, dual_written), image)| {
            records(phase, kind, image, dual_written).into_iter().map(move |(preexisting, record, overwritten)| {
                let known = Knowledge {
                    preexisting,
                    reads_new: flag.reads_new(&item::Value::S(KEY.into())),
                    writes_both: flag.write == WriteTo::Both,
                    old_stale: flag.old_stale,
                    dual_written,
                    skip_preexisting: false,
                    removes_old_without_new: false,
                };
                Case { kind, image, known, flag: flag.clone(), record, overwritten }
            })
        },
    )
}

/// Returns all possible histories of an item. Each one has the model's knowledge, the tool's record, and the new values
/// that repairs have overwritten.
fn records(
    phase: ModelPhase,
    kind: Kind,
    image: Item,
    dual_written: bool,
) -> Vec<(Option<bool>, ItemHistory, Vec<Value>)> {
    let without_baseline = (None, ItemHistory::default().without_baseline(), Vec::new());
    // A rollback after a stopped pass first records the baseline of the items that the pass has not read. So an item
    // without a baseline is possible only if dual writes have begun.
    let baseline = for_expand(kind).with_dual_writes(dual_written).baseline(&to_real(kind, image));
    let with_baseline = ItemHistory::new(baseline.preexisting, []);
    let old = |value| real(kind, "old", value);
    let new = |value| real(kind, "new", value);
    let mut all = match (phase, dual_written) {
        (ModelPhase::Undo, true) => vec![without_baseline, (None, with_baseline, Vec::new())],
        (ModelPhase::Undo, false) => vec![(None, with_baseline, Vec::new())],
        _ => vec![without_baseline],
    };
    for first in [None, Some(0), Some(1)] {
        let before = || first.map(|value| (path("new"), Digest::from_value(&new(value))));
        all.push((Some(first.is_some()), ItemHistory::new(before(), []), Vec::new()));
        for (found, wrote) in [(0, Some(1)), (1, Some(0)), (0, None), (1, None)] {
            // This history contains two repairs. The first repair found the new value `found`, and replaced it with
            // `wrote`. If `wrote` is `None`, the repair removed the new value. The second repair changed the old value.
            let repair = PreImage::with_value(&path("new"), &new(found));
            let repair = wrote.map_or(repair.clone(), |wrote| repair.with_written_value(&new(wrote)));
            let of_old = PreImage::with_value(&path("old"), &old(found)).with_written_value(&old(1 - found));
            let rows = [(PreImageOrigin::Repair, of_old), (PreImageOrigin::Repair, repair)];
            let overwritten = first.map(|_| found).into_iter().collect();
            all.push((Some(first.is_some()), ItemHistory::new(before(), rows), overwritten));
        }
    }
    all
}

/// Returns all flags that a phase treats differently.
fn flags() -> Vec<Flag> {
    let mut all = Vec::new();
    for write in [WriteTo::Old, WriteTo::Both, WriteTo::New] {
        let bucket = bucket(&item::Value::S(KEY.into())).unwrap();
        // There are four cases: no key has moved, some keys without this one, some keys with this one, or all keys.
        for (read, read_percent) in
            [(ReadFrom::Old, 0), (ReadFrom::New, bucket), (ReadFrom::New, bucket + 1), (ReadFrom::New, 100)]
        {
            for old_stale in [false, true] {
                let dual_since = (write != WriteTo::Old).then(|| time(1));
                let new_since = (write == WriteTo::New).then(|| time(1));
                let first = Flag::new(1, time(0));
                all.push(Flag { write, read, read_percent, old_stale, dual_since, new_since, ..first });
            }
        }
    }
    all.retain(|flag| flag.broken_rule().is_none());
    assert!(all.len() > 4);
    all
}

fn images(values: &[Option<Value>]) -> impl Iterator<Item = Item> + '_ {
    values.iter().flat_map(move |old| values.iter().map(move |new| Item { old: *old, new: *new }))
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

/// Returns the value of an attribute.
fn real(kind: Kind, name: &str, value: Value) -> item::Value {
    match kind {
        Kind::Replace if name == "old" => item::Value::S(value.to_string()),
        Kind::Move | Kind::Replace => item::Value::N(Num::parse(&value.to_string()).unwrap()),
    }
}

fn change(kind: Kind) -> Change {
    static REPLACE: LazyLock<Change> = LazyLock::new(|| {
        let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n\
                    [[change]]\nconvert = \"old\"\nto = \"N\"\ninto = \"new\"\nreplaces = \"old\"\n\
                    inverse = { to = \"S\" }\n";
        load("plan.toml", text).unwrap_or_else(|errors| panic!("{errors}")).plan.changes.remove(0)
    });
    match kind {
        Kind::Move => Change::Move { from: path("old"), to: path("new"), on_existing: OnExisting::Keep },
        Kind::Replace => REPLACE.clone(),
    }
}

fn key() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "pk".into(), kind: "S".into() }, sort: None }
}

fn for_expand(kind: Kind) -> Changes {
    Changes::for_expand(&[change(kind)], Strategy::ExpandContract, key(), Vec::new())
}

fn to_real(kind: Kind, image: Item) -> item::Item {
    let named = [("old", image.old), ("new", image.new)];
    let values = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), real(kind, name, value?))));
    values.chain([("pk".to_owned(), item::Value::S(KEY.into()))]).collect()
}

fn to_model(kind: Kind, image: &item::Item) -> Item {
    let of = |name: &str| {
        let found = image.get(name)?;
        Some(
            VALUES
                .into_iter()
                .flatten()
                .find(|value| real(kind, name, *value) == *found)
                .expect("the value is not one of the model"),
        )
    };
    Item { old: of("old"), new: of("new") }
}

/// Returns the set of values that a write journals.
fn journaled(kind: Kind, write: &GuardedWrite) -> u8 {
    let value_of = |pre: &PreImage| match &pre.prior {
        PriorValue::Value(value) => to_model(kind, &[(pre.path.root().to_owned(), value.clone())].into()),
        PriorValue::Nothing
        | PriorValue::SameAsSource
        | PriorValue::Item(_)
        | PriorValue::Mark(_)
        | PriorValue::Leftover(_) => Item { old: None, new: None },
    };
    write.pre_images.iter().fold(0, |set, pre| set | values(value_of(pre)))
}

/// Applies a guarded write to an item. Returns the new item, or `None` if the write's condition fails.
fn update(kind: Kind, write: &GuardedWrite, item: Item) -> Option<Item> {
    let image = to_real(kind, item);
    assert_eq!(write.conditions[0], Condition::ItemExists("pk".into()), "a write must not recreate a deleted item");
    let holds = write.conditions.iter().all(|condition| match condition {
        Condition::ItemExists(name) => image.contains_key(name),
        Condition::ItemMissing(name) => !image.contains_key(name),
        Condition::Exists(path) => path.get(&image).is_some(),
        Condition::Missing(path) => path.get(&image).is_none(),
        Condition::IsMap(path) => matches!(path.get(&image), Some(item::Value::M(_))),
        Condition::Equals(path, value) => path.get(&image) == Some(value),
        Condition::PathsEqual(a, b) => a.get(&image).is_some() && a.get(&image) == b.get(&image),
    });
    let mut after = image.clone();
    for action in write.actions.iter().take_while(|_| holds) {
        match action {
            Action::SetFrom { to, from, .. } => assert!(to.set(&mut after, from.get(&image).unwrap().clone())),
            Action::SetValue { to, value } => assert!(to.set(&mut after, value.clone())),
            Action::Remove { path } => assert!(path.remove(&mut after).is_some()),
            Action::DeleteItem { .. } | Action::PutItem { .. } | Action::PutDerived { .. } => {
                unreachable!("the model has no whole-item changes")
            }
        }
    }
    holds.then(|| to_model(kind, &after))
}
