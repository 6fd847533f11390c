//! Bad plans and bad usage: exit 2.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_plan_gets_every_error_at_once() {
    let bed = Bed::embedded();
    let path = bed.dir().join("bad.toml");
    let bad = "[migration]\nname = \"a b\"\n[table]\nname = \"orders\"\nregoin = \"eu-west-1\"\n[[change]]\nmove = \"email\"\n\
               to = \"email\"\n[capacity]\nwrite = -5\n";
    std::fs::write(&path, bad).unwrap();
    for command in [vec!["check", "bad.toml"], vec!["run", "bad.toml", "--yes"], vec!["status", "bad.toml"]] {
        let refused = refused(&bed, 2, &command);
        // Each error with its line, the text, a caret below it, and a way out.
        for (place, title) in [
            ("bad.toml:2:8", "name"),
            ("bad.toml:5:1", "regoin"),
            ("bad.toml:8:6", "target"),
            ("bad.toml:10:9", "write"),
        ] {
            assert!(refused.text.contains(place) && refused.text.contains(title), "{place}: {}", refused.text);
        }
        assert!(
            refused.text.matches('^').count() >= 4 && refused.text.matches("help").count() >= 4,
            "{}",
            refused.text
        );
    }
    assert_eq!(bed.front().tally().requests(), 0, "an invalid plan never reaches the table");
    assert!(!bed.dir().join(".backfill").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_not_there() {
    let bed = Bed::embedded();
    for command in [
        vec!["check", "none.toml"],
        vec!["run", "none.toml", "--yes"],
        vec!["status", "none.toml"],
        vec!["failures", "none.toml", "list"],
    ] {
        refused(&bed, 2, &command).in_one_paragraph().says(&["none.toml", "No such file", "backfill init"]);
    }
    refused(&bed, 2, &["check", "."]).in_one_paragraph().says(&["directory"]);
    std::fs::write(bed.dir().join("binary.toml"), [0xff, 0xfe, 0, 1]).unwrap();
    refused(&bed, 2, &["check", "binary.toml"]).says(&["not a plan", "UTF-8"]);
    std::fs::write(bed.dir().join("empty.toml"), "").unwrap();
    refused(&bed, 2, &["check", "empty.toml"]).says(&["[migration]", "[table]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_does_not_fit_the_tables_key() {
    let bed = Bed::embedded();
    let table = bed.create_table().await;
    let other = bed.plan("other", &table, "", &format!("key = [\"id\"]\n{MOVE}"));
    let written = bed.plan("written", &table, "", "[[change]]\nset = \"sk\"\nvalue = \"x\"\n");
    let moved = bed.plan("moved", &table, "strategy = \"in-place\"", "[[change]]\nmove = \"pk\"\nto = \"id\"\n");
    for command in ["check", "run"] {
        let args = |plan| if command == "run" { vec![command, text(plan), "--yes"] } else { vec![command, text(plan)] };
        refused(&bed, 2, &args(&other)).says(&["the key of table", "other.toml:", "^", "key = [\"pk\", \"sk\"]"]);
        refused(&bed, 2, &args(&written)).says(&[
            "`sk` is a key attribute and cannot be written",
            "^",
            "choose another",
        ]);
        refused(&bed, 2, &args(&moved)).says(&["`pk` is a key attribute and cannot be moved away", "^", "`copy` it"]);
    }
    nothing_was_written(&bed);
    assert!(!bed.dir().join(".backfill").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_usage() {
    let (bed, _, plan) = scene(3, "").await;
    let plan = text(&plan);
    for (args, says) in [
        (vec!["run", plan, "--force"], "--force"),
        (vec!["walk", plan], "walk"),
        (vec!["run"], "<PLAN>"),
        (vec!["run", plan, "--again", "--restart"], "--restart"),
        (vec!["run", plan, "--dry-run", "--yes"], "--yes"),
        (vec!["run", plan, "--output", "xml"], "xml"),
        (vec!["failures", plan], "failures"),
        (vec!["failures", plan, "list", "--limit", "-1"], "-1"),
        (vec!["local", "--items", "0"], "0"),
    ] {
        let mut command = bed.command();
        command.args(&args);
        let ran = tool::run(command).exits(2);
        assert!(ran.stderr.contains(says) && ran.stderr.contains("--help"), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(bed.front().tally().requests(), bed.front().tally().operation("CreateTable").requests);
}

/// Every code of `--help` is one that these tests meet, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn help_documents_the_exit_codes() {
    let bed = Bed::embedded();
    let mut command = bed.command();
    command.arg("--help");
    let help = tool::run(command).exits(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for code in [
        "0 done",
        "1 unexpected",
        "2 bad usage or bad plan",
        "3 preflight refused",
        "4 finished, with failures",
        "5 diverged items",
        "6 stopped by a limit",
        "7 state is locked, damaged, or of another plan or table",
        "130 interrupted, resumable",
    ] {
        assert!(help.contains(code), "{code}: {help}");
    }
}
