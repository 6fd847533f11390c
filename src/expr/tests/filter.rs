//! Compares filters with the evaluator, on items of every type. The in-memory table supplies the rules of DynamoDB's
//! filters. `tests/table/filter.rs` makes the same comparison on an engine.

use super::facts;
use super::generate::{Random, Sources, item};
use crate::dynamodb::memory::rules::includes;
use crate::expr::{Expected, Expr, Filter, KnownTypes};

/// Number of random conditions. Each is tested on [`ITEMS`] items.
const CONDITIONS: u64 = 4_000;
const ITEMS: usize = 25;

fn compile(source: &str) -> Expr {
    Expr::compile(source, Expected::Bool).unwrap_or_else(|errors| panic!("{source}: {errors:?}"))
}

fn filter(source: &str) -> Option<Filter> {
    compile(source).filter(&KnownTypes::default().with("sk", Some("S")))
}

/// Generates a condition. Most of its terms have a translation.
pub(super) fn condition(random: &mut Random, depth: usize) -> String {
    if depth > 0 {
        let inner = |random: &mut Random| condition(random, depth - 1);
        match random.below(6) {
            0 => return format!("!({})", inner(random)),
            1 => return format!("({} || {})", inner(random), inner(random)),
            2 | 3 => return format!("({} && {})", inner(random), inner(random)),
            4 => return Sources::new(random, 5).condition(2),
            _ => {}
        }
    }
    let mut one = |of: &[&str]| of[random.below(of.len())].to_owned();
    let path =
        one(&["item.a", "item.b", "item.c", "item.d", "item.m.k", "item.m.l", "item[\"e f\"]", "item.a[0]", "item.m"]);
    let comparison = one(&["==", "!=", "<", "<=", ">", ">="]);
    let text = one(&["\"a\"", "\"ab\"", "\"ä\"", "\"1\"", "\"\"", "\"b\""]);
    let number =
        one(&["1", "0", "-1", "2.5", "0.10", "1E+37", "99999999999999999999999999999999999999", "number(\"1E-130\")"]);
    match random.below(14) {
        0 => format!("(type({path}) == \"S\" && {path} {comparison} {text})"),
        1 => format!("(type({path}) == \"N\" && {path} {comparison} {number})"),
        2 => format!("(type({path}) == \"N\" && {number} {comparison} {path})"),
        3 => format!("(type({path}) != \"N\" || {path} {comparison} {number})"),
        4 => format!("(type({path}) == \"S\" && {path}.startsWith({text}))"),
        5 => format!("(type({path}) == \"S\" && {path}.contains({text}))"),
        6 => format!("(type({path}) == \"S\" && {path} in [\"a\", \"b\", \"1\"])"),
        7 => format!("(type({path}) == \"N\" && {path} in [1, 2.5, 7])"),
        8 => format!("(type({path}) == \"BOOL\" && {path})"),
        9 => format!("(type({path}) == \"BOOL\" && {path} {} false)", if random.below(2) == 0 { "==" } else { "!=" }),
        10 => format!("type({path}) in [\"NULL\", \"MISSING\", \"SS\"]"),
        11 => format!("(has({}) && type({path}) == \"B\" && {path} {comparison} b\"a\")", "item.m.k"),
        12 => format!("(type({path}) != \"MISSING\" && {path} != null)"),
        _ => format!(
            "type({path}) != \"{}\"",
            ["S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"][random.below(10)]
        ),
    }
}

/// A filter excludes an item only if the condition is false for it. If the filter contains all terms of the
/// condition, it includes exactly the items for which the condition is true.
#[test]
fn a_filter_excludes_only_items_for_which_the_condition_is_false() {
    let (mut cases, mut excluded, mut included, mut partial) = (0_u64, 0_u64, 0_u64, 0_u64);
    for seed in 0..CONDITIONS {
        let mut random = Random::new(seed);
        let depth = random.below(4);
        let source = condition(&mut random, depth);
        let Ok(expr) = Expr::compile(&source, Expected::Bool) else { continue };
        let Some(filter) = expr.filter(&KnownTypes::default()) else { continue };
        let is_whole = filter.terms.0 == filter.terms.1;
        partial += u64::from(!is_whole);
        for _ in 0..ITEMS {
            let item = item(&mut random);
            let result = expr.test(&item, &facts());
            cases += 1;
            if includes(&filter.condition, &item) {
                included += 1;
                assert!(!is_whole || result == Ok(true), "{source}\n{filter:?}\n{item:?}\n{result:?}");
            } else {
                excluded += 1;
                assert_eq!(result, Ok(false), "{source}\n{filter:?}\n{item:?}");
            }
        }
    }
    assert!(cases > 40_000 && partial > 100, "{cases} {partial}");
    assert!(excluded > 10_000 && included > 10_000, "{excluded} {included}");
}

#[test]
fn the_expression_uses_placeholders() {
    let found = filter("item.sk.startsWith(\"ORDER#\") && !has(item.gsi1pk) && item.sk < \"P\"").unwrap();
    assert_eq!(found.expression, "begins_with(#0, :0) AND NOT (attribute_exists(#1)) AND #0 < :1");
    assert_eq!(found.text(), "begins_with(sk, \"ORDER#\") AND NOT (attribute_exists(gsi1pk)) AND sk < \"P\"");
    assert_eq!(found.names.values().collect::<Vec<_>>(), ["sk", "gsi1pk"]);
    assert_eq!(found.terms, (3, 3));
    let found = filter("has(item.a) && (type(item.m.k) == \"S\" || item.sk in [\"x\", \"y\"])").unwrap();
    assert_eq!(found.expression, "attribute_exists(#0) AND (attribute_type(#1.#2, :0) OR #3 IN (:1, :2))");
}

/// The filter contains the terms before the first term that has no exact translation.
#[test]
fn a_filter_ends_before_the_first_other_term() {
    for (source, terms) in [
        ("has(item.a) && size(item.sk) > 3 && has(item.b)", Some((1, 3))),
        ("size(item.sk) > 3 && has(item.a)", None),
        // The first term has no result for some items, and no earlier term guards it.
        ("item.a == \"x\" && has(item.b)", None),
        ("has(item.b) && item.a == \"x\"", Some((1, 2))),
        ("has(item.a) && type(item.a) == \"S\" && item.a == \"x\"", Some((3, 3))),
        // `"k" in map` tests a key, and DynamoDB's `contains` does not.
        ("\"k\" in {\"k\": item.sk}", None),
        ("item.sk == \"\"", None),
        ("item.sk.endsWith(\"x\")", None),
        ("item.sk > item.sk", None),
        ("type(item.a) == \"TIMESTAMP\"", None),
        ("has(item.a) ? has(item.b) : has(item.c)", None),
        // A key attribute has no members.
        ("!has(item.sk.x)", None),
        ("has(item.a) && !has(item.sk.x)", Some((1, 2))),
        ("has(item.a) && (has(item.b) || type(item.sk.x) == \"S\")", Some((1, 2))),
    ] {
        let Ok(expr) = Expr::compile(source, Expected::Bool) else { continue };
        let found = expr.filter(&KnownTypes::default().with("sk", Some("S")));
        assert_eq!(found.map(|filter| filter.terms), terms, "{source}");
    }
}

/// DynamoDB refuses expressions beyond 4 KB or 300 operators. The filter then has fewer terms.
#[test]
fn a_long_condition_gives_a_shorter_filter() {
    let source = (0..400).map(|n| format!("has(item.a{n})")).collect::<Vec<_>>().join(" && ");
    let Ok(expr) = Expr::compile(&source, Expected::Bool) else { return };
    let found = expr.filter(&KnownTypes::default()).unwrap();
    assert!(found.terms.0 < found.terms.1 && found.expression.len() <= 4096, "{:?}", found.terms);
}
