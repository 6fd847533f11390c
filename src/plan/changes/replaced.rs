//! Reads `replaces` and `inverse` of a `compute` or of a `convert … into`.

use toml::Spanned;
use toml::de::DeValue;

use super::read_path;
use crate::change::{Formula, Inverse, Replaced};
use crate::expr::Expected;
use crate::item::Path;
use crate::plan::conversion;
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;
use crate::plan::select::{WrittenExpr, read_expression};

/// The positions of `replaces` and `inverse` in the plan's text.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct WrittenReplaced {
    /// Position of the path after `replaces`.
    pub(in crate::plan) at: TextSpan,
    /// The inverse, if the change has one.
    pub(in crate::plan) inverse: Option<WrittenInverse>,
}

/// The position of an `inverse`, and its expression if it is not a conversion.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) struct WrittenInverse {
    pub(in crate::plan) at: TextSpan,
    pub(in crate::plan) expression: Option<WrittenExpr>,
}

/// The fields `replaces` and `inverse` of a change. A field is `None` if it is missing.
#[derive(Default)]
pub(super) struct ReplacedFields {
    replaced: Option<(Path, TextSpan)>,
    inverse: Option<(Formula, WrittenInverse)>,
}

/// Reads `replaces` and `inverse`. `to` is the path that the change writes. Returns `None` if at least one of the two
/// fields is wrong.
pub(super) fn read(fields: &Fields<'_, '_>, to: Option<&Path>, problems: &mut Problems) -> Option<ReplacedFields> {
    let replaces = fields.get("replaces");
    let replaced = replaces.as_ref().map(|(_, value)| Some((read_path("replaces", value, problems)?, value.span())));
    let inverse = fields.get("inverse").map(|(_, value)| read_inverse(value, to, problems));
    if let (None, Some((key, _))) = (&replaces, fields.get("inverse")) {
        if !fields.has_misspelt(&["replaces"]) {
            problems.add(
                Diagnostic::new(
                    "`inverse` needs `replaces`",
                    key,
                    "computes the value of an attribute that is replaced",
                )
                .help("add `replaces` with the path of the old attribute, or remove `inverse`"),
            );
        }
        return None;
    }
    Some(ReplacedFields { replaced: present(replaced)?, inverse: present(inverse)? })
}

/// Returns the value of an optional field. The outer `None` means that the field is present but wrong.
fn present<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    match field {
        None => Some(None),
        Some(found) => found.map(Some),
    }
}

fn read_inverse(
    value: &Spanned<DeValue<'_>>,
    to: Option<&Path>,
    problems: &mut Problems,
) -> Option<(Formula, WrittenInverse)> {
    let at = value.span();
    match value.get_ref() {
        DeValue::Table(table) => {
            let names: Vec<&str> = ["to"].into_iter().chain(conversion::OPTIONS).collect();
            let fields = Fields::open(table, "`inverse`", &names, at.clone(), problems);
            let conversion = conversion::read(&fields, problems)?;
            let formula = Formula::Conversion { from: to?.clone(), conversion };
            Some((formula, WrittenInverse { at, expression: None }))
        }
        DeValue::String(_) => {
            let expression = read_expression("inverse", value, Expected::Value, problems)?;
            let formula = Formula::Expression(expression.expr.clone());
            Some((formula, WrittenInverse { at, expression: Some(expression) }))
        }
        other => {
            problems.add(
                Diagnostic::new(
                    "`inverse` must be an expression or a conversion",
                    at,
                    format!("found {}", other.type_str()),
                )
                .help("write an expression in single quotes, such as inverse = 'string(item.new_name)'")
                .help("or write a conversion, such as inverse = { to = \"S\" }"),
            );
            None
        }
    }
}

impl ReplacedFields {
    /// Returns the position of the path after `replaces`, and the path.
    pub(super) fn replaced(&self) -> Option<&(Path, TextSpan)> {
        self.replaced.as_ref()
    }

    /// Returns the replaced attribute and the inverse of a change. The change computes the value at `to` with
    /// `formula`.
    pub(super) fn into_parts(self, formula: &Formula, to: &Path) -> (Option<Replaced>, Option<WrittenReplaced>) {
        let Some((path, at)) = self.replaced else { return (None, None) };
        let (back, written) = self.inverse.unzip();
        let inverse = back.map(|back| Inverse::new(back, formula.clone(), &path, to));
        (Some(Replaced { path, inverse }), Some(WrittenReplaced { at, inverse: written }))
    }
}
