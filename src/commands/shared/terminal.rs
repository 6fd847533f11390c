//! The terminal observer of a migration. It prints notices and questions on stderr, and reads answers from stdin.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;

use crate::cli::{Global, LogFormat, StepArgs};
use crate::commands::shared::{output, signals};
use backfill::internals::command_line::CommandLine;
use backfill::internals::engine::Stopper;
use backfill::internals::migration::{
    Answer, Migration, MigrationError, Notice, Observer, Options, Question, StepOptions, command_line,
};
use backfill::internals::playbook::Fact;
use backfill::internals::preflight::{Acceptance, Severity};

/// Prints notices, and asks questions unless `--yes` was given.
pub(crate) struct Terminal {
    /// Whether `--yes` was given.
    pub(crate) yes: bool,
    /// Whether the progress line may be shown.
    pub(crate) shows_progress: bool,
}

impl Observer for Terminal {
    fn notice(&self, notice: &Notice<'_>) {
        let text = notice.to_string();
        if matches!(notice, Notice::Finding { .. }) && output::is_quiet() && is_important(notice) {
            // `check` prints the reason and the action of each finding.
            output::warn(text.lines().next().unwrap_or_default());
        } else if is_important(notice) {
            output::warn(&text);
        } else {
            output::stderr(&text);
        }
    }

    fn can_confirm(&self) -> bool {
        self.yes || std::io::stdin().is_terminal()
    }

    fn confirm(&self, question: &Question<'_>) -> Answer {
        if self.yes {
            return Answer::Yes;
        }
        output::warn(&format!("{question} Type yes:"));
        let mut answer = String::new();
        match signals::while_asking(|| std::io::stdin().lock().read_line(&mut answer)) {
            Ok(_) if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) => Answer::Yes,
            // Every answer except a clear yes is treated as no.
            Ok(_) | Err(_) => Answer::No,
        }
    }

    fn asks_before_dual_writes_end(&self) -> bool {
        self.yes || std::io::stdin().is_terminal()
    }

    fn opened(&self, stop: &Stopper) -> std::io::Result<()> {
        signals::drain_with(stop.clone());
        Ok(())
    }

    fn shows_progress_line(&self) -> bool {
        self.shows_progress
    }
}

/// Whether a notice is a warning or contains facts that the operator needs to answer a question. `--quiet` does not
/// suppress such notices.
fn is_important(notice: &Notice<'_>) -> bool {
    match notice {
        Notice::BudgetCut(_)
        | Notice::LeaseHeld { .. }
        | Notice::RunHeader(_)
        | Notice::Steering(_)
        | Notice::RepairPreview(_)
        | Notice::Mismatches(_)
        | Notice::UnrestoredItems(_)
        | Notice::KeptFiles { .. }
        | Notice::BackedUp(_)
        | Notice::FlagNotRecorded(_) => true,
        Notice::Finding { finding, .. } => finding.severity != Severity::Note,
        Notice::MetricsServed(address) => !address.ip().is_loopback(),
        Notice::PassBegins(_)
        | Notice::Sample(_)
        | Notice::BackupBegun(_)
        | Notice::LimitsLifted(_)
        | Notice::FlagChanged(_)
        | Notice::Waiting(_)
        | Notice::ComparesFirst => false,
    }
}

/// Converts the command line's options into the options of a migration.
pub(crate) fn options(global: &Global, yes: bool) -> Options {
    let mut options = Options::default();
    options.state.clone_from(&global.state);
    options.endpoint_url.clone_from(&global.endpoint_url);
    options.region.clone_from(&global.region);
    options.profile.clone_from(&global.profile);
    options.overrides.clone_from(&global.overrides);
    options.observer = Arc::new(Terminal {
        yes,
        // On a terminal, the progress line is a bar, which would break JSON log lines. On other outputs, the progress
        // line is itself a log line.
        shows_progress: !global.quiet && (global.log_format == LogFormat::Text || !std::io::stderr().is_terminal()),
    });
    options
}

/// Returns the builder for suggested command lines, which contain the plan and the options that the operator gave.
pub(crate) fn commands(global: &Global, plan: &Path) -> CommandLine {
    command_line(plan, &options(global, false))
}

/// Returns a command's `--accept` options as text.
pub(crate) fn accept_options(findings: &[Acceptance]) -> String {
    findings.iter().map(|finding| format!(" --accept {}", finding.name())).collect()
}

/// Opens the migration of a plan file.
pub(crate) fn open(global: &Global, plan: &Path, yes: bool) -> Result<Migration, MigrationError> {
    Migration::open(plan, options(global, yes))
}

/// Converts the operator's input into the options of a step.
pub(crate) fn step_options(step_args: &StepArgs) -> StepOptions {
    let mut facts =
        Vec::from_iter(step_args.dual_writes.dual_writes_since.map(|since| Fact::DualWritesSince { since }));
    let stated = [
        (step_args.forward.readers_moved, Fact::ReadersMoved),
        (step_args.forward.old_writes_stopped, Fact::OldWritesStopped),
        (step_args.backward.readers_back, Fact::ReadersBack),
        (step_args.backward.new_writes_stopped, Fact::NewWritesStopped),
        (step_args.derived.writers_stopped, Fact::WritersStopped),
    ];
    facts.extend(stated.into_iter().filter(|(stated, _)| *stated).map(|(_, fact)| fact));
    let mut options = StepOptions::default();
    options.force.clone_from(&step_args.force);
    options.facts = facts;
    options.accept.clone_from(&step_args.accept);
    options
}
