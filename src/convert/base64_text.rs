//! Converts between binary values and base64 text. Accepts only the standard alphabet with padding (RFC 4648, section
//! 4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::item::{NotComputable, Value};

/// Converts base64 text to a binary value.
pub(super) fn read(text: &str) -> Result<Value, NotComputable> {
    let wrong = "the text is not base64 with the standard alphabet and padding";
    STANDARD.decode(text).map(Value::B).map_err(|_| NotComputable::new(wrong))
}

/// Converts a binary value to base64 text. Returns `None` for other types.
pub(super) fn write(value: &Value) -> Option<Result<Value, NotComputable>> {
    let Value::B(bytes) = value else { return None };
    Some(Ok(Value::S(STANDARD.encode(bytes))))
}

/// Returns whether a text is base64.
pub(super) fn is_base64(text: &str) -> bool {
    STANDARD.decode(text).is_ok()
}
