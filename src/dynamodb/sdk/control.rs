//! Implements [`Control`] with the AWS SDK.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::classify::{Call, classify};
use super::values::{from_sdk_item, to_sdk, to_sdk_item};
use super::{DynamoTable, some_unless_empty};
use crate::dynamodb::control::{Control, PutCondition, PutReply};
use crate::dynamodb::{Describe, TableError};
use crate::item::{Item, ItemKey, KeySchema};

#[async_trait]
impl Control for DynamoTable {
    async fn key(&self) -> Result<KeySchema, TableError> {
        Ok(self.describe().await?.key)
    }

    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, TableError> {
        self.get_item(key).await?.item.map(from_sdk_item).transpose()
    }

    async fn put(&self, item: &Item, expected: &PutCondition) -> Result<PutReply, TableError> {
        let (condition, names, values) = condition(expected);
        let sent = self
            .connection
            .send(|client| {
                client
                    .put_item()
                    .table_name(&self.name)
                    .set_item(Some(to_sdk_item(item)))
                    .condition_expression(&condition)
                    .set_expression_attribute_names(Some(names.clone()))
                    .set_expression_attribute_values(some_unless_empty(
                        values.iter().map(|(placeholder, value)| (placeholder.clone(), to_sdk(value))).collect(),
                    ))
                    // Request the consumed capacity, because it distinguishes a real reply from an empty body.
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            })
            .await;
        match sent {
            Ok(_) => Ok(PutReply::Done),
            Err(error) if condition_failed(&error) => Ok(PutReply::ConditionFailed),
            Err(error) => Err(classify(&error, Call::PutItem)),
        }
    }
}

fn condition_failed(error: &SdkError<PutItemError>) -> bool {
    error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception)
}

/// Returns the condition expression, with the names and values of its placeholders.
fn condition(expected: &PutCondition) -> (String, HashMap<String, String>, Item) {
    match expected {
        PutCondition::Absent { partition } => {
            ("attribute_not_exists(#k)".to_owned(), HashMap::from([("#k".to_owned(), partition.clone())]), Item::new())
        }
        PutCondition::Attributes(attributes) => {
            let terms: Vec<String> = (0..attributes.len()).map(|i| format!("#c{i} = :c{i}")).collect();
            let names = attributes.keys().enumerate().map(|(i, name)| (format!("#c{i}"), name.clone())).collect();
            let values = attributes.values().enumerate().map(|(i, value)| (format!(":c{i}"), value.clone())).collect();
            (terms.join(" AND "), names, values)
        }
    }
}
