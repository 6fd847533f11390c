//! Reads a `custom` change. A function of an embedding program computes its attributes.

use toml::Spanned;
use toml::de::DeValue;

use super::WrittenChange;
use super::exec::{attributes, refuse_inputs};
use crate::change::{Change, CustomFormula, Formula, OnExisting};
use crate::item::Path;
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;

/// Maximum length of the name of a custom change, in bytes.
const MAX_NAME: usize = 64;

/// Reads a `custom`. `key` is the position of the word `custom`, and `value` is the name of the change. Returns one
/// change for each output.
pub(super) fn read_custom(
    fields: &Fields<'_, '_>,
    key: &TextSpan,
    value: &Spanned<DeValue<'_>>,
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Vec<WrittenChange> {
    let name = read_name(value, problems);
    let inputs = ("inputs", "[\"first\", \"last\"]", "which attributes does the function read?");
    let inputs = attributes(fields, "custom", inputs, key, problems);
    let outputs = ("outputs", "[\"full_name\"]", "which attributes does the function compute?");
    let outputs = attributes(fields, "custom", outputs, key, problems);
    let (Some(name), Some((inputs, _)), Some((outputs, _))) = (name, inputs, outputs) else { return Vec::new() };
    if !refuse_inputs("custom", &inputs, outputs.iter(), problems) {
        return Vec::new();
    }
    let plain = |paths: &[Spanned<Path>]| paths.iter().map(|path| path.get_ref().clone()).collect::<Vec<_>>();
    let (inputs, all) = (plain(&inputs), plain(&outputs));
    let change = |output: Spanned<Path>| {
        let to = output.span();
        let output = output.into_inner();
        let formula = CustomFormula::new(name.clone(), inputs.clone(), all.clone(), output.clone());
        let formula = Formula::Custom(formula);
        let change = Change::Compute { to: output, formula, on_existing, replaces: None };
        WrittenChange { to, ..WrittenChange::new(change, value.span()) }
    };
    outputs.into_iter().map(change).collect()
}

fn read_name(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<String> {
    let help = "write the name that the embedding program gave the change: custom = \"full-name\"";
    let DeValue::String(name) = value.get_ref() else {
        let label = format!("expected a quoted string, found {}", value.get_ref().type_str());
        problems.add(Diagnostic::new("`custom` must be a name", value.span(), label).help(help));
        return None;
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_allowed) {
        return Some(name.to_string());
    }
    let label = format!("expected 1 to {MAX_NAME} letters, digits, `-` and `_`");
    problems.add(Diagnostic::new("this is not the name of a custom change", value.span(), label).help(help));
    None
}
