//! Tests several writes for one item, against the model of `UpdateItem`.

use std::collections::BTreeSet;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use serde_json::json;

use super::Strategy::{ExpandContract, InPlace};
use super::expression_size::ExpressionSize;
use super::tests::{
    all_with_on_existing, any_edits, any_item, any_on_existing, any_plan, check, copy, item, key, mv, path, set, update,
};
use super::*;
use crate::item::Item;
use crate::passes::verify::{Repair, Truth};

/// The passes of a migration whose items may need several writes, because the tests allow only few operators in a
/// condition.
struct Passes {
    plan: Vec<Change>,
    strategy: Strategy,
    operators: usize,
}

impl Passes {
    fn split(&self, changes: Changes) -> Changes {
        let mut changes = changes.with_split(&self.plan, self.strategy);
        changes.limits = ExpressionSize::LIMITS.with_operators(self.operators);
        changes
    }

    fn expand(&self) -> Changes {
        Changes::for_expand(&self.plan, self.strategy, key(), Vec::new())
    }

    fn undo(&self) -> Changes {
        Changes::for_undo(&self.plan, self.strategy, key(), Vec::new())
    }

    fn old_from_new(&self) -> Changes {
        Changes::for_old_from_new(&self.plan, self.strategy, key(), Vec::new())
    }

    fn contract(&self) -> Changes {
        Changes::for_contract(&self.plan, self.strategy, key(), Vec::new())
    }
}

/// Sends writes until none is left, or until `most` were sent. After each write, decides from the image that the engine
/// would have. Returns the item and the sent writes.
fn carry_out(changes: &Changes, image: &Item, history: &ItemHistory, most: usize) -> (Item, Vec<GuardedWrite>) {
    let mut image = image.clone();
    let mut sent = Vec::new();
    let mut decision = changes.decide_with(&image, history);
    while let Decision::Write(write) = decision {
        if sent.len() == most {
            break;
        }
        image = check(&write, &image);
        let next = write.next.clone();
        sent.push(write);
        let Some(next) = next else { break };
        // Nobody else writes, so the planned image is the item.
        assert_eq!(next.image, image);
        decision = changes.decide_with(&next.image, history);
        assert!(matches!(decision, Decision::Write(_)), "{decision:?}");
        assert!(sent.len() < 100, "it never ends");
    }
    (image, sent)
}

fn history_of(changes: &Changes, image: &Item, sent: &[GuardedWrite]) -> ItemHistory {
    let rows: Vec<_> = sent.iter().flat_map(|write| write.pre_images.clone()).collect();
    let rows = rows.into_iter().rev().map(|pre| (PreImageOrigin::Run, pre));
    ItemHistory::new(changes.baseline(image).preexisting, rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Several writes have the same effect as one write. A kill between two writes does no harm, and a repeated write
    /// changes nothing. A rollback gives the same result as after one write.
    #[test]
    fn several_writes_are_one(
        plan in any_plan(),
        in_place in any::<bool>(),
        on_existing in any_on_existing(),
        image in any_item(),
        operators in 1_usize..40,
        killed_after in 0_usize..4,
        edits in any_edits(),
    ) {
        let plan = all_with_on_existing(&plan, on_existing);
        let strategy = if in_place { InPlace } else { ExpandContract };
        let passes = Passes { plan, strategy, operators };
        let expand = passes.split(passes.expand());
        let none = ItemHistory::default();
        let (whole, one) = carry_out(&passes.expand(), &image, &none, 1);
        let (after, sent) = carry_out(&expand, &image, &none, 100);
        prop_assert_eq!(&after, &whole);
        prop_assert_eq!(one.is_empty(), sent.is_empty());
        if let Some(first) = sent.first() {
            prop_assert_eq!(&expand.all_writes(first.clone(), &none), &sent);
        }
        // A repeated write fails, or leaves the item unchanged.
        let mut now = image.clone();
        for write in &sent {
            now = check(write, &now);
            let again = update(write, Some(&now));
            prop_assert!(again.is_none() || again.as_ref() == Some(&now), "a repeated write changed the item");
        }
        let (killed, before_kill) = carry_out(&expand, &image, &none, killed_after);
        let (resumed, after_kill) = carry_out(&expand, &killed, &none, 100);
        prop_assert_eq!(&resumed, &whole);

        // The records alone show that an earlier process wrote a part, even if the next write was recorded but not
        // sent.
        let is_partly = |item: &Item, sent: &[GuardedWrite]| {
            let history = history_of(&expand, &image, sent);
            prop_assert!(expand.partly_written(item, &history, &ItemHistory::EMPTY).is_empty());
            Ok(!expand.partly_written(item, &history, &history).is_empty())
        };
        prop_assert_eq!(is_partly(&killed, &before_kill)?, (1..sent.len()).contains(&before_kill.len()));
        let recorded: Vec<GuardedWrite> = before_kill.iter().chain(after_kill.first()).cloned().collect();
        prop_assert_eq!(is_partly(&killed, &recorded)?, (1..sent.len()).contains(&before_kill.len()));
        prop_assert!(!is_partly(&resumed, &recorded)?);

        let history = history_of(&expand, &image, &one);
        let (back, _) = carry_out(&passes.undo(), &whole, &history, 1);
        let all: Vec<GuardedWrite> = before_kill.into_iter().chain(after_kill).collect();
        let history = history_of(&expand, &image, &all);
        let (split_back, _) = carry_out(&passes.split(passes.undo()), &resumed, &history, 100);
        prop_assert_eq!(&split_back, &back);

        let (contracted, _) = carry_out(&passes.contract(), &whole, &history, 1);
        let (split_contracted, _) = carry_out(&passes.split(passes.contract()), &whole, &history, 100);
        prop_assert_eq!(&split_contracted, &contracted);

        // Applications write only new values for a while.
        let mut edited = whole.clone();
        for (name, value) in edits {
            match value {
                Some(value) => drop(edited.insert(name, value)),
                None => drop(edited.remove(&name)),
            }
        }
        let (old, _) = carry_out(&passes.old_from_new(), &edited, &history, 1);
        let (split_old, _) = carry_out(&passes.split(passes.old_from_new()), &edited, &history, 100);
        prop_assert_eq!(&split_old, &old);
    }
}

fn attributes(count: usize, change: impl Fn(usize) -> Change) -> Vec<Change> {
    (0..count).map(change).collect()
}

fn wide_item(count: usize) -> Item {
    let mut wide = item(json!({"pk": {"S": "1"}}));
    wide.extend((0..count).map(|n| (format!("old{n}"), Value::S(format!("value {n}")))));
    wide
}

/// 144 moves and 144 constants take as few writes as the limits allow. The maximum size of a condition in bytes allows
/// 72 moves or 135 constants in one write.
#[test]
fn many_attributes_take_the_minimum_of_writes() {
    for (plan, image, writes) in [
        (attributes(144, |n| mv(&format!("old{n}"), &format!("new{n}"))), wide_item(144), 2),
        (attributes(144, |n| set(&format!("new{n}"), json!({"N": n.to_string()}))), wide_item(0), 2),
        (attributes(72, |n| mv(&format!("old{n}"), &format!("new{n}"))), wide_item(72), 1),
        // One write is enough for an item that needs only few of the changes.
        (attributes(144, |n| mv(&format!("old{n}"), &format!("new{n}"))), wide_item(20), 1),
    ] {
        for strategy in [ExpandContract, InPlace] {
            let passes = Passes { plan: plan.clone(), strategy, operators: MAX_OPERATORS };
            let (after, sent) = carry_out(&passes.split(passes.expand()), &image, &ItemHistory::default(), 100);
            assert_eq!(sent.len(), writes);
            assert!(sent.iter().all(is_within_limits));
            let changed: BTreeSet<&Path> =
                sent.iter().flat_map(|write| &write.actions).filter_map(Action::path).collect();
            assert_eq!(changed.len(), sent.iter().map(|write| write.actions.len()).sum::<usize>(), "written twice");
            let history = history_of(&passes.expand(), &image, &sent);
            let (back, undone) = carry_out(&passes.split(passes.undo()), &after, &history, 100);
            assert_eq!(back, image);
            assert!(undone.iter().all(is_within_limits));
        }
    }
}

/// A live writer changes a target that the second write has not yet changed. The second write fails, and the writer's
/// value stays.
#[test]
fn a_write_between_two_writes_is_noticed() {
    let plan = attributes(144, |n| mv(&format!("old{n}"), &format!("new{n}")));
    let passes = Passes { plan, strategy: ExpandContract, operators: MAX_OPERATORS };
    let expand = passes.split(passes.expand());
    let image = wide_item(144);
    let Decision::Write(first) = expand.decide(&image) else { panic!() };
    let Decision::Write(second) = expand.decide(&first.next.as_ref().unwrap().image) else { panic!() };
    let mut raced = check(&first, &image);
    raced.insert("new143".to_owned(), Value::S("theirs".to_owned()));
    assert_eq!(update(&second, Some(&raced)), None);
    assert_eq!(expand.decide(&raced), Decision::Diverged(vec![path("new143")]));
    // If a writer deletes the item, the second write must not create it again.
    assert_eq!(update(&second, None), None);
}

/// Both writes create members of a map that the item lacks. Undo removes the members and the map.
#[test]
fn several_writes_create_and_remove_a_map() {
    let plan = attributes(200, |n| mv(&format!("old{n}"), &format!("profile.new{n}")));
    for strategy in [ExpandContract, InPlace] {
        let passes = Passes { plan: plan.clone(), strategy, operators: MAX_OPERATORS };
        let image = wide_item(200);
        let (after, sent) = carry_out(&passes.split(passes.expand()), &image, &ItemHistory::default(), 100);
        assert!(sent.len() > 1 && sent.iter().all(is_within_limits));
        let Some(Value::M(profile)) = after.get("profile") else { panic!("{after:?}") };
        assert_eq!(profile.len(), 200);
        let history = history_of(&passes.expand(), &image, &sent);
        let (back, undone) = carry_out(&passes.split(passes.undo()), &after, &history, 100);
        assert_eq!(back, image);
        assert!(undone.len() > 1);
    }
}

/// Every write raises the version.
#[test]
fn each_write_raises_the_version() {
    let mut plan = attributes(144, |n| set(&format!("new{n}"), json!({"N": n.to_string()})));
    plan.push(Change::Bump { path: path("version") });
    let passes = Passes { plan, strategy: InPlace, operators: MAX_OPERATORS };
    let image = item(json!({"pk": {"S": "1"}, "version": {"N": "7"}}));
    let (after, sent) = carry_out(&passes.split(passes.expand()), &image, &ItemHistory::default(), 100);
    assert_eq!(sent.len(), 2);
    assert_eq!(after["version"].to_json(), json!({"N": "9"}));
}

#[test]
fn changes_that_share_a_path_stay_in_one_write() {
    let plan = [
        mv("a", "b"),
        copy("c", "d"),
        set("e", json!({"N": "1"})),
        copy("c", "f"),
        mv("m.x", "g"),
        set("m.y", json!({"N": "2"})),
        Change::Bump { path: path("version") },
    ];
    let groups = inseparable(&plan, &OptionsByTarget::default());
    assert_eq!(groups, [vec![0], vec![1, 3], vec![2], vec![4], vec![5]]);
}

/// A repair of many attributes also needs several writes. The condition of each write pins both values of each pair
/// that it writes.
#[test]
fn a_repair_gets_several_writes() {
    let plan = attributes(144, |n| mv(&format!("old{n}"), &format!("new{n}")));
    let repair = Repair::new(&plan, ExpandContract, Truth::Old, key(), Vec::new()).with_split(true);
    let mut image = wide_item(144);
    image.extend((0..144).map(|n| (format!("new{n}"), Value::S("stale".to_owned()))));
    let none = ItemHistory::default();
    let mut writes = 0;
    while let Decision::Write(write) = repair.decide(&image, &none) {
        assert!(is_within_limits(&write));
        for path in write.actions.iter().filter_map(Action::path) {
            let mut raced = image.clone();
            path.set(&mut raced, Value::S("theirs".to_owned()));
            assert_eq!(update(&write, Some(&raced)), None, "{path} is not pinned");
        }
        image = check(&write, &image);
        writes += 1;
        assert!(writes < 10);
    }
    assert_eq!(writes, 2);
    assert!((0..144).all(|n| image[&format!("new{n}")] == image[&format!("old{n}")]));
}

/// A repair derives the old value only if all copies are equal. Its write pins all copies, including those that it does
/// not read.
#[test]
fn a_repair_pins_everything_that_its_decision_depends_on() {
    let pair =
        |n: usize| [copy(&format!("old{n}"), &format!("first{n}")), copy(&format!("old{n}"), &format!("other{n}"))];
    let plan: Vec<Change> = (0..100).flat_map(pair).collect();
    let repair = Repair::new(&plan, ExpandContract, Truth::New, key(), Vec::new()).with_split(true);
    let mut image = wide_item(100);
    for name in ["first", "other"] {
        image.extend((0..100).map(|n| (format!("{name}{n}"), Value::S(format!("new {n}")))));
    }
    let none = ItemHistory::default();
    let mut writes = 0;
    while let Decision::Write(write) = repair.decide(&image, &none) {
        assert!(is_within_limits(&write));
        for path in write.actions.iter().filter_map(Action::path) {
            for copy in ["first", "other"] {
                let mut raced = image.clone();
                raced.insert(path.root().replace("old", copy), Value::S("theirs".to_owned()));
                assert_eq!(update(&write, Some(&raced)), None, "{copy} of {path} is not pinned");
            }
        }
        image = check(&write, &image);
        writes += 1;
        assert!(writes < 10);
    }
    // Each of the 100 old values needs three conditions. Two writes together can have fewer than 300 conditions, so a
    // third write is necessary.
    assert_eq!(writes, 3);
    assert!((0..100).all(|n| image[&format!("old{n}")] == image[&format!("other{n}")]));
}

/// If one write suffices only because other changes are already done, its condition tests those changes too, within the
/// limits of one write.
#[test]
fn the_last_write_tests_changes_that_are_done() {
    let plan = attributes(12, |n| mv(&format!("old{n}"), &format!("new{n}")));
    let passes = Passes { plan, strategy: ExpandContract, operators: 18 };
    let mut image = wide_item(12);
    image.extend((2..12).map(|n| (format!("new{n}"), Value::S(format!("value {n}")))));
    let Decision::Write(write) = passes.split(passes.expand()).decide(&image) else { panic!() };
    assert!(write.next.is_none());
    let own = write.conditions.iter().flat_map(Condition::paths);
    let done: BTreeSet<&str> =
        own.map(Path::root).filter(|name| !["pk", "old0", "new0", "old1", "new1"].contains(name)).collect();
    assert!(done.len() >= 4, "{:?}", write.conditions);
    assert!(ExpressionSize::of(&write.actions, &write.conditions).fits(ExpressionSize::LIMITS.with_operators(18)));
}

/// The item fits in 400 KB after all writes, so it must also fit between two of them. The write that shrinks the item
/// therefore comes first.
#[test]
fn a_write_that_makes_room_comes_first() {
    let big = |kilobytes: usize| Value::S("x".repeat(kilobytes * 1024));
    let add = Change::Set { to: path("added"), value: big(300), on_existing: OnExisting::Keep };
    let plan = vec![add, Change::Remove { path: path("junk") }];
    let passes = Passes { plan, strategy: InPlace, operators: 5 };
    let mut image = wide_item(0);
    image.insert("junk".to_owned(), big(200));
    let (after, sent) = carry_out(&passes.split(passes.expand()), &image, &ItemHistory::default(), 10);
    assert_eq!(sent.len(), 2);
    assert!(after.contains_key("added") && !after.contains_key("junk"));
}

/// Before the first write, the tool decides about all further writes. If a further write breaks a rule, no write is
/// sent.
#[test]
fn no_write_is_sent_if_a_later_one_is_impossible() {
    let long = Value::S("x".repeat(crate::item::MAX_ITEM_BYTES - 20));
    let set_long = Change::Set { to: path("b"), value: long, on_existing: OnExisting::Keep };
    let plan = vec![set_long, Change::Remove { path: path("junk") }];
    let passes = Passes { plan, strategy: InPlace, operators: 5 };
    let mut image = wide_item(0);
    image.insert("junk".to_owned(), Value::S("old".to_owned()));
    let decision = passes.split(passes.expand()).decide(&image);
    assert!(matches!(&decision, Decision::Refused(_, Rule::UpdateSize)), "{decision:?}");
}
