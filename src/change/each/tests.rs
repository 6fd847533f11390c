//! Tests changes in elements against the model of `UpdateItem`.

use serde_json::{Value as Json, json};

use crate::change::tests::{check, item, key, path, update};
use crate::change::{Changes, Decision, GuardedWrite, ItemHistory, PreImageOrigin, Rule, Strategy};
use crate::item::{Item, Num, Value, item_to_json};
use crate::passes::verify::{Comparison, Parity, Repair, TableStage, Truth};
use crate::plan::{Plan, load};
use crate::playbook::PlanKind;
use crate::state::Verdict;

const MOVE: &str = "each = \"lines[*]\"\nmove = \"sku\"\nto = \"product_id\"";
pub(super) const SET: &str = "each = \"lines[*]\"\nset = \"cur\"\nvalue = \"EUR\"\non_existing = \"skip\"";
pub(super) const REMOVE: &str = "each = \"lines[*]\"\nremove = \"tmp\"";
pub(super) const CONVERT: &str = "each = \"lines[*]\"\nconvert = \"qty\"\nto = \"N\"";
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

pub(super) fn plan(changes: &[&str]) -> Plan {
    plan_with("", changes)
}

pub(super) fn expand(plan: &Plan) -> Changes {
    Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

pub(super) fn undo(plan: &Plan) -> Changes {
    Changes::for_undo(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules())
}

fn compare(plan: &Plan, image: &Item) -> Comparison {
    let parity = Parity::new(&plan.changes, plan.strategy, TableStage::Expanded, Truth::Old);
    parity.with_rules(plan.item_rules()).compare(image, &ItemHistory::default())
}

pub(super) fn verdict(plan: &Plan, image: &Item) -> Verdict {
    compare(plan, image).verdict
}

fn written(plan: &Plan, image: &Item) -> GuardedWrite {
    match expand(plan).decide(image) {
        Decision::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

pub(super) fn history_of(writes: &[&GuardedWrite]) -> ItemHistory {
    let newest_first = writes.iter().rev().flat_map(|write| &write.pre_images);
    ItemHistory::new([], newest_first.map(|pre| (PreImageOrigin::Run, pre.clone())))
}

fn lines(container: Json) -> Item {
    item(json!({"pk": {"S": "1"}, "lines": container}))
}

/// Returns the text of an item. Two texts are equal only if all values are equal, including every digit of a number.
pub(super) fn text(image: &Item) -> String {
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

/// Tests lists of zero, one and fifty elements. Some elements have a currency, and some lists have an element that is
/// not a map.
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
    // The expression has no result for a string.
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

/// With `skip`, an existing value counts as done, even if there is no result for it. Found by `tests/properties`.
#[test]
fn with_skip_an_existing_value_needs_no_result() {
    let compute = "each = \"lines[*]\"\ncompute = \"total\"\nas = 'element.price * 2'";
    let into = "each = \"lines[*]\"\nconvert = \"price\"\ninto = \"total\"\nto = \"N\"";
    for change in [compute, into] {
        let price = json!({"S": "unknown"});
        let image = |total: Json| lines(json!({"L": [{"M": {"price": price, "total": total}}]}));
        let skip = format!("{change}\non_existing = \"skip\"");
        let (there, null) = (image(json!({"N": "1"})), image(json!({"NULL": true})));
        assert_eq!(expand(&plan(&[&skip])).decide(&there), Decision::Skipped(vec![path("lines")]), "{change}");
        assert_eq!(verdict(&plan(&[&skip]), &there), Verdict::Skipped);
        let not_computable = |plan: &Plan, image: &Item| {
            assert!(matches!(expand(plan).decide(image), Decision::NotComputable(_)), "{change}");
        };
        not_computable(&plan(&[change]), &there);
        not_computable(&plan(&[&format!("{skip}\nnull_is_missing = true")]), &null);
        let missing = lines(json!({"L": [{"M": {"price": price}}]}));
        not_computable(&plan(&[&skip]), &missing);
    }
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
    // A live writer has appended a line since the write.
    let appended = lines(json!({"L": [line("product_id", "a"), line("product_id", "b")]}));
    assert_eq!(undo(&plan).decide_with(&appended, &history), Decision::Diverged(vec![path("lines")]));
    let gone = item(json!({"pk": {"S": "1"}}));
    assert_eq!(undo(&plan).decide_with(&gone, &history), Decision::Diverged(vec![path("lines")]));
    assert_eq!(undo(&plan).decide_with(&after, &ItemHistory::default()), Decision::NothingToDo);
    assert_eq!(undo(&plan).decide_with(&first, &history), Decision::AlreadyApplied);
}

/// A live writer extends a container that the tool has written, and a second pass changes the container. Before the
/// second pass, the container already has elements that the first pass changed. Undo must not restore this state,
/// because these elements would stay migrated.
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
            // If the second write did not arrive, the elements that the first write changed still exist.
            assert_eq!(undo(&plan).decide_with(&extended, &history), left);
        }
    }
}

/// Each write found the container that the tool had written before. Only the first container comes from the
/// application.
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

/// If a change in elements destroys values, the plan is an in-place plan, even with the strategy `expand-contract`. If
/// the change destroys no values, the plan is a set-only plan.
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

/// The new container is not built if its new values alone exceed the maximum size of an item.
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
