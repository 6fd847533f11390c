//! Findings about the flag that an operator should know before a run. [`ask_flag`] reads the flag; all other code here
//! is pure.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::facts::Fact;
use super::finding::Finding;
use super::finding::Severity::{Note, Refuses, Warning};
use crate::clock::wall;
use crate::cutover::{check_plan, open};
use crate::dynamodb::TableDescription;
use crate::plan::Plan;
use crate::playbook::Kind;

/// The smallest `max_cache_seconds` without a warning. With a smaller value, an application has less than about three
/// seconds for each request, so the application stops after a single slow read of the flag.
const SMALL_CACHE: u32 = 10;

/// The result of one read of the flag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlagAsked {
    /// The `max_cache_seconds` that the flag stores; `None` if the flag does not exist yet.
    pub max_cache_seconds: Option<u32>,
    /// Duration of the read.
    pub took: Duration,
}

/// Reads the flag once, and gives up after `patience`. Returns the flag's `max_cache_seconds` and the duration of the
/// read.
pub async fn ask_flag(plan: &Plan, table: &TableDescription, patience: Duration) -> Fact<FlagAsked> {
    let asked = async {
        let opened = open(plan, wall(), Some(table)).await.map_err(|error| error.to_string())?;
        let Some(opened) = opened else { return Ok(FlagAsked::default()) };
        let began = Instant::now();
        let read = opened.flag.read().await.map_err(|error| error.to_string())?;
        let took = began.elapsed();
        let Some((flag, meta)) = read else { return Ok(FlagAsked { max_cache_seconds: None, took }) };
        check_plan(&opened.flag.place(), &meta, &plan.fingerprint()).map_err(|error| error.to_string())?;
        Ok::<_, String>(FlagAsked { max_cache_seconds: Some(flag.max_cache_seconds), took })
    };
    match timeout(patience, asked).await {
        Ok(Ok(found)) => Fact::Known(found),
        Ok(Err(error)) => Fact::Failed(error),
        Err(_) => Fact::Failed(format!("no answer within {} s", patience.as_secs())),
    }
}

/// Findings about the plan's flag; empty if the plan has no flag.
pub fn flag_findings(plan: &Plan, flag: &Fact<FlagAsked>) -> Vec<Finding> {
    if Kind::of(plan.strategy, &plan.changes, plan.cutover.flag.is_some()) != Kind::Flagged {
        return Vec::new();
    }
    let stated = plan.cutover.max_cache_seconds;
    let mut found = Vec::new();
    match flag {
        Fact::Known(FlagAsked { max_cache_seconds: Some(made), .. }) if *made != stated => found.push(
            Finding::new(
                Refuses,
                "other-cache",
                format!("The flag was created with max_cache_seconds = {made}, but the plan says {stated}"),
            )
            .because(
                "The value is fixed when the flag is created. If applications use another value, this tool waits for the \
                      wrong time",
            )
            .so(format!("Write `max_cache_seconds = {made}` into [cutover]")),
        ),
        Fact::Known(_) => {}
        unknown @ (Fact::Denied(_) | Fact::NotSupported | Fact::Failed(_)) => {
            found.extend(unknown.unknown().map(|why| {
                Finding::new(Warning, "flag-unread", format!("The flag could not be read: {why}"))
                    .because(
                        "It is unknown whether its max_cache_seconds matches the plan, and every step of a cutover needs \
                          the flag",
                    )
                    .so("Make the flag's table readable and check again")
            }))
        }
    }
    let asked = if let Fact::Known(asked) = flag { *asked } else { FlagAsked::default() };
    let cache = asked.max_cache_seconds.unwrap_or(stated);
    if asked.took >= Duration::from_secs(u64::from(cache)) {
        let took = asked.took.as_secs_f64();
        found.push(
            Finding::new(
                Warning,
                "slow-flag",
                format!("A read of the flag took {took:.1} s, but applications use a value of the flag for only {cache} s"),
            )
            .because("A phase sends nothing while its last read of the flag is too old, and it stops if no read arrives in time")
            .so("Make the flag's table, or its `get`, answer faster, or choose a larger max_cache_seconds before the \
                 flag is created"),
        );
    }
    if cache < SMALL_CACHE {
        found.push(
            Finding::new(Warning, "small-cache", format!("Applications use a value of the flag for only {cache} s"))
                .because(
                    "Each of their requests to the table must end within a third of that. If the flag cannot be read \
                     for that time, their reads and writes of the attribute fail, and this tool sends nothing",
                )
                .so("Choose 30 or more before the flag is created, because the value is fixed then. \
                     Each step of a cutover takes that much longer"),
        );
    }
    found.push(
        Finding::new(Note, "dax", "Readers of the moved attribute must not use an item cache, such as DAX")
            .because(
                "backfill writes to the table directly, so the cache serves old items until its time to live ends. \
                 After the flag has moved, readers would miss values",
            )
            .so(
                "Let readers bypass the cache, or add its time to live to max_cache_seconds before the flag is created",
            ),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load;

    fn ids(cache: u32, flag: &Fact<FlagAsked>) -> Vec<&'static str> {
        let text = format!(
            "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n[cutover]\ntable = \"flags\"\n\
             max_cache_seconds = {cache}\n"
        );
        flag_findings(&load("p", &text).unwrap().plan, flag).iter().map(|finding| finding.id).collect()
    }

    fn asked(max_cache_seconds: Option<u32>, took: u64) -> Fact<FlagAsked> {
        Fact::Known(FlagAsked { max_cache_seconds, took: Duration::from_millis(took) })
    }

    #[test]
    fn a_small_or_different_cache_time_causes_a_finding() {
        assert_eq!(ids(60, &asked(None, 0)), ["dax"]);
        assert_eq!(ids(60, &asked(Some(60), 0)), ["dax"]);
        assert_eq!(ids(9, &asked(None, 0)), ["small-cache", "dax"]);
        assert_eq!(ids(60, &asked(Some(2), 0)), ["other-cache", "small-cache", "dax"]);
        assert_eq!(ids(2, &asked(Some(60), 0)), ["other-cache", "dax"]);
        assert_eq!(ids(60, &Fact::Failed("no route".into())), ["flag-unread", "dax"]);
        assert_eq!(ids(20, &asked(Some(20), 19_999)), ["dax"]);
        assert_eq!(ids(20, &asked(Some(20), 20_000)), ["slow-flag", "dax"]);
        assert_eq!(ids(2, &asked(None, 2_500)), ["slow-flag", "small-cache", "dax"]);
        assert_eq!(ids(60, &asked(Some(2), 2_500)), ["other-cache", "slow-flag", "small-cache", "dax"]);
        let none = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n";
        assert!(flag_findings(&load("p", none).unwrap().plan, &asked(None, 0)).is_empty());
    }
}
