use proptest::prelude::*;
use serde_json::json;

use crate::change::Change;
use crate::item::{Item, Value, item_from_json};
use crate::plan::load;

/// Applies the changes of `one_change` as one write. Reads every value from the item as it was before the write.
fn apply(changes: &[Change], image: &Item) -> Item {
    let mut after = image.clone();
    let mut gone = Vec::new();
    for change in changes {
        match change {
            Change::Move { from, to, .. } | Change::Copy { from, to, .. } => {
                if let Some(value) = from.get(image) {
                    to.set(&mut after, value.clone());
                }
                gone.extend(matches!(change, Change::Move { .. }).then_some(from));
            }
            Change::Set { to, value, .. } => {
                to.set(&mut after, value.clone());
            }
            Change::Remove { path } => gone.push(path),
            Change::Compute { .. }
            | Change::Convert { .. }
            | Change::Bump { .. }
            | Change::Exec { .. }
            | Change::Append { .. }
            | Change::Delete { .. }
            | Change::Put { .. }
            | Change::Each { .. } => {
                unreachable!("not generated")
            }
        }
    }
    gone.into_iter().for_each(|path| drop(path.remove(&mut after)));
    after
}

fn one_change() -> impl Strategy<Value = String> {
    let path = || proptest::sample::select(vec!["a", "b", "a.x", "a.y", "b.x", "c", "d", "l", "l[0]", "l[0].z"]);
    prop_oneof![
        (path(), path()).prop_map(|(from, to)| format!("move = \"{from}\"\nto = \"{to}\"")),
        (path(), path()).prop_map(|(from, to)| format!("copy = \"{from}\"\nto = \"{to}\"")),
        path().prop_map(|to| format!("set = \"{to}\"\nvalue = 7")),
        path().prop_map(|path| format!("remove = \"{path}\"")),
    ]
}

fn plan(changes: &[String]) -> String {
    let changes: String = changes.iter().map(|change| format!("[[change]]\n{change}\n")).collect();
    format!("[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n{changes}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// The changes of an accepted plan give the same result in any order, and when they are applied twice.
    #[test]
    fn an_accepted_plan_does_not_depend_on_order_or_repetition(
        (changes, shuffled) in proptest::collection::vec(one_change(), 1..4)
            .prop_flat_map(|changes| (Just(changes.clone()), Just(changes).prop_shuffle())),
    ) {
        let first = load("p", &plan(&changes));
        let second = load("p", &plan(&shuffled));
        prop_assert_eq!(first.is_ok(), second.is_ok());
        if let (Ok(first), Ok(second)) = (first, second) {
            let image = item_from_json(&json!({
                "a": {"M": {"x": {"N": "1"}, "y": {"M": {}}}}, "b": {"M": {"x": {"S": "2"}}}, "c": {"S": "3"},
                "l": {"L": [{"M": {"z": {"BOOL": true}}}, {"S": "5"}]},
            })).unwrap();
            let once = apply(&first.plan.changes, &image);
            prop_assert_eq!(&once, &apply(&second.plan.changes, &image));
            prop_assert_eq!(&once, &apply(&first.plan.changes, &once));
        }
    }
}

#[test]
fn names_may_have_the_length_that_dynamodb_accepts() {
    let named = |bytes: usize| plan(&[format!("set = \"{}\"\nvalue = 1", "n".repeat(bytes))]);
    assert!(load("p", &named(65_535)).is_ok());
    let errors = load("p", &named(65_536)).unwrap_err().to_string();
    assert!(errors.contains("an attribute name must have at most 65535 bytes"), "{errors:.500}");
}

#[test]
fn one_write_may_copy_a_value_and_remove_it() {
    let text = plan(&[
        "copy = \"a\"\nto = \"b\"".to_owned(),
        "remove = \"a\"".to_owned(),
        "copy = \"a\"\nto = \"c\"".to_owned(),
    ]);
    let plan = load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
    let before = Item::from([("a".to_owned(), Value::Bool(true))]);
    let after = apply(&plan.changes, &before);
    assert_eq!(after.into_keys().collect::<Vec<_>>(), ["b", "c"]);
}

/// A change is evaluated only for items for which its `where` and the selection are true. So a test there is enough.
#[test]
fn a_where_guards_the_values_of_a_plan() {
    let head = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n";
    let compute = "[[change]]\ncompute = \"total\"\nas = 'item.cents / 100'\n";
    let is_number = "where = 'type(item.cents) == \"N\"'\n";
    let put = "[[change]]\nput = { key = { pk = '\"E#\" + item.email', sk = '\"L\"' } }\n";
    let each = "[[change]]\neach = \"lines[*]\"\ncompute = \"a\"\nas = 'item.cents'\n";
    let errors = |rest: String| load("p", &format!("{head}{rest}")).err().map(|errors| errors.to_string());
    for guarded in [
        format!("{compute}{is_number}"),
        format!("[select]\n{is_number}{compute}"),
        format!("{each}{is_number}"),
        format!("[select]\nwhere = 'item.sk == \"P\" && type(item.email) == \"S\"'\n{put}"),
    ] {
        assert_eq!(errors(guarded.clone()), None, "{guarded}");
    }
    for unguarded in [compute.to_owned(), each.to_owned(), format!("[select]\nwhere = 'has(item.cents)'\n{compute}")] {
        let said = errors(unguarded).unwrap();
        assert!(said.contains("`item.cents` can be"), "{said}");
    }
    // A `where` that can lack a result is refused, and it guards nothing.
    let said = errors(format!("{compute}where = 'item.cents > 1'\n")).unwrap();
    assert_eq!(said.matches("`item.cents` can be missing or of another type").count(), 2, "{said}");
}
