//! What one item's image says of the plan: pure, from the image alone.
//!
//! A pair is what a `move` or a `copy` ties together: the value at its old path and the one at its new path. One side is the
//! [`Truth`], the other is derived from it:
//!
//! | old | new | truth: old | truth: new, then old | truth: new |
//! | --- | --- | --- | --- | --- |
//! | none | none | matching | matching | matching |
//! | a | a | matching | matching | matching |
//! | a | b | stale | stale | stale |
//! | a | none | missing | missing | unexpected (of a copy: missing) |
//! | none | b | unexpected, or matching if new was there before the migration | missing, or matching likewise | missing |
//!
//! What is missing under `truth: new` is the old value, which readers that go back would look for: also where the new one
//! was there before the migration, because an application may have written it since. A copy's source belongs
//! to the application as much as its target, so that it is never unexpected.
//!
//! After an in-place move nothing is left to hold the new value against: a source that is still there is missing at the
//! target, stale there, or, where both are equal, unexpected itself. After `contract` the same is left of a move: a source
//! that is still there is unexpected, whatever the target holds, and a copy's two sides have gone their own ways. What a
//! `remove` names is unexpected once its phase is over (`run` in place, else `contract`).
//!
//! A `set` is held against its constant (absent: missing; another value: stale), but not under `truth: new` before
//! `contract`: applications that write the new side alone may change a constant and insert items without it, which says
//! nothing of whether old values are fresh. A rollback waits for a verification that finds nothing.

use std::collections::BTreeSet;

use super::verdict::Verdict;
use crate::change::{Change, Strategy};
use crate::cutover::{Flag, ReadFrom, WriteTo};
use crate::item::{Item, Path, Value};

/// Which side of a pair the other one is derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Truth {
    /// The old value: `read = old`, and the old values are not stale. Also of every plan before its cutover.
    Old,
    /// The new value and, where there is none, the old one: `read = new` while both are written, when readers fall back.
    NewThenOld,
    /// The new value alone: `write = new`, or the old values are stale.
    New,
}

impl Truth {
    /// What a flag makes the truth.
    pub fn of(flag: &Flag) -> Truth {
        match (flag.read, flag.write) {
            _ if flag.old_stale => Truth::New,
            (_, WriteTo::New) => Truth::New,
            (ReadFrom::New, _) => Truth::NewThenOld,
            (ReadFrom::Old, _) => Truth::Old,
        }
    }

    /// The name in state files and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Truth::Old => "old",
            Truth::NewThenOld => "new_then_old",
            Truth::New => "new",
        }
    }

    /// Reads [`Truth::name`] back.
    pub fn from_name(name: &str) -> Option<Truth> {
        [Truth::Old, Truth::NewThenOld, Truth::New].into_iter().find(|truth| truth.name() == name)
    }
}

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
    Pair { old: Path, new: Path, truth: Truth, is_copy: bool },
    InPlace { from: Path, to: Path },
    Constant { to: Path, value: Value },
    Gone { path: Path },
}

impl Parity {
    /// What these changes imply at a stage. Plans that work in place have no later stage than the first.
    pub fn new(changes: &[Change], strategy: Strategy, stage: Stage, truth: Truth) -> Parity {
        Parity { held: changes.iter().filter_map(|change| Held::of(change, strategy, stage, truth)).collect() }
    }

    /// Whether nothing is implied of any item yet: every change waits for `contract`.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Holds an item against it. `before` names the targets that the item had before the migration.
    pub fn compare(&self, item: &Item, before: &BTreeSet<Path>) -> Comparison {
        let wrong =
            self.held.iter().map(|held| held.compare(item, before)).filter(|(_, verdict)| verdict.is_mismatch());
        let paths: Vec<(Path, Verdict)> = wrong.map(|(path, verdict)| (path.clone(), verdict)).collect();
        let verdict = paths.iter().map(|(_, verdict)| *verdict).max().unwrap_or(Verdict::Matching);
        Comparison { verdict, paths }
    }
}

impl Held {
    fn of(change: &Change, strategy: Strategy, stage: Stage, truth: Truth) -> Option<Held> {
        let in_place = strategy == Strategy::InPlace;
        let contracted = stage == Stage::Contracted && !in_place;
        Some(match change.clone() {
            Change::Move { from, .. } if contracted => Held::Gone { path: from },
            Change::Move { from, to } if in_place => Held::InPlace { from, to },
            Change::Move { from, to } => Held::Pair { old: from, new: to, truth, is_copy: false },
            Change::Copy { .. } if contracted => return None,
            Change::Copy { from, to } => Held::Pair { old: from, new: to, truth, is_copy: true },
            Change::Set { .. } if truth == Truth::New && stage == Stage::Expanded => return None,
            Change::Set { to, value } => Held::Constant { to, value },
            Change::Remove { path } if in_place || contracted => Held::Gone { path },
            Change::Remove { .. } => return None,
        })
    }

    fn compare(&self, item: &Item, before: &BTreeSet<Path>) -> (&Path, Verdict) {
        match self {
            Held::Pair { old, new, truth, is_copy } => {
                let was_there = before.contains(new);
                match (old.get(item), new.get(item)) {
                    (Some(a), Some(b)) if a == b => (new, Verdict::Matching),
                    (Some(_), Some(_)) if *truth == Truth::Old => (new, Verdict::Stale),
                    (Some(_), Some(_)) => (old, Verdict::Stale),
                    (Some(_), None) if *truth == Truth::New && !is_copy => (old, Verdict::Unexpected),
                    (Some(_), None) => (new, Verdict::Missing),
                    (None, Some(_)) if was_there && *truth != Truth::New => (new, Verdict::Matching),
                    (None, Some(_)) if *truth == Truth::Old => (new, Verdict::Unexpected),
                    (None, Some(_)) => (old, Verdict::Missing),
                    (None, None) => (new, Verdict::Matching),
                }
            }
            Held::InPlace { from, to } => match (from.get(item), to.get(item)) {
                (Some(a), Some(b)) if a == b => (from, Verdict::Unexpected),
                (Some(_), Some(_)) => (to, Verdict::Stale),
                (Some(_), None) => (to, Verdict::Missing),
                (None, _) => (to, Verdict::Matching),
            },
            Held::Constant { to, value } => match to.get(item) {
                Some(there) if there == value => (to, Verdict::Matching),
                Some(_) => (to, Verdict::Stale),
                None => (to, Verdict::Missing),
            },
            Held::Gone { path } => match path.get(item) {
                Some(_) => (path, Verdict::Unexpected),
                None => (path, Verdict::Matching),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::Strategy::{ExpandContract, InPlace};
    use super::Verdict::{Matching, Missing, Stale, Unexpected};
    use super::*;
    use crate::item::item_from_json;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn mv() -> Change {
        Change::Move { from: path("a"), to: path("d.b") }
    }

    fn copy() -> Change {
        Change::Copy { from: path("a"), to: path("d.b") }
    }

    fn set() -> Change {
        Change::Set { to: path("schema"), value: Value::from_json(&json!({"N": "2"})).unwrap() }
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

    const PAIRS: [(Option<&str>, Option<&str>); 5] =
        [(None, None), (Some("1"), Some("1")), (Some("1"), Some("2")), (Some("1"), None), (None, Some("2"))];

    fn verdicts(change: Change, strategy: Strategy, stage: Stage, truth: Truth, before: bool) -> [Verdict; 5] {
        let parity = Parity::new(&[change], strategy, stage, truth);
        let before = if before { BTreeSet::from([path("d.b")]) } else { BTreeSet::new() };
        PAIRS.map(|(old, new)| parity.compare(&pair(old, new), &before).verdict)
    }

    #[test]
    fn the_table_of_pairs() {
        use Stage::{Contracted, Expanded};
        for (truth, is_move, is_copy) in [
            (
                Truth::Old,
                [Matching, Matching, Stale, Missing, Unexpected],
                [Matching, Matching, Stale, Missing, Unexpected],
            ),
            (
                Truth::NewThenOld,
                [Matching, Matching, Stale, Missing, Missing],
                [Matching, Matching, Stale, Missing, Missing],
            ),
            (
                Truth::New,
                [Matching, Matching, Stale, Unexpected, Missing],
                [Matching, Matching, Stale, Missing, Missing],
            ),
        ] {
            assert_eq!(verdicts(mv(), ExpandContract, Expanded, truth, false), is_move, "{truth:?}");
            assert_eq!(verdicts(copy(), ExpandContract, Expanded, truth, false), is_copy, "{truth:?}");
            // What was there before the migration matches without an old value, as long as that is not stale, and is held
            // against one as any other.
            for (change, mut expected) in [(mv(), is_move), (copy(), is_copy)] {
                expected[4] = if truth == Truth::New { Missing } else { Matching };
                assert_eq!(verdicts(change, ExpandContract, Expanded, truth, true), expected, "{truth:?}");
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

    #[test]
    fn constants_and_removals() {
        let verdict = |change: Change, strategy, stage, image: Json| {
            let item = item_from_json(&image).unwrap();
            Parity::new(&[change], strategy, stage, Truth::Old).compare(&item, &BTreeSet::new()).verdict
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
        let found = parity.compare(&pair(Some("1"), Some("2")), &BTreeSet::new());
        assert_eq!(found.verdict, Stale);
        assert_eq!(found.paths, [(path("d.b"), Stale), (path("schema"), Missing)]);
        // The path is that of the side which is derived.
        let parity = Parity::new(&[mv()], ExpandContract, Stage::Expanded, Truth::New);
        assert_eq!(parity.compare(&pair(Some("1"), Some("2")), &BTreeSet::new()).paths, [(path("a"), Stale)]);
        assert_eq!(parity.compare(&pair(None, Some("2")), &BTreeSet::new()).paths, [(path("a"), Missing)]);
        // A parent of another type holds no value.
        let text = item_from_json(&json!({"a": {"S": "1"}, "d": {"S": "text"}})).unwrap();
        let parity = Parity::new(&[mv()], ExpandContract, Stage::Expanded, Truth::Old);
        assert_eq!(parity.compare(&text, &BTreeSet::new()).verdict, Missing);
    }

    #[test]
    fn the_flag_says_which_side_is_the_truth() {
        let flag = |write, read, old_stale| Flag {
            version: 1,
            write,
            read,
            read_percent: if read == ReadFrom::New { 100 } else { 0 },
            max_cache_seconds: 60,
            contracting: false,
            dual_since: None,
            new_since: None,
            old_stale,
            changed_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        };
        let of = |write, read, old_stale| Truth::of(&flag(write, read, old_stale));
        assert_eq!(of(WriteTo::Old, ReadFrom::Old, false), Truth::Old);
        assert_eq!(of(WriteTo::Both, ReadFrom::Old, false), Truth::Old);
        assert_eq!(of(WriteTo::Both, ReadFrom::New, false), Truth::NewThenOld);
        assert_eq!(of(WriteTo::New, ReadFrom::New, true), Truth::New);
        assert_eq!(of(WriteTo::Both, ReadFrom::New, true), Truth::New, "on the way back");
        assert_eq!(of(WriteTo::Both, ReadFrom::Old, true), Truth::New, "stale reads were accepted");
    }
}
