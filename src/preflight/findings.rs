//! From facts to findings. Pure: what is asked, and of whom, is in `facts.rs`.

use super::constants::templates;
use super::estimate::{Basis, between};
use super::facts::{Fact, Facts};
use super::finding::Severity::{Note, Refuses, Warning};
use super::finding::{Accept, Finding};
use super::known::Known;
use super::range::Range;
use super::stream::filter;
use super::time_to_live::time_to_live;
use super::touched::{Touched, TouchedIndex};
use crate::change::{Change, Strategy};
use crate::dynamodb::{Recovery, TableClass};
use crate::figure::number;
use crate::item::MAX_ITEM_BYTES;

/// Everything that somebody should know before `run`, the heaviest first.
pub fn findings(known: &Known<'_>) -> Vec<Finding> {
    let touched = Touched::by(known.plan);
    let mut found: Vec<Finding> = [
        recovery(known.facts),
        multi_region(known),
        client_encryption(known),
        status(known),
        stream(known, &touched),
        time_to_live(known, &touched),
        item_size(known, &touched),
        capacity(known),
        auto_scaling(known),
        deletion_protection(known),
        table_class(known),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.extend(templates(known.plan));
    found.extend(indexes(known, &touched));
    found.sort_by_key(|finding| finding.severity);
    found
}

const NEEDS_A_WAY_BACK: &str = "A run rewrites the whole table. Its own record of what it overwrites brings back what the \
                                plan destroys, and not what a wrong plan or a fault of the tool does";

fn recovery(facts: &Facts) -> Option<Finding> {
    let table = &facts.table;
    let switch_on = format!(
        "Switch it on (aws dynamodb update-continuous-backups --table-name {} --point-in-time-recovery-specification \
         PointInTimeRecoveryEnabled=true), or say --accept no-pitr where there is another way back",
        table.name
    );
    let refuses = |what: String, act: String| Finding {
        accept: Some(Accept::NoPitr),
        ..Finding::new(Refuses, "pitr", what).because(NEEDS_A_WAY_BACK).so(act)
    };
    match (&facts.recovery, facts.recovery.unknown()) {
        (Fact::Known(Recovery { enabled: true, earliest, days }), _) => {
            let days = days.map_or_else(String::new, |days| format!(", {days} days back"));
            let since = earliest.as_ref().map_or_else(String::new, |at| format!(", since {at}"));
            let on = Finding::new(Note, "pitr", format!("Point-in-time recovery is on{since}{days}"));
            Some(on.because("It restores into a new table, from up to about five minutes ago"))
        }
        (Fact::Known(_), _) if facts.loopback => {
            let what = "Point-in-time recovery is off in this local engine";
            Some(Finding::new(Warning, "pitr", what).because(NEEDS_A_WAY_BACK).so("Nothing, on a test table"))
        }
        (Fact::Known(_), _) => Some(refuses("Point-in-time recovery is off".to_owned(), switch_on)),
        (Fact::NotSupported, _) if facts.loopback => {
            let what = "Whether there is point-in-time recovery is unknown: this local engine does not know the call";
            Some(Finding::new(Warning, "pitr", what).because(NEEDS_A_WAY_BACK).so("Nothing, on a test table"))
        }
        (unknown @ (Fact::Denied(_) | Fact::NotSupported | Fact::Failed(_)), why) => {
            let why = why.unwrap_or_default();
            let grant = if let Fact::Denied(_) = unknown {
                format!("Grant dynamodb:DescribeContinuousBackups on {}, or: ", table.arn)
            } else {
                String::new()
            };
            let what = format!("Point-in-time recovery counts as off, because it is not known: {why}");
            Some(refuses(what, format!("{grant}{switch_on}")))
        }
    }
}

fn multi_region(known: &Known<'_>) -> Option<Finding> {
    let features = &known.facts.table.features;
    let others = features.replicas.len();
    if others == 0 {
        return None;
    }
    let what = format!("The table is replicated to {}", features.replicas.join(", "));
    let race = if features.strong_across_regions {
        "Its regions agree on each write (strong consistency), so a conflict between regions is an error that is retried"
            .to_owned()
    } else {
        "A condition is checked in this region only, and between regions the last writer wins: a write that the \
         application makes in another region at the same moment can undo one of the run, or be undone by it, and neither \
         is told"
            .to_owned()
    };
    let multiplied = format!(
        "Each write is made, billed, and put into a stream in {} regions: {} WCU in all, {}",
        others + 1,
        between(known.estimate.write_units.times(known.estimate.regions as f64), crate::figure::units),
        between(known.estimate.dollars, crate::figure::dollars)
    );
    let finding = Finding::new(Refuses, "multi-region", what).because(format!("{race}. {multiplied}"));
    let act = "Let the application write in this region only while the run goes on, make another pass with --again \
               afterwards, and say --accept multi-region";
    Some(Finding { accept: Some(Accept::MultiRegion), ..finding.so(act) })
}

fn client_encryption(known: &Known<'_>) -> Option<Finding> {
    let (read, signed) = known.signed;
    if signed == 0 {
        return None;
    }
    let what = format!(
        "{} of the {} items that were read are signed or encrypted on the client (by an encryption SDK), and this plan would \
         change them",
        number(signed),
        number(read)
    );
    let why = "The signature covers other attributes of the item too: an item that is changed without the keys no \
               longer matches it, and readers fail. A run changes no such item: it stops at the first one";
    let act = "Let an application that has the keys make this change, or leave those items out. If the signature \
               covers nothing that the plan changes, give --accept client-encryption";
    let finding = Finding::new(Refuses, "client-encryption", what).because(why).so(act);
    Some(Finding { accept: Some(Accept::ClientEncryption), ..finding })
}

fn status(known: &Known<'_>) -> Option<Finding> {
    let table = &known.facts.table;
    (table.status != "ACTIVE").then(|| {
        Finding::new(Warning, "status", format!("The table is {}", table.status))
            .because("Its capacity or its indexes are being changed: an index that is being filled is written by both")
            .so("Wait until it is ACTIVE, unless the change is known to be harmless")
    })
}

fn stream(known: &Known<'_>, touched: &Touched) -> Option<Finding> {
    let table = &known.facts.table;
    let view = table.features.stream?;
    let records = between(known.estimate.changed, |n| number(n.round() as u64));
    let what =
        format!("The table has a stream, and this run puts {records} records into it: one for each item it changes");
    let why = "Every consumer gets them: Lambda functions, EventBridge pipes, replication of your own. They cost it time \
               and money, and what it does on each change it does for every item. A Kinesis data stream of the table, which \
               is not looked for, gets them too";
    let look = format!(
        "Ask the owners; find them with `aws lambda list-event-source-mappings` for the table's stream, and `aws dynamodb \
         describe-kinesis-streaming-destination --table-name {}`",
        table.name
    );
    let finding = Finding::new(Warning, "stream", what).because(why);
    Some(match filter(touched, &table.key, view, known.types) {
        Ok(made) => {
            let act = format!("{look}. With the filter that is attached a Lambda function ignores them. {}", made.but);
            Finding { attached: Some(made.criteria), ..finding.so(act) }
        }
        Err(why) => finding.so(format!("{look}. There is no event filter for them: {why}")),
    })
}

fn item_size(known: &Known<'_>, touched: &Touched) -> Option<Finding> {
    if touched.written.is_empty() {
        return None;
    }
    let why = "DynamoDB refuses a write that makes an item larger than 400 KB: it would be a failure. While a migration is \
               expanded, an item has both attributes";
    let moves = known.plan.changes.iter().any(|change| matches!(change, Change::Move { .. }));
    let act = if moves && known.plan.strategy == Strategy::ExpandContract {
        "Make those items smaller, or expect them among the failures; a dry run names them. With `strategy = \
         \"in-place\"` an item holds a moved value only once, so it hardly grows"
    } else {
        "Make those items smaller, or expect them among the failures; a dry run names them"
    };
    let finding = |severity, what: String| Some(Finding::new(severity, "item-size", what).because(why).so(act));
    let count = |range: Range| between(range, |n| number(n.round() as u64));
    if let Some(range) = known.estimate.exceeding {
        return match known.estimate.basis {
            _ if range.low > 0.0 => finding(Warning, format!("Items that would grow past 400 KB: {}", count(range))),
            Basis::Sample(..) if range.high > 0.0 => finding(
                Note,
                format!("No item of the sample would grow past 400 KB; of the whole table: {}", count(range)),
            ),
            Basis::Description | Basis::Sample(..) | Basis::Whole => None,
        };
    }
    let table = &known.facts.table;
    let mean = table.size_bytes.checked_div(table.item_count)?;
    let severity = if mean.saturating_mul(2) > MAX_ITEM_BYTES as u64 { Warning } else { Note };
    let what = format!(
        "Items have {} bytes in the mean; how large the largest are, only a dry run or `check --sample` can tell",
        number(mean)
    );
    finding(severity, what)
}

fn capacity(known: &Known<'_>) -> Option<Finding> {
    let table = &known.facts.table;
    let of = |pair: (f64, f64)| format!("{} WCU/s and {} RCU/s", pair.1, pair.0);
    let mode = match table.provisioned {
        Some(pair) => format!("The table is provisioned with {}", of(pair)),
        None => "The table is on demand".to_owned(),
    };
    let ceiling = match table.on_demand_max {
        (None, None) => String::new(),
        (read, write) => {
            let text = |units: Option<f64>| units.map_or_else(|| "no".to_owned(), |units| units.to_string());
            format!("; its own maxima: {} WCU/s and {} RCU/s", text(write), text(read))
        }
    };
    let warm = table.warm.map_or_else(String::new, |pair| format!("; warm for {}", of(pair)));
    Some(
        Finding::new(Note, "capacity", format!("{mode}{ceiling}{warm}"))
            .because("The run shares this with the application")
            .so("Set [capacity] so that both have enough"),
    )
}

fn auto_scaling(known: &Known<'_>) -> Option<Finding> {
    let table = &known.facts.table;
    table.provisioned?;
    let what = "Whether the capacity is scaled automatically is unknown: DynamoDB does not say";
    let why = "Scaling up follows some minutes behind the load, and what the run takes is load: the table grows for it, and \
               the bill; scaling down before the run leaves it throttled";
    let act = format!(
        "Look with `aws application-autoscaling describe-scalable-targets --service-namespace dynamodb --resource-ids \
         table/{}`",
        table.name
    );
    Some(Finding::new(Note, "auto-scaling", what).because(why).so(act))
}

fn deletion_protection(known: &Known<'_>) -> Option<Finding> {
    (known.facts.table.features.deletion_protection == Some(false) && !known.facts.loopback).then(|| {
        Finding::new(Note, "deletion-protection", "The table is not protected against being deleted")
            .because("A migration is a time of scripts and haste")
            .so("Switch deletion protection on while it lasts")
    })
}

fn table_class(known: &Known<'_>) -> Option<Finding> {
    (known.facts.table.features.class == TableClass::InfrequentAccess).then(|| {
        Finding::new(Note, "table-class", "The table's class is Standard-IA")
            .because("Its reads and writes cost about a quarter more; the estimate counts with that")
            .so("For a short migration, nothing: a table's class can be changed twice in 30 days")
    })
}

/// One for each index that the run touches, and one for each that only contract does.
fn indexes(known: &Known<'_>, touched: &Touched) -> Vec<Finding> {
    let table = &known.facts.table;
    let now = touched.indexes(table);
    let later = touched.indexes_later(table);
    let mut found: Vec<Finding> = now.iter().map(|index| index_now(known, index)).collect();
    found.extend(later.iter().filter(|index| index.key).map(index_later));
    found
}

fn index_now(known: &Known<'_>, index: &TouchedIndex<'_>) -> Finding {
    let TouchedIndex { name, local, key, attributes } = index;
    let names = attributes.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let kind = if *local { "local" } else { "global" };
    let range = known.estimate.index_write_units.get(*name);
    let cost = match range {
        _ if *local => "its units are among the table's".to_owned(),
        Some(range) => format!("it takes {} WCU of its own", between(*range, crate::figure::units)),
        None => "it takes no write units of its own".to_owned(),
    };
    let act = if *local {
        "Mind the 10 GB that an item collection with local indexes may have".to_owned()
    } else {
        "Set its budget in [capacity.index]: an index that is short of capacity throttles writes to the table"
            .to_owned()
    };
    if *key {
        let what = format!("{names} is in the key of the {kind} index `{name}`");
        let why = format!(
            "Entries appear, move (two writes each) or vanish while the run goes on, for whoever queries the index; an item \
             whose value is of another type than the index key is refused. {cost}"
        );
        Finding::new(Warning, "index-key", what).because(why).so(act)
    } else {
        let what = if attributes.is_empty() {
            format!("The {kind} index `{name}` holds whole items")
        } else {
            format!("The {kind} index `{name}` holds {names}")
        };
        let why = format!("Each entry of a changed item is written too: {cost}");
        Finding::new(Note, "index-projection", what).because(why).so(act)
    }
}

fn index_later(index: &TouchedIndex<'_>) -> Finding {
    let names = index.attributes.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let what =
        format!("{names} is in the key of the index `{}`, and goes away when the migration contracts", index.name);
    Finding::new(Warning, "index-key-later", what)
        .because("Then every entry of the index vanishes, for whoever queries it")
        .so("Make an index with the new attribute, and move its readers, before contract")
}

#[cfg(test)]
mod tests;
