//! Statistics of a table from a sample: the sizes of its items, its attributes with their types and shares, and the
//! items of each partition key. [`StatsSample`] reads clusters of items like the samples of the preflight, and
//! [`TableStats`] extrapolates to the whole table. Attribute values and keys never leave this module.

mod cluster;
mod distribution;
mod names;
mod read;
mod report;
mod table_stats;

pub use cluster::AttributeCount;
pub use distribution::Distribution;
pub use read::StatsSample;
pub use report::StatsReport;
pub use table_stats::{AttributeStats, Coverage, TableStats};
