//! Tests endpoints that only the environment or a profile configures.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Mutex;

use super::preflight::{answer_with, backups};
use super::*;

/// Creates a command of the tool. `configuration` is one of [`CONFIGURATIONS`], and determines where the endpoint is
/// configured.
fn configured(harness: &Harness, url: &str, configuration: &str) -> Command {
    let folder = harness.dir().join(".aws");
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = harness.command();
    let config = match configuration {
        "AWS_ENDPOINT_URL" | "AWS_ENDPOINT_URL_DYNAMODB" => {
            command.env(configuration, url);
            String::new()
        }
        "endpoint_url" => format!("[default]\nendpoint_url = {url}\n"),
        "services" => format!(
            "[profile dev]\nservices = local\nregion = eu-west-1\nendpoint_url = http://192.0.2.1\n\
             [services local]\ndynamodb =\n  endpoint_url = {url}\n"
        ),
        other => panic!("{other}"),
    };
    if configuration == "services" {
        command.env("AWS_PROFILE", "dev");
    }
    std::fs::write(folder.join("config"), config).unwrap();
    command
}

const CONFIGURATIONS: [&str; 4] = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "endpoint_url", "services"];

/// Writes a plan without an endpoint. Returns the path of the plan.
fn plan(harness: &Harness, table: &str, name: &str) -> String {
    let path = harness.dir().join(format!("{name}.toml"));
    std::fs::write(&path, format!("[migration]\nname = \"{name}\"\n[table]\nname = \"{table}\"\n{MOVE}")).unwrap();
    text(&path).to_owned()
}

/// An engine on loopback needs no account and no region, however its endpoint is configured. If point-in-time recovery
/// is unknown, disabled or not implemented on such an engine, the tool only warns.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_on_loopback_is_recognised() {
    let (harness, table, _) = setup(10, "").await;
    for configuration in CONFIGURATIONS {
        for (host, answered) in [("127.0.0.1", ""), ("localhost", "disabled"), ("LocalHost", "501")] {
            match answered {
                "disabled" => answer_with(&harness, vec![("DescribeContinuousBackups", backups("DISABLED"))]),
                "501" => answer(&harness, "DescribeContinuousBackups", 501, "", "<html>not implemented</html>"),
                _ => harness.proxy().set_faults(None),
            }
            let mut command = configured(&harness, &harness.endpoint().replace("127.0.0.1", host), configuration);
            let plan = plan(&harness, &table, &format!("{configuration}-{}", host.replace('.', "-")));
            command.args(["run", &plan, "--yes"]);
            let ran = tool::run(command);
            let said = format!("{configuration} {host} {answered}: {}", ran.stderr);
            assert_eq!(ran.code, 0, "{said}");
            assert!(ran.messages().contains("warning      ") && ran.messages().contains("local engine"), "{said}");
        }
    }
}

/// If the same engine has an address that does not look like loopback, the tool refuses the run, because point-in-time
/// recovery is unknown.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_other_than_loopback_is_not_a_local_engine() {
    let (harness, table, _) = setup(10, "").await;
    harness.proxy().reset_tally();
    for configuration in CONFIGURATIONS {
        let mut command = configured(&harness, &harness.endpoint().replace("127.0.0.1", "0.0.0.0"), configuration);
        let plan = plan(&harness, &table, configuration);
        command.args(["run", &plan, "--yes"]).env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
        command.env("AWS_SECRET_ACCESS_KEY", "S3CRET").env("AWS_REGION", "us-east-1");
        let ran = tool::run(command).exits(3);
        assert!(
            ran.messages().contains("counts as off") && ran.messages().contains("--accept no-pitr"),
            "{}",
            ran.messages()
        );
    }
    nothing_was_written(&harness);
}

/// For a local engine, the tool uses credentials from two sources only: the environment, and a profile that configures
/// the engine's endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_local_engine_sees_only_credentials_that_are_meant_for_it() {
    let harness = Harness::embedded();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    std::thread::spawn({
        let seen = Arc::clone(&seen);
        move || server.incoming().for_each(|stream| seen.lock().unwrap().extend(access_key(stream.unwrap())))
    });
    for (configuration, secrets, expected) in [
        ("AWS_ENDPOINT_URL", true, "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", true, "local"),
        ("endpoint_url", true, "AKIDPROFILE"),
        ("endpoint_url", false, "local"),
        ("services", true, "AKIDPROFILE"),
        ("services", false, "local"),
    ] {
        let profile = if configuration == "services" { "dev" } else { "default" };
        let keys = format!("[{profile}]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = S3CRET\n");
        let mut command = configured(&harness, &format!("http://{address}"), configuration);
        std::fs::write(harness.dir().join(".aws/credentials"), if secrets { keys } else { String::new() }).unwrap();
        command.args(["check", &plan(&harness, "orders", configuration)]);
        let ran = tool::run(command).exits(3);
        assert!(ran.stderr.contains("ResourceNotFoundException"), "{configuration} {secrets}: {}", ran.stderr);
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [expected], "{configuration} {secrets}");
    }
}

/// Reads a request, and replies that the table does not exist. Returns the access key that signed the request.
fn access_key(mut stream: TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut part).unwrap() {
            0 => return None,
            read => request.extend(&part[..read]),
        }
    }
    let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"none"}"#;
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let text = String::from_utf8_lossy(&request).into_owned();
    Some(text.split_once("Credential=")?.1.split_once('/')?.0.to_owned())
}
