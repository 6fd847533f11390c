//! Checks `ops/` and `docs/metrics.md` against the exposition of real commands. If somebody renamed a metric or a label
//! only in the code, an alert would never fire, or a panel would stay empty.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use backfill::internals::item::Projection;

use super::*;

/// The labels that Prometheus adds to every sample.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// The labels of each metric, and the values of each label.
type Known = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Returns the metrics and labels of a run with limits, and of a verification that runs after an earlier verification
/// has found mismatches.
async fn known() -> Known {
    let harness = Harness::embedded();
    let index = super::harness::index("by-new", &[("by", "S")], Projection::All, false);
    let table = harness.create_indexed_table(&[index]).await;
    let item_of = |n: usize| item(&format!("P#{}", n % 7), &n.to_string(), [("old", secret(n)), ("by", secret(n))]);
    harness.load(&table, (0..60).map(item_of)).await;
    let limits = "[limits]\nmax_wcu = 100000\nmax_cost_usd = 5\nmax_items = 1000\n";
    let health = "[[health_check]]\nname = \"api\"\ncommand = [\"/bin/true\"]\n";
    let plan = harness.plan("plan", &table, "", &format!("{MOVE}{SLOWLY}{limits}{health}"));
    let mut running = start(&harness, &["run", text(&plan), "--yes"]);
    let address = address_of(&mut running).await;
    let has_eta = |samples: &Samples| samples.find("backfill_eta_seconds").is_some();
    let mut all = vec![scrape_until(&address, "an ETA", has_eta).await];
    tokio::task::block_in_place(|| running.end()).exits(0);
    harness.load(&table, (0..3).map(|n| item("late", &n.to_string(), [("old", secret(n))]))).await;
    tool(&harness, &["verify", text(&plan), "--all"]).exits(5);
    inject_fault(&harness, |request| match request.operation.as_str() {
        "Scan" => Fault::Delay(Duration::from_millis(100)),
        _ => Fault::Pass,
    });
    let mut running = start(&harness, &["verify", text(&plan), "--all"]);
    let address = address_of(&mut running).await;
    let is_active = |samples: &Samples| samples.find("backfill_pass_active") == Some(1.0);
    all.push(scrape_until(&address, "a pass", is_active).await);
    tokio::task::block_in_place(|| running.end()).exits(5);

    let mut known = Known::new();
    for sample in all.iter().flat_map(|samples| samples.values.keys()) {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels_of = known.entry(name.to_owned()).or_default();
        for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').unwrap();
            labels_of.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    known
}

/// A metric in a query, with its selector: the text between the braces.
struct Selected<'a> {
    name: &'a str,
    selector: &'a str,
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the metrics in a query.
fn selected(query: &str) -> Vec<Selected<'_>> {
    let mut found = Vec::new();
    for (at, _) in query.match_indices("backfill_") {
        let rest = &query[at..];
        let (name, rest) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        let selector = rest.strip_prefix('{').map_or("", |rest| rest.split_once('}').unwrap().0);
        found.push(Selected { name, selector });
    }
    found
}

/// Returns the errors in a query.
fn wrong(query: &str, known: &Known) -> Vec<String> {
    let mut wrong = Vec::new();
    let metrics = selected(query);
    if metrics.is_empty() {
        wrong.push("it names no metric".to_owned());
    }
    for Selected { name, selector } in &metrics {
        let Some(labels) = known.get(*name) else {
            wrong.push(format!("there is no {name}"));
            continue;
        };
        for matcher in selector.split(',').filter(|matcher| !matcher.is_empty()) {
            let (label, rest) = matcher.split_at(matcher.find(|c| !is_name(c)).unwrap());
            let values = rest.trim_start_matches(['=', '~', '!']).trim_matches('"');
            if TARGET_LABELS.contains(&label) {
                continue;
            }
            let known_values = labels.get(label);
            for value in values.split('|').filter(|value| !known_values.is_some_and(|known| known.contains(*value))) {
                wrong.push(format!("{name} has no {label}=\"{value}\""));
            }
        }
    }
    for grouping in ["by (", "without (", "on ("] {
        for (at, _) in query.match_indices(grouping) {
            let labels = query[at + grouping.len()..].split_once(')').unwrap().0.split(',').map(str::trim);
            let has = |label: &str| metrics.iter().any(|m| known.get(m.name).is_some_and(|l| l.contains_key(label)));
            let unknown = labels.filter(|label| !TARGET_LABELS.contains(label) && !has(label));
            wrong.extend(unknown.map(|label| format!("no metric has the label {label}")));
        }
    }
    wrong
}

/// Returns the name and the query of every alert.
fn alerts() -> Vec<(String, String)> {
    let text = file("ops/alerts.yml");
    let values = |field: &str| -> Vec<String> {
        text.lines().filter_map(|line| Some(line.trim().strip_prefix(field)?.trim().to_owned())).collect()
    };
    let names = values("- alert:");
    let queries = values("expr:");
    assert_eq!(names.len(), queries.len(), "each alert needs one `expr` on one line");
    names.into_iter().zip(queries).collect()
}

/// Returns every target of the dashboard: its title, its query, and the labels in its `legendFormat`.
fn panels() -> Vec<(String, String, Vec<String>)> {
    let dashboard: Json = serde_json::from_str(&file("ops/dashboard.json")).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let legend = target["legendFormat"].as_str().unwrap();
            let labels = legend.split("{{").skip(1).map(|part| part.split_once("}}").unwrap().0.trim().to_owned());
            let title = panel["title"].as_str().unwrap().to_owned();
            found.push((title, target["expr"].as_str().unwrap().to_owned(), labels.collect()));
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        found.push((variable["name"].to_string(), variable["query"].as_str().unwrap().to_owned(), Vec::new()));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_name_only_metrics_and_labels_that_exist() {
    let known = known().await;
    let mut problems = Vec::new();
    let alerts = alerts();
    for (name, query) in &alerts {
        problems.extend(wrong(query, &known).into_iter().map(|why| format!("{name}: {why}")));
    }
    let panels = panels();
    for (title, query, legend) in &panels {
        problems.extend(wrong(query, &known).into_iter().map(|why| format!("{title}: {why}")));
        for label in legend {
            let has =
                selected(query).iter().any(|m| known.get(m.name).is_some_and(|labels| labels.contains_key(label)));
            problems.extend((!has).then(|| format!("{title}: the legend names {label}, which no metric has")));
        }
    }
    assert!(alerts.len() >= 7 && panels.len() >= 30, "{} alerts and {} queries", alerts.len(), panels.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // The check detects a wrong name, a wrong label and a wrong value.
    for query in [
        "backfill_nothing",
        "backfill_activity{activitty=\"stalled\"}",
        "backfill_activity{activity=~\"stalled|stuck\"}",
        "sum by (outcom) (backfill_items_total)",
    ] {
        assert_eq!(wrong(query, &known).len(), 1, "{query}");
    }

    // The page about metrics lists exactly the metrics that exist.
    let suffixes = ["_bucket", "_sum", "_count"];
    let family = |name: &str| {
        let histogram = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        histogram.filter(|family| family.ends_with("_duration_seconds")).unwrap_or(name).to_owned()
    };
    let exposed: BTreeSet<String> = known.keys().map(|name| family(name)).collect();
    let page = file("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `backfill_")?.split_once('`'));
    let listed: BTreeSet<String> = rows.map(|(name, _)| format!("backfill_{name}")).collect();
    assert_eq!(listed, exposed, "docs/metrics.md (left) and the exposition");
}

/// RUNBOOK: "Each entry says what the alert means, what to look at, and what to do."
#[test]
fn every_alert_has_an_entry_in_the_runbook() {
    let runbook = file("RUNBOOK.md");
    let rules = file("ops/alerts.yml");
    let tests = file("ops/alerts_test.yml");
    let alerts = alerts();
    for (name, _) in &alerts {
        let heading = format!("### {name}\n");
        let Some((_, entry)) = runbook.split_once(&heading) else { panic!("no entry for {name}") };
        let entry = entry.split("\n#").next().unwrap();
        for part in ["- **Meaning:**", "- **Look at:**", "- **Do:**"] {
            assert!(entry.contains(part), "{name}: {part} is missing in: {entry}");
        }
        let anchor = format!("RUNBOOK.md#{}", name.to_ascii_lowercase());
        assert_eq!(rules.matches(&format!("\"{anchor}\"")).count(), 1, "{name} does not link to {anchor}");
        assert!(tests.contains(&format!("alertname: {name}\n        exp_alerts:")), "no test in which {name} fires");
    }
    let entries = runbook.lines().filter(|line| line.starts_with("### Backfill")).count();
    assert_eq!(entries, alerts.len(), "an entry in the runbook has no alert");
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    for arguments in [["check", "rules", "ops/alerts.yml"], ["test", "rules", "ops/alerts_test.yml"]] {
        let Some(mut promtool) = promtool() else { return };
        let ran = promtool.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}
