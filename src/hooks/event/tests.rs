use super::*;
use crate::cutover::Flag;
use crate::telemetry::Activity;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn origin() -> HookOrigin {
    HookOrigin {
        migration: "rename".into(),
        fingerprint: "0123456789abcdef".repeat(4),
        table: "shop".into(),
        actor: "ann@host".into(),
        host: "host".into(),
        pid: 7,
    }
}

fn pass(activity: Activity, detail: &str, items: u64) -> PassState {
    PassState {
        phase: "expand",
        run: RunId::NONE,
        current: CurrentActivity::new(activity, detail),
        since: NOW,
        items,
        item_estimate: 2_000,
        percent: Some(60),
        failures: 4,
        rates: Some(Rates { items: 123.456, write_units: 12.0, read_units: 6.0 }),
        eta: Some(Eta {
            low: Duration::from_secs(60),
            likely: Duration::from_secs(90),
            high: Duration::from_secs(120),
        }),
    }
}

fn all() -> Vec<(Announcement, Option<PassState>, &'static str)> {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let end = |outcome, reason: Option<&str>, mismatches| Announcement::PassEnd {
        outcome,
        reason: reason.map(str::to_owned),
        mismatches,
    };
    let meta = FlagMeta { plan: "p".into(), report: None, actor: "ann@host".into(), reason: Some("because".into()) };
    let flag = Box::new(Flag::new(60, NOW));
    let stalled = pass(Activity::Stalled, "no request was answered for 5 min 0 s; segment 7, page 2", 1_234);
    let paused = pass(Activity::Paused, "by bob@host since 1970-01-01T00:00:00Z: slow app", 1_234);
    let throttled = pass(Activity::Throttled, "the table", 1_234);
    let scanning = pass(Activity::Scanning, "", 1_234);
    let next = "backfill verify plan.toml --all".to_owned();
    vec![
        (Announcement::Start, Some(pass(Activity::Starting, "", 0)), "the pass expand begins"),
        (Announcement::Start, Some(scanning.clone()), "the pass expand continues after 1,234 items"),
        (
            Announcement::Stall { over: false },
            Some(stalled),
            "the pass expand is stalled: no request was answered for 5 min 0 s; segment 7, page 2",
        ),
        (Announcement::Stall { over: true }, Some(scanning.clone()), "the stall of the pass expand is over: scanning"),
        (
            Announcement::Pause { over: false, ended_by: None },
            Some(paused),
            "the pass expand is paused: by bob@host since 1970-01-01T00:00:00Z: slow app",
        ),
        (
            Announcement::Pause { over: true, ended_by: Some("eve@host".into()) },
            Some(scanning.clone()),
            "the pause of the pass expand is over (eve@host ended it): scanning",
        ),
        (
            Announcement::LongThrottling { over: false, lasted: minutes(10) },
            Some(throttled),
            "the pass expand has been throttled for 10 min 0 s without a break: throttled: the table",
        ),
        (
            Announcement::LongThrottling { over: true, lasted: minutes(25) },
            Some(scanning.clone()),
            "the pass expand is not throttled any more, after 25 min 0 s: scanning",
        ),
        (
            Announcement::Failures { threshold: 100 },
            Some(scanning.clone()),
            "the pass expand has reached 100 failed items: 1,234 items read, 4 failed",
        ),
        (
            end(PassEnding::Done, None, Some(2)),
            Some(scanning.clone()),
            "the pass expand is done: 1,234 items read, 4 failed, 2 mismatches",
        ),
        (
            end(PassEnding::Done, Some("4 items have failed"), None),
            Some(scanning.clone()),
            "the pass expand is done: 1,234 items read, 4 failed; 4 items have failed",
        ),
        (
            end(PassEnding::Stopped, Some("it was interrupted"), None),
            Some(scanning.clone()),
            "the pass expand stopped: it was interrupted (1,234 items read, 4 failed)",
        ),
        (
            end(PassEnding::Unfinished, Some("failed items"), None),
            Some(scanning.clone()),
            "the pass expand is not complete: failed items (1,234 items read, 4 failed)",
        ),
        (
            end(PassEnding::Failed, Some("the disk is full"), None),
            Some(scanning),
            "the pass expand ended with an error: the disk is full (1,234 items read, 4 failed)",
        ),
        (
            Announcement::StepDue { next: next.clone(), not_before: None },
            None,
            "the next step is due: backfill verify plan.toml --all",
        ),
        (
            Announcement::StepDue { next, not_before: Some(NOW) },
            None,
            "the next step is due, not before 1970-01-01T00:00:00Z: backfill verify plan.toml --all",
        ),
        (
            Announcement::FlagChange { flag, meta },
            None,
            "ann@host changed the cutover flag: version 1: write = old, read = old",
        ),
    ]
}

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../docs/hook.schema.json");
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

#[track_caller]
fn check(document: &str) -> Json {
    let json: Json = serde_json::from_str(document).unwrap();
    let wrong: Vec<String> = schema().iter_errors(&json).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?} in {json:#}");
    assert_eq!(document.matches('\n').count(), 1, "a document is one line: {document}");
    json
}

#[test]
fn each_announcement_has_a_text_and_a_valid_document() {
    let mut events = std::collections::BTreeSet::new();
    for (announcement, pass, text) in all() {
        let line = format!("rename on table shop: {text}");
        assert_eq!(announcement.text(&origin(), pass.as_ref()), line);
        let json = check(&announcement.document(&origin(), NOW, pass.as_ref()));
        assert_eq!((&json["text"], &json["event"]), (&json!(line), &json!(announcement.event().name())));
        assert_eq!(json["pass"].is_null(), pass.is_none());
        events.insert(announcement.event());
    }
    assert_eq!(events.len(), HookEvent::ALL.len());
    for step in VetoStep::ALL {
        let json = check(&step_document(step, &origin(), NOW));
        assert_eq!((&json["event"], &json["step"]), (&json!("before_step"), &json!(step.name())));
    }
}

#[test]
fn the_schema_refuses_what_a_document_must_not_contain() {
    let document = Announcement::Stall { over: true }.document(&origin(), NOW, None);
    let json: Json = serde_json::from_str(&document).unwrap();
    let changed = |name: &str, value: Option<Json>| {
        let mut changed = json.clone();
        let members = changed.as_object_mut().unwrap();
        match value {
            Some(value) => members.insert(name.to_owned(), value),
            None => members.remove(name),
        };
        changed
    };
    assert!(schema().is_valid(&json));
    for wrong in [
        changed("over", None),
        changed("time", None),
        changed("event", Some(json!("other"))),
        changed("flag", Some(json!({}))),
        changed("item", Some(json!("x"))),
    ] {
        assert!(!schema().is_valid(&wrong), "{wrong:#}");
    }
}

#[test]
fn hostile_text_cannot_affect_a_terminal() {
    let hostile = format!("\u{1b}[2J\r\n\u{202e}{}", "x".repeat(10_000));
    let origin = HookOrigin { actor: hostile.clone(), ..origin() };
    let reason = Some(hostile);
    let announcement = Announcement::PassEnd { outcome: PassEnding::Failed, reason: reason.clone(), mismatches: None };
    let text = announcement.text(&origin, None);
    assert!(text.chars().count() <= MAX_TEXT + 1 && text.ends_with('…'), "{text}");
    let document = announcement.document(&origin, NOW, None);
    for text in [text.as_str(), document.trim_end()] {
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
    let json = check(&document);
    assert_eq!(json["reason"].as_str(), reason.as_deref());
}
