//! Messages: errors with their places, reasons without values.

use serde_json::json;

use super::{item, value};
use crate::expr::{Expected, Expr, ExprError};

fn errors(source: &str) -> Vec<ExprError> {
    Expr::compile(source, Expected::Value).unwrap_err()
}

#[test]
fn reasons_name_parts_and_types_but_no_values() {
    let of = item(&json!({
        "price": {"S": "secret"}, "n": {"N": "41"}, "zero": {"N": "0"}, "l": {"L": [{"S": "hidden"}]}, "t": {"S": "hidden"}
    }));
    for (source, reason) in [
        ("item.missing", "`item.missing` is missing"),
        ("item.price + 1", "`item.price` is of type S, and `+` needs type N here"),
        ("item.n.startsWith(\"x\")", "`item.n` is of type N, and `startsWith` needs type S here"),
        (
            "item.price == item.n",
            "`item.price` is of type S and `item.n` of type N, and `==` compares values of one type",
        ),
        (
            "item.n / item.zero",
            "`item.n / item.zero` has no result: the divisor is 0, or the quotient is not a finite decimal",
        ),
        (
            "number(item.price)",
            "`number(item.price)` has no result: the text is not a number that DynamoDB can store: it is not a decimal number",
        ),
        (
            "timestamp(item.t).getHours()",
            "`timestamp(item.t)` has no result: the text is not a time in RFC 3339 format, or the time is after 9999-12-30T22:00:00Z",
        ),
        ("item.l[item.n]", "`item.l[item.n]` is missing"),
        ("\"EMAIL#\" + item.n", "`item.n` is of type N, and `+` needs type S here"),
        ("item.n + \"#\"", "`item.n` is of type N, and `+` needs type S here"),
        ("item.price + item.n", "`item.n` is of type N, and `+` needs type S here"),
        ("\"x\" < item.n", "`item.n` is of type N, and `<` needs type S here"),
        ("1 + item.l", "`item.l` is of type L, and `+` needs type N here"),
        ("item.l.map(x, x + 1)", "`x` is of type S, and `+` needs type N here"),
        ("item.n ? 1 : 2", "`item.n` is of type N, and `?:` needs type BOOL here"),
        ("json(item.t)", "`json(item.t)` has no result: the text is not JSON"),
        ("item.n in item.l", "`item.n` is of type N, and an element of `item.l` is of another type"),
    ] {
        let why = value(source, &of).unwrap_err();
        assert_eq!(why, reason, "{source}");
        assert!(!why.contains("secret") && !why.contains("hidden") && !why.contains("41"));
    }
}

#[test]
fn errors_have_a_place_and_a_remedy() {
    for (source, part, title, help) in [
        ("item", "item", "an expression cannot use the whole item", "item.a"),
        ("size(item)", "item", "an expression cannot use the whole item", "item.a"),
        ("item[0]", "item[0]", "an item has attributes, not positions", "item.list[0]"),
        ("item[item.a]", "item.a", "the name of an attribute must be a constant", "item.a"),
        ("now()", "now()", "an expression has no clock", "migration.started_at"),
        ("now", "now", "an expression has no clock", "migration.started_at"),
        ("status == \"x\"", "status", "there is no variable `status`", "item.status"),
        ("migration.name", "migration.name", "`migration` has no member `name`", "migration.started_at"),
        ("item.a.toUpper()", "item.a.toUpper()", "there is no function `toUpper`", "upperAscii"),
        ("item.a.frobnicate()", "item.a.frobnicate()", "there is no function `frobnicate`", "docs/expressions.md"),
        (
            "item.a.beginsWith(\"x\")",
            "item.a.beginsWith(\"x\")",
            "there is no function `beginsWith`",
            "S.startsWith(S)",
        ),
        ("item.a.length() > 1", "item.a.length()", "there is no function `length`", "size("),
        ("N(item.a) > 1", "N(item.a)", "there is no function `N`", "number(S)"),
        ("startswith(item.a, \"x\")", "startswith(item.a, \"x\")", "there is no function `startswith`", "startsWith"),
        (
            "startsWith(item.a, \"x\")",
            "startsWith(item.a, \"x\")",
            "`startsWith` is called in the wrong form",
            "S.startsWith(S)",
        ),
        (
            "item.a.startsWith()",
            "item.a.startsWith()",
            "`startsWith` has the wrong number of arguments",
            "S.startsWith(S)",
        ),
        ("int(item.a)", "int(item.a)", "there is no function `int`", "number(text)"),
        ("5u", "5u", "a number has no suffix", "without u"),
        ("type(item.a) == \"string\"", "\"string\"", "no type has this name", "\"S\""),
        ("item.a.matches(item.b)", "item.b", "`matches` needs a constant here", "quotes"),
        ("has(5)", "5", "has() tests a path", "has(item.a)"),
        ("item.l.all(1, true)", "1", "the first argument of all() must be a new name", "list.all(x, …)"),
        ("item.a and item.b", "and", "this is not a CEL expression", "&&"),
        ("item.größe > 1", "ö", "this letter is not allowed in a name", "item[\"größe\"]"),
        ("item.e-mail", "mail", "there is no variable `mail`", "item[\"e-mail\"]"),
        ("item.a == \"\\q\"", "\"\\q\"", "this text has an escape that CEL does not know", "\\\\"),
        ("item.a == 'x", "'x", "this text is never closed", "quote"),
        ("if == 1", "if", "CEL reserves this word", "item[\"if\"]"),
        ("item.a = 1", "=", "this is not a CEL expression", "=="),
    ] {
        let found = errors(source);
        assert_eq!(&source[found[0].span.clone()], part, "{source}: {found:?}");
        assert_eq!(found[0].title, title, "{source}");
        assert!(found[0].help.iter().any(|line| line.contains(help)), "{source}: {found:?}");
        assert!(!found[0].label.is_empty());
    }
}

#[test]
fn errors_without_help_explain_themselves() {
    for (source, part, title) in [
        ("", "", "the expression is empty"),
        ("item.a +", "", "the expression ends too early"),
        ("(item.a", "(", "this bracket is never closed"),
        ("item.a.matches(\"(\")", "\"(\"", "`matches` cannot use this: unclosed group"),
        (
            "1E200",
            "1E200",
            "DynamoDB cannot store this number: its magnitude is outside DynamoDB's range of 1E-130 to 9.9E+125",
        ),
        (
            "1.5E400",
            "1.5E400",
            "DynamoDB cannot store this number: its magnitude is outside DynamoDB's range of 1E-130 to 9.9E+125",
        ),
        ("item[\"\"]", "item[\"\"]", "an attribute's name must not be empty"),
        ("{\"a\": 1, \"a\": 2}", "2", "a key occurs twice in this map"),
        ("item.l.all(item, true)", "item", "`item` is already defined"),
        (
            "migration.started_at.getHours(\"Mars\")",
            "\"Mars\"",
            "`getHours` cannot use this: no time zone has this name; an example is \"Europe/Paris\"",
        ),
        ("item.l[-1]", "1", "a position in a list must be a whole number; the first position is 0"),
        ("item.l[1.5]", "1.5", "a position in a list must be a whole number; the first position is 0"),
    ] {
        let found = errors(source);
        assert_eq!(&source[found[0].span.clone()], part, "{source}: {found:?}");
        assert_eq!(found[0].title, title, "{source}");
    }
}

/// All errors of the same stage are reported at once, in the order of the source.
#[test]
fn all_errors_are_reported_at_once() {
    let source = "status == 1 || \"größe\".foo() || now() > 5 || \"ä\" + zone == \"\"";
    let found = errors(source);
    let parts: Vec<&str> = found.iter().map(|error| &source[error.span.clone()]).collect();
    assert_eq!(parts, ["status", "\"größe\".foo()", "now()", "zone"], "{found:?}");
}

#[test]
fn spans_cover_whole_parts_also_after_wide_characters() {
    for (source, part) in [
        ("\"größe\" + (item.a + 1u)", "1u"),
        ("\"größe\" == \"\" || (1 + 2) * \"x\" == 3", "(1 + 2) * \"x\""),
        ("// größe\nitem.a.foo( 1, (2) )", "item.a.foo( 1, (2) )"),
        ("[1, foo(2)][0]", "foo(2)"),
        ("math.foo(1)", "math.foo(1)"),
    ] {
        let found = errors(source);
        assert_eq!(&source[found[0].span.clone()], part, "{found:?}");
    }
}
