//! Reads a list of attribute names.

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::TextSpan;

/// Reads a list of different attribute names. Gives the position and the reason of an error to `report`.
pub(super) fn attribute_list(
    value: &Spanned<DeValue<'_>>,
    report: impl FnOnce(TextSpan, String),
) -> Option<Vec<String>> {
    let fail = |at: TextSpan, label: String| {
        report(at, label);
        None
    };
    let DeValue::Array(array) = value.get_ref() else {
        return fail(value.span(), format!("found {}", value.get_ref().type_str()));
    };
    let mut names: Vec<String> = Vec::new();
    for name in array.iter() {
        match name.get_ref().as_str() {
            Some("") => return fail(name.span(), "an attribute name has at least one character".to_owned()),
            Some(text) if names.iter().any(|known| known == text) => {
                return fail(name.span(), "this name appears twice".to_owned());
            }
            Some(text) => names.push(text.to_owned()),
            None => return fail(name.span(), format!("found {}", name.get_ref().type_str())),
        }
    }
    Some(names)
}
