use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::dynamodb::TableDescription;
use crate::plan::Prices;
use crate::ratelimit::{Budget, Budgets};

fn table(items: u64, bytes: u64) -> TableDescription {
    TableDescription { item_count: items, size_bytes: bytes, ..TableDescription::for_tests() }
}

fn budgets(write: f64, read: f64) -> Budgets {
    let narrow = Budget { write: 250.0, read: 750.0 };
    Budgets { table: Budget { write, read }, per_key_range: narrow, per_partition_key: narrow, indexes: Vec::new() }
}

fn input<'a>(table: &'a TableDescription, budgets: &'a Budgets) -> EstimateInput<'a> {
    let prices = UnitPrices::for_table(table, &Prices::default());
    EstimateInput {
        table,
        budgets,
        prices,
        segments: 16,
        lanes: 16,
        page_items: (25, 250),
        consistent: false,
        reads: ItemReads::Scan,
        derives: false,
        other: None,
        max_writes: 1,
    }
}

fn copies() -> TouchedPaths {
    TouchedPaths {
        written: vec!["new".parse().unwrap()],
        removed: Vec::new(),
        removed_later: Vec::new(),
        whole_items: false,
    }
}

fn counted(items: f64, write: f64) -> TableTotals {
    TableTotals {
        items: Range::exactly(items),
        unaccounted: 0.0,
        bytes: Range::exactly(items * 1_024.0),
        changed: Range::exactly(items),
        exceeding: Some(Range::exactly(0.0)),
        table_write: Range::exactly(write),
        index_write: BTreeMap::new(),
        elsewhere_write: Range::exactly(0.0),
        key: no_key(),
        key_elsewhere: no_key(),
    }
}

fn no_key() -> KeyLoad {
    KeyLoad { write: Range::exactly(0.0), bytes: Range::exactly(0.0) }
}

/// If an item can need three writes, the upper bound assumes three writes for every item.
#[test]
fn a_description_counts_every_write_of_an_item() {
    let table = table(1_000, 1_000 * 4_096);
    let budgets = budgets(1_000.0, 2_000.0);
    let found = Estimate::from_description(&copies(), &EstimateInput { max_writes: 3, ..input(&table, &budgets) });
    assert_eq!((found.write_units.low, found.write_units.high), (4_000.0, 15_000.0));
}

/// If an estimate comes from DynamoDB's count, its bounds are valid for items of any size.
#[test]
fn a_description_bounds_the_cost_of_all_writes() {
    let table = table(12_000_000, 12_000_000 * 1_000);
    let budgets = budgets(1_000.0, 2_000.0);
    let found = Estimate::from_description(&copies(), &input(&table, &budgets));
    assert_eq!((found.write_units.low, found.write_units.high), (12e6, 12e6 + 12e9 / 1_024.0));
    assert!((found.dollars.low - 7.5 - found.read_units.low * 0.125 / 1e6).abs() < 1e-9, "{found:?}");
    let (low, high) = found.pace.duration.unwrap();
    assert_eq!(low, Duration::from_secs(12_000));
    // All items can share one partition key, so the budget of one partition key limits the writes. The upper bound of
    // the duration assumes that the run uses half of this budget.
    assert_eq!(high, Duration::from_secs_f64(2.0 * found.write_units.high / 250.0));
    let text = found.lines().into_iter().find(|(label, _)| *label == "duration").unwrap().1;
    assert!(text.contains("Sizes of single keys are unknown; --sample 5% reads a part"), "{text}");
    let mut without_sort_key = table.clone();
    without_sort_key.key.sort = None;
    let each = Estimate::from_description(&copies(), &input(&without_sort_key, &budgets)).pace.duration.unwrap().1;
    assert!(each > low * 3 && each < low * 5, "{each:?}: without a sort key, each key has one item");
    assert!(found.basis_text().contains("up to six hours old"));
    assert_eq!(found.changed, Range::between(0.0, 12e6));
}

#[test]
fn each_region_pays_for_each_write() {
    let mut table = table(1_000, 1_024_000);
    let budgets = budgets(1_000.0, 2_000.0);
    let alone = Estimate::new(Basis::Whole, counted(1_000.0, 1e6), &input(&table, &budgets));
    table.features.replicas = vec!["us-east-1".into()];
    let both = Estimate::new(Basis::Whole, counted(1_000.0, 1e6), &input(&table, &budgets));
    assert!((both.dollars.low - alone.dollars.low - 0.625).abs() < 1e-9, "{both:?}");
    assert_eq!((alone.regions, both.regions), (1, 2));
    assert_eq!(both.write_units, alone.write_units, "the units are those of one region");
}

/// The duration is determined by the slowest of the reads, the table's writes, and the writes to each index.
#[test]
fn the_slowest_budget_decides_how_long_it_takes() {
    use crate::dynamodb::IndexDescription;
    use crate::item::{IndexSchema, Projection};
    let mut table = table(1_000, 1_024_000);
    let schema =
        IndexSchema { name: "i".into(), key: Vec::new(), partition: 1, projection: Projection::All, local: false };
    table.indexes = vec![IndexDescription {
        schema,
        provisioned: None,
        on_demand_max: (None, None),
        warm: None,
        is_ready: true,
        entries: None,
    }];
    let took = |budgets: &Budgets, index: f64| {
        let mut counted = counted(1_000.0, 1_000.0);
        counted.index_write.insert("i".into(), Range::exactly(index));
        Estimate::new(Basis::Whole, counted, &input(&table, budgets)).pace.duration.map(|(low, _)| low.as_secs())
    };
    let with_index = |units: f64| Budgets { indexes: vec![Some(units)], ..budgets(100.0, 1e6) };
    assert_eq!(took(&with_index(1e6), 500.0), Some(10), "the table's writes");
    assert_eq!(took(&with_index(5.0), 500.0), Some(100), "the index's writes");
    assert_eq!(took(&budgets(100.0, 1.0), 0.0), Some(125), "the reads: 250 times 4 KB at half a unit");
    assert_eq!(took(&budgets(0.0, 1e6), 0.0), None, "at rate 0 the run never ends");
}

#[test]
fn lines_show_ranges_and_their_basis() {
    let table = table(1_000, 1_024_000);
    let budgets = budgets(100.0, 1e6);
    let text = |estimate: &Estimate| {
        estimate.lines().into_iter().map(|(label, text)| format!("{label}={text}")).collect::<Vec<_>>().join("\n")
    };
    let exact = text(&Estimate::new(Basis::Whole, counted(1_000.0, 2_000.0), &input(&table, &budgets)));
    for part in ["items=1,000\n", "writes=2,000 WCU", "duration=20 s to 40 s", "list price of us-east-1"] {
        assert!(exact.contains(part), "{part}: {exact}");
    }
    let mut tally = SampleTally::new(100, FIGURE_COUNT, 0);
    (0..50).for_each(|n| {
        let mut figures = vec![0.0; FIGURE_COUNT];
        figures[Figure::Items as usize] = f64::from(10 + n % 3);
        tally.add(&figures);
    });
    let sampled = TableTotals::from_sample(&tally, &[], [no_key(), no_key()]);
    let estimate = Estimate::new(Basis::Sample(50, 100, false), sampled, &input(&table, &budgets));
    let ranges = text(&estimate);
    assert!(ranges.contains("items=about 1,098 ("), "{ranges}");
    assert!(estimate.basis_text().contains("50 of 100 clusters"), "{}", estimate.basis_text());
    assert!(ranges.contains("past 400 KB=none in the sample (0 to "), "{ranges}");
}

/// DynamoDB counts 1,000 items, but the drawn clusters suggest fewer. The rest can have one partition key in the other
/// table, unless each of its partition keys has only one item.
#[test]
fn items_outside_the_sample_can_share_a_partition_key_of_the_other_table() {
    let mut tally = SampleTally::new(100, FIGURE_COUNT, 1_000);
    (0..50).for_each(|_| {
        let mut figures = vec![0.0; FIGURE_COUNT];
        figures[Figure::Items as usize] = 5.0;
        figures[Figure::ElsewhereWrite as usize] = 10.0;
        tally.add(&figures);
    });
    let of_other = |write: f64| {
        let drawn = KeyLoad { write: Range::exactly(write), bytes: Range::exactly(0.0) };
        TableTotals::from_sample(&tally, &[], [no_key(), drawn]).key_elsewhere
    };
    // 500 items are unaccounted for, and a put costs two units.
    let found = of_other(4.0).write;
    assert!(found.low == 4.0 && found.high >= 1_000.0, "{found:?}");
    assert_eq!(of_other(5_000.0).write.high, 5_000.0);
    assert_eq!(of_other(0.0), no_key());
}

/// Three rates limit the writes to one partition key: its budget, the budget of its segment, and the throughput of a
/// partition.
#[test]
fn one_partition_key_may_decide_the_duration() {
    let table = table(10_000, 10_240_000);
    let took = |key: f64, range: f64, load: f64| {
        let budgets = Budgets {
            per_key_range: Budget { write: range, read: 1e6 },
            per_partition_key: Budget { write: key, read: 1e6 },
            ..budgets(10_000.0, 1e6)
        };
        let mut counted = counted(10_000.0, 10_000.0);
        counted.key = KeyLoad { write: Range::exactly(load), bytes: Range::exactly(0.0) };
        Estimate::new(Basis::Whole, counted, &EstimateInput { lanes: 16, ..input(&table, &budgets) })
    };
    for (key, range, load, seconds, what) in [
        (250.0, 1_000.0, 7_000.0, 28, "the writes of one partition key: 7,000 WCU at 250 WCU/s"),
        (900.0, 700.0, 7_000.0, 10, "the writes of one partition key: 7,000 WCU at 700 WCU/s"),
        (5_000.0, 5_000.0, 7_000.0, 7, "the writes of one partition key: 7,000 WCU at 1,000 WCU/s"),
        (250.0, 1_000.0, 10.0, 1, "the table's writes: 10,000 WCU at 10,000 WCU/s"),
        (50.0, 50.0, 10.0, 12, "the writes of all segments that are worked on at a time: 10,000 WCU at 800 WCU/s"),
    ] {
        let estimate = took(key, range, load);
        let text = estimate.lines().into_iter().find(|(label, _)| *label == "duration").unwrap().1;
        assert_eq!(estimate.pace.duration.unwrap().0.as_secs(), seconds, "{text}");
        assert!(
            text.contains(&format!("decided by {what}, with the whole budget or half of it used")),
            "{what}: {text}"
        );
        assert!(estimate.to_json()["decided_by"]["shortest"].as_str().is_some_and(|shown| what.starts_with(shown)));
    }
}

proptest! {
    /// The units that reads by key consume are between the bounds, for items of any size.
    #[test]
    fn reads_by_key_cost_what_the_bounds_say(sizes in proptest::collection::vec(1_u64..50_000, 1..200), of_index in 0_u64..100_000) {
        let bytes: u64 = sizes.iter().sum();
        let units: u64 = sizes.iter().map(|size| size.div_ceil(4_096)).sum();
        let table = table(sizes.len() as u64, bytes);
        let budgets = budgets(1_000.0, 2_000.0);
        let estimate = |reads| {
            Estimate::from_description(&copies(), &EstimateInput { consistent: true, reads, ..input(&table, &budgets) })
        };
        let keys = estimate(ItemReads::Keys);
        prop_assert!((keys.read_units.low..=keys.read_units.high).contains(&(units as f64)), "{units} {:?}", keys.read_units);
        prop_assert!(keys.basis == Basis::Keys && keys.basis_text().contains("number of keys"));
        let index = estimate(ItemReads::Index(of_index));
        let least = units as f64 + of_index as f64 / 4_096.0 / 2.0;
        prop_assert!(index.read_units.high >= least, "{least} {:?}", index.read_units);
        prop_assert!(index.read_units.low >= keys.read_units.low && index.basis == Basis::Index);
    }
}
