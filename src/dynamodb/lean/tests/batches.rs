//! Both clients send the same batches, and understand every reply to a batch in the same way.

use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::replies::error;
use super::requests::assert_same;
use super::*;
use crate::change::Statement;
use crate::dynamodb::TableError;
use crate::dynamodb::batch::{BatchReply, SendStatements, StatementReply};

async fn execute<T: SendStatements>(table: &T, statements: &[(String, Vec<Value>)]) -> Result<BatchReply, TableError> {
    let statements: Vec<Statement<'_>> = statements
        .iter()
        .map(|(text, parameters)| Statement { text: text.clone(), parameters: parameters.iter().collect() })
        .collect();
    table.execute(&statements).await
}

#[test]
fn both_clients_send_the_same_batches() {
    let runtime = runtime();
    let clients = runtime.block_on(Clients::start());
    clients.stub.answer(Canned::json(200, r#"{"Responses":[]}"#));
    let statement = (any_text(), proptest::collection::vec(any_value(), 1..4));
    let statements = proptest::collection::vec(statement, 1..4);
    let ran = TestRunner::new(Config::with_cases(64)).run(&statements, |statements| {
        let (sdk, lean) = runtime
            .block_on(async { (execute(&clients.sdk, &statements).await, execute(&clients.lean, &statements).await) });
        assert_eq!(sdk, lean);
        assert_same(&clients.stub.take());
        Ok(())
    });
    ran.unwrap();
}

/// The second column is a part of the outcome, so that the table cannot pass by accident.
#[tokio::test(flavor = "multi_thread")]
async fn replies_to_batches_are_the_same() {
    let failed = |error: serde_json::Value| Canned::json(200, json!({"Responses": [{"Error": error}]}).to_string());
    let image = json!({"Code": "ConditionalCheckFailed", "Message": "it says 'S3CRET'", "Item": {"pk": {"S": "a"}}});
    let arms = json!({"Responses": [{"TableName": "t"}, {"Error": {"Code": "ConditionalCheckFailed"}}, {}],
        "ConsumedCapacity": [{"TableName": "t", "CapacityUnits": 7.0, "Table": {"CapacityUnits": 2.0},
        "LocalSecondaryIndexes": {"l": {"CapacityUnits": 1.0}}, "GlobalSecondaryIndexes": {"g": {"WriteCapacityUnits": 3}}}]});
    // An image that cannot be read does not concern the other statements.
    let with_item = |item| json!({"Error": {"Code": "ConditionalCheckFailed", "Item": item}});
    let siblings = json!({"Responses": [{"TableName": "t"}, with_item(json!({"pk": {"S": "b"}, "a": {"L": [{"X": 1}]}})),
        with_item(json!({"pk": {"S": "c"}})), {"TableName": "t"}]});
    let replies = [
        (Canned::json(200, "{}"), "it has no Responses"),
        (Canned::json(200, ""), "it has no Responses"),
        (Canned::json(200, r#"{"Responses":null}"#), "it has no Responses"),
        (Canned::json(200, r#"{"Responses":[]}"#), "replies: []"),
        (Canned::json(200, r#"{"Responses":[{}]}"#), "[Applied]"),
        (Canned::json(200, r#"{"Responses":[7]}"#), "not a valid JSON reply"),
        (Canned::json(200, r#"{"Responses":{}}"#), "not a valid JSON reply"),
        (Canned::json(200, r#"{"Responses":[{}"#), "not a valid JSON reply"),
        (Canned::json(200, arms.to_string()), "total: 7.0, table: Some(3.0), indexes: [(\"g\", 3.0)]"),
        (failed(image), "image: Some"),
        (failed(json!({"Code": "ConditionalCheckFailed", "Item": {}})), "image: None"),
        (failed(json!({"Code": "ConditionalCheckFailed", "Item": {"a": {"X": 1}}})), "image: None"),
        (Canned::json(200, siblings.to_string()), "image: Some({\"pk\": S(\"c\")})"),
        (Canned::json(200, siblings.to_string()), "replies: [Applied, Failed { code: \"ConditionalCheckFailed\""),
        (failed(json!({"Code": "ProvisionedThroughputExceeded", "Message": null})), "ProvisionedThroughputExceeded"),
        (failed(json!({"Code": "New", "Message": "text"})), "code: \"New\""),
        (failed(json!({})), "code: \"\""),
        (failed(json!(null)), "[Applied]"),
        (error(400, "ValidationException", "Provided list of item keys contains duplicates", json!({})), "Rejected"),
        (error(400, "ThrottlingException", "slow", json!({})), "Throttled"),
        (error(400, "AccessDeniedException", "not authorized", json!({})), "Permission"),
        (error(400, "UnknownOperationException", "", json!({})), "Unsupported"),
        (error(500, "InternalServerError", "oops", json!({})), "ambiguous: true"),
        (Canned::Close, "the connection failed"),
    ];
    let statements = [("UPDATE".to_owned(), vec![Value::Null])];
    for (reply, part) in replies {
        let what = format!("{reply:?}");
        let clients = Clients::start().await;
        clients.stub.answer(reply);
        let (sdk, lean) = (execute(&clients.sdk, &statements).await, execute(&clients.lean, &statements).await);
        assert_eq!(sdk, lean, "{what}");
        let text = format!("{lean:?}");
        assert!(text.contains(part) && !text.contains("S3CRET"), "{what}: {text}");
        assert_eq!(clients.stub.take().len(), 2, "each request is sent once");
    }
}

/// If the lean client does not know the route, the SDK sends the batch.
#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_sends_a_batch_that_cannot_be_prepared() {
    let clients = Clients::start().await;
    clients.stub.answer(Canned::json(200, r#"{"Responses":[{"TableName":"t"}]}"#));
    let unknown_route = LeanTable::new(table(&clients.stub.endpoint).await);
    let statements = [("UPDATE".to_owned(), vec![Value::Null])];
    for is_lean in [false, true] {
        let reply = execute(&unknown_route, &statements).await.unwrap();
        assert_eq!(reply.replies, [StatementReply::Applied]);
        let [request] = &clients.stub.take()[..] else { panic!() };
        assert_eq!(request.headers["user-agent"].starts_with("backfill/"), is_lean);
    }
}
