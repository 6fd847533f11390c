//! Rules for plans that delete items.

use crate::change::{Change, GapRule, MAX_OPERATORS};
use crate::plan::changes::WrittenChange;
use crate::plan::diagnostic::{Diagnostic, Problems, TextSpan};
use crate::plan::fields::Fields;
use crate::plan::select::WrittenSelection;

/// The maximum number of attributes that the condition of a delete can pin. Each attribute needs a comparison and an
/// `AND`.
const MAX_ATTRIBUTES: usize = MAX_OPERATORS / 2 - 1;

/// Checks a plan that deletes items. `strategy` is the position of `strategy = "expand-contract"`, if the plan contains
/// it.
pub(in super::super) fn check_delete(
    root: &Fields<'_, '_>,
    changes: &[WrittenChange],
    strategy: Option<TextSpan>,
    problems: &mut Problems,
) {
    let Some(delete) = changes.iter().find(|written| written.change.deletes_items()) else { return };
    for other in changes.iter().filter(|other| other.first != delete.first) {
        let title = if other.change.deletes_items() {
            "a plan can have only one `delete`"
        } else {
            "a plan that deletes items cannot have other changes"
        };
        problems.add(
            Diagnostic::new(title, other.first.clone(), "another change")
                .also(delete.first.clone(), "deletes the items")
                .help("a deleted item needs no other change; use a separate plan for this change"),
        );
    }
    if root.get("select").is_none() && !root.has_misspelt(&["select"]) {
        problems.add_missing(
            Diagnostic::new("`delete` needs a [select]", delete.first.clone(), "would delete every item of the table")
                .help("to delete every item, delete the table")
                .example("select the items to delete:\n[select]\nwhere = 'item.status == \"expired\"'"),
        );
    }
    if let Some(at) = strategy {
        problems.add(
            Diagnostic::new(
                "a plan that deletes items cannot have a cutover",
                at,
                "keeps old attributes until `contract`",
            )
            .also(delete.first.clone(), "deletes the items")
            .help("remove the line, or write strategy = \"in-place\""),
        );
    }
    if let Some((at, _)) = root.get("cutover") {
        problems.add(
            Diagnostic::new(
                "a plan that deletes items cannot have a cutover",
                at,
                "for plans that move readers and writers",
            )
            .also(delete.first.clone(), "deletes the items")
            .help("remove [cutover]"),
        );
    }
    if let Change::Delete { gap: GapRule::Attributes(names), .. } = &delete.change
        && names.len() > MAX_ATTRIBUTES
    {
        problems.add(
            Diagnostic::new(
                "the condition of the delete would be too long",
                delete.value.clone(),
                format!("{} attributes", names.len()),
            )
            .help(format!(
                "DynamoDB accepts {MAX_OPERATORS} operators, so the condition can pin {MAX_ATTRIBUTES} attributes"
            ))
            .help("use `version`; then the condition pins only the version and the inputs of `where`"),
        );
    }
}

/// Checks the attributes in a `delete`. This check needs the names of the key attributes.
pub(in super::super) fn check_delete_names(
    changes: &[WrittenChange],
    selection: Option<&WrittenSelection>,
    key: &[&str],
    problems: &mut Problems,
) {
    for written in changes {
        let Change::Delete { gap, .. } = &written.change else { continue };
        match gap {
            GapRule::Version(path) if key.contains(&path.root()) => problems.add(
                Diagnostic::new(
                    format!("`{path}` is a key attribute and cannot be a version"),
                    written.value.clone(),
                    "never changes",
                )
                .help("use the number that every writer raises in every write"),
            ),
            GapRule::Attributes(names) => {
                let inputs = selection.map_or(&[][..], |written| written.selection.condition.inputs());
                let mut roots: Vec<&str> = inputs.iter().map(|input| input.root()).collect();
                roots.sort_unstable();
                roots.dedup();
                let is_listed = |root: &&str| key.contains(root) || names.iter().any(|name| name == root);
                let Some(root) = roots.into_iter().find(|root| !is_listed(root)) else { continue };
                problems.add(
                    Diagnostic::new(
                        format!("`attributes` does not list `{root}`, which the selection reads"),
                        written.value.clone(),
                        "an item that has an attribute outside this list is a failure",
                    )
                    .help(format!("add \"{root}\": `attributes` must contain every attribute that an item can have")),
                );
            }
            GapRule::Version(_) | GapRule::WritersStopped => {}
        }
    }
}
