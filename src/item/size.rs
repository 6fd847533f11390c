//! The size of an item in bytes, and the capacity units that a read or write of the item consumes.
//!
//! The rules are from the developer guide: "Capacity unit consumption" (bytes per type) and "Provisioned throughput"
//! (units). The size of a set is the sum of its members' sizes. Third-party recordings of AWS responses show that a set
//! has no overhead.

use super::{Item, Value};

/// The maximum size in bytes of an item that DynamoDB stores, including attribute names (400 KB).
pub const MAX_ITEM_BYTES: usize = 400 * 1024;

/// A number of capacity units. The number can be fractional, because an eventually consistent read of 4 KB costs half a
/// unit.
pub type Units = f64;

/// Returns the size of a value in bytes, without the name of its attribute.
pub fn value_bytes(value: &Value) -> usize {
    match value {
        Value::S(s) => s.len(),
        Value::N(n) => n.bytes(),
        Value::B(b) => b.len(),
        Value::Bool(_) | Value::Null => 1,
        Value::Ss(set) => set.iter().map(String::len).sum(),
        Value::Ns(set) => set.iter().map(super::Num::bytes).sum(),
        Value::Bs(set) => set.iter().map(Vec::len).sum(),
        Value::L(list) => 3 + list.iter().map(|v| 1 + value_bytes(v)).sum::<usize>(),
        Value::M(map) => 3 + map.iter().map(|(k, v)| 1 + k.len() + value_bytes(v)).sum::<usize>(),
    }
}

/// Returns the size of a whole item in bytes: names and values.
pub fn item_bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| attribute_bytes(name, value)).sum()
}

/// Returns the size of one top-level attribute in bytes, including its name.
pub fn attribute_bytes(name: &str, value: &Value) -> usize {
    name.len() + value_bytes(value)
}

/// Returns the write capacity units of one standard write: one unit per KB of the item's size, rounded up, and at least
/// one unit. The size is the item's size before or after the write, whichever is larger.
pub fn write_units(before: usize, after: usize) -> Units {
    before.max(after).div_ceil(1024).max(1) as Units
}

/// Returns the read capacity units for this number of bytes. The size is rounded up to a multiple of 4 KB. A strongly
/// consistent read costs one unit for each 4 KB. Any other read costs half as much.
pub fn read_units(bytes: usize, consistent: bool) -> Units {
    let units = bytes.div_ceil(4096).max(1) as Units;
    if consistent { units } else { units / 2.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::item::item_from_json;

    #[test]
    fn bytes_and_units_follow_the_guide() {
        let item = item_from_json(&json!({
            "pk": {"S": "ab"}, "t": {"BOOL": true}, "l": {"L": [{"S": "xy"}, {"NULL": true}]}, "m": {"M": {"k": {"N": "12"}}}
        }))
        .unwrap();
        // 2+2, 1+1, 1+(3+1+2+1+1), 1+(3+1+1+2)
        assert_eq!(item_bytes(&item), 4 + 2 + 9 + 8);
        assert_eq!(write_units(1024, 1025), 2.0);
        assert_eq!(write_units(0, 0), 1.0);
        assert_eq!(read_units(4097, false), 1.0);
        assert_eq!(read_units(4097, true), 2.0);
    }
}
