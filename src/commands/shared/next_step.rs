//! The next step of a migration. A command prints it at the end of its output.

use std::io::Write as _;
use std::path::Path;

use backfill::internals::clock::to_text;
use backfill::internals::command_line::CommandLine;
use backfill::internals::migration::{Migration, StatusOptions, has_not_computable};
use backfill::internals::playbook::MigrationStatus;
use backfill::internals::state;

/// The next step of a migration: the command, and the time before which the command is refused.
pub(crate) struct NextStep {
    pub(crate) command: String,
    /// An RFC 3339 time.
    pub(crate) not_before: Option<String>,
}

/// Returns the command to run after a run with failures: `failures list` if an item is not computable, otherwise
/// `failures retry`. A retry cannot change an item that is not computable until somebody corrects the item or the plan.
pub(crate) async fn failures_command(state: &Path) -> &'static str {
    let lists = match state::read(state) {
        Ok(file) => has_not_computable(file.as_ref()).await.unwrap_or(true),
        Err(_) => true,
    };
    if lists { "failures list" } else { "failures retry" }
}

impl NextStep {
    /// Returns a step that can be taken now.
    pub(crate) fn now(command: String) -> NextStep {
        NextStep { command, not_before: None }
    }

    /// Finds the next step after a command has ended. Reads only the state file, so the call consumes no capacity. The
    /// result is correct only if that command held the state file, because then the file contains the current flag.
    /// Returns `None` if the migration is over, or if the state file cannot be read.
    pub(crate) async fn find(migration: &Migration, commands: &CommandLine) -> Option<NextStep> {
        let mut options = StatusOptions::default();
        options.offline = true;
        let outcome = Box::pin(migration.status(&options)).await.ok()?;
        NextStep::from_status(&outcome.snapshot().status, commands)
    }

    /// Returns the next step that this status contains. Returns `None` if the migration is over.
    pub(crate) fn from_status(status: &MigrationStatus, commands: &CommandLine) -> Option<NextStep> {
        let command = status.next.as_ref()?.render(commands);
        Some(NextStep { command, not_before: status.not_before.map(to_text) })
    }

    /// Replaces a suggested repair with a verification, which shows what the repair would overwrite.
    pub(crate) fn look_first(self, commands: &CommandLine) -> NextStep {
        match self.command == commands.render("verify --all --repair") {
            true => NextStep::now(commands.render("verify --all")),
            false => self,
        }
    }

    /// Writes the step as a line for people.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        match &self.not_before {
            Some(until) => writeln!(out, "Next, not before {until}: {}", self.command),
            None => writeln!(out, "Next: {}", self.command),
        }
    }
}
