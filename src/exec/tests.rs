//! Tests the pools with real processes.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::change::{Change, Exec, OnExisting, input_digest};
use crate::item::{Item, Num, Value};

/// Answers every line with the length of `t`, and every empty line with an empty line.
const GOOD: &str = r#"import sys, json
for line in sys.stdin:
    if line.strip():
        asked = json.loads(line)
        n = str(len(asked["item"]["t"]["S"]))
        print(json.dumps({"id": asked["id"], "outputs": {"n": {"N": n}}}))
    else:
        print(flush=True)
"#;

struct Scene {
    dir: tempfile::TempDir,
    exec: Exec,
}

impl Scene {
    /// A Python program.
    fn python(program: &str) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("program.py"), program).unwrap();
        let path = |name: &str| crate::item::Path::attribute(name);
        let exec = Exec {
            argv: vec!["python3".to_owned(), "program.py".to_owned()],
            inputs: vec![path("t")],
            outputs: vec![path("n")],
            marker: Some(path("m")),
            files: Vec::new(),
            env: vec!["PATH".to_owned()],
            workers: 2,
            batch: 10,
            timeout: Duration::from_secs(20),
            start_timeout: Duration::from_secs(20),
            program: None,
        };
        Scene { dir, exec }
    }

    fn with(mut self, edit: impl FnOnce(&mut Exec)) -> Scene {
        edit(&mut self.exec);
        self
    }

    fn pools(&self) -> Pools {
        let exec = std::sync::Arc::new(self.exec.clone());
        let mut changes = vec![Change::Exec { exec, on_existing: OnExisting::Keep }];
        find_programs(&mut changes, self.dir.path());
        Pools::new(&changes).unwrap()
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

fn questions(texts: impl IntoIterator<Item = String>) -> Vec<ProgramQuestion> {
    let question = |text| {
        let inputs = Item::from([("t".to_owned(), Value::S(text))]);
        ProgramQuestion { position: 0, digest: input_digest(&inputs), inputs, compares: false }
    };
    texts.into_iter().map(question).collect()
}

/// Returns `n` questions. The text of each question has as many characters as its position.
fn many(n: usize) -> Vec<ProgramQuestion> {
    questions((0..n).map(|n| "x".repeat(n)))
}

fn length(n: usize) -> ProgramAnswer {
    Ok(Item::from([("n".to_owned(), Value::N(Num::parse(&n.to_string()).unwrap()))]))
}

/// Returns the number of correct answers. Panics if an answer is wrong.
fn right(answers: &[ProgramAnswer]) -> usize {
    let check = |(n, answer): (usize, &ProgramAnswer)| match answer {
        Ok(_) => {
            assert_eq!(*answer, length(n));
            true
        }
        Err(_) => false,
    };
    answers.iter().enumerate().filter(|pair| check(*pair)).count()
}

fn errors(answers: &[ProgramAnswer]) -> Vec<&str> {
    answers.iter().filter_map(|answer| answer.as_ref().err()).map(String::as_str).collect()
}

/// Whether a process still runs. A killed process is a zombie until its parent has waited for it.
fn runs(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => false,
    }
}

async fn assert_ends(pid: &str) {
    for _ in 0..200 {
        if !runs(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("process {pid} still runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_question_gets_its_answer() {
    let scene = Scene::python(GOOD);
    let pools = scene.pools();
    for n in [1, 9, 10, 11, 95] {
        assert_eq!(right(&pools.ask(&many(n), &|| {}).await.unwrap()), n);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_fails_only_the_items_without_an_answer() {
    // The program fails at the item with five characters, after it has answered the earlier items of the batch.
    let crash = GOOD.replace(
        "        n = str",
        "        if len(asked[\"item\"][\"t\"][\"S\"]) == 5: sys.stdout.flush(); sys.exit(3)\n        n = str",
    );
    let scene = Scene::python(&crash);
    let pools = scene.pools();
    let answers = pools.ask(&many(30), &|| {}).await.unwrap();
    assert_eq!(right(&answers), 25, "{answers:?}");
    assert!(errors(&answers).iter().all(|why| why.contains("before it had answered")), "{answers:?}");
    assert_eq!(right(&pools.ask(&many(5), &|| {}).await.unwrap()), 5, "another process was started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_is_replaced() {
    let scene = Scene::python(&GOOD.replace(
        "for line in sys.stdin:",
        "import os, time\nopen(\"pid\", \"w\").write(str(os.getpid()))\nfor line in sys.stdin:\n    time.sleep(0.05)",
    ))
    .with(|exec| exec.workers = 1);
    let pools = scene.pools();
    let kill = async {
        while std::fs::read_to_string(scene.file("pid")).map_or(true, |pid| pid.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let pid: i32 = std::fs::read_to_string(scene.file("pid")).unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    };
    let asked = many(10);
    let (answers, ()) = tokio::join!(pools.ask(&asked, &|| {}), kill);
    assert_eq!(right(&answers.unwrap()), 0, "nothing was printed yet");
    assert_eq!(right(&pools.ask(&many(10), &|| {}).await.unwrap()), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_process_is_killed_with_its_children() {
    let scene = Scene::python(
        "import subprocess, time\nchild = subprocess.Popen([\"sleep\", \"1000\"])\n\
         open(\"new\", \"w\").write(str(child.pid))\nimport os\nos.rename(\"new\", \"pid\")\ntime.sleep(1000)\n",
    )
    .with(|exec| (exec.timeout, exec.start_timeout) = (Duration::from_millis(100), Duration::from_secs(3)));
    let answers = scene.pools().ask(&many(3), &|| {}).await.unwrap();
    assert!(errors(&answers).iter().all(|why| why.contains("within 3.1 s and was killed")), "{answers:?}");
    assert_ends(&std::fs::read_to_string(scene.file("pid")).unwrap()).await;
}

/// Child processes that hold no pipe are killed when their process crashes, and when it ends after a batch.
#[tokio::test(flavor = "multi_thread")]
async fn the_children_of_a_process_that_has_ended_are_killed() {
    let start_child = "import os, subprocess\nnull = subprocess.DEVNULL\n\
                       child = subprocess.Popen([\"sleep\", \"1000\"], stdin=null, stdout=null, stderr=null)\n\
                       open(\"pids\", \"a\").write(f\"{child.pid}\\n\")\n";
    for (from, to, expected) in [
        ("print(flush=True)", "print(flush=True); sys.exit(0)", 5),
        ("print(json", "sys.exit(3); print(json", 0),
        ("print(json", "os.kill(os.getpid(), 9); print(json", 0),
        ("print(json", "os.close(1); import time; time.sleep(1000); print(json", 0),
    ] {
        let program = format!("{start_child}{}", GOOD.replace(from, to));
        let scene = Scene::python(&program).with(|exec| exec.workers = 1);
        let pools = scene.pools();
        for _ in 0..2 {
            assert_eq!(right(&pools.ask(&many(5), &|| {}).await.unwrap()), expected, "{to}");
        }
        let pids = std::fs::read_to_string(scene.file("pids")).unwrap();
        let pids: Vec<&str> = pids.lines().collect();
        assert_eq!(pids.len(), 2, "{to}");
        assert_ends(pids[0]).await;
        drop(pools);
        assert_ends(pids[1]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_question_or_the_pools_ends_the_processes() {
    let hang = "import os, time\nopen(\"new\", \"w\").write(str(os.getpid()))\nos.rename(\"new\", \"pid\")\ntime.sleep(1000)\n";
    let scene = Scene::python(hang);
    let pools = scene.pools();
    let begun = async {
        while !scene.file("pid").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let asked = many(1);
    tokio::select! {
        _ = pools.ask(&asked, &|| {}) => panic!("it hangs"),
        () = begun => {}
    }
    assert_ends(&std::fs::read_to_string(scene.file("pid")).unwrap()).await;
    let idle = Scene::python(&format!("import os\nopen(\"pid\", \"w\").write(str(os.getpid()))\n{GOOD}"));
    let pools = idle.pools();
    assert_eq!(right(&pools.ask(&many(5), &|| {}).await.unwrap()), 5);
    let pid = std::fs::read_to_string(idle.file("pid")).unwrap();
    assert!(runs(&pid));
    drop(pools);
    assert_ends(&pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_wrong_ids_and_missing_lines_fail_only_their_items() {
    for (print, good) in [
        ("if n == \"3\": print(\"loading …\"); continue", 9),
        ("if n == \"3\": asked[\"id\"] += 1000", 9),
        ("if n == \"3\": asked[\"id\"] = \"3\"", 9),
        ("if n == \"3\": continue", 9),
        ("if n == \"3\": print(json.dumps({\"id\": asked[\"id\"], \"outputs\": {\"n\": {\"N\": n}}}))", 9),
        ("if n == \"3\": print(\"\\0\" * 1000)", 10),
        ("if n == \"3\": n = \"NaN\"", 9),
        ("asked[\"id\"] -= 1", 0),
    ] {
        let program = GOOD.replace("        print(json.dumps", &format!("        {print}\n        print(json.dumps"));
        let scene = Scene::python(&program).with(|exec| exec.workers = 1);
        let pools = scene.pools();
        for _ in 0..2 {
            let answers = pools.ask(&many(10), &|| {}).await.unwrap();
            if good > 0 {
                assert_eq!(right(&answers), good, "{print}: {answers:?}");
            } else {
                // The first id is outside the batch. Every other answer has the id of the previous item, which the tool
                // cannot detect.
                assert!(answers.iter().filter(|answer| answer.is_err()).count() >= 1, "{answers:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_output_is_cut() {
    for program in [
        "import sys\nwhile True: sys.stdout.write(\"x\" * 65536)\n",
        "import sys\nwhile True: sys.stdout.write(\"{\\\"id\\\":0}\\n\" * 4096)\n",
    ] {
        let began = Instant::now();
        let scene = Scene::python(program);
        let answers = scene.pools().ask(&many(5), &|| {}).await.unwrap();
        assert!(errors(&answers).iter().all(|why| why.contains("more than")), "{answers:?}");
        assert!(began.elapsed() < Duration::from_secs(15));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stderr_is_drained() {
    let noisy = GOOD.replace("        n = str", "        sys.stderr.write(\"x\" * 1_000_000)\n        n = str");
    let scene = Scene::python(&noisy);
    assert_eq!(right(&scene.pools().ask(&many(10), &|| {}).await.unwrap()), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_may_start_slowly_and_end_after_a_batch() {
    let slow = format!("import time\ntime.sleep(1)\n{GOOD}");
    let scene = Scene::python(&slow).with(|exec| exec.timeout = Duration::from_millis(500));
    let pools = scene.pools();
    for _ in 0..3 {
        assert_eq!(right(&pools.ask(&many(10), &|| {}).await.unwrap()), 10);
    }
    let ends = GOOD.replace("print(flush=True)", "print(flush=True); sys.exit(0)");
    let scene = Scene::python(&ends).with(|exec| exec.workers = 1);
    let pools = scene.pools();
    assert_eq!(right(&pools.ask(&many(55), &|| {}).await.unwrap()), 55);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_stdout_fails_the_batch() {
    let program = "import sys, os, time\nos.close(1)\ntime.sleep(1000)\n";
    let began = Instant::now();
    let scene = Scene::python(program);
    let answers = scene.pools().ask(&many(3), &|| {}).await.unwrap();
    assert!(errors(&answers).iter().all(|why| why.contains("closed its stdout")), "{answers:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "the time limit need not pass");
}

/// A program that never answers stops the run. A program that answers occasionally does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_never_answers_stops_the_run() {
    let scene = Scene::python("import sys\nsys.exit(1)\n");
    let error = scene.pools().ask(&many(300), &|| {}).await.unwrap_err();
    assert!(matches!(error, ExecError::Failing { batches: 10, items: 100, .. }), "{error}");
    // Ask about single items. Fewer than 100 items are allowed to crash the program.
    let pools = scene.pools();
    for _ in 0..12 {
        assert_eq!(right(&pools.ask(&many(1), &|| {}).await.unwrap()), 0);
    }
    pools.keep_asking();
    assert_eq!(right(&pools.ask(&many(120), &|| {}).await.unwrap()), 0, "a retry goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_started_is_an_error() {
    let scene = Scene::python(GOOD).with(|exec| exec.argv[0] = "./none".to_owned());
    let error = scene.pools().ask(&many(1), &|| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "the program ./none could not be started: it does not exist");
    let scene = Scene::python(GOOD);
    let pools = scene.pools();
    std::fs::write(scene.file("program.py"), format!("# changed\n{GOOD}")).unwrap();
    assert!(matches!(pools.ask(&many(1), &|| {}).await.unwrap_err(), ExecError::Changed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_only_the_named_variables_and_runs_in_the_folder_of_the_plan() {
    let scene = Scene::python("").with(|exec| {
        exec.argv = ["/bin/sh", "-c", "env >env.txt"].map(str::to_owned).to_vec();
        exec.env = vec!["CARGO_MANIFEST_DIR".to_owned(), "BACKFILL_NOT_SET".to_owned()];
    });
    assert_eq!(right(&scene.pools().ask(&many(1), &|| {}).await.unwrap()), 0);
    let environment = std::fs::read_to_string(scene.file("env.txt")).unwrap();
    let names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.contains(&"CARGO_MANIFEST_DIR"), "{names:?}");
    // The shell itself sets a few variables.
    assert!(
        names.iter().all(|name| matches!(*name, "CARGO_MANIFEST_DIR" | "PWD" | "SHLVL" | "_" | "OLDPWD")),
        "{names:?}"
    );
}

/// Endless devices and named pipes are refused, and are not read.
#[test]
fn files_that_are_not_regular_are_refused() {
    let scene = Scene::python(GOOD);
    let pipe = scene.file("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for name in ["/dev/zero", "pipe", "."] {
        let mut exec = scene.exec.clone();
        exec.files = vec![name.to_owned()];
        let why = super::files::find(&exec, scene.dir.path()).executable.unwrap_err();
        assert!(why.ends_with("cannot be read (it is not a regular file)"), "{why}");
    }
}

/// The file that was found is the file that starts, although the program starts in another folder.
#[test]
fn a_relative_folder_in_path_starts_in_the_working_directory() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("a-program");
    std::fs::write(&program, "").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let depth = std::env::current_dir().unwrap().components().count();
    let up: std::path::PathBuf = std::iter::repeat_n("..", depth).collect();
    let relative = up.join(dir.path().strip_prefix("/").unwrap());
    let found = super::files::find_in_path("a-program", relative.as_os_str()).unwrap();
    assert!(found.is_absolute(), "{}", found.display());
    assert_eq!(found.canonicalize().unwrap(), program.canonicalize().unwrap());
}

#[test]
fn the_digest_covers_the_files_of_the_program() {
    let digest = |scene: &Scene, folder: &Path| super::files::find(&scene.exec, folder).digest;
    let scene = Scene::python(GOOD).with(|exec| exec.files = vec!["model".to_owned()]);
    assert!(super::files::find(&scene.exec, scene.dir.path()).executable.unwrap_err().contains("model"));
    std::fs::write(scene.file("model"), "1").unwrap();
    let first = digest(&scene, scene.dir.path());
    assert_eq!(first, digest(&scene, scene.dir.path()));
    std::fs::write(scene.file("model"), "2").unwrap();
    let second = digest(&scene, scene.dir.path());
    std::fs::write(scene.file("program.py"), "other").unwrap();
    assert!(first != second && second != digest(&scene, scene.dir.path()));
}

/// A script that an interpreter should run must exist before the run begins.
#[test]
fn a_missing_script_is_noticed() {
    let scene = Scene::python(GOOD);
    let why = |argv: &[&str]| {
        let mut exec = scene.exec.clone();
        exec.argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
        super::files::find(&exec, scene.dir.path()).executable.err()
    };
    for argv in [&["python3", "missing.py"][..], &["python3", "-u", "lib/missing.PY"], &["sh", "-e", "missing.sh", "x"]]
    {
        let why = why(argv).unwrap_or_else(|| panic!("{argv:?}"));
        assert!(why.starts_with("its script /") && why.ends_with("does not exist"), "{why}");
    }
    // It is uncertain whether these arguments name files.
    for argv in [
        &["python3", "program.py", "missing.py"][..],
        &["python3", "-m", "json.tool"],
        &["sh", "-c", "exec ./missing.sh"],
        &["cat", "missing"],
    ] {
        assert_eq!(why(argv), None, "{argv:?}");
    }
}
