//! TypeScript.

use super::comment::comment;
use super::literal::literal;
use super::model::{ModelFlag, MoveModel, ShimModel, plain_path};
use super::names::{camel, words};
use super::template::{Slot, between, fill};
use super::{Language, Shim};
use crate::item::PathStep;

const EXAMPLE: &str = include_str!("../../../docs/examples/flag/typescript/flag.ts");
const SHIM: &str = include_str!("shim.ts");
const MOVE: &str = include_str!("move.ts");
/// Needed only if a member of a map moves.
const INSIDE: &str = include_str!("inside.ts");
const DOCUMENT: &str = include_str!("document.ts");

/// The marks that delimit those parts of the example that the shim copies.
pub(super) const MARKS: [(&str, &str); 3] = [
    (EXAMPLE, "import { createHash }"),
    (EXAMPLE, "/** Returns the item's old or new value"),
    (EXAMPLE, "/**\n * Caches the flag"),
];

fn quoted(text: &str) -> String {
    literal(Language::TypeScript, text)
}

/// Renders the file.
pub(super) fn render(model: &ShimModel<'_>) -> Shim {
    let inside = if model.moves.iter().any(|one| !one.map.is_empty()) { format!("\n{INSIDE}") } else { String::new() };
    let code = fill(
        SHIM,
        &[
            (Slot::Migration, &comment(model.migration)),
            (Slot::Table, &comment(model.table)),
            (Slot::PartitionKey, &comment(model.partition_key)),
            (Slot::Notes, &model.notes(" * ")),
            (Slot::FlagKey, fetch(&model.flag)),
            (Slot::Example, &camel(&model.moves[0].stem)),
            (Slot::Flag, between(EXAMPLE, MARKS[0].1, Some(MARKS[1].1))),
            (Slot::Cache, between(EXAMPLE, MARKS[2].1, None)),
            (Slot::Constants, &constants(model)),
            (Slot::Moves, &model.moves.iter().map(one_move).fold(inside, |all, one| all + &one)),
        ],
    );
    Shim { code: format!("{}\n", code.trim_end()), file_name: format!("{}-shim.ts", words(model.migration).join("-")) }
}

/// How an application reads the flag's item.
fn fetch(flag: &ModelFlag<'_>) -> &'static str {
    match flag {
        ModelFlag::Value { .. } => {
            "// \"id\" is the name of the partition key of the flag's table.\n \
             *     const flags = new CachedFlag(async () => (await dynamodb.send(new GetItemCommand({\n \
             *       TableName: FLAG_TABLE, Key: { id: { S: FLAG_ID } }, ConsistentRead: true }))).Item);"
        }
        ModelFlag::Key { .. } => {
            "const flags = new CachedFlag(async () => (await dynamodb.send(new GetItemCommand({\n \
             *       TableName: FLAG_TABLE, Key: FLAG_KEY, ConsistentRead: true }))).Item);"
        }
        ModelFlag::Service => {
            "// `document` is your function. It returns the flag of your flag service, or null.\n \
             *     const flags = new CachedFlag(async () => itemOfDocument(await document()));"
        }
    }
}

fn constants(model: &ShimModel<'_>) -> String {
    let key = format!("export const PARTITION_KEY = {};", quoted(model.partition_key));
    match &model.flag {
        ModelFlag::Value { table, value } => {
            format!("{key}\nexport const FLAG_TABLE = {};\nexport const FLAG_ID = {};", quoted(table), quoted(value))
        }
        ModelFlag::Key { table, key: flag_key } => {
            let parts: Vec<String> = flag_key
                .iter()
                .map(|(name, value)| format!("[{}]: {{ S: {} }}", quoted(name), quoted(value)))
                .collect();
            let table = quoted(table);
            format!("{key}\nexport const FLAG_TABLE = {table};\nexport const FLAG_KEY = {{ {} }};", parts.join(", "))
        }
        ModelFlag::Service => format!("{key}\n\n{}", DOCUMENT.trim_end()),
    }
}

fn one_move(one: &MoveModel<'_>) -> String {
    let names: Vec<String> = one
        .prefix_names
        .iter()
        .map(|(placeholder, name)| format!("{}: {}", quoted(placeholder), quoted(name)))
        .collect();
    let names = if names.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", names.join(", ")) };
    let described = format!(
        "{{ old: {}, new: {}, number: {}, prefix: {}, prefixNames: {names} }}",
        quoted(one.old),
        quoted(one.new),
        quoted(&one.number),
        quoted(&one.prefix)
    );
    let container = match one.map {
        [] => "item".to_owned(),
        steps => format!("inside(item, [{}])", steps.iter().map(step).collect::<Vec<_>>().join(", ")),
    };
    fill(
        MOVE,
        &[
            (Slot::Constant, &one.stem.to_uppercase()),
            (Slot::Stem, &camel(&one.stem)),
            (Slot::Old, &plain_path(one.map, one.old)),
            (Slot::New, &plain_path(one.map, one.new)),
            (Slot::Move, &described),
            (Slot::Container, &container),
        ],
    )
}

fn step(step: &PathStep) -> String {
    match step {
        PathStep::Name(name) => quoted(name),
        PathStep::Index(index) => index.to_string(),
    }
}
