//! The facts from which findings are made.

use std::collections::{BTreeMap, BTreeSet};

use super::estimate::Estimate;
use super::facts::TableFacts;
use crate::item::{ExpiryCounts, Path};
use crate::plan::Plan;

/// The facts that are known when findings are made.
#[derive(Debug, Clone, Copy)]
pub struct FindingInput<'a> {
    /// Facts about the table.
    pub facts: &'a TableFacts,
    /// The plan.
    pub plan: &'a Plan,
    /// The estimate of the run.
    pub estimate: &'a Estimate,
    /// For each path that the plan writes, the types of the values that it would write to the items that were read.
    pub types: &'a BTreeMap<Path, BTreeSet<&'static str>>,
    /// For each path that the plan writes, counts of the values that it would write to the items that were read. Each
    /// unit of time has its own count.
    pub times: &'a BTreeMap<Path, ExpiryCounts>,
    /// The number of items that were read, and the number of these items that are signed on the client and that the
    /// plan would change.
    pub signed: (u64, u64),
    /// The current time, in seconds since 1970.
    pub now: f64,
}
