//! The operator's plan: TOML text, parsed once into a [`Plan`] that is valid by construction.
//!
//! [`load`] reads the text, reports everything that is wrong with it at once, and hands out the plan together with its
//! [`PlanFile`], which remembers what stands where: [`Loaded::check_key_schema`] and [`Loaded::refuse`] point at the text
//! once more when the table has been described. A plan's [`Fingerprint`] names its meaning.

mod budget;
mod capacity;
mod changes;
mod constant;
mod cutover;
mod diagnostic;
mod endpoint;
mod fields;
mod file;
mod fingerprint;
mod limits;
mod meaning;
mod names;
mod rules;
mod section;
mod template;
mod window;

pub use budget::{ExpressionBound, MAX_EXPRESSION_BYTES, MAX_OPERATORS, expression_bound};
pub use capacity::{BudgetError, CapacityField};
pub use cutover::{Cutover, FlagHooks, FlagKey, FlagPlace, LEASE_SUFFIX};
pub use diagnostic::PlanErrors;
pub use endpoint::is_loopback;
pub use fields::parse_duration;
pub use file::{Loaded, PlanFile, load, load_bytes};
pub use fingerprint::Fingerprint;
pub use meaning::shown;
pub use template::{TemplateTable, template};

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::change::{Change, OnExisting, Strategy};

/// A valid plan. Everything downstream takes this, never the file.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Plan {
    /// The migration's name: names the state file, so letters, digits, `-` and `_` only.
    pub name: String,
    /// When old attributes go.
    pub strategy: Strategy,
    /// What happens to another value at a target, for changes that say nothing of their own: each change has its answer.
    pub on_existing: OnExisting,
    /// The table, and how to reach it.
    pub table: TableRef,
    /// What every item should become; at least one.
    pub changes: Vec<Change>,
    /// How the table is read.
    pub scan: ScanOptions,
    /// What the job may consume.
    pub capacity: Capacity,
    /// When the job stops by itself.
    pub limits: Limits,
    /// What a request costs.
    pub prices: Prices,
    /// How it retries.
    pub retry: Retry,
    /// Where the cutover flag is, and what opens its gates.
    pub cutover: Cutover,
}

/// `[table]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRef {
    /// Table name.
    pub name: String,
    /// The key attributes that the operator states, partition key first; checked against the table.
    pub key: Option<Vec<String>>,
    /// AWS region.
    pub region: Option<String>,
    /// Another endpoint than AWS's own.
    pub endpoint_url: Option<String>,
    /// Profile of the AWS configuration.
    pub profile: Option<String>,
    /// The account that the table must be in (12 digits); checked against its ARN.
    pub account: Option<String>,
}

/// `[scan]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// Parallel-scan segments; none is `"auto"`. Resolved once, when a run is created.
    pub segments: Option<u32>,
    /// Segments worked on at the same time; none lets the tool choose.
    pub active: Option<u32>,
    /// Items per page at most; none is `"auto"`.
    pub page_limit: Option<u32>,
    /// Strongly consistent scan.
    pub consistent: bool,
}

/// `[capacity]`; what is left out takes the harmless default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Capacity {
    /// Write budget of the table.
    pub write: Option<Rate>,
    /// Read budget of the table.
    pub read: Option<Rate>,
    /// At most this on one key range, that is, on one segment.
    pub per_key_range: ScopeCapacity,
    /// At most this on the items of one partition key.
    pub per_partition_key: ScopeCapacity,
    /// Write budgets of indexes, by name.
    pub indexes: Vec<(String, Rate)>,
}

/// A budget as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Capacity units per second.
    Units(f64),
    /// Percent of what the table or index is provisioned with, limited to, or warm for; above 0, at most 100.
    Percent(f64),
}

/// What capacity units are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Write capacity units.
    Write,
    /// Read capacity units.
    Read,
}

/// Capacity units per second of a narrow scope.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ScopeCapacity {
    /// Writes.
    pub write: Option<f64>,
    /// Reads.
    pub read: Option<f64>,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The run stops when more items than this have failed.
    pub max_failures: u64,
    /// The run stops before it has consumed more write capacity units than this, indexes included, over all its sessions.
    pub max_wcu: Option<f64>,
    /// The run stops before its reads and writes have cost more US dollars than this, over all its sessions.
    pub max_cost_usd: Option<f64>,
    /// The run stops when it has scanned so many items, over all its sessions.
    pub max_items: Option<u64>,
    /// The run stops at this time.
    pub deadline: Option<Timestamp>,
    /// The run works at these times of the day only, and waits at others.
    pub window: Option<Window>,
}

impl Limits {
    /// No limit at all: of the way back, which nothing of this kind may hold up.
    pub fn none() -> Limits {
        let (max_wcu, max_cost_usd, max_items, deadline, window) = Default::default();
        Limits { max_failures: u64::MAX, max_wcu, max_cost_usd, max_items, deadline, window }
    }

    /// The names of those that are set; `max_failures` always is.
    pub fn named(&self) -> Vec<&'static str> {
        let Limits { max_failures: _, max_wcu, max_cost_usd, max_items, deadline, window } = self;
        let set = [
            ("max_failures", true),
            ("max_wcu", max_wcu.is_some()),
            ("max_cost_usd", max_cost_usd.is_some()),
            ("max_items", max_items.is_some()),
            ("deadline", deadline.is_some()),
            ("window", window.is_some()),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect()
    }
}

/// A daily window of time. It crosses midnight where it ends before it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// It opens at this time of the day.
    pub opens: Time,
    /// And closes at this one.
    pub closes: Time,
    /// In this time zone.
    pub zone: TimeZone,
}

/// `[prices]`: what the operator pays, where it is not the list price.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Prices {
    /// US dollars for a million write capacity units.
    pub write_per_million: Option<f64>,
    /// US dollars for a million read capacity units.
    pub read_per_million: Option<f64>,
}

/// `[retry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Ceiling of the first wait; it doubles with each attempt, and the wait is drawn from zero to it (full jitter).
    pub base: Duration,
    /// Largest ceiling of a wait.
    pub cap: Duration,
    /// One request failing for so long stops the run, resumably.
    pub give_up_after: Duration,
}
