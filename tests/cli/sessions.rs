//! Runs the example sessions in the documents, and compares the output with the documents.

use std::path::Path;

use backfill::internals::local::{Local, LocalOptions};

/// The page that contains the session.
const PAGE: &str = "docs/first-migration.md";

/// The endpoint in the plan on the page.
const ENDPOINT: &str = "http://127.0.0.1:8000";

/// The seed of the sample table on the page.
const SEED: u64 = 0;

/// Returns the page's first code block in this language.
fn block<'a>(page: &'a str, language: &str) -> &'a str {
    let start = page.find(&format!("```{language}\n")).unwrap() + language.len() + 4;
    &page[start..start + page[start..].find("```").unwrap()]
}

/// Runs the page's commands one after another, in a folder that contains only the page's plan. The plan names the
/// endpoint, so the commands reach only the test's server, whatever AWS settings the environment has. The test's server
/// has the same sample table as the server on the page. `TRYCMD=overwrite cargo test --test cli sessions` accepts the
/// new output. Afterwards, replace text that differs from run to run with `[..]`.
#[test]
fn the_first_migration_prints_what_the_page_shows() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let text = std::fs::read_to_string(&page).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("first-migration.md");
    std::fs::write(&copy, &text).unwrap();
    // trycmd runs the commands in a copy of this folder.
    std::fs::create_dir(folder.path().join("first-migration.in")).unwrap();
    let local = Local::start(LocalOptions { items: Some(200), seed: SEED, ..LocalOptions::default() }).unwrap();
    let plan = block(&text, "toml");
    assert!(plan.contains(ENDPOINT), "{plan}");
    let plan = plan.replace(ENDPOINT, &local.endpoint());
    std::fs::write(folder.path().join("first-migration.in/plan.toml"), plan).unwrap();
    trycmd::TestCases::new().env("BACKFILL_LOG", "off,backfill=info").env("NO_COLOR", "1").case(&copy).run();
    if std::env::var_os("TRYCMD").is_some_and(|action| action == "overwrite") {
        std::fs::copy(copy, page).unwrap();
    }
}
