//! What somebody should know of the flag before a run. The findings are pure; [`ask_flag`] asks, read-only.

use std::time::Duration;

use tokio::time::timeout;

use super::facts::Fact;
use super::finding::Finding;
use super::finding::Severity::{Note, Refuses, Warning};
use crate::clock::wall;
use crate::cutover::{check_plan, open};
use crate::plan::Plan;
use crate::playbook::Kind;
use crate::table::TableDescription;

/// Below this an application has less than about three seconds for each request: one slow read of the flag stops it.
const SMALL_CACHE: u32 = 10;

/// How long what is read of the flag may be obeyed, as the flag says; none where there is no flag yet. Asked for
/// `patience` at most.
pub async fn ask_flag(plan: &Plan, table: &TableDescription, patience: Duration) -> Fact<Option<u32>> {
    let asked = async {
        let opened = open(plan, wall(), Some(table)).await.map_err(|error| error.to_string())?;
        let Some(opened) = opened else { return Ok(None) };
        let Some((flag, meta)) = opened.flag.read().await.map_err(|error| error.to_string())? else { return Ok(None) };
        check_plan(&opened.flag.place(), &meta, &plan.fingerprint()).map_err(|error| error.to_string())?;
        Ok::<_, String>(Some(flag.max_cache_seconds))
    };
    match timeout(patience, asked).await {
        Ok(Ok(found)) => Fact::Known(found),
        Ok(Err(error)) => Fact::Failed(error),
        Err(_) => Fact::Failed(format!("no answer within {} s", patience.as_secs())),
    }
}

/// What is to be known of the plan's flag; nothing where it goes by none.
pub fn flag_findings(plan: &Plan, flag: &Fact<Option<u32>>) -> Vec<Finding> {
    if Kind::of(plan.strategy, &plan.changes, plan.cutover.flag.is_some()) != Kind::Flagged {
        return Vec::new();
    }
    let stated = plan.cutover.max_cache_seconds;
    let mut found = Vec::new();
    match flag {
        Fact::Known(Some(made)) if *made != stated => found.push(
            Finding::new(
                Refuses,
                "other-cache",
                format!("The flag was made with max_cache_seconds = {made}, and the plan says {stated}"),
            )
            .because("It is fixed when the flag is made: applications that go by another one obey what nobody waits for")
            .so(format!("Write `max_cache_seconds = {made}` into [cutover]")),
        ),
        Fact::Known(_) => {}
        unknown => found.extend(unknown.unknown().map(|why| {
            Finding::new(Warning, "flag-unread", format!("The flag could not be read: {why}"))
                .because("Whether it has the plan's max_cache_seconds is not known, and no step of a cutover works without it")
                .so("Make the flag's table readable, and check again")
        })),
    }
    let cache = if let Fact::Known(Some(made)) = flag { *made } else { stated };
    if cache < SMALL_CACHE {
        found.push(
            Finding::new(Warning, "small-cache", format!("Applications obey what they read of the flag for {cache} s only"))
                .because(
                    "Each of their requests to the table has a third of that to end in; where the flag cannot be read for so \
                     long they fail reads and writes of the attribute, and a phase sends nothing",
                )
                .so("Choose 30 or more before the flag is made: it is fixed then. Each step of a cutover takes that much longer"),
        );
    }
    found.push(
        Finding::new(Note, "dax", "Readers of the attribute that moves must not be served from a cache of items, such as DAX")
            .because(
                "What backfill writes goes past it, so that it serves items as they were until its time to live ends: readers \
                 would miss values after the flag has moved",
            )
            .so("Let them read past it, or add its time to live to max_cache_seconds before the flag is made"),
    );
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::load;

    fn ids(cache: u32, flag: &Fact<Option<u32>>) -> Vec<&'static str> {
        let text = format!(
            "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n[cutover]\ntable = \"flags\"\n\
             max_cache_seconds = {cache}\n"
        );
        flag_findings(&load("p", &text).unwrap().plan, flag).iter().map(|finding| finding.id).collect()
    }

    #[test]
    fn a_cache_that_is_small_or_another_one_than_the_flags_is_said() {
        assert_eq!(ids(60, &Fact::Known(None)), ["dax"]);
        assert_eq!(ids(60, &Fact::Known(Some(60))), ["dax"]);
        assert_eq!(ids(9, &Fact::Known(None)), ["small-cache", "dax"]);
        assert_eq!(ids(60, &Fact::Known(Some(2))), ["other-cache", "small-cache", "dax"]);
        assert_eq!(ids(2, &Fact::Known(Some(60))), ["other-cache", "dax"]);
        assert_eq!(ids(60, &Fact::Failed("no route".into())), ["flag-unread", "dax"]);
        let none = "[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n";
        assert!(flag_findings(&load("p", none).unwrap().plan, &Fact::Known(None)).is_empty());
    }
}
