//! Tests `exec` with `deterministic = true` against the model of `UpdateItem`. A function replaces the program.

use std::cell::Cell;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::strategy::{Just, Strategy as Generator};
use serde_json::json;

use super::computed_tests::history_of;
use super::tests::{check, item, key, path, update};
use super::*;
use crate::item::{Item, Num};
use crate::passes::verify::{Parity, TableStage, Truth};
use crate::plan::{Plan, load};
use crate::state::Verdict;

fn plan(rest: &str) -> Plan {
    let text = format!(
        "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n[[change]]\nexec = [\"p\"]\n\
         inputs = [\"a\", \"b\"]\noutputs = [\"x\", \"y\"]\ndeterministic = true\n{rest}"
    );
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

fn expand(plan: &Plan) -> Changes {
    Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn undo(plan: &Plan) -> Changes {
    Changes::for_undo(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

/// The program's answer: `x` contains the names of the inputs, and `y` is the number of inputs.
fn program(inputs: &Item) -> Item {
    let names: Vec<String> = inputs.iter().map(|(name, value)| format!("{name}={}", value.to_json())).collect();
    let count = Value::N(Num::parse(&inputs.len().to_string()).unwrap());
    Item::from([("x".to_owned(), Value::S(names.join(","))), ("y".to_owned(), count)])
}

fn answers_to(questions: Vec<ProgramQuestion>, answer: impl Fn(&Item) -> ProgramAnswer) -> ProgramAnswers {
    let mut answers = ProgramAnswers::default();
    for question in questions {
        let answered = answer(&question.inputs);
        answers.add(question, answered);
    }
    answers
}

/// Decides, asks the program, and decides again, as `engine/decisions.rs` does.
fn decide(changes: &Changes, image: &Item, answer: impl Fn(&Item) -> ProgramAnswer) -> Decision {
    match changes.decide(image) {
        Decision::NeedsAnswers(questions, _) => {
            changes.decide_answered(image, &ItemHistory::default(), &answers_to(questions, answer))
        }
        decided => decided,
    }
}

fn verdict(plan: &Plan, image: &Item, record: &ItemHistory, answer: impl Fn(&Item) -> ProgramAnswer) -> Verdict {
    let parity =
        Parity::new(&plan.changes, plan.strategy, TableStage::Expanded, Truth::Old).with_rules(plan.item_rules());
    let answers = answers_to(parity.questions(image, record), answer);
    let found = parity.compare_answered(image, record, &answers);
    let first = parity.compare_without_history(image);
    assert!(first.verdict.is_mismatch() || !found.verdict.is_mismatch(), "the first comparison must suspect {image:?}");
    found.verdict
}

fn right(inputs: &Item) -> ProgramAnswer {
    Ok(program(inputs))
}

#[test]
fn the_answer_shows_that_an_item_is_done() {
    let plan = plan("");
    let changes = expand(&plan);
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let Decision::Write(write) = decide(&changes, &image, right) else { panic!() };
    let after = update(&write, Some(&image)).unwrap();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["a", "pk", "x", "y"], "there is no marker");
    let Decision::NeedsAnswers(questions, least) = changes.decide(&after) else { panic!() };
    assert!(questions.len() == 1 && questions[0].compares && least.actions.is_empty());
    assert_eq!(decide(&changes, &after, right), Decision::AlreadyApplied);
    assert_eq!(verdict(&plan, &after, &history_of(&write), right), Verdict::Matching);
    // One output is missing. The write fills it and pins the other output.
    let mut part = after.clone();
    part.remove("y");
    let Decision::Write(filled) = decide(&changes, &part, right) else { panic!() };
    assert_eq!(update(&filled, Some(&part)), Some(after.clone()));
    assert_eq!(update(&filled, Some(&after)), None);
    assert_eq!(verdict(&plan, &part, &history_of(&write), right), Verdict::Missing);
    // The inputs are gone.
    let mut gone = after.clone();
    gone.remove("a");
    assert_eq!(changes.decide(&gone), Decision::NothingToDo);
    assert_eq!(verdict(&plan, &gone, &history_of(&write), right), Verdict::Unexpected);
    assert_eq!(verdict(&plan, &gone, &ItemHistory::default(), right), Verdict::Matching);
}

/// An application has rewritten one output, and the item has left the selection. The other output still has the value
/// of the migration.
#[test]
fn each_output_of_the_migration_is_compared() {
    let plan = plan("where = 'type(item.s) == \"S\" && item.s == \"yes\"'\n");
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "s": {"S": "yes"}}));
    let Decision::Write(write) = decide(&expand(&plan), &image, right) else { panic!() };
    let record = history_of(&write);
    let mut left = update(&write, Some(&image)).unwrap();
    left.insert("s".to_owned(), Value::S("no".to_owned()));
    left.insert("b".to_owned(), Value::S("x".to_owned()));
    left.insert("x".to_owned(), program(&item(json!({"a": {"S": "x"}, "b": {"S": "x"}})))["x"].clone());
    assert_eq!(verdict(&plan, &left, &record, right), Verdict::Stale, "`y` is an old output of the migration");
    let mut only_second = left.clone();
    only_second.remove("x");
    let unreadable = ItemHistory::unreadable("a row is damaged");
    assert!(verdict(&plan, &only_second, &unreadable, right).is_mismatch());
    // No value of the migration is left.
    left.insert("y".to_owned(), Value::S("theirs".to_owned()));
    assert_eq!(verdict(&plan, &left, &record, right), Verdict::NotSelected);
}

/// A program gives a different answer each time, although the plan promises that it is deterministic.
#[test]
fn nothing_is_overwritten_with_the_answers_of_a_program_that_is_not_deterministic() {
    let calls = Cell::new(0);
    let random = |inputs: &Item| {
        calls.set(calls.get() + 1);
        let mut outputs = program(inputs);
        outputs.insert("x".to_owned(), Value::S(calls.get().to_string()));
        Ok(outputs)
    };
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let kept = plan("");
    let Decision::Write(write) = decide(&expand(&kept), &image, random) else { panic!() };
    let after = update(&write, Some(&image)).unwrap();
    assert_eq!(decide(&expand(&kept), &after, random), Decision::Diverged(vec![path("x")]));
    let overwriting = plan("on_existing = \"overwrite\"");
    let Decision::Rejected(why) = decide(&expand(&overwriting), &after, random) else { panic!() };
    assert!(why.contains("two different answers to the same inputs"), "{why}");
    let skipping = plan("on_existing = \"skip\"");
    assert_eq!(decide(&expand(&skipping), &after, random), Decision::Skipped(vec![path("x"), path("y")]));
    for plan in [&kept, &overwriting, &skipping] {
        assert_eq!(verdict(plan, &after, &history_of(&write), random), Verdict::Stale);
    }
    // A rollback needs no answer.
    let Decision::Write(back) = undo(&kept).decide_with(&after, &history_of(&write)) else { panic!() };
    assert_eq!(update(&back, Some(&after)), Some(image));
}

#[test]
fn an_item_without_a_valid_answer_is_a_failure_and_does_not_match() {
    let plan = plan("on_existing = \"overwrite\"");
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "x": {"S": "1"}, "y": {"S": "2"}}));
    let fails = |_: &Item| Err("gave no answer for this item".to_owned());
    let why = "the program that computes `x`, `y` gave no answer for this item";
    assert_eq!(decide(&expand(&plan), &image, fails), Decision::Rejected(why.to_owned()));
    assert_eq!(verdict(&plan, &image, &ItemHistory::default(), fails), Verdict::Stale);
    // The second answer is missing.
    let Decision::NeedsAnswers(mut questions, _) = expand(&plan).decide(&image) else { panic!() };
    questions.truncate(1);
    let one = answers_to(questions, right);
    assert!(matches!(expand(&plan).decide_answered(&image, &ItemHistory::default(), &one), Decision::NeedsAnswers(..)));
}

fn any_image() -> impl Generator<Value = Item> {
    let value = || {
        prop_oneof![
            select(vec!["", "1", "x"]).prop_map(|text| Value::S(text.to_owned())),
            select(vec!["1", "2"]).prop_map(|text| Value::N(Num::parse(text).unwrap())),
            Just(Value::Null),
        ]
    };
    let any_item = proptest::collection::btree_map(select(vec!["a", "b", "x", "y", "other"]), value(), 0..5);
    (any_item, any::<bool>()).prop_map(|(values, has_right_outputs)| {
        let mut image: Item = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let inputs: Item =
            ["a", "b"].into_iter().filter_map(|name| Some((name.to_owned(), image.get(name)?.clone()))).collect();
        if has_right_outputs && !inputs.is_empty() {
            image.extend(program(&inputs));
        }
        image.insert("pk".to_owned(), Value::S("1".to_owned()));
        image
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// A run writes the outputs that the inputs imply, or changes nothing. A second run writes nothing, verification
    /// agrees with the run, the write fails if an input or output has changed, and undo restores the item.
    #[test]
    fn a_run_by_recomputation(image in any_image(), existing in select(vec!["keep", "skip", "overwrite"]), raced in any_image()) {
        let plan = plan(&format!("on_existing = \"{existing}\""));
        let changes = expand(&plan);
        let inputs: Item = ["a", "b"].into_iter().filter_map(|name| Some((name.to_owned(), image.get(name)?.clone()))).collect();
        let mut wanted = image.clone();
        if !inputs.is_empty() {
            wanted.extend(program(&inputs));
        }
        match decide(&changes, &image, right) {
            Decision::Write(write) => {
                let after = check(&write, &image);
                prop_assert_eq!(&after, &wanted);
                prop_assert_eq!(decide(&changes, &after, right), Decision::AlreadyApplied);
                let record = history_of(&write);
                prop_assert_eq!(verdict(&plan, &after, &record, right), Verdict::Matching);
                prop_assert!(verdict(&plan, &image, &ItemHistory::default(), right).is_mismatch());
                for name in ["a", "b", "x", "y"] {
                    let mut other = image.clone();
                    match raced.get(name) {
                        Some(value) => drop(other.insert(name.to_owned(), value.clone())),
                        None => drop(other.remove(name)),
                    }
                    if other != image {
                        prop_assert_eq!(update(&write, Some(&other)), None, "{}", name);
                    }
                }
                let Decision::Write(back) = undo(&plan).decide_with(&after, &record) else { panic!("nothing to undo") };
                prop_assert_eq!(update(&back, Some(&after)), Some(image));
            }
            Decision::AlreadyApplied => {
                prop_assert_eq!(&image, &wanted);
                prop_assert_eq!(verdict(&plan, &image, &ItemHistory::default(), right), Verdict::Matching);
            }
            Decision::NothingToDo => prop_assert!(inputs.is_empty()),
            Decision::Diverged(_) => {
                prop_assert!(existing == "keep" && image != wanted);
                prop_assert!(verdict(&plan, &image, &ItemHistory::default(), right).is_mismatch());
            }
            Decision::Skipped(_) => {
                prop_assert!(existing == "skip" && image != wanted);
                prop_assert_eq!(verdict(&plan, &image, &ItemHistory::default(), right), Verdict::Skipped);
            }
            other @ (Decision::Rejected(_) | Decision::Refused(..) | Decision::NotComputable(_) | Decision::NeedsAnswers(..)) => {
                prop_assert!(false, "{:?}", other);
            }
        }
    }
}
