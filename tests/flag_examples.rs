//! What is published of the flag: its schema, and the examples in docs/examples/flag/, which compute what the vectors in
//! docs/flag-vectors.json say. An interpreter or compiler that is missing is said (`SKIPPED`); with
//! `BACKFILL_REQUIRE_EXAMPLES=1` it is a failure.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// `UPDATE_EXPECT=1 cargo test --test flag_examples` writes the document anew.
#[test]
fn the_published_schema_is_what_the_code_does() {
    let path = root().join("docs/flag.schema.json");
    let shown = format!("{:#}\n", backfill::cutover::schema::document());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), shown);
}
