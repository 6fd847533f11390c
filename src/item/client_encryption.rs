//! Recognises items that a client library signed or encrypted before it sent them to DynamoDB.
//!
//! The AWS Database Encryption SDK adds `aws_dbe_head` and `aws_dbe_foot` to a signed item. The older DynamoDB
//! Encryption Client adds `*amzn-ddb-map-desc*` and `*amzn-ddb-map-sig*`. The signature also covers other attributes.
//! If a tool changes a signed attribute without the encryption keys, readers reject the item.

use super::Item;

const MARKER_ATTRIBUTES: [&str; 4] = ["aws_dbe_head", "aws_dbe_foot", "*amzn-ddb-map-sig*", "*amzn-ddb-map-desc*"];

/// Returns the name of the attribute that marks an item as signed or encrypted on the client. Returns `None` if the
/// item has no such attribute.
pub fn encryption_marker(item: &Item) -> Option<&'static str> {
    MARKER_ATTRIBUTES.into_iter().find(|mark| item.contains_key(*mark))
}
