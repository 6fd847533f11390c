//! Tests `[table] role_arn`, with a stub of STS on a real socket.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Mutex;

use super::*;

const ROLE: &str = "role_arn = \"arn:aws:iam::123456789012:role/backfill\"";

/// STS's answer to `AssumeRole`.
const CREDENTIALS: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
    <AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/backfill/s</Arn>\
    </AssumedRoleUser><Credentials><AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey>\
    <SessionToken>token</SessionToken><Expiration>2199-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
    <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleResponse>";

const DENIED: &str = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
    <Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/me is not authorized to perform: \
    sts:AssumeRole on resource: arn:aws:iam::123456789012:role/backfill</Message></Error></ErrorResponse>";

/// A server that records what it receives.
struct Recorder {
    address: String,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    /// Starts a server that carries out `serve` for each connection.
    fn start(serve: impl Fn(TcpStream, &Mutex<Vec<u8>>) + Send + Sync + 'static) -> Recorder {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let received = Arc::new(Mutex::new(Vec::new()));
        let serve = Arc::new(serve);
        std::thread::spawn({
            let received = Arc::clone(&received);
            move || {
                for stream in listener.incoming().flatten() {
                    let (serve, received) = (Arc::clone(&serve), Arc::clone(&received));
                    std::thread::spawn(move || serve(stream, &received));
                }
            }
        });
        Recorder { address, received }
    }

    /// Starts a stub of STS.
    fn sts(status: &'static str, answer: &'static str) -> Recorder {
        Recorder::start(move |mut stream, received| {
            let request = read_request(&mut stream);
            received.lock().unwrap().extend(&request);
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/xml\r\nconnection: close\r\n");
            let _ = write!(stream, "{head}content-length: {}\r\n\r\n{answer}", answer.len());
        })
    }

    /// Starts a server that forwards all data to the engine.
    fn before(engine: &str) -> Recorder {
        let engine = engine.trim_start_matches("http://").to_owned();
        Recorder::start(move |mut client, received| {
            let mut server = TcpStream::connect(&engine).unwrap();
            let (mut replies, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut replies, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Both);
            });
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = client.read(&mut part) {
                received.lock().unwrap().extend(&part[..read]);
                if server.write_all(&part[..read]).is_err() {
                    return;
                }
            }
            let _ = server.shutdown(std::net::Shutdown::Both);
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap()).into_owned()
    }

    /// Returns the access keys that signed the requests, without duplicates. Clears the recorded requests.
    fn keys(&self) -> Vec<String> {
        let text = self.text();
        self.received.lock().unwrap().clear();
        let key = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
        text.split("Credential=").skip(1).map(key).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Reads one request with its body.
fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next());
            if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
                return request;
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return request,
            Ok(read) => request.extend(&part[..read]),
        }
    }
}

/// A table, a plan with a role, a flag and a health check of CloudWatch, and the servers that receive the requests.
struct Scene {
    harness: Harness,
    plan: PathBuf,
    aws: Recorder,
    sts: Recorder,
}

impl Scene {
    async fn new(host: &str, sts: Recorder) -> Scene {
        let harness = Harness::embedded();
        let table = harness.create_table().await;
        let flags = harness.create_flag_table().await;
        let aws = Recorder::before(&harness.endpoint());
        let endpoint = format!("http://{}", aws.address.replace("127.0.0.1", host));
        let plan = harness.dir().join("role.toml");
        let text = format!(
            "[migration]\nname = \"rename\"\n[table]\nname = \"{table}\"\nregion = \"eu-west-1\"\n\
             endpoint_url = \"{endpoint}\"\n{ROLE}\nrole_external_id = \"ext-7\"\n{MOVE}[cutover]\ntable = \"{flags}\"\n\
             [[health_check]]\nname = \"cw\"\nalarm = \"a\"\nendpoint_url = \"{endpoint}\"\n"
        );
        std::fs::write(&plan, text).unwrap();
        Scene { harness, plan, aws, sts }
    }

    fn check(&self) -> Command {
        let mut command = self.harness.command();
        command.args(["check", text(&self.plan), "-vv"]);
        command
    }

    fn with_sts(&self, mut command: Command) -> Command {
        command.env("AWS_ENDPOINT_URL_STS", format!("http://{}", self.sts.address));
        command
    }
}

fn with_keys(mut command: Command) -> Command {
    command.env("AWS_ACCESS_KEY_ID", "AKIDBASE").env("AWS_SECRET_ACCESS_KEY", "hidden");
    command
}

/// Requests for the table, for the flag and for the health check all use the role. Only STS sees the other credentials.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_uses_the_role() {
    let scene = Scene::new("0.0.0.0", Recorder::sts("200 OK", CREDENTIALS)).await;
    let ran = tool::run(with_keys(scene.with_sts(scene.check())));
    let said = scene.sts.text();
    for part in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fbackfill",
        "RoleSessionName=backfill-rename",
        "ExternalId=ext-7",
        "/eu-west-1/sts/",
    ] {
        assert!(said.contains(part), "{part}: {said}\n{}", ran.stderr);
    }
    assert_eq!(scene.sts.keys(), ["AKIDBASE"], "{}", ran.stderr);
    let received = scene.aws.text();
    for part in ["DynamoDB_20120810.DescribeTable", "DynamoDB_20120810.GetItem", "DescribeAlarms", "token"] {
        assert!(received.to_ascii_lowercase().contains(&part.to_ascii_lowercase()), "{part}: {}", ran.stderr);
    }
    assert_eq!(scene.aws.keys(), ["AKIDROLE"], "{}", ran.stderr);
    assert!(!ran.stderr.contains("hidden") && !ran.stdout.contains("hidden"), "{}", ran.stderr);
}

/// With a local engine, a plan with a role works without AWS. The role is assumed only if STS is local too.
#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_the_role_is_assumed_only_from_a_local_sts() {
    let scene = Scene::new("127.0.0.1", Recorder::sts("200 OK", CREDENTIALS)).await;
    let ran = tool::run(scene.check());
    assert!(ran.stderr.contains("is not assumed, because the endpoint is on loopback"), "{}", ran.stderr);
    assert_eq!((scene.aws.keys(), scene.sts.keys()), (vec!["local".to_owned()], Vec::new()), "{}", ran.stderr);

    let ran = tool::run(scene.with_sts(scene.check()));
    assert_eq!(scene.aws.keys(), ["AKIDROLE"], "{}", ran.stderr);
    assert_eq!(scene.sts.keys(), ["local"], "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_cannot_be_assumed_is_named() {
    let scene = Scene::new("0.0.0.0", Recorder::sts("403 Forbidden", DENIED)).await;
    let ran = tool::run(with_keys(scene.with_sts(scene.check()))).exits(3);
    let said = ran.messages();
    for part in ["AccessDenied", "not authorized to perform: sts:AssumeRole", "role/backfill", "`role_arn`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(scene.aws.keys().is_empty());
}
