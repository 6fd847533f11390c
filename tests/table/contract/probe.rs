//! Whether the server evaluates a condition and writes in one step. One that does not loses updates by itself, so nothing
//! that this project promises can be tested on it.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::item::Value;
use serde_json::json;
use tokio::sync::Barrier;

use super::item;
use crate::harness::{Bed, client, to_sdk};

/// Writers that send at the same moment, each over a connection of its own.
const WRITERS: usize = 12;

/// Moments. A server that checks and writes in two steps fails in one of the first few.
const ROUNDS: usize = 40;

/// In each round every writer sends an update that is conditional on the number which only one of them can find; then
/// every writer puts an item on condition that there is none. Exactly one of each may be accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_conditional_writers_wins() {
    let bed = Bed::start();
    let table = bed.create_table().await;
    // Copying and checking it takes a while: what happens in between has time to happen.
    let inner = json!({"L": (0..150).map(|n| json!({"M": {"n": {"N": n.to_string()}}})).collect::<Vec<_>>()});
    let mut counter = item("counter", &json!({"a": inner, "b": inner, "c": inner, "d": inner}));
    counter.insert("n".into(), Value::from_json(&json!({"N": "0"})).unwrap());
    bed.client().put_item().table_name(&table).set_item(Some(to_sdk(&counter))).send().await.unwrap();

    let clients: Vec<Client> = (0..WRITERS).map(|_| client(&bed.behind())).collect();
    for round in 0..ROUNDS {
        let updated = winners(&clients, |client, _| {
            let number = |n: usize| AttributeValue::N(n.to_string());
            let update = client.update_item().table_name(&table).set_key(Some(key("counter")));
            let update = update.update_expression("SET n = :next").condition_expression("n = :n");
            let update = update.expression_attribute_values(":n", number(round));
            let update = update.expression_attribute_values(":next", number(round + 1));
            async move { update.send().await.map(drop).map_err(code) }
        });
        assert_eq!(updated.await, 1, "updates were accepted on the same condition, in round {round}");
        let put = winners(&clients, |client, writer| {
            let new = item(&format!("new {round}"), &json!({"writer": {"N": writer.to_string()}}));
            let put = client.put_item().table_name(&table).set_item(Some(to_sdk(&new)));
            let put = put.condition_expression("attribute_not_exists(pk)");
            async move { put.send().await.map(drop).map_err(code) }
        });
        assert_eq!(put.await, 1, "puts of the same new item were accepted, in round {round}");
    }
}

/// Writers whose conditional write was accepted, of those that sent one at the same moment.
async fn winners<F>(clients: &[Client], write: impl Fn(&Client, usize) -> F) -> usize
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let ready = Arc::new(Barrier::new(clients.len()));
    let mut writers = tokio::task::JoinSet::new();
    for (writer, client) in clients.iter().enumerate() {
        let (ready, write) = (Arc::clone(&ready), write(client, writer));
        writers.spawn(async move {
            ready.wait().await;
            write.await
        });
    }
    let accepted = |outcome: &Result<(), String>| match outcome {
        Ok(()) => true,
        Err(code) if code == "ConditionalCheckFailedException" => false,
        Err(code) => panic!("{code}"),
    };
    writers.join_all().await.iter().filter(|outcome| accepted(outcome)).count()
}

fn key(pk: &str) -> std::collections::HashMap<String, AttributeValue> {
    let mut key = to_sdk(&item(pk, &json!({})));
    key.retain(|name, _| matches!(name.as_str(), "pk" | "sk"));
    key
}

fn code<E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(error: SdkError<E, R>) -> String {
    error.code().map_or_else(|| format!("{error:?}"), str::to_owned)
}
