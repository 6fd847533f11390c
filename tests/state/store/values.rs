//! Tests values in the journal. Every value that DynamoDB can store is read back unchanged.

use backfill::internals::item::{MAX_ITEM_BYTES, Num, attribute_bytes};

use super::*;

/// Returns values of 400 KB that have a longer JSON text. Values that are slow to test have a tenth of this size.
fn large_shapes() -> Vec<(&'static str, Value)> {
    let whole = |element: Value, bytes: usize| Value::L(vec![element; (MAX_ITEM_BYTES - 64) / bytes]);
    let list = |element: Value, bytes: usize| Value::L(vec![element; MAX_ITEM_BYTES / 10 / bytes]);
    let number = |text: &str| Value::N(Num::parse(text).unwrap());
    let tiny = format!("0.{}1", "0".repeat(129));
    let controls: Vec<String> = (1..32_u8).map(|c| char::from(c).to_string()).collect();
    vec![
        ("empty strings", whole(Value::S(String::new()), 1)),
        ("empty binaries", list(Value::B(Vec::new()), 1)),
        ("nulls", list(Value::Null, 2)),
        ("booleans", list(Value::Bool(false), 2)),
        ("numbers", list(number("1"), 3)),
        ("numbers of many zeros", list(number(&tiny), 3)),
        ("empty lists", list(Value::L(Vec::new()), 4)),
        ("empty maps", list(Value::M(BTreeMap::new()), 4)),
        ("sets of control characters", whole(Value::Ss(controls), 32)),
        ("small maps", list(Value::M([("\u{1}".to_owned(), Value::S(String::new()))].into()), 6)),
        ("control characters", Value::S("\u{1}".repeat(MAX_ITEM_BYTES - 64))),
        ("a map of many members", Value::M((0..6_000).map(|n| (format!("{n:x}"), Value::S(String::new()))).collect())),
        ("binary", Value::B((0..400_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect())),
    ]
}

#[tokio::test]
async fn every_value_that_dynamodb_can_store_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.db"));
    let run = begin(&store, BeginMode::ResumeOrNew, 1).await.run.id;
    let shapes = large_shapes();
    for (n, (shape, value)) in shapes.iter().enumerate() {
        assert!(attribute_bytes("old", value) <= MAX_ITEM_BYTES, "{shape}");
        let row = PreImageRow { key: key(n), pre: PreImage::with_value(&attribute("old"), value) };
        store.append_pre_images(session_of(run, 1), vec![row]).await.unwrap();
    }
    for (n, (shape, value)) in shapes.iter().enumerate() {
        let found = store.history_of(vec![key(n)], HistoryLookup::ForDecision).await;
        let found = found.unwrap_or_else(|error| panic!("{shape}: {error}"));
        let expected =
            (backfill::internals::change::PreImageOrigin::Run, PreImage::with_value(&attribute("old"), value));
        assert_eq!(
            found,
            [backfill::internals::change::ItemHistory::new([], [expected]).without_baseline()],
            "{shape}"
        );
    }
}
