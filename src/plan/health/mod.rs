//! `[[health_check]]`: the health checks of the application that a pass obeys. They are not part of the plan's meaning,
//! because they do not affect what is written to items.

mod fields;
mod probe;

pub(super) use fields::read;

use std::fmt;
use std::time::Duration;

/// A health check of the application. While a pass runs, the check is asked repeatedly. While it is unhealthy, the pass
/// pauses or slows down.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// The name, which is unique in the plan: 1 to 64 letters (a-z, A-Z), digits, `-` and `_`.
    pub name: String,
    /// What is asked, and which answers are healthy.
    pub probe: HealthProbe,
    /// The time from one question to the next.
    pub interval: Duration,
    /// The time within which an answer must arrive; at most `interval`.
    pub timeout: Duration,
    /// The number of unhealthy answers in a row after which a healthy check becomes unhealthy; at least 1.
    pub unhealthy_after: u32,
    /// The number of healthy answers in a row after which an unhealthy check becomes healthy; at least 1.
    pub healthy_after: u32,
    /// What the pass does while the check is unhealthy.
    pub on_unhealthy: OnUnhealthy,
    /// How it counts if the check cannot be asked.
    pub fail_mode: FailMode,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq)]
pub enum HealthProbe {
    /// An HTTP GET request.
    Http {
        /// The address.
        url: SecretUrl,
        /// The only healthy status. `None` means that every status from 200 to 299 is healthy.
        expect_status: Option<u16>,
    },
    /// A program with its arguments, run without a shell. The exit status 0 is healthy, every other one is unhealthy.
    Command(Vec<String>),
    /// A CloudWatch alarm in the account and region of `[table]`. `OK` is healthy, `ALARM` is unhealthy.
    Alarm {
        /// The alarm's name.
        name: String,
        /// What it means if the alarm has insufficient data.
        no_data: NoData,
        /// CloudWatch's endpoint; `None` means the one that is configured for AWS.
        endpoint_url: Option<String>,
    },
    /// A CloudWatch metric in the account and region of `[table]`. The newest value of a complete period decides.
    Metric {
        /// The metric.
        metric: MetricQuery,
        /// The values that are healthy.
        bounds: HealthyBounds,
        /// What it means if the metric has no recent value.
        no_data: NoData,
        /// CloudWatch's endpoint; `None` means the one that is configured for AWS.
        endpoint_url: Option<String>,
    },
}

/// A CloudWatch metric and how its values are combined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricQuery {
    /// The namespace, such as `AWS/DynamoDB`.
    pub namespace: String,
    /// The metric's name.
    pub name: String,
    /// The dimensions: names and values, sorted by name.
    pub dimensions: Vec<(String, String)>,
    /// The statistic, such as `Sum` or `p99`.
    pub statistic: String,
    /// The length of a period, in whole seconds that CloudWatch accepts.
    pub period: Duration,
}

/// The healthy values of a metric. A plan states at least one of the bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthyBounds {
    /// A value above this one is unhealthy.
    pub unhealthy_above: Option<f64>,
    /// A value below this one is unhealthy.
    pub unhealthy_below: Option<f64>,
}

/// What the pass does while a check is unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// It sends no requests.
    Pause,
    /// It uses only this percentage of its budgets, from 1 to 99.
    Slow(u8),
}

/// How it counts if a check cannot be asked, because it does not answer in time, fails with an error, or has no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailMode {
    /// It counts as an unhealthy answer.
    Closed,
    /// It changes nothing: the check keeps its last state. A check that has never answered does not hinder the pass.
    Open,
}

/// What missing data of CloudWatch means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoData {
    /// It counts as a healthy answer. Some metrics, such as counts of throttled requests, have data only while
    /// something happens.
    Healthy,
    /// It counts as an unhealthy answer.
    Unhealthy,
    /// The check cannot be asked, so the fail mode decides.
    FailMode,
}

/// A URL that may contain a secret, for example a token in its query. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Returns the URL, to send a request. Never show it.
    pub fn as_secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(…)")
    }
}

impl HealthProbe {
    /// Returns whether this check asks CloudWatch, and so needs permissions in IAM.
    pub fn asks_cloudwatch(&self) -> bool {
        match self {
            HealthProbe::Alarm { .. } | HealthProbe::Metric { .. } => true,
            HealthProbe::Http { .. } | HealthProbe::Command(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
