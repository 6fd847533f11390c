//! Reads the items that an operator passes to `explain`.

use std::io::{BufReader, Read};

use serde_json::{Deserializer, Value as Json};

use crate::figure::count;
use crate::item::{Item, JsonError, item_from_json};

/// Items from a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputItems {
    /// The items, in the order of the file.
    pub items: Vec<Item>,
    /// Whether the file contains more items.
    pub more: bool,
}

/// The reason why the items of a file cannot be read. The text of the error contains no attribute values.
#[derive(Debug, thiserror::Error)]
pub enum ItemInputError {
    /// The input cannot be read.
    #[error("it cannot be read: {0}")]
    Io(std::io::Error),
    /// The input has no item.
    #[error("it contains no item")]
    Empty,
    /// A text is not JSON.
    #[error("after {}, it is not JSON: {error}", count(*items as u64, "item", "items"))]
    Json {
        /// Number of items before the error.
        items: usize,
        /// The error of the parser, with the line and the column.
        error: serde_json::Error,
    },
    /// An item is not in the form of DynamoDB JSON.
    #[error("item {number} is not DynamoDB JSON, such as {{\"pk\": {{\"S\": \"a\"}}}}: {why}")]
    Item {
        /// The number of the item, from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
}

/// Reads at most `limit` items in DynamoDB JSON, one after the other. An item is an object of attributes, on one line or
/// on several. The output of `aws dynamodb get-item`, `query` and `scan`, with its members `Item` or `Items`, is
/// accepted too. `key` contains the names of the key attributes, to distinguish this output from an item with an
/// attribute of the same name.
pub fn read_items(input: impl Read, key: &[String], limit: usize) -> Result<InputItems, ItemInputError> {
    let mut found = InputItems::default();
    for document in Deserializer::from_reader(BufReader::new(input)).into_iter::<Json>() {
        let document = document.map_err(|error| match error.is_io() {
            true => ItemInputError::Io(error.into()),
            false => ItemInputError::Json { items: found.items.len(), error },
        })?;
        for json in unwrapped(document, key) {
            if found.items.len() == limit {
                found.more = true;
                return Ok(found);
            }
            let number = found.items.len() + 1;
            let item =
                item_from_json(&json).map_err(|error| ItemInputError::Item { number, why: without_values(error) })?;
            found.items.push(item);
        }
    }
    if found.items.is_empty() { Err(ItemInputError::Empty) } else { Ok(found) }
}

/// Returns the items of a document. Removes the envelope that the AWS CLI writes around items.
fn unwrapped(document: Json, key: &[String]) -> Vec<Json> {
    let Json::Object(mut object) = document else { return vec![document] };
    if key.iter().any(|name| object.contains_key(name)) {
        return vec![Json::Object(object)];
    }
    match (object.remove("Item"), object.remove("Items")) {
        (Some(item), None) => vec![item],
        (None, Some(Json::Array(items))) => items,
        (item, items) => {
            object.extend(item.map(|item| ("Item".to_owned(), item)));
            object.extend(items.map(|items| ("Items".to_owned(), items)));
            vec![Json::Object(object)]
        }
    }
}

/// Returns the text of an error without the number that it quotes.
fn without_values(error: JsonError) -> String {
    match error {
        JsonError::Number(_, why) => format!("a number is not one that DynamoDB can store: {why}"),
        JsonError::InvalidType(_) | JsonError::InvalidForm(..) | JsonError::InvalidSet(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, limit: usize) -> Result<InputItems, ItemInputError> {
        read_items(text.as_bytes(), &["pk".to_owned()], limit)
    }

    fn keys(text: &str) -> Vec<String> {
        let read = read(text, 10).unwrap();
        assert!(!read.more);
        read.items.iter().map(|item| item["pk"].to_json()["S"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn items_are_read_in_every_form_that_tools_write() {
        let one = r#"{"pk": {"S": "a"}, "x": {"N": "1"}}"#;
        assert_eq!(keys(one), ["a"]);
        assert_eq!(keys("{\n  \"pk\": {\n    \"S\": \"a\"\n  }\n}\n\n{\"pk\":{\"S\":\"b\"}}\n"), ["a", "b"]);
        assert_eq!(keys(&format!(r#"{{"Item": {one}, "ConsumedCapacity": {{"CapacityUnits": 0.5}}}}"#)), ["a"]);
        assert_eq!(keys(&format!(r#"{{"Items": [{one}, {{"pk": {{"S": "b"}}}}], "Count": 2}}{one}"#)), ["a", "b", "a"]);
        // An item can have an attribute with the name of an envelope.
        assert_eq!(keys(r#"{"pk": {"S": "a"}, "Item": {"M": {}}, "Items": {"L": []}}"#), ["a"]);
        assert_eq!(read(r#"{"Item": {"S": "x"}}"#, 1).unwrap_err().to_string().find("item 1"), Some(0));
    }

    #[test]
    fn at_most_the_limit_is_read() {
        let text = r#"{"pk":{"S":"a"}} {"pk":{"S":"b"}} {"pk":{"S":"c"}}"#;
        let first = read(text, 2).unwrap();
        assert_eq!((first.items.len(), first.more), (2, true));
        let all = read(text, 3).unwrap();
        assert_eq!((all.items.len(), all.more), (3, false));
    }

    #[test]
    fn errors_name_the_item_but_no_value() {
        for (text, part) in [
            ("", "no item"),
            (r#"{"Items": []}"#, "no item"),
            ("S3CRET", "after 0 items, it is not JSON"),
            (r#"{"pk":{"S":"a"}} {"pk":"#, "after 1 item, it is not JSON"),
            (r#"{"pk":{"S":"a"}} {"pk":{"N":"S3CRET"}}"#, "item 2 is not DynamoDB JSON"),
            (r#"{"pk":"S3CRET"}"#, "found a string"),
            (r#"{"pk":{"SS":["S3CRET","S3CRET"]}}"#, "SS is empty or repeats"),
            ("[]", "item 1"),
        ] {
            let error = read(text, 10).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("S3CRET"), "{error}");
        }
    }
}
