use super::*;
use crate::item::{IndexSchema, Projection};
use crate::plan::CapacityField::{Index, IndexName, KeyRange, PartitionKey, Table};

fn table() -> TableDescription {
    TableDescription::for_tests()
}

fn index(name: &str) -> IndexDescription {
    let schema = IndexSchema {
        name: name.into(),
        key: Vec::new(),
        partition: 1,
        projection: Projection::KeysOnly,
        local: name == "local",
    };
    IndexDescription {
        schema,
        provisioned: None,
        on_demand_max: (None, None),
        warm: None,
        is_ready: true,
        entries: None,
    }
}

fn resolved(capacity: &Capacity, table: &TableDescription) -> ResolvedBudgets {
    resolve(capacity, table).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// Returns the write budget and the read budget of the table with this `[capacity]`, as text.
fn table_budgets(capacity: &Capacity, table: &TableDescription) -> [String; 2] {
    let scopes = resolved(capacity, table).scopes;
    assert!(scopes[..2].iter().all(|scope| scope.scope == Scope::Table));
    [scopes[0].to_string(), scopes[1].to_string()]
}

fn percent(percent: f64) -> Capacity {
    let rate = Some(CapacityRate::Percent(percent));
    Capacity { write: rate, read: rate, ..Capacity::default() }
}

fn fields(capacity: &Capacity, table: &TableDescription) -> Vec<CapacityField> {
    resolve(capacity, table).unwrap_err().into_iter().map(|error| error.field).collect()
}

#[test]
fn the_default_budget_is_a_quarter_of_the_known_capacity() {
    let provisioned = |read, write| TableDescription { provisioned: Some((read, write)), ..table() };
    let limited = |read, write| TableDescription { on_demand_max: (read, write), warm: Some((9.0, 9.0)), ..table() };
    for (table, words) in [
        (table(), ["1,000 WCU/s (default on demand)", "2,000 RCU/s (default on demand)"]),
        (
            provisioned(400.0, 200.0),
            [
                "50 WCU/s (default: a quarter of the 200 WCU/s that the table is provisioned with)",
                "100 RCU/s (default: a quarter of the 400 RCU/s that the table is provisioned with)",
            ],
        ),
        (
            provisioned(80_000.0, 1.0),
            [
                "0.5 WCU/s (default: a quarter of the 1 WCU/s that the table is provisioned with, but at least 0.5)",
                "20,000 RCU/s (default: a quarter of the 80,000 RCU/s that the table is provisioned with)",
            ],
        ),
        (
            limited(Some(40.0), Some(4_001.0)),
            [
                "1,000 WCU/s (default on demand)",
                "10 RCU/s (default: a quarter of the on-demand maximum of the table, 40 RCU/s)",
            ],
        ),
        (
            limited(None, Some(1.0)),
            [
                "0.5 WCU/s (default: a quarter of the on-demand maximum of the table, 1 WCU/s, but at least 0.5)",
                "2,000 RCU/s (default on demand)",
            ],
        ),
    ] {
        assert_eq!(table_budgets(&Capacity::default(), &table), words);
    }
}

/// For commands that must always be able to run, each budget that exceeds the capacity is lowered and listed. All other
/// budgets stay the same.
#[test]
fn budgets_that_must_not_be_refused_are_lowered_to_the_tables_capacity() {
    let mut small = TableDescription { provisioned: Some((40.0, 20.0)), ..table() };
    small.indexes = vec![IndexDescription { provisioned: Some((40.0, 8.0)), ..index("by-a") }, index("local")];
    let units = |units| Some(CapacityRate::Units(units));
    let capacity = Capacity {
        write: units(21.0),
        read: units(7.0),
        per_key_range: ScopeCapacity { write: Some(500.0), read: None },
        per_partition_key: ScopeCapacity { write: Some(3.0), read: None },
        indexes: [("by-a", 9.0), ("local", 1.0), ("by-gone", 1.0)]
            .map(|(name, rate)| (name.to_owned(), CapacityRate::Units(rate)))
            .into(),
    };
    assert_eq!(fields(&capacity, &small).len(), 5);
    let within = resolve_within(&capacity, &small);
    assert_eq!(within.budgets.table, Budget { write: 20.0, read: 7.0 });
    assert_eq!((within.budgets.per_key_range.write, within.budgets.per_partition_key.write), (20.0, 3.0));
    assert_eq!(within.budgets.indexes, [Some(8.0), None]);
    let reductions: Vec<&str> = within.reductions.iter().map(|line| line.split(" (").next().unwrap()).collect();
    let expected = [
        "budget   lowered to the available capacity: table: 20 WCU/s",
        "budget   lowered to the available capacity: key range: 20 WCU/s",
        "budget   lowered to the available capacity: index by-a: 8 WCU/s",
        "budget   left out: the local index `local` has no capacity of its own",
        "budget   left out: table `t` has no index `by-gone`",
    ];
    assert_eq!(reductions, expected);
    // A percentage of an unknown capacity becomes the default budget.
    let share = resolve_within(&percent(40.0), &table());
    assert_eq!(share.budgets.table, ON_DEMAND_DEFAULT);
    assert_eq!(share.reductions.len(), 2, "{:?}", share.reductions);
    // Budgets that are already valid stay the same.
    for capacity in [Capacity::default(), Capacity { write: units(20.0), ..percent(40.0) }] {
        assert_eq!(resolve_within(&capacity, &small), resolved(&capacity, &small));
    }
}

#[test]
fn a_stated_budget_is_valid_up_to_the_tables_capacity() {
    let stated = |write, read| Capacity {
        write: Some(CapacityRate::Units(write)),
        read: Some(CapacityRate::Units(read)),
        ..Capacity::default()
    };
    let from_the_plan = ["200 WCU/s (from the plan)", "0.1 RCU/s (from the plan)"];
    let provisioned = TableDescription { provisioned: Some((1.0, 200.0)), ..table() };
    let limited = TableDescription { on_demand_max: (None, Some(200.0)), ..table() };
    // Warm throughput does not limit a stated budget.
    let warm = TableDescription { warm: Some((1.0, 1.0)), ..table() };
    for table in [table(), provisioned.clone(), limited.clone(), warm] {
        assert_eq!(table_budgets(&stated(200.0, 0.1), &table), from_the_plan);
    }
    let steered = |units| Capacity { write: Some(CapacityRate::Steered(units)), ..stated(1.0, 0.1) };
    assert_eq!(table_budgets(&steered(150.0), &provisioned)[0], "150 WCU/s (set with `ctl rate`)");
    let lowered = resolve_within(&steered(500.0), &provisioned).scopes[0].to_string();
    let expected =
        "200 WCU/s (set with `ctl rate`: 500, but no more than the 200 WCU/s that the table is provisioned with)";
    assert_eq!(lowered, expected);
    assert_eq!(fields(&stated(200.1, 1.1), &provisioned), [Table(Access::Write), Table(Access::Read)]);
    assert_eq!(fields(&stated(200.1, 1e6), &limited), [Table(Access::Write)]);
    let error = &resolve(&stated(201.0, 1.0), &provisioned).unwrap_err()[0];
    assert!(error.label.contains("the 200 WCU/s that the table is provisioned with"), "{error:?}");
    assert!(error.help[0].contains("DynamoDB would throttle"), "{error:?}");
}

#[test]
fn a_percentage_refers_to_the_tables_capacity() {
    let all = TableDescription {
        provisioned: Some((100.0, 1_000.0)),
        on_demand_max: (Some(200.0), Some(2_000.0)),
        warm: Some((400.0, 4_000.0)),
        ..table()
    };
    let limited = TableDescription { provisioned: None, ..all.clone() };
    let warm = TableDescription { on_demand_max: (None, None), ..limited.clone() };
    let half = TableDescription { on_demand_max: (Some(200.0), None), ..limited.clone() };
    for (table, write) in [
        (&all, "70 WCU/s (from the plan: 7% of the 1,000 WCU/s that the table is provisioned with)"),
        (&limited, "140 WCU/s (from the plan: 7% of the on-demand maximum of the table, 2,000 WCU/s)"),
        (&warm, "280 WCU/s (from the plan: 7% of the warm throughput of the table, 4,000 WCU/s)"),
        (&half, "280 WCU/s (from the plan: 7% of the warm throughput of the table, 4,000 WCU/s)"),
    ] {
        assert_eq!(table_budgets(&percent(7.0), table)[0], write);
    }
    assert!(table_budgets(&percent(7.0), &half)[1].contains("on-demand maximum"));
    assert_eq!(resolved(&percent(100.0), &all).budgets.table, Budget { write: 1_000.0, read: 100.0 });
    // The capacity of this on-demand table is unknown, because the table has no maximum and does not report its warm
    // throughput.
    assert_eq!(fields(&percent(7.0), &table()), [Table(Access::Write), Table(Access::Read)]);
    let half = TableDescription { warm: None, ..half };
    assert_eq!(fields(&percent(7.0), &half), [Table(Access::Write)]);
}

#[test]
fn a_narrow_scope_has_a_quarter_of_a_partition_and_never_more_than_the_table() {
    let narrow = |capacity: &Capacity, table: &TableDescription| {
        let Budgets { per_key_range, per_partition_key, .. } = resolved(capacity, table).budgets;
        (per_key_range, per_partition_key)
    };
    let default = Budget { write: 250.0, read: 750.0 };
    assert_eq!(narrow(&Capacity::default(), &table()), (default, default));
    let small = Capacity { write: Some(CapacityRate::Units(100.0)), ..Capacity::default() };
    let within = Budget { write: 100.0, read: 750.0 };
    assert_eq!(narrow(&small, &table()), (within, within));
    let lines: Vec<_> = resolved(&small, &table()).lines().collect();
    let words = "100 WCU/s (default: a quarter of a partition, but no more than the table's budget), \
                 750 RCU/s (default: a quarter of a partition)";
    assert_eq!(lines[1], ("key range".to_owned(), words.to_owned()));

    let stated = Capacity {
        write: Some(CapacityRate::Units(900.0)),
        per_key_range: ScopeCapacity { write: Some(800.0), read: None },
        per_partition_key: ScopeCapacity { write: Some(901.0), read: Some(2.0) },
        ..Capacity::default()
    };
    let expected = (Budget { write: 800.0, read: 750.0 }, Budget { write: 900.0, read: 2.0 });
    assert_eq!(narrow(&stated, &table()), expected);
    // If a narrow budget exceeds the table's capacity, it is an error, even if the table's own budget is
    // also wrong.
    let table = TableDescription { provisioned: Some((1.0, 850.0)), ..table() };
    let wrong = [Table(Access::Write), PartitionKey(Access::Write), PartitionKey(Access::Read)];
    assert_eq!(fields(&stated, &table), wrong);
    let stated = Capacity { per_key_range: ScopeCapacity { write: None, read: Some(1.5) }, ..Capacity::default() };
    assert_eq!(fields(&stated, &table), [KeyRange(Access::Read)]);
}

#[test]
fn a_large_stated_budget_raises_the_narrow_budgets_up_to_a_partition() {
    let narrow = |write: f64, read: f64| {
        let stated = |units: f64| (units > 0.0).then_some(CapacityRate::Units(units));
        let capacity = Capacity { write: stated(write), read: stated(read), ..Capacity::default() };
        let resolved = resolved(&capacity, &table());
        assert_eq!(resolved.budgets.per_key_range, resolved.budgets.per_partition_key);
        (resolved.budgets.per_key_range, resolved.lines().nth(1).unwrap().1)
    };
    for (write, read, expected) in [
        (1_000.0, 2_000.0, Budget { write: 250.0, read: 750.0 }),
        (2_000.0, 0.0, Budget { write: 500.0, read: 750.0 }),
        (0.0, 4_000.0, Budget { write: 250.0, read: 1_500.0 }),
        (4_000.0, 8_000.0, Budget { write: 1_000.0, read: 3_000.0 }),
        (40_000.0, 80_000.0, Budget { write: 1_000.0, read: 3_000.0 }),
        (100.0, 0.0, Budget { write: 100.0, read: 750.0 }),
    ] {
        assert_eq!(narrow(write, read).0, expected, "{write} WCU/s, {read} RCU/s");
    }
    let words =
        "500 WCU/s (default: in proportion to the table's budget), 750 RCU/s (default: a quarter of a partition)";
    assert_eq!(narrow(2_000.0, 0.0).1, words);
    assert!(narrow(40_000.0, 0.0).1.starts_with("1,000 WCU/s (default: the full rate of a partition, because the"));
}

#[test]
fn each_global_index_has_its_own_budget() {
    let provisioned = IndexDescription { provisioned: Some((9.0, 400.0)), ..index("provisioned") };
    let limited = IndexDescription { on_demand_max: (Some(1.0), Some(80.0)), ..index("limited") };
    let warm = IndexDescription { warm: Some((1.0, 4_000.0)), ..index("warm") };
    let table =
        TableDescription { indexes: vec![provisioned, index("local"), limited, warm, index("bare")], ..table() };
    let budgets = |stated: &[(&str, CapacityRate)]| {
        let indexes = stated.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
        resolve(&Capacity { indexes, ..Capacity::default() }, &table)
    };
    let found = budgets(&[]).unwrap();
    assert_eq!(found.budgets.indexes, [Some(100.0), None, Some(20.0), Some(1_000.0), Some(1_000.0)]);
    let lines: Vec<String> = found.lines().skip(3).map(|(scope, words)| format!("{scope}: {words}")).collect();
    assert_eq!(
        lines,
        [
            "index provisioned: 100 WCU/s (default: a quarter of the 400 WCU/s that index `provisioned` is provisioned with)",
            "index limited: 20 WCU/s (default: a quarter of the on-demand maximum of index `limited`, 80 WCU/s)",
            "index warm: 1,000 WCU/s (default on demand)",
            "index bare: 1,000 WCU/s (default on demand)",
        ]
    );

    let share = CapacityRate::Percent(25.0);
    let found =
        budgets(&[("warm", share), ("limited", share), ("provisioned", share), ("bare", CapacityRate::Units(3.0))]);
    assert_eq!(found.unwrap().budgets.indexes, [Some(100.0), None, Some(20.0), Some(1_000.0), Some(3.0)]);

    let wrong = [
        ("limited", CapacityRate::Units(80.5)),
        ("bare", share),
        ("provisioned", CapacityRate::Units(401.0)),
        ("local", CapacityRate::Units(1.0)),
        ("other", share),
    ];
    let errors = budgets(&wrong).unwrap_err();
    let fields: Vec<CapacityField> = errors.iter().map(|error| error.field).collect();
    assert_eq!(fields, [Index(2), IndexName(3), Index(0), Index(1), IndexName(4)]);
    assert_eq!(errors[4].help, ["its global indexes: \"provisioned\", \"limited\", \"warm\", \"bare\""]);
    assert_eq!(errors[1].title, "the local index `local` has no capacity of its own");
}

#[test]
fn an_index_budget_without_indexes_gets_a_clear_error() {
    let capacity = Capacity { indexes: vec![("gone".into(), CapacityRate::Units(1.0))], ..Capacity::default() };
    let errors = resolve(&capacity, &table()).unwrap_err();
    assert_eq!((errors.len(), errors[0].field), (1, IndexName(0)));
    assert!(errors[0].help[0].contains("the table has no global index"), "{errors:?}");
}

#[test]
fn rates_are_rounded_for_display() {
    for (units, text) in [(1_000.0, "1,000 WCU/s"), (49.2 + 1e-12, "49.2 WCU/s"), (0.000_1, "0.0001 WCU/s")] {
        assert_eq!(rate_text(units, Access::Write), text);
    }
}

#[test]
fn json_names_every_scope() {
    let table = TableDescription { indexes: vec![index("by-mail")], ..table() };
    let json: Vec<Json> = resolved(&Capacity::default(), &table).scopes.iter().map(ScopeBudget::to_json).collect();
    let names: Vec<&str> = json.iter().filter_map(|scope| scope["scope"].as_str()).collect();
    assert_eq!(names, ["table", "table", "key_range", "key_range", "partition_key", "partition_key", "index"]);
    assert_eq!(
        json[6],
        json!({"scope": "index", "index": "by-mail", "access": "write", "units_per_second": 1000.0, "basis": "default on demand"})
    );
}
