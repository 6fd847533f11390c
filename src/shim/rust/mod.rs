//! Rust. The templates end with `.txt`, so that tools do not read them as code of this crate.

use super::comment::comment;
use super::literal::literal;
use super::model::{ModelFlag, MoveModel, ShimModel, plain_path};
use super::names::words;
use super::template::{Slot, between, fill};
use super::{Language, Shim};

const EXAMPLE: &str = include_str!("../../../docs/examples/flag/rust/flag.rs");
const SHIM: &str = include_str!("shim.rs.txt");
const MOVE: &str = include_str!("move.rs.txt");

/// The marks that delimit those parts of the example that the shim copies.
pub(super) const MARKS: [(&str, &str); 3] = [
    (EXAMPLE, "use std::collections"),
    (EXAMPLE, "/// Returns the item's old or new value"),
    (EXAMPLE, "/// Caches the flag"),
];

fn quoted(text: &str) -> String {
    literal(Language::Rust, text)
}

/// Renders the file.
pub(super) fn render(model: &ShimModel<'_>) -> Shim {
    let code = fill(
        SHIM,
        &[
            (Slot::Migration, &comment(model.migration)),
            (Slot::Table, &comment(model.table)),
            (Slot::PartitionKey, &comment(model.partition_key)),
            (Slot::Notes, &model.notes("//! ")),
            (Slot::FlagKey, fetch(&model.flag)),
            (Slot::Example, &model.moves[0].stem),
            (Slot::Flag, between(EXAMPLE, MARKS[0].1, Some(MARKS[1].1))),
            (Slot::Cache, between(EXAMPLE, MARKS[2].1, None)),
            (Slot::Constants, &constants(model)),
            (Slot::Moves, &model.moves.iter().map(one_move).collect::<String>()),
        ],
    );
    Shim { code: format!("{}\n", code.trim_end()), file_name: format!("{}_shim.rs", words(model.migration).join("_")) }
}

/// How an application reads the flag's item.
fn fetch(flag: &ModelFlag<'_>) -> &'static str {
    match flag {
        ModelFlag::Value { .. } => {
            "let flag = cached.current(Instant::now, || fetch_flag(&dynamodb, FLAG_TABLE, FLAG_ID))?; // ConsistentRead: true"
        }
        ModelFlag::Key { .. } => {
            "let flag = cached.current(Instant::now, || fetch_flag(&dynamodb, FLAG_TABLE, FLAG_KEY))?; // ConsistentRead: true"
        }
        ModelFlag::Service => "let flag = cached.current(Instant::now, || fetch_flag(&your_flag_service))?;",
    }
}

fn constants(model: &ShimModel<'_>) -> String {
    let text =
        |name: &str, about: &str, value: &str| format!("/// {about}\npub const {name}: &str = {};\n", quoted(value));
    let mut parts = text("PARTITION_KEY", "The name of the table's partition key.", model.partition_key);
    let about_table = "The table of the flag.";
    match &model.flag {
        ModelFlag::Value { table, value } => {
            parts.push_str(&text("FLAG_TABLE", about_table, table));
            parts.push_str(&text("FLAG_ID", "The value of the partition key of the flag's table.", value));
        }
        ModelFlag::Key { table, key } => {
            parts.push_str(&text("FLAG_TABLE", about_table, table));
            let key: Vec<String> =
                key.iter().map(|(name, value)| format!("({}, {})", quoted(name), quoted(value))).collect();
            parts.push_str(&format!(
                "/// The key of the flag's item. Its values are strings.\npub const FLAG_KEY: &[(&str, &str)] = &[{}];\n",
                key.join(", ")
            ));
        }
        ModelFlag::Service => {}
    }
    parts.trim_end().to_owned()
}

fn one_move(one: &MoveModel<'_>) -> String {
    let names: Vec<String> = one
        .prefix_names
        .iter()
        .map(|(placeholder, name)| format!("({}, {})", quoted(placeholder), quoted(name)))
        .collect();
    let described = format!(
        "Move {{ old: {}, new: {}, number: {}, prefix: {}, prefix_names: &[{}] }}",
        quoted(one.old),
        quoted(one.new),
        quoted(&one.number),
        quoted(&one.prefix),
        names.join(", ")
    );
    let container = one.container();
    let about = match one.map {
        [] => String::new(),
        _ => format!("`{container}` is {}. ", one.about_container()),
    };
    fill(
        MOVE,
        &[
            (Slot::Constant, &one.stem.to_uppercase()),
            (Slot::Stem, &one.stem),
            (Slot::Old, &plain_path(one.map, one.old)),
            (Slot::New, &plain_path(one.map, one.new)),
            (Slot::Move, &described),
            (Slot::Container, container),
            (Slot::ContainerName, &about),
        ],
    )
}
