//! Compiles arbitrary text as an expression, and evaluates it over an item that contains every type.

#![no_main]

use std::sync::LazyLock;

use backfill::internals::expr::{Expected, Expr, Facts, KnownTypes};
use backfill::internals::item::{Item, Num, Value};
use libfuzzer_sys::fuzz_target;

/// An item that contains every type, and an empty item.
static ITEMS: LazyLock<[Item; 2]> = LazyLock::new(|| {
    let text = |text: &str| Value::S(text.to_owned());
    let number = |text: &str| Num::parse(text).expect("this is a number");
    let inner: Item = [("x".to_owned(), Value::N(number("2")))].into();
    let item = [
        ("s", text("text ä")),
        ("n", Value::N(number("-12.50"))),
        ("b", Value::B(vec![0, 1])),
        ("t", Value::Bool(true)),
        ("z", Value::Null),
        ("ss", Value::Ss(vec!["a".to_owned(), "b".to_owned()])),
        ("ns", Value::Ns(vec![number("1"), number("2.5")])),
        ("bs", Value::Bs(vec![vec![0]])),
        ("l", Value::L(vec![text("a"), Value::N(number("1")), Value::M(inner.clone())])),
        ("m", Value::M(inner)),
    ];
    [item.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(), Item::new()]
});

fuzz_target!(|source: &str| {
    for expected in [Expected::Value, Expected::Bool] {
        let Ok(expr) = Expr::compile(source, expected) else { continue };
        // Rendering the message slices the source, so a wrong span would panic.
        for fault in expr.faults(&KnownTypes::default()) {
            assert!(source.get(fault.span.clone()).is_some(), "{:?}", fault.span);
        }
        for item in ITEMS.iter() {
            let first = expr.evaluate(item, &Facts::default());
            let second = expr.evaluate(item, &Facts::default());
            assert_eq!(first, second, "the same inputs have the same result");
        }
    }
});
