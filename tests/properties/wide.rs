//! Plans with more changes than one write can make (`split`).

use std::sync::LazyLock;

use backfill::internals::item::{Item, Num, Value};
use fastrand::Rng;

use super::facts::CONSTANTS;
use super::spec::{ChangeSpec, Kind};

/// Maximum number of changes in a wide plan.
const WIDTH: usize = 160;

/// The old and new names. They are leaked, because the names in all plans are `'static`.
static NAMES: LazyLock<Vec<(&'static str, &'static str)>> = LazyLock::new(|| {
    let name = |text: String| -> &'static str { text.leak() };
    (0..WIDTH).map(|n| (name(format!("f{n}")), name(format!("g{n}")))).collect()
});

/// Generates the changes of a wide plan.
pub(crate) fn changes(in_place: bool, rng: &mut Rng) -> Vec<ChangeSpec> {
    let only_sets = rng.u8(..3) == 0;
    let width = rng.usize(if only_sets { 125..WIDTH } else { 40..WIDTH });
    let change = |&(from, to): &(&'static str, &'static str), rng: &mut Rng| {
        let set = Kind::Set { to, constant: rng.usize(..CONSTANTS.len()) };
        let kind = match rng.u8(..8) {
            _ if only_sets => set,
            0 => set,
            1 => Kind::Copy { from, to },
            // In an expand-contract plan, only `contract` would remove the value.
            2 if in_place => Kind::Remove { path: from },
            _ => Kind::Move { from, to },
        };
        ChangeSpec::plain(kind)
    };
    NAMES.iter().take(width).map(|names| change(names, rng)).collect()
}

/// Returns whether only a wide plan writes the attribute.
pub(crate) fn is_target(name: &str) -> bool {
    name.strip_prefix('g').is_some_and(|number| number.parse::<usize>().is_ok())
}

/// Adds the attributes of a wide plan to an item.
pub(crate) fn fill(item: &mut Item, rng: &mut Rng) {
    // Several writes raise the version several times, so use a small version.
    match rng.u8(..8) {
        0 => drop(item.remove("v")),
        _ => drop(item.insert("v".to_owned(), Value::N(Num::parse(&rng.u32(..1_000).to_string()).unwrap()))),
    }
    let share = rng.u8(1..=8);
    let has_targets = rng.u8(..4) == 0;
    for &(from, to) in NAMES.iter() {
        if rng.u8(..8) < share {
            item.insert(from.to_owned(), Value::S("x".repeat(rng.usize(..20))));
        }
        if has_targets && rng.u8(..200) == 0 {
            item.insert(to.to_owned(), Value::Bool(true));
        }
    }
}
