//! Reads and rewrites a few members of DynamoDB's JSON without parsing the other members, because a scan page can be
//! one megabyte long.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

/// The capacity units that a reply reports.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct ReplyUnits {
    pub(super) write: f64,
    pub(super) read: f64,
}

/// The parts of a reply that the proxy counts.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The exception's short name, if the status is not 200.
    pub(super) error: Option<String>,
    pub(super) consumed: ReplyUnits,
}

/// Whether an operation accepts `ReturnConsumedCapacity`. If it does, also whether the operation consumes read units or
/// write units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metering {
    None,
    Reads,
    Writes,
}

impl Metering {
    /// Determines whether a request accepts `ReturnConsumedCapacity`, and whether the request reads or writes.
    /// In PartiQL, only `SELECT` statements read. A batch or transaction of statements contains either only reads or
    /// only writes.
    pub(super) fn from_request(operation: &str, body: &[u8]) -> Metering {
        match operation {
            "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems" => Metering::Reads,
            "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "TransactWriteItems" => Metering::Writes,
            "ExecuteStatement" | "BatchExecuteStatement" | "ExecuteTransaction" => {
                if first_statement_selects(body) {
                    Metering::Reads
                } else {
                    Metering::Writes
                }
            }
            _ => Metering::None,
        }
    }
}

fn first_statement_selects(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let Some((_, rest)) = text.split_once("\"Statement\"") else { return false };
    let statement = rest.trim_start_matches([':', ' ', '\t', '\n', '\r', '"']);
    statement.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("SELECT"))
}

/// The part of `ConsumedCapacity` that is removed from a reply, because the client did not request it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strip {
    /// The client requested all of the capacity, so nothing is removed.
    Nothing,
    /// The client did not request the capacity of each index.
    Indexes,
    /// The client did not request any capacity.
    All,
}

/// Adds `ReturnConsumedCapacity` to a request. The first returned value is the new request, or `None` if the client's
/// request already asks for this capacity. The second value is the part that must be removed from the reply. With
/// `by_index`, the request asks for the capacity of each index, which makes the reply longer.
pub(super) fn request_capacity(body: &Bytes, by_index: bool) -> (Option<Bytes>, Strip) {
    const MEMBER: &str = "\"ReturnConsumedCapacity\"";
    let level = if by_index { "INDEXES" } else { "TOTAL" };
    let Ok(text) = std::str::from_utf8(body) else { return (None, Strip::Nothing) };
    // If this text occurred inside a JSON string, its quotes would be escaped. So wherever the text occurs, it is the
    // name of a JSON member. That member can be an attribute of an item.
    if !text.contains(MEMBER) {
        let new_body = with_member(body, &format!("{MEMBER}:\"{level}\""));
        let strip = if new_body.is_some() { Strip::All } else { Strip::Nothing };
        return (new_body, strip);
    }
    let Ok(mut request) = serde_json::from_str::<Map<String, Json>>(text) else { return (None, Strip::Nothing) };
    let strip = match request.get("ReturnConsumedCapacity").and_then(Json::as_str) {
        Some("INDEXES") => return (None, Strip::Nothing),
        Some("TOTAL") if !by_index => return (None, Strip::Nothing),
        Some("TOTAL") => Strip::Indexes,
        _ => Strip::All,
    };
    request.insert("ReturnConsumedCapacity".into(), level.into());
    (Some(Json::Object(request).to_string().into()), strip)
}

/// Adds a member to the JSON object in the body. The object must not have this member yet. Returns `None` if the body
/// is not an object.
pub(super) fn with_member(body: &Bytes, member: &str) -> Option<Bytes> {
    let inner = body.trim_ascii().strip_prefix(b"{")?.trim_ascii_start();
    let comma = if inner.starts_with(b"}") { "" } else { "," };
    let mut new = Vec::with_capacity(body.len() + member.len() + 2);
    new.extend_from_slice(b"{");
    new.extend_from_slice(member.as_bytes());
    new.extend_from_slice(comma.as_bytes());
    new.extend_from_slice(inner);
    Some(new.into())
}

/// The capacity that a reply reports.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ReplyCapacity {
    /// The sum of all reported units.
    pub(super) units: ReplyUnits,
    /// The `ConsumedCapacity` member; null if absent.
    pub(super) capacity: Json,
    /// The body without the capacity, or `None` if nothing had to be removed.
    pub(super) stripped: Option<Bytes>,
}

/// Reads the capacity that a reply reports.
pub(super) fn reply_capacity(body: &Bytes, metering: Metering, strip: Strip) -> ReplyCapacity {
    const MEMBER: &str = "\"ConsumedCapacity\"";
    let Ok(text) = std::str::from_utf8(body) else { return ReplyCapacity::default() };
    let Some(at) = text.rfind(MEMBER) else { return ReplyCapacity::default() };
    if let Some(capacity) = last_member(&text[at + MEMBER.len()..]) {
        let stripped = match strip {
            Strip::Nothing => None,
            Strip::Indexes => Some(format!("{}{MEMBER}:{}}}", &text[..at], without_indexes(&capacity))),
            Strip::All => {
                let before = text[..at].trim_end();
                Some(format!("{}}}", before.strip_suffix(',').unwrap_or(before)))
            }
        };
        return ReplyCapacity { units: units(&capacity, metering), capacity, stripped: stripped.map(Bytes::from) };
    }
    // Here the capacity is not the last member of the reply, or an attribute is also called `ConsumedCapacity`. So the
    // whole body must be parsed.
    let Ok(mut reply) = serde_json::from_str::<Map<String, Json>>(text) else { return ReplyCapacity::default() };
    let Some(capacity) = reply.remove("ConsumedCapacity") else { return ReplyCapacity::default() };
    if strip == Strip::Indexes {
        reply.insert("ConsumedCapacity".into(), without_indexes(&capacity));
    }
    let stripped = (strip != Strip::Nothing).then(|| Json::Object(reply).to_string().into());
    ReplyCapacity { units: units(&capacity, metering), capacity, stripped }
}

/// Converts the capacity to the form that DynamoDB returns for `ReturnConsumedCapacity: TOTAL`.
fn without_indexes(capacity: &Json) -> Json {
    let mut capacity = capacity.clone();
    for table in entries_mut(&mut capacity) {
        for arm in ["Table", "LocalSecondaryIndexes", "GlobalSecondaryIndexes"] {
            table.as_object_mut().and_then(|table| table.remove(arm));
        }
    }
    capacity
}

/// Returns the entries of `ConsumedCapacity`. This member is a single object, or an array with one object per table.
fn entries_mut(capacity: &mut Json) -> &mut [Json] {
    match capacity {
        Json::Array(tables) => tables,
        one => std::slice::from_mut(one),
    }
}

/// Returns the entries of `ConsumedCapacity`. This member is a single object, or an array with one object per table.
pub(super) fn entries(capacity: &Json) -> &[Json] {
    let one = std::slice::from_ref(capacity);
    capacity.as_array().map_or(one, Vec::as_slice)
}

/// Parses text of the form `: value }`. Returns the value if nothing follows the brace, because then the value is the
/// last member of the outermost object.
fn last_member(text: &str) -> Option<Json> {
    let value = text.trim_start().strip_prefix(':')?;
    let mut values = serde_json::Deserializer::from_str(value).into_iter::<Json>();
    let capacity = values.next()?.ok()?;
    (value[values.byte_offset()..].trim() == "}").then_some(capacity)
}

/// Returns the sum of the units in `ConsumedCapacity`.
fn units(capacity: &Json, metering: Metering) -> ReplyUnits {
    let mut sum = ReplyUnits::default();
    for table in entries(capacity) {
        let number = |name: &str| table.get(name).and_then(Json::as_f64);
        let write = number("WriteCapacityUnits");
        let read = number("ReadCapacityUnits");
        let total = number("CapacityUnits").unwrap_or(0.0);
        match metering {
            _ if write.is_some() || read.is_some() => {
                sum.write += write.unwrap_or(0.0);
                sum.read += read.unwrap_or(0.0);
            }
            Metering::Writes => sum.write += total,
            Metering::Reads | Metering::None => sum.read += total,
        }
    }
    sum
}

/// Returns the exception's short name from an error's body.
pub(super) fn error_name(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "__type")]
        kind: String,
    }
    let kind = serde_json::from_slice::<Body>(body).map(|body| body.kind).unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::from(text.to_owned())
    }

    #[test]
    fn capacity_is_requested_once() {
        let capacity_request = |text: &str| {
            let (body, strip) = request_capacity(&bytes(text), false);
            assert_eq!(strip, if body.is_some() { Strip::All } else { Strip::Nothing });
            body.map(|b| String::from_utf8(b.to_vec()).unwrap())
        };
        assert_eq!(capacity_request("{}").unwrap(), r#"{"ReturnConsumedCapacity":"TOTAL"}"#);
        assert_eq!(capacity_request(r#" { "A": 1}"#).unwrap(), r#"{"ReturnConsumedCapacity":"TOTAL","A": 1}"#);
        assert_eq!(capacity_request(r#"{"ReturnConsumedCapacity": "INDEXES"}"#), None);
        let none: Json =
            serde_json::from_str(&capacity_request(r#"{"ReturnConsumedCapacity":"NONE"}"#).unwrap()).unwrap();
        assert_eq!(none, json!({"ReturnConsumedCapacity": "TOTAL"}));
        let attribute = json!({"Item": {"ReturnConsumedCapacity": {"S": "TOTAL"}}});
        let named: Json = serde_json::from_str(&capacity_request(&attribute.to_string()).unwrap()).unwrap();
        assert_eq!(named["ReturnConsumedCapacity"], "TOTAL");
        assert_eq!(named["Item"], attribute["Item"]);
        assert_eq!(capacity_request("[]"), None);
        assert_eq!(capacity_request("not json"), None);
    }

    #[test]
    fn capacity_by_index_reaches_only_clients_that_requested_it() {
        let total = bytes(r#"{"ReturnConsumedCapacity":"TOTAL"}"#);
        assert_eq!(request_capacity(&total, false), (None, Strip::Nothing));
        let by_index = r#"{"ReturnConsumedCapacity":"INDEXES"}"#;
        assert_eq!(request_capacity(&total, true), (Some(bytes(by_index)), Strip::Indexes));
        assert_eq!(request_capacity(&bytes("{}"), true), (Some(bytes(by_index)), Strip::All));
        assert_eq!(request_capacity(&bytes(by_index), true), (None, Strip::Nothing));

        let arms = json!({"TableName": "t", "CapacityUnits": 3.0, "Table": {"CapacityUnits": 1.0},
            "GlobalSecondaryIndexes": {"i": {"CapacityUnits": 2.0}}});
        let plain = json!({"ConsumedCapacity": {"TableName": "t", "CapacityUnits": 3.0}, "A": 1});
        for reply in
            [format!(r#"{{"A":1,"ConsumedCapacity":{arms}}}"#), format!(r#"{{"ConsumedCapacity":{arms},"A":1}}"#)]
        {
            let found = reply_capacity(&bytes(&reply), Metering::Writes, Strip::Indexes);
            assert_eq!((found.units, &found.capacity), (ReplyUnits { write: 3.0, read: 0.0 }, &arms));
            assert_eq!(serde_json::from_slice::<Json>(&found.stripped.unwrap()).unwrap(), plain);
        }
    }

    #[test]
    fn capacity_is_read_and_stripped_at_any_position() {
        let capacity = json!({"TableName": "t", "CapacityUnits": 2.5});
        for reply in [
            format!(r#"{{"Items":[],"ConsumedCapacity":{capacity}}}"#),
            format!(r#"{{"ConsumedCapacity": {capacity} ,"Items":[]}}"#),
            format!(r#"{{ "Items":[] , "ConsumedCapacity" : {capacity} }}"#),
        ] {
            let found = reply_capacity(&bytes(&reply), Metering::Reads, Strip::All);
            assert_eq!(found.units, ReplyUnits { write: 0.0, read: 2.5 }, "{reply}");
            let rest: Json = serde_json::from_slice(&found.stripped.unwrap()).unwrap();
            assert_eq!(rest, json!({"Items": []}), "{reply}");
            let left = reply_capacity(&bytes(&reply), Metering::Reads, Strip::Nothing);
            assert_eq!((left.units, left.stripped), (found.units, None));
        }
        let alone = format!(r#"{{"ConsumedCapacity":{capacity}}}"#);
        let found = reply_capacity(&bytes(&alone), Metering::Writes, Strip::All);
        assert_eq!((found.units, found.stripped), (ReplyUnits { write: 2.5, read: 0.0 }, Some(bytes("{}"))));
    }

    #[test]
    fn an_attribute_of_that_name_is_left_alone() {
        let item = r#"{"Items":[{"ConsumedCapacity":{"N":"7"}}]}"#;
        assert_eq!(reply_capacity(&bytes(item), Metering::Reads, Strip::All), ReplyCapacity::default());
        let nested = r#"{"Item":{"ConsumedCapacity":{"CapacityUnits":9}}}"#;
        assert_eq!(reply_capacity(&bytes(nested), Metering::Reads, Strip::All), ReplyCapacity::default());
    }

    #[test]
    fn arrays_and_transactions_sum() {
        let batch = r#"{"ConsumedCapacity":[{"TableName":"a","CapacityUnits":4},{"TableName":"b","CapacityUnits":1}]}"#;
        assert_eq!(
            reply_capacity(&bytes(batch), Metering::Writes, Strip::Nothing).units,
            ReplyUnits { write: 5.0, read: 0.0 }
        );
        let both = r#"{"ConsumedCapacity":[{"CapacityUnits":6,"WriteCapacityUnits":4,"ReadCapacityUnits":2}]}"#;
        assert_eq!(
            reply_capacity(&bytes(both), Metering::Writes, Strip::Nothing).units,
            ReplyUnits { write: 4.0, read: 2.0 }
        );
    }

    #[test]
    fn partiql_is_metered_by_its_first_word() {
        let of = |body: &str| Metering::from_request("BatchExecuteStatement", body.as_bytes());
        assert_eq!(of(r#"{"Statements":[{"Statement": " select * from t"}]}"#), Metering::Reads);
        assert_eq!(of(r#"{"Statements":[{"Statement":"UPDATE t SET a=1"}]}"#), Metering::Writes);
        assert_eq!(Metering::from_request("DescribeTable", b"{}"), Metering::None);
    }

    #[test]
    fn errors_have_short_names() {
        assert_eq!(
            error_name(br#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}"#),
            "ThrottlingException"
        );
        assert_eq!(error_name(b"<html>"), "");
    }
}
