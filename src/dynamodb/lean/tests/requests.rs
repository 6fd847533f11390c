//! Tests that both clients send the same requests.

use std::collections::BTreeSet;

use proptest::test_runner::{Config, TestRunner};
use serde_json::Value as Json;

use super::stub::Recorded;
use super::*;
use crate::change::{Action, Condition, Filter, FilterTerm, GuardedWrite, WriteCost};
use crate::dynamodb::{Sink as _, Source as _};
use crate::item::Path;

const CASES: u32 = 96;

/// The headers that may differ between the clients, because they name the client or depend on the time.
const OWN: [&str; 3] = ["user-agent", "authorization", "x-amz-date"];

fn is_of_the_sdk(header: &str) -> bool {
    header.starts_with("amz-sdk-") || header == "x-amz-user-agent"
}

/// Returns the value of a part of the `Authorization` header.
fn authorization<'r>(request: &'r Recorded, part: &str) -> &'r str {
    let (_, rest) = request.headers["authorization"].split_once(part).unwrap();
    rest.split(',').next().unwrap()
}

fn signed_headers(request: &Recorded) -> BTreeSet<&str> {
    authorization(request, "SignedHeaders=").split(';').collect()
}

pub(super) fn assert_same(requests: &[Recorded]) {
    let [sdk, lean] = requests else { panic!("each client sends one request: {requests:?}") };
    assert_eq!(sdk.line, lean.line);
    let body = |request: &Recorded| serde_json::from_slice::<Json>(&request.body).unwrap();
    assert_eq!(body(sdk), body(lean));
    let shared = |request: &Recorded| {
        let mut headers = request.headers.clone();
        headers.retain(|name, _| !OWN.contains(&name.as_str()) && !is_of_the_sdk(name));
        headers.insert("content-length".into(), "-".into());
        headers
    };
    assert_eq!(shared(sdk), shared(lean));
    assert_eq!(lean.headers["content-length"], lean.body.len().to_string());
    assert_eq!(lean.headers["user-agent"], format!("backfill/{}", env!("CARGO_PKG_VERSION")));
    let scope = |request| authorization(request, "Credential=").to_owned();
    assert_eq!(scope(sdk), scope(lean));
    let needed: BTreeSet<&str> = signed_headers(sdk).into_iter().filter(|name| !is_of_the_sdk(name)).collect();
    assert_eq!(needed, signed_headers(lean));
}

fn any_path() -> impl Strategy<Value = Path> {
    proptest::collection::vec(any_text(), 1..4).prop_map(|names| {
        let root = Path::attribute(names[0].clone());
        names[1..].iter().fold(root, |path, name| path.member(name.clone()))
    })
}

fn any_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        any_text().prop_map(Condition::ItemExists),
        any_path().prop_map(Condition::Exists),
        any_path().prop_map(Condition::Missing),
        any_path().prop_map(Condition::IsMap),
        (any_path(), any_value()).prop_map(|(path, value)| Condition::Equals(path, value)),
        (any_path(), any_path()).prop_map(|(one, other)| Condition::PathsEqual(one, other)),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (any_path(), any_path(), any_value()).prop_map(|(to, from, value)| Action::SetFrom { to, from, value }),
        (any_path(), any_value()).prop_map(|(to, value)| Action::SetValue { to, value }),
        any_path().prop_map(|path| Action::Remove { path }),
    ]
}

fn any_write() -> impl Strategy<Value = GuardedWrite> {
    let parts =
        (any_key(), proptest::collection::vec(any_action(), 1..4), proptest::collection::vec(any_condition(), 1..5));
    parts.prop_map(|(key, actions, conditions)| GuardedWrite {
        key,
        actions,
        conditions,
        equal_values: Vec::new(),
        pre_images: Vec::new(),
        bytes_before: 1,
        bytes_after: 1,
        cost: WriteCost::default(),
        cost_elsewhere: None,
        next: None,
    })
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let named = |sign: &'static str| move |index: usize| format!("{sign}f{index}");
    let parts = (any_text(), proptest::collection::vec(any_text(), 0..3), proptest::collection::vec(any_value(), 0..3));
    parts.prop_map(move |(expression, names, values)| Filter {
        condition: FilterTerm::Exists(Path::attribute("a")),
        expression,
        names: names.into_iter().enumerate().map(|(index, name)| (named("#")(index), name)).collect(),
        values: values.into_iter().enumerate().map(|(index, value)| (named(":")(index), value)).collect(),
        terms: (1, 1),
    })
}

fn any_request() -> impl Strategy<Value = PageRequest> {
    let numbers =
        (0_u32..1000, 1_u32..1000, any_position(), proptest::option::of(prop_oneof![1_u32..1000, any::<u32>()]));
    (numbers, any::<bool>(), any::<bool>()).prop_map(
        |((segment, total_segments, start, limit), consistent, keys_only)| PageRequest {
            segment,
            total_segments,
            start,
            limit,
            consistent,
            keys_only,
        },
    )
}

#[test]
fn both_clients_send_the_same_scans() {
    let runtime = runtime();
    let clients = runtime.block_on(Clients::start());
    // `keys_only` has an effect only if the client knows the table's key.
    let described = r#"{"Table":{"TableName":"orders","TableArn":"arn:aws:dynamodb:eu-west-1:1:table/orders",
        "TableStatus":"ACTIVE","BillingModeSummary":{"BillingMode":"PAY_PER_REQUEST"},"ItemCount":0,"TableSizeBytes":0,"KeySchema":[{"AttributeName":"pk","KeyType":"HASH"}],
        "AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"}]}}"#;
    for described_first in [false, true] {
        if described_first {
            clients.stub.answer(Canned::json(200, described));
            runtime.block_on(clients.sdk.describe()).unwrap();
            runtime.block_on(clients.lean.describe()).unwrap();
            clients.stub.take();
        }
        clients.stub.answer(Canned::json(200, r#"{"Items":[],"Count":0,"ScannedCount":0}"#));
        let strategy = (any_request(), proptest::option::of(any_filter()));
        let ran = TestRunner::new(Config::with_cases(CASES)).run(&strategy, |(request, filter)| {
            runtime.block_on(async {
                match &filter {
                    None => assert_eq!(clients.sdk.read_page(&request).await, clients.lean.read_page(&request).await),
                    Some(filter) => assert_eq!(
                        clients.sdk.read_filtered_page(&request, filter).await,
                        clients.lean.read_filtered_page(&request, filter).await
                    ),
                }
            });
            assert_same(&clients.stub.take());
            Ok(())
        });
        ran.unwrap();
    }
}

#[test]
fn both_clients_send_the_same_updates() {
    let runtime = runtime();
    let clients = runtime.block_on(Clients::start());
    clients.stub.answer(Canned::json(200, "{}"));
    let ran = TestRunner::new(Config::with_cases(2 * CASES)).run(&any_write(), |write| {
        let (sdk, lean) =
            runtime.block_on(async { (clients.sdk.write(&[&write]).await, clients.lean.write(&[&write]).await) });
        assert_eq!(sdk, lean);
        assert_same(&clients.stub.take());
        Ok(())
    });
    ran.unwrap();
}

/// The SDK sends writes of whole items, and requests that the lean client cannot prepare.
#[test]
fn the_sdk_sends_everything_else() {
    let runtime = runtime();
    let clients = runtime.block_on(Clients::start());
    clients.stub.answer(Canned::json(200, "{}"));
    let item: Item = [("pk".to_owned(), Value::S("a".to_owned()))].into();
    let mut write = GuardedWrite::for_test("a");
    write.conditions.push(Condition::ItemMissing("pk".into()));
    write.actions.push(Action::PutItem { item });
    runtime.block_on(clients.lean.write(&[&write]));
    let unknown_route = LeanTable::new(runtime.block_on(table(&clients.stub.endpoint)));
    write.actions = vec![Action::Remove { path: Path::attribute("a") }];
    runtime.block_on(unknown_route.write(&[&write]));
    runtime.block_on(unknown_route.write(&[&write]));
    let requests = clients.stub.take();
    let by = |request: &Recorded| {
        let is_lean = request.headers["user-agent"].starts_with("backfill/");
        (request.headers["x-amz-target"].trim_start_matches("DynamoDB_20120810.").to_owned(), is_lean)
    };
    let expected = [("PutItem", false), ("UpdateItem", false), ("UpdateItem", true)];
    assert_eq!(requests.iter().map(by).collect::<Vec<_>>(), expected.map(|(name, lean)| (name.to_owned(), lean)));
}
