//! Contains one small plan for each kind of change and each kind of selection, with the expected results.

use backfill::internals::item::{Item, Num, Value};

use crate::harness::tool::item;

/// A plan, and its effect on an item.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// More fields of `[migration]`.
    pub(crate) migration: &'static str,
    /// The plan after `[table]`.
    pub(crate) plan: &'static str,
    /// More options of `run`.
    pub(crate) run: &'static str,
    /// More options of `rollback`.
    pub(crate) rollback: &'static str,
    /// Returns the item after the run, or `None` if the run deletes it.
    pub(crate) after: fn(&Item) -> Option<Item>,
    /// Returns the derived item of an item.
    pub(crate) derived: fn(&Item) -> Option<Item>,
    /// Changes an item so that the condition of the planned write fails, and the tool must plan a new write.
    pub(crate) race: fn(&mut Item),
    /// Whether the first pass records a baseline.
    pub(crate) has_baseline: bool,
    /// Whether a write has prior values or digests to record.
    pub(crate) has_prior_values: bool,
}

const NO_ROLLBACK_OPTIONS: &str = "";
const UNFLAGGED: &str = "--readers-back --new-writes-stopped";

fn text(text: &str) -> Value {
    Value::S(text.to_owned())
}

fn number(digits: &str) -> Value {
    Value::N(Num::parse(digits).unwrap())
}

/// Returns a list with a map, and with an element that no plan changes.
fn lines(n: u32) -> Value {
    Value::L(vec![Value::M([("sku".to_owned(), text(&format!("s{n}")))].into()), text("a note")])
}

/// Returns the items of every case.
pub(crate) fn items() -> Vec<Item> {
    let one = |n: u32| {
        item(
            &format!("P#{n}"),
            "x",
            [
                ("old", text(&format!("v{n}"))),
                ("status", text(&format!("state {n}"))),
                ("price", text(&format!("{n}.50"))),
                ("marker", text("before")),
                ("tags", Value::Ss(["x".to_owned()].into())),
                ("version", number("4")),
                ("group", text("g1")),
                ("lines", lines(n)),
                ("kept", text(&format!("kept {n}"))),
            ],
        )
    };
    (0..4).map(one).collect()
}

fn with(item: &Item, name: &str, value: Value) -> Option<Item> {
    let mut item = item.clone();
    item.insert(name.to_owned(), value);
    Some(item)
}

fn computed(item: &Item) -> Option<Item> {
    let Some(Value::S(status)) = item.get("status") else { panic!("{item:?}") };
    with(item, "label", text(&format!("#{status}")))
}

fn price(item: &Item) -> Value {
    let Some(Value::S(price)) = item.get("price") else { panic!("{item:?}") };
    number(price)
}

fn moved(item: &Item) -> Option<Item> {
    let mut item = item.clone();
    let old = item.remove("old").unwrap();
    item.insert("new".to_owned(), old);
    Some(item)
}

fn copied(item: &Item) -> Option<Item> {
    with(item, "new", item["old"].clone())
}

fn new_status(item: &mut Item) {
    item.insert("status".to_owned(), text("changed"));
}

fn new_old(item: &mut Item) {
    item.insert("new".to_owned(), text("v"));
}

/// Returns the item with the expected changes in its list `lines`.
fn with_products(item: &Item) -> Option<Item> {
    let moved = |element: &Value| match element {
        Value::M(members) => {
            let mut members = members.clone();
            let product = members.remove("sku").unwrap();
            members.insert("product".to_owned(), product);
            members.insert("state".to_owned(), item["status"].clone());
            Value::M(members)
        }
        other => other.clone(),
    };
    let Some(Value::L(lines)) = item.get("lines") else { panic!("{item:?}") };
    with(item, "lines", Value::L(lines.iter().map(moved).collect()))
}

fn summarized(item: &Item) -> Option<Item> {
    let inputs: Item = [("status".to_owned(), item["status"].clone())].into();
    let marker = text(&backfill::internals::change::input_digest(&inputs));
    with(&with(item, "summary", text("summary"))?, "summary_of", marker)
}

const COMPUTE: &str = "[[change]]\ncompute = \"label\"\nas = '\"#\" + item.status'\n";

/// The program of the plan with `exec`. While the file `hang` exists, it creates the file `asked` for a batch, and
/// hangs.
pub(crate) const PROGRAM: &str = r#"
import json, os, sys, time
batch = []
for line in sys.stdin:
    if line.strip():
        batch.append(json.loads(line)["id"])
        continue
    if os.path.exists("hang"):
        open("asked", "w").close()
        time.sleep(600)
    for id in batch:
        print(json.dumps({"id": id, "outputs": {"summary": {"S": "summary"}}}))
    print(flush=True)
    batch = []
"#;

/// The file of keys. It lists every item.
pub(crate) const KEYS: &str = "pk,sk\nP#0,x\nP#1,x\nP#2,x\nP#3,x\n";

/// Returns every case.
pub(crate) fn cases() -> Vec<Case> {
    let in_place = "strategy = \"in-place\"\non_not_computable = \"fail\"\n";
    let computes = "on_not_computable = \"fail\"\n";
    let base = Case {
        name: "Compute",
        migration: computes,
        plan: COMPUTE,
        run: "",
        rollback: NO_ROLLBACK_OPTIONS,
        after: computed,
        derived: |_| None,
        race: new_status,
        has_baseline: false,
        has_prior_values: true,
    };
    let case = || Case { ..base };
    vec![
        Case {
            name: "Move",
            plan: "[[change]]\nmove = \"old\"\nto = \"new\"\n",
            migration: "on_existing = \"overwrite\"\n",
            rollback: UNFLAGGED,
            after: copied,
            race: new_old,
            has_baseline: true,
            ..case()
        },
        Case {
            name: "MoveInPlace",
            migration: "strategy = \"in-place\"\non_existing = \"overwrite\"\n",
            plan: "[[change]]\nmove = \"old\"\nto = \"new\"\n",
            after: moved,
            race: new_old,
            ..case()
        },
        Case {
            name: "Copy",
            migration: "on_existing = \"overwrite\"\n",
            plan: "[[change]]\ncopy = \"old\"\nto = \"new\"\n",
            rollback: UNFLAGGED,
            after: copied,
            race: new_old,
            has_baseline: true,
            ..case()
        },
        Case {
            name: "Set",
            migration: "on_existing = \"overwrite\"\n",
            plan: "[[change]]\nset = \"marker\"\nvalue = 2\n",
            after: |item| with(item, "marker", number("2")),
            race: |item| drop(item.insert("marker".to_owned(), text("changed"))),
            ..case()
        },
        Case {
            name: "Remove",
            migration: in_place,
            plan: "[[change]]\nremove = \"marker\"\n",
            after: |item| {
                let mut item = item.clone();
                item.remove("marker");
                Some(item)
            },
            race: |item| drop(item.insert("marker".to_owned(), text("changed"))),
            ..case()
        },
        case(),
        Case {
            name: "Replace",
            plan: "[[change]]\ncompute = \"label\"\nas = '\"#\" + item.status'\nreplaces = \"status\"\n",
            rollback: UNFLAGGED,
            has_baseline: true,
            ..case()
        },
        Case {
            name: "Convert",
            plan: "[[change]]\nconvert = \"price\"\nto = \"N\"\n",
            run: "--accept readers-accept-both --accept writers-write-new",
            after: |item| with(item, "price", price(item)),
            race: |item| drop(item.insert("price".to_owned(), text("77"))),
            ..case()
        },
        Case {
            name: "ConvertInto",
            plan: "[[change]]\nconvert = \"price\"\nto = \"N\"\ninto = \"amount\"\n",
            after: |item| with(item, "amount", price(item)),
            race: |item| drop(item.insert("price".to_owned(), text("77"))),
            ..case()
        },
        Case {
            name: "Append",
            plan: "[[change]]\nappend = \"tags\"\nvalues = { SS = [\"y\"] }\n",
            after: |item| {
                let Some(Value::Ss(tags)) = item.get("tags") else { panic!("{item:?}") };
                with(item, "tags", Value::Ss(tags.iter().cloned().chain(["y".to_owned()]).collect()))
            },
            race: |item| drop(item.insert("tags".to_owned(), Value::Ss(["x".to_owned(), "z".to_owned()].into()))),
            ..case()
        },
        Case {
            name: "Bump",
            plan: "[[change]]\nbump = \"version\"\n[[change]]\ncompute = \"label\"\nas = '\"#\" + item.status'\n",
            after: |item| with(&computed(item)?, "version", number("5")),
            ..case()
        },
        Case {
            name: "Exec",
            plan: "[[change]]\nexec = [\"python3\", \"program.py\"]\ninputs = [\"status\"]\noutputs = [\"summary\"]\n\
                   marker = \"summary_of\"\n",
            after: summarized,
            ..case()
        },
        Case {
            name: "Delete",
            plan: "[select]\nwhere = 'item.sk == \"x\"'\n[[change]]\ndelete = true\nversion = \"version\"\n",
            run: "--accept deletes-items",
            after: |_| None,
            race: |item| drop(item.insert("version".to_owned(), number("9"))),
            ..case()
        },
        Case {
            name: "Each",
            plan: "[[change]]\neach = \"lines[*]\"\nmove = \"sku\"\nto = \"product\"\n\
                   [[change]]\neach = \"lines[*]\"\ncompute = \"state\"\nas = 'item.status'\n",
            run: "--accept readers-accept-both --accept writers-write-new",
            after: with_products,
            ..case()
        },
        Case {
            name: "Put",
            plan: "[select]\nwhere = 'item.sk == \"x\"'\n[[change]]\nput = { key = { pk = '\"D\" + item.pk', \
                   sk = '\"LOOKUP\"' }, attributes = { status = \"item.status\" } }\n",
            rollback: "--writers-stopped",
            after: |item| Some(item.clone()),
            derived: |source| {
                let Value::S(pk) = &source["pk"] else { panic!("{source:?}") };
                Some(item(&format!("D{pk}"), "LOOKUP", [("status", source["status"].clone())]))
            },
            ..case()
        },
        Case {
            name: "Where",
            plan: "[select]\nwhere = 'has(item.group) && item.group == \"g1\"'\n\
                   [[change]]\ncompute = \"label\"\nas = '\"#\" + item.status'\n",
            ..case()
        },
        Case {
            name: "StableWhere",
            plan: "[select]\nwhere = 'has(item.group) && item.group == \"g1\"'\nstable = [\"group\"]\n\
                   [[change]]\nmove = \"old\"\nto = \"new\"\n",
            migration: "on_existing = \"overwrite\"\non_not_computable = \"fail\"\n",
            rollback: UNFLAGGED,
            after: copied,
            race: new_old,
            has_baseline: true,
            ..case()
        },
        Case {
            name: "Keys",
            plan: "[select]\nkeys = \"keys.csv\"\n[[change]]\nmove = \"old\"\nto = \"new\"\n",
            migration: "on_existing = \"overwrite\"\n",
            rollback: UNFLAGGED,
            after: copied,
            race: new_old,
            has_baseline: true,
            ..case()
        },
        Case {
            name: "Index",
            plan: "[select]\nindex = \"by-group\"\n[[change]]\ncompute = \"label\"\nas = '\"#\" + item.status'\n",
            ..case()
        },
    ]
}
