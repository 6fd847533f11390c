//! Tests the flag's published schema and the examples in docs/examples/flag/. The examples must compute the results in
//! docs/flag-vectors.json. If an interpreter or compiler is missing, the test skips the example and prints `SKIPPED: …`
//! on stderr. With `BACKFILL_REQUIRE_EXAMPLES=1`, the test fails in this case. The Rust example is compiled into this
//! test, so it always runs.

#[path = "../../docs/examples/flag/rust/flag.rs"]
#[expect(unreachable_pub, reason = "an application includes the example as a module, as this test does")]
mod example;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backfill::internals::item::Value;
use example::{Cached, Fields, Flag, Key, Unknown, bucket, parse, read, remove, write};
use serde_json::Value as Json;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

pub(crate) fn vectors_path() -> PathBuf {
    root().join("docs/flag-vectors.json")
}

pub(crate) fn vectors() -> Json {
    serde_json::from_str(&std::fs::read_to_string(vectors_path()).unwrap()).unwrap()
}

pub(crate) fn list<'a>(vectors: &'a Json, name: &str) -> &'a [Json] {
    vectors[name].as_array().unwrap()
}

/// The number of cases that an example must check: all vectors, and one case with a missing flag item.
fn cases(vectors: &Json) -> usize {
    let lists = ["hash", "refused", "read", "write", "delete"].map(|name| list(vectors, name).len());
    let steps: usize = list(vectors, "cache").iter().map(|case| list(case, "steps").len()).sum();
    let flags = vectors["flags"].as_object().unwrap().len();
    lists.into_iter().sum::<usize>() + steps + flags + 1
}

/// `UPDATE_EXPECT=1 cargo test --test source flag_examples` rewrites the document.
#[test]
fn the_published_schema_matches_the_code() {
    let path = root().join("docs/flag.schema.json");
    let shown = format!("{:#}\n", backfill::internals::cutover::schema::json_schema());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), shown);
}

#[test]
fn there_are_many_vectors() {
    assert!(cases(&vectors()) > 150);
}

#[test]
fn python() {
    let Some(mut python) = tool("python3", "--version") else { return };
    let folder = copy("python", &["flag.py", "check.py"]);
    let output = run(python.current_dir(folder.path()).arg("check.py").arg(vectors_path()), "");
    assert_all_cases_passed(&output);
}

/// Uses the TypeScript compiler in the version of the lock file. npm fetches it once.
#[test]
fn typescript() {
    let (Some(mut node), Some(mut npm)) = (tool("node", "--version"), tool("npm", "--version")) else { return };
    let files = ["flag.ts", "check.ts", "package.json", "package-lock.json", "tsconfig.json"];
    let folder = copy("typescript", &files);
    let flags = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"];
    let installed = npm.current_dir(folder.path()).args(flags).output().unwrap();
    if !installed.status.success() {
        let said = String::from_utf8_lossy(&installed.stderr);
        skip(&format!("typescript: `npm ci` failed, is there a network? {}", said.lines().next().unwrap_or_default()));
        return;
    }
    let compiler = folder.path().join("node_modules/typescript/bin/tsc");
    run(Command::new("node").current_dir(folder.path()).arg(compiler), "");
    let output = run(node.current_dir(folder.path()).arg("build/check.js").arg(vectors_path()), "");
    assert_all_cases_passed(&output);
}

#[test]
fn go() {
    let Some(mut go) = tool("go", "version") else { return };
    let folder = copy("go", &["go.mod", "flag.go", "flag_test.go"]);
    // The example uses only the standard library, so Go has nothing to fetch.
    go.envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=mod")])
        .env("FLAG_VECTORS", vectors_path());
    let output = run(go.current_dir(folder.path()).args(["test", "-count=1", "-v", "."]), "");
    assert_all_cases_passed(&output);
}

#[test]
fn java() {
    let (Some(mut javac), Some(mut java)) = (tool("javac", "-version"), tool("java", "-version")) else { return };
    let folder = copy("java", &["Flag.java", "Check.java"]);
    run(
        javac.current_dir(folder.path()).args(["-encoding", "UTF-8", "--release", "17", "Flag.java", "Check.java"]),
        "",
    );
    let output = run(java.current_dir(folder.path()).args(["-ea", "Check"]), &as_lines(&vectors()));
    assert_all_cases_passed(&output);
}

#[test]
fn rust() {
    let vectors = vectors();
    let mut count = 0;
    let mut same = |found: String, expected: String, case: &Json| {
        assert_eq!(found, expected, "{case}");
        count += 1;
    };
    let mut flags = HashMap::new();
    for (name, item) in vectors["flags"].as_object().unwrap() {
        flags.insert(name.as_str(), parse(Some(&fields(item))).unwrap());
        same(String::new(), String::new(), item);
    }
    for case in list(&vectors, "hash") {
        same(bucket_of(&case["key"]).to_string(), case["bucket"].to_string(), case);
    }
    for case in list(&vectors, "refused") {
        same(parse(Some(&fields(&case["item"]))).is_err().to_string(), "true".to_owned(), case);
    }
    for case in list(&vectors, "read") {
        let item: HashMap<String, Json> = serde_json::from_value(case["item"].clone()).unwrap();
        let found = read(&flags[text(&case["flag"])], bucket_of(&case["key"]), &item, "old", "new");
        same(found.unwrap_or(&Json::Null).to_string(), case["value"].to_string(), case);
    }
    for case in list(&vectors, "write") {
        let update = write(&flags[text(&case["flag"])], "old", "new", case["value"].clone());
        assert_eq!(serde_json::json!(update.values), case["values"]);
        same(
            format!("{} {}", update.expression, serde_json::json!(update.names)),
            format!("{} {}", text(&case["update"]), case["names"]),
            case,
        );
    }
    for case in list(&vectors, "delete") {
        let update = remove::<Json>("old", "new");
        same(
            format!("{} {}", update.expression, serde_json::json!(update.names)),
            format!("{} {}", text(&case["update"]), case["names"]),
            case,
        );
    }
    for case in list(&vectors, "cache") {
        let mut cached = Cached::default();
        let start = Instant::now();
        for step in list(case, "steps") {
            let seconds = |name: &str| Duration::from_secs(step[name].as_u64().unwrap_or(0));
            let now = std::cell::Cell::new(start + seconds("at"));
            let reads = std::cell::Cell::new(0);
            let fetch = || {
                reads.set(reads.get() + 1);
                now.set(now.get() + seconds("takes"));
                if step["fails"] == true { Err(Unknown("no connection")) } else { Ok(flags["both"].clone()) }
            };
            let unknown = cached.current(|| now.get(), fetch).is_err();
            same(format!("{unknown} {}", reads.get()), format!("{} {}", step["unknown"], step["reads"]), case);
        }
    }
    let absent: Flag = parse(None).unwrap();
    same(format!("{:?}", absent.write), "Old".to_owned(), &Json::Null);
    assert_eq!(count, cases(&vectors));
}

/// The tool and the examples compute the same buckets.
#[test]
fn the_tool_computes_the_same_buckets() {
    for case in list(&vectors(), "hash") {
        let key = Value::from_json(&case["key"]).unwrap();
        assert_eq!(backfill::internals::cutover::bucket(&key), Some(bucket_of(&case["key"])), "{case}");
    }
}

pub(crate) fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

pub(crate) fn fields(item: &Json) -> Fields<'_> {
    let attribute = |name: &str, kind: &str| item.get(name).and_then(|value| value.get(kind)).and_then(Json::as_str);
    Fields {
        schema_version: attribute("schema_version", "N"),
        version: attribute("version", "N"),
        write: attribute("write", "S"),
        read: attribute("read", "S"),
        read_percent: attribute("read_percent", "N"),
        max_cache_seconds: attribute("max_cache_seconds", "N"),
        old_stale: item.get("old_stale").and_then(|value| value["BOOL"].as_bool()),
    }
}

pub(crate) fn bucket_of(key: &Json) -> u8 {
    match Value::from_json(key).unwrap() {
        Value::S(text) => bucket(Key::S(&text)),
        Value::N(number) => bucket(Key::N(number.as_str())),
        Value::B(bytes) => bucket(Key::B(&bytes)),
        other => panic!("{other:?} is not a key"),
    }
}

/// Formats the vectors for a language without a JSON parser, as lines of words with tabs between them.
pub(crate) fn as_lines(vectors: &Json) -> String {
    let mut lines = Vec::new();
    let mut line = |words: &[&str]| lines.push(words.join("\t"));
    let base64 = |key: &Json| {
        // Key bytes are passed as base64, as in DynamoDB JSON.
        let bytes = match Value::from_json(key).unwrap() {
            Value::S(text) => text.into_bytes(),
            Value::N(number) => number.as_str().as_bytes().to_vec(),
            Value::B(bytes) => bytes,
            other => panic!("{other:?} is not a key"),
        };
        text(&Value::B(bytes).to_json()["B"]).to_owned()
    };
    let kind = |key: &Json| key.as_object().unwrap().keys().next().unwrap().clone();
    let flag = |first: [&str; 2], item: &Json| {
        let f = fields(item);
        let stale = f.old_stale.map(|stale| stale.to_string());
        let words =
            [f.schema_version, f.version, f.write, f.read, f.read_percent, f.max_cache_seconds, stale.as_deref()];
        [first.to_vec(), words.map(Option::unwrap_or_default).to_vec()].concat().join("\t")
    };
    for (name, item) in vectors["flags"].as_object().unwrap() {
        line(&[&flag(["flag", name], item)]);
    }
    for case in list(vectors, "refused") {
        line(&[&flag(["refused", text(&case["name"])], &case["item"])]);
    }
    for case in list(vectors, "hash") {
        line(&["hash", &kind(&case["key"]), &base64(&case["key"]), &case["bucket"].to_string()]);
    }
    for case in list(vectors, "read") {
        let names: Vec<&str> = case["item"].as_object().unwrap().keys().map(String::as_str).collect();
        let chosen = names.iter().find(|name| case["item"][**name] == case["value"]).copied().unwrap_or_default();
        line(&["read", text(&case["flag"]), &kind(&case["key"]), &base64(&case["key"]), &names.join(","), chosen]);
    }
    for case in list(vectors, "write") {
        let names: Vec<String> =
            case["names"].as_object().unwrap().iter().map(|(name, to)| format!("{name}={}", text(to))).collect();
        line(&["write", text(&case["flag"]), text(&case["update"]), &names.join(", ")]);
    }
    for case in list(vectors, "delete") {
        line(&["delete", text(&case["update"])]);
    }
    for case in list(vectors, "cache") {
        line(&["cache"]);
        for step in list(case, "steps") {
            let or = |name: &str, otherwise: &str| step.get(name).map_or(otherwise.to_owned(), Json::to_string);
            line(&[
                "step",
                &or("at", "0"),
                &or("takes", "0"),
                &or("fails", "false"),
                &or("reads", "0"),
                &or("unknown", ""),
            ]);
        }
    }
    lines.join("\n") + "\n"
}

/// Returns the program if it is installed and can be started.
pub(crate) fn tool(program: &str, version: &str) -> Option<Command> {
    let started = Command::new(program).arg(version).stdin(Stdio::null()).output();
    if started.is_ok_and(|output| output.status.success()) {
        return Some(Command::new(program));
    }
    skip(&format!("{program} is not installed: its example of the flag was not run"));
    None
}

pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("BACKFILL_REQUIRE_EXAMPLES").is_none(), "{why}");
    // Writes to stderr directly, because the test harness hides the print macros' output if the test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Copies an example to a temporary directory, so that nothing is built in the source directory.
fn copy(example: &str, files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::copy(root().join("docs/examples/flag").join(example).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

pub(crate) fn run(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let written = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    written.unwrap();
    said
}

pub(crate) fn assert_all_cases_passed(output: &str) {
    let expected = format!("{} cases", cases(&vectors()));
    assert!(output.lines().any(|line| line == expected), "expected {expected}: {output}");
}
