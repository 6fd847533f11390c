//! The engine reads a table page by page, writes its items, and enforces all limits.
//!
//! A pass (`passes/`) decides what happens to each item. To understand how one item is processed, read these modules in
//! order. `scan/` fetches a page. `client/` admits, sends and retries every request. `decisions.rs` decides what each
//! item needs. `write/` writes the items, and commits them with their page. `limits/` limits the number and the cost of
//! requests.

pub(crate) mod client;
pub(crate) mod decisions;
pub(crate) mod in_flight;
pub(crate) mod job;
pub(crate) mod limits;
pub(crate) mod measure;
pub(crate) mod other_table;
pub(crate) mod progress;
pub(crate) mod scan;
pub(crate) mod stop;
pub(crate) mod write;

pub use client::{Lane, ReadPage, RequestLimits, Requests, describe};
pub use decisions::Decisions;
pub(crate) use decisions::ask;
pub use in_flight::SegmentSnapshot;
pub(crate) use job::schedule;
pub use job::{Job, SessionResult, scan_filter};
pub use limits::{
    Allowance, AllowanceStatus, CurrentBudgets, DESCRIBE_INTERVAL, LimitStatus, PauseSource, PauseSwitch,
    SegmentChoice, Slowdown, StoredBudgets, TableWatch, WorkWindow, auto_segments, slice,
};
pub use measure::{
    ConsumedUnits, ErrorClass, LATENCY_BOUNDS, LatencySnapshot, MAX_SEGMENT_RANGES, MeasuresSnapshot, Operation,
    SegmentRange, SegmentRanges, UnitPair,
};
pub use other_table::{OtherTableJob, other_budgets};
pub use progress::{Progress, Snapshot};
pub use scan::{
    FirstPage, LocalScheduler, ReadSettings, Scheduler, SchedulerError, WorkLease, scan_table, survey_item_limit,
};
pub use stop::{StopReason, Stopped, Stopper};
pub use write::{
    CommitPage, ItemOutcomes, PageItems, PageOutcome, Pages, PartialOutcome, ProcessPage, RemainingWork, WritePages,
    Writer,
};
