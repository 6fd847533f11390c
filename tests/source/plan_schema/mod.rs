//! Tests the JSON Schema of a plan. It must agree with the parser:
//!
//! - Both know the same fields (`fields.rs`).
//! - The schema accepts every plan that the parser accepts (`probes.rs`), and every example.
//! - The schema refuses every plan with an unknown field, a missing field or a wrong type. Other faults are listed
//!   below.

mod fields;
mod probes;

use std::path::Path;

use serde_json::Value as Json;

use crate::plan_json::schema_errors;

use backfill::internals::plan::PLAN_SCHEMA;

/// Bad plans in `tests/plans/` that cannot be validated. They are not TOML, or contain integers with more than 64 bits.
const UNREADABLE: [&str; 10] = [
    "absurd-numbers",
    "binary",
    "capacity-numbers",
    "constants",
    "duplicate-tables",
    "limits-infinite",
    "not-utf8",
    "set-in-a-broken-plan",
    "syntax",
    "syntax-late",
];

/// Bad plans in `tests/plans/` that the schema accepts. Each has the reason why a schema cannot find its fault.
const BEYOND_A_SCHEMA: [(&str, &str); 223] = [
    ("append-key", "compares a change with `key`"),
    ("append-list-element", "a path: its last step"),
    ("append-twice", "compares the paths of two changes"),
    ("bump-alone", "compares all changes"),
    ("bump-index-key", "needs the table: the keys of its indexes"),
    ("bump-key", "compares a change with `key`"),
    ("bump-list-element", "a path: its last step"),
    ("bump-read", "compares the paths of two changes"),
    ("bump-target", "compares the paths of two changes"),
    ("bump-twice", "compares all changes"),
    ("capacity-and-key", "needs the table: its capacity and its key"),
    ("capacity-of-the-table", "needs the table: its capacity and its indexes"),
    ("change-where-converted", "compares an expression with the changes"),
    ("change-where-copied-and-removed", "compares two changes"),
    ("change-where-cutover", "compares an expression with the strategy"),
    ("change-where-function", "the language of expressions"),
    ("change-where-not-boolean", "the language of expressions"),
    ("change-where-reads-a-target", "compares an expression with the changes"),
    ("change-where-reads-own-removed", "compares an expression with its change"),
    ("change-where-reads-the-version", "compares an expression with the changes"),
    ("change-where-unguarded", "the language of expressions"),
    ("compute-empty-set", "the language of expressions"),
    ("compute-escapes", "the language of expressions"),
    ("compute-inside-itself", "compares an expression with its target"),
    ("compute-itself", "compares an expression with its target"),
    ("compute-itself-keep", "compares an expression with its target"),
    ("compute-key", "compares a change with `key`"),
    ("compute-list-element", "a path: its last step"),
    ("compute-migration-field", "the language of expressions"),
    ("compute-multiline", "the language of expressions"),
    ("compute-reads-a-moved", "compares the paths of two changes"),
    ("compute-reads-a-removed", "compares the paths of two changes"),
    ("compute-reads-a-target", "compares the paths of two changes"),
    ("compute-several-errors", "the language of expressions"),
    ("compute-syntax", "the language of expressions"),
    ("compute-target-of-another", "compares the paths of two changes"),
    ("compute-text-and-number", "the language of expressions"),
    ("compute-timestamp", "the language of expressions"),
    ("compute-unguarded", "the language of expressions"),
    ("control-characters", "a path: which characters need quotes"),
    ("convert-and-move", "compares the paths of two changes"),
    ("convert-bad-zone", "the names of time zones"),
    ("convert-formats-for-a-number", "which options a conversion takes"),
    ("convert-index-key", "needs the table: the keys of its indexes"),
    ("convert-into-inside", "compares two paths of a change"),
    ("convert-into-itself", "compares two paths of a change"),
    ("convert-into-key", "compares a change with `key`"),
    ("convert-into-list-element", "a path: its last step"),
    ("convert-key", "compares a change with `key`"),
    ("convert-list-element", "a path: its last step"),
    ("convert-no-formats", "which options a conversion takes"),
    ("convert-true-and-false", "compares two lists"),
    ("convert-twice", "compares the paths of two changes"),
    ("custom-key-output", "compares a change with `key`"),
    ("custom-nested-output", "a path: only whole attributes"),
    ("custom-output-is-input", "compares the paths of a change"),
    ("custom-target-of-another", "compares the paths of two changes"),
    ("deadline-no-such-day", "the calendar"),
    ("delete-attributes-too-many", "the length of the condition of a delete"),
    ("delete-attributes-without-input", "compares a change with an expression"),
    ("delete-cutover", "compares a change with another table"),
    ("delete-expand-contract", "compares a change with `strategy`"),
    ("delete-no-select", "compares a change with another table"),
    ("delete-twice", "compares all changes"),
    ("delete-version-key", "compares a change with `key`"),
    ("delete-version-list-element", "a path: its last step"),
    ("delete-with-set", "compares all changes"),
    ("each-below-another", "compares the paths of two changes"),
    ("each-computed-from-itself", "compares an expression with its target"),
    ("each-cutover", "compares a change with the other changes"),
    ("each-element-index", "a path: its last step"),
    ("each-inside", "compares the paths of two changes"),
    ("each-inside-an-element", "a path: its steps"),
    ("each-key", "compares a change with `key`"),
    ("each-list-in-list", "a path: how many lists it enters"),
    ("each-list-index", "a path: its last step"),
    ("each-moved-onto-itself", "compares two paths of a change"),
    ("each-moved-twice", "compares the paths of two changes"),
    ("each-null", "compares two fields of a change"),
    ("each-of-another-where", "compares two changes"),
    ("each-path-in-set", "a path: `[*]` only belongs into `each`"),
    ("each-reads-a-target", "compares the paths of two changes"),
    ("each-reads-the-list", "compares an expression with `each`"),
    ("each-select-unguarded", "compares the selection with the changes"),
    ("each-twice", "compares the paths of two changes"),
    ("each-unguarded", "the language of expressions"),
    ("each-unknown-variable", "the language of expressions"),
    ("each-where-of-elements", "the language of expressions"),
    ("each-whole-element", "the language of expressions"),
    ("exec-deterministic-input-is-output", "compares the attributes of a change"),
    ("exec-key-output", "compares a change with `key`"),
    ("exec-marker-is-input", "compares the attributes of a change"),
    ("exec-marker-is-output", "compares the attributes of a change"),
    ("exec-nested-input", "a path: whether it is a whole attribute"),
    ("exec-nested-output", "a path: whether it is a whole attribute"),
    ("exec-output-is-input", "compares the attributes of a change"),
    ("exec-reads-a-removed", "compares the paths of two changes"),
    ("exec-reads-a-target", "compares the paths of two changes"),
    ("exec-target-of-another", "compares the paths of two changes"),
    ("exec-timeout", "the range of a duration"),
    ("index-keys", "needs the table: the keys of its indexes"),
    ("inverse-index-key", "needs the table: the keys of its indexes"),
    ("inverse-reads-a-target", "compares the paths of two changes"),
    ("inverse-reads-the-old-attribute", "compares an expression with the replaced attribute"),
    ("inverse-syntax", "the language of expressions"),
    ("inverse-type", "the language of expressions"),
    ("inverse-unguarded", "the language of expressions"),
    ("inverse-without-the-target", "compares an expression with its target"),
    ("list-index", "a path: its last step"),
    ("null-is-missing-constant", "compares two fields of a change"),
    ("other-key", "needs the table: its key"),
    ("overlaps", "compares the paths of two changes"),
    ("own-target", "compares two paths of a change"),
    ("own-target-and-bad-where", "the language of expressions"),
    ("put-attribute-twice", "compares the attributes of a change"),
    ("put-cutover", "compares a change with another table"),
    ("put-empty-key-value", "needs the table: its key"),
    ("put-in-place", "compares a change with `strategy`"),
    ("put-key-type", "needs the table: its key"),
    ("put-keys-no-where", "compares a change with another table"),
    ("put-no-select", "compares a change with another table"),
    ("put-no-where", "compares a change with another table"),
    ("put-other-key", "compares a change with `key`"),
    ("put-part-of-the-key", "compares a change with `key`"),
    ("put-syntax", "the language of expressions"),
    ("put-table-key-type", "needs the table: its key"),
    ("put-table-of-the-plan", "compares `table` in `put` with `[table]`"),
    ("put-table-other-key", "needs the table: its key"),
    ("put-table-with-set", "compares all changes"),
    ("put-too-many-attributes", "the length of a condition"),
    ("put-twice", "compares all changes"),
    ("put-unguarded", "the language of expressions"),
    ("put-with-delete", "compares all changes"),
    ("put-with-set", "compares all changes"),
    ("replaces-an-input-of-another", "compares the paths of two changes"),
    ("replaces-and-copy", "compares the paths of two changes"),
    ("replaces-and-remove", "compares the paths of two changes"),
    ("replaces-another-than-converted", "compares two paths of a change"),
    ("replaces-guarded-by-where", "the language of expressions"),
    ("replaces-in-place", "compares a change with `strategy`"),
    ("replaces-itself", "compares two paths of a change"),
    ("replaces-key", "compares a change with `key`"),
    ("replaces-list-element", "a path: its last step"),
    ("replaces-not-an-input", "compares an expression with the replaced attribute"),
    ("replaces-part-of-an-input", "compares an expression with the replaced attribute"),
    ("replaces-several-errors", "compares a change with `key`"),
    ("replaces-skip", "compares `on_not_computable` with the changes"),
    ("replaces-started-at", "the language of expressions"),
    ("replaces-twice", "compares the paths of two changes"),
    ("replaces-unguarded", "the language of expressions"),
    ("replaces-what-contains-the-target", "compares two paths of a change"),
    ("retry-order", "compares two durations"),
    ("role-of-another-account", "compares the role with `account`"),
    ("select-bad-regex", "the language of expressions"),
    ("select-begins-with", "the language of expressions"),
    ("select-converted", "compares the selection with the changes"),
    ("select-cutover-changeable", "compares the selection with the changes"),
    ("select-cutover-contract", "compares the selection with the changes"),
    ("select-cutover-skip", "compares the selection with the changes"),
    ("select-guarded-type-only", "the language of expressions"),
    ("select-index-changes-its-key", "needs the table: the keys of its indexes"),
    ("select-index-copy", "compares `index` with the changes"),
    ("select-index-cutover", "compares `index` with the changes"),
    ("select-index-stable", "compares `stable` with all changes"),
    ("select-index-unknown", "needs the table: its indexes"),
    ("select-keys-and-bad-where", "the language of expressions"),
    ("select-keys-folder", "needs the file of keys"),
    ("select-keys-header", "needs the file of keys"),
    ("select-keys-missing", "needs the file of keys"),
    ("select-keys-no-keys", "needs the file of keys"),
    ("select-keys-not-of-the-table", "needs the file of keys"),
    ("select-keys-stable", "compares `stable` with all changes"),
    ("select-keys-unclosed-quote", "needs the file of keys"),
    ("select-keys-wrong-lines", "needs the file of keys"),
    ("select-nested-macros", "the language of expressions"),
    ("select-not-boolean", "the language of expressions"),
    ("select-now", "the language of expressions"),
    ("select-number", "the language of expressions"),
    ("select-or-unguarded", "the language of expressions"),
    ("select-reads-a-removed", "compares the selection with the changes"),
    ("select-reads-a-removed-member", "compares the selection with the changes"),
    ("select-sql", "the language of expressions"),
    ("select-stable-alone", "compares the selection with the changes"),
    ("select-stable-changed", "compares the selection with the changes"),
    ("select-syntax", "the language of expressions"),
    ("select-too-many-digits", "the language of expressions"),
    ("select-types", "the language of expressions"),
    ("select-unguarded", "the language of expressions"),
    ("select-unknown-function", "the language of expressions"),
    ("select-unknown-variable", "the language of expressions"),
    ("select-whole-item", "the language of expressions"),
    ("select-wrong-arguments", "the language of expressions"),
    ("set-and-file", "the arguments of `--set`"),
    ("set-lists", "the arguments of `--set`"),
    ("set-on-an-array", "the arguments of `--set`"),
    ("set-shape", "the arguments of `--set`"),
    ("set-twice", "the arguments of `--set`"),
    ("set-unknown-fields", "the arguments of `--set`"),
    ("set-values", "the arguments of `--set`"),
    ("split-delete", "compares `split` with the changes"),
    ("split-exec", "compares `split` with the changes"),
    ("split-missing", "needs the length of all expressions"),
    ("split-one-attribute", "needs the length of all expressions"),
    ("split-selection", "compares `where` with the changes"),
    ("split-stable", "needs the length of all expressions"),
    ("split-too-many-changes", "counts all changes"),
    ("split-too-many-writes", "needs the length of all expressions"),
    ("stable-and-bad-where", "the language of expressions"),
    ("stable-bumped", "compares the selection with the changes"),
    ("stable-computed", "compares the selection with the changes"),
    ("stable-removed", "compares the selection with the changes"),
    ("stable-set", "compares the selection with the changes"),
    ("stated-keys", "compares a change with `key`"),
    ("swap", "compares the paths of two changes"),
    ("table-keys", "needs the table: its key"),
    ("too-long", "the length of the expressions of a write"),
    ("window-equal", "compares two parts of a text"),
    ("window-escapes", "the names of time zones"),
    ("window-offset", "the names of time zones"),
    ("window-zone", "the names of time zones"),
    ("window-zone-nowhere", "the names of time zones"),
    ("write-batch-delete", "compares a field with the changes"),
    ("write-batch-put", "compares a field with the changes"),
];

/// Returns the schema.
fn schema() -> Json {
    serde_json::from_str(PLAN_SCHEMA).unwrap()
}

fn plans(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(path).unwrap())
    };
    files.map(read).collect()
}

fn toml(bytes: &[u8]) -> Option<toml::Table> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[test]
fn the_schema_is_valid_and_describes_every_field() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(jsonschema::meta::is_valid(&schema));
    let mut count = 0;
    let mut silent = Vec::new();
    describe("", &schema, &mut count, &mut silent);
    assert!(count > 80, "only {count} fields were found");
    assert!(silent.is_empty(), "these fields have no description: {silent:?}");
}

/// Collects the properties without a description. The description of a reference can be its own or its target's.
fn describe(at: &str, node: &Json, count: &mut usize, silent: &mut Vec<String>) {
    let Json::Object(members) = node else { return };
    for (name, property) in members.get("properties").and_then(Json::as_object).into_iter().flatten() {
        // Dependent schemas repeat fields that are described elsewhere.
        if !at.contains("dependentSchemas") {
            *count += 1;
            let described = property.get("description").is_some() || property.get("$ref").is_some();
            silent.extend((!described).then(|| format!("{at}/{name}")));
        }
    }
    for (name, member) in members {
        let at = format!("{at}/{name}");
        match member {
            Json::Array(list) => list.iter().for_each(|member| describe(&at, member, count, silent)),
            member => describe(&at, member, count, silent),
        }
    }
}

#[test]
fn the_schema_accepts_every_example() {
    let examples = plans("migrations-examples");
    assert!(examples.len() >= 6);
    for (name, bytes) in examples {
        assert_eq!(schema_errors(&toml(&bytes).unwrap()), [""; 0], "{name}");
    }
}

/// The plan of `init` is valid, with and without its optional fields.
#[test]
fn the_schema_accepts_the_template() {
    let text = backfill::internals::plan::template(None);
    assert_eq!(schema_errors(&text.parse().unwrap()), [""; 0]);
    let (head, settings) = text.split_once("[scan]").unwrap();
    let (settings, _) = settings.split_once("# Instead of a table").unwrap();
    let open = format!("{head}[scan]{}", settings.replace("\n# ", "\n"));
    assert_eq!(schema_errors(&open.parse().unwrap()), [""; 0]);
}

#[test]
fn the_schema_refuses_every_bad_plan_that_it_can_judge() {
    let mut accepted = Vec::new();
    let mut unreadable = Vec::new();
    for (name, bytes) in plans("tests/plans") {
        match toml(&bytes) {
            None => unreadable.push(name),
            Some(plan) if schema_errors(&plan).is_empty() => accepted.push(name),
            Some(_) => {}
        }
    }
    accepted.sort();
    unreadable.sort();
    assert_eq!(accepted, BEYOND_A_SCHEMA.map(|(name, _)| name), "bad plans that the schema accepts");
    assert_eq!(unreadable, UNREADABLE, "bad plans that cannot be validated");
    assert!(BEYOND_A_SCHEMA.iter().all(|(_, reason)| !reason.is_empty()));
}
