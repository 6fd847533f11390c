//! Reads one line of a file of keys.

use serde_json::{Map, Value as Json};

use super::{KeysFormat, MAX_LINE_BYTES, csv};
use crate::item::{ItemKey, KeyAttribute, KeySchema, Value, value_bytes};

/// The maximum size of a partition key and of a sort key in bytes (developer guide, "Quotas").
const MAX_PARTITION_KEY_BYTES: usize = 2048;
const MAX_SORT_KEY_BYTES: usize = 1024;

/// Reads the lines of one file. A CSV file's names come from its first line.
#[derive(Debug, Clone)]
pub(super) struct LineParser {
    format: KeysFormat,
    /// The names in the first line of a CSV file. `None` until that line was read.
    header: Option<Vec<String>>,
}

impl LineParser {
    pub(super) fn new(format: KeysFormat) -> LineParser {
        LineParser { format, header: None }
    }

    /// Returns the names in the first line of a CSV file, if that line was read.
    pub(super) fn header(&self) -> Option<&[String]> {
        self.header.as_deref()
    }

    /// Checks the form of a line. Returns false if the line contains no key: it is blank, or the first line of a CSV
    /// file.
    pub(super) fn check_form(&mut self, text: &[u8]) -> Result<bool, String> {
        let Some(text) = readable(text)? else { return Ok(false) };
        match self.format {
            KeysFormat::Ndjson => json_object(text).map(|_| true),
            KeysFormat::Csv => self.record(text).map(|record| record.is_some()),
        }
    }

    /// Reads the key in a line. Returns `None` if the line contains no key.
    pub(super) fn key(&mut self, text: &[u8], schema: &KeySchema) -> Result<Option<ItemKey>, String> {
        let Some(text) = readable(text)? else { return Ok(None) };
        let key = match self.format {
            KeysFormat::Ndjson => {
                let attributes = schema.key_from_json(&json_object(text)?).map_err(|error| error.to_string())?;
                ItemKey::new(attributes)
            }
            KeysFormat::Csv => {
                let Some(record) = self.record(text)? else { return Ok(None) };
                let names = self.header.iter().flatten().cloned();
                let named: Vec<(String, String)> = names.zip(record).collect();
                let value = |key: &KeyAttribute| {
                    let (_, text) = named
                        .iter()
                        .find(|(name, _)| *name == key.name)
                        .ok_or_else(|| format!("`{}` is missing", key.name))?;
                    Ok((key.name.clone(), value_from_text(key, text)?))
                };
                let attributes = std::iter::once(&schema.partition).chain(&schema.sort);
                ItemKey::new(attributes.map(value).collect::<Result<_, String>>()?)
            }
        };
        check_size(&key, schema)?;
        Ok(Some(key))
    }

    /// Reads a record of a CSV file. Returns `None` for the first line, which has the names.
    fn record(&mut self, text: &str) -> Result<Option<Vec<String>>, String> {
        let fields = csv::fields(text)?;
        let Some(header) = &self.header else {
            if fields.len() > 2 || fields.iter().any(String::is_empty) || fields.first() == fields.get(1) {
                return Err("the first line must have the names of the key attributes, such as `pk,sk`".to_owned());
            }
            self.header = Some(fields);
            return Ok(None);
        };
        if fields.len() != header.len() {
            let values = if fields.len() == 1 { "value" } else { "values" };
            return Err(format!(
                "it has {} {values}, but the number of names in the first line is {}",
                fields.len(),
                header.len()
            ));
        }
        if fields.iter().any(String::is_empty) {
            return Err("a key value cannot be empty".to_owned());
        }
        Ok(Some(fields))
    }
}

/// Returns the text of a line, or `None` if the line is blank.
fn readable(text: &[u8]) -> Result<Option<&str>, String> {
    if text.len() > MAX_LINE_BYTES {
        return Err(format!("it is longer than {MAX_LINE_BYTES} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8 text".to_owned())?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// Reads a line of NDJSON. The error contains no part of the line.
fn json_object(text: &str) -> Result<Map<String, Json>, String> {
    const FORM: &str = "it is not a JSON object on one line, such as {\"pk\": {\"S\": \"a\"}}";
    let Ok(Json::Object(object)) = serde_json::from_str(text) else { return Err(FORM.to_owned()) };
    let is_value = |value: &Json| match value {
        Json::String(_) | Json::Number(_) => true,
        Json::Object(typed) => typed.len() == 1,
        Json::Null | Json::Bool(_) | Json::Array(_) => false,
    };
    if !(1..=2).contains(&object.len()) {
        return Err("a key must have one or two attributes".to_owned());
    }
    if !object.values().all(is_value) {
        return Err("a key value must be a string, a number, or a DynamoDB value such as {\"S\": \"a\"}".to_owned());
    }
    Ok(object)
}

/// Reads a value of a CSV file with the type of the key attribute. Bytes are in base64.
fn value_from_text(key: &KeyAttribute, text: &str) -> Result<Value, String> {
    let value = Value::from_json(&serde_json::json!({ key.kind.as_str(): text })).ok();
    value.ok_or_else(|| {
        let expected = match key.kind.as_str() {
            "N" => "a number",
            "B" => "bytes in base64",
            _ => "a string",
        };
        format!("`{}` must be {expected}", key.name)
    })
}

fn check_size(key: &ItemKey, schema: &KeySchema) -> Result<(), String> {
    let partition = (&schema.partition, MAX_PARTITION_KEY_BYTES);
    let sort = schema.sort.iter().map(|sort| (sort, MAX_SORT_KEY_BYTES));
    for (attribute, most) in std::iter::once(partition).chain(sort) {
        if key.attributes().get(&attribute.name).is_some_and(|value| value_bytes(value) > most) {
            return Err(format!("`{}` is longer than {most} bytes", attribute.name));
        }
    }
    Ok(())
}
