//! Tests failures to open a connection. Without a connection, no write was sent. So the attempt consumes no units, and
//! the write was certainly not applied.

use backfill::internals::dynamodb::sdk::{DynamoTable, connect};
use backfill::internals::dynamodb::{Directive, Sink, TableError};
use backfill::internals::item::{Item, ItemKey};
use backfill::internals::plan::TableRef;

use super::*;
use backfill::internals::change::{Action, Condition, GuardedWrite, WriteCost};
use backfill::internals::item::Path;
use backfill::internals::local::{Proxy, ProxyOptions};

/// Sends one write to this endpoint, and returns its error.
async fn write_to(endpoint: &str) -> TableError {
    let reference = TableRef {
        name: "orders".into(),
        key: None,
        region: Some("us-east-1".into()),
        endpoint_url: Some(endpoint.to_owned()),
        profile: None,
        account: None,
        role: None,
    };
    let table = DynamoTable::new(&connect(&reference).await.unwrap(), "orders");
    let write = GuardedWrite {
        key: ItemKey::new(Item::from([("pk".to_owned(), Value::S("a".into()))])),
        actions: vec![Action::SetValue { to: Path::attribute("v"), value: Value::Null }],
        conditions: vec![Condition::ItemExists("pk".into())],
        equal_values: vec![],
        pre_images: vec![],
        bytes_before: 0,
        bytes_after: 0,
        cost: WriteCost::default(),
        cost_elsewhere: None,
        next: None,
    };
    table.write(&[&write]).await.remove(0).unwrap_err()
}

/// Tests two failures: a refused connection, and a host that does not answer the connection attempt. On Linux, a host
/// with a full queue of new connections does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_never_sent_is_certainly_not_applied() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let full = tokio::net::TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut queue = Vec::new();
    for _ in 0..4 {
        let open = tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address));
        queue.push(open.await);
    }
    for (endpoint, says) in [
        (format!("http://{free}"), "onnection refused"),
        (format!("http://{address}"), "connection could not be opened"),
    ] {
        let error = write_to(&endpoint).await;
        assert_eq!(error.directive(), Directive::Retry, "{endpoint}: {error:?}");
        assert!(!error.is_ambiguous(), "{endpoint}: {error:?}");
        assert!(error.to_string().contains(says), "{endpoint}: {error}");
    }
    // A server that receives the request and then closes the connection can have applied the write.
    let closes = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", closes.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = closes.accept().unwrap();
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
    });
    let error = write_to(&endpoint).await;
    assert!(error.is_ambiguous() && error.directive() == Directive::Retry, "{error:?}");
}

/// Tests an outage during a run with `max_wcu`. While no server listens, many connection attempts are refused. These
/// attempts consume no units.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_spends_nothing() {
    const LIMIT: u64 = 360;
    let scene = Scene::with_move(300, "").await;
    let upstream = scene.harness.local().unwrap().engine().endpoint();
    let proxy = Proxy::start(ProxyOptions { upstream: upstream.clone(), ..ProxyOptions::default() }).unwrap();
    let port = proxy.endpoint().rsplit(':').next().unwrap().parse().unwrap();
    let text = std::fs::read_to_string(&scene.plan).unwrap().replace(&scene.harness.endpoint(), &proxy.endpoint());
    let limits = format!("{QUICK}[capacity]\nwrite = 200\n[limits]\nmax_wcu = {LIMIT}\n");
    std::fs::write(&scene.plan, text + &limits).unwrap();
    let running = scene.start();
    while proxy.tally().operation("UpdateItem").ok < 60 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::task::block_in_place(|| proxy.stop());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let proxy = Proxy::start(ProxyOptions { port, upstream, ..ProxyOptions::default() }).unwrap();
    let ran = tokio::task::block_in_place(|| running.end()).exits(0);
    let json = ran.json();
    assert_eq!(counts(&json)["scanned"], 300);
    // The server can have applied requests that were in flight when it stopped.
    let spent = json["spend"]["write_units"].as_f64().unwrap();
    assert!(spent <= LIMIT as f64, "{}", json["spend"]);
    assert!(ran.stderr.contains("connection could not be opened"), "the run noticed the outage");
    drop(proxy);
    scene.assert_table(moved).await;
}
