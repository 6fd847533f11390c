//! Reads the constant of a `set`, and converts it from TOML to an attribute value.

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::fields::parse_integer;
use crate::item::{Item, MAX_LEVELS, Value};

/// The type names of DynamoDB JSON, for help texts.
const TYPES: &str = "one of S, N, B, BOOL, NULL, SS, NS, BS, L, M, such as { N = \"1.5\" } or { SS = [\"a\", \"b\"] }";

/// Reads a constant. Strings, integers and booleans are plain TOML. All other types are DynamoDB JSON. `depth` is the
/// number of steps in the path of the target. It is needed because DynamoDB limits the nesting depth.
pub(super) fn read(value: &Spanned<DeValue<'_>>, depth: usize, problems: &mut Problems) -> Option<Value> {
    match value.get_ref() {
        DeValue::String(text) => Some(Value::S(text.to_string())),
        DeValue::Boolean(flag) => Some(Value::Bool(*flag)),
        DeValue::Integer(integer) => match parse_integer(integer) {
            Some(number) => typed("N", &Json::String(number.to_string()), value.span(), problems),
            None => {
                let help = format!("write it as text, which keeps up to 38 digits: {{ N = \"{}\" }}", integer.as_str());
                refuse(problems, value.span(), "a TOML integer has at most 64 bits", &help)
            }
        },
        DeValue::Float(float) => {
            let help = format!("write it as text, which keeps every digit: {{ N = \"{}\" }}", float.as_str());
            refuse(problems, value.span(), "a TOML float is not exact, but a DynamoDB number is", &help)
        }
        DeValue::Datetime(date) => {
            let help = format!("write it as a string, \"{date}\", or as a number: {{ N = \"…\" }}");
            refuse(problems, value.span(), "DynamoDB has no type for dates", &help)
        }
        DeValue::Array(_) => {
            let help = "write { L = [{ S = \"x\" }] } for a list, or { SS = [\"x\"] }, { NS = [\"1\"] } for a set";
            refuse(problems, value.span(), "an array could be a list or a set", help)
        }
        DeValue::Table(_) => dynamodb_json(value, depth, problems),
    }
}

/// Reads a DynamoDB JSON value: `{ TYPE = … }`.
fn dynamodb_json(value: &Spanned<DeValue<'_>>, depth: usize, problems: &mut Problems) -> Option<Value> {
    let expected_form = "write a table with one member, whose name is the type";
    let DeValue::Table(table) = value.get_ref() else { return refuse(problems, value.span(), expected_form, TYPES) };
    let mut members = table.iter();
    let (Some((name, body)), None) = (members.next(), members.next()) else {
        return refuse(problems, value.span(), expected_form, TYPES);
    };
    if body.span() == (0..0) {
        return None;
    }
    if depth > MAX_LEVELS {
        return refuse(
            problems,
            value.span(),
            "this is nested deeper than the 32 levels that DynamoDB allows",
            "use fewer levels",
        );
    }
    match name.get_ref().as_ref() {
        "L" => match body.get_ref() {
            DeValue::Array(list) => {
                let members: Vec<_> = list.iter().map(|member| dynamodb_json(member, depth + 1, problems)).collect();
                members.into_iter().collect::<Option<Vec<_>>>().map(Value::L)
            }
            _ => refuse(problems, body.span(), "L must be an array of values", "write { L = [{ S = \"x\" }] }"),
        },
        "M" => match body.get_ref() {
            DeValue::Table(map) => document(map, depth + 1, problems).map(Value::M),
            _ => refuse(
                problems,
                body.span(),
                "M must be a table of names and values",
                "write { M = { name = { S = \"x\" } } }",
            ),
        },
        kind @ ("S" | "N" | "B" | "BOOL" | "NULL" | "SS" | "NS" | "BS") => {
            typed(kind, &as_json(body.get_ref()), body.span(), problems)
        }
        other => refuse(problems, name.span(), &format!("`{other}` is not a DynamoDB type"), TYPES),
    }
}

fn document(map: &DeTable<'_>, depth: usize, problems: &mut Problems) -> Option<Item> {
    let members: Vec<_> = map
        .iter()
        .map(|(name, member)| {
            if name.get_ref().is_empty() {
                return refuse(problems, name.span(), "a name in a document cannot be empty", "give it a name");
            }
            Some((name.get_ref().to_string(), dynamodb_json(member, depth, problems)?))
        })
        .collect();
    members.into_iter().collect()
}

/// Reads the content of a scalar or a set. Values of these types do not contain other DynamoDB JSON values.
fn typed(kind: &str, body: &Json, at: TextSpan, problems: &mut Problems) -> Option<Value> {
    match Value::from_json(&serde_json::json!({ kind: body })) {
        Ok(value) => Some(value),
        Err(why) => {
            let example = match kind {
                "S" => "{ S = \"x\" }",
                "N" => "{ N = \"1.5\" }",
                "B" => "{ B = \"AAEC\" }, the bytes in base64",
                "BOOL" => "{ BOOL = true }",
                "NULL" => "{ NULL = true }",
                "SS" => "{ SS = [\"a\", \"b\"] }",
                "NS" => "{ NS = [\"1\", \"2.5\"] }",
                _ => "{ BS = [\"AAEC\"] }, each member in base64",
            };
            refuse(problems, at, &why.to_string(), &format!("write it like {example}"))
        }
    }
}

/// Converts TOML to JSON. If JSON cannot represent a value, the value becomes null, which scalars and sets do not
/// accept.
fn as_json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::String(text.to_string()),
        DeValue::Boolean(flag) => Json::Bool(*flag),
        DeValue::Integer(integer) => parse_integer(integer).map_or(Json::Null, Json::from),
        DeValue::Array(list) => Json::Array(list.iter().map(|member| as_json(member.get_ref())).collect()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Json::Null,
    }
}

fn refuse<T>(problems: &mut Problems, at: TextSpan, what: &str, help: &str) -> Option<T> {
    problems.add(Diagnostic::new("this is not a constant that can be set", at, what).help(help));
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::text::PlanText;

    fn constant(toml: &str) -> Option<Value> {
        let text = format!("value = {toml}");
        let table = DeTable::parse(&text).unwrap();
        let mut problems = Problems::new(PlanText::new(&text, &[]));
        let value = read(table.get_ref().get("value").unwrap(), 1, &mut problems);
        assert_eq!(value.is_none(), !problems.is_empty(), "{toml}");
        value
    }

    #[test]
    fn every_type_can_be_written() {
        for (toml, json) in [
            ("\"x\"", json!({"S": "x"})),
            ("-1_000", json!({"N": "-1000"})),
            ("0x10", json!({"N": "16"})),
            ("true", json!({"BOOL": true})),
            ("{ S = \"\" }", json!({"S": ""})),
            ("{ N = \"1.50\" }", json!({"N": "1.50"})),
            ("{ B = \"AAEC\" }", json!({"B": "AAEC"})),
            ("{ BOOL = false }", json!({"BOOL": false})),
            ("{ NULL = true }", json!({"NULL": true})),
            ("{ SS = [\"b\", \"a\"] }", json!({"SS": ["a", "b"]})),
            ("{ NS = [\"1\"] }", json!({"NS": ["1"]})),
            ("{ BS = [\"AA==\"] }", json!({"BS": ["AA=="]})),
            ("{ L = [{ S = \"x\" }, { L = [] }] }", json!({"L": [{"S": "x"}, {"L": []}]})),
            ("{ M = { \"a b\" = { N = \"1\" }, c = { M = {} } } }", json!({"M": {"a b": {"N": "1"}, "c": {"M": {}}}})),
        ] {
            assert_eq!(constant(toml).unwrap().to_json(), json, "{toml}");
        }
    }

    #[test]
    fn values_that_dynamodb_cannot_store_are_refused() {
        let deep = format!("{}{{ S = \"x\" }}{}", "{ L = [".repeat(32), "] }".repeat(32));
        for bad in [
            "1.5",
            "2020-01-01",
            "[1]",
            "{}",
            "{ S = \"a\", N = \"1\" }",
            "{ X = 1 }",
            "{ N = 1 }",
            "{ N = 1.5 }",
            "{ N = \"x\" }",
            "{ NULL = false }",
            "{ SS = [] }",
            "{ NS = [\"1\", \"1.0\"] }",
            "{ BS = [\"AA==\", \"AA==\"] }",
            "{ L = [1] }",
            "{ M = { a = 1 } }",
            "{ M = { \"\" = { S = \"x\" } } }",
            deep.as_str(),
        ] {
            assert_eq!(constant(bad), None, "{bad}");
        }
    }
}
