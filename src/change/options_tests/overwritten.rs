//! Tests the rollback of a target that the migration overwrote, although the baseline does not list it: a writer filled
//! the target after the first pass had read the item.

use super::*;

/// Returns plans that overwrite the target of their copy, each with the value that it overwrites.
fn overwriting() -> [(Plan, Value); 2] {
    let copy = |options: &str| format!("copy = \"a\"\nto = \"b\"\nwhere = 'has(item.kind)'\n{options}");
    let in_place = |changes: &str, more: &str| plan(&format!("strategy = \"in-place\"\n{more}"), "", &[changes]);
    [
        (in_place(&copy(""), "on_existing = \"overwrite\""), Value::S("theirs".to_owned())),
        (in_place(&copy("null_is_missing = true"), ""), Value::Null),
    ]
}

fn rows(write: &GuardedWrite) -> impl Iterator<Item = (PreImageOrigin, PreImage)> {
    write.pre_images.iter().map(|pre| (PreImageOrigin::Run, pre.clone()))
}

fn with(image: &Item, name: &str, value: Value) -> Item {
    let mut image = image.clone();
    image.insert(name.to_owned(), value);
    image
}

fn without(image: &Item, name: &str) -> Item {
    let mut image = image.clone();
    image.remove(name);
    image
}

/// Checks the rollback of an item. `found` is the item before the run overwrote its target with `write`.
fn check_restored(plan: &Plan, found: &Item, write: &GuardedWrite, history: &ItemHistory, event: &str) {
    let after = check(write, found);
    let undo = undo(plan);
    // The item may have left the selection meanwhile, and its old attribute may have changed.
    for now in [after.clone(), without(&after, "kind"), with(&after, "a", Value::S("changed".to_owned()))] {
        let Decision::Write(back) = undo.decide_with(&now, history) else { panic!("{event}: {now:?} stays") };
        let restored = update(&back, Some(&now)).unwrap();
        assert_eq!(restored, with(&now, "b", found["b"].clone()), "{event}");
        assert!(
            !matches!(undo.decide_with(&restored, history), Decision::Write(_)),
            "{event}: a second rollback writes"
        );
        // If a writer changes the target meanwhile, the writer's value stays.
        assert_eq!(update(&back, Some(&with(&now, "b", Value::S("later".to_owned())))), None, "{event}");
    }
    let later = with(&after, "b", Value::S("later".to_owned()));
    assert_eq!(undo.decide_with(&later, history), Decision::Diverged(vec![path("b")]), "{event}");
    // The process died before it sent the write.
    let unsent = undo.decide_with(found, history);
    assert!(matches!(unsent, Decision::AlreadyApplied | Decision::NothingToDo), "{event}: {unsent:?}");
}

/// A writer inserts the item behind the scan position of the first pass. A later pass overwrites the target.
#[test]
fn an_item_inserted_after_the_first_pass_gets_its_value_back() {
    for (plan, theirs) in overwriting() {
        let found = item(json!({"pk": {"S": "1"}, "kind": {"S": "x"}, "a": {"S": "y"}, "b": theirs.to_json()}));
        let write = written(&expand(&plan), &found);
        check_restored(&plan, &found, &write, &ItemHistory::new([], rows(&write)), "inserted");
    }
}

/// A writer fills the target after the baseline was recorded, so the first write is refused and the second overwrites
/// the value. If the process dies before it stores the refusal, the journal has both writes.
#[test]
fn a_value_that_a_race_brought_comes_back() {
    for (plan, theirs) in overwriting() {
        let read = item(json!({"pk": {"S": "1"}, "kind": {"S": "x"}, "a": {"S": "y"}}));
        let refused = written(&expand(&plan), &read);
        let found = with(&read, "b", theirs);
        assert_eq!(update(&refused, Some(&found)), None);
        let write = written(&expand(&plan), &found);
        let preexisting = expand(&plan).baseline(&read).preexisting;
        assert_eq!(preexisting, []);
        check_restored(&plan, &found, &write, &ItemHistory::new([], rows(&write)), "raced");
        let both = ItemHistory::new([], rows(&write).chain(rows(&refused)));
        check_restored(&plan, &found, &write, &both, "raced and killed");
    }
}

/// If the migration created a value and later updated it, no application wrote it, so the rollback removes it.
#[test]
fn a_value_that_the_migration_created_is_removed() {
    let [(plan, _), _] = overwriting();
    let read = item(json!({"pk": {"S": "1"}, "kind": {"S": "x"}, "a": {"S": "y"}}));
    let first = written(&expand(&plan), &read);
    let changed = with(&check(&first, &read), "a", Value::S("z".to_owned()));
    let second = written(&expand(&plan), &changed);
    let after = check(&second, &changed);
    let history = ItemHistory::new([], rows(&second).chain(rows(&first)));
    for now in [after.clone(), without(&after, "kind")] {
        let Decision::Write(back) = undo(&plan).decide_with(&now, &history) else { panic!("{now:?} stays") };
        assert_eq!(update(&back, Some(&now)).unwrap(), without(&now, "b"));
    }
}

/// In a plan with a cutover, a record of an overwritten value proves the write too, even if the stable attribute
/// changed. The target did not exist before the migration, so the rollback removes it.
#[test]
fn a_record_of_an_overwritten_value_proves_the_write() {
    let moved = "move = \"a\"\nto = \"b\"\nwhere = 'has(item.kind) && item.kind == \"x\"'";
    let plan =
        plan("on_existing = \"overwrite\"\non_not_computable = \"fail\"", "[select]\nstable = [\"kind\"]", &[moved]);
    let found = item(json!({"pk": {"S": "1"}, "kind": {"S": "x"}, "a": {"S": "y"}, "b": {"S": "theirs"}}));
    let write = written(&expand(&plan), &found);
    let history = ItemHistory::new([], rows(&write));
    let now = with(&check(&write, &found), "kind", Value::S("z".to_owned()));
    let Decision::Write(back) = undo(&plan).decide_with(&now, &history) else { panic!("{now:?} stays") };
    assert_eq!(update(&back, Some(&now)).unwrap(), without(&now, "b"));
    let later = with(&now, "b", Value::S("later".to_owned()));
    assert_eq!(undo(&plan).decide_with(&later, &history), Decision::Diverged(vec![path("b")]));
    let unrecorded = undo(&plan).decide_with(&now, &ItemHistory::default());
    assert!(!matches!(unrecorded, Decision::Write(_)), "{unrecorded:?}");
}
