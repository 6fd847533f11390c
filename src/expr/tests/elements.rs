//! Expressions over one element of a list or map.

use serde_json::json;

use crate::expr::{Expected, Expr, Facts, KnownTypes, StepBudget};
use crate::item::{Item, NotComputable, Value, item_from_json};

fn compile(source: &str) -> Expr {
    Expr::compile_in_element(source, Expected::Value).unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
}

fn evaluate(source: &str, element: serde_json::Value) -> Result<Value, NotComputable> {
    let item: Item = item_from_json(&json!({"pk": {"S": "p"}, "rate": {"N": "2"}})).unwrap();
    let element = Value::from_json(&element).unwrap();
    compile(source).evaluate_element(&item, &element, &Facts::default(), &mut StepBudget::default())
}

#[test]
fn an_expression_reads_the_element_and_the_item() {
    let line = json!({"M": {"qty": {"N": "1.5"}, "tags": {"L": [{"S": "a"}, {"S": "b"}]}, "a b": {"S": "x"}}});
    for (source, expected) in [
        ("element.qty * item.rate", json!({"N": "3"})),
        ("element[\"a b\"] + item.pk", json!({"S": "xp"})),
        ("element.tags.exists(tag, tag == \"b\")", json!({"BOOL": true})),
        ("element.tags.map(tag, tag + item.pk)", json!({"L": [{"S": "ap"}, {"S": "bp"}]})),
        ("has(element.sum) ? element.sum : element.qty", json!({"N": "1.5"})),
        ("type(element) + type(element.sum)", json!({"S": "MMISSING"})),
    ] {
        assert_eq!(evaluate(source, line.clone()).unwrap(), Value::from_json(&expected).unwrap(), "{source}");
    }
    assert_eq!(evaluate("element.qty", json!({"S": "text"})).unwrap_err().reason(), "`element.qty` is missing");
    assert_eq!(evaluate("type(element)", json!({"S": "text"})), Ok(Value::S("S".to_owned())));
}

#[test]
fn inputs_of_the_element_and_of_the_item_are_separate() {
    let expression = compile("element.a.b + item.a.b + item.c + element.a.b + (has(element.d) ? type(element) : \"\")");
    let texts = |paths: &[crate::item::Path]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(expression.element_inputs()), ["a.b", "d"]);
    assert_eq!(texts(expression.inputs()), ["a.b", "c"]);
}

#[test]
fn a_part_that_can_fail_for_an_element_is_a_fault() {
    let faults = |source: &str| {
        let faults = compile(source).faults(&KnownTypes::default());
        faults.into_iter().map(|fault| source[fault.span].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(faults("element.qty * 2"), ["element.qty"]);
    assert!(faults("type(element.qty) == \"N\" ? element.qty * 2 : 0").is_empty());
    assert!(faults("type(element)").is_empty());
    assert!(faults("has(element.a) ? element.a : 0").is_empty());
}

#[test]
fn an_element_is_known_only_where_a_plan_has_one() {
    let title = |errors: Vec<crate::expr::ExprError>| errors[0].title.clone();
    let flat = Expr::compile("element.a", Expected::Value).unwrap_err();
    assert_eq!(title(flat), "there is no variable `element` here");
    // In all other expressions, a macro can give this name to its variable.
    assert!(Expr::compile("item.l.all(element, element == 1)", Expected::Value).is_ok());
    for (source, expected) in [
        ("element", "an expression cannot use the whole element"),
        ("size(element)", "an expression cannot use the whole element"),
        ("has(element.a) && element == element.b", "an expression cannot use the whole element"),
        ("element[item.a]", "the name of a member of the element must be a constant"),
        ("item.l.all(element, true)", "`element` is already defined"),
        ("item", "an expression cannot use the whole item"),
    ] {
        assert_eq!(title(Expr::compile_in_element(source, Expected::Value).unwrap_err()), expected, "{source}");
    }
}

/// Elements share the steps of one evaluation, so an item with many elements cannot take hours.
#[test]
fn the_elements_of_an_item_share_their_steps() {
    let expression = compile("element.l.all(x, item.l.all(y, x == y || x != y))");
    let list = Value::L(vec![Value::S(String::new()); 700]);
    let item = Item::from([("l".to_owned(), list.clone())]);
    let element = Value::M(item.clone());
    let mut budget = StepBudget::default();
    let results = (0..5).map(|_| expression.evaluate_element(&item, &element, &Facts::default(), &mut budget));
    let results: Vec<_> = results.collect();
    assert_eq!(results[0], Ok(Value::Bool(true)));
    let last = results[4].as_ref().unwrap_err();
    assert_eq!(last.reason(), "the evaluation takes more than 10,000,000 steps");
}
