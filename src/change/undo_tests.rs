//! Contract and rollback held against the model of `UpdateItem`, with what a run puts on record.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use serde_json::json;

use super::OnExisting::{Keep, Overwrite};
use super::Strategy::{ExpandContract, InPlace};
use super::tests::{any_edits, any_item, any_plan, check, copy, decide, item, key, mv, path, remove, set, update};
use super::*;
use crate::item::{Item, item_to_json};
use crate::parity::{Repair, Truth};

/// An item and everything that is on record of it, as runs and live writers leave them.
#[derive(Debug, Clone)]
pub(super) struct Story {
    plan: Vec<Change>,
    strategy: Strategy,
    on_existing: OnExisting,
    pub(super) image: Item,
    there_before: Vec<(Path, Digest)>,
    /// Oldest first.
    pub(super) journal: Vec<(By, PreImage)>,
    passes: u32,
    /// Whether applications write both attributes when the first pass meets the item.
    pub(super) dual_writes: bool,
}

impl Story {
    pub(super) fn new(plan: &[Change], strategy: Strategy, on_existing: OnExisting, image: &Item) -> Story {
        let (plan, image) = (plan.to_vec(), image.clone());
        Story {
            plan,
            strategy,
            on_existing,
            image,
            there_before: vec![],
            journal: vec![],
            passes: 0,
            dual_writes: false,
        }
    }

    fn changes(&self) -> Changes {
        Changes::for_run(&self.plan, self.strategy, self.on_existing, key(), Vec::new())
    }

    /// One pass. With `killed`, its write is recorded and never sent.
    pub(super) fn run(&mut self, killed: bool) {
        let changes = self.changes();
        self.passes += 1;
        if self.passes == 1 {
            self.there_before = changes.meet(&self.image, self.dual_writes).there_before;
        }
        if let Decision::Write(write) = changes.decide(&self.image) {
            self.journal.extend(write.pre_images.iter().map(|pre| (By::Run, pre.clone())));
            if !killed {
                self.image = check(&write, &self.image);
            }
        }
    }

    /// `verify --repair` while old values are the truth.
    pub(super) fn repair(&mut self) -> Decision {
        let before = self.there_before.iter().map(|(path, _)| path.clone()).collect();
        let repair = Repair::new(&self.plan, self.strategy, Truth::Old, key(), Vec::new());
        let decided = repair.decide(&self.image, &before);
        if let Decision::Write(write) = &decided {
            self.journal.extend(write.pre_images.iter().map(|pre| (By::Repair, pre.clone())));
            self.image = check(write, &self.image);
        }
        decided
    }

    pub(super) fn edit(&mut self, edits: std::collections::BTreeMap<String, Option<Value>>) {
        for (name, value) in edits {
            match value {
                Some(value) => drop(self.image.insert(name, value)),
                None => drop(self.image.remove(&name)),
            }
        }
    }

    fn record(&self) -> OnRecord {
        OnRecord::new(self.there_before.iter().cloned(), self.journal.iter().rev().cloned())
    }

    fn rollback(&self) -> Changes {
        Changes::for_rollback(&self.plan, self.strategy, key(), Vec::new())
    }

    fn old_equal_new(&self) -> Changes {
        Changes::for_old_equal_new(&self.plan, self.strategy, key(), Vec::new())
    }

    fn contract(&self) -> Changes {
        Changes::for_contract(&self.plan, self.strategy, key(), Vec::new())
    }

    pub(super) fn undo(&mut self) -> Decision {
        self.apply(&self.rollback())
    }

    /// Makes this phase's changes, and gives what was decided.
    fn apply(&mut self, changes: &Changes) -> Decision {
        let decided = changes.decide_with(&self.image, &self.record());
        if let Decision::Write(write) = &decided {
            self.image = check(write, &self.image);
        }
        decided
    }
}

pub(super) fn text(image: &Item) -> String {
    item_to_json(image).to_string()
}

pub(super) fn moves() -> Vec<Change> {
    vec![mv("a", "b")]
}

/// Every value at a path of the plan that a write takes away is elsewhere: at a path that it wrote, on record, or in the
/// plan.
fn nothing_is_lost(plan: &[Change], write: &GuardedWrite, image: &Item, after: &Item) -> Result<(), String> {
    let paths = plan.iter().flat_map(|change| match change {
        Change::Move { from, to } | Change::Copy { from, to } => vec![from, to],
        Change::Set { to, .. } => vec![to],
        Change::Remove { path } => vec![path],
    });
    let paths: Vec<&Path> = paths.collect();
    for path in &paths {
        let Some(value) = path.get(image).filter(|value| path.get(after) != Some(value)) else { continue };
        let kept = paths.iter().any(|other| other.get(after) == Some(value))
            || write.pre_images.iter().any(|pre| pre.path == **path && pre.was == Was::Value(value.clone()))
            || plan.iter().any(|change| matches!(change, Change::Set { value: constant, .. } if constant == value));
        if !kept {
            return Err(format!("{} at `{path}` is gone", value.to_json()));
        }
    }
    Ok(())
}

/// Plans for ways back: every kind of change, alone and together, with nested paths and with missing parents.
pub(super) fn any_undone_plan() -> impl Generator<Value = Vec<Change>> {
    let more = proptest::sample::select(vec![
        vec![set("a", json!({"N": "1"}))],
        vec![remove("a.x"), mv("b.x", "b.y")],
        vec![mv("a", "b.x.y"), mv("c", "b.x.z"), set("b.v", json!({"S": "v"}))],
        vec![copy("a", "b"), copy("a", "c")],
        vec![mv("a.x.y", "b.x.y"), mv("a.x.z", "b.z")],
        vec![copy("a.x", "b.x"), remove("a.x"), set("b.y", json!({"S": ""}))],
    ]);
    prop_oneof![any_plan(), more]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// On a quiet table a rollback restores the item byte for byte, whatever the plan, after one pass or several, one of
    /// which may have been killed between journal and write; and then it has nothing more to do.
    #[test]
    fn a_rollback_restores_what_was(
        plan in any_undone_plan(), image in any_item(), in_place in any::<bool>(), overwrite in any::<bool>(),
        killed in any::<bool>(), passes in 1..3_u32,
    ) {
        let strategy = if in_place { InPlace } else { ExpandContract };
        let on_existing = if overwrite { Overwrite } else { Keep };
        let mut story = Story::new(&plan, strategy, on_existing, &image);
        if killed {
            story.run(true);
        }
        for _ in 0..passes {
            story.run(false);
        }
        let changed = text(&story.image) != text(&image);
        let decided = story.undo();
        prop_assert_eq!(matches!(decided, Decision::Write(_)), changed, "{:?}", decided);
        prop_assert_eq!(text(&story.image), text(&image), "{:?}", decided);
        let again = story.undo();
        prop_assert!(matches!(again, Decision::NothingToDo | Decision::AlreadyApplied), "{:?}", again);
    }

    /// Whatever live writers did before, between and after passes: no write of contract or of a rollback loses a value; what
    /// it leaves needs nothing more; it fits DynamoDB's expressions; and on an item that has changed meanwhile it fails as
    /// a condition, or does just what would be decided on the item as it is.
    #[test]
    fn every_way_back_is_guarded_complete_and_final(
        plan in any_undone_plan(), image in any_item(), edits in proptest::collection::vec(any_edits(), 0..3),
        races in any_edits(), in_place in any::<bool>(), overwrite in any::<bool>(), killed in any::<bool>(),
        phase in 0..3,
    ) {
        let strategy = if in_place { InPlace } else { ExpandContract };
        let on_existing = if overwrite { Overwrite } else { Keep };
        let mut story = Story::new(&plan, strategy, on_existing, &image);
        story.run(killed);
        for edit in edits {
            story.edit(edit);
            story.run(false);
        }
        story.edit(races.clone());
        let changes = [Story::rollback, Story::old_equal_new, Story::contract][phase as usize](&story);
        let (before, record) = (story.image.clone(), story.record());
        if let Decision::Write(write) = story.apply(&changes) {
            prop_assert_eq!(nothing_is_lost(&plan, &write, &before, &story.image), Ok(()));
            let again = story.apply(&changes);
            let stays = phase == 1 && matches!(again, Decision::Diverged(_));
            prop_assert!(
                stays || matches!(again, Decision::NothingToDo | Decision::AlreadyApplied),
                "not final: {:?} on {}", again, text(&story.image)
            );
            let (bound, rendered) = (crate::plan::expression_bound(&plan), render(&write));
            prop_assert!(rendered.update.len() <= bound.update_bytes, "{}", rendered.update);
            prop_assert!(rendered.condition.len() <= bound.condition_bytes, "{}", rendered.condition);
            let terms = rendered.condition.matches(" AND ").count() + 1;
            prop_assert!(write.actions.len() <= bound.update_operators && 2 * terms - 1 <= bound.condition_operators);
            let mut raced = Story { image: before, ..story.clone() };
            raced.edit(races);
            if let Some(after) = update(&write, Some(&raced.image)) {
                let expected = match changes.decide_with(&raced.image, &record) {
                    Decision::Write(now) => update(&now, Some(&raced.image)),
                    Decision::AlreadyApplied | Decision::NothingToDo => Some(raced.image),
                    Decision::Diverged(_) | Decision::Rejected(_) => None,
                };
                prop_assert_eq!(Some(after), expected, "the write does not fit the item as it has become");
            }
        }
    }

    /// A write of a way back holds everything that it read: with any value at one of the plan's paths changed, added or
    /// taken away, it fails.
    #[test]
    fn a_changed_input_fails_the_condition(
        image in any_item(), value in any_item(), in_place in any::<bool>(), name in "[ab]", phase in 0..3,
    ) {
        let strategy = if in_place { InPlace } else { ExpandContract };
        let mut story = Story::new(&moves(), strategy, Keep, &image);
        story.run(false);
        let changes = [Story::rollback, Story::old_equal_new, Story::contract][phase as usize](&story);
        let before = story.image.clone();
        if let Decision::Write(write) = story.apply(&changes) {
            let mut raced = before.clone();
            match value.get(&name) {
                Some(value) => drop(raced.insert(name.clone(), value.clone())),
                None => drop(raced.remove(&name)),
            }
            // The reverse of a move in place takes whatever value is there: it does not travel.
            let reverse = in_place && name == "b" && raced.contains_key("b");
            if raced != before && !reverse {
                prop_assert_eq!(update(&write, Some(&raced)), None);
            }
        }
    }
}

#[test]
fn contract_removes_what_has_a_copy() {
    let decide = |image: serde_json::Value| {
        Changes::for_contract(&[mv("a", "b"), copy("c", "d")], ExpandContract, key(), Vec::new()).decide(&item(image))
    };
    let Decision::Write(write) = decide(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}, "c": {"S": "y"}}))
    else {
        panic!()
    };
    assert_eq!(write.actions, [Action::Remove { path: path("a") }]);
    assert!(write.pre_images.is_empty() && render(&write).values.is_empty(), "no value travels");
    let Decision::Write(write) = decide(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "later"}})) else {
        panic!()
    };
    assert_eq!(write.pre_images, [PreImage::of(&path("a"), &Value::S("x".into()))]);
    assert!(write.conditions.contains(&Condition::Equals(path("b"), Value::S("later".into()))));
    let old_alone = decide(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    assert_eq!(old_alone, Decision::Diverged(vec![path("a")]), "an old value without a new one is kept");
    let nothing = decide(json!({"pk": {"S": "1"}, "b": {"S": "x"}, "c": {"S": "y"}, "d": {"S": "z"}}));
    assert_eq!(nothing, Decision::NothingToDo);
    assert!(Changes::for_contract(&moves(), InPlace, key(), Vec::new()).is_empty());
}

#[test]
fn contract_removes_what_the_plan_removes_and_keeps_it_on_record() {
    let plan = [copy("a", "b"), remove("a"), remove("c")];
    let contract = Changes::for_contract(&plan, ExpandContract, key(), Vec::new());
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "later"}, "c": {"S": "y"}}));
    let Decision::Write(write) = contract.decide(&image) else { panic!() };
    let x = |path: &str, value: &str| PreImage::of(&super::tests::path(path), &Value::S(value.into()));
    assert_eq!(write.pre_images, [x("a", "x"), x("c", "y")]);
    assert_eq!(text(&check(&write, &image)), text(&item(json!({"pk": {"S": "1"}, "b": {"S": "later"}}))));
    let uncopied = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    assert_eq!(contract.decide(&uncopied), Decision::Diverged(vec![path("a")]));
}

/// New-only writes of every kind, and the two phases of the way back behind them.
#[test]
fn a_rollback_behind_new_only_writes_takes_them_to_the_old_attribute() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let after = |new: Option<&str>, also: Option<&str>| {
        let mut story = Story::new(&moves(), ExpandContract, Keep, &image);
        story.run(false);
        story.edit([("b".to_owned(), new.map(|s| Value::S(s.into())))].into());
        story.edit(also.map(|name| (name.to_owned(), None)).into_iter().collect());
        let Decision::Write(write) = story.apply(&story.old_equal_new()) else { panic!() };
        let journaled: Vec<PreImage> = write.pre_images;
        (story, journaled)
    };
    let x = PreImage::of(&path("a"), &Value::S("x".into()));
    let (mut story, journaled) = after(Some("new"), None);
    assert_eq!(journaled, std::slice::from_ref(&x));
    assert_eq!(story.undo(), story_write(&story));
    assert_eq!(text(&story.image), text(&item(json!({"pk": {"S": "1"}, "a": {"S": "new"}}))));
    // Deleted under both, by an application that inserts it again.
    let (story, journaled) = after(Some("new"), Some("a"));
    assert!(journaled.is_empty());
    assert_eq!(story.image["a"], Value::S("new".into()));
}

/// What no pass has given a new value has its only one at the old path. It stays, and holds nothing else of the item up.
#[test]
fn a_rollback_behind_new_only_writes_leaves_an_old_value_that_is_alone() {
    let plan = [mv("a", "b"), copy("c", "d")];
    for plan in [&plan[..1], &plan[..]] {
        let alone = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
        let mut story = Story::new(plan, ExpandContract, Keep, &alone);
        assert_eq!(story.apply(&story.old_equal_new()), Decision::Diverged(vec![path("a")]), "it is told of");
        assert_eq!((story.undo(), text(&story.image)), (Decision::NothingToDo, text(&alone)));
    }
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "c": {"S": "y"}, "d": {"S": "later"}}));
    let mut story = Story::new(&plan, ExpandContract, Keep, &image);
    assert!(matches!(story.apply(&story.old_equal_new()), Decision::Write(_)));
    assert_eq!((&story.image["a"], &story.image["c"]), (&Value::S("x".into()), &Value::S("later".into())));
    let list = item(json!({"pk": {"S": "1"}, "l": {"L": [{"S": "x"}]}}));
    let mut story = Story::new(&[copy("l[0]", "b")], ExpandContract, Keep, &list);
    assert_eq!(story.apply(&story.old_equal_new()), Decision::Diverged(vec![path("l[0]")]));
}

/// Where the item's shape has no place any more for what would come back, somebody has changed it since.
#[test]
fn what_has_no_place_to_come_back_to_is_reported() {
    let doc = item(json!({"pk": {"S": "1"}, "d": {"M": {"x": {"S": "v"}}}}));
    let shapes = [json!({"S": "text"}), json!({"L": []})];
    for plan in [vec![remove("d.x")], vec![mv("d.x", "b")]] {
        for shape in &shapes {
            let mut story = Story::new(&plan, InPlace, Keep, &doc);
            story.run(false);
            story.edit([("d".to_owned(), Some(Value::from_json(shape).unwrap()))].into());
            let before = text(&story.image);
            assert_eq!(story.undo(), Decision::Diverged(vec![path("d.x")]), "{plan:?}");
            assert_eq!(text(&story.image), before);
        }
    }
}

/// What the tool has overwritten comes back over what the tool wrote, and over nothing else: not over what applications have
/// written to both since, nor over what another item of the same key has.
#[test]
fn what_was_overwritten_comes_back_only_over_what_the_tool_wrote() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "was there"}}));
    let mut story = Story::new(&moves(), ExpandContract, Overwrite, &image);
    story.run(false);
    let mut both = story.clone();
    let s = |text: &str| Some(Value::S(text.into()));
    both.edit([("a".to_owned(), s("y")), ("b".to_owned(), s("y"))].into());
    let before = text(&both.image);
    assert_eq!(both.undo(), Decision::Diverged(vec![path("b")]));
    assert_eq!(text(&both.image), before);
    // Nor where they come to be written between decision and write.
    let Decision::Write(write) = story.rollback().decide_with(&story.image, &story.record()) else { panic!() };
    assert_eq!(update(&write, Some(&both.image)), None);
    story.undo();
    assert_eq!(text(&story.image), text(&image));
}

/// What the last undo of a story that was written looks like, to say so in one line.
fn story_write(story: &Story) -> Decision {
    let mut before = story.clone();
    let new = before.image["a"].clone();
    before.image.insert("b".into(), new);
    before.undo()
}

#[test]
fn new_values_that_were_there_before_stay() {
    for (image, undone) in [
        (json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}}), "equal"),
        (json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "y"}}), "unequal"),
        (json!({"pk": {"S": "1"}, "b": {"S": "y"}}), "new alone"),
    ] {
        let mut story = Story::new(&moves(), ExpandContract, Keep, &item(image.clone()));
        story.run(false);
        story.run(false);
        assert_eq!(story.apply(&story.rollback()), Decision::NothingToDo, "{undone}");
        assert_eq!(text(&story.image), text(&item(image)));
    }
    // While applications write both, an equal pair is theirs.
    let changes = Changes::for_run(&moves(), ExpandContract, Keep, key(), Vec::new());
    let pair = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}}));
    assert_eq!(changes.meet(&pair, true), Met::default());
    assert_eq!(changes.meet(&pair, false).there_before, [(path("b"), Digest::of(&Value::S("x".into())))]);
    // What the application may have changed under the new name alone is made equal all the same, with an old value and
    // without one.
    let alone = item(json!({"pk": {"S": "1"}, "b": {"S": "x"}}));
    for (image, new) in [(&pair, "new"), (&alone, "new"), (&alone, "x")] {
        let mut story = Story::new(&moves(), ExpandContract, Keep, image);
        story.run(false);
        story.edit([("b".to_owned(), Some(Value::S(new.into())))].into());
        assert!(matches!(story.apply(&story.old_equal_new()), Decision::Write(_)));
        assert_eq!(story.image["a"], Value::S(new.into()));
        assert_eq!(story.undo(), Decision::NothingToDo, "the new one stays");
    }
}

#[test]
fn what_a_live_writer_has_changed_since_stays_and_is_reported() {
    let s = |text: &str| Some(Value::S(text.into()));
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"S": "x0"}, "c": {"S": "gone"}}));
    for (plan, strategy, name) in [
        (vec![set("b", json!({"S": "c"}))], ExpandContract, "b"),
        (vec![mv("a", "b")], ExpandContract, "b"),
        (vec![remove("c")], InPlace, "c"),
        (vec![mv("a", "b")], InPlace, "a"),
    ] {
        let mut story = Story::new(&plan, strategy, Overwrite, &image);
        story.run(false);
        story.edit([(name.to_owned(), s("live"))].into());
        let before = text(&story.image);
        assert!(matches!(story.undo(), Decision::Diverged(_)), "{plan:?}");
        assert_eq!(text(&story.image), before);
    }
}

#[test]
fn a_map_that_was_made_goes_when_nothing_else_is_in_it() {
    let plan = [mv("a", "b.x.y"), copy("c", "b.z")];
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "c": {"S": "w"}}));
    let mut story = Story::new(&plan, ExpandContract, Keep, &image);
    story.run(false);
    let mut live = story.clone();
    let Decision::Write(write) = story.undo() else { panic!() };
    assert_eq!(write.actions, [Action::Remove { path: path("b") }]);
    assert_eq!(text(&story.image), text(&image));
    // A live writer has put something beside it.
    assert!(path("b.x.live").set(&mut live.image, Value::Null));
    live.undo();
    let left =
        json!({"pk": {"S": "1"}, "a": {"S": "v"}, "c": {"S": "w"}, "b": {"M": {"x": {"M": {"live": {"NULL": true}}}}}});
    assert_eq!(text(&live.image), text(&item(left)));
    // A map that was there, though empty, stays.
    let with_map = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}, "b": {"M": {"x": {"M": {}}}}}));
    let mut story = Story::new(&plan, ExpandContract, Keep, &with_map);
    story.run(false);
    story.undo();
    assert_eq!(text(&story.image), text(&with_map));
    assert!(
        matches!(decide(&plan, ExpandContract, Keep, &with_map), Decision::Write(write) if write.pre_images.is_empty())
    );
}
