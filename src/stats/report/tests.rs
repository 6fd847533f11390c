use serde_json::json;

use super::*;
use crate::item::item_from_json;
use crate::stats::cluster::ClusterCounts;
use crate::stats::names::Names;

/// Control characters, quotes and directional marks, which the names in a hostile item can contain.
const HOSTILE: &str = "a\u{1b}[2J\n\"b'\u{202e}c";

fn stats(clusters: (u32, u32), item_count: u64, rows: u32) -> TableStats {
    let table = TableDescription::for_tests();
    let mut names = Names::default();
    let mut stats = TableStats::new(clusters.0, clusters.1, item_count);
    for cluster in 0..clusters.0 {
        let mut counts = ClusterCounts { pages: 1, read_units: 0.5, ..ClusterCounts::default() };
        for row in 0..rows {
            let item = json!({
                "pk": { "S": format!("S3CRET-{cluster}") }, "sk": { "S": row.to_string() }, HOSTILE: { "S": "S3CRET" },
                "address": { "M": { "zip": { "S": "S3CRET" } } },
            });
            counts.add(&item_from_json(&item).unwrap(), &table.key, &mut names);
        }
        stats.add(&counts, true);
    }
    stats.set_names(names);
    stats
}

fn texts(stats: &TableStats, item_count: u64) -> (String, Json) {
    let table = TableDescription { item_count, size_bytes: 50 * item_count, ..TableDescription::for_tests() };
    let time_to_live = FactLookup::Known(Some("address".to_owned()));
    let report = StatsReport { table: &table, stats, time_to_live: &time_to_live, stopped: None };
    let mut text = Vec::new();
    report.write(&mut text).unwrap();
    (String::from_utf8(text).unwrap(), report.to_json())
}

#[test]
fn every_figure_states_its_basis() {
    let (text, json) = texts(&stats((40, 400), 1_000, 3), 1_000);
    for part in [
        "1,000 items, 50,000 bytes (DynamoDB's own count, up to six hours old)",
        "120 items, ",
        "in 40 of 400 clusters, drawn at random; 20 read units in 40 requests",
        "95 % confidence",
        "estimated from the sample",
        "in the sample: median ",
        "in the sample: 40 keys; items for each key: mean 3, median 3, 95th percentile 3, largest 3",
        "Larger item collections may exist outside the sample",
        "items and bytes are those of the sample, shares of items are those of the table",
        "M (expires items)",
        "S (partition key)",
        "about 100 % (",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert_eq!((&json["sample"]["coverage"], &json["sample"]["items"]), (&json!("clusters"), &json!(120)));
    let (text, _) = texts(&stats((40, 40), 120, 3), 120);
    assert!(text.contains("every item of the table: 120 items") && !text.contains("95 % confidence"), "{text}");
    let (text, json) = texts(&stats((1, 1), 0, 0), 0);
    assert!(text.contains("unknown, because the sample contains no items"), "{text}");
    assert_eq!(json["item_bytes"]["mean"], Json::Null);
}

/// Neither values nor keys appear, and each name stays on its line.
#[test]
fn names_are_escaped_and_values_are_absent() {
    let (text, json) = texts(&stats((1, 1), 3, 3), 3);
    assert!(!text.contains("S3CRET") && !json.to_string().contains("S3CRET"), "{text}");
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    let line = text.lines().find(|line| line.contains("[2J")).unwrap();
    assert!(line.contains("100 %") && line.ends_with('S'), "{line}");
    let attributes = json["attributes"].as_array().unwrap();
    let path = attributes.iter().find_map(|attribute| attribute["path"].as_str().filter(|path| path.contains("[2J")));
    assert_eq!(path.unwrap().parse::<crate::item::Path>(), Ok(crate::item::Path::attribute(HOSTILE)));
}

#[test]
fn only_exact_shares_are_0_or_100_percent() {
    let texts = [0.0, 0.000_4, 0.123_4, 0.999_5, 1.0].map(percent);
    assert_eq!(texts, ["0 %", "<0.1 %", "12.3 %", ">99.9 %", "100 %"]);
    assert_eq!([0.0, 1.04, 1_234.56].map(decimal), ["0", "1", "1,234.6"]);
    assert_eq!(name_text(&"é".repeat(50)), format!("{}…", "é".repeat(40)));
}
