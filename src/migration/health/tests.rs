use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::*;
use crate::clock::wall_clock;
use crate::engine::StopReason;
use crate::plan::{Plan, TableRef, load};

/// The modes of the application. A mode determines its answers.
const OK: usize = 200;
const SICK: usize = 503;
const HANGS: usize = 0;
/// The answers alternate between healthy and unhealthy.
const FLAPS: usize = 1;

/// An application with a health check.
#[derive(Default)]
struct Application {
    mode: AtomicUsize,
    asked: AtomicU64,
}

async fn application(mode: usize) -> (Arc<Application>, String) {
    let application = Arc::new(Application { mode: AtomicUsize::new(mode), ..Application::default() });
    let shared = Arc::clone(&application);
    let answer = get(move || async move {
        let asked = shared.asked.fetch_add(1, Ordering::Relaxed);
        let status = match shared.mode.load(Ordering::Relaxed) {
            HANGS => std::future::pending().await,
            FLAPS => [OK, SICK][usize::from(!asked.is_multiple_of(2))],
            status => status,
        };
        StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/health?token=S3CRET", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/health", answer)).await.unwrap() });
    (application, url)
}

/// Records the effects of the checks.
#[derive(Clone, Default)]
struct Done {
    pause: PauseSwitch,
    slowdowns: Arc<Mutex<Vec<Option<Slowdown>>>>,
    shown: Arc<Mutex<Vec<BTreeMap<String, bool>>>>,
}

impl Done {
    fn effects(&self) -> Effects {
        let Done { pause, slowdowns, shown } = self.clone();
        Effects {
            pause,
            slow_down: Box::new(move |slowdown| slowdowns.lock().unwrap().push(slowdown)),
            show: Box::new(move |checks| shown.lock().unwrap().push(checks)),
        }
    }

    fn percents(&self) -> Vec<Option<u8>> {
        self.slowdowns.lock().unwrap().iter().map(|slowdown| slowdown.as_ref().map(|s| s.percent)).collect()
    }
}

/// Reads checks from a plan. They run every 20 ms. Their time limit is long enough for a healthy answer even on a busy
/// machine.
fn checks(text: &str, limit: Duration) -> Vec<(HealthCheck, Prober)> {
    let text =
        format!("[migration]\nname = \"m\"\n[table]\nname = \"shop\"\n[[change]]\nmove = \"a\"\nto = \"b\"\n{text}");
    let Plan { health_checks, table, .. } = load("p", &text).unwrap_or_else(|errors| panic!("{errors}")).plan;
    let prober = |mut check: HealthCheck, table: &TableRef| {
        check.interval = Duration::from_millis(20);
        check.timeout = limit;
        let prober = Prober::new(&check, table, wall_clock());
        (check, prober)
    };
    health_checks.into_iter().map(|check| prober(check, &table)).collect()
}

fn check(url: &str, more: &str) -> String {
    format!("[[health_check]]\nname = \"api\"\nurl = \"{url}\"\n{more}\n")
}

const LONG: Duration = Duration::from_secs(20);

async fn until(what: &str, is_met: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_met() {
        assert!(began.elapsed() < Duration::from_secs(60), "not met: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_pass_pauses_while_the_application_is_unhealthy() {
    let (application, url) = application(SICK).await;
    let done = Done::default();
    let stop = Stopper::default();
    let watch = HealthWatch::begin(checks(&check(&url, ""), LONG), done.effects(), &stop).await;
    assert_eq!(done.pause.paused().unwrap(), "the health check \"api\" failed: HTTP 503", "before the pass begins");
    application.mode.store(OK, Ordering::Relaxed);
    until("the pass goes on", || done.pause.paused().is_none()).await;
    application.mode.store(404, Ordering::Relaxed);
    until("the pass pauses again", || done.pause.paused().is_some()).await;
    assert_eq!(done.pause.paused().unwrap(), "the health check \"api\" failed: HTTP 404");
    drop(watch);
    assert_eq!(done.pause.paused(), None);
    let shown: Vec<Option<bool>> = done.shown.lock().unwrap().iter().map(|checks| checks.get("api").copied()).collect();
    let mut changes = shown.clone();
    changes.dedup();
    assert_eq!(changes, [None, Some(false), Some(true), Some(false), None]);
    assert_eq!(done.percents(), [], "a check that pauses does not slow down");
}

#[tokio::test]
async fn a_check_that_times_out_behaves_as_its_fail_mode_says() {
    let limit = Duration::from_millis(300);
    let (_application, url) = application(HANGS).await;
    let (closed, open) = (Done::default(), Done::default());
    let stop = Stopper::default();
    let closed_check = checks(&check(&url, "fail_mode = \"closed\""), limit);
    let open_check = checks(&check(&url, "fail_mode = \"open\""), limit);
    let _closed = HealthWatch::begin(closed_check, closed.effects(), &stop).await;
    let _open = HealthWatch::begin(open_check, open.effects(), &stop).await;
    assert_eq!(closed.pause.paused().unwrap(), "the health check \"api\" did not answer within 0.3 s");
    assert_eq!(open.pause.paused(), None);
    assert_eq!(closed.shown.lock().unwrap().last().unwrap().get("api"), Some(&false));
    assert!(open.shown.lock().unwrap().iter().all(BTreeMap::is_empty), "nothing is known of a check without an answer");
}

#[tokio::test]
async fn an_open_check_without_an_answer_keeps_its_last_condition() {
    let (application, url) = application(SICK).await;
    let done = Done::default();
    let open = checks(&check(&url, "fail_mode = \"open\""), Duration::from_secs(2));
    let _watch = HealthWatch::begin(open, done.effects(), &Stopper::default()).await;
    application.mode.store(HANGS, Ordering::Relaxed);
    let shown = done.shown.lock().unwrap().len();
    let answered = || done.shown.lock().unwrap().len() >= shown + 2;
    until("two questions have timed out", answered).await;
    assert_eq!(done.pause.paused().unwrap(), "the health check \"api\" failed: HTTP 503");
}

#[tokio::test]
async fn a_check_that_flaps_does_not_make_the_pass_flap() {
    let (application, url) = application(FLAPS).await;
    let done = Done::default();
    let _watch = HealthWatch::begin(checks(&check(&url, ""), LONG), done.effects(), &Stopper::default()).await;
    until("many answers", || application.asked.load(Ordering::Relaxed) >= 40).await;
    let shown = done.shown.lock().unwrap().clone();
    assert!(shown.len() >= 30, "{}", shown.len());
    assert!(shown[1..].iter().all(|checks| checks["api"]), "the check stays healthy: {shown:?}");
    // The pass was paused once, before the first answer, and never after it.
    assert_eq!(done.pause.wait_until_resumed().await, 1);
}

#[tokio::test]
async fn the_strongest_slowdown_applies() {
    let (application, url) = application(SICK).await;
    let slow = |name: &str, percent| {
        let more = format!("on_unhealthy = \"slow\"\nslow_to = \"{percent}%\"");
        check(&url, &more).replace("\"api\"", &format!("\"{name}\""))
    };
    let done = Done::default();
    let two = checks(&format!("{}{}", slow("a", 50), slow("b", 10)), LONG);
    let watch = HealthWatch::begin(two, done.effects(), &Stopper::default()).await;
    assert_eq!(done.pause.paused(), None, "the pass goes on, slowly");
    let last = done.slowdowns.lock().unwrap().last().unwrap().clone().unwrap();
    assert_eq!(last.percent, 10);
    assert_eq!(last.why, "the health check \"a\" failed: HTTP 503; the health check \"b\" failed: HTTP 503");
    application.mode.store(OK, Ordering::Relaxed);
    until("full speed", || done.percents().last() == Some(&None)).await;
    application.mode.store(SICK, Ordering::Relaxed);
    until("slow again", || done.percents().last() == Some(&Some(10))).await;
    drop(watch);
    assert_eq!(done.percents().last(), Some(&None), "the slowdown ends with the pass");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_first_answer() {
    let (_application, url) = application(HANGS).await;
    let done = Done::default();
    let stop = Stopper::default();
    stop.stop(StopReason::Interrupted);
    let began = Instant::now();
    let watch = HealthWatch::begin(checks(&check(&url, ""), Duration::from_secs(600)), done.effects(), &stop).await;
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(done.pause.paused().unwrap(), "the health check \"api\" has not run yet", "nothing may be sent");
    // A task that finishes after the end of the watch changes nothing.
    let late = Arc::clone(&watch.checks);
    drop(watch);
    late.note(0, Answer::Unhealthy("failed: HTTP 500".to_owned()));
    assert_eq!(done.pause.paused(), None);
}

#[tokio::test]
async fn a_slow_first_answer_is_explained() {
    let (_application, slow) = application(HANGS).await;
    let (_application, quick) = application(OK).await;
    let text = format!("{}{}", check(&slow, ""), check(&quick, "").replace("\"api\"", "\"web\""));
    let done = Done::default();
    let stop = Stopper::default();
    let lines = Lines::default();
    let guard = tracing::subscriber::set_default(lines.subscriber());
    let begin = HealthWatch::begin(checks(&text, LONG), done.effects(), &stop);
    let explained = until("the log says why", || !lines.text().is_empty());
    tokio::select! {
        _ = begin => panic!("the first check has no answer"),
        () = explained => {}
    }
    drop(guard);
    let text = lines.text();
    assert!(
        text.contains("running the health checks before the pass begins: no answer yet from \"api\" (timeout 20 s)")
    );
    assert!(text.contains("INFO") && !text.contains("web") && !text.contains("S3CRET"), "{text}");
}

/// The lines of a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + 'static {
        let lines = self.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || lines.clone()).finish()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
