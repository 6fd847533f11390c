//! Further cases of CEL's behaviour, by the sections of its conformance tests. The expressions are our own. Each is
//! true.

use super::constant;
use crate::expr::{Expected, Expr};
use crate::item::Value;

const TRUE: &[(&str, &[&str])] = &[
    (
        "basic: literals",
        &[
            "0 == -0 && 0x1F == 31 && -0x1f == -31",
            "1e3 == 1000 && 5.0e2 == 500 && 1e-5 == 0.00001 && .5 + .5 == 1",
            "'a' == \"a\" && '''a\"b''' == \"a\\\"b\" && \"\"\"it's\"\"\" == 'it\\'s'",
            "r'\\d' == \"\\\\d\" && R\"\\d\" == r'\\d'",
            "\"\\a\\b\\f\\n\\r\\t\\v\" == \"\\x07\\x08\\x0c\\x0a\\x0d\\x09\\x0b\"",
            "\"\\u00e9\" == \"é\" && \"\\U0001F600\" == \"😀\" && \"\\?\" == \"?\" && \"\\`\" == \"`\"",
            "b\"\\xff\\377\" == b'\\xff' + b'\\xff' && b\"é\" == b\"\\xc3\\xa9\"",
            "[] == [] && {} == {} && [[]] != []",
            "true != false && null == null",
        ],
    ),
    (
        "comparisons",
        &[
            "1 < 2 && !(2 < 1) && !(1 < 1) && 1 <= 1 && 2 > 1 && 1 >= 1",
            "-1 < 0 && -2 < -1 && 1.5 > 1 && 1 < 1.00000000000000000001",
            "\"\" < \"a\" && \"A\" < \"a\" && \"ab\" < \"abc\" && \"Z\" < \"a\"",
            "b\"a\" < b\"b\" && b\"\" < b\"\\x00\" && b\"a\" >= b\"a\"",
            "1 == 1.0 && [1] == [1.0] && {\"a\": 1} == {\"a\": 1.0}",
            "\"a\" != \"b\" && \"a\" != \"A\" && b\"a\" != b\"A\"",
            "[1, [2]] == [1, [2]] && [1, [2]] != [1, [3]] && [1, 2] != [1]",
            "{\"a\": {\"b\": 1}} == {\"a\": {\"b\": 1}} && {\"a\": 1} != {\"b\": 1}",
            "1 in [1.0] && !(2 in [1]) && !(1 in []) && \"a\" in {\"a\": 0}",
            "null != 1 && null != \"\" && null != [] && [null] == [null]",
        ],
    ),
    (
        "integer_math, fp_math",
        &[
            "2 + 3 * 4 == 14 && (2 + 3) * 4 == 20 && 10 - 4 - 3 == 3 && 100 / 10 / 2 == 5",
            "-(-1) == 1 && --1 == 1 && -1 - -1 == 0 && 7 % 3 * 2 == 2",
            "7 % 3 == 1 && -7 % 3 == -1 && 7 % -3 == 1 && -7 % -3 == -1",
            "42 / 6 == 7 && -42 / 6 == -7 && 1 / 4 == 0.25 && 0 / 5 == 0",
            "9223372036854775807 == 9223372036854775807 && -9223372036854775808 < 0",
            "99999999999999999999999999999999999999 - 1 == 99999999999999999999999999999999999998",
            "1.5 + 1.5 == 3 && 0.1 * 3 == 0.3 && 1.0 - 0.9 == 0.1",
        ],
    ),
    (
        "logic",
        &[
            "true && true && !false && (true || false) && !(false && true)",
            "true || false && false",
            "(true ? 1 : 2) == 1 && (false ? 1 : 2) == 2 && (true ? false : true) == false",
            "(false ? 1 : false ? 2 : 3) == 3",
            "1 < 2 && 2 < 3 || false",
        ],
    ),
    (
        "macros",
        &[
            "[1, 2, 3].exists(x, x > 2) && ![1, 2, 3].exists(x, x > 5)",
            "[].all(x, false) && ![].exists(x, true) && ![].exists_one(x, true)",
            "[1, 2, 3].all(x, x > 0 || x == 2) && [7].exists_one(x, x == 7)",
            "[[1], [2]].map(x, x[0]) == [1, 2] && [].map(x, x) == []",
            "[1, 2, 3, 4].filter(x, x % 2 == 0).map(x, x * x) == [4, 16]",
            "[\"a\", \"bb\"].all(x, size(x) <= 2) && [\"a\", \"bb\"].exists(x, x.startsWith(\"b\"))",
            "{\"a\": 1, \"b\": 2}.all(k, k in [\"a\", \"b\"]) && {\"a\": 1}.exists(k, k == \"a\")",
            "{\"b\": 1, \"a\": 2}.filter(k, k > \"a\") == [\"b\"] && {\"a\": 1}.exists_one(k, true)",
            "[1, 2].all(x, [1, 2].exists(y, x == y))",
        ],
    ),
    (
        "lists, fields",
        &[
            "[1, 2] + [] == [1, 2] && [\"a\"] + [1] == [\"a\", 1] && ([] + [[]])[0] == []",
            "[7, 8, 9][0] == 7 && [7, 8, 9][2] == 9 && [[1, 2]][0][1] == 2",
            "{\"a\": {\"b\": 5}}.a.b == 5 && {\"a b\": 1}[\"a b\"] == 1",
            "has({\"a\": null}.a) && !has({}.a)",
            "size([1, 2, 3]) == 3 && [].size() == 0 && size({\"a\": 1}) == 1 && {}.size() == 0",
        ],
    ),
    (
        "string, string_ext",
        &[
            "\"a\" + \"\" + \"b\" == \"ab\" && \"é\" + \"😀\" == \"é😀\"",
            "size(\"\") == 0 && \"😀\".size() == 1 && size(\"e\\u0301\") == 2 && size(b\"é\") == 2",
            "\"abc\".startsWith(\"\") && \"abc\".startsWith(\"ab\") && !\"abc\".startsWith(\"b\")",
            "\"abc\".endsWith(\"\") && \"abc\".endsWith(\"bc\") && !\"abc\".endsWith(\"b\")",
            "\"abc\".contains(\"\") && \"abc\".contains(\"b\") && !\"abc\".contains(\"ac\")",
            "\"abc\".matches(\"^a.c$\") && \"k1\".matches(\"[a-z][0-9]\") && !\"abc\".matches(\"^b$\")",
            "\"hello\".substring(1, 3) == \"el\" && \"hello\".indexOf(\"z\") == -1",
            "\"hello\".replace(\"l\", \"L\") == \"heLLo\" && \"Hello\".upperAscii() == \"HELLO\"",
            "[\"a\", \"b\"].join() == \"ab\" && [\"a\", \"b\"].join(\"-\") == \"a-b\" && [].join(\"-\") == \"\"",
            "\" \\ta \".trim() == \"a\" && \"a,b,c\".split(\",\", 2) == [\"a\", \"b,c\"]",
        ],
    ),
    (
        "timestamps",
        &[
            "timestamp(\"2024-02-29T00:00:00Z\") + duration(\"24h\") == timestamp(\"2024-03-01T00:00:00Z\")",
            "timestamp(\"0001-01-01T00:00:00Z\") < timestamp(\"9999-12-30T22:00:00Z\")",
            "timestamp(\"2009-02-13T23:31:30.5Z\").getMilliseconds() == 500",
            "timestamp(\"2009-02-13T23:31:30Z\").getMinutes() == 31 && timestamp(\"2009-02-13T23:31:30Z\").getSeconds() == 30",
            "duration(\"-1.5h\") == duration(\"-5400s\") && duration(\"1us\") < duration(\"1ms\")",
            "duration(\"1h\").getSeconds() == 3600 && duration(\"1.5s\").getSeconds() == 1",
            "timestamp(\"2009-02-13T23:31:30Z\") - duration(\"30s\") - timestamp(\"2009-02-13T23:30:00Z\") == duration(\"60s\")",
        ],
    ),
    (
        "conversions",
        &[
            "string(1) == \"1\" && string(-1.50) == \"-1.5\" && string(true) == \"true\" && string(\"a\") == \"a\"",
            "bytes(\"é\") == b\"\\xc3\\xa9\"",
            "string(timestamp(\"2009-02-13T23:31:30Z\")) == \"2009-02-13T23:31:30Z\"",
            "number(\"1.50\") == 1.5 && number(\"-7\") == -7",
        ],
    ),
    (
        "math_ext, encoders_ext",
        &[
            "math.abs(-1.5) == 1.5 && math.sign(-3) == -1 && math.sign(0) == 0",
            "math.ceil(1.2) == 2 && math.floor(-1.2) == -2 && math.trunc(-1.7) == -1",
            "math.greatest(1, 2) == 2 && math.least(1, 2) == 1",
            "base64.encode(b\"hello\") == \"aGVsbG8=\" && base64.decode(\"aGVsbG8=\") == b\"hello\"",
        ],
    ),
    (
        "parse",
        &["(((1))) == 1 && [1, 2,][1] == 2 && {\"a\": 1,}.a == 1", "1 == 1 // a comment", "!(!(!false)) && - 1 == -1"],
    ),
];

/// Expressions without a result, in CEL and here.
const WITHOUT_RESULT: &[&str] = &[
    "1 / 0",
    "1 % 0",
    "\"a\" + 1",
    "\"a\" - \"b\"",
    "!1",
    "-\"a\"",
    "1 && true",
    "1 ? 2 : 3",
    "[1, 2][2]",
    "[1][-1]",
    "[1][0.5]",
    "{\"a\": 1}.b",
    "{\"a\": 1}[\"b\"]",
    "\"abc\"[0]",
    "\"a\" < 1",
    "[1] < [2]",
    "null < null",
    "size(1)",
    "\"hello\".substring(3, 1)",
    "\"abc\".matches(\"[\")",
    "\"a\".charAt(-1)",
    "number(\"a\")",
    "timestamp(\"10000-01-01T00:00:00Z\")",
    "[1, 2].all(x, x)",
    "[1].map(x, y)",
    "1 < 2 < 3",
    "no_such_function(1)",
    "[1, 2",
    "{\"a\": 1, \"a\": 2}",
    "unknown.name",
];

#[test]
fn the_cases_of_the_sections_are_true() {
    let mut wrong = Vec::new();
    for (section, cases) in TRUE {
        for source in *cases {
            let result = Expr::compile(source, Expected::Value).map(|_| constant(source));
            if result != Ok(Ok(Value::Bool(true))) {
                wrong.push(format!("{section}: {source}: {result:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_has_no_result_in_cel_has_none() {
    let has_result = |source: &&&str| Expr::compile(source, Expected::Value).is_ok_and(|_| constant(source).is_ok());
    let wrong: Vec<&&str> = WITHOUT_RESULT.iter().filter(has_result).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
