//! Reads the example plans. For each plan `NAME.toml`, the file `NAME.items.json` contains items before and after the
//! run.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::harness::capabilities::Capability::{self, DocumentComparison, IndexScan};

/// The example that reads an index.
pub(super) const INDEXED: &str = "items-in-an-index";

/// The example with a file of keys. Its test lists the items that change.
pub(super) const LISTED: &str = "listed-keys";

/// The example that deletes items. Its test is separate, because deletes without a reply stay unconfirmed.
pub(super) const DELETES: &str = "delete-where";

/// The examples that need certain capabilities of the engine. All other examples run on every engine.
const NEEDS: [(&str, &[Capability]); 5] = [
    ("append", &[DocumentComparison]),
    ("each-element", &[DocumentComparison]),
    (INDEXED, &[IndexScan]),
    ("null-as-missing", &[DocumentComparison]),
    ("set-constant", &[DocumentComparison]),
];

/// An example plan with the exit code of its run, and with items before and after the run.
pub(super) struct Example {
    /// The name of the plan's file, without `.toml`.
    pub(super) name: String,
    pub(super) exit_code: i32,
    /// The capabilities that the example needs. It runs on every engine that has them.
    pub(super) needs: &'static [Capability],
    /// Attributes of items before and after the run. The test adds a key to items without one. The second element is
    /// `None` if the run deletes the item.
    pub(super) items: Vec<(Json, Option<Json>)>,
    /// The derived items that the run puts.
    pub(super) puts: Vec<Json>,
}

/// The contents of a file `NAME.items.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemsFile {
    exit_code: i32,
    items: Vec<ItemOfFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemOfFile {
    before: Json,
    /// The item after the run. `null` means that the run deletes the item.
    #[serde(default, deserialize_with = "present")]
    after: Option<Json>,
    /// The reason why the run does not change the item.
    unchanged: Option<String>,
    /// The derived item that the run puts for this item. This item itself stays unchanged.
    puts: Option<Json>,
}

/// Distinguishes `null` from a missing field.
fn present<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(field).map(Some)
}

pub(super) fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations-examples")
}

/// Returns all examples, in the order of their names.
///
/// # Panics
///
/// Panics if a plan has no items, if items have no plan, or if a file cannot be read.
pub(super) fn examples() -> Vec<Example> {
    let mut names: Vec<String> = files(".toml");
    names.sort();
    let mut described = files(".items.json");
    described.sort();
    assert_eq!(names, described, "each example plan has a file of items");
    names.into_iter().map(read).collect()
}

pub(super) fn example(name: &str) -> Example {
    read(name.into())
}

fn files(suffix: &str) -> Vec<String> {
    let names = folder().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(suffix).map(String::from)).collect()
}

fn read(name: String) -> Example {
    let text = std::fs::read_to_string(folder().join(format!("{name}.items.json"))).unwrap();
    let file: ItemsFile = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let puts: Vec<Json> = file.items.iter().filter_map(|item| item.puts.clone()).collect();
    let items = file.items.into_iter().map(|item| match (item.after, item.unchanged, item.puts) {
        (None, None, Some(_)) => (item.before.clone(), Some(item.before)),
        (Some(Json::Null), None, None) => (item.before, None),
        (Some(after), None, None) => {
            assert_ne!(item.before, after, "{name}: an item that does not change says why");
            (item.before, Some(after))
        }
        (None, Some(reason), None) => {
            assert!(!reason.is_empty(), "{name}");
            (item.before.clone(), Some(item.before))
        }
        fields => panic!("{name}: an item has one of `after`, `unchanged` and `puts`: {fields:?}"),
    });
    let items: Vec<_> = items.collect();
    let unchanged = items.iter().any(|(before, after)| Some(before) == after.as_ref());
    let changed = !puts.is_empty() || items.iter().any(|(before, after)| Some(before) != after.as_ref());
    assert!(changed && (unchanged || ALL_CHANGE.contains(&name.as_str())), "{name}: one kind of item is missing");
    let needs = NEEDS.iter().find(|(plan, _)| *plan == name).map_or(&[][..], |(_, needs)| needs);
    Example { name, exit_code: file.exit_code, needs, items, puts }
}

/// The examples whose run changes every item.
const ALL_CHANGE: [&str; 1] = ["quoted-names"];
