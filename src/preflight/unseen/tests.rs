use serde_json::{Value as Json, json};

use super::*;
use crate::change::ItemHistory;
use crate::dynamodb::TableDescription;
use crate::item::item_from_json;
use crate::passes::expand;
use crate::plan::load;

fn plan(settings: &str, changes: &str) -> Plan {
    let text =
        format!("[migration]\nname = \"m\"\n{settings}\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n{changes}");
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

/// Returns the findings after these items were read: the ID, and the text.
fn found(plan: &Plan, items: &[Json]) -> Vec<(&'static str, String)> {
    let changes = expand::changes(plan, &TableDescription::for_tests());
    let mut read = Prediction::default();
    for (number, image) in items.iter().enumerate() {
        let mut image = item_from_json(image).unwrap();
        let key = json!({"pk": {"S": number.to_string()}, "sk": {"S": "s"}});
        image.extend(item_from_json(&key).unwrap());
        read.add(&image, &changes, &ItemHistory::default());
    }
    let found = unseen_findings(plan, Some(&read));
    found.into_iter().map(|finding| (finding.id, finding.text())).collect()
}

/// The plan has two changes, and one of them finds its attribute. So the dry run does not say that nothing would
/// change.
#[test]
fn a_misspelt_source_is_found_although_another_change_works() {
    let plan = plan("", "[[change]]\nmove = \"customer_name\"\nto = \"name\"\n[[change]]\nset = \"tier\"\nvalue = 1\n");
    let items = [json!({"cust_name": {"S": "x"}}), json!({"cust_name": {"S": "y"}})];
    let warned = found(&plan, &items);
    let [(id, text)] = warned.as_slice() else { panic!("{warned:?}") };
    assert_eq!(*id, "unseen-attribute");
    for part in
        ["No item that was read has `customer_name` (2 items)", "would change no item: move customer_name to name"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(found(&plan, &[json!({"customer_name": {"S": "x"}}), json!({})]), [], "a single item is enough");
    assert_eq!(found(&plan, &[]), [], "nothing was read");
}

#[test]
fn a_misspelt_input_of_an_expression_is_found() {
    let plan = plan(
        "",
        "[[change]]\ncompute = \"total\"\nas = 'has(item.cents) && type(item.cents) == \"N\" ? item.cents : \
         (type(item.totla) == \"N\" ? item.totla : 0)'\n",
    );
    let warned = found(&plan, &[json!({"cents": {"N": "1"}})]);
    let [(id, text)] = warned.as_slice() else { panic!("{warned:?}") };
    assert_eq!(*id, "unseen-attribute");
    assert!(text.contains("`totla`") && text.contains("This change reads it") && !text.contains("`cents`"), "{text}");
}

#[test]
fn a_misspelt_name_in_a_where_is_found() {
    let plan = plan(
        "strategy = \"in-place\"",
        "[select]\nwhere = 'has(item.tpye)'\n[[change]]\nset = \"a\"\nvalue = 1\nwhere = '!has(item.a) && !has(item.vip)'\n",
    );
    let warned = found(&plan, &[json!({"type": {"S": "x"}})]);
    let texts: Vec<&str> = warned.iter().map(|(_, text)| text.as_str()).collect();
    let has = |part: &str| texts.iter().any(|text| text.contains(part));
    assert!(has("has `tpye`, which a `where` reads") && has("has `vip`, which a `where` reads"), "{texts:?}");
    assert!(!has("has `a`"), "the plan writes `a` itself: {texts:?}");
}

#[test]
fn a_change_that_selects_no_item_is_found() {
    let change =
        "[[change]]\ncopy = \"a\"\nto = \"b\"\nwhere = 'item.sk == \"other\"'\n[[change]]\nset = \"c\"\nvalue = 1\n";
    let warned = found(&plan("", change), &[json!({"a": {"S": "x"}})]);
    let [(id, text)] = warned.as_slice() else { panic!("{warned:?}") };
    assert_eq!(*id, "unselected-change");
    assert!(text.contains("copy a to b"), "{text}");
    // After the run, the selection is false because of the plan's own write.
    let own = "[[change]]\ncopy = \"a\"\nto = \"b\"\nwhere = '!has(item.b)'\n";
    assert_eq!(found(&plan("strategy = \"in-place\"", own), &[json!({"a": {"S": "x"}, "b": {"S": "x"}})]), []);
}

#[test]
fn an_attribute_that_an_in_place_plan_removes_can_be_gone() {
    let warned = found(&plan("strategy = \"in-place\"", "[[change]]\nremove = \"old\"\n"), &[json!({})]);
    assert!(warned[0].1.contains("If this migration has already removed the attribute, change nothing"), "{warned:?}");
}

/// The change that `init` writes as an example.
#[test]
fn the_example_change_of_init_is_found_without_reading_items() {
    for (from, to, is_example) in
        [("old_name", "new_name", true), ("old_name_", "new_name__", true), ("old_name", "name", false)]
    {
        let plan = plan("", &format!("[[change]]\nmove = \"{from}\"\nto = \"{to}\"\n"));
        let warned = found(&plan, &[]);
        assert_eq!(warned.iter().any(|(id, _)| *id == "example-change"), is_example, "{warned:?}");
    }
}
