//! Writes documents as JSON text: without spaces, names in the order of their bytes, numbers as plain text. Equal
//! documents have the same text.

use crate::convert::number;
use crate::item::{MAX_LEVELS, NotComputable, Value};

/// Converts a map or a list to JSON text. Returns `None` for other types.
pub(in crate::convert) fn write(value: &Value) -> Option<Result<Value, NotComputable>> {
    let is_document = matches!(value, Value::M(_) | Value::L(_));
    is_document.then(|| document(value).map(Value::S))
}

fn document(value: &Value) -> Result<String, NotComputable> {
    if value.nests_deeper_than(MAX_LEVELS) {
        return Err(NotComputable::new(format!("the document is nested deeper than {MAX_LEVELS} levels")));
    }
    let mut text = String::new();
    append(value, &mut text)?;
    Ok(text)
}

fn append(value: &Value, text: &mut String) -> Result<(), NotComputable> {
    match value {
        Value::S(string) => append_string(string, text)?,
        Value::N(number) => text.push_str(&number::write(number)?),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Null => text.push_str("null"),
        Value::L(list) => {
            text.push('[');
            for (i, member) in list.iter().enumerate() {
                text.push_str(if i == 0 { "" } else { "," });
                append(member, text)?;
            }
            text.push(']');
        }
        Value::M(map) => {
            text.push('{');
            for (i, (name, member)) in map.iter().enumerate() {
                if name.is_empty() {
                    return Err(NotComputable::new("the document has an empty name, which a map cannot have"));
                }
                text.push_str(if i == 0 { "" } else { "," });
                append_string(name, text)?;
                text.push(':');
                append(member, text)?;
            }
            text.push('}');
        }
        Value::B(_) | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) => {
            let name = value.type_name();
            return Err(NotComputable::new(format!(
                "the document contains a value of type {name}, which JSON does not have"
            )));
        }
    }
    Ok(())
}

fn append_string(string: &str, text: &mut String) -> Result<(), NotComputable> {
    // A string always has a JSON text, so this error cannot occur.
    let quoted = serde_json::to_string(string).map_err(|_| NotComputable::new("a string has no JSON text"))?;
    text.push_str(&quoted);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn text(json: Json) -> Result<String, NotComputable> {
        match write(&Value::from_json(&json).unwrap()).unwrap()? {
            Value::S(text) => Ok(text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn documents_become_json_text() {
        for (value, expected) in [
            (json!({"M": {}}), "{}"),
            (json!({"L": [{"L": []}, {"M": {}}]}), "[[],{}]"),
            (
                json!({"M": {"b": {"N": "1.50"}, "a": {"S": "é\n\"\\"}, "c": {"L": [{"NULL": true}, {"BOOL": false}, {"BOOL": true}]}}}),
                "{\"a\":\"é\\n\\\"\\\\\",\"b\":1.5,\"c\":[null,false,true]}",
            ),
            (json!({"L": [{"N": "1e3"}, {"N": "-0.0"}, {"N": "1E-5"}]}), "[1000,0,0.00001]"),
            (
                json!({"L": [{"N": "12345678901234567890123456789012345678"}]}),
                "[12345678901234567890123456789012345678]",
            ),
        ] {
            assert_eq!(text(value).unwrap(), expected);
        }
    }

    #[test]
    fn types_that_json_lacks_are_refused() {
        for value in [json!({"B": "AA=="}), json!({"SS": ["a"]}), json!({"NS": ["1"]}), json!({"BS": ["AA=="]})] {
            let name = value.as_object().unwrap().keys().next().unwrap().clone();
            let why = text(json!({"M": {"a": {"L": [value.clone()]}}})).unwrap_err();
            assert!(why.reason().contains(&format!("type {name},")), "{why}");
            assert!(write(&Value::from_json(&value).unwrap()).is_none());
        }
        let mut deep = Value::Null;
        for _ in 0..32 {
            deep = Value::L(vec![deep]);
        }
        assert!(write(&deep).unwrap().is_err());
    }
}
