//! What a write is expected to cost, held to what the server says that it consumed: table and indexes apart.

use backfill::change::OnExisting::Overwrite;
use backfill::change::Strategy::InPlace;
use backfill::change::{Change, Changes, Decision, GuardedWrite};
use backfill::item::{IndexSchema, Item, Projection, Value};
use backfill::table::dynamo::DynamoTable;
use backfill::table::{Consumed, Table, WriteReply};
use serde_json::json;

use crate::cases::{copy, mv, remove, set};
use crate::common::{Bed, index, key_schema, to_sdk};
use crate::{item, table};

/// One of each kind. `a` (a string) and `n` (a number) are index keys; `held` is projected where not everything is.
fn indexes() -> Vec<IndexSchema> {
    let held = || Projection::Include(vec!["held".into()]);
    vec![
        index("all", &[("a", "S")], Projection::All, false),
        index("keys", &[("a", "S")], Projection::KeysOnly, false),
        index("some", &[("a", "S")], held(), false),
        index("pair", &[("a", "S"), ("n", "N")], held(), false),
        index("numbers", &[("n", "N")], Projection::KeysOnly, false),
        index("local-some", &[("pk", "S"), ("a", "S")], held(), true),
        index("local-all", &[("pk", "S"), ("n", "N")], Projection::All, true),
    ]
}

/// Each with another mixture of index keys, projected attributes and sizes around a KB.
fn images() -> Vec<Item> {
    let mut images = Vec::new();
    for (a, n) in [(None, None), (Some("a"), None), (None, Some("-1.5")), (Some("a"), Some("12"))] {
        for (held, pad) in [(0, 0), (100, 0), (100, 1_000), (1_500, 0), (1_000, 3_000), (5_000, 40_000)] {
            let mut image = item("p", &json!({"src": {"S": "s"}, "doc": {"M": {"in": {"S": "i"}}}}));
            let mut put = |name: &str, value: Option<Value>| value.map(|value| image.insert(name.into(), value));
            put("a", a.map(|a| Value::S(a.into())));
            put("n", n.map(|n| Value::from_json(&json!({"N": n})).unwrap()));
            put("held", (held > 0).then(|| Value::S("h".repeat(held))));
            put("pad", (pad > 0).then(|| Value::S("p".repeat(pad))));
            images.push(image);
        }
    }
    images
}

/// Plans that make entries appear, disappear, move and change, or leave them alone.
fn plans() -> Vec<Vec<Change>> {
    let number = || json!({"N": "70000000001"});
    vec![
        vec![copy("src", "a")],
        vec![mv("src", "a")],
        vec![remove("a")],
        vec![set("n", &number())],
        vec![remove("n")],
        vec![set("n", &number()), copy("src", "a")],
        vec![remove("n"), copy("src", "a"), mv("pad", "held")],
        vec![copy("src", "held")],
        vec![mv("src", "held.deep.inside")],
        vec![remove("held")],
        vec![mv("held", "doc.held")],
        vec![copy("src", "doc.in"), remove("pad")],
        vec![copy("pad", "twice")],
        vec![set("new", &json!({"BOOL": true}))],
        vec![set("n", &json!({"N": "12.0"})), remove("src")],
    ]
}

fn by_name(write: &GuardedWrite, changes: &Changes) -> Consumed {
    let named = |(place, units): &(usize, f64)| (changes.indexes()[*place].name.clone(), *units);
    let mut indexes: Vec<_> = write.cost.indexes.iter().map(named).collect();
    indexes.sort_by(|a, b| a.0.cmp(&b.0));
    Consumed { table: write.cost.table, indexes }
}

async fn put(bed: &Bed, name: &str, image: &Item) {
    bed.client().put_item().table_name(name).set_item(Some(to_sdk(image))).send().await.unwrap();
}

async fn send(table: &DynamoTable, write: &GuardedWrite) -> Consumed {
    match table.write(&[write]).await.remove(0) {
        Ok(WriteReply::Applied { consumed: Some(consumed) }) => consumed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_cost_what_the_server_says() {
    let bed = Bed::start();
    let name = bed.create_indexed_table(&indexes()).await;
    let table = table(&bed, &name).await;
    let (mut writes, mut touched) = (0, 0);
    for plan in plans() {
        let changes = Changes::for_run(&plan, InPlace, Overwrite, key_schema(), indexes());
        for image in images() {
            let Decision::Write(write) = changes.decide(&image) else { continue };
            put(&bed, &name, &image).await;
            let (expected, consumed) = (by_name(&write, &changes), send(&table, &write).await);
            let sizes: Vec<_> =
                image.iter().map(|(name, value)| backfill::item::attribute_bytes(name, value)).collect();
            assert_eq!(consumed, expected, "{plan:?} of {:?} ({sizes:?} bytes)", image.keys());
            writes += 1;
            touched += usize::from(!expected.indexes.is_empty());
        }
    }
    assert!(writes > 250 && touched > 150, "{writes} writes, {touched} of them in global indexes");
}
