//! Properties over random expressions and items of every type.

use proptest::prelude::*;

use super::generate::{NAMES, Random, Sources, item, value};
use super::{facts, naive};
use crate::expr::run::Res;
use crate::expr::{Expected, Expr, KnownTypes};
use crate::item::{Item, PathStep, Value};

/// The number of random expressions for each property. `PROPTEST_CASES` can raise it.
fn cases() -> ProptestConfig {
    at_least(1_000)
}

fn at_least(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(cases), ..config }
}

/// Generates an expression and its type.
fn source(random: &mut Random) -> (String, Expected) {
    let careless = [0, 0, 5, 40][random.below(4)];
    let depth = 1 + random.below(4);
    let is_condition = random.below(2) == 0;
    let mut sources = Sources::new(random, careless);
    if is_condition { (sources.condition(depth), Expected::Bool) } else { (sources.any(depth), Expected::Value) }
}

/// Generates an expression. Returns `None` if it does not compile, because a part of it is always wrong.
fn expression(random: &mut Random) -> Option<Expr> {
    let (source, expected) = source(random);
    Expr::compile(&source, expected).ok()
}

/// Generates a condition without faults, and an expression for the items for which the condition is true.
fn value_where(random: &mut Random) -> Option<(Expr, Expr)> {
    let careless = [0, 5, 40][random.below(3)];
    let depth = 1 + random.below(3);
    let (condition, value) = Sources::new(random, careless).value_where(depth);
    let condition = Expr::compile(&condition, Expected::Bool).ok()?;
    let value = Expr::compile(&value, Expected::Value).ok()?;
    condition.faults(&KnownTypes::default()).is_empty().then_some((condition, value))
}

fn same(a: &Value, b: &Value) -> bool {
    a.type_name() == b.type_name() && a == b
}

fn has_result_or_limit(result: &Res<Value>) -> bool {
    result.as_ref().map_or_else(|fail| fail.limit, |_| true)
}

/// Whether the expression reads the value at `steps`, a part of this value, or a value that contains it.
fn is_read(expr: &Expr, steps: &[PathStep]) -> bool {
    expr.inputs().iter().any(|input| input.steps().iter().zip(steps).all(|(a, b)| a == b))
}

/// Replaces the parts of an item that an expression does not read. The new values come from another item.
fn with_other_unread(expr: &Expr, of: &Item, other: &Item) -> Item {
    let mut changed = Item::new();
    for name in NAMES {
        let step = PathStep::Name(name.to_owned());
        let unread = !is_read(expr, std::slice::from_ref(&step));
        let inside = |key: &str| is_read(expr, &[step.clone(), PathStep::Name(key.to_owned())]);
        match (of.get(name), other.get(name)) {
            (_, theirs) if unread => {
                changed.extend(theirs.map(|value| (name.to_owned(), value.clone())));
            }
            (Some(Value::M(ours)), Some(Value::M(theirs))) => {
                let kept = ours.iter().filter(|(key, _)| inside(key));
                let new = theirs.iter().filter(|(key, _)| !inside(key));
                let map = kept.chain(new).map(|(key, value)| (key.clone(), value.clone())).collect();
                changed.insert(name.to_owned(), Value::M(map));
            }
            (Some(ours), _) => {
                changed.insert(name.to_owned(), ours.clone());
            }
            (None, _) => {}
        }
    }
    changed
}

proptest! {
    #![proptest_config(at_least(10_000))]

    #[test]
    fn both_evaluators_agree(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        if let Some(expr) = expression(random) {
            for _ in 0..4 {
                let item = item(random);
                let ours = expr.evaluate(&item, &facts());
                let naive = naive::evaluate(expr.source(), expr.0.expected, &item);
                let agree = match (&ours, &naive) {
                    (Ok(ours), Ok(naive)) => same(ours, naive),
                    (ours, naive) => ours.is_err() && naive.is_err(),
                };
                prop_assert!(agree, "{}\n{item:?}\nours {ours:?}\nnaive {naive:?}", expr.source());
            }
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    /// The most important property: what the analysis accepts always has a result.
    #[test]
    fn without_faults_there_is_always_a_result(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        if let Some(expr) = expression(random)
            && expr.faults(&KnownTypes::default()).is_empty()
        {
            for _ in 0..12 {
                let item = item(random);
                let result = expr.value(&item, &facts());
                prop_assert!(has_result_or_limit(&result), "{}\n{item:?}\n{result:?}", expr.source());
            }
        }
    }

    #[test]
    fn known_attributes_need_no_guard(seed in any::<u64>(), kind in 0..3_usize) {
        let random = &mut Random::new(seed);
        let (name, key) = [("S", Value::S("ab".into())), ("N", Value::N("7".parse().unwrap())), ("B", Value::B(vec![1]))][kind].clone();
        let known = KnownTypes::default().with("a", Some(name));
        if let Some(expr) = expression(random) {
            if expr.faults(&known).is_empty() {
                for _ in 0..8 {
                    let mut item = item(random);
                    item.insert("a".to_owned(), key.clone());
                    let result = expr.value(&item, &facts());
                    prop_assert!(has_result_or_limit(&result), "{}\n{item:?}\n{result:?}", expr.source());
                }
            }
            // If an expression has no faults when nothing is known, it also has no faults when the key is known.
            let later = expr.faults(&KnownTypes::default().with("a", None));
            let none = expr.faults(&KnownTypes::default());
            prop_assert!(later.len() <= none.len() || !none.is_empty(), "{}", expr.source());
        }
    }

    /// A plan evaluates the `as` of a change only for items for which its `where` is true. So a `where` without faults
    /// guards the `as`.
    #[test]
    fn a_true_condition_is_a_guard(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        if let Some((condition, value)) = value_where(random)
            && value.faults_where(&KnownTypes::default(), &[&condition]).is_empty()
        {
            for _ in 0..24 {
                let item = item(random);
                if condition.test(&item, &facts()) == Ok(true) {
                    let result = value.value(&item, &facts());
                    let (condition, value) = (condition.source(), value.source());
                    prop_assert!(has_result_or_limit(&result), "{condition}\n{value}\n{item:?}\n{result:?}");
                }
            }
        }
    }

    #[test]
    fn the_inputs_are_all_that_is_read(seed in any::<u64>()) {
        let random = &mut Random::new(seed);
        if let Some(expr) = expression(random) {
            let (one, other) = (item(random), item(random));
            let changed = with_other_unread(&expr, &one, &other);
            prop_assert_eq!(
                expr.evaluate(&one, &facts()),
                expr.evaluate(&changed, &facts()),
                "{}\n{:?}\n{:?}\ninputs {:?}", expr.source(), one, changed, expr.inputs()
            );
        }
    }

    #[test]
    fn no_input_is_inside_another(seed in any::<u64>()) {
        if let Some(expr) = expression(&mut Random::new(seed)) {
            let inputs = expr.inputs();
            for (at, one) in inputs.iter().enumerate() {
                prop_assert!(inputs[at + 1..].iter().all(|other| !one.overlaps(other)), "{:?}", inputs);
            }
        }
    }

    /// Errors and faults point into the source, at whole characters.
    #[test]
    fn spans_are_inside_the_source(seed in any::<u64>()) {
        let (source, expected) = source(&mut Random::new(seed));
        let found = match Expr::compile(&source, expected) {
            Ok(expr) => expr.faults(&KnownTypes::default()),
            Err(errors) => errors,
        };
        for error in found {
            prop_assert!(source.get(error.span.clone()).is_some_and(|part| !part.is_empty()), "{source}: {error:?}");
        }
    }

    #[test]
    fn any_text_compiles_or_is_refused(text in "\\PC{0,60}") {
        if let Err(errors) = Expr::compile(&text, Expected::Value) {
            prop_assert!(!errors.is_empty());
            prop_assert!(errors.iter().all(|error| text.get(error.span.clone()).is_some()), "{text:?} {errors:?}");
        }
    }

    #[test]
    fn any_sequence_of_tokens_compiles_or_is_refused(tokens in proptest::collection::vec(prop_oneof![
        "[a-z]{1,3}", "[0-9]{1,25}", Just("item".to_owned()), Just("item.a".to_owned()), Just("\"ä\"".to_owned()),
        Just("'".to_owned()), Just("\"\"\"".to_owned()), Just("`".to_owned()), Just("1.5e400".to_owned()), Just("has(".to_owned()),
        "[-+*/%!?:.,()\\[\\]{}<>=&|]{1,2}",
    ], 0..14), space in "[ \n]{0,1}") {
        let text = tokens.join(&space);
        if let Err(errors) = Expr::compile(&text, Expected::Bool) {
            prop_assert!(!errors.is_empty());
            prop_assert!(errors.iter().all(|error| text.get(error.span.clone()).is_some()), "{text:?} {errors:?}");
        }
    }
}

/// The random expressions are varied enough: many of them compile, many have no fault although they read attributes,
/// and results of every kind occur.
#[test]
fn the_random_expressions_are_worth_testing() {
    let (mut compiled, mut clean, mut results, mut failures) = (0, 0, 0, 0);
    for seed in 0..2_000 {
        let random = &mut Random::new(seed);
        let Some(expr) = expression(random) else { continue };
        compiled += 1;
        clean += u32::from(expr.faults(&KnownTypes::default()).is_empty() && !expr.inputs().is_empty());
        match expr.evaluate(&item(random), &facts()) {
            Ok(_) => results += 1,
            Err(_) => failures += 1,
        }
    }
    assert!(compiled > 1_200, "{compiled} of 2,000 compile");
    assert!(clean > 300, "{clean} of {compiled} read attributes and have no fault");
    assert!(results > 600 && failures > 100, "{results} results, {failures} failures");
    let kinds: std::collections::BTreeSet<&str> =
        (0..200).map(|seed| value(&mut Random::new(seed), 2).type_name()).collect();
    assert_eq!(kinds.len(), 10);
}

/// The property about guards says something: many conditions guard a value that would have faults without them, and are
/// true for many items.
#[test]
fn the_random_guards_are_worth_testing() {
    let (mut guarded, mut evaluated) = (0, 0);
    for seed in 0..4_000 {
        let random = &mut Random::new(seed);
        let Some((condition, value)) = value_where(random) else { continue };
        let none = KnownTypes::default();
        if value.faults(&none).is_empty() || !value.faults_where(&none, &[&condition]).is_empty() {
            continue;
        }
        guarded += 1;
        let is_selected = |item: &Item| condition.test(item, &facts()) == Ok(true);
        evaluated += (0..24).filter(|_| is_selected(&item(random))).count();
    }
    assert!(guarded > 200, "{guarded} conditions guard a value");
    assert!(evaluated > 200, "{evaluated} evaluations");
}
