//! Determines which paths and indexes a plan touches, and in which phase. This module is pure.

use crate::change::Strategy;
use crate::dynamodb::TableDescription;
use crate::item::{IndexSchema, Path, Projection};
use crate::plan::Plan;

/// The paths that a plan touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchedPaths {
    /// Paths that `run` writes.
    pub written: Vec<Path>,
    /// Paths that `run` removes.
    pub removed: Vec<Path>,
    /// Paths that `contract` removes.
    pub removed_later: Vec<Path>,
    /// Whether `run` deletes or puts whole items.
    pub whole_items: bool,
}

/// An index that `run` touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchedIndex<'a> {
    /// The name of the index.
    pub name: &'a str,
    /// Whether the index is local. A local index uses the table's capacity.
    pub local: bool,
    /// Whether the plan touches a key attribute of the index. False if the plan touches only other attributes of the
    /// index.
    pub key: bool,
    /// The touched top-level attributes that belong to the key or the projection of the index.
    pub attributes: Vec<&'a str>,
}

impl TouchedPaths {
    /// Returns the paths that this plan touches.
    pub fn from_plan(plan: &Plan) -> TouchedPaths {
        let mut touched = TouchedPaths {
            written: Vec::new(),
            removed: Vec::new(),
            removed_later: Vec::new(),
            whole_items: plan.deletes_items() || plan.puts_items(),
        };
        for change in &plan.changes {
            let paths = change.paths();
            touched.written.extend(paths.writes.into_iter().cloned());
            let removed = match plan.strategy {
                Strategy::InPlace => &mut touched.removed,
                Strategy::ExpandContract => &mut touched.removed_later,
            };
            removed.extend(paths.removes.into_iter().cloned());
        }
        touched
    }

    /// Returns the indexes that `run` touches. If `run` deletes or puts whole items, it touches every index.
    pub fn indexes<'a>(&self, table: &'a TableDescription) -> Vec<TouchedIndex<'a>> {
        if self.whole_items {
            let whole = |schema: &'a IndexSchema| TouchedIndex {
                name: &schema.name,
                local: schema.local,
                key: false,
                attributes: Vec::new(),
            };
            return table.indexes.iter().map(|index| whole(&index.schema)).collect();
        }
        self.indexes_at(table, &[&self.written, &self.removed])
    }

    /// Returns the indexes that `contract` touches.
    pub fn indexes_later<'a>(&self, table: &'a TableDescription) -> Vec<TouchedIndex<'a>> {
        self.indexes_at(table, &[&self.removed_later])
    }

    fn indexes_at<'a>(&self, table: &'a TableDescription, paths: &[&Vec<Path>]) -> Vec<TouchedIndex<'a>> {
        let roots = || paths.iter().flat_map(|paths| paths.iter().map(Path::root));
        let is_touched = |name: &str| roots().any(|root| root == name);
        let touched = table.indexes.iter().filter_map(|index| {
            let schema = &index.schema;
            let mut attributes: Vec<&str> =
                schema.key.iter().map(|key| key.name.as_str()).filter(|name| is_touched(name)).collect();
            let key = !attributes.is_empty();
            let is_projected = match &schema.projection {
                Projection::All => roots().next().is_some(),
                Projection::KeysOnly => false,
                Projection::Include(names) => {
                    let before = attributes.len();
                    attributes.extend(names.iter().map(String::as_str).filter(|name| is_touched(name)));
                    attributes.len() > before
                }
            };
            (key || is_projected).then_some(TouchedIndex { name: &schema.name, local: schema.local, key, attributes })
        });
        touched.collect()
    }
}
