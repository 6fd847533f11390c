//! Tests against an HTTP server that speaks CloudWatch's protocol (Smithy RPC v2 with CBOR, as the SDK sends it).

use std::sync::{Arc, Mutex as StdMutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode as HttpStatus;
use axum::routing::post;
use serde_json::{Value as Json, json};

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// Converts JSON to CBOR (RFC 8949). Each number becomes a float of 64 bits. `{"time": 1}` becomes the time of this
/// second since 1970: tag 1.
fn cbor(value: &Json) -> Vec<u8> {
    let head = |kind: u8, length: usize| {
        let mut bytes = vec![(kind << 5) | 26];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes
    };
    match value {
        Json::Null => vec![0xf6],
        Json::Bool(value) => vec![0xf4 + u8::from(*value)],
        Json::Number(number) => {
            let mut bytes = vec![0xfb];
            bytes.extend(number.as_f64().unwrap().to_be_bytes());
            bytes
        }
        Json::String(text) => [head(3, text.len()), text.clone().into_bytes()].concat(),
        Json::Array(list) => [head(4, list.len()), list.iter().flat_map(cbor).collect()].concat(),
        Json::Object(map) if map.len() == 1 && map.contains_key("time") => [vec![0xc1], cbor(&map["time"])].concat(),
        Json::Object(map) => {
            let entries = map.iter().flat_map(|(name, value)| [cbor(&json!(name)), cbor(value)].concat());
            [head(5, map.len()), entries.collect()].concat()
        }
    }
}

/// The requests that arrived: the operation and the body.
type Requests = Arc<StdMutex<Vec<(String, Vec<u8>)>>>;

/// Serves this answer to every request.
async fn serve(status: u16, answer: Json) -> (String, Requests) {
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    let handler = move |Path(operation): Path<String>, body: Bytes| {
        seen.lock().unwrap().push((operation, body.to_vec()));
        let headers = [("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor")];
        let answer = (HttpStatus::from_u16(status).unwrap(), headers, cbor(&answer));
        async move { answer }
    };
    let router = Router::new().route("/service/GraniteServiceVersion20100801/operation/{operation}", post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}"), requests)
}

fn place(endpoint: &str) -> TableRef {
    TableRef {
        name: "shop".into(),
        key: None,
        region: Some("eu-west-1".into()),
        endpoint_url: Some(endpoint.to_owned()),
        profile: None,
        account: None,
        role: None,
    }
}

fn cloudwatch(endpoint: &str, (question, no_data): (Question, NoData)) -> CloudWatch {
    CloudWatch::new(
        place(endpoint),
        question,
        no_data,
        Arc::new(|| jiff::Timestamp::from_second(1_000_000_030).unwrap()),
    )
}

fn alarm_probe(no_data: NoData) -> (Question, NoData) {
    (Question::Alarm("api-latency".into()), no_data)
}

fn metric_probe(no_data: NoData) -> (Question, NoData) {
    let metric = MetricQuery {
        namespace: "AWS/DynamoDB".into(),
        name: "ReadThrottleEvents".into(),
        dimensions: vec![("TableName".into(), "shop".into())],
        statistic: "Sum".into(),
        period: Duration::from_secs(60),
    };
    let bounds = HealthyBounds { unhealthy_above: Some(10.0), unhealthy_below: Some(1.0) };
    (Question::Metric(metric, bounds), no_data)
}

fn unhealthy(text: &str) -> Answer {
    Answer::Unhealthy(text.to_owned())
}

fn unknown(text: &str) -> Answer {
    Answer::Unknown(text.to_owned())
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn the_state_of_an_alarm_decides() {
    let of = |kind: &str, name: &str, state: &str| json!({ kind: [{ "AlarmName": name, "StateValue": state }] });
    let named = |state: &str| of("MetricAlarms", "api-latency", state);
    let missing = "has no answer: the alarm has insufficient data";
    let none = "could not run: there is no alarm of this name in this account and region";
    for (reply, no_data, answer) in [
        (named("OK"), NoData::FailMode, Answer::Healthy),
        (named("ALARM"), NoData::FailMode, unhealthy("failed: the alarm is in the state ALARM")),
        (of("CompositeAlarms", "api-latency", "OK"), NoData::FailMode, Answer::Healthy),
        (named("INSUFFICIENT_DATA"), NoData::FailMode, unknown(missing)),
        (named("INSUFFICIENT_DATA"), NoData::Healthy, Answer::Healthy),
        (named("INSUFFICIENT_DATA"), NoData::Unhealthy, unhealthy("failed: the alarm has insufficient data")),
        (json!({}), NoData::Healthy, unknown(none)),
        (of("MetricAlarms", "another", "OK"), NoData::FailMode, unknown(none)),
    ] {
        let (endpoint, requests) = serve(200, reply.clone()).await;
        assert_eq!(cloudwatch(&endpoint, alarm_probe(no_data)).ask(LONG).await, answer, "{reply}");
        let requests = requests.lock().unwrap();
        assert_eq!((requests.len(), requests[0].0.as_str()), (1, "DescribeAlarms"));
        let asked = ["api-latency", "MetricAlarm", "CompositeAlarm"];
        assert!(asked.iter().all(|text| contains(&requests[0].1, text)));
    }
}

#[tokio::test]
async fn the_newest_value_of_a_metric_decides() {
    // The newest value is the first one, as requested.
    let values = |values: Json| {
        let times: Vec<Json> = (0..values.as_array().unwrap().len()).map(|n| json!({ "time": 960 - 60 * n })).collect();
        json!({ "MetricDataResults": [{ "Id": "value", "Values": values, "Timestamps": times }] })
    };
    let wrong_order = json!({ "MetricDataResults": [{
        "Values": [5.0, 11.0, 6.0], "Timestamps": [{ "time": 60 }, { "time": 180 }, { "time": 120 }],
    }] });
    let missing = "the metric has no recent value";
    for (reply, no_data, answer) in [
        (values(json!([10.0, 99.0])), NoData::FailMode, Answer::Healthy),
        (values(json!([10.5, 2.0])), NoData::FailMode, unhealthy("failed: the metric is 10.5, above 10")),
        (wrong_order, NoData::FailMode, unhealthy("failed: the metric is 11, above 10")),
        (values(json!([0.0])), NoData::FailMode, unhealthy("failed: the metric is 0, below 1")),
        (values(json!([])), NoData::FailMode, unknown(&format!("has no answer: {missing}"))),
        (values(json!([])), NoData::Healthy, Answer::Healthy),
        (values(json!([])), NoData::Unhealthy, unhealthy(&format!("failed: {missing}"))),
        (json!({}), NoData::FailMode, unknown(&format!("has no answer: {missing}"))),
        (
            json!({ "MetricDataResults": [{
                "Values": [5.0], "Timestamps": [{ "time": 60 }], "StatusCode": "InternalError",
            }] }),
            NoData::Healthy,
            unknown("could not run: CloudWatch could not read the metric"),
        ),
    ] {
        let (endpoint, requests) = serve(200, reply.clone()).await;
        assert_eq!(cloudwatch(&endpoint, metric_probe(no_data)).ask(LONG).await, answer, "{reply}");
        let requests = requests.lock().unwrap();
        assert_eq!((requests.len(), requests[0].0.as_str()), (1, "GetMetricData"));
        let asked = ["AWS/DynamoDB", "ReadThrottleEvents", "TableName", "shop", "Sum", "TimestampDescending"];
        assert!(asked.iter().all(|text| contains(&requests[0].1, text)));
        // The last complete minute before 1,000,000,030 ended at 1,000,000,020. Times are tag 1 and a float (RFC 8949).
        for time in [1_000_000_020.0_f64, 999_999_840.0] {
            let encoded = [&[0xc1, 0xfb][..], &time.to_be_bytes()].concat();
            assert!(requests[0].1.windows(encoded.len()).any(|part| part == encoded), "{time}");
        }
    }
}

#[tokio::test]
async fn without_an_answer_nothing_is_known() {
    let denied = json!({
        "__type": "com.amazonaws.cloudwatch#AccessDenied",
        "message": "User: x is not authorized\u{1b}[2J. The Canonical String for this request: S3CRET"
    });
    let (endpoint, requests) = serve(403, denied).await;
    let probe = cloudwatch(&endpoint, alarm_probe(NoData::Healthy));
    let Answer::Unknown(text) = probe.ask(LONG).await else { panic!("a refused request is no answer") };
    assert_eq!(text, "could not run: AccessDenied: User: x is not authorized\\u{1b}[2J");
    assert_eq!(requests.lock().unwrap().len(), 1, "the next question is the retry");
    assert!(probe.is_ready().await, "the credentials are good");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let hangs = cloudwatch(&silent, metric_probe(NoData::Healthy)).ask(Duration::from_millis(300)).await;
    assert_eq!(hangs, unknown("did not answer within 0.3 s"));
    drop(listener);
    let Answer::Unknown(text) = cloudwatch(&silent, metric_probe(NoData::Healthy)).ask(LONG).await else {
        panic!("a closed port is no answer")
    };
    assert!(text.contains("onnection refused"), "{text}");
}

impl CloudWatch {
    async fn is_ready(&self) -> bool {
        matches!(*self.connection.lock().await, Some(Connection::Ready(_)))
    }
}

#[tokio::test]
async fn only_an_error_about_credentials_reloads_them() {
    for (status, code, is_kept) in [
        (400, "ExpiredToken", false),
        (403, "InvalidClientTokenId", false),
        (400, "Throttling", true),
        (500, "InternalServiceFault", true),
    ] {
        let error = json!({ "__type": format!("com.amazonaws.cloudwatch#{code}"), "message": "no" });
        let (endpoint, _) = serve(status, error).await;
        let probe = cloudwatch(&endpoint, alarm_probe(NoData::FailMode));
        assert_eq!(probe.ask(LONG).await, unknown(&format!("could not run: {code}: no")));
        assert_eq!(probe.is_ready().await, is_kept, "{code}");
    }
}

#[tokio::test]
async fn a_load_continues_after_the_time_limit_of_a_question() {
    let ok = json!({ "MetricAlarms": [{ "AlarmName": "api-latency", "StateValue": "OK" }] });
    let (endpoint, requests) = serve(200, ok).await;
    let probe = cloudwatch(&endpoint, alarm_probe(NoData::FailMode));
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let place = place(&endpoint);
    let slow = tokio::spawn(async move {
        gone.await.unwrap();
        load(place).await
    });
    *probe.connection.lock().await = Some(Connection::Loading(AbortOnDropHandle::new(slow)));
    let late = unknown("did not answer within 0.05 s");
    assert_eq!(probe.ask(Duration::from_millis(50)).await, late);
    assert_eq!(probe.ask(Duration::from_millis(50)).await, late);
    // The send fails if the requests have stopped the load.
    go.send(()).unwrap();
    assert_eq!(probe.ask(LONG).await, Answer::Healthy);
    assert!(probe.is_ready().await);
    assert_eq!(requests.lock().unwrap().len(), 1);
}
