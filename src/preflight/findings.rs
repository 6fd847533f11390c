//! Turns facts into findings. This module is pure. `facts.rs` sends the requests.

use super::alternatives::alternatives;
use super::backup::backup;
use super::constants::template_findings;
use super::conversions::conversion_findings;
use super::deletes::delete_findings;
use super::derived::derived_findings;
use super::estimate::{Basis, format_range};
use super::facts::{FactLookup, TableFacts};
use super::filter::filter;
use super::finding::Severity::{Note, Refusal, Warning};
use super::finding::{Acceptance, Finding};
use super::finding_input::FindingInput;
use super::maps::different_maps;
use super::programs::program_findings;
use super::range::Range;
use super::replaced::no_inverse;
use super::split::split_finding;
use super::stream::stream_filter;
use super::time_to_live::time_to_live;
use super::touched::{TouchedIndex, TouchedPaths};
use super::unseen::unseen_findings;
use super::vector_indexes::vector_indexes;
use crate::change::{Change, Strategy};
use crate::dynamodb::{Recovery, TableClass, TableDescription};
use crate::figure::{count, number};
use crate::item::MAX_ITEM_BYTES;

/// Returns all findings that an operator should know before `run`, most severe first.
pub fn findings(input: &FindingInput<'_>) -> Vec<Finding> {
    let touched = TouchedPaths::from_plan(input.plan);
    // A run that puts derived items into another table writes only to that table.
    let written = FindingInput { facts: input.facts.derived.as_deref().unwrap_or(input.facts), ..*input };
    let named = |finding: Finding| match &input.facts.derived {
        Some(other) => finding.about_table(&other.table.name, "which gets the derived items"),
        None => finding,
    };
    let mut found: Vec<Finding> = [
        recovery(written.facts).map(named),
        multi_region(&written).map(named),
        client_encryption(input),
        status(&written).map(named),
        stream(&written, &touched).map(named),
        time_to_live(&written, &touched).map(named),
        item_size(&written, &touched).map(named),
        capacity(&written).map(named),
        auto_scaling(&written).map(named),
        deletion_protection(&written).map(named),
        table_class(&written).map(named),
        backup(input.facts, input.plan),
        filter(input),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.extend(of_sources(input));
    found.extend(unseen_findings(input.plan, input.read));
    found.extend(template_findings(input.plan));
    found.extend(conversion_findings(input.plan));
    found.extend(delete_findings(input));
    found.extend(derived_findings(input));
    found.extend(alternatives(input));
    found.extend(no_inverse(input.plan));
    found.extend(different_maps(input.plan));
    found.extend(split_finding(input.plan));
    found.extend(program_findings(input.plan));
    found.extend(indexes(&written, &touched).into_iter().map(named));
    found.extend(vector_indexes(&written.facts.table, &touched).into_iter().map(named));
    found.sort_by_key(|finding| finding.severity);
    found
}

/// Returns the findings about the table of the sources, if the derived items go into another table. A run only reads the
/// sources and checks them in transactions.
fn of_sources(input: &FindingInput<'_>) -> Vec<Finding> {
    if input.facts.derived.is_none() {
        return Vec::new();
    }
    let name = &input.facts.table.name;
    let found = [multi_region(input), status(input), capacity(input), auto_scaling(input), table_class(input)];
    found.into_iter().flatten().map(|finding| finding.about_table(name, "which has the sources")).collect()
}

const WHY_RECOVERY_IS_NEEDED: &str = "A run can write every selected item. Its journal can restore the values that the plan destroys, \
                                but not the damage from a wrong plan or from a bug in the tool";

fn recovery(facts: &TableFacts) -> Option<Finding> {
    let table = &facts.table;
    let switch_on = format!(
        "Switch it on (aws dynamodb update-continuous-backups --table-name {} --point-in-time-recovery-specification \
         PointInTimeRecoveryEnabled=true), or use --accept no-pitr if you have another backup",
        table.name
    );
    let refuses = |what: String, action: String| Finding {
        accept: Some(Acceptance::NoPitr),
        ..Finding::new(Refusal, "pitr", what).with_reason(WHY_RECOVERY_IS_NEEDED).with_action(action)
    };
    match (&facts.recovery, facts.recovery.unknown_reason()) {
        (FactLookup::Known(Recovery { enabled: true, earliest, days }), _) => {
            let days = days.map_or_else(String::new, |days| format!(", {} back", count(days.into(), "day", "days")));
            let since = earliest.as_ref().map_or_else(String::new, |at| format!(", since {at}"));
            let on = Finding::new(Note, "pitr", format!("Point-in-time recovery is on{since}{days}"));
            Some(on.with_reason("It can restore the table's state, up to about five minutes ago, into a new table"))
        }
        (FactLookup::Known(_), _) if facts.loopback => {
            let what = "Point-in-time recovery is off in this local engine";
            Some(
                Finding::new(Warning, "pitr", what)
                    .with_reason(WHY_RECOVERY_IS_NEEDED)
                    .with_action("Nothing, on a test table"),
            )
        }
        (FactLookup::Known(_), _) => Some(refuses("Point-in-time recovery is off".to_owned(), switch_on)),
        (FactLookup::NotSupported, _) if facts.loopback => {
            let what =
                "It is unknown whether point-in-time recovery is on: this local engine does not support the call";
            Some(
                Finding::new(Warning, "pitr", what)
                    .with_reason(WHY_RECOVERY_IS_NEEDED)
                    .with_action("Nothing, on a test table"),
            )
        }
        (unknown @ (FactLookup::Denied(_) | FactLookup::NotSupported | FactLookup::Failed(_)), why) => {
            let why = why.unwrap_or_default();
            let grant = if let FactLookup::Denied(_) = unknown {
                format!("Grant dynamodb:DescribeContinuousBackups on {}, or: ", table.arn)
            } else {
                String::new()
            };
            let what = format!("Point-in-time recovery counts as off, because its status is unknown: {why}");
            Some(refuses(what, format!("{grant}{switch_on}")))
        }
    }
}

fn multi_region(input: &FindingInput<'_>) -> Option<Finding> {
    let features = &input.facts.table.written().features;
    if features.strong_across_regions && input.plan.puts_items() {
        // Such a table supports no transactions (developer guide, "How DynamoDB global tables work").
        let what =
            "The table has multi-region strong consistency, and DynamoDB accepts no transactions on such a table";
        let finding = Finding::new(Refusal, "multi-region", what.to_owned());
        let why = "This plan puts each derived item in a transaction, so DynamoDB would reject every write";
        return Some(finding.with_reason(why).with_action("Let the application put the derived items"));
    }
    let others = features.replicas.len();
    if others == 0 {
        return None;
    }
    let what = format!("The table is replicated to {}", features.replicas.join(", "));
    let race = if features.strong_across_regions {
        "Its regions agree on each write (strong consistency), so a conflict between regions is an error that is retried"
            .to_owned()
    } else {
        "A condition is checked only in this region, and between regions the last writer wins. If the application writes an \
         item in another region at the same moment, one of the two writes is lost without notice"
            .to_owned()
    };
    let estimate = input.estimate;
    let written = estimate.elsewhere.as_ref().map_or(estimate.write_units, |elsewhere| elsewhere.write_units);
    let multiplied = format!(
        "Each write is executed, billed and streamed in {} regions: {} WCU in total, {}",
        others + 1,
        format_range(written.times(estimate.regions as f64), crate::figure::units),
        format_range(estimate.dollars, crate::figure::dollars)
    );
    // A transaction only checks an item in the table of the sources, so nothing is written in another region.
    let is_only_checked = input.facts.derived.is_some();
    let why = if is_only_checked { race } else { format!("{race}. {multiplied}") };
    let finding = Finding::new(Refusal, "multi-region", what).with_reason(why);
    let action = if input.plan.puts_items() {
        "Make the application write only in this region during the run. A transaction is atomic only in its own region, so \
         another region can change an item just before its derived item arrives. Then use --accept multi-region"
    } else if input.plan.deletes_items() {
        "Make the application write only in this region during the run. Otherwise, an item that another region writes at \
         the same moment can come back, or its new values can be lost. Then use --accept multi-region"
    } else {
        "Make the application write only in this region during the run, run another pass with --again afterwards, and use \
         --accept multi-region"
    };
    Some(Finding { accept: Some(Acceptance::MultiRegion), ..finding.with_action(action) })
}

fn client_encryption(input: &FindingInput<'_>) -> Option<Finding> {
    let (read, signed) = input.signed;
    if signed == 0 {
        return None;
    }
    let what = format!(
        "{} of {} that were read {} signed or encrypted on the client (by an encryption SDK), and this plan would \
         change {}",
        number(signed),
        count(read, "item", "items"),
        if signed == 1 { "is" } else { "are" },
        if signed == 1 { "it" } else { "them" },
    );
    let why = "The signature also covers other attributes of the item. After a change without the encryption keys, it no \
               longer matches, and readers fail. A run never changes such an item; it stops at the first one";
    let action = "Make this change with an application that has the keys, or leave those items out. If the signature does not \
               cover anything that the plan changes, use --accept client-encryption";
    let finding = Finding::new(Refusal, "client-encryption", what).with_reason(why).with_action(action);
    Some(Finding { accept: Some(Acceptance::ClientEncryption), ..finding })
}

fn status(input: &FindingInput<'_>) -> Option<Finding> {
    let table = &input.facts.table;
    (table.status != "ACTIVE").then(|| {
        Finding::new(Warning, "status", format!("The table is {}", table.status))
            .with_reason(
                "Its capacity or indexes are being changed. While DynamoDB fills an index, \
                 both DynamoDB and the run write to it",
            )
            .with_action("Wait until it is ACTIVE, unless the change is known to be harmless")
    })
}

fn stream(input: &FindingInput<'_>, touched: &TouchedPaths) -> Option<Finding> {
    let table = &input.facts.table;
    let view = table.written().features.stream?;
    let records = format_range(input.estimate.changed, |n| number(n.round() as u64));
    let what =
        format!("The table has a stream, and this run adds one record to it for each item that it changes: {records}");
    let why = "Every consumer receives them: Lambda functions, EventBridge pipes, your own replication. They cost the consumer \
               time and money, and it repeats its work for every item. A Kinesis data stream of the table also receives them; \
               `check` does not look for one";
    let look = format!(
        "Ask the owners of the consumers. Find them with `aws lambda list-event-source-mappings` for the table's \
         stream, and `aws dynamodb describe-kinesis-streaming-destination --table-name {}`",
        table.name
    );
    let finding = Finding::new(Warning, "stream", what).with_reason(why);
    Some(match stream_filter(touched, &table.key, view, input.types) {
        Ok(made) => {
            let action = format!("{look}. With the attached filter, a Lambda function ignores them. {}", made.caveat);
            Finding { attached: Some(made.criteria), ..finding.with_action(action) }
        }
        Err(why) => finding.with_action(format!("{look}. There is no event filter for them: {why}")),
    })
}

fn item_size(input: &FindingInput<'_>, touched: &TouchedPaths) -> Option<Finding> {
    if touched.written.is_empty() {
        return None;
    }
    let keeps_old =
        input.plan.strategy == Strategy::ExpandContract && !input.plan.changes.iter().all(Change::only_writes_values);
    let why = if keeps_old {
        "DynamoDB rejects a write that makes an item larger than 400 KB, so the item becomes a failure. Between expand and \
         contract, an item has both attributes"
    } else {
        "DynamoDB rejects a write that makes an item larger than 400 KB, so the item becomes a failure"
    };
    let moves = input.plan.changes.iter().any(|change| matches!(change, Change::Move { .. }));
    let action = if moves && input.plan.strategy == Strategy::ExpandContract {
        "Make those items smaller, or expect them among the failures; a dry run names them. With `strategy = \
         \"in-place\"` an item has a moved value only once, so it hardly grows"
    } else {
        "Make those items smaller, or expect them among the failures; a dry run names them"
    };
    let finding =
        |severity, what: String| Some(Finding::new(severity, "item-size", what).with_reason(why).with_action(action));
    let count = |range: Range| format_range(range, |n| number(n.round() as u64));
    if let Some(range) = input.estimate.exceeding {
        return match input.estimate.basis {
            _ if range.low > 0.0 => finding(Warning, format!("Items that would grow past 400 KB: {}", count(range))),
            Basis::Sample(..) if range.high > 0.0 => finding(
                Note,
                format!("No item in the sample would grow past 400 KB; estimate for the whole table: {}", count(range)),
            ),
            Basis::Description | Basis::Keys | Basis::Index | Basis::Sample(..) | Basis::Whole => None,
        };
    }
    let table = &input.facts.table;
    let mean = table.size_bytes.checked_div(table.item_count)?;
    let severity = if mean.saturating_mul(2) > MAX_ITEM_BYTES as u64 { Warning } else { Note };
    let what = format!(
        "Items have {} bytes on average. Only a dry run or `check --sample` can find the largest ones",
        number(mean)
    );
    finding(severity, what)
}

fn capacity(input: &FindingInput<'_>) -> Option<Finding> {
    let table = &input.facts.table;
    let what = match &table.sink {
        None => capacity_of("The table", table),
        Some(sink) => format!("{}. {}", capacity_of("The source table", table), capacity_of("The sink table", sink)),
    };
    Some(
        Finding::new(Note, "capacity", what)
            .with_reason("The run shares this capacity with the application")
            .with_action("Set [capacity] so that both have enough"),
    )
}

fn capacity_of(who: &str, table: &TableDescription) -> String {
    let of = |pair: (f64, f64)| format!("{} WCU/s and {} RCU/s", pair.1, pair.0);
    let mode = match table.provisioned {
        Some(pair) => format!("{who} is provisioned with {}", of(pair)),
        None => format!("{who} is on demand"),
    };
    let ceiling = match table.on_demand_max {
        (None, None) => String::new(),
        (read, write) => {
            let text = |units: Option<f64>| units.map_or_else(|| "no".to_owned(), |units| units.to_string());
            format!("; its own maxima: {} WCU/s and {} RCU/s", text(write), text(read))
        }
    };
    let warm = table.warm.map_or_else(String::new, |pair| format!("; warm for {}", of(pair)));
    format!("{mode}{ceiling}{warm}")
}

fn auto_scaling(input: &FindingInput<'_>) -> Option<Finding> {
    let source = &input.facts.table;
    let table = [source.written(), source].into_iter().find(|table| table.provisioned.is_some())?;
    let what = "It is unknown whether auto scaling is on, because DynamoDB does not report it";
    let why = "Auto scaling raises capacity a few minutes after the load rises. The run is load too, so the table and the bill \
               grow. If capacity is lowered before the run, the run is throttled";
    let action = format!(
        "Check with `aws application-autoscaling describe-scalable-targets --service-namespace dynamodb --resource-ids \
         table/{}`",
        table.name
    );
    Some(Finding::new(Note, "auto-scaling", what).with_reason(why).with_action(action))
}

fn deletion_protection(input: &FindingInput<'_>) -> Option<Finding> {
    (input.facts.table.written().features.deletion_protection == Some(false) && !input.facts.loopback).then(|| {
        Finding::new(Note, "deletion-protection", "The table is not protected against being deleted")
            .with_reason("During a migration, people run scripts in a hurry, so mistakes are more likely")
            .with_action("Turn on deletion protection for the duration of the migration")
    })
}

fn table_class(input: &FindingInput<'_>) -> Option<Finding> {
    (input.facts.table.written().features.class == TableClass::InfrequentAccess).then(|| {
        Finding::new(Note, "table-class", "The table's class is Standard-IA")
            .with_reason("Its reads and writes cost about a quarter more; the estimate includes that")
            .with_action("For a short migration, change nothing. The class can be changed twice in 30 days")
    })
}

/// Returns one finding for each index that `run` touches, and one finding for each index with a key attribute that
/// `contract` touches later.
fn indexes(input: &FindingInput<'_>, touched: &TouchedPaths) -> Vec<Finding> {
    let table = &input.facts.table;
    let now = touched.indexes(table);
    let later = touched.indexes_later(table);
    let mut found: Vec<Finding> = now.iter().map(|index| index_finding(input, index)).collect();
    found.extend(later.iter().filter(|index| index.key).map(later_index_finding));
    found
}

fn index_finding(input: &FindingInput<'_>, index: &TouchedIndex<'_>) -> Finding {
    let TouchedIndex { name, local, key, attributes } = index;
    let names = attributes.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let kind = if *local { "local" } else { "global" };
    let of_other = input.plan.other_table().map(|table| format!("{table}/{name}"));
    let range = input.estimate.index_write_units.get(of_other.as_deref().unwrap_or(name));
    let cost = match range {
        _ if *local => "the table's units include it".to_owned(),
        Some(range) => format!("the index needs {} additional WCU", format_range(*range, crate::figure::units)),
        None => "the index needs no additional write units".to_owned(),
    };
    let action = if *local {
        "Mind the limit of 10 GB for an item collection with local indexes".to_owned()
    } else if input.plan.other_table().is_some() {
        "An index that is short of capacity throttles writes to the table. Its budget follows its own capacity"
            .to_owned()
    } else {
        "Set its budget in [capacity.index]: an index with too little capacity throttles writes to the table".to_owned()
    };
    if input.plan.puts_items() {
        let what =
            format!("A derived item appears in the {kind} index `{name}` if it has the key attributes of the index");
        let why = format!("Each entry that appears costs a write: {cost}");
        return Finding::new(Note, "index-projection", what).with_reason(why).with_action(action);
    }
    if input.plan.deletes_items() {
        let what = format!("Each deleted item disappears from the {kind} index `{name}`");
        let why = format!("Each entry that disappears costs a write: {cost}");
        return Finding::new(Note, "index-projection", what).with_reason(why).with_action(action);
    }
    if *key {
        let what = format!("{names} is in the key of the {kind} index `{name}`");
        let why = format!(
            "During the run, entries appear, move (two writes each) or vanish for every reader of the index. An item whose value \
             has a different type than the index key is rejected; {cost}"
        );
        Finding::new(Warning, "index-key", what).with_reason(why).with_action(action)
    } else {
        let what = if attributes.is_empty() {
            format!("The {kind} index `{name}` contains whole items")
        } else {
            format!("The {kind} index `{name}` contains {names}")
        };
        let why = format!("Each write of a changed item also writes its index entry: {cost}");
        Finding::new(Note, "index-projection", what).with_reason(why).with_action(action)
    }
}

fn later_index_finding(index: &TouchedIndex<'_>) -> Finding {
    let names = index.attributes.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let what = format!("{names} is in the key of the index `{}`, and `contract` removes it", index.name);
    Finding::new(Warning, "index-key-later", what)
        .with_reason("Every entry then disappears from the index")
        .with_action("Before `contract`, create an index with the new attribute and move the readers to it")
}

#[cfg(test)]
mod tests;
