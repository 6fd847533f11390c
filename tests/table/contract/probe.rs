//! Checks whether the server evaluates a condition and writes the item in one atomic step. A server that uses two
//! separate steps loses updates, so this project's promises cannot be tested on such a server.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use backfill::internals::item::Value;
use serde_json::json;
use tokio::sync::Barrier;

use super::item;
use crate::harness::{Harness, client, to_sdk};

/// Number of writers that send at the same moment. Each writer has its own connection.
const WRITERS: usize = 12;

/// Number of rounds. A server that checks and writes in two steps fails within the first few rounds.
const ROUNDS: usize = 40;

/// The message of a lost race. The list of known deviations in `tests/engines` contains the same words.
const LOST_RACE: &str = "not exactly one write was accepted on the same condition";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_conditional_writers_wins() {
    let lost = lost_race(&Harness::start()).await;
    assert_eq!(lost, None, "{LOST_RACE}");
}

/// In each round, every writer sends an update on the same condition: the counter still has the value of the previous
/// round. Then every writer puts the same new item, on the condition that the item does not exist. The server must
/// accept exactly one update and one put. Returns a description of the first race in which the server accepted none or
/// several.
pub(super) async fn lost_race(harness: &Harness) -> Option<String> {
    let table = harness.create_table().await;
    // This item is large, so the server needs enough time between the check and the write for a race.
    let inner = json!({"L": (0..150).map(|n| json!({"M": {"n": {"N": n.to_string()}}})).collect::<Vec<_>>()});
    let mut counter = item("counter", &json!({"a": inner, "b": inner, "c": inner, "d": inner}));
    counter.insert("n".into(), Value::from_json(&json!({"N": "0"})).unwrap());
    harness.client().put_item().table_name(&table).set_item(Some(to_sdk(&counter))).send().await.unwrap();

    let clients: Vec<Client> = (0..WRITERS).map(|_| client(&harness.server_endpoint())).collect();
    for round in 0..ROUNDS {
        let updated = winners(&clients, |client, _| {
            let number = |n: usize| AttributeValue::N(n.to_string());
            let update = client.update_item().table_name(&table).set_key(Some(key("counter")));
            let update = update.update_expression("SET n = :next").condition_expression("n = :n");
            let update = update.expression_attribute_values(":n", number(round));
            let update = update.expression_attribute_values(":next", number(round + 1));
            async move { update.send().await.map(drop).map_err(code) }
        });
        let updated = updated.await;
        if updated != 1 {
            return Some(format!("{updated} updates in round {round}"));
        }
        let put = winners(&clients, |client, writer| {
            let new = item(&format!("new {round}"), &json!({"writer": {"N": writer.to_string()}}));
            let put = client.put_item().table_name(&table).set_item(Some(to_sdk(&new)));
            let put = put.condition_expression("attribute_not_exists(pk)");
            async move { put.send().await.map(drop).map_err(code) }
        });
        let put = put.await;
        if put != 1 {
            return Some(format!("{put} puts in round {round}"));
        }
    }
    None
}

/// Sends one conditional write from each writer at the same moment. Returns the number of accepted writes.
async fn winners<F>(clients: &[Client], write: impl Fn(&Client, usize) -> F) -> usize
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let ready = Arc::new(Barrier::new(clients.len()));
    let mut writers = tokio::task::JoinSet::new();
    for (writer, client) in clients.iter().enumerate() {
        let ready = Arc::clone(&ready);
        let write = write(client, writer);
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
