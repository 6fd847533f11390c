//! Reads JSON text strictly (RFC 8259). Refuses documents that DynamoDB or another reader of JSON could understand
//! differently. Such documents have a name that occurs twice, an empty name, or a number with more than 38 digits.
//!
//! `serde_json` would read numbers as floats, so this reader finds the structure and the numbers itself. It leaves the
//! strings and their escapes to `serde_json`.

use crate::convert::number;
use crate::item::{Item, MAX_LEVELS, NotComputable, Num, Value};

/// A JSON text.
pub(super) enum Document {
    Object(Item),
    Array(Vec<Value>),
    /// A string, a number, a boolean or null.
    Scalar,
}

/// Reads a JSON text. Only white space is allowed before and after the value.
pub(super) fn document(text: &str) -> Result<Document, NotComputable> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(1)?;
    reader.skip_space();
    if reader.at < text.len() {
        return Err(NotComputable::new(format!("the JSON text ends at byte {}, but the text continues", reader.at)));
    }
    Ok(match value {
        Value::M(map) => Document::Object(map),
        Value::L(list) => Document::Array(list),
        Value::S(_)
        | Value::N(_)
        | Value::B(_)
        | Value::Bool(_)
        | Value::Null
        | Value::Ss(_)
        | Value::Ns(_)
        | Value::Bs(_) => Document::Scalar,
    })
}

struct Reader<'t> {
    text: &'t str,
    /// The byte that is read next. All bytes before it are read.
    at: usize,
}

impl<'t> Reader<'t> {
    /// Reads a value. `level` is the number of nesting levels, including the value. It bounds the recursion.
    fn value(&mut self, level: usize) -> Result<Value, NotComputable> {
        if level > MAX_LEVELS {
            let why = format!("the JSON text is nested deeper than {MAX_LEVELS} levels, DynamoDB's limit");
            return Err(NotComputable::new(why));
        }
        self.skip_space();
        match self.next_byte() {
            Some(b'{') => self.object(level).map(Value::M),
            Some(b'[') => self.array(level).map(Value::L),
            Some(b'"') => self.string().map(Value::S),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::N),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) | None => Err(self.not_json()),
        }
    }

    fn object(&mut self, level: usize) -> Result<Item, NotComputable> {
        let mut map = Item::new();
        self.members(b'}', |reader| {
            let name = reader.string()?;
            reader.skip_space();
            reader.expect(b':')?;
            if name.is_empty() {
                return Err(NotComputable::new("the JSON text has an empty name, which a map cannot have"));
            }
            let value = reader.value(level + 1)?;
            match map.insert(name, value) {
                None => Ok(()),
                Some(_) => Err(NotComputable::new("the JSON text has the same name twice in one object")),
            }
        })?;
        Ok(map)
    }

    fn array(&mut self, level: usize) -> Result<Vec<Value>, NotComputable> {
        let mut list = Vec::new();
        self.members(b']', |reader| {
            list.push(reader.value(level + 1)?);
            Ok(())
        })?;
        Ok(list)
    }

    /// Reads the members between an opening and a closing bracket, with a comma between two members.
    fn members(
        &mut self,
        close: u8,
        mut member: impl FnMut(&mut Reader<'t>) -> Result<(), NotComputable>,
    ) -> Result<(), NotComputable> {
        self.at += 1;
        self.skip_space();
        if self.next_byte() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.skip_space();
            member(self)?;
            self.skip_space();
            match self.next_byte() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) | None => return Err(self.not_json()),
            }
        }
    }

    fn string(&mut self) -> Result<String, NotComputable> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            match self.next_byte() {
                Some(b'"') => break,
                // Skip the escaped character too: it can be a quote.
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(self.not_json()),
            }
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at).ok_or_else(|| self.not_json())?;
        serde_json::from_str(quoted).map_err(|_| {
            NotComputable::new(format!(
                "the text is not JSON: the string at byte {start} has an invalid character or escape"
            ))
        })
    }

    fn number(&mut self) -> Result<Num, NotComputable> {
        let start = self.at;
        self.skip(b'-');
        match self.next_byte() {
            // A number starts with a zero only if the zero is its only digit before the point.
            Some(b'0') => self.at += 1,
            Some(_) | None => self.digits()?,
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            if !self.skip(b'-') {
                self.skip(b'+');
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let number = Num::parse(text).map_err(|why| {
            NotComputable::new(format!("the JSON text has a number that DynamoDB cannot store: {why}"))
        })?;
        number::write(&number).map(Num::from_wire)
    }

    /// Reads at least one digit.
    fn digits(&mut self) -> Result<(), NotComputable> {
        let start = self.at;
        while self.next_byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.not_json()) } else { Ok(()) }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, NotComputable> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.not_json());
        }
        self.at += word.len();
        Ok(value)
    }

    fn next_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips this byte if it is next. Returns whether the byte was skipped.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.next_byte() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotComputable> {
        if self.skip(byte) { Ok(()) } else { Err(self.not_json()) }
    }

    fn skip_space(&mut self) {
        while matches!(self.next_byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn not_json(&self) -> NotComputable {
        match self.at < self.text.len() {
            true => NotComputable::new(format!("the text is not JSON: unexpected character at byte {}", self.at)),
            false => NotComputable::new("the text is not JSON: it ends too early"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{is_document, read_list, read_map};

    #[test]
    fn objects_become_maps_and_arrays_become_lists() {
        for (text, value) in [
            ("{}", json!({"M": {}})),
            (" \t\r\n{ } \n", json!({"M": {}})),
            ("[]", json!({"L": []})),
            (r#"{"theme":"dark","n":1}"#, json!({"M": {"theme": {"S": "dark"}, "n": {"N": "1"}}})),
            (
                r#"{"n":12345678901234567890.5,"deep":{"a":[1,"x",null,true,false]}}"#,
                json!({"M": {"n": {"N": "12345678901234567890.5"}, "deep": {"M": {"a": {"L": [{"N": "1"}, {"S": "x"},
                    {"NULL": true}, {"BOOL": true}, {"BOOL": false}]}}}}}),
            ),
            (r#"{"k":"\u00e9\n\"\\\/\ud83d\ude00"}"#, json!({"M": {"k": {"S": "é\n\"\\/😀"}}})),
            (r#"{"a\"b":"","é":[[]]}"#, json!({"M": {"a\"b": {"S": ""}, "é": {"L": [{"L": []}]}}})),
            (
                "[0,-0,-1.50,1e2,1E+2,12e-1]",
                json!({"L": [{"N": "0"}, {"N": "0"}, {"N": "-1.5"}, {"N": "100"},
                {"N": "100"}, {"N": "1.2"}]}),
            ),
            (
                "[12345678901234567890123456789012345678,0.1]",
                json!({"L": [{"N": "12345678901234567890123456789012345678"}, {"N": "0.1"}]}),
            ),
            (
                r#"{"a":{"a":1},"b":{"a":1}}"#,
                json!({"M": {"a": {"M": {"a": {"N": "1"}}}, "b": {"M": {"a": {"N": "1"}}}}}),
            ),
        ] {
            let read = if text.trim().starts_with('{') { read_map(text) } else { read_list(text) };
            assert_eq!(read.unwrap().to_json(), value, "{text}");
            assert!(is_document(text), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_strictly_json_is_refused() {
        let long = format!("[{}]", "1".repeat(39));
        for bad in [
            "",
            " ",
            "not json",
            "{\"a\":",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1}x",
            "{\"a\":1}{}",
            "[1] 2",
            "[01]",
            "[-]",
            "[+1]",
            "[.5]",
            "[5.]",
            "[1e]",
            "[NaN]",
            "[Infinity]",
            "[0x10]",
            "[tru]",
            "[nul]",
            "[True]",
            "[\"a]",
            "[\"a\\\"]",
            "[\"\\x\"]",
            "[\"\\ud800\"]",
            "[\"\\u12\"]",
            "[\"a\nb\"]",
            "[\"\u{1}\"]",
            "\u{feff}[]",
            "[]\u{a0}",
            "// c\n[]",
            "[1e126]",
            "[1e-131]",
            "[1e999999999999]",
            "[\"\\é\"]",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"\":1}",
            "[{\"\":1}]",
            &long,
        ] {
            for read in [read_map(bad), read_list(bad)] {
                let why = read.unwrap_err();
                assert!(bad.len() < 3 || !why.reason().contains(bad), "{why}");
            }
            assert!(!is_document(bad), "{bad}");
        }
    }

    #[test]
    fn only_the_right_kind_of_json_is_converted() {
        for scalar in ["\"text\"", "null", "true", "5"] {
            assert!(read_map(scalar).is_err() && read_list(scalar).is_err() && !is_document(scalar), "{scalar}");
        }
        assert!(read_map("[]").unwrap_err().reason().contains("array"));
        assert!(read_list("{}").unwrap_err().reason().contains("object"));
    }

    #[test]
    fn nesting_ends_at_the_limit_of_dynamodb() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read_list(&nested(32)).is_ok());
        let with_scalar = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read_list(&with_scalar(31)).is_ok());
        for text in [nested(33), with_scalar(32), nested(100_000), "[".repeat(400_000)] {
            let why = read_list(&text).unwrap_err();
            assert!(why.reason().contains("32 levels"), "{why}");
        }
    }
}
