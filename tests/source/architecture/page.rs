//! Checks that `docs/architecture.md` shows the actual dependencies of the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::graph::Graph;
use super::rules::{EXCEPTIONS, LAYERS};
use super::{graph_of, root, source_files};

const PAGE: &str = "docs/architecture.md";
const BEGIN: &str = "<!-- dependencies: begin -->\n";
const END: &str = "<!-- dependencies: end -->\n";

#[test]
fn the_architecture_page_shows_the_dependencies_of_the_code() {
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let due = format!("{before}{BEGIN}\n{}\n{END}{after}", dependencies(&graph_of(&source_files())));
    if std::env::var_os("BACKFILL_WRITE_DOCS").is_some() {
        std::fs::write(root().join(PAGE), &due).unwrap();
    } else {
        assert!(page == due, "{PAGE} is out of date; run BACKFILL_WRITE_DOCS=1 cargo test --test source architecture");
    }
}

/// The page's table lists exactly the top-level modules.
#[test]
fn the_architecture_page_names_every_module() {
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap();
    let (_, table) = page.split_once("## Modules\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let first_cells = table.lines().filter_map(|line| line.split('|').nth(1));
    let named: BTreeSet<&str> = first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let graph = graph_of(&source_files());
    let mut modules = graph.top();
    modules.insert("main.rs");
    assert_eq!(named, modules);
}

/// Returns the dependencies from top to bottom, as a diagram and as a table. The diagram omits dependencies that follow
/// from other arrows. The table contains all dependencies.
fn dependencies(graph: &Graph) -> String {
    let between = graph.between_children(&[]);
    let excepted = |from: &str, to: &str| EXCEPTIONS.iter().any(|known| (known.0, known.1) == (from, to));
    let mut below: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in between.keys().filter(|(from, to)| !excepted(from, to)) {
        below.entry(from).or_default().insert(to);
    }
    let all_below = closure(&below);
    let reached = |via: &str, to: &str| all_below.get(via).is_some_and(|all| all.contains(to));
    let modules = || LAYERS.iter().copied().flatten().copied();
    let mut text = "```mermaid\nflowchart TD\n".to_owned();
    for from in modules() {
        let to = below.get(from).cloned().unwrap_or_default();
        let shown = to.iter().filter(|to_one| !to.iter().any(|via| reached(via, to_one)));
        shown.for_each(|to| writeln!(text, "    {from} --> {to}").unwrap());
    }
    for (from, to, _) in EXCEPTIONS.iter().filter(|known| between.contains_key(&(known.0, known.1))) {
        writeln!(text, "    {from} -. exception .-> {to}").unwrap();
    }
    text += "```\n\nThe diagram leaves out each dependency that is also reached through another module. The table has all of them:\n\n";
    text += "| module | depends on |\n| --- | --- |\n";
    for from in modules() {
        let all = modules().filter(|to| between.contains_key(&(from, *to)));
        let all: Vec<String> = all.map(|to| format!("`{to}`")).collect();
        writeln!(text, "| `{from}` | {} |", if all.is_empty() { "nothing".to_owned() } else { all.join(", ") })
            .unwrap();
    }
    text
}

/// Maps each module to all modules on which it depends directly or through other modules.
fn closure<'a>(below: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut all = below.clone();
    loop {
        let before = all.clone();
        for to in all.values_mut() {
            let through: Vec<&str> = to.iter().filter_map(|one| before.get(one)).flatten().copied().collect();
            to.extend(through);
        }
        if all == before {
            return all;
        }
    }
}
