//! Tests a local server's files and ports, and what happens if the server is killed or stopped.

use super::*;

#[tokio::test]
async fn a_restart_on_the_same_file_finds_the_items() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.db");
    let first = local(500, Some(&file));
    assert_eq!(first.table().unwrap().origin, SampleOrigin::Loaded);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    put(&client(&first.endpoint()), "mine").send().await.unwrap();
    first.stop();

    // The second start requests a different number of items, but the table keeps its existing items.
    let second = local(900, Some(&file));
    let table = second.table().unwrap();
    assert_eq!((table.origin, table.items), (SampleOrigin::Existing, 501));
    assert!(exists(&client(&second.endpoint()), "mine").await);
}

/// A process is killed while it loads the sample table. The process is a second instance of this test binary, started
/// as a child.
#[test]
fn a_killed_load_is_noticed_and_repeated() {
    const ITEMS: u64 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.db");
    let test = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(test)
        .args(["--exact", "local::process::loads_until_it_is_killed", "--nocapture"])
        .env(LOAD_INTO, &file)
        .env("ITEMS", ITEMS.to_string())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while rows_in(&file) < 4_000 {
        assert!(began.elapsed() < Duration::from_secs(60), "the child loads nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = rows_in(&file);
    assert!(left < ITEMS, "the kill came too late: {left} rows");

    // The restart does not specify the number of items, because this number is recorded in the database file.
    let options = LocalOptions { db: Some(file.clone()), proxy: true, ..LocalOptions::default() };
    let again = Local::start(options).unwrap();
    let table = again.table().unwrap();
    assert_eq!((table.origin, table.items), (SampleOrigin::Reloaded, ITEMS));
    assert_eq!(again.engine().count(sample::TABLE).unwrap(), Some(ITEMS));
    again.stop();

    let after = local(ITEMS, Some(&file));
    assert_eq!(after.table().unwrap().origin, SampleOrigin::Existing);
}

const LOAD_INTO: &str = "BACKFILL_TEST_LOAD_INTO";

/// Does nothing in a normal test run. The test above runs this function in a child process.
#[test]
fn loads_until_it_is_killed() {
    let Some(file) = std::env::var_os(LOAD_INTO) else { return };
    let items = std::env::var("ITEMS").unwrap().parse().unwrap();
    local(items, Some(Path::new(&file)));
}

fn rows_in(file: &Path) -> u64 {
    let open = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    open.and_then(|c| c.query_row("SELECT count(*) FROM shop", [], |row| row.get(0))).unwrap_or(0)
}

#[test]
fn unusable_files_and_ports_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let start = |file: &Path, port: u16| Engine::start(EngineOptions { db: Some(file.to_owned()), port }).map(|_| ());

    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "not a database, and somebody's notes; long enough to have a header".repeat(20)).unwrap();
    let before = std::fs::read(&text).unwrap();
    assert!(matches!(start(&text, 0), Err(LocalError::Foreign { .. })));
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let other = directory.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&other).unwrap();
    let error = start(&other, 0).unwrap_err();
    assert!(error.to_string().contains("of another program"), "{error}");
    assert_eq!(std::fs::read(&other).unwrap(), before);

    let nowhere = directory.path().join("no/such/directory/t.db");
    assert!(matches!(start(&nowhere, 0), Err(LocalError::File { .. })));
    assert!(matches!(start(directory.path(), 0), Err(LocalError::File { .. })));

    let ours = directory.path().join("ours.db");
    let running = Engine::start(EngineOptions { db: Some(ours.clone()), port: 0 }).unwrap();
    assert!(matches!(start(&ours, 0), Err(LocalError::InUse { .. })));
    running.stop();
    start(&ours, 0).unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    assert!(matches!(start(&ours, port), Err(LocalError::PortTaken { port: p, .. }) if p == port));
    let proxy = LocalOptions { port, proxy: true, items: Some(1), db: Some(ours), ..LocalOptions::default() };
    assert!(matches!(Local::start(proxy), Err(LocalError::PortTaken { .. })));
    let wrong = ProxyOptions { upstream: "localhost:8000".into(), ..ProxyOptions::default() };
    assert!(matches!(Proxy::start(wrong), Err(LocalError::Upstream { .. })));
}

/// This test runs only on Linux. Other systems need configuration before all addresses in 127.0.0.0/8 are available.
#[cfg(target_os = "linux")]
#[test]
fn local_listens_only_on_the_given_address() {
    let listen = Some("127.0.0.2".parse().unwrap());
    let local = Local::start(LocalOptions { listen, proxy: true, ..LocalOptions::default() }).unwrap();
    let address = local.endpoint().strip_prefix("http://").unwrap().to_owned();
    assert!(address.starts_with("127.0.0.2:"), "{address}");
    TcpStream::connect(&address).unwrap();
    let elsewhere = address.replace("127.0.0.2", "127.0.0.1");
    assert!(TcpStream::connect(elsewhere).is_err());
    // The engine behind the proxy still listens on 127.0.0.1.
    assert!(local.engine().endpoint().starts_with("http://127.0.0.1:"));
}

#[test]
fn a_half_sent_request_does_not_delay_the_stop() {
    let local = local(10, None);
    let half = |endpoint: String| {
        let mut stream = TcpStream::connect(endpoint.strip_prefix("http://").unwrap()).unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{\"half\":").unwrap();
        stream
    };
    let _proxy = half(local.endpoint());
    let _engine = half(local.engine().endpoint());
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    local.stop();
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
}

#[test]
fn local_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Local>();
}

/// The engine can be dropped inside an async runtime. This drop happens if a test ends early.
#[tokio::test]
async fn local_can_be_dropped_inside_a_runtime() {
    drop(local(10, None));
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_a_server_error() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = ProxyOptions { upstream: format!("http://127.0.0.1:{port}"), ..ProxyOptions::default() };
    let proxy = Proxy::start(options).unwrap();
    let error = client(&proxy.endpoint()).list_tables().send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 503);
    assert_eq!(proxy.tally().operation("ListTables").errors, BTreeMap::from([((503, "ServiceUnavailable".into()), 1)]));
}

#[test]
fn a_refused_request_is_an_error_with_the_engines_message() {
    let engine = Engine::start(EngineOptions::default()).unwrap();
    let error = engine.create_table(&json!({"TableName": "x"})).unwrap_err();
    assert!(matches!(&error, LocalError::Engine(text) if !text.contains("VALIDATION:")), "{error}");
    engine.create_table(&sample::create_table_request("abc")).unwrap();
    assert_eq!(engine.load("abc", sample::items(1, 5_000)).unwrap(), 5_000);
    assert_eq!(engine.count("abc").unwrap(), Some(5_000));
    let unknown = engine.load("no-such-table", sample::items(1, 50_000)).unwrap_err();
    assert!(matches!(unknown, LocalError::Engine(_)), "{unknown}");
    engine.delete_table("abc").unwrap();
    assert_eq!(engine.count("abc").unwrap(), None);
}

/// The command has not begun any work, so it is refused (exit code 3). The message names the option for another port.
#[test]
fn a_port_in_use_is_refused_and_the_option_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backfill"));
        command.current_dir(directory.path()).arg("local").args(args).output().unwrap()
    };
    let refused = run(&["--port", &port]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    for part in [&format!("Port {port} on 127.0.0.1 is in use"), "Nothing was started", "--port 0"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let refused = run(&["--port", &port, "--output", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(
        (&document["exit_code"], &document["error"]["kind"]),
        (&json!(3), &json!("local_engine")),
        "{document:#}"
    );
    let missing = run(&["--port", "0", "--db", "no/such/directory/t.db"]);
    assert_eq!(missing.status.code(), Some(3), "{:?}", missing.stderr);
}
