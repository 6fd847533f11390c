//! Scans an index of a table.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::classify::{Call, classify, unusable_reply};
use super::values::{from_sdk_item, to_sdk_item};
use super::{DynamoTable, projection, units};
use crate::dynamodb::{Page, PageRequest, Source, TableError};
use crate::item::{ItemKey, Position};

/// An index of a table, as a source of keys. The caller reads the items themselves from the table: a global index is
/// never strongly consistent, and it may lack attributes (developer guide, "Using global secondary indexes").
pub struct DynamoIndex {
    table: DynamoTable,
    name: String,
}

impl DynamoTable {
    /// Returns the index with this name as a source of keys.
    pub fn index(&self, name: &str) -> DynamoIndex {
        DynamoIndex { table: self.clone(), name: name.to_owned() }
    }
}

#[async_trait]
impl Source for DynamoIndex {
    async fn read_page(&self, request: &PageRequest) -> Result<Page, TableError> {
        let segment = i32::try_from(request.segment).map_err(|_| unusable_reply("the segment number is too large"))?;
        let total = i32::try_from(request.total_segments).map_err(|_| unusable_reply("there are too many segments"))?;
        let start = match &request.start {
            None => None,
            Some(Position::Key(key)) => Some(to_sdk_item(key.attributes())),
            Some(Position::Offset(_)) => return Err(TableError::foreign_position()),
        };
        let Some(key) = self.table.key.get() else {
            return Err(TableError::unsupported("a scan before DescribeTable"));
        };
        let (keys, names) = projection(key);
        let reply = self
            .table
            .connection
            .send(|client| {
                client
                    .scan()
                    .table_name(&self.table.name)
                    .index_name(&self.name)
                    .segment(segment)
                    .total_segments(total)
                    .set_exclusive_start_key(start.clone())
                    .set_limit(request.limit.and_then(|n| i32::try_from(n).ok()))
                    .projection_expression(keys.clone())
                    .set_expression_attribute_names(Some(names.clone()))
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            })
            .await
            .map_err(|e| classify(&e, Call::Scan))?;
        let units = units(reply.consumed_capacity());
        let next = reply.last_evaluated_key.filter(|key| !key.is_empty());
        Ok(Page {
            items: reply.items.unwrap_or_default().into_iter().map(from_sdk_item).collect::<Result<_, _>>()?,
            next: next.map(from_sdk_item).transpose()?.map(|key| Position::Key(ItemKey::new(key))),
            units,
        })
    }

    fn yields_keys(&self) -> bool {
        true
    }

    fn index(&self) -> Option<&str> {
        Some(&self.name)
    }
}
