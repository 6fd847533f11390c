//! Checks that a reply contains all its required parts, before the tool uses it.
//!
//! The SDK treats an empty body as `{}`. Depending on the operation, `{}` then means a page without items, a missing
//! item or an applied write. The SDK also does not verify checksums (according to the source of aws-smithy-runtime 1.16
//! and aws-sdk-dynamodb 1.136). So an empty reply, caused by a proxy, a load balancer or a bug, could end a segment too
//! early or open the cutover gate. Therefore this module checks each reply before the adapter uses it. If the reply is
//! bad, the request fails with [`TableError::UnusableReply`].
//!
//! `ConsumedCapacity` distinguishes a good reply from an empty one. So every request asks for `ConsumedCapacity` if the
//! operation supports it. Some engines never report it. Therefore this check requires `ConsumedCapacity` only if the
//! same endpoint has reported it before.
//!
//! [`TableError::UnusableReply`]: crate::dynamodb::TableError::UnusableReply

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aws_sdk_dynamodb::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementOutput;
use aws_sdk_dynamodb::operation::create_backup::CreateBackupOutput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::describe_backup::DescribeBackupOutput;
use aws_sdk_dynamodb::operation::describe_continuous_backups::DescribeContinuousBackupsOutput;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableOutput;
use aws_sdk_dynamodb::operation::describe_time_to_live::DescribeTimeToLiveOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::BatchStatementResponse;

use super::{describe, units};
use crate::item::Units;

/// The reason why a reply cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::dynamodb) struct Flaw(pub(in crate::dynamodb) &'static str);

/// The number of empty `GetItem` replies that a connection rejects if the endpoint has never reported capacity. From
/// such an endpoint, the reply for a missing item looks the same as a damaged empty reply. The client retries after a
/// rejected reply.
const EMPTY_REPLY_RETRIES: u32 = 2;

/// Checks every reply on a connection. The SDK's client and the lean client share one check, so that it knows
/// everything that the endpoint has reported to either client.
#[derive(Debug, Default)]
pub(in crate::dynamodb) struct ReplyCheck {
    /// Whether at least one reply to any operation has reported capacity.
    stated: AtomicBool,
    scans: CapacityReporting,
    gets: CapacityReporting,
    updates: CapacityReporting,
    puts: CapacityReporting,
    deletes: CapacityReporting,
    transactions: CapacityReporting,
    batches: CapacityReporting,
    absent: AtomicU32,
}

/// Records whether replies to one operation report capacity.
#[derive(Debug, Default)]
struct CapacityReporting {
    /// Whether at least one reply has reported capacity.
    always: AtomicBool,
    /// Whether at least one reply was proven complete but did not report capacity.
    never: AtomicBool,
}

/// Checks the replies to the requests of an SDK client.
#[derive(Debug)]
pub(super) struct ReplyInterceptor(pub(super) Arc<ReplyCheck>);

impl Intercept for ReplyInterceptor {
    fn name(&self) -> &'static str {
        "ReplyCheck"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Ok(self.0.check(context)?)
    }
}

impl ReplyCheck {
    /// Checks a reply according to its type. Rejects an unknown type, so that every new operation needs its own check.
    fn check(&self, context: &AfterDeserializationInterceptorContextRef<'_>) -> Result<(), Flaw> {
        let reply = context.response();
        // If the body did not arrive, the SDK already reports an error.
        let Some(body) = reply.body().bytes() else { return Ok(()) };
        checksum(reply.headers().get("x-amz-crc32"), body)?;
        let Ok(output) = context.output_or_error() else { return Ok(()) };
        if let Some(page) = output.downcast_ref::<ScanOutput>() {
            let items = page.items.as_ref().map(Vec::len);
            self.scan(items, page.count(), || has_member(body, "Count"), units(page.consumed_capacity()))
        } else if let Some(got) = output.downcast_ref::<GetItemOutput>() {
            self.get(got)
        } else if let Some(updated) = output.downcast_ref::<UpdateItemOutput>() {
            self.update(units(updated.consumed_capacity()))
        } else if let Some(put) = output.downcast_ref::<PutItemOutput>() {
            self.capacity(&self.puts, units(put.consumed_capacity()), false)
        } else if let Some(deleted) = output.downcast_ref::<DeleteItemOutput>() {
            self.capacity(&self.deletes, units(deleted.consumed_capacity()), deleted.attributes().is_some())
        } else if let Some(done) = output.downcast_ref::<TransactWriteItemsOutput>() {
            self.capacity(&self.transactions, units(done.consumed_capacity().first()), false)
        } else if let Some(done) = output.downcast_ref::<BatchExecuteStatementOutput>() {
            let applied = |all: &Vec<BatchStatementResponse>| all.iter().any(|response| response.error().is_none());
            self.batch(done.responses.as_ref().map(applied), units(done.consumed_capacity().first()))
        } else if let Some(described) = output.downcast_ref::<DescribeTableOutput>() {
            table(described)
        } else if let Some(described) = output.downcast_ref::<DescribeContinuousBackupsOutput>() {
            described.continuous_backups_description().map(drop).ok_or(Flaw("it describes no backups"))
        } else if let Some(described) = output.downcast_ref::<DescribeTimeToLiveOutput>() {
            let status = described.time_to_live_description().and_then(|described| described.time_to_live_status());
            status.map(drop).ok_or(Flaw("it has no TimeToLiveStatus"))
        } else if let Some(created) = output.downcast_ref::<CreateBackupOutput>() {
            let arn = created.backup_details().map(|backup| backup.backup_arn()).filter(|arn| !arn.is_empty());
            arn.map(drop).ok_or(Flaw("it has no BackupArn"))
        } else if let Some(described) = output.downcast_ref::<DescribeBackupOutput>() {
            let backup = described.backup_description().and_then(|backup| backup.backup_details());
            backup.map(drop).ok_or(Flaw("it describes no backup"))
        } else {
            Err(Flaw("backfill does not know what it must contain; this is a bug in backfill"))
        }
    }

    /// Checks a page. `items` is the number of items in the page's list, or `None` if there is no list. `count` is the
    /// page's `Count`, and `stated` is the capacity that the page reports. The SDK reads a missing `Count` as 0, so
    /// `states_count` returns whether the body contains `Count`.
    pub(in crate::dynamodb) fn scan(
        &self,
        items: Option<usize>,
        count: i32,
        states_count: impl FnOnce() -> bool,
        stated: Option<Units>,
    ) -> Result<(), Flaw> {
        let items = items.ok_or(Flaw("it has no Items"))?;
        if usize::try_from(count) != Ok(items) || (items == 0 && !states_count()) {
            return Err(Flaw("its Count differs from the number of its Items"));
        }
        self.capacity(&self.scans, stated, true)
    }

    /// Checks the reported capacity in the reply to an accepted `UpdateItem`.
    pub(in crate::dynamodb) fn update(&self, stated: Option<Units>) -> Result<(), Flaw> {
        self.capacity(&self.updates, stated, false)
    }

    /// Checks the reply to a batch of statements. `any_applied` says whether a statement was applied, and is `None` if the
    /// reply has no list of responses. The caller compares the number of responses with the number of statements. If
    /// every statement failed, DynamoDB reports no capacity.
    pub(in crate::dynamodb) fn batch(&self, any_applied: Option<bool>, stated: Option<Units>) -> Result<(), Flaw> {
        match any_applied.ok_or(Flaw("it has no Responses"))? {
            true => self.capacity(&self.batches, stated, true),
            false => Ok(()),
        }
    }

    fn get(&self, got: &GetItemOutput) -> Result<(), Flaw> {
        self.capacity(&self.gets, units(got.consumed_capacity()), got.item.is_some())?;
        let proven = got.item.is_some() || got.consumed_capacity().is_some();
        let known = self.gets.never.load(Ordering::Relaxed);
        if !proven && !known && self.absent.fetch_add(1, Ordering::Relaxed) < EMPTY_REPLY_RETRIES {
            return Err(Flaw("it is empty"));
        }
        Ok(())
    }

    /// Requires `ConsumedCapacity` in a reply if the endpoint has reported it before. `whole` means that other parts of
    /// the reply prove that the reply is complete. Only a reply that is proven complete shows that the engine never
    /// reports capacity for this operation.
    fn capacity(&self, of: &CapacityReporting, stated: Option<Units>, whole: bool) -> Result<(), Flaw> {
        const MISSING: Flaw = Flaw("it has no ConsumedCapacity, but an earlier reply of the endpoint had one");
        if stated.is_some() {
            self.stated.store(true, Ordering::Relaxed);
            of.always.store(true, Ordering::Relaxed);
            return Ok(());
        }
        if of.always.load(Ordering::Relaxed) {
            return Err(MISSING);
        }
        if whole {
            of.never.store(true, Ordering::Relaxed);
        }
        // Some engines report capacity for other operations but not for writes. In this case, the write is resent. If
        // the first attempt was applied, the condition of the second attempt fails.
        let expected = self.stated.load(Ordering::Relaxed) && !of.never.load(Ordering::Relaxed);
        if expected { Err(MISSING) } else { Ok(()) }
    }
}

fn table(described: &DescribeTableOutput) -> Result<(), Flaw> {
    let table = described.table().ok_or(Flaw("it describes no table"))?;
    describe::flaw(table).map_or(Ok(()), |flaw| Err(Flaw(flaw)))
}

/// Compares a reply's body with the checksum in its header. Succeeds if the reply has no checksum.
pub(in crate::dynamodb) fn checksum(stated: Option<&str>, body: &[u8]) -> Result<(), Flaw> {
    match stated.map(str::parse::<u32>) {
        None => Ok(()),
        Some(Ok(stated)) if stated == crc32fast::hash(body) => Ok(()),
        Some(_) => Err(Flaw("its checksum (x-amz-crc32) does not match its body")),
    }
}

/// Returns whether a JSON object has a non-null member with this name.
fn has_member(body: &[u8], name: &str) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|body| body.get(name).is_some_and(|v| !v.is_null()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::types::{AttributeValue, ConsumedCapacity};

    use super::*;

    fn consumed() -> Option<ConsumedCapacity> {
        Some(ConsumedCapacity::builder().capacity_units(1.0).build())
    }

    fn item() -> HashMap<String, AttributeValue> {
        HashMap::from([("pk".to_owned(), AttributeValue::S("a".into()))])
    }

    fn get(item: Option<HashMap<String, AttributeValue>>, stated: Option<ConsumedCapacity>) -> GetItemOutput {
        GetItemOutput::builder().set_item(item).set_consumed_capacity(stated).build()
    }

    fn page(items: Option<usize>, count: i32, stated: Option<ConsumedCapacity>) -> ScanOutput {
        let items = items.map(|n| vec![item(); n]);
        ScanOutput::builder().set_items(items).count(count).set_consumed_capacity(stated).build()
    }

    fn scan(check: &ReplyCheck, page: &ScanOutput, body: &[u8]) -> Result<(), Flaw> {
        let items = page.items.as_ref().map(Vec::len);
        check.scan(items, page.count(), || has_member(body, "Count"), units(page.consumed_capacity()))
    }

    #[test]
    fn a_page_has_items_and_says_how_many() {
        let check = ReplyCheck::default();
        let empty = br#"{"Items":[],"Count":0}"#;
        assert_eq!(scan(&check, &page(Some(0), 0, None), empty), Ok(()));
        assert_eq!(scan(&check, &page(Some(2), 2, None), b""), Ok(()));
        for (page, body) in [
            (page(None, 0, None), &br#"{}"#[..]),
            (page(None, 0, consumed()), br#"{"Count":0}"#),
            (page(Some(2), 0, consumed()), br#"{"Items":[{},{}]}"#),
            (page(Some(2), 3, consumed()), br#"{"Items":[{},{}],"Count":3}"#),
            (page(Some(0), 0, consumed()), br#"{"Items":[]}"#),
            (page(Some(0), 0, consumed()), br#"{"Items":[],"Count":null}"#),
        ] {
            assert!(scan(&check, &page, body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn capacity_is_required_if_it_was_stated_before() {
        let check = ReplyCheck::default();
        let updated = |stated: Option<ConsumedCapacity>| check.update(units(stated.as_ref()));
        assert_eq!(updated(None), Ok(()), "nothing is known about the endpoint");
        assert_eq!(scan(&check, &page(Some(1), 1, consumed()), b""), Ok(()));
        assert!(updated(None).is_err(), "the endpoint reports capacity");
        assert!(scan(&check, &page(Some(1), 1, None), b"").is_err());
        assert!(check.get(&get(None, None)).is_err());
        assert_eq!(check.get(&get(None, consumed())), Ok(()));
        assert!(check.get(&get(Some(item()), None)).is_err());
        assert_eq!(updated(consumed()), Ok(()));
        assert!(updated(None).is_err());
        assert!(updated(Some(ConsumedCapacity::builder().table_name("t").build())).is_err(), "without units");
    }

    /// Tests an engine that never reports capacity, and an engine that reports it only for one operation.
    #[test]
    fn an_engine_without_capacity_is_learnt_from_whole_replies() {
        let check = ReplyCheck::default();
        for _ in 0..EMPTY_REPLY_RETRIES {
            assert_eq!(check.get(&get(None, None)), Err(Flaw("it is empty")));
        }
        assert_eq!(check.get(&get(None, None)), Ok(()), "every reply is empty, so the item does not exist");
        assert_eq!(check.capacity(&check.puts, None, false), Ok(()));

        let check = ReplyCheck::default();
        assert_eq!(scan(&check, &page(Some(1), 1, consumed()), b""), Ok(()));
        assert!(check.get(&get(None, None)).is_err());
        assert_eq!(check.get(&get(Some(item()), None)), Ok(()));
        assert_eq!(check.get(&get(None, None)), Ok(()), "a complete reply had no capacity either");
    }

    #[test]
    fn a_batch_has_responses_and_reports_the_capacity_of_applied_statements() {
        let check = ReplyCheck::default();
        assert!(check.batch(None, Some(1.0)).is_err());
        assert_eq!(check.batch(Some(false), None), Ok(()));
        assert_eq!(check.batch(Some(true), Some(1.0)), Ok(()));
        assert!(check.batch(Some(true), None).is_err(), "an earlier reply reported capacity");
        assert_eq!(check.batch(Some(false), None), Ok(()), "DynamoDB reports none for failed statements");
    }

    #[test]
    fn checksums_are_compared() {
        // The check value of CRC-32 (ISO-HDLC).
        assert_eq!(checksum(Some("3421780262"), b"123456789"), Ok(()));
        assert_eq!(checksum(None, b"123456789"), Ok(()));
        for stated in ["3421780263", "", "-1", "x"] {
            assert!(checksum(Some(stated), b"123456789").is_err(), "{stated}");
        }
    }

    #[test]
    fn a_reply_without_a_description_is_rejected() {
        assert!(table(&DescribeTableOutput::builder().build()).is_err());
    }
}
