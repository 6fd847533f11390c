//! Simple loops that call the SDK directly, as a careful engineer would write them in an afternoon. Their only guards
//! are the write conditions. They have no checkpoints and no budgets, so they show the cost of the requests alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementRequest, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::stub::TABLE;

type Row = HashMap<String, AttributeValue>;

/// The work that a loop does for each item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Scans the table, and writes nothing.
    Scan { consistent: bool },
    /// Sends one conditional `UpdateItem`.
    Update,
    /// Sends one conditional statement. A `BatchExecuteStatement` contains up to 25 statements.
    Batch,
}

/// The number of segments. The loop reads all segments concurrently.
const SEGMENTS: i32 = 16;

/// DynamoDB's maximum number of statements in one request.
const STATEMENTS: usize = 25;

impl Mode {
    /// The maximum number of requests that a segment has in flight.
    fn in_flight(self) -> usize {
        match self {
            Mode::Scan { .. } => 1,
            Mode::Update => 8,
            Mode::Batch => 2,
        }
    }
}

/// Runs a loop over the whole table. Prints the number of items.
#[expect(clippy::print_stdout, reason = "the benchmark reads the number of items")]
pub(crate) fn run(mode: Mode, endpoint: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let items = runtime.block_on(async {
        let shared = aws_config::defaults(BehaviorVersion::latest()).endpoint_url(endpoint).load().await;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(Duration::from_secs(5))
            .build();
        let config = aws_sdk_dynamodb::config::Builder::from(&shared)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        let client = Client::from_conf(config);
        let active = Arc::new(Semaphore::new(SEGMENTS as usize));
        let mut segments = JoinSet::new();
        for segment in 0..SEGMENTS {
            let permit = Arc::clone(&active).acquire_owned().await.unwrap();
            let client = client.clone();
            segments.spawn(async move {
                let _permit = permit;
                run_segment(mode, &client, segment).await
            });
        }
        segments.join_all().await.into_iter().sum::<usize>()
    });
    println!("{items}");
}

async fn run_segment(mode: Mode, client: &Client, segment: i32) -> usize {
    let (mut read, mut start) = (0, None);
    loop {
        let page = client
            .scan()
            .table_name(TABLE)
            .segment(segment)
            .total_segments(SEGMENTS)
            .consistent_read(mode == Mode::Scan { consistent: true })
            .set_exclusive_start_key(start)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .unwrap();
        let items = page.items.unwrap_or_default();
        read += items.len();
        match mode {
            Mode::Scan { .. } => drop(items),
            Mode::Update => {
                let mut writes = FuturesUnordered::new();
                for item in items {
                    if writes.len() >= mode.in_flight() {
                        writes.next().await;
                    }
                    writes.push(update(client, item));
                }
                writes.collect::<()>().await;
            }
            Mode::Batch => {
                let mut writes = FuturesUnordered::new();
                let mut items = items.into_iter().peekable();
                while items.peek().is_some() {
                    if writes.len() >= mode.in_flight() {
                        writes.next().await;
                    }
                    writes.push(write_batch(client, items.by_ref().take(STATEMENTS).collect()));
                }
                writes.collect::<()>().await;
            }
        }
        start = page.last_evaluated_key;
        if start.is_none() {
            return read;
        }
    }
}

async fn update(client: &Client, mut item: Row) {
    let key = ["pk", "sk"].map(|name| (name.to_owned(), item.remove(name).unwrap()));
    let reply = client
        .update_item()
        .table_name(TABLE)
        .set_key(Some(key.into()))
        .update_expression("SET #to = #from")
        .condition_expression("attribute_exists(#pk) AND attribute_exists(#from) AND attribute_not_exists(#to)")
        .expression_attribute_names("#to", "contact_email")
        .expression_attribute_names("#from", "email")
        .expression_attribute_names("#pk", "pk")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
        .send()
        .await;
    reply.unwrap();
}

/// Sends the writes of several items in one request. Each statement has the old value as a parameter, because a statement
/// cannot refer to another attribute.
async fn write_batch(client: &Client, items: Vec<Row>) {
    let statement = format!(
        "UPDATE \"{TABLE}\" SET \"contact_email\"=? WHERE \"pk\"=? AND \"sk\"=? AND \"email\"=? AND \"contact_email\" IS MISSING"
    );
    let statements = items.into_iter().map(|mut item| {
        let [email, pk, sk] = ["email", "pk", "sk"].map(|name| item.remove(name).unwrap());
        BatchStatementRequest::builder()
            .statement(&statement)
            .set_parameters(Some(vec![email.clone(), pk, sk, email]))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .unwrap()
    });
    let reply = client
        .batch_execute_statement()
        .set_statements(Some(statements.collect()))
        .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
        .send()
        .await
        .unwrap();
    assert!(reply.responses().iter().all(|reply| reply.error().is_none()));
}
