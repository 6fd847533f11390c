//! Tests failed commits (full disk, I/O error). The run stops, and reports only durable changes as done.
//!
//! A file size limit simulates a full disk: every write beyond the limit fails.

use super::*;

/// The file size limit, in blocks of 512 bytes: half a megabyte. A new state file needs a fifth of it. The first few
/// pages fit into the log, but the size of all pages is several times the limit.
const BLOCKS: u32 = 1000;

/// Starts the run with a limit on the file size, in blocks of 512 bytes.
fn run_with_file_limit(scene: &Scene, before: &str, blocks: u32) -> ToolOutput {
    let binary = scene.harness.command().get_program().to_owned();
    let mut shell = scene.harness.command();
    let environment: Vec<_> = shell.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    shell = std::process::Command::new("sh");
    shell.current_dir(scene.harness.dir()).env_clear();
    shell.envs(environment.into_iter().filter_map(|(k, v)| v.map(|v| (k, v))));
    let script = format!("{before} ulimit -f {blocks}; exec \"$@\"");
    shell.args(["-c", &script, "sh"]).arg(binary);
    shell.args(["run", scene.plan(), "--yes", "--output", "json", "-vv"]);
    run(shell)
}

/// RUNBOOK: "the run stopped at the last commit".
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_stops_the_run() {
    // The plan overwrites values, so the file also grows with the pre-images.
    let more = "[scan]\nsegments = 4\npage_limit = 5\n";
    let scene = Scene::with_overwriting_move(400, more).await;
    // The kernel sends a signal at the limit. If the process ignores this signal, the write fails with an error, as on
    // a full disk.
    let ran = run_with_file_limit(&scene, "trap '' XFSZ;", BLOCKS).exits(6);
    let said = ran.messages();
    assert!(said.contains("could not be used: while storing progress"), "{said}");
    assert!(said.contains("resumes from the last checkpoint"), "{said}");
    assert_eq!(ran.json()["type"], "error", "no result is reported");
    let committed = scene.check_committed().await;
    assert!((1..400).contains(&committed), "{committed}");
    let written = scene.harness.proxy().tally().operation("UpdateItem").ok;
    assert!(written < 400, "the run continued to write");

    // If the process does not ignore the signal, the signal ends the process immediately, like a kill.
    let killed = run_with_file_limit(&scene, "", BLOCKS);
    assert_ne!(killed.code, 0, "{killed:?}");
    scene.check_committed().await;
    scene.resumes_correctly().await;
}

impl Scene {
    /// Creates a scene with this number of items. Each item has a different value at the target, and [`MOVE`]
    /// overwrites this value.
    async fn with_overwriting_move(count: usize, more: &str) -> Scene {
        let items = items(count).map(|mut item| {
            item.insert("new".into(), secret("x".repeat(300)));
            item
        });
        Scene::new(items, "on_existing = \"overwrite\"", &format!("{MOVE}{more}")).await
    }
}
