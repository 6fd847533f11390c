//! The health checks of a plan. Runs a check once, and decides from the check's answers whether the application is
//! healthy.
//!
//! [`Prober`] runs a check: `http.rs`, `command.rs` and `cloudwatch.rs` send the requests. [`Hysteresis`] decides, and
//! is pure. While a pass runs, `migration` runs the checks repeatedly, and pauses or slows down the pass.
//!
//! An answer contains no text from the application: no body, no output, no header and no URL. Such text can contain
//! secrets, and answers appear in logs and in the state file.

mod cloudwatch;
mod command;
mod http;
mod hysteresis;

pub use hysteresis::{Condition, Hysteresis, Reply};

use std::time::Duration;

use futures::future::join_all;

use crate::clock::Clock;
use crate::plan::{HealthCheck, HealthProbe, NoData, TableRef};
use cloudwatch::{CloudWatch, Question};
use http::Http;

/// The answer of a check that ran once. The texts are for people. They complete the sentence "the health check NAME …",
/// and are safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The application is healthy.
    Healthy,
    /// The application is unhealthy.
    Unhealthy(String),
    /// The check could not run, or has no data.
    Unknown(String),
}

impl Answer {
    /// Returns the answer without its text.
    pub fn reply(&self) -> Reply {
        match self {
            Answer::Healthy => Reply::Healthy,
            Answer::Unhealthy(_) => Reply::Unhealthy,
            Answer::Unknown(_) => Reply::Unknown,
        }
    }
}

/// Runs one health check.
pub struct Prober {
    target: Target,
    limit: Duration,
}

enum Target {
    Http(Box<Http>),
    Command(Vec<String>),
    CloudWatch(Box<CloudWatch>),
}

impl Prober {
    /// Prepares a health check. Sends nothing. Requests to CloudWatch use the region, profile and credentials of
    /// `table`. Metrics are read up to the time of `clock`.
    pub fn new(check: &HealthCheck, table: &TableRef, clock: Clock) -> Prober {
        let cloudwatch = |question: Question, no_data: NoData, endpoint_url: &Option<String>| {
            // The endpoint of [table] is DynamoDB's. CloudWatch has its own.
            let place = TableRef { endpoint_url: endpoint_url.clone(), ..table.clone() };
            Target::CloudWatch(Box::new(CloudWatch::new(place, question, no_data, clock)))
        };
        let target = match &check.probe {
            HealthProbe::Http { url, expect_status } => Target::Http(Box::new(Http::new(url, *expect_status))),
            HealthProbe::Command(argv) => Target::Command(argv.clone()),
            HealthProbe::Alarm { name, no_data, endpoint_url } => {
                cloudwatch(Question::Alarm(name.clone()), *no_data, endpoint_url)
            }
            HealthProbe::Metric { metric, bounds, no_data, endpoint_url } => {
                cloudwatch(Question::Metric(metric.clone(), *bounds), *no_data, endpoint_url)
            }
        };
        Prober { target, limit: check.timeout }
    }

    /// Runs the check once. Returns within about the check's `timeout`. The future can be dropped at any point. If it
    /// was running a program, the program is then killed.
    pub async fn ask(&self) -> Answer {
        match &self.target {
            Target::Http(http) => http.ask(self.limit).await,
            Target::Command(argv) => command::ask(argv, self.limit).await,
            Target::CloudWatch(cloudwatch) => Box::pin(cloudwatch.ask(self.limit)).await,
        }
    }
}

/// Runs all checks once, at the same time. Returns the answers in the order of the checks.
pub async fn ask_once(checks: &[HealthCheck], table: &TableRef, clock: &Clock) -> Vec<Answer> {
    let probers: Vec<Prober> = checks.iter().map(|check| Prober::new(check, table, clock.clone())).collect();
    join_all(probers.iter().map(Prober::ask)).await
}
