//! Sends the metrics to an OpenTelemetry collector: OTLP over HTTP, as protobuf (OpenTelemetry specification, "OTLP
//! Exporter"). The families are the same as in `/metrics`. Counters are cumulative, so a lost request loses no counts,
//! and requests need neither a queue nor retries.

mod message;
mod settings;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;

use super::export::Export;
use super::exposition::Exposition;
use crate::web::Address;
use message::Resource;
pub use settings::{OtlpError, OtlpSettings};

/// Sends the metrics of one command.
pub(super) struct Otlp {
    address: Address,
    headers: Vec<(HeaderName, HeaderValue)>,
    limit: Duration,
    resource: Resource,
    /// The time at which the counters of the current pass began to rise in this process.
    began: u64,
    has_failed: bool,
}

impl Otlp {
    /// Prepares requests for a migration. Nothing is sent.
    pub(super) fn new(settings: OtlpSettings, migration: &str, table: &str) -> Otlp {
        let OtlpSettings { address, headers, limit, resource, every: _ } = settings;
        let resource = Resource::new(resource, migration, table);
        Otlp { address, headers, limit, resource, began: unix_nanos(SystemTime::now()), has_failed: false }
    }

    async fn post(&self, exposition: &Exposition) -> Result<(), String> {
        let now = unix_nanos(exposition.now.into());
        let request = message::request(&exposition.families(), &self.resource, self.began, now);
        let protobuf = (CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let headers = self.headers.iter().cloned().chain([protobuf]);
        let body = request.encode_to_vec().into();
        let answer = self.address.post(headers, body, self.limit).await;
        let answer = answer.map_err(|error| format!("the collector {error}"))?;
        if answer.status != StatusCode::OK {
            return Err(format!("the collector answered with HTTP status {}", answer.status.as_u16()));
        }
        let response = ExportMetricsServiceResponse::decode(answer.body);
        let rejected = response.ok().and_then(|response| Some(response.partial_success?.rejected_data_points));
        match rejected {
            Some(rejected) if rejected > 0 => Err(format!("the collector rejected {rejected} data points")),
            Some(_) | None => Ok(()),
        }
    }
}

#[async_trait]
impl Export for Otlp {
    /// Sends each counter with a start time that equals the time of its value. This form means that the counter began
    /// earlier, at an unknown time ("Cumulative streams: handling unknown start time" in the specification's data
    /// model). So a collector does not count the work of an earlier session as new.
    async fn begin(&mut self, first: &Exposition) {
        self.began = unix_nanos(first.now.into());
        self.send(first).await;
    }

    async fn send(&mut self, now: &Exposition) {
        match self.post(now).await {
            Ok(()) if self.has_failed => {
                self.has_failed = false;
                tracing::info!("the OpenTelemetry collector accepts metrics again");
            }
            Ok(()) => {}
            Err(why) if self.has_failed => tracing::debug!("metrics were not sent again: {why}"),
            Err(why) => {
                self.has_failed = true;
                tracing::warn!(
                    "metrics were not sent: {why}. The migration is not affected, and the next attempt sends all counters"
                );
            }
        }
    }
}

fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
