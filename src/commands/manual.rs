//! `completions` and `man`: shell completions and manual pages, generated from the definition of the command line.

use clap::CommandFactory as _;

use serde_json::json;

use crate::cli::{Cli, CompletionsArgs, Global, ManArgs, Output};
use crate::commands::shared::command_result::CommandResult;
use crate::commands::shared::exit::{Exit, Refusal};
use crate::commands::shared::output;

/// Prints the completion script for a shell.
pub(crate) fn completions(global: &Global, args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "backfill", &mut script);
    write_text(global, "completions", Some(&String::from_utf8_lossy(&script)))
}

/// Prints the manual page of the tool. If a folder is given, writes the pages of all commands into that folder.
pub(crate) fn man(global: &Global, args: &ManArgs) -> anyhow::Result<Exit> {
    if let Some(folder) = &args.dir {
        clap_mangen::generate_to(Cli::command(), folder).map_err(|error| {
            let text = format!(
                "the manual pages were not written to {}: {error}. Name a folder that exists",
                folder.display()
            );
            Refusal::error(Exit::Usage, text)
        })?;
        return write_text(global, "man", None);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    write_text(global, "man", Some(&String::from_utf8_lossy(&page)))
}

/// Writes the text of a script or a manual page. With `--output json`, the text is a member of the JSON document.
fn write_text(global: &Global, kind: &str, text: Option<&str>) -> anyhow::Result<Exit> {
    if global.output == Output::Human {
        output::write_stdout(text.unwrap_or_default())?;
        return Ok(Exit::Done);
    }
    output::write_result(global, &CommandResult::done(), || json!({ "type": kind, "text": text }), |_| Ok(()))
}
