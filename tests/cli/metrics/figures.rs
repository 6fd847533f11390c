//! Compares the figures of the endpoint with the reports and the state file.

use super::*;
use backfill::internals::change::Outcome;

/// During a run, the endpoint's counters never decrease. At the end, they equal the report.
#[tokio::test(flavor = "multi_thread")]
async fn the_figures_grow_and_finally_equal_the_report() {
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    harness.load(&table, items(120)).await;
    let flags = harness.create_table().await;
    let flag =
        format!("[cutover]\ntable = \"{flags}\"\nkey = {{ pk = \"FLAG\", sk = \"x\" }}\nmax_cache_seconds = 1\n");
    let plan = harness.plan("plan", &table, "", &format!("{MOVE}{SLOWLY}{flag}"));
    // The command reads the flag after its pass. The fault delays this read, so that the test can scrape after the pass
    // has ended.
    let written = std::sync::atomic::AtomicU32::new(0);
    inject_fault(&harness, move |request| {
        let count = |n| written.fetch_add(n, std::sync::atomic::Ordering::Relaxed) + n;
        match request.operation.as_str() {
            "UpdateItem" => (count(1), Fault::Pass).1,
            "GetItem" if count(0) >= 120 => Fault::Delay(Duration::from_millis(500)),
            _ => Fault::Pass,
        }
    });
    let mut running = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut running).await;
    let mut scrapes = Vec::new();
    while let Some(samples) = scrape(&address).await {
        scrapes.push(samples);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ran = tokio::task::block_in_place(|| running.end()).exits(0);
    let report = ran.json();
    scrapes.iter().for_each(check);
    let mut before = BTreeMap::new();
    for samples in &scrapes {
        for (sample, value) in samples.values.iter().filter(|(sample, _)| sample.contains("_total")) {
            let earlier = before.insert(sample.clone(), *value).unwrap_or_default();
            assert!(*value >= earlier, "{sample} fell from {earlier} to {value}");
        }
    }
    let applied: std::collections::BTreeSet<u64> = scrapes
        .iter()
        .filter_map(|samples| samples.find("backfill_items_total{outcome=\"applied\"}"))
        .map(|applied| applied as u64)
        .collect();
    assert!(applied.len() >= 3, "the figures must change while the run runs: {applied:?}");
    let waiting = |samples: &Samples| samples.find("backfill_activity{activity=\"waiting\"}") == Some(1.0);
    assert!(scrapes.iter().any(waiting), "a run at 20 WCU/s waits for its budget");

    // The final counters equal the figures in the report.
    let counts = &report["totals"]["counts"];
    let last = scrapes
        .iter()
        .rev()
        .find(|s| s.find("backfill_pass_active") == Some(0.0) && s.find("backfill_segments").is_some());
    let Some(last) = last else { panic!("no scrape after the end of the pass; {} scrapes", scrapes.len()) };
    assert_eq!(last.of("backfill_activity{activity=\"done\"}"), 1.0);
    for outcome in Outcome::ALL.map(Outcome::name) {
        let shown = last.of(&format!("backfill_items_total{{outcome=\"{outcome}\"}}"));
        assert_eq!(Some(shown), counts[outcome].as_f64(), "{outcome}");
    }
    assert_eq!(Some(last.of("backfill_items_scanned_total")), counts["scanned"].as_f64());
    assert_eq!(
        Some(last.sum("backfill_consumed_capacity_units_total", "access=\"write\"")),
        counts["write_units"].as_f64()
    );
    assert_eq!(
        Some(last.of("backfill_committed_capacity_units_total{access=\"write\"}")),
        counts["write_units"].as_f64()
    );
    assert_eq!(
        Some(last.of("backfill_committed_capacity_units_total{access=\"read\"}")),
        counts["read_units"].as_f64()
    );
    assert_eq!(
        Some(last.sum("backfill_estimated_capacity_units_total", "access=\"write\"")),
        counts["estimated_write_units"].as_f64()
    );
    assert_eq!(Some(last.of("backfill_assumed_write_units_total")), counts["assumed_write_units"].as_f64());
    let spend = &report["spend"];
    assert_eq!(Some(last.of("backfill_spent_capacity_units{access=\"write\"}")), spend["write_units"].as_f64());
    assert_eq!(Some(last.of("backfill_spent_capacity_units{access=\"read\"}")), spend["read_units"].as_f64());
    assert_eq!(Some(last.of("backfill_spend_dollars")), spend["estimated_usd"].as_f64());
    assert_eq!((last.of("backfill_segments"), last.of("backfill_segments_done")), (2.0, 2.0));
    assert_eq!(last.sum("backfill_segment_range_items_total", ""), 120.0);
    assert_eq!(last.sum("backfill_segment_range_segments_done", ""), 2.0);
    assert_eq!(last.of("backfill_open_failures"), 0.0);
    let seconds = report["activity_seconds"]["waiting"].as_f64().unwrap();
    let shown = last.of("backfill_activity_seconds_total{activity=\"waiting\"}");
    assert!((shown - seconds).abs() < 0.002, "{shown} in the metrics, {seconds} in the report");

    // The latency histograms contain every request that the server saw.
    let requests =
        |operation: &str| last.of(&format!("backfill_request_duration_seconds_count{{operation=\"{operation}\"}}"));
    assert!(requests("scan") >= 24.0, "120 items in pages of 5");
    assert_eq!(requests("update"), 120.0);
    assert!(last.sum("backfill_wait_seconds_total", "scope=\"table\"") > 1.0, "{}", last.text);
}

/// The counters of a resumed run continue where the stopped session ended.
#[tokio::test(flavor = "multi_thread")]
async fn counters_of_a_run_span_its_sessions() {
    let (harness, _, plan) = setup(80, SLOWLY).await;
    let mut first = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut first).await;
    let applied = "backfill_items_total{outcome=\"applied\"}";
    scrape_until(&address, "20 items", |samples| samples.find(applied).is_some_and(|items| items >= 20.0)).await;
    first.signal(SIGINT);
    let stopped = tokio::task::block_in_place(|| first.end()).exits(130).json();
    let before = stopped["totals"]["counts"]["scanned"].as_f64().unwrap();
    assert!((20.0..80.0).contains(&before), "{stopped}");

    let mut second = start(&harness, &["run", text(&plan)]);
    let address = address_of(&mut second).await;
    let has_spend = |samples: &Samples| samples.find("backfill_spend_dollars").is_some();
    let samples = scrape_until(&address, "the spend", has_spend).await;
    check(&samples);
    let scanned = samples.of("backfill_items_scanned_total");
    assert!((before..80.0).contains(&scanned), "{scanned} after {before}");
    assert_eq!(samples.sum("backfill_segment_range_items_total", ""), scanned);
    // The session's own item counters begin at 0, so that an alert ignores failures of earlier sessions.
    assert_eq!(samples.sum("backfill_session_items_total", ""), scanned - before, "{}", samples.text);
    assert!(samples.of("backfill_spent_capacity_units{access=\"write\"}") >= before - 1.0, "{}", samples.text);
    assert!(
        samples.of("backfill_run_info{migration=\"plan\",phase=\"expand\",run=\"1\",table=\"TABLE\"}"
            .replace("TABLE", &table_of(&samples))
            .as_str())
            == 1.0
    );
    let ran = tokio::task::block_in_place(|| second.end()).exits(0).json();
    assert_eq!(ran["totals"]["counts"]["scanned"], 80);
}

fn table_of(samples: &Samples) -> String {
    let (info, _) = samples.named("backfill_run_info").next().unwrap();
    info.split("table=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// A verification that is resumed continues its counters too.
#[tokio::test(flavor = "multi_thread")]
async fn counters_of_a_verification_span_its_sessions() {
    let (harness, _, plan) = setup(80, "[scan]\nsegments = 2\npage_limit = 5\n").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    inject_fault(&harness, |request| match request.operation.as_str() {
        "Scan" => Fault::Delay(Duration::from_millis(400)),
        _ => Fault::Pass,
    });
    let mut first = start(&harness, &["verify", text(&plan), "--all"]);
    let address = address_of(&mut first).await;
    let has_items = |samples: &Samples| samples.find("backfill_items_scanned_total").is_some_and(|items| items >= 20.0);
    let before = scrape_until(&address, "20 items", has_items).await.of("backfill_items_scanned_total");
    first.signal(SIGINT);
    tokio::task::block_in_place(|| first.end()).exits(130);
    let mut second = start(&harness, &["verify", text(&plan), "--all"]);
    let address = address_of(&mut second).await;
    let is_active = |samples: &Samples| samples.named("backfill_segment_range_items_total").count() == 2;
    let samples = scrape_until(&address, "a pass", is_active).await;
    check(&samples);
    let scanned = samples.of("backfill_items_scanned_total");
    assert!((before..80.0).contains(&scanned), "{scanned} after {before}");
    assert_eq!(samples.sum("backfill_segment_range_items_total", ""), scanned);
    let report = tokio::task::block_in_place(|| second.end()).exits(0).json();
    assert_eq!(report["compared"], 80);
}

/// While a verification runs, the endpoint shows the result of the last complete verification.
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_shows_the_last_result() {
    let (harness, table, plan) = setup(60, "[scan]\nsegments = 2\npage_limit = 5\n").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    // A writer that knows only the old attribute inserts items.
    harness.load(&table, (0..3).map(|n| item("late", &n.to_string(), [("old", secret(n))]))).await;
    tool(&harness, &["verify", text(&plan), "--all"]).exits(5);
    inject_fault(&harness, |request| match request.operation.as_str() {
        "Scan" => Fault::Delay(Duration::from_millis(200)),
        _ => Fault::Pass,
    });
    let mut running = start(&harness, &["verify", text(&plan), "--all"]);
    let address = address_of(&mut running).await;
    let samples =
        scrape_until(&address, "items", |s| s.find("backfill_items_scanned_total").is_some_and(|n| n >= 5.0)).await;
    check(&samples);
    assert_eq!(samples.of("backfill_verification_mismatches{migration=\"plan\",scope=\"all\"}"), 3.0);
    assert_eq!(samples.of("backfill_verification_items{migration=\"plan\",scope=\"all\"}"), 63.0);
    assert!(samples.text.contains("phase=\"verify\""), "{}", samples.text);
    tokio::task::block_in_place(|| running.end()).exits(5);
}
