//! Describes the meaning of a plan in words, so that people can compare plans.

use std::fmt;

use super::{Plan, SelectedKeys};
use crate::change::{Change, ElementEdit, ExistingRule, GapRule, OnExisting, Strategy, escaped};
use crate::expr::Expr;
use crate::figure::count;
use crate::item::{Path, Value};

/// Maximum number of characters of a constant to show.
const MAX_SHOWN: usize = 60;

impl Plan {
    /// Describes the meaning of the plan in one line. The line shows constants, because constants are part of the plan
    /// and not data of the table. Constants are escaped, and long ones are truncated.
    pub fn meaning(&self) -> String {
        let strategy = match self.strategy {
            Strategy::ExpandContract => "expand-contract",
            Strategy::InPlace => "in-place",
        };
        let existing = self.on_existing;
        let own = |change: &Change| {
            let mut text = change.to_string();
            let options = self.options.of_change(change);
            if let Some(own) = change.on_existing().filter(|own| *own != existing) {
                text += &format!(" (on_existing {})", own.name());
            }
            if options.null_is_missing {
                text += " (NULL is missing)";
            }
            if let Some(selection) = &options.applies_to {
                text += &format!(" (where {})", truncate(selection.condition.source(), escaped));
            }
            text
        };
        let changes = self.changes.iter().map(own).collect::<Vec<_>>().join("; ");
        let selection = match &self.select {
            Some(selection) => {
                format!(" where {}", truncate(selection.condition.source(), escaped))
            }
            None => String::new(),
        };
        let keys = match &self.keys {
            Some(keys) => format!(", {keys}"),
            None => String::new(),
        };
        let index = match &self.index {
            Some(index) => format!(", only the items in index {}", index.name),
            None => String::new(),
        };
        let split = match self.max_writes() {
            1 => String::new(),
            writes => format!(", in up to {writes} writes for each item, so readers can see partial changes"),
        };
        format!(
            "table {}, {strategy}, on_existing {}: {changes}{selection}{keys}{index}{split}",
            self.table.name,
            existing.name()
        )
    }
}

/// Formats the number of keys, the path as written in the plan, and the SHA-256 of the file.
impl fmt::Display for SelectedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = escaped(&self.written().display().to_string());
        match self.file() {
            Some(file) => {
                let keys = count(file.keys(), "key", "keys");
                write!(f, "only the {keys} in {path} (SHA-256 {}…)", &file.sha256()[..12])
            }
            None => write!(f, "only the keys in {path}"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Move { from, to, .. } => write!(f, "move {from} to {to}"),
            Change::Copy { from, to, .. } => write!(f, "copy {from} to {to}"),
            Change::Set { to, value, .. } => write!(f, "set {to} to {}", excerpt(value)),
            Change::Remove { path } => write!(f, "remove {path}"),
            Change::Compute { to, formula, replaces, .. } => {
                write!(f, "compute {to} = {formula}")?;
                let Some(replaced) = replaces else { return Ok(()) };
                write!(f, ", which replaces {}", replaced.path)?;
                match &replaced.inverse {
                    Some(inverse) => write!(f, " (inverse: {})", inverse.formula()),
                    None => f.write_str(" (no inverse)"),
                }
            }
            Change::Convert { path, conversion } => write!(f, "convert {path} to {}", conversion.name()),
            Change::Append { to, addition } => write!(f, "append {} to {to}", excerpt(addition.value())),
            Change::Bump { path } => write!(f, "bump {path}"),
            Change::Each { each } => {
                let edits = each.edits().iter().map(ElementEdit::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "in each element of {}: {edits}", each.container())
            }
            Change::Exec { exec, .. } => {
                let list = |paths: &[Path]| paths.iter().map(Path::to_string).collect::<Vec<_>>().join(", ");
                let argv = exec.argv.iter().map(|argument| format!("{argument:?}")).collect::<Vec<_>>().join(" ");
                write!(f, "compute {} from {} with the program {argv}", list(&exec.outputs), list(&exec.inputs))?;
                let digest = exec.program.as_ref().and_then(|program| program.digest.get(..12));
                digest.map_or(Ok(()), |digest| write!(f, " (SHA-256 {digest}…)"))?;
                match &exec.marker {
                    Some(marker) => write!(f, ", marker {marker}"),
                    None => f.write_str(", deterministic"),
                }
            }
            Change::Put { derived } => {
                let list = |attributes: &[(String, Expr)]| {
                    let one = |(name, expression): &(String, Expr)| {
                        format!("{} = {}", Path::attribute(name.as_str()), truncate(expression.source(), escaped))
                    };
                    attributes.iter().map(one).collect::<Vec<_>>().join(", ")
                };
                let table = derived.table.as_deref().map_or_else(String::new, |table| format!(" into table {table}"));
                write!(f, "put an item{table} with the key {}", list(&derived.key))?;
                if derived.attributes.is_empty() { Ok(()) } else { write!(f, " and {}", list(&derived.attributes)) }
            }
            Change::Delete { gap, keeps_image } => {
                match gap {
                    GapRule::Version(path) => write!(f, "delete items (version {path})")?,
                    GapRule::Attributes(names) => {
                        write!(f, "delete items (of {})", count(names.len() as u64, "attribute", "attributes"))?;
                    }
                    GapRule::WritersStopped => write!(f, "delete items (writers stopped)")?,
                }
                if *keeps_image { Ok(()) } else { write!(f, " without a journal") }
            }
        }
    }
}

impl fmt::Display for ElementEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElementEdit::Move { from, to, .. } => write!(f, "move {from} to {to}")?,
            ElementEdit::Set { to, value, .. } => write!(f, "set {to} to {}", excerpt(value))?,
            ElementEdit::Remove { path } => write!(f, "remove {path}")?,
            ElementEdit::Compute { to, expression, .. } => {
                write!(f, "compute {to} = {}", escaped(expression.source()))?;
            }
            ElementEdit::Convert { path, conversion } => write!(f, "convert {path} to {}", conversion.name())?,
            ElementEdit::ConvertInto { from, to, conversion, .. } => {
                write!(f, "compute {to} = {from} as {}", conversion.name())?;
            }
        }
        let Some(ExistingRule { on_existing, null_is_missing }) = self.existing() else { return Ok(()) };
        match on_existing {
            OnExisting::Keep => {}
            OnExisting::Overwrite | OnExisting::Skip => write!(f, " (on_existing {})", on_existing.name())?,
        }
        if null_is_missing { f.write_str(" (NULL is missing)") } else { Ok(()) }
    }
}

/// Formats a constant in plan syntax. Quotes strings, shows numbers and booleans unchanged, and formats all other types
/// as DynamoDB JSON.
pub fn excerpt(value: &Value) -> String {
    match value {
        Value::S(text) => truncate(text, |excerpt| format!("\"{}\"", excerpt.escape_debug())),
        Value::N(number) => truncate(number.as_str(), |excerpt| excerpt.escape_debug().to_string()),
        Value::Bool(flag) => flag.to_string(),
        Value::B(_) | Value::Null | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => {
            // JSON already escapes control characters. Also escape other characters that could confuse a terminal.
            truncate(&value.to_json().to_string(), |excerpt| {
                excerpt
                    .chars()
                    .map(|c| if c == '"' || c == '\\' { c.to_string() } else { c.escape_debug().to_string() })
                    .collect()
            })
        }
    }
}

/// Formats a text with the function `show`. Truncates a long text and adds its length.
fn truncate(text: &str, show: impl Fn(&str) -> String) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => show(text),
        Some((at, _)) => format!("{}… ({} bytes)", show(&text[..at]), text.len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(json: serde_json::Value) -> String {
        excerpt(&Value::from_json(&json).unwrap())
    }

    #[test]
    fn constants_are_escaped_and_truncated() {
        for (value, says) in [
            (json!({"S": "archived"}), "\"archived\""),
            (json!({"S": "5"}), "\"5\""),
            (json!({"N": "5"}), "5"),
            (json!({"N": "1.50"}), "1.50"),
            (json!({"BOOL": false}), "false"),
            (json!({"NULL": true}), "{\"NULL\":true}"),
            (json!({"SS": ["b", "a"]}), "{\"SS\":[\"a\",\"b\"]}"),
            (json!({"M": {"a": {"L": []}}}), "{\"M\":{\"a\":{\"L\":[]}}}"),
            (json!({"S": "a\u{1b}[2J\n\u{202e}"}), "\"a\\u{1b}[2J\\n\\u{202e}\""),
            (json!({"SS": ["\u{1b}\u{202e}"]}), "{\"SS\":[\"\\u001b\\u{202e}\"]}"),
        ] {
            assert_eq!(text(value), says);
        }
        assert_eq!(text(json!({"S": "é".repeat(70)})), format!("\"{}\"… (140 bytes)", "é".repeat(60)));
        let long = text(json!({"L": vec![json!({"S": "x"}); 1_000]}));
        assert!(long.len() < 100 && long.ends_with(" bytes)"), "{long}");
    }
}
