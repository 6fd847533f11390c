//! Reads a program with its arguments.

use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Problems, TextSpan};
use super::fields::Fields;

/// Reads a program and its arguments. Returns `None` if the field is missing or not valid. `example` is a valid TOML
/// value of the field.
pub(super) fn argv(fields: &Fields<'_, '_>, name: &str, example: &str, problems: &mut Problems) -> Option<Vec<String>> {
    let (_, value) = fields.get(name)?;
    let mut report = |at: TextSpan, label: &str| {
        problems.add(
            Diagnostic::new(format!("`{name}` must be a list with a program and its arguments"), at, label).help(
                format!("write `{name} = {example}`; there is no shell, so write each argument as a separate string"),
            ),
        );
        None
    };
    let DeValue::Array(array) = value.get_ref() else { return report(value.span(), "expected an array of strings") };
    let mut argv = Vec::new();
    for part in array.iter() {
        match part.get_ref().as_str() {
            Some(text) if !text.contains('\0') => argv.push(text.to_owned()),
            _ => return report(part.span(), "expected a string"),
        }
    }
    match argv.first() {
        Some(program) if !program.is_empty() => Some(argv),
        _ => report(value.span(), "the program is missing"),
    }
}
