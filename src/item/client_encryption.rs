//! Recognises items that a library signed or encrypted before they were sent to DynamoDB.
//!
//! The AWS Database Encryption SDK adds `aws_dbe_head` and `aws_dbe_foot` to such an item. The older DynamoDB
//! Encryption Client adds `*amzn-ddb-map-desc*` and `*amzn-ddb-map-sig*`. The signature covers other attributes too. A
//! tool that changes one of them without the encryption keys produces an item that readers reject.

use super::Item;

const MARKS: [&str; 4] = ["aws_dbe_head", "aws_dbe_foot", "*amzn-ddb-map-sig*", "*amzn-ddb-map-desc*"];

/// The attribute that shows that an item is signed or encrypted on the client, or `None` if it is not.
pub fn client_encryption(item: &Item) -> Option<&'static str> {
    MARKS.into_iter().find(|mark| item.contains_key(*mark))
}
