//! Code that all scans share. It determines where a scan starts, and converts a reply to a page.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::types::AttributeValue;

use super::classify::unusable_reply;
use super::units;
use super::values::{from_sdk_item, to_sdk_item};
use crate::dynamodb::{FilteredPage, Page, PageRequest, TableError};
use crate::item::{ItemKey, Position};

/// The segment of a scan, and the key after which it continues.
pub(super) struct ScanStart {
    pub(super) segment: i32,
    pub(super) total: i32,
    pub(super) start: Option<HashMap<String, AttributeValue>>,
}

impl ScanStart {
    /// Returns where the scan for this request starts.
    ///
    /// # Errors
    ///
    /// Fails if the position comes from another kind of source, or if a segment number is too large.
    pub(super) fn new(request: &PageRequest) -> Result<ScanStart, TableError> {
        let segment = i32::try_from(request.segment).map_err(|_| unusable_reply("the segment number is too large"))?;
        let total = i32::try_from(request.total_segments).map_err(|_| unusable_reply("there are too many segments"))?;
        let start = match &request.start {
            None => None,
            Some(Position::Key(key)) => Some(to_sdk_item(key.attributes())),
            Some(Position::Offset(_)) => return Err(TableError::foreign_position()),
        };
        Ok(ScanStart { segment, total, start })
    }
}

/// Returns the page that this reply contains.
pub(super) fn page_of(reply: ScanOutput) -> Result<Page, TableError> {
    let units = units(reply.consumed_capacity());
    // At the end of a segment, some engines send an empty `LastEvaluatedKey` object instead of omitting this
    // member.
    let next = reply.last_evaluated_key.filter(|key| !key.is_empty());
    Ok(Page {
        items: reply.items.unwrap_or_default().into_iter().map(from_sdk_item).collect::<Result<_, _>>()?,
        next: next.map(from_sdk_item).transpose()?.map(|key| Position::Key(ItemKey::new(key))),
        units,
    })
}

/// Returns the filtered page that this reply contains. The SDK reads a missing `ScannedCount` as 0.
///
/// # Errors
///
/// Fails if the reply does not say how many items DynamoDB read.
pub(super) fn filtered_page_of(reply: ScanOutput) -> Result<FilteredPage, TableError> {
    let scanned = u64::try_from(reply.scanned_count()).ok();
    FilteredPage::counted(page_of(reply)?, scanned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filtered_page_needs_a_scanned_count() {
        let item = || HashMap::from([("pk".to_owned(), AttributeValue::S("a".to_owned()))]);
        let reply = |scanned: i32| ScanOutput::builder().set_items(Some(Vec::new())).scanned_count(scanned);
        let next = |scanned: i32| reply(scanned).set_last_evaluated_key(Some(item())).build();
        assert_eq!(filtered_page_of(next(3)).unwrap().left_out, 3);
        assert_eq!(filtered_page_of(reply(0).build()).unwrap().left_out, 0, "the end of an empty segment");
        let one = ScanOutput::builder().set_items(Some(vec![item()])).build();
        for uncounted in [next(0), one] {
            assert!(matches!(filtered_page_of(uncounted), Err(TableError::UnusableReply { .. })));
        }
    }
}
