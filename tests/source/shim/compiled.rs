//! Runs the generated Rust code. `UPDATE_EXPECT=1 cargo test --test source shim` rewrites it.

#[rustfmt::skip]
#[path = "generated/hostile_shim.rs"]
#[expect(dead_code, unreachable_pub, reason = "an application includes the file as a module, as this test does")]
mod hostile_shim;
#[rustfmt::skip]
#[path = "generated/rename_shim.rs"]
#[expect(dead_code, unreachable_pub, reason = "an application includes the file as a module, as this test does")]
mod rename_shim;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use backfill::internals::item::Value;
use backfill::internals::shim::{Language, shim};
use serde_json::{Value as Json, json};

use super::super::flag_examples::{bucket_of, fields, list, root, text, vectors};
use super::{assert_names_are_exact, hostile, rename};

#[test]
fn the_compiled_code_is_the_generated_code() {
    for plan in [rename(), hostile()] {
        let shim = shim(&plan, Language::Rust).unwrap();
        let path = root().join("tests/source/shim/generated").join(&shim.file_name);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &shim.code).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap() == shim.code, "{} is out of date", path.display());
    }
}

/// The code for parsing and caching the flag is the example's, which has its own test.
#[test]
fn rust() {
    use rename_shim::{Fields, Flag, Key, bucket, parse, read_new, removes_for_new, writes_for_new};
    let vectors = vectors();
    let mut flags: HashMap<&str, Flag> = HashMap::new();
    for (name, item) in vectors["flags"].as_object().unwrap() {
        let of = fields(item);
        let fields = Fields {
            schema_version: of.schema_version,
            version: of.version,
            write: of.write,
            read: of.read,
            read_percent: of.read_percent,
            max_cache_seconds: of.max_cache_seconds,
            old_stale: of.old_stale,
        };
        flags.insert(name, parse(Some(&fields)).unwrap());
    }
    let mut count = 0;
    for case in list(&vectors, "read") {
        let item: HashMap<String, Json> = serde_json::from_value(case["item"].clone()).unwrap();
        let key = Value::from_json(&case["key"]).unwrap();
        let key = match &key {
            Value::S(text) => Key::S(text),
            Value::N(number) => Key::N(number.as_str()),
            Value::B(bytes) => Key::B(bytes),
            other => panic!("{other:?} is not a key"),
        };
        assert_eq!(bucket(key), bucket_of(&case["key"]));
        assert_eq!(read_new(&item, &flags[text(&case["flag"])], key).unwrap_or(&Json::Null), &case["value"], "{case}");
        count += 1;
    }
    for case in list(&vectors, "write") {
        let update = writes_for_new(case["value"].clone(), &flags[text(&case["flag"])]);
        assert_eq!(json!(update.values), case["values"]);
        assert_eq!((update.expression.as_str(), json!(update.names)), (text(&case["update"]), case["names"].clone()));
        count += 1;
    }
    for case in list(&vectors, "delete") {
        let update = removes_for_new::<Json>();
        assert_eq!((update.expression.as_str(), json!(update.names)), (text(&case["update"]), case["names"].clone()));
        count += 1;
    }
    assert!(count > 50, "{count}");
}

#[test]
fn rust_with_hostile_names() {
    use hostile_shim::{
        FLAG_KEY, FLAG_TABLE, Flag, Key, PARTITION_KEY, Write, attributes_for_proto, combine, read_constructor,
        read_line_break_tab, read_proto, read_type, removes_for_proto, removes_for_type, writes_for_constructor,
        writes_for_line_break_tab, writes_for_proto, writes_for_type,
    };
    let max_cache = Duration::from_secs(60);
    let flag = Flag { write: Write::Both, read_new: true, read_percent: 100, old_stale: false, max_cache };
    let update = combine([
        writes_for_line_break_tab("v1", &flag),
        writes_for_proto("v2", &flag),
        writes_for_constructor("v3", &flag),
        writes_for_type("v4", &flag),
    ]);
    let hexadecimal = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut lines = vec![format!("expression {}", update.expression)];
    let names: BTreeMap<_, _> = update.names.iter().collect();
    lines.extend(names.iter().map(|(placeholder, name)| format!("{placeholder} {}", hexadecimal(name))));
    let values: BTreeMap<_, _> = update.values.iter().collect();
    let values: Vec<String> = values.iter().map(|(placeholder, value)| format!("{placeholder}={value}")).collect();
    lines.push(format!("values {}", values.join(",")));
    lines.push(format!("partition {}\ntable {}", hexadecimal(PARTITION_KEY), hexadecimal(FLAG_TABLE)));
    lines.extend(FLAG_KEY.iter().map(|(name, value)| format!("flag {} {}", hexadecimal(name), hexadecimal(value))));
    let old_only: HashMap<String, &str> =
        (1..=4).map(|n| (update.names[&format!("#old{n}")].clone(), ["v1", "v2", "v3", "v4"][n - 1])).collect();
    let none: HashMap<String, &str> = HashMap::new();
    let key = Key::S("a");
    for (found, expected, absent) in [
        (read_line_break_tab(&old_only, &flag, key), "v1", read_line_break_tab(&none, &flag, key)),
        (read_proto(&old_only, &flag, key), "v2", read_proto(&none, &flag, key)),
        (read_constructor(&old_only, &flag, key), "v3", read_constructor(&none, &flag, key)),
        (read_type(&old_only, &flag, key), "v4", read_type(&none, &flag, key)),
    ] {
        assert_eq!(found, Some(&expected));
        lines.push(format!("absent {}", if absent.is_none() { "True" } else { "False" }));
    }
    let put: Vec<String> = attributes_for_proto(&"x", &flag).into_keys().collect();
    assert!(put.len() == 2 && put.contains(&update.names["#new2"]), "{put:?}");
    let removed = combine::<&str>([removes_for_type(), removes_for_proto()]);
    lines.push(format!("expression {}", removed.expression));
    assert_names_are_exact(&lines.join("\n"));
}
