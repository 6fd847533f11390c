//! The AWS SDK adapter of [`Table`]: one request for each call, every error classified, nothing retried.

mod classify;
mod client;
mod describe;
mod values;

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure,
};

pub use client::{Connection, connect};

use super::{Consumed, Got, Page, ScanRequest, Table, TableDescription, TableError, WriteReply};
use crate::change::{GuardedWrite, render};
use crate::item::{ItemKey, Units};
use classify::{Call, classify, unusable_reply};
use describe::describe;
use values::{from_sdk_item, to_sdk, to_sdk_item};

/// A DynamoDB table behind the AWS SDK.
#[derive(Debug, Clone)]
pub struct DynamoTable {
    client: Client,
    name: String,
}

impl DynamoTable {
    /// The table of this name, through this connection.
    pub fn new(connection: &Connection, name: impl Into<String>) -> DynamoTable {
        DynamoTable { client: connection.client().clone(), name: name.into() }
    }

    async fn update(&self, write: &GuardedWrite) -> Result<WriteReply, TableError> {
        let expression = render(write);
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(to_sdk_item(write.key.attributes())))
            .update_expression(expression.update)
            .condition_expression(expression.condition)
            .set_expression_attribute_names(some_unless_empty(expression.names.into_iter().collect()))
            .set_expression_attribute_values(some_unless_empty(
                expression.values.iter().map(|(k, v)| (k.clone(), to_sdk(v))).collect(),
            ))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(reply) => Ok(WriteReply::Applied { consumed: consumed(reply.consumed_capacity()) }),
            Err(error) => match condition_failure(&error) {
                Some(image) => Ok(WriteReply::ConditionFailed { image: image.map(from_sdk_item).transpose()? }),
                None => Err(classify(&error, Call::Write)),
            },
        }
    }
}

#[async_trait]
impl Table for DynamoTable {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        let reply = self.client.describe_table().table_name(&self.name).send().await;
        let reply = reply.map_err(|e| classify(&e, Call::Read))?;
        reply.table().and_then(describe).ok_or_else(|| unusable_reply("DescribeTable described no table with a key"))
    }

    async fn scan(&self, request: &ScanRequest) -> Result<Page, TableError> {
        let segment = i32::try_from(request.segment).map_err(|_| unusable_reply("the segment number is too large"))?;
        let total = i32::try_from(request.total_segments).map_err(|_| unusable_reply("there are too many segments"))?;
        let reply = self
            .client
            .scan()
            .table_name(&self.name)
            .segment(segment)
            .total_segments(total)
            .set_exclusive_start_key(request.start_key.as_ref().map(|k| to_sdk_item(k.attributes())))
            .set_limit(request.limit.and_then(|n| i32::try_from(n).ok()))
            .consistent_read(request.consistent)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|e| classify(&e, Call::Read))?;
        let units = units(reply.consumed_capacity());
        // An empty `LastEvaluatedKey` object is how some engines spell an absent one.
        let next = reply.last_evaluated_key.filter(|key| !key.is_empty());
        Ok(Page {
            items: reply.items.unwrap_or_default().into_iter().map(from_sdk_item).collect::<Result<_, _>>()?,
            next: next.map(from_sdk_item).transpose()?.map(ItemKey::new),
            units,
        })
    }

    async fn get(&self, key: &ItemKey) -> Result<Got, TableError> {
        let reply = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(to_sdk_item(key.attributes())))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|e| classify(&e, Call::Read))?;
        let units = units(reply.consumed_capacity());
        Ok(Got { item: reply.item.map(from_sdk_item).transpose()?, units })
    }

    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        futures::future::join_all(chunk.iter().map(|write| self.update(write))).await
    }

    fn max_chunk(&self) -> usize {
        1
    }
}

/// The item that a failed condition met, if the error is one: `Some(None)` where the engine returned no image.
fn condition_failure(error: &SdkError<UpdateItemError>) -> Option<Option<HashMap<String, AttributeValue>>> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(failed) => {
            Some(failed.item().filter(|item| !item.is_empty()).cloned())
        }
        _ => None,
    }
}

fn consumed(consumed: Option<&ConsumedCapacity>) -> Option<Consumed> {
    units(consumed).map(|table| Consumed { table, indexes: Vec::new() })
}

fn units(consumed: Option<&ConsumedCapacity>) -> Option<Units> {
    consumed.and_then(ConsumedCapacity::capacity_units)
}

fn some_unless_empty<V>(map: HashMap<String, V>) -> Option<HashMap<String, V>> {
    (!map.is_empty()).then_some(map)
}
