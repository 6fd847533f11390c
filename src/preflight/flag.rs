//! Makes the findings about the flag that an operator should know before a run. [`read_flag`] reads the flag. All other
//! code in this module is pure.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::aws::create_table;
use super::facts::FactLookup;
use super::finding::Finding;
use super::finding::Severity::{Note, Refusal, Warning};
use crate::clock::wall_clock;
use crate::cutover::{FlagStoreError, check_flag_plan, open};
use crate::dynamodb::control::ControlError;
use crate::dynamodb::{FatalKind, TableDescription};
use crate::plan::{FlagKey, FlagLocation, Plan};
use crate::playbook::PlanKind;

/// The minimum `max_cache_seconds` without a warning. With a smaller value, an application has less than about three
/// seconds for each request, so a single slow read of the flag stops the application.
const SMALL_CACHE: u32 = 10;

/// The result of one read of the flag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlagReading {
    /// The `max_cache_seconds` in the flag. `None` if the flag does not exist yet.
    pub max_cache_seconds: Option<u32>,
    /// Duration of the read.
    pub read_time: Duration,
    /// Whether the flag's table does not exist.
    pub is_table_missing: bool,
}

/// Reads the flag once, with `patience` as the timeout. Returns the flag's `max_cache_seconds` and the duration of the
/// read.
pub async fn read_flag(plan: &Plan, table: &TableDescription, patience: Duration) -> FactLookup<FlagReading> {
    let reading = async {
        let opened = open(plan, wall_clock(), Some(table)).await?;
        let Some(opened) = opened else { return Ok(FlagReading::default()) };
        let began = Instant::now();
        let read = opened.flag.read().await?;
        let reading = FlagReading { read_time: began.elapsed(), ..FlagReading::default() };
        let Some((flag, meta)) = read else { return Ok(reading) };
        check_flag_plan(&opened.flag.location(), &meta, &plan.fingerprint())?;
        Ok::<_, FlagStoreError>(FlagReading { max_cache_seconds: Some(flag.max_cache_seconds), ..reading })
    };
    match timeout(patience, reading).await {
        Ok(Ok(found)) => FactLookup::Known(found),
        Ok(Err(FlagStoreError::Control(ControlError::Unusable { kind: FatalKind::TableMissing, .. }))) => {
            FactLookup::Known(FlagReading { is_table_missing: true, ..FlagReading::default() })
        }
        Ok(Err(error)) => FactLookup::Failed(error.to_string()),
        Err(_) => FactLookup::Failed(format!("no answer within {} s", patience.as_secs())),
    }
}

/// Returns the findings about the plan's flag. Returns no findings if the plan has no flag. `table` is the description
/// of the plan's table.
pub fn flag_findings(plan: &Plan, table: &TableDescription, flag: &FactLookup<FlagReading>) -> Vec<Finding> {
    if PlanKind::new(plan.strategy, &plan.changes, plan.cutover.flag.is_some()) != PlanKind::Flagged {
        return Vec::new();
    }
    let stated = plan.cutover.max_cache_seconds;
    let mut found = Vec::new();
    match flag {
        FactLookup::Known(FlagReading { max_cache_seconds: Some(stored), .. }) if *stored != stated => found.push(
            Finding::new(
                Refusal,
                "other-cache",
                format!("The flag was created with max_cache_seconds = {stored}, but the plan says {stated}"),
            )
            .with_reason(
                "The value is fixed when the flag is created. If applications use another value, this tool waits for the \
                      wrong time",
            )
            .with_action(format!("Write `max_cache_seconds = {stored}` into [cutover]")),
        ),
        FactLookup::Known(FlagReading { is_table_missing: true, .. }) => found.extend(missing_table(plan, table)),
        FactLookup::Known(_) => {}
        unknown @ (FactLookup::Denied(_) | FactLookup::NotSupported | FactLookup::Failed(_)) => {
            found.extend(unknown.unknown_reason().map(|why| {
                Finding::new(Warning, "flag-unread", format!("The flag could not be read: {why}"))
                    .with_reason(
                        "It is unknown whether its max_cache_seconds matches the plan, and every step of a cutover needs \
                          the flag",
                    )
                    .with_action("Make the flag's table readable and check again")
            }))
        }
    }
    let reading = if let FactLookup::Known(reading) = flag { *reading } else { FlagReading::default() };
    let cache = reading.max_cache_seconds.unwrap_or(stated);
    if reading.read_time >= Duration::from_secs(u64::from(cache)) {
        let read_time = reading.read_time.as_secs_f64();
        found.push(
            Finding::new(
                Warning,
                "slow-flag",
                format!("A read of the flag took {read_time:.1} s, but applications use a cached flag for only {cache} s"),
            )
            .with_reason("A phase sends nothing while its last read of the flag is too old, and it stops if no read arrives in time")
            .with_action("Make the flag's table, or its `get`, answer faster, or choose a larger max_cache_seconds before the \
                 flag is created"),
        );
    }
    if cache < SMALL_CACHE {
        // Once the flag exists, nobody can change the value any more. So the finding only describes its effect.
        let (severity, action) = match reading.max_cache_seconds {
            None => (
                Warning,
                "Choose 30 or more before the flag is created, because the value is fixed then. \
                 Each step waits for this time",
            ),
            Some(_) => (
                Note,
                "The flag exists, so this value stays for the whole migration. Make sure that the flag's table always \
                 answers within that time",
            ),
        };
        found.push(
            Finding::new(severity, "small-cache", format!("Applications use a cached flag for only {cache} s"))
                .with_reason(
                    "Each of their requests to the table must end within a third of that time. If the flag cannot be read \
                     during that time, the applications' reads and writes of the attribute fail, and backfill stops \
                     sending requests",
                )
                .with_action(action),
        );
    }
    found.push(
        Finding::new(Note, "dax", "Readers of the moved attribute must not use an item cache, such as DAX")
            .with_reason(
                "backfill writes to the table directly, so the cache serves old items until its time to live ends. \
                 After the flag has moved, readers would miss values",
            )
            .with_action(
                "Make readers bypass the cache, or add its time to live to max_cache_seconds before the flag is created",
            ),
    );
    found
}

/// The name of the partition key in the command that creates the flag's table. The plan need not name it, because the
/// tool reads it from the table.
const KEY_NAME: &str = "id";

/// Makes the finding that the flag's table does not exist.
fn missing_table(plan: &Plan, table: &TableDescription) -> Option<Finding> {
    let Some(FlagLocation::Table { name, key }) = &plan.cutover.flag else { return None };
    let key = match key {
        FlagKey::Partition(_) => vec![KEY_NAME],
        FlagKey::Attributes(attributes) => attributes.iter().map(|(name, _)| name.as_str()).collect(),
    };
    let finding = Finding::new(Refusal, "flag-table", format!("The flag's table `{name}` does not exist"))
        .with_reason("Applications read the flag from this table, and `cutover --to dual-write` creates the flag in it")
        .with_action(format!(
            "Create the table: {}. If it exists, check `table` in [cutover]: it must be in the account and region of the \
             migrated table",
            create_table(table, plan, name, &key)
        ));
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load;

    fn ids(cache: u32, flag: &FactLookup<FlagReading>) -> Vec<&'static str> {
        let text = format!(
            "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n[cutover]\ntable = \"flags\"\n\
             max_cache_seconds = {cache}\n"
        );
        let table = TableDescription::for_tests();
        flag_findings(&load("p", &text).unwrap().plan, &table, flag).iter().map(|finding| finding.id).collect()
    }

    fn reading(max_cache_seconds: Option<u32>, read_time: u64) -> FactLookup<FlagReading> {
        let read_time = Duration::from_millis(read_time);
        FactLookup::Known(FlagReading { max_cache_seconds, read_time, is_table_missing: false })
    }

    #[test]
    fn a_small_or_different_cache_time_causes_a_finding() {
        assert_eq!(ids(60, &reading(None, 0)), ["dax"]);
        assert_eq!(ids(60, &reading(Some(60), 0)), ["dax"]);
        assert_eq!(ids(9, &reading(None, 0)), ["small-cache", "dax"]);
        assert_eq!(ids(60, &reading(Some(2), 0)), ["other-cache", "small-cache", "dax"]);
        assert_eq!(ids(2, &reading(Some(60), 0)), ["other-cache", "dax"]);
        assert_eq!(ids(60, &FactLookup::Failed("no route".into())), ["flag-unread", "dax"]);
        assert_eq!(ids(20, &reading(Some(20), 19_999)), ["dax"]);
        assert_eq!(ids(20, &reading(Some(20), 20_000)), ["slow-flag", "dax"]);
        assert_eq!(ids(2, &reading(None, 2_500)), ["slow-flag", "small-cache", "dax"]);
        assert_eq!(ids(60, &reading(Some(2), 2_500)), ["other-cache", "slow-flag", "small-cache", "dax"]);
        let severity = |flag: &FlagReading| {
            let text = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n\
                        [cutover]\ntable = \"flags\"\nmax_cache_seconds = 2\n";
            let plan = load("p", text).unwrap().plan;
            let found = flag_findings(&plan, &TableDescription::for_tests(), &FactLookup::Known(*flag));
            found.iter().find(|finding| finding.id == "small-cache").map(|finding| finding.severity)
        };
        let new = FlagReading::default();
        assert_eq!(severity(&new), Some(Warning));
        assert_eq!(severity(&FlagReading { max_cache_seconds: Some(2), ..new }), Some(Note), "the value is fixed");
        let none = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n";
        let table = TableDescription::for_tests();
        assert!(flag_findings(&load("p", none).unwrap().plan, &table, &reading(None, 0)).is_empty());
    }

    /// Without the flag's table, no step of a cutover is possible. The finding prints the command that creates it.
    #[test]
    fn a_missing_table_is_refused_with_the_command_that_creates_it() {
        let missing = FactLookup::Known(FlagReading { is_table_missing: true, ..FlagReading::default() });
        for (key, attributes) in [
            ("", "--attribute-definitions AttributeName=id,AttributeType=S --key-schema AttributeName=id,KeyType=HASH"),
            (
                "key = { pk = \"FLAG\", sk = \"m\" }\n",
                "--attribute-definitions AttributeName=pk,AttributeType=S AttributeName=sk,AttributeType=S --key-schema \
                 AttributeName=pk,KeyType=HASH AttributeName=sk,KeyType=RANGE",
            ),
        ] {
            let text = format!(
                "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\nregion = \"eu-west-1\"\n[[change]]\nmove = \"a\"\n\
                 to = \"b\"\n[cutover]\ntable = \"flags\"\n{key}"
            );
            let plan = load("p", &text).unwrap().plan;
            let found = flag_findings(&plan, &TableDescription::for_tests(), &missing);
            let finding = found.iter().find(|finding| finding.id == "flag-table").unwrap();
            assert!(finding.refuses(&[]) && finding.what.contains("`flags` does not exist"), "{finding:?}");
            let command = format!(
                "aws dynamodb create-table --table-name flags {attributes} --billing-mode PAY_PER_REQUEST --region eu-west-1"
            );
            assert!(finding.action.contains(&command), "{finding:?}");
        }
    }
}
