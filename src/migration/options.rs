//! The options for programs that embed the tool. They consist of options for opening a migration and options for each
//! command.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Observer, Silent};
use crate::change::CustomChange;
use crate::command_line::{CommandLine, CommandOptions};
use crate::playbook::{BackTarget, CutoverTarget, Fact, Goal};
use crate::preflight::{Acceptance, FinishIn, SampleSize};

/// The options for opening a migration. If an option is not set, the plan's value applies.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The state file. The default is `.backfill/<migration name>.db`.
    pub state: Option<PathBuf>,
    /// The DynamoDB endpoint.
    pub endpoint_url: Option<String>,
    /// The AWS region.
    pub region: Option<String>,
    /// The AWS profile.
    pub profile: Option<String>,
    /// Overrides of plan fields, such as `table.name=orders-staging`, so that one plan file can serve staging and
    /// production. The value is TOML, or text without quotes. The fingerprint covers the plan with the overrides.
    pub overrides: Vec<String>,
    /// The functions for the plan's custom changes ([`CustomChange`](crate::ports::change::CustomChange)).
    pub custom_changes: Vec<Arc<dyn CustomChange>>,
    /// The name of the person or program that runs the commands. The history records this name. The default is the user
    /// and the host.
    pub actor: String,
    /// Receives notices and progress, and answers questions. The default refuses every question.
    pub observer: Arc<dyn Observer>,
}

impl Default for Options {
    fn default() -> Options {
        let actor = format!("{}@{}", crate::host::user(), crate::host::name());
        Options {
            state: None,
            endpoint_url: None,
            region: None,
            profile: None,
            overrides: Vec::new(),
            custom_changes: Vec::new(),
            actor,
            observer: Arc::new(Silent),
        }
    }
}

/// Returns the command line for a migration that is opened with these options.
pub fn command_line(plan: &Path, options: &Options) -> CommandLine {
    let Options { state, endpoint_url, region, profile, overrides, .. } = options;
    let selection = CommandOptions {
        state: state.as_ref(),
        endpoint_url: endpoint_url.as_deref(),
        region: region.as_deref(),
        profile: profile.as_deref(),
        overrides,
    };
    CommandLine::new(plan, selection)
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Options { state, endpoint_url, region, profile, overrides, custom_changes, actor, observer: _ } = self;
        f.debug_struct("Options")
            .field("state", state)
            .field("endpoint_url", endpoint_url)
            .field("region", region)
            .field("profile", profile)
            .field("overrides", overrides)
            .field("custom_changes", &custom_changes.iter().map(|change| change.name()).collect::<Vec<_>>())
            .field("actor", actor)
            .finish_non_exhaustive()
    }
}

/// Input of [`super::Migration::check`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CheckOptions {
    /// The size of the sample to read for the estimate. If `None`, the estimate uses only the table's description.
    pub sample: Option<SampleSize>,
    /// The desired maximum duration of a run. If it is set, the report includes the budgets that a run needs to finish
    /// in this time.
    pub finish_in: Option<FinishIn>,
    /// Findings that the operator accepts.
    pub accept: Vec<Acceptance>,
}

/// Input of [`super::Migration::dry_run`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DryRunOptions {
    /// The command to simulate.
    pub of: DryRunPhase,
    /// The size of the sample to read instead of all items. Only for [`DryRunPhase::Run`].
    pub sample: Option<SampleSize>,
    /// Findings that the operator accepts.
    pub accept: Vec<Acceptance>,
}

/// The command that a dry run simulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(not(feature = "internals"), non_exhaustive)]
pub enum DryRunPhase {
    /// [`super::Migration::run`].
    #[default]
    Run,
    /// [`super::Migration::contract`].
    Contract,
    /// [`super::Migration::rollback`].
    Rollback,
}

/// Input of [`super::Migration::stats`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StatsOptions {
    /// The size of the sample. The default is 10,000 items.
    pub sample: SampleSize,
}

impl Default for StatsOptions {
    fn default() -> StatsOptions {
        StatsOptions { sample: SampleSize::Items(10_000) }
    }
}

/// Input of [`super::Migration::run`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// Run a further pass, even if a pass is already complete.
    pub again: bool,
    /// Start a new run from the beginning. The old run stays in the state file.
    pub restart: bool,
    /// Findings that the operator accepts. The accepted findings are recorded with the run.
    pub accept: Vec<Acceptance>,
}

/// Input of [`super::Migration::verify`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Compare only this number of randomly chosen clusters, from 1 to 1,000,000. By default, the verification compares
    /// every item.
    pub sample: Option<u32>,
    /// Repair mismatches by filling or overwriting the attribute that is not the truth. The command asks for
    /// confirmation before it writes.
    pub repair: bool,
    /// In a repair, also remove values that the plan does not imply.
    pub repair_remove: bool,
    /// Findings that the operator accepts for a repair.
    pub accept: Vec<Acceptance>,
}

/// A step of [`super::Migration::cutover`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutoverStep {
    /// Writers write both attributes.
    DualWrite,
    /// Readers read the new attribute of the items with this percentage of the keys (1 to 100).
    ReadNew(u8),
    /// Writers write only the new attribute.
    WriteNew,
    /// One step back. While applications write both attributes, this step needs no gate and no lock.
    Back {
        /// Whether to move readers back immediately, although they may then read stale old values.
        now: bool,
    },
}

impl CutoverStep {
    pub(super) fn goal(self) -> Goal {
        match self {
            CutoverStep::DualWrite => Goal::CutoverTo(CutoverTarget::DualWrite),
            CutoverStep::ReadNew(percent) => Goal::CutoverTo(CutoverTarget::ReadNew(percent)),
            CutoverStep::WriteNew => Goal::CutoverTo(CutoverTarget::WriteNew),
            // This target is a placeholder. The flag's state later determines the real target.
            CutoverStep::Back { now } => Goal::Back { to: BackTarget::OldReads, now },
        }
    }
}

/// The operator's input for a cutover, a contract or a rollback.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StepOptions {
    /// The reason for overriding the obstacles in a refusal. The history records this reason. A blank reason has no
    /// effect.
    pub force: Option<String>,
    /// The facts that the operator states, because the plan has no flag that proves them.
    pub facts: Vec<Fact>,
    /// Findings that the operator accepts.
    pub accept: Vec<Acceptance>,
}

/// Input of [`super::Migration::status`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StatusOptions {
    /// Read only the state file. By default, `status` also tries to read the flag, for at most 2 seconds.
    pub offline: bool,
}
