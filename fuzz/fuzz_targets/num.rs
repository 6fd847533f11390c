//! Parses two arbitrary texts as numbers, and checks the laws of arithmetic on them.

#![no_main]

use backfill::internals::expr::{Expected, Expr, Facts};
use backfill::internals::item::{Item, Num, Value};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static LAWS: LazyLock<Vec<Expr>> = LazyLock::new(|| {
    let laws = [
        "item.a + item.b == item.b + item.a",
        "item.a * item.b == item.b * item.a",
        "item.a + item.b - item.b == item.a",
        "item.b == 0 || item.a / item.b * item.b == item.a",
        "item.b == 0 || item.a % item.b == item.a - item.b * math.trunc(item.a / item.b)",
        "(item.a < item.b) == (item.b > item.a) && (item.a <= item.b) != (item.a > item.b)",
        "number(string(item.a)) == item.a",
    ];
    laws.iter()
        .map(|law| Expr::compile(law, Expected::Bool).unwrap_or_else(|errors| panic!("{law}: {errors:?}")))
        .collect()
});

fuzz_target!(|texts: (&str, &str)| {
    let (Ok(a), Ok(b)) = (Num::parse(texts.0), Num::parse(texts.1)) else { return };
    for num in [&a, &b] {
        let canonical = num.canonical();
        let again = Num::parse(&canonical).unwrap_or_else(|error| panic!("{canonical}: {error}"));
        assert_eq!((again.canonical(), again == *num), (canonical, true));
        assert!(num.bytes() <= 22);
        if let Some(next) = num.plus_one() {
            assert!(next != *num);
        }
    }
    assert_eq!(a == b, a.canonical() == b.canonical());
    let item: Item = [("a".to_owned(), Value::N(a)), ("b".to_owned(), Value::N(b))].into();
    for law in LAWS.iter() {
        // The law must hold, unless a result is outside DynamoDB's limits.
        assert_ne!(law.test(&item, &Facts::default()).ok(), Some(false), "{}", law.source());
    }
});
