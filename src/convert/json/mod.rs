//! JSON texts and documents. Strings, numbers, booleans, nulls, arrays and objects correspond to S, N, BOOL, NULL, L
//! and M. Numbers keep every digit: they never pass through a float.

mod read;
mod write;

use self::read::Document;
use crate::item::{NotComputable, Value};

pub(super) use write::write;

/// Converts the text of a JSON object to a map.
pub(super) fn read_map(text: &str) -> Result<Value, NotComputable> {
    match read::document(text)? {
        Document::Object(map) => Ok(Value::M(map)),
        Document::Array(_) => Err(NotComputable::new("the text is a JSON array, but M needs an object")),
        Document::Scalar => Err(NotComputable::new("the text is JSON, but M needs an object")),
    }
}

/// Converts the text of a JSON array to a list.
pub(super) fn read_list(text: &str) -> Result<Value, NotComputable> {
    match read::document(text)? {
        Document::Array(list) => Ok(Value::L(list)),
        Document::Object(_) => Err(NotComputable::new("the text is a JSON object, but L needs an array")),
        Document::Scalar => Err(NotComputable::new("the text is JSON, but L needs an array")),
    }
}

/// Returns whether a text is a JSON object or array that can be converted.
pub(super) fn is_document(text: &str) -> bool {
    match read::document(text) {
        Ok(Document::Object(_) | Document::Array(_)) => true,
        Ok(Document::Scalar) | Err(_) => false,
    }
}
