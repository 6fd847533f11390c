use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::engine::{AllowanceStatus, LimitStatus};
use crate::state::{OpenWork, Spend};
use crate::telemetry::metrics::exposition::tests::{shown, view};
use crate::telemetry::metrics::{StateFigures, VerificationFigures};

/// The rules of the specification: its JSON schema (CloudWatch user guide, "Embedded metric format JSON schema"), and
/// the rules that the schema cannot express.
pub(in crate::telemetry) fn check_line(line: &str) -> Json {
    assert!(!line.contains('\n') && line.len() < 256 * 1024, "{} bytes", line.len());
    let json: Json = serde_json::from_str(line).unwrap();
    let root = json.as_object().unwrap();
    assert!(root["_aws"]["Timestamp"].as_u64().is_some(), "{line}");
    let mut names = BTreeSet::new();
    for directive in root["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
        let namespace = directive["Namespace"].as_str().unwrap();
        assert!((1..=1024).contains(&namespace.len()) && !namespace.starts_with("AWS/"));
        for set in directive["Dimensions"].as_array().unwrap() {
            let set = set.as_array().unwrap();
            assert!(set.len() <= 30);
            for dimension in set {
                let value = root[dimension.as_str().unwrap()].as_str().unwrap();
                assert!((1..=1024).contains(&value.len()) && value.is_ascii() && !value.trim().is_empty(), "{line}");
            }
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!(metrics.len() <= 100, "{} metrics", metrics.len());
        for metric in metrics {
            let name = metric["Name"].as_str().unwrap();
            assert!((1..=1024).contains(&name.len()) && names.insert(name.to_owned()), "{name} twice in {line}");
            assert!(["Count", "Count/Second", "Seconds", "None"].contains(&metric["Unit"].as_str().unwrap()));
            // CloudWatch refuses values above 2^360, and values that are not numbers.
            assert!(root[name].as_f64().is_some_and(|value| value.abs() < 2_f64.powi(360)), "{name} in {line}");
        }
    }
    json
}

/// Returns an exposition in which every family has samples.
fn full() -> Exposition {
    let mut view = view();
    view.total_segments = 3;
    let limits = ["max_wcu", "max_cost_usd", "max_items"].map(|name| LimitStatus { name, limit: 10.0, left: 5.0 });
    let spent = Spend { write: 6.0, read: 0.5 };
    view.allowance =
        Some(AllowanceStatus { spent, dollars: 0.25, limits: limits.into(), spend_waiting: 0, items_waiting: 0 });
    let verification = VerificationFigures {
        migration: "rename".to_owned(),
        scope: "all".to_owned(),
        compared: 100,
        mismatches: 2,
        repaired: 1,
        ended: None,
    };
    let state = StateFigures { open: Some(OpenWork { failures: 5, diverged: 1 }), verification: Some(verification) };
    let now = view.at;
    Exposition { pass: Some(shown(view)), health: BTreeMap::new(), state, hook_failures: 0, now }
}

#[tokio::test(start_paused = true)]
async fn every_chosen_family_exists_and_the_line_keeps_the_rules() {
    let full = full();
    let families = full.families();
    for chosen in &CHOSEN {
        // A view without an estimate and without items lacks these two families.
        let is_optional = ["table_items", "eta_seconds"].contains(&chosen.family);
        assert!(is_optional || families.iter().any(|family| family.name == chosen.family), "{}", chosen.family);
        let family = families.iter().find(|family| family.name == chosen.family);
        let samples = family.map(|family| family.samples.clone());
        if let Some(Samples::Gauges(samples) | Samples::Counters(samples)) = samples {
            // Each label is either part of the metric's name, or fixed by `of_table`, or a fact of the line.
            for label in samples.iter().flat_map(|(labels, _)| labels.iter().map(|(label, _)| *label)) {
                let is_fact = chosen.family.starts_with("verification_") && ["scope", "migration"].contains(&label);
                let is_fixed = chosen.of_table && ["scope", "index"].contains(&label);
                assert!(is_fact || is_fixed || chosen.named_by.contains(&label), "{}: {label}", chosen.family);
            }
        }
    }
    let metrics = metrics(&families);
    assert!((60..=MAX_METRICS).contains(&metrics.len()), "{}", metrics.len());
    let json = check_line(&line::line("rename", "shop", &metrics, &full).to_string());
    for (name, value) in
        [("OpenFailures", 5.0), ("VerificationMismatches", 2.0), ("SpendDollars", 0.25), ("LimitLeftMaxWcu", 5.0)]
    {
        assert_eq!(json[name], value, "{name}");
    }
    assert_eq!(
        (&json["Phase"], &json["Run"], &json["VerificationScope"]),
        (&json!("expand"), &json!(7), &json!("all"))
    );
    // `docs/metrics.md` lists every name.
    let page = include_str!("../../../../docs/metrics.md");
    let (_, listed) = page.split_once("<!-- emf: begin -->").unwrap();
    let listed = listed.split_once("<!-- emf: end -->").unwrap().0;
    let names: BTreeSet<&str> =
        metrics.iter().map(|metric| metric.name.as_str()).chain(["TableItems", "EtaSeconds"]).collect();
    let listed: BTreeSet<&str> = listed.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, names, "docs/metrics.md (left) and the lines");
}

/// Before the first pass, a line has only the figures of the process and of the state file.
#[test]
fn a_line_without_a_pass_is_valid() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let none =
        Exposition { pass: None, health: BTreeMap::new(), state: StateFigures::default(), hook_failures: 0, now };
    let metrics = metrics(&none.families());
    let json = check_line(&line::line("rename", "shop", &metrics, &none).to_string());
    assert_eq!((metrics.len(), &json["PassActive"]), (1, &json!(0.0)));
}

/// The sum of a session's lines is the work of this session, without the work of earlier sessions.
#[tokio::test(start_paused = true)]
async fn counters_become_increases_of_this_session() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&written);
    let write: LineWriter = Arc::new(move |line| {
        to.lock().unwrap().push(check_line(line.trim_end()));
        Ok(())
    });
    let mut emf = Emf::new("rename", "shop", write);
    let mut exposition = full();
    let mut set = |scanned: u64| {
        let pass = exposition.pass.as_mut().unwrap();
        Arc::make_mut(&mut pass.view).totals.scanned = scanned;
        exposition.clone()
    };
    emf.begin(&set(1_000)).await;
    for scanned in [1_010, 1_010, 1_500] {
        emf.send(&set(scanned)).await;
    }
    // The lines of another pass also begin at 0, and do not contain the earlier work of that pass.
    emf.begin(&set(3)).await;
    emf.send(&set(5)).await;
    emf.finish().await;
    let lines: Vec<f64> = written.lock().unwrap().iter().map(|line| line["ItemsScanned"].as_f64().unwrap()).collect();
    assert_eq!(lines, [10.0, 0.0, 490.0, 2.0]);
}

proptest! {
    #[test]
    fn the_increases_add_up_and_are_never_negative(values in prop::collection::vec(0.0_f64..1e9, 1..50)) {
        let mut before = HashMap::new();
        let (mut sum, mut last) = (0.0, 0.0);
        let mut expected = 0.0;
        for value in values {
            let metric = Metric { name: "A".to_owned(), unit: Unit::Count, value, rises: true };
            let increase = increases(vec![metric], &mut before)[0].value;
            prop_assert!(increase >= 0.0);
            sum += increase;
            expected += f64::max(value - last, 0.0);
            last = value;
        }
        prop_assert!((sum - expected).abs() < 1e-3);
    }
}
