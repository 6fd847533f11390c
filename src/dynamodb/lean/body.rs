//! Writes the bodies of requests directly as bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::change::Statement;
use crate::item::{Item, Num, Value};

/// The body of a request. It is a JSON object whose members are written one after another.
pub(super) struct Body {
    bytes: Vec<u8>,
}

impl Body {
    /// Starts the body of a request for this table.
    pub(super) fn new(table: &str) -> Body {
        // Most bodies are a few hundred bytes long.
        let mut body = Body { bytes: Vec::with_capacity(1024) };
        body.bytes.push(b'{');
        body.text("TableName", table);
        body
    }

    /// Starts the body of a request that names its tables in statements.
    pub(super) fn without_table() -> Body {
        // A batch of 25 statements has a few thousand bytes.
        let mut body = Body { bytes: Vec::with_capacity(8 * 1024) };
        body.bytes.push(b'{');
        body
    }

    /// Writes statements, which return the item if their condition fails.
    pub(super) fn statements(&mut self, statements: &[Statement<'_>]) {
        self.member("Statements");
        write_list(&mut self.bytes, statements, |bytes, statement| {
            bytes.extend_from_slice(b"{\"Statement\":");
            write_string(bytes, &statement.text);
            bytes.extend_from_slice(b",\"Parameters\":");
            write_list(bytes, &statement.parameters, |bytes, value| write_value(bytes, value));
            bytes.extend_from_slice(b",\"ReturnValuesOnConditionCheckFailure\":\"ALL_OLD\"}");
        });
    }

    pub(super) fn text(&mut self, member: &str, text: &str) {
        self.member(member);
        write_string(&mut self.bytes, text);
    }

    pub(super) fn number(&mut self, member: &str, number: u32) {
        self.member(member);
        self.bytes.extend_from_slice(number.to_string().as_bytes());
    }

    pub(super) fn flag(&mut self, member: &str, flag: bool) {
        self.member(member);
        self.bytes.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    /// Writes an item, a key, or the values of placeholders.
    pub(super) fn item(&mut self, member: &str, item: &Item) {
        self.member(member);
        write_item(&mut self.bytes, item);
    }

    /// Writes the names of placeholders. Writes nothing if there are no names, because DynamoDB refuses an empty map.
    pub(super) fn names<'n>(&mut self, member: &str, names: impl Iterator<Item = (&'n str, &'n str)>) {
        let mut names = names.peekable();
        if names.peek().is_none() {
            return;
        }
        self.member(member);
        write_object(&mut self.bytes, names, write_string);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'}');
        self.bytes
    }

    fn member(&mut self, name: &str) {
        if self.bytes.len() > 1 {
            self.bytes.push(b',');
        }
        write_string(&mut self.bytes, name);
        self.bytes.push(b':');
    }
}

fn write_item(bytes: &mut Vec<u8>, item: &Item) {
    write_object(bytes, item.iter().map(|(name, value)| (name.as_str(), value)), write_value);
}

/// Writes a value, for example `{"S":"x"}`.
fn write_value(bytes: &mut Vec<u8>, value: &Value) {
    bytes.extend_from_slice(b"{\"");
    bytes.extend_from_slice(value.type_name().as_bytes());
    bytes.extend_from_slice(b"\":");
    match value {
        Value::S(text) => write_string(bytes, text),
        Value::N(number) => write_string(bytes, number.as_str()),
        Value::B(binary) => write_binary(bytes, binary),
        Value::Bool(flag) => bytes.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Null => bytes.extend_from_slice(b"true"),
        Value::Ss(set) => write_list(bytes, set, |bytes, text| write_string(bytes, text)),
        Value::Ns(set) => write_list(bytes, set, |bytes, number: &Num| write_string(bytes, number.as_str())),
        Value::Bs(set) => write_list(bytes, set, |bytes, binary| write_binary(bytes, binary)),
        Value::L(list) => write_list(bytes, list, write_value),
        Value::M(map) => write_item(bytes, map),
    }
    bytes.push(b'}');
}

fn write_object<'n, T>(
    bytes: &mut Vec<u8>,
    members: impl Iterator<Item = (&'n str, T)>,
    write: impl Fn(&mut Vec<u8>, T),
) {
    bytes.push(b'{');
    for (at, (name, member)) in members.enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        write_string(bytes, name);
        bytes.push(b':');
        write(bytes, member);
    }
    bytes.push(b'}');
}

fn write_list<T>(bytes: &mut Vec<u8>, list: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    bytes.push(b'[');
    for (at, member) in list.iter().enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        write(bytes, member);
    }
    bytes.push(b']');
}

fn write_binary(bytes: &mut Vec<u8>, binary: &[u8]) {
    bytes.push(b'"');
    bytes.extend_from_slice(BASE64.encode(binary).as_bytes());
    bytes.push(b'"');
}

/// Writes a JSON string. Copies each run of characters that need no escaping in one step.
fn write_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')) {
        let (clean, from) = rest.split_at(at);
        bytes.extend_from_slice(clean);
        match from[0] {
            b'"' => bytes.extend_from_slice(b"\\\""),
            b'\\' => bytes.extend_from_slice(b"\\\\"),
            control => bytes.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &from[1..];
    }
    bytes.extend_from_slice(rest);
    bytes.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::item::item_from_json;

    #[test]
    fn every_kind_of_member_is_written() {
        let item = json!({
            "s": {"S": "line\n\u{1}\"quoted\" \\ é 🦀"}, "n": {"N": "1.10"}, "b": {"B": "AAEC"}, "t": {"BOOL": true},
            "f": {"BOOL": false}, "z": {"NULL": true}, "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2.5"]},
            "bs": {"BS": ["AA==", "AQ=="]}, "l": {"L": [{"S": ""}, {"M": {"ключ": {"N": "1"}}}]}, "": {"M": {}}
        });
        let mut body = Body::new("orders");
        body.text("Text", "a\tb");
        body.number("Number", 7);
        body.flag("Flag", true);
        body.item("Item", &item_from_json(&item).unwrap());
        body.names("Names", [("#0", "a\"b"), ("#1", "c")].into_iter());
        body.names("None", std::iter::empty());
        let written: Json = serde_json::from_slice(&body.finish()).unwrap();
        let expected = json!({
            "TableName": "orders", "Text": "a\tb", "Number": 7, "Flag": true, "Item": item,
            "Names": {"#0": "a\"b", "#1": "c"}
        });
        assert_eq!(written, expected);
    }
}
