//! `backfill` moves, copies, sets or removes attributes on every item of a live Amazon DynamoDB table. A run can take
//! hours, and the application keeps using the table during the run.
//!
//! You can kill a run at any moment. The next run resumes from its checkpoint. `backfill` never overwrites a live
//! writer's value, and it never uses more capacity than the plan allows.
//!
//! # Use as a library
//!
//! [`Migration`] is the entry point. It takes a plan and [`Options`], and provides a method for each command:
//! [`Migration::check`], [`Migration::dry_run`], [`Migration::run`], [`Migration::verify`], [`Migration::cutover`],
//! [`Migration::contract`], [`Migration::rollback`] and [`Migration::status`]. An [`Observer`] receives progress and
//! answers questions. A [`Stopper`] stops the running command. Before it stops, the command waits at most 10 s for its
//! requests in flight.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use backfill::{Answer, Migration, MigrationError, Observer, Options, Question, RunOptions};
//!
//! struct Agree;
//!
//! impl Observer for Agree {
//!     fn confirm(&self, _question: &Question<'_>) -> Answer {
//!         Answer::Yes
//!     }
//! }
//!
//! # async fn embed() -> Result<(), MigrationError> {
//! let mut options = Options::default();
//! options.observer = Arc::new(Agree);
//! let outcome = Migration::open("plan.toml", options)?.run(&RunOptions::default()).await?;
//! println!("{} failures", outcome.open().failures);
//! # Ok(())
//! # }
//! ```
//!
//! `docs/api.txt` lists every item of the supported API. `examples/embed.rs` is a complete program.
//! `examples/custom_change.rs` is a program that computes values with its own function
//! ([`ports::change::CustomChange`]). `tests/outside/` is a crate that supplies its own table
//! ([`Migration::with_tables`]).
//!
//! Programs should depend on this crate with `default-features = false`. The default feature `internals` exports more
//! items, without a stability guarantee. Without `internals`, extensible enums and reports are `#[non_exhaustive]`.
//! With `internals`, they are exhaustive, so that the compiler forces the binary to handle every variant.
//!
//! # Data path
//!
//! In the following path, each arrow is a function that turns one noun into the next. Data moves only forwards, with
//! one exception: if a write's condition fails, DynamoDB returns the item's current image, which re-enters the path at
//! *item*.
//!
//! `plan.toml` → [`Plan`] → run → segment → page → item → decision → guarded write → permit → outcome → commit → report
//! → exit code
//!
//! | module | what it does |
//! | --- | --- |
//! | `plan` | parses TOML once into a valid [`Plan`] |
//! | `preflight`, `cost` | findings and estimates before anything is written |
//! | `explain` | what a pass does with one item, and why |
//! | `playbook` | decides which step is next and which steps are refused (pure) |
//! | `report` | the report of a whole migration, as HTML and as Markdown |
//! | `migration` | carries out the steps: the driver, the session, and [`Migration`] |
//! | `passes` | one walk over the table for one purpose: expand, verify, contract, undo, dry run |
//! | `engine` | the machinery of every pass: scan, write, client, limits |
//! | `change`, `item` | turns an item's image into a decision and a guarded write (pure) |
//! | `expr` | CEL expressions over items (pure) |
//! | `ratelimit` | permits in capacity units, for every scope that a request touches |
//! | `dynamodb` | the ports to the table; only `dynamodb/sdk` and `dynamodb/lean` name the AWS SDK |
//! | `state` | durable progress and history; only `state/sqlite` names SQLite |
//! | `cutover` | the flag that applications obey, and the lease, which is in the flag's table |
//! | `telemetry` | progress and reports |
//! | `hooks` | announces events to the operator's programs and to a webhook |
//!
//! `tests/source/architecture.rs` enforces which names each module may use.
//!
//! # Guarantees
//!
//! **Guards.** Every write's condition contains `attribute_exists` for the partition key, so a write never recreates a
//! deleted item. The only exception is a write that restores an item after the plan deleted it. The condition of this
//! write requires that no item has the same key. If DynamoDB can copy a value, a move or copy does not send the value
//! through the client. Otherwise the client sends the value, and the condition requires that the source still has this
//! value. If the target already has a value from a live writer, this value stays unless the plan asks to overwrite it.
//! Before an overwriting write is sent, the prior value is stored durably. The write's condition requires that the item
//! still has the prior value. Every race with another writer ends as a failed condition, never as a validation error.
//! One write contains all changes to an item. Only with `split = true` does a plan allow several sequential writes to
//! an item, each with its own condition. An item that needs no change is not written.
//!
//! **Checkpoints.** A page's position is committed when all outcomes of the page and of the earlier pages in its
//! segment are known. The same transaction stores the failures. If a commit fails, the run stops. Until DynamoDB has
//! accepted the first write, pages with rejected writes stay uncommitted, up to a maximum number. Therefore, if a plan
//! fails for every item, no failures are recorded.
//!
//! **Capacity.** Every request needs permits, in capacity units, from every scope that the request touches. Permits are
//! acquired in this order: partition key, key range (the item's segment), each index, table. So a request that waits
//! for one scope holds no permits from later scopes in this list. Items of a hot partition key are set aside, and the
//! scan of their segment continues. Permits are reconciled with the consumption that DynamoDB reports. If DynamoDB
//! throttles a request, the scopes that the reply names slow down. If the reply names no scope, the table slows down.
//! Repeated throttles of a key range also slow down the partition key or the table. All these rates recover
//! automatically. During a run, percentage budgets and default budgets follow the table's current description. The
//! SDK's retries are off. One module of this crate decides whether to retry a request, how long to wait before the
//! retry, and when to give up. If the plan limits spending, a run durably reserves a slice of capacity before it uses
//! the capacity. If the process dies, the whole slice counts as spent.
//!
//! **Honesty.** Every figure is either counted, or labelled as an estimate together with its basis. Attribute values
//! never reach logs, errors or reports.
//!
//! # Crash points
//!
//! `CrashPoint` (`src/state/crash_point.rs`) defines the names. Tests kill a process at each crash point.
//!
//! | name | when the process is killed | state on resume |
//! | --- | --- | --- |
//! | `baseline-unrecorded` | before a page's baseline is durable | no item of the page was written; the page is read and recorded again |
//! | `baseline-recorded` | after a page's baseline is durable, before its writes | the baseline is recorded. If an item may have been written, its targets do not count as preexisting. Exception: in a plan with `skip`, a target counts as preexisting if none of the recorded writes can have filled it |
//! | `baseline-completion` | while a rollback, or a run from the beginning, records the baseline of the items that a stopped pass has not read | nothing was written; the recording continues from its checkpoints, and no other command resumes the stopped pass |
//! | `program-asked` | while a program computes values | these items were not written; the program computes the values again, and its answers can differ |
//! | `prior-values-unrecorded` | before a write's prior values are durable | the item was not written; the page is read again |
//! | `prior-values-recorded` | after a write's prior values are durable, before it is sent | the item was not written, but its prior values are recorded; the page is read again |
//! | `write-unanswered` | after DynamoDB has carried out a write, before its reply is handled | some items of the page are written; when they are read again, they count as already applied. With `split = true`, an item can have a part of its changes; the next process makes the remaining changes, or lists the item as a failure and names the written part |
//! | `page-uncommitted` | after all writes of a page are answered, before the commit | all writes of the page are complete; when the items are read again, they count as already applied |
//! | `delete-unconfirmed` | after a delete, before its confirmation is durable | the item is gone; a rollback reports the item, because another writer may have deleted it |
//! | `put-back-unmarked` | after a deleted item was restored, before the mark is durable | the item is in the table. If it equals the item in the journal, the mark is stored now; otherwise, the item stays and is reported |
//! | `page-committed` | after the commit | the page is never read again |
//! | `capacity-reserved` | after capacity is reserved, before it is used | the slice counts as spent |
//!
//! At any moment, each active segment has at most two uncommitted pages, namely the page that is being written and the
//! prefetched page. In addition, up to eight pages (about one megabyte) can wait for items that were set aside. In a
//! segment that is known to be large, these eight pages can also wait for writes in flight. Until DynamoDB has accepted
//! the first write of a run, pages with rejected writes also stay in memory. After a run was killed, its `applied`
//! count is only a lower bound, and reports label it as a lower bound.
//!
//! # Seams
//!
//! The engine accesses DynamoDB only through the ports of `dynamodb` (`Source`, `Sink` and `Describe`). A source
//! returns pages and durable positions. A sink takes chunks of guarded writes: with `[write] transport`, a chunk is one
//! batch of PartiQL statements. One table may be both source and sink. A program can supply its own tables
//! ([`ports::dynamodb`]). To run workers on several hosts, two other implementations are necessary: `state` ports that
//! share checkpoints, and a `Scheduler` that distributes segments.

#![cfg_attr(
    not(feature = "internals"),
    expect(
        dead_code,
        unreachable_pub,
        unused_imports,
        reason = "the binary, the tests and the benchmarks use more than the supported API"
    )
)]

mod backoff;
mod change;
mod clock;
mod command_line;
mod convert;
mod cost;
mod cutover;
mod dynamodb;
mod engine;
mod exec;
mod explain;
mod expr;
mod figure;
mod health;
mod hooks;
mod host;
mod http_server;
mod item;
mod keys_file;
mod locked;
mod machine;
mod migration;
mod outside;
mod passes;
mod plan;
mod playbook;
mod preflight;
mod program;
mod ratelimit;
mod report;
mod shim;
mod state;
mod stats;
mod steering;
mod telemetry;
mod web;

#[cfg(feature = "local")]
mod local;

pub use change::{Change, OnExisting, Strategy};
pub use cutover::{Flag, ReadFrom, WriteTo};
pub use engine::{StopReason, Stopper};
pub use item::{Path, Value};
pub use migration::{
    Answer, CheckOptions, CheckOutcome, CutoverDryRunOutcome, CutoverOutcome, CutoverStep, DriverError, DryRunOptions,
    DryRunOutcome, DryRunPhase, Migration, MigrationError, Notice, Observer, Options, PassOutcome, PassSummary,
    ProgressUpdate, Question, RetryOutcome, RunOptions, RunOutcome, Silent, StatsOptions, StatsOutcome, StatusOptions,
    StatusOutcome, StepOptions, VerifyOptions, VerifyOutcome,
};
pub use plan::{Plan, PlanErrors};
pub use playbook::{Fact, Phase};
pub use preflight::{Acceptance, Finding, FinishIn, PreflightError, SampleSize, Severity};
pub use state::StoreError;

/// The reports of commands. Each report has a text form and a JSON form.
pub mod reports {
    pub use crate::passes::verify::VerifyReport;
    pub use crate::preflight::CheckReport;
    pub use crate::stats::StatsReport;
    pub use crate::telemetry::{DryRunReport, RunReport, UnrestoredItems};
}

/// The ports that an embedding program can implement itself.
///
/// A program cannot replace the state, because [`Migration`] stores the state in a file. Code for a different store
/// belongs in this crate, next to `state/sqlite`. `docs/architecture.md` explains how to add a store. The plan states
/// the location of the flag. With hooks (`exec`), the flag can be anywhere.
pub mod ports {
    pub mod change {
        //! Computed changes that a program supplies, for [`Options::custom_changes`](crate::Options::custom_changes).

        pub use crate::change::CustomChange;
    }
    pub mod dynamodb {
        //! The ports to tables, for [`Migration::with_tables`](crate::Migration::with_tables): a different transport, a
        //! different source, or a table in memory. The documentation of each trait lists the guarantees that an
        //! implementation must give.
        //!
        //! [`Action`], [`Condition`] and [`Position`] are exhaustive on purpose. If a sink ignored a new kind of
        //! condition, it would write without a guard. Because the enum is exhaustive, the build of such a sink fails
        //! instead.

        pub use crate::change::{
            Action, Condition, Digest, Filter, FilterComparison, FilterTerm, GuardedWrite, ItemMark, Leftover,
            NextWrite, PreImage, PriorValue, WriteCost,
        };
        pub use crate::dynamodb::{
            BackupStatus, Describe, Directive, FatalKind, Features, FilteredPage, GetReply, IndexDescription, Page,
            PageRequest, Recovery, Sink, Source, StreamView, TableClass, TableDescription, TableError, Tables,
            ThrottlingReason, VectorIndex, WriteConsumption, WriteReply,
        };
        pub use crate::item::{
            IndexSchema, Item, ItemKey, KeyAttribute, KeySchema, Num, NumError, Position, Projection, Units,
        };
    }
}

/// The API that the `backfill` binary, its tests and its benchmarks use. This API is not stable. Any part of it can
/// change between patch versions. The feature `internals` exports this module.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub mod change {
        pub use crate::change::*;
    }
    pub mod clock {
        pub use crate::clock::*;
    }
    pub mod command_line {
        pub use crate::command_line::*;
    }
    pub mod convert {
        pub use crate::convert::*;
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
    pub mod exec {
        pub use crate::exec::*;
    }
    pub mod explain {
        pub use crate::explain::*;
    }
    pub mod expr {
        pub use crate::expr::*;
    }
    pub mod figure {
        pub use crate::figure::*;
    }
    pub mod health {
        pub use crate::health::*;
    }
    pub mod hooks {
        pub use crate::hooks::*;
    }
    pub mod host {
        pub use crate::host::*;
    }
    pub mod http_server {
        pub use crate::http_server::*;
    }
    pub mod item {
        pub use crate::item::*;
    }
    pub mod keys_file {
        pub use crate::keys_file::*;
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
    pub mod program {
        pub use crate::program::*;
    }
    pub mod ratelimit {
        pub use crate::ratelimit::*;
    }
    pub mod report {
        pub use crate::report::*;
    }
    pub mod shim {
        pub use crate::shim::*;
    }
    pub mod state {
        pub use crate::state::*;
    }
    pub mod stats {
        pub use crate::stats::*;
    }
    pub mod steering {
        pub use crate::steering::*;
    }
    pub mod telemetry {
        pub use crate::telemetry::*;
    }
    pub mod web {
        pub use crate::web::*;
    }
    #[cfg(feature = "local")]
    pub mod local {
        pub use crate::local::*;
    }
}
