//! Tests `--set`, which replaces fields of the plan for one command.

use super::*;

/// One plan file serves two tables. The suggested commands repeat `--set`, so they use the same table.
#[tokio::test(flavor = "multi_thread")]
async fn one_plan_serves_two_tables() {
    let (harness, production, plan) = setup(10, "").await;
    let staging = harness.create_table().await;
    harness.load(&staging, items(5)).await;
    let name = format!("table.name={staging}");
    let set = ["--set", &name, "--set", "migration.name=plan-staging"];
    let ran = tool(&harness, &[&["run", text(&plan), "--yes", "--output", "json"], &set[..]].concat()).exits(0).json();
    assert_eq!(ran["totals"]["counts"]["applied"], 5, "{ran:#}");
    let next = ran["next"].as_str().unwrap();
    let option = format!("--set '{name}' --set 'migration.name=plan-staging'");
    assert!(next.starts_with("backfill cutover ") && next.ends_with(&option), "{next}");
    assert!(harness.dir().join(".backfill/plan-staging.db").exists());
    assert!(!harness.dir().join(".backfill/plan.db").exists());

    let status = tool(&harness, &[&["status", text(&plan)], &set[..]].concat()).exits(0);
    assert!(status.stdout.contains(&option), "{}", status.stdout);
    tool(&harness, &[&["verify", text(&plan), "--all"], &set[..]].concat()).exits(0);

    // Without the `--set` argument for the table, the plan names a different table. So the tool refuses the state file
    // of the staging table.
    refused(&harness, 7, &["run", text(&plan), "--yes", "--set", "migration.name=plan-staging"]).says(&[
        "belongs to another plan",
        &staging,
        &production,
        "`--set`",
    ]);
    let ran = tool(&harness, &["run", text(&plan), "--yes", "--output", "json"]).exits(0).json();
    assert_eq!(ran["totals"]["counts"]["applied"], 10, "{ran:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_points_at_the_argument() {
    let (harness, table, plan) = setup(1, "").await;
    let refusal = refused(&harness, 2, &["check", text(&plan), "--set", "table.nam=other"]);
    refusal.says(&[
        "unknown field `nam` in [table]",
        "--> command line:1:13",
        "--set table.nam=other",
        "did you mean `name`?",
        "nothing was written",
    ]);
    let refusal =
        refused(&harness, 2, &["check", text(&plan), "--set", "table.key=[\"other\"]", "--set", "scan.segments=2"]);
    refusal.says(&[&format!("table `{table}` has a different key"), "--> command line:1:17"]);
    for command in [&["init", "new.toml"][..], &["man"], &["completions", "bash"]] {
        let words = [command, &["--set", "table.name=shop"]].concat();
        refused(&harness, 2, &words).says(&[command[0], "--set has no effect", "Nothing was done"]);
    }
    assert!(!harness.dir().join("new.toml").exists());
    nothing_was_written(&harness);
}
