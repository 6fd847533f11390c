//! One line of EMF.

use serde_json::{Map, Value as Json, json};

use super::{DIMENSIONS, MAX_METRICS, Metric, NAMESPACE};
use crate::telemetry::metrics::Exposition;

/// Returns the object of one line. In addition to the metrics, the object contains facts that CloudWatch Logs can
/// search. These facts are not dimensions, because each dimension would multiply the number of metrics.
pub(super) fn line(migration: &str, table: &str, metrics: &[Metric], now: &Exposition) -> Json {
    let directive = |metrics: &[Metric]| {
        let definitions: Vec<Json> =
            metrics.iter().map(|metric| json!({ "Name": metric.name, "Unit": metric.unit.name() })).collect();
        json!({ "Namespace": NAMESPACE, "Dimensions": [DIMENSIONS], "Metrics": definitions })
    };
    let directives: Vec<Json> = metrics.chunks(MAX_METRICS).map(directive).collect();
    let mut line = Map::new();
    let metadata = json!({ "Timestamp": now.now.as_millisecond(), "CloudWatchMetrics": directives });
    line.insert("_aws".to_owned(), metadata);
    line.insert("Migration".to_owned(), migration.into());
    line.insert("Table".to_owned(), table.into());
    line.insert("Version".to_owned(), env!("CARGO_PKG_VERSION").into());
    if let Some(pass) = &now.pass {
        line.insert("Phase".to_owned(), pass.labels.phase.into());
        line.insert("Run".to_owned(), pass.labels.run.number().into());
        line.insert("Activity".to_owned(), pass.view.current.activity.name().into());
    }
    if let Some(verification) = &now.state.verification {
        line.insert("VerificationScope".to_owned(), verification.scope.as_str().into());
    }
    line.extend(metrics.iter().map(|metric| (metric.name.clone(), metric.value.into())));
    Json::Object(line)
}
