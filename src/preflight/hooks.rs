//! Makes the findings about the plan's hooks. [`hook_problems`] inspects the programs and the environment. All other
//! code in this module is pure.

use std::path::Path;

use super::finding::Finding;
use super::finding::Severity::Warning;
use crate::plan::{HookOptions, VetoStep};
use crate::web;

/// A hook that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookProblem {
    /// A program cannot be run.
    Program {
        /// The field in `[hooks]`.
        field: &'static str,
        /// The program.
        program: String,
        /// The problem.
        why: &'static str,
    },
    /// The environment variable for the webhook's address is not set, or does not contain an address.
    Webhook {
        /// The variable.
        variable: String,
        /// The problem.
        why: String,
    },
}

/// Finds the programs that do not exist or cannot be run, and checks the address of the webhook. Runs and sends
/// nothing.
pub fn hook_problems(hooks: &HookOptions) -> Vec<HookProblem> {
    let on_events = hooks.programs.iter().map(|(event, argv)| (event.field(), argv));
    let before_step = hooks.before_step.iter().map(|before| ("before_step", &before.argv));
    let mut problems: Vec<HookProblem> = on_events
        .chain(before_step)
        .filter_map(|(field, argv)| {
            let program = argv.first()?.clone();
            let why = program_problem(&program)?;
            Some(HookProblem::Program { field, program, why })
        })
        .collect();
    if let Some(variable) = &hooks.webhook_env {
        let why = match std::env::var(variable) {
            Err(_) => Some("it is not set".to_owned()),
            Ok(address) => web::parse(address.trim()).err().map(|error| error.to_string()),
        };
        problems.extend(why.map(|why| HookProblem::Webhook { variable: variable.clone(), why }));
    }
    problems
}

/// Returns the reason why a program cannot be run, or `None` if it can be run. If the name contains no slash, searches
/// `PATH` for it, as the system does.
fn program_problem(program: &str) -> Option<&'static str> {
    const MISSING: &str = "does not exist";
    if program.contains('/') {
        return file_problem(Path::new(program), MISSING);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<_> = std::env::split_paths(&path).map(|folder| folder.join(program)).collect();
    if places.iter().any(|place| file_problem(place, MISSING).is_none()) {
        return None;
    }
    let exists = places.iter().find_map(|place| file_problem(place, MISSING).filter(|why| *why != MISSING));
    Some(exists.unwrap_or("was not found in PATH"))
}

fn file_problem(path: &Path, missing: &'static str) -> Option<&'static str> {
    let Ok(file) = std::fs::metadata(path) else { return Some(missing) };
    if !file.is_file() {
        return Some("is not a file");
    }
    if is_executable(&file) { None } else { Some("is not executable") }
}

#[cfg(unix)]
fn is_executable(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    file.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_file: &std::fs::Metadata) -> bool {
    true
}

/// Returns the findings for these problems.
pub fn hook_findings(hooks: &HookOptions, problems: &[HookProblem]) -> Vec<Finding> {
    problems.iter().map(|problem| finding(hooks, problem)).collect()
}

fn finding(hooks: &HookOptions, problem: &HookProblem) -> Finding {
    match problem {
        HookProblem::Program { field: field @ "before_step", program, why } => {
            let steps = hooks.before_step.iter().flat_map(|before| before.steps.iter().copied().map(VetoStep::name));
            let steps = steps.collect::<Vec<_>>().join(", ");
            Finding::new(Warning, "hook-program", format!("The program {program:?} of `{field}` in [hooks] {why}"))
                .with_reason(format!("Every step that it can refuse will be refused: {steps}"))
                .with_action("Install the program and make it executable, or correct [hooks]")
        }
        HookProblem::Program { field, program, why } => {
            Finding::new(Warning, "hook-program", format!("The program {program:?} of `{field}` in [hooks] {why}"))
                .with_reason("The migration continues without this hook, so nobody is notified")
                .with_action("Install the program and make it executable, or correct [hooks]")
        }
        HookProblem::Webhook { variable, why } => Finding::new(
            Warning,
            "hook-webhook",
            format!("The environment variable {variable} of `webhook_env` in [hooks] contains no address: {why}"),
        )
        .with_reason("The migration continues without the webhook, so nobody is notified")
        .with_action(format!("Set {variable} to the address of the webhook before you start a command")),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::plan::{BeforeStep, HookEvent};

    #[test]
    fn each_problem_of_a_program_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.display().to_string()
        };
        assert_eq!(program_problem(&file("good", 0o755)), None);
        assert_eq!(program_problem(&file("plain", 0o644)), Some("is not executable"));
        assert_eq!(program_problem(&dir.path().display().to_string()), Some("is not a file"));
        assert_eq!(program_problem(&dir.path().join("none").display().to_string()), Some("does not exist"));
        assert_eq!(program_problem("sh"), None);
        assert_eq!(program_problem("backfill-no-such-program"), Some("was not found in PATH"));
    }

    #[test]
    fn a_finding_names_the_consequence_and_no_address() {
        let hooks = HookOptions {
            programs: [(HookEvent::Stall, vec!["/nowhere/page".to_owned()])].into(),
            before_step: Some(BeforeStep { argv: vec!["/nowhere/ask".to_owned()], steps: vec![VetoStep::Contract] }),
            webhook_env: Some("BACKFILL_NO_SUCH_VARIABLE".to_owned()),
            ..HookOptions::default()
        };
        let findings = hook_findings(&hooks, &hook_problems(&hooks));
        let texts: Vec<String> = findings.iter().map(Finding::text).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(
            texts[0].starts_with("The program \"/nowhere/page\" of `on_stall` in [hooks] does not exist"),
            "{texts:?}"
        );
        assert!(texts[1].contains("Every step that it can refuse will be refused: contract"), "{texts:?}");
        assert!(
            texts[2].contains("BACKFILL_NO_SUCH_VARIABLE of `webhook_env` in [hooks] contains no address"),
            "{texts:?}"
        );
        assert!(findings.iter().all(|finding| !finding.refuses(&[])));
    }
}
