//! Checks that RUNBOOK.md contains, word for word, every promise that a test quotes. So the text and the test can
//! change only together.

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
            found.extend(quoted_in(&text).into_iter().map(|quote| (path.display().to_string(), quote)));
        }
    }
}

/// Returns the quotations in a source file. A quotation can continue on the next lines of its doc comment.
fn quoted_in(text: &str) -> Vec<String> {
    let mut lines = text.lines().map(str::trim);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(begin) = line.strip_prefix(MARK) else { continue };
        let mut quote = begin.to_owned();
        while !quote.contains('"') {
            let next = lines.next().and_then(|line| line.strip_prefix("/// "));
            quote += " ";
            quote += next.unwrap_or_else(|| panic!("a quotation without an end: {quote}"));
        }
        found.push(quote.rsplit_once('"').map_or_else(String::new, |(quote, _)| quote.to_owned()));
    }
    found
}

#[test]
fn a_quotation_can_have_several_lines() {
    let text = format!("    {MARK}one `a = \"b\"` two\"\n{MARK}it\n    /// continues\n    /// here\".\n");
    assert_eq!(quoted_in(&text), ["one `a = \"b\"` two", "it continues here"]);
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
