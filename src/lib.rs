//! `backfill` moves, copies, sets or removes attributes on every item of a live Amazon DynamoDB table, for hours, while
//! the application keeps serving from it.
//!
//! It can be killed at any moment and continues from its checkpoint. It never overwrites what a live writer wrote, and
//! never takes more capacity than it was given.
//!
//! # The way of the data
//!
//! Each arrow is a function that returns the next noun. No noun travels backwards, but for one: a failed condition brings
//! the item's current image, which re-enters at *item*.
//!
//! | noun | made by | in |
//! | --- | --- | --- |
//! | [`plan::PlanFile`] → [`plan::Plan`] | [`plan::load`] | `plan/` |
//! | job, session | [`engine::Job`], [`state::Runs::begin`] | `engine/job.rs` |
//! | segment | [`engine::Scheduler`], [`engine::sweep`], by what the survey finds | `engine/scan/` |
//! | page → items | [`dynamodb::Source::read_page`], by the segment worker | `engine/scan/worker.rs` |
//! | item → decision → guarded write | [`change::Changes::decide_with`] | `change/decide.rs` |
//! | permits | [`ratelimit::Scopes`], from narrow to wide | `engine/client/` |
//! | outcome | [`dynamodb::Sink::write`], by the writer | `engine/write/writer/` |
//! | checkpoint | [`state::Checkpoints::commit`] | `engine/write/write_pages.rs` |
//! | verdict | [`passes::verify::Parity::compare`], by a verification's shadow reads | `passes/verify/` |
//! | events → state → next step | [`playbook::State::next`], [`playbook::step`]: every command is a loop over it | `playbook/` |
//! | report → exit code | [`telemetry::RunReport`] | `telemetry/`, `commands/exit.rs` |
//!
//! # The way of a migration
//!
//! From plan to report in a straight line; each command is a loop over the playbook's next step.
//!
//! | room | what it is for | command |
//! | --- | --- | --- |
//! | [`preflight`] | findings and estimates, before anything is written | `check`, `run --dry-run` |
//! | [`playbook`] | which step is next, and which is refused: pure | all of them, `status` |
//! | [`migration`] | carries the steps out: records, changes the flag, waits, goes over the table | all of them |
//! | [`passes`] | one walk over the table for one purpose | `run`, `verify`, `contract`, `rollback` |
//! | [`engine`] | the machinery of every pass: scan, write, client, limits | |
//! | [`cutover`] | the flag that applications obey, and the lease beside it | `cutover` |
//! | [`telemetry`] | what came of it | every report |
//!
//! # What always holds
//!
//! **Guards.** Every write carries `attribute_exists` of the partition key, so that a deleted item is never brought back.
//! A value that is moved or copied does not pass through the client; where it must, because a parent map has to be made,
//! the condition holds the source to it. What a live writer already put at the target is kept, unless the plan says
//! otherwise, and then its pre-image is durable before the write is sent and stands in its condition. Every race ends as
//! a failed condition, never as a validation error. All changes of an item go in one write. An item that needs nothing
//! gets none.
//!
//! **Checkpoints.** A page's start key is committed when every outcome of the page, and of all pages before it in its
//! segment, is known and, if a failure, recorded: in one transaction. Progress moves only through
//! [`state::SegmentState::next`]. A commit that fails stops the run. Until DynamoDB has accepted one write, pages
//! with refused writes are held back, up to a bound, so that a plan that fails everywhere leaves nothing behind.
//!
//! **Capacity.** Nothing is sent without permits from every scope that it touches, in capacity units: partition key, key
//! range (the item's segment), each index, table, in this order, so that who waits for a narrow scope holds nothing of a
//! wider one. Items of a hot partition key are set aside, and the rest of their segment goes on. Permits are settled
//! afterwards against what DynamoDB says it consumed. A throttle slows the scope that its reasons name, and the rate comes
//! back by itself ([`ratelimit::Feedback`]). Budgets that are a share of the table, and defaults, follow its description while
//! a run lasts ([`engine::TableWatch`]). The SDK's retries are off: one place owns retry, backoff and the bound. What
//! a run may spend in all is reserved durably, in slices, before it is used ([`engine::Allowance`]): a process that dies has
//! spent its whole slice.
//!
//! **Honesty.** Every figure was counted, or says what it is an estimate of. Attribute values never reach logs, errors
//! or reports.
//!
//! # Crash points
//!
//! | killed | what is found on resume |
//! | --- | --- |
//! | before the first look at a page is durable | nothing of the page was written; it is read and looked at again |
//! | after that | what was there before is recorded; items that may have been written do not count as such, except targets of a plan with `skip` that no recorded write can have filled |
//! | while a rollback, or a run that begins anew, looks at what a stopped pass has not met | nothing was written; the look goes on from its checkpoints, and nothing else ever resumes that pass |
//! | before a page's pre-images are durable | nothing of those items was written; the page is read again |
//! | after that, before all its writes are answered | some items are written; read again they are `AlreadyApplied` |
//! | after the writes, before the commit | the same, for all items of the page |
//! | after the commit | the page is never read again |
//! | after capacity is reserved, before it is used | the slice counts as spent |
//!
//! At any moment each active segment has at most two pages that are read and not committed: the one being written and the
//! prefetched one; beside them up to eight that wait for items which were set aside (about one megabyte), or, in a large
//! lane, for writes under way; and, until a first write is accepted, the pages that are held back. Counts of a run that
//! was killed are a lower bound for `applied`, and say so.
//!
//! # Seams
//!
//! The ports [`dynamodb::Source`], [`dynamodb::Sink`] and [`dynamodb::Describe`] are all that the engine knows of DynamoDB. A
//! source yields pages and durable positions; a sink takes chunks of guarded writes, so that a batched transport can stand
//! beside the single one. One table may be both. The ports of [`state`] and [`engine::Scheduler`] are where a fleet
//! would keep its checkpoints and hand out its segments.
//!
//! Who may name what (only `dynamodb/sdk` names the AWS SDK, only the store names SQLite, only `ratelimit` names governor,
//! only `local` names the embedded engine; `plan`, `item`, `change`, `playbook` and the checkpoint's state are pure) is held
//! by `tests/architecture.rs`.

mod change;
mod clock;
mod cost;
mod cutover;
mod dynamodb;
mod engine;
mod figure;
mod host;
mod item;
mod locked;
mod machine;
mod migration;
mod outside;
mod passes;
mod plan;
mod playbook;
mod preflight;
mod ratelimit;
mod state;
mod telemetry;

#[cfg(feature = "local")]
mod local;

/// What the `backfill` binary, its tests and its benchmarks use. No promise is made about any of it: it changes between
/// patch versions. It is there with the feature `internals`.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub mod change {
        pub use crate::change::*;
    }
    pub mod clock {
        pub use crate::clock::*;
    }
    pub mod cost {
        pub use crate::cost::*;
    }
    pub mod cutover {
        pub use crate::cutover::*;
    }
    pub mod dynamodb {
        pub use crate::dynamodb::*;
    }
    pub mod engine {
        pub use crate::engine::*;
    }
    pub mod figure {
        pub use crate::figure::*;
    }
    pub mod host {
        pub use crate::host::*;
    }
    pub mod item {
        pub use crate::item::*;
    }
    pub mod locked {
        pub use crate::locked::*;
    }
    pub mod machine {
        pub use crate::machine::*;
    }
    pub mod migration {
        pub use crate::migration::*;
    }
    pub mod outside {
        pub use crate::outside::*;
    }
    pub mod passes {
        pub use crate::passes::*;
    }
    pub mod plan {
        pub use crate::plan::*;
    }
    pub mod playbook {
        pub use crate::playbook::*;
    }
    pub mod preflight {
        pub use crate::preflight::*;
    }
    pub mod ratelimit {
        pub use crate::ratelimit::*;
    }
    pub mod state {
        pub use crate::state::*;
    }
    pub mod telemetry {
        pub use crate::telemetry::*;
    }
    #[cfg(feature = "local")]
    pub mod local {
        pub use crate::local::*;
    }
}
