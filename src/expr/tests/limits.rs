//! Limits: nothing hangs, nothing grows without bound.

use super::{compiled, facts, item, value};
use crate::expr::{Expected, Expr};
use crate::item::{Item, Num, Value};

fn refusal(source: &str) -> String {
    let errors = Expr::compile(source, Expected::Value).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].title.clone()
}

#[test]
fn a_source_has_a_maximum_size() {
    assert!(refusal(&format!("\"{}\"", "x".repeat(5_000))).contains("5002 bytes"));
    assert!(refusal(&"1+".repeat(600)).contains("tokens"));
    assert!(refusal(&format!("{}1{}", "(".repeat(40), ")".repeat(40))).contains("brackets are nested 40 deep"));
    assert!(refusal(&format!("1{}", " + 1".repeat(300))).contains("nested 301 deep"));
    assert!(refusal(&format!("{}2", "true?1:".repeat(200))).contains("nested too deeply"));
    assert!(refusal(&format!("item{}", ".a".repeat(40))).contains("32 steps"));
    let wide = format!("[{}]", vec!["1"; 499].join(","));
    assert!(Expr::compile(&wide, Expected::Value).is_ok());
    assert!(refusal(&vec!["true"; 300].join("&&")).contains("599 parts"));
    let macros = "[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))";
    assert!(refusal(macros).contains("at most 3 levels"));
}

/// The deepest source that the limits admit. Its evaluation fits on the stack of a test or of a worker.
#[test]
fn the_deepest_expression_is_evaluated() {
    let chain = format!("item.n{}", " + 1".repeat(98));
    let of = item(&serde_json::json!({"n": {"N": "1"}}));
    assert_eq!(value(&chain, &of), Ok(Value::N("99".parse().unwrap())));
    let brackets = format!("{}item.n{}", "(1 + ".repeat(23), ")".repeat(23));
    assert_eq!(value(&brackets, &of), Ok(Value::N("24".parse().unwrap())));
    let longest = format!("1{}", "+1".repeat(499));
    assert!(refusal(&longest).contains("nested"));
    let not = format!("{}true", "!".repeat(900));
    assert!(Expr::compile(&not, Expected::Bool).is_ok());
    let members = format!("json(\"1\"){}", "[0]".repeat(90));
    assert!(Expr::compile(&members, Expected::Value).is_err());
}

#[test]
fn macros_over_a_large_list_are_not_computable_instead_of_slow() {
    let numbers = (0..100_000).map(|n| Value::N(Num::from_wire(n.to_string()))).collect();
    let of = Item::from([("l".to_owned(), Value::L(numbers))]);
    let nested = "item.l.all(x, item.l.exists(y, x == y))";
    let why = value(nested, &of).unwrap_err();
    assert!(why.contains("10,000,000 steps"), "{why}");
    assert_eq!(value("item.l.exists(x, x == 99999)", &of), Ok(Value::Bool(true)), "one macro over it fits");
    assert!(value("item.l.map(x, item.l)", &of).is_err());
    assert_eq!(value("item.l.distinct().size()", &of), Ok(Value::N("100000".parse().unwrap())));
    assert!(value("item.l.map(x, [x]).distinct().size()", &of).is_err());
}

#[test]
fn texts_do_not_explode() {
    let of = Item::from([("s".to_owned(), Value::S("a".repeat(300_000)))]);
    assert!(value("item.s.replace(\"a\", item.s)", &of).unwrap_err().contains("1,600,000 bytes"));
    assert!(value("item.s + item.s", &of).unwrap_err().contains("400 KB"));
    assert!(value("size(item.s + item.s)", &of).is_ok());
    assert!(value("[item.s, item.s, item.s, item.s, item.s, item.s]", &of).is_err());
    assert!(value("item.s.split(\"\").map(x, item.s)", &of).is_err());
    assert!(value("item.s.split(\"\").join(item.s)", &of).is_err());
}

#[test]
fn results_are_what_dynamodb_can_store() {
    let mut deep = Value::S("x".to_owned());
    for _ in 0..31 {
        deep = Value::L(vec![deep]);
    }
    let of = Item::from([("d".to_owned(), deep)]);
    assert!(value("item.d", &of).is_ok());
    assert!(value("[item.d]", &of).unwrap_err().contains("32 levels"));
    assert!(refusal("migration.started_at").contains("never has a result"));
    assert!(refusal("true ? migration.started_at : migration.started_at").contains("never has a result"));
    assert!(refusal("set([])").contains("no result"));
    assert!(
        Expr::compile("json(\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\")", Expected::Value)
            .is_err()
    );
}

#[test]
fn a_stored_text_that_is_no_number_has_no_result() {
    let of = Item::from([("n".to_owned(), Value::N(Num::from_wire("1E999999999".to_owned())))]);
    for source in
        ["item.n + 1", "item.n < 1", "string(item.n)", "item.n == 1", "item.n in set([1])", "math.abs(item.n)"]
    {
        assert!(value(source, &of).is_err(), "{source}");
    }
    let _ = compiled("item.n", Expected::Value).evaluate(&of, &facts());
}

/// In the worst case, the matcher visits every state of a pattern for every byte of a text. Without a bound, one such
/// item takes half a minute.
#[test]
fn a_large_pattern_over_a_large_text_is_not_computable_instead_of_slow() {
    let of = Item::from([("s".to_owned(), Value::S("a".repeat(300_000)))]);
    for pattern in ["[ab]*a[ab]{7000}c", "((a{1,40}){1,40})c"] {
        let why = value(&format!("item.s.matches('{pattern}')"), &of).unwrap_err();
        assert!(why.contains("10,000,000 steps"), "{why}");
        let few = Item::from([("s".to_owned(), Value::S("a".repeat(1_000)))]);
        assert_eq!(value(&format!("item.s.matches('{pattern}')"), &few), Ok(Value::Bool(false)), "{pattern}");
    }
    for usual in ["^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "^[^@ ]+@[^@ ]+$", "\\\\w+@\\\\w+"] {
        assert_eq!(value(&format!("item.s.matches('{usual}')"), &of), Ok(Value::Bool(false)), "{usual}");
    }
}

#[test]
fn patterns_and_constants_are_compiled_within_a_bound() {
    let several = |part: &str, n: usize, by: &str| vec![part; n].join(by);
    let errors = Expr::compile(&several("item.s.matches('\\\\w{8}')", 90, "||"), Expected::Value).unwrap_err();
    assert!(errors.iter().all(|error| error.title.contains("too large in total")), "{:?}", errors[0]);
    assert!(Expr::compile(&several("item.s.matches('^[a-z]{1,8}$')", 90, "||"), Expected::Value).is_ok());
    let errors = Expr::compile(&several("lists.range(100000).size()", 90, "+"), Expected::Value).unwrap_err();
    assert!(errors.iter().any(|error| error.label.contains("1,000,000 steps")), "{:?}", errors[0]);
    assert!(Expr::compile(&several("lists.range(1000).size()", 90, "+"), Expected::Value).is_ok());
}
