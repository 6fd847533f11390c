use super::*;

pub(in crate::passes::verify) fn report() -> VerifyReport {
    VerifyReport {
        schema_version: 1,
        kind: "verify".into(),
        tool_version: "0.1.0".into(),
        fingerprint: "f".into(),
        table_arn: "arn".into(),
        table_id: None,
        run: 3,
        scope: "all".into(),
        stage: "expanded".into(),
        truth: "old".into(),
        flag_version: Some(4),
        repair: true,
        repair_remove: false,
        began_at: "2026-01-01T00:00:00Z".into(),
        ended_at: "2026-01-01T01:00:00Z".into(),
        deletes: false,
        only_writes_values: false,
        puts: false,
        lists_derived: false,
        derived_items_read: None,
        compared: 12_000,
        not_selected: 345,
        matching: 11_998,
        skipped: 0,
        missing: 1,
        stale: 1,
        unexpected: 0,
        new_alone: 0,
        raced: 0,
        repaired: 1,
        mismatches: 1,
        diverged_closed: 0,
        read_units: 10.5,
        write_units: 1.0,
        segments_read: 4,
        segments_differing: 1,
        segments: vec![SegmentReport::new(2, &VerdictCounts { stale: 1, ..VerdictCounts::default() })],
        journal_purged_at: None,
        sample: None,
        forecast: None,
        examples: vec![MismatchExample {
            verdict: "stale".into(),
            key: serde_json::json!({"pk": {"S": "A\u{1b}#1"}}),
            paths: vec!["new".into()],
            repaired: false,
            why: Some("its new attribute existed before the migration".into()),
        }],
    }
}

#[test]
fn one_report_has_one_text_and_one_hash() {
    let report = report();
    let text = report.canonical().unwrap();
    assert_eq!(VerifyReport::from_canonical(&text).unwrap(), report);
    assert!(text.starts_with("{\"began_at\":") && text.contains("\"type\":\"verify\""), "{text}");
    assert_eq!(VerifyReport::hash_of(&text).len(), 64);
    let other = VerifyReport { stale: 2, ..report }.canonical().unwrap();
    assert_ne!(VerifyReport::hash_of(&text), VerifyReport::hash_of(&other));
}

#[test]
fn the_text_has_every_figure_and_no_control_characters() {
    let mut out = Vec::new();
    report().write(&mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

/// If the journal was purged, a verification cannot determine who wrote a value. The report still states the parity,
/// but also states what the verification cannot prove.
#[test]
fn a_report_after_a_purge_says_what_it_cannot_prove() {
    let text = |report: &VerifyReport| {
        let mut out = Vec::new();
        report.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let report = VerifyReport { mismatches: 0, ..report() };
    assert!(!text(&report).contains("cannot prove"));
    let purged = VerifyReport { journal_purged_at: Some("2026-01-01T00:00:00Z".into()), ..report };
    let shown = text(&purged);
    assert!(shown.contains("cannot prove") && shown.contains("before 2026-01-01T00:00:00Z"), "{shown}");
    // Reports of earlier versions do not have this field.
    let older = purged.canonical().unwrap().replace("\"journal_purged_at\":\"2026-01-01T00:00:00Z\",", "");
    assert_eq!(VerifyReport::from_canonical(&older).unwrap().journal_purged_at, None);
}
