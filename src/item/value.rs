//! Attribute values, and their DynamoDB JSON for storage and display.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};

use super::{Num, NumError};

/// An item, or the nested document of an `M` attribute: a map from attribute names to values.
pub type Item = BTreeMap<String, Value>;

/// An attribute value of any DynamoDB type.
///
/// Two values are equal if DynamoDB considers them equal. DynamoDB compares numbers by value, sets regardless of order,
/// and all other values exactly.
#[derive(Debug, Clone)]
pub enum Value {
    /// String.
    S(String),
    /// Number.
    N(Num),
    /// Binary.
    B(Vec<u8>),
    /// Boolean.
    Bool(bool),
    /// Null.
    Null,
    /// String set.
    Ss(Vec<String>),
    /// Number set.
    Ns(Vec<Num>),
    /// Binary set.
    Bs(Vec<Vec<u8>>),
    /// List.
    L(Vec<Value>),
    /// Map (a nested document).
    M(Item),
}

/// The reason why a JSON document is not DynamoDB JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The object must have exactly one member, which names the type.
    #[error(
        "a value must be an object with one member that names its type: S, N, B, BOOL, NULL, SS, NS, BS, L or M (found {0})"
    )]
    InvalidType(String),
    /// The member's value does not have the form that the type requires.
    #[error("the value of {0} has the wrong form: {1}")]
    InvalidForm(&'static str, &'static str),
    /// DynamoDB cannot store the number.
    #[error("{0:?} is not a number that DynamoDB can store: {1}")]
    Number(String, NumError),
    /// The set is empty, or contains a member twice.
    #[error("{0} is empty or repeats a member, which a DynamoDB set must not")]
    InvalidSet(&'static str),
}

impl Value {
    /// Returns the type's name in DynamoDB's spelling.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::S(_) => "S",
            Value::N(_) => "N",
            Value::B(_) => "B",
            Value::Bool(_) => "BOOL",
            Value::Null => "NULL",
            Value::Ss(_) => "SS",
            Value::Ns(_) => "NS",
            Value::Bs(_) => "BS",
            Value::L(_) => "L",
            Value::M(_) => "M",
        }
    }

    /// Returns whether the value has more than `levels` levels of nesting. A scalar, a set or an empty document has one
    /// level. A document with members has one level more than its deepest member. The check never descends more than
    /// `levels` levels.
    pub fn nests_deeper_than(&self, levels: usize) -> bool {
        let Some(remaining_levels) = levels.checked_sub(1) else { return true };
        match self {
            Value::L(list) => list.iter().any(|member| member.nests_deeper_than(remaining_levels)),
            Value::M(map) => map.values().any(|member| member.nests_deeper_than(remaining_levels)),
            Value::S(_)
            | Value::N(_)
            | Value::B(_)
            | Value::Bool(_)
            | Value::Null
            | Value::Ss(_)
            | Value::Ns(_)
            | Value::Bs(_) => false,
        }
    }

    /// Converts the value to DynamoDB JSON, such as `{"S": "x"}`. The members of a set are sorted. Numbers keep their
    /// text.
    pub fn to_json(&self) -> Json {
        match self {
            Value::S(s) => json!({ "S": s }),
            Value::N(n) => json!({ "N": n.as_str() }),
            Value::B(b) => json!({ "B": BASE64.encode(b) }),
            Value::Bool(b) => json!({ "BOOL": b }),
            Value::Null => json!({ "NULL": true }),
            Value::Ss(set) => json!({ "SS": set.iter().collect::<BTreeSet<_>>() }),
            Value::Ns(set) => json!({ "NS": set.iter().map(Num::as_str).collect::<BTreeSet<_>>() }),
            Value::Bs(set) => {
                json!({ "BS": set.iter().map(|b| BASE64.encode(b)).collect::<BTreeSet<_>>() })
            }
            Value::L(list) => json!({ "L": list.iter().map(Value::to_json).collect::<Vec<_>>() }),
            Value::M(map) => json!({ "M": item_to_json(map) }),
        }
    }

    /// Parses DynamoDB JSON.
    pub fn from_json(json: &Json) -> Result<Value, JsonError> {
        let object = json.as_object().ok_or_else(|| JsonError::InvalidType(json_kind(json).into()))?;
        let mut members = object.iter();
        let (Some((name, body)), None) = (members.next(), members.next()) else {
            return Err(JsonError::InvalidType(format!("an object with {} members", object.len())));
        };
        match name.as_str() {
            "S" => Ok(Value::S(string("S", body)?.to_owned())),
            "N" => Ok(Value::N(number("N", body)?)),
            "B" => Ok(Value::B(binary("B", body)?)),
            "BOOL" => body.as_bool().map(Value::Bool).ok_or(JsonError::InvalidForm("BOOL", "true or false")),
            "NULL" => match body.as_bool() {
                Some(true) => Ok(Value::Null),
                _ => Err(JsonError::InvalidForm("NULL", "the only valid value is true")),
            },
            "SS" => set("SS", body, |b| string("SS", b).map(str::to_owned), String::clone).map(Value::Ss),
            "NS" => set("NS", body, |b| number("NS", b), Num::canonical).map(Value::Ns),
            "BS" => set("BS", body, |b| binary("BS", b), Vec::clone).map(Value::Bs),
            "L" => {
                let list = body.as_array().ok_or(JsonError::InvalidForm("L", "a list of values"))?;
                list.iter().map(Value::from_json).collect::<Result<_, _>>().map(Value::L)
            }
            "M" => item_from_json(body).map(Value::M),
            other => Err(JsonError::InvalidType(format!("the member `{other}`"))),
        }
    }
}

/// Converts an item or a document to DynamoDB JSON.
pub fn item_to_json(item: &Item) -> Json {
    Json::Object(item.iter().map(|(name, value)| (name.clone(), value.to_json())).collect::<Map<_, _>>())
}

/// Parses an item or a document from DynamoDB JSON.
pub fn item_from_json(json: &Json) -> Result<Item, JsonError> {
    let map = json.as_object().ok_or(JsonError::InvalidForm("M", "an object of names to values"))?;
    map.iter().map(|(name, value)| Ok((name.clone(), Value::from_json(value)?))).collect()
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match self {
            Value::S(a) => matches!(other, Value::S(b) if a == b),
            Value::N(a) => matches!(other, Value::N(b) if a == b),
            Value::B(a) => matches!(other, Value::B(b) if a == b),
            Value::Bool(a) => matches!(other, Value::Bool(b) if a == b),
            Value::Null => matches!(other, Value::Null),
            Value::Ss(a) => matches!(other, Value::Ss(b) if same_set(a, b, String::as_str)),
            Value::Ns(a) => matches!(other, Value::Ns(b) if same_set(a, b, Num::canonical)),
            Value::Bs(a) => matches!(other, Value::Bs(b) if same_set(a, b, Vec::as_slice)),
            Value::L(a) => matches!(other, Value::L(b) if a == b),
            Value::M(a) => matches!(other, Value::M(b) if a == b),
        }
    }
}

impl Eq for Value {}

fn same_set<'a, T, K: Ord>(a: &'a [T], b: &'a [T], key: impl Fn(&'a T) -> K) -> bool {
    a.len() == b.len() && a.iter().map(&key).collect::<BTreeSet<_>>() == b.iter().map(&key).collect::<BTreeSet<_>>()
}

fn set<T, K: Ord>(
    name: &'static str,
    body: &Json,
    read: impl Fn(&Json) -> Result<T, JsonError>,
    identity: impl Fn(&T) -> K,
) -> Result<Vec<T>, JsonError> {
    let list = body.as_array().ok_or(JsonError::InvalidForm(name, "a list of members"))?;
    let members = list.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let distinct = members.iter().map(identity).collect::<BTreeSet<_>>().len();
    if members.is_empty() || distinct != members.len() {
        return Err(JsonError::InvalidSet(name));
    }
    Ok(members)
}

fn string<'a>(name: &'static str, body: &'a Json) -> Result<&'a str, JsonError> {
    body.as_str().ok_or(JsonError::InvalidForm(name, "a string"))
}

fn number(name: &'static str, body: &Json) -> Result<Num, JsonError> {
    let text = body.as_str().ok_or(JsonError::InvalidForm(name, "a number in quotes"))?;
    Num::parse(text).map_err(|why| JsonError::Number(text.to_owned(), why))
}

fn binary(name: &'static str, body: &Json) -> Result<Vec<u8>, JsonError> {
    BASE64.decode(string(name, body)?).map_err(|_| JsonError::InvalidForm(name, "base64"))
}

fn json_kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_preserves_every_type() {
        let json = json!({
            "s": {"S": ""}, "n": {"N": "1.10"}, "b": {"B": "AAEC"}, "t": {"BOOL": true}, "z": {"NULL": true},
            "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2.5"]}, "bs": {"BS": ["AA==", "AQ=="]},
            "l": {"L": [{"S": "x"}, {"M": {"ключ": {"N": "1"}}}]}
        });
        assert_eq!(item_to_json(&item_from_json(&json).unwrap()), json);
    }

    #[test]
    fn equality_follows_dynamodb() {
        let v = |j: Json| Value::from_json(&j).unwrap();
        assert_eq!(v(json!({"NS": ["1.0", "2"]})), v(json!({"NS": ["2", "1"]})));
        assert_eq!(v(json!({"M": {"a": {"N": "1"}}})), v(json!({"M": {"a": {"N": "1.0"}}})));
        assert_ne!(v(json!({"L": [{"S": "a"}, {"S": "b"}]})), v(json!({"L": [{"S": "b"}, {"S": "a"}]})));
        assert_ne!(v(json!({"S": "1"})), v(json!({"N": "1"})));
    }

    #[test]
    fn levels_count_the_value_itself_and_its_deepest_member() {
        let v = |j: Json| Value::from_json(&j).unwrap();
        for (value, levels) in [
            (json!({"S": "x"}), 1),
            (json!({"SS": ["x"]}), 1),
            (json!({"L": []}), 1),
            (json!({"L": [{"S": "x"}, {"M": {"a": {"M": {}}}}]}), 3),
            (json!({"M": {"a": {"L": [{"L": [{"NULL": true}]}]}, "b": {"S": "x"}}}), 4),
        ] {
            let value = v(value);
            assert!(!value.nests_deeper_than(levels) && value.nests_deeper_than(levels - 1), "{value:?}");
        }
    }

    #[test]
    fn malformed_json_is_rejected() {
        for bad in [
            json!("x"),
            json!({}),
            json!({"S": "a", "N": "1"}),
            json!({"X": 1}),
            json!({"NULL": false}),
            json!({"SS": []}),
            json!({"NS": ["1", "1.0"]}),
            json!({"N": 5}),
            json!({"B": "***"}),
        ] {
            assert!(Value::from_json(&bad).is_err(), "{bad}");
        }
    }
}
