//! Reads `[[health_check]]`. A health check of the application can pause or slow down passes. Health checks are not
//! part of the plan's meaning, because they do not affect the values in items.

mod fields;
mod probe;

pub(super) use fields::read;

use std::fmt;
use std::time::Duration;

/// A health check of the application. While a pass runs, the tool repeats the check. While the check is unhealthy, the
/// pass pauses or slows down.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// The name, which is unique in the plan: 1 to 64 letters (a-z, A-Z), digits, `-` and `_`.
    pub name: String,
    /// The probe, which also defines the healthy results.
    pub probe: HealthProbe,
    /// The time between the beginnings of two consecutive checks.
    pub interval: Duration,
    /// The time limit for one check. At most `interval`.
    pub timeout: Duration,
    /// The number of consecutive unhealthy results after which a healthy check becomes unhealthy. At least 1.
    pub unhealthy_after: u32,
    /// The number of consecutive healthy results after which an unhealthy check becomes healthy. At least 1.
    pub healthy_after: u32,
    /// The reaction of the pass while the check is unhealthy.
    pub on_unhealthy: OnUnhealthy,
    /// The rule for the case that the check has no result.
    pub fail_mode: FailMode,
}

/// The probe of a health check.
#[derive(Debug, Clone, PartialEq)]
pub enum HealthProbe {
    /// An HTTP GET request.
    Http {
        /// The address.
        url: SecretUrl,
        /// The only healthy status. `None` means that every status from 200 to 299 is healthy.
        expect_status: Option<u16>,
    },
    /// A program with its arguments. It runs without a shell. The exit status 0 is healthy, and every other status is
    /// unhealthy.
    Command(Vec<String>),
    /// A CloudWatch alarm in the account and region of `[table]`. `OK` is healthy, `ALARM` is unhealthy.
    Alarm {
        /// The alarm's name.
        name: String,
        /// The meaning of the state `INSUFFICIENT_DATA`.
        no_data: NoData,
        /// The endpoint of CloudWatch. `None` means the endpoint in the AWS configuration.
        endpoint_url: Option<String>,
    },
    /// A CloudWatch metric in the account and region of `[table]`. The newest value of a complete period is the result.
    Metric {
        /// The metric.
        metric: MetricQuery,
        /// The values that are healthy.
        bounds: HealthyBounds,
        /// The meaning of a metric without a recent value.
        no_data: NoData,
        /// The endpoint of CloudWatch. `None` means the endpoint in the AWS configuration.
        endpoint_url: Option<String>,
    },
}

/// A CloudWatch metric, and the statistic and the period of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricQuery {
    /// The namespace, such as `AWS/DynamoDB`.
    pub namespace: String,
    /// The metric's name.
    pub name: String,
    /// The names and values of the dimensions, sorted by name.
    pub dimensions: Vec<(String, String)>,
    /// The statistic, such as `Sum` or `p99`.
    pub statistic: String,
    /// The length of a period, in whole seconds that CloudWatch accepts.
    pub period: Duration,
}

/// The healthy values of a metric. A plan states at least one of the bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HealthyBounds {
    /// Values above this bound are unhealthy.
    pub unhealthy_above: Option<f64>,
    /// Values below this bound are unhealthy.
    pub unhealthy_below: Option<f64>,
}

/// The reaction of a pass while a check is unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnhealthy {
    /// The pass sends no requests.
    Pause,
    /// The pass uses only this percentage of its budgets, from 1 to 99.
    Slow(u8),
}

/// The rule for a check that has no result. The reason can be a timeout, an error or missing data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailMode {
    /// It counts as an unhealthy result.
    Closed,
    /// It does not count, so the check keeps its last state. A check that has never had a result does not affect the
    /// pass.
    Open,
}

/// The meaning of missing data in CloudWatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoData {
    /// It counts as a healthy result. Some metrics, such as counts of throttled requests, have data only if the event
    /// occurs.
    Healthy,
    /// It counts as an unhealthy result.
    Unhealthy,
    /// The check has no result, so the fail mode applies.
    FailMode,
}

/// A URL that can contain a secret, for example a token in its query. The `Debug` form does not show the URL.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Returns the URL. Use it only to send a request, and never show it.
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
    /// Returns whether this check sends requests to CloudWatch. If so, it needs IAM permissions.
    pub fn asks_cloudwatch(&self) -> bool {
        match self {
            HealthProbe::Alarm { .. } | HealthProbe::Metric { .. } => true,
            HealthProbe::Http { .. } | HealthProbe::Command(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
