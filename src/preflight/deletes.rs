//! Makes the findings about a plan that deletes items. The operator must accept the deletes explicitly, because `--yes`
//! also answers harmless questions. This module is pure.

use super::estimate::format_range;
use super::finding::Severity::{Refusal, Warning};
use super::finding::{Acceptance, Finding};
use super::finding_input::FindingInput;
use crate::change::{Change, GapRule};
use crate::figure::number;
use crate::item::Path;

/// Returns the finding that the plan deletes items. If the plan keeps no journal of these items, also returns the
/// finding about the missing journal.
pub(super) fn delete_findings(input: &FindingInput<'_>) -> Vec<Finding> {
    input.plan.changes.iter().flat_map(|change| findings_of(input, change)).collect()
}

fn findings_of(input: &FindingInput<'_>, change: &Change) -> Vec<Finding> {
    let Some((gap, keeps_image)) = change.deletion() else { return Vec::new() };
    let table = &input.facts.table.name;
    let items = format_range(input.estimate.changed, |items| number(items.round() as u64));
    let promise = match gap {
        GapRule::Version(path) => format!("every writer raises `{path}` in every write of these items"),
        GapRule::Attributes(names) => {
            format!(
                "no item has an attribute other than its key and the {} in `attributes`",
                number(names.len() as u64)
            )
        }
        GapRule::WritersStopped => "nobody writes these items during the run".to_owned(),
    };
    let deletes = Finding {
        accept: Some(Acceptance::DeletesItems),
        ..Finding::new(Refusal, "deletes-items", format!("This plan deletes items of the table `{table}`: {items}"))
            .with_reason(format!(
                "A delete is safe only because {promise}. If this is wrong, a value that a writer adds just before the \
                 delete is removed too"
            ))
            .with_action("Look at the items that `run --dry-run` names, then use --accept deletes-items")
    };
    let no_way_back = (!keeps_image).then(|| Finding {
        accept: Some(Acceptance::NoWayBack),
        ..Finding::new(Refusal, "no-way-back", "The journal keeps no copy of the deleted items (journal = \"none\")")
            .with_reason("A rollback cannot restore these items")
            .with_action("Remove `journal = \"none\"` from the plan, or use --accept no-way-back")
    });
    std::iter::once(deletes).chain(no_way_back).chain(unlisted_index_key(input, gap)).collect()
}

/// Reports index key attributes that are missing in the plan's `attributes`. An item with such an attribute becomes a
/// failure and is not deleted.
fn unlisted_index_key(input: &FindingInput<'_>, gap: &GapRule) -> Option<Finding> {
    let GapRule::Attributes(names) = gap else { return None };
    let table = &input.facts.table;
    let is_known = |name: &str| table.key.names().any(|key| key == name) || names.iter().any(|listed| listed == name);
    let mut unlisted: Vec<String> = Vec::new();
    for index in &table.indexes {
        let missing = index.schema.key.iter().filter(|key| !is_known(&key.name));
        unlisted.extend(
            missing.map(|key| format!("`{}` (index {})", Path::attribute(key.name.as_str()), index.schema.name)),
        );
    }
    let title =
        format!("`attributes` of the `delete` does not list these index key attributes: {}", unlisted.join(", "));
    (!unlisted.is_empty()).then(|| {
        Finding::new(Warning, "delete-attributes", title)
            .with_reason("An item that is in such an index has an attribute that the plan does not list. It becomes a failure and is not deleted")
            .with_action("If selected items can have these attributes, add their names to `attributes`")
    })
}
