//! Tests the export to an OpenTelemetry collector, against a real HTTP server that decodes what it receives.

use std::collections::BTreeSet;
use std::sync::Mutex;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, NumberDataPoint, metric, number_data_point,
};
use prost::Message as _;

use super::*;

/// The collector's API key. It must not appear anywhere else.
const API_KEY: &str = "S3CRET-KEY";

/// How a collector reacts to a request.
#[derive(Clone, Copy)]
enum Collector {
    Accepts,
    Fails,
    Hangs,
}

/// The requests that a collector has received.
type Received = Arc<Mutex<Vec<(HeaderMap, ExportMetricsServiceRequest)>>>;

async fn collector(behaviour: Collector) -> (String, Received) {
    let received = Received::default();
    let store = Arc::clone(&received);
    let handler = async move |headers: HeaderMap, body: Bytes| {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        store.lock().unwrap().push((headers, request));
        match behaviour {
            Collector::Accepts => (StatusCode::OK, Bytes::new()),
            Collector::Fails => (StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(b"busy")),
            Collector::Hangs => std::future::pending().await,
        }
    };
    let router = Router::new().route("/otlp/v1/metrics", post(handler));
    let listener = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}/otlp"), received)
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?} in {attributes:?}"),
    }
}

fn metrics(request: &ExportMetricsServiceRequest) -> &[Metric] {
    let [resource] = &request.resource_metrics[..] else { panic!("{request:?}") };
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    assert_eq!(attribute(attributes, "service.name"), "orders");
    assert_eq!(attribute(attributes, "backfill.migration"), "plan");
    let [scope] = &resource.scope_metrics[..] else { panic!("{request:?}") };
    &scope.metrics
}

/// Returns the points of a counter, and checks its kind.
fn counter<'a>(request: &'a ExportMetricsServiceRequest, name: &str) -> &'a [NumberDataPoint] {
    let metric = metrics(request).iter().find(|metric| metric.name == name);
    match metric.and_then(|metric| metric.data.as_ref()) {
        Some(metric::Data::Sum(sum)) => {
            assert!(sum.is_monotonic && sum.aggregation_temporality() == AggregationTemporality::Cumulative, "{name}");
            &sum.data_points
        }
        other => panic!("{name}: {other:?}"),
    }
}

fn value(point: &NumberDataPoint) -> f64 {
    match point.value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        other => panic!("{other:?}"),
    }
}

fn applied(request: &ExportMetricsServiceRequest) -> &NumberDataPoint {
    let points = counter(request, "backfill_items");
    points.iter().find(|point| attribute(&point.attributes, "outcome") == "applied").unwrap()
}

fn has_pass(request: &ExportMetricsServiceRequest) -> bool {
    metrics(request).iter().any(|metric| metric.name == "backfill_items")
}

fn command(harness: &Harness, args: &[&str]) -> std::process::Command {
    let mut command = harness.command();
    command
        .args(args)
        .args(["--output", "json", "-vv"])
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("api-key={API_KEY}"))
        .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
        .env("OTEL_SERVICE_NAME", "orders");
    command
}

/// The collector receives the same metric families as Prometheus. Counters are cumulative: they continue from the
/// earlier session instead of counting its work a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_receives_every_family_and_the_last_figures() {
    let (harness, _, plan) = setup(60, &format!("{SLOWLY}[limits]\nmax_wcu = 100000\n")).await;
    let (address, received) = collector(Collector::Accepts).await;
    let mut first = RunningTool::start(command(
        &harness,
        &["run", text(&plan), "--yes", "--metrics", LOOPBACK, "--otlp", &address],
    ));
    let endpoint = address_of(&mut first).await;
    let has_items =
        |samples: &Samples| samples.find("backfill_items_total{outcome=\"applied\"}").is_some_and(|n| n >= 15.0);
    let samples = scrape_until(&endpoint, "15 items", has_items).await;
    first.signal(SIGINT);
    let stopped = tokio::task::block_in_place(|| first.end()).exits(130);
    let before = stopped.json()["totals"]["counts"]["applied"].as_f64().unwrap();
    let requests = std::mem::take(&mut *received.lock().unwrap());
    let (headers, last) = requests.last().unwrap();
    assert_eq!(
        (&headers["content-type"], &headers["api-key"]),
        (&"application/x-protobuf".parse().unwrap(), &API_KEY.parse().unwrap())
    );
    assert_eq!(value(applied(last)), before);
    assert!(requests.iter().filter(|(_, request)| has_pass(request)).count() >= 2, "{} requests", requests.len());
    assert!(!stopped.stderr.contains(API_KEY) && !stopped.stdout.contains(API_KEY));
    let sent = format!("{requests:?}");
    for never in [tool::SECRET_NUMBER, "P#", "S#", "S3CRET-0"] {
        assert!(!sent.contains(never), "a request contains {never}");
    }

    // A collector that exports to Prometheus adds the suffix `_total` to counters.
    let names: BTreeSet<String> = metrics(last)
        .iter()
        .map(|metric| match &metric.data {
            Some(metric::Data::Sum(_)) => format!("{}_total", metric.name),
            Some(metric::Data::Histogram(histogram)) => {
                for point in &histogram.data_points {
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                }
                format!("{}_count", metric.name)
            }
            _ => metric.name.clone(),
        })
        .collect();
    let exposed = samples.values.keys().map(|sample| sample.split('{').next().unwrap().to_owned());
    let exposed = exposed.filter(|name| !name.ends_with("_sum") && !name.ends_with("_bucket"));
    // These metrics exist only while their value is known.
    let is_optional =
        |name: &String| ["backfill_eta_seconds", "backfill_key_range_rate_units_per_second"].contains(&name.as_str());
    let exposed: BTreeSet<String> = exposed.filter(|name| !is_optional(name)).collect();
    let names: BTreeSet<String> = names.into_iter().filter(|name| !is_optional(name)).collect();
    assert_eq!(names, exposed);

    // An environment variable specifies the collector of the second session.
    let mut second = command(&harness, &["run", text(&plan)]);
    second.env("OTEL_EXPORTER_OTLP_ENDPOINT", &address);
    let ended = tokio::task::block_in_place(|| tool::run(second)).exits(0).json();
    let after = ended["totals"]["counts"]["applied"].as_f64().unwrap();
    let requests = std::mem::take(&mut *received.lock().unwrap());
    let points: Vec<&NumberDataPoint> =
        requests.iter().map(|(_, request)| request).filter(|r| has_pass(r)).map(applied).collect();
    assert_eq!((value(points[0]), value(points[points.len() - 1])), (before, after));
    assert_eq!(points[0].start_time_unix_nano, points[0].time_unix_nano, "the start of the counter is unknown");
    assert!(points.iter().all(|point| point.start_time_unix_nano == points[0].start_time_unix_nano));
    assert!(points.is_sorted_by_key(|point| point.time_unix_nano) && points.is_sorted_by(|a, b| value(a) <= value(b)));
}

/// A collector that fails, hangs or does not exist costs at most a few seconds at the end, and one warning.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_fails_or_hangs_does_not_disturb_the_run() {
    let free = std::net::TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let (failing, received) = collector(Collector::Fails).await;
    let (hanging, _) = collector(Collector::Hangs).await;
    for (address, why) in [
        (failing, "WARN metrics were not sent: the collector answered with HTTP status 503"),
        (hanging, "the last metrics could not be sent within 3 s"),
        (format!("http://{free}"), "WARN metrics were not sent: the collector could not be reached"),
    ] {
        let (harness, _, plan) = setup(60, SLOWLY).await;
        let ran = tokio::task::block_in_place(|| {
            tool::run(command(&harness, &["run", text(&plan), "--yes", "--otlp", &address]))
        });
        let ran = ran.exits(0);
        assert_eq!(ran.json()["totals"]["counts"]["applied"], 60);
        assert_eq!(ran.stderr.matches(why).count(), 1, "{why}: {}", ran.stderr);
        assert!(!ran.stderr.contains(&address), "the address may be a secret: {}", ran.stderr);
    }
    assert!(received.lock().unwrap().len() >= 3, "each interval tries again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_cannot_be_used_refuses_the_command_but_not_the_way_back() {
    let (harness, _, plan) = setup(5, "").await;
    let refused = refused(&harness, 2, &["run", text(&plan), "--yes", "--otlp", "collector:4318"]);
    refused.in_one_paragraph().says(&["--otlp", "http://", "Nothing was done"]);
    nothing_was_written(&harness);
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let back = ["rollback", text(&plan), "--yes", "--readers-back", "--new-writes-stopped", "--otlp", "collector:4318"];
    let messages = tool(&harness, &back).exits(0).messages();
    assert!(messages.contains("The command continues without it"), "{messages}");
}
