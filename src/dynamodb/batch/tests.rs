//! Tests the transport on the table in memory, and on a table with fixed replies.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::change::{Action, Condition};
use crate::dynamodb::memory::{Author, FaultPlan, MemoryConnection, MemoryTable};
use crate::dynamodb::{FatalKind, TableDescription};
use crate::item::{Item, Path, Value};

/// A table with fixed replies to batches. It accepts every `UpdateItem`.
#[derive(Default)]
struct Scripted {
    replies: Mutex<VecDeque<Result<BatchReply, TableError>>>,
    /// The number of statements of each batch.
    batches: Mutex<Vec<usize>>,
    /// The keys of each call of `write`.
    updates: Mutex<Vec<Vec<String>>>,
}

#[async_trait]
impl Sink for Scripted {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        self.updates.lock().unwrap().push(chunk.iter().map(|write| partition(write)).collect());
        chunk.iter().map(|_| Ok(WriteReply::Applied { consumed: None, removed: None })).collect()
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, _: &ItemKey) -> Result<GetReply, TableError> {
        unreachable!("the transport reads no items")
    }
}

#[async_trait]
impl SendStatements for Scripted {
    fn table_name(&self) -> &str {
        "shop"
    }

    async fn execute(&self, statements: &[Statement<'_>]) -> Result<BatchReply, TableError> {
        self.batches.lock().unwrap().push(statements.len());
        self.replies.lock().unwrap().pop_front().expect("the test has a reply for each batch")
    }
}

fn partition(write: &GuardedWrite) -> String {
    let Some(Value::S(text)) = write.key.attributes().get("pk") else { panic!("{write:?}") };
    text.clone()
}

fn item() -> Item {
    Item::from([("pk".to_owned(), Value::S("a".to_owned()))])
}

fn failed(code: &str, image: Option<Item>) -> StatementReply {
    StatementReply::Failed { code: code.to_owned(), message: String::new(), image }
}

fn reply(replies: Vec<StatementReply>) -> Result<BatchReply, TableError> {
    Ok(BatchReply { replies, consumed: None })
}

/// The reply with which an endpoint refuses a statement of the proof.
fn refused() -> Result<BatchReply, TableError> {
    reply(vec![failed("ConditionalCheckFailed", Some(item()))])
}

fn write(pk: &str) -> GuardedWrite {
    let to = Path::attribute("new");
    GuardedWrite {
        actions: vec![Action::SetValue { to: to.clone(), value: Value::Null }],
        conditions: vec![Condition::ItemExists("pk".into()), Condition::Missing(to)],
        ..GuardedWrite::for_test(pk)
    }
}

fn table(is_required: bool, replies: Vec<Result<BatchReply, TableError>>) -> (Arc<Scripted>, BatchTable<Scripted>) {
    let scripted = Arc::new(Scripted { replies: Mutex::new(replies.into()), ..Scripted::default() });
    (Arc::clone(&scripted), BatchTable::new(scripted, is_required))
}

/// Returns a table whose proof is complete.
async fn proven(replies: Vec<Result<BatchReply, TableError>>) -> (Arc<Scripted>, BatchTable<Scripted>) {
    let (scripted, batched) = table(true, [refused(), refused()].into_iter().chain(replies).collect());
    for _ in 0..2 {
        assert!(matches!(send(&batched, &[write("proof")]).await[..], [Ok(WriteReply::EndpointChecked { .. })]));
    }
    scripted.batches.lock().unwrap().clear();
    (scripted, batched)
}

async fn send<T: SendStatements>(
    batched: &BatchTable<T>,
    writes: &[GuardedWrite],
) -> Vec<Result<WriteReply, TableError>> {
    batched.write(&writes.iter().collect::<Vec<_>>()).await
}

fn is_applied(reply: &Result<WriteReply, TableError>) -> bool {
    matches!(reply, Ok(WriteReply::Applied { .. }))
}

#[tokio::test]
async fn batches_begin_after_the_endpoint_has_refused_two_statements() {
    let (scripted, batched) = table(false, vec![refused(), refused(), reply(vec![StatementReply::Applied; 2])]);
    for proofs in 0..2 {
        assert_eq!((batched.max_chunk(), scripted.batches.lock().unwrap().len()), (1, proofs));
        let replies = send(&batched, &[write("a")]).await;
        assert!(matches!(&replies[..], [Ok(WriteReply::EndpointChecked { image: Some(image) })] if *image == item()));
    }
    assert_eq!(batched.max_chunk(), MAX_STATEMENTS);
    assert!(send(&batched, &[write("a"), write("b")]).await.iter().all(is_applied));
    assert_eq!(*scripted.batches.lock().unwrap(), [1, 1, 2]);
    assert_eq!(scripted.updates.lock().unwrap().len(), 0);
    // A write that is alone gains nothing from a batch.
    assert!(send(&batched, &[write("c")]).await.iter().all(is_applied));
    assert_eq!(*scripted.updates.lock().unwrap(), [["c"]]);
}

/// With `auto`, all writes then go by `UpdateItem`. With `batch`, the run stops.
#[tokio::test]
async fn an_endpoint_that_cannot_be_trusted_gets_no_batches() {
    let fatal = |kind| Err(TableError::Fatal { kind, message: "why".to_owned() });
    for (unfit, kind) in [
        (reply(vec![StatementReply::Applied]), FatalKind::Unsupported),
        (fatal(FatalKind::Unsupported), FatalKind::Unsupported),
        (fatal(FatalKind::Permission), FatalKind::Permission),
        (reply(vec![failed("AccessDenied", None)]), FatalKind::Permission),
        (reply(vec![failed("ValidationError", None)]), FatalKind::Request),
        (Err(TableError::Rejected { message: "why".to_owned() }), FatalKind::Request),
        (reply(vec![failed("Odd", None)]), FatalKind::Request),
    ] {
        for proven in [Vec::new(), vec![refused()]] {
            let replies = || proven.iter().cloned().chain([unfit.clone()]).collect();
            let (scripted, batched) = table(false, replies());
            for _ in 0..proven.len() + 2 {
                send(&batched, &[write("a")]).await;
            }
            assert_eq!((scripted.updates.lock().unwrap().len(), batched.max_chunk()), (2, 1), "{unfit:?}");

            let (scripted, batched) = table(true, replies());
            let mut last = Vec::new();
            for _ in 0..=proven.len() {
                last = send(&batched, &[write("a")]).await;
            }
            let [Err(TableError::Fatal { kind: found, message })] = &last[..] else { panic!("{last:?}") };
            assert!(*found == kind && message.contains("transport"), "{last:?}");
            assert_eq!(scripted.updates.lock().unwrap().len(), 0, "{unfit:?}");
        }
    }
}

/// A reply that shows nothing proves nothing: the error is returned, and the next write repeats the proof.
#[tokio::test]
async fn an_unclear_reply_proves_nothing() {
    let transient = || Err(TableError::Transient { message: "the request timed out".to_owned(), ambiguous: true });
    let stopping = Err(TableError::Fatal { kind: FatalKind::Credentials, message: "expired".to_owned() });
    for unclear in [
        transient(),
        reply(vec![failed("ProvisionedThroughputExceeded", None)]),
        reply(vec![failed("InternalServerError", None)]),
        reply(Vec::new()),
        stopping,
    ] {
        for is_required in [false, true] {
            let (scripted, batched) = table(is_required, vec![unclear.clone(), refused(), refused()]);
            assert!(matches!(send(&batched, &[write("a")]).await[..], [Err(_)]), "{unclear:?}");
            for _ in 0..2 {
                assert_eq!(batched.max_chunk(), 1);
                send(&batched, &[write("a")]).await;
            }
            assert_eq!((batched.max_chunk(), scripted.updates.lock().unwrap().len()), (MAX_STATEMENTS, 0));
        }
    }
    // A missing item fails the condition of every endpoint.
    let gone = || reply(vec![failed("ConditionalCheckFailed", None)]);
    let (_, batched) = table(false, vec![gone(), refused(), gone(), refused()]);
    for _ in 0..3 {
        send(&batched, &[write("a")]).await;
        assert_eq!(batched.max_chunk(), 1);
    }
    send(&batched, &[write("a")]).await;
    assert_eq!(batched.max_chunk(), MAX_STATEMENTS);
    // An endpoint that never returns an image is not asked forever.
    let (scripted, batched) = table(true, (0..20).map(|_| gone()).collect());
    for _ in 0..21 {
        send(&batched, &[write("a")]).await;
    }
    assert_eq!(scripted.updates.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_statement_cannot_express_goes_by_update_item() {
    let (scripted, batched) = proven(vec![reply(vec![StatementReply::Applied; 2])]).await;
    let other = GuardedWrite { conditions: vec![Condition::ItemMissing("pk".into())], ..write("b") };
    assert!(batched.can_share_request(&write("a")) && !batched.can_share_request(&other));
    assert_eq!(send(&batched, &[write("a"), other, write("c")]).await.iter().filter(|r| is_applied(r)).count(), 3);
    assert_eq!(*scripted.batches.lock().unwrap(), [2]);
    assert_eq!(*scripted.updates.lock().unwrap(), [["b"]]);
}

/// Each statement has its own outcome. A rejected statement is decided by `UpdateItem`, in the same call.
#[tokio::test]
async fn each_statement_has_its_own_reply() {
    let replies = reply(vec![
        StatementReply::Applied,
        failed("ConditionalCheckFailed", Some(item())),
        failed("ProvisionedThroughputExceeded", None),
        failed("ValidationError", None),
        failed("TransactionConflict", None),
    ]);
    let (scripted, batched) = proven(vec![replies, reply(vec![StatementReply::Applied; 2])]).await;
    let writes: Vec<GuardedWrite> = ["a", "b", "c", "d", "e"].into_iter().map(write).collect();
    let replies = send(&batched, &writes).await;
    assert!(is_applied(&replies[0]) && is_applied(&replies[3]), "{replies:?}");
    assert_eq!(replies[1], Ok(WriteReply::ConditionFailed { image: Some(item()) }));
    assert!(matches!(&replies[2], Err(TableError::Throttled { reasons, .. }) if reasons.is_empty()), "{replies:?}");
    assert!(matches!(&replies[4], Err(TableError::Transient { ambiguous: false, .. })), "{replies:?}");
    assert_eq!(*scripted.updates.lock().unwrap(), [["d"]]);
    // The reply to an `UpdateItem` names the throttled scope, so the next attempt is one. Later attempts are statements.
    assert!(send(&batched, &[write("c"), write("e"), write("f")]).await.iter().all(is_applied));
    assert_eq!(*scripted.updates.lock().unwrap(), [["d"], ["c"]]);
    assert!(batched.throttled().is_empty());
}

#[tokio::test]
async fn an_error_of_the_request_concerns_every_statement() {
    let lost = Err(TableError::Transient { message: "the request timed out".to_owned(), ambiguous: true });
    let (scripted, batched) = proven(vec![lost, reply(vec![StatementReply::Applied]), Ok(BatchReply::default())]).await;
    for _ in 0..3 {
        let replies = send(&batched, &[write("a"), write("b")]).await;
        assert!(replies.iter().all(|reply| matches!(reply, Err(error) if error.is_ambiguous())), "{replies:?}");
    }
    assert_eq!(scripted.updates.lock().unwrap().len(), 0);
    // DynamoDB rejects the whole request, so it has carried out nothing.
    let rejected = Err(TableError::Rejected { message: "Provided list of item keys contains duplicates".to_owned() });
    let (scripted, batched) = proven(vec![rejected]).await;
    assert!(send(&batched, &[write("a"), write("b")]).await.iter().all(is_applied));
    assert_eq!(scripted.updates.lock().unwrap().concat(), ["a", "b"]);
}

/// If DynamoDB keeps rejecting statements, each of them costs two requests.
#[tokio::test]
async fn statements_that_are_always_rejected_are_given_up() {
    let rejected = || reply(vec![failed("ValidationError", None); 25]);
    let applied = || reply([vec![failed("ValidationError", None); 24], vec![StatementReply::Applied]].concat());
    let batch: Vec<GuardedWrite> = (0..25).map(|n| write(&n.to_string())).collect();
    let (_, batched) =
        proven(vec![rejected(), rejected(), rejected(), applied(), rejected(), rejected(), rejected(), rejected()])
            .await;
    for _ in 0..8 {
        assert_eq!(batched.max_chunk(), MAX_STATEMENTS);
        assert!(send(&batched, &batch).await.iter().all(is_applied));
    }
    assert_eq!(batched.max_chunk(), 1);
    assert!(send(&batched, &batch).await.iter().all(is_applied));
}

/// On the table in memory, which follows the rules of the service, batches have the effects of single writes.
#[tokio::test(start_paused = true)]
async fn a_batch_changes_the_table_like_single_writes() {
    let description = TableDescription::for_tests();
    let key = description.key.clone();
    let memory = MemoryTable::new(description, (Duration::ZERO, Duration::ZERO), FaultPlan::NONE, 1);
    let keyed = |pk: &str| {
        ItemKey::new([("pk", pk), ("sk", "x")].map(|(name, text)| (name.to_owned(), Value::S(text.to_owned()))).into())
    };
    for pk in ["a", "b", "c"] {
        memory.change(&keyed(pk), Author::Seed, |_| Some(keyed(pk).attributes().clone()));
    }
    assert_eq!(key.key_of(keyed("a").attributes()), Some(keyed("a")));
    let connection: MemoryConnection = memory.connect(1);
    let batched = BatchTable::new(Arc::new(connection), true);
    let of = |pk: &str| GuardedWrite { key: keyed(pk), ..write(pk) };
    for _ in 0..2 {
        assert!(matches!(send(&batched, &[of("a")]).await[..], [Ok(WriteReply::EndpointChecked { .. })]));
    }
    memory.change(&keyed("b"), Author::Seed, |item| {
        Some(item.unwrap().clone().into_iter().chain([("new".to_owned(), Value::Bool(true))]).collect())
    });
    memory.change(&keyed("c"), Author::Seed, |_| None);
    let replies = send(&batched, &[of("a"), of("b"), of("c")]).await;
    assert!(matches!(&replies[0], Ok(WriteReply::Applied { consumed: Some(consumed), .. }) if consumed.total() == 1.0));
    assert!(
        matches!(&replies[1], Ok(WriteReply::ConditionFailed { image: Some(image) }) if image["new"] == Value::Bool(true))
    );
    assert_eq!(replies[2], Ok(WriteReply::ConditionFailed { image: None }));
    let now = memory.history(|history| history.items().map(|(_, item)| item.get("new").cloned()).collect::<Vec<_>>());
    assert_eq!(now.len(), 2, "a statement creates no item");
    assert!(now.contains(&Some(Value::Null)) && now.contains(&Some(Value::Bool(true))));
    // The same item twice: the whole request is rejected, and single writes decide.
    let twice = send(&batched, &[of("a"), of("a")]).await;
    assert!(twice.iter().all(|reply| matches!(reply, Ok(WriteReply::ConditionFailed { .. }))), "{twice:?}");
}
