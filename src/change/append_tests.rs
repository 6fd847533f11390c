//! Tests `append` against the model of `UpdateItem`.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::{select, subsequence};
use proptest::strategy::{Just, Strategy as Generator};
use serde_json::json;

use super::tests::{check, item, key, path, update};
use super::*;
use crate::item::{Item, Num};
use crate::passes::verify::{Parity, TableStage, Truth};
use crate::plan::{Plan, load};
use crate::state::Verdict;

const TAGS: &str = "append = \"doc.tags\"\nvalues = { SS = [\"a\", \"b\"] }";
const LOG: &str = "append = \"log\"\nvalue = \"migrated\"";

fn plan(changes: &[&str]) -> Plan {
    let changes: String = changes.iter().map(|change| format!("[[change]]\n{change}\n")).collect();
    let text = format!("[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n{changes}");
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

fn expand(plan: &Plan) -> Changes {
    Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn undo(plan: &Plan) -> Changes {
    Changes::for_undo(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn verdict(plan: &Plan, image: &Item) -> Verdict {
    let parity = Parity::new(&plan.changes, plan.strategy, TableStage::Expanded, Truth::Old);
    parity.with_rules(plan.item_rules()).compare(image, &ItemHistory::default()).verdict
}

fn written(changes: &Changes, image: &Item) -> GuardedWrite {
    match changes.decide(image) {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

/// Returns the history after these writes. The oldest write comes first.
fn history_of(writes: &[&GuardedWrite]) -> ItemHistory {
    let newest_first = writes.iter().rev().flat_map(|write| &write.pre_images);
    ItemHistory::new([], newest_first.map(|pre| (PreImageOrigin::Run, pre.clone())))
}

#[test]
fn an_append_adds_what_is_missing_once() {
    for (change, before, after) in [
        (TAGS, json!({}), json!({"doc": {"M": {"tags": {"SS": ["a", "b"]}}}})),
        (TAGS, json!({"doc": {"M": {}}}), json!({"doc": {"M": {"tags": {"SS": ["a", "b"]}}}})),
        (
            TAGS,
            json!({"doc": {"M": {"tags": {"SS": ["b", "c"]}}}}),
            json!({"doc": {"M": {"tags": {"SS": ["a", "b", "c"]}}}}),
        ),
        (LOG, json!({}), json!({"log": {"L": [{"S": "migrated"}]}})),
        (LOG, json!({"log": {"L": [{"N": "1"}]}}), json!({"log": {"L": [{"N": "1"}, {"S": "migrated"}]}})),
    ] {
        let plan = plan(&[change]);
        let with_key = |mut json: serde_json::Value| {
            json["pk"] = json!({"S": "1"});
            item(json)
        };
        let (before, after) = (with_key(before), with_key(after));
        let write = written(&expand(&plan), &before);
        assert_eq!(check(&write, &before), after);
        assert_eq!(expand(&plan).decide(&after), Decision::AlreadyApplied);
        assert_eq!((verdict(&plan, &before), verdict(&plan, &after)), (Verdict::Missing, Verdict::Matching));
        let Decision::Write(back) = undo(&plan).decide_with(&after, &history_of(&[&write])) else { panic!() };
        assert_eq!(check(&back, &after), before);
    }
}

#[test]
fn a_value_of_another_type_is_not_computable() {
    for (change, value) in [
        (TAGS, json!({"M": {"tags": {"NS": ["1"]}}})),
        (TAGS, json!({"M": {"tags": {"L": [{"S": "a"}]}}})),
        (TAGS, json!({"M": {"tags": {"NULL": true}}})),
        (LOG, json!({"S": "secret"})),
    ] {
        let name = if change == TAGS { "doc" } else { "log" };
        let image = item(json!({"pk": {"S": "1"}, name: value}));
        let plan = plan(&[change]);
        let Decision::NotComputable(why) = expand(&plan).decide(&image) else { panic!("{image:?}") };
        assert!(why.reason().contains("of type") && !why.reason().contains("secret"), "{why}");
        assert_eq!(verdict(&plan, &image), Verdict::Stale);
    }
}

/// A live writer adds or removes a part between the read and the write.
#[test]
fn an_append_is_conditional_on_the_container() {
    let plan = plan(&[LOG]);
    let image = item(json!({"pk": {"S": "1"}, "log": {"L": [{"N": "1"}]}}));
    let write = written(&expand(&plan), &image);
    for raced in [json!({"L": [{"N": "1"}, {"S": "migrated"}]}), json!({"L": []}), json!({"S": "x"})] {
        assert_eq!(update(&write, Some(&item(json!({"pk": {"S": "1"}, "log": raced})))), None);
    }
    assert_eq!(update(&write, Some(&item(json!({"pk": {"S": "1"}})))), None);
    assert_eq!(update(&write, None), None);
}

#[test]
fn undo_removes_only_what_was_added() {
    let plan = plan(&[TAGS]);
    let tags = |members: &[&str]| item(json!({"pk": {"S": "1"}, "doc": {"M": {"tags": {"SS": members}}}}));
    let without = item(json!({"pk": {"S": "1"}, "doc": {"M": {}}}));
    let first = written(&expand(&plan), &tags(&["b"]));
    let history = history_of(&[&first]);
    let undone = |now: &Item, history: &ItemHistory| match undo(&plan).decide_with(now, history) {
        Decision::Write(back) => Some(check(&back, now)),
        _ => None,
    };
    // `b` existed before the append, and a live writer added `c` after the append.
    assert_eq!(undone(&tags(&["a", "b", "c"]), &history), Some(tags(&["b", "c"])));
    assert_eq!(undone(&tags(&["a", "c"]), &history), Some(tags(&["c"])));
    // A set without members cannot exist.
    assert_eq!(undone(&tags(&["a"]), &history), Some(without.clone()));
    assert_eq!(undone(&tags(&["b", "c"]), &history), None);
    assert_eq!(undone(&without, &history), None);
    assert_eq!(undone(&tags(&["a", "b"]), &ItemHistory::default()), None, "nothing shows that the migration added it");
    // A live writer removed `b`, and a later run added it again.
    let second = written(&expand(&plan), &tags(&["a"]));
    assert_eq!(undone(&tags(&["a", "b", "c"]), &history_of(&[&first, &second])), Some(tags(&["c"])));
    let other = item(json!({"pk": {"S": "1"}, "doc": {"M": {"tags": {"S": "theirs"}}}}));
    assert_eq!(undo(&plan).decide_with(&other, &history), Decision::Diverged(vec![path("doc.tags")]));
}

/// The list existed before the append, so undo leaves an empty list. If two elements are equal, undo removes the first
/// one.
#[test]
fn undo_removes_one_element() {
    let plan = plan(&[LOG]);
    let log = |elements: &[&str]| {
        let elements: Vec<_> = elements.iter().map(|text| json!({"S": text})).collect();
        item(json!({"pk": {"S": "1"}, "log": {"L": elements}}))
    };
    let write = written(&expand(&plan), &log(&[]));
    let history = history_of(&[&write]);
    for (now, restored) in [
        (log(&["migrated"]), log(&[])),
        (log(&["migrated", "x", "migrated"]), log(&["x", "migrated"])),
        (log(&["x", "migrated", "y"]), log(&["x", "y"])),
    ] {
        let Decision::Write(back) = undo(&plan).decide_with(&now, &history) else { panic!() };
        assert_eq!(check(&back, &now), restored);
    }
}

/// With `null_is_missing`, the container replaces a NULL, and undo restores the NULL.
#[test]
fn a_null_can_count_as_an_empty_container() {
    let plan = plan(&[&format!("{LOG}\nnull_is_missing = true")]);
    let image = item(json!({"pk": {"S": "1"}, "log": {"NULL": true}}));
    let write = written(&expand(&plan), &image);
    let after = check(&write, &image);
    assert_eq!(after, item(json!({"pk": {"S": "1"}, "log": {"L": [{"S": "migrated"}]}})));
    let Decision::Write(back) = undo(&plan).decide_with(&after, &history_of(&[&write])) else { panic!() };
    assert_eq!(check(&back, &after), image);
}

fn any_container(numbers: bool) -> impl Generator<Value = Option<Value>> {
    let parts = subsequence(vec!["1", "2", "3", "4"], 0..=4);
    (parts, any::<bool>()).prop_map(move |(parts, there)| {
        let json = match (numbers, parts.is_empty() || !there) {
            (_, true) => return None,
            (true, false) => json!({ "NS": parts }),
            (false, false) => json!({"L": parts.iter().map(|part| json!({ "N": part })).collect::<Vec<_>>()}),
        };
        Value::from_json(&json).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Append runs, live writers change the container, and append runs again. Undo then removes exactly what append
    /// added.
    #[test]
    fn everything_that_was_not_added_stays(
        (numbers, before, between) in any::<bool>().prop_flat_map(|numbers| (Just(numbers), any_container(numbers), any_container(numbers))),
        live in prop_oneof![Just(None), select(vec!["5", "6"]).prop_map(Some)],
    ) {
        let change = if numbers { "append = \"c\"\nvalues = { NS = [\"1\", \"2\"] }" } else { "append = \"c\"\nvalue = 1" };
        let plan = plan(&[change]);
        let image = |container: &Option<Value>| {
            let mut image = item(json!({"pk": {"S": "1"}}));
            image.extend(container.clone().map(|container| ("c".to_owned(), container)));
            image
        };
        let mut writes = Vec::new();
        for found in [&before, &between] {
            if let Decision::Write(write) = expand(&plan).decide(&image(found)) {
                prop_assert!(expand(&plan).decide(&check(&write, &image(found))) == Decision::AlreadyApplied);
                writes.push((image(found), write));
            }
        }
        let Some((found, last)) = writes.last() else { return Ok(()) };
        let mut now = update(last, Some(found)).unwrap();
        let added = |part: &str| writes.iter().any(|(image, _)| {
            let text = image.get("c").map(|container| container.to_json().to_string()).unwrap_or_default();
            !text.contains(&format!("\"{part}\""))
        });
        if let (Some(part), Some(container)) = (live, now.get_mut("c")) {
            let part: Num = part.parse().unwrap();
            match container {
                Value::Ns(set) => set.push(part),
                Value::L(list) => list.push(Value::N(part)),
                other => panic!("{other:?}"),
            }
        }
        let parts = |image: &Item| -> Vec<String> {
            match image.get("c") {
                None => Vec::new(),
                Some(Value::Ns(set)) => set.iter().map(|part| part.as_str().to_owned()).collect(),
                Some(Value::L(list)) => list.iter().map(|part| part.to_json()["N"].as_str().unwrap().to_owned()).collect(),
                other => panic!("{other:?}"),
            }
        };
        let history = history_of(&writes.iter().map(|(_, write)| write).collect::<Vec<_>>());
        let Decision::Write(back) = undo(&plan).decide_with(&now, &history) else { panic!("{now:?}") };
        let restored = update(&back, Some(&now)).unwrap();
        let ours: &[&str] = if numbers { &["1", "2"] } else { &["1"] };
        let expected: Vec<String> =
            parts(&now).into_iter().filter(|part| !(ours.contains(&part.as_str()) && added(part))).collect();
        prop_assert_eq!(parts(&restored), expected);
    }
}
