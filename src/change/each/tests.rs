//! Tests changes in elements against the model of `UpdateItem`.

use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use serde_json::{Value as Json, json};

use super::{EditFailure, Edited};
use crate::change::tests::{check, item, key, path, update};
use crate::change::{Changes, Decision, GuardedWrite, ItemHistory, PreImageOrigin, Rule, Strategy};
use crate::item::{Item, Num, Value, item_to_json};
use crate::passes::verify::{Comparison, Parity, Repair, TableStage, Truth};
use crate::plan::{Plan, load};
use crate::playbook::PlanKind;
use crate::state::Verdict;

const MOVE: &str = "each = \"lines[*]\"\nmove = \"sku\"\nto = \"product_id\"";
const SET: &str = "each = \"lines[*]\"\nset = \"cur\"\nvalue = \"EUR\"\non_existing = \"skip\"";
const REMOVE: &str = "each = \"lines[*]\"\nremove = \"tmp\"";
const CONVERT: &str = "each = \"lines[*]\"\nconvert = \"qty\"\nto = \"N\"";
const INTO: &str = "each = \"lines[*]\"\nconvert = \"due\"\nto = \"epoch-seconds\"\nformats = [\"%Y-%m-%d\"]\n\
                    zone = \"UTC\"\ninto = \"doc.due_at\"";
const COMPUTE: &str = "each = \"lines[*]\"\ncompute = \"label\"\n\
                       as = 'item.pk + \"/\" + (has(element.name) ? string(element.name) : \"?\")'";

fn plan_with(head: &str, changes: &[&str]) -> Plan {
    let changes: String = changes.iter().map(|change| format!("[[change]]\n{change}\n")).collect();
    let text = format!(
        "[migration]\nname = \"m\"\nstrategy = \"in-place\"\non_not_computable = \"fail\"\n{head}\n\
         [table]\nname = \"shop\"\nkey = [\"pk\"]\n{changes}"
    );
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

fn plan(changes: &[&str]) -> Plan {
    plan_with("", changes)
}

fn expand(plan: &Plan) -> Changes {
    Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn undo(plan: &Plan) -> Changes {
    Changes::for_undo(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn compare(plan: &Plan, image: &Item) -> Comparison {
    let parity = Parity::new(&plan.changes, plan.strategy, TableStage::Expanded, Truth::Old);
    parity.with_rules(plan.item_rules()).compare(image, &ItemHistory::default())
}

fn verdict(plan: &Plan, image: &Item) -> Verdict {
    compare(plan, image).verdict
}

fn written(plan: &Plan, image: &Item) -> GuardedWrite {
    match expand(plan).decide(image) {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

fn history_of(writes: &[&GuardedWrite]) -> ItemHistory {
    let newest_first = writes.iter().rev().flat_map(|write| &write.pre_images);
    ItemHistory::new([], newest_first.map(|pre| (PreImageOrigin::Run, pre.clone())))
}

fn lines(container: Json) -> Item {
    item(json!({"pk": {"S": "1"}, "lines": container}))
}

/// Returns the text of an item. Two texts are equal only if all values are, with every digit.
fn text(image: &Item) -> String {
    item_to_json(image).to_string()
}

#[test]
fn every_kind_of_change_works_in_a_list_and_in_a_map() {
    let before = json!({"M": {
        "sku": {"S": "a"}, "qty": {"S": "2"}, "tmp": {"L": []}, "due": {"S": "1970-01-02"}, "name": {"N": "1.50"},
        "other": {"N": "0.10"}
    }});
    let after = json!({"M": {
        "product_id": {"S": "a"}, "qty": {"N": "2"}, "due": {"S": "1970-01-02"}, "cur": {"S": "EUR"},
        "name": {"N": "1.50"}, "label": {"S": "1/1.5"}, "doc": {"M": {"due_at": {"N": "86400"}}}, "other": {"N": "0.10"}
    }});
    let plan = plan(&[MOVE, SET, REMOVE, CONVERT, INTO, COMPUTE]);
    assert_eq!(plan.changes.len(), 1, "one change for each container");
    for (before, after) in [
        (json!({"L": [before, after]}), json!({"L": [after, after]})),
        (json!({"M": {"x": before, "y": after}}), json!({"M": {"x": after, "y": after}})),
    ] {
        let (before, after) = (lines(before), lines(after));
        let write = written(&plan, &before);
        assert_eq!(write.actions.len(), 1, "one value for the whole container");
        assert_eq!(write.actions[0].path(), Some(&path("lines")));
        assert_eq!(text(&check(&write, &before)), text(&after));
        assert_eq!(expand(&plan).decide(&after), Decision::AlreadyApplied);
        assert!(verdict(&plan, &before).is_mismatch());
        assert_eq!(verdict(&plan, &after), Verdict::Matching);
        let Decision::Write(back) = undo(&plan).decide_with(&after, &history_of(&[&write])) else { panic!() };
        assert_eq!(text(&check(&back, &after)), text(&before));
    }
}

/// Lists of zero, one and fifty elements, some with a currency, some with an element that is not a map.
#[test]
fn a_default_in_every_line_of_a_basket() {
    let plan = plan(&[SET]);
    for n in 0..60_usize {
        let line = |k: usize, with_default: bool| {
            let mut line = json!({"M": {"qty": {"N": k.to_string()}}});
            if k.is_multiple_of(5) {
                line["M"]["cur"] = json!({"S": "USD"});
            } else if with_default {
                line["M"]["cur"] = json!({"S": "EUR"});
            }
            line
        };
        let basket = |with_default: bool| {
            let mut all: Vec<Json> = (0..[0, 1, 50][n % 3]).map(|k| line(k, with_default)).collect();
            all.extend((n % 10 == 9).then(|| json!({"S": "note"})));
            lines(json!({"L": all}))
        };
        let (before, after) = (basket(false), basket(true));
        match expand(&plan).decide(&before) {
            Decision::Write(write) => assert_eq!(text(&check(&write, &before)), text(&after)),
            Decision::NothingToDo | Decision::Skipped(_) => assert_eq!(before, after),
            other => panic!("{other:?}"),
        }
        assert!(!matches!(expand(&plan).decide(&after), Decision::Write(_)));
        assert!(!verdict(&plan, &after).is_mismatch());
    }
}

#[test]
fn without_a_container_there_is_nothing_to_do() {
    let all = plan(&[MOVE, SET, REMOVE]);
    let computed = plan(&[CONVERT]);
    let without = item(json!({"pk": {"S": "1"}}));
    for plan in [&all, &computed] {
        for image in [&without, &lines(json!({"NULL": true})), &lines(json!({"L": []})), &lines(json!({"M": {}}))] {
            assert_eq!(expand(plan).decide(image), Decision::NothingToDo);
            assert_eq!(verdict(plan, image), Verdict::Matching);
        }
    }
    for other in [json!({"S": "secret"}), json!({"N": "7"}), json!({"SS": ["a"]}), json!({"BOOL": true})] {
        let image = lines(other);
        assert_eq!(expand(&all).decide(&image), Decision::NothingToDo);
        let Decision::NotComputable(why) = expand(&computed).decide(&image) else { panic!("{image:?}") };
        assert!(why.reason().contains("`lines` is of type") && !why.reason().contains("secret"), "{why}");
        assert_eq!(verdict(&computed, &image), Verdict::Stale);
    }
}

#[test]
fn an_element_that_is_not_a_map_stays() {
    let others =
        json!([{"S": "note"}, {"N": "1.0"}, {"NULL": true}, {"L": [{"M": {"sku": {"S": "x"}}}]}, {"SS": ["a"]}]);
    let image = lines(json!({"L": others}));
    assert_eq!(expand(&plan(&[MOVE, SET, REMOVE, CONVERT, INTO, COMPUTE])).decide(&image), Decision::NothingToDo);
    // The expression has no result for a text.
    let unguarded = "each = \"lines[*]\"\ncompute = \"a\"\nas = 'element.name'";
    let Decision::NotComputable(why) = expand(&plan(&[unguarded])).decide(&image) else { panic!() };
    assert_eq!(why.reason(), "in `lines[0]`: `element.name` is missing");
    let in_map = lines(json!({"M": {"secret": {"S": "note"}}}));
    let Decision::NotComputable(why) = expand(&plan(&[unguarded])).decide(&in_map) else { panic!() };
    assert_eq!(why.reason(), "in a value of `lines`: `element.name` is missing");
}

#[test]
fn a_different_value_at_a_target_diverges_or_counts_as_done_or_is_overwritten() {
    let image = lines(json!({"L": [{"M": {"sku": {"S": "a"}, "product_id": {"S": "b"}}}, {"M": {"sku": {"S": "c"}}}]}));
    let with = |on_existing: &str| plan(&[&format!("{MOVE}\non_existing = \"{on_existing}\"")]);
    assert_eq!(expand(&with("keep")).decide(&image), Decision::Diverged(vec![path("lines[0].product_id")]));
    assert_eq!(verdict(&with("keep"), &image), Verdict::Stale);
    let skipped = check(&written(&with("skip"), &image), &image);
    assert_eq!(
        skipped,
        lines(json!({"L": [
            {"M": {"sku": {"S": "a"}, "product_id": {"S": "b"}}}, {"M": {"product_id": {"S": "c"}}}
        ]}))
    );
    assert_eq!(expand(&with("skip")).decide(&skipped), Decision::Skipped(vec![path("lines")]));
    assert_eq!(verdict(&with("skip"), &skipped), Verdict::Skipped);
    let overwritten = check(&written(&with("overwrite"), &image), &image);
    assert_eq!(
        overwritten,
        lines(json!({"L": [{"M": {"product_id": {"S": "a"}}}, {"M": {"product_id": {"S": "c"}}}]}))
    );
}

/// The report names the first element of a list. The names in a map are often data, so the report names the map only.
#[test]
fn a_report_names_the_first_target_that_differs() {
    let set = "each = \"lines[*]\"\nset = \"cur\"\nvalue = \"EUR\"\non_existing = \"keep\"";
    let note = "each = \"lines[*]\"\nset = \"b.note\"\nvalue = 1\non_existing = \"keep\"";
    let differs = json!({"M": {"cur": {"S": "USD"}, "b": {"M": {"note": {"N": "2"}}}}});
    for changes in [[set, note], [note, set]] {
        let decide = |container: Json| expand(&plan(&changes)).decide(&lines(container));
        let list = decide(json!({"L": [{"S": "x"}, {"M": {}}, differs, differs]}));
        assert_eq!(list, Decision::Diverged(vec![path("lines[2].b.note")]));
        let found = compare(&plan(&changes), &lines(json!({"L": [{"M": {}}, differs, differs]})));
        assert_eq!(found.paths, [(path("lines[1].b.note"), Verdict::Stale)]);
        let found = compare(&plan(&changes), &lines(json!({"M": {"secret": differs}})));
        assert_eq!(found.paths, [(path("lines"), Verdict::Stale)]);
        assert_eq!(decide(json!({"M": {"secret": differs}})), Decision::Diverged(vec![path("lines")]));
    }
}

#[test]
fn a_null_counts_as_missing_only_if_the_plan_says_so() {
    let image = lines(json!({"L": [{"M": {"doc": {"NULL": true}}}, {"M": {"doc": {"M": {"cur": {"NULL": true}}}}}]}));
    let change = "each = \"lines[*]\"\nset = \"doc.cur\"\nvalue = \"EUR\"";
    let Decision::Rejected(why) = expand(&plan(&[change])).decide(&image) else { panic!() };
    assert_eq!(why, "in `lines[0]`: `doc.cur` cannot be set: `doc` is of type NULL, not M");
    let filled = plan(&[&format!("{change}\nnull_is_missing = true")]);
    let doc = json!({"M": {"doc": {"M": {"cur": {"S": "EUR"}}}}});
    assert_eq!(check(&written(&filled, &image), &image), lines(json!({"L": [doc, doc]})));
}

/// A live writer changes, adds, appends or removes an element, or removes the container, before the write arrives.
#[test]
fn the_write_is_conditional_on_the_container_and_on_every_input() {
    let plan = plan(&[MOVE, "each = \"lines[*]\"\ncompute = \"rate\"\nas = 'has(item.rate) ? item.rate : 0'"]);
    let image = item(json!({"pk": {"S": "1"}, "rate": {"N": "2"}, "lines": {"L": [{"M": {"sku": {"S": "a"}}}]}}));
    let write = written(&plan, &image);
    let after = check(&write, &image);
    for (name, value) in [
        ("lines", json!({"L": [{"M": {"sku": {"S": "b"}}}]})),
        ("lines", json!({"L": [{"M": {"sku": {"S": "a"}, "x": {"N": "1"}}}]})),
        ("lines", json!({"L": [{"M": {"sku": {"S": "a"}}}, {"M": {"sku": {"S": "b"}}}]})),
        ("lines", json!({"L": []})),
        ("rate", json!({"N": "3"})),
    ] {
        let mut raced = image.clone();
        raced.insert(name.to_owned(), Value::from_json(&value).unwrap());
        assert_eq!(update(&write, Some(&raced)), None);
    }
    for name in ["lines", "rate"] {
        let mut raced = image.clone();
        raced.remove(name);
        assert_eq!(update(&write, Some(&raced)), None);
    }
    assert_eq!(expand(&plan).decide(&after), Decision::AlreadyApplied, "a lost reply is resolved");
}

#[test]
fn undo_restores_only_what_this_migration_wrote() {
    let plan = plan(&[MOVE]);
    let line = |name: &str, value: &str| json!({"M": {name: {"S": value}}});
    let first = lines(json!({"L": [line("sku", "a")]}));
    let write = written(&plan, &first);
    let history = history_of(&[&write]);
    let after = check(&write, &first);
    // A live writer appended a line since.
    let appended = lines(json!({"L": [line("product_id", "a"), line("product_id", "b")]}));
    assert_eq!(undo(&plan).decide_with(&appended, &history), Decision::Diverged(vec![path("lines")]));
    let gone = item(json!({"pk": {"S": "1"}}));
    assert_eq!(undo(&plan).decide_with(&gone, &history), Decision::Diverged(vec![path("lines")]));
    assert_eq!(undo(&plan).decide_with(&after, &ItemHistory::default()), Decision::NothingToDo);
    assert_eq!(undo(&plan).decide_with(&first, &history), Decision::AlreadyApplied);
}

/// A live writer extends a container that the tool has written, and a second pass changes it. The container before the
/// second pass then has elements that the first pass changed. To restore it would keep a part of the migration.
#[test]
fn undo_reports_a_container_that_was_extended_between_two_writes() {
    let line = |name: &str, value: &str| json!({"M": {name: {"S": value}}});
    for (changes, first, extended) in [
        (MOVE, json!([line("sku", "a")]), json!([line("product_id", "a"), line("sku", "b")])),
        (REMOVE, json!([line("tmp", "1"), line("tmp", "2")]), json!([{"M": {}}, {"M": {}}, line("tmp", "3")])),
    ] {
        let plan = plan(&[changes]);
        let (first, extended) = (lines(json!({"L": first})), lines(json!({"L": extended})));
        let one = written(&plan, &first);
        let two = written(&plan, &extended);
        let after = check(&two, &extended);
        let left = Decision::Diverged(vec![path("lines")]);
        for origins in [[PreImageOrigin::Run, PreImageOrigin::Run], [PreImageOrigin::Repair, PreImageOrigin::Run]] {
            let rows = [&two, &one]
                .into_iter()
                .zip(origins)
                .flat_map(|(write, origin)| write.pre_images.iter().map(move |pre| (origin, pre.clone())));
            let history = ItemHistory::new([], rows);
            assert_eq!(undo(&plan).decide_with(&after, &history), left);
            // The second write did not arrive: the elements that the first write changed are still there.
            assert_eq!(undo(&plan).decide_with(&extended, &history), left);
        }
    }
}

/// Every container before a write is the one that the tool wrote last, so the first one is the application's.
#[test]
fn undo_restores_the_first_container_of_a_chain() {
    let computed = "each = \"lines[*]\"\ncompute = \"rate\"\nas = 'has(item.rate) ? item.rate : 0'\n\
                    on_existing = \"overwrite\"";
    let plan = plan(&[MOVE, computed]);
    let image = |rate: &str, lines: Json| item(json!({"pk": {"S": "1"}, "rate": {"N": rate}, "lines": lines}));
    let first = image("1", json!({"L": [{"M": {"sku": {"S": "a"}}}]}));
    // The first write was sent twice: the first reply was lost, or the first request never arrived.
    let (lost, one) = (written(&plan, &first), written(&plan, &first));
    let mut changed = check(&one, &first);
    changed.insert("rate".to_owned(), Value::N(Num::parse("2").unwrap()));
    let two = written(&plan, &changed);
    let after = check(&two, &changed);
    let history = history_of(&[&lost, &one, &two]);
    let Decision::Write(back) = undo(&plan).decide_with(&after, &history) else { panic!() };
    assert_eq!(check(&back, &after).get("lines"), first.get("lines"));
}

/// Without a change that destroys values, a plan keeps its own next step. Otherwise it ends as an in-place plan does.
#[test]
fn a_plan_that_replaces_members_works_in_place_with_every_strategy() {
    let over = SET.replace("skip", "overwrite");
    for (changes, kind) in [
        (MOVE, PlanKind::InPlace),
        (REMOVE, PlanKind::InPlace),
        (CONVERT, PlanKind::InPlace),
        (&over, PlanKind::InPlace),
        (SET, PlanKind::SetOnly),
        (INTO, PlanKind::SetOnly),
    ] {
        let plan = plan(&[changes]);
        assert_eq!(PlanKind::new(Strategy::ExpandContract, &plan.changes, false), kind, "{changes}");
    }
}

#[test]
fn verification_finds_each_planted_defect() {
    let plan = plan(&[MOVE, SET, REMOVE, CONVERT]);
    let good = json!({"M": {"product_id": {"S": "a"}, "cur": {"S": "EUR"}, "qty": {"N": "1"}}});
    assert_eq!(verdict(&plan, &lines(json!({"L": [good, good]}))), Verdict::Matching);
    for (name, value, expected) in [
        ("sku", json!({"S": "a"}), Verdict::Unexpected),
        ("sku", json!({"S": "b"}), Verdict::Stale),
        ("tmp", json!({"S": "b"}), Verdict::Unexpected),
        ("qty", json!({"S": "1"}), Verdict::Stale),
        ("qty", json!({"S": "one"}), Verdict::Stale),
        ("cur", Json::Null, Verdict::Missing),
        ("cur", json!({"S": "USD"}), Verdict::Skipped),
    ] {
        let mut bad = good.clone();
        match value {
            Json::Null => drop(bad["M"].as_object_mut().unwrap().remove(name)),
            value => bad["M"][name] = value,
        }
        assert_eq!(verdict(&plan, &lines(json!({"L": [good, bad, good]}))), expected, "{name}");
    }
}

#[test]
fn a_repair_removes_values_only_if_it_is_asked_to() {
    let plan = plan(&[MOVE, REMOVE]);
    let repair = Repair::new(&plan.changes, plan.strategy, Truth::Old, key(), Vec::new());
    let decide = |repair: &Repair, line: Json| {
        let image = lines(json!({"L": [line]}));
        match repair.decide(&image, &ItemHistory::default()) {
            Decision::Write(write) => Ok(check(&write, &image)),
            other => Err(Box::new(other)),
        }
    };
    let fixed = lines(json!({"L": [{"M": {"product_id": {"S": "a"}}}]}));
    let left = Err(Box::new(Decision::Diverged(vec![path("lines")])));
    assert_eq!(decide(&repair, json!({"M": {"sku": {"S": "a"}}})), Ok(fixed.clone()));
    for line in [
        json!({"M": {"product_id": {"S": "a"}, "tmp": {"S": "x"}}}),
        json!({"M": {"product_id": {"S": "a"}, "sku": {"S": "a"}}}),
    ] {
        assert_eq!(decide(&repair, line.clone()), left);
        assert_eq!(decide(&repair.clone().with_removals(), line), Ok(fixed.clone()));
    }
    let other = json!({"M": {"product_id": {"S": "a"}, "sku": {"S": "b"}}});
    let place = Err(Box::new(Decision::Diverged(vec![path("lines[0].product_id")])));
    assert_eq!(decide(&repair.with_removals(), other), place, "a live writer's value stays");
}

#[test]
fn a_container_that_makes_the_item_too_large_is_not_sent() {
    let plan = plan(&["each = \"lines[*]\"\nset = \"note\"\nvalue = \"0123456789\""]);
    let image = lines(json!({"L": vec![json!({"M": {"a": {"S": "x".repeat(20)}}}); 12_000]}));
    assert!(matches!(expand(&plan).decide(&image), Decision::Refused(_, Rule::ItemSize { .. })));
}

/// The new container is not built once its new values alone are larger than an item.
#[test]
fn a_large_value_is_not_copied_into_every_element() {
    let large = "x".repeat(150_000);
    let set = format!("each = \"lines[*]\"\nset = \"note\"\nvalue = \"{large}\"");
    let computed = "each = \"lines[*]\"\ncompute = \"note\"\nas = 'has(item.large) ? string(item.large) : \"?\"'";
    for changes in [set.as_str(), computed] {
        let plan = plan(&[changes]);
        for elements in [
            json!({"L": [{"M": {}}, {"M": {}}, {"M": {}}]}),
            json!({"M": {"a": {"M": {}}, "b": {"M": {}}, "c": {"M": {}}}}),
        ] {
            let image = item(json!({"pk": {"S": "1"}, "large": {"S": large}, "lines": elements}));
            let edited = plan.changes[0].each().unwrap().edit(&image, &crate::expr::Facts::default()).unwrap();
            assert!(edited.after.is_none());
            assert!(matches!(expand(&plan).decide(&image), Decision::Refused(_, Rule::ItemSize { .. })));
            assert_eq!(verdict(&plan, &image), Verdict::Missing);
        }
    }
}

#[test]
fn the_conditions_of_a_container_apply_to_the_whole_write() {
    let condition = "where = 'has(item.kind) && item.kind == \"order\"'";
    let plan = plan(&[&format!("{MOVE}\n{condition}"), &format!("{SET}\n{condition}")]);
    let image =
        |kind: &str| item(json!({"pk": {"S": "1"}, "kind": {"S": kind}, "lines": {"L": [{"M": {"sku": {"S": "a"}}}]}}));
    assert_eq!(expand(&plan).decide(&image("user")), Decision::NothingToDo);
    let write = written(&plan, &image("order"));
    assert_eq!(update(&write, Some(&image("user"))), None);
}

/// What the plan of the property test makes of an element, computed in another way.
fn expected(element: &Value) -> Value {
    let Value::M(before) = element else { return element.clone() };
    let mut after = before.clone();
    if let Some(sku) = after.remove("sku") {
        after.insert("product_id".to_owned(), sku);
    }
    after.remove("tmp");
    after.entry("cur".to_owned()).or_insert_with(|| Value::S("EUR".to_owned()));
    if let Some(Value::S(digits)) = before.get("qty") {
        after.insert("qty".to_owned(), Value::N(Num::parse(digits).unwrap()));
    }
    let kind = if before.contains_key("name") { "named" } else { "unnamed" };
    after.insert("kind".to_owned(), Value::S(kind.to_owned()));
    Value::M(after)
}

const KIND: &str = "each = \"lines[*]\"\ncompute = \"kind\"\nas = 'has(element.name) ? \"named\" : \"unnamed\"'\n\
                    on_existing = \"overwrite\"";
const MOVE_OVER: &str = "each = \"lines[*]\"\nmove = \"sku\"\nto = \"product_id\"\non_existing = \"overwrite\"";

fn any_value() -> impl Generator<Value = Value> {
    let number = || prop_oneof!["-?[1-9][0-9]{0,37}", "0\\.0{0,9}[1-9]0{0,3}", Just("1.50".to_owned())];
    let leaf = prop_oneof![
        ".{0,4}".prop_map(Value::S),
        number().prop_map(|text| Value::N(Num::from_wire(text))),
        any::<Vec<u8>>().prop_map(Value::B),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        Just(Value::Ss(vec!["b".to_owned(), "a".to_owned()])),
        number().prop_map(|text| Value::Ns(vec![Num::from_wire(text)])),
        Just(Value::Bs(vec![vec![0], vec![1, 2]])),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::L),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..3).prop_map(Value::M),
        ]
    })
}

/// An element: a map with some of the members that the plan reads or writes, or any value.
fn any_element() -> impl Generator<Value = Value> {
    let quantity = prop_oneof![
        "[1-9][0-9]{0,37}".prop_map(Value::S),
        "[1-9][0-9]{0,37}".prop_map(|text| Value::N(Num::from_wire(text)))
    ];
    let members = (
        proptest::option::of(any_value()),
        proptest::option::of(any_value()),
        proptest::option::of(any_value()),
        proptest::option::of(any_value()),
        proptest::option::of(quantity),
        proptest::option::of(any_value()),
        proptest::option::of(any_value()),
    );
    let map = members.prop_map(|(sku, product, tmp, currency, quantity, name, other)| {
        let named = [
            ("sku", sku),
            ("product_id", product),
            ("tmp", tmp),
            ("cur", currency),
            ("qty", quantity),
            ("name", name),
            ("other", other),
        ];
        Value::M(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    });
    prop_oneof![4 => map, 1 => any_value()]
}

fn any_container() -> impl Generator<Value = Option<Value>> {
    prop_oneof![
        4 => proptest::collection::vec(any_element(), 0..6).prop_map(|list| Some(Value::L(list))),
        4 => proptest::collection::btree_map(".{1,3}", any_element(), 0..6).prop_map(|map| Some(Value::M(map))),
        1 => any_value().prop_map(Some),
        1 => Just(None),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    /// The written container is the expected one. A second run writes nothing, verification agrees, the order of the
    /// changes has no meaning, and undo restores the item byte for byte.
    #[test]
    fn a_container_changes_exactly_once_and_back(
        container in any_container(),
        order in Just(vec![MOVE_OVER, SET, REMOVE, CONVERT, KIND]).prop_shuffle(),
    ) {
        let plan = plan(&order);
        let mut before = item(json!({"pk": {"S": "1"}, "untouched": {"N": "1.50"}}));
        before.extend(container.clone().map(|value| ("lines".to_owned(), value)));
        let mut after = before.clone();
        match after.get_mut("lines") {
            Some(Value::L(list)) => list.iter_mut().for_each(|element| *element = expected(element)),
            Some(Value::M(map)) => map.values_mut().for_each(|element| *element = expected(element)),
            _ => {}
        }
        let is_container = matches!(container, None | Some(Value::L(_) | Value::M(_) | Value::Null));
        let changes = expand(&plan);
        match changes.decide(&before) {
            Decision::Write(write) => {
                let found = check(&write, &before);
                prop_assert_eq!(text(&found), text(&after));
                prop_assert!(verdict(&plan, &before).is_mismatch());
                let history = history_of(&[&write]);
                let Decision::Write(back) = undo(&plan).decide_with(&found, &history) else { panic!("not undone") };
                prop_assert_eq!(text(&check(&back, &found)), text(&before));
                prop_assert_eq!(write.bytes_after, crate::item::item_bytes(&after));
            }
            Decision::NotComputable(_) => prop_assert!(!is_container),
            Decision::NothingToDo | Decision::AlreadyApplied | Decision::Skipped(_) => {
                prop_assert!(is_container);
                prop_assert_eq!(text(&before), text(&after));
            }
            other => panic!("{other:?}"),
        }
        if is_container {
            prop_assert!(!matches!(changes.decide(&after), Decision::Write(_)));
            prop_assert!(!verdict(&plan, &after).is_mismatch());
        }
    }

    /// With every `on_existing`, a container that was written needs no second write.
    #[test]
    fn the_function_of_a_container_is_idempotent(
        container in any_container(),
        existing in prop_oneof![Just("keep"), Just("skip"), Just("overwrite")],
        null_is_missing in any::<bool>(),
    ) {
        let more = format!("on_existing = \"{existing}\"\nnull_is_missing = {null_is_missing}");
        let moved = format!("each = \"lines[*]\"\nmove = \"sku\"\nto = \"other.sku\"\n{more}");
        let set = format!("each = \"lines[*]\"\nset = \"name.cur\"\nvalue = 1\n{more}");
        let copied = format!(
            "each = \"lines[*]\"\ncompute = \"product_id\"\n\
             as = 'type(element.tmp) == \"MISSING\" ? item.pk : type(element.tmp)'\n{more}"
        );
        let plan = plan(&[&moved, &set, &copied]);
        let mut before = item(json!({"pk": {"S": "1"}}));
        before.extend(container.map(|value| ("lines".to_owned(), value)));
        if let Decision::Write(write) = expand(&plan).decide(&before) {
            let after = check(&write, &before);
            let again = expand(&plan).decide(&after);
            prop_assert!(matches!(again, Decision::AlreadyApplied | Decision::Skipped(_)), "{:?}", again);
            prop_assert!(!verdict(&plan, &after).is_mismatch());
        }
    }

    /// The changes of an accepted plan give the same container in any order, and when they are made twice.
    #[test]
    fn an_accepted_plan_does_not_depend_on_order_or_repetition(
        (changes, shuffled) in proptest::collection::vec(any_change(), 1..4)
            .prop_flat_map(|changes| (Just(changes.clone()), Just(changes).prop_shuffle())),
        existing in prop_oneof![Just("keep"), Just("skip"), Just("overwrite")],
    ) {
        let load = |changes: &[String]| {
            let changes: String = changes.iter().map(|change| format!("[[change]]\neach = \"l[*]\"\n{change}\n")).collect();
            load("p", &format!(
                "[migration]\nname = \"m\"\non_existing = \"{existing}\"\non_not_computable = \"fail\"\n\
                 [table]\nname = \"shop\"\n{changes}"
            ))
        };
        let (first, second) = (load(&changes), load(&shuffled));
        prop_assert_eq!(first.is_ok(), second.is_ok());
        let (Ok(first), Ok(second)) = (first, second) else { return Ok(()) };
        prop_assert_eq!(first.plan.fingerprint(), second.plan.fingerprint());
        let (first, second) = (first.plan.changes[0].each().unwrap(), second.plan.changes[0].each().unwrap());
        let element = json!({"M": {
            "a": {"M": {"x": {"N": "1"}, "y": {"M": {}}}}, "b": {"M": {"x": {"S": "2"}}}, "c": {"S": "3"},
            "l": {"L": [{"M": {"z": {"BOOL": true}}}, {"S": "5"}]}
        }});
        let mut image = item(json!({"l": {"L": [element, {"S": "a note"}, {"M": {}}]}}));
        let facts = crate::expr::Facts::default();
        let once = first.edit(&image, &facts);
        match (&once, &second.edit(&image, &facts)) {
            (Ok(one), Ok(other)) => prop_assert_eq!(one, other),
            // The reasons may differ, because an item can have several.
            (Err(EditFailure::NotComputable(_)), Err(EditFailure::NotComputable(_)))
            | (Err(EditFailure::Rejected(_)), Err(EditFailure::Rejected(_))) => {}
            (one, other) => panic!("{one:?} and {other:?}"),
        }
        if let Ok(Edited { after: Some(after), has_diverged: false, .. }) = once {
            image.insert("l".to_owned(), after);
            let again = first.edit(&image, &facts).unwrap();
            prop_assert!(again.after.is_none() && !again.has_diverged, "{:?}", again);
        }
    }
}

/// A change in each element that may or may not fit to the others.
fn any_change() -> impl Generator<Value = String> {
    let path = || proptest::sample::select(vec!["a", "b", "a.x", "a.y", "b.x", "c", "d", "d.e", "l", "l[0].z"]);
    prop_oneof![
        (path(), path()).prop_map(|(from, to)| format!("move = \"{from}\"\nto = \"{to}\"")),
        path().prop_map(|to| format!("set = \"{to}\"\nvalue = 7")),
        path().prop_map(|path| format!("remove = \"{path}\"")),
        (path(), path()).prop_map(|(from, to)| {
            format!("compute = \"{to}\"\nas = 'has(element.{from}) ? type(element.{from}) : \"none\"'")
        }),
        path().prop_map(|path| format!("convert = \"{path}\"\nto = \"JSON\"")),
        (path(), path()).prop_map(|(from, to)| format!("convert = \"{from}\"\nto = \"JSON\"\ninto = \"{to}\"")),
    ]
}
