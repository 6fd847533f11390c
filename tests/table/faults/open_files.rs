//! Tests a low limit for open files. If the system allows it, the tool raises the limit. Otherwise, it opens fewer
//! files.

use super::*;

/// Makes a run with many concurrent writes. A shell first sets this limit and then starts the run.
async fn with_limit(ulimit: &str) -> ToolOutput {
    let scene =
        Scene::new(items(400), "", &format!("{MOVE}{QUICK}[scan]\nsegments = 16\n[capacity]\nwrite = 20000\n")).await;
    scene.fault(|request| match request.operation.as_str() {
        // The requests are slow, so that many of them are in flight at the same time.
        "UpdateItem" => Fault::Delay(Duration::from_millis(100)),
        _ => Fault::Pass,
    });
    let mut command = scene.harness.command();
    let tool = command.get_program().to_owned();
    command.args(["run", scene.plan(), "--yes", "--output", "json", "-vv"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", &format!("{ulimit}; exec \"$0\" \"$@\"")]).arg(tool).args(command.get_args());
    limited.current_dir(scene.harness.dir()).env_clear();
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = tokio::task::block_in_place(|| run(limited)).exits(0);
    assert_eq!(counts(&ran.json())["applied"], 400);
    assert!(!ran.stderr.contains("open files (os error"), "{:.3000}", ran.stderr);
    scene.assert_table(moved).await;
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_of_open_files_is_raised() {
    with_limit("ulimit -Sn 40").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrency_fits_a_limit_that_cannot_be_raised() {
    let ran = with_limit("ulimit -n 40").await;
    assert!(ran.stderr.contains("at most 40 open files"), "{:.2000}", ran.stderr);
}
