//! Tests the statement of a guarded write against the `UpdateItem`, on the in-memory table.

use super::*;
use crate::dynamodb::memory::rules::{WriteEffect, effect};
use crate::dynamodb::memory::statement::Update;

fn on(write: &GuardedWrite, image: Option<&Item>) -> WriteEffect {
    effect(write, image, &key(), &[])
}

/// Returns the effect of the write's statement. Checks that DynamoDB can read the statement, and that the statement
/// changes the item of the write.
fn by_statement(write: &GuardedWrite, image: Option<&Item>) -> Option<WriteEffect> {
    let rendered = statement(write, "shop")?;
    let update =
        Update::parse(&rendered.text, &rendered.parameters).unwrap_or_else(|why| panic!("{why:?}: {rendered:?}"));
    assert_eq!(update.table, "shop");
    assert_eq!(update.key(&key()), Ok(write.key.clone()));
    Some(update.effect(image, &key(), &[]).unwrap_or_else(|why| panic!("{why:?}: {rendered:?}")))
}

fn write_of(changes: &[Change], strategy: Strategy, image: &Item) -> GuardedWrite {
    let Decision::Write(write) = decide(changes, strategy, Keep, image) else { panic!("{image:?}") };
    write
}

#[test]
fn values_and_guards_are_parameters() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "it's \"x\"?"}, "doc": {"M": {}}}));
    let write = write_of(&[mv("a", "doc.\"e-mail\"")], InPlace, &image);
    let rendered = statement(&write, "shop.v1").unwrap();
    assert_eq!(
        rendered.text,
        "UPDATE \"shop.v1\" SET \"doc\".\"e-mail\" = ? REMOVE \"a\" WHERE \"pk\" = ? \
         AND \"doc\".\"e-mail\" IS MISSING AND attribute_type(\"doc\", 'M') AND \"a\" = ?"
    );
    let text = Value::S("it's \"x\"?".into());
    assert_eq!(rendered.parameters, [&text, &Value::S("1".into()), &text]);
}

/// `contract` compares the old and the new attribute. The statement requires that both still have their value.
#[test]
fn compared_paths_are_pinned_to_their_value() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"N": "1.0"}, "b": {"N": "1"}}));
    let write = write_of(&[mv("a", "b")], InPlace, &image);
    assert_eq!(
        statement(&write, "shop").unwrap().text,
        "UPDATE \"shop\" REMOVE \"a\" WHERE \"pk\" = ? AND \"a\" = ? AND \"b\" = ?"
    );
    assert_eq!(by_statement(&write, Some(&image)), Some(on(&write, Some(&image))));
    let unknown = GuardedWrite { equal_values: Vec::new(), ..write };
    assert_eq!(statement(&unknown, "shop"), None);
}

#[test]
fn what_a_statement_cannot_express_goes_by_update() {
    let image = |name: &str, value: Json| {
        let mut image = item(json!({"pk": {"S": "1"}}));
        image.insert(name.into(), Value::from_json(&value).unwrap());
        image
    };
    let text = |n: usize| json!({"S": "x".repeat(n)});
    let deep = |levels: usize| (0..levels).fold(json!({"S": "x"}), |inner, _| json!({"L": [inner]}));
    let fits = |name: &str, value: Json| {
        let from = Path::attribute(name);
        let copied = Change::Copy { from, to: path("b"), on_existing: Keep };
        statement(&write_of(&[copied], InPlace, &image(name, value)), "shop").is_some()
    };
    for name in ["a", "A_1", "a b", "e-mail.addr#1", "a:b@c/d", "inner"] {
        assert!(fits(name, text(1)), "{name}");
    }
    for name in ["ключ", "é", "a\"b", "a?b", "a'b", "a\\b", "a\nb", "a`b", &"n".repeat(8_200)] {
        assert!(!fits(name, text(1)), "{name:.20}");
    }
    // The value is sent twice: as the new value, and in the condition.
    for (value, is_sent) in [(text(30_000), true), (text(33_000), false), (deep(29), true), (deep(30), false)] {
        assert_eq!(fits("a", value), is_sent);
    }
    let write = write_of(&[set("b", text(1))], InPlace, &image("a", text(1)));
    for table in ["shop", "a.b-c_D1"] {
        assert!(statement(&write, table).is_some(), "{table}");
    }
    for table in ["a\"b", "arn:aws:dynamodb:eu-west-1:1:table/t", "t?"] {
        assert!(statement(&write, table).is_none(), "{table}");
    }
    // A large item that only the condition does not mention.
    let large = write_of(&[set("b", text(1))], InPlace, &image("a", text(70_000)));
    assert_eq!(statement(&large, "shop"), None);
    let without_actions = GuardedWrite { actions: Vec::new(), ..write.clone() };
    assert_eq!(statement(&without_actions, "shop"), None);
    for condition in [Condition::ItemMissing("pk".into()), Condition::ItemExists("other".into())] {
        let write = GuardedWrite { conditions: vec![condition], ..write.clone() };
        assert_eq!(statement(&write, "shop"), None);
    }
}

#[test]
fn whole_items_go_by_update() {
    let image = item(json!({"pk": {"S": "1"}}));
    let write = write_of(&[set("b", json!({"N": "1"}))], InPlace, &image);
    for action in [
        Action::DeleteItem { image: image.clone() },
        Action::PutItem { item: image.clone() },
        Action::PutDerived { table: None, key: write.key.clone(), item: image },
    ] {
        assert_eq!(statement(&GuardedWrite { actions: vec![action], ..write.clone() }, "shop"), None);
    }
}

/// A condition may read a key attribute. The statement selects the item by that attribute, and DynamoDB refuses a second
/// condition on it.
#[test]
fn a_key_attribute_has_one_condition() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let write = write_of(&[copy("pk", "b")], InPlace, &image);
    let rendered = statement(&write, "shop").unwrap();
    assert_eq!(rendered.text.matches("\"pk\"").count(), 1, "{}", rendered.text);
    assert_eq!(by_statement(&write, Some(&image)), Some(on(&write, Some(&image))));
    let other = Condition::Equals(path("pk"), Value::S("2".into()));
    for condition in [other, Condition::Missing(path("pk")), Condition::IsMap(path("pk"))] {
        let conditions = vec![Condition::ItemExists("pk".into()), condition];
        assert_eq!(statement(&GuardedWrite { conditions, ..write.clone() }, "shop"), None);
    }
}

/// The longest statements: DynamoDB can read every statement that is not refused, and a longer one is refused.
#[test]
fn the_limits_of_a_statement_are_exact() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let plain = write_of(&[set("b", json!({"N": "1"}))], InPlace, &image);
    let with = |count: usize, name: &str, of: fn(Path) -> Condition| {
        let exists = Condition::ItemExists("pk".into());
        let more = (0..count).map(|n| of(Path::attribute(format!("{name}{n}"))));
        GuardedWrite { conditions: std::iter::once(exists).chain(more).collect(), ..plain.clone() }
    };
    // The comparison of the key is one operator, and each further condition has two or three.
    let count = |of: fn(Path) -> Condition| {
        let fits = |count: &usize| by_statement(&with(*count, "", of), Some(&image)).is_some();
        (0..200).take_while(fits).count() - 1
    };
    assert_eq!((count(Condition::Missing), count(Condition::IsMap), count(Condition::Exists)), (149, 149, 99));
    let longest =
        (0..200).take_while(|count| by_statement(&with(*count, &"n".repeat(100), Condition::Missing), None).is_some());
    let longest =
        statement(&with(longest.count() - 1, &"n".repeat(100), Condition::Missing), "shop").unwrap().text.len();
    assert!((8192 - 200..=8192).contains(&longest), "{longest}");
}

/// A statement that DynamoDB must refuse changes nothing, whether or not an engine obeys its condition.
#[test]
fn a_refused_statement_is_harmless() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "x"}}));
    let write = write_of(&[set("b", json!({"N": "1"}))], InPlace, &image);
    let value = Value::S("x".into());
    for other in [None, Some(&value)] {
        let refused = refused_statement(&write, "shop", "probe", other).unwrap();
        let update = Update::parse(&refused.text, &refused.parameters).unwrap();
        assert_eq!(update.key(&key()), Ok(write.key.clone()));
        assert_eq!(update.effect(Some(&image), &key(), &[]), Ok(WriteEffect::ConditionFailed));
        let key_only = refused.text.split(" AND ").next().unwrap();
        let update = Update::parse(key_only, &refused.parameters[..1]).unwrap();
        assert_eq!(update.effect(Some(&image), &key(), &[]), Ok(WriteEffect::Applied(Some(image.clone()))));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// A statement has the same effect as the `UpdateItem`, on the image from which it was planned and on every other
    /// image, with one exception: if a value that travels in the statement has changed, the statement's condition fails.
    #[test]
    fn a_statement_has_the_same_effect_or_none(
        plan in any_plan(), image in any_item(), other in any_item(), edits in any_edits(),
        in_place in any::<bool>(), way in 0..3, on_existing in any_on_existing(),
    ) {
        let strategy = if in_place { InPlace } else { ExpandContract };
        let changes = all_with_on_existing(&plan, on_existing);
        let decision = match way {
            0 => decide(&plan, strategy, on_existing, &image),
            1 => Changes::for_old_from_new(&changes, strategy, key(), Vec::new()).decide(&image),
            _ => Changes::for_contract(&changes, strategy, key(), Vec::new()).decide(&image),
        };
        if let Decision::Write(write) = decision {
            prop_assert!(statement(&write, "shop").is_some(), "a statement can express every write of these plans");
            prop_assert_eq!(statement(&write.pinned(), "shop").map(|s| s.parameters.len()),
                statement(&write, "shop").map(|s| s.parameters.len()));
            prop_assert!(matches!(on(&write, Some(&image)), WriteEffect::Applied(_)));
            prop_assert_eq!(by_statement(&write, Some(&image)), Some(on(&write, Some(&image))));
            prop_assert_eq!(by_statement(&write, None), Some(WriteEffect::ConditionFailed));
            let mut edited = image.clone();
            for (name, value) in edits {
                match value {
                    Some(value) => drop(edited.insert(name, value)),
                    None => drop(edited.remove(&name)),
                }
            }
            for raced in [other, edited] {
                let has_changed = |path: &Path| path.get(&raced) != path.get(&image);
                let copied = write.actions.iter().any(|action| matches!(action, Action::SetFrom { from, .. } if has_changed(from)));
                let compared = write.conditions.iter().any(|condition| {
                    matches!(condition, Condition::PathsEqual(one, other) if has_changed(one) || has_changed(other))
                });
                let expected = if copied || compared { WriteEffect::ConditionFailed } else { on(&write, Some(&raced)) };
                prop_assert_eq!(by_statement(&write, Some(&raced)), Some(expected));
            }
        }
    }

    /// The same for writes with any actions and conditions, if a statement can express them.
    #[test]
    fn any_condition_means_the_same(write in any_write(), image in any_item(), other in any_item()) {
        for image in [Some(&image), Some(&other), None] {
            if let Some(by_statement) = by_statement(&write, image) {
                prop_assert_eq!(by_statement, on(&write, image), "{:?}", write);
            }
        }
    }
}

/// Generates writes that set and remove constants, under any conditions. Paths do not overlap.
fn any_write() -> impl Generator<Value = GuardedWrite> {
    let any_path =
        || proptest::sample::select(vec!["a", "b", "a.x", "c.y.z", "d[0]", "d[1].x", "pk", "e"]).prop_map(path);
    let condition = prop_oneof![
        any_path().prop_map(Condition::Exists),
        any_path().prop_map(Condition::Missing),
        any_path().prop_map(Condition::IsMap),
        (any_path(), any_value()).prop_map(|(path, value)| Condition::Equals(path, value)),
        (any_path(), any_path()).prop_map(|(one, other)| Condition::PathsEqual(one, other)),
        Just(Condition::Equals(path("pk"), Value::S("1".into()))),
        Just(Condition::ItemMissing("pk".into())),
    ];
    let targets = proptest::sample::subsequence(vec!["n", "o", "p.q", "r"], 1..=4);
    let parts = (targets, any_value(), any::<bool>(), proptest::collection::vec(condition, 0..4));
    parts.prop_map(|(targets, value, removes, conditions)| {
        let actions = targets.into_iter().enumerate().map(|(n, to)| match removes && n % 2 == 0 {
            true => Action::Remove { path: path(to) },
            false => Action::SetValue { to: path(to), value: value.clone() },
        });
        let exists = Condition::ItemExists("pk".into());
        GuardedWrite {
            actions: actions.collect(),
            conditions: std::iter::once(exists).chain(conditions).collect(),
            ..GuardedWrite::for_test("1")
        }
    })
}
