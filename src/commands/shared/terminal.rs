//! The terminal as a migration's observer: notices and questions on stderr, answers from stdin.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;

use crate::cli::{Decide, Global};
use crate::commands::shared::{output, signals};
use backfill::internals::engine::Stopper;
use backfill::internals::migration::{
    Answer, Migration, MigrationError, Notice, Observer, Options, Question, StepOptions,
};
use backfill::internals::playbook::Fact;

/// Prints notices, and asks on stdin unless `--yes` was given.
pub(crate) struct Terminal {
    /// `--yes`
    pub(crate) yes: bool,
}

impl Observer for Terminal {
    fn notice(&self, notice: &Notice<'_>) {
        output::stderr(&notice.to_string());
    }

    fn can_confirm(&self) -> bool {
        self.yes || std::io::stdin().is_terminal()
    }

    fn confirm(&self, question: &Question<'_>) -> Answer {
        if self.yes {
            return Answer::Yes;
        }
        output::stderr(&format!("{question} Type yes:"));
        let mut answer = String::new();
        match std::io::stdin().lock().read_line(&mut answer) {
            Ok(_) if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) => Answer::Yes,
            // Who cannot be understood has not agreed.
            Ok(_) | Err(_) => Answer::No,
        }
    }

    fn opened(&self, stop: &Stopper) -> std::io::Result<()> {
        signals::listen(stop.clone())
    }

    fn shows_progress_line(&self) -> bool {
        true
    }
}

/// The command line's options of a migration.
pub(crate) fn options(global: &Global, yes: bool) -> Options {
    let mut options = Options::default();
    options.state.clone_from(&global.state);
    options.endpoint_url.clone_from(&global.endpoint_url);
    options.region.clone_from(&global.region);
    options.profile.clone_from(&global.profile);
    options.observer = Arc::new(Terminal { yes });
    options
}

/// Opens the migration of a plan file.
pub(crate) fn open(global: &Global, plan: &Path, yes: bool) -> Result<Migration, MigrationError> {
    Migration::open(plan, options(global, yes))
}

/// What an operator states and accepts for a step.
pub(crate) fn step_options(decide: &Decide) -> StepOptions {
    let mut facts = Vec::from_iter(decide.dual.dual_writes_since.map(|since| Fact::DualWritesSince { since }));
    let stated = [
        (decide.forward.readers_moved, Fact::ReadersMoved),
        (decide.forward.old_writes_stopped, Fact::OldWritesStopped),
        (decide.backward.readers_back, Fact::ReadersBack),
        (decide.backward.new_writes_stopped, Fact::NewWritesStopped),
    ];
    facts.extend(stated.into_iter().filter(|(stated, _)| *stated).map(|(_, fact)| fact));
    let mut options = StepOptions::default();
    (options.force, options.facts, options.accept) = (decide.force.clone(), facts, decide.accept.clone());
    options
}
