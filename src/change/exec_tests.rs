//! Tests `exec` against the model of `UpdateItem`. A pure function replaces the program.

use std::collections::BTreeMap;

use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use proptest::strategy::{Just, Strategy as Generator};
use serde_json::json;

use super::computed_tests::history_of;
use super::tests::{check, item, key, path, update};
use super::*;
use crate::item::{Item, Num};
use crate::plan::{Plan, load};

const INPUTS: [&str; 2] = ["a", "b"];
const OUTPUTS: [&str; 2] = ["x", "y"];

fn plan(rest: &str) -> Plan {
    let text = format!(
        "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n[[change]]\nexec = [\"p\"]\n\
         inputs = [\"a\", \"b\"]\noutputs = [\"x\", \"y\"]\nmarker = \"m\"\n{rest}"
    );
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

fn expand(plan: &Plan) -> Changes {
    Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

/// The program's answer: `x` contains the names of the inputs, and `y` is the number of inputs.
fn program(inputs: &Item) -> Item {
    let names: Vec<String> = inputs.iter().map(|(name, value)| format!("{name}={}", value.to_json())).collect();
    let count = Value::N(Num::parse(&inputs.len().to_string()).unwrap());
    Item::from([("x".to_owned(), Value::S(names.join(","))), ("y".to_owned(), count)])
}

/// Decides, asks the program, and decides again, as `engine/decisions.rs` does.
fn decide(changes: &Changes, image: &Item) -> Decision {
    let Decision::NeedsAnswers(questions, _) = changes.decide(image) else { return changes.decide(image) };
    let mut answers = ProgramAnswers::default();
    for question in questions {
        let answer = Ok(program(&question.inputs));
        answers.add(question, answer);
    }
    changes.decide_answered(image, &ItemHistory::default(), &answers)
}

fn marker(inputs: serde_json::Value) -> Value {
    Value::S(input_digest(&item(inputs)))
}

#[test]
fn the_marker_is_the_sha_256_of_the_inputs() {
    // printf '%s' '{"a":{"S":"x"},"b":{"N":"15E-1"}}' | sha256sum
    let digest = "ca7f9741579e563816095e29289434ef691bde908123bb5a3bc9526c36461366";
    let inputs = item(json!({"a": {"S": "x"}, "b": {"N": "1.50"}}));
    assert_eq!(input_digest(&inputs), input_digest(&item(json!({"a": {"S": "x"}, "b": {"N": "15E-1"}}))));
    assert_eq!(input_digest(&inputs), digest);
}

#[test]
fn an_answer_is_pinned_to_its_inputs() {
    let plan = plan("");
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let Decision::NeedsAnswers(questions, least) = expand(&plan).decide(&image) else { panic!() };
    assert_eq!(questions.len(), 1);
    assert_eq!(questions[0].inputs, item(json!({"a": {"S": "x"}})));
    assert_eq!(least.actions.len(), 1, "only the marker is known");
    let Decision::Write(write) = decide(&expand(&plan), &image) else { panic!() };
    let after = update(&write, Some(&image)).unwrap();
    assert_eq!(after["x"], Value::S("a={\"S\":\"x\"}".to_owned()));
    assert_eq!(after["m"], marker(json!({"a": {"S": "x"}})));
    assert_eq!(expand(&plan).decide(&after), Decision::AlreadyApplied);
    // An input changed, or a missing input or a target appeared.
    for name in ["a", "b", "x", "y", "m"] {
        let mut raced = image.clone();
        raced.insert(name.to_owned(), Value::Null);
        assert_eq!(update(&write, Some(&raced)), None, "{name}");
    }
    assert_eq!(update(&write, None), None, "a deleted item is not recreated");
}

#[test]
fn an_answer_to_other_inputs_is_ignored() {
    let changes = expand(&plan(""));
    let old = item(json!({"pk": {"S": "1"}, "a": {"S": "old"}}));
    let new = item(json!({"pk": {"S": "1"}, "a": {"S": "new"}}));
    let Decision::NeedsAnswers(mut questions, _) = changes.decide(&old) else { panic!() };
    let mut answers = ProgramAnswers::default();
    answers.add(questions.remove(0), Ok(program(&old)));
    let decided = changes.decide_answered(&new, &ItemHistory::default(), &answers);
    assert!(matches!(decided, Decision::NeedsAnswers(..)), "{decided:?}");
}

#[test]
fn a_failed_answer_fails_the_item() {
    let changes = expand(&plan("[[change]]\nset = \"v\"\nvalue = 1\n"));
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "secret"}}));
    let Decision::NeedsAnswers(mut questions, _) = changes.decide(&image) else { panic!() };
    let mut answers = ProgramAnswers::default();
    answers.add(questions.remove(0), Err("gave no answer for this item".to_owned()));
    let decided = changes.decide_answered(&image, &ItemHistory::default(), &answers);
    let why = "the program that computes `x`, `y` gave no answer for this item";
    assert_eq!(decided, Decision::Rejected(why.to_owned()), "none of the changes is made");
}

#[test]
fn only_items_that_need_a_write_are_asked_about() {
    let of = |on_existing: &str, image: serde_json::Value| {
        expand(&plan(&format!("on_existing = \"{on_existing}\""))).decide(&item(image))
    };
    let none = json!({"pk": {"S": "1"}, "x": {"S": "theirs"}});
    let theirs = json!({"pk": {"S": "1"}, "a": {"S": "1"}, "x": {"S": "theirs"}});
    let stale = json!({"pk": {"S": "1"}, "a": {"S": "1"}, "x": {"S": "1"}, "y": {"S": "1"}, "m": {"S": "old"}});
    assert_eq!(of("overwrite", none), Decision::NothingToDo, "there are no inputs");
    assert_eq!(of("keep", theirs.clone()), Decision::Diverged(vec![path("x")]));
    assert_eq!(of("skip", theirs.clone()), Decision::Skipped(vec![path("x")]));
    assert!(matches!(of("overwrite", theirs), Decision::NeedsAnswers(..)));
    assert_eq!(of("keep", stale.clone()), Decision::Diverged(vec![path("x"), path("y"), path("m")]));
    assert!(matches!(of("overwrite", stale), Decision::NeedsAnswers(..)));
}

#[test]
fn verification_needs_no_program() {
    let plan = plan("");
    let Change::Exec { exec, .. } = &plan.changes[0] else { panic!() };
    let before = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let Decision::Write(write) = decide(&expand(&plan), &before) else { panic!() };
    let after = update(&write, Some(&before)).unwrap();
    let record = history_of(&write);
    let none = ProgramAnswers::default();
    let with = |name: &str, value: Option<&str>| {
        let mut item = after.clone();
        match value {
            Some(value) => drop(item.insert(name.to_owned(), Value::S(value.to_owned()))),
            None => drop(item.remove(name)),
        }
        exec.compare(0, &item, &record, false, &none).map(|(path, fault)| (path.to_string(), fault))
    };
    let found = |name: &str, fault| Some((name.to_owned(), fault));
    assert_eq!(with("other", Some("1")), None);
    assert_eq!(with("a", Some("changed")), found("m", ExecFault::Stale));
    assert_eq!(with("b", Some("new")), found("m", ExecFault::Stale));
    assert_eq!(with("x", Some("changed")), found("x", ExecFault::Stale));
    assert_eq!(with("y", None), found("y", ExecFault::Missing));
    assert_eq!(with("m", None), found("m", ExecFault::Stale));
    assert_eq!(with("a", None), found("m", ExecFault::Unexpected));
    assert_eq!(exec.compare(0, &before, &record, false, &none), Some((exec.main_target(), ExecFault::Missing)));
    // An application computed the values and the marker itself. Nothing is recorded about the item.
    let mut theirs = after.clone();
    theirs.insert("x".to_owned(), Value::S("their model".to_owned()));
    assert_eq!(exec.compare(0, &theirs, &ItemHistory::default(), false, &none), None);
    // With `skip`, a value that somebody else wrote counts as done.
    let foreign = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "x": {"S": "theirs"}}));
    assert_eq!(
        exec.compare(0, &foreign, &ItemHistory::default(), true, &none),
        Some((exec.main_target(), ExecFault::Skipped))
    );
    assert_eq!(
        exec.compare(0, &foreign, &ItemHistory::default(), false, &none),
        Some((exec.main_target(), ExecFault::Stale))
    );
}

fn any_value() -> impl Generator<Value = Value> {
    prop_oneof![
        select(vec!["", "1", "x"]).prop_map(|text| Value::S(text.to_owned())),
        select(vec!["1", "7"]).prop_map(|text| Value::N(Num::parse(text).unwrap())),
        Just(Value::Null),
    ]
}

/// Generates an item with some of the attributes. The item's marker often matches its inputs.
fn any_item() -> impl Generator<Value = Item> {
    let names = INPUTS.into_iter().chain(OUTPUTS).chain(["m", "other"]).collect::<Vec<_>>();
    let attributes = proptest::collection::btree_map(select(names), any_value(), 0..6);
    (attributes, select(vec![true, false])).prop_map(|(attributes, is_marked): (BTreeMap<&str, Value>, bool)| {
        let mut item: Item = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let inputs = item.iter().filter(|(name, _)| INPUTS.contains(&name.as_str()));
        let digest = input_digest(&inputs.map(|(name, value)| (name.clone(), value.clone())).collect());
        if is_marked {
            item.insert("m".to_owned(), Value::S(digest));
        }
        item.insert("pk".to_owned(), Value::S("1".to_owned()));
        item
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// A write stores exactly the answer and the marker, and fails if anything on which it depends has changed. A
    /// second run does not repeat it. Afterwards, verification finds no mismatch, and undo restores the item exactly.
    #[test]
    fn a_write_is_the_answer_to_the_inputs(
        existing in select(vec!["keep", "overwrite", "skip"]),
        image in any_item(),
        edit in (select(vec!["a", "b", "x", "y", "m", "other"]), any_value()),
    ) {
        let plan = plan(&format!("on_existing = \"{existing}\""));
        let changes = expand(&plan);
        let Change::Exec { exec, .. } = &plan.changes[0] else { panic!() };
        let Decision::Write(write) = decide(&changes, &image) else {
            prop_assert!(!matches!(decide(&changes, &image), Decision::NeedsAnswers(..)));
            return Ok(());
        };
        let after = check(&write, &image);
        let inputs = exec.inputs_of(&image);
        let mut expected = image.clone();
        expected.extend(program(&inputs));
        expected.insert("m".to_owned(), Value::S(input_digest(&inputs)));
        prop_assert_eq!(&after, &expected);
        prop_assert_eq!(changes.decide(&after), Decision::AlreadyApplied);
        // A writer changes one attribute before the write arrives. If the write still succeeds, the program would have
        // given the same answer for the changed image.
        let mut raced = image.clone();
        raced.insert(edit.0.to_owned(), edit.1);
        if let Some(raced_after) = update(&write, Some(&raced)) {
            let Decision::Write(again) = decide(&changes, &raced) else { panic!("{raced:?} needs no write") };
            prop_assert_eq!(update(&again, Some(&raced)), Some(raced_after));
        }
        let history = history_of(&write);
        prop_assert_eq!(exec.compare(0, &after, &history, existing == "skip", &ProgramAnswers::default()), None);
        let undo = Changes::for_undo(&plan.changes, plan.strategy, key(), Vec::new());
        let restored = match undo.decide_with(&after, &history) {
            Decision::Write(back) => update(&back, Some(&after)).unwrap(),
            Decision::AlreadyApplied => after.clone(),
            other => panic!("{other:?} for {after:?}"),
        };
        prop_assert_eq!(restored, image);
        // Undo never changes a value that somebody has written since.
        let mut theirs = after.clone();
        theirs.insert("x".to_owned(), Value::S("theirs".to_owned()));
        prop_assert_eq!(undo.decide_with(&theirs, &history), Decision::Diverged(vec![path("x")]));
    }
}
