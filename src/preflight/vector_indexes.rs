//! Makes the findings about vector indexes. This module is pure.

use super::finding::Finding;
use super::finding::Severity::{Note, Warning};
use super::touched::TouchedPaths;
use crate::dynamodb::{TableDescription, VectorIndex};
use crate::item::Projection;

const UNKNOWN_COST: &str = "DynamoDB meters these writes separately, in bytes (VectorWriteRequestBytes). The tool does not \
                            know their price or size, so neither the estimate nor `max_cost_usd` includes them";

/// Returns one finding for each vector index of the table to which the pass writes.
pub(super) fn vector_indexes(table: &TableDescription, touched: &TouchedPaths) -> Vec<Finding> {
    table.written().features.vector_indexes.iter().map(|index| finding(index, touched)).collect()
}

fn finding(index: &VectorIndex, touched: &TouchedPaths) -> Finding {
    let name = &index.name;
    if touched.whole_items {
        return Finding::new(
            Warning,
            "vector-index",
            format!("`run` deletes or puts whole items, which can change the vector index `{name}`"),
        )
        .with_reason(UNKNOWN_COST)
        .with_action("Watch the metrics of the vector index in CloudWatch during the run");
    }
    let now = attributes(index, touched.written.iter().chain(&touched.removed).map(crate::item::Path::root));
    let later = attributes(index, touched.removed_later.iter().map(crate::item::Path::root));
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let (what, names) = match (now.is_empty(), later.is_empty()) {
        (true, true) => {
            return Finding::new(
                Note,
                "vector-index",
                format!("No change of the plan touches the vector index `{name}`"),
            )
            .with_reason("A write costs nothing on a vector index if it changes no attribute of the index")
            .with_action("Nothing");
        }
        (false, _) => ("`run` writes", now),
        (true, false) => ("`contract` removes", later),
    };
    let in_search = names.iter().any(|name| index.attributes.iter().any(|attribute| attribute == name));
    let effect = if in_search {
        "Searches may return different items while the pass runs. If a vector gets a different type or number of \
         dimensions, either its item leaves the index, or DynamoDB rejects the write"
    } else {
        "Searches return the new values of these projected attributes"
    };
    Finding::new(Warning, "vector-index", format!("{what} {} of the vector index `{name}`", list(&names)))
        .with_reason(format!("{effect}. {UNKNOWN_COST}"))
        .with_action("Test a search after a run over a few items (`[limits] max_items`), and compare the metered bytes")
}

/// Returns the attributes of an index that are in this list, without duplicates.
fn attributes<'a>(index: &VectorIndex, touched: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let is_projected = |name: &str| match &index.projection {
        Projection::All => true,
        Projection::KeysOnly => false,
        Projection::Include(names) => names.iter().any(|projected| projected == name),
    };
    let mut names: Vec<&str> = touched
        .filter(|name| index.attributes.iter().any(|attribute| attribute == name) || is_projected(name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(projection: Projection) -> TableDescription {
        let mut table = TableDescription::for_tests();
        let attributes = vec!["embedding".to_owned(), "tenant".to_owned()];
        table.features.vector_indexes = vec![VectorIndex { name: "by-meaning".to_owned(), attributes, projection }];
        table
    }

    fn touched(written: &[&str], removed_later: &[&str]) -> TouchedPaths {
        let paths = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        TouchedPaths {
            written: paths(written),
            removed: Vec::new(),
            removed_later: paths(removed_later),
            whole_items: false,
        }
    }

    fn one(projection: Projection, touched: &TouchedPaths) -> Finding {
        let mut found = vector_indexes(&table(projection), touched);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn a_change_of_an_indexed_attribute_is_a_warning() {
        let found = one(Projection::KeysOnly, &touched(&["embedding", "title"], &[]));
        assert_eq!(found.severity, Warning);
        assert!(found.what.contains("`run` writes `embedding` of"), "{}", found.what);
        assert!(found.why.contains("dimensions") && found.why.contains("VectorWriteRequestBytes"), "{}", found.why);
        let found = one(Projection::Include(vec!["title".to_owned()]), &touched(&["title.de"], &[]));
        assert!(found.severity == Warning && found.why.contains("projected"), "{found:?}");
        let found = one(Projection::All, &touched(&[], &["old"]));
        assert!(found.what.starts_with("`contract` removes `old`"), "{}", found.what);
        let whole = TouchedPaths { whole_items: true, ..touched(&[], &[]) };
        assert_eq!(one(Projection::KeysOnly, &whole).severity, Warning);
    }

    #[test]
    fn an_untouched_index_is_a_note() {
        assert_eq!(one(Projection::KeysOnly, &touched(&["title"], &["old"])).severity, Note);
        let mut table = table(Projection::All);
        table.features.vector_indexes.clear();
        assert_eq!(vector_indexes(&table, &touched(&["title"], &[])), []);
    }
}
