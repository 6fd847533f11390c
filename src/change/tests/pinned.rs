//! Tests the pinned form of a guarded write against the copying form, on the in-memory table.

use super::*;
use crate::dynamodb::memory::rules::{WriteEffect, effect};

/// Returns the sources that a write copies, with the value that the write contains for each source.
fn sources(write: &GuardedWrite) -> Vec<(&Path, &Value)> {
    let copied = write.actions.iter().filter_map(|action| match action {
        Action::SetFrom { from, value, .. } => Some((from, value)),
        Action::SetValue { .. }
        | Action::Remove { .. }
        | Action::DeleteItem { .. }
        | Action::PutItem { .. }
        | Action::PutDerived { .. } => None,
    });
    copied.collect()
}

#[test]
fn a_pinned_write_sends_the_value_and_pins_its_source() {
    let image = item(json!({"pk": {"S": "1"}, "a": {"S": "v"}}));
    let Decision::Write(write) = decide(&[copy("a", "b")], ExpandContract, Keep, &image) else { panic!() };
    let pinned = write.pinned();
    assert_eq!(pinned.actions, [Action::SetValue { to: path("b"), value: Value::S("v".into()) }]);
    let expected = [
        Condition::ItemExists("pk".into()),
        Condition::Missing(path("b")),
        Condition::Equals(path("a"), Value::S("v".into())),
    ];
    assert_eq!(pinned.conditions, expected);
    assert_eq!(pinned.pinned(), pinned);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// On the image from which it was planned, a pinned write has the same effect as the copying write. On any other
    /// image, the condition of the pinned write fails if a source has changed. If the pinned write is accepted, it has
    /// the same effect as the copying write.
    #[test]
    fn a_pinned_write_has_the_same_effect_or_none(
        plan in any_plan(), image in any_item(), other in any_item(), edits in any_edits(),
        in_place in any::<bool>(), back in any::<bool>(), on_existing in any_on_existing(),
    ) {
        let strategy = if in_place { InPlace } else { ExpandContract };
        let decision = if back {
            Changes::for_old_from_new(&all_with_on_existing(&plan, on_existing), strategy, key(), Vec::new()).decide(&image)
        } else {
            decide(&plan, strategy, on_existing, &image)
        };
        if let Decision::Write(write) = decision {
            let pinned = write.pinned();
            for (from, value) in sources(&write) {
                prop_assert_eq!(from.get(&image), Some(value), "the write contains the value of the image");
            }
            prop_assert_eq!(sources(&pinned), []);
            prop_assert!(matches!(pinned.conditions[0], Condition::ItemExists(_)));
            let on = |write: &GuardedWrite, image: &Item| effect(write, Some(image), &key(), &[]);
            prop_assert!(matches!(on(&write, &image), WriteEffect::Applied(_)));
            prop_assert_eq!(on(&pinned, &image), on(&write, &image));
            let mut edited = image.clone();
            for (name, value) in edits {
                match value {
                    Some(value) => drop(edited.insert(name, value)),
                    None => drop(edited.remove(&name)),
                }
            }
            for raced in [other, edited] {
                let changed = sources(&write).iter().any(|(from, value)| from.get(&raced) != Some(*value));
                let copying = on(&write, &raced);
                let effect = on(&pinned, &raced);
                if changed {
                    prop_assert_eq!(effect, WriteEffect::ConditionFailed, "a source changed");
                } else {
                    prop_assert_eq!(effect, copying);
                }
            }
            prop_assert_eq!(effect(&pinned, None, &key(), &[]), WriteEffect::ConditionFailed);
        }
    }
}
