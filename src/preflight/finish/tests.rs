use proptest::prelude::*;

use super::super::{EstimateInput, ItemReads, KeyLoad, Range, TableTotals};
use super::*;
use crate::cost::UnitPrices;
use crate::dynamodb::IndexDescription;
use crate::item::{IndexSchema, Projection};
use crate::plan::{Prices, load};
use crate::ratelimit::resolve;

fn plan(rest: &str) -> Plan {
    let text = format!(
        "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\nregion = \"eu-west-1\"\nprofile = \"prod admin\"\n\
         [[change]]\nmove = \"old\"\nto = \"new\"\n{rest}\n"
    );
    load("plan", &text).unwrap().plan
}

fn table(provisioned: Option<(f64, f64)>) -> TableDescription {
    TableDescription {
        name: "shop".into(),
        arn: "arn:aws:dynamodb:eu-west-1:1:table/shop".into(),
        item_count: 1_000_000,
        size_bytes: 1_000_000_000,
        provisioned,
        ..TableDescription::for_tests()
    }
}

fn indexed(mut table: TableDescription, write: f64) -> TableDescription {
    let schema =
        IndexSchema { name: "by-new".into(), key: Vec::new(), partition: 1, projection: Projection::All, local: false };
    let provisioned = table.provisioned.map(|(read, _)| (read, write));
    table.indexes = vec![IndexDescription {
        schema,
        provisioned,
        on_demand_max: (None, None),
        warm: None,
        is_ready: true,
        entries: None,
    }];
    table
}

/// Returns the approximate number of segments on which a run works at the same time. It is twice the number of segments
/// that can use up the write budget, but at least 20 and at most 320.
fn lanes(budgets: &Budgets) -> u32 {
    (2.0 * (budgets.table.write / budgets.per_key_range.write).ceil()).clamp(20.0, 320.0) as u32
}

/// Returns an estimate with the given write units for the table, for one partition key and for the index.
fn estimate(table: &TableDescription, budgets: &Budgets, [write, key, index]: [f64; 3]) -> Estimate {
    let prices = UnitPrices::for_table(table, &Prices::default());
    let lanes = lanes(budgets);
    let input = EstimateInput {
        table,
        budgets,
        prices,
        segments: 4_000,
        lanes,
        page_items: (25, 250),
        consistent: false,
        reads: ItemReads::Scan,
        derives: false,
        other: None,
        max_writes: 1,
    };
    let counted = TableTotals {
        items: Range::exactly(write),
        unaccounted: 0.0,
        bytes: Range::exactly(write * 1_000.0),
        changed: Range::exactly(write),
        exceeding: None,
        table_write: Range::exactly(write),
        index_write: [("by-new".to_owned(), Range::exactly(index))].into_iter().filter(|_| index > 0.0).collect(),
        key: KeyLoad { write: Range::exactly(key), bytes: Range::exactly(key * 1_000.0) },
        elsewhere_write: Range::exactly(0.0),
        key_elsewhere: KeyLoad { write: Range::exactly(0.0), bytes: Range::exactly(0.0) },
    };
    Estimate::new(Basis::Whole, counted, &input)
}

fn finish(within: &str, plan: &Plan, table: &TableDescription, units: [f64; 3]) -> FinishRequirements {
    let budgets = resolve(&plan.capacity, table).unwrap().budgets;
    FinishRequirements::of(within.parse().unwrap(), &estimate(table, &budgets, units), plan, table, &budgets, lanes)
}

fn text(finish: &FinishRequirements) -> String {
    let mut text = Vec::new();
    finish.write(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn ids(finish: &FinishRequirements) -> Vec<&'static str> {
    finish.obstacles.iter().map(|obstacle| obstacle.id).collect()
}

#[test]
fn finish_times_are_parsed() {
    for (text, seconds) in [("2h", 7_200), ("90m", 5_400), ("1d", 86_400), ("1 day 6h", 108_000)] {
        assert_eq!(text.parse(), Ok(FinishIn(Duration::from_secs(seconds))), "{text}");
    }
    for bad in ["", "2", "-2h", "0s", "10y", "soon"] {
        assert_eq!(bad.parse::<FinishIn>(), Err(FinishInError), "{bad}");
    }
}

#[test]
fn a_provisioned_table_is_raised_by_the_need_and_lowered_to_its_old_capacity() {
    // The run needs 1,000,000 units in 1,000 s, plus 5 %.
    let table = indexed(table(Some((2_000.0, 400.0))), 100.0);
    let found = finish("1000s", &plan(""), &table, [1e6, 0.0, 5e5]);
    assert_eq!(ids(&found), ["provisioned", "provisioned"]);
    insta::assert_snapshot!(text(&found));
    let json = found.to_json();
    assert_eq!((json["possible"].as_bool(), json["seconds"].as_f64()), (Some(true), Some(1_000.0)));
}

#[test]
fn a_sufficient_table_needs_no_command() {
    let found = finish("10h", &plan(""), &table(Some((2_000.0, 4_000.0))), [1e6, 0.0, 0.0]);
    assert_eq!((ids(&found), found.commands.clone()), (vec![], Commands::default()));
    assert!(text(&found).contains("the budget is 1,000: enough"), "{}", text(&found));
}

#[test]
fn no_capacity_speeds_up_a_single_partition_key_beyond_its_limit() {
    let found = finish("1h", &plan(""), &table(None), [1e7, 7.2e6, 0.0]);
    assert!(!found.is_possible());
    let shown = text(&found);
    insta::assert_snapshot!(shown);
    assert!(
        !shown.contains("aws ") && !shown.contains("[capacity]"),
        "commands that do not help are not suggested: {shown}"
    );
    // In four hours, the run can end in time, but only if the budgets of the partition key and of its segment are
    // larger than the defaults.
    let found = finish("4h", &plan(""), &table(None), [1e7, 7.2e6, 0.0]);
    assert!(found.is_possible());
    let capacity = found.capacity();
    assert!(capacity.contains("per_partition_key = { write = 527 }"), "{capacity}");
    assert!(capacity.contains("per_key_range = { write = 527 }"), "{capacity}");
}

#[test]
fn on_demand_has_maxima_and_warm_throughput() {
    let mut limited = table(None);
    limited.on_demand_max = (None, Some(2_000.0));
    limited.warm = Some((20_000.0, 5_000.0));
    let found = finish("1000s", &plan(""), &limited, [8e6, 0.0, 0.0]);
    assert_eq!(ids(&found), ["on_demand_maximum", "warm_throughput"]);
    let shown = text(&found);
    for part in [
        "--on-demand-throughput MaxWriteRequestUnits=10422\n",
        "--on-demand-throughput MaxWriteRequestUnits=2000\n",
        "--warm-throughput ReadUnitsPerSecond=20000,WriteUnitsPerSecond=13422",
        "cannot be lowered. ",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    // Without a known warm throughput, a new on-demand table serves 4,000 write units per second.
    let found = finish("1600s", &plan(""), &table(None), [8e6, 0.0, 0.0]);
    assert_eq!(ids(&found), ["warm_throughput"], "5,263 WCU/s are needed: {}", text(&found));
    let quota = finish("10s", &plan(""), &table(None), [8e6, 0.0, 0.0]);
    assert!(ids(&quota).contains(&"quota"), "{:?}", ids(&quota));
}

#[test]
fn the_plans_own_limits_are_obstacles_too() {
    let plan = plan("[limits]\nmax_wcu = 1000\nwindow = \"22:00-06:00 UTC\"\n");
    let found = finish("10h", &plan, &table(None), [1e6, 0.0, 0.0]);
    assert_eq!(ids(&found), ["max_wcu"]);
    assert!(text(&found).contains("only while the [limits] window is open"), "{}", text(&found));
}

/// A limit in the plan is an obstacle if, and only if, the run needs more than the limit.
#[test]
fn every_limit_that_ends_a_run_is_named() {
    // One million items of 1 KB and one million WCU: 0.625 dollars for the writes and about 0.016 for the reads.
    let of = |limits: &str| {
        let found = finish("10h", &plan(&format!("[limits]\n{limits}\n")), &table(None), [1e6, 0.0, 0.0]);
        assert!(found.is_possible(), "a limit can be raised");
        found
    };
    let found = of("max_wcu = 1000\nmax_cost_usd = 0.63\nmax_items = 999999");
    assert_eq!(ids(&found), ["max_wcu", "max_cost_usd", "max_items"]);
    let shown = text(&found);
    for part in [
        "prevented    [limits] max_cost_usd = 0.63 stops the run before it ends: it costs at least $0.64, by the on-demand list price",
        "prevented    [limits] max_items = 999,999 stops the run before it ends: the table has at least 1,000,000 items",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert_eq!(ids(&of("max_wcu = 1000000\nmax_cost_usd = 0.7\nmax_items = 1000000")), Vec::<&str>::new());
}

proptest! {
    /// The operator runs the printed commands, which raise the table's capacity, and copies the printed budgets into
    /// the plan. Then the budgets are valid for the table, and the same estimate predicts that the run ends in time.
    #[test]
    fn the_printed_budgets_are_enough(
        write in 1e3..1e8_f64, key in 0.0..1.0_f64, index in 0.0..1.0_f64, seconds in 60_u64..200_000,
        has in prop_oneof![Just(None), (1.0..50_000.0_f64).prop_map(|has| Some(has.round()))],
    ) {
        let table = indexed(table(has.map(|has| (has, has))), 10.0);
        let units = [write, write * key.powi(3), write * index];
        let found = finish(&format!("{seconds}s"), &plan(""), &table, units);
        prop_assume!(found.is_possible() && !ids(&found).contains(&"segments"));
        let stated = load("plan", &format!(
            "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n[[change]]\nmove = \"old\"\nto = \"new\"\n{}\n",
            found.capacity(),
        )).unwrap().plan;
        let mut raised = table.clone();
        for command in &found.commands.raise {
            let number = |after: &str| -> Option<f64> {
                command.split(after).nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
            };
            if let (Some(read), Some(write)) =
                (number("--provisioned-throughput ReadCapacityUnits="), number(",WriteCapacityUnits="))
            {
                raised.provisioned = Some((read, write));
            }
            if let (Some(read), Some(write)) = (number("\"ReadCapacityUnits\":"), number("\"WriteCapacityUnits\":")) {
                raised.indexes[0].provisioned = Some((read, write));
            }
        }
        let budgets = resolve(&stated.capacity, &raised).map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?.budgets;
        let (low, _) = estimate(&raised, &budgets, units).pace.duration.unwrap();
        prop_assert!(low <= Duration::from_secs(seconds), "{low:?} is more than {seconds} s: {}", found.capacity());
    }
}
