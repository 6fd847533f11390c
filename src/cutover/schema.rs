//! The published form of the flag. A table stores the flag as an item; hooks read and write a JSON document with the
//! same fields. Applications read this form (docs/flag.md, docs/flag.schema.json), so any change needs a new
//! `schema_version`.

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::{Flag, ReadFrom, WriteTo};
use crate::item::{Item, Num, Value};
use crate::outside::UntrustedText;

/// The version of this schema. A reader that finds a different version cannot understand the flag, and must not obey
/// it.
pub const SCHEMA_VERSION: u64 = 1;

/// The largest version number of a flag: 2^53 - 1, the largest integer that every language reads exactly from JSON.
const MAX_EXACT: u64 = (1 << 53) - 1;

/// The largest `max_cache_seconds` that the schema accepts: one day. A plan accepts at most one hour.
const MAX_CACHE_SECONDS: u64 = 86_400;

/// The metadata that is stored with the flag: who changed the flag last, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagMeta {
    /// Fingerprint of the plan that the flag belongs to.
    pub plan: UntrustedText,
    /// SHA-256 of the verification report that allowed the last change; `None` if the change needed no report.
    pub report: Option<UntrustedText>,
    /// The user and the host that made the last change.
    pub actor: UntrustedText,
    /// The operator's reason for the last change, if the operator forced it or accepted stale reads.
    pub reason: Option<UntrustedText>,
}

/// The error for content that is not a flag in this version's format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Another version of backfill wrote the flag.
    #[error(
        "the flag has schema_version {0}, but this version of backfill knows only {SCHEMA_VERSION}: use the version that wrote \
         it. Nothing was changed"
    )]
    Version(String),
    /// An attribute is missing or invalid.
    #[error(
        "`{name}` of the flag is {what}, but should be {expected}: something else wrote this item. Check `key` in the plan's \
         [cutover]; nothing was changed"
    )]
    Attribute {
        /// The name of the attribute.
        name: &'static str,
        /// What is wrong with the attribute.
        what: &'static str,
        /// The expected content of the attribute.
        expected: &'static str,
    },
    /// Each attribute is valid, but the attributes contradict each other.
    #[error("the flag breaks a rule ({0}): somebody changed it by hand. Undo that change; nothing was changed here")]
    Impossible(&'static str),
}

/// A published attribute of the flag.
struct Field {
    name: &'static str,
    field_type: FieldType,
    required: bool,
    description: &'static str,
}

#[derive(Clone, Copy)]
enum FieldType {
    Integer(u64, u64),
    OneOf(&'static [&'static str]),
    Bool,
    Time,
    Text,
}

impl FieldType {
    fn expected(self) -> &'static str {
        match self {
            FieldType::Integer(..) => "a whole number in its range",
            FieldType::OneOf(_) => "one of its words",
            FieldType::Bool => "true or false",
            FieldType::Time => "a time in UTC (RFC 3339)",
            FieldType::Text => "a text",
        }
    }

    fn accepts(self, json: &Json) -> bool {
        match self {
            FieldType::Integer(min, max) => json.as_u64().is_some_and(|number| (min..=max).contains(&number)),
            FieldType::OneOf(words) => json.as_str().is_some_and(|text| words.contains(&text)),
            FieldType::Bool => json.is_boolean(),
            FieldType::Time => json.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok()),
            FieldType::Text => json.is_string(),
        }
    }

    fn schema(self) -> Json {
        match self {
            FieldType::Integer(min, max) if min == max => json!({ "type": "integer", "const": min }),
            FieldType::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
            FieldType::OneOf(words) => json!({ "type": "string", "enum": words }),
            FieldType::Bool => json!({ "type": "boolean" }),
            FieldType::Time => json!({ "type": "string", "format": "date-time" }),
            FieldType::Text => json!({ "type": "string" }),
        }
    }

    /// The attribute type in DynamoDB.
    fn attribute(self) -> &'static str {
        match self {
            FieldType::Integer(..) => "N",
            FieldType::Bool => "BOOL",
            FieldType::OneOf(_) | FieldType::Time | FieldType::Text => "S",
        }
    }
}

/// All attributes except the item's key. Applications need only the attributes up to `old_stale`.
const FIELDS: [Field; 16] = {
    const fn field(name: &'static str, field_type: FieldType, description: &'static str) -> Field {
        Field { name, field_type, required: true, description }
    }
    const fn optional(name: &'static str, field_type: FieldType, description: &'static str) -> Field {
        Field { name, field_type, required: false, description }
    }
    [
        field(
            "schema_version",
            FieldType::Integer(SCHEMA_VERSION, SCHEMA_VERSION),
            "Version of this schema. Do not obey a flag with another version.",
        ),
        field("version", FieldType::Integer(1, MAX_EXACT), "Number of changes to the flag so far."),
        field("write", FieldType::OneOf(&["old", "both", "new"]), "Which attributes applications write."),
        field("read", FieldType::OneOf(&["old", "new"]), "Which attribute applications read."),
        field(
            "read_percent",
            FieldType::Integer(0, 100),
            "Percentage of the keys for which applications read the new attribute; 0 if and only if `read` is old.",
        ),
        field(
            "max_cache_seconds",
            FieldType::Integer(1, MAX_CACHE_SECONDS),
            "How long an application may obey the flag, counted from just before it requested the flag.",
        ),
        field("contracting", FieldType::Bool, "The old attribute is being removed. A rollback is no longer possible."),
        field("old_stale", FieldType::Bool, "Old values may be older than new ones: never fall back to them."),
        optional("dual_since", FieldType::Time, "When dual writes began; absent while `write` is old."),
        optional("new_since", FieldType::Time, "When new-only writes began; absent unless `write` is new."),
        field(
            "changed_at",
            FieldType::Time,
            "The last change was in effect by this time; `max_cache_seconds` later, nobody obeys an earlier state.",
        ),
        field("plan", FieldType::Text, "Fingerprint of the plan that the flag belongs to."),
        optional("report", FieldType::Text, "SHA-256 of the verification report that allowed the last change."),
        field("actor", FieldType::Text, "Who made the last change."),
        optional(
            "reason",
            FieldType::Text,
            "The recorded reason, if the last change was forced or if it allowed stale reads.",
        ),
        optional("writer", FieldType::Text, "Identifies the write that made the last change; applications ignore it."),
    ]
};

/// Returns the flag as the JSON document that hooks read and write.
pub fn to_json(flag: &Flag, meta: &FlagMeta) -> Json {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let mut all = json!({
        "schema_version": SCHEMA_VERSION,
        "version": flag.version,
        "write": flag.write.as_str(),
        "read": flag.read.as_str(),
        "read_percent": flag.read_percent,
        "max_cache_seconds": flag.max_cache_seconds,
        "contracting": flag.contracting,
        "old_stale": flag.old_stale,
        "dual_since": time(flag.dual_since),
        "new_since": time(flag.new_since),
        "changed_at": flag.changed_at.to_string(),
        "plan": meta.plan,
        "report": meta.report,
        "actor": meta.actor,
        "reason": meta.reason,
    });
    if let Some(members) = all.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    all
}

/// Parses the result of [`to_json`]. Ignores members that the schema does not define.
pub fn from_json(json: &Json) -> Result<(Flag, FlagMeta), SchemaError> {
    let none = Map::new();
    let all = json.as_object().unwrap_or(&none);
    check_version(all.get("schema_version"))?;
    for field in &FIELDS {
        let wrong = |what| SchemaError::Attribute { name: field.name, what, expected: field.field_type.expected() };
        match all.get(field.name).filter(|value| !value.is_null()) {
            Some(value) if !field.field_type.accepts(value) => return Err(wrong("something else")),
            None if field.required => return Err(wrong("missing")),
            _ => {}
        }
    }
    let flag = flag(all);
    match flag.broken_rule() {
        Some(rule) => Err(SchemaError::Impossible(rule)),
        None => Ok((flag, meta(all))),
    }
}

/// Returns the flag's attributes as an item, without the key.
pub fn to_item(flag: &Flag, meta: &FlagMeta) -> Item {
    let json = to_json(flag, meta);
    json.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), to_value(value))).collect()
}

/// Parses the result of [`to_item`]. Ignores attributes that the schema does not define, such as the key.
pub fn from_item(item: &Item) -> Result<(Flag, FlagMeta), SchemaError> {
    let known = FIELDS.iter().filter_map(|field| {
        let value = item.get(field.name)?;
        // Replace a value of the wrong type with an empty array. No field accepts an empty array.
        let json = if value.type_name() == field.field_type.attribute() { from_value(value) } else { json!([]) };
        Some((field.name.to_owned(), json))
    });
    from_json(&Json::Object(known.collect()))
}

/// Returns the JSON Schema of the document that [`to_json`] returns. `x-dynamodb` is the type of the attribute in the
/// item.
pub fn json_schema() -> Json {
    let property = |field: &Field| {
        let mut schema = field.field_type.schema();
        schema["description"] = json!(field.description);
        schema["x-dynamodb"] = json!(field.field_type.attribute());
        (field.name.to_owned(), schema)
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The cutover flag of backfill",
        "description": "The flag that applications obey while an attribute moves; docs/flag.md describes it. In the item of a \
             DynamoDB table each property is an attribute of the type `x-dynamodb`; hooks exchange it as a JSON document.",
        "type": "object",
        "properties": FIELDS.iter().map(property).collect::<Map<_, _>>(),
        "required": FIELDS.iter().filter(|field| field.required).map(|field| field.name).collect::<Vec<_>>(),
        "additionalProperties": true,
    })
}

fn check_version(version: Option<&Json>) -> Result<(), SchemaError> {
    match version {
        Some(version) if version.as_u64() == Some(SCHEMA_VERSION) => Ok(()),
        Some(Json::Number(other)) => Err(SchemaError::Version(other.to_string())),
        other => Err(SchemaError::Attribute {
            name: "schema_version",
            what: if other.is_some() { "something else" } else { "missing" },
            expected: "a whole number",
        }),
    }
}

/// Builds the flag from JSON members whose types were already checked.
fn flag(all: &Map<String, Json>) -> Flag {
    let number = |name: &str| all.get(name).and_then(Json::as_u64).unwrap_or(0);
    let text = |name: &str| all.get(name).and_then(Json::as_str).unwrap_or("");
    let boolean = |name: &str| all.get(name).and_then(Json::as_bool).unwrap_or(false);
    let time = |name: &str| text(name).parse::<Timestamp>().ok();
    Flag {
        version: number("version"),
        write: match text("write") {
            "new" => WriteTo::New,
            "both" => WriteTo::Both,
            _ => WriteTo::Old,
        },
        read: if text("read") == "new" { ReadFrom::New } else { ReadFrom::Old },
        read_percent: u8::try_from(number("read_percent")).unwrap_or(u8::MAX),
        max_cache_seconds: u32::try_from(number("max_cache_seconds")).unwrap_or(u32::MAX),
        contracting: boolean("contracting"),
        dual_since: time("dual_since"),
        new_since: time("new_since"),
        old_stale: boolean("old_stale"),
        changed_at: time("changed_at").unwrap_or(Timestamp::MAX),
    }
}

fn meta(all: &Map<String, Json>) -> FlagMeta {
    let text = |name: &str| all.get(name).and_then(Json::as_str).map(UntrustedText::from);
    FlagMeta {
        plan: text("plan").unwrap_or_default(),
        report: text("report"),
        actor: text("actor").unwrap_or_default(),
        reason: text("reason"),
    }
}

fn to_value(json: &Json) -> Value {
    match json {
        Json::Bool(boolean) => Value::Bool(*boolean),
        Json::Number(number) => Value::N(Num::from_wire(number.to_string())),
        other => Value::S(other.as_str().unwrap_or_default().to_owned()),
    }
}

fn from_value(value: &Value) -> Json {
    match value {
        Value::S(text) => json!(text),
        Value::Bool(boolean) => json!(boolean),
        // DynamoDB can return a whole number in a different notation from the one that the client sent.
        Value::N(number) => to_u64(number).map_or(json!([]), |number| json!(number)),
        Value::B(_) | Value::Null | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => json!([]),
    }
}

fn to_u64(number: &Num) -> Option<u64> {
    let text = number.canonical();
    let (digits, exponent) = text.split_once('E')?;
    digits.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(exponent.parse().ok()?)?)
}

#[cfg(test)]
mod tests;
