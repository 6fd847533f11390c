//! Tests conversions in plan syntax, and the examples in `docs/conversions.md`.

use serde_json::Value as Json;
use toml::de::DeTable;

use super::*;
use crate::item::Value;
use crate::plan::diagnostic::PlanErrors;
use crate::plan::text::PlanText;

/// Reads a change with `convert` from the given lines.
fn parse(lines: &str) -> Result<Conversion, PlanErrors> {
    let text = format!("convert = \"a\"\n{lines}\n");
    let table = DeTable::parse(&text).unwrap();
    let mut problems = Problems::new(PlanText::new(&text, &[]));
    let names: Vec<&str> = ["convert", "to", "into"].into_iter().chain(OPTIONS).collect();
    let fields = Fields::open(table.get_ref(), "[[change]]", &names, 0..text.len(), &mut problems);
    match (read(&fields, &mut problems), problems.is_empty()) {
        (Some(conversion), true) => Ok(conversion),
        (None, true) => panic!("{lines}: there is neither a conversion nor an error"),
        (_, false) => Err(problems.into_errors("p")),
    }
}

#[test]
fn every_target_can_be_written() {
    for (lines, text) in [
        ("to = \"N\"", "N"),
        ("to = \"S\"", "S"),
        ("to = \"BOOL\"", "BOOL"),
        ("to = \"M\"", "M"),
        ("to = \"L\"", "L"),
        ("to = \"JSON\"", "JSON"),
        ("to = \"SS\"", "SS"),
        ("to = \"NS\"", "NS"),
        ("to = \"BS\"", "BS"),
        ("to = \"B\"", "B"),
        ("to = \"BASE64\"", "BASE64"),
        (
            "to = \"BOOL\"\ntrue_values = [\"yes\", \"\"]\nfalse_values = [\"no\"]",
            "BOOL (true_values \"\" \"yes\", false_values \"no\")",
        ),
        (
            "to = \"epoch-seconds\"\nformats = [\"%Y-%m-%d\", \"rfc3339\"]\nzone = \"europe/paris\"",
            "epoch-seconds (formats \"%Y-%m-%d\" \"rfc3339\", zone \"Europe/Paris\")",
        ),
        (
            "to = \"epoch-milliseconds\"\nformats = [\"rfc3339\", \"%F %T%z\", \"%s\"]\nfraction = \"drop\"",
            "epoch-milliseconds (formats \"%F %T%z\" \"%s\" \"rfc3339\", fraction \"drop\")",
        ),
        ("to = \"rfc3339\"\nunit = \"milliseconds\"", "rfc3339 (unit \"milliseconds\", zone \"UTC\")"),
        (
            "to = \"rfc3339\"\nunit = \"seconds\"\nzone = \"Asia/Tokyo\"",
            "rfc3339 (unit \"seconds\", zone \"Asia/Tokyo\")",
        ),
        (
            "to = \"text\"\nformat = \"%FT%TZ\"\nunit = \"seconds\"\nzone = \"UTC\"",
            "text (format \"%FT%TZ\", unit \"seconds\", zone \"UTC\")",
        ),
    ] {
        let conversion = parse(lines).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(conversion.to_string(), text);
        assert!(lines.contains(&format!("to = {:?}", conversion.name())), "{lines}");
    }
    for (name, target) in TARGETS {
        assert_eq!(target.name(), name);
        assert!(target.options().iter().all(|option| OPTIONS.contains(option)), "{name}");
    }
}

#[test]
fn every_error_is_shown_at_its_place_with_a_remedy() {
    // Each row contains a conversion and its errors. An error consists of the marked text and a part of the help.
    for (lines, errors) in [
        ("", vec![("convert", "add `to = \"N\"`")]),
        ("to = 5", vec![("5", "write `to = \"N\"`")]),
        ("to = \"number\"", vec![("\"number\"", "did you mean \"N\"?")]),
        ("to = \"n\"", vec![("\"n\"", "did you mean \"N\"?")]),
        ("to = \"bool\"", vec![("\"bool\"", "did you mean \"BOOL\"?")]),
        ("to = \"epoch_seconds\"", vec![("\"epoch_seconds\"", "did you mean \"epoch-seconds\"?")]),
        ("to = \"epoch\"", vec![("\"epoch\"", "write \"epoch-seconds\" or")]),
        ("to = \"NULL\"", vec![("\"NULL\"", "use `set`")]),
        ("to = \"elsewhere\"", vec![("\"elsewhere\"", "valid values: \"N\", \"S\"")]),
        ("to = \"N\"\nzone = \"UTC\"", vec![("zone", "remove `zone`")]),
        ("to = \"S\"\nformats = [\"%F\"]\nunit = \"hours\"", vec![("formats", "remove"), ("unit", "remove")]),
        ("to = \"epoch-seconds\"", vec![("\"epoch-seconds\"", "add `formats = ")]),
        ("to = \"epoch-seconds\"\nformat = \"%F\"", vec![("format", "use `formats` instead")]),
        ("to = \"epoch-seconds\"\nformats = \"%F\"", vec![("\"%F\"", "write `formats = [")]),
        ("to = \"epoch-seconds\"\nformats = []", vec![("[]", "write `formats = [")]),
        ("to = \"epoch-seconds\"\nformats = [1, \"%F\", true]", vec![("1", "write"), ("true", "write")]),
        ("to = \"epoch-seconds\"\nformats = [\"%F\"]", vec![("\"%F\"", "zone = \"UTC\"")]),
        (
            "to = \"epoch-seconds\"\nformats = [\"%F\", \"rfc3339\", \"%D\"]",
            vec![("\"%F\"", "zone"), ("\"%D\"", "zone")],
        ),
        ("to = \"epoch-seconds\"\nformats = [\"rfc3339\", \"rfc3339\"]", vec![("\"rfc3339\"", "remove one")]),
        (
            "to = \"epoch-seconds\"\nformats = [\"%Y-%q\", \"%Y\", \"%F %H:%I %Z\"]\nzone = \"Paris\"",
            vec![
                ("%q", "valid directives"),
                ("%Y", "add %m"),
                ("%Z", "several time zones"),
                ("\"Paris\"", "did you mean Europe/Paris?"),
            ],
        ),
        ("to = \"epoch-seconds\"\nformats = [\"%FT%TZ\"]\nzone = \"UTC\"", vec![("Z", "use %z")]),
        (
            "to = \"epoch-seconds\"\nformats = [\"rfc3339\"]\nzone = \"+02:00\"",
            vec![("\"+02:00\"", "so use a zone name")],
        ),
        ("to = \"epoch-seconds\"\nformats = [\"rfc3339\"]\nzone = 2", vec![("2", "zone = \"Europe/Paris\"")]),
        (
            "to = \"epoch-seconds\"\nformats = [\"rfc3339\"]\nfraction = \"round\"",
            vec![("\"round\"", "valid values: \"drop\"")],
        ),
        ("to = \"epoch-seconds\"\nformats = [\"rfc3339\"]\nunit = \"seconds\"", vec![("unit", "remove `unit`")]),
        ("to = \"rfc3339\"", vec![("\"rfc3339\"", "unit = \"seconds\"")]),
        ("to = \"rfc3339\"\nunit = \"second\"", vec![("\"second\"", "did you mean \"seconds\"?")]),
        ("to = \"rfc3339\"\nunit = \"seconds\"\nformat = \"%F\"", vec![("format", "remove `format`")]),
        ("to = \"text\"", vec![("\"text\"", "add `format"), ("\"text\"", "add `unit"), ("\"text\"", "add `zone")]),
        (
            "to = \"text\"\nformats = [\"%F\"]\nunit = \"seconds\"\nzone = \"UTC\"",
            vec![("formats", "use `format` instead")],
        ),
        (
            "to = \"text\"\nformat = \"rfc3339\"\nunit = \"seconds\"\nzone = \"UTC\"",
            vec![("\"rfc3339\"", "write `to = \"rfc3339\"`")],
        ),
        ("to = \"text\"\nformat = \"day\"\nunit = \"seconds\"\nzone = \"UTC\"", vec![("day", "write it like")]),
        (
            "to = \"text\"\nformat = \"%FT%TZ\"\nunit = \"seconds\"\nzone = \"Asia/Tokyo\"",
            vec![("\"%FT%TZ\"", "write `zone = \"UTC\"`")],
        ),
        ("to = \"BOOL\"\ntrue_values = [\"yes\"]", vec![("true_values", "add `false_values = ")]),
        ("to = \"BOOL\"\nfalse_values = [\"no\"]", vec![("false_values", "add `true_values = ")]),
        ("to = \"BOOL\"\ntrue_values = [\"yes\"]\nfalse_values = []", vec![("[]", "write `false_values = ")]),
        ("to = \"BOOL\"\ntrue_values = [true]\nfalse_values = [\"no\"]", vec![("true", "write `true_values = ")]),
        (
            "to = \"BOOL\"\ntrue_values = [\"y\", \"y\"]\nfalse_values = [\"n\", \"y\"]",
            vec![("\"y\"", "remove one of them"), ("\"y\"", "remove the text")],
        ),
        (
            "to = \"n\"\nformats = [\"%q\"]\nzone = \"x\"",
            vec![("\"n\"", "N"), ("%q", "valid"), ("\"x\"", "write a zone name such as")],
        ),
    ] {
        let found = match parse(lines) {
            Ok(conversion) => panic!("{lines} was accepted as {conversion}"),
            Err(found) => found,
        };
        let text = format!("convert = \"a\"\n{lines}\n");
        let marked: Vec<&str> = found.spans().map(|span| &text[span]).collect();
        assert_eq!(marked, errors.iter().map(|(marked, _)| *marked).collect::<Vec<_>>(), "{found}");
        let rendered = found.to_string();
        let parts: Vec<&str> = rendered.split("error: ").skip(1).collect();
        for (part, (_, help)) in parts.iter().zip(&errors) {
            assert!(part.contains("help: ") && part.contains(help), "{help:?} is not in {part}");
        }
        assert_eq!(parts.len(), errors.len());
    }
}

/// Returns the cells of a row of the examples table.
fn cells(row: &str) -> Vec<&str> {
    fn code(cell: &str) -> Option<&str> {
        cell.strip_prefix('`')?.strip_suffix('`')
    }
    row.trim_matches('|').split(" | ").map(str::trim).map(|cell| code(cell).unwrap_or(cell)).collect()
}

#[test]
fn the_examples_in_the_document_are_true() {
    let document = include_str!("../../../docs/conversions.md");
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `to = ")).collect();
    let value = |json: &str| Value::from_json(&serde_json::from_str::<Json>(json).unwrap()).unwrap();
    let mut named = Vec::new();
    for row in &rows {
        let [change, before, after] = cells(row)[..] else { panic!("{row}") };
        let lines = change.replace("; ", "\n");
        let conversion = parse(&lines).unwrap_or_else(|errors| panic!("{row}\n{errors}"));
        named.push(conversion.name().to_owned());
        match (after.strip_prefix("reported: "), conversion.apply(&value(before))) {
            (None, Ok(converted)) => assert_eq!(converted.to_json(), value(after).to_json(), "{row}"),
            (Some(reason), Err(why)) => assert_eq!(why.reason(), reason, "{row}"),
            (_, result) => panic!("{row}\n{result:?}"),
        }
    }
    for (name, _) in TARGETS {
        assert!(named.iter().any(|used| used == name), "no example of `to = {name:?}`");
    }
    assert!(rows.len() >= 30, "{}", rows.len());
}
