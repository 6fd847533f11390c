//! Checks the documents for operators: every page is in the book, every link and anchor exists, every plan loads, and
//! every command line parses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use backfill::internals::plan::{least_policy, load, template};
use serde_json::Value as Json;

/// Documents outside docs/ whose links are checked.
const TOP: [&str; 4] = ["README.md", "RUNBOOK.md", "CONTRIBUTING.md", "SECURITY.md"];

/// The file with the list of pages of the book. This file is not a page.
const SUMMARY: &str = "SUMMARY.md";

/// The first line of a block that shows only a part of a plan.
const PART: &str = "# part of a plan";

/// The sections that a part of a plan may omit: the header of each required section, and an example of the section.
const REQUIRED: [(&str, &str); 3] = [
    ("[migration]", "[migration]\nname = \"example\"\n"),
    ("[table]", "[table]\nname = \"shop\"\n"),
    ("[[change]]", "[[change]]\nmove = \"email\"\nto = \"contact_email\"\n"),
];

/// The first line of the capacity model in the README. The model is not a plan; `tests/cli/local_capacity/command.rs`
/// loads it.
const CAPACITY_MODEL: &str = "table = \"shop\"";

/// Commands that need a plan file. Without the file they fail before they do anything.
const WITH_PLAN: [&str; 10] =
    ["check", "run", "verify", "cutover", "contract", "rollback", "status", "failures", "journal", "iam"];

/// Commands of the feature `local`.
const LOCAL: [&str; 2] = ["demo", "local"];

/// Words after which a shell expects a command. `step` is a function of an example script, and `--rm` precedes the
/// image in `docker run` and `docker compose run`.
const BEFORE_A_COMMAND: [&str; 14] =
    ["&&", "||", ";", "|", "!", "if", "then", "do", "else", "while", "until", "nohup", "step", "--rm"];

/// Words that end a command.
const AFTER_A_COMMAND: [&str; 13] = ["&&", "||", ";", "|", "&", ">", ">>", "<", "2>", "2>&1", "then", "do", "{"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the pages in docs/.
fn pages() -> BTreeSet<String> {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(root().join("docs").join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let internals = names("internals").into_iter().map(|name| format!("internals/{name}"));
    names("").into_iter().chain(internals).filter(|name| name.ends_with(".md") && name != SUMMARY).collect()
}

/// Every document whose links are checked.
fn documents() -> Vec<PathBuf> {
    let pages = pages().into_iter().map(|page| Path::new("docs").join(page));
    TOP.iter().map(PathBuf::from).chain([Path::new("docs").join(SUMMARY)]).chain(pages).collect()
}

/// The documents that show plans and commands.
fn manuals() -> Vec<PathBuf> {
    let pages = pages().into_iter().map(|page| Path::new("docs").join(page));
    ["README.md", "RUNBOOK.md"].iter().map(PathBuf::from).chain(pages).collect()
}

/// A fenced block of a document.
#[derive(Debug)]
struct Block {
    language: String,
    /// The number of its first line in the document, from 1.
    line: usize,
    text: String,
}

/// The fenced blocks of a document, and the document in which empty lines replace these blocks.
fn blocks(document: &str) -> (Vec<Block>, String) {
    let mut found = Vec::new();
    let mut rest = String::new();
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in document.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let fence = line.trim_start().strip_prefix("```");
        match (open.take(), fence) {
            (None, None) => rest.push_str(line),
            (None, Some(language)) => {
                let language = language.trim().to_owned();
                open = Some((indent, Block { language, line: number + 2, text: String::new() }));
            }
            (Some((_, block)), Some(_)) => found.push(block),
            (Some((outer, mut block)), None) => {
                block.text.push_str(&line[outer.min(indent)..]);
                block.text.push('\n');
                open = Some((outer, block));
            }
        }
        rest.push('\n');
    }
    assert!(open.is_none(), "a block never ends: {open:?}");
    (found, rest)
}

/// Splits text into its code spans and the text around them. A span does not cross an empty line.
fn code_spans(text: &str) -> (Vec<String>, String) {
    let mut spans = Vec::new();
    let mut rest = String::new();
    for paragraph in text.split("\n\n") {
        let mut left = paragraph;
        while let Some(at) = left.find('`') {
            let (before, after) = left.split_at(at);
            rest.push_str(before);
            let ticks = after.len() - after.trim_start_matches('`').len();
            let inside = &after[ticks..];
            match end_of_span(inside, ticks) {
                Some(end) => {
                    spans.push(inside[..end].split_whitespace().collect::<Vec<_>>().join(" "));
                    left = &inside[end + ticks..];
                }
                None => left = inside,
            }
        }
        rest.push_str(left);
        rest.push_str("\n\n");
    }
    (spans, rest)
}

/// The position of the next sequence of exactly this number of backticks.
fn end_of_span(text: &str, ticks: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let begin = at + found;
        let run = text[begin..].len() - text[begin..].trim_start_matches('`').len();
        if run == ticks {
            return Some(begin);
        }
        at = begin + run;
    }
    None
}

/// The targets of all links in a document: `[text](target)` and `[name]: target`.
fn links(document: &str) -> Vec<String> {
    let (_, rest) = blocks(document);
    let (_, rest) = code_spans(&rest);
    let inline = rest.split("](").skip(1).filter_map(|after| after.split_once(')')).map(|(target, _)| target);
    let named = rest.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ").map(|(_, target)| target));
    inline.chain(named).map(|target| target.trim().to_owned()).collect()
}

/// The anchors of a document's headings, as GitHub and mdBook generate them.
fn anchors(document: &str) -> BTreeSet<String> {
    let (_, rest) = blocks(document);
    let mut made: HashMap<String, usize> = HashMap::new();
    let headings = rest.lines().filter_map(|line| {
        let text = line.trim_start_matches('#');
        (text.len() < line.len()).then(|| text.strip_prefix(' ')).flatten()
    });
    headings
        .map(|heading| {
            let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(*c, ' ' | '-' | '_'));
            let anchor: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
            let count = made.entry(anchor.clone()).or_default();
            *count += 1;
            if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
        })
        .collect()
}

/// If the target of a link does not exist, returns the reason. Checks only links inside the project.
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
fn completed(part: &str) -> String {
    let has = |header: &str| part.lines().any(|line| line.trim() == header);
    let missing = REQUIRED.iter().filter(|required| !has(required.0)).map(|required| required.1);
    missing.chain([part]).collect()
}

/// If a block does not load as a plan, returns the reason.
fn wrong_plan(label: &str, text: &str) -> Option<String> {
    let plan = if text.starts_with(PART) { completed(text) } else { text.to_owned() };
    load(label, &plan).err().map(|errors| errors.to_string())
}

/// A command line in a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    /// The words after `backfill`.
    words: Vec<String>,
    /// Whether the command line is complete. A code span in a sentence may omit arguments.
    is_whole: bool,
}

/// The command lines of `backfill` in a document.
fn command_lines(document: &str) -> Vec<Line> {
    let (blocks, rest) = blocks(document);
    let (spans, _) = code_spans(&rest);
    let mut found = Vec::new();
    for block in &blocks {
        let text = block.text.replace("\\\n", " ");
        for line in text.lines() {
            let words = match block.language.as_str() {
                "console" => line.strip_prefix("$ ").map_or_else(Vec::new, in_a_shell),
                "sh" | "bash" => in_a_shell(line),
                "ini" => line.strip_prefix("ExecStart=/usr/local/bin/").map_or_else(Vec::new, in_a_shell),
                "json" | "yaml" => in_a_manifest(line),
                _ => Vec::new(),
            };
            found.extend(words.into_iter().map(|words| Line { words, is_whole: true }));
        }
    }
    for span in spans.iter().filter(|span| span.starts_with("backfill ")) {
        // Brackets mark optional words.
        let words = in_a_shell(&span.replace(['[', ']'], ""));
        found.extend(words.into_iter().map(|words| Line { words, is_whole: false }));
    }
    found
}

/// The command lines of `backfill` in a line of a shell. If the line is only a part of a shell command, the result is
/// empty.
fn in_a_shell(line: &str) -> Vec<Vec<String>> {
    let Some(words) = shlex::split(line) else { return Vec::new() };
    let begins = |at: usize| {
        words[at] == "backfill"
            && (at == 0 || words[at - 1].ends_with(';') || BEFORE_A_COMMAND.contains(&words[at - 1].as_str()))
    };
    (0..words.len())
        .filter(|at| begins(*at))
        .map(|at| {
            let mut command = Vec::new();
            for word in &words[at + 1..] {
                if AFTER_A_COMMAND.contains(&word.as_str()) {
                    break;
                }
                let bare = word.trim_end_matches(';');
                command.push(bare.to_owned());
                if bare.len() < word.len() {
                    break;
                }
            }
            command
        })
        .collect()
}

/// The arguments of a container in a manifest: `args: ["run", …]` or `"command": ["run", …]`.
fn in_a_manifest(line: &str) -> Vec<Vec<String>> {
    let line = line.trim().trim_end_matches(',');
    let array = line.strip_prefix("args: ").or_else(|| line.strip_prefix("\"command\": "));
    array.and_then(|array| serde_json::from_str(array).ok()).into_iter().collect()
}

/// Runs the tool in an empty folder, without input on stdin.
fn tool(words: &[String], more: &[&str]) -> (bool, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backfill"));
    command.current_dir(folder.path()).args(words).args(more).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{words:?} left a file behind");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// If a command line does not parse, returns the reason. Does not carry out the command.
fn wrong_command(line: &Line) -> Option<String> {
    let command = line.words.first()?.as_str();
    if command == "help" || (LOCAL.contains(&command) && !cfg!(feature = "local")) {
        return None;
    }
    // The parser reads words in order. If a command, option or value before --help is unknown, the parser reports an
    // error. Otherwise the parser prints the help and ends.
    let (parses, _, said) = tool(&line.words, &["--help"]);
    if !parses {
        return Some(said);
    }
    if !line.is_whole || !WITH_PLAN.contains(&command) {
        return None;
    }
    // Missing and contradictory arguments are reported only without --help. The folder has no plan, so the tool ends
    // when it tries to read the plan.
    let is_plan = |word: &String| word.ends_with(".toml");
    let words: Vec<String> =
        line.words.iter().map(|word| if is_plan(word) { "plan.toml".to_owned() } else { word.clone() }).collect();
    let more: &[&str] = if words.iter().any(|word| word == "--output") { &[] } else { &["--output", "json"] };
    let (_, document, said) = tool(&words, more);
    let kind = serde_json::from_str(&document).map_or(Json::Null, |json: Json| json["error"]["kind"].clone());
    (kind != "plan").then(|| format!("error.kind is {kind}, not \"plan\": {said}"))
}

#[test]
fn every_page_is_in_the_book() {
    let book = read(&root().join("book.toml"));
    assert!(book.lines().any(|line| line.trim() == "src = \"docs\""), "{book}");
    let listed = links(&read(&root().join("docs").join(SUMMARY)));
    let names: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(names.len(), listed.len(), "a page is listed twice: {listed:?}");
    assert_eq!(names, pages(), "docs/{SUMMARY} (left) and the pages of docs/ (right)");
}

#[test]
fn every_link_leads_somewhere() {
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

/// Checks that every command line in the manuals is valid in this version. No command is carried out.
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

/// The words in the code spans of a page.
fn code_words(page: &str) -> BTreeSet<String> {
    let (_, rest) = blocks(&read(&root().join("docs").join(page)));
    let (spans, _) = code_spans(&rest);
    let words = spans.iter().flat_map(|span| span.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.map(str::to_owned).collect()
}

/// The template of a plan contains every field, most of them in comments.
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

/// The page about JSON mentions every document type and every error kind.
#[test]
fn the_json_page_names_every_type_and_kind() {
    let schema: Json = serde_json::from_str(&read(&root().join("docs/output.schema.json"))).unwrap();
    let types = schema["properties"]["type"]["enum"].as_array().unwrap();
    let source = read(&root().join("src/commands/shared/ending.rs"));
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

/// The policy on the page equals the policy that `iam` prints for the plan on the same page.
#[test]
fn the_permissions_page_shows_the_policy() {
    let (blocks, _) = blocks(&read(&root().join("docs/permissions.md")));
    let first = |language: &str| &blocks.iter().find(|block| block.language == language).unwrap().text;
    let plan = load("permissions.md", first("toml")).unwrap_or_else(|errors| panic!("{errors}")).plan;
    let shown: Json = serde_json::from_str(first("json")).unwrap();
    assert_eq!(shown, least_policy(&plan, false));
}

/// The checks above find planted mistakes.
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
    // An option is missing, and two options contradict each other.
    for wrong in ["verify plan.toml", "run plan.toml --dry-run --again"] {
        assert_eq!(wrong_command(&line(wrong, false)), None, "{wrong}");
        assert!(wrong_command(&line(wrong, true)).is_some(), "{wrong}");
    }
}
