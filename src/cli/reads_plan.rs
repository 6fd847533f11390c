//! Refuses the option `--set` in commands that read no plan.

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use crate::cli::{Cli, Command};

impl Cli {
    /// Refuses `--set` in a command that reads no plan, because the option would have no effect.
    pub(crate) fn check(self) -> Result<Cli, clap::Error> {
        if self.global.overrides.is_empty() || self.command.reads_plan() {
            return Ok(self);
        }
        let message = format!("`{}` reads no plan, so --set has no effect. Nothing was done", self.command.name());
        Err(Cli::command().error(ErrorKind::ArgumentConflict, message))
    }
}

impl Command {
    /// Whether this command reads a plan that the operator wrote.
    fn reads_plan(&self) -> bool {
        match self {
            Command::Check(_)
            | Command::Run(_)
            | Command::Verify(_)
            | Command::Cutover(_)
            | Command::Contract(_)
            | Command::Rollback(_)
            | Command::Status(_)
            | Command::Ctl(_)
            | Command::Failures(_)
            | Command::Journal(_)
            | Command::Report(_)
            | Command::Explain(_)
            | Command::Shim(_)
            | Command::Iam(_) => true,
            Command::Stats(args) => args.plan.is_some(),
            Command::Init(_) | Command::Schema | Command::Completions(_) | Command::Man(_) => false,
            #[cfg(feature = "local")]
            Command::Demo(_) | Command::Local(_) => false,
        }
    }
}
