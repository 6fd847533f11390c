//! Tests `report --serve` over real sockets: which requests it answers, what the answers contain, and how they follow
//! the state.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use super::*;

/// Addresses on which the server is allowed to listen, with a free port.
const LOOPBACK: &str = "127.0.0.1:0";

/// The maximum time of every wait in these tests. An idle machine needs a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Dropping this value stops it, even if a test fails.
pub(super) struct Served {
    /// `None` after the server has ended.
    process: Option<RunningTool>,
    /// Address and port.
    pub(super) address: String,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    /// The response head, in lower case.
    head: String,
    body: String,
}

impl Served {
    /// Starts a server and waits until it has printed its address.
    pub(super) fn start(harness: &Harness, args: &[&str]) -> Served {
        let mut command = harness.command();
        command.arg("report").args(args);
        let mut process = RunningTool::start(command);
        let began = Instant::now();
        loop {
            let printed = process.stdout_so_far();
            if let Some((_, rest)) = printed.split_once("http://")
                && let Some((address, _)) = rest.split_once('/')
            {
                return Served { address: address.to_owned(), process: Some(process) };
            }
            assert!(!process.has_ended() && began.elapsed() < PATIENCE, "no address: {}", process.stderr_so_far());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the server with a signal.
    pub(super) fn stop(mut self, signal: Signal) -> tool::ToolOutput {
        let process = self.process.take().unwrap();
        process.signal(signal);
        process.end().exits(0)
    }

    /// Sends a request, and reads the answer until the server closes the connection.
    fn ask(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        let reply = String::from_utf8(reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {reply:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let head = head.to_ascii_lowercase();
        let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
        Answer { status, head, body }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Opens a stream of events. Also returns the head of the answer.
    fn events(&self) -> (String, Events) {
        let mut stream = self.connect();
        let request = format!("GET /events HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).unwrap(), 0, "{head}");
        }
        (head.to_ascii_lowercase(), Events(lines))
    }

    /// Waits until the page meets a condition, and returns the page. Checks that the time of the figures never
    /// decreases.
    fn page_until(&self, what: &str, is_met: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        let mut last = String::new();
        loop {
            let page = self.get("/").body;
            let time = time_of(&page).to_owned();
            assert!(time >= last, "{time} after {last}");
            last = time;
            if is_met(&page) {
                return page;
            }
            assert!(began.elapsed() < PATIENCE, "not met: {what}: {page}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take()
            && !process.has_ended()
        {
            process.signal(Signal::SIGKILL);
        }
    }
}

/// A stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    /// Waits for the next event, and returns its data.
    fn next(&mut self) -> Json {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// Waits for an event that meets a condition.
    fn until(&mut self, what: &str, is_met: impl Fn(&Json) -> bool) -> Json {
        let began = Instant::now();
        loop {
            let event = self.next();
            if is_met(&event) {
                return event;
            }
            assert!(began.elapsed() < PATIENCE, "not met: {what}: {event}");
        }
    }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}

/// Returns the time of the figures of a page.
fn time_of(page: &str) -> &str {
    let (_, time) = page.split_once("<time id=\"live-time\" datetime=\"").unwrap_or_else(|| panic!("{page}"));
    time.split_once('"').unwrap().0
}

fn name_of(page: &str) -> &str {
    page.split_once("data-page=\"").unwrap().1.split_once('"').unwrap().0
}

/// RUNBOOK: "The server refuses requests from other web pages, and requests for an address that is not its own"
#[tokio::test(flavor = "multi_thread")]
async fn only_own_requests_for_known_paths_are_answered() {
    let (harness, _, plan) = setup(5, "").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let state = harness.dir().join(".backfill/plan.db");
    let before = std::fs::read(&state).unwrap();
    let served = Served::start(&harness, &[text(&plan), "--serve", LOOPBACK]);
    let address = served.address.clone();
    let port = address.rsplit_once(':').unwrap().1;
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; \
                  trusted-types 'none'\r\n";
    let host = format!("Host: {address}\r\n");
    let request = |method: &str, path: &str, headers: &str| format!("{method} {path} HTTP/1.1\r\n{headers}\r\n");
    for (expected, what) in [
        (200, request("GET", "/", &host)),
        (200, request("GET", "/?x=1", &host)),
        (200, request("GET", "/", &format!("Host: localhost:{port}\r\n"))),
        (200, request("GET", "/live.js", &format!("{host}Origin: http://{address}\r\n"))),
        (200, request("GET", "/report.css", &host)),
        (404, request("GET", "/.backfill/plan.db", &host)),
        (404, request("GET", "/../plan.toml", &host)),
        (404, request("GET", "//", &host)),
        (404, request("GET", "/favicon.ico", &host)),
        (405, request("POST", "/", &format!("{host}Content-Length: 0\r\n"))),
        (405, request("DELETE", "/events", &host)),
        (405, request("OPTIONS", "/", &host)),
        (421, request("GET", "/", "")),
        (421, request("GET", "/", &format!("{host}Host: evil.example\r\n"))),
        (421, request("GET", "/", &format!("Host: evil.example:{port}\r\n"))),
        (421, request("GET", "/events", "Host: evil.example\r\n")),
        (421, request("GET", "/live.js", "Host: 127.0.0.1:1\r\n")),
        (421, request("GET", "http://evil.example/", &host)),
        (403, request("GET", "/", &format!("{host}Origin: http://evil.example\r\n"))),
        (403, request("GET", "/events", &format!("{host}Origin: null\r\n"))),
        (403, request("GET", "/live.js", &format!("{host}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"))),
        (
            200,
            request(
                "GET",
                "/",
                &format!(
                    "{host}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
                ),
            ),
        ),
    ] {
        let answer = served.ask(&what);
        assert_eq!(answer.status, expected, "{what}: {answer:?}");
        for header in [
            policy,
            "x-content-type-options: nosniff\r\n",
            "x-frame-options: deny\r\n",
            "referrer-policy: no-referrer\r\n",
            "cache-control: no-store\r\n",
            "cross-origin-resource-policy: same-origin\r\n",
            "cross-origin-opener-policy: same-origin\r\n",
            "connection: close\r\n",
        ] {
            assert!(format!("{}\r\n", answer.head).contains(header), "{header} for {what}: {}", answer.head);
        }
        assert!(!answer.head.contains("set-cookie") && !answer.head.contains("access-control"), "{}", answer.head);
        assert!(expected == 200 || answer.body.len() < 100, "{answer:?}");
    }
    let head = served.ask(&request("HEAD", "/", &host));
    assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
    assert!(head.head.contains("content-type: text/html; charset=utf-8"), "{}", head.head);
    assert!(served.get("/live.js").head.contains("content-type: text/javascript"));
    assert!(served.get("/report.css").head.contains("content-type: text/css"));

    let output = served.stop(Signal::SIGTERM);
    let line = format!("serving the report at http://{address}/ to every user of this machine; stop with Ctrl-C\n");
    assert_eq!(output.stdout, line);
    assert_eq!(std::fs::read(&state).unwrap(), before, "the server changed the state file");
}

/// Serves JSON like every other command, and ends with exit code 0 after Ctrl-C.
/// RUNBOOK: "`--serve` listens only on loopback, and changes nothing"
#[tokio::test(flavor = "multi_thread")]
async fn the_server_starts_only_on_a_free_loopback_address() {
    let (harness, _, plan) = setup(5, "").await;
    let plan = text(&plan);
    refused(&harness, 3, &["report", plan, "--serve", LOOPBACK]).in_one_paragraph().says(&["no state file", "check"]);
    assert!(!harness.dir().join(".backfill").exists(), "no file was created");
    tool(&harness, &["run", plan, "--yes"]).exits(0);
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "localhost:80", "8080"] {
        refused(&harness, 2, &["report", plan, "--serve", address]).says(&["127.0.0.1:8080"]);
    }
    for other in [["--out", "x.html"], ["--format", "html"]] {
        refused(&harness, 2, &[&["report", plan, "--serve", LOOPBACK], &other[..]].concat()).says(&["--serve"]);
    }
    let taken = std::net::TcpListener::bind(LOOPBACK).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refusal = refused(&harness, 3, &["report", plan, "--serve", &address]);
    refusal.in_one_paragraph().says(&[&address, "cannot be bound", "Nothing was served", "--serve"]);

    let served = Served::start(&harness, &[plan, "--serve", LOOPBACK, "--output", "json"]);
    let address = served.address.clone();
    let page = served.get("/").body;
    let document = served.stop(Signal::SIGINT).json();
    assert_eq!(document["url"], format!("http://{address}/"));
    assert_eq!((&document["file"], &document["text"], &document["format"]), (&Json::Null, &Json::Null, &json!("html")));
    assert_eq!((document["bytes"].as_u64(), &document["phase"]), (Some(page.len() as u64), &json!("verify")));
}

/// The page follows a run. When the run's process dies, no file changes, but the page shows that the process died. Then
/// the page follows the next process. At the end, it shows the figures in the state file.
/// RUNBOOK: "an open page shows new figures within a few seconds"
#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_the_state() {
    let (eventful, running) = Eventful::begin().await;
    let Eventful { harness, plan } = &eventful;
    let served = Served::start(harness, &[text(plan), "--serve", LOOPBACK]);
    let (head, mut events) = served.events();
    assert!(head.contains("200 ok") && head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("cache-control: no-store"), "{head}");
    let first = events.next();
    let first_page = served.get("/").body;
    assert!(fact(&first_page, "Process").starts_with("working when this report was made"), "{first_page}");
    let second = events.until("new figures", |event| event["page"] != first["page"]);
    assert!(second["at"].as_str() >= first["at"].as_str() && second["trouble"].is_null(), "{second}");

    eventful.crash(running);
    let died = "the process of the newest run died; the next step resumes it";
    let page = served.page_until("the process died", |page| fact(page, "Process") == died);
    let counts = &run_counts(harness, 1)["applied"];
    assert_eq!(figure(part(&page, "article", "run-1"), "applied <small>at least"), grouped(counts));
    // The state no longer changes, so the page keeps the name that identifies its content. The time of its figures
    // still advances.
    let name = name_of(&page).to_owned();
    let later = served.page_until("a later time", |later| time_of(later) > time_of(&page));
    assert_eq!(name_of(&later), name);
    events.until("the name of the page", |event| {
        event["page"] == name.as_str() && event["at"].as_str() > Some(time_of(&page))
    });

    eventful.finish();
    let page = served.page_until("the last step", |page| page.contains("overridden: accepted by the owner"));
    // Apart from the header, the page equals the report.
    tool(harness, &["report", text(plan)]).exits(0);
    let report = read(&harness.dir().join(".backfill/plan.db.report.html"));
    let main = |html: &str| {
        let main = html.split_once("<main id=\"main\">").unwrap().1.split_once("<section id=\"about\"").unwrap().0;
        main.to_owned()
    };
    assert_eq!(main(&page), main(&report));
    let page = page.replacen("<script src=\"/live.js\" defer></script>", "", 1);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains(SECRET), "{page}");
    assert!(!page.contains("sk=big"), "a key is shown");
    served.stop(Signal::SIGTERM);
    let served = Served::start(harness, &[text(plan), "--serve", LOOPBACK, "--show-keys"]);
    assert!(served.get("/").body.contains("sk=big"), "the key of the failed item");
    served.stop(Signal::SIGTERM);
}

/// RUNBOOK: "At most 16 pages can be open at the same time"
#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_open_pages_is_limited() {
    let (harness, _, plan) = setup(5, "").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let served = Served::start(&harness, &[text(&plan), "--serve", LOOPBACK]);
    let mut open: Vec<_> = (0..16).map(|_| served.events().1).collect();
    for events in &mut open {
        events.next();
    }
    let refused = served.get("/events");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.contains("retry-after: 10") && refused.body.contains("too many open pages"), "{refused:?}");
    // The server still serves the page itself. After one page closes, another one can open.
    assert_eq!(served.get("/").status, 200);
    open.pop();
    let began = Instant::now();
    loop {
        let (head, mut events) = served.events();
        if head.contains("200 ok") {
            events.next();
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{head}");
        std::thread::sleep(Duration::from_millis(100));
    }
    served.stop(Signal::SIGTERM);
}

/// An invalid plan file or a temporarily missing state file does not stop the server. The page keeps its figures and
/// reports the error.
/// RUNBOOK: "If the state file cannot be read, the page keeps its figures and says so"
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_is_reported_and_does_not_end_the_server() {
    let (harness, _, plan) = setup(5, "").await;
    tool(&harness, &["run", text(&plan), "--yes"]).exits(0);
    let served = Served::start(&harness, &[text(&plan), "--serve", LOOPBACK]);
    let (_, mut events) = served.events();
    let first = events.next();
    assert!(first["trouble"].is_null(), "{first}");

    let valid = read(&plan);
    std::fs::write(&plan, valid.replace("[[change]]", "[[chan")).unwrap();
    let says =
        |part: &'static str| move |event: &Json| event["trouble"].as_str().is_some_and(|text| text.contains(part));
    let event = events.until("an invalid plan", says("plan file is not valid"));
    assert_eq!(event["page"], first["page"]);
    std::fs::write(&plan, format!("{valid}[limits]\nmax_wcu = 4321\n")).unwrap();
    let event = events.until("a valid plan", |event| event["trouble"].is_null());
    assert_ne!(event["page"], first["page"]);
    assert!(served.get("/").body.contains("4,321"), "the new limit");

    let state = harness.dir().join(".backfill/plan.db");
    let away = harness.dir().join("away.db");
    std::fs::rename(&state, &away).unwrap();
    let lost = events.until("no state", says("state file cannot be read"));
    assert_eq!(lost["page"], event["page"]);
    assert!(!lost.to_string().contains("plan.db"), "the trouble names a path: {lost}");
    assert_eq!(served.get("/").status, 200);
    std::fs::rename(&away, &state).unwrap();
    let back = events.until("the state is back", |event| event["trouble"].is_null());
    assert!(back["page"] == event["page"] && back["at"].as_str() > lost["at"].as_str(), "{back} {lost}");
    let log = served.stop(Signal::SIGTERM).stderr;
    assert!(log.contains("plan file cannot be used") && log.contains("state file cannot be read"), "{log}");
    assert_eq!(log.matches("state file cannot be read").count(), 1, "once, and not at each look: {log}");
}
