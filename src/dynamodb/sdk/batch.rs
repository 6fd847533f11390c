//! Sends batches of PartiQL statements (`BatchExecuteStatement`).
//!
//! Sources: API reference, "BatchExecuteStatement" (responses in the order of the statements, HTTP 200 even if statements
//! failed) and "BatchStatementError"; developer guide, "Running batch operations with PartiQL for DynamoDB".

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::batch_execute_statement::BatchExecuteStatementOutput;
use aws_sdk_dynamodb::types::{
    BatchStatementRequest, BatchStatementResponse, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
};

use super::classify::{Call, classify, clean};
use super::values::{from_sdk_item, to_sdk};
use super::{DynamoTable, index_units, table_units, units, unusable_reply};
use crate::change::Statement;
use crate::dynamodb::TableError;
use crate::dynamodb::batch::{BatchConsumption, BatchReply, SendStatements, StatementReply};

#[async_trait]
impl SendStatements for DynamoTable {
    fn table_name(&self) -> &str {
        &self.name
    }

    async fn execute(&self, statements: &[Statement<'_>]) -> Result<BatchReply, TableError> {
        let requests: Result<Vec<BatchStatementRequest>, _> = statements.iter().map(request).collect();
        let requests = requests.map_err(|_| unusable_reply("a statement could not be built"))?;
        let sent = self
            .connection
            .send(|client| {
                client
                    .batch_execute_statement()
                    .set_statements(Some(requests.clone()))
                    .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                    .send()
            })
            .await;
        Ok(reply_of(sent.map_err(|error| classify(&error, Call::BatchExecuteStatement))?))
    }
}

fn request(statement: &Statement<'_>) -> Result<BatchStatementRequest, aws_sdk_dynamodb::error::BuildError> {
    BatchStatementRequest::builder()
        .statement(&statement.text)
        .set_parameters(Some(statement.parameters.iter().map(|value| to_sdk(value)).collect()))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
}

fn reply_of(reply: BatchExecuteStatementOutput) -> BatchReply {
    // All statements are for one table, so the reply has one figure.
    let consumed = reply.consumed_capacity().first().and_then(|consumed| {
        let total = units(Some(consumed))?;
        Some(BatchConsumption { total, table: table_units(consumed), indexes: index_units(consumed) })
    });
    let replies = reply.responses.unwrap_or_default().into_iter().map(statement_reply).collect();
    BatchReply { replies, consumed }
}

fn statement_reply(response: BatchStatementResponse) -> StatementReply {
    let Some(error) = response.error else { return StatementReply::Applied };
    StatementReply::Failed {
        code: error.code().map(|code| code.as_str().to_owned()).unwrap_or_default(),
        message: error.message().map(clean).unwrap_or_default(),
        // An image that cannot be read concerns only its own statement. The other statements may have been applied.
        image: error.item.filter(|item| !item.is_empty()).and_then(|item| from_sdk_item(item).ok()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::types::{
        AttributeValue, BatchStatementError, BatchStatementErrorCodeEnum, Capacity, ConsumedCapacity,
    };

    use super::*;
    use crate::item::{Item, Value};

    #[test]
    fn a_reply_is_read_in_the_order_of_the_statements() {
        let item = HashMap::from([("pk".to_owned(), AttributeValue::S("a".to_owned()))]);
        let failed = BatchStatementError::builder()
            .code(BatchStatementErrorCodeEnum::ConditionalCheckFailed)
            .message("The conditional request failed for 'S3CRET'")
            .set_item(Some(item));
        let capacity = |units| Capacity::builder().capacity_units(units).build();
        let consumed = ConsumedCapacity::builder()
            .table_name("t")
            .capacity_units(7.0)
            .table(capacity(2.0))
            .local_secondary_indexes("l", capacity(1.0))
            .global_secondary_indexes("g", capacity(3.0));
        let reply = BatchExecuteStatementOutput::builder()
            .responses(BatchStatementResponse::builder().table_name("t").build())
            .responses(BatchStatementResponse::builder().error(failed.build()).build())
            .consumed_capacity(consumed.build())
            .build();
        let read = reply_of(reply);
        assert_eq!(
            read.consumed,
            Some(BatchConsumption { total: 7.0, table: Some(3.0), indexes: vec![("g".to_owned(), 3.0)] })
        );
        let [StatementReply::Applied, StatementReply::Failed { code, message, image }] = &read.replies[..] else {
            panic!("{read:?}")
        };
        assert_eq!((code.as_str(), message.contains("S3CRET")), ("ConditionalCheckFailed", false));
        assert_eq!(*image, Some(Item::from([("pk".to_owned(), Value::S("a".to_owned()))])));
    }

    #[test]
    fn an_unknown_code_is_kept() {
        let error = BatchStatementError::builder().code(BatchStatementErrorCodeEnum::from("Odd")).build();
        let response = BatchStatementResponse::builder().error(error).build();
        let StatementReply::Failed { code, image: None, .. } = statement_reply(response) else { panic!() };
        assert_eq!(code, "Odd");
    }
}
