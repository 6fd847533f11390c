use super::super::finding::{Severity, refusal};
use std::collections::BTreeMap;

use super::super::estimate::Estimate;
use super::super::estimate_input::{EstimateInput, ItemReads};
use super::*;
use crate::cost::UnitPrices;
use crate::dynamodb::{IndexDescription, StreamView, TableDescription};
use crate::item::{ExpiryCounts, IndexSchema, KeyAttribute, Path, Projection};
use crate::plan::{Plan, load};
use crate::ratelimit::resolve;

/// Returns a remote table with a thousand items, deletion protection and point-in-time recovery. All findings about
/// this table are notes.
fn quiet_facts() -> TableFacts {
    let mut table = TableDescription {
        arn: "arn:aws:dynamodb:eu-west-1:123456789012:table/t".into(),
        item_count: 1_000,
        size_bytes: 1_024_000,
        ..TableDescription::for_tests()
    };
    table.features.deletion_protection = Some(true);
    let recovery = Recovery { enabled: true, earliest: Some("2026-11-01T00:00:00Z".into()), days: Some(35) };
    let (recovery, time_to_live) = (FactLookup::Known(recovery), FactLookup::Known(None));
    TableFacts { table, loopback: false, recovery, time_to_live, derived: None }
}

fn plan(migration: &str, changes: &str) -> Plan {
    let text = format!("[migration]\nname = \"m\"\n{migration}\n[table]\nname = \"ttt\"\n{changes}");
    load("p", &text).unwrap_or_else(|errors| panic!("{}", errors.render(false))).plan
}

fn rename() -> Plan {
    plan("", "[[change]]\nmove = \"old\"\nto = \"new\"\n")
}

fn estimate(facts: &TableFacts, plan: &Plan) -> Estimate {
    let budgets = resolve(&plan.capacity, &facts.table).unwrap().budgets;
    let input = EstimateInput {
        table: &facts.table,
        budgets: &budgets,
        prices: UnitPrices::for_table(&facts.table, &plan.prices),
        lanes: 16,
        segments: 16,
        page_items: (25, 250),
        consistent: false,
        reads: ItemReads::Scan,
        derives: false,
        other: None,
        max_writes: 1,
    };
    Estimate::from_description(&TouchedPaths::from_plan(plan), &input)
}

fn findings_of(facts: &TableFacts, plan: &Plan) -> Vec<Finding> {
    findings_with(facts, plan, (0, 0), &BTreeMap::new())
}

/// The current time in these tests.
const NOW: f64 = 1_800_000_000.0;

fn findings_with(
    facts: &TableFacts,
    plan: &Plan,
    signed: (u64, u64),
    times: &BTreeMap<Path, ExpiryCounts>,
) -> Vec<Finding> {
    let estimate = estimate(facts, plan);
    let types = BTreeMap::new();
    findings(&FindingInput { facts, plan, estimate: &estimate, types: &types, times, signed, read: None, now: NOW })
}

/// Returns the finding with this ID, which must exist exactly once.
fn finding_with_id(found: &[Finding], id: &str) -> Finding {
    let of_name: Vec<&Finding> = found.iter().filter(|finding| finding.id == id).collect();
    assert_eq!(of_name.len(), 1, "{id}: {found:#?}");
    assert!(!of_name[0].what.is_empty() && !of_name[0].why.is_empty(), "{:?}", of_name[0]);
    assert!(of_name[0].severity == Severity::Note || !of_name[0].action.is_empty(), "{:?}", of_name[0]);
    of_name[0].clone()
}

fn severity_of(facts: &TableFacts, id: &str) -> Option<Severity> {
    findings_of(facts, &rename()).iter().find(|finding| finding.id == id).map(|finding| finding.severity)
}

#[test]
fn a_calm_table_gets_notes_only() {
    let found = findings_of(&quiet_facts(), &rename());
    assert!(found.iter().all(|finding| finding.severity == Note), "{found:#?}");
    let ids: Vec<&str> = found.iter().map(|finding| finding.id).collect();
    assert_eq!(ids, ["pitr", "item-size", "capacity"]);
    assert_eq!(refusal(&found, &[]), None);
}

/// A run is refused if point-in-time recovery is off or its status is unknown. On a local engine, the tool only warns
/// if recovery is off or not supported.
#[test]
fn missing_recovery_refuses_except_on_a_local_engine() {
    let off = || FactLookup::Known(Recovery { enabled: false, earliest: None, days: None });
    type Case = (fn() -> FactLookup<Recovery>, [Severity; 2]);
    let cases: [Case; 4] = [
        (|| FactLookup::Known(Recovery { enabled: false, earliest: None, days: None }), [Refusal, Warning]),
        (|| FactLookup::Denied("not authorised".into()), [Refusal, Refusal]),
        (|| FactLookup::Failed("timed out".into()), [Refusal, Refusal]),
        (|| FactLookup::NotSupported, [Refusal, Warning]),
    ];
    for (recovery, severities) in cases {
        for (loopback, severity) in [false, true].into_iter().zip(severities) {
            let facts = TableFacts { recovery: recovery(), loopback, ..quiet_facts() };
            let finding = finding_with_id(&findings_of(&facts, &rename()), "pitr");
            assert_eq!(finding.severity, severity, "{finding:?}");
            let accept = (severity == Refusal).then_some(Acceptance::NoPitr);
            assert_eq!(finding.accept, accept);
        }
    }
    let facts = TableFacts { recovery: off(), ..quiet_facts() };
    let found = findings_of(&facts, &rename());
    let text = refusal(&found, &[Acceptance::MultiRegion]).unwrap();
    for part in ["Point-in-time recovery is off", "update-continuous-backups --table-name t", "--accept no-pitr"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(refusal(&found, &[Acceptance::NoPitr]), None);
    let denied = TableFacts { recovery: FactLookup::Denied("no".into()), ..quiet_facts() };
    assert!(
        finding_with_id(&findings_of(&denied, &rename()), "pitr").action.contains("dynamodb:DescribeContinuousBackups")
    );
}

#[test]
fn a_backup_is_announced_with_its_commands() {
    let table = "[[change]]\nmove = \"old\"\nto = \"new\"\n[safety]\nbackup = true\n";
    for (migration, before) in [
        ("", "before `verify --repair` and `contract`"),
        ("strategy = \"in-place\"", "before `run` and `verify --repair`"),
        ("on_existing = \"overwrite\"", "before `run` and `verify --repair` and `contract`"),
    ] {
        let plan = plan(migration, table);
        let finding = finding_with_id(&findings_of(&quiet_facts(), &plan), "backup");
        assert!(finding.severity == Note && finding.what.ends_with(before), "{migration}: {finding:?}");
        let local = TableFacts { loopback: true, ..quiet_facts() };
        assert_eq!(finding_with_id(&findings_of(&local, &plan), "backup").severity, Warning);
    }
}

#[test]
fn replicas_refuse_and_multiply_the_cost() {
    let mut facts = quiet_facts();
    facts.table.features.replicas = vec!["us-east-1".into(), "us-west-2".into()];
    let found = findings_of(&facts, &rename());
    let finding = finding_with_id(&found, "multi-region");
    assert_eq!((finding.severity, finding.accept), (Refusal, Some(Acceptance::MultiRegion)));
    for part in ["last writer wins", "in 3 regions", "3,000 to 6,000 WCU"] {
        assert!(finding.why.contains(part), "{part}: {}", finding.why);
    }
    assert_eq!(refusal(&found, &[Acceptance::MultiRegion]), None);
    facts.table.features.strong_across_regions = true;
    let finding = finding_with_id(&findings_of(&facts, &rename()), "multi-region");
    assert!(finding.severity == Refusal && !finding.why.contains("last writer wins"), "{finding:?}");
}

fn put(attributes: &str) -> Plan {
    let change = format!("put = {{ key = {{ pk = '\"E#\" + item.pk' }}, attributes = {{ {attributes} }} }}");
    plan("", &format!("[select]\nwhere = 'has(item.email)'\n[[change]]\n{change}\n"))
}

/// DynamoDB rejects transactions on such a table, so the operator cannot accept this finding.
#[test]
fn derived_items_are_refused_with_strong_consistency_across_regions() {
    let mut facts = quiet_facts();
    facts.table.features.replicas = vec!["us-east-1".into()];
    facts.table.features.strong_across_regions = true;
    let found = findings_of(&facts, &put("user = 'item.pk'"));
    let finding = finding_with_id(&found, "multi-region");
    assert_eq!((finding.severity, finding.accept), (Refusal, None));
    assert!(refusal(&found, &[Acceptance::MultiRegion]).unwrap().contains("no transactions"));
    facts.table.features.strong_across_regions = false;
    let finding = finding_with_id(&findings_of(&facts, &put("user = 'item.pk'")), "multi-region");
    assert_eq!(finding.accept, Some(Acceptance::MultiRegion));
}

/// Each of the two tables can have replicas, or strong consistency across regions. The finding names the table.
#[test]
fn derived_items_in_another_table_are_refused_because_of_either_table() {
    let change = "put = { table = \"lookup\", key = { id = 'item.pk' }, attributes = { user = 'item.pk' } }";
    let plan = plan("", &format!("[[change]]\n{change}\n"));
    for is_of_sources in [true, false] {
        let with = |strong: bool| {
            let (mut facts, mut other) = (quiet_facts(), quiet_facts());
            facts.table.name = "ttt".into();
            other.table.name = "lookup".into();
            let features = if is_of_sources { &mut facts.table.features } else { &mut other.table.features };
            features.replicas = vec!["us-east-1".into()];
            features.strong_across_regions = strong;
            facts.table.derived = Some(Box::new(other.table.clone()));
            facts.derived = Some(Box::new(other));
            findings_of(&facts, &plan)
        };
        let name = if is_of_sources { "Table `ttt`" } else { "Table `lookup`" };
        let found = with(false);
        let finding = finding_with_id(&found, "multi-region");
        assert_eq!((finding.severity, finding.accept), (Refusal, Some(Acceptance::MultiRegion)), "{name}");
        assert!(finding.what.starts_with(name), "{name}: {finding:?}");
        assert!(refusal(&found, &[]).is_some() && refusal(&found, &[Acceptance::MultiRegion]).is_none(), "{name}");
        let found = with(true);
        let finding = finding_with_id(&found, "multi-region");
        assert_eq!((finding.severity, finding.accept), (Refusal, None), "{name}");
        assert!(finding.what.starts_with(name) && finding.what.contains("no transactions"), "{name}: {finding:?}");
        assert!(refusal(&found, &[Acceptance::MultiRegion]).is_some(), "{name}");
    }
}

#[test]
fn derived_items_without_a_time_to_live_are_a_warning() {
    let facts = TableFacts { time_to_live: FactLookup::Known(Some("expires".into())), ..quiet_facts() };
    let found = findings_of(&facts, &put("user = 'item.pk'"));
    assert_eq!(finding_with_id(&found, "derived-items-expiry").severity, Warning);
    assert_eq!(finding_with_id(&found, "ttl").severity, Note);
    let found = findings_of(&facts, &put("expires = 'item.expires'"));
    assert!(found.iter().all(|finding| finding.id != "derived-items-expiry"), "{found:#?}");
    let ttl = finding_with_id(&found, "ttl");
    assert!(ttl.severity == Warning && ttl.what.contains("touches `expires`"), "{ttl:?}");
    assert!(findings_of(&quiet_facts(), &put("user = 'item.pk'")).iter().all(|f| f.id != "derived-items-expiry"));
}

#[test]
fn a_stream_finding_gives_the_number_of_records_and_a_filter() {
    let mut facts = quiet_facts();
    facts.table.features.stream = Some(StreamView::NewAndOld);
    let finding = finding_with_id(&findings_of(&facts, &rename()), "stream");
    assert_eq!(finding.severity, Warning);
    assert!(finding.what.contains("each item that it changes: 0 to 1,000"), "{}", finding.what);
    let attached = finding.attached.unwrap();
    assert_eq!(attached["Filters"].as_array().unwrap().len(), 3, "{attached}");
    facts.table.features.stream = Some(StreamView::Keys);
    let finding = finding_with_id(&findings_of(&facts, &rename()), "stream");
    assert!(finding.attached.is_none() && finding.action.contains("no event filter"), "{finding:?}");
    assert_eq!(severity_of(&quiet_facts(), "stream"), None);
}

#[test]
fn time_to_live_matters_if_the_plan_touches_it() {
    let with =
        |attribute: &str| TableFacts { time_to_live: FactLookup::Known(Some(attribute.into())), ..quiet_facts() };
    let in_place = plan("strategy = \"in-place\"", "[[change]]\nmove = \"old\"\nto = \"new\"\n");
    for (attribute, plan, severity, says) in [
        ("expires", rename(), Note, "does not touch"),
        ("new", rename(), Warning, "a time (in seconds) in the past"),
        ("old", rename(), Warning, "After `contract`"),
        ("old", in_place, Warning, "never expires"),
    ] {
        let finding = finding_with_id(&findings_of(&with(attribute), &plan), "ttl");
        assert_eq!(finding.severity, severity, "{finding:?}");
        assert!(finding.text().contains(says), "{finding:?}");
    }
    for (loopback, severity) in [(true, Note), (false, Warning)] {
        let facts = TableFacts { time_to_live: FactLookup::NotSupported, loopback, ..quiet_facts() };
        assert_eq!(severity_of(&facts, "ttl"), Some(severity));
    }
    assert_eq!(severity_of(&quiet_facts(), "ttl"), None, "no item of this table expires");
}

#[test]
fn a_constant_that_looks_like_a_template_causes_a_warning() {
    let of = |value: &str| {
        let plan = plan("", &format!("[[change]]\nset = \"full_name\"\nvalue = {value}\n"));
        findings_of(&quiet_facts(), &plan).into_iter().find(|finding| finding.id == "constant-template")
    };
    for value in [
        "\"${first} ${last}\"",
        "\"{{ name }}\"",
        "\"first + last\"",
        "\"a || b\"",
        "{ SS = [\"x\", \"${y}\"] }",
        "{ M = { a = { L = [{ S = \"{{x}}\" }] } } }",
    ] {
        let finding = of(value).unwrap_or_else(|| panic!("{value}"));
        assert_eq!(finding.severity, Warning);
        assert!(finding.what.contains("`full_name`") && finding.why.contains("exactly this text"), "{finding:?}");
    }
    assert!(
        of("\"${first}\"").unwrap().what.contains("\"${first}\""),
        "a constant belongs to the plan, so it is shown"
    );
    for value in ["\"plain\"", "5", "true", "\"+49 30\"", "{ B = \"AAEC\" }"] {
        assert_eq!(of(value), None, "{value}");
    }
}

#[test]
fn the_unit_of_a_time_to_live_is_noticed() {
    let facts = TableFacts { time_to_live: FactLookup::Known(Some("ttl".into())), ..quiet_facts() };
    let text = |changes: &str, times: &BTreeMap<Path, ExpiryCounts>| {
        finding_with_id(&findings_with(&facts, &plan("", changes), (0, 0), times), "ttl").text()
    };
    let none = BTreeMap::new();
    for (value, says) in [
        ("1900000000000", "looks like milliseconds"),
        ("\"2030-01-01\"", "of type S"),
        ("1799999999", "deletes every item that gets it"),
        ("1500000000", "more than five years in the past"),
        ("1800000001", "at that one time"),
    ] {
        let text = text(&format!("[[change]]\nset = \"ttl\"\nvalue = {value}\n"), &none);
        assert!(text.contains(says), "{value}: {text}");
    }
    let read = |path: &str, milliseconds: u64, not_numbers: u64| {
        BTreeMap::from([(path.parse().unwrap(), ExpiryCounts { values: 9, milliseconds, not_numbers })])
    };
    for (changes, at) in [
        ("[[change]]\nmove = \"ttl\"\nto = \"expires_at\"\n", "expires_at"),
        ("[[change]]\ncopy = \"ttl\"\nto = \"meta.expires\"\n", "meta.expires"),
        ("[[change]]\nmove = \"expires\"\nto = \"ttl\"\n", "ttl"),
    ] {
        assert!(text(changes, &none).contains("`check --sample` reads some"), "{changes}");
        assert!(text(changes, &read(at, 0, 0)).contains("All of the 9 values"), "{changes}");
        let text = text(changes, &read(at, 2, 3));
        assert!(
            text.contains("2 of 9 values that were read look like milliseconds, and 3 of 9 are not numbers"),
            "{text}"
        );
    }
}

#[test]
fn items_signed_on_the_client_refuse_if_any_were_read() {
    let none = BTreeMap::new();
    assert!(findings_of(&quiet_facts(), &rename()).iter().all(|finding| finding.id != "client-encryption"));
    let found = findings_with(&quiet_facts(), &rename(), (1_000, 3), &none);
    let finding = finding_with_id(&found, "client-encryption");
    assert_eq!((finding.severity, finding.accept), (Refusal, Some(Acceptance::ClientEncryption)));
    assert!(finding.what.contains("3 of 1,000 items"), "{finding:?}");
    assert!(refusal(&found, &[]).unwrap().contains("--accept client-encryption"));
    assert_eq!(refusal(&found, &[Acceptance::ClientEncryption]), None);
}

fn index(name: &str, key: &str, projection: Projection, local: bool) -> IndexDescription {
    let key = vec![KeyAttribute { name: key.into(), kind: "S".into() }];
    let schema = IndexSchema { name: name.into(), key, partition: 1, projection, local };
    IndexDescription {
        schema,
        provisioned: None,
        on_demand_max: (None, None),
        warm: None,
        is_ready: true,
        entries: None,
    }
}

#[test]
fn an_index_is_touched_through_its_key_or_its_projection() {
    let mut facts = quiet_facts();
    let names = |names: &[&str]| Projection::Include(names.iter().map(|name| (*name).to_owned()).collect());
    facts.table.indexes = vec![
        index("by-new", "new", Projection::KeysOnly, false),
        index("by-old", "old", Projection::KeysOnly, false),
        index("whole", "x", Projection::All, false),
        index("with-new", "x", names(&["new"]), true),
        index("aside", "x", names(&["y"]), false),
    ];
    let found = findings_of(&facts, &rename());
    let of: Vec<(&str, Severity)> =
        found.iter().filter(|f| f.id.starts_with("index")).map(|f| (f.id, f.severity)).collect();
    let expected =
        [("index-key", Warning), ("index-key-later", Warning), ("index-projection", Note), ("index-projection", Note)];
    assert_eq!(of, expected);
    let key = finding_with_id(&found, "index-key");
    assert!(key.what.contains("`new`") && key.what.contains("`by-new`"), "{key:?}");
    assert!(key.why.contains("0 to 4,000 additional WCU"), "one entry is removed and one is added: {}", key.why);
    assert!(finding_with_id(&found, "index-key-later").what.contains("`by-old`"));
    assert!(!found.iter().any(|finding| finding.what.contains("aside")));
}

#[test]
fn large_items_are_a_warning_when_the_mean_may_double_past_the_limit() {
    let with = |bytes: u64| {
        let mut facts = quiet_facts();
        facts.table.size_bytes = bytes * facts.table.item_count;
        facts
    };
    assert_eq!(severity_of(&with(100_000), "item-size"), Some(Note));
    assert_eq!(severity_of(&with(250_000), "item-size"), Some(Warning));
    let removes = plan("strategy = \"in-place\"", "[[change]]\nremove = \"old\"\n");
    assert!(findings_of(&with(250_000), &removes).iter().all(|finding| finding.id != "item-size"), "no item grows");
    // After items were read, the severity depends on their sizes.
    let facts = with(250_000);
    let findings_with = |exceeding: Range| {
        let estimate =
            Estimate { exceeding: Some(exceeding), basis: Basis::Sample(40, 80, true), ..estimate(&facts, &rename()) };
        let types = BTreeMap::new();
        let times = BTreeMap::new();
        let facts = &facts;
        let plan = &rename();
        let signed = (0, 0);
        let found = findings(&FindingInput {
            facts,
            plan,
            estimate: &estimate,
            types: &types,
            times: &times,
            signed,
            read: None,
            now: NOW,
        });
        found.into_iter().find(|finding| finding.id == "item-size").map(|finding| finding.severity)
    };
    assert_eq!(findings_with(Range::exactly(0.0)), None);
    assert_eq!(findings_with(Range { low: 0.0, likely: Some(0.0), high: 12.0 }), Some(Note));
    assert_eq!(findings_with(Range { low: 3.0, likely: Some(6.0), high: 12.0 }), Some(Warning));
}

#[test]
fn other_facts_of_the_table_cause_findings() {
    let mut facts = quiet_facts();
    facts.table.status = "UPDATING".into();
    facts.table.provisioned = Some((500.0, 400.0));
    facts.table.warm = Some((12_000.0, 4_000.0));
    facts.table.features.class = TableClass::InfrequentAccess;
    facts.table.features.deletion_protection = Some(false);
    let found = findings_of(&facts, &rename());
    assert_eq!(finding_with_id(&found, "status").severity, Warning);
    let capacity = finding_with_id(&found, "capacity").what;
    assert!(capacity.contains("400 WCU/s and 500 RCU/s") && capacity.contains("warm for 4000 WCU/s"), "{capacity}");
    assert!(finding_with_id(&found, "auto-scaling").action.contains("describe-scalable-targets"));
    assert_eq!(finding_with_id(&found, "deletion-protection").severity, Note);
    assert!(finding_with_id(&found, "table-class").why.contains("a quarter more"));
    facts.table.provisioned = None;
    facts.table.on_demand_max = (None, Some(700.0));
    let found = findings_of(&facts, &rename());
    assert!(finding_with_id(&found, "capacity").what.contains("its own maxima: 700 WCU/s and no RCU/s"));
    assert!(
        found.iter().all(|finding| finding.id != "auto-scaling"),
        "auto scaling does not apply to an on-demand table"
    );
}

/// Index key attributes are attributes that items can have, so the plan's list of attributes should contain them.
#[test]
fn a_key_of_an_index_that_a_delete_does_not_list_is_a_warning() {
    let mut facts = quiet_facts();
    facts.table.indexes =
        vec![index("h", "status", Projection::All, false), index("i", "day", Projection::KeysOnly, true)];
    let of = |attributes: &str| {
        let text = "[select]\nwhere = 'has(item.status)'\n[[change]]\ndelete = true\n";
        let found = findings_of(&facts, &plan("", &format!("{text}{attributes}\n")));
        found.into_iter().find(|finding| finding.id == "delete-attributes")
    };
    let found = of("attributes = [\"status\"]").unwrap();
    assert_eq!(found.severity, Severity::Warning);
    assert!(found.what.contains("`day` (index i)") && !found.what.contains("status"), "{}", found.what);
    for complete in ["attributes = [\"status\", \"day\"]", "version = \"v\"", "writers = \"stopped\""] {
        assert_eq!(of(complete), None, "{complete}");
    }
}
