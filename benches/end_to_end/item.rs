//! Generates the items of the stub's table. Item number `n` is always the same, so the stub stores no items.

use backfill::internals::item::{item_bytes, item_from_json};

/// How the items look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    /// The number of padding bytes that each item has in addition to [`BYTES`].
    pub(crate) padding: usize,
    /// Whether the migration has already written the items. If so, each item has the new attribute.
    pub(crate) migrated: bool,
}

/// The size of an item without padding, in bytes, as DynamoDB counts it. [`check_size`] compares it with the real size.
pub(crate) const BYTES: usize = 300;

/// The number of digits in a key.
const DIGITS: usize = 10;

/// The text before the digits in a partition key.
pub(crate) const PREFIX: &str = "customer#";

impl Shape {
    /// The size of an item in bytes, as DynamoDB counts it.
    pub(crate) fn bytes(self) -> usize {
        BYTES + self.padding
    }

    /// Appends item `n` in DynamoDB's JSON form.
    pub(crate) fn write(self, out: &mut Vec<u8>, n: u64) {
        let digits = digits(n);
        write_key(out, &digits);
        out.extend_from_slice(br#","email":{"S":"c"#);
        out.extend_from_slice(&digits);
        out.extend_from_slice(br#"@example.com"}"#);
        if self.migrated {
            out.extend_from_slice(br#","contact_email":{"S":"c"#);
            out.extend_from_slice(&digits);
            out.extend_from_slice(br#"@example.com"}"#);
        }
        if self.padding > 0 {
            out.extend_from_slice(br#","note":{"S":""#);
            out.resize(out.len() + self.padding - "note".len(), b'n');
            out.extend_from_slice(br#""}"#);
        }
        out.extend_from_slice(REST);
    }

    /// Appends only the key of item `n`, as a scan with a projection returns it.
    pub(crate) fn write_key(out: &mut Vec<u8>, n: u64) {
        write_key(out, &digits(n));
        out.push(b'}');
    }
}

/// The attributes whose values are the same in all items.
const REST: &[u8] = br#","name":{"S":"Grace Hopper"},"since":{"N":"1752364800"},"orders":{"N":"17"},"active":{"BOOL":true},"tags":{"SS":["early","press"]},"address":{"M":{"street":{"S":"1 Harbour Road"},"city":{"S":"New York"},"code":{"S":"10001"}}},"remark":{"S":"Asked for a compiler, was told that computers only do arithmetic, and wrote one all the same. It worked for many decades since."}}"#;

fn write_key(out: &mut Vec<u8>, digits: &[u8; DIGITS]) {
    out.extend_from_slice(br#"{"pk":{"S":""#);
    out.extend_from_slice(PREFIX.as_bytes());
    out.extend_from_slice(digits);
    out.extend_from_slice(br#""},"sk":{"S":"profile"}"#);
}

fn digits(mut n: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += (n % 10) as u8;
        n /= 10;
    }
    digits
}

/// Panics if an item's real size differs from the size that the stub reports.
pub(crate) fn check_size(shape: Shape) {
    let mut json = Vec::new();
    Shape { migrated: false, ..shape }.write(&mut json, 1);
    let item = item_from_json(&serde_json::from_slice(&json).unwrap()).unwrap();
    assert_eq!(item_bytes(&item), shape.bytes());
}
