//! Tests changes whose values a function of an embedding program computes, against the model of `UpdateItem`.

use std::sync::Arc;

use serde_json::json;

use super::tests::{check, item, key, path, update};
use super::*;
use crate::item::Item;
use crate::plan::load;

struct Double;

impl CustomChange for Double {
    fn name(&self) -> &str {
        "double"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn compute(&self, inputs: &Item) -> Result<Option<Item>, &'static str> {
        match inputs.get("text") {
            Some(Value::S(text)) if text == "panic" => panic!("a bug"),
            Some(Value::S(text)) if text == "nothing" => Ok(None),
            Some(Value::S(text)) if text == "part" => Ok(Some(Item::from([("twice".to_owned(), Value::Null)]))),
            Some(Value::S(text)) if text == "more" => {
                Ok(Some(["twice", "length", "other"].map(|name| (name.to_owned(), Value::Null)).into_iter().collect()))
            }
            Some(Value::S(text)) if text == "empty set" => {
                Ok(Some(["twice", "length"].map(|name| (name.to_owned(), Value::Ss(Vec::new()))).into_iter().collect()))
            }
            Some(Value::S(text)) => Ok(Some(Item::from([
                ("twice".to_owned(), Value::S(format!("{text}{text}"))),
                ("length".to_owned(), Value::S(text.len().to_string())),
            ]))),
            Some(_) | None => Err("the text is not a string"),
        }
    }
}

/// The outputs of a custom change are computed values. A write pins the inputs and records the outputs, and undo relies
/// on this record.
#[test]
fn a_custom_change_is_guarded_and_undone() {
    let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n[[change]]\ncustom = \"double\"\n\
                inputs = [\"text\", \"more\"]\noutputs = [\"twice\", \"length\"]\n";
    let loaded = load("p", text).unwrap();
    let unsupplied = loaded.plan.fingerprint();
    let plan = loaded.supply(&[Arc::new(Double)]).unwrap().plan;
    assert_ne!(plan.fingerprint(), unsupplied, "the version is part of the fingerprint");
    let expand = Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules());
    let undo = Changes::for_undo(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules());
    let image = item(json!({"pk": {"S": "1"}, "text": {"S": "ab"}}));
    let Decision::Write(write) = expand.decide(&image) else { panic!() };
    let after = check(&write, &image);
    assert_eq!((&after["twice"], &after["length"]), (&Value::S("abab".into()), &Value::S("2".into())));
    assert_eq!(expand.decide(&after), Decision::AlreadyApplied);
    for (name, value) in [("text", "other"), ("more", "appears"), ("twice", "theirs")] {
        let mut raced = image.clone();
        raced.insert(name.to_owned(), Value::S(value.to_owned()));
        assert_eq!(update(&write, Some(&raced)), None, "{name} is not pinned");
    }
    let rows = write.pre_images.iter().rev().map(|pre| (PreImageOrigin::Run, pre.clone()));
    let history = ItemHistory::new(expand.baseline(&image).preexisting, rows);
    let Decision::Write(back) = undo.decide_with(&after, &history) else { panic!() };
    assert_eq!(check(&back, &after), image);
    assert!(matches!(undo.decide(&after), Decision::NothingToDo), "undo needs a record");
    let mut changed = after.clone();
    changed.insert("text".to_owned(), Value::S("new".to_owned()));
    assert_eq!(expand.decide(&changed), Decision::Diverged(vec![path("twice"), path("length")]));
    for (text, reason) in [
        ("panic", "panicked"),
        ("part", "returned no value for `length`"),
        ("more", "not in `outputs`"),
        ("empty set", "that DynamoDB cannot store"),
    ] {
        let image = item(json!({"pk": {"S": "1"}, "text": {"S": text}}));
        let Decision::NotComputable(why) = expand.decide(&image) else { panic!("{text}") };
        assert!(why.reason().contains(reason), "{why}");
    }
    let nothing = item(json!({"pk": {"S": "1"}, "text": {"S": "nothing"}}));
    assert_eq!(expand.decide(&nothing), Decision::NothingToDo);
    assert_eq!(expand.decide(&item(json!({"pk": {"S": "1"}}))), Decision::NothingToDo);
    let wrong = item(json!({"pk": {"S": "1"}, "text": {"N": "1"}}));
    assert!(matches!(expand.decide(&wrong), Decision::NotComputable(why) if why.reason().contains("not a string")));
}

/// A plan needs exactly one function for each name that it uses. Otherwise, the error says which functions are missing
/// or supplied twice.
#[test]
fn a_missing_or_ambiguous_function_is_reported() {
    let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\ncustom = \"double\"\n\
                inputs = [\"text\"]\noutputs = [\"twice\", \"length\"]\n[[change]]\ncustom = \"triple\"\n\
                inputs = [\"text\"]\noutputs = [\"thrice\"]\n";
    let loaded = || load("p", text).unwrap();
    let double = || -> Arc<dyn CustomChange> { Arc::new(Double) };
    let errors = loaded().supply(&[]).unwrap_err();
    assert_eq!(errors.count(), 2, "{errors}");
    assert!(errors.to_string().contains("`backfill` command has no custom changes"), "{errors}");
    let errors = loaded().supply(&[double()]).unwrap_err().to_string();
    assert!(errors.contains("`triple`") && errors.contains("this program supplies `double`"), "{errors}");
    let errors = loaded().supply(&[double(), double()]).unwrap_err().to_string();
    assert!(errors.contains("two custom changes with the name `double`"), "{errors}");
}

/// Returns a different result in each call.
#[derive(Default)]
struct Counter(std::sync::atomic::AtomicU64);

impl CustomChange for Counter {
    fn name(&self) -> &str {
        "double"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn compute(&self, _: &Item) -> Result<Option<Item>, &'static str> {
        let calls = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Some(Item::from([("twice".to_owned(), Value::S(calls.to_string()))])))
    }
}

/// An item does not count as checked if no function is called for it.
#[test]
fn only_items_with_a_call_count_as_checked() {
    let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n[select]\n\
                where = 'type(item.kind) == \"S\" && item.kind == \"a\"'\n[[change]]\ncustom = \"double\"\ninputs = [\"text\"]\n\
                outputs = [\"twice\"]\nwhere = \"!has(item.never)\"\n";
    let checked = |function: Arc<dyn CustomChange>, image: serde_json::Value| {
        let plan = load("p", text).unwrap_or_else(|errors| panic!("{errors}")).supply(&[function]).unwrap().plan;
        let changes =
            Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules());
        match changes.check_repeatable(&item(image)) {
            Repeatable::NotCalled => None,
            Repeatable::Yes => Some(true),
            Repeatable::No(name) => Some(name != "double"),
        }
    };
    let counter = || -> Arc<dyn CustomChange> { Arc::new(Counter::default()) };
    let called = json!({"pk": {"S": "1"}, "kind": {"S": "a"}, "text": {"S": "nothing"}});
    assert_eq!(checked(Arc::new(Double), called.clone()), Some(true));
    assert_eq!(checked(counter(), called), Some(false));
    for uncalled in [
        json!({"pk": {"S": "1"}, "kind": {"S": "b"}, "text": {"S": "x"}}),
        json!({"pk": {"S": "1"}, "kind": {"S": "a"}}),
        json!({"pk": {"S": "1"}, "kind": {"S": "a"}, "text": {"S": "x"}, "never": {"S": "x"}}),
    ] {
        assert_eq!(checked(counter(), uncalled), None);
    }
}

/// If two plans divide the same outputs differently among custom changes, their fingerprints differ.
#[test]
fn the_fingerprint_contains_the_outputs_of_a_call() {
    let plan = |changes: &str| {
        let text = format!("[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n{changes}");
        load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan.fingerprint()
    };
    let change = |outputs: &str| format!("[[change]]\ncustom = \"f\"\ninputs = [\"text\"]\noutputs = [{outputs}]\n");
    let together = plan(&change("\"x\", \"y\""));
    let apart = plan(&(change("\"x\"") + &change("\"y\"")));
    assert_ne!(together, apart);
}
