//! Converts between booleans and the words that stand for them.

use crate::item::{NotComputable, Num, Value};

/// The texts that mean true, and the texts that mean false. The default is `true` and `false`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BooleanWords {
    true_values: Vec<String>,
    false_values: Vec<String>,
    /// Whether the plan names the words.
    stated: bool,
}

impl Default for BooleanWords {
    fn default() -> BooleanWords {
        BooleanWords { true_values: vec!["true".into()], false_values: vec!["false".into()], stated: false }
    }
}

impl BooleanWords {
    /// Creates the words that a plan names. They replace the default words. A text means a value only if it is exactly
    /// one of the words.
    pub fn new(true_values: Vec<String>, false_values: Vec<String>) -> BooleanWords {
        BooleanWords { true_values, false_values, stated: true }
    }

    /// Converts a word, or the number 0 or 1, to a boolean. Returns `None` if the value's type cannot be converted.
    pub(super) fn convert(&self, value: &Value) -> Option<Result<Value, NotComputable>> {
        if let Value::S(text) = value {
            return Some(self.read(text).map(Value::Bool));
        }
        let Value::N(number) = value else { return None };
        Some(read_number(number).map(Value::Bool))
    }

    fn read(&self, text: &str) -> Result<bool, NotComputable> {
        let has = |words: &[String]| words.iter().any(|word| word == text);
        match (has(&self.true_values), has(&self.false_values)) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            (true, true) => Err(NotComputable::new("the text is in both `true_values` and `false_values`")),
            (false, false) if self.stated => {
                Err(NotComputable::new("the text is in neither `true_values` nor `false_values`"))
            }
            (false, false) => Err(NotComputable::new("the text is neither \"true\" nor \"false\"")),
        }
    }

    pub(super) fn options(&self) -> Vec<(&'static str, Vec<String>)> {
        let sorted = |words: &[String]| {
            let mut words = words.to_vec();
            words.sort();
            words
        };
        match self.stated {
            true => vec![("true_values", sorted(&self.true_values)), ("false_values", sorted(&self.false_values))],
            false => Vec::new(),
        }
    }
}

/// Converts a boolean to its word. Returns `None` for other types.
pub(super) fn write(value: &Value) -> Option<Result<Value, NotComputable>> {
    let Value::Bool(flag) = value else { return None };
    Some(Ok(Value::S(flag.to_string())))
}

fn read_number(number: &Num) -> Result<bool, NotComputable> {
    match number.canonical().as_str() {
        "0E0" => Ok(false),
        "1E0" => Ok(true),
        _ => Err(NotComputable::new("the number is neither 0 nor 1")),
    }
}
