//! The sample table: the data of a shop in a single table. The items are generated one by one from a seed, so the whole
//! table is never in memory.
//!
//! Items come in groups of eight, one group per customer: profile, address, orders, events, sessions, reviews and a
//! ledger. Some items of a group are products instead. One customer has a fifth of all items. The table has values of
//! every DynamoDB type. Item sizes range from 200 bytes to 20 KB. [`rows`] states the expected class of each item;
//! tests check a migration of `email` to `contact_email` against it.

mod entities;

use crate::machine::Rng;
use serde_json::{Value as Json, json};

use crate::item::{Item, Value, item_bytes};

/// The sample table's name.
pub const TABLE: &str = "shop";

/// The partition key of the customer who has a fifth of all items.
pub const LARGEST_CUSTOMER: &str = "CUSTOMER#0";

/// The attribute that `migrations-examples/rename-attribute.toml` moves.
pub const OLD: &str = "email";

/// The attribute to which that plan moves [`OLD`].
pub const NEW: &str = "contact_email";

/// The minimum size of an item in bytes. Smaller items are padded.
const MIN_BYTES: usize = 200;

/// The class of an item in the migration of [`OLD`] to [`NEW`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Email {
    /// The item has only the old attribute: 84 of 100 items. In one of twenty such items, the value is not a string.
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

/// The number of items of a sample table in each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// Number of items of the class [`Email::Plain`].
    pub plain: u64,
    /// Number of items of the class [`Email::Absent`].
    pub absent: u64,
    /// Number of items of the class [`Email::AlreadyBoth`].
    pub already_both: u64,
    /// Number of items of the class [`Email::OnlyNew`].
    pub only_new: u64,
    /// Number of items of the class [`Email::Diverged`].
    pub diverged: u64,
}

/// The items of the sample table. Equal arguments give equal items. With a larger `count`, the table starts with the
/// same items and continues with further items.
pub fn items(seed: u64, count: u64) -> impl Iterator<Item = Item> {
    rows(seed, count).map(|(item, _)| item)
}

/// Returns the items. Each item comes with its class.
pub fn rows(seed: u64, count: u64) -> impl Iterator<Item = (Item, Email)> {
    (0..count).map(move |number| row(seed, number))
}

/// The number of items in each class, without generating the items.
pub fn expected(seed: u64, count: u64) -> Expected {
    let mut sum = Expected::default();
    for number in 0..count {
        *match draw_email(number, &mut item_rng(seed, number)) {
            Email::Plain => &mut sum.plain,
            Email::Absent => &mut sum.absent,
            Email::AlreadyBoth => &mut sum.already_both,
            Email::OnlyNew => &mut sum.only_new,
            Email::Diverged => &mut sum.diverged,
        } += 1;
    }
    sum
}

/// A `CreateTable` request for a table that the sample fits into, billed on demand.
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

/// The random generator of one item. Each item has its own generator, so that no item depends on earlier items.
fn item_rng(seed: u64, number: u64) -> Rng {
    let mut mixer = Rng::with_seed(seed);
    Rng::with_seed(mixer.u64(..) ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn row(seed: u64, number: u64) -> (Item, Email) {
    let mut rng = item_rng(seed, number);
    // The class is the first random value of an item. So `expected` can count the classes without generating any other
    // value.
    let email = draw_email(number, &mut rng);
    let mut item = entities::entity(number, &mut rng);
    put_email(&mut item, email, number, &mut rng);
    pad(&mut item, &mut rng);
    (item, email)
}

fn draw_email(number: u64, rng: &mut Rng) -> Email {
    match (number, rng.u8(..100)) {
        // Even a small table has an item of each class.
        (1, _) => Email::Absent,
        (2, _) => Email::AlreadyBoth,
        (3, _) => Email::OnlyNew,
        (4, _) => Email::Diverged,
        (0 | 5, _) => Email::Plain,
        (_, 0..84) => Email::Plain,
        (_, 84..94) => Email::Absent,
        (_, 94..97) => Email::AlreadyBoth,
        (_, 97..99) => Email::OnlyNew,
        (_, _) => Email::Diverged,
    }
}

fn put_email(item: &mut Item, email: Email, number: u64, rng: &mut Rng) {
    let address = address(number, rng);
    match email {
        Email::Absent => {}
        Email::Plain => {
            item.insert(OLD.into(), address);
        }
        Email::AlreadyBoth => {
            item.insert(OLD.into(), address.clone());
            item.insert(NEW.into(), address);
        }
        Email::OnlyNew => {
            item.insert(NEW.into(), address);
        }
        Email::Diverged => {
            item.insert(OLD.into(), address);
            // This value differs from every generated value, because generated values use different domains or are not
            // strings.
            item.insert(NEW.into(), Value::S(format!("changed.{number}@example.net")));
        }
    }
}

/// An email address. One of twenty values is not a string, as in a real table that different programs have written for
/// years.
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
    if at_least(item) >= MIN_BYTES {
        return;
    }
    let size = item_bytes(item);
    if size < MIN_BYTES {
        item.insert("note".into(), Value::S(entities::prose(MIN_BYTES - size, rng)));
    }
}

/// The number of bytes of the item's texts, which is a lower bound of the item's size. For most items, this bound
/// already shows that the item is large enough.
fn at_least(item: &Item) -> usize {
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
        let mut email: BTreeMap<Email, f64> = BTreeMap::new();
        let mut largest = 0.0;
        let mut bytes = 0;
        let mut smallest = usize::MAX;
        let mut widest = 0;
        let mut odd = 0.0;
        for (item, state) in rows(42, COUNT) {
            *email.entry(state).or_default() += 1.0;
            let size = item_bytes(&item);
            bytes += size;
            smallest = smallest.min(size);
            widest = widest.max(size);
            largest += f64::from(u8::from(matches!(&item["pk"], Value::S(pk) if pk == LARGEST_CUSTOMER)));
            odd += f64::from(u8::from(item.get(OLD).is_some_and(|v| v.type_name() != "S")));
        }
        let percent = |n: f64| n * 100.0 / COUNT as f64;
        let close = |what: &str, n: f64, to: f64| {
            assert!((percent(n) - to).abs() < to.sqrt() * 0.5, "{what}: {} instead of {to} %", percent(n));
        };
        close("largest customer", largest, 20.0);
        close("not a string", odd, 4.4);
        for (state, to) in [
            (Email::Plain, 84.0),
            (Email::Absent, 10.0),
            (Email::AlreadyBoth, 3.0),
            (Email::OnlyNew, 2.0),
            (Email::Diverged, 1.0),
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
        let mut counted = Expected::default();
        for (item, state) in rows(3, 3_000) {
            let (sum, truth) = match (item.get(OLD), item.get(NEW)) {
                (Some(_), None) => (&mut counted.plain, Email::Plain),
                (None, None) => (&mut counted.absent, Email::Absent),
                (Some(a), Some(b)) if a == b => (&mut counted.already_both, Email::AlreadyBoth),
                (Some(_), Some(_)) => (&mut counted.diverged, Email::Diverged),
                (None, Some(_)) => (&mut counted.only_new, Email::OnlyNew),
            };
            assert_eq!(state, truth);
            *sum += 1;
        }
        assert_eq!(expected(3, 3_000), counted);
    }

    #[test]
    fn a_small_table_has_every_type_every_state_and_the_awkward_values() {
        let table: Vec<_> = rows(11, 64).collect();
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
