//! Sets every field to many values, and compares the results of the schema and the parser.

use backfill::internals::plan::load;
use toml::Value;

use super::fields::{SchemaFields, Step, put};
use crate::plan_json::{schema_accepts, schema_errors};

/// Valid plans. Together they have every kind of change, of health check and of flag.
const BASES: [&str; 8] = [
    r#"
    migration = { name = "m" }
    table = { name = "shop" }
    change = [{ move = "a", to = "b" }]
    cutover = { table = "flags" }
    hooks = { before_step = ["approve"], veto = ["run"] }
    health_check = [{ name = "api", url = "https://example.com/health" }]
    "#,
    r#"
    migration = { name = "m" }
    table = { name = "shop" }
    change = [{ copy = "a", to = "b" }]
    cutover = { exec = { get = ["flag"], set = ["flag"] } }
    health_check = [{ name = "api", command = ["ask"] }]
    "#,
    r#"
    migration = { name = "m" }
    table = { name = "shop" }
    change = [{ set = "a", value = 1 }]
    health_check = [{ name = "api", alarm = "latency", on_unhealthy = "slow" }]
    "#,
    r#"
    migration = { name = "m" }
    table = { name = "shop" }
    change = [{ exec = ["./program"], inputs = ["x"], outputs = ["y"], marker = "z" }]
    "#,
    r#"
    migration = { name = "m" }
    table = { name = "shop" }
    change = [{ exec = ["./program"], inputs = ["x"], outputs = ["y"], deterministic = true }]
    "#,
    r#"
    migration = { name = "m" }
    table = { name = "shop" }
    change = [{ remove = "a" }]
    health_check = [{ name = "api", metric = { namespace = "N", name = "n", statistic = "Sum" }, unhealthy_above = 1 }]
    "#,
    r#"
    migration = { name = "m" }
    table = { name = "shop" }
    change = [{ append = "a", values = { SS = ["b"] } }]
    "#,
    r#"
    migration = { name = "m" }
    table = { name = "shop" }
    change = [{ each = "lines[*]", set = "a", value = 1 }]
    "#,
];

/// Values of every type, including the limits in the parser's rules.
const PROBES: &str = r#"
[
    "", "a", "a b", "é", "auto", "keep", "skip", "slow", "in-place", "open", "healthy", "p99", "Sum",
    "10s", "1m 30s", "2h", "7d", "40%", "12.5 %", "-5%", "0%", "99%", "100%", "eu-west-1", "123456789012", "/etc/pause",
    "http://127.0.0.1:8000", "HTTPS://example.com", "2026-12-01T06:00:00Z", "2026-12-01 06:00:00.5+01:00", "2026-12-01",
    "22:00-06:00 Europe/Paris", "9:00-17:00 UTC", "tags[0]", "a.b", "a[*]",
    -1, 0, 1, 2, 16, 99, 100, 101, 599, 600, 1024, 1025, 3600, 3601, 10000, 10001, 1000000, 1000001, 1000000000,
    1000000001, 1000000000000, 1000000000001, 1000000000000000, 1000000000000001,
    0.5, 1.5, inf, nan, true, false, 2026-12-01T06:00:00Z, 2026-12-01T06:00:00, 2026-12-01,
    [], ["a"], ["a", "b"], ["a", "a"], ["a", "b", "c"], ["run", "contract"], [""], [1], [[]], [{ name = "x" }],
    {}, { zzz = 1 }, { zzz = "a" }, { pk = "F", sk = "x" }, { write = 5 }, { abc = "40%" }, { abc = 5, def = 0 },
    { N = "1.5" }, { N = "x" }, { N = 1 }, { SS = ["a"] }, { SS = [] }, { NULL = true }, { NULL = false },
    { L = [{ M = { a = { B = "AAEC" } } }] }, { S = "a", N = "1" },
]
"#;

/// What the parser says about faults that a schema can find.
const STRUCTURAL: [&str; 4] = ["has the wrong type", "unknown field", "cannot be \"", "must be a list with a program"];

fn bases() -> Vec<toml::Table> {
    BASES.iter().map(|base| base.parse().unwrap_or_else(|error| panic!("{base}: {error}"))).collect()
}

fn probes() -> Vec<Value> {
    let document: toml::Table = format!("probes = {}", PROBES.trim()).parse().unwrap();
    document["probes"].as_array().unwrap().clone()
}

/// Asserts that the schema accepts the plan if the parser accepts it, and refuses it if the parser finds a fault that a
/// schema can find. Returns whether the parser accepts the plan.
fn compare(plan: &toml::Table, structural: &[&str]) -> bool {
    let text = toml::to_string(plan).unwrap();
    match (load("plan", &text), schema_accepts(plan)) {
        (Ok(_), true) => true,
        (Ok(_), false) => panic!("the schema refuses a valid plan: {:?}\n{text}", schema_errors(plan)),
        (Err(errors), true) => {
            let errors = errors.to_string();
            let found = structural.iter().find(|part| errors.contains(**part));
            assert_eq!(found, None, "the schema accepts a plan that the parser refuses:\n{text}\n{errors}");
            false
        }
        (Err(_), false) => false,
    }
}

#[test]
fn the_bases_are_valid() {
    for base in bases() {
        assert!(compare(&base, &[]), "{base}");
    }
}

/// Returns the paths of all fields, tables and arrays of tables.
fn places() -> Vec<Vec<Step>> {
    let SchemaFields { leaves, tables } = SchemaFields::read();
    let leaves = leaves.into_iter().map(|(at, _)| at);
    let tables = tables.into_iter().map(|(mut at, _)| {
        // The element of an array of tables has no path of its own.
        at.pop_if(|step| *step == Step::First);
        at
    });
    leaves.chain(tables).filter(|at| !at.is_empty()).collect()
}

/// Returns whether the base plans differ in the table that contains this path.
fn differs(at: &[Step]) -> bool {
    matches!(&at[0], Step::Field(name) if ["change", "cutover", "health_check", "hooks"].contains(&name.as_str()))
}

#[test]
fn the_schema_and_the_parser_agree_on_every_value_in_every_field() {
    let probes = probes();
    let places = places();
    let mut accepted = 0;
    for (number, base) in bases().into_iter().enumerate() {
        for at in places.iter().filter(|at| number == 0 || differs(at)) {
            for probe in probes.clone() {
                // For a schema, a date is text.
                let structural: &[&str] = if probe.is_datetime() { &[] } else { &STRUCTURAL };
                let mut plan = base.clone();
                put(&mut plan, at, probe);
                accepted += u32::from(compare(&plan, structural));
            }
        }
    }
    assert!(accepted > 1_000, "the parser accepted only {accepted} plans");
}

#[test]
fn the_schema_and_the_parser_agree_on_missing_fields() {
    let structural = ["is missing", "has no `", "the plan has no", "the plan changes nothing", "does not say"];
    for base in bases() {
        for without in removals(&base) {
            compare(&without, &structural);
        }
    }
}

/// Returns variants of the plan. Each one lacks one field, at any depth.
fn removals(plan: &toml::Table) -> Vec<toml::Table> {
    let mut all = Vec::new();
    for (name, value) in plan {
        let mut without = plan.clone();
        without.remove(name);
        all.push(without);
        let below: Vec<Value> = match value {
            Value::Table(table) => removals(table).into_iter().map(Value::Table).collect(),
            Value::Array(list) => match list.first().and_then(Value::as_table) {
                Some(table) => removals(table).into_iter().map(|table| Value::Array(vec![table.into()])).collect(),
                None => Vec::new(),
            },
            Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
                Vec::new()
            }
        };
        all.extend(below.into_iter().map(|value| {
            let mut changed = plan.clone();
            changed.insert(name.clone(), value);
            changed
        }));
    }
    all
}

/// Returns whether the plan has this field.
fn states(plan: &toml::Table, at: &[Step]) -> bool {
    let (Step::Field(name), rest) = at.split_first().unwrap() else { panic!("{at:?}") };
    match (plan.get(name), rest) {
        (None, _) => false,
        (Some(_), []) => true,
        (Some(Value::Array(list)), [Step::First, rest @ ..]) => states(list[0].as_table().unwrap(), rest),
        (Some(value), rest) => value.as_table().is_some_and(|table| states(table, rest)),
    }
}

/// A plan that sets a field to its default means the same as a plan without the field. The budgets in `[capacity]` are
/// an exception: if the plan states the default of one budget, this budget no longer changes with the other budgets.
#[test]
fn every_default_is_the_parsers_default() {
    let SchemaFields { leaves, .. } = SchemaFields::read();
    let mut count = 0;
    for base in bases() {
        let expected = load("plan", &toml::to_string(&base).unwrap()).unwrap().plan;
        for (at, node) in &leaves {
            let Some(default) = node.get("default") else { continue };
            if at[0] == Step::Field("capacity".into()) || states(&base, at) {
                continue;
            }
            let mut plan = base.clone();
            put(&mut plan, at, Value::try_from(default).unwrap());
            let Ok(loaded) = load("plan", &toml::to_string(&plan).unwrap()) else { continue };
            count += 1;
            assert_eq!(loaded.plan, expected, "{at:?} = {default}");
        }
    }
    assert!(count > 40, "{count}");
}
