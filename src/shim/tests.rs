//! Tests of the generated code as text. `tests/source/shim/` compiles and runs it.

use proptest::prelude::*;

use super::comment::comment;
use super::literal::literal;
use super::names::{Stems, camel};
use super::template::{Slot, fill};
use super::{Language, ShimRefusal, go, java, python, rust, shim, typescript};
use crate::plan::{Plan, load};

/// Returns the plan of a migration `rename` with a flag. `rest` is the plan's text after `[table]`.
fn plan(table: &str, rest: &str) -> Plan {
    let text = format!("[migration]\nname = \"rename\"\n[table]\nname = \"shop\"\n{table}\n{rest}");
    load("plan.toml", &text).unwrap_or_else(|errors| panic!("{errors}")).plan
}

const KEY: &str = "key = [\"pk\"]";
const FLAG: &str = "[cutover]\ntable = \"flags\"\n";
const MOVE: &str = "[[change]]\nmove = \"old\"\nto = \"new\"\n";

fn refusals(plan: &Plan) -> Vec<ShimRefusal> {
    shim(plan, Language::Python).unwrap_err()
}

/// If a mark were missing, the shim would contain the wrong parts of the example.
#[test]
fn the_examples_contain_the_marks_once() {
    let marks = [&python::MARKS[..], &typescript::MARKS[..], &java::MARKS[..], &go::MARKS[..], &rust::MARKS[..]];
    for (example, mark) in marks.concat() {
        assert_eq!(example.matches(mark).count(), 1, "{mark}");
    }
}

#[test]
fn every_slot_is_filled() {
    let plans = [
        plan(KEY, &format!("{MOVE}{FLAG}")),
        plan(KEY, &format!("{MOVE}{FLAG}key = {{ id = \"a\", sk = \"b\" }}\n")),
        plan(KEY, &format!("{MOVE}[cutover.exec]\nget = [\"a\"]\nset = [\"b\"]\n")),
        plan(
            KEY,
            &format!(
                "[select]\nwhere = 'item.pk == \"a\"'\n[[change]]\nmove = \"m[1].a\"\nto = \"m[1].b\"\n{MOVE}{FLAG}"
            ),
        ),
    ];
    for plan in &plans {
        for language in Language::ALL {
            let code = shim(plan, language).unwrap().code;
            assert!(!code.contains("{{"), "{code}");
            assert!(code.ends_with('\n') && !code.ends_with("\n\n") && !code.contains("\n\n\n\n"), "{code}");
        }
    }
}

#[test]
fn a_plan_without_a_cutover_is_refused() {
    let in_place = load(
        "plan.toml",
        &format!("[migration]\nname = \"m\"\nstrategy = \"in-place\"\n[table]\nname = \"shop\"\n{KEY}\n{MOVE}"),
    );
    assert_eq!(refusals(&in_place.unwrap().plan), [ShimRefusal::InPlace]);
    let set = "[[change]]\nset = \"a\"\nvalue = 1\n[[change]]\ncopy = \"b\"\nto = \"c\"\n";
    assert_eq!(refusals(&plan(KEY, &format!("{set}{FLAG}"))), [ShimRefusal::NoMove]);
    let elements = "[[change]]\neach = \"lines[*]\"\nmove = \"a\"\nto = \"b\"\n";
    let container = "lines".parse().unwrap();
    assert_eq!(refusals(&plan(KEY, &format!("{elements}{FLAG}"))), [ShimRefusal::Elements { container }]);
}

/// All reasons are reported at once.
#[test]
fn a_plan_that_lacks_something_is_refused() {
    let changes = "[[change]]\nmove = \"a\"\nto = \"m.b\"\n[[change]]\nmove = \"l[0].x\"\nto = \"l[1].x\"\n";
    let path = |text: &str| text.parse().unwrap();
    assert_eq!(
        refusals(&plan("", changes)),
        [
            ShimRefusal::NoFlag,
            ShimRefusal::NoKey,
            ShimRefusal::DifferentMaps { from: path("a"), to: path("m.b") },
            ShimRefusal::DifferentMaps { from: path("l[0].x"), to: path("l[1].x") },
        ]
    );
    // `check` warns about the same changes.
    assert!(plan("", changes).changes.iter().all(|change| change.moved_between_maps().is_some()));
    for same in ["[[change]]\nmove = \"m.a\"\nto = \"m.b\"\n", "[[change]]\nmove = \"l[0].x\"\nto = \"l[0].y\"\n"] {
        let plan = plan(KEY, &format!("{same}{FLAG}"));
        assert!(shim(&plan, Language::Python).is_ok() && plan.changes[0].moved_between_maps().is_none(), "{same}");
    }
}

#[test]
fn names_become_distinct_identifiers() {
    let mut stems = Stems::default();
    let names =
        ["contactEmail", "contact_email", "contact-email_2", "ключ", "\"", "class", "a1", "a_1", "2fa", "HTTPHost"];
    let found: Vec<String> = names.iter().map(|name| stems.next(name)).collect();
    assert_eq!(
        found,
        [
            "contact_email",
            "contact_email_2",
            "contact_email_2_2",
            "attribute",
            "attribute_2",
            "class",
            "a1",
            "a_1_2",
            "2fa",
            "httphost"
        ]
    );
    assert_eq!(camel("contact_email_2"), "ContactEmail2");
}

/// A name that looks like a slot is not a slot.
#[test]
fn content_is_not_searched_for_slots() {
    assert_eq!(fill("{{old}} {{new}}", &[(Slot::Old, "{{new}}"), (Slot::New, "x")]), "{{new}} x");
}

proptest! {
    /// A literal has one line of printable ASCII. Its only unescaped quotes are at both ends.
    #[test]
    fn no_text_ends_its_literal(text in any::<String>()) {
        for language in Language::ALL {
            let literal = literal(language, &text);
            prop_assert!(literal.chars().all(|c| (' '..='~').contains(&c)), "{literal}");
            let inside = &literal[1..literal.len() - 1];
            let mut escaped = false;
            for c in inside.chars() {
                prop_assert!(escaped || c != '"', "{literal}");
                escaped = !escaped && c == '\\';
            }
            prop_assert!(!escaped, "{literal}");
        }
    }

    /// In no language can a name in a comment end the comment or begin an escape.
    #[test]
    fn no_name_ends_its_comment(text in "(\\*/|\"\"\"|\\\\u000a|[\\PC\n\r\u{2028}]|.){0,40}") {
        let comment = comment(&text);
        prop_assert!(comment.chars().all(|c| c.is_ascii_graphic() || c == ' '));
        for dangerous in ["*/", "\"", "\\", "`", "@", "<"] {
            prop_assert!(!comment.contains(dangerous), "{comment}");
        }
    }

    /// The functions of all moves of a plan have different names.
    #[test]
    fn stems_are_distinct(names in proptest::collection::vec("[a-cA-C_1-2]{1,4}", 1..12)) {
        let mut stems = Stems::default();
        let all: Vec<String> = names.iter().map(|name| stems.next(name)).collect();
        let mut camels: Vec<String> = all.iter().map(|stem| camel(stem).to_lowercase()).collect();
        camels.sort();
        camels.dedup();
        prop_assert_eq!(camels.len(), all.len());
    }
}
