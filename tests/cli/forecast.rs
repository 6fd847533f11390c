//! What the tool says before a run about what the run would do to a table.

use super::preflight::findings;
use super::*;

/// RUNBOOK: "Constants are shown as the plan has them"
#[tokio::test(flavor = "multi_thread")]
async fn constants_are_shown_and_a_template_draws_a_warning() {
    let bed = Bed::embedded();
    let table = bed.create_table().await;
    bed.load(&table, items(3)).await;
    let set = |value: &str| bed.plan("plan", &table, "", &format!("[[change]]\nset = \"greeting\"\nvalue = {value}\n"));
    let plan = set("\"Hello ${name}\\u001B[2J\"");
    let check = tool(&bed, &["check", text(&plan)]).exits(0).stdout;
    for part in [
        "set greeting to \"Hello ${name}\\u{1b}[2J\"",
        "warning      The constant of `greeting` looks like a template: \"Hello ${name}\\u{1b}[2J\" (constant-template)",
    ] {
        assert!(check.contains(part), "{part}: {check}");
    }
    let run = tool(&bed, &["run", text(&plan), "--yes"]).exits(0);
    assert!(run.said().contains("looks like a template"), "{}", run.said());
    let plan = set("7");
    assert_eq!(findings(&bed, text(&plan), 0, &[]).get("constant-template"), None);
    refused(&bed, 7, &["run", text(&plan), "--yes"]).in_one_paragraph().says(&[
        "belongs to another plan",
        "set greeting to \"Hello ${name}\\u{1b}[2J\"",
        "set greeting to 7",
    ]);
}
