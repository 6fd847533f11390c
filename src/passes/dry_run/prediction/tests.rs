use super::*;
use crate::change::{Change, OnExisting, Strategy};
use crate::dynamodb::TableDescription;

fn changes() -> Changes {
    let path = |text: &str| text.parse::<Path>().unwrap();
    let plan = [Change::Move { from: path("old"), to: path("doc.new"), on_existing: OnExisting::Keep }];
    let key = TableDescription::for_tests().key;
    Changes::for_expand(&plan, Strategy::ExpandContract, key, Vec::new())
}

fn item(n: usize, attributes: &[(&str, Value)]) -> Item {
    let mut item: Item = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    item.insert("pk".into(), Value::S(format!("P#{n}")));
    item.insert("sk".into(), Value::S("S".into()));
    item
}

fn s(text: &str) -> Value {
    Value::S(text.into())
}

#[test]
fn classes_add_up_and_examples_are_few() {
    let mut whole = Prediction::default();
    let none = ItemHistory::default();
    for n in 0..40 {
        let mut page = Prediction::default();
        page.add(&item(n, &[("old", s("v")), ("doc", Value::M(Item::new()))]), &changes(), &none);
        page.add(&item(n, &[("x", s("v"))]), &changes(), &none);
        page.add(&item(n, &[("old", s("v")), ("doc", s("not a map"))]), &changes(), &none);
        page.add(&item(n, &[("old", s(&"v".repeat(250_000)))]), &changes(), &none);
        whole.merge(page);
    }
    let counts = PredictedOutcome::ALL.map(|class| whole.of(class));
    assert_eq!((counts, whole.scanned), ([40, 0, 40, 0, 0, 40, 40, 0], 160));
    assert!(whole.examples.values().all(|keys| keys.len() == 5), "{:?}", whole.examples);
    let rejected = &whole.reasons[&PredictedOutcome::Rejected];
    let [(why, group)] = &rejected.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", whole.reasons) };
    assert_eq!((group.items, group.examples.len()), (40, 5));
    assert!(why.contains("doc"), "{why}");
    assert_eq!(whole.types, BTreeMap::from([("doc.new".parse().unwrap(), BTreeSet::from(["S"]))]));
}

/// Each class has its own limit on reasons. A merge does not mix the reasons of different classes.
#[test]
fn reasons_beyond_the_bound_are_counted_together() {
    let mut all = Prediction::default();
    for n in 0..50 {
        let mut page = Prediction::default();
        for (class, items) in [(PredictedOutcome::Rejected, 2), (PredictedOutcome::NotComputable, 3)] {
            page.add_reason(class, format!("reason {n}"), ItemGroup { items, examples: Vec::new() });
        }
        all.merge(page);
    }
    for (class, others) in [(PredictedOutcome::Rejected, 60), (PredictedOutcome::NotComputable, 90)] {
        assert_eq!(all.reasons[&class].len(), MAX_REASONS + 1);
        assert_eq!(all.reasons[&class][OTHER_REASONS].items, others);
    }
}
