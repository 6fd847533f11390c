//! The lines between this tool and a program. This module is pure.
//!
//! A batch is one line for each item, `{"id":7,"item":{…}}`, and then an empty line. The program prints one line for
//! each item, in any order, and then an empty line: `{"id":7,"outputs":{…}}`, or `{"id":7,"error":"code"}` if it cannot
//! compute the item. Values are DynamoDB JSON. `docs/exec.md` describes the protocol for the authors of programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::change::ProgramAnswer;
use crate::item::{Item, MAX_ITEM_BYTES, MAX_LEVELS, Value, attribute_bytes, item_to_json};

/// The maximum length of a line that a program prints. An item has at most 400 KB. In JSON, each of its bytes becomes
/// at most six bytes (`\u0000`).
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// The longest code of an error.
const MAX_CODE: usize = 40;

/// What a program answered to a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Replies {
    /// The answer for each id that the program answered.
    pub answers: BTreeMap<u64, ProgramAnswer>,
    /// Number of lines that follow the protocol and answer an item of the batch. An error is an answer, too.
    pub valid_lines: u64,
    /// Number of lines that answer no item of the batch.
    pub stray_lines: u64,
}

/// Returns the text of a batch.
pub fn request<'a>(batch: impl IntoIterator<Item = (u64, &'a Item)>) -> Vec<u8> {
    let mut text = Vec::new();
    for (id, inputs) in batch {
        text.extend(json!({ "id": id, "item": item_to_json(inputs) }).to_string().into_bytes());
        text.push(b'\n');
    }
    text.push(b'\n');
    text
}

/// Reads what a program printed for the items with ids from `first` to `last`. `outputs` contains the names of all
/// outputs. Each answer must have a value for every name, and no other values. Ignores the last line if it has no line
/// break. The reasons for invalid answers contain no values.
pub fn replies(printed: &[u8], (first, last): (u64, u64), outputs: &[&str]) -> Replies {
    let mut found = Replies { answers: BTreeMap::new(), valid_lines: 0, stray_lines: 0 };
    let complete = printed.iter().rposition(|byte| *byte == b'\n').map_or(&[][..], |end| &printed[..end]);
    for line in complete.split(|byte| *byte == b'\n').filter(|line| !is_empty(line)) {
        let Some((id, reply)) = identify(line).filter(|(id, _)| (first..=last).contains(id)) else {
            found.stray_lines += 1;
            continue;
        };
        let answer = match found.answers.contains_key(&id) {
            true => Err("answered the item twice".to_owned()),
            false => read(reply, outputs),
        };
        found.valid_lines += u64::from(answer.is_ok());
        found.answers.insert(id, answer.and_then(|answer| answer));
    }
    found
}

/// Returns whether a line ends a batch.
pub(super) fn is_empty(line: &[u8]) -> bool {
    matches!(line, b"" | b"\r")
}

/// Returns the id in a line, and the line's other members.
fn identify(line: &[u8]) -> Option<(u64, Map<String, Json>)> {
    let Ok(Json::Object(mut reply)) = serde_json::from_slice(line) else { return None };
    let id = reply.remove("id")?.as_u64()?;
    Some((id, reply))
}

/// Reads the answer of one line. The outer error means that the line breaks the protocol.
fn read(reply: Map<String, Json>, outputs: &[&str]) -> Result<ProgramAnswer, String> {
    let mut members = reply.into_iter();
    match (members.next(), members.next()) {
        (Some((name, Json::Object(values))), None) if name == "outputs" => read_outputs(&values, outputs).map(Ok),
        (Some((name, Json::String(code))), None) if name == "error" => Ok(Err(match is_code(&code) {
            true => format!("answered with the error `{code}`"),
            false => format!(
                "answered with an error. Its text is not shown, because it is not a code of at most {MAX_CODE} letters, \
                 `_` and `-`"
            ),
        })),
        _ => Err("gave an answer that must contain only `outputs` (an object) or only `error` (a code)".to_owned()),
    }
}

/// Returns whether a text is a code. Other texts, such as the message of an exception, can contain values of an item. A
/// code has no digits, so it cannot contain a number or an identifier from an item.
fn is_code(code: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '-');
    (1..=MAX_CODE).contains(&code.len()) && code.chars().all(is_allowed)
}

fn read_outputs(values: &Map<String, Json>, outputs: &[&str]) -> ProgramAnswer {
    if let Some(missing) = outputs.iter().find(|name| !values.contains_key(**name)) {
        return Err(format!("gave no value for `{}`", missing.escape_debug()));
    }
    if values.len() != outputs.len() {
        return Err("gave a value for an attribute that is not in `outputs`".to_owned());
    }
    let mut item = Item::new();
    let mut bytes = 0;
    for name in outputs {
        let shown = name.escape_debug();
        let value = values.get(*name).and_then(|json| Value::from_json(json).ok());
        let Some(value) = value else { return Err(format!("gave a value for `{shown}` that is not DynamoDB JSON")) };
        if value.nests_deeper_than(MAX_LEVELS) {
            return Err(format!("gave a value for `{shown}` with more than {MAX_LEVELS} levels"));
        }
        bytes += attribute_bytes(name, &value);
        if bytes > MAX_ITEM_BYTES {
            return Err(format!("gave values that are larger than an item, which has at most {MAX_ITEM_BYTES} bytes"));
        }
        item.insert((*name).to_owned(), value);
    }
    Ok(item)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(printed: &str) -> Replies {
        replies(printed.as_bytes(), (3, 5), &["a", "b"])
    }

    fn value(text: &str) -> Value {
        Value::S(text.to_owned())
    }

    fn good() -> Item {
        Item::from([("a".to_owned(), value("x")), ("b".to_owned(), Value::Null)])
    }

    const GOOD: &str = r#""outputs":{"a":{"S":"x"},"b":{"NULL":true}}"#;

    #[test]
    fn a_batch_is_one_line_for_each_item_and_an_empty_line() {
        let item = Item::from([("t".to_owned(), value("line 1\nline 2"))]);
        let text = String::from_utf8(request([(7, &item), (8, &Item::new())])).unwrap();
        assert_eq!(text, "{\"id\":7,\"item\":{\"t\":{\"S\":\"line 1\\nline 2\"}}}\n{\"id\":8,\"item\":{}}\n\n");
    }

    #[test]
    fn answers_are_found_by_id_in_any_order() {
        let found =
            read_all(&format!("{{\"id\":5,{GOOD}}}\r\n{{\"id\":3,{GOOD}}}\n{{\"id\":4,\"error\":\"no-text\"}}\n"));
        assert_eq!(found.stray_lines, 0);
        assert_eq!((&found.answers[&3], &found.answers[&5]), (&Ok(good()), &Ok(good())));
        assert_eq!(found.answers[&4], Err("answered with the error `no-text`".to_owned()));
    }

    #[test]
    fn a_wrong_answer_fails_its_item_only() {
        for (line, says) in [
            ("\"outputs\":{\"a\":{\"S\":\"x\"}}", "gave no value for `b`"),
            ("\"outputs\":{\"a\":{\"S\":\"x\"},\"b\":{\"S\":\"x\"},\"c\":{\"S\":\"x\"}}", "not in `outputs`"),
            ("\"outputs\":{\"a\":{\"S\":\"x\"},\"b\":\"secret\"}", "`b` that is not DynamoDB JSON"),
            ("\"outputs\":{\"a\":{\"N\":\"secret\"},\"b\":{\"NULL\":true}}", "`a` that is not DynamoDB JSON"),
            ("\"outputs\":{\"a\":{\"SS\":[]},\"b\":{\"NULL\":true}}", "`a` that is not DynamoDB JSON"),
            ("\"outputs\":[]", "must contain only `outputs`"),
            ("\"outputs\":{},\"error\":\"x\"", "must contain only `outputs`"),
            ("\"output\":{}", "must contain only `outputs`"),
            ("\"error\":\"the text was: secret\"", "is not shown"),
            ("\"error\":\"\"", "is not shown"),
            ("\"error\":\"secret-0176\"", "is not shown"),
            ("\"error\":\"550e8400-secret-a716-446655440000\"", "is not shown"),
        ] {
            let found = read_all(&format!("{{\"id\":3,{GOOD}}}\n{{\"id\":4,{line}}}\n"));
            assert_eq!(found.answers[&3], Ok(good()), "{line}");
            let why = found.answers[&4].clone().unwrap_err();
            assert!(why.contains(says) && !why.contains("secret"), "{line}: {why}");
        }
        let big = "x".repeat(300_000);
        let found =
            read_all(&format!("{{\"id\":3,\"outputs\":{{\"a\":{{\"S\":\"{big}\"}},\"b\":{{\"S\":\"{big}\"}}}}}}\n"));
        assert!(found.answers[&3].clone().unwrap_err().contains("larger than an item"));
        let deep = format!("{}{{\"NULL\":true}}{}", "{\"L\":[".repeat(40), "]}".repeat(40));
        let found = read_all(&format!("{{\"id\":3,\"outputs\":{{\"a\":{deep},\"b\":{{\"NULL\":true}}}}}}\n"));
        assert!(found.answers[&3].clone().unwrap_err().contains("more than 32 levels"));
    }

    #[test]
    fn a_second_answer_invalidates_the_first() {
        let found = read_all(&format!("{{\"id\":3,{GOOD}}}\n{{\"id\":3,{GOOD}}}\n{{\"id\":3,{GOOD}}}\n"));
        assert_eq!(found.answers[&3], Err("answered the item twice".to_owned()));
    }

    #[test]
    fn stray_lines_answer_nothing() {
        let lines =
            ["loading the model", "{\"id\":2,\"error\":\"x\"}", "{\"id\":6,\"error\":\"x\"}", "{}", "[3]", "\u{0}"];
        let found = read_all(&format!("{}\n{{\"id\":3,{GOOD}}}", lines.join("\n")));
        assert_eq!(found.stray_lines, lines.len() as u64);
        assert!(found.answers.is_empty(), "a line without an end may be incomplete");
    }

    proptest! {
        /// The parser never panics, never answers an item outside the batch, and accepts only complete, storable
        /// values.
        #[test]
        fn any_bytes_are_read(printed in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            prop::collection::vec(prop_oneof![
                Just("{\"id\":3,".to_owned()), Just("{\"id\":4,".to_owned()), Just(GOOD.to_owned()), Just("}".to_owned()),
                Just("\n".to_owned()), Just("\"error\":\"x\"".to_owned()), "[\"{}:,a-z0-9\\[\\]]{0,6}",
            ], 0..30).prop_map(|parts| parts.concat().into_bytes()),
        ]) {
            let found = replies(&printed, (3, 5), &["a", "b"]);
            for (id, answer) in found.answers {
                prop_assert!((3..=5).contains(&id));
                if let Ok(outputs) = answer {
                    prop_assert_eq!(outputs.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b"]);
                    prop_assert!(outputs.values().all(|value| Value::from_json(&value.to_json()).as_ref() == Ok(value)));
                }
            }
        }

        /// A truncated text never yields an answer that the complete text does not yield.
        #[test]
        fn a_cut_text_has_fewer_answers(cut in 0_usize..200) {
            let whole = format!("{{\"id\":3,{GOOD}}}\n{{\"id\":5,{GOOD}}}\n{{\"id\":4,\"error\":\"x\"}}\n");
            let all = read_all(&whole).answers;
            let some = replies(&whole.as_bytes()[..cut.min(whole.len())], (3, 5), &["a", "b"]);
            prop_assert_eq!(some.stray_lines, 0);
            prop_assert!(some.answers.iter().all(|(id, answer)| all[id] == *answer));
        }
    }
}
