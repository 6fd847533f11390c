use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dynamodb::IndexDescription;
use crate::item::{IndexSchema, Item, KeyAttribute, Projection, item_bytes, item_from_json};
use crate::machine::Rng;
use crate::preflight::{SampleDesign, SampleSize};

/// For each attribute, the share of items that have it: the share in most clusters, and the share in the other
/// clusters. So the items of one cluster resemble each other.
const SHARES: [(f64, f64); 4] = [(0.95, 0.05), (0.6, 0.6), (0.001, 0.001), (0.999, 0.999)];

fn names(count: usize) -> Names {
    let mut names = Names::default();
    (0..count).for_each(|n| assert_eq!(names.number(&format!("a{n}")), Some(n)));
    names
}

/// Creates a cluster of about `items` items. If `other` is set, the cluster has the second share of each pair in
/// [`SHARES`].
fn cluster(random: &mut Rng, items: u32, other: bool) -> ClusterCounts {
    // The number of items is approximately Poisson distributed.
    let items = (0..items * 20).filter(|_| random.u32(0..20) == 0).count() as u64;
    let mut cluster = ClusterCounts { items, ..ClusterCounts::default() };
    for (number, (share, of_others)) in SHARES.into_iter().enumerate() {
        let share = if other { of_others } else { share };
        let items = (0..cluster.items).filter(|_| random.f64() < share).count() as u64;
        if items > 0 {
            cluster.attributes.insert(number, AttributeCount { items, ..AttributeCount::default() });
        }
    }
    // Items with the first attribute are larger.
    let large = cluster.attributes.get(&0).map_or(0, |count| count.items);
    cluster.bytes = 100 * cluster.items + 900 * large;
    cluster
}

/// Over many seeded samples, the interval contains the true share in at least 93 % of the cases, with and without
/// DynamoDB's count. This is also true if the items of a cluster resemble each other, and for rare attributes. If the
/// items were treated as independent, the interval of the first attribute would be too narrow.
#[test]
fn the_intervals_contain_the_truth_as_often_as_stated() {
    let mut random = Rng::with_seed(5);
    let clusters: Vec<ClusterCounts> = (0..4_000).map(|n| cluster(&mut random, 25, n % 3 == 0)).collect();
    let items: u64 = clusters.iter().map(|cluster| cluster.items).sum();
    let bytes: u64 = clusters.iter().map(|cluster| cluster.bytes).sum();
    let of = |cluster: &ClusterCounts, number| cluster.attributes.get(&number).map_or(0, |count| count.items);
    let truth: Vec<f64> = (0..SHARES.len())
        .map(|number| clusters.iter().map(|cluster| of(cluster, number)).sum::<u64>() as f64 / items as f64)
        .collect();
    for is_counted in [true, false] {
        let mut covered = [0_u32; SHARES.len() + 1];
        let mut naive = 0;
        for seed in 0..400 {
            let design = SampleDesign::draw(SampleSize::Percent(5.0), 100_000, seed).unwrap();
            assert_eq!((design.total, design.chosen.len()), (4_000, 200));
            let mut stats = TableStats::new(200, 4_000, if is_counted { items } else { 0 });
            design.chosen.iter().for_each(|n| stats.add(&clusters[*n as usize], true));
            stats.set_names(names(SHARES.len()));
            assert_eq!(stats.coverage(), Coverage::Clusters);
            let found = stats.attributes(&TableDescription::for_tests(), None);
            // A sample that contains no item with the rare attribute does not list the attribute. The test then counts
            // its share as outside the interval.
            assert!(found.len() >= SHARES.len() - 1);
            for attribute in found {
                let number: usize = attribute.path.root()[1..].parse().unwrap();
                let range = attribute.presence.unwrap();
                assert!(0.0 <= range.low && range.high <= 1.0 && range.low <= range.high, "{range:?}");
                covered[number] += u32::from((range.low..=range.high).contains(&truth[number]));
                if number == 0 {
                    let share = attribute.count.items as f64 / stats.items as f64;
                    let error = 1.96 * (share * (1.0 - share) / stats.items as f64).sqrt();
                    naive += u32::from((truth[0] - share).abs() <= error);
                    // If the sample has few items by chance, the interval accounts for the clusters that were not
                    // drawn.
                    let is_useful = range.likely.is_none() || range.high - range.low < 0.13;
                    assert!(is_useful, "{range:?} is too wide to be useful");
                }
            }
            let mean = stats.mean_bytes().unwrap();
            let true_mean = bytes as f64 / items as f64;
            covered[SHARES.len()] += u32::from((mean.low..=mean.high).contains(&true_mean));
        }
        assert!(covered.iter().all(|covered| *covered >= 372), "{covered:?} of 400, counted: {is_counted}");
        assert!(naive < 250, "independent items would be within {naive} of 400 intervals");
    }
}

/// An attribute that is found late counts as absent in the earlier clusters.
#[test]
fn an_attribute_that_is_found_late_is_not_overestimated() {
    let mut early = TableStats::new(200, 4_000, 100_000);
    let mut late = early.clone();
    let with = ClusterCounts {
        items: 25,
        attributes: BTreeMap::from([(0, AttributeCount { items: 25, ..AttributeCount::default() })]),
        ..ClusterCounts::default()
    };
    let without = ClusterCounts { items: 25, ..ClusterCounts::default() };
    for n in 0..200 {
        early.add(if n < 20 { &with } else { &without }, true);
        late.add(if n < 180 { &without } else { &with }, true);
    }
    let share = |mut stats: TableStats| {
        stats.set_names(names(1));
        stats.attributes(&TableDescription::for_tests(), None)[0].presence
    };
    let range = share(early).unwrap();
    assert_eq!(share(late), Some(range));
    assert!((range.likely.unwrap() - 0.1).abs() < 1e-9 && range.low > 0.05 && range.high < 0.15, "{range:?}");
}

fn item(pk: u32, sk: u32, more: &serde_json::Value) -> Item {
    let mut json = json!({ "pk": { "S": pk.to_string() }, "sk": { "S": sk.to_string() } });
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item_from_json(&json).unwrap()
}

#[test]
fn a_sample_that_ends_early_is_counted_but_not_extrapolated() {
    let table = TableDescription::for_tests();
    let mut names = Names::default();
    let mut cluster = ClusterCounts::default();
    cluster.add(&item(1, 1, &json!({ "x": { "NULL": true } })), &table.key, &mut names);
    for is_complete in [true, false] {
        let mut stats = TableStats::new(2, 40, 1_000);
        stats.add(&cluster, true);
        stats.add(&cluster, is_complete);
        stats.set_names(names.clone());
        let attributes = stats.attributes(&table, None);
        let known = [
            stats.items_by_sample().is_some(),
            stats.mean_bytes().is_some(),
            stats.partition_keys().is_some(),
            attributes.iter().all(|attribute| attribute.presence.is_some()),
        ];
        assert_eq!(known, [is_complete; 4]);
        assert_eq!((stats.items, attributes.len(), attributes[2].count.items), (2, 3, 2));
        assert_eq!(stats.coverage(), if is_complete { Coverage::Clusters } else { Coverage::Part });
    }
    // A sample of a table with one item, and of an empty table.
    let mut one = TableStats::new(1, 1, 0);
    one.add(&cluster, true);
    one.set_names(names);
    assert_eq!((one.coverage(), one.partition_keys()), (Coverage::Whole, Some(Range::exactly(1.0))));
    assert!(one.attributes(&table, None).iter().all(|attribute| attribute.presence == Some(Range::exactly(1.0))));
    let mut none = TableStats::new(1, 1, 0);
    none.add(&ClusterCounts::default(), true);
    assert_eq!((none.items_by_sample(), none.mean_bytes()), (Some(Range::exactly(0.0)), None));
    assert_eq!(none.attributes(&table, None), []);
}

#[test]
fn the_purposes_of_attributes_are_named_and_frequent_attributes_come_first() {
    let mut table = TableDescription::for_tests();
    let key = |name: &str| KeyAttribute { name: name.into(), kind: "S".into() };
    let index = IndexSchema {
        name: "by-status".into(),
        key: vec![key("status"), key("sk")],
        partition: 1,
        projection: Projection::All,
        local: false,
    };
    table.indexes = vec![IndexDescription::new(index)];
    let mut names = Names::default();
    let mut cluster = ClusterCounts::default();
    let status = json!({ "status": { "S": "NEW" } });
    let rich = json!({ "ttl": { "N": "1" }, "doc": { "M": { "status": { "S": "" }, "a": { "S": "" } } }, "status": { "N": "1" } });
    for (n, more) in [status.clone(), rich, status].iter().enumerate() {
        cluster.add(&item(1, n as u32, more), &table.key, &mut names);
    }
    let mut stats = TableStats::new(1, 1, 3);
    stats.add(&cluster, true);
    stats.set_names(names);
    let found = stats.attributes(&table, Some("ttl"));
    let listed: Vec<(String, String)> =
        found.iter().map(|attribute| (attribute.path.to_string(), attribute.roles.join(", "))).collect();
    let listed: Vec<(&str, &str)> = listed.iter().map(|(path, roles)| (path.as_str(), roles.as_str())).collect();
    assert_eq!(
        listed,
        [
            ("pk", "partition key"),
            ("sk", "sort key, key of index by-status"),
            ("status", "key of index by-status"),
            ("doc", ""),
            ("doc.a", ""),
            ("doc.status", ""),
            ("ttl", "expires items"),
        ]
    );
    assert_eq!(found[2].count.types, BTreeMap::from([("N", 1), ("S", 2)]));
    let third = found[3].presence.unwrap();
    assert!((third.low - 1.0 / 3.0).abs() < 1e-9 && third.is_exact(), "{third:?}");
}

proptest! {
    /// If every cluster is read, all figures are exact, however the items are spread over the clusters.
    #[test]
    fn a_whole_table_is_counted_exactly(
        items in proptest::collection::vec((0_u32..6, 0_usize..4, any::<bool>(), 0_usize..30), 0..60), total in 1_u32..8,
    ) {
        let table = TableDescription::for_tests();
        let names = ["a", "b", "c", "d"];
        let items: Vec<Item> = items
            .iter()
            .enumerate()
            .map(|(n, (pk, name, is_text, size))| {
                let value = if *is_text { json!({ "S": "x".repeat(*size) }) } else { json!({ "BOOL": true }) };
                item(*pk, n as u32, &json!({ names[*name]: value }))
            })
            .collect();
        let pk = |item: &Item| match &item["pk"] {
            crate::item::Value::S(text) => text.parse::<u32>().unwrap(),
            other => panic!("{}", other.type_name()),
        };
        let mut found = Names::default();
        let mut stats = TableStats::new(total, total, items.len() as u64);
        for segment in 0..total {
            let mut cluster = ClusterCounts::default();
            for item in items.iter().filter(|item| pk(item) % total == segment) {
                cluster.add(item, &table.key, &mut found);
            }
            stats.add(&cluster, true);
        }
        stats.set_names(found);
        prop_assert_eq!(stats.coverage(), Coverage::Whole);
        prop_assert_eq!(stats.items_by_sample(), Some(Range::exactly(items.len() as f64)));
        prop_assert_eq!(stats.bytes, items.iter().map(|item| item_bytes(item) as u64).sum::<u64>());
        let mut keys: Vec<u32> = items.iter().map(pk).collect();
        keys.sort_unstable();
        let largest = keys.chunk_by(|a, b| a == b).map(|chunk| chunk.len() as u64).max();
        keys.dedup();
        prop_assert_eq!(stats.partition_keys(), Some(Range::exactly(keys.len() as f64)));
        prop_assert_eq!(stats.collections.as_ref().unwrap().max(), largest);
        for attribute in stats.attributes(&table, None) {
            let have = items.iter().filter(|item| item.contains_key(attribute.path.root())).count();
            prop_assert_eq!(attribute.count.items, have as u64);
            prop_assert_eq!(attribute.presence, Some(Range::exactly(have as f64 / items.len() as f64)));
            prop_assert_eq!(attribute.count.types.values().sum::<u64>(), have as u64);
        }
    }
}
