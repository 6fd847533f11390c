//! Tests values at DynamoDB's limits: numbers of 38 digits, and items near 400 KB.

use super::*;

/// Numbers in various notations: 38 digits, exponents, leading and trailing zeros, signs.
const NUMBERS: [&str; 20] = [
    "110111111111111110000000000000000000000",
    "1.23e+40",
    "30.40",
    "0.10",
    "-0",
    "0",
    "1E-130",
    "9.9999999999999999999999999999999999999E+125",
    "-9.9999999999999999999999999999999999999E+125",
    "-1E-130",
    "3.1415926535897932384626433832795028841",
    "1E+2",
    "100",
    "007",
    "1.0",
    "99999999999999999999999999999999999999",
    "9007199254740993",
    "0.1",
    "-0.000",
    "2.50E3",
];

const INTO_A_MAP: &str = "[[change]]\nmove = \"amount\"\nto = \"money.amount\"\n\
     [[change]]\nmove = \"amounts\"\nto = \"money.all\"\n[[change]]\nmove = \"doc\"\nto = \"money.doc\"\n";

/// Every number keeps its exact text. The test checks values that DynamoDB copies, and values that the tool sends
/// because it must create the parent map.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_keep_their_exact_text() {
    let number = |text: &str| Value::N(text.parse().unwrap());
    let with_number = |(n, text): (usize, &str)| {
        let doc = Value::L(vec![number(text), Value::M([("d".to_owned(), number(text))].into())]);
        let amounts = Value::Ns(["1.50", "2", NUMBERS[0]].map(|text| text.parse().unwrap()).to_vec());
        let attributes = [("amount", number(text)), ("amounts", amounts), ("doc", doc)];
        [false, true].map(|has_parent| {
            let mut item = item("N", &format!("{n:02}-{has_parent}"), attributes.clone());
            if has_parent {
                item.insert("money".into(), Value::M([("currency".to_owned(), Value::S("EUR".into()))].into()));
            }
            item
        })
    };
    for strategy in ["expand-contract", "in-place"] {
        let all = NUMBERS.into_iter().enumerate().flat_map(with_number);
        let scene = Scene::new(all, &format!("strategy = \"{strategy}\""), INTO_A_MAP).await;
        scene.run().exits(0);
        let now = scene.harness.dump(&scene.table).await;
        assert_eq!(now.len(), 2 * NUMBERS.len());
        for (key, before) in &scene.before {
            let mut expected = before.clone();
            let mut money = match expected.remove("money") {
                Some(Value::M(money)) => money,
                _ => Item::new(),
            };
            for (from, to) in [("amount", "amount"), ("amounts", "all"), ("doc", "doc")] {
                money.insert(to.to_owned(), before[from].clone());
                if strategy == "in-place" {
                    expected.remove(from);
                }
            }
            expected.insert("money".into(), Value::M(money));
            assert_eq!(bytes_of(&now[key]), bytes_of(&expected), "{strategy}");
        }
    }
}

/// If a second copy of a value would make an item too large, the item stays unchanged. `failures list` names a strategy
/// that needs no second copy.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_cannot_hold_a_value_twice_fits_in_place() {
    let large = |kb: usize| item("LARGE", &format!("{kb:03}"), [("old", secret("x".repeat(kb * 1024)))]);
    let all = || [150, 195, 199, 200, 201, 250, 390, 399].into_iter().map(large).chain(items(5));
    let scene = Scene::new(all(), "", MOVE).await;
    let checked = tool(&scene.harness, &["check", scene.plan(), "--sample", "100%"]);
    assert!(checked.stdout.contains("in-place"), "{}", checked.stdout);
    let json = scene.run().exits(4).json();
    let twice =
        scene.before.values().filter(|item| backfill::internals::item::item_bytes(&moved(item)) > 400 * 1024).count();
    assert_eq!((failed(&json), twice), (twice as u64, 5), "{json}");
    let now = scene.harness.dump(&scene.table).await;
    for (key, before) in &scene.before {
        let fits = backfill::internals::item::item_bytes(&moved(before)) <= 400 * 1024;
        assert_eq!(bytes_of(&now[key]), bytes_of(&if fits { moved(before) } else { before.clone() }));
    }
    let listed = tool(&scene.harness, &["failures", scene.plan(), "list"]).exits(0).stdout;
    assert_eq!(listed.matches("\"in-place\"").count(), twice, "{listed}");

    let scene = Scene::new(all(), "strategy = \"in-place\"", MOVE).await;
    assert_eq!(failed(&scene.run().exits(0).json()), 0);
    let now = scene.harness.dump(&scene.table).await;
    for (key, before) in &scene.before {
        let mut expected = moved(before);
        expected.remove("old");
        assert_eq!(bytes_of(&now[key]), bytes_of(&expected));
    }
}
