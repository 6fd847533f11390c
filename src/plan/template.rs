//! The commented plan that `backfill init` writes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

mod sample;

pub use sample::{TemplateAttribute, TemplateSample};

use crate::figure::count;
use crate::item::Path;
use crate::outside::toml_string as quoted;

/// The facts about a table that the template shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateTable {
    /// Table name.
    pub name: String,
    /// Names of the key attributes, partition key first.
    pub key: Vec<String>,
    /// AWS region.
    pub region: Option<String>,
    /// The account that owns the table.
    pub account: Option<String>,
    /// URL of the endpoint with which the table was accessed. `None` for the AWS default.
    pub endpoint_url: Option<String>,
    /// The AWS profile with which the table was accessed.
    pub profile: Option<String>,
    /// Number of items. DynamoDB refreshes this number about every six hours.
    pub item_count: Option<u64>,
    /// Size in bytes. DynamoDB refreshes the size together with the number of items.
    pub size_bytes: Option<u64>,
    /// Names of the global indexes.
    pub indexes: Vec<String>,
    /// The attributes of sampled items. `None` if no items were read.
    pub sample: Option<TemplateSample>,
}

/// Returns a plan with a comment for every field. If `table` is `None`, the name of the table is a placeholder that the
/// operator must replace. Even without edits, the result is a valid plan.
pub fn template(table: Option<&TemplateTable>) -> String {
    let mut out = String::from(HEAD);
    out.push_str(&table_section(table));
    let (old, new) = example_names(table);
    if let Some(table) = table {
        out.push_str(&sample::section(table));
    }
    out.push_str(&CHANGES.replace("{old}", &old).replace("{new}", &new));
    out.push_str(&TAIL.replace("# {indexes}\n", &example_indexes(table)));
    out
}

/// Returns an example budget for each global index, as TOML comments.
fn example_indexes(table: Option<&TemplateTable>) -> String {
    let known = table.map_or(&[][..], |table| &table.indexes);
    let example = ["my-index".to_owned()];
    let names = if known.is_empty() { &example } else { known };
    names.iter().map(|name| format!("# {} = \"25%\"\n", quoted(name))).collect()
}

fn table_section(table: Option<&TemplateTable>) -> String {
    let mut out = String::from("\n[table]\n");
    let Some(table) = table else {
        out.push_str("name = \"my-table\"\n# key = [\"pk\", \"sk\"]              # the key attributes, partition key first; checked against the table\n");
        out.push_str("# region = \"eu-west-1\"\n");
        write_connection_fields(&mut out, None, None, None);
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
            "key = [{}]    # the key attributes, partition key first; checked against the table",
            names.join(", ")
        );
    }
    match &table.region {
        Some(region) => {
            let _ = writeln!(out, "region = {}", quoted(region));
        }
        None => out.push_str("# region = \"eu-west-1\"\n"),
    }
    write_connection_fields(
        &mut out,
        table.profile.as_deref(),
        table.account.as_deref(),
        table.endpoint_url.as_deref(),
    );
    out
}

/// Writes the fields that determine how to access the table. If the value of a field is known, the template sets the
/// field. Otherwise, the template contains an example of the field in a comment.
fn write_connection_fields(out: &mut String, profile: Option<&str>, account: Option<&str>, endpoint: Option<&str>) {
    let fields = [
        ("profile", profile, "prod", "        # a profile from your AWS configuration"),
        ("account", account, "123456789012", "# refuse to run in any other account"),
        ("endpoint_url", endpoint, "http://127.0.0.1:8000", ""),
    ];
    for (name, known, example, comment) in fields {
        let sign = if known.is_some() { "" } else { "# " };
        let line = format!("{sign}{name} = {}", quoted(known.unwrap_or(example)));
        let _ = writeln!(out, "{}", format!("{line}    {comment}").trim_end());
    }
    out.push_str(ROLE);
}

fn describe_size(table: &TemplateTable) -> Option<String> {
    let items = table.item_count.map(|n| count(n, "item", "items"));
    let bytes = table.size_bytes.map(|n| match n {
        0..1_000_000 => format!("{:.1} KB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    });
    let parts: Vec<String> = items.into_iter().chain(bytes).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Returns example names for the change. The names differ from the key attributes, because otherwise the plan would be
/// invalid.
fn example_names(table: Option<&TemplateTable>) -> (String, String) {
    let free = |name: &str| quoted(&table.map_or_else(|| Path::attribute(name), |table| table.free(name)).to_string());
    (free("old_name"), free("new_name"))
}

impl TemplateTable {
    /// Returns an attribute with this name. If the table has such an attribute, appends underscores to the name.
    fn free(&self, name: &str) -> Path {
        let sampled = self.sample.iter().flat_map(|sample| &sample.attributes);
        let known: BTreeSet<&str> =
            self.key.iter().map(String::as_str).chain(sampled.map(|attribute| attribute.path.root())).collect();
        let mut name = name.to_owned();
        while known.contains(name.as_str()) {
            name.push('_');
        }
        Path::attribute(name)
    }
}

/// The fields of the role, as TOML comments.
const ROLE: &str = r#"# role_arn = "arn:aws:iam::123456789012:role/backfill"    # a role to assume with your credentials
# role_external_id = "text"         # only if the role's trust policy asks for it
"#;

const HEAD: &str = r#"# A backfill plan: the changes to make to every item of one table.
# Edit it, then:   backfill check PLAN    reads the table and changes nothing
#                  backfill run PLAN --dry-run
#                  backfill cutover PLAN --to dual-write
#                  backfill run PLAN
#                  backfill status PLAN   shows which command is next, up to `contract`

[migration]
name = "my-migration"               # part of the state file's name: letters, digits, - and _
# "expand-contract": `run` only adds attributes; `contract` later removes old ones and runs every `remove`.
# Changes with `each` are the exception: `run` makes all of them.
# "in-place": the same write also removes old attributes.
strategy = "expand-contract"
# What happens if a target already has a value that differs from what the plan implies:
# "keep" leaves it and reports the item as diverged; "overwrite" records it and replaces it;
# "skip" leaves it and counts it as done. A change can have its own `on_existing`.
on_existing = "keep"
# What happens to an item for which an expression or a conversion has no result:
# "fail" makes it a failure, with its key and the reason; "skip" leaves it unchanged.
# on_not_computable = "fail"
# split = true                      # several writes per item if needed; readers can see only some of the changes
"#;

const CHANGES: &str = r#"
# Without [select], the plan changes every item. The expression is CEL over the item.
# [select]
# where = 'item.sk.startsWith("ORDER#")'
# stable = ["type"]                 # attributes in `where` that no writer ever changes
# keys = "keys.csv"                 # only these items: a file with one key per line (.csv, .ndjson)
# Instead of `keys`, `index = "by-status"` selects the items in an index: the run scans the index, not the table.

# One [[change]] for each change. All changes of an item go in one write, unless the plan says `split = true`.
# A path can lead into a document: "address.zip". If a name has characters other than letters, digits
# and underscores, put it in double quotes inside the string: '"e-mail".home'.
[[change]]
move = {old}
to = {new}

# [[change]]
# copy = "address.zip"
# to = '"post-code"'

# [[change]]
# set = "schema_version"
# on_existing = "skip"              # write the value only if the target is missing
# value = 2                         # other types as DynamoDB JSON: { N = "1.5" }, { SS = ["a"] }, { NULL = true }

# [[change]]
# remove = "legacy"

# [[change]]
# compute = "status_and_date"
# as = 'item.status + "/" + item.created_at'

# [[change]]
# convert = "expires"               # without `into`, the converted value replaces the old one
# to = "epoch-seconds"              # or N, S, BOOL, M, L, … : see docs/conversions.md
# into = "expires_at"
# formats = ["%Y-%m-%d", "rfc3339"]
# zone = "Europe/Paris"
# replaces = "expires"              # readers and writers move to the new attribute; `contract` removes this one
# inverse = 'string(fromEpochSeconds(item.expires_at))'   # for a rollback after new-only writes; can also be a conversion

# [[change]]
# append = "tags"
# values = { SS = ["migrated"] }    # members of a set; one element of a list: value = "migrated"
# where = 'has(item.tags)'          # only for these items; every change except `bump` can have its own `where`
# null_is_missing = true            # a NULL at the target counts as missing

# [[change]]
# bump = "version"                  # raise this number by one in every write

# Or change every element of a list or map. A plan that also has a `move`, `copy`, `remove` or
# `replaces` without `each` needs strategy "in-place" for this.
# [[change]]
# each = "lines[*]"                 # the other paths are relative to the element
# set = "currency"                  # or move, remove, compute (element.a is a member of the element), convert
# value = "EUR"

# Or delete the selected items. A plan that deletes items has no other change and no strategy.
# [[change]]
# delete = true
# version = "version"               # every writer raises this number; or attributes = ["a", "b"], or writers = "stopped"
# journal = "none"                  # keep no copy of the deleted items; a rollback is then impossible

# Or put a derived item for each selected item. The plan has no other change, and its `where` is false for derived items.
# [[change]]
# put = { key = { pk = '"OF#" + item.pk', sk = '"LOOKUP"' }, attributes = { source = "item.pk" } }
"#;

const TAIL: &str = r#"
# You may change everything below between two starts of the same run.

[scan]
segments = "auto"                   # number of scan segments; fixed when a run is created
# active = 32                       # segments scanned at the same time; `check` shows the default
page_limit = "auto"                 # maximum number of items per page
consistent = false                  # true: always read strongly consistently, at twice the price

[capacity]                          # capacity units per second; the defaults are careful
# write = 500                       # or a percentage of the provisioned, maximum or warm throughput:
# read = "40%"
# per_key_range = { write = 250, read = 750 }      # maximum for one segment of the scan; more by default if `write` is large
# per_partition_key = { write = 250, read = 750 }  # maximum for the items of one partition key

# [capacity.index]                  # write budgets of global indexes; local indexes use the table's budget
# {indexes}

[limits]                            # a run that reaches a limit stops and can be resumed
max_failures = 1000                 # maximum number of items that could not be changed
# max_cost_usd = 25.0               # US dollars for reads and writes, over all starts of the run
# max_wcu = 20_000_000              # write capacity units, indexes included
# max_items = 10_000_000            # maximum number of items to read
# deadline = 2030-12-01T06:00:00Z   # with Z or an offset from UTC
# window = "22:00-06:00 Europe/Paris"  # works only during these hours

# [prices]                          # US dollars per million units, if you do not pay the list price
# write_per_million = 0.625
# read_per_million = 0.125

[retry]
base = "50ms"                       # longest first wait; doubles with each attempt
cap = "20s"                         # longest wait between two attempts
give_up_after = "15m"               # if one request fails for this long, the run stops and can be resumed

[alerts]
stall_after = "5m"                  # a pass is stalled if it gets no answer for this long and no cause is known

[safety]
backup = false                      # true: an on-demand backup before each pass that destroys or overwrites values

[client]
dynamodb = "sdk"                    # "lean": reads the table and updates items with less CPU time

[write]
transport = "update"                # "auto" or "batch": up to 25 writes in one request, as PartiQL statements

# [steering]
# pause_file = "/etc/backfill/pause"  # while it exists, no items are read or written; a rollback ignores it

# [[health_check]]                  # pauses a pass while the application is unhealthy; a rollback ignores it
# name = "api"
# url = "https://example.com/health"  # or command = ["/path/to/program"], or alarm = "name", or metric = { … }
# interval = "10s"
# timeout = "5s"
# unhealthy_after = 2               # consecutive unhealthy results
# healthy_after = 3                 # consecutive healthy results
# on_unhealthy = "slow"             # or "pause", the default
# slow_to = "25%"                   # of the budgets
# fail_mode = "closed"              # a check without an answer is unhealthy; "open": it keeps its last state
# [hooks]                           # programs that run on events; see docs/hooks.md
# on_start = ["/usr/local/bin/announce", "start"]
# on_stall = ["/usr/local/bin/page"]
# on_pause = ["/usr/local/bin/announce", "pause"]
# on_long_throttling = ["/usr/local/bin/announce", "throttled"]
# on_failures = ["/usr/local/bin/page"]
# on_step_due = ["/usr/local/bin/announce", "due"]
# on_pass_end = ["/usr/local/bin/announce", "end"]
# on_flag_change = ["/usr/local/bin/announce", "flag"]
# long_throttling = "10m"           # on_long_throttling reports throttling that lasts this long
# failure_threshold = 100           # on_failures reports this number of failed items
# timeout = "30s"                   # a hook that takes longer is killed
# webhook_env = "BACKFILL_WEBHOOK_URL"  # the variable with the address of a Slack-compatible webhook
# before_step = ["/usr/local/bin/approve"]  # if it fails, the step is refused
# veto = ["run", "repair", "cutover", "contract"]  # the steps that it can refuse; it can never refuse a rollback

[cutover]                           # how readers and writers switch over; see docs/flag.md
# table = "my-flags"                # the table whose item is the flag that applications read
# key = "my-migration"              # the key of that item; or { pk = "FLAG", sk = "my-migration" }
max_cache_seconds = 60              # how long applications may cache the flag; the tool waits this long after every change
soak = "7d"                         # how long applications must write only new values before `contract`
max_age = "24h"                     # a verification older than this does not open the gate
max_mismatch = 0                    # a verification with more mismatches does not open the gate
accept_sample = false               # whether a verification of a sample may open the gate

# Instead of a table: programs that print and set the flag (AppConfig, SSM, LaunchDarkly, …).
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
    fn the_template_loads_without_edits() {
        let loaded = load("t.toml", &template(None)).unwrap();
        assert_eq!(loaded.plan.changes.len(), 1);
        assert_eq!(loaded.plan.table.name, "my-table");
    }

    /// Every commented-out field in the template is valid after the operator removes the comment mark. The examples of
    /// `[select]` and of all kinds of change form one valid plan.
    #[test]
    fn changes_that_are_commented_out_are_valid() {
        let text = template(None);
        let (head, rest) = text.split_once("# [select]").unwrap();
        let (examples, rest) = rest.split_once("[scan]").unwrap();
        let head = head.replace("# on_not_computable", "on_not_computable");
        let is_field = |line: &str| line.starts_with('[') || line.split(' ').nth(1) == Some("=");
        let open = |line: &str| match line.strip_prefix("# ") {
            Some(field) if is_field(field) => format!("{field}\n"),
            _ => format!("{line}\n"),
        };
        let (examples, delete) = examples.split_once("# Or delete the selected items").unwrap();
        let (examples, elements) = examples.split_once("# Or change every element").unwrap();
        let (_, elements) = elements.split_once('\n').unwrap();
        let (selection, examples) = examples.split_once("# One [[change]]").unwrap();
        let opened = |text: &str| text.lines().map(open).collect::<String>();
        let (delete, put) = delete.split_once("# Or put a derived item").unwrap();
        let (_, delete) = delete.split_once('\n').unwrap();
        let (_, put) = put.split_once('\n').unwrap();
        let plain = format!(
            "[migration]\nname = \"m\"\non_not_computable = \"fail\"\n[table]\nname = \"shop\"\n[select]{}",
            opened(selection)
        );
        let plan =
            load("t.toml", &format!("{plain}{}", opened(elements))).unwrap_or_else(|errors| panic!("{errors}")).plan;
        assert!(plan.changes[0].each().is_some());
        // A plan with `put` cannot have `keys`, because a file of keys does not list derived items.
        let without_keys = plain.replace("keys = \"keys.csv\"", "# keys");
        let plan = load("t.toml", &(without_keys + &opened(put))).unwrap_or_else(|errors| panic!("{errors}")).plan;
        assert!(plan.puts_items());
        let plan = load("t.toml", &(plain + &opened(delete))).unwrap_or_else(|errors| panic!("{errors}")).plan;
        assert_eq!(plan.deletion(), Some(false));
        let examples = opened(&format!("{selection}# One [[change]]{examples}"));
        let text = format!("{head}[select]{examples}[scan]{rest}");
        let plan = load("t.toml", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
        assert!(plan.select.is_some());
        assert_eq!(plan.changes.len(), 8);
    }

    #[test]
    fn fields_that_are_commented_out_are_valid() {
        let text = template(None);
        let (head, settings) = text.split_once("[scan]").unwrap();
        // The flag is either in a table or in `[cutover.exec]`.
        let (settings, exec) = settings.split_once("# Instead of a table").unwrap();
        let (_, exec) = exec.split_once('\n').unwrap();
        let open = settings.replace("\n# ", "\n");
        let plan = load("t.toml", &format!("{head}[scan]{open}")).unwrap_or_else(|errors| panic!("{errors}")).plan;
        assert!(plan.capacity.write.is_some() && plan.capacity.per_partition_key.read.is_some());
        assert_eq!(plan.capacity.indexes.len(), 1);
        assert!(plan.limits.window.is_some() && plan.limits.deadline.is_some() && plan.limits.max_items.is_some());
        assert!(plan.limits.max_wcu.is_some() && plan.limits.max_cost_usd.is_some());
        assert!(plan.prices.read_per_million.is_some() && plan.scan.active.is_some());
        assert_eq!(plan.health_checks.len(), 1);
        let flag = |text: String| load("t.toml", &text).unwrap_or_else(|errors| panic!("{errors}")).plan.cutover.flag;
        assert!(matches!(plan.cutover.flag, Some(crate::plan::FlagLocation::Table { .. })));
        let hooks = flag(format!("{head}\n{}", format!("\n{exec}").replace("\n# ", "\n")));
        assert!(matches!(hooks, Some(crate::plan::FlagLocation::Exec(_))));
    }

    proptest! {
        #[test]
        fn the_template_loads_for_every_table_name(
            name in "[A-Za-z0-9_.-]{3,30}", key in proptest::collection::vec("\\PC{1,8}|old_name|new_name|[\"'\\\\\u{7f}\n]{1,3}", 1..=2),
            region in proptest::option::of("[a-z]{2}-[a-z]{4}-[1-9]"),
            account in proptest::option::of("[0-9]{12}"), endpoint_url in proptest::option::of("http://127[.]0[.]0[.]1:[1-9][0-9]{3}"),
            profile in proptest::option::of("[a-z]{1,9}"), indexes in proptest::collection::vec("[A-Za-z0-9_.-]{3,30}", 0..3), items in any::<Option<u64>>(), size in any::<Option<u64>>(),
        ) {
            let mut key = key;
            key.dedup();
            let table = TemplateTable { name, key, region, account, endpoint_url, profile, item_count: items, size_bytes: size, indexes, sample: None };
            let text = template(Some(&table));
            let plan = load("t.toml", &text).map_err(|e| TestCaseError::fail(e.to_string()))?.plan;
            let named = table.indexes.iter().all(|index| text.contains(&format!("# {} = \"25%\"\n", quoted(index))));
            prop_assert!(named, "{}", text);
            prop_assert_eq!(plan.table.name, table.name);
            prop_assert_eq!(plan.table.key, Some(table.key));
            prop_assert_eq!(plan.table.region, table.region);
            prop_assert_eq!(plan.table.account, table.account);
            prop_assert_eq!(plan.table.endpoint_url, table.endpoint_url);
            prop_assert_eq!(plan.table.profile, table.profile);
        }
    }
}
