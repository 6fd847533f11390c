//! Migrations that use only the supported API, on a table in memory.

use std::sync::Arc;

use backfill::ports::dynamodb::{Item, Tables};
use backfill::{Change, DryRunOptions, Fact, Migration, MigrationError, Options, RunOptions, StepOptions, Value};
use outside::{MemoryTable, Watcher, migrate};

const PLAN: &str = r#"
[migration]
name = "rename-email"
strategy = "expand-contract"

[table]
name = "people"
key = ["pk"]

[[change]]
move = "email"
to = "contact.email"

[[change]]
set = "version"
value = { S = "2" }
"#;

fn person(n: usize) -> Item {
    let email = Value::S(format!("person{n}@example.com"));
    Item::from([
        ("pk".to_owned(), Value::S(format!("P#{n:03}"))),
        ("email".to_owned(), email),
        ("contact".to_owned(), Value::M(Default::default())),
    ])
}

fn migration(state: &std::path::Path, table: &Arc<MemoryTable>, watcher: Arc<Watcher>) -> Migration {
    of_plan(PLAN, state, table, watcher)
}

fn of_plan(plan: &str, state: &std::path::Path, table: &Arc<MemoryTable>, watcher: Arc<Watcher>) -> Migration {
    let mut options = Options::default();
    options.state = Some(state.join("state.db"));
    options.observer = watcher;
    let migration = Migration::from_text("embedded", plan, options).unwrap();
    migration.with_tables(Tables::one(Arc::clone(table)))
}

#[tokio::test]
async fn a_migration_runs_on_a_custom_table() {
    let dir = tempfile::tempdir().unwrap();
    let before: Vec<Item> = (0..100).map(person).collect();
    let table = Arc::new(MemoryTable::of(before.clone()));
    let migration = migration(dir.path(), &table, Watcher::new("people"));
    assert!(matches!(migration.plan().changes[0], Change::Move { .. }));

    let dry_run = migration.dry_run(&DryRunOptions::default()).await.unwrap();
    assert_eq!(dry_run.stopped(), None);
    assert_eq!(table.items(), before, "a dry run must write nothing");

    assert!(migrate(&migration).await.unwrap());
    for (old, new) in before.iter().zip(table.items()) {
        let Some(Value::M(contact)) = new.get("contact") else { panic!("{new:?}") };
        assert_eq!((contact.get("email"), new.get("email")), (old.get("email"), old.get("email")));
        assert_eq!(new.get("version"), Some(&Value::S("2".into())));
    }

    // Without a flag, the tool cannot prove that no application uses the new attribute any more. So the operator has to
    // confirm it.
    let mut step = StepOptions::default();
    step.facts = vec![Fact::ReadersBack, Fact::NewWritesStopped];
    let back = migration.rollback(&step).await.unwrap();
    assert!(!back.unfinished());
    assert_eq!(table.items(), before);
}

/// If the observer does not answer yes to the question, the migration writes nothing.
#[tokio::test]
async fn a_question_about_another_table_is_not_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let table = Arc::new(MemoryTable::of([person(1)]));
    let migration = migration(dir.path(), &table, Watcher::new("another table"));
    let refused = migration.run(&RunOptions::default()).await;
    assert!(matches!(refused, Err(MigrationError::NotConfirmed)));
    assert_eq!(table.items(), [person(1)]);
}

#[tokio::test]
async fn a_table_other_than_the_plans_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let table = Arc::new(MemoryTable::of([person(1)]));
    let plan = PLAN.replace("\"people\"", "\"orders\"");
    let migration = of_plan(&plan, dir.path(), &table, Watcher::new("people"));
    let refused = migration.run(&RunOptions::default()).await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("the plan is for table `orders`, but the caller passed table `people`"), "{refused}");
    assert_eq!(table.items(), [person(1)]);
}
