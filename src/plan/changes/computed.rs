//! Reads the kinds of `[[change]]` whose values are computed: `compute` and `convert`.

use super::{WrittenChange, dependent_field, read_path};
use crate::change::{Change, Formula, OnExisting};
use crate::expr::Expected;
use crate::item::Path;
use crate::plan::conversion;
use crate::plan::diagnostic::{Problems, TextSpan};
use crate::plan::fields::Fields;
use crate::plan::select::read_expression;

/// Reads a `compute`. `key` is the position of the word `compute`, and `first` the position of its path.
pub(super) fn read_compute(
    fields: &Fields<'_, '_>,
    key: &TextSpan,
    to: Option<Path>,
    first: TextSpan,
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    let value = dependent_field(fields, "as", "compute", key, true, problems)?;
    let expression = read_expression("as", value, Expected::Value, problems)?;
    let formula = Formula::Expression(expression.expr.clone());
    let change = Change::Compute { to: to?, formula, on_existing };
    Some(WrittenChange { value: value.span(), expression: Some(expression), ..WrittenChange::new(change, first) })
}

/// Reads a `convert`. `first` is the position of its path. With `into`, the converted value gets a new name; otherwise
/// it replaces the old value.
pub(super) fn read_convert(
    fields: &Fields<'_, '_>,
    from: Option<Path>,
    first: TextSpan,
    on_existing: OnExisting,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    let conversion = conversion::read(fields, problems);
    let into = fields.get("into").map(|(_, value)| (read_path("into", value, problems), value.span()));
    let (from, conversion) = (from?, conversion?);
    match into {
        Some((to, at)) => {
            let change = Change::Compute { to: to?, formula: Formula::Conversion { from, conversion }, on_existing };
            Some(WrittenChange { to: at, ..WrittenChange::new(change, first) })
        }
        // Every conversion changes the value's type, so a converted value is recognised and never converted twice.
        None => Some(WrittenChange::new(Change::Convert { path: from, conversion }, first)),
    }
}
