//! The commented plan that a new migration starts from.

use std::fmt::Write as _;

use crate::item::Path;

/// What is known of the table that the plan will be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateTable {
    /// Table name.
    pub name: String,
    /// Names of the key attributes, partition key first.
    pub key: Vec<String>,
    /// AWS region.
    pub region: Option<String>,
    /// Items, as DynamoDB counted them within the last six hours or so.
    pub item_count: Option<u64>,
    /// Bytes, likewise.
    pub size_bytes: Option<u64>,
    /// Names of the global indexes.
    pub indexes: Vec<String>,
}

/// A plan with every field explained; for this table, or for one to be filled in. It loads as it stands.
pub fn template(table: Option<&TemplateTable>) -> String {
    let mut out = String::from(HEAD);
    out.push_str(&table_section(table));
    let (old, new) = example_names(table);
    out.push_str(&CHANGES.replace("{old}", &old).replace("{new}", &new));
    out.push_str(&TAIL.replace("# {indexes}\n", &example_indexes(table)));
    out
}

/// A budget for each global index, commented out.
fn example_indexes(table: Option<&TemplateTable>) -> String {
    let known = table.map_or(&[][..], |table| &table.indexes);
    let example = ["my-index".to_owned()];
    let names = if known.is_empty() { &example } else { known };
    names.iter().map(|name| format!("# {} = \"25%\"\n", quoted(name))).collect()
}

fn table_section(table: Option<&TemplateTable>) -> String {
    let mut out = String::from("\n[table]\n");
    let Some(table) = table else {
        out.push_str("name = \"my-table\"\n# key = [\"pk\", \"sk\"]              # the key attributes, partition key first: checked against the table\n");
        out.push_str("# region = \"eu-west-1\"\n");
        out.push_str(REACH);
        return out;
    };
    if let Some(size) = describe_size(table) {
        let _ = writeln!(out, "# {size}, by DynamoDB's own count (refreshed about every six hours).");
    }
    let _ = writeln!(out, "name = {}", quoted(&table.name));
    if !table.key.is_empty() {
        let names: Vec<String> = table.key.iter().map(|name| quoted(name)).collect();
        let _ = writeln!(
            out,
            "key = [{}]    # the key attributes, partition key first: checked against the table",
            names.join(", ")
        );
    }
    match &table.region {
        Some(region) => {
            let _ = writeln!(out, "region = {}", quoted(region));
        }
        None => out.push_str("# region = \"eu-west-1\"\n"),
    }
    out.push_str(REACH);
    out
}

fn describe_size(table: &TemplateTable) -> Option<String> {
    let items = table.item_count.map(|n| format!("{n} items"));
    let bytes = table.size_bytes.map(|n| match n {
        0..1_000_000 => format!("{:.1} KB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    });
    let parts: Vec<String> = items.into_iter().chain(bytes).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Example names for the change that are no key attributes, so that the plan loads.
fn example_names(table: Option<&TemplateTable>) -> (String, String) {
    let keys: &[String] = table.map_or(&[], |table| &table.key);
    let free = |name: &str| {
        let mut name = name.to_owned();
        while keys.contains(&name) {
            name.push('_');
        }
        quoted(&Path::attribute(name).to_string())
    };
    (free("old_name"), free("new_name"))
}

/// A TOML string of any text.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

const HEAD: &str = r#"# A backfill plan: what should become of every item of one table.
# Edit it, then:   backfill check PLAN    reads the table, changes nothing
#                  backfill run PLAN --dry-run
#                  backfill cutover PLAN --to dual-write
#                  backfill run PLAN
#                  backfill status PLAN   says which command is next, from here to `contract`

[migration]
name = "my-migration"               # names the state file: letters, digits, - and _
# "expand-contract": `run` only adds; old attributes and every `remove` wait for `contract`.
# "in-place": old attributes go in the same write.
strategy = "expand-contract"
# What happens where a target already holds something else than the plan implies:
# "keep" leaves it and reports the item as diverged; "overwrite" records it and replaces it;
# "skip" leaves it and counts it as done. A change can have its own `on_existing`.
on_existing = "keep"
"#;

const REACH: &str = r#"# profile = "prod"                  # of the AWS configuration
# account = "123456789012"          # refuse to run in any other account
# endpoint_url = "http://127.0.0.1:8000"
"#;

const CHANGES: &str = r#"
# One [[change]] for each: move, copy, set or remove. All changes of an item go in one write.
# Paths reach into documents: "address.zip". A name with other characters than letters, digits
# and underscores goes in double quotes inside the string: '"e-mail".home'.
[[change]]
move = {old}
to = {new}

# [[change]]
# copy = "address.zip"
# to = '"post-code"'

# [[change]]
# set = "schema_version"
# on_existing = "skip"              # only where it is missing
# value = 2                         # other types as DynamoDB JSON: { N = "1.5" }, { SS = ["a"] }, { NULL = true }

# [[change]]
# remove = "legacy"
"#;

const TAIL: &str = r#"
# Everything below may change between two starts of the same run.

[scan]
segments = "auto"                   # parts that the table is read in, fixed when a run is created
# active = 32                       # parts worked on at the same time; `check` says what is chosen without it
page_limit = "auto"                 # items per page at most
consistent = false                  # true: read strongly, at twice the price, also where it is not required

[capacity]                          # capacity units per second; what is left out takes a careful default
# write = 500                       # or a share of what the table is provisioned with, limited to, or warm for:
# read = "40%"
# per_key_range = { write = 250, read = 750 }      # at most this on one segment of the scan
# per_partition_key = { write = 250, read = 750 }  # at most this on the items of one partition key

# [capacity.index]                  # write budgets of global indexes; local ones are paid by the table
# {indexes}

[limits]                            # reaching one stops the run; it can be resumed
max_failures = 1000                 # more items than this could not be changed
# max_cost_usd = 25.0               # dollars for its reads and writes, over all its starts
# max_wcu = 20_000_000              # write capacity units, indexes included
# max_items = 10_000_000            # items read
# deadline = 2030-12-01T06:00:00Z   # with Z or an offset from UTC
# window = "22:00-06:00 Europe/Paris"  # it works at these hours of each day only, and waits at others

# [prices]                          # what you pay, where it is not the list price: dollars per million units
# write_per_million = 0.625
# read_per_million = 0.125

[retry]
base = "50ms"                       # first wait at most; doubles with each attempt
cap = "20s"                         # longest wait
give_up_after = "15m"               # one request failing for so long stops the run; it can be resumed

[cutover]                           # how readers and writers move over: docs/flag.md
# table = "my-flags"                # the flag that applications obey is an item of this table, and
# key = "my-migration"              # has this key; or its attributes, { pk = "FLAG", sk = "my-migration" }
max_cache_seconds = 60              # how long applications may obey what they read; waited out after every change
soak = "7d"                         # so long only new values are written before the old attribute goes
max_age = "24h"                     # a verification older than this opens no gate
max_mismatch = 0                    # nor does one with more mismatches
accept_sample = false               # nor one of a sample

# Instead of a table: programs that print the flag, and set it (AppConfig, SSM, LaunchDarkly, …).
# [cutover.exec]
# get = ["/usr/local/bin/flag", "get"]
# set = ["/usr/local/bin/flag", "set"]
"#;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::load;

    #[test]
    fn the_template_loads_as_it_stands() {
        let loaded = load("t.toml", &template(None)).unwrap();
        assert_eq!(loaded.plan.changes.len(), 1);
        assert_eq!(loaded.plan.table.name, "my-table");
    }

    /// Every field that is commented out loads too, when the comment sign is taken away.
    #[test]
    fn what_is_commented_out_in_the_settings_is_valid() {
        let text = template(None);
        let (head, settings) = text.split_once("[scan]").unwrap();
        // The flag is in a table or behind hooks, not both.
        let (settings, exec) = settings.split_once("# Instead of a table").unwrap();
        let (_, exec) = exec.split_once('\n').unwrap();
        let open = settings.replace("\n# ", "\n");
        let plan = load("t.toml", &format!("{head}[scan]{open}")).unwrap_or_else(|errors| panic!("{errors}")).plan;
        assert!(plan.capacity.write.is_some() && plan.capacity.per_partition_key.read.is_some());
        assert_eq!(plan.capacity.indexes.len(), 1);
        assert!(plan.limits.window.is_some() && plan.limits.deadline.is_some() && plan.limits.max_items.is_some());
        assert!(plan.limits.max_wcu.is_some() && plan.limits.max_cost_usd.is_some());
        assert!(plan.prices.read_per_million.is_some() && plan.scan.active.is_some());
        let flag = |text: String| load("t.toml", &text).unwrap_or_else(|errors| panic!("{errors}")).plan.cutover.flag;
        assert!(matches!(plan.cutover.flag, Some(crate::plan::FlagPlace::Table { .. })));
        let hooks = flag(format!("{head}\n{}", format!("\n{exec}").replace("\n# ", "\n")));
        assert!(matches!(hooks, Some(crate::plan::FlagPlace::Exec(_))));
    }

    proptest! {
        #[test]
        fn whatever_the_table_is_called(
            name in "[A-Za-z0-9_.-]{3,30}", key in proptest::collection::vec("\\PC{1,8}|old_name|new_name|[\"'\\\\\u{7f}\n]{1,3}", 1..=2),
            region in proptest::option::of("[a-z]{2}-[a-z]{4}-[1-9]"),
            indexes in proptest::collection::vec("[A-Za-z0-9_.-]{3,30}", 0..3), items in any::<Option<u64>>(), size in any::<Option<u64>>(),
        ) {
            let mut key = key;
            key.dedup();
            let table = TemplateTable { name, key, region, item_count: items, size_bytes: size, indexes };
            let text = template(Some(&table));
            let plan = load("t.toml", &text).map_err(|e| TestCaseError::fail(e.to_string()))?.plan;
            let named = table.indexes.iter().all(|index| text.contains(&format!("# {} = \"25%\"\n", quoted(index))));
            prop_assert!(named, "{}", text);
            prop_assert_eq!(plan.table.name, table.name);
            prop_assert_eq!(plan.table.key, Some(table.key));
            prop_assert_eq!(plan.table.region, table.region);
        }
    }
}
