//! Arithmetic on 38 digits, against big integers.

use proptest::prelude::*;

use super::school::{Absent, Decimal, aligned, quotient, read, stored};
use super::value;
use crate::item::{Item, Num, Value};

/// Numbers of up to 38 digits in DynamoDB's range.
fn numbers() -> impl Strategy<Value = String> {
    let wide = ("-?[1-9][0-9]{0,37}", -130_i32..=88);
    let near = ("-?[1-9][0-9]{0,37}", -20_i32..=3);
    prop_oneof![
        3 => near.prop_map(|(digits, exponent)| format!("{digits}E{exponent}")),
        1 => wide.prop_map(|(digits, exponent)| format!("{digits}E{exponent}")),
        1 => "-?[0-9]{1,4}(\\.[0-9]{1,4})?",
    ]
    .prop_filter("DynamoDB can store it", |text| Num::parse(text).is_ok())
}

fn ours(operator: &str, a: &str, b: &str) -> Result<Value, ()> {
    let number = |text: &str| Value::N(Num::parse(text).unwrap());
    let item = Item::from([("a".to_owned(), number(a)), ("b".to_owned(), number(b))]);
    value(&format!("item.a {operator} item.b"), &item).map_err(|_| ())
}

fn oracle(result: Result<Decimal, Absent>) -> Result<Value, ()> {
    result.and_then(stored).map(Value::N).map_err(|_| ())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn results_are_exact_or_absent(a in numbers(), b in numbers()) {
        let (x, y, exponent) = aligned(read(&a), read(&b));
        prop_assert_eq!(ours("+", &a, &b), oracle(Ok(Decimal { digits: &x + &y, exponent })));
        prop_assert_eq!(ours("-", &a, &b), oracle(Ok(Decimal { digits: &x - &y, exponent })));
        let product = Decimal { digits: read(&a).digits * read(&b).digits, exponent: read(&a).exponent + read(&b).exponent };
        prop_assert_eq!(ours("*", &a, &b), oracle(Ok(product)));
        prop_assert_eq!(ours("/", &a, &b), oracle(quotient(read(&a), read(&b))));
        prop_assert_eq!(ours("<", &a, &b), Ok(Value::Bool(x < y)));
        prop_assert_eq!(ours("==", &a, &b), Ok(Value::Bool(x == y)));
    }

    /// A product divided by a factor is the other factor.
    #[test]
    fn division_undoes_multiplication(a in "-?[1-9][0-9]{0,18}", b in "-?[1-9][0-9]{0,18}") {
        let product = ours("*", &a, &b).unwrap();
        let item = Item::from([("p".to_owned(), product), ("b".to_owned(), Value::N(b.parse().unwrap()))]);
        prop_assert_eq!(value("item.p / item.b", &item), Ok(Value::N(a.parse().unwrap())));
    }

    #[test]
    fn a_literal_keeps_every_digit(text in numbers()) {
        // In CEL, an exponent needs digits before it, a number has no leading zeros, and the sign is an operator.
        prop_assert_eq!(super::constant(&format!("number(\"{text}\")")), Ok(Value::N(text.parse().unwrap())));
    }

    #[test]
    fn a_long_literal_is_read_from_the_source(digits in "[1-9][0-9]{0,37}", decimals in "(\\.[0-9]{1,5})?", negative in any::<bool>()) {
        let text = format!("{}{digits}{decimals}", if negative { "-" } else { "" });
        match Num::parse(&text) {
            Ok(num) => prop_assert_eq!(super::constant(&format!("[\"ä\", {text}][1]")), Ok(Value::N(num))),
            Err(_) => prop_assert!(crate::expr::Expr::compile(&text, crate::expr::Expected::Value).is_err()),
        }
    }
}

#[test]
fn nothing_is_rounded_and_no_float_is_between() {
    assert_eq!(super::constant("0.1 + 0.2 == 0.3"), Ok(Value::Bool(true)));
    assert_eq!(super::constant("1.10 == 1.1"), Ok(Value::Bool(true)));
    let item = Item::from([("n".to_owned(), Value::N("99999999999999999999999999999999999999".parse().unwrap()))]);
    assert!(value("item.n + 1", &item).is_ok(), "10^38 has one digit that counts");
    assert!(value("item.n + 0.5", &item).unwrap_err().contains("38 digits"));
    let text = |source: &str| match super::constant(source) {
        Ok(Value::N(num)) => num.as_str().to_owned(),
        other => panic!("{source}: {other:?}"),
    };
    assert_eq!(text("9007199254740993 + 0"), "9007199254740993");
    assert_eq!(text("123456789012345678901234567890 * 10"), "1234567890123456789012345678900");
    assert_eq!(text("0x1F + 0"), "31");
    assert_eq!(text("-9223372036854775808 - 1"), "-9223372036854775809");
    assert_eq!(text(".5 + 1"), "1.5");
    assert_eq!(text("1E+2 + 0.0"), "100");
}
