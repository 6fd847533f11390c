//! Scans an index of a table.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::classify::{Call, classify};
use super::scan::{ScanStart, page_of};
use super::{DynamoTable, projection};
use crate::dynamodb::{Page, PageRequest, Source, TableError};

/// An index of a table, as a source of keys. The caller reads the whole items from the table, because a global index is
/// never strongly consistent, and because it can lack attributes (developer guide, "Using global secondary indexes").
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
        let ScanStart { segment, total, start } = ScanStart::new(request)?;
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
        page_of(reply)
    }

    fn yields_keys(&self) -> bool {
        true
    }

    fn index(&self) -> Option<&str> {
        Some(&self.name)
    }
}
