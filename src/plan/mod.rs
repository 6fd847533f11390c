//! The operator's plan: TOML text, parsed once into a [`Plan`] that is valid by construction.
//!
//! [`load`] reads the text and reports all errors together. It returns the plan together with its [`PlanFile`], which
//! records the position of each part in the text. [`LoadedPlan::check_key_schema`] and [`LoadedPlan::budget_errors`]
//! find errors with the help of the table's description, and use these positions to report them. A plan's
//! [`Fingerprint`] identifies the plan's meaning.

mod argv;
mod attribute_list;
mod capacity;
mod changes;
mod client;
mod constant;
mod conversion;
mod cutover;
mod diagnostic;
mod endpoint;
mod expression_limits;
mod fields;
mod file;
mod fingerprint;
mod health;
mod hooks;
mod index;
mod keys;
mod limits;
mod meaning;
mod migration_section;
mod names;
mod overrides;
mod permissions;
mod role;
mod rules;
mod safety;
mod schema;
mod section;
mod select;
mod sources;
mod spans;
mod supply;
mod syntax;
mod template;
mod text;
mod window;
mod write;

pub use capacity::{BudgetError, CapacityField};
pub use client::{ClientOptions, DynamoClient};
pub use cutover::{Cutover, FlagHooks, FlagKey, FlagLocation, LEASE_SUFFIX};
pub use diagnostic::PlanErrors;
pub use endpoint::{check_endpoint, is_loopback};
pub use expression_limits::{ExpressionBound, MAX_EXPRESSION_BYTES, MAX_OPERATORS, expression_bound, writes_per_item};
pub use fields::parse_duration;
pub use file::{LoadedPlan, PlanFile, load, load_bytes, load_bytes_with, load_with};
pub use fingerprint::Fingerprint;
pub use health::{FailMode, HealthCheck, HealthProbe, HealthyBounds, MetricQuery, NoData, OnUnhealthy, SecretUrl};
pub use hooks::{BeforeStep, HookEvent, HookOptions, VetoStep};
pub use index::SelectedIndex;
pub use keys::SelectedKeys;
pub use meaning::excerpt;
pub use permissions::least_privilege_policy;
pub use safety::SafetyOptions;
pub use schema::PLAN_SCHEMA;
pub use sources::ReadableIndex;
pub use template::{TemplateAttribute, TemplateSample, TemplateTable, template};
pub use write::{Transport, WriteOptions};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::change::{
    Change, DerivedItem, ItemRules, OnExisting, OnNotComputable, OptionsByTarget, SelectingIndex, Selection, Strategy,
};
use crate::expr::Facts;
use crate::item::Path;

/// A valid plan. After a plan is loaded, all code uses this type instead of the file.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub struct Plan {
    /// The migration's name. It becomes the name of the state file, so only letters, digits, `-` and `_` are allowed.
    pub name: String,
    /// The strategy. It determines when old attributes are removed.
    pub strategy: Strategy,
    /// The rule for existing values at targets, for changes without their own `on_existing`. [`load`] has already
    /// copied this setting into these changes.
    pub on_existing: OnExisting,
    /// The rule for items for which an expression or a conversion has no result.
    pub on_not_computable: OnNotComputable,
    /// Whether the tool may send several writes for an item whose changes do not fit in one write.
    pub split: bool,
    /// The table, and how to reach it.
    pub table: TableRef,
    /// The condition that selects the items to change. `None` means every item, or every item that `keys` or `index`
    /// selects.
    pub select: Option<Selection>,
    /// The keys of the items that the plan changes. Every pass reads only these items. `None` means that passes read
    /// every item of the table.
    pub keys: Option<SelectedKeys>,
    /// The index through which the plan selects items. Only the first pass of `run` and its dry run read it.
    pub index: Option<SelectedIndex>,
    /// The changes to make to every selected item. There is at least one change.
    pub changes: Vec<Change>,
    /// The options of single changes, which are their own `where` and `null_is_missing`.
    pub options: OptionsByTarget,
    /// The facts about the migration that expressions can read. They are not part of the plan's text. A session reads
    /// them from its state file.
    pub facts: Facts,
    /// The settings for reading the table.
    pub scan: ScanOptions,
    /// The capacity that the migration may consume.
    pub capacity: Capacity,
    /// The limits at which the migration stops automatically.
    pub limits: PlanLimits,
    /// The prices of capacity units.
    pub prices: Prices,
    /// How requests are retried.
    pub retry: Retry,
    /// The location of the cutover flag, and the conditions that open the cutover gates.
    pub cutover: Cutover,
    /// The conditions under which the tool alerts the operator.
    pub alerts: Alerts,
    /// The external controls that pause the migration.
    pub steering: SteeringOptions,
    /// The health checks of the application that pause or slow down a pass.
    pub health_checks: Vec<HealthCheck>,
    /// The programs and the webhook that are called on events.
    pub hooks: HookOptions,
    /// The precautions before steps that destroy values.
    pub safety: SafetyOptions,
    /// The client that sends requests.
    pub client: ClientOptions,
    /// How guarded writes are sent.
    pub write: WriteOptions,
}

impl Plan {
    /// Returns the rules that apply to all changes. They determine which items are selected and how expressions are
    /// evaluated.
    pub fn item_rules(&self) -> ItemRules {
        ItemRules {
            selection: self.select.clone(),
            index: self.index.as_ref().map_or(SelectingIndex::None, SelectedIndex::selecting),
            stable: self.recorded_stable(),
            options: self.options.clone(),
            on_not_computable: self.on_not_computable,
            facts: self.facts,
        }
    }

    /// Returns the paths in stable attributes that a `where` reads and no change of the plan modifies. A plan that
    /// deletes or puts items needs no record of these paths, because its rollback uses only the journal.
    fn recorded_stable(&self) -> Vec<Path> {
        if self.deletes_items() || self.puts_items() {
            return Vec::new();
        }
        let is_touched = |path: &Path| {
            self.changes.iter().any(|change| {
                let paths = change.paths();
                paths.writes.into_iter().chain(paths.removes).any(|changed| changed.overlaps(path))
            })
        };
        let selections = self.select.iter().chain(self.options.selections());
        let mut paths: Vec<Path> = selections.flat_map(Selection::stable_inputs).cloned().collect();
        paths.retain(|path| !is_touched(path));
        paths.sort();
        paths.dedup();
        paths
    }

    /// Returns whether an item can need several writes. This is the case if its changes do not fit in one write and the
    /// plan allows several writes.
    pub fn needs_split(&self) -> bool {
        self.max_writes() > 1
    }

    /// Returns the number of writes for an item that needs every change.
    pub fn max_writes(&self) -> usize {
        if self.split { writes_per_item(&self.changes, self.select.as_ref(), &self.options) } else { 1 }
    }

    /// Returns whether the plan deletes items.
    pub fn deletes_items(&self) -> bool {
        self.deletion().is_some()
    }

    /// Returns whether the plan has an `exec` without a marker. Verification then starts the program of this `exec`.
    pub fn recomputes(&self) -> bool {
        self.changes.iter().filter_map(Change::program).any(|exec| exec.is_deterministic())
    }

    /// Returns whether the plan puts derived items.
    pub fn puts_items(&self) -> bool {
        self.derived().is_some()
    }

    /// Returns whether a verification looks up the derived items that the journal records. The scan of the selection does
    /// not read them if they are in another table, or if the plan lists the keys of its sources.
    pub fn looks_up_derived(&self) -> bool {
        self.puts_items() && (self.keys.is_some() || self.other_table().is_some())
    }

    /// Returns the name of the table that gets the derived items. `None` if it is the table of the plan, or if the plan
    /// puts no derived items.
    pub fn other_table(&self) -> Option<&str> {
        self.derived()?.table.as_deref()
    }

    /// Returns whether writes of the plan may go in batches. Whole items never do.
    pub fn may_batch(&self) -> bool {
        self.write.transport != Transport::Update && !self.deletes_items() && !self.puts_items()
    }

    /// Returns how the plan computes derived items. Returns `None` if it puts none.
    pub fn derived(&self) -> Option<&Arc<DerivedItem>> {
        self.changes.iter().find_map(Change::derived)
    }

    /// Returns whether the journal keeps the deleted items. Returns `None` if the plan deletes no items.
    pub fn deletion(&self) -> Option<bool> {
        self.changes.iter().find_map(|change| Some(change.deletion()?.1))
    }
}

/// `[table]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRef {
    /// Table name.
    pub name: String,
    /// The key attributes in the plan, partition key first. The tool compares them with the table's key. `None` if the
    /// plan does not list the key attributes.
    pub key: Option<Vec<String>>,
    /// AWS region.
    pub region: Option<String>,
    /// The URL of the endpoint. `None` means the AWS default.
    pub endpoint_url: Option<String>,
    /// Profile from the AWS configuration.
    pub profile: Option<String>,
    /// The ID of the account that must own the table (12 digits). The tool compares it with the table's ARN.
    pub account: Option<String>,
    /// The role that every request to AWS uses. `None` means that requests use the configured credentials directly.
    pub role: Option<AssumedRole>,
}

/// The IAM role from `role_arn` and `role_external_id` in `[table]`. The tool assumes this role with the configured
/// credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumedRole {
    /// The role's ARN.
    pub arn: String,
    /// The external ID, if the role's trust policy requires one.
    pub external_id: Option<String>,
    /// The name of the session. CloudTrail shows this name. It is `backfill-` followed by the migration's name.
    pub session_name: String,
}

/// `[scan]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanOptions {
    /// Number of parallel-scan segments. `None` means `"auto"`. The number is fixed when a run is created.
    pub segments: Option<u32>,
    /// Number of segments that are scanned at the same time. `None` means that the tool chooses the number.
    pub active: Option<u32>,
    /// Maximum number of items per page. `None` means `"auto"`.
    pub page_limit: Option<u32>,
    /// Whether the scan is strongly consistent.
    pub consistent: bool,
}

/// `[capacity]`. If the plan does not set a budget, a harmless default applies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Capacity {
    /// Write budget of the table.
    pub write: Option<CapacityRate>,
    /// Read budget of the table.
    pub read: Option<CapacityRate>,
    /// Maximum budget for one key range. A key range is one segment of the scan.
    pub per_key_range: ScopeCapacity,
    /// Maximum budget for the items of one partition key.
    pub per_partition_key: ScopeCapacity,
    /// Write budgets of indexes, by name.
    pub indexes: Vec<(String, CapacityRate)>,
}

/// A budget in the form that the plan or an operator uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CapacityRate {
    /// Capacity units per second.
    Units(f64),
    /// Percentage of a capacity of the table or index: the provisioned capacity, the on-demand maximum or the warm
    /// throughput. The percentage is above 0 and at most 100.
    Percent(f64),
    /// Capacity units per second that an operator set with `ctl rate`. A plan never contains this form.
    Steered(f64),
}

/// Whether capacity units are for writes or reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Write capacity units.
    Write,
    /// Read capacity units.
    Read,
}

/// The budget for a key range or a partition key, in capacity units per second. `None` means the default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ScopeCapacity {
    /// Write capacity units per second.
    pub write: Option<f64>,
    /// Read capacity units per second.
    pub read: Option<f64>,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq)]
pub struct PlanLimits {
    /// The run stops when more than this number of items have failed.
    pub max_failures: u64,
    /// The run stops before it consumes more than this number of write capacity units, including indexes, over all its
    /// sessions.
    pub max_wcu: Option<f64>,
    /// The run stops before its reads and writes cost more than this number of US dollars, over all its sessions.
    pub max_cost_usd: Option<f64>,
    /// The run stops when it has scanned this number of items, over all its sessions.
    pub max_items: Option<u64>,
    /// The run stops at this time.
    pub deadline: Option<Timestamp>,
    /// The run works only within this daily window, and waits at other times.
    pub window: Option<Window>,
}

impl PlanLimits {
    /// Returns options without limits. `rollback` and `cutover --back` run without limits, because limits must never
    /// prevent a rollback.
    pub fn none() -> PlanLimits {
        PlanLimits {
            max_failures: u64::MAX,
            max_wcu: None,
            max_cost_usd: None,
            max_items: None,
            deadline: None,
            window: None,
        }
    }

    /// Returns the names of all limits that are set. `max_failures` is always set.
    pub fn limit_names(&self) -> Vec<&'static str> {
        let PlanLimits { max_failures: _, max_wcu, max_cost_usd, max_items, deadline, window } = self;
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

/// A daily time window. If its closing time is earlier than its opening time, the window includes midnight.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Time of day at which the window opens.
    pub opens: Time,
    /// Time of day at which the window closes.
    pub closes: Time,
    /// The time zone of both times.
    pub zone: TimeZone,
}

/// The prices in `[prices]`. The operator sets them if the actual prices differ from the list prices.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Prices {
    /// US dollars for a million write capacity units.
    pub write_per_million: Option<f64>,
    /// US dollars for a million read capacity units.
    pub read_per_million: Option<f64>,
}

/// `[steering]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SteeringOptions {
    /// While this file exists, the migration neither reads nor writes items. `rollback` and `cutover --back` ignore the
    /// file. Several migrations can use the same file. `None` if the plan has no pause file.
    pub pause_file: Option<PathBuf>,
}

/// `[alerts]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alerts {
    /// The time after which a pass counts as stalled if no request is answered and no cause is known.
    pub stall_after: Duration,
}

/// `[retry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Upper limit of the first wait. The limit doubles with each attempt. Each wait is a random time between zero and
    /// the limit (full jitter).
    pub base: Duration,
    /// The maximum to which the upper limit of a wait grows.
    pub cap: Duration,
    /// If one request fails repeatedly for this time, the run stops. It can then be resumed.
    pub give_up_after: Duration,
}
