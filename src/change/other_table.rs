//! The table that gets the derived items, if it is not the table of their sources.

use std::sync::Arc;

use super::cost::Pricing;
use super::{Indexes, WriteCost};
use crate::item::{IndexSchema, Item, KeySchema};

/// Another table of the same account and region, into which a plan puts its derived items.
#[derive(Debug, Clone)]
pub struct OtherTable {
    /// The name of the table.
    pub name: Arc<str>,
    /// The key of the table.
    pub key: KeySchema,
    indexes: Indexes,
    pricing: Pricing,
}

impl OtherTable {
    /// Describes a table with this name, this key and these indexes.
    pub fn new(name: impl Into<Arc<str>>, key: KeySchema, indexes: Vec<IndexSchema>) -> OtherTable {
        let indexes = Indexes::from(indexes);
        let pricing = Pricing::for_whole_items(&key, &indexes);
        OtherTable { name: name.into(), key, indexes, pricing }
    }

    /// Returns the name of an index of this table in lists that also have indexes of the plan's table. No name of a table
    /// or of an index contains a `/`.
    pub fn index_name(&self, index: &str) -> String {
        format!("{}/{index}", self.name)
    }

    /// Returns the indexes for which write costs are computed. The list follows the table's current indexes.
    pub fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// Returns the cost of the put of this item, in a transaction.
    pub(super) fn put_cost(&self, item: &Item) -> WriteCost {
        self.pricing.derived_cost(item)
    }
}
