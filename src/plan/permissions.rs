//! Determines the permissions that a plan needs, as the smallest IAM policy for its table and its flag.

use serde_json::{Value as Json, json};

use super::{FlagLocation, HealthProbe, Plan, TableRef};

/// Actions that read the table. `check`, `explain` and `run --dry-run` need only these actions on the table. `verify`
/// also needs actions on the lease.
const TABLE_READ_ACTIONS: &[&str] = &[
    "dynamodb:DescribeTable",
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeTimeToLive",
    SCAN_ACTION,
    "dynamodb:GetItem",
];

/// The action that reads pages of items. A plan with a file of keys reads every item by its key instead.
const SCAN_ACTION: &str = "dynamodb:Scan";

/// Additional actions for passes that write. Only a plan with `delete` deletes items.
const TABLE_WRITE_ACTIONS: &[&str] = &["dynamodb:UpdateItem"];

/// The action of a plan whose writes may go in batches. IAM has no action for `BatchExecuteStatement`: a batch needs the
/// action of its statements (service authorization reference, "Actions defined by Amazon DynamoDB"). What a statement
/// cannot express still uses `UpdateItem`.
const BATCH_ACTION: &str = "dynamodb:PartiQLUpdate";

/// The action of a plan that deletes items.
const DELETE_ACTION: &str = "dynamodb:DeleteItem";

/// The actions of a plan that puts derived items. IAM has no action for `TransactWriteItems`: a transaction needs the
/// actions of its parts. A rollback deletes the derived items.
const DERIVE_ACTIONS: &[&str] = &[CHECK_ACTION, "dynamodb:PutItem", DELETE_ACTION];

/// The action that checks the source of a derived item in a transaction.
const CHECK_ACTION: &str = "dynamodb:ConditionCheckItem";

/// Actions that read the table that gets derived items, if it is not the table of their sources.
const OTHER_READ_ACTIONS: &[&str] = &[
    "dynamodb:DescribeTable",
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:GetItem",
];

/// Actions that put derived items into another table, and delete them there in a rollback.
const OTHER_WRITE_ACTIONS: &[&str] = &["dynamodb:PutItem", DELETE_ACTION];

/// The action that restores deleted items.
const RESTORE_ACTION: &str = "dynamodb:PutItem";

/// The action that makes a backup of the table.
const CREATE_BACKUP_ACTION: &str = "dynamodb:CreateBackup";

/// The action that reads the status of a backup.
const DESCRIBE_BACKUP_ACTION: &str = "dynamodb:DescribeBackup";

/// Actions on the flag and its lease. Every write of these items is conditional and replaces the whole item.
const FLAG_ACTIONS: &[&str] = &["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PutItem"];

/// Actions of a command that only reads the flag.
const FLAG_READ_ACTIONS: &[&str] = &["dynamodb:DescribeTable", "dynamodb:GetItem"];

/// The action of a health check that reads an alarm.
const ALARM_ACTION: &str = "cloudwatch:DescribeAlarms";

/// The action of a health check that reads a metric.
const METRIC_ACTION: &str = "cloudwatch:GetMetricData";

/// Returns the smallest IAM policy for a plan, as a JSON policy document. If the plan does not contain the region or
/// the account, the policy contains `*` instead. With `read_only`, the policy allows only `check`, `explain`, `run
/// --dry-run` and `status`. These commands write nothing, not even the lease.
pub fn least_privilege_policy(plan: &Plan, read_only: bool) -> Json {
    let writes = if read_only { Vec::new() } else { write_actions(plan) };
    let scans = plan.keys.is_none();
    let items = TABLE_READ_ACTIONS.iter().copied().chain(writes);
    let items: Vec<&str> = items.filter(|action| scans || *action != SCAN_ACTION).collect();
    let mut statements = vec![statement("BackfillTable", &items, &plan.table, &plan.table.name)];
    if let Some(other) = plan.other_table() {
        let writes: &[&str] = if read_only { &[] } else { OTHER_WRITE_ACTIONS };
        let actions = [OTHER_READ_ACTIONS, writes].concat();
        statements.push(statement("BackfillDerivedItems", &actions, &plan.table, other));
    }
    if let Some(index) = &plan.index {
        let index = format!("{}/index/{}", plan.table.name, index.name);
        statements.push(statement("BackfillIndex", &[SCAN_ACTION], &plan.table, &index));
    }
    if let Some(FlagLocation::Table { name, .. }) = &plan.cutover.flag {
        let actions = if read_only { FLAG_READ_ACTIONS } else { FLAG_ACTIONS };
        statements.push(statement("BackfillFlag", actions, &plan.table, name));
    }
    if plan.safety.backup && !read_only {
        let table = &plan.table.name;
        statements.push(statement("BackfillBackup", &[CREATE_BACKUP_ACTION], &plan.table, table));
        let backups = format!("{table}/backup/*");
        statements.push(statement("BackfillBackupStatus", &[DESCRIBE_BACKUP_ACTION], &plan.table, &backups));
    }
    let actions = health_check_actions(plan);
    if !actions.is_empty() {
        // IAM cannot limit `GetMetricData` to a resource (CloudWatch user guide, "Amazon CloudWatch permissions
        // reference").
        statements
            .push(json!({ "Sid": "BackfillHealthChecks", "Effect": "Allow", "Action": actions, "Resource": "*" }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Returns the actions of the plan's passes. A plan that deletes items or puts derived items never sends updates.
fn write_actions(plan: &Plan) -> Vec<&'static str> {
    if plan.other_table().is_some() {
        return vec![CHECK_ACTION];
    }
    if plan.puts_items() {
        return DERIVE_ACTIONS.to_vec();
    }
    match plan.deletion() {
        Some(keeps_image) => std::iter::once(DELETE_ACTION).chain(keeps_image.then_some(RESTORE_ACTION)).collect(),
        None => TABLE_WRITE_ACTIONS.iter().copied().chain(plan.may_batch().then_some(BATCH_ACTION)).collect(),
    }
}

/// Returns the actions that the plan's health checks need, without duplicates.
fn health_check_actions(plan: &Plan) -> Vec<&'static str> {
    let action = |probe: &HealthProbe| match probe {
        HealthProbe::Alarm { .. } => Some(ALARM_ACTION),
        HealthProbe::Metric { .. } => Some(METRIC_ACTION),
        HealthProbe::Http { .. } | HealthProbe::Command(_) => None,
    };
    let mut actions: Vec<&str> = plan.health_checks.iter().filter_map(|check| action(&check.probe)).collect();
    actions.sort_unstable();
    actions.dedup();
    actions
}

fn statement(id: &str, actions: &[&str], table: &TableRef, name: &str) -> Json {
    let region = table.region.as_deref().unwrap_or("*");
    let account = table.account.as_deref().unwrap_or("*");
    let resource = format!("arn:{}:dynamodb:{region}:{account}:table/{name}", partition(region));
    json!({ "Sid": id, "Effect": "Allow", "Action": actions, "Resource": resource })
}

/// Returns the AWS partition to which a region belongs (AWS General Reference, "Amazon Resource Names").
fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ if region.starts_with("us-isob-") => "aws-iso-b",
        _ if region.starts_with("us-iso-") => "aws-iso",
        _ if region.starts_with("eusc-") => "aws-eusc",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load;

    fn policy(table: &str, flag: &str, read_only: bool) -> Json {
        let text = format!(
            "[migration]\nname = \"m\"\nstrategy = \"expand-contract\"\n[table]\nname = \"shop\"\n{table}\n\
             [[change]]\nmove = \"a\"\nto = \"b\"\n{flag}"
        );
        least_privilege_policy(&load("t.toml", &text).unwrap().plan, read_only)
    }

    #[test]
    fn a_plan_with_keys_never_scans() {
        for read_only in [true, false] {
            let actions = |rest: &str| policy("", rest, read_only)["Statement"][0]["Action"].to_string();
            assert!(!actions("[select]\nkeys = \"k.csv\"\n").contains("Scan"));
            assert!(actions("").contains("Scan"));
        }
    }

    #[test]
    fn the_policy_names_the_table_and_the_flag() {
        let place = "region = \"cn-north-1\"\naccount = \"123456789012\"";
        let found = policy(place, "[cutover]\ntable = \"flags\"\n", false);
        let [items, flag] = &found["Statement"].as_array().unwrap()[..] else { panic!("{found:#}") };
        assert_eq!(items["Resource"], "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/shop");
        assert_eq!(flag["Resource"], "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/flags");
        assert!(items["Action"].as_array().unwrap().contains(&"dynamodb:UpdateItem".into()));
        assert_eq!(flag["Action"], json!(FLAG_ACTIONS));
    }

    /// A run reads and checks the sources in one table, and puts and deletes derived items only in the other one.
    #[test]
    fn derived_items_in_another_table_need_no_writes_to_the_plans_table() {
        let text = "[migration]\nname = \"m\"\non_not_computable = \"fail\"\n[table]\nname = \"shop\"\n\
                    account = \"123456789012\"\n[[change]]\n\
                    put = { table = \"lookup\", key = { email = \"item.email\" } }\n";
        let plan = load("t.toml", text).unwrap().plan;
        let policy = |read_only| least_privilege_policy(&plan, read_only);
        let found = policy(false);
        let [sources, derived] = &found["Statement"].as_array().unwrap()[..] else { panic!("{found:#}") };
        assert_eq!(sources["Resource"], "arn:aws:dynamodb:*:123456789012:table/shop");
        assert_eq!(derived["Resource"], "arn:aws:dynamodb:*:123456789012:table/lookup");
        let has = |statement: &Json, action: &str| statement["Action"].as_array().unwrap().contains(&action.into());
        assert!(has(sources, CHECK_ACTION) && has(sources, SCAN_ACTION) && !has(derived, SCAN_ACTION));
        for write in ["dynamodb:PutItem", "dynamodb:DeleteItem"] {
            assert!(has(derived, write) && !has(sources, write), "{found:#}");
        }
        let found = policy(true).to_string();
        assert!(!["Put", "Delete", "Check"].iter().any(|write| found.contains(write)), "{found}");
        assert!(found.contains("table/lookup"), "{found}");
    }

    #[test]
    fn a_read_only_policy_writes_nothing() {
        let found = policy("", "[cutover]\ntable = \"flags\"\n", true).to_string();
        assert!(!["Update", "Put", "Delete"].iter().any(|write| found.contains(write)), "{found}");
        assert!(found.contains("arn:aws:dynamodb:*:*:table/shop"), "{found}");
    }

    #[test]
    fn the_policy_allows_what_the_health_checks_ask() {
        let alarm = |name: &str| format!("[[health_check]]\nname = \"{name}\"\nalarm = \"x\"\n");
        let metric = "[[health_check]]\nname = \"m\"\nunhealthy_above = 1\n\
                      metric = { namespace = \"AWS/DynamoDB\", name = \"n\", statistic = \"Sum\" }\n";
        let found = policy("", &format!("{}{metric}{}", alarm("a"), alarm("b")), true);
        let last = &found["Statement"][1];
        assert_eq!((&last["Action"], &last["Resource"]), (&json!([ALARM_ACTION, METRIC_ACTION]), &json!("*")));
        let others = "[[health_check]]\nname = \"c\"\ncommand = [\"/bin/true\"]\n";
        assert_eq!(policy("", others, false), policy("", "", false));
        // The checks send only these calls.
        let sent = include_str!("../health/cloudwatch.rs");
        let sent = |call: &str| sent.matches(call).count();
        assert_eq!((sent(".describe_alarms()"), sent(".get_metric_data()"), sent(".send()")), (1, 1, 2));
    }

    #[test]
    fn the_policy_allows_backups_only_if_the_plan_asks_for_them() {
        let found = policy("account = \"123456789012\"", "[safety]\nbackup = true\n", false);
        let [_, backup, status] = &found["Statement"].as_array().unwrap()[..] else { panic!("{found:#}") };
        assert_eq!(backup["Resource"], "arn:aws:dynamodb:*:123456789012:table/shop");
        assert_eq!(status["Resource"], "arn:aws:dynamodb:*:123456789012:table/shop/backup/*");
        assert_eq!(
            (&backup["Action"], &status["Action"]),
            (&json!([CREATE_BACKUP_ACTION]), &json!([DESCRIBE_BACKUP_ACTION]))
        );
        for (more, read_only) in [("[safety]\nbackup = true\n", true), ("[safety]\nbackup = false\n", false)] {
            assert!(!policy("", more, read_only).to_string().contains("Backup\""), "{more}");
        }
    }

    #[test]
    fn only_a_plan_with_batches_may_update_with_partiql() {
        let has = |rest: &str, read_only: bool| policy("", rest, read_only).to_string().contains("PartiQL");
        for (transport, expected) in [("auto", true), ("batch", true), ("update", false)] {
            let write = format!("[write]\ntransport = \"{transport}\"\n");
            assert_eq!((has(&write, false), has(&write, true)), (expected, false), "{transport}");
        }
        assert!(!has("", false));
    }

    /// The policy allows exactly the calls that the SDK module sends.
    #[test]
    fn the_policy_allows_exactly_the_requests_that_are_sent() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dynamodb/sdk");
        let mut sent = std::collections::BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
            for (at, _) in text.match_indices("()") {
                let name: String =
                    text[..at].chars().rev().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let name: String = name.chars().rev().collect();
                let begins = [
                    "create_",
                    "describe_",
                    "get_item",
                    "put_item",
                    "update_item",
                    "delete_item",
                    "batch_",
                    "execute_",
                    "transact_",
                ];
                if name == "scan" || name == "query" || begins.iter().any(|begin| name.starts_with(begin)) {
                    let words = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
                    let call = words.collect::<String>();
                    // A transaction has no action of its own. Besides the puts, it has condition checks.
                    let action = match call.as_str() {
                        "TransactWriteItems" => "ConditionCheckItem",
                        "BatchExecuteStatement" => "PartiQLUpdate",
                        other => other,
                    };
                    sent.insert(format!("dynamodb:{action}"));
                }
            }
        }
        let allowed: std::collections::BTreeSet<String> =
            [TABLE_READ_ACTIONS, TABLE_WRITE_ACTIONS, FLAG_ACTIONS, &[DELETE_ACTION, RESTORE_ACTION], DERIVE_ACTIONS]
                .concat()
                .into_iter()
                .chain([CREATE_BACKUP_ACTION, DESCRIBE_BACKUP_ACTION, BATCH_ACTION])
                .map(str::to_owned)
                .collect();
        assert_eq!(sent, allowed);
    }
}
