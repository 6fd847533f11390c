//! Reads the state file and asks the process, about once a second each.

use std::sync::Arc;
use std::time::Duration;

use backfill::internals::clock::wall_clock;
use backfill::internals::command_line::CommandLine;
use backfill::internals::migration::{Migration, StatusOptions, SteerError, parse_event};
use backfill::internals::report::StepEntry;
use backfill::internals::state::{self, RecordLimits, is_absent};
use backfill::internals::steering::Command;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::Update;
use super::data::{FileFigures, Process, RunFigures, WorkerFigures};

/// The time between two readings.
const EVERY: Duration = Duration::from_secs(1);

/// The pause after a reading is at least this number of times as long as the reading. So a large state file does not
/// keep the machine busy.
const SHARE: u32 = 10;

/// Number of cells into which the segments are grouped.
const CELLS: u32 = 480;

/// Number of steps that are kept.
const STEPS: usize = 50;

/// Reads the state file until the view ends. While there is no file, waits for it.
pub(super) async fn read_file(migration: Arc<Migration>, commands: CommandLine, updates: Sender<Update>) {
    loop {
        if is_absent(migration.state_path()).await {
            let path = migration.state_path().display().to_string();
            if updates.send(Update::NoFile(path)).await.is_err() {
                return;
            }
            tokio::time::sleep(EVERY).await;
            continue;
        }
        let began = Instant::now();
        let read = Box::pin(read_once(&migration, &commands)).await.map_err(|error| format!("{error:#}"));
        let took = began.elapsed();
        if updates.send(Update::File(read.map(Box::new))).await.is_err() {
            return;
        }
        tokio::time::sleep(EVERY.max(took * SHARE)).await;
    }
}

/// Asks the process until the view ends.
pub(super) async fn ask_process(migration: Arc<Migration>, updates: Sender<Update>) {
    loop {
        if is_absent(migration.state_path()).await {
            // Without a state file, no process works on the migration.
            tokio::time::sleep(EVERY).await;
            continue;
        }
        let process = match Box::pin(migration.steer(Command::Status)).await {
            Ok(outcome) => Process::from_reply(outcome.is_live, &outcome.reply.text, &outcome.reply.state),
            Err(SteerError::Send(error)) => Process::Unreachable(error.to_string()),
            Err(SteerError::Migration(error)) => Process::Unreachable(error.to_string()),
        };
        if updates.send(Update::Process(process)).await.is_err() {
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Carries out a command as `ctl` does.
pub(super) async fn steer(migration: Arc<Migration>, command: Command, updates: Sender<Update>) {
    let words = command.words();
    let result = match Box::pin(migration.steer(command)).await {
        Ok(outcome) => Ok(format!("{words}: {}", outcome.reply.text)),
        Err(error) => Err(format!("{words}: {error}")),
    };
    // Ignore a failed send: if the view has ended, nothing needs the answer.
    let _ = updates.send(Update::Steered(result)).await;
}

async fn read_once(migration: &Migration, commands: &CommandLine) -> anyhow::Result<FileFigures> {
    let mut options = StatusOptions::default();
    // Do not read the flag: a read every second would consume capacity of its table.
    options.offline = true;
    let outcome = Box::pin(migration.status(&options)).await?;
    let file = state::read(migration.state_path())?;
    let record =
        file.migration(RecordLimits { cells: CELLS, reports: 0, groups: 0, keys: 0, derived_items: false }).await?;
    let events = record.events.iter().rev().take(STEPS).rev().map(|event| parse_event(&event.event));
    let events = events.collect::<Result<Vec<_>, _>>()?;
    let steps = StepEntry::all(&events, &outcome.steering().record);
    let steps = steps.into_iter().map(|step| (step.at, format!("{} ({})", step.what, step.actor)));
    let summary = outcome.summary();
    let worker = outcome.worker();
    let next = outcome.snapshot().status.next.as_ref().filter(|_| summary.holder.is_none());
    Ok(FileFigures {
        migration: summary.identity.migration.clone(),
        table: summary.identity.table_arn.clone(),
        stage: outcome.snapshot().status.stage.name(),
        next: next.map(|next| next.render(commands)),
        same_plan: outcome.matches_plan(),
        run: RunFigures::new(&record.summary, &record.runs, worker.as_ref(), wall_clock()()),
        worker: worker.as_ref().map(WorkerFigures::new),
        settings: outcome.steering().clone(),
        steps: steps.collect(),
    })
}
