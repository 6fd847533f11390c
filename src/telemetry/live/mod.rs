//! The live figures of a pass, in the form that is shown outside the pass. The progress line shows them. `ctl status`
//! returns them as JSON, for `status --watch` and for scripts. They contain no keys and no values. This module is pure.

mod view;

pub use view::forecast;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{ActivityChange, Eta};
use crate::plan::Access;

/// The live figures of a pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LiveFigures {
    /// The time of the figures.
    pub at: Timestamp,
    /// The activity, its reason, and the time at which it began.
    pub activity: ActivityChange,
    /// Seconds in each activity, over all sessions of the run.
    pub seconds: Json,
    /// The segments whose requests hang, as text for people. Only the first few are listed.
    pub hung: Vec<String>,
    /// Number of committed items, over all sessions of the run.
    pub items: u64,
    /// Number of items in the table according to DynamoDB; 0 if unknown.
    pub item_estimate: u64,
    /// The progress in percent, an estimate; `None` if unknown.
    pub percent: Option<u64>,
    /// The speed over the last minute; `None` while it is unknown.
    pub rates: Option<RateFigures>,
    /// The mean number of items per second over all sessions of the run, including the time spent waiting; `None` while
    /// it is unknown.
    pub average_items_per_s: Option<f64>,
    /// The time until the run ends; `None` if unknown.
    pub eta: Option<EtaFigures>,
    /// Number of segments that are done.
    pub segments_done: u64,
    /// Number of segments; 0 if the pass has no segments.
    pub total_segments: u64,
    /// The progress of at most 64 ranges of segments.
    pub ranges: Vec<RangeFigures>,
    /// Number of items that failed, over all sessions of the run.
    pub failures: u64,
    /// Number of items in `failures` that lost a race against other writers.
    pub conflicts: u64,
    /// Number of items whose values differ from what the plan implies.
    pub diverged: u64,
    /// Number of requests of this session that DynamoDB throttled.
    pub throttled: u64,
    /// Number of requests of this session that failed for another reason.
    pub failed_requests: u64,
    /// The scopes: the table, the indexes, all partition keys together, and all key ranges together.
    pub scopes: Vec<ScopeFigures>,
    /// The current reason for lower budgets in all scopes, as text for people; `None` if budgets are not lowered.
    pub slowed_by: Option<String>,
    /// Requests that wait for something that is not a scope.
    pub waits: Vec<WaitFigures>,
    /// The partition keys that have their own rate.
    pub hot_keys: Vec<HotKeyFigures>,
    /// The key ranges with the lowest rates.
    pub key_ranges: Vec<KeyRangeFigures>,
    /// The spend of the run; `None` before the run begins to count.
    pub spend: Option<SpendFigures>,
    /// The last changes of the activity in this session, oldest first.
    pub recent: Vec<ActivityChange>,
    /// The last time at which a request was answered.
    pub last_answer: Timestamp,
    /// The last time at which items were committed.
    pub last_commit: Timestamp,
}

/// The speed of a run over the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RateFigures {
    /// Items per second.
    pub items_per_s: f64,
    /// Write capacity units per second.
    pub wcu_per_s: f64,
    /// Read capacity units per second.
    pub rcu_per_s: f64,
}

/// The time until a run ends, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtaFigures {
    /// The run probably takes at least this long.
    pub low_s: u64,
    /// The time at the current rate.
    pub likely_s: u64,
    /// The run probably takes at most this long.
    pub high_s: u64,
}

impl From<Eta> for EtaFigures {
    fn from(eta: Eta) -> EtaFigures {
        EtaFigures { low_s: eta.low.as_secs(), likely_s: eta.likely.as_secs(), high_s: eta.high.as_secs() }
    }
}

impl From<EtaFigures> for Eta {
    fn from(figures: EtaFigures) -> Eta {
        let time = std::time::Duration::from_secs;
        Eta { low: time(figures.low_s), likely: time(figures.likely_s), high: time(figures.high_s) }
    }
}

/// The progress of neighbouring segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeFigures {
    /// The first segment.
    pub first: u32,
    /// The last segment.
    pub last: u32,
    /// Number of segments that are done.
    pub done: u64,
    /// Number of committed items.
    pub items: u64,
}

/// The kind of access to which a scope's rate applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessKind {
    /// Reads.
    Read,
    /// Writes.
    Write,
}

impl AccessKind {
    fn of(access: Access) -> AccessKind {
        match access {
            Access::Read => AccessKind::Read,
            Access::Write => AccessKind::Write,
        }
    }

    /// Returns the unit of the rate.
    pub fn unit(self) -> &'static str {
        match self {
            AccessKind::Read => "RCU/s",
            AccessKind::Write => "WCU/s",
        }
    }
}

/// The kind of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    /// The table.
    Table,
    /// A global secondary index.
    Index,
    /// All partition keys together. The budget applies to each partition key.
    PartitionKey,
    /// All key ranges together. The budget applies to each key range.
    KeyRange,
}

/// A scope's rate and the requests that wait for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScopeFigures {
    /// The kind.
    pub scope: ScopeKind,
    /// The name of the index; `None` for other scopes.
    pub index: Option<String>,
    /// Reads or writes.
    pub access: AccessKind,
    /// The highest rate in capacity units per second.
    pub budget: f64,
    /// The rate that the scope may use now; `None` for all scopes of one kind.
    pub rate: Option<f64>,
    /// Number of requests that wait now.
    pub waiting: u64,
    /// Seconds that requests of this session waited. Waits that have not ended are not included.
    pub waited_s: f64,
    /// Number of requests of this session that DynamoDB throttled because of this scope.
    pub throttles: u64,
}

impl ScopeFigures {
    /// Returns the scope's name for people. The name of an index is not escaped.
    pub fn name(&self) -> String {
        let access = match self.access {
            AccessKind::Read => "reads",
            AccessKind::Write => "writes",
        };
        match self.scope {
            ScopeKind::Table => format!("table {access}"),
            ScopeKind::Index => format!("index {}", self.index.as_deref().unwrap_or_default()),
            ScopeKind::PartitionKey => format!("partition keys, {access}"),
            ScopeKind::KeyRange => format!("key ranges, {access}"),
        }
    }
}

/// Requests that wait for something that is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitFigures {
    /// The reason for the wait, as in the metric `backfill_waiting_requests`.
    pub name: String,
    /// Number of requests that wait now.
    pub waiting: u64,
}

/// A partition key that has its own rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HotKeyFigures {
    /// The hash of the key, as 16 hexadecimal digits.
    pub hash: String,
    /// Reads or writes.
    pub access: AccessKind,
    /// The capacity units per second that the key may use now.
    pub rate: f64,
    /// Number of requests that wait for the key.
    pub waiting: u64,
    /// Number of requests that were throttled since the key got its own rate.
    pub throttles: u64,
}

/// The rates of a key range in progress.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeyRangeFigures {
    /// The segment that reads the key range.
    pub segment: u32,
    /// Write capacity units per second.
    pub write_rate: f64,
    /// Read capacity units per second.
    pub read_rate: f64,
}

/// What a run has spent, over all its sessions, including requests in flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpendFigures {
    /// Write capacity units.
    pub wcu: f64,
    /// Read capacity units.
    pub rcu: f64,
    /// The estimated cost in US dollars.
    pub dollars: f64,
    /// The forecast of the run's total cost, in US dollars. It assumes that the remaining items cost as much per item
    /// as the items so far. `None` if too few items are done.
    pub forecast_dollars: Option<f64>,
    /// The limits that the plan sets.
    pub limits: Vec<LimitFigures>,
}

/// A limit of `[limits]`, in its own unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitFigures {
    /// The name in the plan.
    pub name: String,
    /// The limit.
    pub limit: f64,
    /// The part that is not used yet.
    pub left: f64,
}
