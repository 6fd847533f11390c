//! The AWS SDK adapter of [`Table`]: one request for each call, every error classified, nothing retried.

mod classify;
mod client;
mod values;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, KeySchemaElement, KeyType, ReturnConsumedCapacity,
    ReturnValuesOnConditionCheckFailure, TableDescription as SdkDescription,
};

pub use client::{Connection, connect};

use super::{Consumed, Got, Page, ScanRequest, Table, TableDescription, TableError, WriteReply};
use crate::change::{GuardedWrite, render};
use crate::item::{ItemKey, KeyAttribute, KeySchema, Units};
use classify::{Call, classify, unusable_reply};
use values::{from_sdk_item, to_sdk, to_sdk_item};

/// A DynamoDB table behind the AWS SDK.
#[derive(Debug, Clone)]
pub struct DynamoTable {
    client: Client,
    name: String,
    /// The table's key, once it has been described: it never changes.
    key: Arc<OnceLock<KeySchema>>,
}

impl DynamoTable {
    /// The table of this name, through this connection.
    pub fn new(connection: &Connection, name: impl Into<String>) -> DynamoTable {
        DynamoTable { client: connection.client().clone(), name: name.into(), key: Arc::default() }
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
        let table = reply.table().and_then(describe);
        let table = table.ok_or_else(|| unusable_reply("DescribeTable described no table with a key"))?;
        self.key.get_or_init(|| table.key.clone());
        Ok(table)
    }

    async fn scan(&self, request: &ScanRequest) -> Result<Page, TableError> {
        let segment = i32::try_from(request.segment).map_err(|_| unusable_reply("the segment number is too large"))?;
        let total = i32::try_from(request.total_segments).map_err(|_| unusable_reply("there are too many segments"))?;
        let keys = self.key.get().filter(|_| request.keys_only).map(projection);
        let reply = self
            .client
            .scan()
            .table_name(&self.name)
            .segment(segment)
            .total_segments(total)
            .set_exclusive_start_key(request.start_key.as_ref().map(|k| to_sdk_item(k.attributes())))
            .set_limit(request.limit.and_then(|n| i32::try_from(n).ok()))
            .consistent_read(request.consistent)
            .set_projection_expression(keys.clone().map(|(expression, _)| expression))
            .set_expression_attribute_names(keys.map(|(_, names)| names))
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

/// A projection expression of the key attributes, and the names of its placeholders.
fn projection(key: &KeySchema) -> (String, HashMap<String, String>) {
    let names: Vec<(String, String)> =
        key.names().enumerate().map(|(i, name)| (format!("#k{i}"), name.to_owned())).collect();
    let placeholders: Vec<&str> = names.iter().map(|(placeholder, _)| placeholder.as_str()).collect();
    (placeholders.join(", "), names.into_iter().collect())
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

fn describe(table: &SdkDescription) -> Option<TableDescription> {
    let kind_of = |name: &str| {
        let found = table.attribute_definitions().iter().find(|d| d.attribute_name() == name);
        found.map_or_else(|| "S".to_owned(), |d| d.attribute_type().as_str().to_owned())
    };
    let key = |kind: KeyType| {
        let element: Option<&KeySchemaElement> = table.key_schema().iter().find(|e| *e.key_type() == kind);
        element.map(|e| KeyAttribute { name: e.attribute_name().to_owned(), kind: kind_of(e.attribute_name()) })
    };
    let provisioned = table.provisioned_throughput().and_then(|p| {
        let (read, write) = (p.read_capacity_units()?, p.write_capacity_units()?);
        // Both are reported as zero on demand.
        (read > 0 && write > 0).then_some((read as f64, write as f64))
    });
    let maxima = table.on_demand_throughput();
    let limit = |units: Option<i64>| units.filter(|units| *units > 0).map(|units| units as f64);
    Some(TableDescription {
        on_demand_max: (
            limit(maxima.and_then(|m| m.max_read_request_units())),
            limit(maxima.and_then(|m| m.max_write_request_units())),
        ),
        warm: None,
        name: table.table_name()?.to_owned(),
        arn: table.table_arn().unwrap_or_default().to_owned(),
        id: table.table_id().map(str::to_owned),
        status: table.table_status().map_or_else(|| "unknown".to_owned(), |s| s.as_str().to_owned()),
        key: KeySchema { partition: key(KeyType::Hash)?, sort: key(KeyType::Range) },
        item_count: u64::try_from(table.item_count().unwrap_or(0)).unwrap_or(0),
        size_bytes: u64::try_from(table.table_size_bytes().unwrap_or(0)).unwrap_or(0),
        provisioned: if table
            .billing_mode_summary()
            .is_some_and(|b| b.billing_mode() == Some(&aws_sdk_dynamodb::types::BillingMode::PayPerRequest))
        {
            None
        } else {
            provisioned
        },
        indexes: Vec::new(),
    })
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
