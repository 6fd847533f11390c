//! Implements [`Describe`], [`Source`] and [`Sink`] with the AWS SDK. Each call sends one request. The adapter checks
//! every reply and classifies every error. The adapter retries in only one case: if DynamoDB refuses a request's
//! credentials, the adapter reloads them and sends the request once more.

mod backup;
mod batch;
mod classify;
mod client;
mod config;
mod control;
mod describe;
mod index;
mod projection;
mod reply;
mod route;
mod scan;
mod sent;
mod skew;
mod table_features;
mod transact;
mod values;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::types::{Capacity, ConsumedCapacity, ReturnConsumedCapacity};

pub(in crate::dynamodb) use classify::{Call, by_code, classify, clean, unusable_reply};
pub(crate) use classify::{failure_text, is_credentials_error};
pub(in crate::dynamodb) use client::Generation;
pub use client::{Connection, connect};
pub(crate) use config::{NO_REGION, Service, ServiceConfig};
pub(in crate::dynamodb) use reply::{Flaw, checksum};
pub(in crate::dynamodb) use route::Route;
pub(in crate::dynamodb) use sent::UnsentRequest;

use super::{
    BackupStatus, Describe, FilteredPage, GetReply, Page, PageRequest, Recovery, Sink, Source, TableDescription,
    TableError, WriteConsumption, WriteReply,
};
use crate::change::{Filter, GuardedWrite};
use crate::item::{ItemKey, KeySchema, Units};
use describe::describe;
use scan::{ScanStart, filtered_page_of, page_of};
use values::{from_sdk_item, to_sdk_item};

/// A DynamoDB table, accessed through the AWS SDK.
#[derive(Debug, Clone)]
pub struct DynamoTable {
    connection: Connection,
    name: String,
    /// The table's key, which never changes. The first successful description of the table stores it here.
    key: Arc<OnceLock<KeySchema>>,
}

impl DynamoTable {
    /// Creates a handle for the table with this name. It sends requests through this connection.
    pub fn new(connection: &Connection, name: impl Into<String>) -> DynamoTable {
        DynamoTable { connection: connection.clone(), name: name.into(), key: Arc::default() }
    }

    pub(in crate::dynamodb) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(in crate::dynamodb) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the table's key, or `None` if the table has not been described yet.
    pub(in crate::dynamodb) fn key(&self) -> Option<&KeySchema> {
        self.key.get()
    }

    /// Sends a strongly consistent `GetItem` and returns the raw reply.
    async fn get_item(&self, key: &ItemKey) -> Result<GetItemOutput, TableError> {
        let sent = self.connection.send(|client| {
            client
                .get_item()
                .table_name(&self.name)
                .set_key(Some(to_sdk_item(key.attributes())))
                .consistent_read(true)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
        });
        sent.await.map_err(|e| classify(&e, Call::GetItem))
    }
}

#[async_trait]
impl Describe for DynamoTable {
    async fn describe(&self) -> Result<TableDescription, TableError> {
        let reply = self.connection.send(|client| client.describe_table().table_name(&self.name).send()).await;
        let reply = reply.map_err(|e| classify(&e, Call::DescribeTable))?;
        let table = reply.table().and_then(describe);
        // The module `reply` has already checked that the description is complete.
        let table = table.ok_or_else(|| unusable_reply("DescribeTable described no table with a key"))?;
        self.key.get_or_init(|| table.key.clone());
        self.connection.remember_table(&self.name, &table);
        Ok(table)
    }

    async fn recovery(&self) -> Result<Recovery, TableError> {
        let reply =
            self.connection.send(|client| client.describe_continuous_backups().table_name(&self.name).send()).await;
        let reply = reply.map_err(|e| classify(&e, Call::DescribeContinuousBackups))?;
        let described = reply.continuous_backups_description().map(table_features::recovery);
        described.ok_or_else(|| unusable_reply("DescribeContinuousBackups described no backups"))
    }

    async fn time_to_live(&self) -> Result<Option<String>, TableError> {
        let reply = self.connection.send(|client| client.describe_time_to_live().table_name(&self.name).send()).await;
        let reply = reply.map_err(|e| classify(&e, Call::DescribeTimeToLive))?;
        Ok(reply.time_to_live_description().and_then(table_features::time_to_live))
    }
}

#[async_trait]
impl Source for DynamoTable {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        page_of(self.scan(request, None).await?)
    }

    async fn read_filtered_page(&self, request: &PageRequest, filter: &Filter) -> Result<FilteredPage, TableError> {
        filtered_page_of(self.scan(request, Some(filter)).await?)
    }
}

impl DynamoTable {
    async fn scan(&self, request: &PageRequest, filter: Option<&Filter>) -> Result<ScanOutput, TableError> {
        let ScanStart { segment, total, start } = ScanStart::new(request)?;
        let keys = self.key.get().filter(|_| request.keys_only).map(projection);
        let key_names = keys.iter().flat_map(|(_, names)| names.clone());
        let filter_names = filter.into_iter().flat_map(|filter| filter.names.clone());
        let names: HashMap<String, String> = key_names.chain(filter_names).collect();
        let values = filter.map(|filter| to_sdk_item(&filter.values)).unwrap_or_default();
        let sent = self
            .connection
            .send(|client| {
                client
                    .scan()
                    .table_name(&self.name)
                    .segment(segment)
                    .total_segments(total)
                    .set_exclusive_start_key(start.clone())
                    .set_limit(request.limit.and_then(|n| i32::try_from(n).ok()))
                    .consistent_read(request.consistent)
                    .set_projection_expression(keys.clone().map(|(expression, _)| expression))
                    .set_filter_expression(filter.map(|filter| filter.expression.clone()))
                    .set_expression_attribute_names(some_unless_empty(names.clone()))
                    .set_expression_attribute_values(some_unless_empty(values.clone()))
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            })
            .await;
        sent.map_err(|e| classify(&e, Call::Scan))
    }
}

#[async_trait]
impl Sink for DynamoTable {
    async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
        futures::future::join_all(chunk.iter().map(|write| self.send_write(write))).await
    }

    fn max_chunk(&self) -> usize {
        1
    }

    async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
        let reply = self.get_item(key).await?;
        let units = units(reply.consumed_capacity());
        Ok(GetReply { item: reply.item.map(from_sdk_item).transpose()?, units })
    }

    async fn create_backup(&self, name: &str) -> Result<String, TableError> {
        self.request_backup(name).await
    }

    async fn backup_status(&self, arn: &str) -> Result<BackupStatus, TableError> {
        self.read_backup_status(arn).await
    }
}

/// Returns a projection expression for the key attributes, and the names of its placeholders.
pub(in crate::dynamodb) fn projection(key: &KeySchema) -> (String, HashMap<String, String>) {
    let names: Vec<(String, String)> =
        key.names().enumerate().map(|(i, name)| (format!("#k{i}"), name.to_owned())).collect();
    let placeholders: Vec<&str> = names.iter().map(|(placeholder, _)| placeholder.as_str()).collect();
    (placeholders.join(", "), names.into_iter().collect())
}

/// Returns the capacity that a write consumed on the table and on each index.
fn consumed(consumed: Option<&ConsumedCapacity>) -> Option<WriteConsumption> {
    let total = units(consumed)?;
    let consumed = consumed?;
    Some(divide(total, table_units(consumed).unwrap_or(0.0), index_units(consumed)))
}

/// Returns the units of the table and of its local indexes. `None` if the total is not divided.
fn table_units(consumed: &ConsumedCapacity) -> Option<Units> {
    let local = consumed.local_secondary_indexes();
    let of_local: Units = local.into_iter().flatten().map(|(_, capacity)| capacity_units(capacity)).sum();
    let table = consumed.table().map(capacity_units);
    (table.is_some() || local.is_some()).then(|| table.unwrap_or(0.0) + of_local)
}

/// Returns the units of each global index.
fn index_units(consumed: &ConsumedCapacity) -> Vec<(String, Units)> {
    let global = consumed.global_secondary_indexes().into_iter().flatten();
    global.map(|(name, capacity)| (name.clone(), capacity_units(capacity))).collect()
}

fn capacity_units(capacity: &Capacity) -> Units {
    capacity.capacity_units().or(capacity.write_capacity_units()).unwrap_or(0.0)
}

/// Divides the total consumption of a write between the table and its global indexes. The table's part includes its
/// local indexes. Some engines report a total, but attribute only a part of it, or nothing, to the table and its
/// indexes. The remaining units are counted for the table.
pub(in crate::dynamodb) fn divide(total: Units, table: Units, mut indexes: Vec<(String, Units)>) -> WriteConsumption {
    indexes.retain(|(_, units)| *units > 0.0);
    indexes.sort_by(|a, b| a.0.cmp(&b.0));
    let beside = indexes.iter().map(|(_, units)| units).sum::<Units>();
    WriteConsumption { table: table.max(total - beside), indexes, elsewhere: None }
}

fn units(consumed: Option<&ConsumedCapacity>) -> Option<Units> {
    consumed.and_then(ConsumedCapacity::capacity_units)
}

fn some_unless_empty<V>(map: HashMap<String, V>) -> Option<HashMap<String, V>> {
    (!map.is_empty()).then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(units: f64) -> Capacity {
        Capacity::builder().capacity_units(units).build()
    }

    #[test]
    fn units_go_to_the_table_or_to_the_index_that_consumed_them() {
        let total = |units| ConsumedCapacity::builder().table_name("t").capacity_units(units);
        let named = |table, indexes: &[(&str, f64)]| {
            let indexes = indexes.iter().map(|(name, units)| ((*name).to_owned(), *units)).collect();
            Some(WriteConsumption { table, indexes, elsewhere: None })
        };
        let whole = total(9.0)
            .table(capacity(2.0))
            .local_secondary_indexes("l", capacity(3.0))
            .global_secondary_indexes("h", capacity(3.0))
            .global_secondary_indexes("g", capacity(1.0))
            .global_secondary_indexes("untouched", capacity(0.0));
        assert_eq!(consumed(Some(&whole.build())), named(5.0, &[("g", 1.0), ("h", 3.0)]));
        // If the engine reports only a total, the whole total is counted for the table. Without a total, the
        // consumption is unknown.
        assert_eq!(consumed(Some(&total(4.0).build())), named(4.0, &[]));
        assert_eq!(
            consumed(Some(&total(4.0).global_secondary_indexes("g", capacity(1.0)).build())),
            named(3.0, &[("g", 1.0)])
        );
        assert_eq!(
            consumed(Some(&total(4.0).table(capacity(1.0)).build())),
            named(4.0, &[]),
            "the total is what is billed"
        );
        assert_eq!(consumed(Some(&ConsumedCapacity::builder().table_name("t").build())), None);
        assert_eq!(consumed(None), None);
    }
}
