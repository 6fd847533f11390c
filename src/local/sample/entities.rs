//! The entities of the sample shop.

use crate::machine::Rng;

use super::LARGEST_CUSTOMER;
use crate::item::{Item, Num, Value};

/// Number of consecutive items that belong to one customer, starting with the profile.
const GROUP: u64 = 8;

/// Of every 1,000 items that do not start a group, this number belongs to the largest customer. Together with the items
/// of its own group, the largest customer then owns 20 % of all items.
const LARGEST_SHARE: u16 = 228;

/// The time of the first event in milliseconds, in 2024.
const EPOCH: u64 = 1_704_067_200_000;

const NAMES: [&str; 12] =
    ["Ada", "Björn", "Chloé", "Dmitri", "Eszter", "Fatima", "Grace", "Hồng", "Iñaki", "Jürgen", "Kenji", "Łucja"];
const DOMAINS: [&str; 4] = ["example.com", "mail.example.org", "example.co.uk", "münchen.example"];
const STREETS: [&str; 5] = ["Rue de l'Église", "Main St", "Hauptstraße", "北京路", "Calle 8"];
const CITIES: [&str; 5] = ["Lyon", "Springfield", "Köln", "上海", "Medellín"];
const COUPONS: [&str; 4] = ["SPRING-10", "FREE SHIP", "größe+", "🎁"];

/// The source text for the prose in items. The text contains words, punctuation, and characters of two to four bytes.
const PROSE: &str = "The parcel arrived late but whole, and the colour is not the one on the page. Größe passt, Farbe \
    nicht ganz. Très bien emballé, livraison rapide. 配送很快，质量不错。 Would order again; the zip sticks a little 🙂. \
    \"Quoted\", with a back\\slash, a tab\t and a line\nbreak. Ürün açıklamaya uygun. Se lo regalé a mi hermana y le \
    encantó. The invoice had the old address on it, which support corrected within the hour. 返品しました。 ";

/// Generates the entity with this number, without its email and padding.
pub(super) fn entity(number: u64, rng: &mut Rng) -> Item {
    if number.is_multiple_of(GROUP) {
        return profile(number / GROUP, rng);
    }
    let largest = rng.u16(..1_000) < LARGEST_SHARE;
    let customer = if largest { LARGEST_CUSTOMER.to_owned() } else { format!("CUSTOMER#{}", number / GROUP) };
    let kind = match number {
        // The first group's kinds of items are fixed, so that even a small table contains an entity of each kind.
        1..8 => [2, 6, 48, 68, 82, 88, 94][(number - 1) as usize],
        _ => rng.u8(..100),
    };
    match kind {
        0..6 => address(&customer, number, rng),
        6..48 => order(&customer, number, rng),
        48..68 => event(&customer, number, rng),
        68..78 => session(&customer, number, rng),
        // A product belongs to no customer. If the randomly chosen customer is the largest one, the item is a review
        // instead.
        78..88 if !largest => product(number, rng),
        78..95 if kind < 94 => review(&customer, number, rng),
        _ => ledger(&customer, number, rng),
    }
}

pub(super) fn name(rng: &mut Rng) -> &'static str {
    pick(&NAMES, rng)
}

pub(super) fn domain(rng: &mut Rng) -> &'static str {
    pick(&DOMAINS, rng)
}

/// Parses a number from text that is known to be valid.
pub(super) fn num(text: impl Into<String>) -> Num {
    Num::from_wire(text.into())
}

/// Returns text with exactly this number of bytes.
pub(super) fn prose(bytes: usize, rng: &mut Rng) -> String {
    let mut text = String::with_capacity(bytes);
    let mut from = boundary(rng.usize(..PROSE.len()));
    while text.len() < bytes {
        let to = boundary((from + bytes - text.len()).min(PROSE.len()));
        if to == from {
            break;
        }
        text.push_str(&PROSE[from..to]);
        from = 0;
    }
    // The last piece can be a few bytes short, because it must end at a character boundary.
    text.extend(std::iter::repeat_n('.', bytes - text.len()));
    text
}

fn profile(customer: u64, rng: &mut Rng) -> Item {
    let mut item = new_item("profile", format!("CUSTOMER#{customer}"), "PROFILE".to_owned());
    put(&mut item, "name", text(format!("{} {}", name(rng), name(rng))));
    put(&mut item, "middle_name", text(""));
    put(&mut item, "phone", if rng.bool() { Value::Null } else { text(format!("+49 30 {}", rng.u32(..))) });
    put(&mut item, "marketing", Value::Bool(rng.bool()));
    put(&mut item, "roles", Value::Ss(vec!["buyer".into(), COUPONS[rng.usize(..4)].into()]));
    put(&mut item, "e-mail.addr#1", text(format!("first.{customer}@example.com")));
    put(&mut item, "größe", text(["S", "M", "L"][rng.usize(..3)]));
    put(&mut item, "points", Value::N(num(rng.i32(..).to_string())));
    let language = [("ui", text("de-AT")), ("mail-list", Value::Null), ("зума", Value::Bool(false))];
    let seen = Value::Ss(vec!["intro".into(), "año nuevo".into()]);
    let preferences = [("language", map(language)), ("seen", seen), ("size.eu", integer(rng.u8(36..48)))];
    put(&mut item, "preferences", map(preferences));
    put(&mut item, "address", postal_address(rng));
    put(&mut item, "about", text(prose(rng.usize(..600), rng)));
    item
}

fn address(customer: &str, number: u64, rng: &mut Rng) -> Item {
    let mut item = new_item("address", customer.to_owned(), format!("ADDRESS#{number}"));
    put(&mut item, "address", postal_address(rng));
    put(&mut item, "label", text(["home", "work", "", "grand-mère"][rng.usize(..4)]));
    put(&mut item, "default", Value::Bool(rng.bool()));
    item
}

fn order(customer: &str, number: u64, rng: &mut Rng) -> Item {
    let sort = if number.is_multiple_of(16) { format!("BESTELLUNG#é {number}") } else { format!("ORDER#{number}") };
    let mut item = new_item("order", customer.to_owned(), sort);
    let lines: Vec<_> = (0..1 + skewed(64, rng)).map(|_| order_line(rng)).collect();
    put(&mut item, "total", Value::N(num(format!("{}.{:02}", rng.u32(1..5_000), rng.u8(..100)))));
    put(&mut item, "lines", Value::L(lines));
    put(&mut item, "placed_at", timestamp(number, rng));
    put(&mut item, "status", text(["paid", "shipped", "delivered", "returned"][rng.usize(..4)]));
    put(&mut item, "shipped", if rng.bool() { Value::Null } else { text("DHL 00340434161094021501") });
    put(&mut item, "ship to", postal_address(rng));
    if rng.u8(..3) == 0 {
        put(&mut item, "coupons", Value::Ss(vec![COUPONS[0].into(), COUPONS[1 + rng.usize(..3)].into()]));
    }
    item
}

fn order_line(rng: &mut Rng) -> Value {
    map([
        ("sku", text(format!("SKU-{:08}", rng.u32(..100_000_000)))),
        ("title", text(prose(rng.usize(10..60), rng))),
        ("qty", integer(rng.u8(1..9))),
        ("price", Value::N(num(format!("{}.{}0", rng.u16(1..900), rng.u8(..10))))),
        ("gift", Value::Bool(rng.u8(..5) == 0)),
        ("note", if rng.bool() { text("") } else { Value::Null }),
    ])
}

fn event(customer: &str, number: u64, rng: &mut Rng) -> Item {
    let mut item = new_item("event", customer.to_owned(), format!("EVENT#{number:012}"));
    put(&mut item, "at", timestamp(number, rng));
    put(&mut item, "name", text(["page.view", "cart-add", "search", "pay#3ds"][rng.usize(..4)]));
    put(&mut item, "ip", Value::B(binary(4, rng)));
    put(&mut item, "spans", Value::Bs(vec![binary(8, rng), binary(9, rng)]));
    let nested = Value::L(vec![integer(rng.u16(..)), Value::Null, Value::Ns(vec![num("1"), num("-2.5")])]);
    let blobs = Value::Bs(vec![binary(3, rng), binary(4, rng)]);
    put(&mut item, "payload", map([("q", text("größe 42")), ("path", nested), ("cookies", blobs)]));
    item
}

fn session(customer: &str, number: u64, rng: &mut Rng) -> Item {
    let mut item = new_item("session", customer.to_owned(), format!("SESSION#{number:x}"));
    put(&mut item, "token", Value::B(binary(32, rng)));
    put(&mut item, "expires", timestamp(number + 86_400, rng));
    put(&mut item, "x-forwarded.for", Value::L(vec![text("203.0.113.9"), Value::B(binary(16, rng))]));
    put(&mut item, "user agent", text("Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"));
    item
}

fn product(number: u64, rng: &mut Rng) -> Item {
    let key = if number.is_multiple_of(20) { format!("PRODUCT#{number}-ñ") } else { format!("PRODUCT#{number}") };
    let mut item = new_item("product", key, "DETAIL".to_owned());
    put(&mut item, "price", Value::N(num("1.10")));
    put(&mut item, "ratings", Value::Ns(vec![num("1"), num("4.5"), num("-0.5")]));
    put(&mut item, "dimensions", Value::L(vec![integer(rng.u8(1..)), integer(rng.u8(1..)), Value::N(num("0.001"))]));
    put(&mut item, "title", text(prose(rng.usize(20..80), rng)));
    put(&mut item, "description", text(prose(rng.usize(100..900), rng)));
    put(&mut item, "variants", Value::Bs((0..3).map(|i| binary(16 + i, rng)).collect()));
    put(&mut item, "thumbnail", Value::B(binary(512 + skewed(17_000, rng), rng)));
    item
}

fn review(customer: &str, number: u64, rng: &mut Rng) -> Item {
    let mut item = new_item("review", customer.to_owned(), format!("REVIEW#{number}"));
    put(&mut item, "stars", integer(rng.u8(1..6)));
    put(&mut item, "text", text(prose(80 + skewed(9_000, rng), rng)));
    put(&mut item, "helpful", Value::Ns(vec![num(rng.u32(..).to_string()), num("0.5")]));
    put(&mut item, "verified", Value::Bool(rng.bool()));
    item
}

/// Generates a ledger entry. The entry's numbers reach the limits of DynamoDB's precision and range.
fn ledger(customer: &str, number: u64, rng: &mut Rng) -> Item {
    let mut item = new_item("ledger", customer.to_owned(), format!("LEDGER#{number}"));
    put(&mut item, "balance", Value::N(num("99999999999999999999999999999999999999")));
    put(&mut item, "debt", Value::N(num(format!("-{}{:018}{:018}", rng.u8(10..99), rng.u32(..), rng.u32(..)))));
    put(&mut item, "epsilon", Value::N(num("1E-130")));
    put(&mut item, "bound", Value::N(num("-9.9999999999999999999999999999999999999E+125")));
    put(&mut item, "rate", Value::N(num("1.10")));
    put(&mut item, "zero", Value::N(num("0")));
    let exact = Value::N(num(format!("0.{:018}{:018}1", rng.u32(..), rng.u32(..))));
    put(
        &mut item,
        "rates",
        Value::Ns(vec![num("1E-20"), num("-1E+20"), num("12345678901234567890.123456789012345678")]),
    );
    put(&mut item, "detail", map([("exact", exact), ("currency", text("€"))]));
    item
}

fn postal_address(rng: &mut Rng) -> Value {
    let geo = map([
        ("lat", Value::N(num(format!("-{}.{:06}", rng.u8(..90), rng.u32(1..1_000_000))))),
        ("lon", Value::N(num(format!("{}.{:06}", rng.u8(..180), rng.u32(1..1_000_000))))),
    ]);
    map([
        ("street", text(format!("{} {}", pick(&STREETS, rng), rng.u8(1..)))),
        ("city", text(pick(&CITIES, rng))),
        ("zip", text(format!("{:05}", rng.u32(..100_000)))),
        ("geo", geo),
    ])
}

fn new_item(kind: &str, pk: String, sk: String) -> Item {
    [("pk".to_owned(), Value::S(pk)), ("sk".to_owned(), Value::S(sk)), ("type".to_owned(), text(kind))].into()
}

fn put(item: &mut Item, name: &str, value: Value) {
    item.insert(name.to_owned(), value);
}

fn map<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::M(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(text: impl Into<String>) -> Value {
    Value::S(text.into())
}

fn integer(n: impl ToString) -> Value {
    Value::N(num(n.to_string()))
}

fn timestamp(number: u64, rng: &mut Rng) -> Value {
    Value::N(num((EPOCH + number * 1_000 + rng.u64(..1_000)).to_string()))
}

fn binary(bytes: usize, rng: &mut Rng) -> Vec<u8> {
    let mut blob = vec![0; bytes];
    rng.fill(&mut blob);
    blob
}

/// Returns a random number below `limit`. Most of the returned numbers are far below `limit`.
fn skewed(limit: usize, rng: &mut Rng) -> usize {
    let x = rng.f64();
    // The product is below `limit`, which is at most a few tens of thousands, so the cast only removes the fractional
    // part.
    (x * x * x * x * limit as f64) as usize
}

fn pick(from: &[&'static str], rng: &mut Rng) -> &'static str {
    from[rng.usize(..from.len())]
}

/// Returns the last character boundary in the prose at or before `at`.
fn boundary(at: usize) -> usize {
    (0..=at).rev().find(|at| PROSE.is_char_boundary(*at)).unwrap_or(0)
}
