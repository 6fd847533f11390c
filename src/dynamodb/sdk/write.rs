//! Sends guarded writes with `UpdateItem`. Sends writes of whole items with `DeleteItem` and `PutItem`. `transact.rs`
//! sends derived items.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure,
};

use super::classify::{Call, classify};
use super::values::{from_sdk_item, to_sdk, to_sdk_item};
use super::{DynamoTable, consumed, some_unless_empty};
use crate::change::{Expression, GuardedWrite, render};
use crate::dynamodb::{TableError, WriteReply};
use crate::item::Item;

impl DynamoTable {
    /// Sends one guarded write.
    pub(in crate::dynamodb) async fn send_write(&self, write: &GuardedWrite) -> Result<WriteReply, TableError> {
        let expression = render(write);
        if let (Some(key), Some(item)) = (write.derived_key(), write.derived_item()) {
            return self.transact(write, &expression, (key, item)).await;
        }
        if write.deleted_item().is_some() {
            return self.delete(write, &expression).await;
        }
        match write.created_item() {
            Some(item) => self.restore(item, &expression).await,
            None => self.update(write, &expression).await,
        }
    }

    async fn update(&self, write: &GuardedWrite, expression: &Expression) -> Result<WriteReply, TableError> {
        let sent = self
            .connection
            .send(|client| {
                client
                    .update_item()
                    .table_name(&self.name)
                    .set_key(Some(to_sdk_item(write.key.attributes())))
                    .update_expression(&expression.update)
                    .condition_expression(&expression.condition)
                    .set_expression_attribute_names(names(expression))
                    .set_expression_attribute_values(values(expression))
                    .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                    .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                    .send()
            })
            .await;
        match sent {
            Ok(reply) => Ok(WriteReply::Applied { consumed: consumed(reply.consumed_capacity()), removed: None }),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => condition_failed(failed),
                _ => Err(classify(&error, Call::UpdateItem)),
            },
        }
    }

    /// Deletes an item. The reply contains the removed item, so that the caller can compare it with the planned image.
    async fn delete(&self, write: &GuardedWrite, expression: &Expression) -> Result<WriteReply, TableError> {
        let sent = self
            .connection
            .send(|client| {
                client
                    .delete_item()
                    .table_name(&self.name)
                    .set_key(Some(to_sdk_item(write.key.attributes())))
                    .condition_expression(&expression.condition)
                    .set_expression_attribute_names(names(expression))
                    .set_expression_attribute_values(values(expression))
                    .return_values(ReturnValue::AllOld)
                    .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                    .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                    .send()
            })
            .await;
        match sent {
            Ok(reply) => {
                let consumed = consumed(reply.consumed_capacity());
                let removed = reply.attributes.filter(|item| !item.is_empty()).map(from_sdk_item).transpose()?;
                Ok(WriteReply::Applied { consumed, removed })
            }
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(failed)) => condition_failed(failed),
                _ => Err(classify(&error, Call::DeleteItem)),
            },
        }
    }

    /// Restores a deleted item.
    async fn restore(&self, item: &Item, expression: &Expression) -> Result<WriteReply, TableError> {
        let sent = self
            .connection
            .send(|client| {
                client
                    .put_item()
                    .table_name(&self.name)
                    .set_item(Some(to_sdk_item(item)))
                    .condition_expression(&expression.condition)
                    .set_expression_attribute_names(names(expression))
                    .set_expression_attribute_values(values(expression))
                    .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                    .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
                    .send()
            })
            .await;
        match sent {
            Ok(reply) => Ok(WriteReply::Applied { consumed: consumed(reply.consumed_capacity()), removed: None }),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => condition_failed(failed),
                _ => Err(classify(&error, Call::RestoreItem)),
            },
        }
    }
}

pub(super) fn names(expression: &Expression) -> Option<HashMap<String, String>> {
    some_unless_empty(expression.names.clone().into_iter().collect())
}

pub(super) fn values(expression: &Expression) -> Option<HashMap<String, AttributeValue>> {
    let values = expression.values.iter().map(|(placeholder, value)| (placeholder.clone(), to_sdk(value)));
    some_unless_empty(values.collect())
}

/// Returns the reply to a write whose condition failed. Includes the image of the item if the engine returned it.
fn condition_failed(failed: &ConditionalCheckFailedException) -> Result<WriteReply, TableError> {
    let image = failed.item().filter(|item| !item.is_empty()).cloned();
    Ok(WriteReply::ConditionFailed { image: image.map(from_sdk_item).transpose()? })
}
