//! Items that a library has signed or encrypted before DynamoDB got them.
//!
//! The AWS Database Encryption SDK adds `aws_dbe_head` and `aws_dbe_foot` to such an item, the older DynamoDB Encryption
//! Client `*amzn-ddb-map-desc*` and `*amzn-ddb-map-sig*`. The signature covers other attributes too: whoever changes one of
//! those without the keys makes an item that readers refuse.

use super::Item;

const MARKS: [&str; 4] = ["aws_dbe_head", "aws_dbe_foot", "*amzn-ddb-map-sig*", "*amzn-ddb-map-desc*"];

/// The attribute by which an item shows that it is signed or encrypted on the client; none of one that does not.
pub fn client_encryption(item: &Item) -> Option<&'static str> {
    MARKS.into_iter().find(|mark| item.contains_key(*mark))
}
