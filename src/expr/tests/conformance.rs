//! Our own test cases for CEL's standard behaviour, as far as DynamoDB's semantics agree with it. The last table
//! contains the differences.

use serde_json::json;

use super::{constant, item, value};
use crate::expr::{DIFFERENCES, Difference, DifferentResult, Expected, Expr};
use crate::item::Value;

fn is_true(source: &str) {
    assert_eq!(constant(source), Ok(Value::Bool(true)), "{source}");
}

#[test]
fn logic_follows_cel() {
    let of = item(&json!({"yes": {"BOOL": true}, "no": {"BOOL": false}, "n": {"N": "1"}, "zero": {"N": "0"}}));
    for (source, expected) in [
        ("item.yes && item.no", Some(false)),
        ("item.no || item.yes", Some(true)),
        // If one side decides the result, it absorbs a failure of the other side. This holds for the left and the right
        // side.
        ("item.no && 1 / item.zero > 1", Some(false)),
        ("1 / item.zero > 1 && item.no", Some(false)),
        ("item.yes || 1 / item.zero > 1", Some(true)),
        ("1 / item.zero > 1 || item.yes", Some(true)),
        ("item.yes && 1 / item.zero > 1", None),
        ("1 / item.zero > 1 || item.no", None),
        ("item.missing == 1 || item.yes", Some(true)),
        ("item.yes ? item.yes : item.missing", Some(true)),
        ("item.no ? item.missing : item.yes", Some(true)),
        ("!item.no", Some(true)),
        ("!!item.no", Some(false)),
        // Only booleans are conditions.
        ("item.n && item.yes", None),
        ("item.n ? item.yes : item.no", None),
        // && binds more tightly than ||.
        ("item.yes || item.no && item.no", Some(true)),
        ("(item.yes || item.no) && item.no", Some(false)),
    ] {
        let result = Expr::compile(source, Expected::Bool).unwrap().test(&of, &super::facts());
        assert_eq!(result.ok(), expected, "{source}");
    }
}

#[test]
fn macros_follow_cel() {
    for source in [
        "[1, 2, 3].all(x, x > 0)",
        "![1, 2, 3].all(x, x > 1)",
        "[].all(x, x > 1)",
        "![].exists(x, x > 1)",
        "[1, 2, 3].exists(x, x == 2)",
        "[1, 2, 3].exists_one(x, x == 2)",
        "![1, 2, 2].exists_one(x, x == 2)",
        "[1, 2, 3].existsOne(x, x == 2)",
        "[1, 2, 3].map(x, x * x) == [1, 4, 9]",
        "[1, 2, 3].map(x, x > 1, x * x) == [4, 9]",
        "[1, 2, 3].filter(x, x % 2 == 1) == [1, 3]",
        "{\"b\": 1, \"a\": 2}.map(k, k) == [\"a\", \"b\"]",
        "{\"a\": 1}.all(k, k == \"a\")",
        // exists and all absorb failures, exists_one does not.
        "[1, 0].exists(x, 1 / x == 1)",
        "![0, 2].all(x, 1 / x > 1)",
        // An inner variable hides an outer one.
        "[[1, 2], [3]].map(x, x.map(x, x + 1)) == [[2, 3], [4]]",
        "[1, 2].map(x, [10, 20].map(y, x * y)) == [[10, 20], [20, 40]]",
        "set([\"b\", \"a\"]).map(x, x) == [\"a\", \"b\"]",
    ] {
        is_true(source);
    }
    let of = item(&json!({"l": {"L": [{"N": "0"}, {"N": "1"}]}}));
    assert!(value("item.l.exists_one(x, 1 / x == 1)", &of).is_err());
    assert!(value("item.l.filter(x, 1 / x == 1)", &of).is_err());
    assert!(value("item.l.map(x, 1 / x)", &of).is_err());
}

#[test]
fn texts_follow_cel() {
    for source in [
        "\"a\" < \"b\" && \"B\" < \"a\" && \"\" < \"a\"",
        "\"\\u00e4\" == \"ä\" && '\\x41' == \"A\" && \"\\101\" == \"A\"",
        "r\"\\n\" == \"\\\\n\"",
        "\"\"\"a\nb\"\"\" == \"a\\nb\"",
        "\"ab\".size() == 2 && size(\"größe\") == 5",
        "\"tacocat\".charAt(3) == \"o\" && \"tacocat\".charAt(7) == \"\"",
        "\"hello mellow\".indexOf(\"ello\") == 1 && \"hello mellow\".lastIndexOf(\"ello\") == 7",
        "\"hello mellow\".indexOf(\"\") == 0",
        "\"hello\".replace(\"l\", \"\", 1) == \"helo\" && \"hello\".replace(\"he\", \"we\", 0) == \"hello\"",
        "\"a b c\".split(\" \", 0) == [] && \"a b c\".split(\" \", 1) == [\"a b c\"]",
        "\"a b c\".split(\" \", -1) == [\"a\", \"b\", \"c\"] && \"ab\".split(\"\") == [\"a\", \"b\"]",
        "\"tacocat\".substring(4) == \"cat\" && \"tacocat\".substring(0, 4) == \"taco\"",
        "\"TacoCat\".lowerAscii() == \"tacocat\" && \"TacoCÆt Xii\".lowerAscii() == \"tacocÆt xii\"",
        "\"gums\".reverse() == \"smug\"",
        "\"abc\".matches(\"b\") && !\"abc\".matches(\"^b\")",
        "matches(\"abc\", \"a.c\")",
        "b\"abc\" == bytes(\"abc\") && b\"a\" < b\"b\" && b\"a\" + b\"b\" == b\"ab\"",
    ] {
        is_true(source);
    }
}

#[test]
fn lists_and_maps_follow_cel() {
    for source in [
        "[1, 2] + [3] == [1, 2, 3] && [] + [] == []",
        "[1, 2][1] == 2 && [[1], [2]][1][0] == 2",
        "2 in [1, 2] && !(3 in [1, 2])",
        "\"a\" in {\"a\": 1} && !(\"b\" in {\"a\": 1})",
        "{\"a\": 1}.a == 1 && {\"a\": 1}[\"a\"] == 1",
        "has({\"a\": 1}.a) && !has({\"a\": 1}.b)",
        "{\"a\": 1, \"b\": 2} == {\"b\": 2, \"a\": 1}",
        "[1, 2] != [2, 1] && [1] != [1, 1]",
        "[[1, 2], [3]].flatten() == [1, 2, 3]",
        "[3, 1, 2].sort() == [1, 2, 3] && [\"b\", \"a\"].sort() == [\"a\", \"b\"]",
        "[1, 2, 2].distinct() == [1, 2]",
        "[1, 2, 3, 4].slice(1, 3) == [2, 3]",
        "lists.range(3) == [0, 1, 2]",
        "[1, 2, 3].reverse() == [3, 2, 1]",
    ] {
        is_true(source);
    }
}

#[test]
fn times_follow_cel() {
    for source in [
        "timestamp(\"2025-01-01T00:00:00Z\") < timestamp(\"2025-01-01T00:00:00.5Z\")",
        "timestamp(\"2025-01-01T01:00:00+01:00\") == timestamp(\"2025-01-01T00:00:00Z\")",
        "timestamp(\"2025-01-01T00:00:00Z\") + duration(\"24h\") == timestamp(\"2025-01-02T00:00:00Z\")",
        "timestamp(\"2025-01-02T00:00:00Z\") - timestamp(\"2025-01-01T00:00:00Z\") == duration(\"86400s\")",
        "timestamp(\"2025-01-02T00:00:00Z\") - duration(\"1h\") == timestamp(\"2025-01-01T23:00:00Z\")",
        "duration(\"1h\") + duration(\"-30m\") == duration(\"1800s\") && -duration(\"1h\") == duration(\"-1h\")",
        "timestamp(\"2009-02-13T23:31:30Z\").getFullYear() == 2009",
        "timestamp(\"2009-02-13T23:31:30Z\").getMonth() == 1",
        "timestamp(\"2009-02-13T23:31:30Z\").getDate() == 13",
        "timestamp(\"2009-02-13T23:31:30Z\").getDayOfMonth() == 12",
        "timestamp(\"2009-02-13T23:31:30Z\").getDayOfWeek() == 5",
        "timestamp(\"2009-02-13T23:31:30Z\").getDayOfYear() == 43",
        "timestamp(\"2009-02-13T23:31:30Z\").getDate(\"Australia/Sydney\") == 14",
        "timestamp(\"2009-02-13T02:00:00Z\").getHours(\"America/New_York\") == 21",
        "duration(\"3730s\").getHours() == 1 && duration(\"3730s\").getMinutes() == 62",
        "string(timestamp(\"2009-02-13T23:31:30.50Z\")) == \"2009-02-13T23:31:30.5Z\"",
        "string(duration(\"1h1.5s\")) == \"3601.5s\"",
        "string(migration.started_at) == \"2025-06-01T12:00:00Z\"",
        "type(migration.started_at) == \"TIMESTAMP\"",
    ] {
        is_true(source);
    }
    for wrong in [
        "timestamp(\"2025-01-01\")",
        "timestamp(\"2025-01-01 00:00:00Z\")",
        "timestamp(\"2025-01-01T00:00:00\")",
        "timestamp(\"2025-02-30T00:00:00Z\")",
        "timestamp(\"2025-01-01T00:00:00Z[Europe/Paris]\")",
        "duration(\"\")",
        "duration(\"1\")",
        "duration(\"1d\")",
        "duration(\"1.h.\")",
        "duration(\".s\")",
        "duration(\"-\")",
        "duration(\"99999999999999h\")",
    ] {
        assert!(Expr::compile(&format!("string({wrong})"), Expected::Value).is_err(), "{wrong}");
    }
}

/// The page of expressions lists these differences.
#[test]
fn the_listed_differences_are_real() {
    for Difference { source, here, .. } in DIFFERENCES {
        let result = Expr::compile(source, Expected::Value).map(|_| constant(source));
        match (here, result) {
            (DifferentResult::Refused, Err(errors)) => assert!(!errors.is_empty()),
            (DifferentResult::NoResult, Ok(result)) => assert!(result.is_err(), "{source}: {result:?}"),
            (DifferentResult::Is(due), Ok(result)) => assert_eq!(result, constant(due), "{source}"),
            (here, result) => panic!("{source}: {result:?} instead of {here:?}"),
        }
    }
}

/// The intended differences between DynamoDB's semantics and CEL's.
#[test]
fn the_differences_are_these() {
    for source in [
        // One type of number, exact: no integer division, no overflow at 64 bits.
        "7 / 2 == 3.5 && -7 / 2 == -3.5",
        "-7 % 2 == -1 && 7 % -2 == 1 && 5.5 % 2 == 1.5",
        "9223372036854775807 + 1 == 9223372036854775808",
        "1 == 1.0",
        // NULL is unequal to all other types; documents compare as a whole.
        "null == null && null != 1 && [1] != [\"1\"]",
        // A name of a type is a text.
        "type(1) == \"N\" && type([]) == \"L\" && type(null) == \"NULL\" && type({}) == \"M\"",
        // Sets are values.
        "\"a\" in set([\"a\", \"b\"]) && size(set([1, 2])) == 2 && set([1, 2]) == set([2, 1])",
    ] {
        is_true(source);
    }
    let of = item(&json!({"s": {"S": "1"}, "n": {"N": "1"}, "l": {"L": [{"S": "a"}, {"N": "1"}]}}));
    // CEL compares values of different types as unequal. Here there is no result.
    assert!(value("item.s == item.n", &of).is_err());
    assert!(value("item.s in item.l", &of).is_err());
    assert_eq!(value("item.n in item.l", &of), Ok(Value::Bool(true)), "found, so the other element does not matter");
    assert!(Expr::compile("1 == \"1\"", Expected::Bool).is_err(), "both types are known: refused at load");
}

#[test]
fn has_and_type_always_have_a_result() {
    let of =
        item(&json!({"s": {"S": "x"}, "m": {"M": {"a b": {"N": "1"}, "z": {"NULL": true}}}, "l": {"L": [{"S": "y"}]}}));
    for (source, expected) in [
        ("has(item.s)", true),
        ("has(item.missing)", false),
        ("has(item.s.inner)", false),
        ("has(item.missing.inner)", false),
        ("has(item.m[\"a b\"])", true),
        ("has(item.m.`a b`)", true),
        ("has(item.m.z)", true),
        ("has(item.l[0])", true),
        ("has(item.l[1])", false),
        ("has(item.m[0])", false),
        ("type(item.missing) == \"MISSING\"", true),
        ("type(item.m.z) == \"NULL\"", true),
        ("type(item.l[0]) == \"S\"", true),
        ("type(item.s.inner) == \"MISSING\"", true),
        ("type(item.m) in [\"M\", \"L\"]", true),
    ] {
        assert_eq!(value(source, &of), Ok(Value::Bool(expected)), "{source}");
    }
}
