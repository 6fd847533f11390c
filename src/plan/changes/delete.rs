//! Reads a `delete`.

use toml::Spanned;
use toml::de::DeValue;

use super::{WrittenChange, read_path};
use crate::change::{Change, GapRule};
use crate::item::Path;
use crate::plan::attribute_list::attribute_list;
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;

/// The fields that exclude lost writes between the read of an item and its delete.
const GAP_RULES: [&str; 3] = ["version", "attributes", "writers"];

const GAP_HELP: &str = "write one of: version = \"version\", if every writer raises this number in every write; \
                        attributes = [\"a\", \"b\"], if items have no other attributes; writers = \"stopped\", if nobody \
                        writes these items during the run";

/// Reads a `delete`. `key` is the position of the word `delete`, and `value` is its value.
pub(super) fn read_delete(
    fields: &Fields<'_, '_>,
    key: &TextSpan,
    value: &Spanned<DeValue<'_>>,
    problems: &mut Problems,
) -> Option<WrittenChange> {
    let is_true = matches!(value.get_ref(), DeValue::Boolean(true));
    if !is_true {
        problems.add(
            Diagnostic::new("`delete` must be true", value.span(), "not true")
                .help("write `delete = true` to delete the selected items, or remove this change"),
        );
    }
    let journal = fields.get("journal").map(|(at, _)| (fields.choice("journal", &[("none", false)], problems), at));
    let given = fields.present_fields(&GAP_RULES);
    let (gap, at) = match given.as_slice() {
        [(name, _, value)] => (read_gap(name, value, problems), value.span()),
        [] => {
            if !fields.has_misspelt(&GAP_RULES) {
                problems.add_missing(
                    Diagnostic::new(
                        "`delete` does not state how it avoids losing writes",
                        key.clone(),
                        "a writer may add an attribute just before the delete",
                    )
                    .help(
                        "a condition cannot say \"and no other attribute\", so the plan must rule out other attributes",
                    )
                    .help(GAP_HELP),
                );
            }
            return None;
        }
        [first, others @ ..] => {
            for (name, at, _) in others {
                problems.add(
                    Diagnostic::new(
                        "a `delete` must have only one of `version`, `attributes` and `writers`",
                        at.clone(),
                        format!("`{name}` is the second one"),
                    )
                    .also(first.1.clone(), format!("`{}` is the first one", first.0))
                    .help("keep the field that is true for all writers"),
                );
            }
            return None;
        }
    };
    let keeps_image = match journal {
        Some((choice, _)) => choice?,
        None => true,
    };
    let change = Change::Delete { gap: gap?, keeps_image };
    is_true.then(|| WrittenChange { value: at, ..WrittenChange::new(change, key.clone()) })
}

fn read_gap(name: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<GapRule> {
    match name {
        "version" => read_version(value, problems).map(GapRule::Version),
        "attributes" => read_attributes(value, problems).map(GapRule::Attributes),
        _ if value.get_ref().as_str() == Some("stopped") => Some(GapRule::WritersStopped),
        _ => {
            problems.add(
                Diagnostic::new("`writers` must be \"stopped\"", value.span(), "not \"stopped\"")
                    .help("if writers write these items during the run, use `version` or `attributes` instead"),
            );
            None
        }
    }
}

fn read_version(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Path> {
    let path = read_path("version", value, problems)?;
    if path.ends_in_index() {
        problems.add(
            Diagnostic::new("a list element cannot be the version", value.span(), "ends in a list index")
                .help("use an attribute, or a member of a document"),
        );
        return None;
    }
    Some(path)
}

fn read_attributes(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Vec<String>> {
    let report = |at: TextSpan, label: String| {
        problems.add(
            Diagnostic::new("`attributes` must be a list of attribute names", at, label)
                .help("list every attribute that an item can have, except its key: attributes = [\"status\"]"),
        );
    };
    Some(attribute_list(value, report)?.into_iter().map(|written| written.name).collect())
}
