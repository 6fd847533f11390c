//! What one item's image says of the plan: pure, from the image alone.
//!
//! A pair is what a `move` or a `copy` ties together: the value at its old path and the one at its new path. One side is the
//! [`Truth`], the other is derived from it:
//!
//! | old | new | truth: old | truth: new, then old | truth: new | truth: new, on the way back |
//! | --- | --- | --- | --- | --- | --- |
//! | none | none | matching | matching | matching | matching |
//! | a | a | matching | matching | matching | matching |
//! | a | b | stale | stale | stale | stale |
//! | a | none | missing | missing | missing | matching |
//! | none | b | unexpected, or matching if new was there before the migration | missing, or matching likewise | missing | missing |
//!
//! Where only new values are written, an old value alone is one that readers do not find: nobody has given the item its new
//! one, or somebody has written it who should not have. On the way back they will find it, and it stands. Of a new value
//! alone it is the old one that is missing, which readers that go back would look for: also where the new one was there
//! before the migration, because an application may have written it since.
//!
//! After an in-place move, or a copy whose source the plan removes, nothing is left to hold the new value against: a source that is still there is missing at the
//! target, stale there, or, where both are equal, unexpected itself. After `contract` the same is left of a move: a source
//! that is still there is unexpected, whatever the target holds, and a copy's two sides have gone their own ways. What a
//! `remove` names is unexpected once its phase is over (`run` in place, else `contract`).
//!
//! With `on_existing = "skip"` an unequal new value counts as done, and the item as skipped: at a constant, and in place, any
//! value; of a pair of an expand-contract plan the one that was there before the migration, as long as it is still that one
//! (its digest is on record), whichever side is the truth. A pair that became unequal since is stale: a copy whose old value
//! was written alone would reach readers as a value older than the last write. What `contract` left of a skipped pair
//! matches, too.
//!
//! A `set` is held against its constant (absent: missing; another value: stale), but not under `truth: new`, on the
//! way back or not, before `contract`: applications that write the new side alone may change a constant and insert items
//! without it, which says nothing of whether old values are fresh. A rollback waits for a verification that finds
//! nothing.

use super::truth::{Truth, Truths};
use super::verdict::Verdict;
use crate::change::{Change, OnRecord, Strategy};
use crate::item::{Item, Path, Value};

/// How far the migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From `run` on: what `contract` will remove is still there.
    Expanded,
    /// `contract` has removed it.
    Contracted,
}

impl Stage {
    /// The name in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Expanded => "expanded",
            Stage::Contracted => "contracted",
        }
    }

    /// Reads [`Stage::name`] back.
    pub fn from_name(name: &str) -> Option<Stage> {
        [Stage::Expanded, Stage::Contracted].into_iter().find(|stage| stage.name() == name)
    }
}

/// What is expected of every item: the plan's changes, ready to be held against images.
#[derive(Debug, Clone)]
pub struct Parity {
    held: Vec<Held>,
    split: Option<Split>,
}

/// What is held against items of keys that are read at their new attribute, while others are not.
#[derive(Debug, Clone)]
struct Split {
    truths: Truths,
    partition_key: String,
    held: Vec<Held>,
}

/// What came of holding one item against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The worst of its changes.
    pub verdict: Verdict,
    /// Where it is not as it should be, and how: the path that has no value, or that has the wrong one.
    pub paths: Vec<(Path, Verdict)>,
}

/// One change as it is held against an image.
#[derive(Debug, Clone)]
enum Held {
    Pair {
        old: Path,
        new: Path,
        truth: Truth,
        existing: Existing,
    },
    InPlace {
        from: Path,
        to: Path,
        existing: Existing,
    },
    Constant {
        to: Path,
        value: Value,
        existing: Existing,
    },
    /// It goes, unless one of these copies of it was skipped.
    Gone {
        path: Path,
        copies: Vec<(Path, Existing)>,
    },
}

/// Which other values at a target count as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// None.
    Held,
    /// The one that was there before the migration.
    Recorded,
    /// Any.
    Done,
}

impl Existing {
    pub(super) fn of(change: &Change, strategy: Strategy) -> Existing {
        match (change.skips(), change, strategy) {
            (false, ..) => Existing::Held,
            (true, Change::Move { .. } | Change::Copy { .. }, Strategy::ExpandContract) => Existing::Recorded,
            (true, ..) => Existing::Done,
        }
    }

    /// Whether this value, which is not the one implied, counts as done at the target.
    pub(super) fn counts(self, record: &OnRecord, to: &Path, there: &Value) -> bool {
        match self {
            Existing::Held => false,
            Existing::Recorded => record.is_existing(to, there),
            Existing::Done => true,
        }
    }
}

impl Parity {
    /// What these changes imply at a stage. Plans that work in place have no later stage than the first.
    pub fn new(changes: &[Change], strategy: Strategy, stage: Stage, truth: Truth) -> Parity {
        Parity { held: Held::all(changes, strategy, stage, truth), split: None }
    }

    /// The same where the truth may differ by the value of the named partition key.
    pub fn by_key(changes: &[Change], strategy: Strategy, stage: Stage, truths: Truths, partition_key: &str) -> Parity {
        let split = |held| Split { truths, partition_key: partition_key.to_owned(), held };
        match truths {
            Truths::All(truth) => Parity::new(changes, strategy, stage, truth),
            Truths::Percent(_) => Parity {
                split: Some(split(Held::all(changes, strategy, stage, Truth::NewThenOld))),
                ..Parity::new(changes, strategy, stage, Truth::Old)
            },
        }
    }

    /// Whether nothing is implied of any item yet: every change waits for `contract`.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether an old value of this item stands without a new one, which matches only on the way back.
    pub fn leaves_old_alone(&self, item: &Item) -> bool {
        self.held.iter().any(|held| match held {
            Held::Pair { old, new, truth: Truth::NewOnTheWayBack, .. } => {
                old.get(item).is_some() && new.get(item).is_none()
            }
            _ => false,
        })
    }

    /// Holds an item against it. `record` knows the targets that the item had before the migration, and their digests.
    pub fn compare(&self, item: &Item, record: &OnRecord) -> Comparison {
        let of_key = self.split.as_ref().filter(|split| split.is_of(item));
        let held = of_key.map_or(&self.held, |split| &split.held);
        let found: Vec<(&Path, Verdict)> = held.iter().map(|held| held.compare(item, record)).collect();
        let verdict = found.iter().map(|(_, verdict)| *verdict).max().unwrap_or(Verdict::Matching);
        let wrong = found.into_iter().filter(|(_, verdict)| verdict.is_mismatch());
        Comparison { verdict, paths: wrong.map(|(path, verdict)| (path.clone(), verdict)).collect() }
    }
}

impl Split {
    fn is_of(&self, item: &Item) -> bool {
        self.truths.at(item.get(&self.partition_key)) == Truth::NewThenOld
    }
}

impl Held {
    fn all(changes: &[Change], strategy: Strategy, stage: Stage, truth: Truth) -> Vec<Held> {
        changes.iter().filter_map(|change| Held::of(change, strategy, stage, truth, changes)).collect()
    }

    fn of(change: &Change, strategy: Strategy, stage: Stage, truth: Truth, all: &[Change]) -> Option<Held> {
        let in_place = strategy == Strategy::InPlace;
        let goes = |path: &Path| all.iter().any(|other| other.removes(path));
        let contracted = stage == Stage::Contracted && !in_place;
        let existing = Existing::of(change, strategy);
        Some(match change.clone() {
            Change::Move { from, to, .. } if contracted => Held::Gone { path: from, copies: vec![(to, existing)] },
            Change::Move { from, to, .. } if in_place => Held::InPlace { from, to, existing },
            Change::Copy { from, to, .. } if in_place && goes(&from) => Held::InPlace { from, to, existing },
            Change::Copy { .. } if contracted => return None,
            Change::Move { from, to, .. } | Change::Copy { from, to, .. } => {
                Held::Pair { old: from, new: to, truth, existing }
            }
            Change::Set { .. } if truth.is_new_alone() && stage == Stage::Expanded => return None,
            Change::Set { to, value, .. } => Held::Constant { to, value, existing },
            Change::Remove { path } if in_place || contracted => {
                Held::Gone { copies: skipping_copies(all, &path, strategy), path }
            }
            Change::Remove { .. } => return None,
        })
    }

    fn compare(&self, item: &Item, record: &OnRecord) -> (&Path, Verdict) {
        match self {
            Held::Pair { old, new, truth, existing } => {
                let was_there = record.was_there_before(new);
                match (old.get(item), new.get(item)) {
                    (Some(a), Some(b)) if a == b => (new, Verdict::Matching),
                    (Some(_), Some(b)) if existing.counts(record, new, b) => (new, Verdict::Skipped),
                    (Some(_), Some(_)) if *truth == Truth::Old => (new, Verdict::Stale),
                    (Some(_), Some(_)) => (old, Verdict::Stale),
                    (Some(_), None) if *truth == Truth::NewOnTheWayBack => (new, Verdict::Matching),
                    (Some(_), None) => (new, Verdict::Missing),
                    (None, Some(_)) if was_there && !truth.is_new_alone() => (new, Verdict::Matching),
                    (None, Some(_)) if *existing == Existing::Done => (new, Verdict::Matching),
                    (None, Some(_)) if *truth == Truth::Old => (new, Verdict::Unexpected),
                    (None, Some(_)) => (old, Verdict::Missing),
                    (None, None) => (new, Verdict::Matching),
                }
            }
            Held::InPlace { from, to, existing } => match (from.get(item), to.get(item)) {
                (Some(a), Some(b)) if a == b => (from, Verdict::Unexpected),
                (Some(_), Some(b)) if existing.counts(record, to, b) => (to, Verdict::Skipped),
                (Some(_), Some(_)) => (to, Verdict::Stale),
                (Some(_), None) => (to, Verdict::Missing),
                (None, _) => (to, Verdict::Matching),
            },
            Held::Constant { to, value, existing } => match to.get(item) {
                Some(there) if there == value => (to, Verdict::Matching),
                Some(there) if existing.counts(record, to, there) => (to, Verdict::Skipped),
                Some(_) => (to, Verdict::Stale),
                None => (to, Verdict::Missing),
            },
            Held::Gone { path, copies } => match path.get(item) {
                Some(old) if copies.iter().any(|copy| was_skipped(item, record, old, copy)) => (path, Verdict::Skipped),
                Some(_) => (path, Verdict::Unexpected),
                None => (path, Verdict::Matching),
            },
        }
    }
}

/// The copies of a path that the plan may skip.
fn skipping_copies(changes: &[Change], path: &Path, strategy: Strategy) -> Vec<(Path, Existing)> {
    let skipping = changes.iter().filter_map(|change| match change {
        Change::Copy { from, to, .. } if from == path && change.skips() => {
            Some((to.clone(), Existing::of(change, strategy)))
        }
        _ => None,
    });
    skipping.collect()
}

/// Whether what is at this copy of an old value counts as done, so that the old value is nowhere else.
pub(super) fn was_skipped(item: &Item, record: &OnRecord, old: &Value, (to, existing): &(Path, Existing)) -> bool {
    to.get(item).is_some_and(|there| there != old && existing.counts(record, to, there))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::Strategy::{ExpandContract, InPlace};
    use super::Verdict::{Matching, Missing, Skipped, Stale, Unexpected};
    use super::*;
    use crate::change::Digest;
    use crate::change::OnExisting::{Keep, Skip};
    use crate::item::item_from_json;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn mv() -> Change {
        Change::Move { from: path("a"), to: path("d.b"), on_existing: Keep }
    }

    fn copy() -> Change {
        Change::Copy { from: path("a"), to: path("d.b"), on_existing: Keep }
    }

    fn set() -> Change {
        Change::Set { to: path("schema"), value: Value::from_json(&json!({"N": "2"})).unwrap(), on_existing: Keep }
    }

    fn remove() -> Change {
        Change::Remove { path: path("junk") }
    }

    /// An image with these values at `a` and `d.b`.
    fn pair(old: Option<&str>, new: Option<&str>) -> Item {
        let mut item = json!({"pk": {"S": "1"}, "d": {"M": {}}});
        if let Some(old) = old {
            item["a"] = json!({"S": old});
        }
        if let Some(new) = new {
            item["d"]["M"]["b"] = json!({"S": new});
        }
        item_from_json(&item).unwrap()
    }

    /// The target had this value before the migration.
    fn there_before(value: &str) -> OnRecord {
        OnRecord::new([(path("d.b"), Digest::of(&Value::S(value.to_owned())))], [])
    }

    const PAIRS: [(Option<&str>, Option<&str>); 5] =
        [(None, None), (Some("1"), Some("1")), (Some("1"), Some("2")), (Some("1"), None), (None, Some("2"))];

    fn verdicts(change: Change, strategy: Strategy, stage: Stage, truth: Truth, before: bool) -> [Verdict; 5] {
        let parity = Parity::new(&[change], strategy, stage, truth);
        let record = if before { there_before("2") } else { OnRecord::default() };
        PAIRS.map(|(old, new)| parity.compare(&pair(old, new), &record).verdict)
    }

    #[test]
    fn the_table_of_pairs() {
        use Stage::{Contracted, Expanded};
        for (truth, expected) in [
            (Truth::Old, [Matching, Matching, Stale, Missing, Unexpected]),
            (Truth::NewThenOld, [Matching, Matching, Stale, Missing, Missing]),
            (Truth::New, [Matching, Matching, Stale, Missing, Missing]),
            (Truth::NewOnTheWayBack, [Matching, Matching, Stale, Matching, Missing]),
        ] {
            for change in [mv(), copy()] {
                assert_eq!(verdicts(change.clone(), ExpandContract, Expanded, truth, false), expected, "{truth:?}");
                // What was there before the migration matches without an old value, as long as that is not stale, and is
                // held against one as any other.
                let mut there_before = expected;
                there_before[4] = if truth.is_new_alone() { Missing } else { Matching };
                assert_eq!(verdicts(change, ExpandContract, Expanded, truth, true), there_before, "{truth:?}");
            }
        }
        let in_place = [Matching, Unexpected, Stale, Missing, Matching];
        assert_eq!(verdicts(mv(), InPlace, Expanded, Truth::Old, false), in_place);
        let in_place = [Matching, Matching, Stale, Missing, Unexpected];
        assert_eq!(verdicts(copy(), InPlace, Expanded, Truth::Old, false), in_place);
        let contracted = [Matching, Unexpected, Unexpected, Unexpected, Matching];
        assert_eq!(verdicts(mv(), ExpandContract, Contracted, Truth::New, false), contracted);
        assert_eq!(verdicts(copy(), ExpandContract, Contracted, Truth::New, false), [Matching; 5]);
    }

    /// Another value that counts as done, at every stage and on each side.
    #[test]
    fn what_skip_counts_as_done() {
        use Stage::{Contracted, Expanded};
        let skipping = |change: Change| change.with_existing(Skip);
        for truth in [Truth::Old, Truth::NewThenOld, Truth::New, Truth::NewOnTheWayBack] {
            for change in [mv(), copy()].map(skipping) {
                let at = |before| verdicts(change.clone(), ExpandContract, Expanded, truth, before)[2];
                assert_eq!((at(true), at(false)), (Skipped, Stale), "{truth:?}: only the one of before");
                // It is another one by now: a copy that became stale, or a write of an application.
                let parity = Parity::new(&[change], ExpandContract, Expanded, truth);
                assert_eq!(parity.compare(&pair(Some("1"), Some("3")), &there_before("2")).verdict, Stale);
            }
        }
        // In place nothing tells a copy from another value, and no reader moves.
        let in_place = [Matching, Unexpected, Skipped, Missing, Matching];
        assert_eq!(verdicts(skipping(mv()), InPlace, Expanded, Truth::Old, false), in_place);
        assert_eq!(verdicts(skipping(copy()), InPlace, Expanded, Truth::Old, false)[2], Skipped);
        // What contract leaves.
        let contracted = [Matching, Unexpected, Skipped, Unexpected, Matching];
        assert_eq!(verdicts(skipping(mv()), ExpandContract, Contracted, Truth::New, true), contracted);
        let item = |n: &str| item_from_json(&json!({"schema": {"N": n}})).unwrap();
        let constant = Parity::new(&[skipping(set())], ExpandContract, Expanded, Truth::Old);
        let verdict = |item: &Item| constant.compare(item, &OnRecord::default()).verdict;
        assert_eq!([verdict(&item("2")), verdict(&item("3")), verdict(&Item::new())], [Matching, Skipped, Missing]);
    }

    /// A copy whose source is removed with it is there alone afterwards, as after a move.
    #[test]
    fn a_copy_and_a_removal_in_place_are_a_move() {
        let [moved, copied] = [vec![mv()], vec![copy(), Change::Remove { path: path("a") }]].map(|changes| {
            let parity = Parity::new(&changes, InPlace, Stage::Expanded, Truth::Old);
            PAIRS.map(|(old, new)| parity.compare(&pair(old, new), &OnRecord::default()).verdict.is_mismatch())
        });
        assert_eq!(moved, copied);
        assert!(!copied[4], "the new value is there, and the old one is gone");
    }

    #[test]
    fn constants_and_removals() {
        let verdict = |change: Change, strategy, stage, image: Json| {
            let item = item_from_json(&image).unwrap();
            Parity::new(&[change], strategy, stage, Truth::Old).compare(&item, &OnRecord::default()).verdict
        };
        let expanded = |change, image| verdict(change, ExpandContract, Stage::Expanded, image);
        assert_eq!(expanded(set(), json!({"schema": {"N": "2.0"}})), Matching, "numbers are compared as numbers");
        assert_eq!(expanded(set(), json!({"schema": {"S": "2"}})), Stale);
        assert_eq!(expanded(set(), json!({})), Missing);
        assert_eq!(expanded(remove(), json!({"junk": {"S": "x"}})), Matching, "it waits for contract");
        assert_eq!(verdict(remove(), ExpandContract, Stage::Contracted, json!({"junk": {"S": "x"}})), Unexpected);
        assert_eq!(verdict(remove(), InPlace, Stage::Expanded, json!({"junk": {"S": "x"}})), Unexpected);
        assert_eq!(verdict(remove(), InPlace, Stage::Expanded, json!({})), Matching);
        assert!(Parity::new(&[remove()], ExpandContract, Stage::Expanded, Truth::Old).is_empty());
        assert!(
            Parity::new(&[set()], ExpandContract, Stage::Expanded, Truth::New).is_empty(),
            "it is the applications'"
        );
        assert!(!Parity::new(&[set()], ExpandContract, Stage::Expanded, Truth::NewThenOld).is_empty());
    }

    #[test]
    fn the_worst_change_counts_and_each_path_is_named() {
        let parity = Parity::new(&[mv(), set()], ExpandContract, Stage::Expanded, Truth::Old);
        let found = parity.compare(&pair(Some("1"), Some("2")), &OnRecord::default());
        assert_eq!(found.verdict, Stale);
        assert_eq!(found.paths, [(path("d.b"), Stale), (path("schema"), Missing)]);
        // The path is that of the side which is derived.
        let parity = Parity::new(&[mv()], ExpandContract, Stage::Expanded, Truth::New);
        assert_eq!(parity.compare(&pair(Some("1"), Some("2")), &OnRecord::default()).paths, [(path("a"), Stale)]);
        assert_eq!(parity.compare(&pair(None, Some("2")), &OnRecord::default()).paths, [(path("a"), Missing)]);
        // A parent of another type holds no value.
        let text = item_from_json(&json!({"a": {"S": "1"}, "d": {"S": "text"}})).unwrap();
        let parity = Parity::new(&[mv()], ExpandContract, Stage::Expanded, Truth::Old);
        assert_eq!(parity.compare(&text, &OnRecord::default()).verdict, Missing);
    }

    /// Each key is held against what its readers read: of one image, the missing value is on the other side.
    #[test]
    fn below_100_percent_keys_are_held_each_by_its_own_truth() {
        let parity = Parity::by_key(&[mv()], ExpandContract, Stage::Expanded, Truths::Percent(50), "pk");
        let (mut moved, mut others) = (0, 0);
        for n in 0..40 {
            let mut unequal = pair(Some("1"), Some("2"));
            unequal.insert("pk".into(), Value::S(n.to_string()));
            let derived = if Truths::Percent(50).at(unequal.get("pk")) == Truth::Old { "d.b" } else { "a" };
            assert_eq!(parity.compare(&unequal, &OnRecord::default()).paths, [(path(derived), Stale)]);
            *(if derived == "a" { &mut moved } else { &mut others }) += 1;
        }
        assert!(moved > 5 && others > 5, "{moved} and {others}");
    }
}
