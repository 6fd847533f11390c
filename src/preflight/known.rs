//! The input of findings.

use std::collections::{BTreeMap, BTreeSet};

use super::estimate::Estimate;
use super::facts::Facts;
use crate::item::{Path, Times};
use crate::plan::Plan;

/// The known facts when findings are made.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Facts about the table.
    pub facts: &'a Facts,
    /// The plan.
    pub plan: &'a Plan,
    /// The estimate of the run.
    pub estimate: &'a Estimate,
    /// The types of the values that written paths will have, as far as items were read.
    pub types: &'a BTreeMap<Path, BTreeSet<&'static str>>,
    /// Whether the values that written paths will have are times, and in which unit, as far as items were read.
    pub times: &'a BTreeMap<Path, Times>,
    /// Number of items that were read, and number of those that the plan would change although they are signed on the
    /// client.
    pub signed: (u64, u64),
    /// The time, in seconds since 1970.
    pub now: f64,
}
