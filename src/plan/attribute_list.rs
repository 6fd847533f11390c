//! Reads a list of attribute names.

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::TextSpan;

/// An attribute name, and its position in the plan's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenName {
    pub(super) name: String,
    pub(super) at: TextSpan,
}

/// Reads a list of distinct attribute names. Passes the position and the reason of each error to `report`.
pub(super) fn attribute_list(
    value: &Spanned<DeValue<'_>>,
    report: impl FnOnce(TextSpan, String),
) -> Option<Vec<WrittenName>> {
    let fail = |at: TextSpan, label: String| {
        report(at, label);
        None
    };
    let DeValue::Array(array) = value.get_ref() else {
        return fail(value.span(), format!("found {}", value.get_ref().type_str()));
    };
    let mut names: Vec<WrittenName> = Vec::new();
    for name in array.iter() {
        match name.get_ref().as_str() {
            Some("") => return fail(name.span(), "an attribute name must have at least one character".to_owned()),
            Some(text) if names.iter().any(|known| known.name == text) => {
                return fail(name.span(), "this name appears twice".to_owned());
            }
            Some(text) => names.push(WrittenName { name: text.to_owned(), at: name.span() }),
            None => return fail(name.span(), format!("found {}", name.get_ref().type_str())),
        }
    }
    Some(names)
}
