//! Defines the facts on which findings are based.

use std::collections::{BTreeMap, BTreeSet};

use super::estimate::Estimate;
use super::facts::TableFacts;
use crate::item::{ExpiryCounts, Path};
use crate::passes::Prediction;
use crate::plan::Plan;

/// The facts on which findings are based.
#[derive(Debug, Clone, Copy)]
pub struct FindingInput<'a> {
    /// Facts about the table.
    pub facts: &'a TableFacts,
    /// The plan.
    pub plan: &'a Plan,
    /// The estimate of the run.
    pub estimate: &'a Estimate,
    /// For each target path of the plan, the types of the values that the plan would write to the items that were read.
    pub types: &'a BTreeMap<Path, BTreeSet<&'static str>>,
    /// For each target path of the plan, counts of the values that the plan would write to the items that were read.
    /// Each unit of time has a separate count.
    pub times: &'a BTreeMap<Path, ExpiryCounts>,
    /// The number of items that were read, and the number of items among them that are signed on the client and would
    /// change.
    pub signed: (u64, u64),
    /// The counts of the items that were read. `None` if no item was read.
    pub read: Option<&'a Prediction>,
    /// The current time, in seconds since 1970.
    pub now: f64,
}
