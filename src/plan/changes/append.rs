//! Reads an `append`.

use super::WrittenChange;
use crate::change::{Addition, Change};
use crate::item::{Path, Value};
use crate::plan::constant;
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;

/// Reads an `append`. `key` is the position of the word `append`, and `first` is the position of its path.
pub(super) fn read(
    fields: &Fields<'_, '_>,
    key: &TextSpan,
    to: Option<Path>,
    first: TextSpan,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    let depth = to.as_ref().map_or(1, |path| path.steps().len());
    let (addition, at) = match (fields.get("values"), fields.get("value")) {
        (Some((at, _)), Some((other, _))) => {
            problems.add(
                Diagnostic::new("an `append` must not have both `value` and `values`", at, "adds members to a set")
                    .also(other, "adds an element to a list")
                    .help("keep `values` if the target is a set, or `value` if it is a list"),
            );
            return None;
        }
        (Some((_, value)), None) => {
            let set = constant::read(value, depth, problems)?;
            if !matches!(set, Value::Ss(_) | Value::Ns(_) | Value::Bs(_)) {
                problems.add(
                    Diagnostic::new(
                        "`values` must be a set",
                        value.span(),
                        format!("of type {}", set.type_name()),
                    )
                    .help("write { SS = [\"a\"] }, { NS = [\"1\"] } or { BS = [\"AAEC\"] }; for one element of a list, use `value`"),
                );
                return None;
            }
            (Addition::Members(set), value.span())
        }
        (None, Some((_, value))) => (Addition::Element(constant::read(value, depth + 1, problems)?), value.span()),
        (None, None) => {
            if !fields.has_misspelt(&["value", "values"]) {
                problems.add_missing(
                    Diagnostic::new("`append` needs `value` or `values`", key.clone(), "does not say what to add")
                        .help("add `values = { SS = [\"a\"] }` for members of a set, or `value = \"a\"` for an element of a list"),
                );
            }
            return None;
        }
    };
    let change = Change::Append { to: to?, addition };
    Some(WrittenChange { value: at, ..WrittenChange::new(change, first) })
}
