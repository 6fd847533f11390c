//! Tests that only `before_step` can refuse a step.

use super::*;

/// RUNBOOK: "If this program fails, cannot be started or takes longer than `timeout`, the step is refused, and nothing was done."
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_can_refuse_a_step_but_never_the_way_back() {
    let hooks = "[hooks]\nbefore_step = [\"$dir/approve\", \"ticket 7\"]\ntimeout = \"20s\"\n[cutover]\ntable = \"$flags\"\nmax_cache_seconds = 1\n";
    let hooked = Hooked::new(20, hooks).await;
    let dir = text(hooked.harness.dir());
    let asks = |answer: &str| {
        let body = format!("printf '%s|%s\\n' $BACKFILL_EVENT \"$1\" >>{dir}/asked\ncat >>{dir}/events\n{answer}");
        script(&hooked.harness, "approve", &body);
    };
    let asked = || std::fs::read_to_string(hooked.harness.dir().join("asked")).unwrap_or_default();
    asks("printf 'the freeze \\033[2Jlasts until Monday' >&2; exit 1");
    let plan = text(&hooked.plan);
    let to_dual_write = ["cutover", plan, "--to", "dual-write", "--yes"];
    for args in [&to_dual_write[..], &["run", plan, "--yes"]] {
        let refusal = refused(&hooked.harness, 3, args).in_one_paragraph();
        let step = format!("refuses the step `{}`", args[0]);
        let says =
            ["the hook `before_step`", &step, "the freeze \\u{1b}[2Jlasts until Monday", "Nothing was done", "`veto`"];
        refusal.says(&says);
    }
    let document = tool(&hooked.harness, &["run", plan, "--yes", "--output", "json"]).exits(3).json();
    assert_eq!(document["error"]["kind"], "vetoed");
    nothing_was_written(&hooked.harness);
    assert!(!hooked.harness.dir().join(".backfill").exists(), "a refused step creates nothing");
    assert_eq!(asked(), "before_step|ticket 7\n".repeat(3));
    let steps: Vec<Json> = hooked.documents().iter().map(|document| document["step"].clone()).collect();
    assert_eq!(steps, ["cutover", "run", "run"]);

    asks("sleep 1000");
    let shorter = std::fs::read_to_string(&hooked.plan).unwrap().replace("\"20s\"", "\"1s\"");
    std::fs::write(&hooked.plan, shorter).unwrap();
    refused(&hooked.harness, 3, &["run", plan, "--yes"]).says(&["did not end within its `timeout` (1 s)"]);
    std::fs::remove_file(hooked.harness.dir().join("approve")).unwrap();
    refused(&hooked.harness, 3, &["run", plan, "--yes"]).says(&["could not be started"]);
    nothing_was_written(&hooked.harness);

    let longer = std::fs::read_to_string(&hooked.plan).unwrap().replace("\"1s\"", "\"20s\"");
    std::fs::write(&hooked.plan, longer).unwrap();
    asks("exit 0");
    hooked.tool(&["cutover", "--to", "dual-write", "--yes"]).exits(0);
    hooked.tool(&["run", "--yes"]).exits(0);
    // The program does not run if no work is left. It never runs for a comparison or for a rollback.
    asks("exit 1");
    let before = asked();
    hooked.tool(&["run", "--yes"]).exits(0);
    hooked.tool(&["verify", "--all"]).exits(0);
    hooked.tool(&["run", "--dry-run"]).exits(0);
    assert_eq!(asked(), before);
    refused(&hooked.harness, 3, &["cutover", plan, "--to", "read-new", "--yes"]).says(&["refuses the step `cutover`"]);
    refused(&hooked.harness, 3, &["verify", plan, "--all", "--repair", "--yes"]).says(&["refuses the step `repair`"]);
    let before = asked();
    hooked.tool(&["cutover", "--back", "--yes"]).exits(0);
    hooked.tool(&["rollback", "--yes"]).exits(0);
    assert_eq!(asked(), before);
    assert!(hooked.harness.dump(&hooked.table).await.values().all(|item| !item.contains_key("new")));
    let status = hooked.tool(&["status", "--output", "json"]).exits(0).json();
    assert_eq!(status["cleanup"][0]["what"], "code that reads or writes new", "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_veto_covers_only_the_steps_of_the_plan() {
    let hooks = "[hooks]\nbefore_step = [\"/bin/false\"]\nveto = [\"contract\"]\n[cutover]\ntable = \"$flags\"\nmax_cache_seconds = 1\nsoak = \"0s\"\n";
    let hooked = Hooked::new(20, hooks).await;
    for args in [
        &["cutover", "--to", "dual-write", "--yes"][..],
        &["run", "--yes"],
        &["verify", "--all"],
        &["cutover", "--to", "read-new", "--percent", "100", "--yes"],
        &["cutover", "--to", "write-new", "--yes"],
    ] {
        hooked.tool(args).exits(0);
    }
    refused(&hooked.harness, 3, &["contract", text(&hooked.plan), "--yes"]).says(&["refuses the step `contract`"]);
    assert!(hooked.harness.dump(&hooked.table).await.values().all(|item| item.contains_key("old")));
    let status = hooked.tool(&["status", "--output", "json"]).exits(0).json();
    assert_eq!(status["playbook"]["flag_seen"]["flag"]["contracting"], false, "the flag was not changed");
}
