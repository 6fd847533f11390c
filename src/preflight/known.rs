//! The input of findings.

use std::collections::{BTreeMap, BTreeSet};

use super::estimate::Estimate;
use super::facts::Facts;
use crate::item::{Path, Times};
use crate::plan::Plan;

/// What is known when findings are made.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Of the table.
    pub facts: &'a Facts,
    /// What is to be done.
    pub plan: &'a Plan,
    /// What it will take.
    pub estimate: &'a Estimate,
    /// The types that written paths will have, as far as anybody looked.
    pub types: &'a BTreeMap<Path, BTreeSet<&'static str>>,
    /// How many of the values that written paths will have are times, as far as anybody looked.
    pub times: &'a BTreeMap<Path, Times>,
    /// Items that were read, and of them those that the plan would change although they are signed on the client.
    pub signed: (u64, u64),
    /// The time, in seconds since 1970.
    pub now: f64,
}
