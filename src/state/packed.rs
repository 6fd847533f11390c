//! Converts values to the form in which the journal stores them, and verifies that they can be read back.
//!
//! A rollback must be able to read the stored values back. So before a write destroys a value, the value is packed and
//! unpacked, and the result is compared with the value. A rollback unpacks with the same code.

use crate::change::{Decision, GuardedWrite, PreImage, PriorValue};
use crate::item::{MAX_ITEM_BYTES, MAX_NUMBER_TEXT, Path, Value};

/// A value whose text is shorter than this is stored uncompressed, because a zstd frame alone takes about twelve bytes.
const MIN_COMPRESSED_BYTES: usize = 64;

/// zstd's default compression level, which is fast. For JSON of the size of an item, slower levels save only a few
/// percent more.
const COMPRESSION_LEVEL: i32 = 3;

/// The maximum number of characters of DynamoDB JSON for each byte of an item. The worst case is a member of a number
/// set: even if its size is one byte, its text is a number, two quotes and a comma. A property test checks every type.
const TEXT_PER_BYTE: usize = MAX_NUMBER_TEXT + 3;

/// The number of additional characters that a value takes, even if the value has zero bytes, as in `{"SS":[""]}`.
const TEXT_OVERHEAD: usize = 16;

/// The maximum length of a value's text. This limit bounds the memory that is allocated when a damaged frame is
/// unpacked.
const MAX_TEXT: usize = TEXT_PER_BYTE * MAX_ITEM_BYTES + TEXT_OVERHEAD;

/// The first byte of a stored value identifies the value's format.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Returns `Rejected` instead of the decision if a write would destroy a value that the journal cannot store. Returns
/// any other decision unchanged.
pub fn reject_if_unreadable(decision: Decision) -> Decision {
    match decision {
        Decision::Write(write) => match first_unreadable(&write) {
            Some(path) => Decision::Rejected(format!(
                "this write destroys the value of {path}, but the copy for the state file does not read back as the same \
                 value; the item was not written"
            )),
            None => Decision::Write(write),
        },
        Decision::NothingToDo
        | Decision::AlreadyApplied
        | Decision::Skipped(_)
        | Decision::Diverged(_)
        | Decision::Rejected(_)
        | Decision::NotComputable(_)
        | Decision::NeedsAnswers(..)
        | Decision::Refused(..) => decision,
    }
}

/// Returns the first of a write's paths whose prior value cannot be read back from its stored form.
fn first_unreadable(write: &GuardedWrite) -> Option<&Path> {
    write.pre_images.iter().find(|pre| !reads_back(pre)).map(|pre| &pre.path)
}

fn reads_back(pre: &PreImage) -> bool {
    let reads_back = match &pre.prior {
        PriorValue::Value(value) => value_reads_back(value),
        PriorValue::Item(item) => value_reads_back(&Value::M(item.clone())),
        PriorValue::Nothing | PriorValue::SameAsSource | PriorValue::Mark(_) | PriorValue::Leftover(_) => true,
    };
    reads_back && pre.path.to_string().parse() == Ok(pre.path.clone())
}

fn value_reads_back(value: &Value) -> bool {
    // Also compare the texts, because two numbers with different spellings count as equal values.
    unpack(&pack(value)).is_some_and(|back| back == *value && text(&back) == text(value))
}

fn text(value: &Value) -> String {
    value.to_json().to_string()
}

/// Converts a value to its stored form: DynamoDB JSON, compressed if that is smaller.
pub(super) fn pack(value: &Value) -> Vec<u8> {
    let text = text(value);
    if text.len() >= MIN_COMPRESSED_BYTES
        && let Ok(compressed) = zstd::bulk::compress(text.as_bytes(), COMPRESSION_LEVEL)
        && compressed.len() < text.len()
    {
        return [&[ZSTD][..], &compressed].concat();
    }
    [&[PLAIN][..], text.as_bytes()].concat()
}

/// Converts the stored form to a value. Returns `None` if [`pack`] cannot have produced these bytes.
pub(super) fn unpack(stored: &[u8]) -> Option<Value> {
    let (encoding, rest) = stored.split_first()?;
    let text = match *encoding {
        PLAIN => rest.to_vec(),
        // The frame contains the length of its content. A frame that contains a wrong length is refused.
        ZSTD => zstd::bulk::Decompressor::upper_bound(rest)
            .filter(|length| *length <= MAX_TEXT)
            .and_then(|length| zstd::bulk::decompress(rest, length).ok())?,
        _ => return None,
    };
    Value::from_json(&serde_json::from_slice(&text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::item::{Item, ItemKey, Num, attribute_bytes};

    #[test]
    fn values_read_back_and_large_ones_are_compressed() {
        let short = Value::S("x".repeat(40));
        let long = Value::S("some text that goes on ".repeat(100));
        let noise = Value::B((0..200_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect());
        for value in [&short, &long, &noise, &Value::Null, &Value::M(Item::new())] {
            let stored = pack(value);
            assert_eq!(unpack(&stored).as_ref(), Some(value));
            assert!(stored.len() <= 1 + text(value).len());
        }
        assert_eq!((pack(&short)[0], pack(&long)[0]), (PLAIN, ZSTD));
        assert!(pack(&long).len() < 100);
        // Unpacking damaged bytes fails, and never returns a wrong value.
        for damaged in [&[][..], &[2, 1], &[ZSTD], &[ZSTD, 0x28, 0xB5, 0x2F, 0xFD], &[PLAIN, b'{']] {
            assert_eq!(unpack(damaged), None);
        }
        let mut cut = pack(&long);
        cut.truncate(cut.len() - 1);
        assert_eq!(unpack(&cut), None);
    }

    fn destructive_write(value: Value) -> Decision {
        let path = Path::attribute("old");
        Decision::Write(GuardedWrite {
            key: ItemKey::new([("pk".to_owned(), Value::S("a".to_owned()))].into()),
            actions: Vec::new(),
            conditions: Vec::new(),
            equal_values: Vec::new(),
            pre_images: vec![PreImage::with_value(&path, &value)],
            bytes_before: 0,
            bytes_after: 0,
            cost: crate::change::WriteCost::default(),
            cost_elsewhere: None,
            next: None,
        })
    }

    /// The program does not validate the values that an engine returns, so it may receive a value that cannot be
    /// stored. A write must not destroy such a value.
    #[test]
    fn a_value_that_would_not_read_back_is_not_destroyed() {
        let wire = |text: &str| Value::N(Num::from_wire(text.to_owned()));
        let deep = |levels: usize| (0..levels).fold(Value::Null, |inner, _| Value::L(vec![inner]));
        let readable = [Value::Null, wire("1.10"), Value::L(vec![Value::S(String::new()); 300_000]), deep(32)];
        for value in readable {
            assert!(matches!(reject_if_unreadable(destructive_write(value)), Decision::Write(_)));
        }
        let long = "1".repeat(MAX_NUMBER_TEXT + 1);
        for value in [wire("1e126"), wire(&long), wire("many"), deep(200), Value::Ss(Vec::new())] {
            let Decision::Rejected(why) = reject_if_unreadable(destructive_write(value)) else {
                panic!("the write was not rejected")
            };
            assert!(why.contains("old") && !why.contains("many"), "{why}");
        }
    }

    fn number() -> impl Strategy<Value = Num> {
        let parts = (any::<bool>(), "[1-9][0-9]{0,37}", 0_usize..=MAX_NUMBER_TEXT);
        parts.prop_map(|(negative, digits, zeros)| {
            let sign = if negative { "-" } else { "" };
            // Generates a number in a spelling that an engine may return: plain, with extra zeros, or with an exponent.
            let spellings = [
                format!("{sign}{digits}"),
                format!("{sign}0.{}{digits}", "0".repeat(zeros.min(90))),
                format!("{sign}{digits}{}", "0".repeat(zeros.min(80))),
                format!("{sign}{}{digits}", "0".repeat(zeros)),
                format!("{sign}{digits}E-{}", zeros.min(90)),
            ];
            let fits = spellings.into_iter().rev().filter_map(|text| Num::parse(&text).ok());
            fits.max_by_key(|number| number.as_str().len()).unwrap_or_else(|| Num::from_wire("0".to_owned()))
        })
    }

    /// Generates nested values of all types. These values have many short members, so their text form is much longer
    /// than their size in bytes.
    fn value() -> impl Strategy<Value = Value> {
        let string = || proptest::collection::vec(any::<char>(), 0..4).prop_map(String::from_iter);
        let control =
            || proptest::collection::vec(0_u8..32, 0..3).prop_map(|c| c.into_iter().map(char::from).collect());
        let bytes = || proptest::collection::vec(any::<u8>(), 0..4);
        let one_of = |set: std::collections::BTreeSet<String>| Value::Ss(set.into_iter().collect());
        let leaf = prop_oneof![
            string().prop_map(Value::S),
            control().prop_map(Value::S),
            number().prop_map(Value::N),
            bytes().prop_map(Value::B),
            any::<bool>().prop_map(Value::Bool),
            Just(Value::Null),
            proptest::collection::btree_set(string(), 1..4).prop_map(one_of),
            proptest::collection::vec(number(), 1..4).prop_map(|numbers| {
                let by_value: std::collections::BTreeMap<_, _> =
                    numbers.into_iter().map(|n| (n.canonical(), n)).collect();
                Value::Ns(by_value.into_values().collect())
            }),
            proptest::collection::btree_set(bytes(), 1..4).prop_map(|set| Value::Bs(set.into_iter().collect())),
        ];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::L),
                proptest::collection::btree_map(string(), inner, 0..6).prop_map(Value::M),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        /// Values of all types and shapes are read back exactly. The text of a value stays within the bound for the
        /// value's size in bytes. The text of a list with many copies of the value stays within its bound, too.
        #[test]
        fn every_shape_reads_back_within_the_bound(value in value(), copies in 1_usize..200) {
            for value in [value.clone(), Value::L(vec![value; copies])] {
                let bytes = attribute_bytes("", &value);
                let text = text(&value);
                prop_assert!(text.len() <= TEXT_PER_BYTE * bytes + TEXT_OVERHEAD, "{} characters of {bytes} bytes", text.len());
                if bytes <= MAX_ITEM_BYTES {
                    prop_assert!(reads_back(&PreImage::with_value(&Path::attribute("a"), &value)));
                }
            }
        }
    }
}
