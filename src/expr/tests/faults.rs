//! What the analysis accepts and what it reports.

use super::compiled;
use crate::expr::{Expected, Expr, KnownTypes};

fn faults(source: &str, expected: Expected) -> Vec<(String, String)> {
    let expr = compiled(source, expected);
    let faults = expr.faults(&KnownTypes::default());
    faults.into_iter().map(|fault| (source[fault.span].to_owned(), fault.label)).collect()
}

#[test]
fn guards_are_understood() {
    for source in [
        "type(item.s) == \"S\" && item.s == \"x\"",
        "type(item.s) == \"S\" && item.s.startsWith(\"x\")",
        "type(item.s) != \"S\" || item.s.startsWith(\"x\")",
        "!(type(item.s) == \"S\") || item.s.startsWith(\"x\")",
        "type(item.s) == \"S\" ? item.s.startsWith(\"x\") : false",
        "type(item.s) != \"S\" ? false : item.s.startsWith(\"x\")",
        "has(item.s) && type(item.s) == \"S\" && item.s == \"x\"",
        "!has(item.gsi1pk)",
        "type(item.a) in [\"S\", \"B\"] && size(item.a) > 3",
        "type(item.a) == \"N\" && type(item.b) == \"N\" && item.a + item.b > 1",
        "(type(item.a) == \"S\" || type(item.a) == \"SS\") && size(item.a) > 1",
        "has(item.a) && item.a != null",
        "has(item.a) && item.a == null",
        "has(item.m.k) && size(item.m) > 0",
        "type(item.l) == \"L\" && item.l.exists(x, type(x) == \"N\" && x > 1)",
        "type(item.l) == \"L\" && item.l.all(x, type(x) == \"S\") && \"a\" in item.l",
        "type(item.l) == \"L\" && item.l.filter(x, type(x) == \"S\").join(\"-\") != \"\"",
        "type(item.l) == \"L\" && item.l.all(x, type(x) == \"M\" && type(x.qty) == \"N\" && x.qty > 0)",
        "type(item.t) == \"SS\" && item.t.exists(x, x.startsWith(\"a\")) && \"a\" in item.t",
        "type(item.a) == type(item.b) && has(item.a) && item.a == item.b",
        "type(item.n) == \"N\" && item.n / 4 > 1 && item.n % 3 == 0",
        "type(item.m) == \"M\" && \"k\" in item.m",
        "[\"a\", \"b\"].exists(x, type(item.s) == \"S\" && x == item.s)",
        "migration.started_at > timestamp(\"2025-01-01T00:00:00Z\")",
        "type(item.s) == \"S\" && item.s.split(\"#\").map(x, x.trim()).join(\"-\").substring(0) != \"\"",
        "type(item.s) == \"S\" && item.s.matches(\"^a\") && size(item.s.split(\"#\")) > 1",
    ] {
        assert_eq!(faults(source, Expected::Bool), [], "{source}");
    }
    for source in [
        "type(item.n) == \"N\" ? string(item.n) : \"none\"",
        "has(item.a) ? item.a : null",
        "[1, \"a\", {\"k\": null}]",
        "set([\"a\", type(item.s) == \"S\" ? item.s : \"b\"])",
        "toJson(has(item.a) ? item.a : [])",
    ] {
        assert_eq!(faults(source, Expected::Value), [], "{source}");
    }
}

#[test]
fn unguarded_parts_are_reported_at_their_place() {
    for (source, part, label) in [
        ("item.s == \"x\"", "item.s", "`item.s` can be missing or of another type"),
        ("has(item.s) && item.s == \"x\"", "item.s", "`item.s` can be of another type"),
        ("item.s != null", "item.s", "`item.s` can be missing"),
        ("item.flag", "item.flag", "`item.flag` can be missing or of another type"),
        ("item.a.b > 1", "item.a.b", "`item.a.b` can be missing or of another type"),
        ("item[\"e f\"] > 1", "item[\"e f\"]", "`item[\"e f\"]` can be missing or of another type"),
        (
            "type(item.s) == \"S\" && timestamp(item.s) > migration.started_at",
            "timestamp(item.s)",
            "there is no result if the text is not a time in RFC 3339 format, or the time is after 9999-12-30T22:00:00Z",
        ),
        (
            "type(item.n) == \"N\" && 1 / item.n > 1",
            "1 / item.n",
            "there is no result if the divisor is 0, or the quotient is not a finite decimal",
        ),
        (
            "type(item.n) == \"N\" && item.n / 3 > 1",
            "item.n / 3",
            "there is no result if the divisor is 0, or the quotient is not a finite decimal",
        ),
        (
            "type(item.l) == \"L\" && \"a\" in item.l",
            "\"a\" in item.l",
            "`\"a\"` and an element of `item.l` can be of different types",
        ),
        ("type(item.l) == \"L\" && item.l.exists(x, x > 1)", "x", "`x` can be of another type"),
        (
            "has(item.a) && has(item.b) && item.a == item.b",
            "item.a == item.b",
            "`item.a` and `item.b` can be of different types",
        ),
        ("type(item.s) == \"S\" || item.s == \"x\"", "item.s", "`item.s` can be missing or of another type"),
        (
            "type(item.m) == \"M\" && type(item.s) == \"S\" && item.m[item.s] == null",
            "item.m[item.s]",
            "`item.m[item.s]` can be missing",
        ),
        (
            "type(item.s) == \"S\" && item.s.substring(1) == \"\"",
            "item.s.substring(1)",
            "there is no result if a position is not a whole number inside the text",
        ),
        (
            "type(item.l) == \"L\" && item.l.join() == \"\"",
            "item.l.join()",
            "an element of `item.l` can be of a type that `join` does not accept",
        ),
    ] {
        // A guard to the right of the guarded part has no effect, because the analysis goes from left to right.
        let found = faults(source, Expected::Bool);
        assert_eq!(found, [(part.to_owned(), label.to_owned())], "{source}");
    }
    let both = faults("item.first + \" \" + item.last", Expected::Value);
    let parts: Vec<&str> = both.iter().map(|(part, _)| part.as_str()).collect();
    assert_eq!(parts, ["item.first", "item.last"]);
    assert_eq!(faults("item.a", Expected::Value)[0].1, "`item.a` can be missing");
    assert_eq!(faults("item.s == \"x\" && item.s == \"y\"", Expected::Bool).len(), 1, "reported once");
}

#[test]
fn help_names_a_guard_that_works() {
    for (source, expected) in [
        ("item.s == \"x\"", Expected::Bool),
        ("item.s < \"x\"", Expected::Bool),
        ("item.a != null", Expected::Bool),
        ("size(item.a) > 1", Expected::Bool),
        ("item.flag", Expected::Bool),
        ("has(item.a) && has(item.b) && item.a == item.b", Expected::Bool),
        ("type(item.l) == \"L\" && \"a\" in item.l", Expected::Bool),
        ("type(item.l) == \"L\" && item.l.join(\"\") == \"\"", Expected::Bool),
        ("item.s + \"x\"", Expected::Value),
        ("item.a", Expected::Value),
    ] {
        let fault = compiled(source, expected).faults(&KnownTypes::default()).remove(0);
        let guard = fault.help[0].strip_prefix("guard it: ").unwrap().to_owned();
        let guarded = match expected {
            Expected::Bool => {
                let guard = guard.strip_suffix(" && …").unwrap();
                let (before, last) = source.rsplit_once(" && ").unwrap_or(("true", source));
                format!("{before} && {guard} && {last}")
            }
            Expected::Value => format!("{} ? {source} : null", guard.strip_suffix(" ? … : …").unwrap()),
        };
        assert_eq!(faults(&guarded, expected), [], "{guarded}");
        assert!(fault.help[1].contains("on_not_computable"));
    }
}

#[test]
fn known_attributes_are_there() {
    let known = KnownTypes::default().with("pk", Some("S")).with("sk", Some("N"));
    let later = KnownTypes::default().with("pk", None).with("sk", None);
    for source in
        ["item.pk.startsWith(\"ORDER#\")", "item.pk > \"a\"", "item.sk > 5", "item.pk == \"x\" || item.sk == 1"]
    {
        let expr = compiled(source, Expected::Bool);
        assert_eq!(expr.faults(&known), [], "{source}");
        assert_eq!(expr.faults(&later), [], "{source}");
        assert_ne!(expr.faults(&KnownTypes::default()), [], "{source}");
    }
    // As soon as the type is known, a wrong use is reported.
    let wrong = compiled("item.sk.startsWith(\"x\")", Expected::Bool);
    assert_eq!(wrong.faults(&later), []);
    let found = wrong.faults(&known);
    assert_eq!(found[0].label, "`item.sk` is of type N, and `startsWith` needs type S here");
    // A key is never a list.
    let impossible = compiled("item.pk.all(x, true)", Expected::Bool);
    assert_eq!(impossible.faults(&later).len(), 1);
    assert_eq!(compiled("item.pk + item.sk", Expected::Value).faults(&later), []);
    // A type that no key can have counts as unknown.
    assert_eq!(wrong.faults(&KnownTypes::default().with("sk", Some("BOOL"))), []);
}

#[test]
fn a_part_that_never_has_a_result_is_refused_at_load() {
    for (source, part) in [
        ("1 + \"a\"", "1 + \"a\""),
        ("1 / 3", "1 / 3"),
        ("item.a.startsWith(5)", "5"),
        ("type(item.a) == \"N\" && item.a.startsWith(\"x\")", "item.a"),
        ("has(item.a) || item.a == 1", "item.a"),
        ("!has(item.a) && item.a == 1", "item.a"),
        ("timestamp(\"yesterday\") < migration.started_at", "timestamp(\"yesterday\")"),
        ("[1, 2].join(\"-\") == \"\"", "[1, 2].join(\"-\")"),
        ("migration.started_at == \"2025-01-01T00:00:00Z\"", "migration.started_at"),
        ("has(item.m.k) && item.m > 1", "item.m"),
        ("\"a\"", "\"a\""),
        ("size(item.s)", "size(item.s)"),
    ] {
        let errors = Expr::compile(source, Expected::Bool).unwrap_err();
        assert_eq!(errors.len(), 1, "{source}: {errors:?}");
        assert_eq!(&source[errors[0].span.clone()], part, "{source}: {errors:?}");
    }
}

/// The caret is under the part whose type the author did not expect, and the remedy names a function that converts it.
#[test]
fn the_part_with_the_unexpected_type_is_to_blame() {
    let known = KnownTypes::default().with("n", Some("N")).with("pk", Some("S"));
    for (source, part, help) in [
        ("\"EMAIL#\" + item.n", "item.n", Some("string(item.n)")),
        ("item.n + \"#\"", "item.n", Some("string(item.n)")),
        ("item.pk + \"#\" + item.n", "item.n", Some("string(item.n)")),
        ("item.pk + item.n", "item.n", Some("string(item.n)")),
        ("\"x\" + (item.n + 1)", "item.n + 1", Some("string(item.n + 1)")),
        ("\"x\" == item.n", "item.n", Some("string(item.n)")),
        ("item.n == \"x\"", "item.n", Some("string(item.n)")),
        ("5 < item.pk", "item.pk", Some("number(item.pk)")),
        ("item.pk == item.n", "item.n", Some("string(item.n)")),
        ("\"x\" + [1]", "[1]", None),
        ("item.pk.startsWith(item.n)", "item.n", Some("string(item.n)")),
    ] {
        let found = match Expr::compile(source, Expected::Value) {
            Ok(expr) => expr.faults(&known),
            Err(errors) => errors,
        };
        let places: Vec<&str> = found.iter().map(|error| &source[error.span.clone()]).collect();
        let blamed = if part == "[1]" { places.iter().any(|place| place.contains(part)) } else { places == [part] };
        assert!(blamed, "{source}: {found:?}");
        if let Some(help) = help {
            assert!(found[0].help.iter().any(|line| line.ends_with(help)), "{source}: {found:?}");
            // The remedy removes the error.
            let converted = source.replace(part, help);
            let after = compiled(&converted, Expected::Value).faults(&known);
            assert!(after.iter().all(|fault| fault.title != found[0].title), "{converted}: {after:?}");
        }
    }
}
