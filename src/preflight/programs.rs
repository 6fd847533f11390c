//! Makes the findings about the programs of `exec` changes. This module is pure, because the loaded plan contains the
//! results of the program lookup.

use super::finding::Finding;
use super::finding::Severity::{Note, Refusal};
use crate::change::{Change, Exec};
use crate::figure::count;
use crate::plan::Plan;

/// Returns the findings about the plan's programs.
pub(super) fn program_findings(plan: &Plan) -> Vec<Finding> {
    plan.changes.iter().filter_map(Change::program).flat_map(|exec| of_program(exec)).collect()
}

fn of_program(exec: &Exec) -> Vec<Finding> {
    let name = exec.argv.first().map_or("", String::as_str).escape_debug().to_string();
    let found = exec.program.as_ref();
    let executable =
        found.map_or(Err("it was not looked up"), |found| found.executable.as_deref().map_err(String::as_str));
    let path = match executable {
        Ok(path) => path.display().to_string().escape_debug().to_string(),
        Err(why) => {
            return vec![
                Finding::new(Refusal, "exec-program", format!("The program `{name}` cannot be started: {why}"))
                    .with_reason(match exec.is_deterministic() {
                        true => "Each run and each verification needs it for selected items that have inputs",
                        false => "The run needs it for every item that is not done yet",
                    })
                    .with_action("Install the program and make it executable, or correct `exec` in the plan"),
            ];
        }
    };
    let cost = Finding::new(Note, "exec-cost", format!("The estimate has no capacity for {}", exec.names_of_outputs()))
        .with_reason(format!(
            "`check` does not start `{name}`, so the size of its answers is unknown. The run starts up to {} of it{}",
            count(exec.workers as u64, "process", "processes"),
            match exec.is_deterministic() {
                true =>
                    ". The estimate counts items with all outputs as done, although the program's answers can differ",
                false => "",
            }
        ))
        .with_action("Use run --dry-run for exact figures: it starts the program and writes nothing");
    let interpreter = found.is_some_and(|found| found.from_path).then(|| {
        Finding::new(Note, "exec-interpreter", format!("The program `{name}` is {path}, which was found through PATH"))
            .with_reason(
                "Its content is not part of the plan's fingerprint. With a different version, the same plan can compute \
                 different values",
            )
            .with_action("Resume the run on a machine with the same version of the program")
    });
    interpreter.into_iter().chain([cost]).collect()
}
