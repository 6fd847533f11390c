//! Measures the evaluation of expressions over an item with 20 attributes.
//!
//! Run it with `cargo bench --bench expr`. The exit code is 1 if a figure misses its target.
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use backfill::internals::expr::{Expected, Expr, Facts};
use backfill::internals::item::{Item, Value};

/// The maximum time to join two attributes, in nanoseconds.
const JOIN: f64 = 300.0;

/// The maximum time to evaluate a filter over numbers, in nanoseconds.
const FILTER: f64 = 1_000.0;

const ROUNDS: u32 = 1_000_000;

/// The expressions, each with its type and its maximum time. Expressions without a maximum are for comparison.
const CASES: [(&str, Expected, Option<f64>); 7] = [
    ("item.first + \" \" + item.last", Expected::Value, Some(JOIN)),
    ("item.count > 100", Expected::Bool, Some(FILTER)),
    ("item.count * 2 + 0.5 < item.limit && item.count != 7", Expected::Bool, Some(FILTER)),
    ("type(item.count) == \"N\" && item.count > 100", Expected::Bool, Some(FILTER)),
    ("item.first.startsWith(\"An\") && !has(item.gsi1pk)", Expected::Bool, None),
    ("item.tags.exists(t, t == \"c\")", Expected::Bool, None),
    ("sha256(item.first + item.last)", Expected::Value, None),
];

fn main() -> ExitCode {
    let item = item();
    let facts = Facts { started_at: "2025-06-01T12:00:00Z".parse().unwrap() };
    let mut missed = false;
    for (source, expected, target) in CASES {
        let expr = Expr::compile(source, expected).unwrap();
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let began = processor_time();
            for _ in 0..ROUNDS {
                black_box(black_box(&expr).evaluate(black_box(&item), &facts)).unwrap();
            }
            best = best.min((processor_time() - began).as_nanos() as f64 / f64::from(ROUNDS));
        }
        let holds = target.is_none_or(|target| best <= target);
        missed |= !holds;
        let target = target.map_or_else(String::new, |target| format!("≤ {target}  "));
        println!("{source:<55} {best:>6.0} ns  {target}{}", if holds { "ok" } else { "MISSED" });
    }
    let began = processor_time();
    for _ in 0..1_000 {
        black_box(Expr::compile(black_box(CASES[2].0), Expected::Bool)).unwrap();
    }
    println!("compile {:<47} {:>6.0} µs", CASES[2].0, (processor_time() - began).as_micros() as f64 / 1_000.0);
    ExitCode::from(u8::from(missed))
}

/// Makes an item with 20 attributes.
fn item() -> Item {
    let mut item: Item = (0..15).map(|n| (format!("attribute{n}"), Value::S(format!("value {n}")))).collect();
    let tags = ["a", "b", "c"].map(|tag| Value::S(tag.to_owned())).to_vec();
    item.insert("first".to_owned(), Value::S("Annabelle".to_owned()));
    item.insert("last".to_owned(), Value::S("Lovelace".to_owned()));
    item.insert("count".to_owned(), Value::N("12345.67".parse().unwrap()));
    item.insert("limit".to_owned(), Value::N("98765432109876543210.5".parse().unwrap()));
    item.insert("tags".to_owned(), Value::L(tags));
    assert_eq!(item.len(), 20);
    item
}

/// Returns this thread's CPU time. On a busy machine, wall-clock time would include other processes. Uses the wall
/// clock only if the system does not report CPU time.
fn processor_time() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.as_deref().and_then(|line| line.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| START.elapsed(), Duration::from_nanos)
}
