//! Go.

use super::comment::comment;
use super::literal::literal;
use super::model::{ModelFlag, MoveModel, ShimModel, plain_path};
use super::names::{camel, words};
use super::template::{Slot, between, fill};
use super::{Language, Shim};

const EXAMPLE: &str = include_str!("../../../docs/examples/flag/go/flag.go");
const SHIM: &str = include_str!("shim.go");
const MOVE: &str = include_str!("move.go");

/// The marks that delimit those parts of the example that the shim copies.
pub(super) const MARKS: [(&str, &str); 3] =
    [(EXAMPLE, "import ("), (EXAMPLE, "// Read returns the item's"), (EXAMPLE, "// Cached caches the flag")];

fn quoted(text: &str) -> String {
    literal(Language::Go, text)
}

/// Renders the file.
pub(super) fn render(model: &ShimModel<'_>) -> Shim {
    // The suffix and the prefix keep the name distinct from keywords, and from names that begin with a digit.
    let name = words(model.migration).concat();
    let unit = format!("{}{name}shim", if name.starts_with(|c: char| c.is_ascii_digit()) { "m" } else { "" });
    let code = fill(
        SHIM,
        &[
            (Slot::Unit, &unit),
            (Slot::Migration, &comment(model.migration)),
            (Slot::Table, &comment(model.table)),
            (Slot::PartitionKey, &comment(model.partition_key)),
            (Slot::Notes, &model.notes("// ")),
            (Slot::FlagKey, &fetch(&model.flag, &unit)),
            (Slot::Example, &camel(&model.moves[0].stem)),
            (Slot::Flag, between(EXAMPLE, MARKS[0].1, Some(MARKS[1].1))),
            (Slot::Cache, between(EXAMPLE, MARKS[2].1, None)),
            (Slot::Constants, &constants(model)),
            (Slot::Moves, &model.moves.iter().map(one_move).collect::<String>()),
        ],
    );
    Shim { code: format!("{}\n", code.trim_end()), file_name: format!("{unit}.go") }
}

/// How an application reads the flag's item.
fn fetch(flag: &ModelFlag<'_>, unit: &str) -> String {
    let from = match flag {
        ModelFlag::Value { .. } => "GetItem of FlagID in FlagTable, ConsistentRead: true",
        ModelFlag::Key { .. } => "GetItem of FlagKey in FlagTable, ConsistentRead: true",
        ModelFlag::Service => "read your flag service",
    };
    format!("flags := {unit}.NewCached(func(ctx context.Context) (*{unit}.Fields, error) {{ … {from} … }})")
}

fn constants(model: &ShimModel<'_>) -> String {
    let key = format!("const PartitionKey = {}\n", quoted(model.partition_key));
    let table = |name: &str| format!("// FlagTable is the table of the flag.\nconst FlagTable = {}\n", quoted(name));
    let flag = match &model.flag {
        ModelFlag::Value { table: name, value } => format!(
            "\n{}\n// FlagID is the value of the partition key of the flag's table.\nconst FlagID = {}",
            table(name),
            quoted(value)
        ),
        ModelFlag::Key { table: name, key } => {
            let parts: Vec<String> =
                key.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(value))).collect();
            format!(
                "\n{}\n// FlagKey is the key of the flag's item. Its values are strings.\n\
                 var FlagKey = map[string]string{{{}}}",
                table(name),
                parts.join(", ")
            )
        }
        ModelFlag::Service => String::new(),
    };
    let about = "//\n// PartitionKey is the name of the table's partition key.\n";
    format!("{about}{key}{flag}").trim_end().to_owned()
}

fn one_move(one: &MoveModel<'_>) -> String {
    let mut fields = vec![format!("old: {}, new: {}", quoted(one.old), quoted(one.new))];
    if !one.number.is_empty() {
        fields.push(format!("number: {}", quoted(&one.number)));
    }
    if !one.prefix.is_empty() {
        let names: Vec<String> = one
            .prefix_names
            .iter()
            .map(|(placeholder, name)| format!("{}: {}", quoted(placeholder), quoted(name)))
            .collect();
        fields.push(format!("prefix: {}, prefixNames: map[string]string{{{}}}", quoted(&one.prefix), names.join(", ")));
    }
    let container = one.container();
    let about = match one.map {
        [] => String::new(),
        _ => format!("{container} is {}. ", one.about_container()),
    };
    let stem = camel(&one.stem);
    fill(
        MOVE,
        &[
            (Slot::Constant, &stem),
            (Slot::Stem, &stem),
            (Slot::Old, &plain_path(one.map, one.old)),
            (Slot::New, &plain_path(one.map, one.new)),
            (Slot::Move, &format!("move{{{}}}", fields.join(", "))),
            (Slot::Container, container),
            (Slot::ContainerName, &about),
        ],
    )
}
