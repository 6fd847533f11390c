//! Tests contract and rollback against the model of `UpdateItem`, with the history that a run records.

mod cases;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use serde_json::json;

use super::OnExisting::{Keep, Overwrite, Skip};
use super::Strategy::{ExpandContract, InPlace};
use super::tests::{
    all_with_on_existing, any_edits, any_item, any_on_existing, any_plan, check, copy, decide, item, key, mv, path,
    remove, replace, set, targets, update,
};
use super::*;
use crate::expr::Facts;
use crate::item::{Item, item_to_json};
use crate::passes::verify::{Parity, Repair, TableStage, Truth};

/// An item and its recorded history. Tests change the item and its history as runs and live writers would.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    plan: Vec<Change>,
    strategy: Strategy,
    pub(super) image: Item,
    preexisting: Vec<(Path, Digest)>,
    /// The journal entries, oldest first.
    pub(super) journal: Vec<(PreImageOrigin, PreImage)>,
    passes: u32,
    /// Whether applications write both attributes when the first pass reads the item.
    pub(super) dual_writes: bool,
}

impl Scenario {
    pub(super) fn new(plan: &[Change], strategy: Strategy, on_existing: OnExisting, image: &Item) -> Scenario {
        let plan = all_with_on_existing(plan, on_existing);
        let image = image.clone();
        Scenario { plan, strategy, image, preexisting: vec![], journal: vec![], passes: 0, dual_writes: false }
    }

    fn changes(&self) -> Changes {
        Changes::for_expand(&self.plan, self.strategy, key(), Vec::new())
    }

    /// Runs one pass. With `killed`, the pass records its write but never sends it.
    pub(super) fn run(&mut self, killed: bool) {
        let changes = self.changes();
        self.passes += 1;
        if self.passes == 1 {
            self.preexisting = changes.clone().with_dual_writes(self.dual_writes).baseline(&self.image).preexisting;
        }
        if let Decision::Write(write) = changes.decide(&self.image) {
            self.journal.extend(write.pre_images.iter().map(|pre| (PreImageOrigin::Run, pre.clone())));
            if !killed {
                self.image = check(&write, &self.image);
            }
        }
    }

    /// Runs `verify --repair` while old values are the truth.
    pub(super) fn repair(&mut self) -> Decision {
        self.repair_under(Truth::Old)
    }

    fn repair_under(&mut self, truth: Truth) -> Decision {
        let repair = Repair::new(&self.plan, self.strategy, truth, key(), Vec::new()).with_removals();
        let decision = repair.decide(&self.image, &self.history());
        if let Decision::Write(write) = &decision {
            self.journal.extend(write.pre_images.iter().map(|pre| (PreImageOrigin::Repair, pre.clone())));
            self.image = check(write, &self.image);
        }
        decision
    }

    pub(super) fn edit(&mut self, edits: std::collections::BTreeMap<String, Option<Value>>) {
        for (name, value) in edits {
            match value {
                Some(value) => drop(self.image.insert(name, value)),
                None => drop(self.image.remove(&name)),
            }
        }
    }

    fn history(&self) -> ItemHistory {
        ItemHistory::new(self.preexisting.iter().cloned(), self.journal.iter().rev().cloned())
    }

    fn rollback(&self) -> Changes {
        Changes::for_undo(&self.plan, self.strategy, key(), Vec::new())
    }

    fn old_from_new(&self) -> Changes {
        Changes::for_old_from_new(&self.plan, self.strategy, key(), Vec::new())
    }

    fn contract(&self) -> Changes {
        Changes::for_contract(&self.plan, self.strategy, key(), Vec::new())
    }

    /// Returns what a rollback notes about this image if it does not write the item.
    pub(super) fn notes(&self, image: &Item) -> Vec<PreImage> {
        self.rollback().notes_without_write(image, &self.history())
    }

    pub(super) fn undo(&mut self) -> Decision {
        self.apply(&self.rollback())
    }

    /// Applies this phase's changes and returns the decision.
    fn apply(&mut self, changes: &Changes) -> Decision {
        let decision = changes.decide_with(&self.image, &self.history());
        if let Decision::Write(write) = &decision {
            self.image = check(write, &self.image);
        }
        decision
    }
}

pub(super) fn text(image: &Item) -> String {
    item_to_json(image).to_string()
}

pub(super) fn moves() -> Vec<Change> {
    vec![mv("a", "b")]
}

/// Checks that a write loses no value at a path of the plan. If the write removes a value, the value must still exist
/// in one of these places: a path that the write set, the journal, or the plan. Otherwise, the plan must be able to
/// compute the value from the item.
fn check_no_value_is_lost(plan: &[Change], write: &GuardedWrite, image: &Item, after: &Item) -> Result<(), String> {
    let paths = plan.iter().flat_map(|change| {
        let paths = change.paths();
        paths.reads.into_iter().chain(paths.writes).chain(paths.removes)
    });
    let paths: Vec<&Path> = paths.collect();
    for path in &paths {
        let Some(value) = path.get(image).filter(|value| path.get(after) != Some(value)) else { continue };
        let is_preserved = paths.iter().any(|other| other.get(after) == Some(value))
            || write.pre_images.iter().any(|pre| pre.path == **path && pre.prior == PriorValue::Value(value.clone()))
            || plan.iter().any(|change| matches!(change, Change::Set { value: constant, .. } if constant == value))
            || plan.iter().filter_map(Source::of_change).any(|(source, to)| {
                to == *path && source.derivation.is_some() && source.implies(after, &Facts::default(), value)
            });
        if !is_preserved {
            return Err(format!("{} at `{path}` is lost", value.to_json()));
        }
    }
    Ok(())
}

/// Generates plans for rollback tests: every kind of change, separately and combined, with nested paths and missing
/// parents.
pub(super) fn any_rollback_plan() -> impl Generator<Value = Vec<Change>> {
    let more = proptest::sample::select(vec![
        vec![set("a", json!({"N": "1"}))],
        vec![remove("a.x"), mv("b.x", "b.y")],
        vec![mv("a", "b.x.y"), mv("c", "b.x.z"), set("b.v", json!({"S": "v"}))],
        vec![copy("a", "b"), copy("a", "c")],
        vec![mv("a.x.y", "b.x.y"), mv("a.x.z", "b.z")],
        vec![copy("a.x", "b.x"), remove("a.x"), set("b.y", json!({"S": ""}))],
        vec![replace("a", "b", "[item.a]", Some("item.b[0]"))],
        vec![replace("a.x", "b.y", "[item.a.x]", None), set("c", json!({"N": "1"}))],
        vec![replace("a", "b", "[item.a, item.c]", Some("item.b[0]")), mv("d", "e")],
    ]);
    prop_oneof![any_plan(), more]
}

/// Returns the strategy of a plan. A plan that replaces attributes cannot be in place.
pub(super) fn strategy(plan: &[Change], in_place: bool) -> Strategy {
    let replaces = plan.iter().any(|change| matches!(change, Change::Compute { replaces: Some(_), .. }));
    if in_place && !replaces { InPlace } else { ExpandContract }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// If nobody else writes to the table, a rollback restores the item byte for byte. This is true for every plan and
    /// after one or more passes, even if one pass was killed between its journal entry and its write. A second rollback
    /// has nothing to do.
    #[test]
    fn a_rollback_restores_the_item(
        plan in any_rollback_plan(), image in any_item(), in_place in any::<bool>(), on_existing in any_on_existing(),
        killed in any::<bool>(), passes in 1..3_u32,
    ) {
        let strategy = strategy(&plan, in_place);
        let mut scenario = Scenario::new(&plan, strategy, on_existing, &image);
        if killed {
            scenario.run(true);
        }
        for _ in 0..passes {
            scenario.run(false);
        }
        let changed = text(&scenario.image) != text(&image);
        let decision = scenario.undo();
        prop_assert_eq!(matches!(decision, Decision::Write(_)), changed, "{:?}", decision);
        prop_assert_eq!(text(&scenario.image), text(&image), "{:?}", decision);
        let again = scenario.undo();
        prop_assert!(matches!(again, Decision::NothingToDo | Decision::AlreadyApplied), "{:?}", again);
    }

    /// Writes of `contract` and of rollbacks never lose a value, no matter what live writers do before, between and
    /// after passes. After the write, the item needs no further write. The write stays within DynamoDB's limits for
    /// expressions. If the item has changed meanwhile, either the condition of the write fails, or the write has the
    /// same effect as a write that is planned from the current item.
    #[test]
    fn every_reverse_write_is_guarded_complete_and_final(
        plan in any_rollback_plan(), image in any_item(), edits in proptest::collection::vec(any_edits(), 0..3),
        races in any_edits(), in_place in any::<bool>(), on_existing in any_on_existing(), killed in any::<bool>(),
        phase in 0..3,
    ) {
        let strategy = strategy(&plan, in_place);
        let mut scenario = Scenario::new(&plan, strategy, on_existing, &image);
        scenario.run(killed);
        for edit in edits {
            scenario.edit(edit);
            scenario.run(false);
        }
        scenario.edit(races.clone());
        let changes = [Scenario::rollback, Scenario::old_from_new, Scenario::contract][phase as usize](&scenario);
        let before = scenario.image.clone();
        let history = scenario.history();
        if let Decision::Write(write) = scenario.apply(&changes) {
            prop_assert_eq!(check_no_value_is_lost(&plan, &write, &before, &scenario.image), Ok(()));
            let again = scenario.apply(&changes);
            let stays = phase == 1 && matches!(again, Decision::Diverged(_));
            prop_assert!(
                stays || matches!(again, Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_)),
                "not final: {:?} on {}", again, text(&scenario.image)
            );
            let bound = crate::plan::expression_bound(&plan, None, &Default::default());
            let rendered = render(&write);
            prop_assert!(rendered.update.len() <= bound.update_bytes, "{}", rendered.update);
            prop_assert!(rendered.condition.len() <= bound.condition_bytes, "{}", rendered.condition);
            let terms = rendered.condition.matches(" AND ").count() + 1;
            prop_assert!(write.actions.len() <= bound.update_operators && 2 * terms - 1 <= bound.condition_operators);
            let mut raced = Scenario { image: before, ..scenario.clone() };
            raced.edit(races);
            if let Some(after) = update(&write, Some(&raced.image)) {
                let expected = match changes.decide_with(&raced.image, &history) {
                    Decision::Write(now) => update(&now, Some(&raced.image)),
                    Decision::AlreadyApplied | Decision::NothingToDo | Decision::Skipped(_) => Some(raced.image),
                    Decision::Diverged(_)
                    | Decision::Rejected(_)
                    | Decision::NotComputable(_)
                    | Decision::NeedsAnswers(..)
                    | Decision::Refused(..) => None,
                };
                prop_assert_eq!(Some(after), expected, "the write does not match the current item");
            }
        }
    }

    /// After a run, every item passes verification, unless the run itself reported the item. This is true for each
    /// strategy and each `on_existing`.
    #[test]
    fn items_pass_verification_after_a_run(
        plan in any_rollback_plan(), image in any_item(), in_place in any::<bool>(), on_existing in any_on_existing(),
        passes in 1..3_u32,
    ) {
        let strategy = strategy(&plan, in_place);
        let mut scenario = Scenario::new(&plan, strategy, on_existing, &image);
        (0..passes).for_each(|_| scenario.run(false));
        let left = scenario.changes().decide(&scenario.image);
        let parity = Parity::new(&scenario.plan, strategy, TableStage::Expanded, Truth::Old);
        let found = parity.compare(&scenario.image, &scenario.history());
        let reported = matches!(
            left,
            Decision::Diverged(_) | Decision::Rejected(_) | Decision::Refused(..) | Decision::NotComputable(_)
        );
        prop_assert!(reported || !found.verdict.is_mismatch(), "{:?} on {}", found, text(&scenario.image));
    }

    /// With `skip`, every phase leaves a preexisting target value unchanged. If the preexisting value differs from the
    /// old value, every phase leaves the old value unchanged too. This is true for a run, for a repair (with either
    /// attribute as the truth), and for old-from-new, contract and rollback, in any order.
    #[test]
    fn with_skip_no_phase_touches_an_existing_value(
        plan in any_rollback_plan(), image in any_item(), in_place in any::<bool>(),
        phases in proptest::collection::vec(0..8_usize, 1..6),
    ) {
        let strategy = strategy(&plan, in_place);
        let mut scenario = Scenario::new(&plan, strategy, Skip, &image);
        scenario.run(false);
        let truths = [Truth::Old, Truth::NewThenOld, Truth::New, Truth::NewDuringRollback];
        for phase in phases {
            match phase {
                0 => scenario.run(false),
                1 => drop(scenario.apply(&scenario.old_from_new())),
                2 => drop(scenario.apply(&scenario.contract())),
                3 => drop(scenario.undo()),
                more => drop(scenario.repair_under(if strategy == InPlace { Truth::Old } else { truths[more - 4] })),
            }
            for to in targets(&plan) {
                let existing = to.get(&image);
                prop_assert!(existing.is_none() || to.get(&scenario.image) == existing, "{phase} changed `{to}`");
            }
            for change in &plan {
                let Some((source, to)) = Source::of_change(change) else { continue };
                let from = &source.path;
                if let (Some(old), Some(new)) = (from.get(&image), to.get(&image))
                    && !source.implies(&image, &Facts::default(), new)
                {
                    prop_assert_eq!(from.get(&scenario.image), Some(old), "{} changed `{}`", phase, from);
                }
            }
        }
    }

    /// A rollback's write condition pins every value that the rollback read. The write fails if a value at one of the
    /// plan's paths is changed, added or removed.
    #[test]
    fn a_changed_input_fails_the_condition(
        image in any_item(), value in any_item(), in_place in any::<bool>(), name in "[ab]", phase in 0..3,
    ) {
        let strategy = if in_place { InPlace } else { ExpandContract };
        let mut scenario = Scenario::new(&moves(), strategy, Keep, &image);
        scenario.run(false);
        let changes = [Scenario::rollback, Scenario::old_from_new, Scenario::contract][phase as usize](&scenario);
        let before = scenario.image.clone();
        if let Decision::Write(write) = scenario.apply(&changes) {
            let mut raced = before.clone();
            match value.get(&name) {
                Some(value) => drop(raced.insert(name.clone(), value.clone())),
                None => drop(raced.remove(&name)),
            }
            // To undo an in-place move, DynamoDB copies the current value, so the write accepts any value.
            let reverse = in_place && name == "b" && raced.contains_key("b");
            if raced != before && !reverse {
                prop_assert_eq!(update(&write, Some(&raced)), None);
            }
        }
    }
}

/// A run wrote the constant, an application replaced it, and a repair wrote the constant again. The rollback restores
/// the state before the migration. A note in the journal shows that the application's value is not restored.
#[test]
fn an_undo_notes_a_value_of_an_application_that_a_repair_replaced() {
    let value = |text: &str| Value::S(text.to_owned());
    let plan = [set("tier", json!({"S": "free"}))];
    let undo = Changes::for_undo(&plan, ExpandContract, key(), Vec::new());
    let tier = path("tier");
    let history = |rows: Vec<(PreImageOrigin, PreImage)>| ItemHistory::new([], rows);
    let run = || (PreImageOrigin::Run, PreImage::without_value(&tier));
    let repair = |text: &str| (PreImageOrigin::Repair, PreImage::with_value(&tier, &value(text)));
    let image = item(json!({"pk": {"S": "k"}, "tier": {"S": "free"}}));
    let notes = |rows: Vec<(PreImageOrigin, PreImage)>| match undo.decide_with(&image, &history(rows)) {
        Decision::Write(write) => write.pre_images.iter().filter_map(PreImage::leftover).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    // The newest row comes first.
    assert_eq!(notes(vec![repair("gold"), run()]), [Leftover::RepairedOver]);
    assert_eq!(notes(vec![run()]), [], "nothing was repaired");
    // No run wrote the item, so the rollback restores what the repair replaced.
    assert_eq!(notes(vec![repair("gold")]), []);
    // The run had also replaced the value that the repair replaced, so the rollback restores this value.
    let replaced = (PreImageOrigin::Run, PreImage::with_value(&tier, &value("gold")));
    assert_eq!(notes(vec![repair("gold"), replaced.clone()]), []);
    assert_eq!(notes(vec![repair("silver"), replaced]), [Leftover::RepairedOver]);
    // The repair replaced a value that the migration itself had written, so no application loses a value.
    let own = (PreImageOrigin::Run, PreImage::without_value(&tier).with_written_value(&value("old")));
    assert_eq!(notes(vec![repair("old"), own]), []);
}

/// A repair replaced the application's value. Later, the application wrote another value, or removed the attribute. The
/// rollback does not write the item, and still notes the value that the repair replaced.
#[test]
fn an_undo_without_a_write_notes_a_value_that_a_repair_replaced() {
    let value = |text: &str| Value::S(text.to_owned());
    let plan = [set("tier", json!({"S": "free"}))];
    let undo = Changes::for_undo(&plan, ExpandContract, key(), Vec::new());
    let tier = path("tier");
    let run = (PreImageOrigin::Run, PreImage::without_value(&tier));
    let repair = (PreImageOrigin::Repair, PreImage::with_value(&tier, &value("gold")));
    let history = ItemHistory::new([], [repair, run.clone()]);
    let unrepaired = ItemHistory::new([], [run]);
    for (now, decision) in [
        (json!({"pk": {"S": "k"}, "tier": {"S": "silver"}}), Decision::Diverged(vec![tier.clone()])),
        (json!({"pk": {"S": "k"}}), Decision::AlreadyApplied),
    ] {
        let image = item(now);
        assert_eq!(undo.decide_with(&image, &history), decision);
        let notes = undo.notes_without_write(&image, &history);
        assert_eq!(notes, [PreImage::with_leftover(&tier, Leftover::RepairedOver)]);
        assert_eq!(undo.notes_without_write(&image, &unrepaired), []);
    }
    // No run wrote the item, so a later attempt can still restore the value that the repair replaced.
    let restorable = ItemHistory::new([], [(PreImageOrigin::Repair, PreImage::with_value(&tier, &value("gold")))]);
    let silver = item(json!({"pk": {"S": "k"}, "tier": {"S": "silver"}}));
    assert_eq!(undo.decide_with(&silver, &restorable), Decision::Diverged(vec![tier.clone()]));
    assert_eq!(undo.notes_without_write(&silver, &restorable), []);
    // The application wrote the same value again.
    let gold = item(json!({"pk": {"S": "k"}, "tier": {"S": "gold"}}));
    assert_eq!(undo.notes_without_write(&gold, &history), []);
    let expand = Changes::for_expand(&plan, ExpandContract, key(), Vec::new());
    assert_eq!(expand.notes_without_write(&item(json!({"pk": {"S": "k"}})), &history), []);
}
