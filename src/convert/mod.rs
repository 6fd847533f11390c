//! Conversions of attribute values from one DynamoDB type to another, such as a date in a text to seconds since 1970.
//! This module is pure.
//!
//! A [`Conversion`] is exact: it returns a value with the same meaning, or the reason why no such value exists. It
//! never guesses. For example, it refuses a text to which two date formats give different meanings, and a number that
//! would need more than 38 digits. Every conversion changes the DynamoDB type, so it cannot be applied twice by
//! accident.

mod base64_text;
mod boolean;
mod collections;
mod date;
mod json;
mod number;

#[cfg(test)]
mod tests;

use std::fmt;

pub use boolean::BooleanWords;
pub use date::{DateFormat, DateWriter, EpochReader, EpochUnit, Pattern, PatternError};

use crate::item::{NotComputable, Num, Value};

/// A valid conversion. It converts values of certain types to one form of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion(Kind);

/// The target of a conversion that has no options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainTarget {
    /// A number, from its text.
    Number,
    /// The text of a number or a boolean.
    Text,
    /// A map, from the text of a JSON object.
    Map,
    /// A list, from the text of a JSON array or from a set.
    List,
    /// The JSON text of a map or a list.
    JsonText,
    /// A string set, from a list of strings.
    StringSet,
    /// A number set, from a list of numbers.
    NumberSet,
    /// A binary set, from a list of binary values.
    BinarySet,
    /// A binary value, from its base64 text.
    Binary,
    /// The base64 text of a binary value.
    Base64Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Plain(PlainTarget),
    Boolean(BooleanWords),
    Epoch(EpochReader),
    Date(DateWriter),
}

impl Conversion {
    /// Creates a conversion that has no options.
    pub fn plain(target: PlainTarget) -> Conversion {
        Conversion(Kind::Plain(target))
    }

    /// Creates a conversion of numbers and words to booleans.
    pub fn boolean(words: BooleanWords) -> Conversion {
        Conversion(Kind::Boolean(words))
    }

    /// Creates a conversion of dates to numbers.
    pub fn epoch(reader: EpochReader) -> Conversion {
        Conversion(Kind::Epoch(reader))
    }

    /// Creates a conversion of numbers to dates.
    pub fn date(writer: DateWriter) -> Conversion {
        Conversion(Kind::Date(writer))
    }

    /// Converts a value. If the value is already converted, returns it unchanged.
    ///
    /// # Errors
    ///
    /// Returns the reason if the value has a type or a form that this conversion does not read.
    pub fn apply(&self, value: &Value) -> Result<Value, NotComputable> {
        if value.type_name() == self.target_type() {
            return match self.is_converted(value) {
                true => Ok(value.clone()),
                false => Err(self.wrong_form()),
            };
        }
        let converted = match &self.0 {
            Kind::Plain(target) => target.convert(value),
            Kind::Boolean(words) => words.convert(value),
            Kind::Epoch(reader) => text(value).map(|text| reader.read(text)),
            Kind::Date(writer) => number(value).map(|number| writer.write(number)),
        };
        converted.unwrap_or_else(|| Err(self.wrong_type(value)))
    }

    /// Returns the name of the DynamoDB type of converted values.
    pub fn target_type(&self) -> &'static str {
        match &self.0 {
            Kind::Plain(target) => target.target_type(),
            Kind::Boolean(_) => "BOOL",
            Kind::Epoch(_) => "N",
            Kind::Date(_) => "S",
        }
    }

    /// Returns the names of the DynamoDB types that can be converted. The target type is never one of them.
    pub fn source_types(&self) -> &'static [&'static str] {
        match &self.0 {
            Kind::Plain(target) => target.source_types(),
            Kind::Boolean(_) => &["S", "N"],
            Kind::Epoch(_) => &["S"],
            Kind::Date(_) => &["N"],
        }
    }

    /// Returns whether a value is already converted: it has the target type. If the conversion writes only a certain
    /// form of this type, such as dates or base64, the value must also have this form.
    pub fn is_converted(&self, value: &Value) -> bool {
        value.type_name() == self.target_type()
            && match &self.0 {
                Kind::Plain(PlainTarget::JsonText) => text(value).is_some_and(json::is_document),
                Kind::Plain(PlainTarget::Base64Text) => text(value).is_some_and(base64_text::is_base64),
                Kind::Plain(_) | Kind::Boolean(_) => true,
                Kind::Epoch(reader) => number(value).is_some_and(|number| reader.is_converted(number)),
                Kind::Date(writer) => text(value).is_some_and(|text| writer.is_converted(text)),
            }
    }

    /// Returns the target as a plan names it, after `to =`.
    pub fn name(&self) -> &str {
        match &self.0 {
            Kind::Plain(target) => target.name(),
            Kind::Boolean(_) => "BOOL",
            Kind::Epoch(reader) => reader.name(),
            Kind::Date(writer) => writer.name(),
        }
    }

    /// Returns the options that determine the result, each with its values, for fingerprints and descriptions. Lists
    /// whose order has no meaning are sorted.
    pub fn options(&self) -> Vec<(&'static str, Vec<String>)> {
        match &self.0 {
            Kind::Plain(_) => Vec::new(),
            Kind::Boolean(words) => words.options(),
            Kind::Epoch(reader) => reader.options(),
            Kind::Date(writer) => writer.options(),
        }
    }

    fn wrong_type(&self, value: &Value) -> NotComputable {
        NotComputable::new(format!(
            "`to = \"{}\"` converts a value of type {}, but this value is of type {}",
            self.name(),
            self.source_types().join(" or "),
            value.type_name()
        ))
    }

    fn wrong_form(&self) -> NotComputable {
        let form = match &self.0 {
            Kind::Plain(PlainTarget::JsonText) => "the JSON text of an object or an array",
            Kind::Plain(PlainTarget::Base64Text) => "base64",
            // These conversions accept every value of the target type as converted.
            Kind::Plain(_) | Kind::Boolean(_) => self.name(),
            Kind::Epoch(reader) => reader.form(),
            Kind::Date(writer) => writer.form(),
        };
        NotComputable::new(format!("the value is already of type {}, but it is not {form}", self.target_type()))
    }
}

impl fmt::Display for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        for (i, (option, values)) in self.options().iter().enumerate() {
            let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            write!(f, "{}{option} {}", if i == 0 { " (" } else { ", " }, quoted.join(" "))?;
        }
        if self.options().is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl PlainTarget {
    /// Returns the target as a plan names it, after `to =`.
    pub fn name(self) -> &'static str {
        match self {
            PlainTarget::Number => "N",
            PlainTarget::Text => "S",
            PlainTarget::Map => "M",
            PlainTarget::List => "L",
            PlainTarget::JsonText => "JSON",
            PlainTarget::StringSet => "SS",
            PlainTarget::NumberSet => "NS",
            PlainTarget::BinarySet => "BS",
            PlainTarget::Binary => "B",
            PlainTarget::Base64Text => "BASE64",
        }
    }

    fn target_type(self) -> &'static str {
        match self {
            PlainTarget::JsonText | PlainTarget::Base64Text => "S",
            PlainTarget::Number
            | PlainTarget::Text
            | PlainTarget::Map
            | PlainTarget::List
            | PlainTarget::StringSet
            | PlainTarget::NumberSet
            | PlainTarget::BinarySet
            | PlainTarget::Binary => self.name(),
        }
    }

    fn source_types(self) -> &'static [&'static str] {
        match self {
            PlainTarget::Number | PlainTarget::Map | PlainTarget::Binary => &["S"],
            PlainTarget::Text => &["N", "BOOL"],
            PlainTarget::List => &["S", "SS", "NS", "BS"],
            PlainTarget::JsonText => &["M", "L"],
            PlainTarget::StringSet | PlainTarget::NumberSet | PlainTarget::BinarySet => &["L"],
            PlainTarget::Base64Text => &["B"],
        }
    }

    /// Converts a value. Returns `None` if the value's type cannot be converted.
    fn convert(self, value: &Value) -> Option<Result<Value, NotComputable>> {
        match self {
            PlainTarget::Number => text(value).map(|text| number::read(text).map(Value::N)),
            PlainTarget::Text => {
                number(value).map(|number| number::write(number).map(Value::S)).or_else(|| boolean::write(value))
            }
            PlainTarget::Map => text(value).map(json::read_map),
            PlainTarget::List => text(value).map(json::read_list).or_else(|| collections::list_of_set(value)),
            PlainTarget::JsonText => json::write(value),
            PlainTarget::StringSet => collections::string_set(value),
            PlainTarget::NumberSet => collections::number_set(value),
            PlainTarget::BinarySet => collections::binary_set(value),
            PlainTarget::Binary => text(value).map(base64_text::read),
            PlainTarget::Base64Text => base64_text::write(value),
        }
    }
}

/// Returns the text of a value of type S.
fn text(value: &Value) -> Option<&str> {
    if let Value::S(text) = value { Some(text) } else { None }
}

/// Returns the number of a value of type N.
fn number(value: &Value) -> Option<&Num> {
    if let Value::N(number) = value { Some(number) } else { None }
}
