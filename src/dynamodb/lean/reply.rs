//! Reads the bodies of replies directly into items.
//!
//! This client reads a reply as the SDK does: unknown members are ignored, `null` counts as a missing member, and a
//! value has exactly one type. There is one difference: if an ignored member contains invalid JSON, this client refuses
//! the reply, but the SDK accepts it. Fields that a later check requires are optional here, so that the check can
//! report a missing field.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::item::{Item, Num, Units, Value};

/// A reply that was read.
pub(super) struct Parsed<T> {
    pub(super) reply: T,
    /// Whether an item in the reply contains a value of an unknown type. In that case, `reply` contains NULL in place
    /// of the value and must not be used.
    pub(super) has_unknown_type: bool,
}

/// The error if a body is not the expected JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotJson;

/// Reads a reply. Treats an empty body as an empty object, as the SDK does.
pub(super) fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<Parsed<T>, NotJson> {
    if body.is_empty() {
        return Ok(Parsed { reply: T::default(), has_unknown_type: false });
    }
    // serde would also accept a list in place of an object.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(NotJson);
    }
    // serde does not check whether ignored members are valid UTF-8.
    let body = std::str::from_utf8(body).map_err(|_| NotJson)?;
    HAS_UNKNOWN_TYPE.set(false);
    let reply = serde_json::from_str(body).map_err(|_| NotJson)?;
    Ok(Parsed { reply, has_unknown_type: HAS_UNKNOWN_TYPE.get() })
}

thread_local! {
    /// Whether `read` has found a value of an unknown type. Parsing continues after such a value, because a retry can
    /// help if the rest of the body is damaged.
    static HAS_UNKNOWN_TYPE: Cell<bool> = const { Cell::new(false) };
}

/// The reply to `Scan`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ScanReply {
    pub(super) items: Option<Vec<WireItem>>,
    pub(super) count: Option<i32>,
    pub(super) scanned_count: Option<i32>,
    pub(super) last_evaluated_key: Option<WireItem>,
    pub(super) consumed_capacity: Option<ConsumedCapacity>,
}

/// The reply to an accepted `UpdateItem`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UpdateReply {
    pub(super) consumed_capacity: Option<ConsumedCapacity>,
}

/// The reply to an `UpdateItem` whose condition failed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct FailedCondition {
    pub(super) item: Option<WireItem>,
}

/// The reply to a batch that DynamoDB has carried out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ExecutedBatch {
    pub(super) responses: Option<Vec<ExecutedStatement>>,
    pub(super) consumed_capacity: Option<Vec<ConsumedCapacity>>,
}

/// The response to one statement.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ExecutedStatement {
    pub(super) error: Option<StatementError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct StatementError {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) item: Option<Image>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ConsumedCapacity {
    pub(super) capacity_units: Option<Units>,
    pub(super) table: Option<Capacity>,
    pub(super) local_secondary_indexes: Option<HashMap<String, Capacity>>,
    pub(super) global_secondary_indexes: Option<HashMap<String, Capacity>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Capacity {
    capacity_units: Option<Units>,
    write_capacity_units: Option<Units>,
}

impl Capacity {
    pub(super) fn written(&self) -> Units {
        self.capacity_units.or(self.write_capacity_units).unwrap_or(0.0)
    }
}

/// The code and the message of an error reply.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorText {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// Reads the code and the message of an error reply. `header` is its `x-amzn-errortype`. If the body is not JSON, the
/// result contains neither a code nor a message, because the reply probably does not come from DynamoDB.
pub(super) fn error_text(header: Option<&str>, body: &[u8]) -> ErrorText {
    let body = if body.is_empty() { b"{}" } else { body };
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return ErrorText::default() };
    let text = |names: &[&str]| names.iter().find_map(|name| body.get(name)?.as_str()).map(str::to_owned);
    let code = header.map(str::to_owned).or_else(|| text(&["code", "__type"]));
    ErrorText {
        code: code.map(|code| short_code(&code).to_owned()),
        message: text(&["message", "Message", "errorMessage"]),
    }
}

/// Removes the namespace before an error code, and the URL after it.
fn short_code(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or(code);
    code.split_once('#').map_or(code, |(_, code)| code)
}

/// An item in a reply.
#[derive(Debug)]
pub(super) struct WireItem(pub(super) Item);

impl<'de> Deserialize<'de> for WireItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WireItem, D::Error> {
        deserializer.deserialize_map(ItemVisitor).map(WireItem)
    }
}

/// The item in the error of one statement. `None` if it contains a value of an unknown type. Such a value concerns only
/// its own statement, so it does not count for [`Parsed::has_unknown_type`].
#[derive(Debug)]
pub(super) struct Image(pub(super) Option<Item>);

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Image, D::Error> {
        let before = HAS_UNKNOWN_TYPE.replace(false);
        let item = WireItem::deserialize(deserializer);
        let is_unknown = HAS_UNKNOWN_TYPE.replace(before);
        item.map(|WireItem(item)| Image((!is_unknown).then_some(item)))
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
        let mut item = Item::new();
        while let Some((name, WireValue(value))) = map.next_entry()? {
            item.insert(name, value);
        }
        Ok(item)
    }
}

struct WireValue(Value);

impl<'de> Deserialize<'de> for WireValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WireValue, D::Error> {
        deserializer.deserialize_map(ValueVisitor).map(WireValue)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut value = None;
        while let Some(tag) = map.next_key()? {
            let next = match tag {
                Tag::S => map.next_value::<Option<String>>()?.map(Value::S),
                Tag::N => map.next_value::<Option<String>>()?.map(|text| Value::N(Num::from_wire(text))),
                Tag::B => map.next_value::<Option<Binary>>()?.map(|binary| Value::B(binary.0)),
                Tag::Bool => map.next_value::<Option<bool>>()?.map(Value::Bool),
                Tag::Null => map.next_value::<Option<bool>>()?.map(|_| Value::Null),
                Tag::Ss => map.next_value::<Option<_>>()?.map(Value::Ss),
                Tag::Ns => map.next_value::<Option<Vec<String>>>()?.map(numbers),
                Tag::Bs => map.next_value::<Option<Vec<Binary>>>()?.map(binaries),
                Tag::L => map.next_value::<Option<Vec<WireValue>>>()?.map(list),
                Tag::M => map.next_value::<Option<WireItem>>()?.map(|item| Value::M(item.0)),
                Tag::Metadata => map.next_value::<IgnoredAny>().map(|_| None)?,
                Tag::Unknown => map.next_value::<Option<IgnoredAny>>()?.map(|_| {
                    HAS_UNKNOWN_TYPE.set(true);
                    Value::Null
                }),
            };
            match (&value, next) {
                (_, None) => {}
                (None, next) => value = next,
                (Some(_), Some(_)) => return Err(A::Error::custom("a value has two types")),
            }
        }
        value.ok_or_else(|| A::Error::custom("a value has no type"))
    }
}

fn numbers(texts: Vec<String>) -> Value {
    Value::Ns(texts.into_iter().map(Num::from_wire).collect())
}

fn binaries(set: Vec<Binary>) -> Value {
    Value::Bs(set.into_iter().map(|binary| binary.0).collect())
}

fn list(values: Vec<WireValue>) -> Value {
    Value::L(values.into_iter().map(|value| value.0).collect())
}

/// The name of a type.
#[derive(Clone, Copy)]
enum Tag {
    S,
    N,
    B,
    Bool,
    Null,
    Ss,
    Ns,
    Bs,
    L,
    M,
    /// The member `__type`, which is not part of the value.
    Metadata,
    Unknown,
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tag, D::Error> {
        deserializer.deserialize_identifier(TagVisitor)
    }
}

struct TagVisitor;

impl Visitor<'_> for TagVisitor {
    type Value = Tag;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a type")
    }

    fn visit_str<E>(self, name: &str) -> Result<Tag, E> {
        Ok(match name {
            "S" => Tag::S,
            "N" => Tag::N,
            "B" => Tag::B,
            "BOOL" => Tag::Bool,
            "NULL" => Tag::Null,
            "SS" => Tag::Ss,
            "NS" => Tag::Ns,
            "BS" => Tag::Bs,
            "L" => Tag::L,
            "M" => Tag::M,
            "__type" => Tag::Metadata,
            _ => Tag::Unknown,
        })
    }
}

/// A binary value, in base64.
struct Binary(Vec<u8>);

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Binary, D::Error> {
        struct BinaryVisitor;
        impl Visitor<'_> for BinaryVisitor {
            type Value = Binary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Binary, E> {
                BASE64.decode(text).map(Binary).map_err(|_| E::custom("not base64"))
            }
        }
        deserializer.deserialize_str(BinaryVisitor)
    }
}
