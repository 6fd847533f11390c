//! Tests the fingerprint of a plan.

use std::collections::HashSet;

use proptest::prelude::*;

use crate::plan::load;

fn fingerprint(text: &str) -> String {
    load("p", text).unwrap_or_else(|errors| panic!("{errors}")).plan.fingerprint().to_string()
}

fn plan(settings: &str, table: &str, changes: &[&str]) -> String {
    let changes: String = changes.iter().map(|change| format!("[[change]]\n{change}\n")).collect();
    format!("[migration]\nname = \"m\"\n{settings}\n[table]\nname = \"{table}\"\n{changes}")
}

const CONVERT: &str = "convert = \"a\"\nto = \"N\"\ninto = \"b\"";

#[test]
fn the_fingerprint_is_a_sha256_and_never_changes() {
    let text = plan("", "shop", &["move = \"email\"\nto = \"contact_email\""]);
    let fingerprint = load("p", &text).unwrap().plan.fingerprint();
    assert_eq!(fingerprint.as_str().len(), 64);
    assert!(fingerprint.as_str().starts_with(fingerprint.short()) && fingerprint.short().len() == 12);
    // If this fingerprint changes, stored runs can no longer be resumed. If you must change it, also change VERSION
    // and mention the change in the changelog.
    assert_eq!(fingerprint.as_str(), "5ffcba0ca6f02194eb7e61f1eaf53e2a8beee2f2a5ad5a30e09bd4bc04726aef");
}

#[test]
fn every_change_of_meaning_changes_the_fingerprint() {
    let one = "move = \"a\"\nto = \"b\"";
    let exec = |argv: &str, inputs: &str, outputs: &str, marker: &str| {
        let change = format!("exec = {argv}\ninputs = {inputs}\noutputs = {outputs}\nmarker = {marker}");
        plan("", "shop", &[&change])
    };
    let meanings = [
        plan("", "shop", &[one]),
        plan("", "shop2", &[one]),
        plan("strategy = \"in-place\"", "shop", &[one]),
        plan("on_existing = \"overwrite\"", "shop", &[one]),
        plan("on_existing = \"skip\"", "shop", &[one]),
        plan("", "shop", &[&format!("{one}\non_existing = \"skip\""), "copy = \"c\"\nto = \"d\""]),
        plan("", "shop", &[&format!("{one}\non_existing = \"overwrite\""), "copy = \"c\"\nto = \"d\""]),
        plan("", "shop", &[one, "copy = \"c\"\nto = \"d\"\non_existing = \"skip\""]),
        plan("on_existing = \"skip\"", "shop", &[one, "copy = \"c\"\nto = \"d\""]),
        plan("", "shop", &[one, "remove = \"c\""]),
        plan("", "shop", &["copy = \"a\"\nto = \"b\""]),
        plan("", "shop", &["move = \"a\"\nto = \"b.c\""]),
        plan("", "shop", &["move = \"a\"\nto = '\"b.c\"'"]),
        plan("", "shop", &["move = \"a[0].x\"\nto = \"b\""]),
        plan("", "shop", &["move = \"a[1].x\"\nto = \"b\""]),
        plan("", "shop", &["move = \"a.x\"\nto = \"b\""]),
        plan("", "shop", &["remove = \"a\""]),
        plan("", "shop", &["remove = \"a\"", "remove = \"b\""]),
        plan("", "shop", &["remove = \"a.b\""]),
        plan("", "shop", &["append = \"a\"\nvalue = { SS = [\"x\"] }"]),
        plan("", "shop", &["append = \"a\"\nvalues = { SS = [\"x\"] }"]),
        plan("", "shop", &["append = \"a\"\nvalues = { SS = [\"x\", \"y\"] }"]),
        plan("", "shop", &["append = \"b\"\nvalues = { SS = [\"x\"] }"]),
        plan("", "shop", &[&format!("{one}\nnull_is_missing = true")]),
        plan("", "shop", &[&format!("{one}\nwhere = 'has(item.pk)'")]),
        plan("", "shop", &[&format!("{one}\nwhere = 'has(item.sk)'")]),
        plan("", "shop", &[&format!("{one}\nwhere = 'has(item.sk)'\nnull_is_missing = true")]),
        plan("", "shop", &[CONVERT]),
        plan("", "shop", &[&format!("{CONVERT}\nreplaces = \"a\"")]),
        plan("", "shop", &[&format!("{CONVERT}\nreplaces = \"a\"\ninverse = {{ to = \"S\" }}")]),
        plan("", "shop", &[&format!("{CONVERT}\nreplaces = \"a\"\ninverse = {{ to = \"JSON\" }}")]),
        plan("", "shop", &[&format!("{CONVERT}\nreplaces = \"a\"\ninverse = 'string(item.b)'")]),
        plan("", "shop", &[&format!("{CONVERT}\nreplaces = \"a\"\ninverse = 'item.b + 0'")]),
        exec("[\"p\"]", "[\"a\"]", "[\"b\"]", "\"c\""),
        exec("[\"p\", \"x\"]", "[\"a\"]", "[\"b\"]", "\"c\""),
        exec("[\"p\"]", "[\"a\", \"x\"]", "[\"b\"]", "\"c\""),
        exec("[\"p\"]", "[\"a\"]", "[\"b\", \"x\"]", "\"c\""),
        plan("", "shop", &["exec = [\"p\"]\ninputs = [\"a\"]\noutputs = [\"b\"]\ndeterministic = true"]),
        exec("[\"p\"]", "[\"a\"]", "[\"b\"]", "\"x\""),
        plan("", "shop", &["each = \"a[*]\"\nset = \"b\"\nvalue = 1"]),
        plan("", "shop", &["each = \"a[*]\"\nset = \"b\"\nvalue = 2"]),
        plan("", "shop", &["each = \"a[*]\"\nset = \"c\"\nvalue = 1"]),
        plan("", "shop", &["each = \"x[*]\"\nset = \"b\"\nvalue = 1"]),
        plan("", "shop", &["each = \"a[*]\"\nset = \"b\"\nvalue = 1\non_existing = \"skip\""]),
        plan("", "shop", &["each = \"a[*]\"\nset = \"b\"\nvalue = 1\nnull_is_missing = true"]),
        plan("", "shop", &["each = \"a[*]\"\nset = \"b\"\nvalue = 1\nwhere = 'has(item.pk)'"]),
        plan("", "shop", &["each = \"a[*]\"\nset = \"b\"\nvalue = 1", "each = \"a[*]\"\nremove = \"c\""]),
        plan("", "shop", &["each = \"a[*]\"\nmove = \"c\"\nto = \"b\""]),
        plan("", "shop", &["each = \"a[*]\"\nmove = \"b\"\nto = \"c\""]),
        plan("", "shop", &["each = \"a[*]\"\ncompute = \"b\"\nas = '1 + 1'"]),
        plan("", "shop", &["each = \"a[*]\"\nconvert = \"b\"\nto = \"N\""]),
        plan("", "shop", &["each = \"a[*]\"\nconvert = \"b\"\nto = \"N\"\ninto = \"c\""]),
    ];
    let values = [
        "1",
        "2",
        "\"1\"",
        "true",
        "false",
        "\"\"",
        "{ NULL = true }",
        "{ B = \"AAEC\" }",
        "{ SS = [\"a\"] }",
        "{ SS = [\"a\", \"b\"] }",
        "{ SS = [\"ab\"] }",
        "{ NS = [\"1\"] }",
        "{ BS = [\"AAEC\"] }",
        "{ L = [] }",
        "{ L = [{ S = \"a\" }, { S = \"b\" }] }",
        "{ L = [{ S = \"b\" }, { S = \"a\" }] }",
        "{ M = {} }",
        "{ M = { a = { S = \"b\" } } }",
        "{ M = { b = { S = \"a\" } } }",
        "{ L = [{ L = [] }, { NULL = true }] }",
        "{ L = [{ L = [{ NULL = true }] }] }",
    ];
    let constants = values.iter().map(|value| plan("", "shop", &[&format!("set = \"a\"\nvalue = {value}")]));
    let all: Vec<String> = meanings.into_iter().chain(constants).map(|text| fingerprint(&text)).collect();
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
}

/// The fingerprint includes the `on_existing` of every change, wherever the plan sets it. In earlier versions of the
/// tool, changes could not set `on_existing`. If no change of a plan sets it, the plan has the same fingerprint as in
/// those versions.
#[test]
fn on_existing_means_the_same_in_the_plan_and_in_a_change() {
    let changes = ["move = \"a\"\nto = \"b\"", "set = \"c\"\nvalue = \"x\"", "remove = \"d\""];
    let with = |answers: [&str; 2]| {
        let own = |n: usize| match answers[n] {
            "" => changes[n].to_owned(),
            on_existing => format!("{}\non_existing = \"{on_existing}\"", changes[n]),
        };
        [own(0), own(1), changes[2].to_owned()]
    };
    let of = |plan_says: &str, own: [&str; 2]| {
        let changes = with(own);
        let settings = if plan_says.is_empty() { String::new() } else { format!("on_existing = \"{plan_says}\"") };
        fingerprint(&plan(&settings, "shop", &changes.each_ref().map(String::as_str)))
    };
    for word in ["keep", "overwrite", "skip"] {
        assert_eq!(of(word, ["", ""]), of("", [word, word]), "{word}");
        assert_eq!(of(word, ["", ""]), of(word, [word, ""]), "{word}");
    }
    assert_eq!(of("skip", ["keep", ""]), of("", ["", "skip"]));
    assert_eq!(of("overwrite", ["skip", ""]), of("skip", ["", "overwrite"]));
    assert_ne!(of("", ["", "skip"]), of("", ["skip", ""]));
    // These are the fingerprints that the earlier versions of the tool computed.
    assert_eq!(of("", ["", ""]), "b0be5c928a3073216d9de88b840cc0727b08b06390d74662be5f96cf67a8abc8");
    assert_eq!(of("overwrite", ["", ""]), "2482a36abf104c51840f3c89ce607b5fb7080134a840fc66ac46faf499847417");
}

#[test]
fn spelling_does_not_change_the_fingerprint() {
    for (a, b) in [
        ("remove = \"a\"", "remove = '\"a\"' # the same"),
        ("set = \"a\"\nvalue = 16", "value = 0x1_0\nset = 'a'"),
        ("set = \"a\"\nvalue = { N = \"1.10\" }", "set = \"a\"\nvalue = { N = \"11E-1\" }"),
        ("set = \"a\"\nvalue = { NS = [\"1\", \"2.0\"] }", "set = \"a\"\nvalue = { NS = [\"2\", \"1\"] }"),
        ("set = \"a\"\nvalue = { SS = [\"x\", \"y\"] }", "set = \"a\"\nvalue = { SS = [\"y\", \"x\"] }"),
        ("set = \"a\"\nvalue = \"x\"", "set = \"a\"\nvalue = { S = \"x\" }"),
    ] {
        assert_eq!(fingerprint(&plan("", "shop", &[a])), fingerprint(&plan("", "shop", &[b])), "{a} | {b}");
    }
}

proptest! {
    #[test]
    fn order_and_operation_do_not_change_the_fingerprint(
        order in Just(vec!["move = \"a\"\nto = \"b\"", "copy = \"c.d\"\nto = \"e\"", "set = \"f\"\nvalue = 1", "remove = \"g\""]).prop_shuffle(),
        write in "[1-9][0-9]{0,3}|\"[1-9][0-9]?%\"", segments in 1_u32..1000, failures in 0_u64..1000, base in 1_u32..1000, name in "[a-z]{1,9}",
        units in 1_u32..1_000_000, hour in 0_u32..23, zone in "Europe/Paris|UTC|Asia/Tokyo",
    ) {
        let plain = plan("", "shop", &["move = \"a\"\nto = \"b\"", "copy = \"c.d\"\nto = \"e\"", "set = \"f\"\nvalue = 1", "remove = \"g\""]);
        let other = plan("", "shop\"\nregion = \"eu-west-1\"\nkey = [\"pk\"]\nprofile = \"p", &order).replace("\"m\"", &format!("{name:?}"));
        let other = format!(
            "{other}\n[scan]\nsegments = {segments}\nconsistent = true\n[capacity]\nwrite = {write}\nread = {units}\n\
             per_key_range = {{ write = {units} }}\nper_partition_key = {{ read = {units} }}\n\
             index = {{ \"by-{name}\" = {write} }}\n\
             [limits]\nmax_failures = {failures}\nmax_wcu = {units}\nmax_cost_usd = {units}.5\nmax_items = {units}\n\
             deadline = 2026-12-01T{hour:02}:00:00Z\nwindow = \"{hour:02}:00-23:30 {zone}\"\n\
             [prices]\nwrite_per_million = {units}\nread_per_million = {units}\n[retry]\nbase = \"{base}ms\"\n"
        );
        prop_assert_eq!(fingerprint(&plain), fingerprint(&other));
    }
}
