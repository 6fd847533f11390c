//! Finds the command lines of `backfill` in a document, and checks that they parse.

use std::process::{Command, Stdio};

use serde_json::Value as Json;

use super::markdown::{blocks, code_spans};

/// Commands that need a plan file. Without it, they fail before they do any work.
const WITH_PLAN: [&str; 13] = [
    "check", "explain", "run", "verify", "cutover", "contract", "rollback", "status", "failures", "journal", "report",
    "shim", "iam",
];

/// Commands of the feature `local`.
const LOCAL: [&str; 2] = ["demo", "local"];

/// Words after which a shell expects a command. `step` is a function in an example script. `--rm` precedes the image in
/// `docker run` and `docker compose run`.
const BEFORE_A_COMMAND: [&str; 14] =
    ["&&", "||", ";", "|", "!", "if", "then", "do", "else", "while", "until", "nohup", "step", "--rm"];

/// Words that end a command.
const AFTER_A_COMMAND: [&str; 13] = ["&&", "||", ";", "|", "&", ">", ">>", "<", "2>", "2>&1", "then", "do", "{"];

/// A command line in a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    /// The words after `backfill`.
    pub(super) words: Vec<String>,
    /// Whether the command line must be complete. A code span in a sentence can omit arguments.
    pub(super) is_whole: bool,
}

/// Returns the `backfill` command lines in a document.
pub(super) fn command_lines(document: &str) -> Vec<Line> {
    let (blocks, rest) = blocks(document);
    let (spans, _) = code_spans(&rest);
    let mut found = Vec::new();
    for block in &blocks {
        let text = block.text.replace("\\\n", " ");
        for line in text.lines() {
            let words = match block.language.as_str() {
                "console" => line.strip_prefix("$ ").map_or_else(Vec::new, shell_commands),
                "sh" | "bash" => shell_commands(line),
                "ini" => line.strip_prefix("ExecStart=/usr/local/bin/").map_or_else(Vec::new, shell_commands),
                "json" | "yaml" => manifest_commands(line),
                _ => Vec::new(),
            };
            found.extend(words.into_iter().map(|words| Line { words, is_whole: true }));
        }
    }
    for span in spans.iter().filter(|span| span.starts_with("backfill ")) {
        // Brackets mark optional words.
        let words = shell_commands(&span.replace(['[', ']'], ""));
        found.extend(words.into_iter().map(|words| Line { words, is_whole: false }));
    }
    found
}

/// Finds the `backfill` command lines in one line of a shell script. If the line is only a part of a shell command, the
/// result is empty.
fn shell_commands(line: &str) -> Vec<Vec<String>> {
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

/// Returns the arguments of a container in a manifest: `args: ["run", …]` or `"command": ["run", …]`.
fn manifest_commands(line: &str) -> Vec<Vec<String>> {
    let line = line.trim().trim_end_matches(',');
    let array = line.strip_prefix("args: ").or_else(|| line.strip_prefix("\"command\": "));
    array.and_then(|array| serde_json::from_str(array).ok()).into_iter().collect()
}

/// Runs the tool in an empty folder, without input on stdin.
pub(super) fn tool(words: &[String], more: &[&str]) -> (bool, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_backfill"));
    command.current_dir(folder.path()).args(words).args(more).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{words:?} left a file behind");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Returns an error if a command line does not parse. Does not carry out the command.
pub(super) fn wrong_command(line: &Line) -> Option<String> {
    let command = line.words.first()?.as_str();
    if command == "help" || (LOCAL.contains(&command) && !cfg!(feature = "local")) {
        return None;
    }
    // The parser reads the words in order. If a command, an option or a value before --help is unknown, it reports an
    // error. Otherwise, it prints the help and exits.
    let (parses, _, said) = tool(&line.words, &["--help"]);
    if !parses {
        return Some(said);
    }
    if !line.is_whole || !WITH_PLAN.contains(&command) {
        return None;
    }
    // The parser reports missing and contradictory arguments only without --help. The folder contains no plan, so the
    // tool exits when it tries to read the plan.
    let is_plan = |word: &String| word.ends_with(".toml");
    let words: Vec<String> =
        line.words.iter().map(|word| if is_plan(word) { "plan.toml".to_owned() } else { word.clone() }).collect();
    let more: &[&str] = if words.iter().any(|word| word == "--output") { &[] } else { &["--output", "json"] };
    let (_, document, said) = tool(&words, more);
    let kind = serde_json::from_str(&document).map_or(Json::Null, |json: Json| json["error"]["kind"].clone());
    (kind != "plan").then(|| format!("error.kind is {kind}, not \"plan\": {said}"))
}
