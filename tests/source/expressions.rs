//! Checks that `docs/expressions.md` lists the functions of expressions, and that its examples are correct.

use std::path::Path;

use backfill::internals::expr::{Expected, Expr, differences, reference};

const PAGE: &str = "docs/expressions.md";

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap()
}

/// Returns the page's text with a new generated part.
fn with_part(page: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}\n{part}\n{end}{after}")
}

#[test]
fn the_page_lists_the_functions_and_differences_of_the_code() {
    let page = page();
    let due = with_part(&with_part(&page, "functions", &reference()), "differences", &differences());
    if std::env::var_os("BACKFILL_WRITE_DOCS").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE), &due).unwrap();
    } else {
        assert!(page == due, "{PAGE} is out of date; run BACKFILL_WRITE_DOCS=1 cargo test --test source expressions");
    }
}

#[test]
fn the_blocks_of_the_page_are_expressions() {
    let page = page();
    let blocks: Vec<&str> = page.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let lines: Vec<&str> = blocks.iter().flat_map(|block| block.lines()).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        assert!(Expr::compile(line, Expected::Value).is_ok(), "{line}");
    }
}

/// The limits on the page must equal those in the code, which the messages contain.
#[test]
fn the_page_states_the_limits() {
    let page = page();
    let title = |source: &str| Expr::compile(source, Expected::Value).unwrap_err().remove(0).title;
    for (source, in_message, on_page) in [
        (format!("\"{}\"", "x".repeat(5_000)), "at most 4096 are", "4,096 bytes"),
        ("1+".repeat(600), "at most 1000 are", "1,000 tokens"),
        (format!("{}1{}", "(".repeat(40), ")".repeat(40)), "at most 24 levels", "brackets 24"),
        (format!("1{}", " + 1".repeat(300)), "at most 100 levels", "| 100; "),
        ("[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))".to_owned(), "at most 3 levels", "macros 3"),
    ] {
        let title = title(&source);
        assert!(title.contains(in_message) && page.contains(on_page), "{title}");
    }
}
