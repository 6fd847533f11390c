//! A program that embeds the tool. The program first makes a dry run of a plan. Then it runs the plan with an observer
//! that prints the progress.
//!
//! ```text
//! cargo run --example embed -- PLAN [ENDPOINT]
//! ```
//!
//! Without an endpoint argument, the program uses the endpoint from the plan or from the variable
//! `AWS_ENDPOINT_URL_DYNAMODB`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example prints its results")]

use std::process::ExitCode;
use std::sync::Arc;

use backfill::{
    Answer, DryRunOptions, Migration, MigrationError, Notice, Observer, Options, ProgressUpdate, Question, RunOptions,
};

/// Prints every notice and agrees to every question.
struct Console;

impl Observer for Console {
    fn notice(&self, notice: &Notice<'_>) {
        eprintln!("{notice}");
    }

    fn progress(&self, figures: &ProgressUpdate) {
        eprintln!("{} of about {} items", figures.items, figures.item_estimate);
    }

    fn confirm(&self, question: &Question<'_>) -> Answer {
        eprintln!("{question} Yes: the dry run refused nothing.");
        Answer::Yes
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(plan) = arguments.next() else {
        eprintln!("usage: embed PLAN [ENDPOINT]");
        return ExitCode::from(2);
    };
    let endpoint = arguments.next().or_else(|| std::env::var("AWS_ENDPOINT_URL_DYNAMODB").ok());
    match Box::pin(migrate(&plan, endpoint)).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn migrate(plan: &str, endpoint: Option<String>) -> Result<ExitCode, MigrationError> {
    let mut options = Options::default();
    options.endpoint_url = endpoint;
    options.observer = Arc::new(Console);
    let migration = Migration::open(plan, options)?;

    let rehearsal = migration.dry_run(&DryRunOptions::default()).await?;
    println!("{:#}", rehearsal.report().to_json());

    // Ctrl-C drains the run: the run commits completed pages and stops. The same command resumes it.
    let stopper = migration.stopper();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopper.stop(backfill::StopReason::Interrupted);
        }
    });
    let outcome = migration.run(&RunOptions::default()).await?;
    if let Some(report) = outcome.report() {
        println!("{:#}", report.to_json(0));
    }
    Ok(match outcome.stopped() {
        Some(reason) => {
            eprintln!("stopped: {reason}. Run it again to resume");
            ExitCode::from(6)
        }
        None if outcome.open().failures > 0 => ExitCode::from(4),
        None => ExitCode::SUCCESS,
    })
}
