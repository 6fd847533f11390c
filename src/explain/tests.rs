use std::path::Path as FilePath;

use proptest::prelude::*;
use proptest::strategy::Strategy as Generator;
use serde_json::{Value as Json, json};

use super::*;
use crate::change::{Decision, OnExisting, PreImage, PreImageOrigin, render};
use crate::item::{IndexSchema, KeyAttribute, KeySchema, Projection, item_from_json};
use crate::passes::{PredictedOutcome, Prediction};
use crate::plan::{Plan, load};

/// A text that is part of every value of an item, except its key.
const SECRET: &str = "S3CRET";

fn plan(migration: &str, changes: &str) -> Plan {
    let text = format!(
        "[migration]\nname = \"m\"\n{migration}\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n{}",
        changes.replace("; ", "\n")
    );
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

fn key() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "pk".into(), kind: "S".into() }, sort: None }
}

fn index(name: &str, key: &str, local: bool) -> IndexSchema {
    let key = vec![KeyAttribute { name: key.into(), kind: "S".into() }];
    IndexSchema { name: name.into(), key, partition: 1, projection: Projection::All, local }
}

fn changes(pass: ExplainedPass, plan: &Plan, indexes: Vec<IndexSchema>) -> Changes {
    let of = match pass {
        ExplainedPass::Expand => Changes::for_expand,
        ExplainedPass::Contract => Changes::for_contract,
        ExplainedPass::Undo => Changes::for_undo,
        ExplainedPass::OldFromNew => Changes::for_old_from_new,
    };
    of(&plan.changes, plan.strategy, key(), indexes)
}

fn item(json: Json) -> Item {
    item_from_json(&json).unwrap()
}

fn report<'a>(plan: &'a Plan, pass: ExplainedPass, explanations: &'a [Explanation]) -> ExplainReport<'a> {
    ExplainReport {
        plan,
        plan_path: FilePath::new("plan.toml"),
        pass,
        table_arn: Some("arn:aws:dynamodb:eu-west-1:123456789012:table/shop"),
        records: RecordSource::NotNeeded,
        state_path: FilePath::new("m.db"),
        explanations,
        more: false,
        show_values: false,
    }
}

fn text(report: ExplainReport<'_>) -> String {
    let mut out = Vec::new();
    report.write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Explains an item of a table with a global index and a local one.
fn explain(pass: ExplainedPass, plan: &Plan, image: Json) -> Explanation {
    let changes = changes(pass, plan, vec![index("by-new", "new", false), index("by-day", "day", true)]);
    Explanation::of_item(pass, plan, &changes, &item(image), &ItemHistory::default())
}

const MOVE: &str = "[[change]]; move = \"old\"; to = \"new\"; ";

#[test]
fn a_write_is_shown_as_it_is_sent() {
    let plan = plan("", &format!("{MOVE}[[change]]; set = \"tier\"; value = \"free\"; "));
    let image = json!({"pk": {"S": "a\n"}, "old": {"S": SECRET}, "day": {"S": "x"}});
    let explanations = [explain(ExplainedPass::Expand, &plan, image)];
    insta::assert_snapshot!(text(report(&plan, ExplainedPass::Expand, &explanations)));
}

#[test]
fn an_item_without_a_write_says_why() {
    let keep = plan("", MOVE);
    let skip = plan("on_existing = \"skip\"", MOVE);
    let nested = plan("", "[[change]]; copy = \"old\"; to = \"doc.new\"; ");
    let key = ItemKey::new(item(json!({"pk": {"S": "gone"}})));
    let explanations = [
        explain(ExplainedPass::Expand, &keep, json!({"pk": {"S": "1"}})),
        explain(ExplainedPass::Expand, &keep, json!({"pk": {"S": "2"}, "old": {"S": "x"}, "new": {"S": "x"}})),
        explain(ExplainedPass::Expand, &keep, json!({"pk": {"S": "3"}, "old": {"S": "x"}, "new": {"N": "1"}})),
        explain(ExplainedPass::Expand, &skip, json!({"pk": {"S": "4"}, "old": {"S": "x"}, "new": {"N": "1"}})),
        explain(ExplainedPass::Expand, &nested, json!({"pk": {"S": "5"}, "old": {"S": "x"}, "doc": {"S": "text"}})),
        // The new attribute is the key of an index, and a key cannot be a number where the index has strings.
        explain(ExplainedPass::Expand, &keep, json!({"pk": {"S": "6"}, "old": {"N": "5"}})),
        explain(ExplainedPass::Expand, &keep, json!({"old": {"S": "x"}})),
        Explanation::of_missing_item(
            ExplainedPass::Expand,
            &keep.changes,
            &changes(ExplainedPass::Expand, &keep, Vec::new()),
            key,
            &ItemHistory::default(),
        ),
    ];
    let report = ExplainReport { more: true, ..report(&keep, ExplainedPass::Expand, &explanations) };
    insta::assert_snapshot!(text(report));
}

#[test]
fn passes_with_records_say_where_these_come_from() {
    let plan = plan("strategy = \"in-place\"", MOVE);
    let image = item(json!({"pk": {"S": "1"}, "new": {"S": SECRET}}));
    let undo = changes(ExplainedPass::Undo, &plan, Vec::new());
    let of = |history: &ItemHistory| Explanation::of_item(ExplainedPass::Undo, &plan, &undo, &image, history);
    let without = of(&ItemHistory::default());
    let unreadable = of(&ItemHistory::unreadable("a row is damaged"));
    assert_eq!(without.verdict.class, Some(PredictedOutcome::NothingToDo), "{without:?}");
    let unread = Some("its record in the state file cannot be read: a row is damaged; the item was not written");
    assert_eq!(unreadable.verdict.reason.as_deref(), unread);
    let explanations = [without, unreadable];
    for (records, expected, recorded) in [
        (RecordSource::State, "records      from m.db", [json!(false), json!(null)]),
        (
            RecordSource::NoState,
            "records      none, because the state file m.db does not exist",
            [json!(false), json!(null)],
        ),
    ] {
        let report = ExplainReport { records, ..report(&plan, ExplainedPass::Undo, &explanations) };
        let text = text(report);
        assert!(text.contains(expected) && text.contains("record       cannot be read: a row is damaged"), "{text}");
        let json = report.to_json();
        assert_eq!([&json["items"][0]["recorded"], &json["items"][1]["recorded"]], [&recorded[0], &recorded[1]]);
    }
}

/// Explains what the plan does with an item that has this history.
fn explain_by_rules(pass: ExplainedPass, plan: &Plan, image: &Item, history: &ItemHistory) -> String {
    let changes = changes(pass, plan, Vec::new()).with_rules(plan.item_rules());
    Explanation::of_item(pass, plan, &changes, image, history).verdict.summary
}

/// A skipped value of an `each` change is inside an element, not at the container.
#[test]
fn a_skipped_value_in_an_element_is_described_as_such() {
    let each = "[[change]]; each = \"lines[*]\"; move = \"sku\"; to = \"id\"; on_existing = \"skip\"; ";
    let plan = plan("", each);
    let line = json!({"M": {"sku": {"S": "a"}, "id": {"S": "b"}}});
    let image = item(json!({"pk": {"S": "1"}, "lines": {"L": [line]}}));
    let said = explain_by_rules(ExplainedPass::Expand, &plan, &image, &ItemHistory::default());
    let expected =
        "an element of `lines` already has a different value at a target of the change, and `on_existing = \"skip\"`";
    assert!(said.starts_with(expected), "{said}");
}

/// If a stable attribute of an item has changed, the passes after `run` say that they do not rely on the selection.
#[test]
fn a_changed_stable_attribute_is_named() {
    let select = "[select]; where = 'type(item.kind) == \"S\" && item.kind == \"order\"'; stable = [\"kind\"]; ";
    let plan = plan("", &format!("{select}{MOVE}"));
    let now = item(json!({"pk": {"S": "1"}, "kind": {"S": "invoice"}, "old": {"S": "x"}, "new": {"S": "x"}}));
    let path: Path = "kind".parse().unwrap();
    let record = |value: &str| {
        let recorded = PreImage::of_stable(&path, Some(&Value::S(value.to_owned())));
        ItemHistory::new([], [(PreImageOrigin::Run, recorded)])
    };
    for pass in [ExplainedPass::Contract, ExplainedPass::Undo, ExplainedPass::OldFromNew] {
        let said = explain_by_rules(pass, &plan, &now, &record("order"));
        assert!(said.contains("`kind`") && !said.contains("`where` is false"), "{pass:?}: {said}");
        let unchanged = explain_by_rules(pass, &plan, &now, &record("invoice"));
        assert!(!unchanged.contains("stable"), "{pass:?}: {unchanged}");
    }
    let said = explain_by_rules(ExplainedPass::Contract, &plan, &now, &record("invoice"));
    assert!(said.contains("`where` is false"), "{said}");
}

/// Undo does not depend on the selection. A pass without operations does not depend on it either.
#[test]
fn the_selection_is_the_reason_only_if_the_pass_depends_on_it() {
    let plan = plan("strategy = \"in-place\"", &format!("[select]; where = 'item.pk == \"other\"'; {MOVE}"));
    let image = item(json!({"pk": {"S": "1"}, "old": {"S": "x"}}));
    let say = |pass| explain_by_rules(pass, &plan, &image, &ItemHistory::default());
    assert!(say(ExplainedPass::Expand).contains("`where` is false"));
    assert!(say(ExplainedPass::Undo).starts_with("there is nothing to undo"), "{}", say(ExplainedPass::Undo));
    assert!(say(ExplainedPass::Contract).starts_with("`contract` removes nothing"), "{}", say(ExplainedPass::Contract));
    for pass in [ExplainedPass::Undo, ExplainedPass::Contract, ExplainedPass::OldFromNew] {
        assert!(!say(pass).contains("`where`"), "{pass:?}: {}", say(pass));
    }
}

/// Each pass says why it does nothing for a key without an item.
#[test]
fn a_missing_item_has_the_reason_of_its_pass() {
    let moves = plan("", MOVE);
    let deletes = plan(
        "strategy = \"in-place\"",
        "[select]; where = 'item.pk == \"1\"'; [[change]]; delete = true; writers = \"stopped\"; ",
    );
    for (pass, plan, part) in [
        (ExplainedPass::Expand, &moves, "This pass only changes items that exist"),
        (ExplainedPass::Undo, &moves, "The plan deletes no items, so another writer deleted the item"),
        (ExplainedPass::Undo, &deletes, "the journal has no deleted item with this key"),
    ] {
        let changes = changes(pass, plan, Vec::new());
        let key = ItemKey::new(item(json!({"pk": {"S": "1"}})));
        let said = Explanation::of_missing_item(pass, &plan.changes, &changes, key, &ItemHistory::default());
        assert!(said.verdict.summary.contains(part), "{:?}", said.verdict);
    }
}

#[test]
fn constants_are_shown_and_data_only_on_request() {
    let plan = plan("on_existing = \"overwrite\"", "[[change]]; set = \"doc.tier\"; value = \"free\"; ");
    let image = json!({"pk": {"S": "1"}, "doc": {"M": {"tier": {"S": SECRET}}}});
    let explanations = [explain(ExplainedPass::Expand, &plan, image)];
    let hidden = report(&plan, ExplainedPass::Expand, &explanations);
    let shown = ExplainReport { show_values: true, ..hidden };
    let values =
        |report: ExplainReport<'_>| report.to_json()["items"][0]["write"]["values"].as_array().unwrap().clone();
    let is_constant = |value: &Json| value["value"] == json!({"S": "free"}) && value["constant"] == true;
    assert!(values(hidden).iter().any(is_constant), "{:?}", values(hidden));
    assert!(text(hidden).contains("{\"S\":\"free\"} (a constant)") && !text(hidden).contains(SECRET));
    assert!(text(shown).contains(SECRET) && values(shown).iter().any(|value| value["value"] == json!({"S": SECRET})));
}

fn any_value() -> impl Generator<Value = Json> {
    let leaf = prop_oneof![
        (0..3).prop_map(|n| json!({"S": format!("{SECRET}{n}")})),
        (1..3).prop_map(|n| json!({"SS": [format!("{SECRET}{n}"), "x"]})),
        Just(json!({"NULL": true})),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            proptest::collection::btree_map("[xy]", inner.clone(), 0..3).prop_map(|map| json!({ "M": map })),
            proptest::collection::vec(inner, 0..2).prop_map(|list| json!({ "L": list })),
        ]
    })
}

fn any_item() -> impl Generator<Value = Item> {
    proptest::collection::btree_map("[a-d]", any_value(), 0..5).prop_map(|attributes| {
        let mut image = item(json!(attributes));
        image.insert("pk".into(), Value::S("1".into()));
        image
    })
}

fn any_plan() -> impl Generator<Value = Plan> {
    let changes = proptest::sample::select(vec![
        "[[change]]; move = \"a\"; to = \"b\"; ",
        "[[change]]; copy = \"a\"; to = \"b\"; [[change]]; remove = \"a\"; ",
        "[[change]]; move = \"a.x\"; to = \"b.y\"; [[change]]; set = \"c\"; value = \"free\"; ",
        "[[change]]; set = \"a.x.y\"; value = 1; [[change]]; remove = \"b\"; ",
    ]);
    let existing = proptest::sample::select(OnExisting::ALL.to_vec());
    let strategy = proptest::sample::select(vec!["expand-contract", "in-place"]);
    (changes, existing, strategy).prop_map(|(changes, existing, strategy)| {
        plan(&format!("strategy = \"{strategy}\"\non_existing = \"{}\"", existing.name()), changes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// For every item, plan and pass, the explanation contains the decision that a dry run counts and the expressions
    /// that the pass sends. Without --show-values, it contains no value.
    #[test]
    fn an_explanation_is_what_the_pass_does(
        plan in any_plan(), image in any_item(), pass in proptest::sample::select(ExplainedPass::ALL.to_vec()),
    ) {
        let changes = changes(pass, &plan, vec![index("by-b", "b", false)]);
        let history = ItemHistory::default();
        let explanations = [Explanation::of_item(pass, &plan, &changes, &image, &history)];
        let mut counted = Prediction::default();
        let class = counted.add(&image, &changes, &history);
        let verdict = &explanations[0].verdict;
        prop_assert_eq!(verdict.class, Some(class));
        match (changes.decide_with(&image, &history), &verdict.write) {
            (Decision::Write(write), Some(explained)) => {
                let expression = render(&write);
                prop_assert_eq!((&explained.update, &explained.condition), (&expression.update, &expression.condition));
                prop_assert!(explained.is_sent && explained.units() == write.cost.total());
                prop_assert_eq!(counted.write_units, explained.units());
            }
            (Decision::Refused(..), Some(explained)) => prop_assert!(!explained.is_sent),
            (decision, write) => prop_assert!(write.is_none(), "{:?} {:?}", decision, write),
        }
        for online in [true, false] {
            let report = report(&plan, pass, &explanations);
            let report = if online { report } else { ExplainReport { table_arn: None, ..report } };
            prop_assert!(!text(report).contains(SECRET) && !report.to_json().to_string().contains(SECRET));
        }
    }
}

/// The write of a `put` leaves the item unchanged, so the size after the write is that of the derived item.
#[test]
fn the_size_of_a_derived_item_is_named() {
    let plan =
        plan("", "[select]; where = 'item.pk == \"1\"'; [[change]]; put = { key = { pk = '\"E#\" + item.pk' } }; ");
    let changes = changes(ExplainedPass::Expand, &plan, Vec::new()).with_rules(plan.item_rules());
    let image = item(json!({"pk": {"S": "1"}, "email": {"S": SECRET}}));
    let explanations = [Explanation::of_item(ExplainedPass::Expand, &plan, &changes, &image, &ItemHistory::default())];
    let text = text(report(&plan, ExplainedPass::Expand, &explanations));
    assert!(text.contains("bytes, and it stays unchanged. The derived item has 5 bytes"), "{text}");
    assert!(!text.contains("after the write"), "{text}");
}

/// Before a run, `contract` keeps the old value because the new one is missing. It does not differ from anything.
#[test]
fn contract_says_that_the_new_value_is_missing() {
    let plan = plan("", MOVE);
    let missing = explain(ExplainedPass::Contract, &plan, json!({"pk": {"S": "1"}, "old": {"S": "x"}}));
    let said = &missing.verdict.summary;
    assert!(said.contains("the new value is missing") && !said.contains("differs"), "{said}");
    assert_eq!(missing.verdict.class, Some(PredictedOutcome::Diverged));
}

/// The journal records stable attributes too, but the write does not change them.
#[test]
fn the_journal_line_says_which_attributes_are_only_compared() {
    let plan = plan(
        "",
        &format!("[select]; where = 'type(item.kind) == \"S\" && item.kind == \"order\"'; stable = [\"kind\"]; {MOVE}"),
    );
    let changes = changes(ExplainedPass::Expand, &plan, Vec::new()).with_rules(plan.item_rules());
    let image = item(json!({"pk": {"S": "1"}, "kind": {"S": "order"}, "old": {"S": "x"}}));
    let explanations = [Explanation::of_item(ExplainedPass::Expand, &plan, &changes, &image, &ItemHistory::default())];
    let text = text(report(&plan, ExplainedPass::Expand, &explanations));
    assert!(text.contains("records the state of new, and kind, which never changes, before the write"), "{text}");
}
