//! A program with a custom computed change. The plan (`custom_change.toml`) lists the attributes that the change reads
//! and writes, and this program computes the values. The tool does the rest: it makes conditional writes, resumes after
//! a kill, verifies the values, and rolls them back.
//!
//! ```text
//! cargo run --example custom_change -- PLAN [ENDPOINT]
//! ```
//!
//! Without an endpoint argument, the program uses the endpoint from the plan or from the variable
//! `AWS_ENDPOINT_URL_DYNAMODB`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example prints its results")]

use std::process::ExitCode;
use std::sync::Arc;

use backfill::ports::change::CustomChange;
use backfill::ports::dynamodb::Item;
use backfill::{
    Answer, DryRunOptions, Migration, MigrationError, Notice, Observer, Options, Question, RunOptions, Value,
    VerifyOptions,
};

/// Computes the international form of a phone number, and whether it is a mobile number.
struct Phone;

impl CustomChange for Phone {
    fn name(&self) -> &str {
        "phone"
    }

    /// Change this version whenever a new `compute` can return different values for the same inputs. A run can be
    /// resumed only with the version with which it began.
    fn version(&self) -> &str {
        "1"
    }

    fn compute(&self, inputs: &Item) -> Result<Option<Item>, &'static str> {
        // An item without a phone number needs no write.
        let Some(phone) = inputs.get("phone") else { return Ok(None) };
        let Value::S(phone) = phone else { return Err("the phone number is not a string") };
        let prefix = match inputs.get("country") {
            Some(Value::S(country)) if country == "DE" => "+49",
            Some(Value::S(country)) if country == "FR" => "+33",
            Some(_) => return Err("the country is unknown"),
            None => return Err("the item has a phone number and no country"),
        };
        let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
        let Some(national) = digits.strip_prefix('0') else { return Err("the number does not begin with 0") };
        let is_mobile = national.starts_with(['1', '6', '7']);
        Ok(Some(Item::from([
            ("phone_e164".to_owned(), Value::S(format!("{prefix}{national}"))),
            ("phone_is_mobile".to_owned(), Value::Bool(is_mobile)),
        ])))
    }
}

/// Prints every notice and agrees to every question.
struct Console;

impl Observer for Console {
    fn notice(&self, notice: &Notice<'_>) {
        eprintln!("{notice}");
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
        eprintln!("usage: custom_change PLAN [ENDPOINT]");
        return ExitCode::from(2);
    };
    let endpoint = arguments.next().or_else(|| std::env::var("AWS_ENDPOINT_URL_DYNAMODB").ok());
    let mut options = Options::default();
    options.endpoint_url = endpoint;
    match Box::pin(migrate(&plan, options)).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes a dry run, runs the plan, and verifies every item.
pub async fn migrate(plan: &str, mut options: Options) -> Result<ExitCode, MigrationError> {
    options.custom_changes = vec![Arc::new(Phone)];
    options.observer = Arc::new(Console);
    let migration = Migration::open(plan, options.clone())?;
    let rehearsal = migration.dry_run(&DryRunOptions::default()).await?;
    println!("{:#}", rehearsal.report().to_json());

    let outcome = migration.run(&RunOptions::default()).await?;
    if let Some(reason) = outcome.stopped() {
        eprintln!("stopped: {reason}. Run it again to resume");
        return Ok(ExitCode::from(6));
    }
    if outcome.open().failures > 0 {
        eprintln!("{} items have no result. `backfill failures list` shows them", outcome.open().failures);
        return Ok(ExitCode::from(4));
    }
    // For every item, the verification calls `compute` once more, and compares the result with the stored values.
    let verified = migration.verify(&VerifyOptions::default()).await?;
    Ok(match verified.report() {
        Some((report, _)) if report.mismatches == 0 => {
            println!("{} items verified", report.compared);
            ExitCode::SUCCESS
        }
        Some(_) | None => ExitCode::from(5),
    })
}
