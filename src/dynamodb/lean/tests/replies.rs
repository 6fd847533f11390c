//! Tests that both clients interpret every reply in the same way.

use std::cell::Cell;

use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value as Json, json};

use super::*;
use crate::change::{Action, Condition, Filter, FilterTerm, GuardedWrite};
use crate::dynamodb::{FatalKind, FilteredPage, Page, Sink, Source, TableError, WriteConsumption, WriteReply};
use crate::item::{Path, item_to_json};

const ITEMS: &str = r#"{"Items":[{"pk":{"S":"a"}}],"Count":1,"ScannedCount":3,"LastEvaluatedKey":{"pk":{"S":"a"}},
    "ConsumedCapacity":{"TableName":"orders","CapacityUnits":0.5}}"#;

/// The results that a client returns for a reply.
#[derive(Debug, PartialEq)]
struct Outcomes {
    scan: Result<Page, TableError>,
    filtered: Result<FilteredPage, TableError>,
    update: Result<WriteReply, TableError>,
}

impl Outcomes {
    async fn of<T: Source + Sink>(table: &T) -> Outcomes {
        let filter = Filter {
            condition: FilterTerm::Exists(Path::attribute("a")),
            expression: "attribute_exists(a)".to_owned(),
            names: [].into(),
            values: [].into(),
            terms: (1, 1),
        };
        let mut write = GuardedWrite::for_test("a");
        write.conditions.push(Condition::ItemExists("pk".into()));
        write.actions.push(Action::Remove { path: Path::attribute("a") });
        let request = page_request();
        Outcomes {
            scan: table.read_page(&request).await,
            filtered: table.read_filtered_page(&request, &filter).await,
            update: table.write(&[&write]).await.remove(0),
        }
    }
}

impl Clients {
    /// Sends a scan, a filtered scan and an update with each client. Every request gets this reply. Returns the results
    /// of the SDK and of the lean client. Fails if a client sends a request twice.
    async fn outcomes(&self, reply: Canned) -> (Outcomes, Outcomes) {
        self.stub.take();
        self.stub.answer(reply);
        let outcomes = (Outcomes::of(&self.sdk).await, Outcomes::of(&self.lean).await);
        assert_eq!(self.stub.take().len(), 6, "each request is sent once");
        outcomes
    }

    /// Like `outcomes`, but fails if the clients do not agree.
    async fn agreed(&self, reply: Canned) -> Outcomes {
        let what = format!("{reply:?}");
        let (sdk, lean) = self.outcomes(reply).await;
        assert_eq!(sdk, lean, "{what}");
        lean
    }
}

pub(super) fn error(status: u16, code: &str, message: &str, more: Json) -> Canned {
    let mut body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    Canned::json(status, body.to_string())
}

/// For each reply in the list, both clients return the same error. The second column is a part of the update's result.
/// It ensures that the clients agree on the intended error.
#[tokio::test(flavor = "multi_thread")]
async fn errors_are_the_same() {
    let image = json!({"Item": {"pk": {"S": "a"}, "v": {"N": "7"}}});
    let reasons =
        json!({"throttlingReasons": [{"reason": "TableWriteKeyRangeThroughputExceeded", "resource": "arn:x"}]});
    let html = || vec![("content-type", "text/html".to_owned())];
    let header = |code: &str| vec![("x-amzn-errortype", code.to_owned())];
    let replies = [
        (Canned::json(200, "{}"), "Applied { consumed: None"),
        (Canned::json(200, ""), "Applied { consumed: None"),
        (Canned::json(200, ITEMS), "Applied { consumed: Some"),
        (Canned::json(200, "null"), "not a valid JSON reply"),
        (Canned::json(200, "[]"), "not a valid JSON reply"),
        (Canned::json(200, "{} {}"), "not a valid JSON reply"),
        (Canned::json(200, "{\"Items\":[{}"), "not a valid JSON reply"),
        (Canned::json(204, ""), ""),
        (Canned::with(200, html(), "<html>hello</html>"), "not a valid JSON reply"),
        (Canned::with(200, vec![("x-amz-crc32", "1".to_owned())], "{}"), "checksum"),
        (Canned::with(200, vec![("x-amz-crc32", "x".to_owned())], "{}"), "checksum"),
        (Canned::with(400, vec![("x-amz-crc32", "1".to_owned())], "{}"), "checksum"),
        (Canned::with(200, vec![("x-amz-crc32", "2745614147".to_owned())], "{}"), ""),
        (error(400, "ConditionalCheckFailedException", "no", json!({})), "ConditionFailed { image: None }"),
        (error(400, "ConditionalCheckFailedException", "no", json!({"Item": {}})), "ConditionFailed { image: None }"),
        (error(400, "ConditionalCheckFailedException", "no", json!({"Item": null})), "ConditionFailed { image: None }"),
        (error(400, "ConditionalCheckFailedException", "no", image), "ConditionFailed { image: Some"),
        (error(400, "ConditionalCheckFailedException", "no", json!({"Item": 1})), "unknown format"),
        (error(400, "ConditionalCheckFailedException", "no", json!({"Item": {"a": {"X": 1}}})), "does not know"),
        (error(400, "ProvisionedThroughputExceededException", "slow", reasons.clone()), "KeyRange"),
        (error(400, "ThrottlingException", "slow", reasons), "KeyRange"),
        (error(400, "RequestLimitExceeded", "slow", json!({})), "Throttled { reasons: []"),
        (error(400, "TransactionConflictException", "busy", json!({})), "ambiguous: false"),
        (error(400, "ItemCollectionSizeLimitExceededException", "full", json!({})), "Rejected"),
        (error(400, "ValidationException", "Item size to update has exceeded 'secret'", json!({})), "Rejected"),
        (error(400, "ValidationException", "Invalid UpdateExpression: x", json!({})), "kind: Request"),
        (error(400, "ResourceNotFoundException", "Requested resource not found", json!({})), "TableMissing"),
        (error(400, "AccessDeniedException", "User: x is not authorized", json!({})), "Permission"),
        (error(400, "UnrecognizedClientException", "The security token is invalid", json!({})), "Credentials"),
        (error(400, "ExpiredTokenException", "The security token is expired", json!({})), "Credentials"),
        (error(400, "InvalidSignatureException", "The signature does not match", json!({})), "Credentials"),
        (error(400, "UnknownOperationException", "", json!({})), "Unsupported"),
        (error(400, "NewException", "what", json!({})), "kind: Request"),
        (error(500, "InternalServerError", "oops", json!({})), "ambiguous: true"),
        (error(503, "ServiceUnavailable", "oops", json!({})), "ambiguous: true"),
        (error(408, "RequestTimeoutException", "slow", json!({})), "ambiguous: true"),
        (Canned::json(400, "{\"message\":\"no code\"}"), "unknown format"),
        (Canned::json(400, "{\"__type\":7,\"code\":\"ThrottlingException\"}"), "Throttled"),
        (Canned::json(400, "{\"__type\":\"a#ThrottlingException\",\"Message\":\"slow\"}"), "slow"),
        (Canned::json(400, "{\"__type\":\"ThrottlingException\""), "unknown format"),
        (Canned::json(500, "{"), "ambiguous: true"),
        (Canned::with(400, header("ThrottlingException:http://internal/"), "{}"), "Throttled"),
        (Canned::with(400, header("ThrottlingException"), ""), "Throttled"),
        (Canned::with(400, header("ThrottlingException"), "<html>"), "without a DynamoDB error"),
        (Canned::with(403, html(), "<html>Forbidden</html>"), "without a DynamoDB error"),
        (Canned::with(502, html(), "<html>Bad Gateway</html>"), "ambiguous: true"),
        (Canned::with(503, html(), ""), "ambiguous: true"),
        (Canned::with(501, html(), ""), "Unsupported"),
        (Canned::with(301, vec![("location", "http://127.0.0.1:1/".to_owned())], ""), "without a DynamoDB error"),
        (Canned::with(307, vec![("location", "http://127.0.0.1:1/".to_owned())], ""), "without a DynamoDB error"),
        (Canned::Reply { status: 200, headers: Vec::new(), body: b"{\"Items\":[".to_vec(), length: 80 }, "completely"),
        (Canned::Reply { status: 500, headers: Vec::new(), body: b"{".to_vec(), length: 80 }, "completely"),
        (Canned::Close, "the connection failed"),
        (Canned::Text("220 mail.example.com ESMTP\r\n"), "the request could not be sent"),
    ];
    for (reply, part) in replies {
        let what = format!("{reply:?}");
        // Use new clients, which know nothing about the endpoint yet.
        let update = Clients::start().await.agreed(reply).await.update;
        let text = format!("{update:?}");
        assert!(text.contains(part), "{what}: {text}");
        if ["not a valid JSON reply", "checksum", "completely", "the connection failed"].contains(&part) {
            assert!(update.is_err_and(|error| error.is_ambiguous()), "{what}");
        }
    }
}

/// If no reply arrives in time, the error is ambiguous, because it is unknown whether the request was applied. If no
/// connection opens, the error is unambiguous.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_reply_is_ambiguous_and_a_refused_connection_is_not() {
    let clients = Clients::start().await;
    clients.stub.answer(Canned::Hang);
    let (sdk, lean) = tokio::join!(Outcomes::of(&clients.sdk), Outcomes::of(&clients.lean));
    assert_eq!(sdk, lean);
    assert!(lean.update.is_err_and(|error| error.is_ambiguous() && error.to_string().contains("timed out")));
    assert_eq!(clients.stub.take().len(), 6, "each request is sent once");
    clients.stub.stop_listening();
    // Give the listener time to close.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let (sdk, lean) = (Outcomes::of(&clients.sdk).await, Outcomes::of(&clients.lean).await);
    assert_eq!(sdk, lean);
    let error = lean.update.unwrap_err();
    assert!(!error.is_ambiguous() && error.to_string().contains("could not be opened"), "{error}");
}

/// The required parts of a reply depend on earlier replies.
#[tokio::test(flavor = "multi_thread")]
async fn earlier_replies_decide_what_a_reply_must_contain() {
    let clients = Clients::start().await;
    let agreed = clients.agreed(Canned::json(200, ITEMS)).await;
    assert_eq!(agreed.filtered.map(|page| page.left_out), Ok(2));
    let agreed = clients.agreed(Canned::json(200, r#"{"Items":[],"Count":0,"ScannedCount":0}"#)).await;
    for error in [agreed.scan.unwrap_err(), agreed.update.unwrap_err()] {
        assert!(error.to_string().contains("no ConsumedCapacity"), "{error}");
    }
    let arms = r#"{"ConsumedCapacity":{"CapacityUnits":9,"Table":{"CapacityUnits":2},"LocalSecondaryIndexes":{"l":
        {"WriteCapacityUnits":3}},"GlobalSecondaryIndexes":{"h":{"CapacityUnits":3.0},"g":{"CapacityUnits":1},"z":
        {"CapacityUnits":0}}}}"#;
    let agreed = clients.agreed(Canned::json(200, arms)).await;
    let consumed =
        WriteConsumption { table: 5.0, indexes: vec![("g".to_owned(), 1.0), ("h".to_owned(), 3.0)], elsewhere: None };
    assert_eq!(agreed.update, Ok(WriteReply::Applied { consumed: Some(consumed), removed: None }));
}

/// A wrong clock is recognised. From then on, both clients sign with DynamoDB's time.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_recognised_and_corrected() {
    let clients = Clients::start().await;
    let date = ("date", "Thu, 01 Jan 2026 00:00:00 GMT".to_owned());
    let body = json!({"__type": "InvalidSignatureException", "message": "Signature expired: 2026"}).to_string();
    clients.stub.answer(Canned::with(400, vec![date], body));
    let is_clock = |error: &TableError| matches!(error, TableError::Fatal { kind: FatalKind::Clock, .. });
    assert!(clients.sdk.read_page(&page_request()).await.is_err_and(|error| is_clock(&error)));
    assert!(clients.lean.read_page(&page_request()).await.is_err_and(|error| is_clock(&error)));
    let uncorrected = clients.stub.take();
    let _ = (clients.sdk.read_page(&page_request()).await, clients.lean.read_page(&page_request()).await);
    let corrected = clients.stub.take();
    for request in &uncorrected {
        assert!(!request.headers["x-amz-date"].starts_with("2026010"), "{request:?}");
    }
    for request in &corrected {
        let date = &request.headers["x-amz-date"];
        assert!(date.starts_with("20260101T0000") || date.starts_with("20251231T2359"), "{date}");
    }
    assert_eq!((uncorrected.len(), corrected.len()), (2, 2));
}

/// A reply with random items. In most replies, a random part is missing, replaced or cut off.
fn any_reply() -> impl Strategy<Value = Vec<u8>> {
    let items = proptest::collection::vec(any_item(), 0..4);
    let parts = (items, any_position(), any::<u8>(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    parts.prop_map(|(items, next, kind, at, length)| {
        let items: Vec<Json> = items.iter().map(item_to_json).collect();
        let count = items.len();
        let mut reply = json!({
            "Items": items, "Count": count, "ScannedCount": count,
            "ConsumedCapacity": {"TableName": "orders", "CapacityUnits": 1.5, "Table": {"CapacityUnits": 1.5}}
        });
        if let Some(Position::Key(key)) = next {
            reply["LastEvaluatedKey"] = item_to_json(key.attributes());
        }
        if kind % 5 == 4 {
            let names: Vec<String> = reply.as_object().unwrap().keys().cloned().collect();
            reply[at.get(&names)] = if kind % 2 == 0 { Json::Null } else { json!(7) };
        }
        let mut bytes = reply.to_string().into_bytes();
        match kind % 5 {
            0 => bytes.truncate(at.index(bytes.len() + 1)),
            1 => {
                let at = at.index(bytes.len());
                bytes[at] = u8::try_from(length.index(256)).unwrap();
            }
            2 => {
                let at = at.index(bytes.len());
                bytes.remove(at);
            }
            _ => {}
        }
        bytes
    })
}

/// Returns the number of cases. `PROPTEST_CASES` overrides the default.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

/// Returns whether a result is the error that a reply is not JSON.
fn is_not_json<T>(result: &Result<T, TableError>) -> bool {
    matches!(result, Err(TableError::UnusableReply { flaw: "it is not a valid JSON reply", .. }))
}

/// Both clients return the same result, with one exception. If a part that no client reads contains invalid JSON, the
/// lean client refuses the reply, but the SDK accepts it.
#[test]
fn random_replies_have_the_same_meaning() {
    fn assert_same<T: PartialEq + std::fmt::Debug>(sdk: &Result<T, TableError>, lean: &Result<T, TableError>) {
        assert!(sdk == lean || is_not_json(lean), "SDK: {sdk:?}, lean: {lean:?}");
    }
    let runtime = runtime();
    let clients = runtime.block_on(Clients::start());
    // This reply ensures that both clients require the same parts from now on.
    runtime.block_on(clients.agreed(Canned::json(200, ITEMS)));
    let (good, bad, stricter) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let ran = TestRunner::new(Config::with_cases(cases())).run(&any_reply(), |body| {
        let (sdk, lean) = runtime.block_on(clients.outcomes(Canned::json(200, body)));
        assert_same(&sdk.scan, &lean.scan);
        assert_same(&sdk.filtered, &lean.filtered);
        assert_same(&sdk.update, &lean.update);
        let counter = match &lean.scan {
            Ok(_) => &good,
            Err(_) if sdk.scan.is_ok() => &stricter,
            Err(_) => &bad,
        };
        counter.set(counter.get() + 1);
        Ok(())
    });
    ran.unwrap();
    assert!(
        good.get() > 20 && bad.get() > 20 && stricter.get() < good.get(),
        "{good:?} good, {bad:?} bad, {stricter:?}"
    );
}
