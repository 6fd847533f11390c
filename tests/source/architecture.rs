//! Checks three rules. Each module in `src/` uses only allowed names. Dependencies point downwards without cycles. No
//! file contains the path of a home directory.
//!
//! The rules are in `tests/source/architecture/rules.rs`. `tests/source/architecture/names.rs` finds the names, and
//! `tests/source/architecture/graph.rs` finds the dependencies between modules. Code under `#[cfg(test)]` follows the
//! same rules, but can use any crate from `[dev-dependencies]`. For example, the tests of a pure room can use
//! `tokio::test`.

mod engines;
mod graph;
mod matches;
mod names;
mod page;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use graph::Graph;
use names::{Name, SourceFile, module_of};
use rules::{EXCEPTIONS, LAYERS, LONGEST, RULES, Rule, RuleScope};

impl Rule {
    fn applies_to_file(&self, file: &str) -> bool {
        match self.scope {
            RuleScope::In(rooms) => rooms.iter().any(|room| is_in(file, room)),
            RuleScope::OnlyIn(rooms) => !rooms.iter().any(|room| is_in(file, room)),
        }
    }

    fn forbids(&self, path: &str) -> bool {
        self.names.iter().any(|name| {
            let crate_name = path.split("::").next().unwrap_or(path);
            match (name.strip_suffix('*'), path.strip_suffix("::*")) {
                (Some(prefix), _) => crate_name.starts_with(prefix),
                // A glob imports everything directly below its path.
                (None, Some(glob)) if name.rsplit_once("::").is_some_and(|(above, _)| above == glob) => true,
                _ => path == *name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with("::")),
            }
        })
    }
}

fn is_in(file: &str, room: &str) -> bool {
    let file = file.strip_suffix(".rs").unwrap_or(file);
    file == room || file.strip_prefix(room).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns one line for each violation in these files. `files` maps each file's path below `src/` to the file's text.
fn violations(files: &BTreeMap<String, String>, dev_dependencies: &BTreeSet<String>) -> Vec<String> {
    let parsed = parse(files);
    let test_modules = test_modules(&parsed);

    let mut wrong = Vec::new();
    for (file, source) in &parsed {
        let test_file = is_test_file(file, &test_modules);
        let allowed = |name: &Name| {
            (name.test || test_file)
                && name.path.split("::").next().is_some_and(|first| dev_dependencies.contains(first))
        };
        for rule in RULES.iter().filter(|rule| rule.applies_to_file(file)) {
            for name in source.names.iter().filter(|name| rule.forbids(&name.path) && !allowed(name)) {
                wrong.push(format!(
                    "src/{file}:{}: `{}`: {}. Remedy: {}.",
                    name.line, name.path, rule.message, rule.remedy
                ));
            }
        }
        for (room, longest, remedy) in LONGEST.iter().filter(|(room, _, _)| is_in(file, room)) {
            if source.lines > *longest {
                wrong.push(format!(
                    "src/{file}:{}: {} lines, but a file of `{room}` may have at most {longest}. Remedy: {remedy}.",
                    longest + 1,
                    source.lines
                ));
            }
        }
    }
    wrong
}

fn parse(files: &BTreeMap<String, String>) -> BTreeMap<&str, SourceFile> {
    files
        .iter()
        .map(|(file, text)| {
            let source = SourceFile::parse(file, text).unwrap_or_else(|error| {
                panic!("src/{file}:{}: this file does not parse: {error}", error.span().start().line)
            });
            (file.as_str(), source)
        })
        .collect()
}

/// Returns the modules whose files are compiled only for tests.
fn test_modules(parsed: &BTreeMap<&str, SourceFile>) -> Vec<String> {
    parsed.values().flat_map(|source| source.test_modules.clone()).collect()
}

fn is_test_file(file: &str, test_modules: &[String]) -> bool {
    let module = module_of(file).join("::");
    test_modules
        .iter()
        .any(|test| module.strip_prefix(test.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

fn graph_of(files: &BTreeMap<String, String>) -> Graph {
    let parsed = parse(files);
    let test_modules = test_modules(&parsed);
    Graph::new(&parsed, |file| is_test_file(file, &test_modules))
}

#[test]
fn dependencies_point_downwards_and_make_no_cycles() {
    let graph = graph_of(&source_files());
    let mut needed = BTreeSet::new();
    let mut excepted = |from: &str, to: &str| {
        let found = EXCEPTIONS.iter().position(|known| (known.0, known.1) == (from, to));
        needed.extend(found);
        found.is_some()
    };
    let mut wrong = graph.upward(LAYERS, &mut excepted);
    wrong.extend(graph.cycles(&mut excepted));
    let idle = EXCEPTIONS.iter().enumerate().filter(|(at, _)| !needed.contains(at));
    wrong.extend(
        idle.map(|(_, (from, to, why))| format!("`{from}` no longer depends on `{to}` ({why}): remove the exception")),
    );
    wrong.extend(
        LAYERS
            .iter()
            .copied()
            .flatten()
            .filter(|module| !graph.has(module))
            .map(|module| format!("`{module}` is in a layer, but no such module exists")),
    );
    assert!(wrong.is_empty(), "{} dependencies are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Returns whether this path names a type in an existing module.
fn is_type_in(graph: &Graph, path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(module, name)| name.starts_with(char::is_uppercase) && graph.has(module))
}

/// Every rule must name existing modules. After a module is moved or renamed, a rule with the old name would check
/// nothing.
#[test]
fn every_rule_names_existing_modules() {
    let graph = graph_of(&source_files());
    let rooms = RULES.iter().flat_map(|rule| match rule.scope {
        RuleScope::In(rooms) | RuleScope::OnlyIn(rooms) => rooms,
    });
    let named = RULES.iter().flat_map(|rule| rule.names).filter_map(|name| name.strip_prefix("crate::"));
    let missing: BTreeSet<String> = rooms
        .chain(LONGEST.iter().map(|(room, _, _)| room))
        .map(|room| (*room).to_owned())
        .chain(named.map(|name| name.replace("::", "/")))
        .filter(|room| !graph.has(room) && !is_type_in(&graph, room))
        .collect();
    assert!(missing.is_empty(), "src/ has no such module: {missing:?}");
}

#[test]
fn upward_dependencies_and_cycles_are_found() {
    let files =
        |files: &[(&str, &str)]| graph_of(&files.iter().map(|(f, t)| ((*f).to_owned(), (*t).to_owned())).collect());
    let layers: &[&[&str]] = &[&["high"], &["low", "lowest"]];
    let wrong = |graph: &Graph| (graph.upward(layers, &mut |_, _| false).len(), graph.cycles(&mut |_, _| false).len());
    let down = files(&[
        ("high.rs", "use crate::low::x;"),
        ("low/mod.rs", "mod a; mod b;"),
        ("low/a.rs", "use super::b::x;"),
        ("low/b.rs", "use super::y;"),
    ]);
    assert_eq!(wrong(&down), (0, 0), "parent and child may name each other");
    let up = files(&[("high.rs", ""), ("low.rs", "fn f() { crate::high::x(); }")]);
    assert_eq!(wrong(&up), (1, 0));
    let siblings = [
        ("low/mod.rs", "mod a; mod b; pub use b::X;"),
        ("low/a.rs", "use super::X;"),
        ("low/b.rs", "use super::a::x;"),
    ];
    assert_eq!(wrong(&files(&siblings)), (0, 2), "a re-export does not hide a dependency");
    let three = files(&[
        ("high.rs", "use crate::low::x;"),
        ("low.rs", "use crate::lowest::x;"),
        ("lowest.rs", "use crate::high::x;"),
    ]);
    assert_eq!(wrong(&three), (1, 3));
    assert_eq!(three.cycles(&mut |from, to| (from, to) == ("lowest", "high")), Vec::<String>::new());
    let tests = [("high.rs", "use crate::low::x;"), ("low.rs", "#[cfg(test)] mod tests { use crate::high::x; }")];
    assert_eq!(wrong(&files(&tests)), (0, 0), "tests may use the items that they test");
    assert_eq!(wrong(&files(&[("unknown.rs", "")])).0, 1, "every module is in a layer");
    assert!(down.has("low/a") && down.has("low") && down.has("low/mod") && !down.has("low/c") && !down.has("lo"));
}

#[test]
fn the_source_follows_the_rules() {
    let files = source_files();
    assert!(files.contains_key("lib.rs") && files.contains_key("main.rs"), "src/ was not found: {:?}", files.keys());
    let wrong = violations(&files, &dev_dependencies());
    assert!(wrong.is_empty(), "{} broken rules:\n{}", wrong.len(), wrong.join("\n"));
}

/// Breaks every rule with each name that it forbids. The check must report each violation with its location. In rooms
/// in which the rule allows the name, the check must report nothing.
#[test]
fn every_violation_of_a_rule_is_found() {
    for rule in RULES {
        let file = match rule.scope {
            RuleScope::In(rooms) => format!("{}.rs", rooms[0]),
            RuleScope::OnlyIn(_) => "engine/scan/worker.rs".to_owned(),
        };
        assert!(rule.applies_to_file(&file));
        for name in rule.names {
            let text = format!("//! Room.\n\nfn offender() {{\n    {};\n}}\n", use_of(name));
            let found = check(&file, &text);
            let here = format!("src/{file}:4: ");
            assert!(
                found
                    .iter()
                    .any(|line| line.starts_with(&here) && line.contains(rule.message) && line.contains(rule.remedy)),
                "`{name}` in {file} breaks the rule that {}, but the test found: {found:?}",
                rule.message
            );
            if let RuleScope::OnlyIn(rooms) = rule.scope {
                for room in rooms {
                    assert_eq!(check(&format!("{room}.rs"), &text), Vec::<String>::new(), "{room} may name `{name}`");
                    assert_eq!(check(&format!("{room}/inner.rs"), &text), Vec::<String>::new());
                }
            }
        }
    }
}

/// Returns the source text of an expression that uses the name.
fn use_of(name: &str) -> String {
    match name.strip_suffix('!') {
        Some(macro_name) => format!("{macro_name}!(\"hello\")"),
        None => format!("{}::thing()", name.replace('*', "sdk_dynamodb")),
    }
}

#[test]
fn pure_rooms_are_pure_in_all_their_files() {
    for file in [
        "plan/mod.rs",
        "plan/parse.rs",
        "item/num.rs",
        "change/decide.rs",
        "cost/mod.rs",
        "state/mod.rs",
        "state/progress.rs",
        "backoff.rs",
    ] {
        assert_eq!(check(file, "fn f() { tokio::spawn(async {}); }").len(), 1, "{file}");
    }
    for file in ["engine/scan/worker.rs", "ratelimit/bucket.rs", "state/sqlite.rs", "planner.rs"] {
        assert_eq!(check(file, "fn f() { tokio::spawn(async {}); }"), Vec::<String>::new(), "{file}");
    }
}

/// The check finds a name through every kind of import.
#[test]
fn names_are_found_in_every_notation() {
    let found = |text: &str| !check("change/decide.rs", text).is_empty();
    for text in [
        "use std::{collections::BTreeMap, time::{Duration, Instant}};",
        "use std::time; fn f() { time::Instant::now(); }",
        "use std::time as t; fn f() -> t::SystemTime { loop {} }",
        "use std::time::{self, Duration}; fn f() { time::Instant::now(); }",
        "use std::time::*;",
        "use jiff::Timestamp; fn f() { Timestamp::now(); }",
        "use crate::clock;",
        "fn f() { crate::clock::now(); }",
        "fn f() { super::super::clock::now(); }",
        "mod inner { fn f() { super::super::super::clock::now(); } }",
        "use super::super::*; use crate::{item::Item, clock::now};",
        "fn f() { let x: Option<std::time::Instant> = None; }",
        "impl From<aws_sdk_dynamodb::Error> for X {}",
        "fn f() { assert!(std::env::var(\"X\").is_ok()); }",
        "fn f() { vec![{ let x = 1; tokio::spawn(async {}) }]; }",
        "#[tokio::main] async fn main() {}",
        "#[derive(clap::Parser)] struct Arguments;",
        "extern crate rusqlite as database;",
        "fn f() { format_args!(\"{}\", { println!(\"hidden\"); 1 }); }",
        "macro_rules! m { () => { std::env::var(\"X\") } }",
        "pub use governor::Quota;",
        "use aws_config as c; use ::aws_types::region::Region;",
    ] {
        assert!(found(text), "{text}");
    }
}

/// The check ignores text that resembles a violation.
#[test]
fn text_that_is_not_a_name_is_not_a_violation() {
    for text in [
        "//! tokio::spawn, std::env::var, println!(\"x\")\n/// aws_sdk_dynamodb::Client\nfn f() {}",
        "fn f() -> &'static str { \"tokio::spawn and println!() and rusqlite::Connection\" }",
        "use std::time::Duration; fn f(d: Duration) -> Duration { Duration::from_secs(1) + d }",
        "use jiff::Timestamp; fn f(now: Timestamp) -> i64 { now.as_second() }",
        "mod tokio; use self::tokio::Local; fn f() { tokio::local(); }",
        "fn f(env: u32, anyhow: u32) -> u32 { env + anyhow }",
        "use std::environment; fn f() { tokio_like::spawn(); governors::x(); }",
        "fn f() { write!(out, \"x\").ok(); println_like!(\"x\"); }",
    ] {
        assert_eq!(check("change/decide.rs", text), Vec::<String>::new(), "{text}");
    }
}

/// Tests inside a file can also use dev-dependencies. All other rules of the file also apply to its tests.
#[test]
fn tests_may_name_dev_dependencies_but_nothing_else() {
    let inside = |body: &str| format!("#[cfg(test)]\nmod tests {{\n    #[test]\n    fn t() {{ {body} }}\n}}\n");
    assert_eq!(check("item/num.rs", &inside("tokio::spawn(async {});")), Vec::<String>::new());
    assert_eq!(check("item/num.rs", &inside("std::env::var(\"X\");")).len(), 1);
    assert_eq!(check("item/num.rs", "#[cfg(not(test))]\nfn t() { tokio::spawn(async {}); }").len(), 1);
    // This file's `mod` line is compiled only for tests.
    let files = [("item/mod.rs", "#[cfg(all(test, unix))]\nmod fake;"), ("item/fake.rs", "use tokio::net::TcpStream;")];
    let files = files.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
    assert_eq!(violations(&files, &["tokio".to_owned()].into()), Vec::<String>::new());
    assert_eq!(violations(&files, &BTreeSet::new()).len(), 1);
}

#[test]
fn long_files_are_found_and_their_tests_do_not_count() {
    let lines = |n: usize| "const X: u8 = 1;\n".repeat(n);
    let tests = "#[cfg(test)]\nmod tests {\n    // …\n    // …\n}\n";
    assert_eq!(check("main.rs", &(lines(40) + tests)), Vec::<String>::new());
    let found = check("main.rs", &(lines(41) + tests));
    assert!(found.len() == 1 && found[0].contains("41 lines"), "{found:?}");
    assert_eq!(check("engine/scan/worker.rs", &lines(500)), Vec::<String>::new());
}

fn check(file: &str, text: &str) -> Vec<String> {
    violations(&[(file.to_owned(), text.to_owned())].into(), &["tokio".to_owned(), "proptest".to_owned()].into())
}

#[test]
fn no_file_names_a_home_directory() {
    let wrong: Vec<String> = project_files()
        .iter()
        .filter_map(|file| Some((file, std::fs::read(root().join(file)).ok()?)))
        .flat_map(|(file, bytes)| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lines: Vec<usize> =
                text.lines().enumerate().filter(|(_, line)| names_a_home(line)).map(|(i, _)| i + 1).collect();
            lines.into_iter().map(move |line| format!("{}:{line}", file.display())).collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "these lines only make sense on one machine:\n{}", wrong.join("\n"));
}

#[test]
fn home_directories_are_recognised() {
    // Concatenate the path, so that this file does not contain it.
    let with = |parts: &[&str]| parts.concat();
    for line in [
        with(&["cd /ho", "me/alice/src"]),
        with(&["\"/Us", "ers/bob/x\""]),
        with(&["path=/ro", "ot/.cargo"]),
        with(&["C:\\Us", "ers\\carol"]),
    ] {
        assert!(names_a_home(&line), "{line}");
    }
    for line in ["https://example.com/home/alice/", "the /home page", "$HOME/.aws", "~/.cargo/bin", "a /root of trust"]
    {
        assert!(!names_a_home(line), "{line}");
    }
}

/// Returns whether the line contains an absolute path into a home directory. The path must start at the beginning of a
/// word.
fn names_a_home(line: &str) -> bool {
    [("/home", '/'), ("/Users", '/'), ("/root", '/'), ("C:\\Users", '\\')].iter().any(|(folder, separator)| {
        let home = format!("{folder}{separator}");
        line.match_indices(&home).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + home.len()..].chars().next();
            let continues = after.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_'));
            continues && before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | '~' | '}'))
        })
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source_files() -> BTreeMap<String, String> {
    let source = root().join("src");
    files_below(&source)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| {
            let text = std::fs::read_to_string(&file).unwrap();
            let parts: Vec<_> = file.strip_prefix(&source).unwrap().iter().map(|part| part.to_string_lossy()).collect();
            (parts.join("/"), text)
        })
        .collect()
}

/// Returns the crates in `[dev-dependencies]`, by the names that code uses.
fn dev_dependencies() -> BTreeSet<String> {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let dependencies = manifest["dev-dependencies"].as_table().unwrap();
    dependencies.keys().map(|name| name.replace('-', "_")).collect()
}

/// Returns the files that git tracks. Without git, returns all files except build output.
fn project_files() -> Vec<PathBuf> {
    let git = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    if let Ok(listed) = git
        && listed.status.success()
        && !listed.stdout.is_empty()
    {
        return String::from_utf8_lossy(&listed.stdout).split_terminator('\0').map(PathBuf::from).collect();
    }
    files_below(root()).into_iter().map(|file| file.strip_prefix(root()).unwrap().to_owned()).collect()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", ".backfill"].contains(&name.as_str()) {
                files.extend(files_below(&path));
            }
        } else {
            files.push(path);
        }
    }
    files
}
