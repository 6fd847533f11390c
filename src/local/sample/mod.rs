//! The sample table: the data of a shop in a single table. The items are generated one by one from a seed, so the whole
//! table is never in memory.
//!
//! Items come in groups of eight, one group per customer: profile, address, orders, events, sessions, reviews and a
//! ledger. In some groups, products replace some of these items. One customer owns a fifth of all items. The table
//! contains values of every DynamoDB type. Item sizes range from 200 bytes to 20 KB. [`classified_items`] also returns
//! the expected class of each item. Tests compare these classes with the result of a migration of `email` to
//! `contact_email`.

mod entities;

use crate::machine::Rng;
use serde_json::{Value as Json, json};

use crate::item::{Item, Value, item_bytes};

/// The sample table's name.
pub const TABLE: &str = "shop";

/// The partition key of the customer who owns a fifth of all items.
pub const LARGEST_CUSTOMER: &str = "CUSTOMER#0";

/// The attribute that the plan `migrations-examples/rename-attribute.toml` moves.
pub const OLD_ATTRIBUTE: &str = "email";

/// The attribute to which `migrations-examples/rename-attribute.toml` moves [`OLD_ATTRIBUTE`].
pub const NEW_ATTRIBUTE: &str = "contact_email";

/// The minimum size of an item in bytes. Smaller items are padded.
const MIN_BYTES: usize = 200;

/// The class of an item in the migration of [`OLD_ATTRIBUTE`] to [`NEW_ATTRIBUTE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EmailClass {
    /// The item has only the old attribute: 84 of 100 items. In one of twenty such items, the attribute's value is not
    /// a string.
    Plain,
    /// The item has neither attribute: 10 of 100 items.
    Absent,
    /// The item has both attributes with equal values: 3 of 100 items.
    AlreadyBoth,
    /// The item has only the new attribute: 2 of 100 items.
    OnlyNew,
    /// The item has both attributes with different values: 1 of 100 items.
    Diverged,
}

/// Number of items in each class of a sample table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpectedCounts {
    /// Number of items of the class [`EmailClass::Plain`].
    pub plain: u64,
    /// Number of items of the class [`EmailClass::Absent`].
    pub absent: u64,
    /// Number of items of the class [`EmailClass::AlreadyBoth`].
    pub already_both: u64,
    /// Number of items of the class [`EmailClass::OnlyNew`].
    pub only_new: u64,
    /// Number of items of the class [`EmailClass::Diverged`].
    pub diverged: u64,
}

/// Returns the items of the sample table. Equal arguments produce equal items. A larger `count` only appends items.
pub fn items(seed: u64, count: u64) -> impl Iterator<Item = Item> {
    classified_items(seed, count).map(|(item, _)| item)
}

/// Returns the items of the sample table, each with its class.
pub fn classified_items(seed: u64, count: u64) -> impl Iterator<Item = (Item, EmailClass)> {
    (0..count).map(move |number| classified_item(seed, number))
}

/// Returns the number of items in each class, without generating the items.
pub fn expected_counts(seed: u64, count: u64) -> ExpectedCounts {
    let mut sum = ExpectedCounts::default();
    for number in 0..count {
        *match draw_email(number, &mut item_rng(seed, number)) {
            EmailClass::Plain => &mut sum.plain,
            EmailClass::Absent => &mut sum.absent,
            EmailClass::AlreadyBoth => &mut sum.already_both,
            EmailClass::OnlyNew => &mut sum.only_new,
            EmailClass::Diverged => &mut sum.diverged,
        } += 1;
    }
    sum
}

/// Returns a `CreateTable` request for an on-demand table that can contain the sample.
pub fn create_table_request(name: &str) -> Json {
    json!({
        "TableName": name,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"}
        ],
        "BillingMode": "PAY_PER_REQUEST"
    })
}

/// Returns the random generator of one item. Each item has its own generator, so an item never depends on earlier
/// items.
fn item_rng(seed: u64, number: u64) -> Rng {
    let mut mixer = Rng::with_seed(seed);
    Rng::with_seed(mixer.u64(..) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn classified_item(seed: u64, number: u64) -> (Item, EmailClass) {
    let mut rng = item_rng(seed, number);
    // The class is the first value that an item's generator draws. So `expected_counts` can count the classes without
    // generating any other value.
    let email = draw_email(number, &mut rng);
    let mut item = entities::entity(number, &mut rng);
    put_email(&mut item, email, number, &mut rng);
    pad(&mut item, &mut rng);
    (item, email)
}

fn draw_email(number: u64, rng: &mut Rng) -> EmailClass {
    match (number, rng.u8(..100)) {
        // Even a small table has an item of each class.
        (1, _) => EmailClass::Absent,
        (2, _) => EmailClass::AlreadyBoth,
        (3, _) => EmailClass::OnlyNew,
        (4, _) => EmailClass::Diverged,
        (0 | 5, _) => EmailClass::Plain,
        (_, 0..84) => EmailClass::Plain,
        (_, 84..94) => EmailClass::Absent,
        (_, 94..97) => EmailClass::AlreadyBoth,
        (_, 97..99) => EmailClass::OnlyNew,
        (_, _) => EmailClass::Diverged,
    }
}

fn put_email(item: &mut Item, email: EmailClass, number: u64, rng: &mut Rng) {
    let address = address(number, rng);
    match email {
        EmailClass::Absent => {}
        EmailClass::Plain => {
            item.insert(OLD_ATTRIBUTE.into(), address);
        }
        EmailClass::AlreadyBoth => {
            item.insert(OLD_ATTRIBUTE.into(), address.clone());
            item.insert(NEW_ATTRIBUTE.into(), address);
        }
        EmailClass::OnlyNew => {
            item.insert(NEW_ATTRIBUTE.into(), address);
        }
        EmailClass::Diverged => {
            item.insert(OLD_ATTRIBUTE.into(), address);
            // This value differs from every generated value, because generated values either use different domains or
            // are not strings.
            item.insert(NEW_ATTRIBUTE.into(), Value::S(format!("changed.{number}@example.net")));
        }
    }
}

/// Returns an email address. One of twenty values is not a string, as in a real table to which different programs have
/// written for years.
fn address(number: u64, rng: &mut Rng) -> Value {
    let text = format!("{}.{number}@{}", entities::name(rng).to_lowercase(), entities::domain(rng));
    if number != 5 && rng.u8(..20) != 0 {
        return Value::S(text);
    }
    match rng.u8(..5) {
        0 => Value::Null,
        1 => Value::Ss(vec![text.clone(), format!("alt.{text}")]),
        2 => Value::L(vec![Value::S(text), Value::Bool(true)]),
        3 => Value::N(entities::num("1.10")),
        _ => Value::M([("address".into(), Value::S(text)), ("verified".into(), Value::Bool(rng.bool()))].into()),
    }
}

fn pad(item: &mut Item, rng: &mut Rng) {
    if min_size(item) >= MIN_BYTES {
        return;
    }
    let size = item_bytes(item);
    if size < MIN_BYTES {
        item.insert("note".into(), Value::S(entities::prose(MIN_BYTES - size, rng)));
    }
}

/// Returns the total length of the item's texts in bytes, which is a lower bound for the item's size. For most items,
/// this bound already shows that the item is large enough.
fn min_size(item: &Item) -> usize {
    let text = |value: &Value| if let Value::S(s) = value { s.len() } else { 0 };
    item.iter().map(|(name, value)| name.len() + text(value)).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn equal_seeds_make_equal_tables_and_a_larger_table_starts_like_a_smaller_one() {
        let large: Vec<_> = items(7, 500).collect();
        assert_eq!(items(7, 500).collect::<Vec<_>>(), large);
        assert_eq!(items(7, 100).collect::<Vec<_>>(), large[..100]);
        assert_ne!(items(8, 100).collect::<Vec<_>>(), large[..100]);
    }

    #[test]
    fn keys_are_distinct() {
        let keys: BTreeSet<_> = items(1, 20_000).map(|i| format!("{:?} {:?}", i["pk"], i["sk"])).collect();
        assert_eq!(keys.len(), 20_000);
    }

    #[test]
    fn proportions_are_as_stated() {
        const COUNT: u64 = 20_000;
        let mut email: BTreeMap<EmailClass, f64> = BTreeMap::new();
        let mut largest = 0.0;
        let mut bytes = 0;
        let mut smallest = usize::MAX;
        let mut widest = 0;
        let mut odd = 0.0;
        for (item, state) in classified_items(42, COUNT) {
            *email.entry(state).or_default() += 1.0;
            let size = item_bytes(&item);
            bytes += size;
            smallest = smallest.min(size);
            widest = widest.max(size);
            largest += f64::from(u8::from(matches!(&item["pk"], Value::S(pk) if pk == LARGEST_CUSTOMER)));
            odd += f64::from(u8::from(item.get(OLD_ATTRIBUTE).is_some_and(|v| v.type_name() != "S")));
        }
        let percent = |n: f64| n * 100.0 / COUNT as f64;
        let close = |what: &str, n: f64, to: f64| {
            assert!((percent(n) - to).abs() < to.sqrt() * 0.5, "{what}: {} instead of {to} %", percent(n));
        };
        close("largest customer", largest, 20.0);
        close("not a string", odd, 4.4);
        for (state, to) in [
            (EmailClass::Plain, 84.0),
            (EmailClass::Absent, 10.0),
            (EmailClass::AlreadyBoth, 3.0),
            (EmailClass::OnlyNew, 2.0),
            (EmailClass::Diverged, 1.0),
        ] {
            close(&format!("{state:?}"), email[&state], to);
        }
        let mean = bytes / COUNT as usize;
        assert!((1000..1600).contains(&mean), "mean size {mean}");
        assert!((200..260).contains(&smallest), "smallest {smallest}");
        assert!((15_000..=20_480).contains(&widest), "largest {widest}");
    }

    #[test]
    fn stated_classes_match_the_items() {
        let mut counted = ExpectedCounts::default();
        for (item, state) in classified_items(3, 3_000) {
            let (sum, truth) = match (item.get(OLD_ATTRIBUTE), item.get(NEW_ATTRIBUTE)) {
                (Some(_), None) => (&mut counted.plain, EmailClass::Plain),
                (None, None) => (&mut counted.absent, EmailClass::Absent),
                (Some(a), Some(b)) if a == b => (&mut counted.already_both, EmailClass::AlreadyBoth),
                (Some(_), Some(_)) => (&mut counted.diverged, EmailClass::Diverged),
                (None, Some(_)) => (&mut counted.only_new, EmailClass::OnlyNew),
            };
            assert_eq!(state, truth);
            *sum += 1;
        }
        assert_eq!(expected_counts(3, 3_000), counted);
    }

    #[test]
    fn a_small_table_has_every_type_every_state_and_the_awkward_values() {
        let table: Vec<_> = classified_items(11, 64).collect();
        let mut types = BTreeSet::new();
        let mut text = String::new();
        for (item, _) in &table {
            item.values().for_each(|value| note_types(value, 0, &mut types));
            text.push_str(&crate::item::item_to_json(item).to_string());
        }
        for name in ["S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"] {
            assert!(types.contains(&(name, false)), "{name} is missing at the top level");
            assert!(types.contains(&(name, true)), "{name} is missing inside documents");
        }
        assert_eq!(table.iter().map(|(_, state)| state).collect::<BTreeSet<_>>().len(), 5);
        for awkward in [
            "\"e-mail.addr#1\"",
            "\"ship to\"",
            "größe",
            "{\"S\":\"\"}",
            "\"1.10\"",
            "99999999999999999999999999999999999999",
            "E-130",
        ] {
            assert!(text.contains(awkward), "{awkward} is missing");
        }
    }

    fn note_types(value: &Value, depth: usize, types: &mut BTreeSet<(&'static str, bool)>) {
        types.insert((value.type_name(), depth > 0));
        match value {
            Value::L(list) => list.iter().for_each(|v| note_types(v, depth + 1, types)),
            Value::M(map) => map.values().for_each(|v| note_types(v, depth + 1, types)),
            _ => {}
        }
    }
}
