//! DynamoDB items: attribute values, numbers with up to 38 digits, document paths, keys, and item sizes, from which
//! capacity units are calculated. This module is pure: it does not wait, read a clock or do I/O.

mod client_encryption;
mod expiry;
mod index;
mod key;
mod key_text;
mod not_computable;
mod num;
mod path;
mod position;
mod size;
mod value;

pub use client_encryption::encryption_marker;
pub use expiry::{Expiry, ExpiryCounts};
pub use index::{IndexSchema, Projection};
pub use key::{ItemKey, KeyAttribute, KeySchema, PartitionHash};
pub use key_text::KeyTextError;
pub use not_computable::NotComputable;
pub(crate) use num::MAX_NUMBER_TEXT;
pub use num::{Num, NumError};
pub use path::{MAX_LEVELS, Path, PathError, PathStep};
pub use position::Position;
pub use size::{MAX_ITEM_BYTES, Units, attribute_bytes, item_bytes, read_units, value_bytes, write_units};
pub use value::{Item, JsonError, Value, item_from_json, item_to_json};
