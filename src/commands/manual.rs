//! `completions` and `man`: shell completions and manual pages, generated from the definition of the command line.

use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionsArgs, ManArgs};
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::output;

/// Prints the completion script of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "backfill", &mut script);
    output::write_stdout(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Prints the manual page of the tool, or writes the pages of all commands into a folder.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<Exit> {
    if let Some(folder) = &args.dir {
        clap_mangen::generate_to(Cli::command(), folder).map_err(|error| {
            let text = format!(
                "the manual pages were not written to {}: {error}. Name a folder that exists",
                folder.display()
            );
            Refusal::error(Exit::Usage, text)
        })?;
        return Ok(Exit::Done);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    output::write_stdout(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
