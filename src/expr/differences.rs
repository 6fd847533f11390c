//! The intended differences between expressions and standard CEL. `docs/expressions.md` lists them, and tests check
//! each example.

use std::fmt::Write as _;

/// One difference from CEL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// An expression that shows the difference.
    pub source: &'static str,
    /// Its result in CEL, in words.
    pub in_cel: &'static str,
    /// Its result here.
    pub here: DifferentResult,
    /// Why it differs.
    pub why: &'static str,
}

/// A result that differs from CEL's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferentResult {
    /// The result is that of this expression.
    Is(&'static str),
    /// The item is not computable.
    NoResult,
    /// The plan is refused.
    Refused,
}

const fn difference(
    source: &'static str,
    in_cel: &'static str,
    here: DifferentResult,
    why: &'static str,
) -> Difference {
    Difference { source, in_cel, here, why }
}

use DifferentResult::{Is, NoResult, Refused};

/// DynamoDB has one exact type of number.
const NUMBER: &str = "DynamoDB has one type of number, with 38 exact digits";

/// A selection that is silently false skips items.
const SILENT: &str = "a comparison that is always false would silently skip items";

/// All differences.
pub const DIFFERENCES: &[Difference] = &[
    difference("7 / 2", "3, the quotient of integers", Is("3.5"), NUMBER),
    difference("0.1 + 0.2 == 0.3", "false, because doubles are rounded", Is("true"), NUMBER),
    difference("9223372036854775807 + 1", "an error: integers have 64 bits", Is("9223372036854775808"), NUMBER),
    difference("1 + 1.0", "an error: an integer and a double", Is("2"), NUMBER),
    difference("5.5 % 2", "an error: only integers have a remainder", Is("1.5"), NUMBER),
    difference(
        "string(0.000001)",
        "\"1e-06\"",
        Is("\"0.000001\""),
        "the text of a number has one form, without an exponent",
    ),
    difference("[3].map(x, 1 / x)", "[0]", NoResult, "1 / 3 is not a finite decimal, and nothing is rounded"),
    difference("1u", "an unsigned integer", Refused, NUMBER),
    difference("int(\"1\")", "1", Refused, "there are no integers or doubles: use `number(\"1\")`"),
    difference("1 == \"1\"", "false", Refused, SILENT),
    difference("\"a\" in [1]", "false", Refused, SILENT),
    difference("false < true", "true", Refused, "DynamoDB does not order booleans"),
    difference(
        "type(1)",
        "the type `int`",
        Is("\"N\""),
        "types have DynamoDB's names, so that they can be compared and stored",
    ),
    difference("{1: \"a\"}", "a map", Refused, "the keys of a map in DynamoDB are texts"),
    difference(
        "has(item.a.b)",
        "an error if `item.a` is not a map",
        Is("false"),
        "`has` must be a safe guard for every item",
    ),
    difference("\"hello\".indexOf(\"l\", 3)", "3", Refused, "`indexOf` has only one form: use `substring` first"),
    difference(
        "string(b\"abc\")",
        "\"abc\"",
        Refused,
        "a binary value is not always valid text: use `base64.encode(b)`",
    ),
    difference(
        "string(timestamp(\"9999-12-31T23:59:59Z\"))",
        "\"9999-12-31T23:59:59Z\"",
        Refused,
        "the latest time is 9999-12-30T22:00:00Z, because a time must be a valid date in every time zone",
    ),
    difference(
        "timestamp(0)",
        "1970-01-01T00:00:00Z",
        Refused,
        "the unit would be unclear: use `timestamp(\"1970-01-01T00:00:00Z\")`",
    ),
    difference(
        "timestamp(\"2009-02-13T23:31:30Z\").getHours(\"-05:00\")",
        "18",
        Refused,
        "a time zone has a name, such as \"America/New_York\", because an offset would be wrong for half of the year",
    ),
    difference("[1, 2].all(i, v, v > i)", "true", Refused, "a macro has one variable"),
];
/// Returns the differences as a Markdown table.
pub fn differences() -> String {
    let mut page = "| Expression | In CEL | Here | Why |\n| --- | --- | --- | --- |\n".to_owned();
    for difference in DIFFERENCES {
        let here = match difference.here {
            Is(result) => format!("`{result}`"),
            NoResult => "no result".to_owned(),
            Refused => "refused when the plan is loaded".to_owned(),
        };
        let Difference { source, in_cel, here: _, why } = difference;
        let _ = writeln!(page, "| `{source}` | {in_cel} | {here} | {why} |");
    }
    page
}
