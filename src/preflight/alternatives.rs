//! Finds changes that need no backfill, because DynamoDB or the readers can achieve the same result. This module is
//! pure.

use super::finding::Finding;
use super::finding::Severity::Note;
use super::finding_input::FindingInput;
use crate::change::{Change, Formula, OnExisting};
use crate::item::{IndexSchema, Path};
use crate::plan::excerpt;

/// The maximum number of partition key attributes of a global index. The same maximum applies to its sort key
/// attributes (developer guide, "Multi-attribute keys pattern").
const MAX_KEY_PARTS: usize = 4;

/// Returns a note for each change that might not need a backfill.
pub(super) fn alternatives(input: &FindingInput<'_>) -> Vec<Finding> {
    let indexes: Vec<&IndexSchema> = input.facts.table.indexes.iter().map(|index| &index.schema).collect();
    input.plan.changes.iter().filter_map(|change| alternative(change, &indexes)).collect()
}

fn alternative(change: &Change, indexes: &[&IndexSchema]) -> Option<Finding> {
    match change {
        Change::Compute { to, formula: Formula::Expression(_), .. } => composite_key(change, to, indexes),
        Change::Set { to, value, on_existing: OnExisting::Skip } => {
            let what = format!("The plan sets `{to}` to {} only if it is missing", excerpt(value));
            Some(
                Finding::new(Note, "not-needed-default", what)
                    .with_reason(
                        "Readers can use this value for an item without the attribute. The table then needs no write. An \
                         index or a filter that needs the attribute still needs the backfill",
                    )
                    .with_action("If only readers need the default, supply it when they read, and drop this change"),
            )
        }
        Change::Compute { .. }
        | Change::Set { .. }
        | Change::Move { .. }
        | Change::Copy { .. }
        | Change::Remove { .. }
        | Change::Convert { .. }
        | Change::Append { .. }
        | Change::Delete { .. }
        | Change::Each { .. }
        | Change::Put { .. }
        | Change::Exec { .. }
        | Change::Bump { .. } => None,
    }
}

/// Returns a note if the change only combines other attributes into a key attribute of a global index.
fn composite_key(change: &Change, to: &Path, indexes: &[&IndexSchema]) -> Option<Finding> {
    let parts = change.paths().inputs;
    let combines = (2..=MAX_KEY_PARTS).contains(&parts.len()) && parts.iter().all(|part| part.is_top_level());
    let is_key = |index: &&&IndexSchema| !index.local && index.key.iter().any(|key| key.name == to.root());
    let index = indexes.iter().find(is_key).filter(|_| combines && to.is_top_level())?;
    let names = parts.iter().map(|part| format!("`{part}`")).collect::<Vec<_>>().join(", ");
    let what = format!("`{to}` combines {names} for the key of the index `{}`", index.name);
    Some(
        Finding::new(Note, "not-needed-index-key", what)
            .with_reason(
                "A global index can have up to four partition key attributes and four sort key attributes. DynamoDB fills \
                 such an index itself, so no item needs a combined attribute",
            )
            .with_action(format!(
                "If {names} have the types S, N or B and your queries can specify each of them, create an index with these \
                 key attributes instead of running this plan"
            )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{KeyAttribute, Projection};
    use crate::plan::load;

    fn found(change: &str, local: bool) -> Vec<&'static str> {
        let text = format!(
            "[migration]\nname = \"m\"\non_not_computable = \"fail\"\n[table]\nname = \"shop\"\n[[change]]\n{change}\n"
        );
        let plan = load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let key = |name: &str| KeyAttribute { name: name.to_owned(), kind: "S".to_owned() };
        let index = IndexSchema {
            name: "by-status".to_owned(),
            key: vec![key("kind"), key("gsi1sk")],
            partition: 1,
            projection: Projection::All,
            local,
        };
        plan.changes.iter().filter_map(|change| alternative(change, &[&index])).map(|finding| finding.id).collect()
    }

    #[test]
    fn a_combined_key_and_a_default_may_need_no_backfill() {
        let combined = "compute = \"gsi1sk\"\nas = 'item.a + \"#\" + item.b'";
        assert_eq!(found(combined, false), ["not-needed-index-key"]);
        assert_eq!(found(combined, true), [""; 0], "a local index has one sort key attribute");
        for other in [
            "compute = \"gsi1sk\"\nas = 'item.a + \"#\"'",
            "compute = \"label\"\nas = 'item.a + \"#\" + item.b'",
            "compute = \"gsi1sk\"\nas = 'item.a + item.b + item.c + item.d + item.e'",
            "compute = \"gsi1sk\"\nas = 'item.a.x + item.b'",
            "copy = \"a\"\nto = \"gsi1sk\"",
            "set = \"tier\"\nvalue = \"free\"",
        ] {
            assert_eq!(found(other, false), [""; 0], "{other}");
        }
        assert_eq!(found("set = \"tier\"\nvalue = \"free\"\non_existing = \"skip\"", false), ["not-needed-default"]);
    }
}
