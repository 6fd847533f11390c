//! Compares the lean client with the SDK. Both must send the same requests, and both must interpret every reply in the
//! same way.

mod batches;
mod replies;
mod requests;
mod stub;

use proptest::prelude::*;

use super::LeanTable;
use crate::dynamodb::sdk::{DynamoTable, connect};
use crate::dynamodb::{Describe as _, PageRequest};
use crate::item::{Item, ItemKey, Num, Position, Value};
use crate::plan::TableRef;
use stub::{Canned, Stub};

/// One table, and two clients that access it through separate connections.
struct Clients {
    stub: Stub,
    sdk: DynamoTable,
    lean: LeanTable,
}

impl Clients {
    async fn start() -> Clients {
        let stub = Stub::start().await;
        let sdk = table(&stub.endpoint).await;
        let lean = table(&stub.endpoint).await;
        // The first request on the lean client's connection reveals the route. The SDK's client sends the same request,
        // so that both have the same information about the endpoint.
        stub.answer(Canned::json(200, r#"{"TimeToLiveDescription":{"TimeToLiveStatus":"DISABLED"}}"#));
        for table in [&sdk, &lean] {
            assert_eq!(table.time_to_live().await, Ok(None));
        }
        stub.take();
        Clients { stub, sdk, lean: LeanTable::new(lean) }
    }
}

async fn table(endpoint: &str) -> DynamoTable {
    let reference = TableRef {
        name: "orders".to_owned(),
        key: None,
        region: Some("eu-west-1".to_owned()),
        endpoint_url: Some(endpoint.to_owned()),
        profile: None,
        account: None,
        role: None,
    };
    DynamoTable::new(&connect(&reference).await.unwrap(), "orders")
}

fn page_request() -> PageRequest {
    PageRequest { segment: 1, total_segments: 4, start: None, limit: None, consistent: true, keys_only: false }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Any name or text, including characters that must be escaped in JSON.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "[ -~]{0,12}",
        proptest::collection::vec(any::<char>(), 0..8).prop_map(String::from_iter),
        proptest::collection::vec((0_u8..35).prop_map(char::from), 0..5).prop_map(String::from_iter),
    ]
}

fn any_number() -> impl Strategy<Value = Num> {
    "-?[0-9]{1,10}(\\.[0-9]{1,9})?(E-?[0-9]{1,2})?".prop_map(Num::from_wire)
}

fn any_scalar() -> impl Strategy<Value = Value> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..9);
    prop_oneof![
        any_text().prop_map(Value::S),
        any_number().prop_map(Value::N),
        bytes().prop_map(Value::B),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        proptest::collection::vec(any_text(), 1..4).prop_map(Value::Ss),
        proptest::collection::vec(any_number(), 1..4).prop_map(Value::Ns),
        proptest::collection::vec(bytes(), 1..4).prop_map(Value::Bs),
    ]
}

/// A value of any type, including nested documents.
fn any_value() -> impl Strategy<Value = Value> {
    any_scalar().prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::L),
            proptest::collection::btree_map(any_text(), inner, 0..4).prop_map(Value::M),
        ]
    })
}

fn any_item() -> impl Strategy<Value = Item> {
    proptest::collection::btree_map(any_text(), any_value(), 0..5)
}

fn any_key() -> impl Strategy<Value = ItemKey> {
    proptest::collection::btree_map(any_text(), any_scalar(), 1..3).prop_map(ItemKey::new)
}

fn any_position() -> impl Strategy<Value = Option<Position>> {
    proptest::option::of(any_key().prop_map(Position::Key))
}
