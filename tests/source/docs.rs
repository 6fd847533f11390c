//! Checks the documents: every page is in the book, every link target and anchor exists, every plan loads, and every
//! command line parses.

mod commands;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use backfill::internals::plan::{least_privilege_policy, load, template};
use serde_json::Value as Json;

use crate::plan_json::schema_errors;

use self::commands::{Line, command_lines, wrong_command};
use self::markdown::{anchors, blocks, code_spans, links};

/// Documents outside docs/ whose links are checked.
const TOP: [&str; 4] = ["README.md", "RUNBOOK.md", "CONTRIBUTING.md", "SECURITY.md"];

/// The file that lists the book's pages. It is not a page itself.
const SUMMARY: &str = "SUMMARY.md";

/// The first line of a code block that contains only a part of a plan.
const PART: &str = "# part of a plan";

/// The required sections that a part of a plan can omit. Each entry contains the section's header and an example of the
/// section.
const REQUIRED: [(&str, &str); 3] = [
    ("[migration]", "[migration]\nname = \"example\"\n"),
    ("[table]", "[table]\nname = \"shop\"\n"),
    ("[[change]]", "[[change]]\nmove = \"email\"\nto = \"contact_email\"\n"),
];

/// The first line of the capacity model in the README. The model is not a plan; `tests/cli/local_capacity/command.rs`
/// loads it.
const CAPACITY_MODEL: &str = "table = \"shop\"";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names of the pages in docs/.
fn pages() -> BTreeSet<String> {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(root().join("docs").join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let internals = names("internals").into_iter().map(|name| format!("internals/{name}"));
    names("").into_iter().chain(internals).filter(|name| name.ends_with(".md") && name != SUMMARY).collect()
}

/// Returns every document whose links are checked.
fn documents() -> Vec<PathBuf> {
    let pages = pages().into_iter().map(|page| Path::new("docs").join(page));
    TOP.iter().map(PathBuf::from).chain([Path::new("docs").join(SUMMARY)]).chain(pages).collect()
}

/// Returns the documents that contain plans and command lines.
fn manuals() -> Vec<PathBuf> {
    let pages = pages().into_iter().map(|page| Path::new("docs").join(page));
    ["README.md", "RUNBOOK.md"].iter().map(PathBuf::from).chain(pages).collect()
}

/// Returns an error if a link's target does not exist. Checks only links inside the project.
fn broken(document: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { document.to_owned() } else { document.parent()?.join(file) };
    if !root().join(&path).exists() {
        return Some(format!("{target}: there is no {}", path.display()));
    }
    let anchor = anchor?;
    let known = anchors(&read(&root().join(&path)));
    (!known.contains(anchor)).then(|| format!("{target}: {} has no such heading: {known:?}", path.display()))
}

/// Completes a part of a plan with the sections that it omits.
fn complete_plan(part: &str) -> String {
    let has = |header: &str| part.lines().any(|line| line.trim() == header);
    let missing = REQUIRED.iter().filter(|required| !has(required.0)).map(|required| required.1);
    missing.chain([part]).collect()
}

/// Returns an error if a code block does not load as a plan, or if the JSON Schema refuses it.
fn wrong_plan(label: &str, text: &str) -> Option<String> {
    let plan = if text.starts_with(PART) { complete_plan(text) } else { text.to_owned() };
    if let Err(errors) = load(label, &plan) {
        return Some(errors.to_string());
    }
    let refused = schema_errors(&plan.parse().unwrap());
    (!refused.is_empty()).then(|| format!("{label}: the JSON Schema refuses this plan: {refused:?}"))
}

#[test]
fn every_page_is_in_the_book() {
    // The script makes the list of the book's pages from SUMMARY.md.
    let script = read(&root().join("docs/book.sh"));
    assert!(script.contains("docs/SUMMARY.md"), "{script}");
    let listed = links(&read(&root().join("docs").join(SUMMARY)));
    let names: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(names.len(), listed.len(), "a page is listed twice: {listed:?}");
    assert_eq!(names, pages(), "docs/{SUMMARY} (left) and the pages of docs/ (right)");
}

#[test]
fn every_link_has_a_target() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        for target in links(&read(&root().join(&document))) {
            count += 1;
            wrong.extend(broken(&document, &target).map(|why| format!("{}: {why}", document.display())));
        }
    }
    assert!(count >= 120, "only {count} links were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_plan_loads() {
    let mut plans = 0;
    let mut parts = 0;
    let mut wrong = Vec::new();
    for document in manuals() {
        for block in blocks(&read(&root().join(&document))).0 {
            if block.language != "toml" || block.text.starts_with(CAPACITY_MODEL) {
                continue;
            }
            let count = if block.text.starts_with(PART) { &mut parts } else { &mut plans };
            *count += 1;
            wrong.extend(wrong_plan(&format!("{}:{}", document.display(), block.line), &block.text));
        }
    }
    assert!(plans >= 4 && parts >= 15, "only {plans} plans and {parts} parts of plans were found");
    assert!(wrong.is_empty(), "begin a part of a plan with `{PART}`\n{}", wrong.join("\n"));
}

#[test]
fn every_json_block_is_json() {
    let mut count = 0;
    for document in manuals() {
        for block in blocks(&read(&root().join(&document))).0.iter().filter(|block| block.language == "json") {
            count += 1;
            let read = serde_json::from_str::<Json>(&block.text);
            assert!(read.is_ok(), "{}:{}: {read:?}", document.display(), block.line);
        }
    }
    assert!(count >= 4, "only {count} blocks were found");
}

/// Checks that every command line in the manuals is valid in this version. Carries out no command.
#[test]
fn every_command_line_parses() {
    let mut found: BTreeMap<Line, PathBuf> = BTreeMap::new();
    for document in manuals() {
        for line in command_lines(&read(&root().join(&document))) {
            found.entry(line).or_insert_with(|| document.clone());
        }
    }
    let whole = found.keys().filter(|line| line.is_whole).count();
    assert!(
        whole >= 25 && found.len() >= 60,
        "only {} command lines were found, {whole} of them in blocks",
        found.len()
    );
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|(line, document)| {
            let why = wrong_command(line)?;
            Some(format!("{}: backfill {}\n{why}", document.display(), line.words.join(" ")))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the words in a page's code spans.
fn code_words(page: &str) -> BTreeSet<String> {
    let (_, rest) = blocks(&read(&root().join("docs").join(page)));
    let (spans, _) = code_spans(&rest);
    let words = spans.iter().flat_map(|span| span.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.map(str::to_owned).collect()
}

/// Returns the source files below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() && !path.ends_with("target") => sources(&path, found),
            Some(extension) if extension == "rs" => found.push(path),
            Some(_) | None => {}
        }
    }
}

/// Returns the words with an underscore in a text. In code, such words are names of functions, fields, modules and
/// constants.
fn long_names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.trim_matches('_').contains('_'))
}

/// The pages for contributors mention functions and tests. After a rename, this test fails if a page still contains the
/// old name.
#[test]
fn every_name_on_the_pages_for_contributors_exists() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        sources(&root().join(folder), &mut files);
    }
    let sources: Vec<String> = files.iter().map(|path| read(path)).collect();
    let known: BTreeSet<&str> = sources.iter().flat_map(|source| long_names(source)).collect();
    assert!(known.len() > 3_000, "{} names", known.len());
    let internals = pages().into_iter().filter(|page| page.starts_with("internals/") || page == "architecture.md");
    let internals = internals.map(|page| Path::new("docs").join(page));
    let mut unknown = Vec::new();
    for document in internals.chain([PathBuf::from("tests/RELIABILITY.md")]) {
        let (_, rest) = blocks(&read(&root().join(&document)));
        for span in code_spans(&rest).0 {
            let names = long_names(&span).filter(|name| !known.contains(name));
            unknown.extend(names.map(|name| format!("{}: {name}", document.display())));
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// docs/plan.md must mention every field. The plan template contains all fields, most of them in comments.
#[test]
fn the_plan_page_names_every_field() {
    let text = template(None);
    let names: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    assert!(names.len() >= 35, "{names:?}");
    let known = code_words("plan.md");
    let unknown: Vec<&&str> = names.iter().filter(|name| !known.contains(**name)).collect();
    assert!(unknown.is_empty(), "docs/plan.md does not mention {unknown:?}");
}

/// The page about JSON documents every document type and every error kind.
#[test]
fn the_json_page_names_every_type_and_kind() {
    let schema: Json = serde_json::from_str(&read(&root().join("docs/output.schema.json"))).unwrap();
    let types = schema["properties"]["type"]["enum"].as_array().unwrap();
    let source = read(&root().join("src/commands/shared/command_result.rs"));
    let kinds = source.lines().filter_map(|line| line.trim().strip_prefix("ErrorKind::")?.split_once(" => \""));
    let kinds: Vec<&str> =
        kinds.filter_map(|(_, name)| name.strip_suffix("\",")).filter(|name| !name.contains(' ')).collect();
    assert!(types.len() >= 15 && kinds.len() >= 20, "{types:?} {kinds:?}");
    let known = code_words("json.md");
    let types = types.iter().map(|name| name.as_str().unwrap());
    let unknown: Vec<&str> = types.chain(kinds).filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "docs/json.md does not mention {unknown:?}");
    let (blocks, _) = blocks(&read(&root().join("docs/json.md")));
    let example: Json =
        serde_json::from_str(&blocks.iter().find(|block| block.language == "json").unwrap().text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wrong: Vec<String> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "the example in docs/json.md: {wrong:?}");
}

/// The page shows a plan and a policy. The policy must equal the one that `iam` prints for this plan.
#[test]
fn the_permissions_page_shows_the_policy() {
    let (blocks, _) = blocks(&read(&root().join("docs/permissions.md")));
    let first = |language: &str| &blocks.iter().find(|block| block.language == language).unwrap().text;
    let plan = load("permissions.md", first("toml")).unwrap_or_else(|errors| panic!("{errors}")).plan;
    let shown: Json = serde_json::from_str(first("json")).unwrap();
    assert_eq!(shown, least_privilege_policy(&plan, false));
}

/// Checks that the functions above find planted mistakes.
#[test]
fn mistakes_are_found() {
    let page = Path::new("docs/flag.md");
    assert_eq!(broken(page, "../RUNBOOK.md#where-am-i"), None);
    for target in ["nowhere.md", "../RUNBOOK.md#nowhere", "#nowhere", "examples/flag/python/flag.rb"] {
        assert!(broken(page, target).is_some(), "{target}");
    }
    let text =
        "# A `b`, *c*\n\n[x](a.md) `[y](b.md)`\n\n```toml\n[z](c.md)\n# no heading\n```\n\n## A b c\n\n[n]: d.md\n";
    assert_eq!(links(text), ["a.md", "d.md"]);
    assert_eq!(anchors(text), BTreeSet::from(["a-b-c", "a-b-c-1"].map(str::to_owned)));

    assert_eq!(wrong_plan("p", &format!("{PART}\n[capacity]\nwrite = 5\n")), None);
    for text in ["[capacity]\nwrite = 5\n", "# part of a plan\n[capacity]\nwrites = 5\n"] {
        assert!(wrong_plan("p", text).is_some(), "{text}");
    }

    let text = "`backfill run plan.toml [--dry-run]`\n\n  ```console\n  $ backfill verify plan.toml \\\n      --all  # all\n  \
                backfill no\n  ```\n```sh\nif ! backfill check plan.toml > out; then exit; fi\necho backfill x\n```\n\
                ```yaml\nargs: [\"run\", \"p.toml\"]\n```\n";
    let typed: Vec<String> = command_lines(text).iter().map(|line| line.words.join(" ")).collect();
    assert_eq!(typed, ["verify plan.toml --all", "check plan.toml", "run p.toml", "run plan.toml --dry-run"]);

    let line = |text: &str, is_whole| Line { words: text.split(' ').map(str::to_owned).collect(), is_whole };
    for right in ["verify plan.toml --all --repair", "run /etc/plan.toml --yes", "failures plan.toml list --limit 3"] {
        assert_eq!(wrong_command(&line(right, true)), None, "{right}");
    }
    for wrong in
        ["launch plan.toml", "run plan.toml --fast", "cutover plan.toml --to old", "check plan.toml --finish-in x"]
    {
        assert!(wrong_command(&line(wrong, false)).is_some(), "{wrong}");
    }
    // The first command line lacks an option. The second one has two contradictory options.
    for wrong in ["verify plan.toml", "run plan.toml --dry-run --again"] {
        assert_eq!(wrong_command(&line(wrong, false)), None, "{wrong}");
        assert!(wrong_command(&line(wrong, true)).is_some(), "{wrong}");
    }
}
