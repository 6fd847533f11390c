//! Contains a test case for every kind of guarded write: a plan, an item before the write, and the item after it.

use backfill::internals::change::{Change, Changes, Decision, GuardedWrite, OnExisting, Strategy};
use backfill::internals::item::{Item, Path, Value};
use serde_json::{Value as Json, json};

use crate::harness::{bytes_of, key_schema};
use OnExisting::{Keep, Overwrite};
use Strategy::{ExpandContract, InPlace};

/// A test case: one item and one plan.
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) plan: Vec<Change>,
    pub(super) strategy: Strategy,
    pub(super) on_existing: OnExisting,
    pub(super) before: Json,
    pub(super) after: Json,
}

pub(super) fn path(text: &str) -> Path {
    text.parse().unwrap()
}

pub(super) fn mv(from: &str, to: &str) -> Change {
    Change::Move { from: path(from), to: path(to), on_existing: Keep }
}

pub(super) fn copy(from: &str, to: &str) -> Change {
    Change::Copy { from: path(from), to: path(to), on_existing: Keep }
}

pub(super) fn set(to: &str, value: &Json) -> Change {
    Change::Set { to: path(to), value: Value::from_json(value).unwrap(), on_existing: Keep }
}

pub(super) fn remove(at: &str) -> Change {
    Change::Remove { path: path(at) }
}

/// Two unequal values of each scalar and set type.
pub(super) fn scalars_and_sets() -> Vec<(Json, Json)> {
    vec![
        (json!({"S": "ä \u{0} \"x\""}), json!({"S": ""})),
        (json!({"N": "-12345678901234567890123456789012345678"}), json!({"N": "0.00000000001"})),
        (json!({"B": "AP8B"}), json!({"B": ""})),
        (json!({"BOOL": true}), json!({"BOOL": false})),
        (json!({"NULL": true}), json!({"S": "null"})),
        (json!({"SS": ["a", "ü", "z"]}), json!({"SS": ["a"]})),
        (json!({"NS": ["1", "-2.5", "3"]}), json!({"NS": ["1"]})),
        (json!({"BS": ["AA==", "AP8="]}), json!({"BS": ["AA=="]})),
    ]
}

/// Two unequal documents (lists and maps) of each kind. They are in a separate list, because some engines cannot
/// compare documents.
pub(super) fn lists_and_maps() -> Vec<(Json, Json)> {
    vec![
        (json!({"L": [{"S": "a"}, {"L": []}, {"M": {}}]}), json!({"L": []})),
        (json!({"M": {"k.1": {"N": "1"}, "l": {"L": [{"M": {"z": {"NULL": true}}}]}}}), json!({"M": {}})),
    ]
}

/// Test cases for every kind of write. In nearly every case, the plan writes or removes the value `a`. `b` is a
/// different value.
pub(super) fn cases(a: &Json, b: &Json) -> Vec<Case> {
    let case =
        |what, plan, strategy, on_existing, before, after| Case { what, plan, strategy, on_existing, before, after };
    let new = || vec![mv("old", "new")];
    vec![
        case("move", new(), ExpandContract, Keep, json!({"old": a, "x": b}), json!({"old": a, "new": a, "x": b})),
        case("move in place", new(), InPlace, Keep, json!({"old": a, "x": b}), json!({"new": a, "x": b})),
        case("move over", new(), ExpandContract, Overwrite, json!({"old": a, "new": b}), json!({"old": a, "new": a})),
        case("move over in place", new(), InPlace, Overwrite, json!({"old": a, "new": b}), json!({"new": a})),
        case("equal, in place", new(), InPlace, Keep, json!({"old": a, "new": a}), json!({"new": a})),
        case(
            "copy into a document",
            vec![copy("old", "doc.new")],
            ExpandContract,
            Keep,
            json!({"old": a, "doc": {"M": {"x": b}}}),
            json!({"old": a, "doc": {"M": {"x": b, "new": a}}}),
        ),
        case(
            "copy into documents that are missing",
            vec![copy("old", "doc.in.new")],
            ExpandContract,
            Keep,
            json!({"old": a}),
            json!({"old": a, "doc": {"M": {"in": {"M": {"new": a}}}}}),
        ),
        case(
            "move into a document that is missing inside one",
            vec![mv("old", "doc.in.new")],
            InPlace,
            Keep,
            json!({"old": a, "doc": {"M": {"x": b}}}),
            json!({"doc": {"M": {"x": b, "in": {"M": {"new": a}}}}}),
        ),
        case(
            "move over, in a document, in place",
            vec![mv("doc.old", "doc.new")],
            InPlace,
            Overwrite,
            json!({"doc": {"M": {"old": a, "new": b, "x": b}}}),
            json!({"doc": {"M": {"new": a, "x": b}}}),
        ),
        case(
            "move out of a document",
            vec![mv("doc.old", "new")],
            InPlace,
            Keep,
            json!({"doc": {"M": {"old": a, "x": b}}}),
            json!({"doc": {"M": {"x": b}}, "new": a}),
        ),
        case(
            "copy out of a list",
            vec![copy("list[1].x", "new")],
            ExpandContract,
            Keep,
            json!({"list": {"L": [b, {"M": {"x": a}}]}}),
            json!({"list": {"L": [b, {"M": {"x": a}}]}, "new": a}),
        ),
        case(
            "copy into a list's document",
            vec![copy("old", "list[1].x")],
            ExpandContract,
            Keep,
            json!({"old": a, "list": {"L": [b, {"M": {}}]}}),
            json!({"old": a, "list": {"L": [b, {"M": {"x": a}}]}}),
        ),
        case(
            "quoted names and reserved words",
            vec![mv("\"e-mail\"", "\"a.b\".\"#1 \"\"q\"\"\""), copy("status", "\"größe :x\"")],
            InPlace,
            Keep,
            json!({"e-mail": a, "a.b": {"M": {}}, "status": b}),
            json!({"a.b": {"M": {"#1 \"q\"": a}}, "status": b, "größe :x": b}),
        ),
        case("set", vec![set("v", a)], ExpandContract, Keep, json!({"x": b}), json!({"x": b, "v": a})),
        case("set over", vec![set("v", a)], ExpandContract, Overwrite, json!({"v": b}), json!({"v": a})),
        case(
            "set in documents, there and missing",
            vec![set("doc.v", a), set("none.v", a)],
            ExpandContract,
            Keep,
            json!({"doc": {"M": {"x": b}}}),
            json!({"doc": {"M": {"x": b, "v": a}}, "none": {"M": {"v": a}}}),
        ),
        case("remove", vec![remove("old")], InPlace, Keep, json!({"old": a, "x": b}), json!({"x": b})),
        case(
            "remove from a document",
            vec![remove("doc.old"), remove("none")],
            InPlace,
            Keep,
            json!({"doc": {"M": {"old": a, "x": b}}}),
            json!({"doc": {"M": {"x": b}}}),
        ),
        case(
            "all kinds in one write",
            vec![mv("old", "new"), copy("c", "doc.c"), set("v", b), remove("gone"), mv("late", "later"), set("w", a)],
            InPlace,
            Overwrite,
            json!({"old": a, "new": b, "c": b, "gone": a, "later": a, "w": a}),
            json!({"new": a, "c": b, "doc": {"M": {"c": b}}, "v": b, "later": a, "w": a}),
        ),
    ]
}

impl Case {
    pub(super) fn changes(&self) -> Changes {
        let answering = |change: &Change| change.clone().with_on_existing(self.on_existing);
        let plan: Vec<Change> = self.plan.iter().map(answering).collect();
        Changes::for_expand(&plan, self.strategy, key_schema(), Vec::new())
    }

    /// Returns the write that the item needs, even if a rule forbids this write.
    pub(super) fn write(&self, image: &Item) -> GuardedWrite {
        match self.changes().decide(image) {
            Decision::Write(write) => write,
            Decision::Refused(write, _) => *write,
            other => panic!("{}: {other:?}", self.what),
        }
    }

    /// Returns every path in the plan, and the paths of all enclosing documents and lists.
    fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        for change in &self.plan {
            let named = change.paths();
            for path in named.reads.into_iter().chain(named.inputs).chain(named.writes).chain(named.removes) {
                paths.push(path.clone());
                paths.extend(path.ancestors());
            }
        }
        paths.sort();
        paths.dedup();
        paths
    }

    /// Returns images that a live writer could make from `image`. Each of them differs from `image` at one path of the
    /// plan. There, the value is missing, or a value of the same or another type replaces it.
    pub(super) fn raced_images(&self, image: &Item, a: &Json, b: &Json) -> Vec<Item> {
        let replacements =
            [a, b, &json!({"S": "late"}), &json!({"M": {}}), &json!({"M": {"x": {"S": "late"}}}), &json!({"L": []})]
                .map(|json| Value::from_json(json).unwrap());
        let mut images = Vec::new();
        for path in self.paths() {
            let mut without = image.clone();
            if path.remove(&mut without).is_some() {
                images.push(without);
            }
            for replacement in &replacements {
                let mut with = image.clone();
                if path.set(&mut with, replacement.clone()) && bytes_of(&with) != bytes_of(image) {
                    images.push(with);
                }
            }
        }
        images
    }
}
