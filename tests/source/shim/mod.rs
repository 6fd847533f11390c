//! Tests `backfill shim`: compiles and runs the generated code.
//!
//! The code for a plan that moves `old` to `new` must compute the results in docs/flag-vectors.json. The checks of the
//! examples (docs/examples/flag/) run against it, with other function names. The code for a plan with hostile names
//! must contain exactly these names. If an interpreter or compiler is missing, the test skips the language, as the
//! tests of the examples do. The generated Rust code is checked in and compiled into this test, so it always runs.

mod compiled;

use std::path::Path;
use std::process::Command;

use backfill::internals::plan::{Plan, load};
use backfill::internals::shim::{Language, shim};

use super::flag_examples::{as_lines, assert_all_cases_passed, root, run, skip, tool, vectors, vectors_path};

/// The plan to which the vectors belong.
pub(super) fn rename() -> Plan {
    let text = "[migration]\nname = \"rename\"\n[table]\nname = \"shop\"\nkey = [\"pk\"]\n[[change]]\nmove = \"old\"\nto = \"new\"\n\
                [cutover]\ntable = \"flags\"\n";
    load("plan.toml", text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

/// The old and new names in the plan with hostile names, in the order of its changes. The last pair are members of a
/// map.
pub(super) const HOSTILE: [(&str, &str); 4] = [
    ("quote\" back\\slash */ \\u000a \\u0022 ${x} {{moves}} %s `", "line\nbreak\ttab\r"),
    ("class", "__proto__"),
    ("ключ 😀 \u{202e}\u{2028}", "constructor"),
    ("\"\"\"", "type"),
];

/// The map of the last move. It is an element of a list in a map.
pub(super) const HOSTILE_MAP: [&str; 2] = ["m'a\"p\\", "fn\n"];

/// The name of the partition key of the plan with hostile names.
pub(super) const HOSTILE_KEY: &str = "p\"k\\";

/// The key of the flag of the plan with hostile names.
pub(super) const HOSTILE_FLAG: [(&str, &str); 2] = [("i\"d", "*/ \" \\ é"), ("sort\u{7f}", "x\n")];

/// Returns a plan with names that could end a literal, a comment or an identifier.
pub(super) fn hostile() -> Plan {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let name = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let map = format!("{}.{}[0].", name(HOSTILE_MAP[0]), name(HOSTILE_MAP[1]));
    let changes: Vec<String> = HOSTILE
        .iter()
        .enumerate()
        .map(|(at, (old, new))| {
            let map = if at == 3 { map.as_str() } else { "" };
            let path = |path: &str| quoted(&format!("{map}{}", name(path)));
            format!("[[change]]\nmove = {}\nto = {}\n", path(old), path(new))
        })
        .collect();
    let [flag, sort] = HOSTILE_FLAG.map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)));
    let text = format!(
        "[migration]\nname = \"hostile\"\n[table]\nname = \"shop\"\nkey = [{}]\n{}[cutover]\ntable = \"flags\"\nkey = {{ {flag}, {sort} }}\n",
        quoted(HOSTILE_KEY),
        changes.concat()
    );
    load("plan.toml", &text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).plan
}

/// The expected output of a driver for the plan with hostile names.
pub(super) fn expected_lines() -> Vec<String> {
    let hexadecimal = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let map = "#map4_1.#map4_2[0].";
    let actions: Vec<String> = (1..=4)
        .map(|n| (n, if n == 4 { map } else { "" }))
        .map(|(n, map)| format!("{map}#old{n} = :value{n}, {map}#new{n} = :value{n}"))
        .collect();
    let mut names: Vec<String> = HOSTILE
        .iter()
        .zip(1..)
        .flat_map(|((old, new), n)| [(format!("#old{n}"), *old), (format!("#new{n}"), *new)])
        .chain([("#map4_1".to_owned(), HOSTILE_MAP[0]), ("#map4_2".to_owned(), HOSTILE_MAP[1])])
        .map(|(placeholder, name)| format!("{placeholder} {}", hexadecimal(name)))
        .collect();
    names.sort();
    let mut lines = vec![format!("expression SET {}", actions.join(", "))];
    lines.extend(names);
    lines.push("values :value1=v1,:value2=v2,:value3=v3,:value4=v4".to_owned());
    lines.push(format!("partition {}", hexadecimal(HOSTILE_KEY)));
    lines.push(format!("table {}", hexadecimal("flags")));
    lines.extend(HOSTILE_FLAG.iter().map(|(name, value)| format!("flag {} {}", hexadecimal(name), hexadecimal(value))));
    lines.extend(std::iter::repeat_n("absent True".to_owned(), 4));
    lines.push(format!("expression REMOVE {map}#old4, {map}#new4, #old2, #new2"));
    lines
}

#[track_caller]
fn assert_names_are_exact(output: &str) {
    let words = ["expression", "#", "values", "partition", "table", "flag", "absent"];
    let lines: Vec<&str> = output.lines().filter(|line| words.iter().any(|word| line.starts_with(word))).collect();
    assert_eq!(lines, expected_lines());
}

/// Replaces each of these texts in an example's check.
fn adapted(check: &str, replacements: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(root().join("docs/examples/flag").join(check)).unwrap();
    for (from, to) in replacements {
        assert!(text.contains(from), "{check} does not contain {from}");
        text = text.replace(from, to);
    }
    text
}

/// Writes the code for both plans into a folder.
fn generate(language: Language, folder: &Path) {
    for plan in [rename(), hostile()] {
        let shim = shim(&plan, language).unwrap();
        std::fs::write(folder.join(&shim.file_name), shim.code).unwrap();
    }
}

fn copy_driver(name: &str, folder: &Path) {
    std::fs::copy(root().join("tests/source/shim/drivers").join(name), folder.join(name)).unwrap();
}

/// Prints the code for a plan in each language.
#[test]
fn the_code_is_as_reviewed() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let plan = root().join("migrations-examples/rename-attribute.toml");
    let text = std::fs::read_to_string(plan).unwrap();
    let text =
        format!("{text}\n[select]\nwhere = 'item.pk.startsWith(\"CUSTOMER#\")'\n[cutover]\ntable = \"my-flags\"\n");
    let plan = load("plan.toml", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
    for language in Language::ALL {
        let shim = shim(&plan, language).unwrap();
        settings.bind(|| insta::assert_snapshot!(language.name(), format!("{}\n\n{}", shim.file_name, shim.code)));
    }
}

#[test]
fn python() {
    let Some(mut python) = tool("python3", "--version") else { return };
    let folder = tempfile::tempdir().unwrap();
    generate(Language::Python, folder.path());
    let check = adapted(
        "python/check.py",
        &[
            ("from flag import", "from rename_shim import"),
            ("parse, read, remove, write", "parse, read_new, removes_for_new, writes_for_new"),
            (
                r#"read(flags[case["flag"]], case["key"], case["item"], "old", "new")"#,
                r#"read_new(case["item"], flags[case["flag"]], {"pk": case["key"]})"#,
            ),
            (
                r#"write(flags[case["flag"]], "old", "new", case["value"])"#,
                r#"writes_for_new(case["value"], flags[case["flag"]])"#,
            ),
            (r#"remove("old", "new")"#, "removes_for_new()"),
        ],
    );
    std::fs::write(folder.path().join("check.py"), check).unwrap();
    copy_driver("hostile.py", folder.path());
    let output = run(python.current_dir(folder.path()).arg("check.py").arg(vectors_path()), "");
    assert_all_cases_passed(&output);
    assert_names_are_exact(&run(Command::new("python3").current_dir(folder.path()).arg("hostile.py"), ""));
}

#[test]
fn typescript() {
    let (Some(mut node), Some(mut npm)) = (tool("node", "--version"), tool("npm", "--version")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let example = root().join("docs/examples/flag/typescript");
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(example.join(file), folder.path().join(file)).unwrap();
    }
    let flags = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"];
    let installed = npm.current_dir(folder.path()).args(flags).output().unwrap();
    if !installed.status.success() {
        let said = String::from_utf8_lossy(&installed.stderr);
        skip(&format!("typescript: `npm ci` failed, is there a network? {}", said.lines().next().unwrap_or_default()));
        return;
    }
    generate(Language::TypeScript, folder.path());
    let check = adapted(
        "typescript/check.ts",
        &[
            ("./flag.js", "./rename-shim.js"),
            ("parse, read, remove, write", "parse, readNew, removesForNew, writesForNew"),
            (
                r#"read(flags.get(c.flag)!, c.key, c.item, "old", "new")"#,
                "readNew(c.item, flags.get(c.flag)!, { pk: c.key })",
            ),
            (r#"write(flags.get(c.flag)!, "old", "new", c.value)"#, "writesForNew(c.value, flags.get(c.flag)!)"),
            (r#"remove("old", "new")"#, "removesForNew()"),
            // For generated code, the driver for the plan with hostile names makes this check.
            (r#"deepStrictEqual(read(flags.get("old")!, { S: "a" }, {}, "constructor", "toString"), undefined);"#, ""),
        ],
    );
    std::fs::write(folder.path().join("check.ts"), check).unwrap();
    copy_driver("hostile.ts", folder.path());
    let config = adapted("typescript/tsconfig.json", &[(r#""flag.ts", "check.ts""#, r#""check.ts", "hostile.ts""#)]);
    std::fs::write(folder.path().join("tsconfig.json"), config).unwrap();
    let compiler = folder.path().join("node_modules/typescript/bin/tsc");
    run(Command::new("node").current_dir(folder.path()).arg(compiler), "");
    let output = run(node.current_dir(folder.path()).arg("build/check.js").arg(vectors_path()), "");
    assert_all_cases_passed(&output);
    assert_names_are_exact(&run(Command::new("node").current_dir(folder.path()).arg("build/hostile.js"), ""));
}

#[test]
fn go() {
    let Some(mut go) = tool("go", "version") else { return };
    let folder = tempfile::tempdir().unwrap();
    generate(Language::Go, folder.path());
    let check = adapted(
        "go/flag_test.go",
        &[
            ("package flag\n", "package renameshim\n"),
            (
                r#"Read(flags[c.Flag], bucketOf(c.Key), c.Item, "old", "new")"#,
                "ReadNew(c.Item, flags[c.Flag], bucketOf(c.Key))",
            ),
            (r#"Write(flags[c.Flag], "old", "new", c.Value)"#, "WritesForNew(c.Value, flags[c.Flag])"),
            (r#"Remove[value]("old", "new")"#, "RemovesForNew[value]()"),
        ],
    );
    std::fs::write(folder.path().join("rename_test.go"), check).unwrap();
    std::fs::copy(root().join("docs/examples/flag/go/go.mod"), folder.path().join("go.mod")).unwrap();
    // A Go package needs its own folder.
    let hostile = folder.path().join("hostile");
    std::fs::create_dir(&hostile).unwrap();
    std::fs::rename(folder.path().join("hostileshim.go"), hostile.join("hostileshim.go")).unwrap();
    copy_driver("hostile_test.go", &hostile);
    go.envs([("GOPROXY", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "-mod=mod")])
        .env("FLAG_VECTORS", vectors_path());
    let output = run(go.current_dir(folder.path()).args(["test", "-count=1", "-v", "./..."]), "");
    assert_all_cases_passed(&output);
    assert_names_are_exact(&output);
    if let Some(mut gofmt) = tool("gofmt", "-h") {
        assert_eq!(run(gofmt.current_dir(folder.path()).args(["-l", "."]), ""), "", "the code is not formatted");
    }
}

#[test]
fn java() {
    let (Some(mut javac), Some(mut java)) = (tool("javac", "-version"), tool("java", "-version")) else { return };
    let folder = tempfile::tempdir().unwrap();
    generate(Language::Java, folder.path());
    let check = adapted(
        "java/Check.java",
        &[
            ("Flag", "RenameShim.Flag"),
            (
                r#"flags.get(words[1]).read(bucket(words[2], words[3]), item, "old", "new")"#,
                "RenameShim.readNew(item, flags.get(words[1]), bucket(words[2], words[3]))",
            ),
            (r#"flags.get(words[1]).write("old", "new", "v")"#, r#"RenameShim.writesForNew("v", flags.get(words[1]))"#),
            (r#"RenameShim.Flag.<String>remove("old", "new")"#, "RenameShim.<String>removesForNew()"),
        ],
    );
    std::fs::write(folder.path().join("Check.java"), check).unwrap();
    copy_driver("Hostile.java", folder.path());
    let files = ["RenameShim.java", "HostileShim.java", "Check.java", "Hostile.java"];
    let flags = ["-encoding", "UTF-8", "--release", "17", "-Xlint:all,-serial", "-Werror"];
    run(javac.current_dir(folder.path()).args(flags).args(files), "");
    let output = run(java.current_dir(folder.path()).args(["-ea", "Check"]), &as_lines(&vectors()));
    assert_all_cases_passed(&output);
    assert_names_are_exact(&run(Command::new("java").current_dir(folder.path()).arg("Hostile"), ""));
}
