//! Asking before something is begun that writes.

use std::io::{BufRead as _, IsTerminal as _};

use super::exit::{Exit, Refusal};
use super::output;

/// Returns when it was said, here or by `--yes`, that the writing may begin.
pub(super) fn confirm(yes: bool, question: &str) -> anyhow::Result<()> {
    can_be_asked(yes)?;
    if yes {
        return Ok(());
    }
    output::stderr(&format!("{question} Type yes:"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Refusal::error(Exit::Refused, "not confirmed. Nothing was written")),
    }
}

/// Refuses a command that nobody can confirm.
pub(super) fn can_be_asked(yes: bool) -> anyhow::Result<()> {
    if yes || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Refusal::error(
        Exit::Refused,
        "this command writes to the table or changes its cutover flag, and nobody is here to confirm it. The table \
         was not written, and the flag was not moved. Run it again with --yes. To look first without writing: \
         `run`, `contract`, `rollback` and `cutover --to` take --dry-run, and `verify` without --repair only \
         compares",
    ))
}
