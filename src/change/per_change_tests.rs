//! Tests which changes of a plan a write makes, and which changes concern an item.

use serde_json::json;

use super::tests::{item, key};
use super::*;
use crate::plan::{Plan, load};

fn plan(settings: &str, changes: &str) -> Plan {
    let text = format!("[migration]\nname = \"m\"\n{settings}\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n{changes}");
    load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

/// Returns the positions of the changes that concern this item, and of the changes that its write makes.
fn effects(plan: &Plan, image: serde_json::Value) -> (Vec<usize>, Vec<usize>) {
    let changes = Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules());
    let image = item(image);
    let made = match changes.decide(&image) {
        Decision::Write(write) => changes.made_by(&image, &write, &[]),
        Decision::NeedsAnswers(questions, write) => changes.made_by(&image, &write, &questions),
        _ => Vec::new(),
    };
    (changes.concerned(&image), made)
}

#[test]
fn each_change_counts_only_if_it_changes_the_item() {
    let plan = plan(
        "strategy = \"in-place\"",
        "[[change]]\nmove = \"street\"\nto = \"address.street\"\n[[change]]\nmove = \"zpi\"\nto = \"address.zip\"\n\
         [[change]]\nset = \"tier\"\nvalue = \"free\"\n[[change]]\nremove = \"old\"\n",
    );
    // Two changes write into the same new map, but only one of them has a source.
    let image = json!({"pk": {"S": "1"}, "street": {"S": "x"}, "zip": {"S": "1"}, "tier": {"S": "free"}});
    assert_eq!(effects(&plan, image), (vec![0, 2], vec![0]));
    let image = json!({"pk": {"S": "1"}, "old": {"S": "x"}});
    assert_eq!(effects(&plan, image), (vec![2, 3], vec![2, 3]));
}

#[test]
fn a_where_and_the_selection_limit_the_items_of_a_change() {
    let plan = plan(
        "strategy = \"in-place\"",
        "[select]\nwhere = 'has(item.kind)'\n[[change]]\nset = \"a\"\nvalue = 1\nwhere = 'has(item.x)'\n\
         [[change]]\ncopy = \"b\"\nto = \"c\"\n",
    );
    let image = json!({"pk": {"S": "1"}, "kind": {"S": "k"}, "b": {"S": "x"}});
    assert_eq!(effects(&plan, image), (vec![1], vec![1]));
    assert_eq!(effects(&plan, json!({"pk": {"S": "1"}, "x": {"S": "k"}, "b": {"S": "x"}})), (vec![], vec![]));
    let changes = Changes::for_expand(&plan.changes, plan.strategy, key(), Vec::new()).with_rules(plan.item_rules());
    let sources: Vec<String> = changes.planned_sources().map(Path::to_string).collect();
    assert_eq!(sources, ["b", "kind", "x"]);
}

#[test]
fn a_program_that_has_not_answered_counts() {
    let plan = plan(
        "",
        "[[change]]\nexec = [\"./program\"]\ninputs = [\"a\"]\noutputs = [\"b\"]\ndeterministic = true\n\
         [[change]]\nset = \"c\"\nvalue = 1\n",
    );
    assert_eq!(effects(&plan, json!({"pk": {"S": "1"}, "a": {"S": "x"}})), (vec![0, 1], vec![0, 1]));
    assert_eq!(effects(&plan, json!({"pk": {"S": "1"}, "c": {"N": "1"}})), (vec![1], vec![]));
}

/// In `contract`, no change of the plan is counted.
#[test]
fn other_phases_count_nothing() {
    let plan = plan("", "[[change]]\nmove = \"a\"\nto = \"b\"\n");
    let contract = Changes::for_contract(&plan.changes, plan.strategy, key(), Vec::new());
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}, "b": {"S": "x"}}));
    assert_eq!((contract.planned(), contract.concerned(&image)), (0, vec![]));
    assert_eq!(contract.planned_sources().count(), 0);
    assert_eq!(
        contract.made_by(
            &image,
            &match contract.decide(&image) {
                Decision::Write(write) => write,
                other => panic!("{other:?}"),
            },
            &[]
        ),
        Vec::<usize>::new()
    );
}

#[test]
fn the_sources_of_each_kind_of_change_are_known() {
    let plan = plan(
        "strategy = \"in-place\"\non_not_computable = \"fail\"",
        "[[change]]\nmove = \"a\"\nto = \"b\"\n[[change]]\nset = \"c\"\nvalue = 1\n\
         [[change]]\ncompute = \"d\"\nas = 'item.e + item.f'\n[[change]]\nconvert = \"g\"\nto = \"N\"\n\
         [[change]]\nappend = \"h\"\nvalues = { SS = [\"x\"] }\n[[change]]\neach = \"lines[*]\"\nset = \"i\"\nvalue = 1\n",
    );
    let sources: Vec<Vec<String>> =
        plan.changes.iter().map(|change| change.sources().into_iter().map(Path::to_string).collect()).collect();
    let none: [&str; 0] = [];
    assert_eq!(sources, [vec!["a"], none.to_vec(), vec!["e", "f"], vec!["g"], none.to_vec(), vec!["lines"]]);
}
