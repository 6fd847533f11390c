//! Generates plans and items from a seed.

use std::sync::LazyLock;

use backfill::internals::change::{Change, Strategy};
use backfill::internals::dynamodb::{Features, IndexDescription, TableDescription};
use backfill::internals::item::{
    IndexSchema, Item, ItemKey, KeyAttribute, KeySchema, Projection, Value, item_from_json,
};
use backfill::internals::plan::{LoadedPlan, Plan, load};
use fastrand::Rng;
use serde_json::{Value as Json, json};

use super::kinds::Kind;
use super::select::{self, GROUPS, Selections};
use super::{delete, put, values};

/// The global index of the table. The index contains the items that have a value at `new`.
pub(crate) const INDEX: &str = "by-new";

/// The write budgets in a plan, in units per second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) table: f64,
    pub(crate) index: f64,
    pub(crate) partition_key: f64,
}

/// Returns the table of every seed: on demand, with two string keys and two indexes.
pub(crate) fn description() -> TableDescription {
    let attribute = |name: &str| KeyAttribute { name: name.into(), kind: "S".into() };
    let index = |name: &str, key: &str| IndexDescription {
        schema: IndexSchema {
            name: name.into(),
            key: vec![attribute(key)],
            partition: 1,
            projection: Projection::KeysOnly,
            local: false,
        },
        provisioned: None,
        on_demand_max: (None, None),
        warm: None,
        is_ready: true,
        entries: None,
    };
    TableDescription {
        name: "shop".into(),
        arn: "arn:aws:dynamodb:us-east-1:000000000000:table/shop".into(),
        id: Some("the-table".into()),
        status: "ACTIVE".into(),
        key: KeySchema { partition: attribute("pk"), sort: Some(attribute("sk")) },
        item_count: 60,
        size_bytes: 60 * 200,
        provisioned: None,
        on_demand_max: (None, None),
        warm: None,
        indexes: vec![index(INDEX, "new"), index(GROUPS, "group")],
        features: Features::default(),
        sink: None,
        derived: None,
    }
}

/// The prefix of every new value in plans that compute the new value from the old one.
const PREFIX: &str = "n:";

/// A generated plan whose file of keys has not been read yet.
pub(crate) type Generated = (LoadedPlan, Rates);

/// Generates a plan with a move, and with some of these changes: a copy out of a document, a constant, a removal, a
/// version. One plan in eight puts derived items instead. Of the other plans, a quarter compute values, and a quarter
/// delete items. Of the remaining plans with a cutover, a quarter compute the new value from the old one instead of
/// moving it.
///
/// With `wish`, the plan has only this kind of change, or only a change with this kind of selection.
pub(crate) fn plan(wish: Option<Kind>, rng: &mut Rng) -> Generated {
    if wish == Some(Kind::Put) || (wish.is_none() && rng.u8(..8) == 0) {
        return put::plan(wish, rng);
    }
    match (wish, rng.u8(..4)) {
        (Some(Kind::Delete), _) | (None, 1) => return delete::plan(wish, rng),
        (Some(Kind::Move | Kind::MoveInPlace | Kind::Copy | Kind::Set | Kind::Remove | Kind::Replace), _) => {}
        // A plan with a cutover can have these selections too.
        (Some(Kind::StableWhere | Kind::Keys), 0 | 1) => {}
        (Some(_), _) | (None, 0) => return values::plan(wish, rng),
        (None, _) => {}
    }
    let in_place = match wish {
        Some(Kind::MoveInPlace | Kind::Set | Kind::Remove) => true,
        Some(Kind::Move | Kind::Copy | Kind::Replace | Kind::StableWhere | Kind::Keys) => false,
        Some(_) | None => rng.bool(),
    };
    let strategy = if in_place { "in-place" } else { "expand-contract" };
    let on_existing = ["keep", "skip", "overwrite"][rng.usize(..3)];
    let segments = [1, 2, 4, 7][rng.usize(..4)];
    let write = [20, 100, 1_000][rng.usize(..3)];
    let page = [2, 5, 20][rng.usize(..3)];
    let key = [write, write / 4][rng.usize(..2)];
    let index = [write, write / 2][rng.usize(..2)];
    let rates = Rates { table: write.into(), index: index.into(), partition_key: key.into() };
    let mut text = format!(
        "[migration]\nname = \"world\"\nstrategy = \"{strategy}\"\non_existing = \"{on_existing}\"\n\
         on_not_computable = \"fail\"\n\
         [table]\nname = \"shop\"\nkey = [\"pk\", \"sk\"]\n\
         [scan]\nsegments = {segments}\npage_limit = {page}\n\
         [capacity]\nwrite = {write}\nread = 1000\nper_partition_key = {{ write = {key} }}\n\
         [capacity.index]\n{INDEX} = {index}\n\
         [limits]\nmax_failures = 1000\n{}",
        spend_limit(wish, rng)
    );
    text += &select::section(Selections::Fixed, wish, rng);
    if !in_place {
        text += "[cutover]\ntable = \"flags\"\nmax_cache_seconds = 1\nsoak = \"0s\"\n";
    }
    text += match wish {
        Some(Kind::Copy | Kind::Set | Kind::Remove) => "",
        None if !in_place && rng.u8(..4) == 0 => [REPLACE, REPLACE_FOR_EVER][rng.usize(..2)],
        Some(Kind::Replace) => [REPLACE, REPLACE_FOR_EVER][rng.usize(..2)],
        Some(_) | None => "[[change]]\nmove = \"old\"\nto = \"new\"\n",
    };
    let is_wished = |kind: Kind| wish == Some(kind);
    // An in-place pass uses eventually consistent reads only if the plan contains no copy. So only a quarter of the
    // in-place plans contain a copy.
    if is_wished(Kind::Copy) || (wish.is_none() && rng.u8(..4) < if in_place { 1 } else { 2 }) {
        text += "[[change]]\ncopy = \"doc.x\"\nto = \"copied\"\n";
    }
    if is_wished(Kind::Set) || (wish.is_none() && rng.bool()) {
        text += "[[change]]\nset = \"marker\"\nvalue = 2\n";
    }
    if is_wished(Kind::Remove) || (wish.is_none() && rng.bool() && in_place) {
        text += "[[change]]\nremove = \"legacy\"\n";
    }
    if wish.is_none() && rng.u8(..4) == 0 {
        text += "[[change]]\nbump = \"version\"\n";
    }
    (load_plan(&text), rates)
}

const REPLACE: &str = "[[change]]\ncompute = \"new\"\nas = '\"n:\" + item.old'\nreplaces = \"old\"\n\
                       inverse = 'item.new.substring(2)'\n";

/// A change like [`REPLACE`], but without an inverse.
const REPLACE_FOR_EVER: &str = "[[change]]\ncompute = \"new\"\nas = '\"n:\" + item.old'\nreplaces = \"old\"\n";

/// Generates a limit on the capacity that a run spends. The runs never reach it, but they reserve capacity.
pub(crate) fn spend_limit(wish: Option<Kind>, rng: &mut Rng) -> &'static str {
    if wish.is_some() || rng.bool() { "max_wcu = 1000000\n" } else { "" }
}

/// Parses a generated plan.
pub(crate) fn load_plan(text: &str) -> LoadedPlan {
    load("plan.toml", text).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

/// Returns whether a plan has no cutover, because it writes in place or only writes values.
pub(crate) fn in_place(plan: &Plan) -> bool {
    plan.strategy == Strategy::InPlace || values::computes(plan) || plan.puts_items()
}

/// Returns whether every item has a version that writers raise by one in each write.
pub(crate) fn keeps_version(plan: &Plan) -> bool {
    super::claims::bumps(plan) && !values::computes(plan)
}

/// Returns whether a plan moves the old value to the new attribute, or replaces it with a computed value.
pub(crate) fn moves(plan: &Plan) -> bool {
    replaces(plan) || plan.changes.iter().any(|change| matches!(change, Change::Move { .. }))
}

/// Returns whether a plan computes the new value from the old one.
pub(crate) fn replaces(plan: &Plan) -> bool {
    plan.changes.iter().any(|change| matches!(change, Change::Compute { replaces: Some(_), .. }))
}

/// Returns whether a rollback is impossible after applications have written only new values.
pub(crate) fn is_one_way(plan: &Plan) -> bool {
    plan.changes.iter().any(|change| change.without_inverse().is_some())
}

/// Returns the new value for this old value.
pub(crate) fn new_value(replaces: bool, old: &Value) -> Value {
    match old {
        Value::S(text) if replaces => Value::S(format!("{PREFIX}{text}")),
        _ => old.clone(),
    }
}

/// Returns the old value for this new value.
pub(crate) fn old_value(replaces: bool, new: &Value) -> Value {
    match new {
        Value::S(text) if replaces => Value::S(text.strip_prefix(PREFIX).unwrap().to_owned()),
        _ => new.clone(),
    }
}

/// Generates item number `n`. Some items share a hot partition key, some lack the old attribute, and some already have
/// the new one.
pub(crate) fn item(n: u32, replaces: bool, rng: &mut Rng) -> Item {
    let pk = if rng.u8(..3) == 0 { "hot".to_owned() } else { format!("p{}", n / 2) };
    let mut json = json!({ "pk": { "S": pk }, "sk": { "S": format!("{n:03}") }, "n": { "N": "0" } });
    let mut put = |name: &str, value: Json| json[name] = value;
    if rng.u8(..3) > 0 {
        put("old", json!({ "S": format!("v{n}") }));
    }
    match rng.u8(..12) {
        0 => put("new", json!({ "S": format!("v{n}") })),
        1 => put("new", json!({ "S": "another" })),
        _ => {}
    }
    if rng.bool() {
        put("doc", json!({ "M": { "x": { "L": [{ "N": n.to_string() }, { "NULL": true }] } } }));
    }
    if rng.u8(..4) == 0 {
        put("legacy", json!({ "B": "AAEC" }));
    }
    if rng.u8(..10) == 0 {
        put("marker", json!({ "N": "1" }));
    }
    let mut item = item_from_json(&json).unwrap();
    if let Some(new) = item.get_mut("new") {
        *new = new_value(replaces, new);
    }
    values::add_attributes(&mut item, rng);
    select::set_group(&mut item);
    item
}

/// Returns the key of an item.
pub(crate) fn key_of(item: &Item) -> ItemKey {
    static KEY: LazyLock<KeySchema> = LazyLock::new(|| description().key);
    KEY.key_of(item).unwrap()
}
