//! Reads pages of a table with `Scan`.

use super::LeanTable;
use super::body::Body;
use super::reply::{Parsed, ScanReply, WireItem, read};
use super::send::{Reply, Sent, is_unprepared};
use crate::change::Filter;
use crate::dynamodb::sdk::{Call, classify, projection, unusable_reply};
use crate::dynamodb::{FilteredPage, Page, PageRequest, TableError};
use crate::item::{ItemKey, Position};

impl LeanTable {
    /// Reads one page. Returns `None` if the SDK has to send the request. Without a filter, the number of omitted items
    /// is 0.
    pub(super) async fn scan(
        &self,
        request: &PageRequest,
        filter: Option<&Filter>,
    ) -> Option<Result<FilteredPage, TableError>> {
        let body = self.scan_body(request, filter)?;
        let sent = self.send("DynamoDB_20120810.Scan", body, |reply| self.page(reply, filter.is_some()));
        match sent.await {
            Ok(page) => Some(page),
            Err(error) if is_unprepared(&error) => None,
            Err(error) => Some(Err(classify(&error, Call::Scan))),
        }
    }

    /// Returns the body of the request, or `None` if the SDK's client would refuse the request.
    fn scan_body(&self, request: &PageRequest, filter: Option<&Filter>) -> Option<Vec<u8>> {
        let is_small = |number: u32| i32::try_from(number).is_ok();
        if !is_small(request.segment) || !is_small(request.total_segments) {
            return None;
        }
        let mut body = Body::new(self.table.name());
        body.number("Segment", request.segment);
        body.number("TotalSegments", request.total_segments);
        match &request.start {
            None => {}
            Some(Position::Key(key)) => body.item("ExclusiveStartKey", key.attributes()),
            Some(Position::Offset(_)) => return None,
        }
        if let Some(limit) = request.limit.filter(|limit| is_small(*limit)) {
            body.number("Limit", limit);
        }
        body.flag("ConsistentRead", request.consistent);
        let keys = self.table.key().filter(|_| request.keys_only).map(projection);
        if let Some((expression, _)) = &keys {
            body.text("ProjectionExpression", expression);
        }
        let key_names = keys.iter().flat_map(|(_, names)| names);
        let key_names = key_names.map(|(placeholder, name)| (placeholder.as_str(), name.as_str()));
        let filter_names = filter.into_iter().flat_map(|filter| &filter.names);
        let filter_names = filter_names.map(|(placeholder, name)| (placeholder.as_str(), name.as_str()));
        body.names("ExpressionAttributeNames", key_names.chain(filter_names));
        if let Some(filter) = filter {
            body.text("FilterExpression", &filter.expression);
            if !filter.values.is_empty() {
                body.item("ExpressionAttributeValues", &filter.values);
            }
        }
        body.text("ReturnConsumedCapacity", "TOTAL");
        Some(body.finish())
    }

    /// Returns the page in a reply. The inner error means that the reply is complete, but contains something that this
    /// version does not know.
    fn page(&self, reply: Reply, is_filtered: bool) -> Sent<Result<FilteredPage, TableError>> {
        let Ok(Parsed { reply: read, has_unknown_type }) = read::<ScanReply>(&reply.body) else {
            return reply.unreadable();
        };
        let units = read.consumed_capacity.and_then(|consumed| consumed.capacity_units);
        let items = read.items.as_ref().map(Vec::len);
        let count = read.count.unwrap_or(0);
        if let Err(flaw) = self.table.connection().replies().scan(items, count, || read.count.is_some(), units) {
            return reply.flawed(flaw);
        }
        if has_unknown_type {
            return Ok(Err(unknown_type()));
        }
        let items: Vec<_> = read.items.unwrap_or_default().into_iter().map(|WireItem(item)| item).collect();
        // At the end of a segment, some engines send an empty key instead of omitting it.
        let next = read.last_evaluated_key.map(|WireItem(key)| key).filter(|key| !key.is_empty());
        let page = Page { items, next: next.map(|key| Position::Key(ItemKey::new(key))), units };
        if !is_filtered {
            return Ok(Ok(FilteredPage { page, left_out: 0 }));
        }
        let scanned = u64::try_from(read.scanned_count.unwrap_or(0)).ok();
        Ok(FilteredPage::counted(page, scanned))
    }
}

/// Creates the error for an attribute of an unknown type.
pub(super) fn unknown_type() -> TableError {
    unusable_reply("an attribute has a type that this version does not know")
}
