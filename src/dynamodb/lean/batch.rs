//! Sends batches of PartiQL statements with `BatchExecuteStatement`.

use async_trait::async_trait;

use super::LeanTable;
use super::body::Body;
use super::reply::{ExecutedBatch, ExecutedStatement, Image, read};
use super::send::{Reply, Sent, is_unprepared};
use crate::change::Statement;
use crate::dynamodb::TableError;
use crate::dynamodb::batch::{BatchConsumption, BatchReply, SendStatements, StatementReply};
use crate::dynamodb::sdk::{Call, classify, clean};
use crate::item::Units;

#[async_trait]
impl SendStatements for LeanTable {
    fn table_name(&self) -> &str {
        self.table.name()
    }

    async fn execute(&self, statements: &[Statement<'_>]) -> Result<BatchReply, TableError> {
        let mut body = Body::without_table();
        body.statements(statements);
        body.text("ReturnConsumedCapacity", "INDEXES");
        let sent = self.send("DynamoDB_20120810.BatchExecuteStatement", body.finish(), |reply| self.executed(reply));
        match sent.await {
            Ok(reply) => reply,
            Err(error) if is_unprepared(&error) => self.table.execute(statements).await,
            Err(error) => Err(classify(&error, Call::BatchExecuteStatement)),
        }
    }
}

impl LeanTable {
    /// Reads the reply to a batch that DynamoDB has carried out.
    fn executed(&self, reply: Reply) -> Sent<Result<BatchReply, TableError>> {
        let Ok(parsed) = read::<ExecutedBatch>(&reply.body) else { return reply.unreadable() };
        let ExecutedBatch { responses, consumed_capacity } = parsed.reply;
        let any_applied = responses.as_ref().map(|all| all.iter().any(|response| response.error.is_none()));
        // All statements are for one table, so the reply has one figure.
        let consumed = consumed_capacity.unwrap_or_default().into_iter().next();
        let total = consumed.as_ref().and_then(|consumed| consumed.capacity_units);
        if let Err(flaw) = self.table.connection().replies().batch(any_applied, total) {
            return reply.flawed(flaw);
        }
        let consumed = consumed.and_then(|consumed| {
            let local = consumed.local_secondary_indexes;
            let table = consumed.table.map(|capacity| capacity.written());
            let is_divided = table.is_some() || local.is_some();
            let of_local: Units = local.iter().flatten().map(|(_, capacity)| capacity.written()).sum();
            let global = consumed.global_secondary_indexes.into_iter().flatten();
            Some(BatchConsumption {
                total: consumed.capacity_units?,
                table: is_divided.then(|| table.unwrap_or(0.0) + of_local),
                indexes: global.map(|(name, capacity)| (name, capacity.written())).collect(),
            })
        });
        let replies = responses.unwrap_or_default().into_iter().map(statement_reply).collect();
        Ok(Ok(BatchReply { replies, consumed }))
    }
}

fn statement_reply(response: ExecutedStatement) -> StatementReply {
    let Some(error) = response.error else { return StatementReply::Applied };
    StatementReply::Failed {
        code: error.code.unwrap_or_default(),
        message: error.message.as_deref().map(clean).unwrap_or_default(),
        image: error.item.and_then(|Image(item)| item).filter(|item| !item.is_empty()),
    }
}
