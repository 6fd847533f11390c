use std::time::Duration;

use super::*;
use crate::plan::load;

const PLAN: &str = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n";

fn checks(text: &str) -> Vec<HealthCheck> {
    load("p", &format!("{PLAN}{text}")).unwrap_or_else(|errors| panic!("{errors}")).plan.health_checks
}

fn one(text: &str) -> HealthCheck {
    checks(&format!("[[health_check]]\nname = \"api\"\n{text}\n")).remove(0)
}

fn refused(text: &str) -> String {
    load("p", &format!("{PLAN}[[health_check]]\nname = \"api\"\n{text}\n")).unwrap_err().to_string()
}

#[test]
fn the_defaults_fail_closed_and_pause() {
    let check = one("url = \"http://127.0.0.1/health\"");
    let HealthCheck { name, probe, interval, timeout, unhealthy_after, healthy_after, on_unhealthy, fail_mode } = check;
    let url = SecretUrl("http://127.0.0.1/health".to_owned());
    assert_eq!((name.as_str(), probe), ("api", HealthProbe::Http { url, expect_status: None }));
    assert_eq!((interval, timeout), (Duration::from_secs(10), Duration::from_secs(5)));
    assert_eq!((unhealthy_after, healthy_after), (2, 3));
    assert_eq!((on_unhealthy, fail_mode), (OnUnhealthy::Pause, FailMode::Closed));
    assert_eq!(one("command = [\"/bin/true\"]\ninterval = \"2s\"").timeout, Duration::from_secs(2));
}

#[test]
fn every_kind_is_read() {
    assert_eq!(
        one("command = [\"/bin/check\", \"a b\"]").probe,
        HealthProbe::Command(vec!["/bin/check".into(), "a b".into()])
    );
    assert_eq!(
        one("alarm = \"api-latency\"\nno_data = \"healthy\"").probe,
        HealthProbe::Alarm { name: "api-latency".into(), no_data: NoData::Healthy, endpoint_url: None }
    );
    let metric = "metric = { namespace = \"AWS/DynamoDB\", name = \"SuccessfulRequestLatency\", statistic = \"p99.9\", \
                  dimensions = { TableName = \"shop\", Operation = \"GetItem\" }, period = \"5m\" }\nunhealthy_above = 20";
    let check = one(metric);
    let HealthProbe::Metric { metric, bounds, no_data, endpoint_url: None } = check.probe else { panic!("{check:?}") };
    assert_eq!((bounds.unhealthy_above, bounds.unhealthy_below, no_data), (Some(20.0), None, NoData::FailMode));
    assert_eq!((metric.statistic.as_str(), metric.period), ("p99.9", Duration::from_secs(300)));
    assert_eq!(metric.dimensions, [("Operation".into(), "GetItem".into()), ("TableName".into(), "shop".into())]);
    assert_eq!(check.interval, Duration::from_secs(60), "a metric changes once a minute");
    let slow = one("alarm = \"x\"\non_unhealthy = \"slow\"\nslow_to = \"10%\"\nfail_mode = \"open\"");
    assert_eq!((slow.on_unhealthy, slow.fail_mode), (OnUnhealthy::Slow(10), FailMode::Open));
    assert_eq!(one("alarm = \"x\"\non_unhealthy = \"slow\"").on_unhealthy, OnUnhealthy::Slow(25));
}

#[test]
fn health_checks_do_not_change_the_fingerprint() {
    let with = load("p", &format!("{PLAN}[[health_check]]\nname = \"api\"\nalarm = \"x\"\n")).unwrap().plan;
    assert_eq!(with.fingerprint(), load("p", PLAN).unwrap().plan.fingerprint());
}

#[test]
fn a_url_is_never_shown() {
    let check = one("url = \"https://example.com/health?token=S3CRET\"");
    assert!(!format!("{check:?}").contains("S3CRET"));
    let url = "url = \"https://example.com/?token=S3CRET\"";
    for (wrong, title) in [
        ("url = \"ftp://example.com/?token=S3CRET\"".to_owned(), "the `url` of this health check cannot be used"),
        ("url = \"https://a:S3CRET@example.com\"".to_owned(), "the `url` of this health check cannot be used"),
        (format!("{url}\nalarm = \"x\""), "a health check can check only one thing"),
        (format!("{url}\nno_data = \"healthy\""), "`no_data` needs `alarm` or `metric`"),
    ] {
        let shown = refused(&wrong);
        assert!(shown.contains(title) && !shown.contains("S3CRET"), "{shown}");
    }
}
