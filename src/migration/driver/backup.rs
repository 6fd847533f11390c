//! Makes the backup that the plan requires before a phase that destroys or overwrites values.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Driver;
use crate::dynamodb::retry::retry_request;
use crate::dynamodb::{BackupStatus, FatalKind, TableError};
use crate::engine::StopReason;
use crate::migration::{DriverError, Notice};
use crate::playbook::{EventBody, Goal, Phase, StepRefusal, TableBackup};

/// The time limit for retries of a request while DynamoDB throttles it, or while somebody else makes a backup.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time between two reads of the backup's status.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The time limit for a backup. DynamoDB usually completes a backup within minutes, regardless of the table's size.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The reason why a backup could not be made.
enum BackupFailure {
    /// A request failed.
    Request(TableError),
    /// Somebody deleted the backup while DynamoDB made it.
    Deleted,
    /// DynamoDB did not complete the backup in time.
    TooSlow,
}

impl Driver {
    /// Makes a backup of the table, waits until the backup is complete, and records its ARN. If this function returns
    /// `None`, the record is durable. If the session is stopped during the wait, returns the stop reason and records
    /// nothing. The next command then makes another backup.
    ///
    /// # Errors
    ///
    /// Fails if the backup cannot be made or recorded. The table and the flag are unchanged.
    pub async fn back_up(&mut self, phase: Phase, goal: Goal) -> Result<Option<StopReason>, DriverError> {
        let name = backup_name(&self.plan.name, phase, (self.clock)());
        let stop = self.stop.clone();
        self.steerer.set_awaited(Some(format!(
            "this process waits until DynamoDB has completed the backup {name}. No item has been changed"
        )));
        let made = tokio::select! {
            biased;
            () = stop.stopping() => None,
            made = self.make_backup(&name) => Some(made),
        };
        self.steerer.set_awaited(None);
        match made {
            None => Ok(stop.reason().cloned()),
            Some(Ok(arn)) => {
                self.record(EventBody::BackedUp { phase, arn: arn.clone() }).await?;
                self.observer.notice(&Notice::BackedUp(&arn));
                Ok(None)
            }
            Some(Err(failure)) => {
                let table = &self.description.written().name;
                let why = format!(
                    "the plan asks for a backup before this step ([safety] backup), and the backup `{name}` of table \
                     {table} {}. Nothing was written to the table",
                    failure.text()
                );
                Err(StepRefusal::without_backup(why, goal).into())
            }
        }
    }

    /// Makes a backup, and returns its ARN once it is complete.
    async fn make_backup(&self, name: &str) -> Result<String, BackupFailure> {
        let sink = &self.tables.sink;
        let random = &self.machine.random;
        let created = retry_request(PATIENCE, random, || sink.create_backup(name)).await;
        let arn = created.map_err(BackupFailure::Request)?;
        self.observer.notice(&Notice::BackupBegun(&arn));
        let began = Instant::now();
        loop {
            let status = retry_request(PATIENCE, random, || sink.backup_status(&arn)).await;
            match status.map_err(BackupFailure::Request)? {
                BackupStatus::Available => return Ok(arn),
                BackupStatus::Deleted => return Err(BackupFailure::Deleted),
                BackupStatus::Creating if began.elapsed() >= LONGEST_WAIT => return Err(BackupFailure::TooSlow),
                BackupStatus::Creating => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }
}

impl BackupFailure {
    /// Returns the predicate and the remedy of a message whose subject is the backup.
    fn text(&self) -> String {
        match self {
            BackupFailure::Request(error @ TableError::Fatal { kind: FatalKind::Permission, .. }) => format!(
                "could not be made: {error}. Grant dynamodb:CreateBackup on the table and dynamodb:DescribeBackup on its \
                 backups, as `iam` prints them, or set `backup = false`"
            ),
            BackupFailure::Request(error @ TableError::Fatal { kind: FatalKind::Unsupported, .. }) => format!(
                "could not be made: {error}. Set `backup = false` for a local engine, for example with \
                 --set safety.backup=false"
            ),
            BackupFailure::Request(error @ TableError::Fatal { kind: FatalKind::Request, .. }) => {
                format!("could not be made: {error}. Fix the cause, or set `backup = false`")
            }
            BackupFailure::Request(error) => format!("could not be made: {error}. {}", error.remedy()),
            BackupFailure::Deleted => "was deleted before it was complete. Run the same command again".to_owned(),
            BackupFailure::TooSlow => {
                "was not complete within an hour. Look at it in the console, and run the same command again".to_owned()
            }
        }
    }
}

/// Returns the name of a backup. It contains only characters that DynamoDB allows.
fn backup_name(migration: &str, phase: Phase, now: Timestamp) -> String {
    format!("backfill-{migration}-before-{}-{}", TableBackup::phase_name(phase), now.strftime("%Y%m%dT%H%M%SZ"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::*;
    use crate::change::GuardedWrite;
    use crate::clock::wall_clock;
    use crate::dynamodb::memory::{FaultPlan, MemoryConnection, MemoryTable};
    use crate::dynamodb::{Describe, GetReply, Sink, TableDescription, Tables, WriteReply};
    use crate::item::ItemKey;
    use crate::migration::{Advance, DriverSetup, OperatorInput};
    use crate::plan::load;
    use crate::ratelimit::resolve;
    use crate::state::in_memory;

    const RUN: Goal = Goal::Run { again: false };

    /// A table that answers requests for a backup with replies that the test specifies.
    struct Table {
        inner: MemoryConnection,
        created: Result<(), TableError>,
        status: BackupStatus,
    }

    #[async_trait]
    impl Describe for Table {
        async fn describe(&self) -> Result<TableDescription, TableError> {
            self.inner.describe().await
        }
    }

    #[async_trait]
    impl Sink for Table {
        async fn write(&self, chunk: &[&GuardedWrite]) -> Vec<Result<WriteReply, TableError>> {
            self.inner.write(chunk).await
        }

        fn max_chunk(&self) -> usize {
            self.inner.max_chunk()
        }

        async fn get(&self, key: &ItemKey) -> Result<GetReply, TableError> {
            self.inner.get(key).await
        }

        async fn create_backup(&self, name: &str) -> Result<String, TableError> {
            self.created.clone()?;
            self.inner.create_backup(name).await
        }

        async fn backup_status(&self, _: &str) -> Result<BackupStatus, TableError> {
            Ok(self.status)
        }
    }

    async fn driver(tables: Tables, more: &str) -> Driver {
        let text = format!(
            "[migration]\nname = \"m\"\nstrategy = \"in-place\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\n\
             to = \"b\"\n{more}"
        );
        let plan = load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
        let description = TableDescription::for_tests();
        let budgets = resolve(&plan.capacity, &description).unwrap().budgets;
        let setup = DriverSetup { plan, tables, description, budgets, described_at: Instant::now() };
        let mut driver = Driver::open(setup, in_memory(), None, wall_clock(), OperatorInput::default()).await.unwrap();
        driver.accept(Vec::new()).await.unwrap();
        driver.confirm();
        driver
    }

    fn memory() -> MemoryTable {
        MemoryTable::new(TableDescription::for_tests(), (Duration::ZERO, Duration::ZERO), FaultPlan::NONE, 1)
    }

    /// Tries to back up a table that gives the specified replies. Returns the text of the refusal, and the number of
    /// recorded events.
    async fn refused(created: Result<(), TableError>, status: BackupStatus) -> (String, usize) {
        let source = Arc::new(memory().connect(1));
        let sink = Arc::new(Table { inner: memory().connect(1), created, status });
        let mut driver = driver(Tables::two(source, sink), "[safety]\nbackup = true\n").await;
        let before = driver.store.events().await.unwrap().len();
        assert_eq!(driver.advance(RUN).await.unwrap(), Advance::Backup(Phase::Expand));
        let refused = driver.back_up(Phase::Expand, RUN).await.unwrap_err().to_string();
        assert!(refused.contains("Nothing was written") && refused.contains("next: `backfill run`"), "{refused}");
        assert_eq!(driver.advance(RUN).await.unwrap(), Advance::Backup(Phase::Expand), "the step stays due");
        (refused, driver.store.events().await.unwrap().len() - before)
    }

    #[tokio::test(start_paused = true)]
    async fn a_backup_is_recorded_when_it_is_complete() {
        let table = memory();
        let tables = Tables::one(Arc::new(table.connect(1)));
        let mut driver = driver(tables, "[safety]\nbackup = true\n").await;
        let began = Instant::now();
        assert_eq!(driver.advance(RUN).await.unwrap(), Advance::Backup(Phase::Expand));
        assert_eq!(driver.back_up(Phase::Expand, RUN).await.unwrap(), None);
        assert!(began.elapsed() >= POLL_INTERVAL, "the first status was CREATING");
        let made = table.backups();
        let recorded: Vec<_> = driver.state().backups.iter().map(|backup| backup.arn.clone()).collect();
        assert_eq!((recorded, made.len()), (made.clone(), 1));
        assert!(made[0].contains("/backup/backfill-m-before-expand-20"), "{made:?}");
        assert_eq!(driver.advance(RUN).await.unwrap(), Advance::Recorded);
        assert_eq!(driver.advance(RUN).await.unwrap(), Advance::RunPass(Phase::Expand));
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_option_no_backup_is_made() {
        for more in ["", "[safety]\nbackup = false\n"] {
            let table = memory();
            let mut driver = driver(Tables::one(Arc::new(table.connect(1))), more).await;
            assert_eq!(driver.advance(RUN).await.unwrap(), Advance::Recorded);
            assert_eq!(table.backups().len(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_backup_that_fails_refuses_the_step() {
        let fatal = |kind| Err(TableError::Fatal { kind, message: "AccessDenied: no".into() });
        let (why, events) = refused(fatal(FatalKind::Permission), BackupStatus::Available).await;
        assert!(why.contains("AccessDenied: no. Grant dynamodb:CreateBackup") && events == 0, "{why}");
        let (why, _) = refused(fatal(FatalKind::Unsupported), BackupStatus::Available).await;
        assert!(why.contains("--set safety.backup=false"), "{why}");
        let (why, _) = refused(fatal(FatalKind::Request), BackupStatus::Available).await;
        assert!(why.contains("Fix the cause"), "{why}");
        let throttled = TableError::Throttled { reasons: Vec::new(), message: "slow".into() };
        let (why, _) = refused(Err(throttled), BackupStatus::Available).await;
        assert!(why.contains("throttled the request: slow"), "{why}");
        let (why, events) = refused(Ok(()), BackupStatus::Deleted).await;
        assert!(why.contains("was deleted before it was complete") && events == 0, "{why}");
        let began = Instant::now();
        let (why, events) = refused(Ok(()), BackupStatus::Creating).await;
        assert!(why.contains("not complete within an hour") && events == 0, "{why}");
        assert!((LONGEST_WAIT..LONGEST_WAIT * 2).contains(&began.elapsed()));
    }

    /// A stop ends the wait immediately, and nothing is recorded.
    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait() {
        let sink = Arc::new(Table { inner: memory().connect(1), created: Ok(()), status: BackupStatus::Creating });
        let tables = Tables::two(Arc::new(memory().connect(1)), sink);
        let mut driver = driver(tables, "[safety]\nbackup = true\n").await;
        let stop = driver.stop.clone();
        let events = driver.store.events().await.unwrap().len();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            stop.stop(StopReason::Interrupted);
        });
        let began = Instant::now();
        let stopped = driver.back_up(Phase::Expand, RUN).await.unwrap();
        assert!(stopped.is_some() && began.elapsed() < Duration::from_secs(61), "{stopped:?}");
        assert_eq!(driver.store.events().await.unwrap().len(), events);
    }
}
