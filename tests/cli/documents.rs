//! Tests machine-readable output: JSON documents, JSON log lines, and errors while writing to stdout.

use std::time::Instant;

use super::*;

fn run_with(harness: &Harness, args: &[&str], change: impl FnOnce(&mut std::process::Command)) -> tool::ToolOutput {
    let mut command = harness.command();
    command.args(args);
    change(&mut command);
    tool::run(command)
}

/// The published schema lists exactly the kinds of errors that the source defines.
#[test]
fn the_schema_names_each_kind_of_error() {
    let schema: Json = serde_json::from_str(include_str!("../../docs/output.schema.json")).unwrap();
    let source = include_str!("../../src/commands/shared/command_result.rs");
    let named = source.lines().filter_map(|line| line.trim().strip_prefix("ErrorKind::")?.split_once(" => \""));
    let mut named: Vec<&str> =
        named.filter_map(|(_, rest)| rest.strip_suffix("\",")).filter(|name| !name.contains(' ')).collect();
    let mut listed: Vec<&str> = schema["$defs"]["problem"]["properties"]["kind"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind.as_str().unwrap())
        .collect();
    named.sort_unstable();
    listed.sort_unstable();
    assert_eq!(named, listed);
}

/// If a command fails before it begins, it writes one document with a kind, a message and a remedy.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_also_a_document() {
    let (harness, _, plan) = setup(3, "").await;
    let plan = text(&plan);
    std::fs::write(harness.dir().join("bad.toml"), "[migration]\nname = 3\n").unwrap();
    for (args, code, kind) in [
        (vec!["run"], 2, "usage"),
        (vec!["run", plan, "--no-such-option"], 2, "usage"),
        (vec!["check", "missing.toml"], 2, "plan"),
        (vec!["check", "bad.toml"], 2, "plan"),
        (vec!["run", plan], 3, "not_confirmed"),
        (vec!["contract", plan], 3, "out_of_order"),
        (vec!["check", plan, "--endpoint-url", "http://127.0.0.1:1"], 3, "table"),
        (vec!["journal", plan, "--state", "no/such/state.db"], 3, "state_unusable"),
    ] {
        let ran = tool(&harness, &[&args[..], &["--output", "json"]].concat()).exits(code);
        let document = ran.json();
        assert_eq!((&document["type"], &document["error"]["kind"]), (&json!("error"), &json!(kind)), "{document:#}");
    }
    let joined = run_with(&harness, &["run", "--output=json"], |_| {}).exits(2).json();
    assert_eq!(joined["error"]["kind"], "usage");
    nothing_was_written(&harness);
}

/// `next` is a complete command line. It repeats the state file, the endpoint and the region that the operator passed.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_command_repeats_the_options() {
    let (harness, _, plan) = setup(3, "").await;
    let options = ["--state", "my state.db", "--region", "eu-west-1", "--output", "json"];
    let checked = tool(&harness, &[&["check", text(&plan)], &options[..]].concat()).exits(0).json();
    let next = checked["next"].as_str().unwrap();
    assert!(next.ends_with("--dry-run --state 'my state.db' --region eu-west-1"), "{next}");
    let refused = tool(&harness, &[&["contract", text(&plan)], &options[..]].concat()).exits(3).json();
    assert!(refused["next"].as_str().unwrap().contains("--state 'my state.db'"), "{refused:#}");
}

/// With `--log-format json`, each line on stderr is a JSON object. The harness checks each of them against
/// docs/log.schema.json.
#[tokio::test(flavor = "multi_thread")]
async fn stderr_contains_only_json_lines() {
    let (harness, _, plan) = setup(3, "").await;
    let plan = text(&plan);
    for (args, command) in [
        (vec!["run", plan, "--yes"], json!("run")),
        (vec!["contract", plan], json!("contract")),
        (vec!["check", "missing.toml"], json!("check")),
        (vec!["run", plan, "--no-such-option"], Json::Null),
    ] {
        let lines = tool(&harness, &[&args[..], &["--log-format", "json"]].concat()).log_lines();
        assert!(lines.len() > 1, "{lines:?}");
        let version = &lines[0];
        assert_eq!((&version["type"], &version["fields"]["command"]), (&json!("version"), &command), "{version}");
        assert_eq!(version["fields"]["tool_version"], env!("CARGO_PKG_VERSION"));
    }
    // If the command has no other message to print, it omits the version line.
    let quiet = run_with(&harness, &["check", plan, "-q", "--log-format", "json"], |_| {}).exits(0);
    assert_eq!(quiet.stderr, "");
}

/// With `--log-format json`, each line has a type. A script can use it to follow the activities and the progress of a
/// run.
#[tokio::test(flavor = "multi_thread")]
async fn json_lines_have_types() {
    let (harness, _, plan) = setup(1_000, "[capacity]\nwrite = 60\n").await;
    let ran = tool(&harness, &["run", text(&plan), "--yes", "--log-format", "json"]).exits(0);
    let lines = ran.log_lines();
    let of =
        |name: &str| lines.iter().filter(|line| line["type"] == name).map(|line| &line["fields"]).collect::<Vec<_>>();
    let activities: Vec<&str> = of("activity").iter().map(|fields| fields["activity"].as_str().unwrap()).collect();
    assert!(activities.contains(&"waiting"), "{activities:?}");
    assert_eq!(activities.last(), Some(&"done"), "{activities:?}");
    // A progress line appears after ten seconds. At this budget, the run takes at least 14 seconds.
    let progress = of("progress");
    let last = progress.last().unwrap_or_else(|| panic!("no progress in {}", ran.stderr));
    assert!(last["items"].as_u64().is_some_and(|items| items > 0), "{last}");
    for field in ["wcu_per_s", "rcu_per_s", "average_items_per_s", "wcu", "dollars", "eta_low_s", "eta_high_s"] {
        assert!(last[field].is_number(), "{field} in {last}");
    }
    let low = last["eta_low_s"].as_u64().unwrap();
    assert!(low <= last["eta_high_s"].as_u64().unwrap(), "{last}");
    assert!(last["forecast_dollars"].as_f64().unwrap() > last["dollars"].as_f64().unwrap(), "{last}");
    assert_eq!((&last["failures"], &last["conflicts"]), (&json!(0), &json!(0)), "{last}");
}

/// If stdout is redirected to a full disk, the command reports an error.
#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_stdout_that_cannot_be_written_is_an_error() {
    let (harness, _, plan) = setup(3, "").await;
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = harness.command();
    let ran = command.args(["check", text(&plan)]).stdout(full()).output().unwrap();
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the result could not be written to stdout"), "{stderr}");
}

/// With `-q`, the tool prints only warnings, questions and errors on stderr. `--color` overrides NO_COLOR.
#[tokio::test(flavor = "multi_thread")]
async fn quiet_and_color_options_work() {
    let (harness, _, plan) = setup(3, "").await;
    let plan = text(&plan);
    let ran = run_with(&harness, &["check", plan, "-q"], |_| {}).exits(0);
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains("Next: "), "{}", ran.stdout);
    let refused = run_with(&harness, &["contract", plan, "--quiet"], |_| {}).exits(3);
    assert!(refused.stderr.starts_with("error: "), "{}", refused.stderr);
    let mut command = harness.command();
    let colored = command.args(["check", "missing.toml", "--color", "always"]).output().unwrap();
    assert_eq!(colored.status.code(), Some(2));
    std::fs::write(harness.dir().join("bad.toml"), "[migration]\nname = 3\n").unwrap();
    let stderr_of = |color: &str| {
        let mut command = harness.command();
        let ran = command.args(["check", "bad.toml", "--color", color]).env("NO_COLOR", "1").output().unwrap();
        String::from_utf8(ran.stderr).unwrap()
    };
    assert!(stderr_of("always").contains('\u{1b}') && !stderr_of("auto").contains('\u{1b}'));
}

/// The script in the README carries out a whole migration. During the soak and after a failure, it can run again. It
/// needs `sh` and `jq`.
#[expect(clippy::print_stderr, reason = "says why a test is skipped")]
#[tokio::test(flavor = "multi_thread")]
async fn the_script_in_the_readme_carries_out_a_whole_migration() {
    if std::process::Command::new("jq").arg("--version").output().is_err() {
        eprintln!("SKIPPED: jq is not installed");
        return;
    }
    let harness = Harness::embedded();
    let table = harness.create_table().await;
    let flags = harness.create_flag_table().await;
    harness.load(&table, items(20)).await;
    let cutover = format!("[cutover]\ntable = \"{flags}\"\nmax_cache_seconds = 1\nsoak = \"1h\"\n");
    let plan = harness.plan("plan", &table, "", &format!("{MOVE}{cutover}"));
    let readme = include_str!("../../README.md");
    let script = readme.split("```sh\nset -u\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_backfill")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let run_script = |code: i32| {
        let environment = harness.command();
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(format!("set -u\n{script}")).current_dir(harness.dir()).env_clear();
        shell.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = tokio::task::block_in_place(|| shell.env("PATH", &path).output()).unwrap();
        let (said, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert_eq!(ran.status.code(), Some(code), "{said}{stderr}");
        assert!(!stderr.contains("jq: "), "{stderr}");
        said.into_owned()
    };
    // An earlier run of the script was killed after the first step.
    tool(&harness, &["cutover", text(&plan), "--to", "dual-write", "--yes"]).exits(0);
    let said = run_script(0);
    assert!(said.contains("run done") && said.contains("run this script again after 2"), "{said}");
    assert!(run_script(0).starts_with("run this script again after 2"), "the soak has not ended");
    let soaking = std::fs::read_to_string(&plan).unwrap();
    // The message has several lines. `echo` of some shells would break the document.
    std::fs::write(&plan, "[migration]\nname = 3\n").unwrap();
    let said = run_script(2);
    assert!(said.contains("name") && said.lines().count() > 2, "{said}");
    std::fs::write(&plan, soaking.replace("soak = \"1h\"", "soak = \"0s\"")).unwrap();
    assert_eq!(run_script(0), "contract done\nnothing to do now\n");
    assert_eq!(run_script(0), "nothing to do now\n");
    assert!(harness.dump(&table).await.values().all(|item| !item.contains_key("old") && item.contains_key("new")));
}

/// A new migration begins with `check`, and the script follows `next` to the end of the steps that need no soak.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_commands_lead_from_check_to_the_soak() {
    let (harness, table, _) = setup(8, "").await;
    let flags = harness.create_flag_table().await;
    let cutover = format!("[cutover]\ntable = \"{flags}\"\nmax_cache_seconds = 1\n");
    harness.plan("plan", &table, "", &format!("{MOVE}{cutover}"));
    let mut document = tool(&harness, &["status", "plan.toml", "--output", "json"]).exits(3).json();
    let mut ran = Vec::new();
    while document["not_before"].is_null() {
        let next = document["next"].as_str().unwrap_or_else(|| panic!("{ran:?}: {document:#}")).to_owned();
        let words: Vec<&str> = next.split(' ').skip(1).collect();
        let asks = ["run", "cutover"].contains(&words[0]) && !words.contains(&"--dry-run");
        let options: &[&str] = if asks { &["--yes", "--output", "json"] } else { &["--output", "json"] };
        document = tool(&harness, &[&words[..], options].concat()).exits(0).json();
        ran.push(words.join(" "));
    }
    let expected = [
        "check plan.toml",
        "run plan.toml --dry-run",
        "cutover plan.toml --to dual-write",
        "run plan.toml",
        "verify plan.toml --all",
        "cutover plan.toml --to read-new --percent 10",
        "cutover plan.toml --to read-new",
        "cutover plan.toml --to write-new",
    ];
    assert_eq!(ran, expected);
    assert_eq!(document["next"], "backfill contract plan.toml", "{document:#}");
}

/// Checks that `failures` accepts the plan before and after the subcommand. Also checks the output of the commands that
/// print the policy, the completions and the manual.
#[tokio::test(flavor = "multi_thread")]
async fn small_commands_work() {
    let (harness, table, plan) = setup(3, "").await;
    let plan = text(&plan);
    tool(&harness, &["run", plan, "--yes"]).exits(0);
    for args in [["failures", "list", plan], ["failures", plan, "list"]] {
        let ran = tool(&harness, &args).exits(0);
        assert!(ran.stdout.contains("0 open failures"), "{}", ran.stdout);
    }
    let policy = tool(&harness, &["iam", plan, "--read-only", "--output", "json"]).exits(0).json();
    let resource = policy["policy"]["Statement"][0]["Resource"].as_str().unwrap();
    assert!(resource.ends_with(&format!("table/{table}")), "{resource}");
    let bash = run_with(&harness, &["completions", "bash"], |_| {}).exits(0).stdout;
    assert!(bash.contains("_backfill()") && bash.contains("cutover"), "{bash:.300}");
    let page = run_with(&harness, &["man"], |_| {}).exits(0).stdout;
    assert!(page.contains(".TH backfill 1"), "{page:.300}");
    run_with(&harness, &["man", "--dir", "."], |_| {}).exits(0);
    assert!(harness.dir().join("backfill-cutover.1").exists());
    run_with(&harness, &["man", "--dir", "no-such-folder"], |_| {}).exits(2);
}

/// If a signal arrives while the command is still opening the table, the command ends and writes a document.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_work_begins_ends_with_a_document() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (harness, _, plan) = setup(3, "").await;
        inject_fault(&harness, |request| match request.operation.as_str() {
            "DescribeTable" => Fault::Delay(Duration::from_secs(60)),
            _ => Fault::Pass,
        });
        let mut command = harness.command();
        command.args(["run", text(&plan), "--yes", "--output", "json"]);
        let running = RunningTool::start(command);
        let deadline = Instant::now() + Duration::from_secs(60);
        while harness.proxy().tally().operation("DescribeTable").requests == 0 {
            assert!(Instant::now() < deadline, "the tool does not describe the table");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running.signal(signal);
        let ended = tokio::task::block_in_place(|| running.end()).exits(130);
        assert_eq!(ended.json()["error"]["kind"], "interrupted");
        assert!(ended.messages().contains("shows the state and the next command"), "{ended:?}");
    }
}
