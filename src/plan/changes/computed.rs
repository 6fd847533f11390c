//! Reads `compute` and `convert`, the kinds of `[[change]]` that compute values.

use super::{WrittenChange, dependent_field, read_path, replaced};
use crate::change::{Change, Formula, OnExisting};
use crate::expr::Expected;
use crate::item::Path;
use crate::plan::conversion;
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;
use crate::plan::select::{read_element_expression, read_expression};

/// Reads a `compute`. `key` is the position of the word `compute`, and `first` is the position of its path.
pub(super) fn read_compute(
    fields: &Fields<'_, '_>,
    key: &TextSpan,
    to: Option<Path>,
    first: TextSpan,
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    let replaced = replaced::read(fields, to.as_ref(), problems);
    let value = dependent_field(fields, "as", "compute", key, true, problems)?;
    let expression = match fields.get("each") {
        Some(_) => read_element_expression("as", value, problems)?,
        None => read_expression("as", value, Expected::Value, problems)?,
    };
    let formula = Formula::Expression(expression.expr.clone());
    let to = to?;
    let (replaces, replaced) = replaced?.into_parts(&formula, &to);
    let change = Change::Compute { to, formula, on_existing, replaces };
    let written = WrittenChange::new(change, first);
    Some(WrittenChange { value: value.span(), expression: Some(expression), replaced, ..written })
}

/// Reads a `convert`. `first` is the position of its path. With `into`, the converted value is written to another path.
/// Otherwise, it replaces the old value.
pub(super) fn read_convert(
    fields: &Fields<'_, '_>,
    from: Option<Path>,
    first: TextSpan,
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    let conversion = conversion::read(fields, problems);
    let Some((_, into)) = fields.get("into") else {
        let is_refused = refuse_without_into(fields, &first, problems);
        // Every conversion changes the type of the value. So a converted value can be recognised, and is never
        // converted twice.
        let change = Change::Convert { path: from?, conversion: conversion? };
        return (!is_refused).then(|| WrittenChange::new(change, first));
    };
    let to = read_path("into", into, problems);
    let replaced = replaced::read(fields, to.as_ref(), problems);
    let (from, conversion, to, replaced) = (from?, conversion?, to?, replaced?);
    if let Some((path, at)) = replaced.replaced().filter(|(path, _)| *path != from) {
        problems.add(
            Diagnostic::new("a conversion can replace only the attribute that it converts", at.clone(), "another path")
                .also(first, "the converted attribute")
                .help(format!("write the path after `convert`, or remove `replaces` to keep `{path}`")),
        );
        return None;
    }
    let formula = Formula::Conversion { from, conversion };
    let (replaces, replaced) = replaced.into_parts(&formula, &to);
    let change = Change::Compute { to, formula, on_existing, replaces };
    Some(WrittenChange { to: into.span(), replaced, ..WrittenChange::new(change, first) })
}

/// Refuses the fields that need `into`. Returns whether the change has at least one of them.
fn refuse_without_into(fields: &Fields<'_, '_>, first: &TextSpan, problems: &mut Problems) -> bool {
    let present = fields.present_fields(&["replaces", "inverse"]);
    if !fields.has_misspelt(&["into"]) {
        for (name, key, _) in &present {
            problems.add(
                Diagnostic::new(format!("`{name}` needs `into`"), key.clone(), "no new attribute")
                    .also(first.clone(), "the converted value keeps this name")
                    .help(format!("add `into` with the path of the new attribute, or remove `{name}`")),
            );
        }
    }
    !present.is_empty()
}
