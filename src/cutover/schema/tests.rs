//! Tests the published form of the flag, and the refusal of invalid content.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cutover::FlagChange;
use crate::item::item_from_json;

fn meta() -> FlagMeta {
    FlagMeta {
        plan: "f".repeat(64).into(),
        report: Some("0".repeat(64).into()),
        actor: "ops@host".into(),
        reason: Some("a drill".into()),
    }
}

/// Returns a flag that has every attribute.
fn whole_flag() -> Flag {
    let start: Timestamp = "2026-12-01T06:00:00.123456789Z".parse().unwrap();
    let step = |flag: Flag, change| flag.next(change, flag.settled_at(), Duration::ZERO).unwrap();
    [FlagChange::DualWrite, FlagChange::ReadNew(100), FlagChange::WriteNew, FlagChange::Contract]
        .into_iter()
        .fold(Flag::new(60, start), step)
}

#[test]
fn every_attribute_is_published_with_its_type() {
    let item = to_item(&whole_flag(), &meta());
    for field in &FIELDS {
        // The attribute `writer` is missing here, because the store adds it later.
        if field.name != "writer" {
            assert_eq!(item[field.name].type_name(), field.field_type.attribute(), "{}", field.name);
        }
    }
    assert_eq!(item.len(), FIELDS.len() - 1);
}

#[test]
fn a_flag_reads_back_and_other_attributes_are_ignored() {
    let mut item = to_item(&whole_flag(), &meta());
    item.insert("pk".into(), Value::S("rename-email".into()));
    item.insert("ttl".into(), Value::Ss(vec!["x".into()]));
    item.insert("version".into(), Value::N(Num::parse("5.0").unwrap()));
    assert_eq!(from_item(&item), Ok((whole_flag(), meta())));
    let plain = FlagMeta { report: None, reason: None, ..meta() };
    let first = Flag::new(1, "2026-12-01T06:00:00Z".parse().unwrap());
    assert_eq!(from_item(&to_item(&first, &plain)), Ok((first, plain)));
}

#[test]
fn a_newer_schema_is_refused_by_its_version_alone() {
    let newer = item_from_json(&json!({ "schema_version": { "N": "2" }, "write": { "L": [] } })).unwrap();
    assert_eq!(from_item(&newer), Err(SchemaError::Version("2".into())));
}

/// Tries three defects for each attribute: the attribute is missing, has the wrong type, or is out of its range.
#[test]
fn an_item_that_breaks_the_schema_is_refused() {
    for field in &FIELDS {
        for wrong in
            [None, Some(Value::Null), Some(Value::S("nonsense".into())), Some(Value::N(Num::parse("1E20").unwrap()))]
        {
            let mut item = to_item(&whole_flag(), &meta());
            let fits = match &wrong {
                None => !field.required,
                Some(value) => {
                    value.type_name() == field.field_type.attribute() && matches!(field.field_type, FieldType::Text)
                }
            };
            match wrong {
                Some(value) => item.insert(field.name.into(), value),
                None => item.remove(field.name),
            };
            let times = matches!(field.name, "dual_since" | "new_since");
            assert_eq!(from_item(&item).is_ok(), fits && !times, "{}: {item:?}", field.name);
        }
    }
}

#[test]
fn the_published_flags_read_back_or_are_refused() {
    let vectors: Json = serde_json::from_str(include_str!("../../../docs/flag-vectors.json")).unwrap();
    for (name, item) in vectors["flags"].as_object().unwrap() {
        let (flag, _) = from_item(&item_from_json(item).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(item["version"]["N"], json!(flag.version.to_string()));
    }
    let refused = vectors["refused"].as_array().unwrap();
    for case in refused {
        assert!(from_item(&item_from_json(&case["item"]).unwrap()).is_err(), "{}", case["name"]);
    }
    assert!(refused.len() > 5);
}

proptest! {
    #[test]
    fn every_reachable_flag_reads_back(changes in proptest::collection::vec(0_usize..8, 0..12), percent in 1_u8..=100, nanos in 0_i32..1_000_000_000) {
        let start = Timestamp::new(1_800_000_000, nanos).unwrap();
        let mut flag = Flag::new(60, start);
        for change in changes {
            let change = [
                FlagChange::DualWrite, FlagChange::ReadNew(percent), FlagChange::ReadNew(100), FlagChange::WriteNew,
                FlagChange::DualWriteAgain, FlagChange::OldIsFresh, FlagChange::ReadOld { accept_stale: true }, FlagChange::WriteOld,
            ][change];
            flag = flag.next(change, flag.settled_at(), Duration::ZERO).unwrap_or(flag);
        }
        prop_assert_eq!(from_item(&to_item(&flag, &meta())), Ok((flag.clone(), meta())));
        prop_assert_eq!(from_json(&to_json(&flag, &meta())), Ok((flag, meta())));
    }
}
