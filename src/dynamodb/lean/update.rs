//! Sends guarded writes with `UpdateItem`.

use super::LeanTable;
use super::body::Body;
use super::reply::{FailedCondition, UpdateReply, WireItem, read};
use super::scan::unknown_type;
use super::send::{Reply, Sent, has_code, is_unprepared};
use crate::change::{Expression, GuardedWrite, render};
use crate::dynamodb::sdk::{Call, by_code, classify, divide};
use crate::dynamodb::{TableError, WriteConsumption, WriteReply};
use crate::item::Units;

impl LeanTable {
    /// Sends one guarded write. If it writes a whole item, the SDK sends it.
    pub(super) async fn send_write(&self, write: &GuardedWrite) -> Result<WriteReply, TableError> {
        let is_update =
            write.deleted_item().is_none() && write.created_item().is_none() && write.derived_item().is_none();
        if is_update && let Some(reply) = self.update(write).await {
            return reply;
        }
        self.table.send_write(write).await
    }

    /// Returns `None` if the SDK has to send the request.
    async fn update(&self, write: &GuardedWrite) -> Option<Result<WriteReply, TableError>> {
        let body = self.update_body(write, &render(write));
        let sent = self.send("DynamoDB_20120810.UpdateItem", body, |reply| self.applied(reply));
        Some(match sent.await {
            Ok(reply) => reply,
            Err(error) if is_unprepared(&error) => return None,
            Err(error) if has_code(&error, "ConditionalCheckFailedException") => {
                // DynamoDB has answered, so the SDK must not send the write again.
                let Some(raw) = error.raw_response() else { return Some(Err(classify(&error, Call::UpdateItem))) };
                match read::<FailedCondition>(raw.body().bytes().unwrap_or_default()) {
                    Ok(failed) if failed.has_unknown_type => Err(unknown_type()),
                    Ok(failed) => {
                        let image = failed.reply.item.map(|WireItem(item)| item).filter(|item| !item.is_empty());
                        Ok(WriteReply::ConditionFailed { image })
                    }
                    // Do not trust the error code of an unreadable reply. The SDK does not trust it either.
                    Err(_) => Err(by_code("", "", raw, Call::UpdateItem)),
                }
            }
            Err(error) => Err(classify(&error, Call::UpdateItem)),
        })
    }

    fn update_body(&self, write: &GuardedWrite, expression: &Expression) -> Vec<u8> {
        let mut body = Body::new(self.table.name());
        body.item("Key", write.key.attributes());
        body.text("UpdateExpression", &expression.update);
        body.text("ConditionExpression", &expression.condition);
        let names = expression.names.iter().map(|(placeholder, name)| (placeholder.as_str(), name.as_str()));
        body.names("ExpressionAttributeNames", names);
        if !expression.values.is_empty() {
            body.item("ExpressionAttributeValues", &expression.values);
        }
        body.text("ReturnValuesOnConditionCheckFailure", "ALL_OLD");
        body.text("ReturnConsumedCapacity", "INDEXES");
        body.finish()
    }

    /// Reads the reply to an accepted write.
    fn applied(&self, reply: Reply) -> Sent<Result<WriteReply, TableError>> {
        let Ok(read) = read::<UpdateReply>(&reply.body).map(|parsed| parsed.reply) else {
            return reply.unreadable();
        };
        let total = read.consumed_capacity.as_ref().and_then(|consumed| consumed.capacity_units);
        if let Err(flaw) = self.table.connection().replies().update(total) {
            return reply.flawed(flaw);
        }
        Ok(Ok(WriteReply::Applied { consumed: consumption(read), removed: None }))
    }
}

fn consumption(reply: UpdateReply) -> Option<WriteConsumption> {
    let consumed = reply.consumed_capacity?;
    let total = consumed.capacity_units?;
    let local = consumed.local_secondary_indexes.unwrap_or_default();
    let local: Units = local.values().map(|capacity| capacity.written()).sum();
    let table = consumed.table.map_or(0.0, |capacity| capacity.written()) + local;
    let global = consumed.global_secondary_indexes.unwrap_or_default();
    let global = global.into_iter().map(|(name, capacity)| (name, capacity.written())).collect();
    Some(divide(total, table, global))
}
