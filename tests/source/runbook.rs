//! Checks that RUNBOOK.md contains, word for word, every promise that a test quotes. So neither the text nor the test
//! can change without the other.

use std::path::Path;

/// The beginning of a quotation in a test's doc comment.
const MARK: &str = "/// RUNBOOK: \"";

fn quotations(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            quotations(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("runbook.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let quoted = text.lines().filter_map(|line| line.trim().strip_prefix(MARK)?.rsplit_once('"'));
            found.extend(quoted.map(|(quote, _)| (path.display().to_string(), quote.to_owned())));
        }
    }
}

/// Removes differences in line breaks and emphasis.
fn plain(text: &str) -> String {
    text.replace("**", "").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_runbook_contains_every_quoted_promise() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runbook = plain(&std::fs::read_to_string(root.join("RUNBOOK.md")).unwrap());
    let mut found = Vec::new();
    quotations(&root.join("tests"), &mut found);
    quotations(&root.join("src"), &mut found);
    assert!(found.len() >= 50, "only {} promises are quoted", found.len());
    for (file, quote) in found {
        assert!(runbook.contains(&plain(&quote)), "{file} quotes a text that the runbook does not contain: {quote}");
    }
}
