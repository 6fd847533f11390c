//! Asking before something is begun that writes.

use std::io::{BufRead as _, IsTerminal as _};

use super::exit::{Exit, Refusal};
use super::output;

/// Returns when it was said, here or by `--yes`, that the writing may begin.
pub(super) fn confirm(yes: bool, question: &str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Refusal::error(
            Exit::Usage,
            "this writes to the table or to its cutover flag, and nobody is here to confirm it. Nothing was written. Give it \
             again with --yes; before a run, look first with `run --dry-run`",
        ));
    }
    output::stderr(&format!("{question} Type yes:"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Refusal::error(Exit::Refused, "not confirmed. Nothing was written")),
    }
}
