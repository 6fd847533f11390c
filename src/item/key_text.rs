//! Reads an item key that an operator typed or copied from a list.

use serde_json::{Map, Value as Json, json};

use super::{Item, ItemKey, KeyAttribute, KeySchema, Num, Value};

/// The reason why a text is not a key of the table. The text of the error contains no key values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// The text has none of the forms of a key.
    #[error("it is neither JSON nor a key in the form in which `failures list` prints it")]
    NotAKey,
    /// The JSON does not contain exactly the key attributes.
    #[error("it must contain exactly the key attributes {0}")]
    OtherAttributes(String),
    /// A value has a different type than the key attribute, or no key can have this value.
    #[error("`{name}` must be {expected}")]
    Value {
        /// The name of the key attribute.
        name: String,
        /// What the value must be.
        expected: &'static str,
    },
    /// Two different keys have this printed form.
    #[error("it could be two different keys, so write it as JSON")]
    Ambiguous,
}

impl KeySchema {
    /// Reads a key from text. The text is DynamoDB JSON (`{"pk": {"S": "a"}}`), JSON whose values get the types of the
    /// key attributes (`{"pk": "a"}`), or the printed form of a key (`pk=a sk=b`, as [`ItemKey`] displays it).
    pub fn parse_key(&self, text: &str) -> Result<ItemKey, KeyTextError> {
        let attributes = match serde_json::from_str(text) {
            Ok(Json::Object(object)) => self.key_from_json(&object),
            Ok(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_)) | Err(_) => {
                self.key_from_printed(text)
            }
        };
        attributes.map(ItemKey::new)
    }

    /// Returns a text that [`KeySchema::parse_key`] accepts, for an operator who typed `text` instead of a key. If the key
    /// has only one attribute and `text` can be its value, returns that key. Otherwise, the values are placeholders.
    pub fn suggested_key(&self, text: &str) -> String {
        let name = self.partition.name.escape_debug();
        let whole = format!("{name}={text}");
        if self.sort.is_none() && self.parse_key(&whole).is_ok() {
            return whole;
        }
        let with_value = |key: &KeyAttribute| {
            let value = match key.kind.as_str() {
                "N" => "NUMBER",
                "B" => "BASE64",
                _ => "TEXT",
            };
            format!("{}={value}", key.name.escape_debug())
        };
        self.attributes().map(with_value).collect::<Vec<_>>().join(" ")
    }

    fn attributes(&self) -> impl Iterator<Item = &KeyAttribute> {
        std::iter::once(&self.partition).chain(&self.sort)
    }

    /// Reads a key from JSON: DynamoDB JSON, or values that get the types of the key attributes.
    pub(crate) fn key_from_json(&self, object: &Map<String, Json>) -> Result<Item, KeyTextError> {
        if object.len() != self.names().count() || self.names().any(|name| !object.contains_key(name)) {
            let names: Vec<String> = self.names().map(|name| format!("`{name}`")).collect();
            return Err(KeyTextError::OtherAttributes(names.join(" and ")));
        }
        self.attributes().map(|key| Ok((key.name.clone(), value_from_json(key, &object[&key.name])?))).collect()
    }

    /// Reads `pk=a sk=b`. The attributes can be in either order.
    fn key_from_printed(&self, text: &str) -> Result<Item, KeyTextError> {
        let Some(sort) = &self.sort else {
            return reading(&[(&self.partition, text)]).ok_or(KeyTextError::NotAKey);
        };
        let mut readings: Vec<Item> = Vec::new();
        for (first, second) in [(&self.partition, sort), (sort, &self.partition)] {
            let separator = format!(" {}=", second.name.escape_debug());
            let read = |(at, _)| reading(&[(first, &text[..at]), (second, &text[at + 1..])]);
            readings.extend(text.match_indices(&separator).filter_map(read));
        }
        match readings.len() {
            0 => Err(KeyTextError::NotAKey),
            1 => Ok(readings.remove(0)),
            _ => Err(KeyTextError::Ambiguous),
        }
    }
}

/// Reads each part as `name=value`. Returns `None` if a part has a different form.
fn reading(parts: &[(&KeyAttribute, &str)]) -> Option<Item> {
    let read = |(key, part): &(&KeyAttribute, &str)| {
        let prefix = format!("{}=", key.name.escape_debug());
        Some((key.name.clone(), value_from_printed(key, part.strip_prefix(&prefix)?)?))
    };
    parts.iter().map(read).collect()
}

fn value_from_printed(key: &KeyAttribute, text: &str) -> Option<Value> {
    match key.kind.as_str() {
        "S" => unescaped(text).filter(|text| !text.is_empty()).map(Value::S),
        "N" => Num::parse(text).ok().map(Value::N),
        _ => value_from_json(key, &serde_json::from_str(text).ok()?).ok(),
    }
}

/// Reads a value as DynamoDB JSON, or as JSON that gets the type of the key attribute.
fn value_from_json(key: &KeyAttribute, json: &Json) -> Result<Value, KeyTextError> {
    let kind = key.kind.as_str();
    let value = match json {
        Json::Object(_) => Value::from_json(json).ok(),
        Json::String(text) => Value::from_json(&json!({ kind: text })).ok(),
        // The JSON parser stores a number with decimals as a float, which may have lost digits.
        Json::Number(number) if kind == "N" && (number.is_i64() || number.is_u64()) => {
            Num::parse(&number.to_string()).ok().map(Value::N)
        }
        Json::Number(_) | Json::Null | Json::Bool(_) | Json::Array(_) => None,
    };
    let is_empty = match &value {
        Some(Value::S(text)) => text.is_empty(),
        Some(Value::B(bytes)) => bytes.is_empty(),
        Some(
            Value::N(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Ss(_)
            | Value::Ns(_)
            | Value::Bs(_)
            | Value::L(_)
            | Value::M(_),
        )
        | None => false,
    };
    value.filter(|value| value.type_name() == kind && !is_empty).ok_or_else(|| KeyTextError::Value {
        name: key.name.clone(),
        expected: match kind {
            "S" => "a string that is not empty",
            "N" => "a number. Write a number with decimals in quotes, so that it keeps every digit",
            _ => "bytes in base64 that are not empty",
        },
    })
}

/// Reverses `escape_debug`. Returns `None` if an escape is not valid.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (c, after) = unescaped_char(&rest[at + 1..])?;
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// Reads the character after a backslash. Also returns the text after it.
fn unescaped_char(text: &str) -> Option<(char, &str)> {
    if let Some(hex) = text.strip_prefix("u{") {
        let (digits, after) = hex.split_once('}')?;
        return Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, after));
    }
    let mut characters = text.chars();
    let c = match characters.next()? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        c @ ('\\' | '\'' | '"') => c,
        _ => return None,
    };
    Some((c, characters.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(name: &str, kind: &str) -> KeyAttribute {
        KeyAttribute { name: name.into(), kind: kind.into() }
    }

    fn schema(partition: (&str, &str), sort: Option<(&str, &str)>) -> KeySchema {
        let attribute = |(name, kind)| attribute(name, kind);
        KeySchema { partition: attribute(partition), sort: sort.map(attribute) }
    }

    #[test]
    fn a_key_may_be_typed_in_three_forms() {
        let schema = schema(("pk", "S"), Some(("n", "N")));
        let key = ItemKey::from_text(r#"{"pk":{"S":"CUSTOMER#1"},"n":{"N":"7"}}"#).unwrap();
        for text in [
            r#"{"pk": {"S": "CUSTOMER#1"}, "n": {"N": "7"}}"#,
            r#"{"pk": "CUSTOMER#1", "n": 7}"#,
            r#" {"n": "7.0", "pk": "CUSTOMER#1"} "#,
            "n=7 pk=CUSTOMER#1",
            "pk=CUSTOMER#1 n=7",
        ] {
            assert_eq!(schema.parse_key(text), Ok(key.clone()), "{text}");
        }
        assert_eq!(key.to_string(), "n=7 pk=CUSTOMER#1");
    }

    #[test]
    fn a_text_that_is_no_key_says_why() {
        let schema = schema(("pk", "S"), Some(("n", "N")));
        let other = KeyTextError::OtherAttributes("`pk` and `n`".into());
        let value = |name: &str, text: &str| {
            let error = schema.parse_key(text).unwrap_err();
            assert!(matches!(&error, KeyTextError::Value { name: found, .. } if found == name), "{text}: {error:?}");
            assert!(!error.to_string().contains("S3CRET"), "{error}");
        };
        for text in ["", "CUSTOMER#1", "pk=a", "n=7", "pk=a n=seven", "pk= n=7", "pk=a\\q n=7", "7", "\"pk\"", "{"] {
            assert_eq!(schema.parse_key(text), Err(KeyTextError::NotAKey), "{text}");
        }
        for text in [r#"{"pk": "a"}"#, r#"{"pk": "a", "n": 1, "x": 1}"#, r#"{"pk": "a", "N": 1}"#, "{}"] {
            assert_eq!(schema.parse_key(text), Err(other.clone()), "{text}");
        }
        value("pk", r#"{"pk": "", "n": 1}"#);
        value("pk", r#"{"pk": {"N": "1"}, "n": 1}"#);
        value("pk", r#"{"pk": {"S": "S3CRET", "N": "1"}, "n": 1}"#);
        value("n", r#"{"pk": "a", "n": 1.5}"#);
        value("n", r#"{"pk": "a", "n": 123456789012345678901234567890}"#);
        value("n", r#"{"pk": "a", "n": "S3CRET"}"#);
        value("n", r#"{"pk": "a", "n": null}"#);
    }

    #[test]
    fn a_bare_value_is_completed_to_a_key() {
        let one = |kind| schema(("order_id", kind), None);
        assert_eq!(one("S").suggested_key("o-00005"), "order_id=o-00005");
        assert!(one("S").parse_key(&one("S").suggested_key("o-00005")).is_ok());
        assert_eq!(one("N").suggested_key("17"), "order_id=17");
        assert_eq!(one("N").suggested_key("o-00005"), "order_id=NUMBER");
        assert_eq!(one("S").suggested_key(""), "order_id=TEXT");
        assert_eq!(schema(("pk", "S"), Some(("n", "N"))).suggested_key("a"), "pk=TEXT n=NUMBER");
    }

    #[test]
    fn a_printed_key_with_two_meanings_is_refused() {
        let schema = schema(("a", "S"), Some(("b", "S")));
        assert_eq!(schema.parse_key("a=x b=y b=z"), Err(KeyTextError::Ambiguous));
        assert!(schema.parse_key(r#"{"a": "x b=y", "b": "z"}"#).is_ok());
    }

    /// Returns the key of an item that has these key attributes.
    fn key_with(schema: &KeySchema, text: &str, number: &str, bytes: &[u8]) -> ItemKey {
        let value = |key: &KeyAttribute| match key.kind.as_str() {
            "S" => Value::S(text.to_owned()),
            "N" => Value::N(Num::parse(number).unwrap()),
            _ => Value::B(bytes.to_vec()),
        };
        ItemKey::new(schema.attributes().map(|key| (key.name.clone(), value(key))).collect())
    }

    proptest! {
        /// A key that the tool has printed, as text or as JSON, reads back as the same key.
        #[test]
        fn a_key_that_was_printed_reads_back(
            names in prop_oneof![Just(("pk", "sk")), Just(("b", "a")), Just(("a b", "\n=\"")), Just(("é", "pk="))],
            kinds in ("[SNB]", proptest::option::of("[SNB]")),
            text in "\\PC{1,12}|[ =abk\\\\\"'\n\u{301}\u{1b}]{1,12}",
            number in "-?[1-9][0-9]{0,36}",
            bytes in proptest::collection::vec(any::<u8>(), 1..9),
        ) {
            let (partition, sort) = kinds;
            let schema = schema((names.0, partition.as_str()), sort.as_deref().map(|sort| (names.1, sort)));
            let key = key_with(&schema, &text, &number, &bytes);
            prop_assert_eq!(schema.parse_key(&key.to_text()), Ok(key.clone()));
            let printed = schema.parse_key(&key.to_string());
            prop_assert!(printed == Ok(key.clone()) || printed == Err(KeyTextError::Ambiguous), "{} {:?}", key, printed);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,30}|[pksn={}\"\\\\: ]{0,30}") {
            let _ = schema(("pk", "S"), Some(("n", "N"))).parse_key(&text);
        }
    }
}
