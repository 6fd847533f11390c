use std::collections::HashSet;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::item::{KeyAttribute, Value};

fn schema(attributes: &[(&str, &str)]) -> KeySchema {
    let mut attributes =
        attributes.iter().map(|(name, kind)| KeyAttribute { name: (*name).into(), kind: (*kind).into() });
    KeySchema { partition: attributes.next().unwrap(), sort: attributes.next() }
}

/// A file in a folder of its own.
struct Written {
    folder: TempDir,
    format: KeysFormat,
}

impl Written {
    fn new(format: KeysFormat, text: impl AsRef<[u8]>) -> Written {
        let written = Written { folder: TempDir::new().unwrap(), format };
        std::fs::write(written.path(), text).unwrap();
        written
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn open(&self) -> Result<KeysFile, KeysFileError> {
        KeysFile::open(&self.path(), self.format)
    }

    fn prepare(&self, schema: &KeySchema) -> Result<PreparedKeys, KeysFileError> {
        self.open()?.prepare(schema)
    }
}

/// Reads all ranges of a file, page by page.
fn read_all(keys: &PreparedKeys, parts: u32, limit: usize) -> Vec<ItemKey> {
    let mut all = Vec::new();
    for part in 0..parts {
        let mut start = None;
        loop {
            let page = keys.read(part, parts, start, limit).unwrap();
            assert!(page.keys.len() <= limit);
            all.extend(page.keys);
            start = page.next;
            if start.is_none() {
                break;
            }
        }
    }
    all
}

fn texts(keys: &[ItemKey]) -> Vec<String> {
    keys.iter().map(ItemKey::to_text).collect()
}

fn error_of(format: KeysFormat, text: &str, schema: &KeySchema) -> String {
    Written::new(format, text).prepare(schema).unwrap_err().to_string()
}

#[test]
fn a_key_may_be_dynamodb_json_or_plain_json() {
    let text = "\u{feff}{\"pk\":{\"S\":\"a\"},\"n\":{\"N\":\"1\"}}\r\n\n  \n{\"n\":2,\"pk\":\"b\"}\n{\"pk\":\"c\",\"n\":\"3.5\"}";
    let written = Written::new(KeysFormat::Ndjson, text);
    let keys = written.prepare(&schema(&[("pk", "S"), ("n", "N")])).unwrap();
    assert_eq!(keys.keys(), 3);
    let expected = [
        r#"{"n":{"N":"1"},"pk":{"S":"a"}}"#,
        r#"{"n":{"N":"2"},"pk":{"S":"b"}}"#,
        r#"{"n":{"N":"3.5"},"pk":{"S":"c"}}"#,
    ];
    assert_eq!(texts(&read_all(&keys, 1, 2)), expected);
}

#[test]
fn a_csv_file_names_its_columns_and_may_quote_values() {
    let written = Written::new(KeysFormat::Csv, "sk,\"pk\"\r\n\"x, \"\"y\"\"\",1\nz,2.50\n\nz,0002.5\n");
    let keys = written.prepare(&schema(&[("pk", "N"), ("sk", "S")])).unwrap();
    assert_eq!((keys.keys(), keys.repeated()), (2, 1), "2.50 and 0002.5 are the same number");
    assert_eq!(
        texts(&read_all(&keys, 3, 1)),
        [r#"{"pk":{"N":"1"},"sk":{"S":"x, \"y\""}}"#, r#"{"pk":{"N":"2.50"},"sk":{"S":"z"}}"#]
    );
    let bytes = Written::new(KeysFormat::Csv, "id\nAP8=\n").prepare(&schema(&[("id", "B")])).unwrap();
    assert_eq!(read_all(&bytes, 1, 9)[0].attributes()["id"], Value::B(vec![0, 255]));
}

#[test]
fn wrong_lines_are_listed_with_numbers_and_without_values() {
    let pk = schema(&[("pk", "S")]);
    let n = schema(&[("n", "N")]);
    for (format, schema, text, message) in [
        (KeysFormat::Ndjson, &pk, "{\"pk\":\"a\"}\nsecret\n{\"pk\":[\"secret\"]}\n", "line 2: it is not a JSON object"),
        (KeysFormat::Ndjson, &pk, "{\"pk\":\"a\"}\n{\"pk\":true}\n", "line 2: a key value must be a string, a number"),
        (KeysFormat::Ndjson, &pk, "{\"id\":\"secret\"}", "line 1: it must contain exactly the key attributes `pk`"),
        (
            KeysFormat::Ndjson,
            &pk,
            "{\"pk\":\"a\",\"b\":\"c\",\"d\":1}",
            "line 1: a key must have one or two attributes",
        ),
        (KeysFormat::Ndjson, &pk, "{\"pk\":5}", "line 1: `pk` must be a string"),
        (KeysFormat::Ndjson, &pk, "{\"pk\":\"\"}", "line 1: `pk` must be a string that is not empty"),
        (KeysFormat::Ndjson, &n, "{\"n\":1.5}", "line 1: `n` must be a number. Write a number with decimals in quotes"),
        (KeysFormat::Ndjson, &n, "[1]\n[2]\n[3]\n[4]\n[5]\n[6]\n[7]", "line 5: it is not a JSON object on one line"),
        (KeysFormat::Csv, &pk, "pk\n\"secret\nx\"\n", "line 2: a quote is not closed"),
        (KeysFormat::Csv, &pk, "pk\n\"secret\" x\n", "line 2: there is text after a closing quote"),
        (KeysFormat::Csv, &pk, "pk\nsec\"ret\n", "line 2: a value with a quote must be in quotes"),
        (
            KeysFormat::Csv,
            &pk,
            "pk\na,secret\n",
            "line 2: it has 2 values, but the number of names in the first line is 1",
        ),
        (KeysFormat::Csv, &pk, "pk\n\"\"\n", "line 2: a key value cannot be empty"),
        (KeysFormat::Csv, &n, "n\n1\nsecret\n", "line 3: `n` must be a number"),
        (KeysFormat::Csv, &pk, "secret\na\n", "line 1 must have exactly the names of the key attributes: `pk`"),
        (KeysFormat::Csv, &pk, "pk,pk\na,b\n", "line 1: the first line must have the names of the key attributes"),
        (KeysFormat::Csv, &pk, "pk\n", "it has no keys"),
        (KeysFormat::Ndjson, &pk, "\n\n", "it has no keys"),
    ] {
        let found = error_of(format, text, schema);
        assert!(found.contains(message), "{text:?}: {found}");
        assert!(!found.contains("secret"), "{found}");
    }
    assert!(error_of(KeysFormat::Ndjson, "[1]\n[2]\n[3]\n[4]\n[5]\n[6]\n[7]", &pk).ends_with("; and 2 more lines"));
    let long = error_of(KeysFormat::Csv, &format!("pk\n{}\nb\n", "x".repeat(100_000)), &pk);
    assert_eq!(long, "line 2: it is longer than 32768 bytes");
    let large = error_of(KeysFormat::Csv, &format!("pk\n{}\n", "x".repeat(2_049)), &pk);
    assert_eq!(large, "line 2: `pk` is longer than 2048 bytes");
    let text = Written::new(KeysFormat::Csv, b"pk\n\xff\n").open().unwrap_err().to_string();
    assert_eq!(text, "line 2: it is not UTF-8 text");
}

#[test]
fn a_changed_file_is_refused() {
    let pk = schema(&[("pk", "S")]);
    let written = Written::new(KeysFormat::Csv, "pk\na\nb\n");
    let file = written.open().unwrap();
    let keys = file.prepare(&pk).unwrap();
    assert!(file.contains(&read_all(&keys, 1, 9)[1], &pk).unwrap());
    std::fs::write(written.path(), "pk\na\nb\nc\n").unwrap();
    assert!(matches!(keys.read(0, 1, None, 9), Err(KeysFileError::Changed)));
    assert!(matches!(file.prepare(&pk), Err(KeysFileError::Changed)));
    // After the creation of a new file with the same name, the old file stays open and unchanged.
    let other = Written::new(KeysFormat::Csv, "pk\na\nb\n");
    let keys = other.prepare(&pk).unwrap();
    std::fs::remove_file(other.path()).unwrap();
    std::fs::write(other.path(), "pk\nz\n").unwrap();
    assert_eq!(read_all(&keys, 1, 9).len(), 2);
}

#[test]
fn the_hash_is_that_of_the_bytes() {
    let file = Written::new(KeysFormat::Csv, "pk\na\n").open().unwrap();
    let expected: String = Sha256::digest(b"pk\na\n").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((file.sha256(), file.keys()), (expected.as_str(), 1));
}

proptest! {
    /// Any division of a file into ranges and pages yields each different key exactly once, in the order of the file.
    #[test]
    fn ranges_cover_the_file_exactly_once(
        values in prop::collection::vec((0_u32..40, 0_usize..30, any::<bool>(), any::<bool>()), 1..60),
        csv in any::<bool>(),
        ends in any::<bool>(),
        parts in 1_u32..50,
        limit in 1_usize..20,
        max_hashes in 1_u64..40,
    ) {
        let mut text = if csv { "pk\n".to_owned() } else { String::new() };
        let mut seen = HashSet::new();
        let mut expected = Vec::new();
        for (number, padding, blank, crlf) in &values {
            // The same number with more zeros is the same key.
            let spelled = format!("{number}.{}", "0".repeat(*padding + 1));
            text += &if csv { spelled.clone() } else { format!("{{\"pk\": \"{spelled}\"}}") };
            text += if *crlf { "\r\n" } else { "\n" };
            text += if *blank { "\n" } else { "" };
            if seen.insert(*number) {
                expected.push(*number);
            }
        }
        if ends {
            text.truncate(text.trim_end().len());
        }
        let format = if csv { KeysFormat::Csv } else { KeysFormat::Ndjson };
        let written = Written::new(format, &text);
        let schema = schema(&[("pk", "N")]);
        let keys = written.open().unwrap().prepare_within(&schema, max_hashes).unwrap();
        let read = read_all(&keys, parts, limit);
        let numbers: Vec<u32> = read.iter().map(|key| match &key.attributes()["pk"] {
            Value::N(number) => number.as_str().split('.').next().unwrap().parse().unwrap(),
            other => panic!("{other:?}"),
        }).collect();
        prop_assert_eq!(&numbers, &expected);
        prop_assert_eq!(keys.keys(), expected.len() as u64);
        prop_assert_eq!(keys.repeated(), (values.len() - expected.len()) as u64);
    }
}
