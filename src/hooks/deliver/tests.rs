use std::path::Path;
use std::time::Instant;

use super::*;
use crate::hooks::PassEnding;

fn origin() -> HookOrigin {
    HookOrigin {
        migration: "rename".into(),
        fingerprint: "0".repeat(64),
        table: "shop".into(),
        actor: "ann@host".into(),
        host: "host".into(),
        pid: 7,
    }
}

fn sh(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

fn start(programs: &[(HookEvent, String)], timeout: Duration) -> Hooks {
    let programs = programs.iter().map(|(event, script)| (*event, sh(script))).collect();
    let options = HookOptions { programs, timeout, ..HookOptions::default() };
    let clock: Clock = Arc::new(|| jiff::Timestamp::UNIX_EPOCH);
    Hooks::start(&options, origin(), clock, Random::with_seed(7))
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

const LONG: Duration = Duration::from_secs(60);

/// Drains without a stop.
async fn drain(hooks: &Hooks) {
    hooks.drain(Duration::MAX, std::future::pending()).await;
}

#[tokio::test]
async fn programs_run_one_after_another_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events");
    // The first program is slower than the second, and no two of them run at the same time.
    let script = |pause: &str| {
        format!(
            "mkdir {0}/alone && sleep {pause} && printf '%s ' $BACKFILL_EVENT >>{0}/events && cat >>{0}/events && rmdir {0}/alone",
            dir.path().display()
        )
    };
    let hooks = start(&[(HookEvent::Start, script("0.4")), (HookEvent::PassEnd, script("0"))], LONG);
    let end = Announcement::PassEnd { outcome: PassEnding::Done, reason: None, mismatches: None };
    for announcement in [&Announcement::Start, &end, &Announcement::Start] {
        hooks.announce(announcement, None);
    }
    // The plan has no program for this event.
    hooks.announce(&Announcement::Stall { over: false }, None);
    drain(&hooks).await;
    let lines = lines(&file);
    let events: Vec<&str> = lines.iter().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
    assert_eq!(events, ["start", "pass_end", "start"], "{lines:?}");
    for line in &lines {
        let (event, document) = line.split_once(' ').unwrap();
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["event"], event);
    }
    assert_eq!(hooks.failures(), 0);
}

#[tokio::test]
async fn a_full_queue_drops_announcements_and_never_waits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events");
    let script = format!("echo >>{}; sleep 1000", file.display());
    let hooks = start(&[(HookEvent::Start, script)], Duration::from_secs(2));
    let began = Instant::now();
    for _ in 0..MAX_WAITING + 30 {
        hooks.announce(&Announcement::Start, None);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!((29..=30).contains(&hooks.failures()), "{}", hooks.failures());
    let began = Instant::now();
    drain(&hooks).await;
    // The end of the command waits for one `timeout`, even if many announcements are left.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(hooks.failures(), MAX_WAITING as u64 + 30, "each of them was lost");
    assert!(!lines(&file).is_empty() && lines(&file).len() <= 3, "{:?}", lines(&file));
    // After the end, no further announcement is made.
    hooks.announce(&Announcement::Start, None);
    drain(&hooks).await;
}

#[tokio::test]
async fn a_failing_program_does_not_stop_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events");
    let end = Announcement::PassEnd { outcome: PassEnding::Done, reason: None, mismatches: None };
    let good = format!("echo >>{}", file.display());
    let hooks = start(&[(HookEvent::Start, "exit 3".to_owned()), (HookEvent::PassEnd, good)], LONG);
    for announcement in [&Announcement::Start, &end, &Announcement::Start, &end] {
        hooks.announce(announcement, None);
    }
    drain(&hooks).await;
    assert_eq!((lines(&file).len(), hooks.failures()), (2, 2));
}

#[tokio::test]
async fn without_hooks_there_is_nothing_to_wait_for() {
    let hooks = start(&[], LONG);
    assert!(!hooks.is_active());
    hooks.announce(&Announcement::Start, None);
    drain(&hooks).await;
    assert_eq!(hooks.failures(), 0);
}

/// A hook that hangs delays the end of a command only briefly after a stop, and later announcements are delivered.
#[tokio::test]
async fn a_stop_shortens_the_wait_and_the_end_of_the_pass_is_announced() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events");
    let end = Announcement::PassEnd { outcome: PassEnding::Stopped, reason: None, mismatches: None };
    let good = format!("echo >>{}", file.display());
    let ten_minutes = Duration::from_secs(600);
    for (most, stops) in [(ten_minutes, true), (Duration::from_secs(4), false)] {
        let _ = std::fs::remove_file(&file);
        let hooks =
            start(&[(HookEvent::Start, "sleep 1000".to_owned()), (HookEvent::PassEnd, good.clone())], ten_minutes);
        // The first hook hangs, and the second hook waits behind it.
        for announcement in [&Announcement::Start, &Announcement::Start, &end] {
            hooks.announce(announcement, None);
        }
        let began = Instant::now();
        let stopping = async {
            match stops {
                true => tokio::time::sleep(Duration::from_millis(300)).await,
                false => std::future::pending().await,
            }
        };
        hooks.drain(most, stopping).await;
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!((lines(&file).len(), hooks.failures()), (1, 2), "{stops}");
    }
}
