//! Gets the state of an alarm, or the newest value of a metric, from CloudWatch.

use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::http::HttpResponse;
use aws_sdk_cloudwatch::config::retry::RetryConfig;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{
    AlarmType, Dimension, Metric, MetricDataQuery, MetricStat, ScanBy, StateValue, StatusCode,
};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::Answer;
use crate::clock::Clock;
use crate::dynamodb::sdk::{NO_REGION, Service, ServiceConfig, failure_text, is_credentials_error};
use crate::plan::{HealthyBounds, MetricQuery, NoData, TableRef};

/// The number of periods whose values count as recent. It is greater than one, because CloudWatch receives the values
/// of a minute one or two minutes later.
const RECENT_PERIODS: u64 = 3;

/// Values that are at most this old, in seconds, always count as recent. Metrics with short periods arrive as late as
/// other metrics.
const RECENT_AT_LEAST: u64 = 180;

/// A connection to CloudWatch, and the question to send.
pub(super) struct CloudWatch {
    /// How to reach CloudWatch. The endpoint in this field is CloudWatch's, not DynamoDB's.
    place: TableRef,
    question: Question,
    no_data: NoData,
    clock: Clock,
    /// `None` before the first request and after an error about credentials. The next request then reloads the
    /// credentials, because somebody might have renewed them.
    connection: Mutex<Option<Connection>>,
}

/// The connection to CloudWatch.
enum Connection {
    /// The task that loads the configuration. The task continues after a request reaches its time limit, so loading can
    /// take longer than this limit.
    Loading(AbortOnDropHandle<Result<Client, String>>),
    Ready(Client),
}

/// What to ask.
pub(super) enum Question {
    /// The state of the alarm with this name.
    Alarm(String),
    /// Whether the newest value of a metric is within its bounds.
    Metric(MetricQuery, HealthyBounds),
}

/// Why CloudWatch did not answer.
struct Failure {
    /// What went wrong. The text is safe to print.
    text: String,
    /// Whether new credentials could make the request succeed.
    is_about_credentials: bool,
}

impl From<String> for Failure {
    fn from(text: String) -> Failure {
        Failure { text, is_about_credentials: false }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Failure {
        Failure { text: failure_text(&error), is_about_credentials: is_credentials_error(&error) }
    }
}

/// What CloudWatch said.
#[derive(Debug, Clone, PartialEq)]
enum Finding {
    Healthy,
    Unhealthy(String),
    NoData(&'static str),
}

impl CloudWatch {
    /// Prepares a check. `place` has the region, the profile and CloudWatch's endpoint.
    pub(super) fn new(place: TableRef, question: Question, no_data: NoData, clock: Clock) -> CloudWatch {
        CloudWatch { place, question, no_data, clock, connection: Mutex::default() }
    }

    /// Runs the check once. `limit` includes the time to load the configuration and the credentials.
    pub(super) async fn ask(&self, limit: Duration) -> Answer {
        let Ok(found) = timeout(limit, self.find()).await else {
            return Answer::Unknown(format!("did not answer within {} s", limit.as_secs_f64()));
        };
        match (found, self.no_data) {
            (Ok(Finding::Healthy), _) | (Ok(Finding::NoData(_)), NoData::Healthy) => Answer::Healthy,
            (Ok(Finding::Unhealthy(why)), _) => Answer::Unhealthy(format!("failed: {why}")),
            (Ok(Finding::NoData(why)), NoData::Unhealthy) => Answer::Unhealthy(format!("failed: {why}")),
            (Ok(Finding::NoData(why)), NoData::FailMode) => Answer::Unknown(format!("has no answer: {why}")),
            (Err(failure), _) => {
                if failure.is_about_credentials {
                    self.connection.lock().await.take();
                }
                Answer::Unknown(format!("could not run: {}", failure.text))
            }
        }
    }

    async fn find(&self) -> Result<Finding, Failure> {
        let client = self.client().await?;
        match &self.question {
            Question::Alarm(name) => alarm(&client, name).await,
            Question::Metric(metric, bounds) => {
                let now = (self.clock)().as_second();
                newest_value(&client, metric, now).await.map(|value| compare(value, *bounds))
            }
        }
    }

    async fn client(&self) -> Result<Client, String> {
        let mut connection = self.connection.lock().await;
        let load = || Connection::Loading(AbortOnDropHandle::new(tokio::spawn(load(self.place.clone()))));
        let loaded = match connection.get_or_insert_with(load) {
            Connection::Ready(client) => return Ok(client.clone()),
            Connection::Loading(task) => task.await,
        };
        let loaded = loaded.unwrap_or_else(|error| Err(format!("the configuration could not be loaded ({error})")));
        // After an error, the next request loads the configuration again.
        *connection = loaded.as_ref().ok().cloned().map(Connection::Ready);
        loaded
    }
}

/// Loads the configuration. Sends nothing to CloudWatch. The client gets its credentials with the first request.
async fn load(place: TableRef) -> Result<Client, String> {
    let ServiceConfig { shared, endpoint, region, credentials, on_loopback: _ } =
        Box::pin(ServiceConfig::load(&place, Service::CloudWatch)).await;
    // Do not retry, because the check itself is repeated.
    let mut config = aws_sdk_cloudwatch::config::Builder::from(&shared).retry_config(RetryConfig::disabled());
    config.set_endpoint_url(endpoint);
    if let Some(credentials) = credentials {
        config = config.credentials_provider(credentials);
    }
    let Some(region) = region else { return Err(NO_REGION.to_owned()) };
    config.set_region(Some(region));
    Ok(Client::from_conf(config.build()))
}

/// Returns the state of the alarm with this name. Without `alarm_types`, CloudWatch returns only metric alarms (API
/// reference of `DescribeAlarms`).
async fn alarm(client: &Client, name: &str) -> Result<Finding, Failure> {
    let request = client.describe_alarms().alarm_names(name);
    let request = request.alarm_types(AlarmType::MetricAlarm).alarm_types(AlarmType::CompositeAlarm);
    let reply = request.send().await?;
    let metric = reply.metric_alarms().iter().find(|alarm| alarm.alarm_name() == Some(name));
    let composite = reply.composite_alarms().iter().find(|alarm| alarm.alarm_name() == Some(name));
    let state = metric.and_then(|alarm| alarm.state_value());
    let state = state.or_else(|| composite.and_then(|alarm| alarm.state_value()));
    match state {
        Some(StateValue::Ok) => Ok(Finding::Healthy),
        Some(StateValue::Alarm) => Ok(Finding::Unhealthy("the alarm is in the state ALARM".to_owned())),
        Some(StateValue::InsufficientData) => Ok(Finding::NoData("the alarm has insufficient data")),
        Some(_) => Err("the alarm has a state that this version of backfill does not know".to_owned().into()),
        None => Err("there is no alarm of this name in this account and region".to_owned().into()),
    }
}

/// Returns the newest value of a complete period; `None` if no recent period has a value. `now` is the time in seconds
/// since 1970.
async fn newest_value(client: &Client, metric: &MetricQuery, now: i64) -> Result<Option<f64>, Failure> {
    let MetricQuery { namespace, name, dimensions, statistic, period } = metric;
    let seconds = i64::try_from(period.as_secs()).unwrap_or(i64::MAX).max(1);
    // The values of the period that has not ended yet are incomplete.
    let end = now - now.rem_euclid(seconds);
    let recent = i64::try_from((period.as_secs() * RECENT_PERIODS).max(RECENT_AT_LEAST)).unwrap_or(i64::MAX);
    let dimensions = dimensions.iter().map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let of = Metric::builder().namespace(namespace).metric_name(name).set_dimensions(Some(dimensions.collect()));
    let statistic = MetricStat::builder()
        .metric(of.build())
        .period(i32::try_from(seconds).unwrap_or(i32::MAX))
        .stat(statistic)
        .build();
    let query = MetricDataQuery::builder().id("value").metric_stat(statistic).return_data(true).build();
    let request = client
        .get_metric_data()
        .metric_data_queries(query)
        .start_time(DateTime::from_secs(end.saturating_sub(recent)))
        .end_time(DateTime::from_secs(end))
        .scan_by(ScanBy::TimestampDescending);
    let reply = request.send().await?;
    let Some(result) = reply.metric_data_results().first() else { return Ok(None) };
    match result.status_code() {
        Some(StatusCode::InternalError | StatusCode::Forbidden) => {
            Err("CloudWatch could not read the metric".to_owned().into())
        }
        Some(_) | None => {
            // Some implementations of this API ignore the requested order.
            let values = result.timestamps().iter().zip(result.values());
            Ok(values.max_by_key(|(time, _)| time.as_nanos()).map(|(_, value)| *value))
        }
    }
}

fn compare(value: Option<f64>, bounds: HealthyBounds) -> Finding {
    let HealthyBounds { unhealthy_above, unhealthy_below } = bounds;
    let Some(value) = value else { return Finding::NoData("the metric has no recent value") };
    if let Some(bound) = unhealthy_above.filter(|bound| value > *bound) {
        return Finding::Unhealthy(format!("the metric is {value}, above {bound}"));
    }
    if let Some(bound) = unhealthy_below.filter(|bound| value < *bound) {
        return Finding::Unhealthy(format!("the metric is {value}, below {bound}"));
    }
    // A value that cannot be compared is not healthy.
    if value.is_nan() { Finding::NoData("the metric's value is not a number") } else { Finding::Healthy }
}

#[cfg(test)]
mod tests;
