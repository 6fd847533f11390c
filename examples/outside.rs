//! A library that uses the tool, as another crate would: a plan, a migration with an observer, its reports, and a port that
//! it implements. `.ci/run` compiles it without the feature `internals`, so that it sees the supported API alone.

#![expect(clippy::print_stdout, reason = "an example shows what it is told")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backfill::ports::{EventRecord, Events, KeptFact, RunId};
use backfill::{
    Answer, Change, Figures, Migration, MigrationError, Notice, Observer, Options, Question, RunOptions, StepOptions,
    StoreError, VerifyOptions,
};

/// Counts items, and agrees to everything that names the table.
pub struct Watcher {
    /// The table that may be written.
    pub table: String,
}

impl Observer for Watcher {
    fn notice(&self, notice: &Notice<'_>) {
        if let Notice::FlagChanged(flag) = notice {
            println!("the flag is at {flag}");
        }
    }

    fn progress(&self, figures: &Figures) {
        println!("{} items", figures.items);
    }

    fn confirm(&self, question: &Question<'_>) -> Answer {
        if question.to_string().contains(&self.table) { Answer::Yes } else { Answer::No }
    }
}

/// Runs and verifies a plan; rolls back if items are left that do not match.
pub async fn migrate(plan: &str, table: String) -> Result<bool, MigrationError> {
    let mut options = Options::default();
    options.observer = Arc::new(Watcher { table });
    let migration = Migration::from_text("embedded", plan, options)?;
    assert!(migration.plan().changes.iter().any(|change| matches!(change, Change::Move { .. } | Change::Copy { .. })));
    let run = migration.run(&RunOptions::default()).await?;
    if run.stopped().is_some() {
        return Ok(false);
    }
    let verified = migration.verify(&VerifyOptions::default()).await?;
    if verified.report().is_some_and(|(report, _)| report.mismatches == 0) {
        return Ok(true);
    }
    migration.rollback(&StepOptions::default()).await?;
    Ok(false)
}

/// A port of the state in memory: an embedding program can keep the history where it likes.
#[derive(Default)]
pub struct Notebook {
    events: Mutex<Vec<EventRecord>>,
    facts: Mutex<Vec<(KeptFact, String)>>,
}

#[async_trait]
impl Events for Notebook {
    async fn append_event(&self, event: String) -> Result<EventRecord, StoreError> {
        let record = EventRecord { event, behind: RunId::NONE };
        lock(&self.events)?.push(record.clone());
        Ok(record)
    }

    async fn events(&self) -> Result<Vec<EventRecord>, StoreError> {
        Ok(lock(&self.events)?.clone())
    }

    async fn forget_unbegun(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn kept(&self, fact: KeptFact) -> Result<Option<String>, StoreError> {
        Ok(lock(&self.facts)?.iter().rfind(|(kept, _)| *kept == fact).map(|(_, value)| value.clone()))
    }

    async fn keep(&self, fact: KeptFact, value: String) -> Result<(), StoreError> {
        lock(&self.facts)?.push((fact, value));
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> Result<std::sync::MutexGuard<'_, T>, StoreError> {
    mutex.lock().map_err(|_| StoreError::Broken("a thread panicked while it held the notebook".into()))
}
