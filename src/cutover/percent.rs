//! Decides for which keys applications read the new attribute at a given `read_percent`. The rule is published
//! (docs/flag.md, docs/flag-vectors.json), because applications in any language must compute the same result. Therefore
//! the hashed bytes must never change.

use sha2::{Digest, Sha256};

use super::{Flag, ReadFrom};
use crate::item::{Num, Value};

/// Returns the bucket of a partition key, from 0 to 99; `None` for a value that cannot be a key.
///
/// The rule computes the SHA-256 hash of one byte for the type (`S`, `N` or `B`), followed by the value. The bucket is
/// the first eight bytes of the hash, read as a big-endian number, modulo 100. For a string, the hashed value is its
/// UTF-8 bytes. For a binary value, the hashed value is its bytes. For a number, the hashed value is the plain decimal
/// notation: no exponent, no redundant zeros at either end, and no sign except `-` (`1.50E1` is `15`, `-0.50` is
/// `-0.5`, `-0` is `0`).
///
/// The rule uses only the partition key. So applications read the same attribute from all items of an item collection.
/// This includes all items that one `Query` returns.
pub fn bucket(partition_key: &Value) -> Option<u8> {
    let mut hash = Sha256::new();
    hash.update(partition_key.type_name());
    match partition_key {
        Value::S(text) => hash.update(text),
        Value::B(bytes) => hash.update(bytes),
        Value::N(number) => hash.update(plain(number)),
        Value::Bool(_) | Value::Null | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => {
            return None;
        }
    }
    let first = hash.finalize().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    u8::try_from(first % 100).ok()
}

impl Flag {
    /// Returns whether readers use the new attribute of an item with this partition key.
    pub fn reads_new(&self, partition_key: &Value) -> bool {
        self.read == ReadFrom::New && bucket(partition_key).is_some_and(|bucket| bucket < self.read_percent)
    }
}

/// Returns the plain notation of a number. Equal numbers have the same plain notation.
fn plain(number: &Num) -> String {
    let canonical = number.canonical();
    let (sign, rest) = canonical.strip_prefix('-').map_or(("", canonical.as_str()), |rest| ("-", rest));
    // `digits` has no zeros at either end. The value is `digits` times ten to the power of `exponent`.
    let Some((digits, exponent)) = rest.split_once('E') else { return canonical };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(0);
    if exponent >= 0 {
        return format!("{sign}{digits}{}", "0".repeat(places));
    }
    let padded = format!("{}{digits}", "0".repeat((places + 1).saturating_sub(digits.len())));
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    /// A second implementation computed the vectors. It uses Python's `hashlib` and `decimal`.
    #[test]
    fn the_published_vectors_hold() {
        let vectors: Json = serde_json::from_str(include_str!("../../docs/flag-vectors.json")).unwrap();
        let cases = vectors["hash"].as_array().unwrap();
        assert!(cases.len() >= 30);
        for case in cases {
            let key = Value::from_json(&case["key"]).unwrap();
            assert_eq!(bucket(&key).map(u64::from), case["bucket"].as_u64(), "{case}");
        }
    }

    #[test]
    fn a_number_has_one_plain_notation() {
        for (text, expected) in [
            ("42", "42"),
            ("+42.0", "42"),
            ("1.50E1", "15"),
            ("-0.50", "-0.5"),
            ("-0", "0"),
            ("0.000", "0"),
            ("1E3", "1000"),
            ("1e-3", "0.001"),
            ("-12345e-3", "-12.345"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ] {
            assert_eq!(plain(&Num::parse(text).unwrap()), expected, "{text}");
        }
        assert_eq!(plain(&Num::parse("1E125").unwrap()).len(), 126);
        assert_eq!(plain(&Num::parse("1E-130").unwrap()).len(), 132);
    }

    #[test]
    fn a_value_that_is_no_key_has_no_bucket() {
        assert_eq!(bucket(&Value::Null), None);
        assert_ne!(bucket(&Value::S("1".into())), bucket(&Value::N(Num::parse("1").unwrap())));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn equal_numbers_share_a_bucket(mantissa in any::<i64>(), zeros in 0_usize..10, scale in 0_i64..40) {
            let number = |text: String| Num::parse(&text).unwrap();
            let one = number(format!("{mantissa}e-{scale}"));
            let other = number(format!("{mantissa}{}e-{}", "0".repeat(zeros), scale + zeros as i64));
            prop_assert_eq!(plain(&one), plain(&other));
            prop_assert_eq!(&number(plain(&one)), &one);
            prop_assert_eq!(bucket(&Value::N(one)), bucket(&Value::N(other)));
        }

        /// For a large number of keys, applications read the new attribute for about the configured percentage. A key
        /// that is included at a lower percentage stays included at every higher percentage.
        #[test]
        fn the_share_of_new_readers_matches_the_percentage(percent in 1_u8..=100, salt in any::<u32>()) {
            let flag = |read_percent| Flag {
                write: crate::cutover::WriteTo::Both, read: ReadFrom::New, read_percent,
                ..Flag::new(60, jiff::Timestamp::UNIX_EPOCH)
            };
            let keys: Vec<Value> = (0..2000).map(|n| Value::S(format!("CUSTOMER#{salt}#{n}"))).collect();
            let new = keys.iter().filter(|key| flag(percent).reads_new(key)).count();
            // The tolerance is slightly more than five standard deviations.
            prop_assert!(new.abs_diff(usize::from(percent) * 20) <= 120, "{} of 2000 at {} %", new, percent);
            prop_assert!(keys.iter().all(|key| !flag(percent - 1).reads_new(key) || flag(percent).reads_new(key)));
            prop_assert!(percent < 100 || new == 2000);
        }
    }
}
