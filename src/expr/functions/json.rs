//! Converts JSON text to a value and back. Numbers keep all their digits, which a parser with floats would lose.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::lists::members;
use crate::expr::decimal;
use crate::expr::function::Stop;
use crate::expr::run::Run;
use crate::expr::value::View;
use crate::item::{MAX_LEVELS, Num, Value};

/// Parses a JSON text.
pub(super) fn parse(text: &str) -> Result<Value, &'static str> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(1)?;
    parser.space();
    if parser.at == text.len() { Ok(value) } else { Err(NOT_JSON) }
}

const NOT_JSON: &str = "the text is not JSON";

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self, level: usize) -> Result<Value, &'static str> {
        if level > MAX_LEVELS {
            return Err("the document has more than 32 levels");
        }
        if self.take("null") {
            return Ok(Value::Null);
        }
        if self.take("true") {
            return Ok(Value::Bool(true));
        }
        if self.take("false") {
            return Ok(Value::Bool(false));
        }
        if self.take("[") {
            return self.list(level).map(Value::L);
        }
        if self.take("{") {
            return self.map(level).map(Value::M);
        }
        match self.rest().bytes().next() {
            Some(b'"') => self.string().map(Value::S),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::N),
            _ => Err(NOT_JSON),
        }
    }

    fn list(&mut self, level: usize) -> Result<Vec<Value>, &'static str> {
        let mut list = Vec::new();
        if self.take("]") {
            return Ok(list);
        }
        loop {
            list.push(self.value(level + 1)?);
            if self.take("]") {
                return Ok(list);
            }
            if !self.take(",") {
                return Err(NOT_JSON);
            }
        }
    }

    fn map(&mut self, level: usize) -> Result<BTreeMap<String, Value>, &'static str> {
        let mut map = BTreeMap::new();
        if self.take("}") {
            return Ok(map);
        }
        loop {
            self.space();
            let key = self.string()?;
            if !self.take(":") {
                return Err(NOT_JSON);
            }
            let value = self.value(level + 1)?;
            if map.insert(key, value).is_some() {
                return Err("a key occurs twice");
            }
            if self.take("}") {
                return Ok(map);
            }
            if !self.take(",") {
                return Err(NOT_JSON);
            }
        }
    }

    fn string(&mut self) -> Result<String, &'static str> {
        let rest = self.rest();
        if !rest.starts_with('"') {
            return Err(NOT_JSON);
        }
        let mut escaped = false;
        let end = rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let token = rest.get(..end.ok_or(NOT_JSON)? + 2).ok_or(NOT_JSON)?;
        self.at += token.len();
        serde_json::from_str(token).map_err(|_| NOT_JSON)
    }

    fn number(&mut self) -> Result<Num, &'static str> {
        let rest = self.rest();
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let token = &rest[..end];
        self.at += end;
        if !is_json_number(token) {
            return Err(NOT_JSON);
        }
        Num::parse(token).map_err(|_| "it has a number that DynamoDB cannot store exactly")
    }
}

fn is_json_number(token: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let token = token.strip_prefix('-').unwrap_or(token);
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    digits(whole) && digits(decimals) && digits(exponent) && (whole == "0" || !whole.starts_with('0'))
}

/// Writes a value as JSON.
pub(super) fn write(run: &mut Run<'_>, value: View<'_>, text: &mut String) -> Result<(), Stop> {
    let before = text.len();
    match value {
        View::Null => text.push_str("null"),
        View::Bool(value) => text.push_str(if value { "true" } else { "false" }),
        View::N(number) => {
            let number = number.get().ok_or(Stop::reason("a stored text is not a number"))?;
            text.push_str(&decimal::text(&number));
        }
        View::S(value) => write_string(value, text),
        View::B(value) => write_string(&BASE64.encode(value), text),
        View::L(list) => {
            text.push('[');
            for (at, element) in list.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(run, View::of(element), text)?;
            }
            text.push(']');
        }
        View::M(map) => {
            text.push('{');
            for (at, (key, element)) in map.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_string(key, text);
                text.push(':');
                write(run, View::of(element), text)?;
            }
            text.push('}');
        }
        View::Ss(_) | View::Ns(_) | View::Bs(_) => {
            let sorted = members(run, value)?;
            write(run, View::L(&sorted), text)?;
        }
        View::Timestamp(_) | View::Duration(_) => return Err(Stop::Types),
    }
    run.spend_bytes(text.len() - before)?;
    if text.len() > crate::expr::run::MAX_BYTES {
        run.spend_bytes(text.len())?;
    }
    Ok(())
}

fn write_string(value: &str, text: &mut String) {
    text.push_str(&serde_json::Value::from(value).to_string());
}
