//! Tests `shim`. `tests/source/shim/` compiles and runs the code.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const FLAG: &str = "[cutover]\ntable = \"flags\"\n";

/// Returns a plan with a key and a flag.
fn plan(harness: &Harness) -> PathBuf {
    harness.plan("rename", "shop", "", &format!("key = [\"pk\", \"sk\"]\n{MOVE}{FLAG}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_goes_to_stdout_or_to_a_new_file() {
    let harness = Harness::embedded();
    let plan = plan(&harness);
    let printed = tool(&harness, &["shim", text(&plan), "--lang", "python"]).exits(0).stdout;
    assert!(printed.contains("def read_new(item, flag, key=None):"), "{printed}");
    let file = harness.dir().join("rename_shim.py");
    let out = ["shim", text(&plan), "--lang", "python", "--out", text(&file)];
    let ran = tool(&harness, &out).exits(0);
    assert_eq!((ran.stdout.as_str(), std::fs::read_to_string(&file).unwrap()), ("", printed.clone()));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);

    std::fs::write(&file, "edited").unwrap();
    let refused = tool(&harness, &out).exits(2).messages();
    assert!(refused.contains("exists already. Nothing was written") && refused.contains("--force"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "edited");
    tool(&harness, &[&out[..], &["--force"]].concat()).exits(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), printed);
    // No temporary file and no state file remains. The table received no request.
    let mut left: Vec<_> = std::fs::read_dir(harness.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["rename.toml", "rename_shim.py"]);
    nothing_was_written(&harness);
    assert_eq!(harness.proxy().tally().requests(), 0);
}

fn code(document: &Json) -> &str {
    document["code"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_contains_the_code() {
    let harness = Harness::embedded();
    let plan = plan(&harness);
    for (lang, name) in [
        ("python", "rename_shim.py"),
        ("typescript", "rename-shim.ts"),
        ("java", "RenameShim.java"),
        ("go", "renameshim.go"),
        ("rust", "rename_shim.rs"),
    ] {
        let document = tool(&harness, &["shim", text(&plan), "--lang", lang, "--output", "json"]).exits(0).json();
        // Go code is indented with tabs, but `tool` refuses tabs in the output.
        let printed = harness.command().args(["shim", text(&plan), "--lang", lang]).output().unwrap();
        assert_eq!(
            (printed.status.code(), String::from_utf8(printed.stdout).unwrap().as_str()),
            (Some(0), code(&document))
        );
        assert_eq!((&document["file_name"], &document["file"]), (&json!(name), &Json::Null));
    }
    let file = harness.dir().join("RenameShim.java");
    let out = ["shim", text(&plan), "--lang", "java", "--output", "json", "--out", text(&file)];
    assert_eq!(tool(&harness, &out).exits(0).json()["file"], text(&file));
    let other = harness.dir().join("Flags.java");
    let refused = tool(&harness, &["shim", text(&plan), "--lang", "java", "--out", text(&other)]).exits(2).messages();
    assert!(refused.contains("Java needs the file name RenameShim.java"), "{refused}");
    assert!(!other.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_a_cutover_is_refused() {
    let harness = Harness::embedded();
    let shim = |plan: &PathBuf| tool(&harness, &["shim", text(plan), "--lang", "go"]).exits(3).messages();
    let in_place = harness.plan("in-place", "shop", "strategy = \"in-place\"\n", &format!("key = [\"pk\"]\n{MOVE}"));
    let said = shim(&in_place);
    assert!(said.contains("no code was generated: the plan has no cutover"), "{said}");
    let set = harness.plan("set", "shop", "", "key = [\"pk\"]\n[[change]]\nset = \"a\"\nvalue = 1\n");
    assert!(shim(&set).contains("the plan moves no attribute"));
    let bare = shim(&harness.plan("bare", "shop", "", MOVE));
    assert!(bare.contains("the plan has no flag") && bare.contains("does not name the table's key"), "{bare}");
}
