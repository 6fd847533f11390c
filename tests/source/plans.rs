//! Tests plan files. The example plans load. Every bad plan in `tests/plans/` is refused with the message in the
//! snapshot beside the plan. `INSTA_UPDATE=always cargo test --test source plans` rewrites these snapshots. The first
//! lines of a plan can contain arguments of `--set`, as comments.

use std::fs;
use std::path::{Path, PathBuf};

use backfill::internals::change::{self, Change, OnExisting};
use backfill::internals::dynamodb::{Features, IndexDescription, TableDescription};
use backfill::internals::item::{IndexSchema, KeyAttribute, KeySchema, Projection};
use backfill::internals::plan::{LoadedPlan, PlanErrors, load, load_bytes, load_bytes_with};
use backfill::internals::preflight::check_new_plan;
use proptest::prelude::*;

fn files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn schema(names: &[&str]) -> KeySchema {
    let mut names = names.iter().map(|name| KeyAttribute { name: (*name).to_owned(), kind: "S".to_owned() });
    KeySchema { partition: names.next().unwrap(), sort: names.next() }
}

/// Returns the description of the examples' table `shop`. The table is provisioned, and has a global and a local index.
fn shop() -> TableDescription {
    let index = |name: &str, local: bool| {
        let attribute = |(name, kind): (&str, &str)| KeyAttribute { name: name.into(), kind: kind.into() };
        let key = match local {
            false => vec![attribute(("mail_key", "S")), attribute(("rank", "N"))],
            true => vec![attribute(("pk", "S")), attribute(("placed_on", "S"))],
        };
        let schema = IndexSchema { name: name.into(), key, partition: 1, projection: Projection::KeysOnly, local };
        let provisioned = (!local).then_some((200.0, 100.0));
        IndexDescription { schema, provisioned, on_demand_max: (None, None), warm: None, is_ready: true, entries: None }
    };
    TableDescription {
        name: "shop".into(),
        arn: "arn:aws:dynamodb:eu-west-1:123456789012:table/shop".into(),
        id: None,
        status: "ACTIVE".into(),
        key: schema(&["pk", "sk"]),
        item_count: 0,
        size_bytes: 0,
        provisioned: Some((2_000.0, 1_000.0)),
        on_demand_max: (None, None),
        warm: None,
        indexes: vec![index("by-mail", false), index("by-date", true)],
        features: Features::default(),
        sink: None,
        derived: Some(Box::new(TableDescription::new("lookup", "", schema(&["email"])))),
    }
}

/// Loads a plan and checks it against the table `shop`.
fn load_for_shop(label: &str, bytes: &[u8]) -> Result<LoadedPlan, PlanErrors> {
    let text = String::from_utf8_lossy(bytes);
    let arguments = text.lines().map_while(|line| line.strip_prefix("# --set "));
    let overrides: Vec<String> = arguments.map(str::to_owned).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_bad = root.join("tests/plans").join(label).exists();
    let folder = root.join(if is_bad { "tests/plans" } else { "migrations-examples" });
    let loaded = load_bytes_with(label, bytes, &overrides)?.open_keys(&folder)?;
    check_new_plan(&loaded, &shop())?;
    loaded.prepare_keys(&shop().key)?;
    Ok(loaded)
}

#[test]
fn every_bad_plan_is_refused_with_the_expected_text() {
    let plans = files("tests/plans");
    assert!(plans.len() > 15, "the corpus exists");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../plans");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in plans {
        let label = name_of(&path);
        let shown = match load_for_shop(&label, &fs::read(&path).unwrap()) {
            Ok(_) => panic!("{label} was accepted"),
            Err(errors) => errors.render(false),
        };
        assert!(!shown.contains('\u{1b}'), "{label} reaches the terminal raw");
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        settings.bind(|| insta::assert_snapshot!(name, shown));
    }
}

#[test]
fn every_example_loads_and_fits_the_sample_table() {
    let examples = files("migrations-examples");
    assert!(examples.len() >= 26);
    let overview =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations-examples/README.md")).unwrap();
    for path in &examples {
        let row = format!(" | [{0}]({0}.toml) |", path.file_stem().unwrap().to_str().unwrap());
        assert_eq!(overview.matches(&row).count(), 1, "migrations-examples/README.md:{row}");
        let loaded =
            load_for_shop(&name_of(path), &fs::read(path).unwrap()).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.plan.table.name, "shop", "{}", path.display());
    }
    let rename = examples.iter().find(|path| path.ends_with("rename-attribute.toml")).unwrap();
    let plan = load("rename", &fs::read_to_string(rename).unwrap()).unwrap().plan;
    assert_eq!(plan.strategy, change::Strategy::ExpandContract);
    let from = "email".parse().unwrap();
    let to = "contact_email".parse().unwrap();
    assert_eq!(plan.changes, [Change::Move { from, to, on_existing: OnExisting::Keep }]);
}

#[test]
fn output_is_coloured_only_on_request() {
    let errors = load("p.toml", "x = 1").unwrap_err();
    assert!(errors.render(true).contains('\u{1b}'));
    assert!(!errors.to_string().contains('\u{1b}'));
}

#[test]
fn line_endings_and_a_byte_order_mark_change_nothing() {
    for path in files("migrations-examples") {
        let text = fs::read_to_string(path).unwrap();
        let plain = load("p", &text).unwrap().plan;
        assert_eq!(load("p", &text.replace('\n', "\r\n")).unwrap().plan, plain);
        assert_eq!(load("p", &format!("\u{feff}{text}")).unwrap().plan, plain);
    }
}

#[test]
fn a_large_file_is_refused_without_being_shown() {
    let errors = load("big", &"# x\n".repeat(1 << 20)).unwrap_err();
    assert_eq!(errors.count(), 1);
    assert!(errors.to_string().len() < 1000);
}

/// The work of loading a plan is bounded. Files with thousands of errors, deep nesting or very long lines are refused
/// like other bad plans.
#[test]
fn garbage_as_large_as_a_plan_is_refused() {
    for piece in [
        "= [\n",
        "[",
        "{a=",
        "[[change]]\n",
        "[[change]]\nremove = \"a\"\n",
        "x = 1\n",
        "\"\"\"",
        "a.",
        "[a.b]\n\u{1b}",
        "😀\n",
    ] {
        let errors = load("p.toml", &piece.repeat(250_000 / piece.len())).unwrap_err();
        assert!(errors.count() > 0 && errors.to_string().len() < 1_000_000, "{piece:?}");
    }
}

/// Pieces of plans. The test generates garbage from these pieces, so that it often resembles a plan.
fn pieces() -> impl proptest::strategy::Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[migration]\n".to_owned()),
        Just("[table]\n".to_owned()),
        Just("[[change]]\n".to_owned()),
        Just("[scan]\n".to_owned()),
        Just("[retry.x]\n".to_owned()),
        Just("[capacity]\n".to_owned()),
        Just("[capacity.index]\n".to_owned()),
        Just("[limits]\n".to_owned()),
        Just("[[change.move]]\n".to_owned()),
        Just("change = [".to_owned()),
        Just("{ ".to_owned()),
        Just(" }".to_owned()),
        Just("]\n".to_owned()),
        Just("\"\"\"".to_owned()),
        "(name|move|copy|set|to|value|remove|key|active|write|base|a\\.b) = ",
        "(per_key_range|index|max_wcu|max_items|deadline|window) = ",
        "(\"40%\"|\"22:00-06:00 (UTC|Pariß)?\"|\"[0-9:–-]{0,5}-06:00 UTC\"|2026-12-01T06:00:00Z|\"%\")\n",
        "(1|-1|1e400|nan|0x|99999999999999999999|true|\"a\\.b\"|'\"e-mail\"'|\"5s\"|2020-01-01)[\r]?\n",
        "\\PC{0,5}",
        "[\\x00-\\x20\"'\\[\\]{}=.,#]{0,4}",
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn text_that_resembles_a_plan_never_panics(text in pieces()) {
        if let Err(errors) = load("p.toml", &text) {
            prop_assert!(errors.count() > 0);
            prop_assert!(!errors.render(false).contains(|c: char| c.is_control() && c != '\n'));
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(?s).{0,200}") {
        prop_assert!(load("p.toml", &text).is_err_and(|errors| errors.to_string().contains("p.toml")));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(load_bytes("p.toml", &bytes).is_err_and(|errors| errors.count() > 0));
    }
}
